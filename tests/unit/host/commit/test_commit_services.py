"""Activation and health, against a systemctl that behaves as each test needs.

The real systemd does the same on the lab's hosts.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remediator.plan import Action, Step
from tests.unit.host.commit.host import CommitHost, state_of, transaction, write

# Notes every call with its locale. `state`, `waiting` and `fails` are files that a test or a restart writes.
SYSTEMCTL = """
def read(name, default=""):
    path = here / name
    return path.read_text() if path.exists() else default

with (here / "calls").open("a") as calls:
    calls.write(os.environ["LC_ALL"] + " " + " ".join(argv) + "\\n")
config = here / "files" / "daemon.json"
if "show" in argv:
    if "Id,NeedDaemonReload,Transient" in argv:
        for unit in ("docker.service", *read("waiting").split()):
            print("Id=%s\\nNeedDaemonReload=%s" % (unit, "yes" if unit in read("waiting") else "no"))
            print("Transient=%s\\n" % ("yes" if unit.endswith(".scope") else "no"))
    else:
        state = read("state", "active")
        print("ActiveState=%s\\nSubState=running\\nMainPID=%s\\nNRestarts=0" % (state, read("pid", "999999999")))
        print("NeedDaemonReload=%s" % ("yes" if argv[-1] in read("waiting").split() else "no"))
        print("TimeoutStartUSec=1min 30s\\nTimeoutStopUSec=infinity\\nResult=exit-code")
elif "restart" in argv:
    exec(read("on_restart"))
"""
# A daemon that does not start with the new bytes.
REFUSES_NEW = """
broken = b"new" in config.read_bytes()
(here / "state").write_text("failed" if broken else "active")
sys.exit("Job for docker.service failed.\\nSee journalctl." if broken else 0)
"""
JOURNALCTL = """
assert argv == ["-u", "docker.service", "-n", "20", "--no-pager", "-q"], argv
print("dockerd: unknown key \\x1b[31min daemon.json")
print("dockerd: proxy http://admin:hunter2@proxy:3128 token=hunter2 password: hunter2")
for number in range(40):
    print("line %d" % number + "x" * 5000 if number == 39 else "line %d" % number)
