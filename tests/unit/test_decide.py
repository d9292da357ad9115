"""What one control's edits do for another's decision, on recorded hosts with a few facts changed."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from remediator.audit_file import RULES_FILE
from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.observation import parse_observation
from remediator.plan import Change, HostPlan
from remediator.policy import Policy
from remediator.surroundings import Surroundings
from tests.property.commit_model import applied

OBSERVATIONS = Path(__file__).parents[1] / "kinds" / "observations"
CATALOGUE = load_catalogue()
NOW = Surroundings(datetime(2026, 7, 1, tzinfo=UTC), ("recorded",))
GUARDED = Policy(frozenset({"guarded"}))
DEFAULT_FILE, SYSCONFIG = "docker.audit.default-file", "docker.audit.sysconfig-file"
RULE = "-a always,exit -F path=/etc/default/docker -F perm=wa -F key=docker"

Document = dict[str, Any]


def recorded(name: str) -> Document:
    document: Document = json.loads((OBSERVATIONS / f"{name}.json").read_text())
    return document


def plan_of(document: Document, *controls: str, policy: Policy = GUARDED, **variables: str) -> HostPlan:
    seen = parse_observation("recorded", json.dumps(document).encode())
    chosen = CATALOGUE.select(controls=controls)
    return decide("recorded", seen, chosen, policy, {**CATALOGUE.defaults, **variables}, NOW)


def verdicts(plan: HostPlan) -> dict[str, str]:
    return {verdict.control: verdict.verdict for verdict in plan.verdicts}


def changes(plan: HostPlan) -> list[Change]:
    return [change for transaction in plan.transactions for change in transaction.changes]


def stands_for(*paths: str) -> Document:
    """A reference that was resolved to `paths`; to nothing, where there are none."""
    found = [{"path": path, "source": "changed"} for path in paths]
    return {"status": "resolved" if paths else "absent", "paths": found, "reason": "" if paths else "gone"}


@pytest.fixture
def two_files() -> Document:
    """A host whose socket unit lies in two places, one below a directory that a group with a member can write."""
    document = recorded("debian12")
    document["files"]["/etc/docker"].update(uid=0, gid=1000, mode=0o775, group_members=1)
    document["references"]["@docker.socket_unit"] = stands_for("/opt/cni/docker.socket", "/etc/docker/docker.socket")
    for path, above in (("/opt/cni/docker.socket", []), ("/etc/docker/docker.socket", ["/etc/docker"])):
        facts = {"type": "file", "mode": 0o666, "resolved": path, "untrusted_ancestors": above}
        document["files"][path] = facts
    return document


def test_what_waits_for_a_directory_to_be_repaired_is_in_the_same_plan_as_the_rest(two_files: Document) -> None:
    plan = plan_of(two_files, "docker.files.socket-unit-mode", "docker.files.config-directory-mode")
    assert {change.path for change in changes(plan)} == {
        "/opt/cni/docker.socket",
        "/etc/docker/docker.socket",
        "/etc/docker",
    }
    assert [transaction.group for transaction in plan.transactions] == ["files", "files-2"]
    assert not any("left to a person" in verdict.reason for verdict in plan.verdicts)


def test_without_consent_to_the_directory_the_rest_is_left_to_a_person(two_files: Document) -> None:
    controls = ("docker.files.socket-unit-mode", "docker.files.config-directory-mode")
    plan = plan_of(two_files, *controls, policy=Policy())
    assert [change.path for change in changes(plan)] == ["/opt/cni/docker.socket"]
    assert "left to a person: /etc/docker/docker.socket" in plan.verdicts[0].reason


def test_an_unknown_path_does_not_hide_another_that_a_repaired_directory_frees(two_files: Document) -> None:
    two_files["files"]["/opt/cni/docker.socket"] = {"type": "unreadable", "error": "permission denied"}
    alone = plan_of(two_files, "docker.files.socket-unit-mode")
    assert verdicts(alone) == {"docker.files.socket-unit-mode": "unknown"}
    assert "left to a person: /etc/docker/docker.socket" in alone.verdicts[0].reason
    both = plan_of(two_files, "docker.files.socket-unit-mode", "docker.files.config-directory-mode")
    assert [change.path for change in changes(both)] == ["/etc/docker", "/etc/docker/docker.socket"]


def test_nothing_is_promised_below_a_directory_that_is_given_to_another_account() -> None:
    document = recorded("kubeadm")
    manifest = "/var/lib/etcd/etcd.yaml"
    document["references"]["@etcd.manifest"] = stands_for(manifest)
    document["files"][manifest] = {"type": "file", "mode": 0o666, "resolved": manifest, "gid": 5, "group_members": 1}
    document["users"]["etcd"] = document["groups"]["etcd"] = 120
    controls = ("kube.etcd.manifest-mode", "kube.etcd.data-directory-owner")
    plan = plan_of(document, *controls, policy=Policy(), kube_etcd_data_owner="etcd")
    assert [change.path for change in changes(plan)] == ["/var/lib/etcd"]
    assert (plan.held, plan.verdicts[0].verdict) == ((), "manual")


def test_a_file_comes_after_the_directory_above_it_whatever_transaction_repairs_that(two_files: Document) -> None:
    two_files["references"]["@docker.socket"] = stands_for("/etc/docker")
    two_files["files"]["/etc/docker"].update(gid=0, mode=0o777)
    plan = plan_of(two_files, "docker.files.socket-unit-mode", "docker.files.socket-mode")
    assert [(transaction.group, transaction.changes[0].path) for transaction in plan.transactions] == [
        ("files", "/opt/cni/docker.socket"),
        ("docker", "/etc/docker"),
        ("docker-2", "/etc/docker/docker.socket"),
    ]


def with_block(document: Document, control: str) -> Document:
    """The host with RULE loaded, and kept in `control`'s block of our file."""
    content = f"## {control}\n{RULE}\n".encode()
    document["files"][RULES_FILE] = {
        "type": "file",
        "mode": 0o640,
        "resolved": RULES_FILE,
        "content": base64.b64encode(content).decode(),
    }
    document["audit"]["rules_files"] = [RULES_FILE]
    document["audit"]["loaded"] = ["-w /etc/default/docker -p wa -k docker"]
    return document


