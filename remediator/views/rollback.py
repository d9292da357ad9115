"""What a rollback would do: the run, the changes that take it back, what is refused, and hosts with nothing of it."""

from __future__ import annotations

from remediator.exit_codes import troubled
from remediator.plan import HostPlan, HostResult, Plan, Undo
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
    left = _left(report)
    if report.ended == "nothing_permitted":
        if all(host.error is not None for host in report.plan.hosts):
            return [line(0, _UNSEEN)]
        return [line(0, "Nothing was changed."), *left] if left else [line(0, _NOTHING)]
    if left:
        lines = [line(0, ("Not all of it was taken back.", "bold red")), *left]
    else:
        what = f"what {', '.join(undo.controls)} asked for in run" if undo.controls else "what run"
        end = "is as it was before it" if undo.controls else "changed is as it was before it"
        lines = [line(0, ("Done: ", "bold green"), f"{what} {undo.run} {end}.")]
    lines.append(line(0, (f"Run {report.run} is recorded in {report.record}", "dim"), wrap=False))
    return lines


_NOTHING = "There is nothing to take back."
_UNSEEN = "No host could be looked at, so nothing was taken back. Settle what is named above, and roll back again."


def _left(report: Report) -> list[Line]:
    """Each reason why something is not as it was before the run, with the hosts that it holds back."""
    hosts = {host.host: host for host in report.plan.hosts}
    found: dict[str, list[str]] = {}
    for name in troubled(report.plan, report.results):
        for reason in _reasons(hosts[name], report.results.get(name)) or ["look there, as said above"]:
            found.setdefault(reason, []).append(name)
    return [line(2, f"{reason}: ", (", ".join(names), "bold"), hang=2) for reason, names in found.items()]


def _reasons(host: HostPlan, result: HostResult | None) -> list[str]:
    reasons = ["not looked at"] if host.error is not None else []
    if result is not None and (result.error is not None or any(one.outcome != "applied" for one in result.results)):
        reasons.append("did not come through")
    if host.held or any(alert.kind == "refused" for alert in host.alerts):
        reasons.append("refused, and what would release it is said above")
    return reasons


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