"""

RESTART = (Step(do="restart", unit="docker.service"),)
ACTIVE = (Step(do="unit_active", unit="docker.service"),)


@pytest.fixture
def config(host: CommitHost) -> Path:
    host.program("systemctl", SYSTEMCTL)
    host.program("journalctl", JOURNALCTL)
    return host.file("daemon.json", b"old\n")


def calls(host: CommitHost) -> list[str]:
    """What systemctl was asked to do, `show` aside."""
    return [line for line in (host.base / "calls").read_text().splitlines() if " show " not in line]


def test_a_restart_clears_the_start_limit_first_and_waits_until_the_unit_stays(host: CommitHost, config: Path) -> None:
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    assert (result["outcome"], config.read_bytes()) == ("applied", b"new\n")
    assert calls(host) == [
        "C reset-failed -- docker.service",
        "C reset-failed -- docker.socket",
        "C --no-pager --no-ask-password restart -- docker.service",
    ]


def test_a_service_that_does_not_come_back_gets_its_old_file_and_comes_back(host: CommitHost, config: Path) -> None:
    (host.base / "on_restart").write_text(REFUSES_NEW)
    before = state_of(config)
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    assert result["outcome"] == "rolled_back"
    assert "Job for docker.service failed." in result["reason"]
    assert state_of(config) == before
    assert sum("restart --" in call for call in calls(host)) == 2


def test_the_services_own_last_lines_come_bounded_without_secrets_or_escapes(host: CommitHost, config: Path) -> None:
    (host.base / "on_restart").write_text(REFUSES_NEW)
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    log = result["log"].split("\n")
    assert (len(log), log[0]) == (20, "line 20")
    assert max(map(len, log)) <= 303
    host.program("journalctl", "\n".join(JOURNALCTL.splitlines()[:4]))
    (host.base / "state").unlink()
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    assert result["log"].split("\n") == [
        "dockerd: unknown key \\x1b[31min daemon.json",
        "dockerd: proxy http://admin:xxxx@proxy:3128 token=xxxx password: xxxx",
    ]


# A start of dockerd that fails, as journalctl shows it (Docker 20.10 and 26.1), and what of it tells why.
HEAD = "Jan 27 10:00:00 web1 dockerd[4711]: "
AROUND = [
    "Jan 27 10:00:00 web1 systemd[1]: Starting docker.service - Docker Application Container Engine...",
    HEAD + 'time="2026-01-27T10:00:00Z" level=info msg="Starting up"',
    "{}",
    HEAD + 'time="2026-01-27T10:00:00Z" level=info msg="stopping event stream following graceful shutdown"',
    "Jan 27 10:00:00 web1 systemd[1]: docker.service: Main process exited, code=exited, status=1/FAILURE",
    "Jan 27 10:00:00 web1 systemd[1]: docker.service: Failed with result 'exit-code'.",
    "Jan 27 10:00:00 web1 systemd[1]: Failed to start docker.service - Docker Application Container Engine.",
]


@pytest.mark.parametrize(
    "line",
    [
        "failed to load listeners: listen tcp 127.0.0.1:2376: bind: address already in use",
        'failed to load listeners: could not load X509 key pair (cert: "/etc/docker/tls/cert.pem", key: '
        '"/etc/docker/tls/key.pem"): tls: private key does not match public key. Make sure the key is not encrypted',
        "failed to load listeners: could not read CA certificate "
        '"/etc/docker/tls/ca.pem": open /etc/docker/tls/ca.pem: no such file or directory',
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives are "
        "specified both as a flag and in the configuration file: hosts: (from flag: [fd://], from file: [tcp://x:1])",
        'time="2026-01-27T10:00:00Z" level=fatal msg="no way"',
    ],
)
def test_what_the_daemon_says_of_its_failed_start_is_in_the_reason(host: CommitHost, config: Path, line: str) -> None:
    (host.base / "on_restart").write_text(REFUSES_NEW)
    log = "\n".join(AROUND).format(HEAD + line)
    host.program("journalctl", f"print({log!r})")
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    assert result["outcome"] == "rolled_back"
    assert result["reason"].startswith("systemctl restart docker.service: Job for docker.service failed.")
    assert result["reason"].endswith("; its log says: " + line)
    assert result["log"] == log


def test_a_service_that_is_well_is_not_blamed_for_an_older_line_of_its_log(host: CommitHost, config: Path) -> None:
    host.program("journalctl", f"print({(HEAD + 'failed to do something an hour ago')!r})")
    impossible = Step(do="mode_is", path=str(config), mode=1, uid=0, gid=0)
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=(*ACTIVE, impossible)))
    assert result["outcome"] == "rolled_back"
    assert "an hour ago" not in result["reason"]
    assert "an hour ago" in result["log"]


def test_a_service_that_starts_and_dies_is_put_back(host: CommitHost, config: Path) -> None:
    # Every look at it finds another main process: it is being restarted all the time.
    host.program(
        "systemctl",
        SYSTEMCTL.replace('read("pid", "999999999")', "os.getpid() if b'new' in config.read_bytes() else 999999999"),
    )
    before = state_of(config)
    slow = transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE)
    [result] = host.run(slow)
    assert result["outcome"] == "rolled_back"
    assert "keeps being restarted" in result["reason"]
    assert state_of(config) == before


# A daemon that ends four seconds after it was started with the new bytes.
DIES_LATE = """
import subprocess
(here / "state").write_text("active")
if b"new" in config.read_bytes():
    dies = ["/bin/sh", "-c", "sleep 4; echo failed >%s" % (here / "state")]
    subprocess.Popen(dies, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
"""


@pytest.mark.parametrize(("healthy", "outcome"), [(8, "rolled_back"), (2, "applied")])
def test_a_service_must_be_well_for_as_long_as_the_request_says(
    host: CommitHost, config: Path, healthy: int, outcome: str
) -> None:
    (host.base / "on_restart").write_text(DIES_LATE)
    began = time.monotonic()
    planned = transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE)
    [result] = host.run(planned, healthy_seconds=healthy)
    assert result["outcome"] == outcome
    assert config.read_bytes() == (b"new\n" if outcome == "applied" else b"old\n")
    # What systemd has given up is not waited for to the last second of its patience.
    assert time.monotonic() - began < 45


def test_old_bytes_that_do_not_help_either_are_broken_and_hold_back_the_rest(host: CommitHost, config: Path) -> None:
    (host.base / "on_restart").write_text('(here / "state").write_text("failed"); sys.exit("no")')
    other = host.file("other")
    before = state_of(config), state_of(other)
    results = host.run(
        transaction(write(config, b"new\n"), group="docker", activation=RESTART),
        transaction(write(other, b"x"), group="files"),
    )
    assert [result["outcome"] for result in results] == ["broken", "held"]
    assert "putting it back did not help" in results[0]["reason"]
    assert "docker before it ended broken" in results[1]["reason"]
    assert (state_of(config), state_of(other)) == before
    assert any("outcome=broken" in line for line in host.journal())


def test_a_repair_made_by_hand_in_the_meantime_is_left_alone(host: CommitHost, config: Path) -> None:
    (host.base / "on_restart").write_text('config.write_bytes(b"repaired by hand"); sys.exit("no")')
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART))
    assert result["outcome"] == "broken"
    assert "written by somebody else since" in result["reason"]
    assert config.read_bytes() == b"repaired by hand"
    [kept] = [path for path in host.files.iterdir() if path != config]
    assert kept.name in result["reason"]
    assert kept.read_bytes() == b"old\n"
    (host.base / "on_restart").unlink()
    host.recover(release=True)
    assert host.run(transaction(write(config, b"newer\n")))[0]["outcome"] == "applied"
    assert kept.read_bytes() == b"old\n"


def test_a_removed_file_that_somebody_made_again_keeps_its_old_bytes_beside_it_for_good(
    host: CommitHost, config: Path
) -> None:
    (host.base / "on_restart").write_text('config.write_bytes(b"made by hand"); sys.exit("no")')
    [result] = host.run(transaction(Action(do="remove", path=str(config)), activation=RESTART))
    assert (result["outcome"], config.read_bytes()) == ("broken", b"made by hand")
    [kept] = [path for path in host.files.iterdir() if path != config]
    assert kept.name in result["reason"]
    (host.base / "on_restart").unlink()
    host.recover(release=True)
    assert host.run(transaction(Action(do="remove", path=str(config))))[0]["outcome"] == "applied"
    assert kept.read_bytes() == b"old\n"


def test_a_service_that_was_not_well_before_is_not_touched(host: CommitHost, config: Path) -> None:
    (host.base / "state").write_text("failed")
    before = state_of(config)
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART))
    assert result["outcome"] == "refused"
    assert "not well before any change: docker.service is failed (exit-code)" in result["reason"]
    assert (state_of(config), calls(host)) == (before, [])


def test_a_daemon_reload_is_held_while_other_peoples_unit_files_wait(host: CommitHost, config: Path) -> None:
    reload = (Step(do="daemon_reload", names=("docker.service",)),)
    (host.base / "waiting").write_text("nginx.service")
    before = state_of(config)
    planned = transaction(write(config, b"new\n"), activation=reload)
    [result] = host.run(planned)
    assert result["outcome"] == "held"
    assert "(nginx.service)" in result["reason"]
    assert (state_of(config), calls(host)) == (before, [])
    (host.base / "waiting").write_text("docker.service")
    [result] = host.run(planned)
    assert (result["outcome"], state_of(config)) == ("held", before)
    assert result["reason"].startswith("docker.service changed on disk without a daemon-reload")
    (host.base / "waiting").write_text("")
    assert host.run(planned)[0]["outcome"] == "applied"
    assert calls(host) == ["C --no-pager --no-ask-password daemon-reload"]


def test_a_containers_own_scope_does_not_hold_a_daemon_reload(host: CommitHost, config: Path) -> None:
    reload = (Step(do="daemon_reload", names=("docker.service",)),)
    (host.base / "waiting").write_text("docker-be8354d581ce.scope")
    assert host.run(transaction(write(config, b"new\n"), activation=reload))[0]["outcome"] == "applied"


def test_a_host_without_systemd_refuses_what_needs_it(host: CommitHost) -> None:
    path = host.file("daemon.json")
    host.program("systemctl", 'sys.exit("System has not been booted with systemd as init system")')
    before = state_of(path)
    [result] = host.run(transaction(write(path, b"new\n"), activation=RESTART))
    assert (result["outcome"], state_of(path)) == ("refused", before)
    assert "has not been booted with systemd" in result["reason"]


@contextmanager
def daemon(address: Path, answers: list[list[str]]) -> Iterator[list[str]]:
    """A Docker daemon's socket: names of running containers, one answer after the other, the last one for good."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096).decode().split(" HTTP")[0])
                    names = answers.pop(0) if len(answers) > 1 else answers[0]
                    # One whose name ends so is only listed because Docker starts it again and again.
                    state = ["restarting" if name.endswith("-looping") else "running" for name in names]
                    listed = [{"Names": ["/" + name], "State": each} for name, each in zip(names, state, strict=True)]
                    body = "OK" if asked[-1] == "GET /_ping" else json.dumps(listed)
                    connection.sendall(f"HTTP/1.0 200 OK\r\nX: y\r\n\r\n{body}".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def test_containers_that_ran_before_are_waited_for_and_others_are_not(host: CommitHost, config: Path) -> None:
    address = host.base / "docker.sock"
    probe = (
        Step(do="docker_ping", path=str(address)),
        Step(do="containers", path=str(address), names=("web", "stopped")),
    )
    # web runs; pings; after the restart nothing runs at first, then web does.
    with daemon(address, [["x"], ["web", "job"], ["x"], [], ["web"]]) as asked:
        [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=probe))
    assert result["outcome"] == "applied"
    assert asked == ["GET /_ping", "GET /containers/json", "GET /_ping", "GET /containers/json", "GET /containers/json"]


def test_a_container_that_only_kept_being_restarted_before_is_not_waited_for(host: CommitHost, config: Path) -> None:
    address = host.base / "docker.sock"
    probe = (Step(do="containers", path=str(address), names=("web", "web-looping")),)
    with daemon(address, [["web", "web-looping"], ["web"]]):
        [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=probe))
    assert result["outcome"] == "applied"


