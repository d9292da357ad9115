"""Passwords that hosts share are tried sparingly: eight hundred failed log-ins lock a directory account."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from remediator.access import Secret
from remediator.text import one_line

MAX_REFUSALS = 3
# How long one silent host may keep the others from trying the same password.
_PATIENCE = 4.0


class GivenUpError(Exception):
    """The password was refused too often; the text names the hosts that did."""


@dataclass
class _Gate:
    accepted: bool = False
    refusals: list[str] = field(default_factory=list)
    trying: int = 0
    started: float = 0.0


@dataclass
class Attempt:
    """One try of a password: the caller says how it ended, or nothing when the host never told."""

    host: str
    gate: _Gate
    accepted: bool = False
    refused: bool = False


class PasswordGates:
    """Lets one host at a time try a password until one accepts it, then all; never again after three refusals.

    However hosts behave, no more than three tries of a password that nobody has accepted are refused.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._gates: dict[tuple[str, str, str], _Gate] = {}

    def begin(self, kind: str, user: str, password: Secret, host: str) -> Attempt:
        """Wait for this host's turn to try `password`; whoever began calls `end`. Raises GivenUpError."""
        with self._turn:
            gate = self._gates.setdefault((kind, user, password.reveal()), _Gate())
            while not gate.accepted:
                if len(gate.refusals) >= MAX_REFUSALS:
                    raise GivenUpError(", ".join(one_line(name) for name in gate.refusals))
                silent = time.monotonic() - gate.started
                room = gate.trying + len(gate.refusals) < MAX_REFUSALS
                if gate.trying == 0 or (room and silent >= _PATIENCE):
                    break
                self._turn.wait(_PATIENCE - silent if room else None)
            gate.trying += 1
            gate.started = time.monotonic()
        return Attempt(host, gate)

    def end(self, attempt: Attempt) -> None:
        """Note how an attempt ended."""
        with self._turn:
            attempt.gate.trying -= 1
            if attempt.accepted:
                attempt.gate.accepted = True
            elif attempt.refused and not attempt.gate.accepted:
                attempt.gate.refusals.append(attempt.host)
            self._turn.notify_all()
