"""What recovering does beyond the paths: records, keys, the boot unit, and what was killed before it had a journal."""

from __future__ import annotations

import time

import pytest

from tests.faults.points import KILL
from tests.faults.scene import Look, Scene, judge
from tests.faults.shapes import Shape, shape
from tests.faults.strace import Point, clean_run, faulted

BEFORE_ITS_JOURNAL = Point("fallocate", 1)


def after_its_record(shape: Shape, call: str) -> Point:
    """The first time that a run of this shape makes that call once its record is in its place."""
    with shape.scene() as scene:
        _, points = clean_run(scene)
    record = max(number for number, point in enumerate(points) if point.call == "renameat")
    return next(point for point in points[record:] if point.call == call)


def without_a_fault(scene: Scene) -> Look:
    """What a run without a fault makes of the host."""
    clean_run(scene)
    return scene.look()


def killed(scene: Scene, point: Point) -> None:
    scene.start(faulted(point, KILL)).process.communicate(timeout=60)


def test_a_run_that_was_killed_before_its_journal_may_ask_again_at_once() -> None:
    with shape("write existing").scene() as scene:
        killed(scene, BEFORE_ITS_JOURNAL)
        [directory] = (scene.host.state / "transactions").iterdir()
        assert {path.name for path in directory.iterdir()} == {"record.new"}
        [result] = scene.start().answer()["results"]
        assert result["outcome"] == "applied", result


@pytest.mark.parametrize("begun", [False, True])
def test_recovering_takes_the_boot_unit_away_wherever_the_run_was_killed(begun: bool) -> None:
    units = shape("with the boot unit")
    with units.scene() as scene:
        killed(scene, after_its_record(units, "fsync") if begun else BEFORE_ITS_JOURNAL)
        assert (scene.host.base / "units" / "remediator-recover.service").exists()
        assert "error" not in scene.recover()
        assert [path.name for path in (scene.host.base / "units").rglob("*")] == ["sysinit.target.wants"]


@pytest.mark.parametrize("name", ["make another key", "install the host's key"])
def test_a_key_is_in_one_place_once_its_transaction_stands_though_the_run_was_killed_just_then(name: str) -> None:
    keys = shape(name)
    with keys.scene() as scene:
        after = without_a_fault(scene)
    with keys.scene() as scene:
        killed(scene, after_its_record(keys, "unlinkat"))
        assert judge(scene, after, {}, scene.recover()) == "after"


def test_a_record_that_is_not_on_disk_for_certain_does_not_outlive_its_transaction() -> None:
    files = shape("write existing")
    first = after_its_record(files, "fsync")
    with files.scene() as scene:
        [result] = scene.start(faulted(Point("fsync", first.number, last=True), "error=EIO")).answer()["results"]
        assert result["outcome"] == "broken", result
        assert not list((scene.host.state / "transactions").glob("*/record.json"))
        assert judge(scene, {}, {}, scene.recover()) == "before"


def test_bytes_that_could_not_be_put_back_are_put_back_by_the_next_recovery() -> None:
    failing = shape("several paths, probe fails")
    with failing.scene() as scene:
        _, points = clean_run(scene)
    restores = [point for point in points if point.call == "renameat"][-2]  # the last one is the record's
    with failing.scene() as scene:
        [result] = scene.start(faulted(restores, "error=EIO")).answer()["results"]
        assert result["outcome"] == "broken"
        assert "its journal stays open" in result["reason"]
        refused = scene.host.start(scene.host.request()).answer()
        assert refused["error"]["kind"] == "broken"
        assert judge(scene, {}, {}, scene.recover()) == "before"


def test_a_copy_that_could_not_be_dropped_is_dropped_at_the_next_contact() -> None:
    files = shape("write existing")
    with files.scene() as scene:
        after = without_a_fault(scene)
    with files.scene() as scene:
        [result] = scene.start(faulted(after_its_record(files, "unlinkat"), "error=EROFS")).answer()["results"]
        assert result["outcome"] == "applied"
        assert "the copy of what was at" in result["reason"]
        assert [path.name for path in scene.host.files.glob(".daemon.json.remediator-*.old")]
        assert judge(scene, after, {}, scene.recover()) == "after"


@pytest.mark.parametrize("name", ["make another key", "install the host's key"])
def test_a_key_that_could_not_be_removed_is_removed_at_the_next_contact(name: str) -> None:
    keys = shape(name)
    with keys.scene() as scene:
        after = without_a_fault(scene)
    with keys.scene() as scene:
        [result] = scene.start(faulted(after_its_record(keys, "unlinkat"), "error=EROFS")).answer()["results"]
        assert result["outcome"] == "applied"
        assert result["reason"]
        assert judge(scene, after, {}, scene.recover()) == "after"


def test_a_new_directory_that_the_disk_does_not_give_up_is_not_taken_for_somebody_elses() -> None:
    made = shape("several paths, probe fails")
    with made.scene() as scene:
        _, points = clean_run(scene)
    removals = [number for number, point in enumerate(points) if point.call == "unlinkat"]
    restored = max(number for number, point in enumerate(points) if point.call == "mkdirat")
    unlinks = [points[number] for number in removals if number > restored]
    with made.scene() as scene:
        # Two new files go, then the directory, which is an unlinkat(2) too.
        [result] = scene.start(faulted(unlinks[2], "error=EROFS")).answer()["results"]
        assert (result["outcome"], "somebody" in result["reason"]) == ("broken", False), result
        assert judge(scene, {}, {}, scene.recover()) == "before"


def test_a_directory_goes_with_the_files_in_it_and_both_come_back_where_that_fails() -> None:
    with shape("restore, rmdir, remove").scene() as scene:
        [result] = scene.start().answer()["results"]
        assert (result["outcome"], (scene.host.files / "new.d").exists()) == ("applied", False), result
    with shape("restore, rmdir, remove").scene() as scene:
        _, points = clean_run(scene)
    record = [point for point in points if point.call == "renameat"][-1]
    with shape("restore, rmdir, remove").scene() as scene:
        [result] = scene.start(faulted(record, "error=EIO")).answer()["results"]
        assert result["outcome"] == "rolled_back", result
        assert judge(scene, {}, {}, scene.recover()) == "before"


def test_a_recovered_service_is_watched_as_long_as_the_interrupted_request_said() -> None:
    restart = shape("restart")
    taken = []
    for seconds in (0, 6):
        with restart.scene() as scene:
            scene.request["healthy_seconds"] = seconds
            killed(scene, after_its_activation(restart))
            begun = time.monotonic()
            [recovered] = scene.recover()["recovered"]
            taken.append(time.monotonic() - begun)
            assert recovered["outcome"] == "rolled_back"
    assert taken[0] < 15  # what it is where no request says anything
    assert taken[1] >= 6


def after_its_activation(shape: Shape) -> Point:
    """The record's own draft, which is written once the service is well."""
    with shape.scene() as scene:
        _, points = clean_run(scene)
    return [point for point in points if point.call == "renameat"][-1]
