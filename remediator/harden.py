"""The work behind the `harden` action, free of Ansible: observe a host, decide, commit, look again.

Driven by `remediate` it does only what the session's approved plan holds; in a bare playbook its own plan is what it
previews in check mode and makes true otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from remediator.catalogue import Catalogue
from remediator.collecting import Collected, collect
from remediator.commit_documents import Order, commit_request, harmless, read_commit, result_of, unreported
from remediator.decide import decide
from remediator.errors import CONTACT_LOST, HostError, UsageError
from remediator.hooks import around_restarts
from remediator.host import Program
from remediator.observation import parse_observation
from remediator.plan import Action, HostPlan, HostResult, Transaction, TransactionResult, Undo
from remediator.policy import Policy
from remediator.request import compile_request
from remediator.restart_holds import recovery_hold
from remediator.session import Session, SessionDirectory, plan_error
from remediator.surroundings import Surroundings
from remediator.text import one_line
from remediator.tls.holdings import key_of, surroundings_of
from remediator.tls.names import common_name
from remediator.undo import take_back, undo_needs

_BROKE_OFF = "the run broke off before what was interrupted here was known to be rolled back; check this host"
_CHANGED_SINCE = "this host is not what the preview showed, so nothing of this was done; preview again"


class Exchange(Protocol):
    """Sends a program, its request and a secret that no document may hold to a host, and returns the answer."""

    def __call__(self, program: Program, request: bytes, secret: bytes = b"") -> bytes:
        """Raises HostError."""


@dataclass(frozen=True)
class Target:
    """One host of one task.

    `variables` are its own (templated) variables over the roles' defaults, `address` is how it is reached, `store` the
    directory of the controller's private CA, `pause` waits for a number of seconds.
    """

    host: str
    address: str
    store: Path
    exchange: Exchange
    catalogue: Catalogue
    policy: Policy
    variables: Mapping[str, Any]
    pause: Callable[[float], None] = field(default=time.sleep, kw_only=True)

    def look(self) -> tuple[HostPlan, bool]:
        """Observe and decide: the host's plan now, and whether root observed. Raises HostError."""
        from remediator.host import observe_program

        answer = self.exchange(observe_program(), compile_request(self.catalogue.needs([self.variables])))
        seen = parse_observation(self.host, answer)
        around = surroundings_of(self.host, self.address, self.variables, self.store)
        return decide(self.host, seen, self.catalogue, self.policy, self.variables, around), seen.host.uid == 0

    @property
    def own_policy(self) -> Policy:
        """The policy with what the host's own variables add."""
        return self.policy.for_host(self.host, dict(self.variables), self.catalogue)

    def left_out(self, now: HostPlan) -> tuple[TransactionResult, ...]:
        """What is not done of the plan as it is now, and why."""
        return tuple(result_of(each, "held", "it waits for " + _releases(now, each)) for each in now.held)


@dataclass(frozen=True)
class _Work:
    """What one call of commit does: the transactions that are due and, with or without any, a rollback before them."""

    due: tuple[Transaction, ...]
    recovers: bool

    def __bool__(self) -> bool:
        return self.recovers or bool(self.due)


@dataclass(frozen=True)
class UndoTarget(Target):
    """One host of one task that takes back what `undo` names."""

    undo: Undo

    def look(self) -> tuple[HostPlan, bool]:
        """See Target; the plan is the one that takes the run back. Raises HostError."""
        from remediator.host import observe_program

        answer = self.exchange(observe_program(), compile_request(undo_needs(self.undo.run)))
        seen = parse_observation(self.host, answer)
        plan = take_back(self.host, seen, self.undo, self.own_policy, datetime.now(UTC))
        if plan.error is not None:
            raise HostError(self.host, plan.error.kind, plan.error.message)
        first = recovery_hold(self.host, seen, self.own_policy, Surroundings(datetime.now(UTC)))
        if first and plan.transactions:
            raise HostError(self.host, "open", f"{self.host}: nothing is taken back there before {first}.")
        return plan, seen.host.uid == 0

    def left_out(self, now: HostPlan) -> tuple[TransactionResult, ...]:
        """See Target."""
        return tuple(result_of(each, "refused", _refusals(each)) for each in now.held)


def observe_for_driver(directory: SessionDirectory, session: Session, host: str, exchange: Exchange) -> None:
    """Put the raw answer of observe, or why there is none, into the session's directory."""
    from remediator.host import observe_program

    try:
        directory.put_answer(host, exchange(observe_program(), session.request.encode("ascii")))
    except HostError as error:
        directory.put_error(host, error)


