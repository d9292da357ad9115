"""Every shape that a daemon's configuration comes in ends with mutual TLS, and what others wrote stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import docker_bench
from .conftest import Fresh
from .docker_tls import ALLOWED, MUTUAL, Authority, HeardProduct, answer_without_certificate, listening, make_authority
from .hosts.interface import LabHost, inventory

DROP_IN = b"[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2375 $DOCKER_OPTS\n"
TOKEN, PASSWORD = "5e1c9d20-lab-token-4711", "pa55-of-the-proxy-4711"
SECRETS = f"""{{
\t"labels": ["a=b"],
\t"log-driver": "splunk",
\t"log-opts": {{"splunk-url": "https://logs.example:8088", "splunk-token": "{TOKEN}"}},
\t"proxies": {{"http-proxy": "http://ann:{PASSWORD}@proxy.example:3128"}},
\t"debug": false
}}"""


def is_mutual(host: LabHost, path: Path, authority: Authority) -> None:
    """The daemon refuses who has no certificate, nothing is left to do, and docker-bench passes it."""
    assert answer_without_certificate(host.address) == b""
    assert authority.remediate.check(path, *ALLOWED).code == 0
    assert docker_bench.mutual_tls(host, jq=True) == docker_bench.mutual_tls(host, jq=False) == "pass"


def test_a_plain_listener_is_drift_that_names_what_to_set_and_becomes_mutual_tls(
    fresh: Fresh, own_authority: Authority, tmp_path: Path
) -> None:
    host = fresh("debian13")
    host.run("install", "-d", "/etc/systemd/system/docker.service.d")
    host.put("/etc/systemd/system/docker.service.d/override.conf", DROP_IN)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "docker.service")
    bare = tmp_path / "bare.yml"
    bare.write_text(inventory([host]))
    plain = own_authority.remediate.check(bare, *ALLOWED)
    assert plain.code == 1
    assert plain.verdicts(host.name)[MUTUAL] == "drifted"
    assert plain.host(host.name)["changes"] == []

    path = listening(host, tmp_path)
    assert own_authority.issue(path).code == 0
    answer = own_authority.remediate.apply(path, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    assert host.run("sh", "-c", "ss -ltn | grep -q :2375", check=False).returncode != 0
    is_mutual(host, path, own_authority)


def test_options_that_listen_and_an_empty_file_end_with_mutual_tls(
    fresh: Fresh, own_authority: Authority, tmp_path: Path
) -> None:
    host = fresh("debian12")
    options = 'DOCKER_OPTS="-H tcp://127.0.0.1:2375 --label=role=lab"'
    host.put("/etc/default/docker", f'# kept\n{options}\nexport http_proxy=""\n'.encode())
    host.run("systemctl", "restart", "docker.service")
    # Docker 20.10 does not start with it; it is what a person left behind since.
    host.run("install", "-d", "/etc/docker")
    host.put("/etc/docker/daemon.json", b"")
    path = listening(host, tmp_path)
    assert own_authority.issue(path).code == 0

    answer = own_authority.remediate.apply(path, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    assert host.run("sh", "-c", "ss -ltn | grep -q :2375", check=False).returncode != 0
    environment = host.text("cat", "/etc/default/docker")
    assert environment.startswith("# kept\n")
    assert environment.endswith('export http_proxy=""')
    assert "role=lab" in host.text("docker", "info", "--format", "{{.Labels}}")
    is_mutual(host, path, own_authority)


def test_secrets_in_a_file_of_other_peoples_keys_stay_there_and_are_shown_nowhere(
    fresh: Fresh, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host, remediate = fresh("debian13"), HeardProduct(tmp_path_factory.mktemp("home"))
    authority = make_authority(remediate, tmp_path_factory.mktemp("authority"))
    host.run("install", "-d", "/etc/docker")
    host.put("/etc/docker/daemon.json", SECRETS.encode(), mode="0600")
    host.put("/etc/default/docker", b'DOCKER_OPTS="--max-concurrent-downloads=4"\n')
    host.run("systemctl", "restart", "docker.service")
    path = listening(host, tmp_path)
    assert authority.issue(path).code == 0

    previewed = remediate.check(path, *ALLOWED).host(host.name)["changes"]
    answer = remediate.apply(path, *ALLOWED)

    assert answer.code == 0, answer.err + answer.out
    assert answer.host(host.name)["before"]["changes"] == previewed
    (change,) = [each for each in previewed if each["path"] == "/etc/docker/daemon.json"]
    assert f'"splunk-token": "{"x" * len(TOKEN)}"' in change["diff"]
    now = host.run("cat", "/etc/docker/daemon.json").stdout.decode()
    assert [line for line in SECRETS.splitlines()[1:-2] if line not in now.splitlines()] == []
    assert now.endswith("}")
    assert host.text("stat", "-c", "%a", "/etc/docker/daemon.json") == "600"
    facts = host.text("docker", "info", "--format", "{{.LoggingDriver}} {{.HTTPProxy}}")
    assert facts == "splunk http://xxxxx:xxxxx@proxy.example:3128"
    assert "--max-concurrent-downloads=4" in host.text("sh", "-c", "tr '\\0' ' ' </proc/$(pidof dockerd)/cmdline")
    is_mutual(host, path, authority)
    said = "".join(remediate.said) + host.text("journalctl", "--no-pager", "-o", "cat")
    for secret in (TOKEN, PASSWORD):
        assert secret not in said
        assert not [
            file for file in remediate.home.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()
        ]
