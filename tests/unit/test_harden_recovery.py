"""What was interrupted is rolled back by an apply that showed it, whatever else is due there; and by no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remediator.ansible_result import driven_result
from remediator.errors import HostError
from remediator.harden import Target, preview
from remediator.host import Program
from remediator.plan import Plan
from remediator.session import SessionDirectory
from remediator.views.closing import after_lines
from remediator.views.interface import Report
from tests.unit.test_harden import ORDER, answering, driven, never, target


def interrupted(host: Target, *restarts: str, run: str = ORDER.run) -> Target:
    """The host, where a transaction was interrupted."""
    opened = {"run": run, "group": "docker", "restarts": restarts}

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        answer = json.loads(host.exchange(program, request))
        return json.dumps(answer if "results" in answer else {**answer, "state": {"open": [opened]}}).encode()

    return replace(host, exchange=exchange)


def test_what_was_interrupted_is_rolled_back_by_an_apply_that_has_nothing_else_to_do(tmp_path: Path) -> None:
    found = [{"run": "01X", "group": "docker", "outcome": "rolled_back", "reason": "it was interrupted"}]
    host = interrupted(target(answering("applied", recovered=found), 0o644))
    approved = preview(host)
    assert (approved.transactions, approved.recovers) == ((), True)

    result = driven(tmp_path, approved, host)

    assert result.notes == ("before this, docker of run 01X ended rolled back: it was interrupted",)
    assert result.error is None
    assert driven_result(result)["msg"] == result.notes[0]


def other(host: Target) -> Target:
    """The host, where another run was interrupted than the one that was shown."""
    return interrupted(host, run="01JE0000000000000000000000")


@pytest.mark.parametrize(
    ("shown", "now"),
    [
        (lambda host: host, interrupted),
        (interrupted, lambda host: interrupted(host, "docker.service")),
        (interrupted, other),
    ],
    ids=["not shown", "restarts more", "another"],
)
def test_but_nothing_is_rolled_back_that_was_not_shown(
    tmp_path: Path, shown: Callable[[Target], Target], now: Callable[[Target], Target]
) -> None:
    result = driven(tmp_path, preview(shown(target(never, 0o644))), now(target(never, 0o644)))
    assert (result.results, result.notes) == ((), ())
    assert result.after is not None
    assert [alert.kind for alert in result.after.alerts] == ["open"]


def test_a_host_that_is_stale_is_not_touched_by_a_rollback_either(tmp_path: Path) -> None:
    approved = preview(interrupted(target(never, 0o666)))
    assert approved.recovers
    result = driven(tmp_path, approved, interrupted(target(never, 0o646)))
    assert [each.outcome for each in result.results][:1] == ["stale"]
    assert result.notes == ()


@pytest.mark.parametrize(
    ("kind", "stops"), [("broken", True), ("state", False), ("answer", False)], ids=["broken", "state", "defect"]
)
def test_a_rollback_that_does_not_come_through_is_told_and_one_that_ends_broken_stops_the_run(
    tmp_path: Path, kind: str, stops: bool
) -> None:
    def fails(request: dict[str, Any]) -> bytes:
        raise HostError("web1", kind, "web1: it is not well")

    approved = preview(interrupted(target(never, 0o644)))
    result = driven(tmp_path, approved, interrupted(target(fails, 0o644)))
    assert result.error is not None
    assert (result.error.message, result.broken) == ("web1: it is not well", stops)
    assert SessionDirectory(tmp_path).stopped is stops
    assert ("failed" in driven_result(result)) is stops


def test_a_task_that_dies_in_a_rollback_leaves_a_host_that_nobody_calls_done(tmp_path: Path) -> None:
    def dies(request: dict[str, Any]) -> bytes:
        raise KeyboardInterrupt

    approved = preview(interrupted(target(never, 0o644)))
    with pytest.raises(KeyboardInterrupt):
        driven(tmp_path, approved, interrupted(target(dies, 0o644)))
    left = SessionDirectory(tmp_path).result("web1")
    assert left is not None
    assert left.after is None
    assert "check this host" in left.notes[0]
    plan = Plan(controls=(), hosts=(approved,))
    words = after_lines(Report(plan, "applied", {"web1": left}, ORDER.run))
    assert "Not everything came through" in str(words)


@pytest.mark.parametrize("restarts", [(), ("docker.service",)], ids=["quietly", "with a restart"])
def test_a_host_that_was_interrupted_since_its_preview_is_stale(tmp_path: Path, restarts: tuple[str, ...]) -> None:
    approved = preview(target(never, 0o666))

    result = driven(tmp_path, approved, interrupted(target(never, 0o666), *restarts))

    assert [r.outcome for r in result.results] == ["stale"]
    assert f"run {ORDER.run} by ? was interrupted" in result.results[0].reason
    assert ("restarts docker.service" in result.results[0].reason) == bool(restarts)
