"""Docker purged after our audit rules were applied: what they would stop at the next boot, and what becomes of them.

The host is a recorded machine; what the kernel would load at boot is simulated as a preview simulates it.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from remediator.audit_file import RULES_FILE
from remediator.audit_load import simulate_load
from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.host.common.audit_rules import assemble_rules
from remediator.observation import parse_observation
from remediator.plan import HostPlan, Transaction
from remediator.policy import Policy
from remediator.surroundings import Surroundings

MACHINE = Path(__file__).parents[1] / "kinds" / "observations" / "machine12.json"
CATALOGUE = load_catalogue().select(roles=["docker_audit"])
NOW = Surroundings(datetime(2026, 7, 1, tzinfo=UTC), ("machine12",))
THEIRS = "/etc/audit/rules.d/60-theirs.rules"
THEIR_RULE = "-w /etc/shadow -p wa -k theirs"
GONE = ("/var/lib/docker", "/etc/docker", "/run/containerd")


def plan_of(document: dict[str, Any], *allowed: str) -> HostPlan:
    seen = parse_observation("machine12", json.dumps(document).encode())
    return decide("machine12", seen, CATALOGUE, Policy(frozenset(allowed)), CATALOGUE.defaults, NOW)


def written(transactions: tuple[Transaction, ...]) -> dict[str, bytes]:
    actions = [action for transaction in transactions for action in transaction.actions]
    return {str(action.path): action.content for action in actions if action.content is not None}


def with_rules(document: dict[str, Any], ours: bytes) -> dict[str, Any]:
    """The host with `ours` as our rules file, and somebody else's file after it."""
    for path, content in ((RULES_FILE, ours), (THEIRS, f"{THEIR_RULE}\n".encode())):
        facts = {"type": "file", "mode": 0o640, "resolved": path, "content": base64.b64encode(content).decode()}
        document["files"][path] = facts
    document["audit"]["rules_files"] = [RULES_FILE, THEIRS, *document["audit"]["rules_files"]]
    return document


@pytest.fixture
def purged() -> dict[str, Any]:
    """The machine after an apply of every watch, a purge of Docker and containerd with their data, and a reboot."""
    document: dict[str, Any] = json.loads(MACHINE.read_text())
    ours = written(plan_of(document, "guarded").transactions)[RULES_FILE]
    with_rules(document, ours)
    document["audit"]["loaded"] = [THEIR_RULE]
    for system in ("docker", "containerd"):
        document["systems"][system] = {"present": False, "reason": f"{system} is not installed"}
    for name in document["references"]:
        document["references"][name] = {"status": "absent", "paths": [], "reason": "not installed"}
    for path in GONE:
        document["files"][path] = {"type": "missing", "resolved": path}
    return document


def unloaded(content: bytes) -> list[str]:
    """The rules that do not get loaded at boot when our file holds `content`."""
    rules = assemble_rules([(RULES_FILE, content.decode()), (THEIRS, THEIR_RULE)])
    failures = simulate_load(rules, lambda path: path not in GONE)
    return [rule.text for rule in rules[rules.index(failures[0].rule) :]] if failures else []


def test_what_is_left_of_ours_goes_so_that_everybody_elses_rules_load_again(purged: dict[str, Any]) -> None:
    before = base64.b64decode(purged["files"][RULES_FILE]["content"])
    assert THEIR_RULE in unloaded(before)
    plan = plan_of(purged)
    after = written(plan.transactions)
    assert list(after) == [RULES_FILE]
    assert unloaded(after[RULES_FILE]) == []
    assert [action.do for transaction in plan.transactions for action in transaction.actions] == ["write"]
    left = [verdict for verdict in plan.verdicts if verdict.verdict == "drifted"]
    assert {verdict.fix for verdict in left} == {"safe"}
    assert all("left over from what is gone" in verdict.reason for verdict in left)
    assert not any("because" in verdict.reason for verdict in left)
    assert before.count(b"\n## ") == len(left)


def test_once_it_is_gone_nothing_is_proposed_and_every_watch_is_not_applicable(purged: dict[str, Any]) -> None:
    after = written(plan_of(purged).transactions)[RULES_FILE]
    purged["files"][RULES_FILE]["content"] = base64.b64encode(after).decode()
    plan = plan_of(purged)
    assert (plan.transactions, plan.held) == ((), ())
    assert {verdict.verdict for verdict in plan.verdicts} == {"not_applicable"}


def test_a_block_that_no_control_of_this_call_wrote_stays(purged: dict[str, Any]) -> None:
    ours = base64.b64decode(purged["files"][RULES_FILE]["content"])
    other = b"## docker.audit.of-a-later-version\n-w /etc/hostname -p wa -k docker\n"
    purged["files"][RULES_FILE]["content"] = base64.b64encode(ours + other).decode()
    assert written(plan_of(purged).transactions)[RULES_FILE].endswith(other)


def test_of_a_docker_without_containerd_only_containerds_rules_are_left_over(purged: dict[str, Any]) -> None:
    document = json.loads(MACHINE.read_text())
    with_rules(document, base64.b64decode(purged["files"][RULES_FILE]["content"]))
    document["systems"]["containerd"] = purged["systems"]["containerd"]
    for name in document["references"]:
        if name.startswith("@containerd."):
            document["references"][name] = purged["references"][name]
    kept = written(plan_of(document).transactions)[RULES_FILE]
    assert b"docker.audit.daemon-binary" in kept
    assert b"containerd" not in kept
