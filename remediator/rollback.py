"""Which run a rollback means, and the plan that takes it back on every host that holds something of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from remediator.catalogue import Catalogue, load_catalogue
from remediator.errors import HostError, UsageError
from remediator.own_records import OwnTransactions
from remediator.plan import HostError as PlanError
from remediator.plan import HostPlan, Plan, Undo
from remediator.policy import Policy
from remediator.request import Needs
from remediator.run import Prospect
from remediator.text import one_line
from remediator.undo import KnownRun, known_runs, take_back, undo_needs

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.inventory import Inventory
    from remediator.inventory_process import InventoryProcess
    from remediator.views.interface import View

LAST = "last"
NEEDS = Needs(sections=frozenset(("transactions",)))
_WHOLE_ID = 26


@dataclass(frozen=True)
class Wish:
    """What is to be taken back: a run's id, the beginning of one, or `last`; of which controls; over whose changes."""

    run: str
    controls: tuple[str, ...] = ()
    force: bool = False


def preview(access: Access, reading: InventoryProcess, wish: Wish, view: View) -> Prospect:
    """Observe the hosts that `reading` finds by `access`, and plan what takes the run back. Changes nothing.

    Raises UsageError for an inventory or a pattern that means nothing, and for a run that none of the hosts holds;
    HostError where no run is known because no host could be looked at.
    """
    catalogue = load_catalogue()

    from remediator.fleet import warm_up

    warm_up(NEEDS, access)
    inventory = reading.load(catalogue.defaults)
    # Two rounds where the run has to be found first: which one is `last` is a matter of all hosts together.
    run = wish.run.upper() if len(wish.run) == _WHOLE_ID else find_run(wish.run, _held_runs(inventory, access, view))
    controls = {name for word in wish.controls for name in catalogue.ids(word) or {word}}
    undo = Undo(run=run, controls=tuple(sorted(controls)), force=wish.force)
    with view.sweeping(len(inventory.hosts)) as seen:
        plan = _plan(inventory, catalogue, access, undo, seen)
    return Prospect(plan, inventory, access, Policy())


def find_run(word: str, runs: list[KnownRun]) -> str:
    """The id of the run that `word` means, among those of these hosts (newest first).

    `last` is the newest run that changed something here and was no rollback itself, whether or not it was rolled back
    since: asked twice, it means the same run. Raises UsageError where `word` means none, or several.
    """
    if word == LAST:
        found = [one.run for one in runs if one.changed and not one.undoes][:1]
        nothing = "none of these hosts holds a run that changed something"
    else:
        found = [one.run for one in runs if one.run.upper().startswith(word.upper())]
        nothing = f"none of these hosts holds a run whose id begins with {word}"
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{word} begins the ids of {len(found)} runs: {', '.join(found[:5])}. Give more of it.")
    raise UsageError(f"There is nothing to roll back: {nothing}. `remediate transactions` lists what they hold.")


def _held_runs(inventory: Inventory, access: Access, view: View) -> list[KnownRun]:
    """The runs of all hosts that answer. Raises HostError where none does."""
    from remediator.fleet import observe_fleet

    held: list[tuple[str, OwnTransactions]] = []
    errors: list[HostError] = []
    with view.sweeping(len(inventory.hosts)) as seen:
        for host, answer in observe_fleet(inventory, NEEDS, access):
            if isinstance(answer, HostError):
                errors.append(answer)
            elif answer.transactions is None or answer.transactions.error is not None:
                why = answer.transactions.error if answer.transactions is not None else "it did not answer for it"
                message = f"{host.name}: its journal could not be looked at ({why})."
                errors.append(HostError(host.name, "become", one_line(message, 1000)))
            else:
                held.append((host.name, answer.transactions))
            seen(host.name)
    if errors and not any(known.records for _, known in held):
        raise errors[0]
    return known_runs(held)


def _plan(
    inventory: Inventory, catalogue: Catalogue, access: Access, undo: Undo, progress: Callable[[str], None]
) -> Plan:
    """The plan of every host, in inventory order."""
    from remediator.fleet import observe_fleet

    now = datetime.now(UTC)
    plans: dict[str, HostPlan] = {}
    for host, seen in observe_fleet(inventory, undo_needs(undo.run), access):
        if isinstance(seen, HostError):
            error = PlanError(kind=seen.kind, message=one_line(str(seen), 1000))
            plans[host.name] = HostPlan(host=host.name, error=error)
        else:
            policy = Policy().for_host(host.name, dict(host.variables), catalogue)
            plans[host.name] = take_back(host.name, seen, undo, policy, now)
        progress(host.name)
    return Plan(controls=(), hosts=tuple(plans[host.name] for host in inventory.hosts), undo=undo)
