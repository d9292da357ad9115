"""Which addresses a process really listens on for its API, from the kernel's own tables."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remediator.host.common.kernel_sockets import (
    holds_socket,
    is_own_address,
    listening_sockets,
    socket_address,
    without_mapping,
)
from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.docker import DockerHost
from remediator.host.observe.docker_listeners import MAX_LISTENERS, api_addresses, docker_listeners, hosts_and_ports
from remediator.host.observe.processes import HostProcess
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit, unit_from_block

IP_FREEBIND = 15


@pytest.mark.parametrize(
    ("digits", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("070200C0", "192.0.2.7"),
        ("00000000000000000000000000000000", "::"),
        ("00000000000000000000000001000000", "::1"),
        ("B80D0120000000000000000007000000", "2001:db8::7"),
        ("0000000000000000FFFF0000070200C0", "::ffff:192.0.2.7"),
    ],
)
def test_addresses_are_read_as_the_kernel_writes_them(digits: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert socket_address(digits.encode()) == socket.inet_pton(family, address)


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert without_mapping(socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.7")) == bytes([192, 0, 2, 7])
    for address in ("::", "::1", "2001:db8::7"):
        packed = socket.inet_pton(socket.AF_INET6, address)
        assert without_mapping(packed) == packed


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::"])
def test_what_this_process_listens_on_is_in_the_kernels_table(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as line:
        line.bind((address, 0))
        line.listen(1)
        port = line.getsockname()[1]
        found = [item for item in listening_sockets(os.getpid()) if item.port == port]
        assert [item.address for item in found] == [socket.inet_pton(family, address)]
        assert found[0].is_wildcard() == (address in ("0.0.0.0", "::"))
        inode = str(os.fstat(line.fileno()).st_ino)
        assert found[0].inode == inode
        assert holds_socket(os.getpid(), {inode, "1"}) == {inode}
    assert [item for item in listening_sockets(os.getpid()) if item.port == port] == []


def test_what_is_only_bound_does_not_listen() -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        assert line.getsockname()[1] not in [item.port for item in listening_sockets(os.getpid())]


def test_this_hosts_own_addresses_are_told_from_others() -> None:
    for own in ("127.0.0.1", "127.200.0.1"):
        assert is_own_address(socket.inet_pton(socket.AF_INET, own))
    assert is_own_address(socket.inet_pton(socket.AF_INET6, "::1"))
    assert not is_own_address(socket.inet_pton(socket.AF_INET, "198.51.100.7"))
    assert not is_own_address(socket.inet_pton(socket.AF_INET6, "2001:db8::7"))


@pytest.mark.root
def test_every_address_that_an_interface_has_is_an_own_one() -> None:
    script = (
        "ip link set lo up; ip addr add 198.51.100.7/24 dev lo; ip addr add 198.51.100.9/24 dev lo;"
        "ip addr add 2001:db8::7/64 dev lo nodad; exec "
        f"{sys.executable} -c 'import socket\n"
        "from remediator.host.common.kernel_sockets import is_own_address\n"
        'own = [is_own_address(socket.inet_pton(socket.AF_INET, "198.51.100.%d" % last)) for last in (7, 9, 8, 255)]\n'
        'own += [is_own_address(socket.inet_pton(socket.AF_INET6, "2001:db8::%d" % last)) for last in (7, 8)]\n'
        "print(own)'"
    )
    result = subprocess.run(
        ["unshare", "--net", "/bin/sh", "-ec", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert result.stdout == "[True, True, False, False, True, False]\n", result.stderr


DAEMON = """
import select, socket, sys
lines = [socket.socket(fileno=int(word)) for word in sys.argv[1].split(",")]
print("ready", flush=True)
metrics = lines[1:] if any(word.startswith("--metrics-addr=") for word in sys.argv) else []
while True:
    for line in select.select([lines[0], *metrics], [], [])[0]:
        connection, _ = line.accept()
        with connection:
            ping = connection.recv(65536).startswith(b"GET /_ping ")
            status = b"400 Bad Request" if not ping else b"404 Not Found" if line in metrics else b"200 OK"
            connection.sendall(b"HTTP/1.0 " + status + b"\\r\\n\\r\\nOK")
