"""What `remediate transactions` shows: each host's journal, as lines or as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from remediator.alerts import moment, release_of
from remediator.held import HeldTransactions
from remediator.own_records import RecordedEntry, RecordedTransaction
from remediator.plan import HostError
from remediator.views.lines import BLANK, Line, columns, line

_STYLES = {"applied": "green", "rolled_back": "yellow", "broken": "bold white on red"}
_MOST_PATHS = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokenDocument(_Part):
    """Why nothing more is committed on a host."""

    run: str
    group: str
    reason: str
    since: int | None = Field(description="Unix seconds by the host's clock.")


class HeldTransactionDocument(_Part):
    """One transaction, as the host's journal has it."""

    run: str = Field(description="ULID of the run.")
    group: str
    open: bool = Field(description="It was begun and never ended.")
    outcome: str = Field(description="Empty while it is open.")
    reason: str = Field(description="Of the outcome.")
    recovered: bool = Field(description="It was ended by what found its journal.")
    started: int | None = Field(description="Unix seconds by the host's clock.")
    ended: int | None
    who: str
    why: str = Field(description="The reason that was given for the run.")
    undoes: str = Field(description="The run that it rolled back; empty where it was no rollback.")
    controls: tuple[str, ...]
    paths: tuple[str, ...]
    rules: tuple[str, ...] = Field(description="Kernel audit rules that it loaded or unloaded.")
    problem: str = Field(description="Why no more is known of it.")


class HeldHostDocument(_Part):
    """One host."""

    host: str
    error: HostError | None
    broken: BrokenDocument | None
    transactions: tuple[HeldTransactionDocument, ...] = Field(description="Open ones first, then the newest first.")


class TransactionsDocument(_Part):
    """What `remediate transactions --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["transactions"] = "transactions"
    hosts: tuple[HeldHostDocument, ...]


def transactions_document(fleet: Sequence[HeldTransactions]) -> TransactionsDocument:
    """The document."""
    return TransactionsDocument(hosts=tuple(_host(held) for held in fleet))


def transactions_lines(fleet: Sequence[HeldTransactions], verbose: bool) -> list[Line]:
    """Hosts that are broken, were interrupted or could not be looked at first; with `verbose` every path."""
    lines: list[Line] = []
    for held in sorted(fleet, key=_urgency):
        lines += [*_host_lines(held, verbose), BLANK]
    return lines[:-1]


def _urgency(held: HeldTransactions) -> int:
    if held.broken is not None:
        return 0
    if any(record.open for record in held.records):
        return 1
    return 2 if held.error is not None else 3


def _host_lines(held: HeldTransactions, verbose: bool) -> list[Line]:
    if held.error is not None:
        return [line(0, ("not known  ", "bold red"), (held.host, "bold"), f": {_without(held)}", hang=2)]
    lines = [line(0, (held.host, "bold underline"))]
    if held.broken is not None:
        mark = held.broken
        said = f"transaction {mark.group or '?'} of run {mark.run or '?'}, {moment(mark.since)}: {mark.reason}"
        lines.append(line(2, ("BROKEN", "bold white on red"), f"  {said}", hang=2))
        lines.append(line(2, "Nothing is changed there until ", (release_of(held.host), "bold")))
    if not held.records:
        return [*lines, line(2, ("holds no transaction", "dim"))]
    heads = columns(2, [_row(record, held) for record in held.records])
    for head, record in zip(heads, held.records, strict=True):
        lines += [head, *_record_lines(record, verbose)]
    return lines


def _without(held: HeldTransactions) -> str:
    """The error without the host's name, with which it begins by custom."""
    return held.error.message.removeprefix(f"{held.host}: ") if held.error is not None else ""


def _row(record: RecordedTransaction, held: HeldTransactions) -> list[tuple[str, str]]:
    if record.problem:
        return [(record.run, "bold"), (record.group, ""), ("UNREADABLE", "bold red"), ("", ""), ("", "")]
    running = held.holder is not None and held.holder.run == record.run
    ended = ("RUNNING", "bold yellow") if running else ("INTERRUPTED", "bold red")
    if not record.open:
        ended = (record.outcome.replace("_", " "), _STYLES.get(record.outcome, ""))
    return [(record.run, "bold"), (record.group, ""), ended, (moment(record.started), "dim"), (record.who, "")]


def _record_lines(record: RecordedTransaction, verbose: bool) -> list[Line]:
    lines = []
    if record.problem:
        lines.append(line(6, record.problem))
    if record.undoes:
        lines.append(line(6, f"rolled run {record.undoes} back"))
    if record.reason:
        lines.append(line(6, f"reason: {record.reason}"))
    if record.why:
        lines.append(line(6, (record.why, "italic")))
    told = list(dict.fromkeys(_entry_words(record.entries)))
    shown = told if verbose or len(told) <= _MOST_PATHS else told[: _MOST_PATHS - 1]
    lines += [line(6, (each, "dim"), wrap=False) for each in shown]
    if len(shown) < len(told):
        lines.append(line(6, (f"and {len(told) - len(shown)} more (-v shows them)", "dim")))
    return lines


def _entry_words(entries: Iterable[RecordedEntry]) -> list[str]:
    words = []
    for entry in entries:
        if entry.path is not None:
            words.append(entry.path)
        elif entry.rule is not None:
            words.append(f"audit rule {' '.join(entry.rule)}")
        elif entry.pair:
            words.append("a key and a signing request of its own")
    return words


def _host(held: HeldTransactions) -> HeldHostDocument:
    mark = held.broken
    return HeldHostDocument(
        host=held.host,
        error=held.error,
        broken=BrokenDocument.model_validate(mark.model_dump()) if mark is not None else None,
        transactions=tuple(_transaction(record) for record in held.records),
    )


def _transaction(record: RecordedTransaction) -> HeldTransactionDocument:
    return HeldTransactionDocument(
        run=record.run,
        group=record.group,
        open=record.open,
        outcome=record.outcome,
        reason=record.why,
        recovered=record.recovered,
        started=record.started,
        ended=record.ended,
        who=record.who,
        why=record.reason,
        undoes=record.undoes,
        controls=record.controls,
        paths=tuple(dict.fromkeys(entry.path for entry in record.entries if entry.path is not None)),
        rules=tuple(" ".join(entry.rule) for entry in record.entries if entry.rule is not None),
        problem=record.problem,
    )
