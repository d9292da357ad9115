"""`make faults`: the whole campaign, or those of its parts that `--only` names.

Ends 1 where a promise was broken, 3 where less was tried than planned: it is bounded in time, and the table says so.

`--seed N` repeats one, `--minutes N` bounds each part in time, `--limit N` in number.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable

from tests.faults import points, power, snapshots
from tests.faults.figures import Figures, count, table, tried
from tests.faults.points import Known, Trial
from tests.faults.shapes import SHAPES, strace_version

MOMENTS = 1000
SNAPSHOTS = 1000
CUTS = 20
SUITES = ("bookworm", "trixie")
STARTED = time.monotonic()


def say(words: str) -> None:
    """A line on standard error, with the seconds since the start."""
    print(f"{time.monotonic() - STARTED:7.0f}  {words}", file=sys.stderr, flush=True)


def known_shapes(options: argparse.Namespace) -> list[Known]:
    """Every shape without a fault, those that were asked for."""
    chosen = [shape for shape in SHAPES if not options.shape or any(words in shape.name for words in options.shape)]
    found = [points.know(shape) for shape in chosen]
    say(f"{len(found)} shapes, {sum(len(known.points) for known in found)} system calls that write, rename or sync")
    return found


def some(trials: list[Trial], options: argparse.Namespace, chance: random.Random) -> list[Trial]:
    """The trials in an order of chance, no more than `--limit`."""
    chance.shuffle(trials)
    return trials[: options.limit] if options.limit else trials


def run_kills(options: argparse.Namespace) -> list[Figures]:
    """SIGKILL at every system call of every shape."""
    chance = random.Random(options.seed)
    trials = [trial for known in known_shapes(options) for trial in points.kills(known)]
    return [attempted("SIGKILL at each system call", some(trials, options, chance), options)]


def run_errors(options: argparse.Namespace) -> list[Figures]:
    """An error of every system call of every shape."""
    chance = random.Random(options.seed)
    trials = [trial for known in known_shapes(options) for trial in points.failures(known, chance)]
    return [attempted("ENOSPC, EIO or EROFS from each system call", some(trials, options, chance), options)]


def run_moments(options: argparse.Namespace) -> list[Figures]:
    """SIGKILL at random moments, spread evenly over the shapes."""
    chance = random.Random(options.seed)
    known = known_shapes(options)
    trials = [trial for each in known for trial in points.moments(each, chance, -(-MOMENTS // len(known)))]
    chance.shuffle(trials)
    return [attempted("SIGKILL at random moments", trials[: options.limit or MOMENTS], options)]


def run_snapshots(options: argparse.Namespace) -> list[Figures]:
    """Copies of a disk at random moments, half of them of ext4 and half of btrfs."""
    why = snapshots.missing()
    if why:
        return [Figures("snapshots of a disk at random moments", left_out=why)]
    wanted = (options.limit or SNAPSHOTS) // 2
    ends = [time.monotonic() + options.minutes * 60 * share for share in (0.5, 1.0)]
    return [
        snapshots.campaign(kind, wanted, options.seed, end, say)
        for kind, end in zip(snapshots.FILESYSTEMS, ends, strict=True)
    ]


def run_power(options: argparse.Namespace) -> list[Figures]:
    """The plug of a real machine: at each step of the journals, and at random moments; Debian 12 and 13 in turn."""
    chance, end = random.Random(options.seed), time.monotonic() + options.minutes * 60
    steps = [power.Cut(step=step) for step in power.STEPS]
    cuts = [power.Cut(seconds=chance.uniform(0, power.APPLY_SECONDS)) for _ in range(CUTS)]
    found = []
    for part, due in (("each step of the journals", steps), ("random moments of an apply", cuts)):
        figures = Figures(f"power cuts at {part}", len(due[: options.limit or None]))
        for number, cut in enumerate(due[: options.limit or None]):
            if time.monotonic() < end:
                count(figures, lambda one=cut, suite=SUITES[number % 2]: power.attempt_anew(suite, one), say)
                say(
                    f"{figures.part}: {figures.count} of {len(due)}, {len(figures.broken)} broken: {dict(figures.ends)}"
                )
        found.append(figures)
    return found


def attempted(part: str, trials: list[Trial], options: argparse.Namespace) -> Figures:
    """Those trials, bounded in time."""
    end = time.monotonic() + options.minutes * 60
    return tried(part, trials, points.attempt, options.workers, end, say)


PARTS: dict[str, Callable[[argparse.Namespace], list[Figures]]] = {
    "kills": run_kills,
    "errors": run_errors,
    "moments": run_moments,
    "snapshots": run_snapshots,
    "power": run_power,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", action="append", choices=sorted(PARTS), default=[])
    parser.add_argument("--shape", action="append", default=[], help="shapes whose name holds this")
    parser.add_argument("--limit", type=int, default=0, help="at most so many faults of each part")
    parser.add_argument("--minutes", type=float, default=90, help="at most so long for each part")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("faults: it makes hosts in mount namespaces, disks and machines, and that needs root")
    say(f"seed {options.seed} (--seed {options.seed} repeats this); {strace_version()}")
    figures = [each for name, run in PARTS.items() if not options.only or name in options.only for each in run(options)]
    print(f"seed {options.seed}\n\n{table(figures)}")
    if any(each.broken for each in figures):
        raise SystemExit(1)
    if not all(each.complete for each in figures):
        raise SystemExit(3)


if __name__ == "__main__":
    main()
