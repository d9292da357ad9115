"""Undo on real hosts: what an apply changed, restarts and keys included, is as it was before it; and the way back.

The tests find their host in file order, each as the one before left it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .docker_tls import FILES, listening, make_authority, served_fingerprint
from .expectations import drift
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.keys import Keys
from .hosts.witness import Difference, Snapshot, diff, snapshot
from .hosts.workload import running_containers
from .product import Answer, Product

# What changes by itself: our journal, the host's log, the containers' own state, and what every log-in writes.
ITS_OWN = ("/var/lib/remediator", "/var/log", "/var/lib/docker", "/var/lib/containerd", "/root/.ansible")
ENVIRONMENT = "/etc/environment"
TRUST = "docker.content-trust.enabled"
REGISTRY = "/etc/docker/certs.d/registry.lab:5000"
DEFAULTS = ("docker.files.default-file-owner", "docker.files.default-file-mode")


@dataclass
class Undone:
    """The host of this module, how it was before the apply, and how the apply left it."""

    host: ContainerHost
    inventory: Path
    before: Snapshot
    applied: Answer
    after: Snapshot

    @property
    def run(self) -> str:
        """The apply's id."""
        return str(self.applied.document["run"])

    def differs(self, then: Snapshot) -> Difference:
        """What is not as it was then."""
        return diff(then.disk, snapshot(self.host, since=self.after).disk).without(*ITS_OWN)


def main_process(host: ContainerHost) -> str:
    return host.text("systemctl", "show", "-p", "MainPID", "--value", "docker.service")


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def release(request: pytest.FixtureRequest) -> str:
    """The image of the host."""
    return str(request.param)


