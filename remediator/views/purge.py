"""What `remediate purge` shows: what would go from every host, what went, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from remediator.plan import HostError
from remediator.purge import refusal
from remediator.views.lines import BLANK, Line, line, plain_text

if TYPE_CHECKING:
    from remediator.purge import Purged
    from remediator.standing import Standing


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PurgedHostDocument(_Part):
    """One host."""

    host: str
    error: HostError | None = Field(description="Why it could not be looked at or purged.")
    refused: str = Field(description="Why it must not be purged yet; empty where it can.")
    traces: bool = Field(description="Whether there was anything of ours before.")
    removed: tuple[str, ...] = Field(description="What is gone.")


class PurgeDocument(_Part):
    """What `remediate purge --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["purge"] = "purge"
    run: str | None = Field(description="ULID of the run; null when nothing was begun.")
    hosts: tuple[PurgedHostDocument, ...]


def prospect_text(standings: Sequence[Standing]) -> str:
    """What would go from where, and what keeps a host from being purged."""
    lines: list[Line] = []
    bare = []
    for host in standings:
        if host.error is not None:
            lines.append(line(0, f"{host.host}  not known: {host.error.message.removeprefix(f'{host.host}: ')}"))
        elif refusal(host):
            lines.append(line(0, f"{host.host}  cannot be purged: {refusal(host)}"))
        elif host.traces:
            lines.append(line(0, f"{host.host}  loses /var/lib/remediator: its journals, its backups, unused keys"))
        else:
            bare.append(host.host)
    if bare:
        lines.append(line(0, f"Nothing of ours: {', '.join(bare)}"))
    if any(each.traces for each in standings):
        lines.append(line(0, "The hardening itself stays. What was changed there cannot be taken back afterwards."))
    return plain_text(lines)


def purged_text(done: Sequence[Purged], record: str) -> str:
    """What went from each host, and where the run's record is."""
    lines: list[Line] = [BLANK]
    for host in done:
        if host.error is not None:
            lines.append(line(0, f"{host.host}  not purged: {host.error.message.removeprefix(f'{host.host}: ')}"))
        else:
            lines.append(line(0, f"{host.host}  purged: {', '.join(host.removed) or 'there was nothing left'}"))
    return plain_text([*lines, line(0, f"The run is recorded in {record}", wrap=False)])


def purge_json(run: str | None, standings: Sequence[Standing], done: Mapping[str, Purged]) -> str:
    """The document, in ASCII."""
    document = PurgeDocument(run=run, hosts=tuple(_document(host, done.get(host.host)) for host in standings))
    return json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=True) + "\n"


def _document(host: Standing, done: Purged | None) -> PurgedHostDocument:
    return PurgedHostDocument(
        host=host.host,
        error=done.error if done is not None and done.error is not None else host.error,
        refused=refusal(host),
        traces=host.traces,
        removed=done.removed if done is not None else (),
    )
