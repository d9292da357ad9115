"""What Ansible is told of a host: our keys only, small, and with the changes as --diff shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from remediator.plan import Change, HostPlan, HostResult, Outcome, State, Transaction, TransactionResult
from remediator.text import one_line

# Events above 700,000 bytes are dropped as a whole by ansible-runner; what is longer is cut, and says so.
_BUDGET = 300_000
_MOST_WARNINGS = 100


FAILING: frozenset[Outcome] = frozenset(("rolled_back", "broken", "unreported"))
# What an apply must not end green on: nothing was changed there, or not all that was to be taken back.
_FAILING_ALERTS = ("broken", "open", "refused")


def preview_result(plan: HostPlan) -> dict[str, Any]:
    """The harden task's result in check mode. `changed`: there is something that an apply would be permitted to do.

    What every preview says first are warnings, which Ansible shows.
    """
    told: dict[str, Any] = {
        "changed": plan.acts,
        "verdicts": _verdicts(plan),
        "outcomes": [],
        "diff": _diffs(plan.transactions),
    }
    return _with_warnings(told, plan.host, (alert.text for alert in plan.alerts))


def applied_result(plan: HostPlan, result: HostResult) -> dict[str, Any]:
    """The harden task's result of a bare playbook's apply: as for the driver, with the diffs of what was applied.

    It fails on a host that is broken or still interrupted afterwards, and warns of the rest that a person must know.
    """
    told = driven_result(result)
    applied = {answer.digest for answer in result.results if answer.outcome == "applied"}
    told["diff"] = _diffs(transaction for transaction in plan.transactions if transaction.digest in applied)
    if result.error is not None:
        told["failed"] = True
    seen = (result.after or plan).alerts
    told["changed"] = told["changed"] or (plan.recovers and result.after is not None and not result.after.interrupted)
    failing = [alert.text for alert in seen if alert.kind in _FAILING_ALERTS]
    if failing and result.error is None:
        told = _failed(told, (f"{result.host}: {one_line(text, 1000)}" for text in failing))
    others = dict.fromkeys(a.text for a in (*plan.alerts, *seen) if a.kind not in _FAILING_ALERTS)
    return _with_warnings(told, result.host, (*others, *result.notes))


def _with_warnings(told: dict[str, Any], host: str, said: Iterable[str]) -> dict[str, Any]:
    """`told` with more of what Ansible shows as a warning."""
    warnings = [*told.get("warnings", ()), *(f"{host}: {one_line(text, 1000)}" for text in said)]
    return {**told, "warnings": warnings[:_MOST_WARNINGS]} if warnings else told


def _failed(told: dict[str, Any], said: Iterable[str]) -> dict[str, Any]:
    """`told` as a failure, with more to say."""
    return {**told, "failed": True, "msg": "; ".join(filter(None, (str(told.get("msg") or ""), *said)))}


def with_refusals(told: dict[str, Any], refused: Iterable[TransactionResult], check: bool) -> dict[str, Any]:
    """A bare rollback's result with what of the run is not taken back: a warning in `check` mode, else a failure."""
    said = [f"{answer.group} is not taken back: {one_line(answer.reason, 1000)}" for answer in refused]
    if said and check:
        return {**told, "warnings": [*told.get("warnings", ()), *said]}
    return _failed(told, said) if said else told


def driven_result(result: HostResult) -> dict[str, Any]:
    """The harden task's result of an apply. It fails for an outcome that must stop a rollout, and only for those."""
    told: dict[str, Any] = {
        "changed": any(answer.outcome == "applied" for answer in result.results),
        "outcomes": [
            {"group": answer.group, "outcome": answer.outcome, "reason": one_line(answer.reason, 500)}
            for answer in result.results[:50]
        ],
        "verdicts": _verdicts(result.after) if result.after is not None else [],
    }
    failing = [answer for answer in result.results if answer.outcome in FAILING]
    if failing:
        said = "; ".join(f"{a.group} {a.outcome.replace('_', ' ')}: {one_line(a.reason, 400)}" for a in failing)
        told.update(failed=True, msg=f"{result.host}: {said}")
    elif result.left_undone:
        # A node that could not be taken back into service must stop a rollout that would take out the next.
        told.update(failed=True, msg=f"{result.host}: {one_line('; '.join(result.notes), 1000)}")
    elif result.error is not None:
        told["msg"] = result.error.message
        told.update({"failed": True} if result.broken else {})
    elif result.notes and not result.results:
        told["msg"] = one_line("; ".join(result.notes), 1000)
    return told


def _verdicts(plan: HostPlan) -> list[dict[str, str]]:
    return [{"control": v.control, "verdict": v.verdict, "reason": one_line(v.reason, 300)} for v in plan.verdicts]


def _diffs(transactions: Iterable[Transaction]) -> list[dict[str, str]]:
    """Ansible's `diff` list: one entry for each change, as much as fits."""
    entries: list[dict[str, str]] = []
    room = _BUDGET
    for change in (change for transaction in transactions for change in transaction.changes):
        entry = _entry(change)
        room -= sum(len(text) for text in entry.values())
        if room < 0:
            entries.append({"prepared": "(more changes than are shown here; `remediate --check` shows them all)\n"})
            break
        entries.append(entry)
    return entries


def _entry(change: Change) -> dict[str, str]:
    details = "".join(f"{change.path}: {detail}\n" for detail in change.details)
    if change.diff or details:
        text = change.diff.rstrip("\n") + "\n" if change.diff else ""
        if change.since:
            head = f"{change.path}: what taking it back would change now:\n" if text else ""
            since = change.since.rstrip("\n")
            text = f"{change.path}: changed since the run:\n{since}\n{head}{text}"
        return {"prepared": text + details + _access(change)}
    if change.added or change.removed:
        before, after = change.removed, change.added
        return _both(change.path, "".join(f"{r}\n" for r in before), "".join(f"{r}\n" for r in after), "loaded rules")
    return _both(change.path, _lines(change.before), _lines(change.after), "access")


def _both(path: str, before: str, after: str, what: str) -> dict[str, str]:
    header = f"{path} ({what})"
    return {"before": before, "after": after, "before_header": header, "after_header": header}


def _lines(state: State) -> str:
    if state.type == "missing":
        return ""
    mode = "" if state.mode is None else f"mode: {state.mode:04o}\n"
    return f"{mode}owner: {_who(state.user, state.uid)}\ngroup: {_who(state.group, state.gid)}\n"


def _who(name: str | None, number: int | None) -> str:
    return name if name is not None else str(number)


def _access(change: Change) -> str:
    """A content change that also changes access says so below its diff."""
    if change.before.type == "missing" or _lines(change.before) == _lines(change.after):
        return ""
    before, after = (_lines(state).strip().replace("\n", ", ") for state in (change.before, change.after))
    return f"{change.path}: {before} -> {after}\n"
