"""Carries the observe program to many hosts at once, over SSH and in this process, in one round trip a host."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import paramiko

from remediator.connection import Connection
from remediator.errors import HostError
from remediator.host import Program
from remediator.ssh_settings import SshSettings, host_key_refusal
from remediator.sweep_deadline import Deadline, Deadlines
from remediator.sweep_known_hosts import KnownHosts
from remediator.sweep_link import LinkError, Links, Login
from remediator.sweep_passwords import PasswordGates
from remediator.sweep_session import Session
from remediator.text import one_line

# Seconds for one host from its first packet to its whole answer; waiting for others does not count.
HOST_DEADLINE = 60.0


@dataclass(frozen=True)
class Target:
    """One host of a sweep: its name, what the inventory says about reaching it, and what ssh makes of that."""

    name: str
    connection: Connection
    settings: SshSettings


class Sweep:
    """A running sweep: at most `forks` hosts at a time, from the moment it is made. Leaving its context ends it."""

    def __init__(
        self, targets: Sequence[Target], program: Program, request: bytes, forks: int, known_hosts: KnownHosts
    ) -> None:
        self._expected = len(targets)
        self._waiting: queue.SimpleQueue[Target] = queue.SimpleQueue()
        for target in targets:
            self._waiting.put(target)
        self._done: queue.SimpleQueue[tuple[str, bytes | HostError | BaseException]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._deadlines = Deadlines()
        gates = PasswordGates()
        self._links = Links(self._deadlines, known_hosts, gates)
        self._carrier = _Carrier(self._links, self._deadlines, gates, program, request)
        for number in range(min(max(1, forks), len(targets))):
            threading.Thread(target=self._work, name=f"sweep-{number}", daemon=True).start()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close every connection that is still open."""
        self._stopping.set()
        self._deadlines.end()
        self._links.close()

    def results(self) -> Iterator[tuple[str, bytes | HostError]]:
        """Each target's name and answer, or why there is none, as they come in. To be used once."""
        for _ in range(self._expected):
            name, result = self._done.get()
            if isinstance(result, bytes | HostError):
                yield name, result
            else:
                raise result

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                target = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._done.put((target.name, self._carrier.carry(target)))
            except BaseException as error:  # noqa: BLE001 - a bug here must end the command, not hang it
                self._done.put((target.name, error))


class _Carrier:
    """What the workers share."""

    def __init__(
        self, links: Links, deadlines: Deadlines, gates: PasswordGates, program: Program, request: bytes
    ) -> None:
        self._links = links
        self._deadlines = deadlines
        self._gates = gates
        self._program = program
        self._request = request

    def carry(self, target: Target) -> bytes | HostError:
        """The answer of one host, or its error."""
        deadline = self._deadlines.start(HOST_DEADLINE)
        try:
            return self._converse(target, deadline)
        except LinkError as error:
            return self._late(target) if deadline.passed else error.of(target.name)
        except HostError as error:
            return error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if deadline.passed or isinstance(error, TimeoutError):
                return self._late(target)
            said = one_line(str(error), 200) or "it closed the connection"
            return HostError(
                target.name,
                "unreachable",
                f"{target.name}: the connection was lost before the answer came ({said}). Run this again.",
            )
        finally:
            self._deadlines.stop(deadline)

    def _converse(self, target: Target, deadline: Deadline) -> bytes:
        connection, settings = target.connection, target.settings
        if settings.refused is not None:
            raise host_key_refusal(target.name, settings.refused)
        login = Login(connection.private_key, connection.password)
        transport = self._links.open(target.name, settings, login, deadline)
        try:
            session = Session(target.name, settings.user, self._deadlines, deadline, self._gates)
            return session.ask(transport, connection.become, connection.python, self._program, self._request)
        finally:
            # Nothing more is wanted from it: closing what it talks through is enough, and takes no time.
            deadline.close()

    def _late(self, target: Target) -> HostError:
        return HostError(
            target.name,
            "answer",
            f"{target.name}: no complete answer within {HOST_DEADLINE:.0f} seconds. Look at the load of the host and "
            "at its login scripts, then run this again.",
        )
