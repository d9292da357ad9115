"""Mutual TLS of the Docker daemon: previewed to the certificate, applied, proven from another host, renewed, undone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .docker_tls import (
    LISTEN,
    PASSPHRASE,
    Authority,
    answer_to_plain_http,
    answer_without_certificate,
    docker_from,
    hand_over,
    make_authority,
    served_fingerprint,
)
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import inventory
from .hosts.keys import Keys
from .hosts.witness import changes_of
from .hosts.workload import running_containers
from .product import Answer, Product

ROLE = ("--role", "docker_tls")
ALLOWED = (*ROLE, "--allow", "docker_tls")
MUTUAL, CERTIFICATE = "docker.tls.mutual", "docker.tls.certificate"
PLAIN = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://127.0.0.1:2375 $DOCKER_OPTS\n"

Fresh = Callable[[str], ContainerHost]


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def server(request: pytest.FixtureRequest, engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host as it comes, without TLS; tests of this module find it in file order."""
    host = start_docker_host(engine, lab_keys, request.param, f"{request.param}-tls")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def remediate(server: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The installed command, with a home directory for this server: lab hosts get each other's addresses."""
    return Product(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def authority(remediate: Product, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """This server's own CA."""
    return make_authority(remediate, tmp_path_factory.mktemp("authority"))


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA for one test alone."""
    return make_authority(Product(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def hosts_file(server: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, told to listen with TLS."""
    return listening(server, tmp_path_factory.mktemp("inventory"))


def listening(host: ContainerHost, directory: Path, **variables: object) -> Path:
    path = directory / "hosts.yml"
    path.write_text(inventory([host], {host.name: {"docker_tls_listen": [LISTEN], **variables}}))
    return path


def changes(answer: Answer, host: ContainerHost) -> dict[str, dict[str, object]]:
    return {change["path"]: change for change in answer.host(host.name)["changes"]}


def test_a_daemon_without_tcp_listener_is_compliant_and_left_alone(
    server: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(inventory([server]))
    answer = remediate.check(path, *ROLE)
    assert answer.code == 0, answer.err + answer.out
    assert answer.verdicts(server.name)[MUTUAL] == "compliant"
    assert answer.host(server.name)["changes"] == []


def test_without_a_certificate_the_wanted_listener_waits_for_one(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file, *ALLOWED)
    assert answer.code == 1, answer.err
    assert answer.verdicts(server.name)[MUTUAL] == "drifted"
    assert answer.host(server.name)["changes"] == []
    said = remediate("check", "-i", str(hosts_file), *ROLE)
    assert "remediate tls issue" in said.out


def test_issuing_makes_the_key_on_the_host_and_activates_nothing(
    server: ContainerHost, hosts_file: Path, authority: Authority
) -> None:
    answers: list[Answer] = []
    changed = changes_of(server, lambda: answers.append(authority.issue(hosts_file)))
    assert answers[0].code == 0, answers[0].err + answers[0].out
    made = [path for path in changed.paths if path.startswith("/var/lib/remediator/tls/")]
    assert "/var/lib/remediator/tls/key.pem" in made
    assert [path for path in changed.paths if path.startswith(("/etc/docker", "/etc/systemd", "/run/docker"))] == []
    facts = server.text("stat", "-c", "%a %U:%G", "/var/lib/remediator/tls", "/var/lib/remediator/tls/key.pem")
    assert facts.split("\n") == ["700 root:root", "600 root:root"]
    assert server.run("sh", "-c", "ss -ltn | grep -q :2376", check=False).returncode != 0


def test_the_preview_shows_the_very_certificate_and_apply_writes_it(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    before = remediate.check(hosts_file, *ROLE)
    assert before.code == 1, before.err
    held = changes(before, server)
    certificate = held["/etc/docker/tls/cert.pem"]
    assert any(server.address in line for line in certificate["details"])
    key = held["/etc/docker/tls/key.pem"]
    assert key["what"] == "key"
    assert key["diff"] == ""
    assert "job" in certificate["impact"]["stays_down"]

    answer = remediate.apply(hosts_file, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    written = server.text("cat", "/etc/docker/tls/cert.pem")
    assert all(line[1:] in str(certificate["diff"]) for line in written.splitlines())
    modes = server.text(
        "sh", "-c", "stat -c '%a %U:%G' /etc/docker/tls/ca.pem /etc/docker/tls/*t.pem /etc/docker/tls/k*"
    )
    assert modes.split("\n") == ["444 root:root", "444 root:root", "400 root:root"]
    assert server.run("test", "-e", "/var/lib/remediator/tls/key.pem", check=False).returncode != 0
    notes = answer.host(server.name)["notes"]
    assert any("accepted" in note for note in notes), notes
    assert any(served_fingerprint(server.address) in line.replace(":", "").lower() for line in certificate["details"])


def test_docker_of_another_host_works_with_a_certificate_and_not_without(
    server: ContainerHost, debian12: ContainerHost, authority: Authority, tmp_path: Path
) -> None:
    bundle = hand_over(authority.client(f"ann-{server.name}", tmp_path), debian12, f"ann-{server.name}")
    allowed = docker_from(debian12, server, bundle, "ps", "--format", "{{.Names}}")
    assert allowed.returncode == 0, allowed.stderr
    assert b"web" in allowed.stdout
    assert docker_from(debian12, server, None, "ps").returncode != 0
    assert answer_without_certificate(server.address) == b""
    assert not answer_to_plain_http(server.address).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))


def test_the_container_with_a_restart_policy_is_back_and_the_local_socket_still_answers(
    server: ContainerHost,
) -> None:
    assert running_containers(server) == ["web"]


def test_after_the_apply_nothing_is_proposed_and_a_second_apply_changes_nothing(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file, *ALLOWED)
    assert answer.code == 0, answer.err + answer.out
    assert answer.verdicts(server.name)[MUTUAL] == answer.verdicts(server.name)[CERTIFICATE] == "compliant"
    before = served_fingerprint(server.address)
    started = server.text("systemctl", "show", "-p", "MainPID", "docker.service")
    assert remediate.apply(hosts_file, *ALLOWED).code == 0
    assert server.text("systemctl", "show", "-p", "MainPID", "docker.service") == started
    assert served_fingerprint(server.address) == before


def test_it_is_still_so_after_a_restart_of_docker(server: ContainerHost, hosts_file: Path, remediate: Product) -> None:
    server.run("systemctl", "restart", "docker.socket", "docker.service")
    assert remediate.check(hosts_file, *ROLE).code == 0
    assert answer_without_certificate(server.address) == b""


def test_renewing_replaces_the_certificate_and_the_daemon_serves_the_new_one(
    server: ContainerHost, hosts_file: Path, authority: Authority, remediate: Product
) -> None:
    old = served_fingerprint(server.address)
    assert authority.issue(hosts_file, "--renew").code == 0
    assert served_fingerprint(server.address) == old
    assert remediate.check(hosts_file, *ROLE).verdicts(server.name)[CERTIFICATE] == "drifted"

    answer = remediate.apply(hosts_file, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    assert served_fingerprint(server.address) != old
    assert remediate.check(hosts_file, *ROLE).code == 0


def test_a_daemon_that_still_runs_with_an_old_certificate_has_drifted(
    server: ContainerHost, hosts_file: Path, authority: Authority, remediate: Product
) -> None:
    old = served_fingerprint(server.address)
    copied = "cp -a /etc/docker/tls /root/old-tls"
    server.run("sh", "-c", copied)
    assert authority.issue(hosts_file, "--renew").code == 0
    assert remediate.apply(hosts_file, *ALLOWED).code == 0
    server.run("sh", "-c", "cp -a /root/old-tls/. /etc/docker/tls/")
    answer = remediate.check(hosts_file, *ROLE)
    verdict = next(each for each in answer.host(server.name)["verdicts"] if each["control"] == CERTIFICATE)
    assert verdict["verdict"] == "drifted", verdict
    assert served_fingerprint(server.address) != old


def test_passphrase_and_keys_are_in_no_process_list_output_or_file(
    server: ContainerHost, hosts_file: Path, authority: Authority, remediate: Product
) -> None:
    answer = authority.issue(hosts_file, "--renew")
    shown = remediate("check", "-i", str(hosts_file), *ROLE, "-v")
    applied = remediate.apply(hosts_file, *ALLOWED)
    said = "".join(each.out + each.err for each in (answer, shown, applied))
    journal = server.text("journalctl", "--no-pager", "-o", "cat")
    for secret in (PASSPHRASE, "PRIVATE KEY"):
        assert secret not in said
        assert secret not in journal
    for folder, _, names in os.walk(remediate.home):
        for name in names:
            content = (Path(folder) / name).read_bytes()
            assert PASSPHRASE.encode() not in content
            allowed = name in ("ca-key.pem",) or "controller" in str(Path(folder) / name)
            assert allowed or b"PRIVATE KEY" not in content, name


@pytest.mark.parametrize("image", ["debian12", "debian13"])
def test_a_plain_listener_is_drift_that_names_what_to_set_and_becomes_mutual_tls(
    image: str, fresh: Fresh, own: Authority, tmp_path: Path
) -> None:
    host = fresh(image)
    host.run("install", "-d", "/etc/systemd/system/docker.service.d")
    host.put("/etc/systemd/system/docker.service.d/override.conf", PLAIN.replace("127.0.0.1", "0.0.0.0").encode())
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "docker.service")
    bare = tmp_path / "bare.yml"
    bare.write_text(inventory([host]))
    plain = own.remediate.check(bare, *ALLOWED)
    assert plain.code == 1
    assert plain.verdicts(host.name)[MUTUAL] == "drifted"
    assert plain.host(host.name)["changes"] == []

    path = listening(host, tmp_path)
    assert own.issue(path).code == 0
    answer = own.remediate.apply(path, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    assert answer_without_certificate(host.address) == b""
    assert host.run("sh", "-c", "ss -ltn | grep -q :2375", check=False).returncode != 0
    assert own.remediate.check(path, *ROLE).code == 0


OTHERS = b'{\n\t"labels": ["a=b"],\n\t"log-opts": {"max-size": "10m"},\n\t"debug": false\n}'


@pytest.mark.parametrize(
    ("shape", "kept"),
    [("absent", b""), ("empty", b""), ("others", OTHERS), ("options", b""), ("options-listen", b"")],
)
def test_every_shape_of_a_daemons_configuration_ends_with_mutual_tls(
    shape: str, kept: bytes, fresh: Fresh, own: Authority, tmp_path: Path
) -> None:
    host = fresh("debian12")
    host.run("install", "-d", "/etc/docker")
    if shape == "others":
        host.put("/etc/docker/daemon.json", kept)
    options = {"options": "--label=role=lab", "options-listen": "-H tcp://127.0.0.1:2375 --label=role=lab"}.get(shape)
    if options:
        host.put("/etc/default/docker", f'# kept\nDOCKER_OPTS="{options}"\nexport http_proxy=""\n'.encode())
    host.run("systemctl", "restart", "docker.service")
    if shape == "empty":  # Docker 20.10 does not start with it; it is what a person left behind since
        host.put("/etc/docker/daemon.json", b"")
    path = listening(host, tmp_path)
    assert own.issue(path).code == 0

    answer = own.remediate.apply(path, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    assert answer_without_certificate(host.address) == b""
    assert own.remediate.check(path, *ROLE).code == 0
    if shape == "others":
        now = host.run("cat", "/etc/docker/daemon.json").stdout
        assert [line for line in kept.splitlines()[1:-2] if line not in now.splitlines()] == []
        assert now.endswith(b"}")
    if options:
        environment = host.text("cat", "/etc/default/docker")
        assert environment.startswith("# kept\n")
        assert environment.endswith('export http_proxy=""')
        assert "role=lab" in host.text("docker", "info", "--format", "{{.Labels}}")
