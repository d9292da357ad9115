"""What an apply does with restarts: containers that nobody was shown, closed windows, commands around the commit."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remediator.ansible_result import driven_result
from remediator.errors import HostError
from remediator.harden import Target, apply
from remediator.host import Program
from remediator.plan import Action, HostPlan, HostResult, Impact, Step, Transaction, Verdict
from tests.unit.test_harden import ORDER, answering, driven, target

FILES = Transaction(group="files", changes=(), actions=(Action(do="chmod", path="/f", mode=0o600),))


def restarting(*stays_down: str) -> Transaction:
    """A transaction that restarts Docker; these containers were shown, or are now seen, as not coming back."""
    return Transaction(
        group="docker",
        changes=(),
        activation=(Step(do="restart", unit="docker.service"),),
        probe=(Step(do="stays_down", names=stays_down or None),),
        impact=Impact(level="restart", text="restarts docker.service", stays_down=stays_down),
    )


def plan(
    *transactions: Transaction, held: tuple[Transaction, ...] = (), verdicts: tuple[Verdict, ...] = ()
) -> HostPlan:
    return HostPlan(host="web1", transactions=transactions, held=held, verdicts=verdicts)


def host(monkeypatch: pytest.MonkeyPatch, now: HostPlan, **policy: Any) -> tuple[Target, list[list[str]]]:
    """A host whose plan is `now`, and the groups of each commit that is sent to it."""
    monkeypatch.setattr("remediator.harden.decide", lambda *_: now)
    sent: list[list[str]] = []
    plain = target(answering("applied"), 0o666)

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        document = json.loads(request)
        if "transactions" in document:
            sent.append([each["group"] for each in document["transactions"]])
            with Path(policy.get("log", "/dev/null")).open("a") as log:
                log.writelines(f"commit {group}\n" for group in sent[-1])
        return plain.exchange(program, request, secret)

    own = {name: value for name, value in policy.items() if name != "log"}
    return replace(plain, exchange=exchange, variables={**plain.variables, "remediator_policy": own}), sent


def outcomes(result: HostResult) -> dict[str, str]:
    return {each.group: each.outcome for each in result.results}


def command(log: Path, word: str, status: int = 0) -> list[str]:
    code = f"import sys; open({str(log)!r}, 'a').write({word + chr(10)!r}); print('why'); sys.exit({status})"
    return [sys.executable, "-I", "-c", code]


def test_a_container_that_was_not_shown_and_would_not_come_back_makes_its_transaction_stale_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target_now, sent = host(monkeypatch, plan(FILES, restarting("job", "batch")))
    result = driven(tmp_path, plan(FILES, restarting("job")), target_now)
    assert (outcomes(result), sent) == ({"files": "applied", "docker": "stale"}, [["files"]])
    (reason,) = [each.reason for each in result.results if each.outcome == "stale"]
    assert "would stop batch for good (no restart policy)" in reason
    assert "preview again" in reason


def test_one_that_was_shown_and_is_gone_makes_nothing_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target_now, sent = host(monkeypatch, plan(restarting("job")))
    result = driven(tmp_path, plan(restarting("job", "batch")), target_now)
    assert (outcomes(result), sent) == ({"docker": "applied"}, [["docker"]])


def test_a_window_that_closed_since_the_preview_holds_its_own_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target_now, sent = host(monkeypatch, plan(FILES, held=(restarting(),)))
    result = driven(tmp_path, plan(FILES, restarting()), target_now)
    assert (outcomes(result), sent) == ({"files": "applied", "docker": "held"}, [["files"]])


def test_the_commands_run_around_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    around = {"before_restart": [command(log, "drain")], "after_restart": [command(log, "uncordon")]}
    target_now, _ = host(monkeypatch, plan(FILES, restarting()), log=log, **around)
    _, result = apply(target_now, ORDER)
    assert log.read_text().splitlines() == ["drain", "commit files", "commit docker", "uncordon"]
    assert (outcomes(result), result.notes, result.left_undone) == (
        {"files": "applied", "docker": "applied"},
        (),
        False,
    )


def test_where_the_host_is_not_made_ready_its_restart_is_refused_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    around = {"before_restart": [command(log, "drain", 4)], "after_restart": [command(log, "uncordon")]}
    target_now, _ = host(monkeypatch, plan(FILES, restarting()), log=log, **around)
    _, result = apply(target_now, ORDER)
    assert outcomes(result) == {"files": "applied", "docker": "refused"}
    assert log.read_text().splitlines() == ["drain", "commit files", "uncordon"]
    (reason,) = [each.reason for each in result.results if each.outcome == "refused"]
    assert reason == f"before_restart: {sys.executable} ended with status 4: why"

    log.unlink()
    monkeypatch.setattr("remediator.harden.decide", lambda *_: plan(restarting()))
    _, alone = apply(target_now, ORDER)
    assert (outcomes(alone), log.read_text().splitlines()) == ({"docker": "refused"}, ["drain", "uncordon"])
    assert alone.after is not None


def test_what_comes_after_runs_where_contact_was_lost_and_its_failure_stops_the_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    target_now, _ = host(monkeypatch, plan(restarting()), after_restart=[command(log, "uncordon", 1)])
    inner = target_now.exchange

    def cut(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        if b'"transactions"' in request:
            raise HostError("web1", "unreachable", "web1: the connection was cut")
        return inner(program, request, secret)

    _, lost = apply(replace(target_now, exchange=cut), ORDER)
    assert (outcomes(lost), log.read_text()) == ({"docker": "unreported"}, "uncordon\n")

    _, result = apply(target_now, ORDER)
    assert (outcomes(result), result.left_undone) == ({"docker": "applied"}, True)
    assert result.notes == (f"after_restart: {sys.executable} ended with status 1: why",)
    told = driven_result(result)
    assert (told["failed"], told["msg"]) == (True, f"web1: {result.notes[0]}")