"""


class Daemon:
    """A process that was given listening sockets: it serves Docker's API on the first; the others stay unanswered, or
    answer as metrics do where it has an address for those.
    """

    def __init__(self, lines: list[socket.socket], *words: str, before: tuple[str, ...] = ()) -> None:
        numbers = ",".join(str(line.fileno()) for line in lines)
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", DAEMON, numbers, *words],
            pass_fds=[line.fileno() for line in lines],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def listening(address: str = "127.0.0.1", freely: bool = False) -> socket.socket:
    line = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if freely:
        line.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    line.bind((address, 0))
    line.listen(10)
    return line


def port_of(line: socket.socket) -> int:
    return int(line.getsockname()[1])


def was_called(line: socket.socket) -> bool:
    """Whether anybody connected to a socket on which nobody accepts."""
    line.setblocking(False)
    try:
        line.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def host_of(daemon: Daemon | None, listen: str = "") -> HostState:
    """A host whose docker.service is this process; its socket unit listens on `listen`."""
    units = {name: HostUnit(name) for name in UNIT_NAMES}
    units["docker.service"] = unit_from_block("docker.service", "LoadState=loaded\nActiveState=active")
    units["docker.socket"] = unit_from_block("docker.socket", f"LoadState=loaded\nListen={listen} (Stream)")
    processes = {}
    if daemon is not None:
        processes["docker.service"] = HostProcess(daemon.process.pid, "unit", "docker.service")
    return HostState(units, processes)


def listeners_of(daemon: Daemon, listen: str = "") -> list[dict[str, Any]]:
    state = host_of(daemon, listen)
    found = docker_listeners(state, DockerHost(state))
    assert state.files.problems == []
    return found


@pytest.fixture
def lines() -> Iterator[Callable[..., socket.socket]]:
    made: list[socket.socket] = []

    def make(address: str = "127.0.0.1", freely: bool = False) -> socket.socket:
        made.append(listening(address, freely))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def make(lines: list[socket.socket], *words: str, before: tuple[str, ...] = ()) -> Daemon:
        started.append(Daemon(lines, *words, before=before))
        return started[-1]

    yield make
    for daemon in started:
        daemon.stop()


Lines = Callable[..., socket.socket]
Start = Callable[..., Daemon]


def test_a_daemon_that_its_command_line_has_listen_is_asked_there(lines: Lines, start: Start) -> None:
    line = lines()
    daemon = start([line], "-H", "unix:///x", "-H", f"tcp://127.0.0.1:{port_of(line)}", "--config-file=/nonexistent")
    assert listeners_of(daemon) == [{"address": "127.0.0.1", "port": port_of(line), "speaks": "plain"}]


def test_a_daemon_that_daemon_json_has_listen_is_asked_there(lines: Lines, start: Start, tmp_path: Path) -> None:
    line = lines()
    (tmp_path / "d.json").write_text(json.dumps({"hosts": ["fd://", f"localhost:{port_of(line)}"]}))
    daemon = start([line], f"--config-file={tmp_path}/d.json")
    assert listeners_of(daemon) == [{"address": "127.0.0.1", "port": port_of(line), "speaks": "plain"}]


@pytest.mark.parametrize(("bound", "told"), [("0.0.0.0", "0.0.0.0"), ("::", "0.0.0.0"), ("::", "[::]")])
def test_a_wildcard_is_asked_over_loopback(lines: Lines, start: Start, bound: str, told: str) -> None:
    # Go listens on :: for 0.0.0.0 where the host has IPv6.
    line = lines(bound)
    daemon = start([line], "-H", f"tcp://{told}:{port_of(line)}", "--config-file=/nonexistent")
    assert listeners_of(daemon) == [{"address": bound, "port": port_of(line), "speaks": "plain"}]


def test_a_socket_units_tcp_address_is_asked_where_the_daemon_takes_its_sockets(lines: Lines, start: Start) -> None:
    line = lines("::1")
    daemon = start([line], "-H", "fd://", "--config-file=/nonexistent")
    listen = f"[::1]:{port_of(line)}"
    assert listeners_of(daemon, listen) == [{"address": "::1", "port": port_of(line), "speaks": "plain"}]


@pytest.mark.parametrize("more", [["--metrics-addr=0.0.0.0:{port}"], []])
def test_ports_for_swarm_and_metrics_are_not_told(
    lines: Lines, start: Start, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setattr("remediator.host.common.handshake.STEP_SECONDS", 0.3)
    api, other = lines(), lines("0.0.0.0")
    words = ["-H", f"tcp://127.0.0.1:{port_of(api)}", "--config-file=/nonexistent"]
    daemon = start([api, other], *words, *(word.format(port=port_of(other)) for word in more))
    assert [item["port"] for item in listeners_of(daemon)] == [port_of(api)]


@pytest.mark.parametrize("told", ["127.0.0.1:1", "127.0.0.1:{port}", ""])
def test_an_api_that_is_no_longer_configured_is_told_while_it_is_served(
    lines: Lines, start: Start, tmp_path: Path, told: str
) -> None:
    line = lines("127.0.0.2")
    hosts = ["unix:///x", *([told.format(port=port_of(line))] if told else [])]
    (tmp_path / "d.json").write_text(json.dumps({"hosts": hosts}))
    daemon = start([line], f"--config-file={tmp_path}/d.json")
    assert listeners_of(daemon) == [{"address": "127.0.0.2", "port": port_of(line), "speaks": "plain"}]


def test_what_another_process_listens_on_is_not_spoken_to(lines: Lines, start: Start) -> None:
    own, others = lines(), lines()
    daemon = start([own], "-H", f"tcp://127.0.0.1:{port_of(others)}", "--config-file=/nonexistent")
    assert [item["port"] for item in listeners_of(daemon)] == [port_of(own)]
    assert not was_called(others)


def test_an_address_that_this_host_does_not_have_is_not_called(lines: Lines, start: Start) -> None:
    line = lines("198.51.100.7", freely=True)
    daemon = start([line], "-H", f"tcp://198.51.100.7:{port_of(line)}", "--config-file=/nonexistent")
    state = host_of(daemon)
    found = docker_listeners(state, DockerHost(state))
    assert found == [{"address": "198.51.100.7", "port": port_of(line), "speaks": "nothing"}]
    assert "not an address of this host" in state.files.problems[0]


def test_a_daemon_that_does_not_run_listens_nowhere() -> None:
    state = host_of(None)
    assert docker_listeners(state, DockerHost(state)) == []


def test_of_many_addresses_the_first_are_asked_and_the_rest_is_told(
    lines: Lines, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remediator.host.observe.docker_listeners.LISTENER_SECONDS", 0.5)
    made = [lines() for _ in range(MAX_LISTENERS + 2)]
    words = [f"--host=tcp://127.0.0.1:{port_of(line)}" for line in made]
    daemon = start(made, *words, "--config-file=/nonexistent")
    state = host_of(daemon)
    found = docker_listeners(state, DockerHost(state))
    assert [item["port"] for item in found] == sorted(port_of(line) for line in made)[:MAX_LISTENERS]
    assert "the rest was left out" in state.files.problems[0]


def test_all_addresses_together_have_one_deadline(lines: Lines, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.host.observe.docker_listeners.LISTENER_SECONDS", 0.5)
    made = [lines() for _ in range(6)]
    silent = made[1:]
    daemon = start(made, *[f"--host=tcp://127.0.0.1:{port_of(line)}" for line in silent], "--config-file=/nonexistent")
    started = time.monotonic()
    state = host_of(daemon)
    found = docker_listeners(state, DockerHost(state)) or []
    assert [(item["port"], item["speaks"]) for item in found] == sorted((port_of(line), "nothing") for line in silent)
    assert time.monotonic() - started < 3
    assert "was asked in time" in state.files.problems[0]


@pytest.mark.root
def test_a_daemon_in_a_network_namespace_of_its_own_is_not_looked_at(lines: Lines, start: Start) -> None:
    line = lines()
    words = ("-H", f"tcp://127.0.0.1:{port_of(line)}", "--config-file=/nonexistent")
    daemon = start([line], *words, before=("unshare", "--net"))
    state = host_of(daemon)
    assert docker_listeners(state, DockerHost(state)) is None
    assert "network namespace of its own" in state.files.problems[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2376", [("127.0.0.1", 2376)]),
        ("[::1]:2376", [("::1", 2376)]),
        ("[fe80::1%eth0]:1", [("fe80::1", 1)]),
        ("host.example:2376/", [("host.example", 2376)]),
        (":2376", [("localhost", 2376)]),
        ("0.0.0.0", [("0.0.0.0", 2375), ("0.0.0.0", 2376)]),
        ("", [("localhost", 2375), ("localhost", 2376)]),
        ("[::1", []),
        ("a:b:c", []),
        ("host:port", []),
    ],
)
def test_addresses_are_read_as_dockerd_reads_them(text: str, expected: list[tuple[str, int]]) -> None:
    assert hosts_and_ports(text) == expected


@pytest.mark.parametrize(
    ("words", "listen", "expected"),
    [
        (["-H", "fd://"], "/run/docker.sock", []),
        (["-H", "fd://"], "[::]:2375", [("::", 2375)]),
        (["-H", "unix:///x"], "[::]:2375", []),
        (["-H=tcp://"], "", [("localhost", 2375), ("localhost", 2376)]),
        (["-H", "192.0.2.7:1", "--host=tcp://192.0.2.8:2"], "", [("192.0.2.7", 1), ("192.0.2.8", 2)]),
        ([], "[::]:2375", [("localhost", 2375), ("localhost", 2376)]),
        (["-H", "npipe:////./pipe/docker"], "", []),
    ],
)
def test_the_addresses_of_the_api_are_those_that_are_configured(
    words: list[str], listen: str, expected: list[tuple[str, int]]
) -> None:
    state = host_of(None, listen)
    docker = DockerHost(state)
    docker.words = ["dockerd", *words]
    docker.settings = {}
    assert api_addresses(docker) == expected


@pytest.mark.parametrize("hosts", ["tcp://x", [1, None, {}], {"a": 1}])
def test_hosts_that_are_no_list_of_texts_name_nothing(hosts: Any) -> None:
    docker = DockerHost(host_of(None))
    docker.words = ["dockerd", "-H", "unix:///x"]
    docker.settings = {"hosts": hosts}
    assert api_addresses(docker) == []
