"""Whole fleets: which carrier goes where, and that nothing of it shows in the verdicts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from remediator.access import Access
from remediator.catalogue import Catalogue, load_catalogue
from remediator.errors import UsageError
from remediator.fleet import plan_fleet
from remediator.inventory import load_inventory
from remediator.plan import HostPlan, Plan
from remediator.policy import Policy
from tests.unit.odd_ssh_server import OddServer
from tests.unit.sshd import Sshd, make_key, public


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue().select(roles=("docker_files",))


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def home(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd.trust("127.0.0.1", "127.0.0.2", "127.0.0.3")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def line(sshd: Sshd, name: str, address: str, more: str = "", known_hosts: Path | None = None) -> str:
    """One host of an INI inventory."""
    return (
        f"{name} ansible_host={address} ansible_port={sshd.port} ansible_user={sshd.user} "
        f"ansible_ssh_private_key_file={sshd.key} "
        f"ansible_ssh_common_args='-F none -o UserKnownHostsFile={known_hosts or sshd.known_hosts} {more}'\n"
    )


def plan(tmp_path: Path, catalogue: Catalogue, *lines: str, **access: Any) -> Plan:
    source = tmp_path / "hosts"
    source.write_text("".join(lines))
    given = Access(sources=(str(source),), **access)
    told: list[str] = []
    inventory = load_inventory(given, catalogue.defaults)
    made = plan_fleet(inventory, catalogue, given, Policy(), told.append)
    names = [host.name for host in inventory.hosts]
    assert sorted(told) == sorted(names)
    assert [host.host for host in made.hosts] == names
    for host in made.hosts:
        assert [verdict.control for verdict in host.verdicts] == list(made.controls)
    return made


def verdicts(host: HostPlan) -> list[tuple[str, str, str]]:
    assert host.error is None, host.error
    return [(verdict.control, verdict.verdict, verdict.reason) for verdict in host.verdicts]


def test_one_machine_has_the_same_verdicts_over_the_sweep_over_ansible_and_locally(
    sshd: Sshd, catalogue: Catalogue, tmp_path: Path
) -> None:
    swept, local = plan(
        tmp_path,
        catalogue,
        line(sshd, "swept", "127.0.0.1"),
        "local ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n",
    ).hosts
    (carried,) = plan(tmp_path, catalogue, line(sshd, "carried", "127.0.0.1"), transport="ansible").hosts
    assert verdicts(swept) == verdicts(local) == verdicts(carried)


def test_a_host_that_fails_is_unknown_in_every_control_and_the_others_are_not(
    sshd: Sshd, catalogue: Catalogue, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    first, second, third = plan(
        tmp_path,
        catalogue,
        line(sshd, "stranger", "127.0.0.1", known_hosts=empty),
        line(sshd, "fine", "127.0.0.2"),
        line(sshd, "refused", "127.0.0.3", "-o StrictHostKeyChecking=no"),
    ).hosts
    assert first.error is not None
    assert third.error is not None
    assert (first.error.kind, third.error.kind) == ("host_key", "host_key")
    assert {verdict.verdict for verdict in (*first.verdicts, *third.verdicts)} == {"unknown"}
    (alone,) = plan(tmp_path, catalogue, line(sshd, "fine", "127.0.0.2")).hosts
    assert verdicts(second) == verdicts(alone)
    # Without root some of a host's controls are unknown as well, but never all.
    assert {verdict.verdict for verdict in second.verdicts} != {"unknown"}


def test_switched_off_host_key_checking_is_refused_for_ansible_too(
    sshd: Sshd, catalogue: Catalogue, tmp_path: Path
) -> None:
    hosts = line(sshd, "refused", "127.0.0.3", "-o StrictHostKeyChecking=no")
    (host,) = plan(tmp_path, catalogue, hosts, transport="ansible").hosts
    assert host.error is not None
    assert host.error.kind == "host_key"


def test_a_host_that_the_sweep_cannot_carry_is_an_error_when_only_the_sweep_may(
    sshd: Sshd, catalogue: Catalogue, tmp_path: Path
) -> None:
    local, swept = plan(
        tmp_path, catalogue, "local ansible_connection=local\n", line(sshd, "swept", "127.0.0.1"), transport="ssh"
    ).hosts
    assert local.error is not None
    assert (local.error.kind, "connection is local" in local.error.message) == ("unsupported", True)
    assert swept.error is None


def test_a_host_known_by_a_certificate_authority_goes_through_ansible(catalogue: Catalogue, tmp_path: Path) -> None:
    authority = make_key(tmp_path / "authority")
    directory = tmp_path / "certified"
    directory.mkdir()
    key = make_key(directory / "host_ed25519")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", "-n", "127.0.0.1", f"{key}.pub"]
    subprocess.run(sign, check=True)
    certified = Sshd(directory, f"HostCertificate {key}-cert.pub")
    try:
        marked = tmp_path / "marked"
        marked.write_text(f"@cert-authority [127.0.0.1]:{certified.port} {public(authority)}\n")
        text = line(certified, "web1", "127.0.0.1", known_hosts=marked)
        (carried,) = plan(tmp_path, catalogue, text).hosts
        (refused,) = plan(tmp_path, catalogue, text, transport="ssh").hosts
    finally:
        certified.stop()
    assert carried.error is None
    assert refused.error is not None
    assert (refused.error.kind, "@cert-authority" in refused.error.message) == ("unsupported", True)


def test_an_answer_that_is_no_observation_is_that_hosts_error(sshd: Sshd, catalogue: Catalogue, tmp_path: Path) -> None:
    server = OddServer(behaviour=_nonsense)
    try:
        known = tmp_path / "odd"
        known.write_text(server.known_hosts_line("127.0.0.1"))
        odd = line(sshd, "odd", "127.0.0.1", known_hosts=known).replace(str(sshd.port), str(server.port))
        bad, good = plan(tmp_path, catalogue, odd, line(sshd, "good", "127.0.0.2")).hosts
    finally:
        server.stop()
    assert bad.error is not None
    assert bad.error.kind == "answer"
    assert "\x1b" not in bad.error.message
    assert good.error is None


def _nonsense(channel: paramiko.Channel, command: str) -> None:
    """A well-formed answer with hostile nonsense in it."""
    import base64
    import hashlib
    import zlib

    marker = command.split()[-1].encode()
    body = zlib.compress(b'{"format_version": 1, "host": "\\u001b[2J\\ud800", "files": []}')
    text = base64.b64encode(body)
    digest = hashlib.sha256(body).hexdigest().encode()
    channel.sendall(marker + b" ready\n")
    channel.sendall(marker + b" answer %d %s\n" % (len(text), digest) + text)


def test_a_hosts_malformed_policy_is_a_usage_error_that_names_it(
    sshd: Sshd, catalogue: Catalogue, tmp_path: Path
) -> None:
    text = line(sshd, "web1", "127.0.0.1").rstrip() + " remediator_allow=3\n"
    with pytest.raises(UsageError, match="web1"):
        plan(tmp_path, catalogue, text)
