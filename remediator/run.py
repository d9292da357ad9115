"""The flow of a call: preview a fleet; and, for an apply, consent, change, look again, record and report."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from remediator import exit_codes, restarts
from remediator.catalogue import Catalogue, load_catalogue
from remediator.errors import CONTACT_LOST, UsageError
from remediator.exit_codes import ExitCode, Threshold
from remediator.plan import HostPlan, HostResult, Plan, Transaction, TransactionResult
from remediator.policy import Policy
from remediator.text import one_line
from remediator.version import version
from remediator.views.interface import Report, View

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.history import RunRecord
    from remediator.inventory import Inventory
    from remediator.inventory_process import InventoryProcess

_UNHEARD = (
    "the run ended without an answer from this host, so it may have been changed or not; "
    "look with `remediate check -i INVENTORY -l {host}`"
)


@dataclass(frozen=True)
class Selection:
    """Which controls a call is about, by role, id or official id, and what it may change of what is guarded."""

    roles: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batches:
    """How an apply goes through a fleet: Ansible's serial, and the share of failures that stops it."""

    serial: tuple[str | int, ...]
    max_fail_percentage: int


@dataclass(frozen=True)
class Approach:
    """How an apply is done, why, and what of the rest counts as drift."""

    batches: Batches
    reason: str
    threshold: Threshold


@dataclass(frozen=True)
class Prospect:
    """A plan, and what it was made with, so that an apply is about the same hosts under the same policy."""

    plan: Plan
    inventory: Inventory
    access: Access
    policy: Policy


class Carrier(Protocol):
    """What takes an approved plan to its hosts and brings back their answers: `remediator.ansible.apply_plan`."""

    def __call__(
        self,
        inventory: Inventory,
        plan: Plan,
        access: Access,
        policy: Policy,
        run: str,
        who: str,
        reason: str,
        serial: Sequence[str | int],
        max_fail_percentage: int,
        on_event: Callable[[str, str], None],
    ) -> Mapping[str, HostResult]:
        """The result of each host of `plan`; the transactions of one that it is silent about are `unreported`."""


def preview(access: Access, reading: InventoryProcess, wanted: Selection, view: View) -> Prospect:
    """Observe the hosts that `reading` finds by `access`, and plan. Changes nothing.

    Raises UsageError for an inventory, a pattern, a role, a control or a consent that means nothing.
    """
    everything = load_catalogue()
    catalogue = everything.select(wanted.roles, wanted.controls, wanted.skip)
    policy = Policy(allow=_consent(wanted.allow, everything))

    from remediator.fleet import plan_fleet, warm_up

    warm_up(catalogue.needs(), access)
    inventory = reading.load(catalogue.defaults)

    with view.sweeping(len(inventory.hosts)) as seen:
        plan = plan_fleet(inventory, catalogue, access, policy, seen)
    return Prospect(plan, inventory, access, policy)


def apply(
    prospect: Prospect, approach: Approach, view: View, consent: Callable[[str], bool], carrier: Carrier
) -> ExitCode:
    """Show the plan, ask, and do its permitted transactions; the exit code.

    `consent` is asked with the question and answers it. Raises UsageError when the run's record cannot be written;
    nothing is changed then.
    """
    plan = prospect.plan
    view.previewed(plan)
    targets = tuple(host for host in plan.hosts if host.acts)
    if not targets:
        return _end(Report(plan, "nothing_permitted"), approach.threshold, view)
    if not consent(_question(targets, plan)):
        view.applied(Report(plan, "declined"))
        code = exit_codes.of_apply(plan, {}, approach.threshold)
        return exit_codes.first_that_applies((code, ExitCode.DRIFT))
    return _change(prospect, targets, approach, view, carrier)


def show(prospect: Prospect, view: View) -> ExitCode:
    """Show what takes a run back, and end there: 1 where there is something to take back."""
    plan = prospect.plan
    view.previewed(plan)
    view.applied(Report(plan, "previewed"))
    due = [ExitCode.DRIFT for host in plan.hosts if host.transactions]
    return exit_codes.first_that_applies((exit_codes.of_apply(plan, {}, Threshold()), *due))


def _question(targets: tuple[HostPlan, ...], plan: Plan) -> str:
    """What consent is asked for: how much on how many hosts, and which services are restarted on how many."""
    first = [host for host in targets if host.interrupted]
    changed = [host for host in targets if host.transactions]
    parts = []
    if first:
        number = _count(sum(len(host.interrupted) for host in first), "interrupted transaction")
        parts.append(f"roll back {number} on {_count(len(first), 'host')}")
    if changed:
        changes = _count(sum(len(each.changes) for host in changed for each in host.transactions), "change")
        verb, where = ("apply", "to") if plan.undo is None else ("roll back", "on")
        parts.append(f"{verb} {changes} {where} {_count(len(changed), 'host')}")
    words = " and ".join(parts)
    return f"{words[:1].upper()}{words[1:]}{restarts.told(host.restarts for host in targets)}?"


def _end(report: Report, threshold: Threshold, view: View) -> ExitCode:
    view.applied(report)
    return exit_codes.of_apply(report.plan, report.results, threshold)


