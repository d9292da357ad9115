"""What `remediate recover` shows: how every host stands, what was put back there, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from remediator.alerts import moment
from remediator.plan import HostError, Outcome
from remediator.views.lines import BLANK, Line, line, plain_text

if TYPE_CHECKING:
    from remediator.recovery import Recovered
    from remediator.standing import Standing

_UNTOLD = "a time that it does not tell"
_WORDS = {"rolled_back": "rolled back", "broken": "BROKEN"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InterruptedDocument(_Part):
    """A transaction that was begun and never ended."""

    run: str
    transaction: str
    who: str
    started: str | None = Field(description="UTC, ISO 8601, by the host's clock.")
    restarts: tuple[str, ...] = Field(description="The units that rolling it back restarts.")


class BrokenDocument(_Part):
    """Why nothing more is changed on a host until it is released."""

    run: str
    transaction: str
    reason: str
    since: str | None = Field(description="UTC, ISO 8601, by the host's clock.")


class RecoveredDocument(_Part):
    """One transaction that was put back, or could not be."""

    run: str
    transaction: str
    outcome: Outcome
    reason: str
    paths: tuple[str, ...]
    log: str = Field(description="The service's own last lines, where it did not come back.")


class RecoveredHostDocument(_Part):
    """One host: what was found there, and what was done."""

    host: str
    error: HostError | None = Field(description="Why it could not be looked at, or nothing could be done.")
    interrupted: tuple[InterruptedDocument, ...]
    broken: BrokenDocument | None
    recovered: tuple[RecoveredDocument, ...]
    released: bool


class RecoverDocument(_Part):
    """What `remediate recover --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["recover"] = "recover"
    run: str | None = Field(description="ULID of the run; null when nothing was begun.")
    hosts: tuple[RecoveredHostDocument, ...]


def standing_text(standings: Sequence[Standing], released: Sequence[str]) -> str:
    """How every host stands: the broken ones first, those without a trace of trouble in one line at the end."""
    lines: list[Line] = []
    fine = []
    for host in sorted(standings, key=lambda each: each.broken is None):
        found = _standing_lines(host, host.host in released)
        lines += found
        if not found:
            fine.append(host.host)
    if fine:
        lines.append(line(0, f"Nothing to recover: {', '.join(fine)}"))
    return plain_text(lines)


def recovered_text(done: Sequence[Recovered], record: str) -> str:
    """What was done on each host, and where the run's record is."""
    lines: list[Line] = [BLANK]
    for host in done:
        if host.error is not None:
            lines.append(line(0, f"{host.host}  not recovered: {host.error.message.removeprefix(f'{host.host}: ')}"))
        for each in host.transactions:
            lines.append(
                line(0, f"{host.host}  {each.group} of run {each.run}  {_WORDS.get(each.outcome, each.outcome)}")
            )
            if each.reason:
                lines.append(line(4, each.reason))
            lines += [line(4, f"| {text}", wrap=False) for text in each.log.splitlines()]
        if host.released:
            lines.append(line(0, f"{host.host}  released: changes can be made there again"))
        elif any(each.outcome == "broken" for each in host.transactions):
            lines.append(line(0, f"{host.host}  is BROKEN: once a person has repaired it, --release {host.host}"))
        elif host.error is None and not host.transactions:
            lines.append(line(0, f"{host.host}  there was nothing left to put back"))
    return plain_text([*lines, line(0, f"The run is recorded in {record}", wrap=False)])


def recover_json(run: str | None, standings: Sequence[Standing], done: Mapping[str, Recovered]) -> str:
    """The document, in ASCII."""
    document = RecoverDocument(run=run, hosts=tuple(_document(host, done.get(host.host)) for host in standings))
    return json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=True) + "\n"


def _standing_lines(host: Standing, release: bool) -> list[Line]:
    lines = []
    if host.error is not None:
        lines.append(line(0, f"{host.host}  not known: {host.error.message.removeprefix(f'{host.host}: ')}"))
    if host.broken is not None:
        since = moment(host.broken.since, _UNTOLD)
        lines.append(line(0, f"{host.host}  BROKEN since {since}: {host.broken.group} of run {host.broken.run}"))
        lines.append(line(4, host.broken.reason or "it does not say why"))
        told = (
            "it is to be released" if release else f"once a person has repaired it, --release {host.host} releases it"
        )
        lines.append(line(4, told))
    for each in host.interrupted:
        began = moment(each.started, _UNTOLD)
        who = f" by {each.who}" if each.who else ""
        lines.append(line(0, f"{host.host}  interrupted: {each.group} of run {each.run}{who}, begun {began}"))
        if each.problem:
            lines.append(line(4, each.problem))
        if each.restarts:
            lines.append(line(4, f"rolling it back restarts {', '.join(each.restarts)}"))
    if host.holder is not None:
        who, run = host.holder.who or "somebody", host.holder.run or "a run"
        lines.append(line(0, f"{host.host}  is being changed right now: {run} by {who}"))
    return lines


def _document(host: Standing, done: Recovered | None) -> RecoveredHostDocument:
    broken = host.broken
    return RecoveredHostDocument(
        host=host.host,
        error=done.error if done is not None and done.error is not None else host.error,
        interrupted=tuple(
            InterruptedDocument(
                run=each.run,
                transaction=each.group,
                who=each.who,
                started=_iso(each.started),
                restarts=each.restarts,
            )
            for each in host.interrupted
        ),
        broken=None
        if broken is None
        else BrokenDocument(run=broken.run, transaction=broken.group, reason=broken.reason, since=_iso(broken.since)),
        recovered=tuple(
            RecoveredDocument(transaction=each.group, **each.model_dump(exclude={"group"}))
            for each in (done.transactions if done is not None else ())
        ),
        released=done.released if done is not None else False,
    )


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