def test_what_the_service_says_with_each_of_both_files_is_told_where_that_differs(
    host: CommitHost, config: Path
) -> None:
    (host.base / "on_restart").write_text(REFUSES_NEW)
    host.program("journalctl", f'print("started with", pathlib.Path({str(config)!r}).read_text().strip())')
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    assert result["outcome"] == "rolled_back"
    assert result["log"] == "started with new\nWith the old bytes back:\nstarted with old"


def test_the_docker_socket_is_not_connected_to_while_the_service_is_stopped(host: CommitHost, config: Path) -> None:
    (host.base / "state").write_text("inactive")
    address = host.base / "docker.sock"
    with daemon(address, [[]]) as asked:
        [result] = host.run(transaction(write(config, b"new\n"), probe=(Step(do="docker_ping", path=str(address)),)))
    assert (result["outcome"], asked) == ("refused", [])


def test_nor_is_it_when_the_service_stopped_after_the_write(host: CommitHost, config: Path) -> None:
    stops = 'state = "inactive" if b"new" in config.read_bytes() else "active"'
    host.program("systemctl", SYSTEMCTL.replace('state = read("state", "active")', stops))
    address = host.base / "docker.sock"
    with daemon(address, [[]]) as asked:
        [result] = host.run(transaction(write(config, b"new\n"), probe=(Step(do="docker_ping", path=str(address)),)))
    assert result["outcome"] == "rolled_back"
    assert "docker.service is not active" in result["reason"]
    assert asked == ["GET /_ping", "GET /_ping"]  # before, and after it was put back
