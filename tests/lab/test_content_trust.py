"""Docker content trust on Debian 12 and 13: everybody who runs the CLI sees the variable once, and the CLI heeds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import docker_bench
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import LabHost, inventory
from .hosts.keys import Keys
from .hosts.witness import changes_of
from .product import Product

CONTROL = "docker.content-trust.enabled"
NAME = "DOCKER_CONTENT_TRUST"
RELEASED = ("--role", "docker_content_trust", "--allow", "docker_content_trust")
SUDOERS = "/etc/sudoers.d/remediator-docker-content-trust"
OURS = ("/var/lib/remediator", "/var/log/journal")
OWN_ENVIRONMENT = "/etc/environment.d/90-remediator-docker-content-trust.conf"

# What each file is before, and what it must be afterwards.
FILES = {
    "/etc/environment": (
        f"# the site's own\nLAB=1\n\n  # {NAME}=1\nexport {NAME}=0\nLAST=2",
        f"# the site's own\nLAB=1\n\n{NAME}=1\nLAST=2",
    ),
    "/etc/profile.d/trust.sh": (
        f'umask 022\nexport {NAME}=0 # for now\nif [ -n "$LAB" ]; then\n  : "${{{NAME}}}"\nfi\n#{NAME}=1\n',
        f'umask 022\nif [ -n "$LAB" ]; then\n  : "${{{NAME}}}"\nfi\n',
    ),
    "/etc/environment.d/95-trust.conf": (f"{NAME}=0\nLAB_USER=1\n", "LAB_USER=1\n"),
    "/etc/systemd/user.conf.d/trust.conf": (f"[Manager]\nDefaultEnvironment={NAME}=0\n", "[Manager]\n"),
}
# A oneshot unit of the user's own: `systemctl --user start` ends when its program has.
USER_SERVICE = """
mkdir -p ~/.config/systemd/user
printf '[Service]\\nType=oneshot\\nExecStart=/bin/sh -c "env >%%h/seen"\\n' >~/.config/systemd/user/see.service
systemctl --user daemon-reload
systemctl --user start see.service
cat ~/seen
"""


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def trusting(request: pytest.FixtureRequest, engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host where several files set the variable; tests of this module find it in file order."""
    host = start_docker_host(engine, lab_keys, request.param, f"{request.param}-trust")
    for path, (before, _) in FILES.items():
        host.run("mkdir", "-p", str(Path(path).parent))
        host.put(path, before.encode())
    yield host
    host.remove()


