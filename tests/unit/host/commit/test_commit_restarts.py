"""A restart does what was shown and no more: looked at on the host itself, just before the first write."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remediator.plan import Step, Transaction
from tests.unit.host.commit.host import CommitHost, state_of, transaction, write
from tests.unit.host.commit.test_commit_services import RESTART, SYSTEMCTL


@pytest.fixture
def config(host: CommitHost) -> Path:
    host.program("systemctl", SYSTEMCTL)
    return host.file("daemon.json", b"old\n")


@contextmanager
def daemon(host: CommitHost, running: dict[str, tuple[str, bool]], **more: Any) -> Iterator[list[str]]:
    """A Docker daemon's socket: restart policy and --rm of its containers by name; what it was asked is answered."""
    ids = {name: f"{number:012x}" for number, name in enumerate(running)}
    answers: dict[str, Any] = {"/_ping": "OK", "/info": {"LiveRestoreEnabled": False}}
    answers["/containers/json"] = [{"Id": ids[name], "Names": [f"/{name}"], "State": "running"} for name in running]
    for name, (policy, removed) in running.items():
        settings = {"RestartPolicy": {"Name": policy}, "AutoRemove": removed}
        answers[f"/containers/{ids[name]}/json"] = {"HostConfig": settings}
    answers.update(more)
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host.base / "docker.sock"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    path = connection.recv(4096).decode().split()[1]
                    asked.append(path)
                    answer = answers.get(path)
                    if callable(answer):
                        answer = answer(answers)
                    head = "200 OK" if answer is not None else "404 Not Found"
                    connection.sendall(f"HTTP/1.0 {head}\r\n\r\n{json.dumps(answer)}".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def restart(host: CommitHost, config: Path, back: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> Transaction:
    """A write and a restart that were shown to bring `back` these containers, and to end those that stay `down`."""
    path = str(host.base / "docker.sock")
    probes = [Step(do="containers", path=path, names=back)] if back else []
    probes.append(Step(do="stays_down", path=path, names=down or None))
    return transaction(write(config, b"new\n"), activation=RESTART, probe=tuple(probes))


NO, ALWAYS = ("no", False), ("always", False)


def test_containers_that_were_shown_and_those_that_go_by_themselves_may_stop(host: CommitHost, config: Path) -> None:
    with daemon(host, {"web": ALWAYS, "job": NO, "once": ("no", True), "new": ("unless-stopped", False)}):
        [result] = host.run(restart(host, config, back=("web",), down=("job",)))
    assert (result["outcome"], config.read_bytes()) == ("applied", b"new\n")


def test_another_one_that_would_not_come_back_is_stale_and_named_and_nothing_is_written(
    host: CommitHost, config: Path
) -> None:
    before = state_of(config)
    with daemon(host, {"web": ALWAYS, "job": NO, "batch": NO}):
        [result] = host.run(restart(host, config, back=("web",), down=("job",)))
    assert (result["outcome"], state_of(config)) == ("stale", before)
    assert "would stop batch for good (no restart policy)" in result["reason"]
    assert "restart --" not in (host.base / "calls").read_text()


def test_where_containers_outlive_their_daemon_none_is_stopped(host: CommitHost, config: Path) -> None:
    with daemon(host, {"batch": NO}, **{"/info": {"LiveRestoreEnabled": True}}):
        [result] = host.run(restart(host, config))
    assert result["outcome"] == "applied"


def test_one_that_ends_while_it_is_looked_at_is_no_obstacle(host: CommitHost, config: Path) -> None:
    def ended(answers: dict[str, Any]) -> None:
        answers["/containers/json"] = []

    with daemon(host, {"once": ("no", True)}, **{"/containers/000000000000/json": ended}):
        [result] = host.run(restart(host, config))
    assert result["outcome"] == "applied"


HOSTILE: list[dict[str, Any]] = [
    {"/containers/json": [{"Id": "../../etc", "Names": ["/x"], "State": "running"}]},
    {"/containers/json": {"Id": "1"}},
    {"/containers/json": ["x"]},
    {"/containers/000000000000/json": {"HostConfig": []}},
    {"/containers/000000000000/json": {}},
    {"/containers/000000000000/json": None},
    {"/info": None},
]


@pytest.mark.parametrize("answers", HOSTILE)
def test_a_daemon_that_does_not_say_it_is_not_restarted(
    host: CommitHost, config: Path, answers: dict[str, Any]
) -> None:
    before = state_of(config)
    with daemon(host, {"batch": NO}, **answers):
        [result] = host.run(restart(host, config))
    assert (result["outcome"], state_of(config)) == ("refused", before), result


@pytest.fixture
def program(host: CommitHost) -> Iterator[Path]:
    """A program that runs as the unit's main process."""
    path = host.base / "dockerd"
    shutil.copy2("/usr/bin/sleep", path)
    with subprocess.Popen([str(path), "300"]) as process:
        (host.base / "pid").write_text(str(process.pid))
        yield path
        process.kill()


def replace_by_rename(path: Path) -> None:
    shutil.copy2("/usr/bin/true", f"{path}.new")
    os.rename(f"{path}.new", path)


def replace_and_keep_the_old(path: Path) -> None:
    os.link(path, f"{path}.old")
    replace_by_rename(path)


@pytest.mark.parametrize("change", [replace_by_rename, replace_and_keep_the_old, os.remove])
def test_a_program_that_was_replaced_since_its_start_is_not_started_in_passing(
    host: CommitHost, config: Path, program: Path, change: Callable[[Path], None]
) -> None:
    planned = transaction(write(config, b"new\n"), activation=RESTART)
    change(program)
    before = state_of(config)
    [result] = host.run(planned)
    assert (result["outcome"], state_of(config)) == ("held", before)
    assert f"{program}" in result["reason"]
    assert "was replaced since docker.service started" in result["reason"]
    assert "restart --" not in (host.base / "calls").read_text()


def test_a_program_whose_access_was_changed_is_the_same(host: CommitHost, config: Path, program: Path) -> None:
    program.chmod(0o700)
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART))
    assert result["outcome"] == "applied"


@pytest.mark.parametrize("waiting", ["docker.service", "docker.socket", "docker.service docker.socket"])
def test_a_restart_is_held_while_its_unit_or_socket_waits_for_a_daemon_reload(
    host: CommitHost, config: Path, waiting: str
) -> None:
    (host.base / "waiting").write_text(waiting)
    before = state_of(config)
    planned = transaction(write(config, b"new\n"), activation=RESTART)
    [result] = host.run(planned)
    assert (result["outcome"], state_of(config)) == ("held", before)
    assert result["reason"].startswith(waiting.replace(" ", " and ") + " changed on disk without a daemon-reload")
    (host.base / "waiting").write_text("nginx.service")
    assert host.run(planned)[0]["outcome"] == "applied"
