"""A daemon that is older than its files: found, named, reloaded or restarted with consent, never onto a bad file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import inventory
from .hosts.keys import Keys
from .hosts.witness import changes_of
from .hosts.workload import running_containers
from .product import Answer, Product

CONTROL = "docker.daemon.process-current"
ALLOWED = ("--control", CONTROL, "--allow", CONTROL)
CONFIG = "/etc/docker/daemon.json"
DROP_IN = "/etc/systemd/system/docker.service.d/20-icc.conf"
COMMAND = "/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock --icc=false $DOCKER_OPTS"


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def server(request: pytest.FixtureRequest, engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host as it comes; tests of this module find it in file order."""
    host = start_docker_host(engine, lab_keys, request.param, f"{request.param}-process")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def hosts_file(server: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server alone."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([server]))
    return path


@pytest.fixture(scope="module")
def remediate(server: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The installed command, with a home directory for this server: lab hosts get each other's addresses."""
    return Product(tmp_path_factory.mktemp("home"))


def configure(server: ContainerHost, **options: object) -> None:
    """What an administrator does, and forgets to have the daemon read."""
    server.put(CONFIG, json.dumps(options).encode(), mode="0644")


def verdict(answer: Answer, server: ContainerHost) -> dict[str, Any]:
    """The control's verdict: what a check found, or an apply before it acted."""
    host = answer.host(server.name)
    found: dict[str, Any] = next(one for one in host.get("before", host)["verdicts"] if one["control"] == CONTROL)
    return found


def info(server: ContainerHost, field: str) -> str:
    return server.text("docker", "info", "--format", f"{{{{.{field}}}}}")


def daemon_pid(server: ContainerHost) -> str:
    return server.text("systemctl", "show", "-p", "MainPID", "--value", "docker.service")


def test_a_changed_option_is_found_and_nothing_else_and_a_check_leaves_it_alone(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    before = remediate.check(hosts_file, "--control", CONTROL)
    assert (before.code, verdict(before, server)["verdict"]) == (0, "compliant"), before.out
    configure(server, **{"log-driver": "local"})
    answers: list[Answer] = []
    changed = changes_of(server, lambda: answers.append(remediate.check(hosts_file, "--role", "docker_daemon")))
    assert answers[0].code == 1, answers[0].err
    said = verdict(answers[0], server)
    assert (said["verdict"], said["reason"]) == (
        "drifted",
        f"log-driver is local in {CONFIG}, and the daemon has json-file",
    )
    (change,) = answers[0].host(server.name)["changes"]
    assert (change["what"], change["path"], change["impact"]["stays_down"]) == ("restart", "docker.service", ["job"])
    assert [path for path in changed.paths if path.startswith(("/etc", "/var/lib/remediator"))] == []


def test_without_consent_it_is_held_and_with_it_the_daemon_restarts_once(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    pid = daemon_pid(server)
    held = remediate.apply(hosts_file, "--control", CONTROL)
    assert held.code == 0, held.err + held.out
    assert (daemon_pid(server), info(server, "LoggingDriver")) == (pid, "json-file")

    applied = remediate.apply(hosts_file, *ALLOWED)

    assert applied.code == 0, applied.err + applied.out
    assert verdict(applied, server)["verdict"] == "drifted"
    assert info(server, "LoggingDriver") == "local", applied.out
    restarted = daemon_pid(server)
    assert restarted != pid
    assert "web" in running_containers(server)
    again = remediate.apply(hosts_file, *ALLOWED)
    assert (again.code, verdict(again, server)["verdict"]) == (0, "compliant"), again.out
    assert daemon_pid(server) == restarted


def test_what_the_daemon_reads_as_it_runs_is_a_reload_that_stops_nothing(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    pid, containers = daemon_pid(server), server.text("docker", "ps", "-q", "--no-trunc")
    configure(server, **{"log-driver": "local", "live-restore": True, "shutdown-timeout": 20})
    before = remediate.check(hosts_file, *ALLOWED)
    assert verdict(before, server)["reason"] == (
        f"live-restore is true in {CONFIG}, and the daemon has false; {CONFIG} was changed after the daemon last read "
        "it; these options may not be in force: shutdown-timeout"
    )
    applied = remediate.apply(hosts_file, *ALLOWED)
    assert applied.code == 0, applied.err + applied.out
    assert info(server, "LiveRestoreEnabled") == "true"
    assert (daemon_pid(server), server.text("docker", "ps", "-q", "--no-trunc")) == (pid, containers)
    # Neither what no answer shows nor another mode of the file keeps it drifted.
    server.run("chmod", "0640", CONFIG)
    again = remediate.check(hosts_file, *ALLOWED)
    assert (again.code, verdict(again, server)["verdict"]) == (0, "compliant"), again.out


def test_a_flag_of_a_drop_in_waits_for_the_reload_of_its_unit_and_then_for_a_restart(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    server.run("install", "-d", DROP_IN.rpartition("/")[0])
    server.put(DROP_IN, f"[Service]\nExecStart=\nExecStart={COMMAND}\n".encode(), mode="0644")
    pid = daemon_pid(server)
    pending = verdict(remediate.check(hosts_file, *ALLOWED), server)
    assert pending["verdict"] == "manual", pending
    assert "systemctl daemon-reload" in pending["reason"]
    server.run("systemctl", "daemon-reload")
    found = remediate.check(hosts_file, *ALLOWED)
    assert found.code == 1, found.err
    assert verdict(found, server)["reason"] == "its unit gives it --icc=false, and it was started without"
    assert daemon_pid(server) == pid
    containers = server.text("docker", "ps", "-q", "--no-trunc")

    applied = remediate.apply(hosts_file, *ALLOWED)

    assert applied.code == 0, applied.err + applied.out
    assert "--icc=false" in server.text("cat", f"/proc/{daemon_pid(server)}/cmdline").split("\0")
    # live-restore, which the test before this one had the daemon read.
    assert server.text("docker", "ps", "-q", "--no-trunc") == containers
    again = remediate.check(hosts_file, *ALLOWED)
    assert (again.code, verdict(again, server)["verdict"]) == (0, "compliant"), again.out


def test_no_daemon_is_restarted_onto_a_file_that_it_does_not_start_with(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    pid = daemon_pid(server)
    for content in (b'{"log-driver": "local",}', b'{"icc": false}', b'{"debug": "yes"}'):
        server.put(CONFIG, content, mode="0644")
        answer = remediate.check(hosts_file, *ALLOWED)
        assert verdict(answer, server)["verdict"] == "manual", content
        assert "would not come back" in verdict(answer, server)["reason"]
    # Before Docker 23 nobody can ask dockerd whether it knows an option; from then on it is asked before its restart.
    configure(server, **{"log-driver": "local", "live-restore": True, "no-such-option": 1})
    answer = remediate.apply(hosts_file, *ALLOWED)
    if server.name.startswith("debian12"):
        assert verdict(answer, server)["verdict"] == "manual"
    else:
        assert answer.code == 3, answer.out
        (outcome,) = answer.host(server.name)["outcomes"]
        assert outcome["outcome"] == "refused"
        assert "no-such-option" in outcome["reason"]
    assert daemon_pid(server) == pid
