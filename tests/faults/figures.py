"""What one part of the campaign counted, and the table of them all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TypeVar

from tests.faults.scene import BrokenError

SHOWN = 600
EVERY = 200
T = TypeVar("T")


@dataclass
class Figures:
    """Of one part: how many faults, how they ended, and the promises that were not kept, in words."""

    part: str
    planned: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    left_out: str = ""
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """How many faults there were."""
        return sum(self.ends.values()) + len(self.broken)

    @property
    def complete(self) -> bool:
        """Whether all were tried that were planned: a part is bounded in time."""
        return self.count >= self.planned and not self.left_out

    def row(self) -> str:
        """A line of the table."""
        if self.left_out:
            return f"| {self.part} | left out: {self.left_out} | | |"
        ends = ", ".join(f"{count} {name}" for name, count in self.ends.most_common())
        return f"| {self.part} | {self.count} of {self.planned} | {ends} | {len(self.broken)} |"


HEAD = "| what | faults | how they ended | promises broken |\n|---|---|---|---|"


def tried(
    part: str, trials: Sequence[T], attempt: Callable[[T], str], workers: int, end: float, say: Callable[[str], None]
) -> Figures:
    """Tries all of `trials`, `workers` at a time, until `end` on the monotonic clock; what is left then is said."""
    figures, begun = Figures(part, len(trials)), time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(unless_late, attempt, trial, end) for trial in trials]
        for done in as_completed(waiting):
            count(figures, done.result, say)
            if figures.count and figures.count % EVERY == 0:
                say(f"{part}: {figures.count} of {len(trials)}")
    figures.seconds = time.monotonic() - begun
    # A part takes long, and what comes after it may be cut off: its figures are told at once.
    ends = dict(figures.ends)
    say(f"{part}: {figures.count} of {len(trials)} in {figures.seconds:.0f} s, {len(figures.broken)} broken: {ends}")
    return figures


def unless_late(attempt: Callable[[T], str], trial: T, end: float) -> str:
    """The trial's end; nothing where there was no time for it any more."""
    return attempt(trial) if time.monotonic() < end else ""


def count(figures: Figures, ended: Callable[[], str], say: Callable[[str], None]) -> None:
    """Adds one trial's end to the figures."""
    try:
        words = ended()
    except BrokenError as error:
        figures.broken.append(str(error))
        say(f"BROKEN {figures.part}: {str(error)[:SHOWN]}")
        return
    if words:
        figures.ends[words] += 1


def table(parts: Iterable[Figures]) -> str:
    """All of them."""
    return "\n".join([HEAD, *(figures.row() for figures in parts)])
