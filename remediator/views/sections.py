"""Sorting a plan for reading: what is the same on several hosts is shown once, with their names."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from remediator.plan import Change, HostPlan, Impact, Plan, State, Verdict, VerdictName

# Not compliant first, in the order in which a reader can do something about it.
SHOWN: tuple[VerdictName, ...] = ("drifted", "manual", "pending", "unknown")
SHOWN_WHEN_VERBOSE: tuple[VerdictName, ...] = ("waived", "not_applicable", "compliant")


@dataclass(frozen=True)
class ChangePiece:
    """One change, the verdicts that ask for it, and what its transaction costs."""

    held: bool
    group: str
    impact: Impact
    change: Change
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Section:
    """What is said of exactly these hosts."""

    hosts: tuple[str, ...]
    changes: tuple[ChangePiece, ...]
    verdicts: tuple[Verdict, ...]  # those that no change stands for
    notes: tuple[str, ...]

    def groups(self) -> list[tuple[bool, str, Impact, list[ChangePiece]]]:
        """(held, transaction group, impact, changes): what is permitted first."""
        found: dict[tuple[bool, str, Impact], list[ChangePiece]] = {}
        for piece in self.changes:
            found.setdefault((piece.held, piece.group, piece.impact), []).append(piece)
        ordered = sorted(found.items(), key=lambda item: item[0][0])  # stable: transactions keep their order
        return [(held, group, impact, pieces) for (held, group, impact), pieces in ordered]


def sections(plan: Plan, verbose: bool) -> list[Section]:
    """Everything to say of the hosts that were reached, each thing once; hosts in the plan's order."""
    said: dict[Hashable, tuple[ChangePiece | Verdict | str, list[str]]] = {}
    for host in plan.hosts:
        if host.error is None and (verbose or not runs_nothing(host)):
            for key, piece in _pieces(host, verbose):
                said.setdefault(key, (piece, []))[1].append(host.host)
    together: dict[tuple[str, ...], list[ChangePiece | Verdict | str]] = {}
    for piece, hosts in said.values():
        together.setdefault(tuple(dict.fromkeys(hosts)), []).append(piece)
    return [
        Section(
            hosts,
            tuple(piece for piece in pieces if isinstance(piece, ChangePiece)),
            tuple(piece for piece in pieces if isinstance(piece, Verdict)),
            tuple(piece for piece in pieces if isinstance(piece, str)),
        )
        for hosts, pieces in together.items()
    ]


def runs_nothing(host: HostPlan) -> bool:
    """Whether there is nothing to say of the host but that it runs nothing that the controls are about."""
    return (
        host.error is None
        and not host.systems
        and not (host.acts or host.held)
        and all(verdict.verdict in ("not_applicable", "waived") for verdict in host.verdicts)
    )


def official(verdict: Verdict) -> str:
    """The number by which auditors know the control; the first of its references."""
    return next(iter(verdict.references.values()), "-")


def consent_releases(verdict: Verdict) -> bool:
    """Whether `--allow` would release a held change: a restart that must not be made now takes more."""
    if verdict.release is not None and verdict.release.startswith("remediate recover "):
        return False
    return verdict.fix == "opt_in" or verdict.release in (None, f"--allow {verdict.control}")


def why(verdict: Verdict, verbose: bool) -> str:
    """What to say beside a change: nothing where the change says it all, which it does when it is safe."""
    return verdict.reason if verbose or verdict.fix != "safe" else ""


def _as_shown(change: Change) -> Change:
    """The change without the numbers that names stand for: docker's gid differs between hosts, the line does not."""
    return change.model_copy(update={"before": _named(change.before), "after": _named(change.after)})


def _named(state: State) -> State:
    return state.model_copy(
        update={"uid": None if state.user else state.uid, "gid": None if state.group else state.gid}
    )


def _pieces(host: HostPlan, verbose: bool) -> Iterator[tuple[Hashable, ChangePiece | Verdict | str]]:
    verdicts = {verdict.control: verdict for verdict in host.verdicts}
    explained: set[str] = set()
    for held, transactions in ((False, host.transactions), (True, host.held)):
        for transaction in transactions:
            for change in transaction.changes:
                named = tuple(verdicts[name] for name in change.controls if name in verdicts)
                # A file may carry edits of other controls too, already made or already permitted: name who asks now.
                asking = tuple(each for each in named if each.verdict == "drifted" and each.permitted != held) or named
                explained |= {verdict.control for verdict in asking}
                reasons = tuple((verdict.control, verdict.release, why(verdict, verbose)) for verdict in asking)
                piece = ChangePiece(held, transaction.group, transaction.impact, change, asking)
                yield ("change", held, transaction.group, transaction.impact, _as_shown(change), reasons), piece
    wanted = (*SHOWN, *SHOWN_WHEN_VERBOSE) if verbose else SHOWN
    for name in wanted:
        for verdict in host.verdicts:
            if verdict.verdict == name and verdict.control not in explained:
                yield ("verdict", verdict.control, name, verdict.reason, verdict.fix, verdict.release), verdict
    for note in host.notes if verbose else ():
        yield ("note", note), note
