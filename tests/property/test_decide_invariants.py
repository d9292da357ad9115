"""The design's invariants, on generated host states."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remediator.catalogue import Catalogue, load_catalogue
from remediator.decide import decide
from remediator.errors import HostError
from remediator.observation import parse_observation
from remediator.plan import HostPlan, canonical
from remediator.policy import Policy
from remediator.surroundings import Surroundings
from remediator.text import visible
from tests.property.commit_model import applied
from tests.property.model import observations

CATALOGUE = load_catalogue()
CONTROLS = [control.id for control in CATALOGUE.controls]
EVERYTHING = Policy(allow=frozenset({"guarded", *CATALOGUE.roles}))
NOW = Surroundings(datetime(2026, 7, 1, tzinfo=UTC), ("host",))
VARIABLES = {**CATALOGUE.defaults, "kube_etcd_data_owner": "etcd"}

# What one control may do for another, or take from it: then it matters whether both are selected.
BETWEEN_CONTROLS = (
    "wants another owner",
    "which others than root can write",
    "stops the loading of audit rules",
)

documents = observations(CATALOGUE)
steadily = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def plan_of(document: dict, policy: Policy = EVERYTHING, catalogue: Catalogue = CATALOGUE) -> HostPlan:
    seen = parse_observation("host", json.dumps(document).encode())
    return decide("host", seen, catalogue, policy, VARIABLES, NOW)


@steadily
@given(documents)
def test_every_control_gets_exactly_one_verdict(document: dict) -> None:
    verdicts = [verdict.control for verdict in plan_of(document).verdicts]
    assert verdicts == CONTROLS


@steadily
@given(documents)
def test_no_decision_breaks_down(document: dict) -> None:
    assert [verdict for verdict in plan_of(document).verdicts if "remediator could not decide" in verdict.reason] == []


@steadily
@given(documents)
def test_the_same_observation_always_gives_the_same_plan(document: dict) -> None:
    assert canonical(plan_of(document)) == canonical(plan_of(document))


@settings(steadily, max_examples=150)
@given(documents, st.sets(st.sampled_from(["guarded", *CATALOGUE.roles, *CONTROLS]), max_size=12))
def test_after_an_apply_nothing_permitted_is_left_to_change(document: dict, allowed: set[str]) -> None:
    policy = Policy(allow=frozenset(allowed))
    first = plan_of(document, policy)
    second = plan_of(applied(document, first.transactions), policy)
    assert second.transactions == ()
    assert [verdict for verdict in second.verdicts if verdict.permitted] == []


@steadily
@given(documents)
def test_only_drifted_verdicts_have_changes(document: dict) -> None:
    plan = plan_of(document)
    drifted = {verdict.control for verdict in plan.verdicts if verdict.permitted}
    assert {control for transaction in plan.transactions for control in transaction.controls} <= drifted


@steadily
@given(documents, st.sets(st.sampled_from(CONTROLS), max_size=20))
def test_a_waived_control_touches_nothing(document: dict, waived: set[str]) -> None:
    plan = plan_of(document, Policy(EVERYTHING.allow, dict.fromkeys(waived, "a person said so")))
    touched = {control for item in (*plan.transactions, *plan.held) for control in item.controls}
    assert touched & waived == set()
    assert {v.control for v in plan.verdicts if v.verdict == "waived"} == waived


@steadily
@given(documents)
def test_a_change_only_ever_takes_permission_bits_away_from_what_is_there(document: dict) -> None:
    plan = plan_of(document)
    for change in (change for transaction in plan.transactions for change in transaction.changes):
        if change.before.type != "missing" and change.what == "access":
            assert change.before.mode is not None
            assert change.after.mode is not None
            assert change.after.mode & ~change.before.mode == 0


@steadily
@given(documents)
def test_nothing_that_a_host_chose_reaches_the_plan_unescaped(document: dict) -> None:
    plan = plan_of(document)
    shown = [text for verdict in plan.verdicts for text in (verdict.reason, verdict.title)]
    shown += [
        text
        for item in (*plan.transactions, *plan.held)
        for change in item.changes
        for text in (change.path, change.diff)
    ]
    assert [text for text in shown if visible(text, 10**7) != text] == []


@steadily
@given(documents, st.sampled_from(CONTROLS))
def test_one_control_alone_gets_the_verdict_that_it_gets_among_all(document: dict, control: str) -> None:
    (alone,) = plan_of(document, catalogue=CATALOGUE.select(controls=[control])).verdicts
    (among,) = (verdict for verdict in plan_of(document).verdicts if verdict.control == control)
    if not any(words in verdict.reason for words in BETWEEN_CONTROLS for verdict in (alone, among)):
        assert (alone.control, alone.verdict) == (among.control, among.verdict)


@steadily
@given(st.binary(max_size=300))
def test_an_answer_that_is_no_observation_is_that_hosts_error_and_nothing_else(answer: bytes) -> None:
    with pytest.raises(HostError) as refused:
        parse_observation("host", answer)
    assert refused.value.host == "host"
    assert visible(str(refused.value)) == str(refused.value)
