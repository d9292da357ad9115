"""The sentence that ends the output: what there is to do next."""

from __future__ import annotations

from remediator.plan import HostPlan, HostResult, Plan, VerdictName
from remediator.views.interface import Report
from remediator.views.lines import Line, line
from remediator.views.outcomes import broken_hosts
from remediator.views.sections import consent_releases, runs_nothing


def closing_lines(plan: Plan, next_command: str) -> list[Line]:
    """After a check: the apply that makes the permitted changes, and what would release the others."""
    if all(runs_nothing(host) for host in plan.hosts):
        return []
    permitted = _changes([(host.host, sum(len(t.changes) for t in host.transactions)) for host in plan.hosts])
    lines = []
    recovered = _on([host.host for host in plan.hosts if host.recovers])
    due = [f"roll back what was interrupted on {recovered}"] if recovered else []
    due += [f"make {permitted}"] if permitted else []
    if due:
        lines.append(line(0, f"To {' and '.join(due)}: ", (next_command, "bold"), wrap=False))
    lines += _held_lines(plan)
    if not lines:
        lines.append(_nothing_line(plan))
    return lines


def after_lines(report: Report) -> list[Line]:
    """After an apply: what is left, and where the record is."""
    if report.ended == "declined":
        return [line(0, "Nothing was changed.")]
    if report.ended == "nothing_permitted":
        if all(runs_nothing(host) for host in report.plan.hosts):
            return []
        return _held_lines(report.plan) or [_nothing_line(report.plan)]
    lines = []
    after = [result.after for result in report.results.values() if result.after is not None]
    left = sum(1 for host in after for verdict in host.verdicts if verdict.verdict == "drifted" and verdict.permitted)
    broken = broken_hosts(report)
    if broken:
        lines.append(
            line(0, (f"BROKEN: {', '.join(broken)}", "bold white on red"), ". Look there first, as said above.")
        )
    troubled = [host for host, result in report.results.items() if _troubled(result)]
    if troubled:
        lines.append(line(0, ("Not everything came through: ", "bold red"), f"look at {', '.join(troubled)}."))
    elif left:
        lines.append(line(0, (f"Still drifted: {left} control{'' if left == 1 else 's'}. ", "yellow"), "Apply again."))
    else:
        lines.append(line(0, ("Done: ", "bold green"), "nothing is left that this run was allowed to change."))
    lines.append(line(0, (f"Run {report.run} is recorded in {report.record}", "dim"), wrap=False))
    return lines


def _troubled(result: HostResult) -> bool:
    failed = result.error is not None or result.left_undone
    # Nobody has seen what the host is now, or it is neither as before nor as after.
    failed = failed or result.after is None or bool(result.after.interrupted)
    return failed or any(answer.outcome not in ("applied", "held") for answer in result.results)


def _held_lines(plan: Plan) -> list[Line]:
    held = _changes([(host.host, sum(len(t.changes) for t in host.held)) for host in plan.hosts])
    if not held:
        return []
    asking = {(host.host, control) for host in plan.hosts for each in host.held for control in each.controls}
    verdicts = [each for host in plan.hosts for each in host.verdicts if (host.host, each.control) in asking]
    if not all(consent_releases(verdict) for verdict in verdicts):
        return [line(0, f"Held back are {held}: what is named above releases them.")]
    return [line(0, f"Held back are {held}: ", ("--allow", "bold magenta"), " as named above releases them.")]


def _nothing_line(plan: Plan) -> Line:
    """Why there is no change to propose."""
    if all(host.error is not None for host in plan.hosts):
        return line(0, "No host could be looked at. Settle what is named above, and check again.")
    if any(host.error is not None or _has(host, "unknown") for host in plan.hosts):
        return line(0, "Nothing to change in what could be decided; what could not is named above with its reason.")
    if any(_has(host, "drifted", "manual", "pending") for host in plan.hosts):
        return line(
            0, "Nothing that remediate would change: what is named above is for a person, or for time, to settle."
        )
    return line(0, ("Everything that was checked is compliant", "bold green"), ": nothing to change.")


def _has(host: HostPlan, *verdicts: VerdictName) -> bool:
    return any(verdict.verdict in verdicts for verdict in host.verdicts)


def _changes(per_host: list[tuple[str, int]]) -> str:
    """`3 changes on 2 hosts`; empty when there are none."""
    changes = sum(number for _, number in per_host)
    hosts = [host for host, number in per_host if number]
    if not changes:
        return ""
    return f"{changes} change{'' if changes == 1 else 's'} on {_on(hosts)}"


def _on(hosts: list[str]) -> str:
    """A host by its name, several by their number; empty for none."""
    return f"{len(hosts)} hosts" if len(hosts) > 1 else "".join(hosts)
