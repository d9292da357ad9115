"""A commit whose answer was lost: the host is asked again, and what it recorded is what counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remediator.ansible_result import driven_result
from remediator.errors import HostError
from remediator.harden import Target, apply, apply_for_driver, preview
from remediator.host import Program
from remediator.plan import HostResult
from remediator.session import Session, SessionDirectory
from tests.unit.test_harden import MODE, ORDER, answering, target

GONE = HostError("web1", "unreachable", "web1: Connection timed out")


def cut_off(*answers: HostError | Callable[[str], dict[str, Any]]) -> tuple[Target, list[float]]:
    """A host whose commit is sent and not heard of again, and that answers each later question with one of these.

    The last one is repeated; a function gets the transaction's digest. The list gets the seconds that were waited.
    """
    plain = target(answering("applied"), 0o666)
    left, waited, digests = list(answers), [], []

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        document = json.loads(request)
        if "transactions" in document:
            digests.extend(each["digest"] for each in document["transactions"])
            raise GONE
        if document.get("do") != "collect":
            return plain.exchange(program, request, secret)
        assert (document["run"], document["host"], program.run) == (ORDER.run, "web1", "")
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, HostError):
            raise answer
        return json.dumps({"format_version": 1, "run": ORDER.run, "host": "web1", **answer(digests[0])}).encode()

    return replace(plain, exchange=exchange, pause=waited.append), waited


def recorded(outcome: str, reason: str = "") -> Callable[[str], dict[str, Any]]:
    return lambda digest: {"results": [{"group": "files", "outcome": outcome, "reason": reason, "digest": digest}]}


def outcome(host: Target) -> tuple[str, str]:
    _, result = apply(host, ORDER)
    (only,) = result.results
    return only.outcome, only.reason


@pytest.mark.parametrize("ended", ["applied", "rolled_back", "broken"])
def test_the_recorded_outcome_takes_the_lost_ones_place(ended: str) -> None:
    host, _ = cut_off(GONE, GONE, recorded(ended, "because\x1b[2J"))

    found, reason = outcome(host)

    assert found == ended
    assert reason.startswith("because")
    assert "\x1b" not in reason


def test_what_the_host_has_no_record_of_was_not_begun_and_is_held() -> None:
    found, reason = outcome(cut_off(lambda digest: {"results": []})[0])
    assert found == "held"
    assert "nothing was done" in reason


def test_a_record_of_other_content_is_not_taken_for_this_transactions() -> None:
    assert outcome(cut_off(lambda digest: recorded("applied")("0" * 64))[0])[0] == "held"


def test_what_still_goes_on_or_was_cut_short_there_is_unreported_and_says_what_to_do() -> None:
    found, reason = outcome(cut_off(lambda digest: {"running": True})[0])
    assert (found, "remediate check -i INVENTORY -l web1" in reason) == ("unreported", True)
    found, reason = outcome(cut_off(lambda digest: {"open": ["files"]})[0])
    assert (found, "remediate recover -i INVENTORY -l web1" in reason) == ("unreported", True)


def test_a_host_that_stays_out_of_reach_is_tried_for_a_minute_and_a_half() -> None:
    host, waited = cut_off(GONE)

    found, reason = outcome(host)

    assert (found, "Connection timed out" in reason) == ("unreported", True)
    assert 80 <= sum(waited) <= 100
    assert len(waited) > 4


@pytest.mark.parametrize(
    "answer",
    [
        HostError("web1", "host_key", "web1: its host key changed"),
        lambda digest: {"run": "another"},
        lambda digest: {"host": "web2"},
        lambda digest: {"results": [1]},
    ],
    ids=["stranger", "another run", "another host", "no document"],
)
def test_who_answers_something_else_is_not_asked_again(answer: Any) -> None:
    host, waited = cut_off(answer)
    assert outcome(host)[0] == "unreported"
    assert len(waited) == 1


def driven(directory: Path, host: Target) -> HostResult:
    directory.chmod(0o700)
    place = SessionDirectory(directory)
    place.create(Session(mode="apply", request="", controls=(MODE,), run=ORDER.run, who=ORDER.who), (preview(host),))
    return apply_for_driver(place, Session(mode="apply", request="", controls=(MODE,), run=ORDER.run), host)


@pytest.mark.parametrize("ended", ["broken", "rolled_back", "applied"])
def test_a_broken_host_stops_the_run_and_no_other_outcome_does(tmp_path: Path, ended: str) -> None:
    result = driven(tmp_path, target(answering(ended), 0o666))
    assert [each.outcome for each in result.results] == [ended]
    assert SessionDirectory(tmp_path).stopped == (ended == "broken")
    later = driven(tmp_path, target(answering("applied"), 0o666))
    assert later.results[0].outcome == ("held" if ended == "broken" else "applied")
    assert ("failed" in driven_result(later)) is False