@pytest.fixture(scope="module")
def hosts_file(trusting: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory with this host alone."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([trusting]))
    return path


def values(environment: str) -> list[str]:
    """The variable's values in what env printed."""
    return [line.partition("=")[2] for line in environment.split("\n") if line.startswith(f"{NAME}=")]


def user_service(host: LabHost) -> list[str]:
    """What a service of the user ops sees, of a manager that starts anew."""
    host.script('systemctl stop "user@$(id -u ops).service"')
    return values(host.as_user("ops").script(USER_SERVICE).stdout.decode())


def test_a_check_says_what_it_would_break_and_proposes_nothing_unasked(
    trusting: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file, "--role", "docker_content_trust")
    assert answer.code == 1, answer.err
    (verdict,) = answer.host(trusting.name)["verdicts"]
    assert (verdict["verdict"], verdict["fix"], verdict["permitted"]) == ("drifted", "guarded", False)
    version = trusting.text("docker", "version", "--format", "{{.Client.Version}}")
    assert f"Docker CLI {version} then refuses" in verdict["reason"]
    for word in ("2026-12-08", "docker compose and BuildKit", "cosign is not installed here"):
        assert word in verdict["reason"]
    assert docker_bench.content_trust(trusting, "bash", "-l") == "warn"


def test_both_carriers_give_the_same_verdict_and_changes(
    trusting: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    swept = remediate.check(hosts_file, *RELEASED, "--transport", "ssh")
    carried = remediate.check(hosts_file, *RELEASED, "--transport", "ansible")
    assert swept.host(trusting.name) == carried.host(trusting.name)


def test_without_root_the_policy_of_sudo_is_not_guessed_at(
    trusting: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(inventory([trusting.as_user("plain")]))
    assert remediate.check(path, "--control", CONTROL).verdicts(trusting.name) == {CONTROL: "unknown"}


def test_a_condition_in_a_start_up_file_is_left_to_a_person(
    trusting: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    trusting.put("/etc/profile.d/odd.sh", f"if true; then\n  export {NAME}=0\nfi\n".encode())
    try:
        answer = remediate.apply(hosts_file, *RELEASED)
        (verdict,) = answer.host(trusting.name)["before"]["verdicts"]
        assert (verdict["verdict"], answer.host(trusting.name)["outcomes"]) == ("manual", [])
        assert "/etc/profile.d/odd.sh:2" in verdict["reason"]
        assert trusting.run("test", "-e", SUDOERS, check=False).returncode == 1
    finally:
        trusting.run("rm", "/etc/profile.d/odd.sh")


def test_an_apply_writes_what_was_previewed_and_keeps_every_other_line(
    trusting: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    before = remediate.check(hosts_file, *RELEASED).host(trusting.name)
    assert {change["path"] for change in before["changes"] if change["permitted"]} == {*FILES, SUDOERS}
    assert {change["impact"]["level"] for change in before["changes"]} == {"login"}
    answer = remediate.apply(hosts_file, *RELEASED, "--reason", "lab run")
    assert answer.code == 0, answer.err + answer.out
    for path, (_, after) in FILES.items():
        assert trusting.run("cat", path).stdout.decode() == after
    assert trusting.text("stat", "-c", "%a %U:%G", SUDOERS) == "440 root:root"
    assert remediate.check(hosts_file, *RELEASED).verdicts(trusting.name) == {CONTROL: "compliant"}


def test_a_log_in_sees_it_once(trusting: ContainerHost) -> None:
    for user in ("root", "ops"):
        host = trusting.as_user(user)
        assert values(host.text("env")) == ["1"]
        assert values(host.text("bash", "-lc", "env")) == ["1"]
    assert values(trusting.text("su", "-", "ops", "-c", "env")) == ["1"]


def test_docker_bench_passes_it_in_every_shell_that_an_administrator_runs_it_from(trusting: ContainerHost) -> None:
    ops = trusting.as_user("ops")
    assert docker_bench.content_trust(trusting, "bash") == "pass"
    for shell in (
        ("sudo", "bash"),
        ("sudo", "sh"),
        ("sudo", "-i", "bash"),
        ("sudo", "su", "-", "root", "-s", "/bin/sh"),
    ):
        assert docker_bench.content_trust(ops, *shell) == "pass", shell
    # Its script in an environment that nobody logged in to, as before.
    assert docker_bench.content_trust(trusting, "env", "-i", "/bin/sh") == "warn"


def test_sudo_sees_it_once(trusting: ContainerHost) -> None:
    ops = trusting.as_user("ops")
    assert values(ops.text("sudo", "env")) == ["1"]
    assert values(ops.text("sudo", "-i", "env")) == ["1"]


def test_docker_heeds_it_for_root_and_under_sudo(trusting: ContainerHost) -> None:
    pull = ("docker", "pull", "localhost:1/lab/unsigned:1")
    for host, words in ((trusting, pull), (trusting.as_user("ops"), ("sudo", *pull))):
        said = host.run(*words, check=False)
        assert said.returncode != 0
        assert b"notary server" in said.stderr


def test_a_user_service_sees_it_once(trusting: ContainerHost) -> None:
    assert user_service(trusting) == ["1"]


def test_a_second_apply_changes_nothing(trusting: ContainerHost, hosts_file: Path, remediate: Product) -> None:
    bare = changes_of(trusting, lambda: trusting.as_user("ops").run("sudo", "true")).paths
    changed = changes_of(trusting, lambda: remediate.apply(hosts_file, *RELEASED))
    assert changed.without(*OURS, *bare).paths == []


def test_user_services_get_a_file_of_their_own_where_the_link_is_hidden(
    trusting: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    trusting.run("ln", "-s", "/dev/null", "/etc/environment.d/99-environment.conf")
    assert user_service(trusting) == []
    answer = remediate.apply(hosts_file, *RELEASED)
    assert answer.code == 0, answer.err + answer.out
    assert user_service(trusting) == ["1"]
    trusting.run("rm", "/etc/environment.d/99-environment.conf")
    answer = remediate.apply(hosts_file, *RELEASED)
    assert answer.code == 0, answer.err + answer.out
    assert trusting.run("test", "-e", OWN_ENVIRONMENT, check=False).returncode == 1
    assert user_service(trusting) == ["1"]


def test_a_sudoers_file_that_takes_it_away_again_is_named(
    trusting: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    trusting.put("/etc/sudoers.d/zz-lab", b'Defaults env_keep = "HOME"\n', "0440")
    try:
        assert values(trusting.as_user("ops").text("sudo", "env")) == []
        (verdict,) = remediate.check(hosts_file, *RELEASED).host(trusting.name)["verdicts"]
        assert verdict["verdict"] == "manual"
        assert "/etc/sudoers.d/zz-lab:1" in verdict["reason"]
    finally:
        trusting.run("rm", "/etc/sudoers.d/zz-lab")
