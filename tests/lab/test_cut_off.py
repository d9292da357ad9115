"""Whatever cuts an apply off, its host ends in one of two states and the next contact says in which.

Two Docker hosts, in file order. What switches TLS on at another port is the change: it restarts the daemon, which waits
in its start for as long as a test wants it to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .docker_tls import ALLOWED, MUTUAL, Authority, make_authority
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import LAB_POLICY, inventory
from .hosts.keys import Keys
from .hosts.workload import running_containers, start_workload
from .product import Answer, Product, ended

DROP_IN = "/etc/systemd/system/docker.service.d/10-lab.conf"
HOLD = "/run/lab-hold"
WAITS = f"[Service]\nExecStartPre=/bin/sh -c 'while test -e {HOLD}; do sleep 0.1; done'\n"
# As on a host that ends what a session leaves behind, root's sessions included.
LOGIND = "/etc/systemd/logind.conf.d/lab.conf"
KILLS = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n"
REFUSES = "/run/lab-refuses"
DAEMON_JSON = "/etc/docker/daemon.json"
UNIT_FILE, UNIT_MODE = "/usr/lib/systemd/system/docker.service", "docker.files.service-unit-mode"
JOURNALS = "/var/lib/remediator/transactions"
Listen = Callable[..., Path]


def start(engine: Engine, keys: Keys, image: str) -> ContainerHost:
    host = start_docker_host(engine, keys, image, f"{image}-cut-off")
    start_workload(host)
    host.run("install", "-d", os.path.dirname(DROP_IN), os.path.dirname(LOGIND))
    host.put(LOGIND, KILLS.encode())
    host.run("systemctl", "restart", "systemd-logind.service")
    drop_in(host, WAITS)
    return host


def drop_in(host: ContainerHost, text: str) -> None:
    """What the daemon's unit has besides its own lines."""
    host.put(DROP_IN, text.encode())
    host.run("systemctl", "daemon-reload")