@pytest.mark.parametrize(("first", "second"), [(DEFAULT_FILE, SYSCONFIG), (SYSCONFIG, DEFAULT_FILE)])
def test_a_rule_that_two_controls_share_outlives_the_one_that_wrote_it(first: str, second: str) -> None:
    document = with_block(recorded("machine12"), first)
    for control, reference in ((DEFAULT_FILE, "@docker.environment_file"), (SYSCONFIG, "@docker.sysconfig")):
        document["references"][reference] = stands_for(*(["/etc/default/docker"] if control == second else []))
    plan = plan_of(document, DEFAULT_FILE, SYSCONFIG)
    assert verdicts(plan) == {first: "drifted", second: "drifted"}
    after = applied(document, plan.transactions)
    assert after["audit"]["loaded"] == document["audit"]["loaded"]
    kept = base64.b64decode(after["files"][RULES_FILE]["content"]).decode()
    assert kept.endswith(f"## {second}\n{RULE}\n")
    assert first not in kept
    assert plan_of(after, DEFAULT_FILE, SYSCONFIG).transactions == ()


def test_a_rule_that_another_control_is_about_to_keep_is_not_kept_yet() -> None:
    document = recorded("machine12")
    document["audit"]["loaded"] = ["-w /etc/default/docker -p wa -k docker"]
    document["references"]["@docker.sysconfig"] = stands_for("/etc/default/docker")
    plan = plan_of(document, DEFAULT_FILE, SYSCONFIG)
    assert verdicts(plan) == {DEFAULT_FILE: "drifted", SYSCONFIG: "drifted"}
    [change] = changes(plan)
    assert (change.path, change.controls) == (RULES_FILE, (DEFAULT_FILE, SYSCONFIG))
    assert change.diff.count(RULE) == 1
    after = plan_of(applied(document, plan.transactions), DEFAULT_FILE, SYSCONFIG)
    assert verdicts(after) == {DEFAULT_FILE: "compliant", SYSCONFIG: "compliant"}
