"""The sweep against real OpenSSH servers on loopback: who answers, and who cannot be reached."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

from remediator.access import Secret
from remediator.observation import parse_observation
from remediator.ssh_settings import SshConfig, SshSettings
from remediator.sweep import Sweep, Target
from remediator.sweep_known_hosts import KnownHosts
from tests.unit.odd_ssh_server import OddServer
from tests.unit.sshd import Sshd
from tests.unit.swept import answer, become, error, observe, odd, odd_again
from tests.unit.swept import sshd as sshd
from tests.unit.swept import usual_known_hosts as usual_known_hosts


def test_every_host_answers_with_its_own_observation(sshd: Sshd) -> None:
    addresses = [f"127.0.2.{number}" for number in range(1, 13)]
    sshd.trust(*addresses)
    results = observe({f"host{address}": sshd.connection(address) for address in addresses}, forks=4)
    assert set(results) == {f"host{address}" for address in addresses}
    for name, result in results.items():
        assert isinstance(result, bytes), result
        assert parse_observation(name, result).files["/etc/passwd"].type == "file"


def test_a_closed_port_and_an_unknown_name_are_unreachable(sshd: Sshd) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        refused = error(sshd.connection(port=held.getsockname()[1]))
    assert (refused.kind, "refused" in str(refused)) == ("unreachable", True)
    unknown = error(sshd.connection("no-such-host.invalid"))
    assert (unknown.kind, "no-such-host.invalid" in str(unknown)) == ("unreachable", True)


def test_output_of_login_scripts_before_the_answer_is_skipped(tmp_path: Path) -> None:
    noisy = Sshd(tmp_path / "noisy", 'ForceCommand echo welcome; seq 1 20000; eval "$SSH_ORIGINAL_COMMAND"')
    try:
        answer(noisy.connection())
    finally:
        noisy.stop()


def test_a_missing_interpreter_is_a_python_error(sshd: Sshd) -> None:
    refused = error(sshd.connection(python="/no/such/python3"))
    assert refused.kind == "python"
    assert "ansible_python_interpreter" in str(refused)


def test_leaving_a_sweep_early_ends_its_connections(tmp_path: Path) -> None:
    server = OddServer()
    try:
        settings = SshConfig().settle({"quiet": odd(server, tmp_path, "127.0.5.1")})["quiet"]
        assert isinstance(settings, SshSettings)
        began = time.monotonic()
        with Sweep([Target("quiet", odd_again(server, tmp_path), settings)], b"", b"{}", 1, KnownHosts()):
            time.sleep(1)
        assert time.monotonic() - began < 5
        for _ in range(100):
            if not [thread for thread in threading.enumerate() if thread.name.startswith("sweep-")]:
                break
            time.sleep(0.05)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("sweep-")]
    finally:
        server.stop()


def test_the_password_of_a_login_shows_nowhere(sshd: Sshd) -> None:
    connection = sshd.connection(password=Secret("hunter2"), become=become("x", Path(os.devnull), "hunter3"))
    assert "hunter" not in repr(Target("web1", connection, SshSettings("a", "a", 22, "u")))
