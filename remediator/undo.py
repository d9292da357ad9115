"""Undo: what a host's own journal says of one run becomes the transactions that take it back. Pure: no I/O, no clock.

The same composition is made for the preview and again on the way to the commit, and only equal digests are carried out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from remediator.alerts import alerts_of, repair_of
from remediator.decide import with_hooks
from remediator.held import unseen
from remediator.observation import Observation
from remediator.overlay import Overlay
from remediator.own_records import OwnTransactions, RecordedTransaction
from remediator.plan import Alert, HostPlan, Step, Transaction, Undo
from remediator.policy import Policy
from remediator.request import Needs
from remediator.restart_holds import holds
from remediator.surroundings import Surroundings
from remediator.text import one_line
from remediator.transactions import group_order, health_probes, impact_of
from remediator.undo_past import Past
from remediator.undo_paths import Look, Piece, path_pieces, stage_access
from remediator.undo_rules import rules_piece

_SECTIONS = ("transactions", "docker", "audit")


def undo_needs(run: str) -> Needs:
    """What must be observed to take `run` back: its records, what its paths hold now, and what they held before."""
    access, content = f"@transactions.{run}.access", f"@transactions.{run}.content"
    return Needs(frozenset((access, content)), frozenset(), frozenset((content,)), frozenset(_SECTIONS))


def take_back(host: str, seen: Observation, undo: Undo, policy: Policy, now: datetime) -> HostPlan:
    """The transactions that put back what `undo` names on `host`; `held` is what force or a person must settle first.

    `policy` is the host's own: where commit may write, and when it may restart what. Raises nothing, whatever the host
    said.
    """
    error, known = unseen(host, seen), seen.transactions
    if error is not None or known is None:
        return HostPlan(host=host, error=error)
    alerts: list[Alert] = []
    permitted: list[Transaction] = []
    held: list[Transaction] = []
    past, staged = Past(seen), Overlay(seen)
    for record in _in_reverse(known, undo.run):
        pieces, told = _pieces(record, Look(undo, policy.roots, record, past, staged))
        alerts += told
        why = _refused_whole(record, pieces, seen, policy, now)
        if why:
            pieces = [piece if piece.refusal else piece.refused(why) for piece in pieces]
        stage_access(staged, [piece for piece in pieces if not piece.refusal])
        permitted += _transaction(record, [piece for piece in pieces if not piece.refusal], seen)
        held += _transaction(record, [piece for piece in pieces if piece.refusal], seen)
    alerts = [*alerts_of(host, seen.state), *alerts]
    if not permitted and not held and not any(alert.kind == "refused" for alert in alerts):
        alerts.append(Alert(kind="nothing", text=_nothing(known, undo)))
    systems = tuple(name for name in ("docker", "kubernetes") if name in seen.systems and seen.systems[name].present)
    return HostPlan(
        host=host,
        systems=systems,
        transactions=with_hooks(tuple(permitted), policy),
        held=with_hooks(tuple(held), policy),
        notes=seen.problems,
        alerts=tuple(alerts),
    )


def _refused_whole(
    record: RecordedTransaction, pieces: list[Piece], seen: Observation, policy: Policy, now: datetime
) -> str:
    """Why nothing of the transaction is taken back; empty where each piece stands for itself."""
    if seen.transactions is not None and seen.transactions.broken is not None:
        return "a transaction ended broken on this host: nothing is changed there until that is released"
    if seen.state is not None and seen.state.unusable:
        unusable = seen.state.unusable[0]
        return (
            f"run {unusable.run} was interrupted here and its journal cannot be used: nothing is changed on this host "
            f"before {repair_of(unusable)}"
        )
    activation = _activation(record, pieces)
    if any(piece.refusal for piece in pieces) and activation:
        # What restarts together is put back together, or not at all.
        return "it is taken back with the rest of its transaction, or not at all"
    trial = Overlay(seen, steps={record.group: activation})
    held = holds(trial, Overlay(seen), policy, Surroundings(now))
    return "; ".join(f"{hold.reason}; it waits for {hold.release}".removeprefix("; ") for hold in held)


def _activation(record: RecordedTransaction, pieces: list[Piece]) -> tuple[Step, ...]:
    """The recorded activation, where bytes change: of a mode alone nobody needs to read anything again."""
    if not any(piece.content for piece in pieces):
        return ()
    return tuple(Step(do=step.do, unit=step.unit, names=step.names) for step in record.activation)


def _in_reverse(known: OwnTransactions, run: str) -> list[RecordedTransaction]:
    """The run's transactions that stand, or whose records say nothing, in the opposite order of the apply."""
    found = [record for record in known.records if record.run == run and (record.applied or record.problem)]
    return sorted(found, key=lambda record: (record.place or 0, group_order(record.group)), reverse=True)


def _pieces(record: RecordedTransaction, look: Look) -> tuple[list[Piece], list[Alert]]:
    """What to put back of one transaction, in reverse, and what of it nobody can."""
    if record.problem:
        text = one_line(f"{record.group}: its record cannot be used ({record.problem}), so it is not taken back", 1000)
        return [], [Alert(kind="refused", text=text)]
    problems = [entry.problem for entry in record.entries if entry.problem]
    alerts = [Alert(kind="refused", text=one_line(f"{record.group}: {problem}", 1000)) for problem in problems]
    pieces = [*path_pieces(look)]
    rules = rules_piece(look)
    return ([rules, *pieces] if rules is not None else pieces), alerts


def _transaction(record: RecordedTransaction, pieces: list[Piece], seen: Observation) -> Iterator[Transaction]:
    """The transaction of these pieces, activated as the one that it takes back; none of no pieces."""
    if not pieces:
        return
    activation = _activation(record, pieces)
    impact = impact_of(activation, seen.docker)
    yield Transaction(
        group=record.group,
        changes=tuple(piece.change for piece in pieces),
        preconditions=tuple(each for piece in pieces for each in piece.preconditions),
        actions=tuple(each for piece in pieces for each in piece.actions),
        activation=activation,
        probe=(*(each for piece in pieces for each in piece.probe), *health_probes(activation, impact, seen.docker)),
        impact=impact,
    )


def _nothing(known: OwnTransactions, undo: Undo) -> str:
    """Why there is nothing to do."""
    of_run = [record for record in known.records if record.run == undo.run]
    applied = [record for record in of_run if record.applied]
    if not of_run:
        return f"it holds nothing of run {undo.run}"
    if not applied:
        ends = ", ".join(f"{one.group} {'is open' if one.open else one.outcome.replace('_', ' ')}" for one in of_run)
        return one_line(f"run {undo.run} left nothing here that stands: {ends}", 1000)
    asked = {control for record in applied for entry in record.entries for control in entry.controls}
    if undo.controls and not asked.intersection(undo.controls):
        return one_line(f"run {undo.run} did nothing here for {', '.join(undo.controls)}", 1000)
    entries = [entry for record in applied for entry in record.entries]
    if entries and all(entry.pair for entry in entries):
        return "that run made a key and a signing request in remediator's own directory, which nothing uses: they stay"
    if not entries:
        return f"run {undo.run} restarted services and changed no file: a restart cannot be taken back"
    return f"everything that run {undo.run} changed here is as it was before it"