def _change(
    prospect: Prospect, targets: tuple[HostPlan, ...], approach: Approach, view: View, carrier: Carrier
) -> ExitCode:
    """Record what is about to happen, change, look from outside, record what came of it, report.

    Ctrl-C is raised again after the report: what was begun has ended by then, and the record says so.
    """
    from remediator import history
    from remediator.ansible import RunInterrupted

    record = _record(prospect, approach)
    path = history.save(record)
    interruption: KeyboardInterrupt | None = None
    answers: Mapping[str, HostResult]
    try:
        with view.applying([host.host for host in targets]) as on_event:
            answers = carrier(
                prospect.inventory,
                prospect.plan.model_copy(update={"hosts": targets}),
                prospect.access,
                prospect.policy,
                record.run,
                record.who,
                record.reason,
                approach.batches.serial,
                approach.batches.max_fail_percentage,
                on_event,
            )
    except RunInterrupted as stopped:
        interruption, answers = stopped, stopped.results
    except BaseException:  # whatever it was, the record must not say that the run still goes on
        _close(record, "interrupted", _reconciled(targets, {}), None)
        raise
    results = _reconciled(targets, answers)
    if interruption is None:
        try:
            results = _with_notes(prospect, targets, results)
        except KeyboardInterrupt as stopped:
            interruption = stopped
    code = exit_codes.of_apply(prospect.plan, results, approach.threshold)
    complaint = _close(record, "interrupted" if interruption else "finished", results, code)
    view.applied(Report(prospect.plan, "applied", results, record.run, record.who, record.reason, path))
    if complaint is not None:
        view.warn(complaint)
        code = exit_codes.first_that_applies((code, ExitCode.USAGE))
    if interruption is not None:
        raise interruption
    return code


def _reconciled(targets: tuple[HostPlan, ...], answers: Mapping[str, HostResult]) -> dict[str, HostResult]:
    """A result for each host, with an outcome for each of its transactions: what nobody reported is `unreported`."""
    results = {}
    for host in targets:
        given = answers.get(host.host, HostResult(host=host.host))
        # Refused, locked or out of reach before anything began: then the error says it, and nothing is unreported.
        # What was held back of the host as it is now says nothing of what was sent, so only kinds and digests count.
        if given.error is None or (given.results and given.error.kind in CONTACT_LOST):
            answered = {result.digest for result in given.results}
            missing = [_unreported(host.host, each) for each in host.transactions if each.digest not in answered]
            given = given.model_copy(update={"results": (*given.results, *missing)})
        results[host.host] = given
    return results


def _with_notes(
    prospect: Prospect, targets: tuple[HostPlan, ...], results: dict[str, HostResult]
) -> dict[str, HostResult]:
    """The results with what the controller itself met at the daemons that now listen with TLS."""
    if not any(step.do == "mutual_tls" for host in targets for each in host.transactions for step in each.probe):
        return results
    from remediator.tls.outside import look_from_outside
    from remediator.tls.store import store_directory

    return look_from_outside(prospect.inventory, targets, results, store_directory(), prospect.access.forks)


def _unreported(host: str, transaction: Transaction) -> TransactionResult:
    return TransactionResult(
        group=transaction.group,
        outcome="unreported",
        reason=_UNHEARD.format(host=host),
        digest=transaction.digest,
    )


def _close(
    record: RunRecord,
    state: Literal["finished", "interrupted"],
    results: Mapping[str, HostResult],
    code: ExitCode | None,
) -> str | None:
    """Save the record of a run that has ended; what to tell the user where that failed.

    It does not raise: hosts may be changed by now, and their answers must still be shown.
    """
    from remediator import history

    ended = {"state": state, "finished": _now(), "results": tuple(results.values()), "exit_code": code}
    try:
        history.save(record.model_copy(update=ended))
    except UsageError as error:
        return str(error)
    return None


def _consent(words: tuple[str, ...], catalogue: Catalogue) -> frozenset[str]:
    """`guarded`, roles, and controls by id. Raises UsageError for a word that is none of them."""
    allowed: set[str] = set()
    for word in words:
        ids = {control.id for control in catalogue.find(word)}
        if word == "guarded" or word in catalogue.roles:
            ids = {word}
        if not ids:
            raise UsageError(
                f"--allow {word}: there is no such role or control. Say `guarded`, one of the roles "
                f"{', '.join(catalogue.roles)}, or a control that `remediate controls` lists."
            )
        allowed |= ids
    return frozenset(allowed)


def _record(prospect: Prospect, approach: Approach) -> RunRecord:
    from remediator import history

    return history.RunRecord(
        run=history.new_ulid(),
        verb="apply" if prospect.plan.undo is None else "rollback",
        version=version(),
        started=_now(),
        who=who(),
        reason=one_line(approach.reason, 1000),
        inventory=prospect.access.sources,
        limit=prospect.access.limit,
        allow=tuple(sorted(prospect.policy.allow)),
        serial=approach.batches.serial,
        max_fail_percentage=approach.batches.max_fail_percentage,
        plan_digest=prospect.plan.digest,
        plan=prospect.plan,
    )


def who() -> str:
    """The person at the controller: the user behind sudo where there is one."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    if os.getuid() == 0 and behind and behind != user:
        user = f"{behind} as {user}"
    return one_line(f"{user}@{socket.gethostname()}", 200)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
