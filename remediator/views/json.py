"""The view for programs: one JSON document on stdout. `remediator.views.documents` has its shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TextIO

from pydantic import BaseModel

from remediator.plan import Change, HostPlan, HostResult, Plan, State, Transaction, Verdict
from remediator.text import visible
from remediator.views.documents import (
    AppliedHostDocument,
    ApplyDocument,
    ChangeDocument,
    CheckDocument,
    ControlDocument,
    ControlsDocument,
    HostDocument,
    OutcomeDocument,
    RollbackDocument,
    StateDocument,
    VerdictDocument,
)
from remediator.views.interface import Report
from remediator.views.output import write
from remediator.views.progress import apply_progress, sweep_progress

if TYPE_CHECKING:
    from remediator.catalogue import Control
    from remediator.held import HeldTransactions
    from remediator.threats import Threat


class JsonView:
    """`--format json`."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._stdout = stdout
        self._stderr = stderr

    def sweeping(self, hosts: int) -> AbstractContextManager[Callable[[str], None]]:
        """See View."""
        return sweep_progress(self._stderr, hosts)

    def applying(self, hosts: Sequence[str]) -> AbstractContextManager[Callable[[str, str], None]]:
        """See View."""
        return apply_progress(self._stderr, hosts)

    def checked(self, plan: Plan, next_command: str) -> None:
        """See View. The next command is for people."""
        hosts = tuple(_host(host) for host in plan.hosts)
        self._print(CheckDocument(plan=plan.digest, controls=plan.controls, hosts=hosts))

    def previewed(self, plan: Plan) -> None:
        """See View. There is one document, at the end."""

    def applied(self, report: Report) -> None:
        """See View."""
        plan = report.plan
        told = {
            "plan": plan.digest,
            "ended": report.ended,
            "run": report.run,
            "who": report.who,
            "reason": report.reason,
            "record": None if report.record is None else str(report.record),
            "controls": plan.controls if plan.undo is None else plan.undo.controls,
            "hosts": tuple(_applied_host(host, report.results.get(host.host)) for host in plan.hosts),
        }
        if plan.undo is None:
            self._print(ApplyDocument.model_validate(told))
        else:
            self._print(RollbackDocument(**told, undoes=plan.undo.run, force=plan.undo.force))

    def transactions(self, fleet: Sequence[HeldTransactions]) -> None:
        """See View."""
        from remediator.views.transactions import transactions_document

        self._print(transactions_document(fleet))

    def listed(self, controls: Sequence[Control]) -> None:
        """See View."""
        self._print(ControlsDocument(controls=tuple(_control(control) for control in controls)))

    def explained(self, controls: Sequence[Control], threats: Mapping[str, Threat]) -> None:
        """See View. A control is whole in a list already."""
        self.listed(controls)

    def warn(self, message: str) -> None:
        """See View."""
        write(self._stderr, f"remediate: {visible(message)}\n")

    def _print(self, document: BaseModel) -> None:
        import json

        # Escaped to ASCII: whatever a host put into a name, a terminal that this is shown on stays as it is.
        write(self._stdout, json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=True) + "\n")


def _host(host: HostPlan) -> HostDocument:
    verdicts = {verdict.control: verdict for verdict in host.verdicts}
    changes = [change for each in host.transactions for change in _changes(each, None)]
    changes += [change for each in host.held for change in _changes(each, verdicts)]
    return HostDocument(
        host=host.host,
        error=host.error,
        systems=host.systems,
        verdicts=tuple(VerdictDocument.model_validate(verdict.model_dump()) for verdict in host.verdicts),
        changes=tuple(changes),
        notes=host.notes,
        alerts=host.alerts,
        recovers=host.recovers,
    )


def _changes(transaction: Transaction, held_by: dict[str, Verdict] | None) -> list[ChangeDocument]:
    """Its changes; `held_by` has the verdicts that may say what would release them, or None where it is permitted."""
    digest = transaction.digest
    return [_change(change, transaction, digest, held_by) for change in transaction.changes]


def _change(
    change: Change, transaction: Transaction, digest: str, held_by: dict[str, Verdict] | None
) -> ChangeDocument:
    asking = [held_by[name] for name in change.controls if name in held_by] if held_by is not None else []
    return ChangeDocument(
        path=change.path,
        what=change.what,
        controls=change.controls,
        before=_state(change.before),
        after=_state(change.after),
        diff=change.diff,
        since=change.since,
        added=change.added,
        removed=change.removed,
        details=change.details,
        transaction=transaction.group,
        digest=digest,
        impact=transaction.impact,
        permitted=held_by is None,
        release=tuple(dict.fromkeys(verdict.release for verdict in asking if verdict.release is not None)),
    )


def _state(state: State) -> StateDocument:
    mode = None if state.mode is None else f"{state.mode:04o}"
    return StateDocument.model_validate({**state.model_dump(), "mode": mode})


def _applied_host(host: HostPlan, result: HostResult | None) -> AppliedHostDocument:
    outcomes = result.results if result is not None else ()
    return AppliedHostDocument(
        host=host.host,
        error=result.error if result is not None else host.error,
        before=_host(host),
        outcomes=tuple(
            OutcomeDocument(transaction=answer.group, **answer.model_dump(exclude={"group"})) for answer in outcomes
        ),
        after=_host(result.after) if result is not None and result.after is not None else None,
        notes=result.notes if result is not None else (),
    )


def _control(control: Control) -> ControlDocument:
    return ControlDocument(
        id=control.id,
        role=control.role,
        title=control.title,
        rationale=control.rationale,
        severity=control.severity,
        references=control.references,
        threat=control.threat,
        applies_to=control.applies_to,
        fix=control.fix,
        impact=control.impact,
        kind=control.kind,
        parameters=control.parameters.model_dump(mode="json"),
    )
