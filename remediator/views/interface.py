"""What a view is: one way to show a user what a call found and did.

A view renders documents and computes nothing: verdicts, permissions and exit codes are decided before it is called.
To add one, add its file here and its line in `remediator/views/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from remediator.plan import HostResult, Plan

if TYPE_CHECKING:
    from remediator.catalogue import Control
    from remediator.held import HeldTransactions
    from remediator.threats import Threat


@dataclass(frozen=True)
class Report:
    """How an apply ended.

    `nothing_permitted`: there was nothing that it was allowed to do; `declined`: the answer was no; `applied`: it was
    carried out, and `results` has every host that was asked to change, `run` the run's ULID, `record` its file;
    `previewed`: a rollback that was to be shown only.
    """

    plan: Plan
    ended: Literal["nothing_permitted", "declined", "applied", "previewed"]
    results: Mapping[str, HostResult] = field(default_factory=dict)
    run: str | None = None
    who: str | None = None
    reason: str = ""
    record: Path | None = None


class View(Protocol):
    """One output format. Documents go to stdout, and everything that is only about the waiting goes to stderr."""

    def sweeping(self, hosts: int) -> AbstractContextManager[Callable[[str], None]]:
        """Progress while `hosts` hosts are observed: inside, call the value with each host's name as it answered."""

    def applying(self, hosts: Sequence[str]) -> AbstractContextManager[Callable[[str, str], None]]:
        """Progress while these hosts change: inside, call the value with a host's name and where it is."""

    def checked(self, plan: Plan, next_command: str) -> None:
        """The whole output of a check. `next_command` is the apply that would make the permitted changes."""

    def previewed(self, plan: Plan) -> None:
        """The preview that an apply shows before it asks. Raises UsageError when it could not be shown."""

    def applied(self, report: Report) -> None:
        """How an apply ended."""

    def transactions(self, fleet: Sequence[HeldTransactions]) -> None:
        """What each host's journal holds."""

    def listed(self, controls: Sequence[Control]) -> None:
        """The catalogue."""

    def explained(self, controls: Sequence[Control], threats: Mapping[str, Threat]) -> None:
        """Each of these controls in full; `threats` is the threat model by id."""

    def warn(self, message: str) -> None:
        """One sentence on stderr that does not end the call."""
