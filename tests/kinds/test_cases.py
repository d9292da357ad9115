"""Recorded observation to verdict: a new case is a file in `cases/`, and no code.

A case names a recorded observation of a lab host, changes facts in it by a JSON merge patch (RFC 7396; modes are octal
strings, texts stand for themselves in base64 where they begin with `text:`, certificates as `tests.tls_material` says),
and says which verdict a control then gets, what its reason holds, and which changes it asks for. `material` is what the
controller holds for the host (`{certificate, source}`), `problem` why it cannot be used, `now` another time than usual.
`beside` names further controls of the call, and whether what they ask for is permitted; `asks: false` that nobody is
asked; `permitted_changes` the changes that are not held back.
"""

from __future__ import annotations

import base64
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
from remediator.tls.certificates import fingerprint
from tests.tls_material import HOST, NOW, filled, held

HERE = Path(__file__).parent
CATALOGUE = load_catalogue()


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


def _surroundings(case: dict[str, Any]) -> Surroundings:
    now = datetime.fromisoformat(case["now"]).replace(tzinfo=UTC) if "now" in case else NOW
    given = case.get("material")
    material = held()[given["certificate"]].as_material(given["source"]) if given else None
    return Surroundings(now, (HOST,), material, case.get("problem", ""))


def _with_texts(value: Any) -> Any:
    """A patch with texts as they travel."""
    if isinstance(value, dict):
        return {key: _with_texts(item) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("text:"):
        return base64.b64encode(value.removeprefix("text:").encode()).decode("ascii")
    return value


def _plan(case: dict[str, Any]) -> HostPlan:
    document = json.loads((HERE / "observations" / f"{case['observation']}.json").read_text())
    patch = filled(_with_texts(case.get("patch", {})))
    seen = parse_observation(HOST, json.dumps(_merged(document, patch)).encode())
    catalogue = CATALOGUE.select(controls=[case["control"], *case.get("beside", {})])
    variables = {**catalogue.defaults, **case.get("variables", {})}
    policy = Policy(frozenset(case.get("allow", [])), asks=case.get("asks", True))
    return decide(HOST, seen, catalogue, policy, variables, _surroundings(case))


def _said(change: Change) -> str:
    before, after = change.before, change.after
    said = f"{change.what} {change.path}"
    if before.mode != after.mode and before.mode is not None and after.mode is not None:
        said += f" {before.mode:04o}->{after.mode:04o}"
    if (before.uid, before.gid) != (after.uid, after.gid) and before.uid is not None and after.uid is not None:
        said += f" {before.uid}:{before.gid}->{after.uid}:{after.gid}"
    return "; ".join([said, *(f"+{rule}" for rule in change.added), *(f"-{rule}" for rule in change.removed)])


@pytest.mark.parametrize("case", _cases())
def test_the_recorded_host_gets_the_verdict(case: dict[str, Any]) -> None:
    plan = _plan(case)
    (verdict,) = [each for each in plan.verdicts if each.control == case["control"]]
    beside = {each.control: each.permitted for each in plan.verdicts if each.control != case["control"]}
    assert beside == case.get("beside", {})
    assert (verdict.verdict, verdict.fix) == (case["verdict"], case.get("fix", verdict.fix)), verdict.reason
    assert case.get("reason", "") in verdict.reason
    assert case.get("permitted", verdict.permitted) is verdict.permitted
    changes = [_said(change) for part in (*plan.transactions, *plan.held) for change in part.changes]
    assert changes == case.get("changes", [])
    _check_more(case, plan, verdict.release)


def _check_more(case: dict[str, Any], plan: HostPlan, release: str | None) -> None:
    """What only some cases say: what would release it, lines of the diffs and details, and the handshakes to probe."""
    parts = (*plan.transactions, *plan.held)
    assert case.get("release", release) == release
    permitted = [_said(change) for part in plan.transactions for change in part.changes]
    assert case.get("permitted_changes", permitted) == permitted
    assert any(part.impact.text.endswith(case.get("impact", "")) for part in parts) or "impact" not in case
    assert case.get("diff", "") in "\n".join(change.diff for part in parts for change in part.changes)
    assert case.get("details", "") in "\n".join(
        line for part in parts for change in part.changes for line in change.details
    )
    if "probes" in case:
        named = {fingerprint(one.leaf): name for name, one in held().items()}
        found = [step for part in parts for step in part.probe if step.do == "mutual_tls"]
        assert [[step.address, named[step.sha256 or ""]] for step in found] == case["probes"]
