"""The typed view of what a host holds of our own transactions: the light state, and every record.

A record that is no such document is kept as one with a `problem`: a hostile journal is a fact about its host, and takes
neither the other records nor the host's verdicts with it. Times are Unix seconds by the host's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from remediator.host_values import HostDocument, HostText

TRANSACTIONS = "/var/lib/remediator/transactions"

# Of all records together; a fleet's largest apply makes some hundreds. The rest is a fact, and nothing to compute with.
_MOST_ENTRIES = 20_000
_TOO_MANY = "its entries were left out: this host holds more than is looked at"

_LAST_SECOND = 253_402_300_799  # of the year 9999
# What a clock cannot have shown is no time.
Seconds = Annotated[int | None, BeforeValidator(lambda value: value if _is_time(value) else None)]
Number = Annotated[int, Field(ge=0, le=2**32 - 2)]
# A unit is named after it, and directories are.
RUN_ID = r"[0-9A-Za-z]{1,40}"
Run = Annotated[str, Field(pattern=f"^{RUN_ID}$")]
Group = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
ControlIds = Annotated[tuple[HostText, ...], Field(max_length=5000)]


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_SECOND


class OpenTransaction(HostDocument):
    """A transaction that was begun and never ended; `problem` says why no more is known of it.

    `restarts` are the units that rolling it back restarts.
    """

    run: Run
    group: Group
    who: HostText = ""
    started: Seconds = None
    restarts: Annotated[tuple[HostText, ...], Field(max_length=100)] = ()
    problem: HostText = ""


class BrokenMark(HostDocument):
    """Why nothing more is committed on this host until a person releases it."""

    run: HostText = ""
    group: HostText = ""
    reason: HostText = ""
    since: Seconds = None


class EndedTransaction(HostDocument):
    """How a transaction ended; `recovered`: not by itself, but by what found its journal later."""

    run: Run
    group: Group
    outcome: HostText = ""
    reason: HostText = ""
    ended: Seconds = None
    recovered: bool = False


class LockHolder(HostDocument):
    """The run that changes the host right now."""

    run: HostText = ""
    who: HostText = ""
    started: Seconds = None


class OwnState(HostDocument):
    """What is always told: `error` says why the rest is not known."""

    error: HostText | None = None
    open: Annotated[tuple[OpenTransaction, ...], Field(max_length=200)] = ()
    broken: BrokenMark | None = None
    last: EndedTransaction | None = None
    holder: LockHolder | None = None

    @property
    def interrupted(self) -> tuple[OpenTransaction, ...]:
        """The open transactions, without those of a run that is at it right now."""
        return tuple(each for each in self.open if self.holder is None or each.run != self.holder.run)

    @property
    def unusable(self) -> tuple[OpenTransaction, ...]:
        """Those whose journal cannot be used: nothing is committed there before a person has seen to them."""
        return tuple(each for each in self.interrupted if each.problem)

    @property
    def recoverable(self) -> bool:
        """Whether something was interrupted that the next commit rolls back."""
        hindered = self.unusable or self.broken is not None or self.holder is not None
        return bool(self.interrupted) and not hindered

    @property
    def restarts(self) -> tuple[str, ...]:
        """The units that rolling back what was interrupted restarts."""
        return tuple(dict.fromkeys(unit for each in self.interrupted for unit in each.restarts))


class RecordedState(HostDocument):
    """What a path was before or after; numbers are null where nothing is there."""

    type: Literal["missing", "file", "directory", "socket"]
    mode: Annotated[int, Field(ge=0, le=0o7777)] | None = None
    uid: Number | None = None
    gid: Number | None = None

    @property
    def access(self) -> tuple[int | None, int | None, int | None]:
        """Mode, uid and gid."""
        return self.mode, self.uid, self.gid


class RecordedEntry(HostDocument):
    """One path, one kernel audit rule (`rule`, `loaded` before and after), or our own key pair (`pair`).

    `content` says which bytes the path holds now, null where the transaction did not change them. `backup` is the name
    of the file, in the transaction's own directory, that holds those from before, `written` that of a copy of those
    that the transaction wrote.
    """

    controls: ControlIds = ()
    path: str | None = Field(default=None, max_length=4095)
    before: RecordedState | None = None
    after: RecordedState | None = None
    content: Literal["before", "after", "other", "unknown"] | None = None
    backup: str | None = Field(default=None, pattern=r"^[0-9]{1,6}\.before$")
    written: str | None = Field(default=None, pattern=r"^[0-9]{1,6}\.after$")
    rule: Annotated[tuple[str, ...], Field(max_length=200)] | None = None
    loaded: tuple[bool, bool] | None = None
    pair: bool = False
    problem: HostText = ""


class RecordedStep(HostDocument):
    """An activation as it was carried out."""

    do: Literal["daemon_reload", "reload", "restart"]
    unit: HostText | None = None
    names: Annotated[tuple[HostText, ...], Field(max_length=100)] | None = None


class RecordedTransaction(HostDocument):
    """What a host's journal says of one transaction. `undoes` is the run that it rolled back, empty for most."""

    run: Run
    group: Group
    open: bool = False
    problem: HostText = ""
    who: HostText = ""
    reason: HostText = ""
    undoes: HostText = ""
    started: Seconds = None
    ended: Seconds = None
    outcome: HostText = ""
    why: HostText = ""  # of the outcome
    recovered: bool = False
    place: Annotated[int, Field(ge=0)] | None = None  # among its run's transactions, in the order of the commit
    controls: ControlIds = ()
    activation: Annotated[tuple[RecordedStep, ...], Field(max_length=100)] = ()
    entries: Annotated[tuple[RecordedEntry, ...], Field(max_length=5000)] = ()

    @property
    def name(self) -> str:
        """What its directory is called."""
        return f"{self.run}.{self.group}"

    @property
    def applied(self) -> bool:
        """Whether it ended with its change in place, so that there is something to take back."""
        return not self.open and not self.problem and self.outcome == "applied"

    def kept_path(self, name: str | None) -> str | None:
        """Where a file that the transaction kept, an entry's `backup` or `written`, lies on the host."""
        return f"{TRANSACTIONS}/{self.name}/{name}" if name is not None else None


def _records(value: Any) -> Any:
    """Each record on its own: one that is malformed becomes its problem, one without a name is left out."""
    if not isinstance(value, list | tuple):
        return value
    found: list[RecordedTransaction] = []
    for item in _within_bounds(value[:200]):
        try:
            found.append(RecordedTransaction.model_validate(item))
        except ValidationError:
            if not isinstance(item, dict):
                continue
            named = {"run": item.get("run"), "group": item.get("group"), "open": item.get("open") is True}
            try:
                found.append(RecordedTransaction.model_validate({**named, "problem": "it is malformed"}))
            except ValidationError:
                continue
    return tuple(found)


def _within_bounds(items: Iterable[Any]) -> Iterator[Any]:
    """The records, without their entries where the others already hold as many as are looked at."""
    room = _MOST_ENTRIES
    for item in items:
        entries = item.get("entries") if isinstance(item, dict) else None
        number = len(entries) if isinstance(entries, list | tuple) else 0
        if number <= room:
            room -= number
            yield item
        else:
            yield {**item, "entries": [], "problem": _TOO_MANY}


class OwnTransactions(HostDocument):
    """Every transaction that a host holds, newest first; `error` says why that is not known."""

    error: HostText | None = None
    broken: BrokenMark | None = None
    records: Annotated[tuple[RecordedTransaction, ...], BeforeValidator(_records), Field(max_length=200)] = ()
