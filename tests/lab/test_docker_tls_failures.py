"""What goes wrong when TLS is switched on: the daemon runs with its old bytes afterwards, and the message says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from .docker_tls import ALLOWED, LISTEN, MUTUAL, PORT, Authority, HeardProduct, verdict
from .hosts.container import ContainerHost
from .hosts.interface import inventory
from .hosts.workload import running_containers
from .product import Answer

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


@pytest.fixture(scope="module")
def hosts_file(tls_authority: Authority, tls_inventory: Path) -> Path:
    """The server, told to listen, with a certificate issued; every test leaves it without TLS, as it was."""
    assert tls_authority.issue(tls_inventory).code == 0
    return tls_inventory


def configuration(host: ContainerHost) -> str:
    """Every byte of the daemon's configuration."""
    places = "etc/docker etc/systemd/system etc/default/docker"
    return host.text("sh", "-c", f"tar -C / --sort=name --mtime=@0 -cf - {places} 2>/dev/null | sha256sum")


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
    tls_server: ContainerHost, hosts_file: Path, tls_remediate: HeardProduct
) -> None:
    before = configuration(tls_server)
    tls_server.run(*TAKEN)
    try:
        outcome = rolled_back(tls_remediate.apply(hosts_file, *ALLOWED), tls_server)
    finally:
        tls_server.run("systemctl", "stop", "squatter.service")
    assert "address already in use" in outcome["reason"] + outcome["log"]
    is_as_before(tls_server, before)


def test_a_daemon_that_does_not_start_with_the_new_ca_file_gets_its_old_bytes_back(
    tls_server: ContainerHost, hosts_file: Path, tls_remediate: HeardProduct
) -> None:
    tls_server.run("install", "-d", "/etc/systemd/system/docker.service.d")
    tls_server.put(DROP_IN, b"[Service]\nExecStartPre=/usr/bin/test ! -e /etc/docker/tls/ca.pem\n")
    tls_server.run("systemctl", "daemon-reload")
    before = configuration(tls_server)
    try:
        outcome = rolled_back(tls_remediate.apply(hosts_file, *ALLOWED), tls_server)
        is_as_before(tls_server, before)
    finally:
        tls_server.run("rm", DROP_IN)
        tls_server.run("systemctl", "daemon-reload")
    assert "systemctl restart docker.service" in outcome["reason"]
    assert "control process exited" in (outcome["reason"] + outcome["log"]).lower()


def test_a_configuration_that_already_conflicts_with_a_flag_is_left_to_a_person(
    tls_server: ContainerHost, hosts_file: Path, tls_remediate: HeardProduct
) -> None:
    tls_server.put("/etc/default/docker", b'DOCKER_OPTS="--label=role=lab"\n')
    tls_server.run("install", "-d", "/etc/docker")
    tls_server.put("/etc/docker/daemon.json", b'{"labels": ["role=other"]}\n')
    before = configuration(tls_server)
    try:
        answer = tls_remediate.apply(hosts_file, *ALLOWED)
        said = verdict(answer, tls_server, MUTUAL)
        assert said["verdict"] == "manual", said
        assert "labels" in said["reason"]
        is_as_before(tls_server, before)
    finally:
        tls_server.run("rm", "/etc/docker/daemon.json", "/etc/default/docker")


def test_a_ca_file_that_cannot_be_read_is_told_and_nothing_is_done(
    tls_server: ContainerHost, tls_authority: Authority, tls_remediate: HeardProduct, tmp_path: Path
) -> None:
    own = tls_authority.client(f"three-{tls_server.name}", tmp_path)
    files = {f"docker_tls_{word}_file": str(own / f"{word}.pem") for word in ("ca", "cert", "key")}
    files["docker_tls_ca_file"] = str(tmp_path / "nowhere.pem")
    path = tmp_path / "own.yml"
    path.write_text(inventory([tls_server], {tls_server.name: {"docker_tls_listen": [LISTEN], **files}}))
    before = configuration(tls_server)
    said = verdict(tls_remediate.apply(path, *ALLOWED), tls_server, MUTUAL)
    assert said["verdict"] == "drifted"
    assert str(tmp_path / "nowhere.pem") in said["reason"], said
    is_as_before(tls_server, before)


def test_a_key_of_another_certificate_is_refused_before_anything_is_done(
    tls_server: ContainerHost, tls_authority: Authority, tls_remediate: HeardProduct, tmp_path: Path
) -> None:
    one, two = (tls_authority.client(f"{name}-{tls_server.name}", tmp_path) for name in ("one", "two"))
    own = {
        "docker_tls_listen": [LISTEN],
        "docker_tls_ca_file": str(one / "ca.pem"),
        "docker_tls_cert_file": str(one / "cert.pem"),
        "docker_tls_key_file": str(two / "key.pem"),
    }
    path = tmp_path / "own.yml"
    path.write_text(inventory([tls_server], {tls_server.name: own}))
    before = configuration(tls_server)
    answer = tls_remediate.apply(path, *ALLOWED)
    said = verdict(answer, tls_server, MUTUAL)
    assert said["verdict"] == "drifted"
    assert str(two / "key.pem") in said["reason"], said
    is_as_before(tls_server, before)


def test_two_hosts_that_claim_one_name_are_both_refused(
    tls_server: ContainerHost, debian12: ContainerHost, tls_authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "two.yml"
    shared = {"docker_tls_names": ["api.lab"]}
    path.write_text(inventory([tls_server, debian12], {tls_server.name: shared, debian12.name: shared}))
    answer = tls_authority.issue(path, "--renew")
    assert answer.code == 3, answer.out
    assert "api.lab" in answer.out + answer.err
    assert tls_server.name in answer.out + answer.err
    assert debian12.name in answer.out + answer.err


def test_a_host_that_asks_for_another_name_gets_no_certificate(
    tls_server: ContainerHost, hosts_file: Path, tls_authority: Authority
) -> None:
    before = tls_authority.tls("show").out
    tls_server.run("mv", "/usr/bin/openssl", "/usr/bin/openssl.real")
    tls_server.put("/usr/bin/openssl", FORGER.encode(), mode="0755")
    try:
        answer = tls_authority.issue(hosts_file, "--renew")
    finally:
        tls_server.run("mv", "/usr/bin/openssl.real", "/usr/bin/openssl")
    assert answer.code == 3, answer.out
    assert "somebody-else" in answer.out + answer.err
    assert tls_authority.tls("show").out == before
