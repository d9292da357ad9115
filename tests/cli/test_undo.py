"""Undo as people and programs see it: what hosts hold, what a rollback would do, and what every preview says first."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from remediator import run
from remediator.access import Access
from remediator.ansible_result import preview_result
from remediator.errors import HostError
from remediator.exit_codes import ExitCode, Threshold, of_check
from remediator.held import HeldTransactions, exit_code, held_by
from remediator.inventory import Inventory
from remediator.observation import Observation
from remediator.plan import Alert, HostPlan, HostResult, Plan, Undo
from remediator.plan import HostError as PlanError
from remediator.policy import Policy
from remediator.undo import take_back
from remediator.views.diff import change_lines
from remediator.views.documents import json_schema
from remediator.views.json import JsonView
from remediator.views.terminal import TerminalView
from tests.cli.conftest import Remediate
from tests.unit.undo_host import CONFIG, LATER, NOW, RESTART, RUN, entry, facts, host, kept, record, was, written, wrote

Snapshot = Callable[[str, str], None]
APPROACH = run.Approach(run.Batches((1,), 0), "ticket 7", Threshold())
UNREACHED = "db2: it could not be reached (connection refused). Look whether it is up."


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records land in the test's own directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def as_left() -> Observation:
    """A host on which everything is as the run left it."""
    files = {CONFIG: facts(b'{"a": 1}\n'), "/etc/default/docker": facts(mode=0o600), **kept(content=b"{}\n")}
    mode = record(entry("/etc/default/docker", was(), was(0o600)), group="files")
    running = {"containers": [{"id": "1", "name": "web", "state": "running", "restart_policy": "always"}]}
    return host(record(written(), activation=RESTART), mode, files=files, docker=running)


def edited() -> Observation:
    """The same where somebody edited a file since."""
    files = {CONFIG: facts(b"by hand\n"), "/etc/default/docker": facts(mode=0o600), **kept(), **wrote()}
    mode = record(entry("/etc/default/docker", was(), was(0o600)), group="files")
    return host(record(written(held="other", written="0.after"), activation=RESTART), mode, files=files)


def undo_plan(**hosts: Observation) -> Plan:
    undo = Undo(run=RUN)
    return Plan(
        controls=(), undo=undo, hosts=tuple(take_back(name, seen, undo, Policy(), NOW) for name, seen in hosts.items())
    )


def fleet() -> Plan:
    """A host that can be taken back, one that somebody edited, one with nothing of the run, one out of reach."""
    plan = undo_plan(web1=as_left(), web2=edited(), db1=host())
    unreached = HostPlan(host="db2", error=PlanError(kind="unreachable", message=UNREACHED))
    return plan.model_copy(update={"hosts": (*plan.hosts, unreached)})


def outcomes(outcome: str) -> Any:
    """A carrier whose hosts all answer `outcome`, and look as before the run afterwards."""

    def carry(_inventory: Inventory, plan: Plan, *_: Any) -> Mapping[str, HostResult]:
        return {
            each.host: HostResult.model_validate(
                {
                    "host": each.host,
                    "results": [
                        {"group": t.group, "outcome": outcome, "digest": t.digest, "paths": ["/a"]}
                        for t in each.transactions
                    ],
                    "after": {"host": each.host},
                }
            )
            for each in plan.hosts
        }

    return carry


def rolled_back(plan: Plan, outcome: str = "applied", consent: bool = True) -> tuple[ExitCode, str, list[str]]:
    """(exit code, what was printed, what was asked)."""
    asked: list[str] = []

    def answer(question: str) -> bool:
        asked.append(question)
        return consent

    stream = io.StringIO()
    prospect = run.Prospect(plan, Inventory((), ("hosts.yml",)), Access(sources=("hosts.yml",)), Policy())
    code = run.apply(prospect, APPROACH, TerminalView(stream, io.StringIO(), verbose=False), answer, outcomes(outcome))
    return code, stream.getvalue(), asked


def valid(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(json_schema()).validate(document)
    return document


def test_a_rollback_reads_as_in_its_snapshot(snapshot: Snapshot) -> None:
    stream = io.StringIO()
    TerminalView(stream, io.StringIO(), verbose=False).previewed(fleet())
    snapshot("rollback_fleet.txt", stream.getvalue())


def test_what_was_changed_since_reads_the_same_in_ansible_to_the_last_blank() -> None:
    edited_entry = written(held="other", written="0.after")
    files = {CONFIG: facts(b"after\nby hand  \n \n"), **kept(), **wrote(content=b"after\n \n")}
    plan = take_back("web1", host(record(edited_entry), files=files), Undo(run=RUN, force=True), Policy(), NOW)
    [shown] = [each["prepared"] for each in preview_result(plan)["diff"]]
    assert "changed since the run:\n" in shown
    assert "@@ -1,2 +1,3 @@\n after\n+by hand  \n  \n" in shown
    assert "what taking it back would change now:\n" in shown
    (change,) = plan.transactions[0].changes
    same = change.model_copy(update={"diff": ""})
    text = "\n".join(line.text.plain for line in change_lines(same, 0))
    assert "+by hand  " in text
    assert "taking it back" not in text


def test_the_question_says_what_restarts_and_the_record_what_was_taken_back(tmp_path: Path) -> None:
    code, text, asked = rolled_back(undo_plan(web1=as_left()))
    assert asked == ["Roll back 2 changes on 1 host (restarts docker.service on 1 host)?"]
    assert code == ExitCode.DONE
    assert f"what run {RUN} changed is as it was before it" in text
    (file,) = (tmp_path / "remediator" / "runs").iterdir()
    record_of_it = json.loads(file.read_text())
    assert (record_of_it["verb"], record_of_it["plan"]["undo"]["run"]) == ("rollback", RUN)


@pytest.mark.parametrize(
    ("plan", "outcome", "consent", "code"),
    [
        (undo_plan(web1=as_left()), "applied", False, ExitCode.DRIFT),
        (undo_plan(web1=as_left()), "rolled_back", True, ExitCode.FAILED),
        (undo_plan(web1=as_left()), "stale", True, ExitCode.STALE),
        (undo_plan(web1=edited()), "applied", True, ExitCode.FAILED),
        (undo_plan(db1=host()), "applied", True, ExitCode.DONE),
        (undo_plan(db1=host(record(written(), entries="none"))), "applied", True, ExitCode.FAILED),
    ],
    ids=["declined", "did not come through", "changed since the preview", "refused", "nothing to do", "unreadable"],
)
def test_the_exit_code_of_a_rollback(plan: Plan, outcome: str, consent: bool, code: ExitCode) -> None:
    assert rolled_back(plan, outcome, consent)[0] == code


def closing(text: str) -> str:
    """What stands after the preview."""
    return text[text.rindex("\n\n") :].strip()


def test_the_end_tells_of_every_host_on_which_not_all_was_taken_back() -> None:
    """One taken back, one refused, one with nothing of the run, one out of reach."""
    code, text, _ = rolled_back(fleet())
    assert code == ExitCode.FAILED
    assert "Done" not in text
    assert "Not all of it was taken back." in text
    assert "\n  refused, and what would release it is said above: web2\n" in text
    assert "\n  not looked at: db2\n" in text
    assert "web1" not in closing(text)
    _, failed, _ = rolled_back(fleet(), "rolled_back")
    assert "\n  did not come through: web1, web2\n" in failed


def test_an_end_without_a_change_says_whether_there_was_nothing_or_nothing_was_possible() -> None:
    unreached = HostPlan(host="db2", error=PlanError(kind="unreachable", message=UNREACHED))
    nobody = Plan(controls=(), undo=Undo(run=RUN), hosts=(unreached,))
    unusable = undo_plan(db1=host(record(written(), entries="none")))
    nothing = undo_plan(db1=host(record(written(held="before")), files={CONFIG: facts(b"{}", 0o600), **kept()}))
    ends = {name: rolled_back(plan) for name, plan in (("nobody", nobody), ("no", unusable), ("nothing", nothing))}
    assert {name: code for name, (code, _, _) in ends.items()} == {
        "nobody": ExitCode.FAILED,
        "no": ExitCode.FAILED,
        "nothing": ExitCode.DONE,
    }
    assert "No host could be looked at, so nothing was taken back." in ends["nobody"][1]
    assert "Nothing was changed.\n  refused" in ends["no"][1]
    assert [name for name, (_, text, _) in ends.items() if "There is nothing to take back." in text] == ["nothing"]


def test_a_preview_alone_changes_nothing_and_ends_with_1_where_there_is_something(tmp_path: Path) -> None:
    for plan, code in ((undo_plan(web1=as_left()), ExitCode.DRIFT), (undo_plan(db1=host()), ExitCode.DONE)):
        stream = io.StringIO()
        prospect = run.Prospect(plan, Inventory((), ()), Access(sources=()), Policy())
        assert run.show(prospect, JsonView(stream, io.StringIO())) == code
        assert valid(stream.getvalue())["ended"] == "previewed"
    assert not (tmp_path / "remediator").exists()


def test_a_rollback_s_document_meets_the_schema_and_says_why_a_path_is_refused() -> None:
    stream = io.StringIO()
    prospect = run.Prospect(fleet(), Inventory((), ()), Access(sources=()), Policy())
    run.show(prospect, JsonView(stream, io.StringIO()))
    document = valid(stream.getvalue())
    assert (document["document"], document["undoes"], document["force"]) == ("rollback", RUN, False)
    changes = {
        (each["host"], change["path"]): change for each in document["hosts"] for change in each["before"]["changes"]
    }
    assert changes["web1", CONFIG]["permitted"] is True
    assert changes["web2", CONFIG]["permitted"] is False
    assert "somebody changed it since" in changes["web2", CONFIG]["details"][-1]


def held() -> Iterator[HeldTransactions]:
    broken = {"broken": {"run": LATER, "group": "docker", "reason": "docker.service is failed", "since": 1_700_000_000}}
    undone = record(written(), run=LATER, undoes=RUN, reason="the way back", started=1_700_000_100)
    rules = {"rule": ["-w", "/etc/docker", "-p", "wa"], "loaded": [False, True], "controls": []}
    many = [entry(f"/etc/docker/{number}", was(), was(0o600)) for number in range(9)]
    yield held_by("web1", host(undone, record(rules, *many, group="audit", reason="ticket 7")))
    stopped = record(written(), run=LATER, open=True, outcome="")
    yield held_by("web2", host(record(written(), outcome="rolled_back", why="docker.service is failed"), stopped))
    yield held_by("web3", host(transactions={"records": [record(written(), outcome="broken")], **broken}))
    yield held_by("db1", host(record(written(), entries="none")))
    yield held_by("db2", HostError("db2", "unreachable", UNREACHED))
    yield held_by("db3", host(host={"python": "3.11", "uid": 1000}, transactions={"error": "unreadable"}))
    yield held_by("db4", host())


def test_what_hosts_hold_reads_as_in_its_snapshot_the_worst_first(snapshot: Snapshot) -> None:
    stream = io.StringIO()
    TerminalView(stream, io.StringIO(), verbose=False).transactions(list(held()))
    snapshot("transactions.txt", stream.getvalue())


def test_what_hosts_hold_meets_the_schema() -> None:
    stream = io.StringIO()
    JsonView(stream, io.StringIO()).transactions(list(held()))
    document = valid(stream.getvalue())
    first = document["hosts"][0]["transactions"]
    assert [(each["run"], each["undoes"]) for each in first] == [(LATER, RUN), (RUN, "")]
    assert document["hosts"][1]["transactions"][0]["open"] is True


def test_a_list_ends_with_3_for_what_a_person_must_see_to_and_with_0_else() -> None:
    codes = {each.host: exit_code([each]) for each in held()}
    assert {name for name, code in codes.items() if code == ExitCode.FAILED} == {"web2", "web3", "db2", "db3"}
    running = host(
        record(written(), open=True),
        state={"holder": {"run": RUN, "who": "ann"}, "open": [{"run": RUN, "group": "docker"}]},
    )
    assert exit_code([held_by("web1", running)]) == ExitCode.DONE


ALERTS = (
    Alert(kind="recovered", text="transaction files of run X was interrupted"),
    Alert(kind="broken", text="\x1b[2Jtransaction docker of run Y: nothing is changed there"),
    Alert(kind="open", text="run Z was interrupted"),
)


def test_every_preview_says_first_what_a_host_s_journal_says(plan: Callable[[str], Plan]) -> None:
    compliant = plan("compliant")
    first = compliant.hosts[0].model_copy(update={"alerts": ALERTS})
    alarmed = compliant.model_copy(update={"hosts": (first, *compliant.hosts[1:])})
    stream = io.StringIO()
    TerminalView(stream, io.StringIO(), verbose=False).checked(alarmed, "remediate apply")
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["BROKEN", "INTERRUPTED", "recovered"]
    assert all(first.host in line for line in lines[:3])
    assert "\x1b" not in stream.getvalue()
    assert of_check(alarmed, Threshold()) == ExitCode.FAILED
    stream = io.StringIO()
    JsonView(stream, io.StringIO()).checked(alarmed, "")
    assert [alert["kind"] for alert in valid(stream.getvalue())["hosts"][0]["alerts"]] == [
        "recovered",
        "broken",
        "open",
    ]


def test_a_rollback_names_its_hosts_and_is_seen_before_it_is_approved(remediate: Remediate) -> None:
    unnamed = remediate("rollback", "last")
    assert (unnamed.returncode, "-i INVENTORY" in unnamed.stderr) == (2, True)
    unseen = remediate("rollback", "last", "-i", "localhost,", "--format", "json")
    assert (unseen.returncode, "--check" in unseen.stderr) == (2, True)
