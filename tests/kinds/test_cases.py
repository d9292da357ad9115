"""Recorded observation to verdict: a new case is a file in `cases/`, and no code.

A case names a recorded observation of a lab host, changes facts in it by a JSON merge patch (RFC 7396; modes are octal
strings), and says which verdict a control then gets, what its reason holds, and which changes it asks for.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.observation import parse_observation
from remediator.plan import Change, HostPlan
from remediator.policy import Policy
from remediator.surroundings import Surroundings

HERE = Path(__file__).parent
CATALOGUE = load_catalogue()
NOW = Surroundings(datetime(2026, 7, 1, tzinfo=UTC), ("recorded",))


def _cases() -> list[Any]:
    found = []
    for file in sorted((HERE / "cases").glob("*.yml")):
        for case in yaml.safe_load(file.read_text()):
            found.append(pytest.param(case, id=f"{file.stem}: {case['case']}"))
    return found


def _merged(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None and key in merged:
            del merged[key]
        elif key == "mode":
            merged[key] = int(value, 8)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _plan(case: dict[str, Any]) -> HostPlan:
    document = json.loads((HERE / "observations" / f"{case['observation']}.json").read_text())
    seen = parse_observation("recorded", json.dumps(_merged(document, case.get("patch", {}))).encode())
    catalogue = CATALOGUE.select(controls=[case["control"]])
    variables = {**catalogue.defaults, **case.get("variables", {})}
    return decide("recorded", seen, catalogue, Policy(frozenset(case.get("allow", []))), variables, NOW)


def _said(change: Change) -> str:
    before, after = change.before, change.after
    said = f"{change.what} {change.path}"
    if before.mode != after.mode and before.mode is not None and after.mode is not None:
        said += f" {before.mode:04o}->{after.mode:04o}"
    if (before.uid, before.gid) != (after.uid, after.gid) and before.uid is not None:
        said += f" {before.uid}:{before.gid}->{after.uid}:{after.gid}"
    return "; ".join([said, *(f"+{rule}" for rule in change.added), *(f"-{rule}" for rule in change.removed)])


@pytest.mark.parametrize("case", _cases())
def test_the_recorded_host_gets_the_verdict(case: dict[str, Any]) -> None:
    plan = _plan(case)
    (verdict,) = plan.verdicts
    assert (verdict.verdict, verdict.fix) == (case["verdict"], case.get("fix", verdict.fix)), verdict.reason
    assert case.get("reason", "") in verdict.reason
    assert case.get("permitted", verdict.permitted) is verdict.permitted
    changes = [_said(change) for part in (*plan.transactions, *plan.held) for change in part.changes]
    assert changes == case.get("changes", [])
