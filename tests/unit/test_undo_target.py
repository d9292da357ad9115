"""A rollback on its way to the commit: it looks again, composes again, and does nothing but what was approved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remediator.ansible_result import with_refusals
from remediator.catalogue import load_catalogue
from remediator.errors import HostError
from remediator.harden import Order, UndoTarget, apply, apply_for_driver, preview
from remediator.host import Program
from remediator.observation import Observation
from remediator.own_records import OwnState
from remediator.plan import HostPlan, HostResult, Undo
from remediator.policy import Policy
from remediator.session import Session, SessionDirectory
from tests.unit.undo_host import CONFIG, RUN, entry, facts, host, kept, record, was, written

ORDER = Order("01JDR000000000000000000000", "ann@controller", "", RUN)


def left(content: bytes = b"after\n", held: str = "after") -> Observation:
    """A host as the run left it, or with another content since."""
    return host(record(written(held=held)), files={CONFIG: facts(content), **kept()})


def target(commit: Callable[[dict[str, Any]], bytes], *seen: Observation) -> UndoTarget:
    """A host that looks like each of `seen` in turn, and that answers a commit with `commit`."""
    looks = list(seen)

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        document = json.loads(request)
        if "transactions" in document:
            return commit(document)
        assert f"@transactions.{RUN}.content" in document["contents"]
        return (looks.pop(0) if len(looks) > 1 else looks[0]).model_dump_json().encode()

    catalogue = load_catalogue()
    place = Path("/nowhere")
    return UndoTarget(
        "web1", "web1", place, exchange, catalogue, Policy(), catalogue.defaults, Undo(run=RUN), pause=print
    )


def never(request: dict[str, Any]) -> bytes:
    raise AssertionError("nothing was to be committed")


def driven(directory: Path, approved: HostPlan, one: UndoTarget) -> HostResult:
    directory.chmod(0o700)
    place = SessionDirectory(directory)
    session = Session(mode="rollback", request="", run=ORDER.run, who=ORDER.who, undo=Undo(run=RUN))
    place.create(session, (approved,))
    return apply_for_driver(place, session, one)


def test_what_was_approved_is_committed_as_what_it_takes_back(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []

    def commit(request: dict[str, Any]) -> bytes:
        sent.append(request)
        results = [{"group": t["group"], "outcome": "applied", "digest": t["digest"]} for t in request["transactions"]]
        return json.dumps({"format_version": 1, "run": request["run"], "host": "web1", "results": results}).encode()

    after = host(record(written(held="before")), files={CONFIG: facts(b"before\n", 0o600), **kept()})
    result = driven(tmp_path, preview(target(never, left())), target(commit, left(), after))
    ((order,)) = sent
    assert (order["run"], order["undoes"]) == (ORDER.run, RUN)
    assert [action["source"] for action in order["transactions"][0]["actions"]] == [f"{RUN}.docker/0.before"]
    assert [(one.group, one.outcome) for one in result.results] == [("docker", "applied")]
    assert result.after is not None
    assert result.after.transactions == ()


def test_a_file_that_was_written_since_the_preview_makes_it_stale_and_refused(tmp_path: Path) -> None:
    approved = preview(target(never, left()))
    result = driven(tmp_path, approved, target(never, left(b"by hand\n", "other")))
    assert {(one.group, one.outcome) for one in result.results} == {("docker", "stale"), ("docker", "refused")}
    refused = next(one for one in result.results if one.outcome == "refused")
    assert CONFIG in refused.reason
    assert "somebody changed it since" in refused.reason


def test_a_host_that_cannot_be_seen_without_root_is_that_host_s_error(tmp_path: Path) -> None:
    unseen = host(host={"python": "3.11", "uid": 1000}, transactions={"error": "unreadable"})
    result = driven(tmp_path, preview(target(never, left())), target(never, unseen))
    assert result.error is not None
    assert result.error.kind == "become"


def test_a_bare_playbook_fails_for_what_is_refused_and_warns_of_it_in_check_mode() -> None:
    files = {CONFIG: facts(b"by hand\n"), "/etc/default/docker": facts(mode=0o600), **kept()}
    mode = record(entry("/etc/default/docker", was(), was(0o600)), group="files")
    refused = target(never, host(record(written(held="other")), mode, files=files))
    plan = preview(refused)
    warned = with_refusals({"changed": True}, refused.left_out(plan), check=True)
    assert "failed" not in warned
    assert CONFIG in warned["warnings"][0]
    failed = with_refusals({"changed": True}, refused.left_out(plan), check=False)
    assert failed["failed"] is True
    assert CONFIG in failed["msg"]


def test_nothing_is_committed_where_there_is_nothing_to_take_back() -> None:
    before = host(record(written(held="before")), files={CONFIG: facts(b"before\n", 0o600), **kept()})
    plan, result = apply(target(never, before), ORDER)
    assert (plan.transactions, result.results) == ((), ())


def test_a_host_whose_interrupted_restart_nobody_may_make_now_is_not_rolled_back_in_passing(tmp_path: Path) -> None:
    opened = {"run": ORDER.run, "group": "docker", "restarts": ["docker.service"]}
    interrupted = left().model_copy(update={"state": OwnState.model_validate({"open": [opened]})})
    unasked = replace(target(never, interrupted), policy=Policy(asks=False))
    with pytest.raises(HostError, match=r"remediate recover -i INVENTORY -l web1 .*restarts docker.service"):
        preview(unasked)

    never_restarts = replace(target(never, interrupted), variables={"remediator_policy": {"restarts": "never"}})
    result = driven(tmp_path, preview(target(never, left())), never_restarts)
    assert result.error is not None
    assert (result.error.kind, result.results) == ("open", ())
