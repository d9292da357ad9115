"""Puts back what was interrupted on hosts, and releases those that a person has repaired: `remediate recover`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remediator import restarts
from remediator.commit_documents import HostAnswer, RecoveredTransaction, read_answer
from remediator.errand import Errand
from remediator.errors import HostError, UsageError
from remediator.exit_codes import ExitCode, first_that_applies
from remediator.plan import HostError as PlanError
from remediator.plan import HostResult, TransactionResult
from remediator.session import plan_error
from remediator.standing import Standing, count
from remediator.text import one_line, visible

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.inventory import Inventory
    from remediator.views.interface import View


class _Answer(HostAnswer):
    """What a host answered to `recover`."""

    recovered: tuple[RecoveredTransaction, ...] = ()
    released: bool = False


@dataclass(frozen=True)
class Recovered:
    """What was done on one host. `error`: why nothing, or nobody knows what; `released`: its broken mark is gone."""

    host: str
    error: PlanError | None = None
    transactions: tuple[RecoveredTransaction, ...] = ()
    released: bool = False

    @property
    def result(self) -> HostResult:
        """As it stands in the run's record."""
        results = tuple(
            TransactionResult(group=each.group, outcome=each.outcome, reason=each.reason, paths=each.paths)
            for each in self.transactions
        )
        notes = tuple(f"{each.group} of run {each.run} {_end(each)}" for each in self.transactions)
        return HostResult(
            host=self.host,
            error=self.error,
            results=results,
            notes=(*notes, *(("released",) if self.released else ())),
        )


def due(standings: Iterable[Standing], released: Sequence[str]) -> tuple[Standing, ...]:
    """The hosts where there is something to do: interrupted transactions, or a broken mark that is to be released.

    Raises UsageError for a host to release that was not selected, or has no such mark.
    """
    hosts = {each.host: each for each in standings}
    for name in released:
        if name not in hosts:
            raise UsageError(f"--release {name}: no selected host has that name. Give the inventory's own, in full.")
        found = hosts[name]
        if found.error is None and found.broken is None:
            raise UsageError(f"--release {name}: that host is not broken, so there is nothing to release.")
    return tuple(each for each in hosts.values() if each.interrupted or (each.broken and each.host in released))


def question(wanted: Iterable[Standing], released: Sequence[str]) -> str:
    """What is asked before anything is done."""
    wanted = tuple(wanted)
    hosts = [each for each in wanted if each.interrupted]
    parts = []
    if hosts:
        number = sum(len(each.interrupted) for each in hosts)
        said = restarts.told([unit for each in host.interrupted for unit in each.restarts] for host in hosts)
        parts.append(f"roll back {count(number, 'interrupted transaction')} on {count(len(hosts), 'host')}{said}")
    names = [each.host for each in wanted if each.host in released]
    if names:
        parts.append(f"release {', '.join(names)}")
    words = " and ".join(parts)
    return words[:1].upper() + words[1:] + "?"


def recover(
    wanted: Sequence[Standing],
    inventory: Inventory,
    access: Access,
    released: Sequence[str],
    errand: Errand,
    view: View,
) -> tuple[Recovered, ...]:
    """Put back what was interrupted on these hosts, and release those that `released` names.

    What fails on one host is that host's result. Raises UsageError when Ansible refuses to start.
    """
    from remediator.ansible import run_errand

    names = [each.host for each in wanted]
    with view.applying(names) as on_event:
        answers = run_errand(
            "recover", inventory, names, access, errand, released, lambda host: on_event(host, "was asked to recover")
        )
    return tuple(_recovered(each, answers[each.host], each.host in released, errand.run) for each in wanted)


def exit_code(standings: Iterable[Standing], done: Mapping[str, Recovered], declined: bool = False) -> ExitCode:
    """What the call ends with: 3 while a host is broken, interrupted or not known; 1 where the answer was no."""
    codes = [ExitCode.DRIFT] if declined else []
    for host in standings:
        result = done.get(host.host)
        errors = [error for error in (host.error, result.error if result else None) if error is not None]
        codes += [ExitCode.LOCKED if error.kind == "locked" else ExitCode.FAILED for error in errors]
        broken = host.broken is not None and not (result and result.released)
        broken = broken or any(each.outcome != "rolled_back" for each in (result.transactions if result else ()))
        if broken:
            codes.append(ExitCode.FAILED)
    return first_that_applies(codes)


def _end(found: RecoveredTransaction) -> str:
    return "was put back" if found.outcome == "rolled_back" else f"ended {found.outcome.replace('_', ' ')}"


def _recovered(asked: Standing, answer: bytes | HostError, release: bool, run: str) -> Recovered:
    try:
        if isinstance(answer, HostError):
            raise answer
        found = read_answer(_Answer, asked.host, run, answer)
    except HostError as error:
        return Recovered(asked.host, plan_error(error))
    return Recovered(asked.host, None, tuple(map(_harmless, found.recovered)), release and found.released)


def _harmless(answer: RecoveredTransaction) -> RecoveredTransaction:
    short: Callable[[str], str] = lambda text: one_line(text, 100)  # noqa: E731
    return answer.model_copy(
        update={
            "run": short(answer.run),
            "group": short(answer.group),
            "reason": one_line(answer.reason, 1000),
            "log": visible(answer.log, 16384),
            "paths": tuple(one_line(path) for path in answer.paths[:1000]),
        }
    )