def apply_for_driver(directory: SessionDirectory, session: Session, target: Target) -> HostResult:
    """Do the approved transactions of this host and put the result into the session's directory.

    A host that ends broken stops the run: no later one begins.
    """
    approved = directory.plan(target.host) or HostPlan(host=target.host)
    if directory.stopped:
        result = _not_begun(approved)
    else:
        undoes = session.undo.run if session.undo is not None else ""
        order = Order(session.run, session.who, session.reason, undoes)
        result = _apply(target, approved, order, directory.put_result)
    directory.put_result(result)
    if result.broken:
        directory.stop()
    return result


def preview(target: Target) -> HostPlan:
    """What an apply would do. Raises HostError."""
    return target.look()[0]


def apply(target: Target, order: Order) -> tuple[HostPlan, HostResult]:
    """Make this host's own plan true: the plan, and what came of it. Raises HostError when it cannot be observed."""
    plan, root = target.look()
    return plan, _commit_and_look(target, plan, plan, root, order)


def _apply(target: Target, approved: HostPlan, order: Order, keep: Callable[[HostResult], None]) -> HostResult:
    try:
        now, root = target.look()
    except HostError as error:
        return HostResult(host=target.host, error=plan_error(error))
    # Whatever kills this task from here on, the driver must not take the host for one that was never begun.
    begun = tuple(unreported(t, "the run broke off") for t in approved.transactions)
    keep(HostResult(host=target.host, results=begun, notes=() if begun else (_BROKE_OFF,)))
    return _commit_and_look(target, approved, now, root, order)


def _commit_and_look(target: Target, approved: HostPlan, now: HostPlan, root: bool, order: Order) -> HostResult:
    # A window that has closed since the preview holds its own transaction back, and makes nothing stale.
    held = {transaction.digest for transaction in now.held}
    wanted = {
        transaction.digest: transaction for transaction in approved.transactions if transaction.digest not in held
    }
    current = {transaction.digest for transaction in now.transactions}
    # One part that no longer holds refuses the host as a whole: what was approved is what was shown together.
    whole = wanted.keys() <= current
    due = tuple(t for t in now.transactions if t.digest in wanted) if whole else ()
    stale = [] if whole else list(wanted.values())
    stale += [t for t in now.transactions if t.digest not in wanted and t.group not in {s.group for s in stale}]
    lost = {t.digest: lost_containers(t, wanted[t.digest]) or unshown(now, approved) for t in due}
    others = (
        *(result_of(transaction, "stale", _CHANGED_SINCE) for transaction in stale),
        *(result_of(t, "stale", lost[t.digest]) for t in due if lost[t.digest]),
        *target.left_out(now),
    )
    due = tuple(t for t in due if not lost[t.digest])
    # Where anything is refused as stale, nothing is rolled back for its own sake: the host is to be previewed again.
    refused = bool(stale) or any(lost.values())
    work = _Work(due, not refused and now.recovers and not unshown(now, approved))
    if work and not root:
        message = (
            f"{target.host}: changing a system needs root, and this host was reached without. Give -b (--become), or "
            "set ansible_become for it."
        )
        error = plan_error(HostError(target.host, "become", message))
        return HostResult(host=target.host, error=error, results=others, after=now)
    if not work:
        return HostResult(host=target.host, results=others, after=now)
    return _commit(target, work, now, order, others)


def lost_containers(now: Transaction, approved: Transaction) -> str:
    """Which containers the restart of `now` would stop for good that the preview did not name; empty for none."""
    lost = [name for name in now.impact.stays_down if name not in approved.impact.stays_down]
    if not lost:
        return ""
    names = one_line(", ".join(lost[:5]), 500) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
    return f"its restart would stop {names} for good (no restart policy), which the preview did not show; preview again"


def unshown(now: HostPlan, approved: HostPlan) -> str:
    """What a commit would roll back first that the preview did not name so; empty for nothing."""
    new = sorted(now.interrupted - approved.interrupted)
    return f"{one_line('; '.join(new), 700)}; the preview did not show that, preview again" if new else ""


def _commit(
    target: Target, work: _Work, now: HostPlan, order: Order, others: tuple[TransactionResult, ...]
) -> HostResult:
    due = work.due
    secret, why_not = _key(target, due)
    if why_not:
        others = (*(result_of(t, "refused", why_not) for t in due if _takes_key(t)), *others)
        due = tuple(t for t in due if not _takes_key(t))
    policy = target.own_policy
    with around_restarts(policy.restarts, due) as around:
        if around.failure:
            others = (*(result_of(t, "refused", around.failure) for t in due if t.restarts), *others)
            due = tuple(t for t in due if not t.restarts)
        result = HostResult(host=target.host, results=others, after=now)
        if due or work.recovers:
            request = commit_request(target.host, due, order, policy)
            result = _exchange(target, request, secret, due, order.run, result)
    told = (*result.notes, *around.notes)
    result = result.model_copy(update={"notes": told, "left_undone": bool(around.notes)})
    if result.after is not None or result.error is not None:
        return result
    try:
        return result.model_copy(update={"after": target.look()[0]})
    except HostError as error:
        return result.model_copy(update={"error": plan_error(error)})


