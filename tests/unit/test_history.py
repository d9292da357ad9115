"""The records of runs: where they lie, who can read them, and that they are never half-written."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from remediator.errors import UsageError
from remediator.history import RunRecord, new_ulid, newest_first, runs_directory, save, ulid_time
from remediator.plan import HostPlan, HostResult, Plan, TransactionResult


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An XDG_STATE_HOME that is not there yet."""
    home = tmp_path / "deep" / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


def record(run: str) -> RunRecord:
    """The record of a run that has begun."""
    plan = Plan(controls=("docker.files.a",), hosts=(HostPlan(host="web1"),))
    return RunRecord(
        run=run,
        version="0.1.0",
        started="2026-11-23T10:00:00+00:00",
        who="alice@ctl",
        reason="ticket 7",
        inventory=("hosts.yml",),
        plan_digest=plan.digest,
        plan=plan,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_ulids_sort_by_the_time_they_were_made() -> None:
    earlier, later = new_ulid(1_700_000_000_000), new_ulid(1_700_000_000_001)
    assert earlier < later
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", new_ulid())


def test_a_ulid_begins_with_the_time_as_the_specification_writes_it() -> None:
    assert new_ulid(1_469_918_176_385).startswith("01ARYZ6S41")  # the specification's own example


@pytest.mark.parametrize(
    "word", ["", "01ARYZ6S41", "81ARYZ6S41TSV4RRFFQ69G5FAV", "01ARYZ6S41TSV4RRFFQ69G5FAU", "7" + 25 * "Z"]
)
def test_a_ulid_tells_its_time_and_what_is_none_or_beyond_a_calendar_tells_none(word: str) -> None:
    assert ulid_time(new_ulid(1_469_918_176_385)) == datetime(2016, 7, 30, 22, 36, 16, 385_000, UTC)
    assert ulid_time(word) is None


def test_ulids_of_one_millisecond_differ() -> None:
    assert len({new_ulid(1) for _ in range(1000)}) == 1000


def test_a_record_is_for_its_user_alone(state_home: Path) -> None:
    before = os.umask(0)
    try:
        path = save(record("01ARYZ6S41TSV4RRFFQ69G5FAV"))
    finally:
        os.umask(before)
    assert path == state_home / "remediator" / "runs" / "01ARYZ6S41TSV4RRFFQ69G5FAV.json"
    assert mode(path) == 0o600
    assert {mode(path.parent), mode(path.parent.parent), mode(state_home)} == {0o700}


def test_directories_that_were_too_open_are_closed(state_home: Path) -> None:
    (state_home / "remediator" / "runs").mkdir(parents=True)
    (state_home / "remediator").chmod(0o755)
    (state_home / "remediator" / "runs").chmod(0o777)
    path = save(record(new_ulid()))
    assert {mode(path.parent), mode(path.parent.parent)} == {0o700}


def test_a_record_holds_what_was_previewed_by_whom_why_and_what_was_answered(state_home: Path) -> None:
    begun = record(new_ulid())
    save(begun)
    results = (HostResult(host="web1", results=(TransactionResult(group="audit", outcome="applied"),)),)
    path = save(begun.model_copy(update={"state": "finished", "results": results, "exit_code": 0}))
    written = json.loads(path.read_text())
    assert (written["format_version"], written["who"], written["reason"]) == (1, "alice@ctl", "ticket 7")
    assert written["plan"]["hosts"][0]["host"] == "web1"
    assert written["results"][0]["results"][0]["outcome"] == "applied"
    assert RunRecord.model_validate_json(path.read_text()).plan == begun.plan
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_records_are_read_the_newest_first_and_only_as_far_as_they_are_asked_for(state_home: Path) -> None:
    assert list(newest_first()) == []
    runs = [new_ulid(number) for number in (2, 3, 1)]
    for run in runs:
        save(record(run))
    (runs_directory() / "notes.json").write_text("no record")
    (runs_directory() / f"{runs[2]}.json").write_text("{")
    found = newest_first()
    assert [next(found).run, next(found).run] == [runs[1], runs[0]]
    with pytest.raises(UsageError, match=rf"{runs[2]}.*cannot be read.*Name the RUN"):
        next(found)


def test_a_failed_write_leaves_the_earlier_record_and_nothing_else(
    state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = record(new_ulid())
    path = save(begun)
    earlier = path.read_bytes()

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UsageError, match=rf"{begun.run}.*No space left on device.*XDG_STATE_HOME"):
        save(begun.model_copy(update={"state": "finished"}))
    assert path.read_bytes() == earlier
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_where_the_directory_should_be_is_an_error_that_says_what_to_do(state_home: Path) -> None:
    state_home.mkdir(parents=True)
    (state_home / "remediator").write_text("")
    with pytest.raises(UsageError, match="set XDG_STATE_HOME"):
        save(record(new_ulid()))


def test_a_relative_state_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs_directory() == tmp_path / ".local" / "state" / "remediator" / "runs"
