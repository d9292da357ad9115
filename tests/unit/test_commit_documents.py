"""What commit is asked and answers: a host's own policy goes along, and nothing that comes back is taken on trust."""

from __future__ import annotations

import json
from typing import Any

import pytest

from remediator.commit_documents import Order, commit_request, read_commit
from remediator.errors import HostError
from remediator.plan import Action, Transaction
from remediator.policy import Policy

ORDER = Order("01JD0000000000000000000000", "alice", "hardening")
WANTED = Transaction(group="files", changes=(), actions=(Action(do="chmod", path="/etc/x", mode=0o600),))


def answer(**changes: Any) -> bytes:
    result = {"group": "files", "outcome": "applied", "digest": WANTED.digest}
    document = {"format_version": 1, "run": ORDER.run, "host": "web1", "results": [result], **changes}
    return json.dumps(document).encode()


def test_the_host_is_told_what_its_policy_says_of_healing_and_keeping() -> None:
    policy = Policy(roots=("/data",), healthy_seconds=3, keep=5, keep_days=7)
    document = json.loads(commit_request("web1", [WANTED], ORDER, policy))
    assert (document["roots"], document["healthy_seconds"]) == (["/data"], 3)
    assert document["keep"] == {"count": 5, "days": 7}
    assert document["transactions"][0]["digest"] == WANTED.digest


def test_a_host_that_only_makes_keys_is_not_told_to_forget_anything() -> None:
    document = json.loads(commit_request("web1", [WANTED], ORDER, None))
    assert (document["roots"], "keep" in document) == ([], False)


def test_what_was_found_interrupted_is_told_beside_the_results_harmlessly() -> None:
    found = {"run": "01OLD", "group": "docker", "outcome": "rolled_back", "reason": "it was \x1b[2Jinterrupted\n"}
    committed = read_commit("web1", answer(recovered=[found]), (WANTED,), ORDER.run)
    assert [result.outcome for result in committed.results] == ["applied"]
    [note] = committed.notes
    assert note.startswith("before this, docker of run 01OLD ended rolled back: it was")
    assert note.isprintable()


@pytest.mark.parametrize(
    "changes", [{"run": "another"}, {"host": "web2"}, {"recovered": [{"run": 3}]}, {"recovered": 7}, {"results": None}]
)
def test_an_answer_that_is_none_to_this_run_is_no_answer(changes: dict[str, Any]) -> None:
    with pytest.raises(HostError, match="no answer to this run"):
        read_commit("web1", answer(**changes), (WANTED,), ORDER.run)