def _exchange(
    target: Target, request: bytes, secret: bytes, due: tuple[Transaction, ...], run: str, result: HostResult
) -> HostResult:
    """`result` with what came of committing; without an `after` where the host must be looked at again."""
    from remediator.host import commit_program

    notes: tuple[str, ...] = ()
    try:
        committed = read_commit(target.host, target.exchange(commit_program("commit", run), request, secret), due, run)
        done, notes = committed.results, committed.notes
    except HostError as error:
        if error.kind not in CONTACT_LOST or not due:
            return result.model_copy(update={"error": plan_error(error)})
        done = _collected(target, due, run, error)
    return result.model_copy(update={"results": (*done, *result.results), "after": None, "notes": notes})


def _collected(
    target: Target, due: tuple[Transaction, ...], run: str, lost: HostError
) -> tuple[TransactionResult, ...]:
    """The outcomes of a commit that `lost` cut off: the recorded ones, `held` for what was not begun.

    What the host cannot be asked for, or has not settled, is `unreported`.
    """
    try:
        found = collect(target.exchange, target.host, run, target.pause)
    except HostError as error:
        why = str(lost) if error.kind == "unreachable" else f"{lost} {error}"
        return tuple(unreported(transaction, why) for transaction in due)
    return tuple(_found(target.host, transaction, found, lost) for transaction in due)


def _found(host: str, transaction: Transaction, found: Collected, lost: HostError) -> TransactionResult:
    recorded = {result.digest: result for result in found.results}
    if transaction.digest in recorded:
        return harmless(transaction, recorded[transaction.digest])
    if found.running:
        reason = f"it still goes on there; look again with `remediate check -i INVENTORY -l {host}`"
        return result_of(transaction, "unreported", reason)
    if transaction.group in found.open:
        reason = f"it was cut short there and waits to be put back: `remediate recover -i INVENTORY -l {host}`"
        return result_of(transaction, "unreported", reason)
    reason = f"contact was lost before it began: nothing was done ({one_line(str(lost), 500)})"
    return result_of(transaction, "held", reason)


def _key(target: Target, due: tuple[Transaction, ...]) -> tuple[bytes, str]:
    """The private key (PEM) that goes beside the request, empty where none is due; or why it cannot be had."""
    if not any(_takes_key(transaction) for transaction in due):
        return b"", ""
    try:
        return key_of(target.variables), ""
    except UsageError as error:
        return b"", one_line(str(error), 1000)


def _takes_key(transaction: Transaction) -> bool:
    return any(action.do == "install_key" and action.source == "controller" for action in transaction.actions)


def _not_begun(approved: HostPlan) -> HostResult:
    reason = "the run was stopped before this host: nothing was done there"
    results = tuple(result_of(transaction, "held", reason) for transaction in approved.transactions)
    return HostResult(host=approved.host, results=results, after=approved, notes=() if results else (reason,))


def _releases(plan: HostPlan, transaction: Transaction) -> str:
    wanted = dict.fromkeys(v.release for v in plan.verdicts if v.control in transaction.controls and v.release)
    return ", ".join(wanted) or "see the verdicts"


def _refusals(transaction: Transaction) -> str:
    """Why an undo holds this back, by path."""
    said = [
        f"{change.path}: {detail.removeprefix('refused: ')}"
        for change in transaction.changes
        for detail in change.details
        if detail.startswith("refused: ")
    ]
    return one_line("; ".join(said), 1000)


def make_key_for_driver(directory: SessionDirectory, session: Session, host: str, exchange: Exchange) -> None:
    """Have the host make its key and signing request; nothing there is activated.

    What observe answers afterwards, or why there is no key, is put into the session's directory.
    """
    from remediator.host import commit_program, observe_program

    asked = Action(do="make_key", subject=common_name(host))
    wanted = Transaction(group="tls-key", changes=(), actions=(asked,))
    order = Order(session.run, session.who, session.reason)
    try:
        answer = exchange(commit_program("commit", order.run), commit_request(host, (wanted,), order, None))
        (done,) = read_commit(host, answer, (wanted,), session.run).results
        if done.outcome != "applied":
            raise HostError(host, "key", f"{host}: it made no key: {done.reason or done.outcome}.")
        directory.put_answer(host, exchange(observe_program(), session.request.encode("ascii")))
    except HostError as error:
        directory.put_error(host, error)
