"""What goes wrong when TLS is switched on: the daemon runs with its old bytes afterwards, and the message says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .docker_tls import LISTEN, PORT, Authority, make_authority
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import inventory
from .hosts.keys import Keys
from .hosts.workload import running_containers, start_workload
from .product import Answer, Product

ALLOWED = ("--role", "docker_tls", "--allow", "docker_tls")
MUTUAL = "docker.tls.mutual"
DROP_IN = "/etc/systemd/system/docker.service.d/10-lab.conf"
# A program that holds the port; systemd keeps and ends it.
TAKEN = ("systemd-run", "--unit=squatter", "/usr/bin/python3", "-m", "http.server", str(PORT))
# Writes a request that asks for another host's name, whatever it was asked to do.
FORGER = """#!/bin/sh
case "$1" in
  req) for word; do last=$word; done
    /usr/bin/openssl.real ecparam -name prime256v1 -genkey -noout -out /tmp/forged.key 2>/dev/null
    new=; for word; do [ "$previous" = -out ] && new=$word; previous=$word; done
    exec /usr/bin/openssl.real req -new -key /tmp/forged.key -subj /CN=somebody-else ${new:+-out "$new"} ;;
  *) exec /usr/bin/openssl.real "$@" ;;
esac
"""

Fresh = Callable[[str], ContainerHost]


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def server(request: pytest.FixtureRequest, engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host without TLS that each test leaves as it was."""
    host = start_docker_host(engine, lab_keys, request.param, f"{request.param}-fails")
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
def hosts_file(server: ContainerHost, authority: Authority, tmp_path: Path) -> Path:
    """The server, told to listen, with a certificate issued."""
    path = tmp_path / "hosts.yml"
    path.write_text(inventory([server], {server.name: {"docker_tls_listen": [LISTEN]}}))
    assert authority.issue(path).code == 0
    start_workload(server)
    server.run("docker", "start", "job")
    return path


def configuration(host: ContainerHost) -> str:
    """Every byte of the daemon's configuration."""
    places = "etc/docker etc/systemd/system etc/default/docker"
    return host.text("sh", "-c", f"tar -C / --sort=name --mtime=@0 -cf - {places} 2>/dev/null | sha256sum")


def mutual(answer: Answer, host: ContainerHost) -> dict[str, str]:
    """The verdict of the control that is about listeners."""
    verdicts: list[dict[str, str]] = answer.host(host.name)["before"]["verdicts"]
    return next(each for each in verdicts if each["control"] == MUTUAL)


def rolled_back(answer: Answer, host: ContainerHost) -> dict[str, str]:
    assert answer.code == 3, answer.out + answer.err
    (outcome,) = answer.host(host.name)["outcomes"]
    assert outcome["outcome"] == "rolled_back", outcome
    found: dict[str, str] = outcome
    return found


def is_as_before(host: ContainerHost, before: str) -> None:
    assert configuration(host) == before
    assert host.text("systemctl", "is-active", "docker.service") == "active"
    assert "web" in running_containers(host)


def test_a_port_that_is_taken_puts_the_old_bytes_back_and_says_so(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    before = configuration(server)
    server.run(*TAKEN)
    try:
        outcome = rolled_back(remediate.apply(hosts_file, *ALLOWED), server)
    finally:
        server.run("systemctl", "stop", "squatter.service")
    assert "address already in use" in outcome["reason"] + outcome["log"]
    is_as_before(server, before)


def test_a_daemon_that_does_not_start_with_the_new_ca_file_gets_its_old_bytes_back(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    server.run("install", "-d", "/etc/systemd/system/docker.service.d")
    server.put(DROP_IN, b"[Service]\nExecStartPre=/usr/bin/test ! -e /etc/docker/tls/ca.pem\n")
    server.run("systemctl", "daemon-reload")
    before = configuration(server)
    try:
        outcome = rolled_back(remediate.apply(hosts_file, *ALLOWED), server)
        is_as_before(server, before)
    finally:
        server.run("rm", DROP_IN)
        server.run("systemctl", "daemon-reload")
    assert "systemctl restart docker.service" in outcome["reason"]
    assert "control process exited" in (outcome["reason"] + outcome["log"]).lower()


def test_a_configuration_that_already_conflicts_with_a_flag_is_left_to_a_person(
    server: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    server.put("/etc/default/docker", b'DOCKER_OPTS="--label=role=lab"\n')
    server.run("install", "-d", "/etc/docker")
    server.put("/etc/docker/daemon.json", b'{"labels": ["role=other"]}\n')
    before = configuration(server)
    try:
        answer = remediate.apply(hosts_file, *ALLOWED)
        verdict = mutual(answer, server)
        assert verdict["verdict"] == "manual", verdict
        assert "labels" in verdict["reason"]
        is_as_before(server, before)
    finally:
        server.run("rm", "/etc/docker/daemon.json", "/etc/default/docker")


def test_a_ca_file_that_cannot_be_read_is_told_and_nothing_is_done(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    own = authority.client(f"three-{server.name}", tmp_path)
    files = {f"docker_tls_{word}_file": str(own / f"{word}.pem") for word in ("ca", "cert", "key")}
    files["docker_tls_ca_file"] = str(tmp_path / "nowhere.pem")
    path = tmp_path / "own.yml"
    path.write_text(inventory([server], {server.name: {"docker_tls_listen": [LISTEN], **files}}))
    before = configuration(server)
    verdict = mutual(remediate.apply(path, *ALLOWED), server)
    assert verdict["verdict"] == "drifted"
    assert str(tmp_path / "nowhere.pem") in verdict["reason"], verdict
    is_as_before(server, before)


def test_a_key_of_another_certificate_is_refused_before_anything_is_done(
    server: ContainerHost, authority: Authority, remediate: Product, tmp_path: Path
) -> None:
    one, two = (authority.client(f"{name}-{server.name}", tmp_path) for name in ("one", "two"))
    own = {
        "docker_tls_listen": [LISTEN],
        "docker_tls_ca_file": str(one / "ca.pem"),
        "docker_tls_cert_file": str(one / "cert.pem"),
        "docker_tls_key_file": str(two / "key.pem"),
    }
    path = tmp_path / "own.yml"
    path.write_text(inventory([server], {server.name: own}))
    before = configuration(server)
    answer = remediate.apply(path, *ALLOWED)
    verdict = mutual(answer, server)
    assert verdict["verdict"] == "drifted"
    assert str(two / "key.pem") in verdict["reason"], verdict
    is_as_before(server, before)


def test_two_hosts_that_claim_one_name_are_both_refused(
    server: ContainerHost, debian12: ContainerHost, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "two.yml"
    shared = {"docker_tls_names": ["api.lab"]}
    path.write_text(inventory([server, debian12], {server.name: shared, debian12.name: shared}))
    answer = authority.issue(path, "--renew")
    assert answer.code == 3, answer.out
    assert "api.lab" in answer.out + answer.err
    assert server.name in answer.out + answer.err
    assert debian12.name in answer.out + answer.err


def test_a_host_that_asks_for_another_name_gets_no_certificate(fresh: Fresh, tmp_path: Path) -> None:
    authority = make_authority(Product(tmp_path), tmp_path)
    host = fresh("debian12")
    host.run("mv", "/usr/bin/openssl", "/usr/bin/openssl.real")
    host.put("/usr/bin/openssl", FORGER.encode(), mode="0755")
    path = tmp_path / "forged.yml"
    path.write_text(inventory([host], {host.name: {"docker_tls_listen": [LISTEN]}}))
    answer = authority.issue(path)
    assert answer.code == 3, answer.out
    assert host.name not in authority.tls("show").out
