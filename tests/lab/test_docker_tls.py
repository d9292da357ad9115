"""Mutual TLS of the Docker daemon: undone where it fails, applied as previewed, proven from another host, renewed.

The tests find their server in file order, each as the one before left it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import docker_bench
from .docker_tls import (
    ALLOWED,
    CERTIFICATE,
    CLIENT,
    FILES,
    MUTUAL,
    PASSPHRASE,
    PORT,
    Authority,
    HeardProduct,
    answer_to_plain_http,
    answer_without_certificate,
    command_lines,
    daemon_files,
    docker_from,
    hand_over,
    is_as_before,
    served_fingerprint,
    verdict,
)
from .hosts.container import ContainerHost
from .hosts.interface import LabHost, inventory
from .hosts.witness import changes_of
from .hosts.workload import running_containers
from .product import Answer

ROLE = ("--role", "docker_tls")
# A program that holds the port; systemd keeps and ends it.
TAKEN = ("systemd-run", "--unit=squatter", "/usr/bin/python3", "-m", "http.server", str(PORT))


def changes(answer: Answer, host: LabHost) -> dict[str, dict[str, Any]]:
    return {change["path"]: change for change in answer.host(host.name)["changes"]}


def main_process(host: LabHost) -> str:
    return host.text("systemctl", "show", "-p", "MainPID", "docker.service")


def test_a_daemon_without_tcp_listener_is_compliant_and_left_alone(
    tls_server: ContainerHost, tls_remediate: HeardProduct, tmp_path: Path
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(inventory([tls_server]))
    answer = tls_remediate.check(path, *ROLE)
    assert answer.code == 0, answer.err + answer.out
    assert answer.verdicts(tls_server.name)[MUTUAL] == "compliant"
    assert answer.host(tls_server.name)["changes"] == []
    assert docker_bench.mutual_tls(tls_server, jq=True) == "info"


def test_without_a_certificate_the_wanted_listener_waits_for_one(
    tls_server: ContainerHost, tls_inventory: Path, tls_remediate: HeardProduct
) -> None:
    answer = tls_remediate.check(tls_inventory, *ALLOWED)
    assert answer.code == 1, answer.err
    assert verdict(answer, tls_server, MUTUAL)["verdict"] == "drifted"
    assert "remediate tls issue" in verdict(answer, tls_server, MUTUAL)["release"]
    assert answer.host(tls_server.name)["changes"] == []


def test_issuing_makes_the_key_on_the_host_and_activates_nothing(
    tls_server: ContainerHost, tls_inventory: Path, tls_authority: Authority
) -> None:
    answers: list[Answer] = []
    with command_lines() as seen:
        changed = changes_of(tls_server, lambda: answers.append(tls_authority.issue(tls_inventory)))
    assert answers[0].code == 0, answers[0].err + answers[0].out
    made = [path for path in changed.paths if path.startswith("/var/lib/remediator/tls/")]
    assert "/var/lib/remediator/tls/key.pem" in made
    assert [path for path in changed.paths if path.startswith(("/etc/docker", "/etc/systemd", "/run/docker"))] == []
    facts = tls_server.text("stat", "-c", "%a %U:%G", "/var/lib/remediator/tls", "/var/lib/remediator/tls/key.pem")
    assert facts.split("\n") == ["700 root:root", "600 root:root"]
    assert tls_server.run("sh", "-c", "ss -ltn | grep -q :2376", check=False).returncode != 0
    words = b"\n".join(seen)
    assert b"--passphrase-file" in words
    assert PASSPHRASE.encode() not in words
    assert b"PRIVATE KEY" not in words


def rolled_back(answer: Answer, host: LabHost) -> str:
    """What the only transaction says of why it was rolled back."""
    assert answer.code == 3, answer.out + answer.err
    (outcome,) = answer.host(host.name)["outcomes"]
    assert outcome["outcome"] == "rolled_back", outcome
    return f"{outcome['reason']} {outcome['log']}".lower()


def test_a_port_that_is_taken_puts_the_old_bytes_back_and_says_so(
    tls_server: ContainerHost, tls_inventory: Path, tls_remediate: HeardProduct
) -> None:
    before = daemon_files(tls_server)
    tls_server.run(*TAKEN)
    try:
        said = rolled_back(tls_remediate.apply(tls_inventory, *ALLOWED), tls_server)
    finally:
        tls_server.run("systemctl", "stop", "squatter.service")
    assert "address already in use" in said
    is_as_before(tls_server, before)


def test_a_daemon_that_does_not_start_with_the_new_ca_file_gets_its_old_bytes_back(
    tls_server: ContainerHost, tls_inventory: Path, tls_remediate: HeardProduct
) -> None:
    drop_in = "/etc/systemd/system/docker.service.d/10-lab.conf"
    tls_server.run("install", "-d", "/etc/systemd/system/docker.service.d")
    tls_server.put(drop_in, f"[Service]\nExecStartPre=/usr/bin/test ! -e {FILES}/ca.pem\n".encode())
    tls_server.run("systemctl", "daemon-reload")
    before = daemon_files(tls_server)
    try:
        said = rolled_back(tls_remediate.apply(tls_inventory, *ALLOWED), tls_server)
        is_as_before(tls_server, before)
    finally:
        tls_server.script(f"rm {drop_in}; systemctl daemon-reload; docker start job")
    assert "systemctl restart docker.service" in said
    assert "control process exited" in said


def test_the_preview_shows_the_very_certificate_and_apply_writes_it(
    tls_server: ContainerHost, tls_inventory: Path, tls_remediate: HeardProduct
) -> None:
    before = tls_remediate.check(tls_inventory, *ROLE)
    assert before.code == 1, before.err
    held = changes(before, tls_server)
    certificate = held[f"{FILES}/cert.pem"]
    assert any(tls_server.address in line for line in certificate["details"])
    key = held[f"{FILES}/key.pem"]
    assert (key["what"], key["diff"]) == ("key", "")
    assert "job" in certificate["impact"]["stays_down"]

    answer = tls_remediate.apply(tls_inventory, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    written = tls_server.text("cat", f"{FILES}/cert.pem")
    assert all(line[1:] in str(certificate["diff"]) for line in written.splitlines())
    modes = tls_server.text("sh", "-c", f"cd {FILES}; stat -c '%a %U:%G' ca.pem cert.pem key.pem")
    assert modes.split("\n") == ["444 root:root", "444 root:root", "400 root:root"]
    assert tls_server.run("test", "-e", "/var/lib/remediator/tls/key.pem", check=False).returncode != 0
    notes = answer.host(tls_server.name)["notes"]
    assert any("accepted" in note for note in notes), notes
    served = served_fingerprint(tls_server.address)
    assert any(served in line.replace(":", "").lower() for line in certificate["details"])


def test_docker_bench_passes_it_with_jq_and_without(tls_server: ContainerHost) -> None:
    assert docker_bench.mutual_tls(tls_server, jq=True) == "pass"
    assert docker_bench.mutual_tls(tls_server, jq=False) == "pass"


def test_docker_of_another_host_works_with_a_certificate_and_not_without(
    tls_server: ContainerHost, debian12: ContainerHost, tls_authority: Authority, tmp_path: Path
) -> None:
    name = f"ann-{tls_server.name}"
    bundle = hand_over(tls_authority.client(name, tmp_path), debian12, name)
    allowed = docker_from(debian12, tls_server, bundle, "ps", "--format", "{{.Names}}")
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stdout.split() == [b"web"]  # it has a restart policy, job has none
    assert docker_from(debian12, tls_server, None, "ps").returncode != 0
    assert answer_without_certificate(tls_server.address) == b""
    assert not answer_to_plain_http(tls_server.address).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
    assert running_containers(tls_server) == ["web"]


@dataclass(frozen=True)
class ClientHome:
    """A user of another host who has followed what `tls client` printed; `inventory` asks for a look at that."""

    root: LabHost
    user: LabHost
    context: str
    inventory: Path


@pytest.fixture(scope="module")
def client_home(
    tls_server: ContainerHost,
    debian12: ContainerHost,
    tls_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ClientHome]:
    """The user ops, whose ~/.docker is made by the printed command; afterwards nothing of it is left."""
    directory, name = tmp_path_factory.mktemp("ben"), f"ben-{tls_server.name}"
    bundle = directory / name
    words = ("-o", str(bundle), "--host", tls_server.name, "--passphrase-file", str(tls_authority.passphrase_file))
    answer = tls_authority.tls("client", name, *words)
    assert answer.code == 0, answer.err
    (command,) = [line for line in answer.out.splitlines() if line.startswith("  docker context create ")]
    path = directory / "hosts.yml"
    path.write_text(inventory([debian12], {debian12.name: {"docker_tls_client_users": ["ops"]}}))
    ops = debian12.as_user("ops")
    debian12.script(f"cp /etc/hosts /root/hosts; echo '{tls_server.address} {tls_server.name}' >>/etc/hosts")
    debian12.run("mkdir", "-p", str(bundle))
    for file in bundle.iterdir():
        debian12.put(str(file), file.read_bytes(), mode="0400", owner="ops:ops")
    ops.script(command)
    yield ClientHome(debian12, ops, name, path)
    debian12.script(f"cat /root/hosts >/etc/hosts; rm -rf /root/hosts {bundle} ~ops/.docker")


def test_the_context_that_is_printed_works_for_a_user_of_another_host(client_home: ClientHome) -> None:
    names = client_home.user.text("docker", "--context", client_home.context, "ps", "--format", "{{.Names}}")
    assert names == "web"


def test_a_users_own_key_and_context_are_judged_and_never_changed(
    client_home: ClientHome, tls_remediate: HeardProduct
) -> None:
    host, only = client_home.root, ("--control", CLIENT, "--allow", CLIENT)
    assert tls_remediate.check(client_home.inventory, *only).verdicts(host.name) == {CLIENT: "compliant"}
    bundle = client_home.context
    client_home.user.script(
        "chmod 0644 ~/.docker/contexts/tls/*/docker/key.pem\n"
        f"docker context create loose --docker host=tcp://{bundle}:2376,skip-tls-verify=true\n"
    )
    answers: list[Answer] = []
    changed = changes_of(host, lambda: answers.append(tls_remediate.apply(client_home.inventory, *only)))
    said = verdict(answers[0], host, CLIENT)
    assert said["verdict"] == "manual", said
    assert "key.pem has mode 0644" in said["reason"]
    assert "the context loose does not verify the daemon" in said["reason"]
    assert answers[0].host(host.name)["outcomes"] == []
    assert [path for path in (*changed.paths, *changed.touched) if path.startswith("/home/ops")] == []


def test_after_the_apply_nothing_is_proposed_and_a_second_apply_changes_nothing(
    tls_server: ContainerHost, tls_inventory: Path, tls_remediate: HeardProduct
) -> None:
    started, served = main_process(tls_server), served_fingerprint(tls_server.address)
    answer = tls_remediate.apply(tls_inventory, *ALLOWED)
    assert answer.code == 0, answer.err + answer.out
    for control in (MUTUAL, CERTIFICATE):
        assert verdict(answer, tls_server, control)["verdict"] == "compliant"
    assert answer.host(tls_server.name)["outcomes"] == []
    assert (main_process(tls_server), served_fingerprint(tls_server.address)) == (started, served)


def test_a_ca_that_was_taken_out_of_its_file_is_trusted_until_the_daemon_restarts_and_that_is_found(
    tls_server: ContainerHost,
    debian12: ContainerHost,
    tls_inventory: Path,
    tls_remediate: HeardProduct,
    own_authority: Authority,
    tmp_path: Path,
) -> None:
    name = f"eve-{tls_server.name}"
    other = own_authority.client(name, tmp_path)
    bundle = hand_over(other, debian12, name)
    ours = tls_server.run("cat", f"{FILES}/ca.pem").stdout
    debian12.put(f"{bundle}/ca.pem", ours)  # whom she expects to answer
    tls_server.put(f"{FILES}/ca.pem", ours + (other / "ca.pem").read_bytes(), mode="0444")
    tls_server.run("systemctl", "restart", "docker.socket", "docker.service")
    assert answer_without_certificate(tls_server.address) == b""
    tls_server.put(f"{FILES}/ca.pem", ours, mode="0444")
    assert docker_from(debian12, tls_server, bundle, "ps").returncode == 0

    found = tls_remediate.check(tls_inventory, *ALLOWED)

    said = verdict(found, tls_server, CERTIFICATE)
    assert said["verdict"] == "drifted"
    assert f"which {FILES}/ca.pem no longer holds" in said["reason"]
    assert list(changes(found, tls_server)) == ["docker.service"]
    answer = tls_remediate.apply(tls_inventory, *ALLOWED)
    assert answer.code == 0, answer.err + answer.out
    assert docker_from(debian12, tls_server, bundle, "ps").returncode != 0
    assert tls_remediate.check(tls_inventory, *ROLE).code == 0


def test_a_certificate_that_ends_soon_and_a_process_older_than_it_are_found_and_renewed(
    tls_server: ContainerHost, tls_inventory: Path, tls_authority: Authority, tls_remediate: HeardProduct
) -> None:
    old = served_fingerprint(tls_server.address)
    tls_authority.age(tls_server, days=380)
    said = verdict(tls_remediate.check(tls_inventory, *ROLE), tls_server, CERTIFICATE)
    assert said["verdict"] == "drifted"
    assert f"the certificate {FILES}/cert.pem expires within 30 days, on " in said["reason"]
    assert f"port 2376 still serves another certificate (sha256 {old})" in said["reason"]

    assert "renewed" in tls_authority.issue(tls_inventory).out
    assert served_fingerprint(tls_server.address) == old
    answer = tls_remediate.apply(tls_inventory, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    written = tls_server.text("sh", "-c", f"openssl x509 -in {FILES}/cert.pem -outform DER | sha256sum").split()[0]
    assert served_fingerprint(tls_server.address) == written != old
    assert tls_remediate.check(tls_inventory, *ROLE).code == 0


def test_passphrase_and_keys_are_in_no_output_journal_or_file(
    tls_server: ContainerHost, tls_remediate: HeardProduct
) -> None:
    said = "".join(tls_remediate.said) + tls_server.text("journalctl", "--no-pager", "-o", "cat")
    for secret in (PASSPHRASE, "PRIVATE KEY"):
        assert secret not in said
    for folder, _, names in os.walk(tls_remediate.home):
        for name in names:
            content = (Path(folder) / name).read_bytes()
            assert PASSPHRASE.encode() not in content
            allowed = name in ("ca-key.pem",) or "controller" in str(Path(folder) / name)
            assert allowed or b"PRIVATE KEY" not in content, name
