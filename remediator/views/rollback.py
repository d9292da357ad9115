"""What a rollback would do: the run, the changes that take it back, what is refused, and hosts with nothing of it."""

from __future__ import annotations

from remediator.plan import Plan, Undo
from remediator.views.alerts import alert_lines
from remediator.views.findings import section_lines, unreached_lines
from remediator.views.interface import Report
from remediator.views.lines import BLANK, Line, line
from remediator.views.sections import sections


def rollback_lines(plan: Plan, undo: Undo, verbose: bool) -> list[Line]:
    """The preview."""
    lines = [_head(undo), BLANK, *alert_lines(plan.hosts)]
    for section in sections(plan, verbose):
        lines += section_lines(section, verbose)
    told = [
        *_told(plan, "refused", ("not taken back  ", "bold red")),
        *_told(plan, "nothing", ("nothing to do  ", "dim")),
    ]
    told += unreached_lines(plan)
    return [*lines, *told, *([BLANK] if told else [])]


def rolled_back_lines(report: Report, undo: Undo) -> list[Line]:
    """The end: what came of it, and where the record is."""
    if report.ended in ("declined", "previewed"):
        return [line(0, "Nothing was changed.")]
    refused = any(host.held for host in report.plan.hosts)
    if report.ended == "nothing_permitted":
        return [line(0, _NOTHING if not refused else _REFUSED)]
    troubled = [
        host
        for host, result in report.results.items()
        if result.error is not None or any(answer.outcome != "applied" for answer in result.results)
    ]
    what = f"what {', '.join(undo.controls)} asked for in run" if undo.controls else "what run"
    end = "is as it was before it" if undo.controls else "changed is as it was before it"
    lines = [line(0, ("Done: ", "bold green"), f"{what} {undo.run} {end}.")]
    if troubled:
        lines = [line(0, ("Not everything came through: ", "bold red"), f"look at {', '.join(troubled)}.")]
    lines.append(line(0, (f"Run {report.run} is recorded in {report.record}", "dim"), wrap=False))
    return lines


_NOTHING = "There is nothing to take back."
_REFUSED = "Nothing was changed: what is refused above says what would release it."


def _head(undo: Undo) -> Line:
    only = f", of {', '.join(undo.controls)} only" if undo.controls else ""
    over = ", over what was changed since" if undo.force else ""
    return line(0, "Rolling back run ", (undo.run, "bold"), f"{only}{over}")


def _told(plan: Plan, kind: str, head: tuple[str, str]) -> list[Line]:
    """One line for each host and alert of this kind."""
    return [
        line(0, head, (host.host, "bold"), f": {alert.text}", hang=2)
        for host in plan.hosts
        for alert in host.alerts
        if alert.kind == kind
    ]
