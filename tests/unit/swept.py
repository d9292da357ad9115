"""What the tests of the sweep share: servers to sweep, and what it brings back from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from remediator.access import Secret
from remediator.connection import Become, Connection
from remediator.errors import HostError
from remediator.host import observe_program
from remediator.request import Needs, compile_request
from remediator.ssh_settings import SshConfig, SshSettings
from remediator.sweep import Sweep, Target
from remediator.sweep_known_hosts import KnownHosts
from tests.unit.odd_ssh_server import OddServer
from tests.unit.sshd import Sshd, make_key

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


def become(rule: str, record: Path, password: str | None) -> Become:
    program = f"{sys.executable} -I {SUDO} {rule} {record}"
    return Become("sudo", "root", program, ("-H", "-S", "-n"), Secret(password) if password else None)


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


def odd_again(server: OddServer, directory: Path) -> Connection:
    """The connection that `odd` made for 127.0.5.1, without new keys."""
    return Connection("ssh", "127.0.5.1", port=server.port, user="bob", private_key=str(directory / "id_127.0.5.1"))
