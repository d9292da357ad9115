"""A real machine: mutual TLS of its Docker daemon is there after a reboot, its containers are, and it is renewed."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .docker_tls import (
    ALLOWED,
    FILES,
    PORT,
    answer_to_plain_http,
    answer_without_certificate,
    listening,
    make_authority,
    served_fingerprint,
)
from .hosts.interface import LabHost
from .hosts.workload import running_containers
from .machine_fixtures import FreshMachine
from .product import Product

_PATIENCE = 60.0


@contextmanager
def forwarded(host: LabHost) -> Iterator[int]:
    """A port of 127.0.0.1 that leads to the machine's Docker port while this lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    forward = ["-o", "ExitOnForwardFailure=yes", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{PORT}"]
    ssh = subprocess.Popen(["ssh", *host.ssh_options(), *forward, f"{host.user}@{host.address}"])
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                assert ssh.poll() is None, "ssh ended"
                assert time.monotonic() < end, "the forwarded port does not answer"
                time.sleep(0.2)
        yield port
    finally:
        ssh.terminate()
        ssh.wait(30)


def docker(port: int, bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The docker command of this machine, through the forwarded port, with a client's bundle."""
    files = [f"--tlscacert={bundle}/ca.pem", f"--tlscert={bundle}/cert.pem", f"--tlskey={bundle}/key.pem"]
    command = ["docker", "--tlsverify", *files, "-H", f"tcp://127.0.0.1:{port}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def is_mutual(port: int, bundle: Path) -> None:
    """The client with the bundle is served, nobody else is."""
    listed = docker(port, bundle, "ps", "--format", "{{.Names}}")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split() == ["web"]
    assert answer_without_certificate("127.0.0.1", port) == b""
    assert not answer_to_plain_http("127.0.0.1", port).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_mutual_tls_survives_a_reboot_and_is_renewed_after_it(
    suite: str, fresh_machine: FreshMachine, tmp_path: Path
) -> None:
    machine = fresh_machine(suite)
    authority = make_authority(Product(tmp_path), tmp_path)
    home = authority.remediate
    # An emulated machine beside other work answers slowly.
    path = listening(machine.host, tmp_path, docker_tls_names=["127.0.0.1"], ansible_ssh_timeout=60)
    assert authority.issue(path).code == 0
    bundle = authority.client("ann", tmp_path)
    answer = home.apply(path, *ALLOWED)
    assert answer.code == 0, answer.err + answer.out
    machine.reboot()

    with forwarded(machine.host) as port:
        is_mutual(port, bundle)
        first = served_fingerprint("127.0.0.1", port)
    assert running_containers(machine.host) == ["web"]
    assert home.check(path, *ALLOWED).code == 0

    if suite == "trixie":  # once: emulated machines are slow
        assert "renewed" in authority.issue(path, "--renew").out
        answer = home.apply(path, *ALLOWED)
        assert answer.code == 0, answer.err + answer.out
        with forwarded(machine.host) as port:
            is_mutual(port, bundle)
            renewed = machine.host.text("sh", "-c", f"openssl x509 -in {FILES}/cert.pem -outform DER | sha256sum")
            assert served_fingerprint("127.0.0.1", port) == renewed.split()[0] != first
