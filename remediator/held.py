"""What the hosts of a fleet hold of our own transactions: the journals are the truth about what was done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remediator.errors import HostError
from remediator.exit_codes import ExitCode
from remediator.observation import Observation
from remediator.own_records import BrokenMark, LockHolder, RecordedTransaction
from remediator.plan import HostError as PlanError
from remediator.request import Needs
from remediator.text import one_line

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.inventory import Inventory

STATE_DIRECTORY = "/var/lib/remediator"
NEEDS = Needs(sections=frozenset(("transactions",)))


@dataclass(frozen=True)
class HeldTransactions:
    """One host's transactions, open ones first, then the newest first; `error` says why they are not known."""

    host: str
    error: PlanError | None = None
    broken: BrokenMark | None = None
    holder: LockHolder | None = None  # who changes the host right now
    records: tuple[RecordedTransaction, ...] = ()


def held_by_fleet(inventory: Inventory, access: Access, progress: Callable[[str], None]) -> list[HeldTransactions]:
    """What every host holds, in inventory order. `progress` is called with a host's name once it has answered.

    Raises UsageError when a carrier refuses to start.
    """
    from remediator.fleet import observe_fleet

    found: dict[str, HeldTransactions] = {}
    for host, seen in observe_fleet(inventory, NEEDS, access):
        found[host.name] = held_by(host.name, seen)
        progress(host.name)
    return [found[host.name] for host in inventory.hosts]


def held_by(host: str, seen: Observation | HostError) -> HeldTransactions:
    """What one host holds, by what it answered."""
    if isinstance(seen, HostError):
        return HeldTransactions(host, PlanError(kind=seen.kind, message=one_line(str(seen), 1000)))
    error, known = unseen(host, seen), seen.transactions
    if error is not None or known is None:
        return HeldTransactions(host, error)
    records = sorted(known.records, key=lambda record: not record.open)  # stable: the newest stay first
    holder = seen.state.holder if seen.state is not None else None
    return HeldTransactions(host, None, known.broken, holder, tuple(records))


def unseen(host: str, seen: Observation) -> PlanError | None:
    """Why it is not known what `host` holds, and what to do about it; None where it is."""
    known = seen.transactions
    if known is not None and known.error is None:
        return None
    why = known.error if known is not None else "it did not answer for its journal"
    kind, remedy = "become", "Give -b (--become), or set ansible_become for it."
    if seen.host.uid == 0:
        kind, remedy = "state", f"Look at {STATE_DIRECTORY} on the host: it must be root's alone and whole."
    return PlanError(kind=kind, message=one_line(f"{host}: its journal could not be looked at ({why}). {remedy}", 1000))


def exit_code(fleet: Iterable[HeldTransactions]) -> ExitCode:
    """3 where a host could not be looked at, is broken, or holds an interrupted transaction; else 0."""
    troubled = any(
        held.error is not None
        or held.broken is not None
        or any(record.open and not _is_running(record, held.holder) for record in held.records)
        for held in fleet
    )
    return ExitCode.FAILED if troubled else ExitCode.DONE


def _is_running(record: RecordedTransaction, holder: LockHolder | None) -> bool:
    return holder is not None and holder.run == record.run
