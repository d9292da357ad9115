"""What keeps a run from being taken back: there is nothing of it, its record is none, its host or its restart waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from remediator.own_records import OwnTransactions
from remediator.policy import Policy
from remediator.restarts import RestartPolicy
from tests.unit.undo_host import (
    CONFIG,
    LATER,
    RESTART,
    alerts,
    details,
    entry,
    facts,
    host,
    kept,
    only,
    record,
    undone,
    was,
    written,
)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "it holds nothing of run"),
        ([record(written(), outcome="rolled_back")], "left nothing here that stands: docker rolled back"),
        ([record(written(), open=True)], "left nothing here that stands: docker is open"),
        ([record({"pair": True, "controls": []}, group="tls-key")], "key and a signing request"),
        ([record(activation=RESTART)], "a restart cannot be taken back"),
    ],
)
def test_a_host_with_nothing_to_take_back_says_why(records: list[dict[str, Any]], said: str) -> None:
    plan = undone(host(*records))
    assert (plan.transactions, plan.held) == ((), ())
    ((kind, text),) = alerts(plan)
    assert kind == "nothing"
    assert said in text


def test_a_host_with_a_journal_that_cannot_be_used_is_refused_whole_with_what_to_do() -> None:
    unusable = {"open": [{"run": LATER, "group": "audit", "problem": "it is no JSON"}]}
    told: dict[str, Any] = {"files": {CONFIG: facts(b"after\n"), **kept()}, "state": unusable}
    for force in (False, True):
        plan = undone(host(record(written()), **told), force=force)
        assert plan.transactions == ()
        (refused,) = plan.held
        assert f"run {LATER} was interrupted here" in details(refused)
        assert f"put right what it did and removed /var/lib/remediator/transactions/{LATER}.audit" in details(refused)
    told["state"] = {**unusable, "holder": {"run": LATER, "who": "bob@x", "started": 5}}
    assert only(undone(host(record(written()), **told))).group == "docker"  # it is at it: the lock tells


def test_a_malformed_record_is_told_and_takes_no_other_with_it() -> None:
    broken = record(written(), group="audit", entries="none")
    nameless = {"group": "x"}
    odd = record(entry(CONFIG, was(), was(0o600)), {"problem": "it names no path", "controls": []}, group="files")
    plan = undone(host(broken, nameless, odd, files={CONFIG: facts(mode=0o600)}))
    assert [transaction.group for transaction in plan.transactions] == ["files"]
    assert [text for kind, text in alerts(plan) if kind == "refused"] == [
        "audit: its record cannot be used (it is malformed), so it is not taken back",
        "files: it names no path",
    ]


def test_a_broken_host_is_not_touched_until_it_is_released() -> None:
    seen = host(record(written()), files={CONFIG: facts(b"after\n"), **kept()})
    mark = {"run": LATER, "group": "docker", "reason": "not active", "since": 5}
    assert seen.transactions is not None
    marked = OwnTransactions.model_validate({**seen.transactions.model_dump(), "broken": mark})
    plan = undone(seen.model_copy(update={"transactions": marked}), force=True)
    assert plan.transactions == ()
    assert "until that is released" in details(plan.held[0])


def test_a_restart_that_must_not_be_made_now_holds_its_transaction_back_whole() -> None:
    forbidden = replace(Policy(), restarts=RestartPolicy("never"))
    seen = host(record(written(), activation=RESTART), files={CONFIG: facts(b"after\n"), **kept()})
    plan = undone(seen, force=True, policy=forbidden)
    assert plan.transactions == ()
    assert "waits for restarts: ask or always in remediator_policy" in details(plan.held[0])
    assert only(undone(host(record(written()), files={CONFIG: facts(b"after\n"), **kept()}), policy=forbidden))


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_journal_that_cannot_be_seen_is_an_error_with_its_remedy(uid: int) -> None:
    seen = host(host={"python": "3.11", "uid": uid}, transactions={"error": "unreadable"})
    plan = undone(seen)
    assert plan.error is not None
    assert ("--become" in plan.error.message) == (uid != 0)
