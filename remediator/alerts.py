"""What a host's own journal makes every preview say first: it was interrupted, it is broken, it is being changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from remediator.own_records import TRANSACTIONS, OpenTransaction, OwnState
from remediator.plan import Alert
from remediator.text import one_line


def recovery_of(host: str) -> str:
    """The call that puts back what was interrupted on a host."""
    return f"remediate recover -i INVENTORY -l {host}"


def release_of(host: str) -> str:
    """The call that lets a broken host be changed again."""
    return f"remediate recover -i INVENTORY --release {host}"


def repair_of(unusable: OpenTransaction) -> str:
    """What a person does about a transaction whose journal cannot be used."""
    return f"somebody has put right what it did and removed {TRANSACTIONS}/{unusable.run}.{unusable.group}"


def alerts_of(host: str, state: OwnState | None) -> tuple[Alert, ...]:
    """What must be said of `host` before all else, the worst first; times are by its own clock."""
    if state is None:
        return ()
    return tuple(
        Alert.model_validate({"kind": kind, "text": one_line(text, 2000), "restarts": restarts})
        for kind, text, *restarts in _said(host, state)
    )


def _said(host: str, state: OwnState) -> Iterator[tuple[str, ...]]:
    """The kind, the text, and the units that are restarted when it is rolled back."""
    if state.broken is not None:
        mark = state.broken
        what = f"transaction {mark.group or '?'} of run {mark.run or '?'}"
        yield (
            "broken",
            f"{what} was put back{_at(mark.since)}, and the service still is not healthy "
            f"({mark.reason or 'no reason was kept'}): nothing is changed there until `{release_of(host)}`",
        )
    holder = state.holder
    for each in state.interrupted:
        why = f" (its journal cannot be read: {each.problem})" if each.problem else ""
        yield (
            "open",
            f"run {each.run} by {each.who or '?'} was interrupted in transaction {each.group}, begun"
            f"{_at(each.started)}{why}: {_end(host, each)}",
            *each.restarts,
        )
    if holder is not None:
        yield (
            "changing",
            f"run {holder.run or '?'} by {holder.who or '?'} has been changing this host{_since(holder.started)}: what "
            "is shown of it may be half of that",
        )
    if state.last is not None and state.last.recovered:
        last = state.last
        yield (
            "recovered",
            f"transaction {last.group} of run {last.run} was interrupted, and what found its journal ended it"
            f"{_at(last.ended)}: {last.outcome.replace('_', ' ')}{f', {last.reason}' if last.reason else ''}",
        )
    if state.error is not None:
        yield "unseen", f"whether a change was interrupted here is not known: {state.error}"


def _end(host: str, interrupted: OpenTransaction) -> str:
    """What ends an interrupted transaction; one without a journal that can be used, nothing but a person."""
    if interrupted.problem:
        return f"nothing is changed there before {repair_of(interrupted)}"
    call = f"`{recovery_of(host)}`"
    if not interrupted.restarts:
        return f"the next apply, or {call}, rolls it back"
    return f"the next apply that may do so, or {call}, rolls it back, which restarts {', '.join(interrupted.restarts)}"


def moment(seconds: int | None, untold: str = "?") -> str:
    """A time by a host's clock, in UTC, as people read it; `untold` where there is none."""
    return untold if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _at(seconds: int | None) -> str:
    return f" {moment(seconds)}" if seconds is not None else " at a time that is not known"


def _since(seconds: int | None) -> str:
    return f" since {moment(seconds)}" if seconds is not None else ""
