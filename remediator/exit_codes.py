"""The one number that a call ends with, from its plan and what the hosts answered.

0 nothing left that the call was allowed to do; 1 drift; 2 usage; 3 a host or a verdict is missing, or a change did not
come through; 4 a host changed since the preview; 5 locked; 70 a bug in remediator; 130 Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from remediator.plan import SEVERITIES, HostError, HostPlan, HostResult, Plan, Severity, Verdict


class ExitCode(IntEnum):
    """What a shell sees. Python's own 1 for a traceback would read as drift, so a bug is 70 (EX_SOFTWARE)."""

    DONE = 0
    DRIFT = 1
    USAGE = 2
    FAILED = 3
    STALE = 4
    LOCKED = 5
    BUG = 70
    INTERRUPTED = 130


PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.LOCKED,
    ExitCode.STALE,
    ExitCode.FAILED,
    ExitCode.DRIFT,
    ExitCode.DONE,
)


@dataclass(frozen=True)
class Threshold:
    """What counts as drift: `strict` adds what only a person may fix, `fail_on` leaves out lower severities."""

    strict: bool = False
    fail_on: Severity = "low"

    def counts(self, verdict: Verdict, after_apply: bool) -> bool:
        """Whether this verdict is drift for a check, or, `after_apply`, drift that is left."""
        if SEVERITIES.index(verdict.severity) < SEVERITIES.index(self.fail_on):
            return False
        if verdict.verdict in ("manual", "pending"):
            return self.strict
        if verdict.verdict != "drifted":
            return False
        if verdict.permitted:
            return True
        return self.strict or (verdict.fix in ("safe", "guarded") and not after_apply)


def first_that_applies(codes: Iterable[ExitCode]) -> ExitCode:
    """The code that outranks the others; `DONE` when there is none."""
    found = {ExitCode.DONE, *codes}
    return next(code for code in PRECEDENCE if code in found)


def of_check(plan: Plan, threshold: Threshold) -> ExitCode:
    """The code of a check that made this plan."""
    return first_that_applies(code for host in plan.hosts for code in _of_host(host, threshold, after_apply=False))


def of_apply(plan: Plan, results: Mapping[str, HostResult], threshold: Threshold) -> ExitCode:
    """The code of an apply: of the answers, and of the verdicts as last seen on every host of the plan."""
    return first_that_applies(
        code for host in plan.hosts for code in _of_applied(host, plan, results.get(host.host), threshold)
    )


def troubled(plan: Plan, results: Mapping[str, HostResult]) -> tuple[str, ...]:
    """The hosts for which a rollback does not end with 0: not all of what was asked for is as it was before."""
    return tuple(
        host.host
        for host in plan.hosts
        if first_that_applies(_of_applied(host, plan, results.get(host.host), Threshold())) != ExitCode.DONE
    )


def _of_applied(host: HostPlan, plan: Plan, result: HostResult | None, threshold: Threshold) -> list[ExitCode]:
    """The codes of one host of an apply."""
    codes: list[ExitCode] = []
    if plan.undo is not None and (host.held or any(alert.kind == "refused" for alert in host.alerts)):
        codes.append(ExitCode.FAILED)  # something of the run is not taken back
    if result is None:
        return [*codes, *_of_host(host, threshold, after_apply=True)]
    codes += _of_error(result.error)
    codes += [_OF_OUTCOME[answer.outcome] for answer in result.results]
    codes += [ExitCode.FAILED] if result.contradicted or result.left_undone else []
    if result.after is None:
        return [*codes, ExitCode.FAILED]  # nobody has seen what the host is now
    return [*codes, *_of_host(result.after, threshold, after_apply=True)]


_OF_OUTCOME = {
    "applied": ExitCode.DONE,
    "held": ExitCode.DONE,  # its verdict is drifted and says whether that counts
    "stale": ExitCode.STALE,
    "rolled_back": ExitCode.FAILED,
    "refused": ExitCode.FAILED,
    "unreported": ExitCode.FAILED,
    "broken": ExitCode.FAILED,
}


def _of_host(host: HostPlan, threshold: Threshold, after_apply: bool) -> list[ExitCode]:
    codes = _of_error(host.error)
    if any(alert.kind in ("open", "broken") for alert in host.alerts):
        codes.append(ExitCode.FAILED)  # neither as before nor as after
    if any(verdict.verdict == "unknown" for verdict in host.verdicts):
        codes.append(ExitCode.FAILED)
    if any(threshold.counts(verdict, after_apply) for verdict in host.verdicts):
        codes.append(ExitCode.DRIFT)
    return codes


def _of_error(error: HostError | None) -> list[ExitCode]:
    if error is None:
        return []
    return [ExitCode.LOCKED if error.kind == "locked" else ExitCode.FAILED]
