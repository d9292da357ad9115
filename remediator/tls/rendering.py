"""`remediate tls show` as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from remediator.tls.listing import HeldCertificate, TlsDocument
from remediator.views.lines import BLANK, Line, columns, line

_SOON = 30  # days
_NO_NAMES = 3


def listing_lines(document: TlsDocument) -> list[Line]:
    """The CA, then hosts and clients: for whom, names, until when, fingerprint."""
    if document.authority is None:
        return [line(0, f"There is no CA in {document.directory}. `remediate tls init` makes one.")]
    lines = [
        line(0, ("CA", "bold"), f"  {document.directory}"),
        *columns(2, [_row(document.authority)]),
        BLANK,
        *_section("hosts", document.hosts, "`remediate tls issue -i INVENTORY` makes certificates for hosts"),
        BLANK,
        *_section("clients", document.clients, "`remediate tls client NAME -o DIR` makes a client's bundle"),
    ]
    broken = [each for each in (document.authority, *document.hosts, *document.clients) if each.problem]
    return [*lines, *(line(0, (f"{each.file}: the file {each.problem}", "red")) for each in broken)]


def _section(title: str, held: Sequence[HeldCertificate], if_none: str) -> list[Line]:
    if not held:
        return [line(0, (title, "bold"), f"  none: {if_none}")]
    return [line(0, (title, "bold"), (f"  {len(held)}", "dim")), *columns(2, [_row(each) for each in held])]


def _row(held: HeldCertificate) -> list[tuple[str, str]]:
    if held.problem:
        return [(held.name, ""), ("", ""), ("unreadable", "red"), ("", "")]
    return [(held.name, ""), (", ".join(held.names), ""), _until(held), (f"sha256 {held.sha256}", "dim")]


def _until(held: HeldCertificate) -> tuple[str, str]:
    day, days = (held.not_after or "")[:10], held.days_left or 0
    if days < 0:
        return (f"expired on {day}", "red")
    return (f"until {day}, {days} day{'' if days == 1 else 's'} left", "yellow" if days < _SOON else "")
