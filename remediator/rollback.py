"""Which run a rollback means, and the plan that takes it back on every host that holds something of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from remediator.catalogue import Catalogue, load_catalogue
from remediator.errors import HostError, UsageError
from remediator.held import NEEDS, held_by
from remediator.observation import Observation
from remediator.own_records import OwnTransactions
from remediator.plan import HostError as PlanError
from remediator.plan import HostPlan, Plan, Undo
from remediator.policy import Policy
from remediator.run import Prospect
from remediator.text import one_line
from remediator.undo import take_back, undo_needs
from remediator.which_run import LAST, beginning_with, last_run

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.inventory import Inventory
    from remediator.inventory_process import InventoryProcess
    from remediator.views.interface import View

_WHOLE_ID = 26
_SHOWN = 5


@dataclass(frozen=True)
class Wish:
    """What is to be taken back: a run's id, the beginning of one, or `last`; of which controls; over whose changes."""

    run: str
    controls: tuple[str, ...] = ()
    force: bool = False


def preview(access: Access, reading: InventoryProcess, wish: Wish, view: View) -> Prospect:
    """Observe the hosts that `reading` finds by `access`, and plan what takes the run back. Changes nothing.

    Raises UsageError for an inventory or a pattern that means nothing, for a run that none of the hosts that answered
    holds, and for a control that neither the catalogue nor that run knows; HostError where no run is known because no
    host could be looked at.
    """
    catalogue = load_catalogue()

    from remediator.fleet import warm_up

    warm_up(NEEDS, access)
    inventory = reading.load(catalogue.defaults)
    # Two rounds where the run has to be found first: which one is meant is a matter of all hosts together.
    run = wish.run.upper() if len(wish.run) == _WHOLE_ID else _find_run(wish.run, inventory, access, view)
    controls = {name for word in wish.controls for name in catalogue.ids(word) or {word}}
    undo = Undo(run=run, controls=tuple(sorted(controls)), force=wish.force)
    with view.sweeping(len(inventory.hosts)) as seen:
        plan, holders = _plan(inventory, catalogue, access, undo, seen)
    _require_meaning(plan, undo, holders, catalogue)
    return Prospect(plan, inventory, access, Policy())


def _find_run(word: str, inventory: Inventory, access: Access, view: View) -> str:
    """The id of the run that `word` means. Raises UsageError where it means none, or several; HostError."""
    fleet = _held_transactions(inventory, access, view)
    if word != LAST:
        return beginning_with(word, fleet)
    from remediator import history

    names = frozenset(host.name for host in inventory.hosts)
    chosen = last_run(fleet, names, history.newest_first(), datetime.now(UTC))
    if chosen.note:
        view.warn(chosen.note)
    return chosen.run


def _held_transactions(inventory: Inventory, access: Access, view: View) -> list[tuple[str, OwnTransactions]]:
    """What each host that answers holds, in inventory order. Raises HostError where nothing is known of any run."""
    from remediator.fleet import observe_fleet

    held: dict[str, OwnTransactions] = {}
    errors: list[HostError] = []
    with view.sweeping(len(inventory.hosts)) as seen:
        for host, answer in observe_fleet(inventory, NEEDS, access):
            error = held_by(host.name, answer).error
            if error is not None:
                errors.append(HostError(host.name, error.kind, error.message))
            elif isinstance(answer, Observation) and answer.transactions is not None:
                held[host.name] = answer.transactions
            seen(host.name)
    if errors and not any(known.records for known in held.values()):
        raise errors[0]
    return [(host.name, held[host.name]) for host in inventory.hosts if host.name in held]


def _plan(
    inventory: Inventory, catalogue: Catalogue, access: Access, undo: Undo, progress: Callable[[str], None]
) -> tuple[Plan, Mapping[str, set[str]]]:
    """The plan of every host, in inventory order, and which of them hold the run, with the controls that it names."""
    from remediator.fleet import observe_fleet

    now = datetime.now(UTC)
    plans: dict[str, HostPlan] = {}
    holders: dict[str, set[str]] = {}
    for host, seen in observe_fleet(inventory, undo_needs(undo.run), access):
        if isinstance(seen, HostError):
            error = PlanError(kind=seen.kind, message=one_line(str(seen), 1000))
            plans[host.name] = HostPlan(host=host.name, error=error)
        else:
            policy = Policy().for_host(host.name, dict(host.variables), catalogue)
            plans[host.name] = take_back(host.name, seen, undo, policy, now)
            records = [each for each in seen.transactions.records if each.run == undo.run] if seen.transactions else []
            if records:
                named = {control for record in records for control in record.controls}
                asking = {control for each in records for entry in each.entries for control in entry.controls}
                holders[host.name] = named | asking
        progress(host.name)
    return Plan(controls=(), hosts=tuple(plans[host.name] for host in inventory.hosts), undo=undo), holders


def _require_meaning(plan: Plan, undo: Undo, holders: Mapping[str, set[str]], catalogue: Catalogue) -> None:
    """Raises UsageError where no host that answered holds the run, or where nobody knows a control."""
    if all(host.error is not None for host in plan.hosts):
        return  # nothing is known of what was meant: each host's own error says why
    if not holders:
        unseen = [host.host for host in plan.hosts if host.error is not None]
        more = f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else ""
        missing = f" ({', '.join(unseen[:_SHOWN])}{more} could not be looked at)" if unseen else ""
        raise UsageError(
            f"There is nothing to roll back: no host that answered holds anything of run {undo.run}{missing}. "
            "Look whether the id is right: `remediate transactions` lists what they hold."
        )
    known = {control.id for control in catalogue.everything}.union(*holders.values())
    for control in undo.controls:
        if control not in known:
            raise UsageError(
                f"--control {control}: there is no such control, and run {undo.run} did nothing for one of that name. "
                "`remediate controls` lists them."
            )
