"""What stands above everything else: hosts that were interrupted, that are broken, or that are being changed."""

from __future__ import annotations

from collections.abc import Iterable

from remediator.plan import Alert, HostPlan
from remediator.views.lines import BLANK, Line, line

# The word and its style, the worst first. The others are said where they belong, by the view of a rollback.
_LOUD = {
    "broken": ("BROKEN", "bold white on red"),
    "open": ("INTERRUPTED", "bold red"),
    "changing": ("being changed", "bold yellow"),
    "recovered": ("recovered", "bold yellow"),
    "unseen": ("journal not seen", "yellow"),
}


def alert_lines(hosts: Iterable[HostPlan]) -> list[Line]:
    """One line for each alert, the worst first, and a blank one after them; nothing where there is none."""
    said = [(host.host, alert) for host in hosts for alert in host.alerts if alert.kind in _LOUD]
    said.sort(key=lambda each: list(_LOUD).index(each[1].kind))
    lines = [_alert_line(host, alert) for host, alert in said]
    return [*lines, BLANK] if lines else []


def _alert_line(host: str, alert: Alert) -> Line:
    word, style = _LOUD[alert.kind]
    return line(0, (word, style), "  ", (host, "bold"), f": {alert.text}", hang=2)
