"""What a host's own journal makes a preview say, and what it keeps from being changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from remediator.alerts import alerts_of
from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.observation import parse_observation
from remediator.own_records import OwnState
from remediator.plan import HostPlan
from remediator.policy import Policy
from remediator.surroundings import Surroundings
from tests.unit import stand_in
from tests.unit.undo_host import NOW, RUN

OPEN = {"run": RUN, "group": "docker", "who": "ann@c", "started": 1_700_000_000}
BROKEN = {"run": RUN, "group": "docker", "reason": "docker.service is failed", "since": 1_700_000_000}
LAST = {"run": RUN, "group": "files", "outcome": "rolled_back", "reason": "it was interrupted", "ended": 1_700_000_000}


def said(**state: Any) -> list[tuple[str, str]]:
    return [(alert.kind, alert.text) for alert in alerts_of("web1", OwnState.model_validate(state))]


def planned(policy: dict[str, Any] | None = None, asks: bool = True, **state: Any) -> HostPlan:
    """A host with one safe drift."""
    seen = parse_observation("web1", json.dumps({**stand_in.observation(0o666), "state": state}).encode())
    catalogue = load_catalogue().select(controls=[stand_in.MODE])
    variables = {**catalogue.defaults, "remediator_policy": policy or {}}
    return decide("web1", seen, catalogue, Policy(frozenset({"guarded"}), asks=asks), variables, Surroundings(NOW))


def test_a_host_that_was_left_in_order_says_nothing() -> None:
    assert said() == []
    assert said(last={**LAST, "recovered": False}) == []
    assert alerts_of("web1", None) == ()


def test_an_interrupted_transaction_is_named_with_who_when_and_what_ends_it() -> None:
    ((kind, text),) = said(open=[OPEN])
    assert kind == "open"
    assert text == (
        f"run {RUN} by ann@c was interrupted in transaction docker, begun 2023-11-14 22:13:20 UTC: the next apply, "
        "or `remediate recover -i INVENTORY -l web1`, rolls it back"
    )


def test_nothing_ends_a_transaction_whose_journal_cannot_be_used_but_a_person() -> None:
    ((_, text),) = said(open=[{**OPEN, "problem": "it is no JSON"}])
    assert text.endswith(
        "(its journal cannot be read: it is no JSON): nothing is changed there before somebody has put right what it "
        f"did and removed /var/lib/remediator/transactions/{RUN}.docker"
    )
    plan = planned(open=[{**OPEN, "problem": "it is no JSON"}])
    assert (plan.transactions, len(plan.held)) == ((), 1)
    assert str(plan.verdicts[0].release).endswith(f"removed /var/lib/remediator/transactions/{RUN}.docker")


def test_what_rolling_back_restarts_is_named_and_an_apply_that_somebody_approves_may_do_it() -> None:
    restarting = {**OPEN, "restarts": ["docker.service"]}
    plan = planned(open=[restarting])
    (alert,) = plan.alerts
    assert alert.text.endswith("rolls it back, which restarts docker.service")
    assert plan.transactions
    assert plan.restarts == ("docker.service",)


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        ({"restarts": "never"}, True),
        ({"restarts": "window", "window": "03:00-03:01"}, True),
        ({"restarts": "ask"}, False),
        ({"restarts": "always", "before_restart": [["/usr/bin/drain"]]}, True),
    ],
)
def test_a_host_whose_restart_is_not_permitted_now_is_recovered_only_when_somebody_says_so(
    policy: dict[str, Any], asks: bool
) -> None:
    plan = planned(policy, asks, open=[{**OPEN, "restarts": ["docker.service"]}])
    assert (plan.transactions, len(plan.held)) == ((), 1)
    assert plan.verdicts[0].release == (
        "remediate recover -i INVENTORY -l web1 (an interrupted transaction must be rolled back first, which restarts "
        "docker.service)"
    )
    assert planned(policy, asks, open=[OPEN]).transactions, "rolling back what restarts nothing needs nobody's word"
    assert not planned(policy, asks, open=[{**OPEN, "restarts": ["docker.service"]}]).recovers
    assert planned(policy, asks, open=[OPEN]).recovers
    holder = {"run": RUN, "who": "ann@c", "started": 1}
    assert planned(policy, asks, open=[{**OPEN, "restarts": ["docker.service"]}], holder=holder).transactions


def test_an_apply_recovers_no_host_that_is_broken_busy_or_has_a_journal_that_cannot_be_used() -> None:
    unusable = {**OPEN, "problem": "it is no JSON"}
    for state in ({}, {"open": [OPEN], "broken": BROKEN}, {"open": [OPEN, {**unusable, "group": "files"}]}):
        assert not planned(**state).recovers
    assert planned(open=[OPEN]).recovers
    assert not planned(open=[OPEN], holder={"run": "01X", "who": "bob@c", "started": 1}).recovers


def test_a_run_that_still_goes_on_is_no_interruption() -> None:
    kinds = [kind for kind, _ in said(open=[OPEN], holder={"run": RUN, "who": "ann@c", "started": 1})]
    assert kinds == ["changing"]


def test_a_transaction_that_something_else_ended_is_told_with_its_end() -> None:
    ((kind, text),) = said(last={**LAST, "recovered": True})
    assert kind == "recovered"
    assert "rolled back, it was interrupted" in text


def test_a_time_that_no_clock_shows_is_no_time() -> None:
    ((_, text),) = said(open=[{**OPEN, "started": 2**62}])
    assert "at a time that is not known" in text


def test_a_broken_host_is_permitted_nothing_and_says_what_releases_it() -> None:
    assert planned().transactions
    plan = planned(broken=BROKEN)
    assert plan.transactions == ()
    assert [transaction.group for transaction in plan.held] == ["files"]
    assert plan.verdicts[0].permitted is False
    assert plan.verdicts[0].release == "remediate recover -i INVENTORY --release web1"
    assert [alert.kind for alert in plan.alerts] == ["broken"]
    assert "docker.service is failed" in plan.alerts[0].text


@pytest.mark.parametrize("state", [{"open": "x"}, {"broken": []}, {"last": {"run": "../x", "group": "docker"}}])
def test_a_state_of_another_shape_is_no_answer(state: Any) -> None:
    from remediator.errors import HostError

    with pytest.raises(HostError, match="no observation document"):
        planned(**state)
