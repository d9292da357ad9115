"""The sweep and host keys: always checked, on the way too, and never learnt."""

from __future__ import annotations

import base64
import hashlib
import socket
import subprocess
from pathlib import Path

import pytest

from tests.unit.sshd import Sshd, make_key, public
from tests.unit.swept import answer, error, observe
from tests.unit.swept import sshd as sshd
from tests.unit.swept import usual_known_hosts as usual_known_hosts


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


def fingerprint(key: Path) -> str:
    blob = base64.b64decode(public(key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _jump_config(directory: Path, jump: Sshd) -> Path:
    config = directory / "config"
    config.write_text(
        f"Host bastion\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.key}\n"
        f"  UserKnownHostsFile {jump.known_hosts}\n"
    )
    return config
