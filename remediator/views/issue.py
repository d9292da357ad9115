"""What `remediate tls issue` shows: how each host ended and what there is to do next, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from remediator.views.lines import BLANK, Line, columns, line

if TYPE_CHECKING:
    from remediator.tls.issue import IssuedHost

_WORDS = {"issued": "issued", "renewed": "renewed", "valid": "still valid", "skipped": "skipped", "failed": "FAILED"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IssuedHostDocument(_Part):
    """One host, and the certificate that the controller now holds for it."""

    host: str
    result: Literal["issued", "renewed", "valid", "skipped", "failed"]
    reason: str = Field(description="Why it was issued, renewed, skipped or failed.")
    kind: str = Field(description="Of the failure: unreachable, become, locked, request...; empty where there is none.")
    names: tuple[str, ...] = Field(description="The names and addresses in the certificate.")
    not_after: str | None = Field(description="End of its lifetime: UTC, ISO 8601.")
    sha256: str | None = Field(description="Of the certificate in DER.")


class IssueDocument(_Part):
    """What `remediate tls issue --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["issue"] = "issue"
    run: str = Field(description="ULID of the run, as in the hosts' journals.")
    hosts: tuple[IssuedHostDocument, ...]


def issue_text(hosts: Sequence[IssuedHost], next_command: str) -> str:
    """The table, and `next_command`, which previews what was issued."""
    return "".join(f"{' ' * each.indent}{each.text.plain}".rstrip() + "\n" for each in _lines(hosts, next_command))


def issue_json(run: str, hosts: Sequence[IssuedHost]) -> str:
    """The document, in ASCII."""
    document = IssueDocument(run=run, hosts=tuple(_document(host) for host in hosts))
    return json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=True) + "\n"


def _lines(hosts: Sequence[IssuedHost], next_command: str) -> list[Line]:
    results = {host.result for host in hosts}
    lines = columns(0, [[(host.host, ""), (_WORDS[host.result], ""), (_detail(host), "")] for host in hosts])
    lines.append(BLANK)
    if "failed" in results:
        lines.append(line(0, "Not every host came through: correct what is named above, and run this again."))
    if results & {"issued", "renewed"}:
        lines.append(line(0, "The hosts do not use what was issued yet. To see what an apply would change there:"))
        lines.append(line(2, next_command))
    elif "valid" in results:
        lines.append(line(0, "No certificate was due. To see whether the hosts use theirs:"))
        lines.append(line(2, next_command))
    return lines if lines[-1] is not BLANK else lines[:-1]


def _detail(host: IssuedHost) -> str:
    if host.expires is None:
        return host.reason
    reason = f" ({host.reason})" if host.reason else ""
    return f"until {host.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC for {', '.join(host.names)}{reason}"


def _document(host: IssuedHost) -> IssuedHostDocument:
    return IssuedHostDocument(
        host=host.host,
        result=host.result,
        reason=host.reason,
        kind=host.kind,
        names=host.names,
        not_after=_time(host.expires),
        sha256=host.fingerprint or None,
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
