"""Real machines with their own kernel: audit rules previewed, loaded, proven by an event, and there after a reboot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .expectations import drift, expected
from .hosts.interface import LabHost, inventory
from .hosts.machine import Machine
from .hosts.witness import changes_of
from .hosts.workload import running_containers
from .product import Answer, Product

OURS = "/var/lib/remediator"
# Every log-in is written there, at whatever time journald and auditd see fit.
LOGS = ("/var/log/journal", "/var/log/audit")
RULES = "/etc/audit/rules.d/50-remediator-docker.rules"
# Somebody else's rules: one file that is loaded, one rule that an agent loaded at run time only.
OTHERS = "-a always,exit -F path=/etc/shadow -F perm=wa -F key=others\n"
AGENTS = ("-w", "/etc/hosts", "-p", "wa", "-k", "agent")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with Docker drifted and audit rules of other people; tests of this module find it in file order."""
    with Machine.start(request.param) as started:
        started.host.script(drift("docker"), timeout=600)
        started.host.put("/etc/audit/rules.d/10-others.rules", OTHERS.encode(), mode="0640")
        started.host.run("auditctl", "-a", "always,exit", "-F", "path=/etc/shadow", "-F", "perm=wa", "-F", "key=others")
        started.host.run("auditctl", *AGENTS)
        yield started


@pytest.fixture(scope="module")
def hosts_file(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory with the machine alone."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([machine.host]))
    return path


def loaded(host: LabHost) -> set[str]:
    return set(host.text("auditctl", "-l").splitlines())


def make_quiet(host: LabHost) -> None:
    """Let end what the calendar has started: the machine's clock has just gone on from the day of its image."""
    host.script(
        """
        systemctl stop '*.timer'
        while systemctl list-jobs --no-legend | grep -q '[.]service'; do sleep 1; done
        """,
        timeout=600,
    )


def test_a_check_changes_nothing_that_a_bare_login_does_not_change(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    make_quiet(machine.host)
    bare = changes_of(machine.host, lambda: machine.host.as_user("ops").run("sudo", "true")).paths
    answers: list[Answer] = []
    changed = changes_of(machine.host, lambda: answers.append(remediate.check(hosts_file)))
    assert answers[0].code == 1, answers[0].err
    assert changed.without(*LOGS, *bare).paths == []


def test_a_check_gives_every_control_its_expected_verdict_and_loads_nothing(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    before = loaded(machine.host)
    answer = remediate.check(hosts_file)
    assert answer.code == 1, answer.err
    assert answer.verdicts(machine.host.name) == expected(machine.host.name, "before")
    assert loaded(machine.host) == before


def test_apply_loads_the_previewed_rules_and_keeps_everybody_elses(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    before = loaded(machine.host)
    previewed = [
        rule
        for change in remediate.check(hosts_file).host(machine.host.name)["changes"]
        if change["what"] == "audit_rule" and change["permitted"]
        for rule in change["added"]
    ]
    answer = remediate.apply(hosts_file)
    assert answer.code == 0, answer.err + answer.out
    after = loaded(machine.host)
    assert before <= after
    assert len(after - before) == len(previewed)
    paths = {rule.split("=")[1].split()[0] for rule in previewed if "path=" in rule}
    assert {line.split()[1] for line in after - before} >= paths


def test_writing_the_daemons_configuration_leaves_an_audit_event(machine: Machine) -> None:
    # Its mode, as it is already: a new time of change would make the running daemon older than its file.
    machine.host.run("chmod", "0644", "/etc/docker/daemon.json")
    found = machine.host.text("ausearch", "--input-logs", "-k", "docker", "-f", "/etc/docker/daemon.json")
    assert 'key="docker"' in found


def test_after_the_apply_every_control_has_its_expected_verdict(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file)
    assert answer.verdicts(machine.host.name) == expected(machine.host.name, "after")
    assert [change for change in answer.host(machine.host.name)["changes"] if change["permitted"]] == []


def test_a_rule_that_was_unloaded_by_hand_is_loaded_again_without_touching_a_file(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    machine.host.run("auditctl", "-W", "/etc/docker", "-p", "wa", "-k", "docker")
    answers: list[Answer] = []
    changed = changes_of(machine.host, lambda: answers.append(remediate.apply(hosts_file)))
    assert answers[0].code == 0, answers[0].err
    assert "-w /etc/docker -p wa -k docker" in loaded(machine.host)
    assert not [path for path in changed.without(OURS, "/var/log").paths if path.startswith("/etc/")]


def test_the_busy_trees_are_watched_once_they_are_allowed(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.apply(hosts_file, "--allow", "docker_audit")
    assert answer.code == 0, answer.err + answer.out
    paths = {line.split()[1] for line in loaded(machine.host)}
    assert {"/var/lib/docker", "/run/containerd"} <= paths


def test_with_locked_rules_the_file_is_written_and_the_verdict_pending(
    machine: Machine, hosts_file: Path, remediate: Product
) -> None:
    host = machine.host
    host.run("rm", RULES)
    host.run("auditctl", "-W", "/etc/docker", "-p", "wa", "-k", "docker")
    host.run("auditctl", "-e", "2")
    answer = remediate.apply(hosts_file, "--allow", "docker_audit")
    assert answer.code == 0, answer.err + answer.out
    host.run("test", "-s", RULES)
    verdicts = remediate.check(hosts_file).verdicts(host.name)
    assert verdicts["docker.audit.config-directory"] == "pending"
    assert verdicts["docker.audit.daemon-binary"] == "compliant"


def test_after_a_reboot_every_rule_is_in_force(machine: Machine, hosts_file: Path, remediate: Product) -> None:
    rules = {line for line in loaded(machine.host) if "-k agent" not in line}
    machine.reboot()
    assert loaded(machine.host) == rules | {"-w /etc/docker -p wa -k docker"}
    verdicts = remediate.check(hosts_file).verdicts(machine.host.name)
    after = expected(machine.host.name, "after")
    released = ("docker.audit.data-root", "docker.audit.containerd-state")
    anew = "docker.files.containerd-socket-owner"  # containerd makes its socket anew, root's, when it starts
    assert verdicts == {**after, **dict.fromkeys((*released, anew), "compliant")}
    assert running_containers(machine.host) == ["web"]