@pytest.fixture(scope="module")
def remediate(release: str, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The installed command with a home for each host: the second one may get the first one's address."""
    return Product(tmp_path_factory.mktemp(f"home-{release}"))


@pytest.fixture(scope="module")
def undone(
    release: str, engine: Engine, lab_keys: Keys, remediate: Product, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Undone]:
    """A host that needed everything and got it in one run: access, content trust, and TLS with a restart of Docker."""
    name = f"{release}-undone"
    host = start_docker_host(engine, lab_keys, release, name)
    host.script(drift("docker"))
    directory = tmp_path_factory.mktemp(name)
    hosts = listening(host, directory)
    issued = make_authority(remediate, directory).issue(hosts)
    assert issued.code == 0, issued.err + issued.out
    before = snapshot(host)
    process = main_process(host)
    applied = remediate.apply(hosts, "--allow", "guarded", "--reason", "to be taken back")
    assert applied.code == 0, applied.err + applied.out
    assert main_process(host) != process
    yield Undone(host, hosts, before, applied, snapshot(host, since=before))
    host.remove()


def rollback(remediate: Product, undone: Undone, *words: str) -> Answer:
    return remediate("rollback", words[0], "-i", str(undone.inventory), *words[1:], "--format", "json", timeout=600)


def changes(answer: Answer, undone: Undone) -> dict[str, dict[str, Any]]:
    return {change["path"]: change for change in answer.host(undone.host.name)["before"]["changes"]}


def held(remediate: Product, undone: Undone) -> list[dict[str, Any]]:
    """What the host's journal lists."""
    answer = remediate("transactions", "-i", str(undone.inventory), "--format", "json")
    assert answer.code == 0, answer.err + answer.out
    found: list[dict[str, Any]] = answer.host(undone.host.name)["transactions"]
    return found


def test_the_host_lists_what_the_apply_did_with_who_and_why(undone: Undone, remediate: Product) -> None:
    listed = {each["group"]: each for each in held(remediate, undone) if each["run"] == undone.run}
    outcomes = undone.applied.host(undone.host.name)["outcomes"]
    assert {each["transaction"] for each in outcomes} == set(listed)
    assert {each["reason"] for each in listed.values()} == {""}
    assert {each["why"] for each in listed.values()} == {"to be taken back"}
    assert {each["outcome"] for each in listed.values()} == {"applied"}
    assert f"{FILES}/key.pem" in listed["docker"]["paths"]
    text = remediate("transactions", "-i", str(undone.inventory)).out
    assert undone.run in text
    assert "to be taken back" in text


def test_the_journal_is_root_s_and_another_user_is_told_so(undone: Undone, remediate: Product, tmp_path: Path) -> None:
    from .hosts.interface import inventory

    path = tmp_path / "hosts.yml"
    path.write_text(inventory([undone.host.as_user("plain")]))
    for words in (("transactions",), ("rollback", undone.run, "--check")):
        answer = remediate(*words, "-i", str(path))
        assert answer.code == 3, answer.out
        assert "--become" in answer.out


def test_a_file_that_somebody_changed_since_is_refused_by_name(undone: Undone, remediate: Product) -> None:
    undone.host.script(f"echo MINE=1 >>{ENVIRONMENT}")
    answer = rollback(remediate, undone, "last", "--control", TRUST, "--check")
    assert answer.code == 3, answer.err + answer.out
    refused = changes(answer, undone)[ENVIRONMENT]
    assert refused["permitted"] is False
    assert "-MINE=1" in refused["diff"].splitlines()
    assert [line for line in refused["since"].splitlines()[2:] if line[0] in "+-"] == ["+MINE=1"]
    assert any(f"somebody changed it since run {undone.run}" in detail for detail in refused["details"])
    text = remediate("rollback", "last", "-i", str(undone.inventory), "--control", TRUST, "--check").out
    assert ENVIRONMENT in text
    assert "refused" in text
    assert undone.differs(undone.after).paths == [ENVIRONMENT]


def test_a_control_limits_it_and_one_of_two_that_asked_for_a_path_is_not_enough(
    undone: Undone, remediate: Product
) -> None:
    alone = rollback(remediate, undone, undone.run, "--control", DEFAULTS[0], "--yes")
    assert alone.code == 3
    assert DEFAULTS[1] in str(changes(alone, undone)["/etc/default/docker"]["details"])
    both = rollback(remediate, undone, undone.run, "--control", ",".join(DEFAULTS), "--yes")
    assert both.code == 0, both.err + both.out
    assert undone.differs(undone.after).paths == ["/etc/default/docker", ENVIRONMENT]
    entry = snapshot(undone.host, since=undone.after).disk["/etc/default/docker"]
    assert entry == undone.before.disk["/etc/default/docker"]


def test_a_bare_playbook_previews_the_same_and_changes_nothing(undone: Undone, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "ansible.cli.playbook", "-i", str(undone.inventory), "--check", "--diff"]
    for run, code in ((undone.run, 0), ("last", 2)):
        ran = subprocess.run(
            [*command, "remediator.hardening.rollback", "-e", f"remediator_rollback_run={run}"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            check=False,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert (f"{REGISTRY}/client.key" in ran.stdout) == (code == 0)
        # Nobody is asked here, so what restarts Docker is not taken back, and that is said.
        assert ("docker is not taken back" in " ".join((ran.stdout + ran.stderr).split())) == (code == 0)
    assert undone.differs(undone.after).paths == ["/etc/default/docker", ENVIRONMENT]


def test_rolled_back_the_host_is_as_it_was_bytes_modes_owners_attributes_and_keys(
    undone: Undone, remediate: Product
) -> None:
    process = main_process(undone.host)
    preview = rollback(remediate, undone, "last", "--force", "--check")
    assert preview.code == 1, preview.err + preview.out
    shown = changes(preview, undone)
    assert shown[f"{FILES}/key.pem"]["diff"] == ""
    assert "docker.service" in shown[f"{FILES}/key.pem"]["impact"]["units"]
    answer = rollback(remediate, undone, "last", "--force", "--yes", "--reason", "the way back")
    assert answer.code == 0, answer.err + answer.out
    left = undone.differs(undone.before)
    assert left.paths == []
    assert [path for path in left.touched if undone.before.disk[path].kind == "file"] == []
    assert main_process(undone.host) != process
    assert undone.host.run("sh", "-c", "ss -ltn | grep -q :2376", check=False).returncode != 0
    assert "web" in running_containers(undone.host)
    assert "PRIVATE KEY" not in preview.out + answer.out


def test_rolled_back_once_more_there_is_nothing_to_do(undone: Undone, remediate: Product) -> None:
    answer = rollback(remediate, undone, "last", "--yes")
    assert (answer.code, answer.document["ended"]) == (0, "nothing_permitted"), answer.out
    assert answer.document["undoes"] == undone.run


def test_a_rollback_is_rolled_back_like_any_other_run(undone: Undone, remediate: Product) -> None:
    newest = held(remediate, undone)[0]
    assert (newest["undoes"], newest["why"]) == (undone.run, "the way back")
    answer = rollback(remediate, undone, newest["run"], "--yes")
    assert answer.code == 0, answer.err + answer.out
    assert undone.differs(undone.after).paths == ["/etc/default/docker", ENVIRONMENT]
    assert served_fingerprint(undone.host.address)
    assert "MINE=1" in undone.host.text("cat", ENVIRONMENT)


def test_an_apply_afterwards_does_what_is_left_once(undone: Undone, remediate: Product) -> None:
    again = remediate.apply(undone.inventory, "--allow", "guarded")
    assert again.code == 0, again.err + again.out
    assert [each["paths"] for each in again.host(undone.host.name)["outcomes"]] == [["/etc/default/docker"]]
    assert remediate.apply(undone.inventory, "--allow", "guarded").document["ended"] == "nothing_permitted"
