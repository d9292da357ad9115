"""The sweep against real OpenSSH servers on loopback, and against servers that misbehave."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import paramiko
import pytest

from remediator import sweep as sweep_module
from remediator import sweep_passwords
from remediator.access import Secret
from remediator.connection import Become, Connection
from remediator.errors import HostError
from remediator.host import observe_program
from remediator.observation import parse_observation
from remediator.request import Needs, compile_request
from remediator.ssh_settings import SshConfig, SshSettings
from remediator.sweep import Sweep, Target
from remediator.sweep_known_hosts import KnownHosts
from tests.unit.odd_ssh_server import OddServer
from tests.unit.sshd import Sshd, make_key, public

SUDO = Path(__file__).with_name("sudo_stand_in.py")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def usual_known_hosts(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd.trust("127.0.0.1", "127.0.0.2", "127.0.0.3")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def observe(connections: Mapping[str, Connection], forks: int = 10) -> dict[str, bytes | HostError]:
    """What the sweep brings back from each host, asked for the facts of /etc/passwd."""
    settings = SshConfig().settle(connections)
    targets = []
    for name, settled in settings.items():
        assert isinstance(settled, SshSettings), settled
        targets.append(Target(name, connections[name], settled))
    request = compile_request(Needs.of(["/etc/passwd"]))
    with Sweep(targets, observe_program(), request, forks, KnownHosts()) as sweep:
        return dict(sweep.results())


def answer(connection: Connection) -> bytes:
    """The answer of one host that must answer."""
    result = observe({"web1": connection})["web1"]
    assert isinstance(result, bytes), result
    return result


def error(connection: Connection) -> HostError:
    """The error of one host that must fail."""
    result = observe({"web1": connection})["web1"]
    assert isinstance(result, HostError), result
    assert str(result).startswith("web1: ")
    return result


def fingerprint(key: Path) -> str:
    blob = base64.b64decode(public(key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def test_every_host_answers_with_its_own_observation(sshd: Sshd) -> None:
    addresses = [f"127.0.2.{number}" for number in range(1, 13)]
    sshd.trust(*addresses)
    results = observe({f"host{address}": sshd.connection(address) for address in addresses}, forks=4)
    assert set(results) == {f"host{address}" for address in addresses}
    for name, result in results.items():
        assert isinstance(result, bytes), result
        assert parse_observation(name, result).files["/etc/passwd"].type == "file"


def test_a_host_with_another_key_than_the_known_one_is_refused_with_file_line_and_fingerprint(sshd: Sshd) -> None:
    other = make_key(sshd.directory / "other_host_key")
    sshd.known_hosts.write_text(f"# comment\n[127.0.0.1]:{sshd.port} {public(other)}\n")
    refused = error(sshd.connection())
    assert refused.kind == "host_key"
    assert f"{sshd.known_hosts} line 2" in str(refused)
    assert fingerprint(sshd.host_keys["ed25519"]) in str(refused)
    assert "ssh-keygen -R" in str(refused)


@pytest.mark.parametrize("option", [(), ("-o", "StrictHostKeyChecking=accept-new")], ids=["ask", "accept-new"])
def test_an_unknown_host_key_is_refused_and_not_learnt(sshd: Sshd, option: tuple[str, ...]) -> None:
    sshd.known_hosts.write_text("")
    refused = error(sshd.connection("127.0.0.1", *option))
    assert refused.kind == "host_key"
    assert fingerprint(sshd.host_keys["ed25519"]) in str(refused)
    assert str(sshd.known_hosts) in str(refused)
    assert sshd.known_hosts.read_text() == ""


def test_switching_host_key_checking_off_is_refused_without_connecting(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refused = error(sshd.connection("127.0.0.1", "-o", "StrictHostKeyChecking=no", port=port))
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert refused.kind == "host_key"
    assert "StrictHostKeyChecking" in str(refused)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_host_is_asked_for_the_type_of_key_that_is_known(sshd: Sshd, kind: str) -> None:
    sshd.trust("127.0.0.1", kind=kind)
    answer(sshd.connection())


def test_hashed_names_and_names_without_the_port_are_found(sshd: Sshd) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(sshd.known_hosts)], check=True, capture_output=True)
    assert "127.0.0.1" not in sshd.known_hosts.read_text()
    answer(sshd.connection())
    sshd.known_hosts.write_text(f"other,127.0.0.* {public(sshd.host_keys['ed25519'])}\n")
    answer(sshd.connection())


def test_a_host_key_alias_is_what_is_looked_up(sshd: Sshd) -> None:
    sshd.known_hosts.write_text(f"cluster {public(sshd.host_keys['ed25519'])}\n")
    answer(sshd.connection("127.0.0.1", "-o", "HostKeyAlias=cluster"))


def test_a_key_that_the_host_does_not_know_is_an_authentication_error(sshd: Sshd, tmp_path: Path) -> None:
    refused = error(sshd.connection(private_key=str(make_key(tmp_path / "stranger"))))
    assert refused.kind == "authentication"
    assert f"as {sshd.user}" in str(refused)


def test_a_key_with_a_passphrase_and_a_missing_key_are_named(sshd: Sshd, tmp_path: Path) -> None:
    locked = make_key(tmp_path / "locked", passphrase="long enough")
    assert f"{locked}: it has a passphrase" in str(error(sshd.connection(private_key=str(locked))))
    missing = tmp_path / "missing"
    assert f"{missing}: there is no such key file" in str(error(sshd.connection(private_key=str(missing))))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_keys_of_other_types_log_in(sshd: Sshd, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / kind, kind)
    sshd.authorized.write_text(f"{public(sshd.key)}\n{public(key)}\n")
    answer(sshd.connection(private_key=str(key)))


def test_a_key_that_only_the_agent_holds_logs_in(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if path.exists():
                break
            time.sleep(0.05)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        subprocess.run(["ssh-add", "-q", str(sshd.key)], check=True)
        connections = {f"h{n}": sshd.connection(f"127.0.0.{n}", private_key=None) for n in (1, 2, 3)}
        assert all(isinstance(result, bytes) for result in observe(connections).values())
    finally:
        agent.terminate()
        agent.wait(timeout=10)


def test_a_certificate_beside_the_key_logs_in_where_the_bare_key_does_not(tmp_path: Path) -> None:
    authority = make_key(tmp_path / "authority")
    server = Sshd(tmp_path / "server", f"TrustedUserCAKeys {authority}.pub")
    try:
        key = make_key(tmp_path / "id_user")
        connection = server.connection(private_key=str(key))
        assert error(connection).kind == "authentication"
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.user, f"{key}.pub"]
        subprocess.run(sign, check=True)
        answer(connection)
    finally:
        server.stop()


def test_a_closed_port_and_an_unknown_name_are_unreachable(sshd: Sshd) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        refused = error(sshd.connection(port=held.getsockname()[1]))
    assert (refused.kind, "refused" in str(refused)) == ("unreachable", True)
    unknown = error(sshd.connection("no-such-host.invalid"))
    assert (unknown.kind, "no-such-host.invalid" in str(unknown)) == ("unreachable", True)


def test_a_host_behind_a_jump_host_answers(sshd: Sshd, tmp_path: Path) -> None:
    jump = Sshd(tmp_path / "jump")
    try:
        config = _jump_config(tmp_path, jump)
        arguments = ("-F", str(config), "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "ProxyJump=bastion")
        hosts = {f"h{n}": sshd.connection(f"127.0.0.{n}", ssh_more_arguments=arguments) for n in (1, 2, 3)}
        results = observe(hosts)
        assert all(isinstance(result, bytes) for result in results.values()), results
        assert jump.log.read_text().count("Accepted publickey") == 1
    finally:
        jump.stop()


def test_the_key_of_a_jump_host_is_checked_as_well(sshd: Sshd, tmp_path: Path) -> None:
    jump = Sshd(tmp_path / "jump")
    try:
        jump.known_hosts.write_text("")
        config = _jump_config(tmp_path, jump)
        arguments = ("-F", str(config), "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "ProxyJump=bastion")
        refused = error(sshd.connection(ssh_more_arguments=arguments))
        assert refused.kind == "host_key"
        assert "jump host bastion" in str(refused)
    finally:
        jump.stop()


def _jump_config(directory: Path, jump: Sshd) -> Path:
    config = directory / "config"
    config.write_text(
        f"Host bastion\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.key}\n"
        f"  UserKnownHostsFile {jump.known_hosts}\n"
    )
    return config


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


def become(rule: str, record: Path, password: str | None) -> Become:
    program = f"{sys.executable} -I {SUDO} {rule} {record}"
    return Become("sudo", "root", program, ("-H", "-S", "-n"), Secret(password) if password else None)


def test_a_sudo_password_is_sent_when_sudo_asks(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "record"
    answer(sshd.connection(become=become("open-sesame", record, "open-sesame")))
    assert record.read_text() == "open-sesame\n"


def test_a_sudo_password_is_never_sent_where_sudo_does_not_ask(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "record"
    answer(sshd.connection(become=become("nopasswd", record, "open-sesame")))
    assert not record.exists()


def test_sudo_that_wants_a_password_that_was_not_given_says_how_to_give_it(sshd: Sshd, tmp_path: Path) -> None:
    refused = error(sshd.connection(become=become("open-sesame", tmp_path / "record", None)))
    assert (refused.kind, "-K" in str(refused)) == ("become", True)


def test_a_user_without_sudo_rights_is_a_become_error(sshd: Sshd, tmp_path: Path) -> None:
    refused = error(sshd.connection(become=become("nobody", tmp_path / "record", None)))
    assert refused.kind == "become"
    assert f"{sshd.user} may not use sudo" in str(refused)


def test_a_host_without_sudo_is_a_become_error(sshd: Sshd) -> None:
    refused = error(sshd.connection(become=Become("sudo", "root", "/no/such/sudo", (), None)))
    assert (refused.kind, "there is no /no/such/sudo" in str(refused)) == ("become", True)


def test_a_shared_sudo_password_is_given_up_after_three_refusals(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "record"
    addresses = [f"127.0.3.{number}" for number in range(1, 11)]
    sshd.trust(*addresses)
    wrong = become("right", record, "wrong")
    results = observe({address: sshd.connection(address, become=wrong) for address in addresses})
    assert record.read_text() == "wrong\n" * 3
    kinds = [result.kind for result in results.values() if isinstance(result, HostError)]
    assert kinds == ["become"] * 10
    assert sum("was not tried" in str(result) for result in results.values()) == 7


def test_a_shared_sudo_password_is_tried_on_all_once_one_accepted_it(sshd: Sshd, tmp_path: Path) -> None:
    addresses = [f"127.0.3.{number}" for number in range(1, 11)]
    sshd.trust(*addresses)
    right = become("right", tmp_path / "record", "right")
    results = observe({address: sshd.connection(address, become=right) for address in addresses})
    assert all(isinstance(result, bytes) for result in results.values()), results


@pytest.fixture
def password_host() -> Iterator[OddServer]:
    server = OddServer("right")
    yield server
    server.stop()


def odd(server: OddServer, directory: Path, address: str, password: str | None = None) -> Connection:
    known = directory / f"known_{server.port}_{address}"
    known.write_text(server.known_hosts_line(address))
    return Connection(
        "ssh",
        address,
        port=server.port,
        user="bob",
        password=Secret(password) if password else None,
        private_key=str(make_key(directory / f"id_{address}")),
        ssh_more_arguments=("-F", "none", "-o", f"UserKnownHostsFile={known}"),
    )


def test_a_shared_log_in_password_is_given_up_after_three_refusals(password_host: OddServer, tmp_path: Path) -> None:
    connections = {f"h{n}": odd(password_host, tmp_path, f"127.0.4.{n}", "wrong") for n in range(1, 11)}
    results = observe(connections)
    assert password_host.passwords == ["wrong"] * 3
    assert all(isinstance(result, HostError) and result.kind == "authentication" for result in results.values())
    assert "wrong" not in " ".join(str(result) for result in results.values())


def test_a_refusal_after_an_acceptance_is_that_hosts_own_error() -> None:
    gates = sweep_passwords.PasswordGates()
    password = Secret("shared")
    first = gates.begin("ssh", "bob", password, "a")
    first.accepted = True
    gates.end(first)
    for host in "bcdef":
        attempt = gates.begin("ssh", "bob", password, host)
        attempt.refused = True
        gates.end(attempt)
    gates.end(gates.begin("ssh", "bob", password, "g"))


def test_no_two_hosts_try_an_unproven_password_at_once() -> None:
    gates = sweep_passwords.PasswordGates()
    first = gates.begin("ssh", "bob", Secret("shared"), "a")
    begun = threading.Event()

    def second() -> None:
        gates.end(gates.begin("ssh", "bob", Secret("shared"), "b"))
        begun.set()

    threading.Thread(target=second, daemon=True).start()
    assert not begun.wait(0.3)
    first.accepted = True
    gates.end(first)
    assert begun.wait(5)


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


def odd_again(server: OddServer, directory: Path) -> Connection:
    """The connection that `odd` made for 127.0.5.1, without new keys."""
    return Connection("ssh", "127.0.5.1", port=server.port, user="bob", private_key=str(directory / "id_127.0.5.1"))


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
