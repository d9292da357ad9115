"""One run at a time on a host."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.host.commit.host import CommitHost, Running, chmod, transaction

HOLD = 'import time; (here / "held").touch(); time.sleep(60)'


def slow(host: CommitHost) -> Running:
    """A run that holds the lock until it is killed: its auditctl takes its time."""
    from remediator.plan import Action

    host.program("auditctl", HOLD)
    action = Action(do="audit_add", rule=("-w", "/x", "-p", "wa"))
    running = host.start(host.request(transaction(action), who="bob", run="01JDBOB"))
    end = time.monotonic() + 30
    while not (host.base / "held").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert (host.base / "held").exists()
    return running


def locked(answer: dict[str, object]) -> str:
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["kind"] == "locked"
    return str(error["message"])


def test_the_second_of_two_runs_is_told_who_holds_the_lock_and_writes_nothing(host: CommitHost) -> None:
    path = host.file("daemon.json")
    planned = transaction(chmod(path, 0o600))
    first = slow(host)
    try:
        message = locked(host.start(host.request(planned)).answer())
        assert "run 01JDBOB by bob" in message
        assert "seconds" in message
        assert path.stat().st_mode & 0o777 == 0o644
    finally:
        first.process.kill()
        first.process.communicate()
    assert host.run(planned)[0]["outcome"] == "applied"


def test_the_state_directory_and_the_lock_are_roots_alone(host: CommitHost) -> None:
    path = host.file("daemon.json")
    host.run(transaction(chmod(path, 0o600)), run="01JD0000000000000000000000")
    assert host.state.stat().st_mode & 0o7777 == 0o700
    lock = host.state / "lock"
    assert lock.stat().st_mode & 0o7777 == 0o600
    holder = json.loads(lock.read_text())
    assert (holder["run"], holder["who"], holder["host"]) == ("01JD0000000000000000000000", "alice", "web1")


def test_a_lock_left_by_a_run_that_died_holds_nobody_up(host: CommitHost) -> None:
    host.state.mkdir(mode=0o777)
    (host.state / "lock").write_bytes(b'{"run": "dead", "started": "\xff')
    path = host.file("daemon.json")
    assert host.run(transaction(chmod(path, 0o600)))[0]["outcome"] == "applied"
    assert host.state.stat().st_mode & 0o7777 == 0o700


def hostile_symlink(state: Path) -> None:
    (state.parent / "victim").write_bytes(b"theirs")
    (state / "lock").symlink_to(state.parent / "victim")


def hostile_fifo(state: Path) -> None:
    os.mkfifo(state / "lock")


def hostile_link(state: Path) -> None:
    (state.parent / "victim").write_bytes(b"theirs")
    os.link(state.parent / "victim", state / "lock")


def hostile_owner(state: Path) -> None:
    os.chown(state, 1000, 0)


def hostile_directory(state: Path) -> None:
    state.rename(state.parent / "victim-directory")
    state.symlink_to("victim-directory")


OURS = "/var/lib/remediator cannot be used"
LOCK = "/var/lib/remediator/lock is not a plain file of root's"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (hostile_symlink, LOCK),
        (hostile_fifo, LOCK),
        (hostile_link, LOCK),
        (hostile_owner, OURS),
        (hostile_directory, OURS),
    ],
)
def test_a_hostile_lock_or_state_directory_stops_everything_before_a_write(
    host: CommitHost, make: Callable[[Path], None], said: str
) -> None:
    host.state.mkdir(mode=0o700)
    make(host.state)
    path = host.file("daemon.json")
    answer = host.start(host.request(transaction(chmod(path, 0o600)))).answer()
    assert answer["error"]["kind"] == "state"
    assert said in answer["error"]["message"]
    assert path.stat().st_mode & 0o777 == 0o644
    victim = host.state.parent / "victim"
    assert not victim.exists() or victim.read_bytes() == b"theirs"


def test_what_stands_in_the_lock_is_shown_harmlessly(host: CommitHost) -> None:
    first = slow(host)
    try:
        (host.state / "lock").write_text(json.dumps({"run": "\x1b[2J\n" * 100, "who": ["x"], "started": -(10**400)}))
        message = locked(host.start(host.request()).answer())
        assert message.isprintable()
        assert len(message) < 500
    finally:
        first.process.send_signal(signal.SIGKILL)
        first.process.communicate()
