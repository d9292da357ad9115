"""What is refused before TLS is switched on: nothing is done, the daemon runs as before, and the message says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from .docker_tls import ALLOWED, MUTUAL, Authority, daemon_files, is_as_before, listening, verdict
from .hosts.container import ContainerHost
from .hosts.interface import inventory

# Signs, with the right key, a request that asks for another host's name.
FORGER = """#!/bin/sh
if [ "$1 $2" = "req -new" ]; then
  for word; do [ "$previous" = -key ] && key=$word; previous=$word; done
  exec /usr/bin/openssl.real req -new -key "$key" -subj /CN=somebody-else
fi
exec /usr/bin/openssl.real "$@"
"""


def test_a_configuration_that_already_conflicts_with_a_flag_is_left_to_a_person(
    debian13: ContainerHost, own_authority: Authority, tmp_path: Path
) -> None:
    path = listening(debian13, tmp_path)
    assert own_authority.issue(path).code == 0
    debian13.run("cp", "-a", "/etc/default/docker", "/root/docker.default")
    debian13.put("/etc/default/docker", b'DOCKER_OPTS="--label=role=lab"\n')
    debian13.run("install", "-d", "/etc/docker")
    debian13.put("/etc/docker/daemon.json", b'{"labels": ["role=other"]}\n')
    before = daemon_files(debian13)
    try:
        said = verdict(own_authority.remediate.apply(path, *ALLOWED), debian13, MUTUAL)
        assert said["verdict"] == "manual", said
        assert "labels" in said["reason"]
        is_as_before(debian13, before)
    finally:
        debian13.run("rm", "-r", "/etc/docker/daemon.json", "/var/lib/remediator/tls")
        debian13.run("mv", "/root/docker.default", "/etc/default/docker")


@pytest.mark.parametrize(("option", "other"), [("ca", "nowhere.pem"), ("key", "two/key.pem")])
def test_a_file_that_cannot_serve_is_told_before_anything_is_done(
    option: str, other: str, debian12: ContainerHost, own_authority: Authority, tmp_path: Path
) -> None:
    one, _ = (own_authority.client(name, tmp_path) for name in ("one", "two"))
    own = {f"docker_tls_{word}_file": str(one / f"{word}.pem") for word in ("ca", "cert", "key")}
    path = listening(debian12, tmp_path, **{**own, f"docker_tls_{option}_file": str(tmp_path / other)})
    before = daemon_files(debian12)
    said = verdict(own_authority.remediate.apply(path, *ALLOWED), debian12, MUTUAL)
    assert said["verdict"] == "drifted"
    assert str(tmp_path / other) in said["reason"], said
    is_as_before(debian12, before)


def test_two_hosts_that_claim_one_name_are_both_refused(
    debian12: ContainerHost, debian13: ContainerHost, own_authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "two.yml"
    shared = {"docker_tls_names": ["api.lab"]}
    path.write_text(inventory([debian12, debian13], {debian12.name: shared, debian13.name: shared}))
    answer = own_authority.issue(path)
    assert answer.code == 3, answer.out
    assert "api.lab" in answer.out
    assert f"{debian12.name}  FAILED" in answer.out
    assert f"{debian13.name}  FAILED" in answer.out


def test_a_host_that_asks_for_another_name_gets_no_certificate(
    debian13: ContainerHost, own_authority: Authority, tmp_path: Path
) -> None:
    debian13.run("mv", "/usr/bin/openssl", "/usr/bin/openssl.real")
    debian13.put("/usr/bin/openssl", FORGER.encode(), mode="0755")
    try:
        answer = own_authority.issue(listening(debian13, tmp_path))
    finally:
        debian13.script("mv /usr/bin/openssl.real /usr/bin/openssl; rm -rf /var/lib/remediator/tls")
    assert answer.code == 3, answer.out
    assert "it asks for the subject CN=somebody-else" in answer.out
    shown = own_authority.tls("show").out
    assert debian13.name not in shown
    assert "somebody-else" not in shown
