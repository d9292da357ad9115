"""The record of a run that takes an errand to hosts: written before it begins, and when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from remediator import history
from remediator.errand import Errand
from remediator.errors import UsageError
from remediator.exit_codes import ExitCode, first_that_applies
from remediator.plan import HostResult, Plan
from remediator.run import who
from remediator.text import one_line
from remediator.version import version

if TYPE_CHECKING:
    from remediator.access import Access


class Errands:
    """One run of `recover` or `purge`. Inside of `with` it is under way; left without `ended`, it was interrupted.

    `complaint` is what to tell the user, once the hosts' answers are shown, where the record's end could not be saved.
    """

    def __init__(self, verb: Literal["recover", "purge"], access: Access, reason: str) -> None:
        """`reason` is the user's own words. Raises nothing: the record is made when the run begins."""
        self.errand = Errand(history.new_ulid(), who(), one_line(reason or f"remediate {verb}", 1000))
        nothing = Plan(controls=(), hosts=())
        self._record = history.RunRecord(
            run=self.errand.run,
            verb=verb,
            version=version(),
            started=_now(),
            who=self.errand.who,
            reason=self.errand.reason,
            inventory=access.sources,
            limit=access.limit,
            plan_digest=nothing.digest,
            plan=nothing,
        )
        self.path = Path()
        self.complaint = ""

    def __enter__(self) -> Errands:
        """Raises UsageError when the record cannot be written; nothing is begun then."""
        self.path = history.save(self._record)
        return self

    def ended(self, results: Sequence[HostResult], code: ExitCode) -> None:
        """Every host has answered."""
        changes = {"state": "finished", "finished": _now(), "results": tuple(results), "exit_code": code}
        self._record = self._record.model_copy(update=changes)

    def __exit__(self, *_: object) -> None:
        if self._record.state != "finished":
            self._record = self._record.model_copy(update={"state": "interrupted", "finished": _now()})
        try:
            history.save(self._record)
        except UsageError as error:  # hosts may be changed by now: their answers must still be shown
            self.complaint = str(error)

    def final_code(self, code: ExitCode, warn: Callable[[str], None]) -> ExitCode:
        """The call's exit code, its hosts' being `code`: a record that could not be saved is told to `warn`."""
        if not self.complaint:
            return code
        warn(self.complaint)
        return first_that_applies((code, ExitCode.USAGE))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
