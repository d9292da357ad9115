"""The sweep's own keys: from files, from the agent, with a certificate."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.sshd import Sshd, make_key, public
from tests.unit.swept import answer, error, observe
from tests.unit.swept import sshd as sshd
from tests.unit.swept import usual_known_hosts as usual_known_hosts


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
