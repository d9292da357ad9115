"""The catalogue as lines: a list by role, or controls explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from remediator.plan import FixClass
from remediator.views.lines import BLANK, SEVERITY_STYLES, Line, columns, line

if TYPE_CHECKING:
    from remediator.catalogue import Control
    from remediator.threats import Threat

_FIX: dict[FixClass, tuple[str, str]] = {
    "safe": ("applied unattended", "green"),
    "guarded": ("applied with consent: --allow guarded, --allow {role} or --allow {id}", "magenta"),
    "opt_in": ("applied when a parameter asks for it, and with --allow {role} or --allow {id}", "blue"),
    "manual": ("never changed by remediate: a person decides", "cyan"),
}


def listing_lines(controls: Sequence[Control]) -> list[Line]:
    """Official number, severity, fix class, title and id of each control, under its role."""
    by_role: dict[str, list[Control]] = {}
    for control in controls:
        by_role.setdefault(control.role, []).append(control)
    rows = [
        [
            (next(iter(control.references.values()), "-"), "cyan"),
            (control.severity, SEVERITY_STYLES[control.severity]),
            (control.fix, _FIX[control.fix][1]),
            (control.title, ""),
            (control.id, "dim"),
        ]
        for control in controls
    ]
    aligned = iter(columns(2, rows))
    lines: list[Line] = []
    for role, members in by_role.items():
        lines += [line(0, (role, "bold"), (f"  {len(members)} controls", "dim"))]
        lines += [next(aligned) for _ in members]
        lines.append(BLANK)
    return [*lines, line(0, "`remediate controls ID` explains one.")]


def explanation_lines(controls: Sequence[Control], threats: Mapping[str, Threat]) -> list[Line]:
    """Why, references, threat, fix and impact of each control."""
    lines: list[Line] = []
    for control in controls:
        words, style = _FIX[control.fix]
        references = ", ".join(f"{source} {number}" for source, number in control.references.items())
        rows = [
            ("why", control.rationale),
            ("severity", control.severity),
            ("references", references or "none"),
            ("threat", _threat(control, threats)),
            ("applies to", control.applies_to),
            ("role", control.role),
        ]
        lines += [line(0, (control.title, "bold")), line(0, (control.id, "cyan")), BLANK]
        fix = words.format(role=control.role, id=control.id)
        lines += [_row(name, text) for name, text in rows]
        lines += [_row("fix", (control.fix, style), f": {fix}"), _row("impact", control.impact), BLANK]
    return lines[:-1]


def _row(name: str, *parts: str | tuple[str, str]) -> Line:
    return line(2, (f"{name:<12}", "dim"), *parts, hang=12)


def _threat(control: Control, threats: Mapping[str, Threat]) -> str:
    if control.threat is None:
        return "none of the threat model's"
    threat = threats.get(control.threat)
    if threat is None:
        return control.threat
    return f"{threat.stride.replace('_', ' ')} of the {threat.component} ({threat.id}). {threat.attack}"
