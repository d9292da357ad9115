"""Decide: one host's observation and the controls become its verdicts and transactions. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remediator.catalogue import Catalogue, Control
from remediator.errors import HostError
from remediator.kinds import KINDS
from remediator.kinds.interface import Decision, Scope
from remediator.observation import Observation
from remediator.overlay import Overlay
from remediator.plan import FixClass, HostPlan, Verdict
from remediator.plan import HostError as PlanError
from remediator.policy import Policy
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
    try:
        return _decide_host(host, Scope(seen, surroundings, variables, policy.roots), catalogue, policy)
    except Exception as error:  # noqa: BLE001 - a bug met on one host must not take the other hosts' plans with it
        return unreached(host, catalogue, HostError(host, "answer", f"{host}: {_defect(error)}"))


def _decide_host(host: str, scope: Scope, catalogue: Catalogue, policy: Policy) -> HostPlan:
    seen = scope.seen
    permitted = Overlay(seen)
    verdicts: dict[str, Verdict] = {}
    undone = list(catalogue.controls)
    # What one control is permitted to change can free another: a directory repaired, a group's access gone already.
    while undone:
        left = []
        for control in undone:
            trial = permitted.copy()
            verdict = _verdict(control, _decide_one(control, scope, policy, trial), policy)
            verdicts[control.id] = verdict
            if verdict.permitted:
                permitted = trial
            elif verdict.verdict in ("drifted", "manual"):
                left.append(control)
        settled = len(left) == len(undone)
        undone = left
        if settled:
            break
    proposed = permitted.copy()
    for control in undone:
        trial = proposed.copy()
        if (
            verdicts[control.id].verdict == "drifted"
            and _decide_one(control, scope, policy, trial).verdict == "drifted"
        ):
            proposed = trial
    return HostPlan(
        host=host,
        systems=tuple(name for name in ("docker", "kubernetes") if name in seen.systems and seen.systems[name].present),
        verdicts=tuple(verdicts[control.id] for control in catalogue.controls),
        transactions=build_transactions(permitted),
        held=build_transactions(proposed, permitted),
        notes=seen.problems,
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
    if not system.present:
        return Decision("not_applicable", system.reason)
    try:
        return KINDS[control.kind].decide(control.id, control.parameters, scope, overlay)
    except Exception as error:  # noqa: BLE001 - a bug in one kind must not take the other controls' verdicts with it
        return Decision("unknown", _defect(error))


def _defect(error: Exception) -> str:
    return (
        f"remediator could not decide this ({type(error).__name__}: {one_line(str(error), 200)}); "
        "please report it with the output of remediate --check --format json"
    )


def _verdict(control: Control, decision: Decision, policy: Policy) -> Verdict:
    fix = control.fix
    if decision.fix is not None and (control.fix != "opt_in" or decision.fix == "manual"):
        fix = decision.fix if _RISK[decision.fix] > _RISK[control.fix] else control.fix
    drifted = decision.verdict == "drifted"
    permitted = drifted and policy.permits(control.id, control.role, fix, decision.waits_for)
    reason = decision.reason
    if drifted and decision.why_class:
        reason = f"{reason}; {fix}, because {decision.why_class}"
    release = decision.waits_for or f"--allow {control.id}"
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
