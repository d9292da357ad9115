"""What the harden action does with a host's answers: approved or nothing, and never more than it was told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remediator.ansible_errors import host_error
from remediator.ansible_result import applied_result, driven_result, preview_result
from remediator.catalogue import load_catalogue
from remediator.commit_documents import Order, read_commit
from remediator.errors import HostError, UsageError
from remediator.harden import Target, apply, apply_for_driver, preview
from remediator.host import Program
from remediator.plan import Action, Alert, Change, HostPlan, HostResult, State, Transaction, TransactionResult
from remediator.policy import Policy
from remediator.session import Session, SessionDirectory
from tests.unit import stand_in
from tests.unit.host.commit.certificates import issue, key_pem

ORDER = Order("01JD0000000000000000000000", "ann@controller", "")
MODE = stand_in.MODE


def target(commit: Callable[[dict[str, Any]], bytes], *modes: int, allow: tuple[str, ...] = ()) -> Target:
    """A host whose unit file has each of `modes` in turn, and that answers a commit with `commit`."""
    catalogue = load_catalogue().select(controls=[MODE])
    left = list(modes)

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        document = json.loads(request)
        if "transactions" in document:
            assert program.run == ORDER.run  # a unit of its own does it, and outlives the connection
            return commit(document)
        return json.dumps(stand_in.observation(left.pop(0) if len(left) > 1 else left[0])).encode()

    policy = Policy(frozenset(allow))
    place = Path("/nowhere")
    return Target("web1", "web1", place, exchange, catalogue, policy, catalogue.defaults, pause=print)


def answering(outcome: str, **changes: Any) -> Callable[[dict[str, Any]], bytes]:
    def commit(request: dict[str, Any]) -> bytes:
        results = [{"group": t["group"], "outcome": outcome, "digest": t["digest"]} for t in request["transactions"]]
        answer = {"format_version": 1, "run": request["run"], "host": request["host"], "results": results}
        return json.dumps({**answer, **changes}).encode()

    return commit


def never(request: dict[str, Any]) -> bytes:
    raise AssertionError("nothing was to be committed")


def driven(directory: Path, approved: HostPlan, host: Target) -> HostResult:
    directory.chmod(0o700)
    session = Session(mode="apply", request="", controls=(MODE,), run=ORDER.run, who=ORDER.who)
    place = SessionDirectory(directory)
    place.create(session, (approved,))
    result = apply_for_driver(place, session, host)
    assert place.result("web1") == result
    return result


def test_only_what_was_approved_is_committed_and_seen_again_afterwards(tmp_path: Path) -> None:
    approved = preview(target(never, 0o666))

    result = driven(tmp_path, approved, target(answering("applied"), 0o666, 0o644))

    assert [(r.group, r.outcome) for r in result.results] == [("files", "applied")]
    assert result.after is not None
    assert result.after.verdicts[0].verdict == "compliant"


def test_a_host_that_differs_from_its_preview_is_refused_untouched(tmp_path: Path) -> None:
    approved = preview(target(never, 0o666))

    result = driven(tmp_path, approved, target(never, 0o646))

    assert [r.outcome for r in result.results] == ["stale"]
    assert result.after is not None
    assert result.after.verdicts[0].verdict == "drifted"


def test_one_part_of_a_preview_that_no_longer_holds_refuses_the_host_as_a_whole(tmp_path: Path) -> None:
    holds = preview(target(never, 0o666))
    gone = holds.transactions[0].model_copy(update={"group": "docker"})
    approved = holds.model_copy(update={"transactions": (*holds.transactions, gone)})

    result = driven(tmp_path, approved, target(never, 0o666))

    assert [(r.group, r.outcome) for r in result.results] == [("files", "stale"), ("docker", "stale")]


def test_drift_that_nobody_approved_is_not_touched(tmp_path: Path) -> None:
    result = driven(tmp_path, HostPlan(host="web1"), target(never, 0o666))

    assert [r.outcome for r in result.results] == ["stale"]


def test_a_driver_that_was_stopped_touches_and_observes_nothing(tmp_path: Path) -> None:
    approved = preview(target(never, 0o666))
    SessionDirectory(tmp_path).stop()

    result = driven(tmp_path, approved, target(never, 0o666))

    assert [r.outcome for r in result.results] == ["held"]


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[" * 100_000, b'{"format_version":1,"run":"another","host":"web1","results":[]}'],
    ids=["empty", "no document", "deep", "another run's"],
)
def test_an_answer_that_is_none_leaves_every_transaction_unreported(answer: bytes) -> None:
    _, result = apply(target(lambda request: answer, 0o666), ORDER)

    assert [r.outcome for r in result.results] == ["unreported"]
    assert driven_result(result)["failed"] is True


def test_what_a_host_says_of_its_commit_is_made_harmless_and_cannot_add_transactions() -> None:
    plan = preview(target(never, 0o666))
    wanted = plan.transactions[0]
    hostile = {
        "group": "\x1b[2Jfiles",
        "outcome": "applied",
        "digest": wanted.digest,
        "reason": "fine\nreally\x07\udc80" + "x" * 5000,
        "paths": ["/etc/\u202ex"],
        "log": "\x1b]0;t\x07" * 10_000,
    }
    made_up = {"group": "docker", "outcome": "applied", "digest": "0" * 64}
    document = {"format_version": 1, "run": ORDER.run, "host": "web1", "results": [hostile, made_up]}

    (result,) = read_commit("web1", json.dumps(document).encode(), plan.transactions, ORDER.run).results

    assert result.group == "files"
    assert "\n" not in result.reason
    assert len(result.reason) < 1100
    assert "\x1b" not in result.log
    assert len(result.log) < 20_000 * 4
    assert result.paths == ("/etc/\\u202ex",)


def test_a_host_that_another_run_has_locked_is_an_error_without_outcomes() -> None:
    def locked(request: dict[str, Any]) -> bytes:
        raise HostError("web1", "locked", "web1: run 01X of ann has the lock")

    plan, result = apply(target(locked, 0o666), ORDER)

    assert result.error is not None
    assert result.error.kind == "locked"
    assert result.results == ()
    assert "failed" not in driven_result(result)
    assert applied_result(plan, result)["failed"] is True


def keyed(monkeypatch: pytest.MonkeyPatch, source: Any, **variables: str) -> tuple[Target, list[Any]]:
    """A host whose plan installs a key, and what is sent to it: request and secret of each commit."""
    action = Action(do="install_key", path="/k", source=source, public_sha256="0" * 64, mode=0o400, uid=0, gid=0)
    plan = HostPlan(host="web1", transactions=(Transaction(group="docker", changes=(), actions=(action,)),))
    monkeypatch.setattr("remediator.harden.decide", lambda *_: plan)
    sent: list[Any] = []
    plain = target(answering("applied"), 0o666)

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        if b'"transactions"' in request:
            sent.append((request, secret))
        else:
            assert secret == b""
        return plain.exchange(program, request)

    return replace(plain, exchange=exchange, variables={**plain.variables, **variables}), sent


def test_a_key_of_the_users_own_goes_beside_the_request_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = issue("web1")
    files = {"ca": served.pem, "cert": served.pem, "key": key_pem(served.key)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    own = {f"docker_tls_{name}_file": str(tmp_path / name) for name in files}
    host, sent = keyed(monkeypatch, "controller", **own)

    plan, result = apply(host, ORDER)

    ((request, secret),) = sent
    assert secret == files["key"]
    assert [r.outcome for r in result.results] == ["applied"]
    inner = files["key"].splitlines()[1]
    assert inner not in request + plan.model_dump_json().encode() + result.model_dump_json().encode()


def test_no_key_is_read_for_a_host_that_made_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    host, sent = keyed(monkeypatch, "host", docker_tls_key_file="/nowhere/key.pem")

    apply(host, ORDER)

    assert [secret for _, secret in sent] == [b""]


def test_a_key_that_cannot_be_read_refuses_its_own_transaction_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {f"docker_tls_{name}_file": str(tmp_path / name) for name in ("ca", "cert", "key")}
    host, sent = keyed(monkeypatch, "controller", **own)

    plan, alone = apply(host, ORDER)

    assert sent == []
    assert (alone.error, [(r.group, r.outcome) for r in alone.results]) == (None, [("docker", "refused")])
    assert str(tmp_path / "key") in alone.results[0].reason

    chmod = Action(do="chmod", path="/f", mode=0o600)
    files = Transaction(group="files", changes=(), actions=(chmod,))
    both = plan.model_copy(update={"transactions": (*plan.transactions, files)})
    monkeypatch.setattr("remediator.harden.decide", lambda *_: both)

    _, result = apply(host, ORDER)

    assert result.error is None
    assert {r.group: r.outcome for r in result.results} == {"files": "applied", "docker": "refused"}
    ((request, secret),) = sent
    assert [t["group"] for t in json.loads(request)["transactions"]] == ["files"]
    assert secret == b""


def test_a_preview_of_enormous_changes_stays_small_and_says_what_it_left_out() -> None:
    nothing = State(type="missing")
    changes = tuple(
        Change(controls=(MODE,), what="content", path=f"/etc/{n}", before=nothing, after=nothing, diff="+x\n" * 30_000)
        for n in range(10)
    )
    plan = HostPlan(host="web1", transactions=(Transaction(group="files", changes=changes),))

    told = preview_result(plan)

    assert len(json.dumps(told)) < 500_000
    assert "remediate --check" in told["diff"][-1]["prepared"]
    assert told["changed"] is True


def test_only_outcomes_that_must_stop_a_rollout_fail_the_task() -> None:
    failing = {
        outcome: "failed"
        in driven_result(HostResult(host="a", results=(TransactionResult(group="g", outcome=outcome),)))
        for outcome in ("applied", "stale", "held", "refused", "rolled_back", "unreported", "broken")
    }

    assert {outcome for outcome, fails in failing.items() if fails} == {"rolled_back", "unreported", "broken"}


ALERTS = (
    Alert(kind="broken", text="docker of run X was put back"),
    Alert(kind="open", text="run Y was interrupted"),
    Alert(kind="refused", text="files: its record cannot be used"),
    Alert(kind="recovered", text="docker of run Z ended rolled back"),
)


def test_a_bare_check_warns_of_what_every_preview_says_first() -> None:
    told = preview_result(HostPlan(host="web1", alerts=ALERTS))
    assert told["warnings"] == [f"web1: {alert.text}" for alert in ALERTS]
    assert "failed" not in told
    assert "warnings" not in preview_result(HostPlan(host="web1"))


@pytest.mark.parametrize("alert", ALERTS)
def test_a_bare_apply_does_not_end_green_on_a_host_that_nothing_was_done_to(alert: Alert) -> None:
    plan = HostPlan(host="web1", alerts=(alert,))
    told = applied_result(plan, HostResult(host="web1", after=plan))
    if alert.kind == "recovered":
        assert (told["warnings"], "failed" in told) == ([f"web1: {alert.text}"], False)
    else:
        assert (told["failed"], told["msg"]) == (True, f"web1: {alert.text}")


def test_a_bare_apply_that_recovered_the_host_itself_says_so_and_is_no_failure() -> None:
    plan = HostPlan(host="web1", alerts=ALERTS[1:2])
    note = "before this, docker of run Y ended rolled back: it was interrupted"
    told = applied_result(plan, HostResult(host="web1", after=HostPlan(host="web1"), notes=(note,)))
    assert ("failed" in told, told["warnings"]) == (False, [f"web1: {note}"])


def test_a_session_that_others_can_write_is_not_followed(tmp_path: Path) -> None:
    place = SessionDirectory(tmp_path)
    place.create(Session(mode="observe", request="{}"))
    place.session_file.chmod(0o620)

    with pytest.raises(UsageError, match="not a session file"):
        SessionDirectory.open(str(place.session_file))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Host key verification failed.", "host_key"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ Permission denied", "host_key"),
        ("root@h: Permission denied (publickey,password).", "authentication"),
        ("Incorrect sudo password", "become"),
        ("Missing sudo password", "become"),
        ("ops is not in the sudoers file.", "become"),
        ("ssh: connect to host h port 22: Connection refused", "unreachable"),
        ("ssh: Could not resolve hostname h: Name or service not known", "unreachable"),
        ("/bin/sh: 1: exec: python9: not found", "python"),
        ("something nobody foresaw", "answer"),
    ],
)
def test_ansibles_words_name_the_kind_of_the_error(said: str, kind: str) -> None:
    error = host_error("web1", said)

    assert error.kind == kind
    assert str(error).startswith("web1: ")
