"""The table that ends a preview: how many controls each host has in each state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remediator.plan import HostPlan
from remediator.views.lines import Line, columns

_COLUMNS = (
    ("compliant", "green"),
    ("drifted", "yellow"),
    ("held", "magenta"),
    ("manual", "cyan"),
    ("pending", "blue"),
    ("unknown", "red"),
    ("n/a", "dim"),
    ("waived", "dim"),
)


@dataclass(frozen=True)
class Counts:
    """How many controls of a host are in each state; `drifted` are those that may be changed, `held` the others."""

    compliant: int = 0
    drifted: int = 0
    held: int = 0
    manual: int = 0
    pending: int = 0
    unknown: int = 0
    not_applicable: int = 0
    waived: int = 0

    @classmethod
    def of(cls, host: HostPlan) -> Counts:
        """The counts of one host's verdicts."""
        names = [
            "held" if verdict.verdict == "drifted" and not verdict.permitted else verdict.verdict
            for verdict in host.verdicts
        ]
        return cls(**{name: names.count(name) for name in dict.fromkeys(names)})

    def row(self) -> tuple[int, ...]:
        """The numbers in the order of the table's columns."""
        return (
            self.compliant,
            self.drifted,
            self.held,
            self.manual,
            self.pending,
            self.unknown,
            self.not_applicable,
            self.waived,
        )


def summary_lines(hosts: Sequence[HostPlan]) -> list[Line]:
    """The table, and under it the sum where there are several hosts."""
    rows = [[("host", "bold"), *((name, "bold") for name, _ in _COLUMNS)]]
    numbers = []
    for host in hosts:
        if host.error is not None:
            rows.append([(host.host, "red"), ("not reached", "red"), *((("", ""),) * (len(_COLUMNS) - 1))])
            continue
        counts = Counts.of(host).row()
        numbers.append(counts)
        rows.append([(host.host, ""), *_cells(counts)])
    if len(numbers) > 1:
        rows.append([("total", "bold"), *_cells(tuple(map(sum, zip(*numbers, strict=True))))])
    return columns(0, rows, frozenset(range(1, len(_COLUMNS) + 1)))


def _cells(counts: tuple[int, ...]) -> list[tuple[str, str]]:
    styles = (style for _, style in _COLUMNS)
    return [(str(count), style if count else "dim") for count, style in zip(counts, styles, strict=True)]
