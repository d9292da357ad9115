"""Takes our traces off hosts; the hardening itself stays: `remediate purge`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remediator.alerts import recovery_of, release_of
from remediator.commit_documents import HostAnswer, read_answer
from remediator.errand import Errand
from remediator.errors import HostError
from remediator.exit_codes import ExitCode, first_that_applies
from remediator.plan import HostError as PlanError
from remediator.plan import HostResult
from remediator.session import plan_error
from remediator.standing import Standing
from remediator.text import one_line

if TYPE_CHECKING:
    from remediator.access import Access
    from remediator.inventory import Inventory
    from remediator.views.interface import View


class _Answer(HostAnswer):
    """What a host answered to `purge`."""

    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Purged:
    """What was taken off one host, or why nothing."""

    host: str
    error: PlanError | None = None
    removed: tuple[str, ...] = ()

    @property
    def result(self) -> HostResult:
        """As it stands in the run's record."""
        return HostResult(host=self.host, error=self.error, notes=tuple(f"removed {path}" for path in self.removed))


def refusal(host: Standing) -> str:
    """Why a host cannot be purged; empty where it can."""
    if host.interrupted:
        first = host.interrupted[0]
        return f"{first.group} of run {first.run} was interrupted: `{recovery_of(host.host)}` first, then purge"
    if host.broken is not None:
        return f"it is broken ({host.broken.reason}): repair it, `{release_of(host.host)}`, then purge"
    if host.holder is not None:
        return f"run {host.holder.run} by {host.holder.who} is changing it: wait for that to end"
    return ""


def due(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    """The hosts that have traces of ours, which can be taken off."""
    return tuple(each for each in standings if each.error is None and each.traces and not refusal(each))


def purge(
    wanted: Sequence[Standing], inventory: Inventory, access: Access, errand: Errand, view: View
) -> tuple[Purged, ...]:
    """Take our traces off these hosts. What fails on one host is that host's result.

    Raises UsageError when Ansible refuses to start.
    """
    from remediator.ansible import run_errand

    names = [each.host for each in wanted]
    with view.applying(names) as on_event:
        answers = run_errand(
            "purge", inventory, names, access, errand, (), lambda host: on_event(host, "was asked to purge")
        )
    return tuple(_purged(name, answers[name], errand.run) for name in names)


def exit_code(standings: Iterable[Standing], done: Mapping[str, Purged], declined: bool = False) -> ExitCode:
    """What the call ends with: 5 where another run holds a host, 3 where one could not be purged, 1 after a no."""
    codes = [ExitCode.DRIFT] if declined else []
    for host in standings:
        result = done.get(host.host)
        errors = [error for error in (host.error, result.error if result else None) if error is not None]
        codes += [ExitCode.LOCKED if error.kind == "locked" else ExitCode.FAILED for error in errors]
        if host.error is None and refusal(host):
            busy = host.holder is not None and not host.interrupted and host.broken is None
            codes.append(ExitCode.LOCKED if busy else ExitCode.FAILED)
    return first_that_applies(codes)


def _purged(host: str, answer: bytes | HostError, run: str) -> Purged:
    try:
        if isinstance(answer, HostError):
            raise answer
        found = read_answer(_Answer, host, run, answer)
    except HostError as error:
        return Purged(host, plan_error(error))
    return Purged(host, None, tuple(one_line(path) for path in found.removed[:100]))
