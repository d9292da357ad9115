"""A sample of the fault campaign (`make faults`): its seed is fixed, so every run meets the same faults."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import points
from tests.faults.points import Known, Trial
from tests.faults.shapes import SHAPES, shape
from tests.faults.strace import Point

SEED = 5
# A restart waits until its service has settled: those shapes meet a kill only.
SLOW = ("restart", "restart that fails", "recovery of a restart")


@pytest.fixture(scope="module")
def known() -> list[Known]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(points.know, SHAPES))


def end_well(trials: list[Trial]) -> None:
    print(f"seed {SEED}")  # noqa: T201 - shown where it fails
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(points.attempt, trials))
    assert {end.rsplit(", ")[-1] for end in ends} == {"before", "after"}


def test_a_kill_at_a_system_call_leaves_all_as_before_or_all_as_after(known: list[Known]) -> None:
    chance = random.Random(SEED)  # noqa: S311 - it must come again
    end_well([chance.choice(points.kills(one)) for one in known])


def test_a_system_call_that_fails_leaves_all_as_before_or_all_as_after(known: list[Known]) -> None:
    chance = random.Random(SEED)  # noqa: S311 - it must come again
    fast = [one for one in known if one.shape.name not in SLOW]
    end_well([chance.choice(points.failures(one, chance)) for one in fast])


def test_a_directory_of_ours_that_the_disk_does_not_give_up_is_not_forgotten() -> None:
    again = shape("recovery of another key")
    removal = Point("unlinkat", 3)  # of the pair's directory, after its two files
    assert points.attempt(Trial(again, points.know(again).after, removal, "error=EROFS")) == "broken, before"
