"""Docker hosts in containers: preview, apply, proof, and nothing left to do, on Debian 12 and 13 over SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .expectations import drift, expected
from .hosts.container import OPSPW_PASSWORD, ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import LabHost, inventory
from .hosts.keys import Keys
from .hosts.witness import changes_of
from .hosts.workload import running_containers
from .product import Answer, Product

OURS = "/var/lib/remediator"
# The host's own journal: every log-in is written there, at whatever time journald sees fit.
JOURNAL = "/var/log/journal"

Write = Callable[..., Path]


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def drifted(request: pytest.FixtureRequest, engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host that needs every control of docker_files; tests of this module find it in file order."""
    host = start_docker_host(engine, lab_keys, request.param, f"{request.param}-drifted")
    host.script(drift("docker"))
    yield host
    host.remove()


@pytest.fixture(scope="module")
def hosts_file(drifted: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory with the drifted host alone."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([drifted]))
    return path


def table(host: LabHost) -> str:
    return host.name.removesuffix("-drifted")


def logged_in(host: LabHost) -> list[str]:
    """What a log-in that changes nothing changes on this host."""
    return changes_of(host, lambda: host.as_user("ops").run("sudo", "true")).paths


def test_a_check_gives_every_control_its_expected_verdict(
    drifted: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file)
    assert answer.code == 1, answer.err
    assert answer.verdicts(drifted.name) == expected(table(drifted), "before")


def test_a_check_changes_nothing_that_a_bare_login_does_not_change(
    drifted: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    bare = logged_in(drifted)
    changed = changes_of(drifted, lambda: remediate.check(hosts_file))
    assert set(changed.without(JOURNAL, *bare).paths) == set()


def test_both_carriers_give_the_same_verdicts_and_changes(
    drifted: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    swept = remediate.check(hosts_file, "--transport", "ssh")
    carried = remediate.check(hosts_file, "--transport", "ansible")
    assert swept.code == carried.code == 1, carried.err
    assert swept.host(drifted.name) == carried.host(drifted.name)


@pytest.mark.parametrize("transport", ["ssh", "ansible"])
@pytest.mark.parametrize("user", ["ops", "opspw"])
def test_a_sudo_user_sees_what_root_sees(
    drifted: ContainerHost, remediate: Product, hosts_file: Path, tmp_path: Path, user: str, transport: str
) -> None:
    password = {"ansible_become_password": OPSPW_PASSWORD} if user == "opspw" else {}
    path = tmp_path / "hosts.yml"
    path.write_text(inventory([drifted.as_user(user)], {drifted.name: {"ansible_become": True, **password}}))
    answer = remediate.check(path, "--transport", transport)
    assert answer.verdicts(drifted.name) == remediate.check(hosts_file).verdicts(drifted.name), answer.err
    assert OPSPW_PASSWORD not in answer.out + answer.err


def test_without_root_what_cannot_be_seen_is_unknown_and_never_compliant(
    drifted: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(inventory([drifted.as_user("plain")]))
    answer = remediate.check(path)
    assert answer.code == 3, answer.err
    seen_by_root = expected(table(drifted), "before")
    for control, verdict in answer.verdicts(drifted.name).items():
        assert verdict == "unknown" or verdict == seen_by_root[control]
    assert "unknown" in answer.verdicts(drifted.name).values()


def test_secrets_of_the_host_appear_nowhere_in_the_output(hosts_file: Path, remediate: Product) -> None:
    for words in ((), ("-v",)):
        answer = remediate("check", "-i", str(hosts_file), *words)
        assert "geheim" not in answer.out + answer.err
    assert "geheim" not in remediate.check(hosts_file).out


def test_apply_changes_exactly_what_the_preview_named_and_docker_still_runs(
    drifted: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    bare = logged_in(drifted)
    before = remediate.check(hosts_file).host(drifted.name)
    running = running_containers(drifted)
    answers: list[Answer] = []
    changed = changes_of(drifted, lambda: answers.append(remediate.apply(hosts_file, "--reason", "lab run 1")))
    assert answers[0].code == 0, answers[0].err + answers[0].out
    named = {change["path"] for change in before["changes"] if change["permitted"]}
    on_disk = {path for path in named if not path.startswith("/run/")}
    assert set(changed.without(OURS, JOURNAL, *bare).paths) == on_disk
    for change in before["changes"]:
        if change["permitted"] and change["path"] in changed.changed:
            entry = changed.changed[change["path"]][1]
            assert (entry.mode, entry.uid, entry.gid) == (
                change["after"]["mode"],
                change["after"]["uid"],
                change["after"]["gid"],
            )
    assert drifted.text("stat", "-c", "%a %U:%G", "/etc/docker/tls/key.pem") == "400 root:root"
    assert running_containers(drifted) == running
    assert drifted.text("docker", "info", "--format", "{{.ServerVersion}}")


def test_after_the_apply_every_control_has_its_expected_verdict_and_nothing_is_proposed(
    drifted: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file)
    assert answer.verdicts(drifted.name) == expected(table(drifted), "after")
    assert [change for change in answer.host(drifted.name)["changes"] if change["permitted"]] == []


def test_a_second_apply_changes_nothing(drifted: ContainerHost, hosts_file: Path, remediate: Product) -> None:
    bare = logged_in(drifted)
    changed = changes_of(drifted, lambda: remediate.apply(hosts_file))
    assert changed.without(JOURNAL, *bare).paths == []


def test_the_access_survives_a_restart_of_docker(drifted: ContainerHost, hosts_file: Path, remediate: Product) -> None:
    drifted.run("systemctl", "restart", "docker.socket", "docker.service")
    assert drifted.text("stat", "-c", "%a", "/run/docker.sock") == "660"
    assert remediate.check(hosts_file).verdicts(drifted.name) == expected(table(drifted), "after")
