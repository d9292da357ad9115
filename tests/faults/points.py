"""A fault at one system call of one shape: the trial of one point, and the points of all of them."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from typing import Any

from tests.faults.scene import BrokenError, Look, judge, require
from tests.faults.shapes import Shape
from tests.faults.strace import Point, clean_run, faulted

ERRORS = ("ENOSPC", "EIO", "EROFS")
KILL = "signal=KILL"


@dataclass(frozen=True)
class Trial:
    """A fault that a shape's commit meets: `effect` (in strace's words) at `point`; or a kill, `moment` seconds in."""

    shape: Shape
    after: Look
    point: Point | None
    effect: str
    moment: float = 0.0

    def __str__(self) -> str:
        where = f"{self.point}" if self.point is not None else f"after {self.moment:.3f} s"
        return f"{self.shape.name}, {self.effect} at {where}"


@dataclass(frozen=True)
class Known:
    """What a shape does without a fault: how it ends, and at which points one may meet it."""

    shape: Shape
    after: Look
    points: tuple[Point, ...]


def know(shape: Shape) -> Known:
    """Runs a shape without a fault, traced. Raises BrokenError where even that does not end well."""
    with shape.scene() as scene:
        answer, points = clean_run(scene)
        after = scene.look()
        judge(scene, after, answer, scene.recover())
    if (after != scene.before) != shape.changes:
        raise BrokenError(f"{shape.name}: without any fault it ended {answer}")
    return Known(shape, after, tuple(points))


def duration(shape: Shape) -> float:
    """Seconds that a run of a shape takes."""
    with shape.scene() as scene:
        begun = time.monotonic()
        scene.start().answer()
        return time.monotonic() - begun


def kills(known: Known) -> list[Trial]:
    """A kill at every point."""
    return [Trial(known.shape, known.after, point, KILL) for point in known.points]


def failures(known: Known, chance: random.Random) -> list[Trial]:
    """An error at every point but for what goes to the controller; and one that stays from a point on, at a third."""
    trials = []
    for point in known.points:
        effect = f"error={chance.choice(ERRORS)}"
        trials.append(Trial(known.shape, known.after, point, effect))
        if chance.random() < 1 / 3:
            staying = Point(point.call, point.number, last=True)
            trials.append(Trial(known.shape, known.after, staying, effect))
    return trials


def moments(known: Known, chance: random.Random, count: int) -> list[Trial]:
    """A kill at `count` random moments of its duration."""
    seconds = duration(known.shape)
    return [Trial(known.shape, known.after, None, KILL, chance.uniform(0, seconds)) for _ in range(count)]


def attempt(trial: Trial) -> str:
    """How it ended: the outcome that was said, if any, and the state after recovering. Raises BrokenError."""
    try:
        return _attempt(trial)
    except AssertionError as error:
        raise BrokenError(f"{trial}: {error}") from error


def _attempt(trial: Trial) -> str:
    with trial.shape.scene() as scene:
        if trial.point is None:
            running = scene.start()
            time.sleep(trial.moment)
            running.process.kill()
        else:
            running = scene.start(faulted(trial.point, trial.effect))
        answered: dict[str, Any] = running.answer()
        killed = running.process.returncode == -signal.SIGKILL
        if trial.point is not None and trial.effect == KILL and not killed:
            raise BrokenError(f"it was not killed: {answered}")
        said = said_by(answered) if not killed else "killed"
        require("the program failed there" not in str(answered), f"it broke down: {answered}")
        return f"{said}, {judge(scene, trial.after, answered if not killed else {}, scene.recover())}"


def said_by(answered: dict[str, Any]) -> str:
    """The outcome of the first transaction, or how the program refused, or nothing."""
    if "error" in answered:
        return {"state": "refused", "answer": "no answer"}.get(answered["error"]["kind"], answered["error"]["kind"])
    results = answered.get("results") or answered.get("recovered") or [{"outcome": "nothing"}]
    return str(results[0]["outcome"])
