"""Decide: one host's observation and the controls become its verdicts and transactions. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remediator.alerts import alerts_of, release_of, repair_of
from remediator.catalogue import Catalogue, Control
from remediator.errors import HostError
from remediator.kinds import KINDS
from remediator.kinds.interface import Decision, Scope
from remediator.observation import Observation
from remediator.overlay import Overlay
from remediator.plan import FixClass, HostPlan, Transaction, Verdict
from remediator.plan import HostError as PlanError
from remediator.policy import Policy
from remediator.restart_holds import Hold, holds, recovery_hold
from remediator.surroundings import Surroundings
from remediator.text import one_line
from remediator.transactions import build_transactions

_RISK: dict[FixClass, int] = {"safe": 0, "guarded": 1, "opt_in": 2, "manual": 3}


def decide(
    host: str,
    seen: Observation,
    catalogue: Catalogue,
    policy: Policy,
    variables: Mapping[str, Any],
    surroundings: Surroundings,
) -> HostPlan:
    """Every control's verdict for `host`, and the transactions that this policy permits or holds back.

    Raises UsageError when the host's own policy variables are malformed; nothing else, whatever the host answered.
    """
    policy = policy.for_host(host, dict(variables), catalogue)
    first = recovery_hold(host, seen, policy, surroundings)
    if seen.state is not None and seen.state.broken is not None:
        policy = policy.until(release_of(host))
    elif seen.state is not None and seen.state.unusable:
        policy = policy.until(repair_of(seen.state.unusable[0]))
    elif first:
        policy = policy.until(first)
    recovers = seen.state is not None and seen.state.recoverable and not first
    try:
        plan = _decide_host(host, Scope(seen, surroundings, variables, policy.roots), catalogue, policy)
        return plan.model_copy(update={"recovers": recovers})
    except Exception as error:  # noqa: BLE001 - a bug met on one host must not take the other hosts' plans with it
        return unreached(host, catalogue, HostError(host, "answer", f"{host}: {_defect(error)}"))


def _decide_host(host: str, scope: Scope, catalogue: Catalogue, policy: Policy) -> HostPlan:
    seen = scope.seen
    verdicts, permitted = _settle(scope, catalogue, policy)
    proposed = permitted.copy()
    for control in catalogue.controls:
        verdict = verdicts[control.id]
        trial = proposed.copy()
        if (
            verdict.verdict == "drifted"
            and not verdict.permitted
            and _decide_one(control, scope, policy, trial).verdict == "drifted"
        ):
            proposed = trial
    return HostPlan(
        host=host,
        systems=tuple(name for name in ("docker", "kubernetes") if name in seen.systems and seen.systems[name].present),
        verdicts=tuple(verdicts[control.id] for control in catalogue.controls),
        transactions=with_hooks(build_transactions(permitted), policy),
        held=with_hooks(build_transactions(proposed, permitted), policy),
        notes=seen.problems,
        alerts=alerts_of(host, seen.state),
    )


def _settle(scope: Scope, catalogue: Catalogue, policy: Policy) -> tuple[dict[str, Verdict], Overlay]:
    """Every control's verdict, and the edits that are permitted.

    What one control is permitted to change can free another: a directory repaired, a group's access gone already. So
    those that it may free are decided again, until nothing more is permitted. A control whose change needs a restart
    that must not be made now is held back with all that it staged; others of its group go on.
    """
    permitted = Overlay(scope.seen)
    verdicts: dict[str, Verdict] = {}
    undone = list(catalogue.controls)
    for _ in catalogue.controls:  # rounds: no more than there are controls, whatever the host answered
        before = permitted
        left = []
        for control in undone:
            trial = permitted.copy()
            decision = _decide_one(control, scope, policy, trial)
            verdict = _verdict(control, decision, policy, holds(trial, permitted, policy, scope.surroundings))
            if verdict.permitted:
                permitted = trial
            if verdict.permitted or control.id not in verdicts or not verdicts[control.id].permitted:
                verdicts[control.id] = verdict
            if decision.unsettled or (verdict.verdict in ("drifted", "manual") and not verdict.permitted):
                left.append(control)
        undone = left
        if (permitted.files, permitted.rules) == (before.files, before.rules):
            break
    return verdicts, permitted


def with_hooks(transactions: tuple[Transaction, ...], policy: Policy) -> tuple[Transaction, ...]:
    """The transactions, their impact saying what this controller runs around their restart."""
    hooks = policy.restarts.hooks
    return tuple(
        each.model_copy(update={"impact": each.impact.model_copy(update={"text": f"{each.impact.text}; {hooks}"})})
        if hooks and each.restarts
        else each
        for each in transactions
    )


def unreached(host: str, catalogue: Catalogue, error: HostError) -> HostPlan:
    """The plan of a host that could not be observed: every verdict is unknown, and says why."""
    message = one_line(str(error), 1000)
    decision = Decision("unknown", message)
    verdicts = tuple(_verdict(control, decision, Policy()) for control in catalogue.controls)
    return HostPlan(host=host, error=PlanError(kind=error.kind, message=message), verdicts=verdicts)


def _decide_one(control: Control, scope: Scope, policy: Policy, overlay: Overlay) -> Decision:
    waiver = policy.waivers.get(control.id)
    if waiver is not None:
        return Decision("waived", one_line(waiver, 500))
    system = scope.seen.systems.get(control.applies_to)
    if system is None:
        return Decision("unknown", f"it was not found out whether this host runs {control.applies_to}")
    kind = KINDS[control.kind]
    try:
        if system.present:
            return kind.decide(control.id, control.parameters, scope, overlay)
        left = kind.left_over(control.id, control.parameters, scope, overlay)
        return left or Decision("not_applicable", system.reason)
    except Exception as error:  # noqa: BLE001 - a bug in one kind must not take the other controls' verdicts with it
        return Decision("unknown", _defect(error))


def _fix_class(control: Control, decision: Decision) -> FixClass:
    """The fix class on this host: the control's own, or what the decision makes of it where that is riskier."""
    if decision.left_over:
        return "safe"
    if decision.fix is None or (control.fix == "opt_in" and decision.fix != "manual"):
        return control.fix
    return max(control.fix, decision.fix, key=_RISK.__getitem__)


def _defect(error: Exception) -> str:
    return (
        f"remediator could not decide this ({type(error).__name__}: {one_line(str(error), 200)}); "
        "please report it with the output of remediate --check --format json"
    )


def _verdict(control: Control, decision: Decision, policy: Policy, held: tuple[Hold, ...] = ()) -> Verdict:
    fix = _fix_class(control, decision)
    drifted = decision.verdict == "drifted"
    consented = drifted and policy.permits(control.id, control.role, fix, decision.waits_for)
    permitted = consented and not held
    reason = decision.reason
    if drifted and decision.why_class:
        reason = f"{reason}; {fix}, because {decision.why_class}"
    if drifted:
        reason = "; ".join((reason, *(hold.reason for hold in held if hold.reason)))
    releases = [] if consented else [decision.waits_for or f"--allow {control.id}"]
    release = policy.released_by or " and ".join((*releases, *(hold.release for hold in held)))
    return Verdict(
        control=control.id,
        verdict=decision.verdict,
        reason=one_line(reason, 2000),
        title=control.title,
        role=control.role,
        severity=control.severity,
        fix=fix,
        threat=control.threat,
        references=control.references,
        permitted=permitted,
        release=release if drifted and not permitted else None,
    )
