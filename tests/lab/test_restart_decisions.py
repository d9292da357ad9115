"""Restarts are a decision: held where forbidden, stale where another container would be lost, made where asked.

One Docker host, in file order; what switches its TLS on is the change that needs a restart.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from .docker_tls import LISTEN, Authority, make_authority
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import LAB_POLICY, inventory
from .hosts.keys import Keys
from .hosts.workload import IMAGE, running_containers, start_workload
from .product import REMEDIATE, Answer, Product

ALLOWED = ("--role", "docker_tls", "--allow", "docker_tls")
DOCKERD = "/usr/sbin/dockerd"
HERE = Path(__file__).resolve().parents[2]
# A window that does not open within the next hours.
CLOSED = f"{(datetime.now(UTC) + timedelta(hours=6)):%H:00-%H:30}"
# Notes a word and the daemon's process at that moment, on the controller.
NOTE = """#!/bin/sh -eu
echo "$1 $({ssh} systemctl show --property=MainPID --value docker.service) ${{CLOUD_TOKEN:-none}}" >>{log}
"""


@pytest.fixture(scope="module")
def server(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Debian 13 Docker host without TLS, with a container that comes back and one that does not."""
    host = start_docker_host(engine, lab_keys, "debian13", "debian13-restarts")
    start_workload(host)
    host.run("docker", "start", "job")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def authority(server: ContainerHost, remediate: Product, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA, which has issued the server's certificate."""
    made = make_authority(remediate, tmp_path_factory.mktemp("authority"))
    assert made.issue(hosts_file(server, tmp_path_factory.mktemp("inventory"))).code == 0
    return made


def hosts_file(host: ContainerHost, directory: Path, **policy: object) -> Path:
    """The server, told to listen, under this policy."""
    path = directory / "hosts.yml"
    variables = {"docker_tls_listen": [LISTEN], "remediator_policy": {**LAB_POLICY, **policy}}
    path.write_text(inventory([host], {host.name: variables}))
    return path


def over_ssh(host: ContainerHost) -> str:
    """The words that begin a command on the host, for a shell."""
    return subprocess.list2cmdline(["ssh", *host.ssh_options(), f"{host.user}@{host.address}"])


def configuration(host: ContainerHost) -> str:
    """Every byte of the daemon's configuration, and the process that runs with it."""
    bytes_of = "tar -C / --sort=name --mtime=@0 -cf - etc/docker etc/systemd/system 2>/dev/null | sha256sum"
    return host.text("sh", "-c", bytes_of) + main_process(host)


def main_process(host: ContainerHost) -> str:
    return host.text("systemctl", "show", "--property=MainPID", "--value", "docker.service")


def run_container(host: ContainerHost, name: str, *options: str) -> None:
    host.run(
        "docker", "run", "--detach", "--stop-signal", "SIGKILL", "--name", name, *options, IMAGE, "sleep", "100000"
    )


def outcomes(answer: Answer, host: ContainerHost) -> dict[str, str]:
    return {each["transaction"]: each["outcome"] for each in answer.host(host.name)["outcomes"]}


def held(answer: Answer, host: ContainerHost) -> dict[str, list[str]]:
    """What would release each held change, by its path."""
    return {each["path"]: each["release"] for each in answer.host(host.name)["changes"] if not each["permitted"]}


def apply_at_a_terminal(remediate: Product, inventory: Path, meanwhile: Callable[[], None]) -> Answer:
    """`remediate apply` with a person who does something between reading the preview and saying yes."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(remediate.home), "LC_ALL": "C.UTF-8", "CLOUD_TOKEN": "x"}
    person, terminal = pty.openpty()
    command = [str(REMEDIATE), "apply", "-i", str(inventory), *ALLOWED]
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=remediate.home
    ) as process:
        os.close(terminal)
        assert process.stderr is not None
        asked = b""
        while not asked.endswith(b"[y/N] "):
            piece = process.stderr.read(1)
            assert piece, asked
            asked += piece
        meanwhile()
        os.write(person, b"y\n")
        out, err = process.communicate(timeout=300)
    os.close(person)
    return Answer(process.returncode, out.decode(), (asked + err).decode())


@pytest.mark.parametrize(
    ("policy", "release"),
    [
        ({"restarts": "never"}, "restarts: ask or always in remediator_policy"),
        ({"restarts": "window", "window": CLOSED}, f"its window, {CLOSED} UTC"),
    ],
    ids=["never", "window"],
)
def test_a_change_whose_restart_must_not_be_made_now_is_held_whole_and_touches_nothing(
    server: ContainerHost,
    authority: Authority,
    remediate: Product,
    tmp_path: Path,
    policy: dict[str, object],
    release: str,
) -> None:
    path = hosts_file(server, tmp_path, **policy)
    before = configuration(server)
    check = remediate.check(path, *ALLOWED)
    assert check.code == 1, check.err
    releases = held(check, server)
    assert "/etc/docker/daemon.json" in releases
    assert {said for each in releases.values() for said in each} == {release}
    answer = remediate.apply(path, *ALLOWED)
    assert answer.code == 0, answer.out + answer.err
    assert answer.document["ended"] == "nothing_permitted"
    assert configuration(server) == before


def test_a_playbook_of_the_users_own_has_nobody_to_ask(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(server, tmp_path, restarts="ask")
    before = configuration(server)
    given = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**given, "HOME": str(remediate.home), "PYTHONPATH": str(HERE), "ANSIBLE_COLLECTIONS_PATH": str(HERE)}
    variables = '{"remediator_roles": ["docker_tls"], "remediator_allow": ["docker_tls"]}'
    command = [sys.executable, "-m", "ansible.cli.playbook", "-i", str(path), "-e", variables, "-v"]
    for words in (["remediator.hardening.check", "--check"], ["remediator.hardening.apply"]):
        ran = subprocess.run(
            [*command, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "changed=0" in ran.stdout
    assert "restarts: always in remediator_policy" in ran.stdout
    assert configuration(server) == before


def test_a_container_that_is_started_after_the_preview_and_would_not_come_back_makes_it_stale(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(server, tmp_path)
    before = configuration(server)
    answer = apply_at_a_terminal(remediate, path, lambda: run_container(server, "late"))
    assert answer.code == 4, answer.out + answer.err
    assert "(restarts docker.service on 1 host)? [y/N]" in answer.err
    assert "would stop late for good (no restart policy)" in answer.out
    assert configuration(server) == before
    server.run("docker", "rm", "--force", "late")


def test_nor_is_one_lost_that_starts_when_the_controller_has_looked_for_the_last_time(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    start = [*over_ssh(server).split(), "docker", "run", "--detach", "--stop-signal", "SIGKILL", "--name", "later"]
    drain = [[*start, IMAGE, "sleep", "100000"]]
    path = hosts_file(server, tmp_path, before_restart=drain)
    before = configuration(server)
    answer = remediate.apply(path, *ALLOWED)
    assert answer.code == 4, answer.out + answer.err
    (outcome,) = answer.host(server.name)["outcomes"]
    assert outcome["outcome"] == "stale"
    assert "would stop later for good (no restart policy)" in outcome["reason"]
    assert configuration(server) == before
    server.run("docker", "rm", "--force", "later")


def test_a_daemon_whose_program_was_replaced_is_not_restarted_in_passing(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(server, tmp_path, restarts="always")
    server.run("sh", "-euc", f"cp -p {DOCKERD} {DOCKERD}.new; mv {DOCKERD}.new {DOCKERD}")
    before = configuration(server)
    answer = remediate.apply(path, *ALLOWED)
    assert answer.document["ended"] == "nothing_permitted"
    (verdict,) = [
        each for each in answer.host(server.name)["before"]["verdicts"] if each["control"] == "docker.tls.mutual"
    ]
    assert f"{DOCKERD} was replaced since docker.service started" in verdict["reason"]
    assert verdict["release"] == "a restart of docker.service by hand"
    assert configuration(server) == before
    server.run("systemctl", "restart", "docker.service")
    server.run("docker", "start", "job")


def test_a_host_that_cannot_be_drained_is_not_restarted(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(server, tmp_path, before_restart=[["sh", "-c", "echo pods will not go; exit 7"]])
    before = configuration(server)
    answer = remediate.apply(path, *ALLOWED)
    assert answer.code == 3, answer.out + answer.err
    (outcome,) = answer.host(server.name)["outcomes"]
    assert (outcome["outcome"], outcome["reason"]) == (
        "refused",
        "before_restart: sh ended with status 7: pods will not go",
    )
    assert configuration(server) == before


def test_what_was_approved_is_restarted_between_its_commands_though_rm_jobs_came_and_went(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    log, note = tmp_path / "log", tmp_path / "note.sh"
    note.write_text(NOTE.format(ssh=over_ssh(server), log=log))
    note.chmod(0o700)
    around = {"before_restart": [[str(note), "drain"]], "after_restart": [[str(note), "uncordon"]]}
    path = hosts_file(server, tmp_path, restarts="window", window="00:00-24:00", **around)
    run_container(server, "going", "--rm")
    old = main_process(server)

    def jobs_change() -> None:
        server.run("docker", "stop", "going")
        run_container(server, "coming", "--rm")

    answer = apply_at_a_terminal(remediate, path, jobs_change)

    assert answer.code == 0, answer.out + answer.err
    assert "going ends (--rm)" in answer.out
    assert f"this controller runs {note} before it and {note} after it" in answer.out
    new = main_process(server)
    assert new != old
    assert log.read_text().splitlines() == [f"drain {old} none", f"uncordon {new} none"]
    assert running_containers(server) == ["web"]