@pytest.fixture(scope="module")
def first(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Debian 13 host whose daemon can be held in its start."""
    host = start(engine, lab_keys, "debian13")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def second(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """The same with Debian 12."""
    host = start(engine, lab_keys, "debian12")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def authority(
    first: ContainerHost, second: ContainerHost, remediate: Product, tmp_path_factory: pytest.TempPathFactory
) -> Authority:
    """A CA that has issued both hosts' certificates."""
    directory = tmp_path_factory.mktemp("authority")
    made = make_authority(remediate, directory)
    path = directory / "hosts.yml"
    path.write_text(inventory([first, second]))
    answer = made.issue(path)
    assert answer.code == 0, answer.out + answer.err
    return made


@pytest.fixture
def listen(authority: Authority, tmp_path: Path) -> Listen:
    """Writes an inventory in which these hosts listen at a port: listen(2401, first, healthy_seconds=15)."""

    def write(port: int, *hosts: ContainerHost, variables: dict[str, object] | None = None, **policy: object) -> Path:
        own = {"docker_tls_listen": [f"0.0.0.0:{port}"], "remediator_policy": {**LAB_POLICY, **policy}}
        path = tmp_path / f"{port}.yml"
        path.write_text(inventory(hosts, {host.name: {**own, **(variables or {})} for host in hosts}))
        return path

    return write


def apply_words(path: Path, *more: str) -> tuple[str, ...]:
    return ("apply", "-i", str(path), "--yes", *ALLOWED, *more, "--format", "json")


def inside(host: ContainerHost, *words: str) -> str:
    """What a command prints that no session of the host runs."""
    return host.engine.text("exec", host.container, *words)


def wait_until(host: ContainerHost, condition: str, seconds: float = 60) -> None:
    """Until a shell condition holds on the host."""
    end = time.monotonic() + seconds
    script = f"until {condition}; do sleep 0.05; done"
    host.engine.docker("exec", host.container, "timeout", str(int(seconds)), "sh", "-c", script)
    assert time.monotonic() < end


def held(remediate: Product, host: ContainerHost, path: Path) -> subprocess.Popen[str]:
    """An apply whose transaction has written its files and waits for the daemon's restart, until `go_on`."""
    host.run("touch", HOLD)
    process = remediate.start(*apply_words(path))
    wait_until(host, f"ls {JOURNALS}/*/activating >/dev/null 2>&1")
    return process


def go_on(host: ContainerHost) -> None:
    """Let the daemon start."""
    inside(host, "rm", "-f", HOLD)


def at_rest(host: ContainerHost) -> None:
    """Until no transaction is open."""
    wait_until(host, f"! ls {JOURNALS}/*/journal.json >/dev/null 2>&1")


def outcome(answer: Answer, host: ContainerHost, group: str = "docker") -> dict[str, Any]:
    """The only outcome of a host that is about the daemon, or of another group."""
    found: list[dict[str, Any]] = answer.host(host.name)["outcomes"]
    (only,) = [each for each in found if each["transaction"] == group]
    return only


def transactions(remediate: Product, path: Path, host: ContainerHost) -> list[dict[str, Any]]:
    """What the host lists, the newest first."""
    listed = remediate("transactions", "-i", str(path), "--format", "json")
    assert listed.code == 0, listed.out + listed.err
    found: list[dict[str, Any]] = listed.host(host.name)["transactions"]
    return found


def listens(host: ContainerHost, port: int) -> bool:
    return f":{port} " in host.text("ss", "-Htln") + " "


def configuration(host: ContainerHost) -> str:
    """Every byte of the daemon's configuration."""
    places = "etc/docker etc/systemd/system etc/default/docker"
    return host.text("sh", "-c", f"tar -C / --sort=name --mtime=@0 -cf - {places} 2>/dev/null | sha256sum")


def is_well(host: ContainerHost) -> None:
    assert host.text("systemctl", "is-active", "docker.service") == "active"
    assert "web" in running_containers(host)


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_session_that_is_killed_in_mid_apply_costs_nothing(
    name: str, remediate: Product, listen: Listen, request: pytest.FixtureRequest
) -> None:
    host: ContainerHost = request.getfixturevalue(name)
    process = held(remediate, host, listen(2401, host))
    (unit,) = inside(host, "sh", "-c", "systemctl list-units --plain --no-legend 'remediator-commit-*'").splitlines()
    assert "remediator: commit of run" in unit
    inside(host, "systemctl", "kill", "--signal=KILL", "session-*.scope")
    go_on(host)
    answer = ended(process)
    assert outcome(answer, host)["outcome"] == "applied", answer.out + answer.err
    assert answer.code == 0, answer.out
    assert listens(host, 2401)
    is_well(host)
    assert inside(host, "sh", "-c", "systemctl list-units --all --plain --no-legend 'remediator-commit-*'") == ""


def test_a_controller_that_is_killed_leaves_a_host_that_finishes_and_tells(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    path = listen(2402, first)
    process = held(remediate, first, path)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    go_on(first)
    at_rest(first)

    assert listens(first, 2402)
    is_well(first)
    answer = remediate.check(path, "--control", MUTUAL)
    assert answer.verdicts(first.name)[MUTUAL] == "compliant"
    newest = transactions(remediate, path, first)[0]
    assert newest["outcome"] == "applied", newest
    record = remediate.home / ".local" / "state" / "remediator" / "runs" / f"{newest['run']}.json"
    assert '"state": "started"' in record.read_text()


def test_a_link_that_goes_down_in_mid_apply_and_comes_back_brings_the_outcome(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    impatient = {"ansible_ssh_extra_args": "-o ServerAliveInterval=1 -o ServerAliveCountMax=2"}
    process = held(remediate, first, listen(2403, first, variables=impatient))
    inside(first, "ip", "link", "set", "eth0", "down")
    go_on(first)
    time.sleep(8)  # longer than the connection lives without an answer
    inside(first, "ip", "link", "set", "eth0", "up")
    answer = ended(process)
    assert outcome(answer, first)["outcome"] == "applied", answer.out + answer.err
    assert answer.code == 0
    assert listens(first, 2403)


def test_of_two_controllers_one_wins_and_the_other_is_told_who(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    first.run("chmod", "0666", UNIT_FILE)
    other = listen(2403, first).rename(listen(2403, first).with_name("other.yml"))
    process = held(remediate, first, listen(2404, first))
    words = ("--control", UNIT_MODE)
    loser = remediate("apply", "-i", str(other), "--yes", *words, "--format", "json")
    go_on(first)
    winner = ended(process)
    assert outcome(winner, first)["outcome"] == "applied"
    assert loser.code == 5, loser.out + loser.err
    error = loser.host(first.name)["error"]
    assert error["kind"] == "locked"
    assert f"run {winner.document['run']} by " in error["message"]
    assert first.text("stat", "-c", "%a", UNIT_FILE) == "666"
    assert remediate("apply", "-i", str(other), "--yes", *words).code == 0


def test_a_daemon_that_dies_ten_seconds_after_its_start_is_put_back_and_nothing_else_is(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    dies = "if grep -rqs '[:]2405' /etc/docker/daemon.json /etc/systemd/system/docker.service.d; then"
    dies += " (sleep 10; kill $MAINPID) & fi"
    drop_in(first, f'[Service]\nExecStartPost=/bin/sh -c "{dies}"\n')
    before = configuration(first)
    first.run("chmod", "0666", UNIT_FILE)
    answer = remediate.apply(listen(2405, first, healthy_seconds=15), *ALLOWED, "--role", "docker_files")
    found = outcome(answer, first)
    assert (answer.code, found["outcome"]) == (3, "rolled_back"), answer.out + answer.err
    assert "dockerd" in found["log"]
    assert configuration(first) == before
    assert outcome(answer, first, "files")["outcome"] == "applied"
    assert first.text("stat", "-c", "%a", UNIT_FILE) == "644"
    assert not listens(first, 2405)
    is_well(first)


def test_a_slow_daemon_is_waited_for_as_long_as_its_unit_allows_and_one_that_hangs_no_longer(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    asked = "grep -rqs '[:]{}' /etc/docker/daemon.json /etc/systemd/system/docker.service.d"
    slow, hangs = (asked.format(port) for port in (2410, 2411))
    drop_in(first, f'[Service]\nTimeoutStartSec=100\nExecStartPre=/bin/sh -c "if {slow}; then sleep 65; fi"\n')
    answer = remediate.apply(listen(2410, first), *ALLOWED)
    assert outcome(answer, first)["outcome"] == "applied", answer.out + answer.err
    assert listens(first, 2410)

    drop_in(first, f'[Service]\nTimeoutStartSec=25\nExecStartPre=/bin/sh -c "if {hangs}; then sleep 1000; fi"\n')
    before = configuration(first)
    answer = remediate.apply(listen(2411, first), *ALLOWED)
    found = outcome(answer, first)
    assert (answer.code, found["outcome"]) == (3, "rolled_back"), answer.out + answer.err
    assert "timed out" in found["log"], found
    assert configuration(first) == before
    is_well(first)


def test_what_was_killed_on_the_host_itself_is_told_kept_from_purge_and_recovered(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    drop_in(first, WAITS)
    before = configuration(first)
    path = listen(2406, first)
    process = held(remediate, first, path)
    inside(first, "systemctl", "kill", "--signal=KILL", "remediator-commit-*.service")
    go_on(first)
    answer = ended(process)
    assert (answer.code, outcome(answer, first)["outcome"]) == (3, "unreported"), answer.out + answer.err
    assert "remediate recover" in outcome(answer, first)["reason"]

    refused = remediate("purge", "-i", str(path), "--yes")
    assert refused.code == 3
    assert f"docker of run {answer.document['run']} was interrupted" in refused.out

    recovered = remediate("recover", "-i", str(path), "--yes", "--format", "json")
    assert recovered.code == 0, recovered.out + recovered.err
    (only,) = recovered.host(first.name)["recovered"]
    started = first.text("journalctl", "--no-pager", "-o", "cat", "_PID=1")  # it would outlive its connection, too
    assert f"remediator: commit of run {recovered.document['run']}" in started
    assert (only["run"], only["outcome"]) == (answer.document["run"], "rolled_back")
    assert configuration(first) == before
    assert not listens(first, 2406)
    is_well(first)


def test_the_next_apply_puts_back_what_was_killed_but_not_what_somebody_repaired_since(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    path = listen(2408, first)
    repaired = json.loads(first.run("cat", DAEMON_JSON, check=False).stdout or "{}") | {"debug": False}
    process = held(remediate, first, path)
    inside(first, "systemctl", "kill", "--signal=KILL", "remediator-commit-*.service")
    go_on(first)
    cut = ended(process).document["run"]
    changed = json.loads(first.text("cat", DAEMON_JSON))
    first.put(DAEMON_JSON, json.dumps(repaired).encode())

    shown = remediate("--check", "-i", str(path), *ALLOWED)
    assert shown.code == 3, shown.out
    (line,) = [line for line in shown.out.splitlines() if "INTERRUPTED" in line]
    assert shown.out.index(line) < shown.out.index(MUTUAL)
    words = " ".join(shown.out.split())
    assert f"run {cut} by" in words
    assert "which restarts docker.service" in words

    answer = remediate.apply(path, *ALLOWED)
    # What was half done may have shown less to do than there is: then a second apply does the rest.
    assert answer.code in (0, 1), answer.out + answer.err
    assert f"before this, docker of run {cut} ended rolled back" in str(answer.host(first.name)["notes"])
    told = {each["run"]: each for each in transactions(remediate, path, first)}
    assert told[cut]["outcome"] == "rolled_back", told[cut]
    assert f"left as it is: {DAEMON_JSON}" in told[cut]["reason"]
    assert changed != repaired
    again = remediate.apply(path, *ALLOWED)
    assert again.code == 0, again.out + again.err
    assert remediate.check(path, "--control", MUTUAL).verdicts(first.name)[MUTUAL] == "compliant"
    assert json.loads(first.text("cat", DAEMON_JSON))["debug"] is False
    assert listens(first, 2408)
    is_well(first)


def test_a_daemon_that_stays_down_stops_everything_until_a_person_releases_its_host(
    first: ContainerHost, second: ContainerHost, remediate: Product, listen: Listen
) -> None:
    drop_in(first, f"[Service]\nExecStartPre=/usr/bin/test ! -e {REFUSES}\n")
    before, untouched = configuration(first), configuration(second)
    first.run("touch", REFUSES)
    path = listen(2407, first, second)

    answer = remediate.apply(path, *ALLOWED, "--max-fail-percentage", "100")
    assert (answer.code, outcome(answer, first)["outcome"]) == (3, "broken"), answer.out + answer.err
    assert "With the old bytes back:" in outcome(answer, first)["log"]
    assert outcome(answer, second)["outcome"] == "held"
    assert (configuration(first), configuration(second)) == (before, untouched)
    assert not listens(second, 2407)

    again = remediate.apply(path, *ALLOWED, "-l", first.name)
    assert again.code == 3
    assert again.host(first.name)["outcomes"] == []
    assert remediate("recover", "-i", str(path), "-l", first.name, "--yes").code == 3

    first.run("rm", REFUSES)
    first.run("systemctl", "reset-failed", "docker.service", "docker.socket")
    first.run("systemctl", "start", "docker.service")
    released = remediate("recover", "-i", str(path), "--release", first.name, "--yes")
    assert released.code == 0, released.out + released.err
    assert "BROKEN since" in released.out
    done = remediate.apply(path, *ALLOWED)
    assert [outcome(done, host)["outcome"] for host in (first, second)] == ["applied", "applied"], done.out


def test_purge_takes_every_trace_off_and_leaves_the_hardening(
    first: ContainerHost, remediate: Product, listen: Listen
) -> None:
    path = listen(2407, first)
    done = remediate("purge", "-i", str(path), "--yes")
    assert done.code == 0, done.out + done.err
    traces = "ls -d /var/lib/*remediator* /etc/systemd/system/remediator* /run/systemd/transient/remediator* || true"
    assert first.text("sh", "-c", f"({traces}) 2>/dev/null") == ""
    assert listens(first, 2407)
    listed = remediate("transactions", "-i", str(path), "--format", "json")
    assert listed.host(first.name)["transactions"] == []
