"""The sweep and hosts that never end, lie or say nothing: an error of their own, and nobody else's time."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import paramiko
import pytest

from remediator import sweep as sweep_module
from remediator.errors import HostError
from remediator.host import observe_program
from remediator.request import Needs, compile_request
from remediator.ssh_settings import SshConfig
from remediator.sweep import Sweep, Target
from remediator.sweep_known_hosts import KnownHosts
from tests.unit.odd_ssh_server import OddServer
from tests.unit.sshd import Sshd
from tests.unit.swept import observe, odd, odd_again
from tests.unit.swept import sshd as sshd
from tests.unit.swept import usual_known_hosts as usual_known_hosts


def flood(channel: paramiko.Channel, command: str) -> None:
    """Output without end."""
    while True:
        channel.sendall(b"x" * 65536)


def drip(channel: paramiko.Channel, command: str) -> None:
    """Announces an answer and never completes it."""
    marker = command.split()[-1].encode()
    channel.sendall(marker + b" ready\n" + marker + b" answer 1000000 " + b"0" * 64 + b"\n")
    for _ in range(10_000):
        channel.sendall(b"A")
        time.sleep(0.05)


def lie(channel: paramiko.Channel, command: str) -> None:
    """An answer whose digest does not fit."""
    marker = command.split()[-1].encode()
    channel.sendall(marker + b" ready\n" + marker + b" answer 4 " + b"0" * 64 + b"\nAAAA\n")


def escape(channel: paramiko.Channel, command: str) -> None:
    """Terminal escapes and the end."""
    channel.sendall_stderr(b"\x1b]0;owned\x07\x1b[2J")
    channel.send_exit_status(1)
    channel.close()


@pytest.mark.parametrize("behaviour", [flood, drip, lie, escape])
def test_a_hostile_host_is_an_error_of_its_own_and_delays_nobody(
    behaviour: object, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "HOST_DEADLINE", 3.0)
    server = OddServer(behaviour=behaviour)  # type: ignore[arg-type]
    try:
        settings = SshConfig().settle({"bad": odd(server, tmp_path, "127.0.5.1"), "good": sshd.connection()})
        connections = {"bad": odd_again(server, tmp_path), "good": sshd.connection()}
        targets = [Target(name, connections[name], settled) for name, settled in settings.items()]  # type: ignore[arg-type]
        began = time.monotonic()
        with Sweep(targets, observe_program(), compile_request(Needs()), 2, KnownHosts()) as sweep:
            results = dict(sweep.results())
        assert time.monotonic() - began < 8
    finally:
        server.stop()
    assert isinstance(results["good"], bytes)
    bad = results["bad"]
    assert isinstance(bad, HostError)
    assert bad.kind == "answer"
    assert "\x1b" not in str(bad)


def test_a_host_that_never_says_hello_is_unreachable_and_holds_only_its_own_slot(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        arguments = ("-F", "none", "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "ConnectTimeout=2")
        silent = sshd.connection(port=mute.getsockname()[1], timeout=2, ssh_more_arguments=arguments)
        connections = {"mute": silent, **{f"h{n}": sshd.connection(f"127.0.0.{n}") for n in (1, 2, 3)}}
        began = time.monotonic()
        results = observe(connections, forks=2)
        assert time.monotonic() - began < 10
    mute_result = results.pop("mute")
    assert isinstance(mute_result, HostError)
    assert mute_result.kind == "unreachable"
    assert all(isinstance(result, bytes) for result in results.values())
