"""One run of ansible-playbook through ansible-runner: private directory, scrubbed environment, passwords on pipes."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from remediator.access import Access, Secret
from remediator.ansible_environment import scrubbed
from remediator.collection import collection_root
from remediator.errors import UsageError
from remediator.inventory import Inventory
from remediator.text import one_line

_PATIENCE = 1  # seconds between two looks at whether the user wants to stop
_MAX_SAID = 20
_ERROR = "[ERROR]: "


@dataclass(frozen=True)
class Event:
    """One event of a run that names a host, with its own keys only."""

    name: str  # runner_on_start, runner_on_ok, runner_on_failed, runner_on_unreachable
    host: str
    message: str = ""
    outcomes: tuple[tuple[str, str], ...] = ()  # group and outcome


@dataclass(frozen=True)
class Ended:
    """How a run ended: ansible-playbook's exit code, whether any task began, and what it said last outside of one."""

    code: int | None
    began: bool
    said: str


@dataclass(frozen=True)
class Playbook:
    """What to run: the playbook's name, on which hosts, with which of our own variables."""

    name: str
    hosts: Sequence[str]
    variables: Mapping[str, Any]


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A fresh 0700 directory that is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="remediator-") as path:
        yield Path(path)


class Run:
    """A run in a thread of its own; `with` starts it and, left early, ends it.

    The thread's handler only enqueues: an exception in it would kill the play midway. A KeyboardInterrupt that comes
    out of `next_event` leaves the run as it is; it can be called again.
    """

    def __init__(self, directory: Path, inventory: Inventory, access: Access, playbook: Playbook) -> None:
        self._directory = directory
        self._sources = inventory.sources
        self._command = _command_line(directory, inventory, access, playbook)
        self._pipes = _Pipes(directory, access)
        self._queue: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ansible-runner", daemon=True)
        self._kill = threading.Event()
        self._pid: int | None = None
        self._code: int | None = None
        self._began = False
        self._said: list[str] = []
        self._failure: Exception | None = None

    def __enter__(self) -> Run:
        self._pipes.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.terminate()
        self._thread.join()
        self._pipes.close()

    def next_event(self) -> Event | None:
        """The next event of a host, waiting for it; None when ansible-playbook has ended."""
        while True:
            over = not self._thread.is_alive()
            try:
                event = self._queue.get(timeout=None if over else _PATIENCE, block=not over)
            except Empty:
                if over:
                    if self._failure is not None:
                        raise self._failure from None
                    return None
                continue
            self._note(event)
            if (told := _event(event)) is not None:
                self._began = True
                return told

    @property
    def ended(self) -> Ended:
        """How it ended; only meaningful after the last event."""
        starts = [index for index, text in enumerate(self._said) if text.startswith(_ERROR)]
        said = " ".join(self._said[starts[-1] if starts else 0 :])
        return Ended(self._code, self._began, one_line(said.removeprefix(_ERROR).rstrip(". "), 1500))

    def terminate(self) -> None:
        """End ansible-playbook and its workers now. What runs on a host goes on there to its own end."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)  # ansible-playbook passes it on to its workers
        self._kill.set()

    def _note(self, event: dict[str, Any]) -> None:
        if self._pid is None and isinstance(event.get("pid"), int):
            self._pid = event["pid"]
        if event.get("event") in ("verbose", "error", "warning") and (text := str(event.get("stdout") or "").strip()):
            self._said = [*self._said[-_MAX_SAID:], text]

    def _run(self) -> None:
        try:
            self._code = _run_ansible(self._directory, self._sources, self._command, self._put, self._kill.is_set)
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread, by next_event
            self._failure = error

    def _put(self, event: dict[str, Any]) -> bool:
        self._queue.put(event)
        return False  # nothing of it is to be written to the artifacts


def _run_ansible(
    directory: Path,
    sources: Sequence[str],
    command: list[str],
    put: Callable[[dict[str, Any]], bool],
    cancelled: Callable[[], bool],
) -> int | None:
    from ansible_runner import Runner, RunnerConfig

    config = RunnerConfig(
        private_data_dir=str(directory / "runner"),
        binary=sys.executable,
        cmdline=shlex.join(command),
        quiet=True,
        suppress_env_files=True,
        fact_cache_type="",  # the user's own, if there is one
    )
    config.prepare()
    config.cwd = os.getcwd()
    config.env = scrubbed(config.env, sources)
    config.suppress_output_file = True
    config.pexpect_timeout = _PATIENCE
    runner = Runner(config, event_handler=put, cancel_callback=cancelled)
    runner.run()
    code: int | None = runner.rc
    return code


def _command_line(directory: Path, inventory: Inventory, access: Access, playbook: Playbook) -> list[str]:
    arguments = ["-P", "-m", "ansible.cli.playbook"]  # -P: not from the working directory
    for source in inventory.sources:
        arguments += ["-i", source]
    if inventory.overrides:
        arguments += ["-i", str(_write(directory / "overrides.json", {"all": {"hosts": inventory.overrides}}))]
    limit = directory / "limit"
    _write_text(limit, "".join(f"{host}\n" for host in playbook.hosts))
    arguments += ["--limit", f"@{limit}", "--forks", str(access.forks)]
    for given in access.extra_vars:
        arguments += ["-e", given]
    # Ours come last: nothing may turn host keys off.
    ours = {**playbook.variables, "ansible_host_key_checking": True, "ansible_ssh_host_key_checking": True}
    arguments += ["-e", f"@{_write(directory / 'variables.json', ours)}"]
    if access.user:
        arguments += ["-u", access.user]
    if access.private_key:
        arguments += ["--private-key", access.private_key]
    if access.become:
        arguments.append("-b")
    for file in access.vault_password_files:
        arguments += ["--vault-password-file", file]
    for option, path, _ in _secrets(directory, access):
        arguments += [option, str(path)]
    return [*arguments, str(collection_root() / "playbooks" / f"{playbook.name}.yml")]


def _secrets(directory: Path, access: Access) -> list[tuple[str, Path, Secret]]:
    given = (
        ("--connection-password-file", "connection", access.password),
        ("--become-password-file", "become", access.become_password),
        ("--vault-password-file", "vault", access.vault_password),
    )
    return [(option, directory / f"{name}.pipe", secret) for option, name, secret in given if secret is not None]


class _Pipes:
    """Named pipes in the private directory that each give one password to whoever opens them first."""

    def __init__(self, directory: Path, access: Access) -> None:
        self._given = [(path, secret) for _, path, secret in _secrets(directory, access)]
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        for path, secret in self._given:
            os.mkfifo(path, 0o600)
            thread = threading.Thread(target=_serve, args=(path, secret), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        for path, _secret in self._given:
            # Nobody may have read it: opening it ourselves lets its thread go on and end.
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        for thread in self._threads:
            thread.join()


def _serve(path: Path, secret: Secret) -> None:
    with contextlib.suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
        pipe.write(secret.reveal().encode())


def _event(event: Mapping[str, Any]) -> Event | None:
    """An event of a host's task, reduced to what we know ourselves; None for any other."""
    name = str(event.get("event"))
    data = event.get("event_data")
    if not isinstance(data, dict) or not isinstance(data.get("host"), str) or not name.startswith("runner_on_"):
        return None
    result = data.get("res")
    if not isinstance(result, dict):
        result = {}
    outcomes = result.get("outcomes")
    pairs = tuple(
        (one_line(str(entry.get("group")), 60), one_line(str(entry.get("outcome")), 20))
        for entry in (outcomes if isinstance(outcomes, list) else [])
        if isinstance(entry, dict)
    )
    return Event(name, data["host"], one_line(str(result.get("msg") or ""), 1500), pairs)


def _write(path: Path, value: Any) -> Path:
    _write_text(path, json.dumps(value))
    return path


def _write_text(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def refused(ended: Ended) -> UsageError | None:
    """The error of a run in which no task began: Ansible itself refused its configuration, inventory or variables."""
    if ended.began or ended.code == 0:
        return None
    said = ended.said or f"ansible-playbook ended with {ended.code}"
    return UsageError(f"Ansible could not start: {said}. Correct what it names and run this again.")
