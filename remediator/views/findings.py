"""A section of a plan as lines: changes grouped by what they change, then what only a person or time can settle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from remediator.plan import Impact, Plan, Verdict
from remediator.views.diff import change_lines
from remediator.views.lines import BLANK, SEVERITY_STYLES, Line, columns, line
from remediator.views.sections import ChangePiece, Section, consent_releases, official, why

# The states of verdicts in the order of reading, each with its style and what it means.
_STATES: dict[str, tuple[str, str]] = {
    "drifted": ("yellow", ""),
    "held back": ("magenta", ""),
    "manual": ("cyan", "fails, and only a person should fix it"),
    "pending": ("blue", "right on disk, not in force yet"),
    "unknown": ("red", "could not be decided"),
    "waived": ("dim", ""),
    "not applicable": ("dim", ""),
    "compliant": ("green", ""),
}


def section_lines(section: Section, verbose: bool) -> list[Line]:
    """The hosts' names, then everything that is said of them."""
    lines = [_hosts_line(section.hosts), BLANK]
    for held, group, impact, pieces in section.groups():
        lines += [
            _group_line(held, group, impact, pieces),
            *_impact_lines(impact),
            *_pieces(pieces, verbose),
            BLANK,
        ]
    for state in _STATES:
        verdicts = [verdict for verdict in section.verdicts if _state(verdict) == state]
        if verdicts:
            lines += [*_verdict_lines(state, verdicts), BLANK]
    if section.notes:
        lines += [line(2, ("notes", "bold")), *(line(4, (note, "dim")) for note in section.notes), BLANK]
    return lines


def unreached_lines(plan: Plan) -> list[Line]:
    """Each host that could not be observed, and why."""
    return [
        line(0, ("not reached  ", "bold red"), *_named(host.host, host.error.message))
        for host in plan.hosts
        if host.error is not None
    ]


def nothing_here_lines(hosts: Sequence[str]) -> list[Line]:
    """One sentence for hosts that run nothing that the controls are about."""
    if len(hosts) == 1:
        return [line(0, f"{hosts[0]} runs neither Docker nor Kubernetes: nothing here to harden.")]
    return [line(0, f"{', '.join(hosts)} run neither Docker nor Kubernetes: nothing there to harden.")]


def _named(host: str, message: str) -> tuple[tuple[str, str], str]:
    """The host's name and its error, which by custom begins with the name too."""
    return (host, "bold"), f": {message.removeprefix(f'{host}: ')}"


def _hosts_line(hosts: Sequence[str]) -> Line:
    count = f"{len(hosts)} hosts: " if len(hosts) > 1 else ""
    return line(0, (f"{count}{', '.join(hosts)}", "bold underline" if len(hosts) == 1 else "bold"))


def _group_line(held: bool, group: str, impact: Impact, pieces: Sequence[ChangePiece]) -> Line:
    number = len(pieces)
    changes = f"{number} change" if number == 1 else f"{number} changes"
    if not held:
        ending = "" if impact.text else ", nothing restarts"
        return line(2, (group, "bold yellow"), (f"  {changes}{ending}", "dim"))
    if not any(piece.verdicts for piece in pieces):  # of a rollback, which has none
        return line(2, (group, "bold magenta"), (f"  {changes} refused", "magenta"))
    ways = ", ".join(dict.fromkeys(_way(verdict) for piece in pieces for verdict in piece.verdicts))
    return line(2, (group, "bold magenta"), (f"  {changes} held back", "magenta"), ", released by ", (ways, "bold"))


def _way(verdict: Verdict) -> str:
    """What would release it, and with it what its role has of the same sort; on a broken host, only its release."""
    consent = f"--allow {verdict.role}"
    if consent_releases(verdict):
        return consent
    return (verdict.release or "").replace(f"--allow {verdict.control}", consent)


def _impact_lines(impact: Impact) -> list[Line]:
    return [line(4, ("impact: ", "bold"), (impact.text, "yellow"))] if impact.text else []


def _pieces(pieces: Sequence[ChangePiece], verbose: bool) -> list[Line]:
    """Changes under the controls that ask for them; changes of the same controls stand together."""
    together: dict[tuple[str, ...], list[ChangePiece]] = {}
    for piece in pieces:
        together.setdefault(tuple(verdict.control for verdict in piece.verdicts), []).append(piece)
    heads = iter(_control_lines([verdict for same in together.values() for verdict in same[0].verdicts]))
    lines: list[Line] = []
    for same in together.values():
        lines += [next(heads) for _ in same[0].verdicts]
        lines += _reason_lines(why(verdict, verbose) for verdict in same[0].verdicts)
        for piece in same:
            lines += change_lines(piece.change, 6)
    return lines


def _state(verdict: Verdict) -> str:
    if verdict.verdict == "drifted" and not verdict.permitted:
        return "held back"
    return verdict.verdict.replace("_", " ")


def _verdict_lines(state: str, verdicts: Sequence[Verdict]) -> list[Line]:
    """The verdicts of one state; controls with the same reason share it."""
    style, meaning = _STATES[state]
    lines = [line(2, (state, f"bold {style}"), (f"  {meaning}" if meaning else "", "dim"))]
    by_reason: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_reason.setdefault(verdict.reason, []).append(verdict)
    heads = iter(_control_lines([verdict for same in by_reason.values() for verdict in same]))
    for reason, same in by_reason.items():
        lines += [*(next(heads) for _ in same), *_reason_lines([reason])]
    return lines


def _control_lines(verdicts: Sequence[Verdict]) -> list[Line]:
    """Official number, severity, title and id; of what is held, what would release just that."""
    rows = []
    for verdict in verdicts:
        severity = (verdict.severity, SEVERITY_STYLES[verdict.severity])
        name = (verdict.release, "magenta") if verdict.release else (verdict.control, "dim")
        rows.append([(official(verdict), "cyan"), severity, (verdict.title, ""), name])
    return columns(4, rows)


def _reason_lines(reasons: Iterable[str]) -> list[Line]:
    return [line(6, (reason, "italic")) for reason in dict.fromkeys(reasons) if reason]
