"""The apply flow: consent, what the carrier is given, what becomes of silent hosts, the record and the exit code.

The carrier here is a function that answers what a fleet might; real hosts have their own tests.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from remediator import run
from remediator.access import Access
from remediator.ansible import RunInterrupted
from remediator.errors import UsageError
from remediator.exit_codes import ExitCode, Threshold
from remediator.history import runs_directory
from remediator.inventory import Inventory
from remediator.plan import Alert, HostError, HostPlan, HostResult, Plan, Step, TransactionResult
from remediator.policy import Policy
from remediator.views.terminal import TerminalView

Plans = Callable[[str], Plan]
APPROACH = run.Approach(run.Batches((1, "5%", "20%"), 0), "ticket 7", Threshold())


class Fleet:
    """A carrier that answers what it was made with, and remembers what it was asked."""

    def __init__(self, answer: Callable[[HostPlan], HostResult | None]) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    def __call__(
        self,
        inventory: Inventory,
        plan: Plan,
        access: Access,
        policy: Policy,
        run: str,
        who: str,
        reason: str,
        serial: Any,
        max_fail_percentage: int,
        on_event: Callable[[str, str], None],
    ) -> Mapping[str, HostResult]:
        self.asked = {"hosts": [host.host for host in plan.hosts], "run": run, "reason": reason, "serial": serial}
        self.record_meanwhile = json.loads((runs_directory() / f"{run}.json").read_text())
        for host in plan.hosts:
            on_event(host.host, "applying")
        answers = {host.host: self.answer(host) for host in plan.hosts}
        return {name: result for name, result in answers.items() if result is not None}


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records land in the test's own directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def all_applied(host: HostPlan) -> HostResult:
    """Every transaction applied, and every permitted drift gone."""
    verdicts = tuple(
        each.model_copy(update={"verdict": "compliant", "permitted": False}) if each.permitted else each
        for each in host.verdicts
    )
    results = tuple(
        TransactionResult(group=each.group, outcome="applied", digest=each.digest) for each in host.transactions
    )
    after = host.model_copy(update={"verdicts": verdicts, "transactions": ()})
    return HostResult(host=host.host, results=results, after=after)


def apply(plan: Plan, fleet: Fleet, consent: bool = True) -> tuple[ExitCode, str, list[str]]:
    """(exit code, what was printed, what was asked)."""
    questions: list[str] = []

    def answer(question: str) -> bool:
        questions.append(question)
        return consent

    stream = io.StringIO()
    prospect = run.Prospect(plan, Inventory((), ("hosts.yml",)), Access(sources=("hosts.yml",)), Policy())
    code = run.apply(prospect, APPROACH, TerminalView(stream, io.StringIO(), verbose=False), answer, fleet)
    return code, stream.getvalue(), questions


def record(home: Path) -> dict[str, Any]:
    """The only record."""
    (path,) = (home / "remediator" / "runs").iterdir()
    written: dict[str, Any] = json.loads(path.read_text())
    return written


def test_the_preview_is_shown_and_the_question_counts_what_is_permitted(plan: Plans) -> None:
    code, text, questions = apply(plan("docker_fleet"), Fleet(all_applied))
    assert questions == ["Apply 13 changes to 3 hosts?"]
    assert text.index("mode 0666 -> 0644") < text.index("What was done")
    assert code == ExitCode.FAILED  # db2 could not be looked at


def test_the_question_names_what_is_restarted_and_on_how_many_hosts(plan: Plans) -> None:
    whole = plan("docker_fleet")
    steps = tuple(Step(do="restart", unit=unit) for unit in ("docker.service", "containerd.service"))
    hosts = [
        host.model_copy(
            update={
                "transactions": tuple(t.model_copy(update={"activation": steps[: 3 - n]}) for t in host.transactions)
            }
        )
        for n, host in enumerate(whole.hosts, 1)
    ]
    _, _, questions = apply(whole.model_copy(update={"hosts": tuple(hosts)}), Fleet(all_applied), consent=False)
    assert questions == [
        "Apply 13 changes to 3 hosts (restarts containerd.service on 1 host, docker.service on 2 hosts)?"
    ]


def test_the_question_names_what_rolling_back_an_interrupted_transaction_restarts(plan: Plans) -> None:
    whole = plan("docker_fleet")
    alert = Alert(kind="open", text="run Z was interrupted", restarts=("docker.service",))
    hosts = (whole.hosts[0].model_copy(update={"alerts": (alert,)}), *whole.hosts[1:])
    _, _, questions = apply(whole.model_copy(update={"hosts": hosts}), Fleet(all_applied), consent=False)
    assert questions == [
        "Roll back 1 interrupted transaction on 1 host and apply 13 changes to 3 hosts "
        "(restarts docker.service on 1 host)?"
    ]


def test_a_command_of_after_restart_that_failed_is_told_and_ends_3(plan: Plans) -> None:
    def uncordoned(host: HostPlan) -> HostResult:
        note = "after_restart: kubectl ended with status 1: no such node"
        return all_applied(host).model_copy(update={"notes": (note,), "left_undone": True})

    code, text, _ = apply(_without_unknown(plan("kubernetes")), Fleet(uncordoned))
    assert code == ExitCode.FAILED
    assert "after_restart: kubectl ended with status 1: no such node" in text
    assert "Not everything came through" in text


def test_only_hosts_with_something_permitted_are_asked_to_change(plan: Plans) -> None:
    fleet = Fleet(all_applied)
    apply(plan("docker_fleet"), fleet)
    assert fleet.asked["hosts"] == ["web1", "web2", "db1"]
    assert fleet.asked["serial"] == (1, "5%", "20%")


def test_no_means_that_nothing_is_done_and_drift_is_left(plan: Plans, state_home: Path) -> None:
    fleet = Fleet(all_applied)
    code, text, _ = apply(plan("kubernetes"), fleet, consent=False)
    assert fleet.asked == {}
    assert text.endswith("Nothing was changed.\n")
    assert list(state_home.iterdir()) == []
    assert code == ExitCode.FAILED  # its unknown verdicts outrank the drift that is left
    assert apply(_without_unknown(plan("kubernetes")), fleet, consent=False)[0] == ExitCode.DRIFT


def test_nothing_permitted_asks_nothing(plan: Plans) -> None:
    code, text, questions = apply(plan("compliant"), Fleet(all_applied))
    assert (code, questions) == (ExitCode.DONE, [])
    assert "nothing to change" in text


def test_when_all_came_through_the_call_is_done_and_recorded(plan: Plans, state_home: Path) -> None:
    fleet = Fleet(all_applied)
    code, text, _ = apply(_without_unknown(plan("kubernetes")), fleet)
    written = record(state_home)
    assert code == ExitCode.DONE
    assert fleet.record_meanwhile["state"] == "started"
    assert (written["state"], written["exit_code"], written["reason"]) == ("finished", 0, "ticket 7")
    assert written["run"] == fleet.asked["run"]
    assert written["results"][0]["results"][0]["outcome"] == "applied"
    assert str(state_home / "remediator" / "runs" / f"{written['run']}.json") in text


def test_a_silent_host_is_unreported(plan: Plans, state_home: Path) -> None:
    code, text, _ = apply(plan("docker_fleet"), Fleet(lambda host: None if host.host == "web2" else all_applied(host)))
    assert code == ExitCode.FAILED
    assert "web2  files  no answer" in text
    assert "remediate check -i INVENTORY -l web2" in " ".join(text.split())
    outcomes = {each["host"]: [one["outcome"] for one in each["results"]] for each in record(state_home)["results"]}
    assert outcomes["web2"] == ["unreported", "unreported"]
    assert outcomes["web1"] == ["applied", "applied"]


def test_a_transaction_that_was_not_answered_for_is_unreported(plan: Plans, state_home: Path) -> None:
    def first_only(host: HostPlan) -> HostResult:
        whole = all_applied(host)
        return whole.model_copy(update={"results": whole.results[:1]})

    apply(plan("docker_fleet"), Fleet(first_only))
    assert [one["outcome"] for one in record(state_home)["results"][0]["results"]] == ["applied", "unreported"]


def test_a_host_locked_by_another_run_ends_5(plan: Plans) -> None:
    def locked(host: HostPlan) -> HostResult:
        error = {"kind": "locked", "message": f"{host.host}: run 01ARY of bob@ctl holds it. Try again when it is done."}
        return HostResult.model_validate({"host": host.host, "error": error})

    code, text, _ = apply(plan("kubernetes"), Fleet(locked))
    assert code == ExitCode.LOCKED
    assert "bob@ctl holds it" in text
    assert "no answer" not in text


@pytest.mark.parametrize("kind", ["locked", "become", "broken", "open", "state"])
def test_a_host_that_refused_before_anything_began_says_only_that(plan: Plans, state_home: Path, kind: str) -> None:
    def refused(host: HostPlan) -> HostResult:
        held = TransactionResult(group="docker", outcome="held", reason="it waits for --allow x", digest="0" * 64)
        error = {"kind": kind, "message": f"{host.host}: not now."}
        return HostResult.model_validate({"host": host.host, "error": error, "results": (held,)})

    _, text, _ = apply(plan("docker_fleet"), Fleet(refused))
    assert "no answer" not in text
    outcomes = [[one["outcome"] for one in each["results"]] for each in record(state_home)["results"]]
    assert outcomes == [["held"]] * 3


def test_what_is_held_of_a_group_does_not_hide_that_nobody_answered_for_the_rest(plan: Plans, state_home: Path) -> None:
    def held_instead(host: HostPlan) -> HostResult:
        whole = all_applied(host)
        first = TransactionResult(group=whole.results[0].group, outcome="held", digest="0" * 64)
        return whole.model_copy(update={"results": (first, *whole.results[1:])})

    apply(plan("docker_fleet"), Fleet(held_instead))
    for each in record(state_home)["results"]:
        assert [one["outcome"] for one in each["results"]].count("unreported") == 1


def test_a_host_lost_after_its_commit_began_is_unreported_where_it_said_nothing(plan: Plans, state_home: Path) -> None:
    def lost(host: HostPlan) -> HostResult:
        error = {"kind": "unreachable", "message": f"{host.host}: the connection was lost."}
        return all_applied(host).model_copy(
            update={"error": HostError.model_validate(error), "results": all_applied(host).results[:1], "after": None}
        )

    apply(plan("docker_fleet"), Fleet(lost))
    assert [one["outcome"] for one in record(state_home)["results"][0]["results"]] == ["applied", "unreported"]


def test_a_run_that_cannot_be_recorded_changes_nothing(plan: Plans, state_home: Path) -> None:
    (state_home / "remediator").write_text("")
    fleet = Fleet(all_applied)
    with pytest.raises(UsageError, match="XDG_STATE_HOME"):
        apply(plan("kubernetes"), fleet)
    assert fleet.asked == {}


def test_an_interrupted_run_reports_and_records_what_it_knows(plan: Plans, state_home: Path) -> None:
    known = plan("docker_fleet").hosts[0]

    class Interrupted(Fleet):
        def __call__(self, *_arguments: Any) -> Mapping[str, HostResult]:
            raise RunInterrupted({known.host: all_applied(known)})

    with pytest.raises(KeyboardInterrupt):
        apply(plan("docker_fleet"), Interrupted(all_applied))
    written = record(state_home)
    assert written["state"] == "interrupted"
    assert written["results"][0]["results"][0]["outcome"] == "applied"


def test_a_carrier_that_breaks_leaves_a_record_that_does_not_claim_to_go_on(plan: Plans, state_home: Path) -> None:
    class Broken(Fleet):
        def __call__(self, *_arguments: Any) -> Mapping[str, HostResult]:
            raise UsageError("Ansible refused to start.")

    with pytest.raises(UsageError, match="refused to start"):
        apply(plan("kubernetes"), Broken(all_applied))
    assert record(state_home)["state"] == "interrupted"


def _without_unknown(plan: Plan) -> Plan:
    hosts = tuple(
        host.model_copy(update={"verdicts": tuple(each for each in host.verdicts if each.verdict != "unknown")})
        for host in plan.hosts
    )
    return plan.model_copy(update={"hosts": hosts})
