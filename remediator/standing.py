"""How a host stands with us, before anything is put back or taken off: what was interrupted, and what is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from remediator.errors import HostError
from remediator.own_records import BrokenMark, LockHolder, OpenTransaction
from remediator.plan import HostError as PlanError
from remediator.request import Needs
from remediator.session import plan_error
from remediator.text import one_line

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.inventory import Inventory
    from remediator.observation import Observation
    from remediator.views.interface import View

STATE_DIRECTORY = "/var/lib/remediator"
NEEDS = Needs.of([STATE_DIRECTORY])


@dataclass(frozen=True)
class Standing:
    """One host. `error`: why it is not known. `interrupted` has no transaction of a run that is at it right now.

    `traces`: whether it has our state directory.
    """

    host: str
    error: PlanError | None = None
    interrupted: tuple[OpenTransaction, ...] = ()
    broken: BrokenMark | None = None
    holder: LockHolder | None = None
    traces: bool = False


def look(inventory: Inventory, access: Access, view: View) -> tuple[Standing, ...]:
    """How every host of the inventory stands, in its order. Changes nothing. Raises UsageError as a check does."""
    from remediator.fleet import observe_fleet

    found: dict[str, Standing] = {}
    with view.sweeping(len(inventory.hosts)) as seen:
        for host, answer in observe_fleet(inventory, NEEDS, access):
            found[host.name] = standing(host.name, answer)
            seen(host.name)
    return tuple(found[host.name] for host in inventory.hosts)


def standing(host: str, seen: Observation | HostError) -> Standing:
    """How one host stands, from what observe answered."""
    if isinstance(seen, HostError):
        return Standing(host, plan_error(seen))
    state = seen.state
    if state is None or state.error is not None:
        why = state.error if state is not None and state.error else "it did not say what it holds of our transactions"
        kind = "become" if seen.host.uid != 0 else "state"
        remedy = " Give -b (--become), or set ansible_become for it." if kind == "become" else ""
        return Standing(host, PlanError(kind=kind, message=one_line(f"{host}: {why}.{remedy}", 1000)))
    directory = seen.files.get(STATE_DIRECTORY)
    traces = directory is not None and directory.type != "missing"
    return Standing(host, None, state.interrupted, state.broken, state.holder, traces)


def words(error: PlanError, host: str) -> str:
    """An error's message without the host's name, which stands beside it."""
    return error.message.removeprefix(f"{host}: ")


def count(number: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
