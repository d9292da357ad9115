"""Which run is meant by `last` or by the beginning of an id: by the controller's records, and by no single host."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from remediator.errors import UsageError
from remediator.history import RunRecord, new_ulid
from remediator.own_records import OwnTransactions
from remediator.plan import Action, HostPlan, HostResult, Plan, Transaction, TransactionResult, Undo
from remediator.which_run import Chosen, beginning_with, last_run
from tests.unit.undo_host import NOW, record, written

HOSTS = frozenset(("web1", "web2", "web3"))


def run(day: int, hour: int = 0) -> str:
    """A run of that day of October, before NOW."""
    return new_ulid(int(datetime(2026, 10, day, hour, tzinfo=UTC).timestamp() * 1000))


OLD, NEW, NEWER, BACK = run(1), run(2), run(3), run(4)


def holds(*records: dict[str, Any]) -> OwnTransactions:
    return OwnTransactions.model_validate({"records": list(records)})


def did(name: str, **more: Any) -> dict[str, Any]:
    return record(written(), run=name, **more)


def kept(name: str, outcome: str | None = "applied", *hosts: str, undo: str = "") -> RunRecord:
    """This controller's record of a run on `hosts` (web1 alone); without an outcome it was never heard of again."""
    names = hosts or ("web1",)
    change = Transaction(group="docker", changes=(), actions=(Action(do="chmod", path="/etc/docker", mode=0o755),))
    plan = Plan(
        controls=(),
        hosts=tuple(HostPlan(host=host, transactions=(change,)) for host in names),
        undo=Undo(run=undo) if undo else None,
    )
    answers = [TransactionResult.model_validate({"group": "docker", "outcome": outcome})] if outcome else []
    return RunRecord(
        run=name,
        version="0",
        started="2026-10-01T00:00:00+00:00",
        who="ann@c",
        inventory=("hosts.yml",),
        plan_digest=plan.digest,
        plan=plan,
        results=tuple(HostResult(host=host, results=tuple(answers)) for host in names) if answers else (),
    )


def last(*own: RunRecord, hosts: frozenset[str] = HOSTS, **fleet: OwnTransactions) -> Chosen:
    return last_run(list(fleet.items()), hosts, own, NOW)


def test_last_is_the_newest_run_that_changed_something_and_was_no_rollback() -> None:
    keys = record({"pair": True, "controls": []}, run=run(9), group="tls-key")
    failed = did(run(8), outcome="rolled_back")
    assert last(web1=holds(keys, failed, did(BACK, undoes=NEW), did(NEW), did(OLD))).run == NEW
    with pytest.raises(UsageError, match="nothing to roll back"):
        last(web1=holds(keys, failed))


def test_one_host_cannot_hide_a_run_of_the_others_by_calling_it_a_rollback() -> None:
    hostile = holds(did(NEW, undoes=OLD), did(OLD))
    honest = holds(did(NEW), did(OLD))
    with pytest.raises(UsageError) as refused:
        last(web1=honest, web2=honest, web3=hostile)
    assert f"{NEW} (web1, web2), {OLD} (web3)" in str(refused.value)
    assert "Name the RUN" in str(refused.value)
    assert last(kept(NEW, "applied", "web1", "web2"), web1=honest, web2=honest, web3=hostile) == Chosen(NEW)


def test_one_host_cannot_have_a_rollback_of_the_others_taken_back_by_hiding_what_it_was() -> None:
    honest = holds(did(BACK, undoes=NEW), did(NEW))
    hostile = holds(did(BACK), did(NEW))
    with pytest.raises(UsageError, match="do not agree"):
        last(web1=honest, web2=hostile)
    own = (kept(BACK, "applied", "web1", "web2", undo=NEW), kept(NEW, "applied", "web1", "web2"))
    assert last(*own, web1=honest, web2=hostile) == Chosen(NEW)
    assert last(own[0], web1=honest, web2=hostile) == Chosen(NEW)  # the record of the rollback alone is enough


def test_a_newer_run_that_one_host_alone_claims_does_not_become_the_last_of_the_others() -> None:
    honest, hostile = holds(did(NEW)), holds(did(NEWER), did(NEW))
    with pytest.raises(UsageError, match="do not agree"):
        last(web1=honest, web2=hostile)
    chosen = last(kept(NEW), web1=honest, web2=hostile)
    assert chosen.run == NEW
    assert f"left out: {NEWER} (web2)" in chosen.note


def test_a_run_of_a_time_to_come_or_of_none_is_never_the_last() -> None:
    future = new_ulid(int(datetime(2026, 11, 2, tzinfo=UTC).timestamp() * 1000))
    soon = new_ulid(int(datetime(2026, 11, 1, 0, 3, tzinfo=UTC).timestamp() * 1000))
    claimed = holds(did(future), did("7" + 25 * "Z"), did("ZZZZ"), did(NEW))
    assert last(web1=claimed, web2=holds(did(NEW))) == Chosen(NEW)
    assert last(web1=holds(did(soon), did(NEW))) == Chosen(soon)  # clocks of controllers differ


def test_records_of_other_hosts_and_of_runs_that_changed_nothing_do_not_count() -> None:
    elsewhere, nothing = kept(NEWER, "applied", "db1"), kept(NEW, "rolled_back")
    assert last(elsewhere, nothing, kept(OLD), web1=holds(did(NEW, outcome="rolled_back"), did(OLD))).run == OLD


@pytest.mark.parametrize("outcome", [None, "unreported"])
def test_of_a_run_that_nobody_reported_the_hosts_that_were_asked_know_the_end(outcome: str | None) -> None:
    own = (kept(NEWER, outcome), kept(NEW))
    assert last(*own, web1=holds(did(NEWER), did(NEW))).run == NEWER
    assert last(*own, web1=holds(did(NEW)), web2=holds(did(NEWER))).run == NEW  # web2 was not asked


def test_a_recorded_run_that_no_host_holds_is_refused_and_not_replaced_by_an_older_one() -> None:
    with pytest.raises(UsageError) as refused:
        last(kept(NEW), kept(OLD, "applied", "web2"), web2=holds(did(OLD)))
    assert NEW in str(refused.value)
    assert "Name the RUN" in str(refused.value)


def test_the_beginning_of_an_id_means_one_run_or_none() -> None:
    fleet = [("web1", holds(did("01JDQ9"), did("01JDQ8"))), ("web2", holds(did("01JDQ7")))]
    assert beginning_with("01jdq7", fleet) == "01JDQ7"
    with pytest.raises(UsageError, match="begins the ids of 3 runs: 01JDQ9, 01JDQ8, 01JDQ7"):
        beginning_with("01JDQ", fleet)
    with pytest.raises(UsageError, match="remediate transactions"):
        beginning_with("01JX", fleet)
