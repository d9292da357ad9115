"""Whose clients a server says it takes: the names of the CAs that its process trusts, as real servers send them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from remediator.host.common.handshake import MAX_AUTHORITIES, accepted_authorities, authorities_in
from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.docker import DockerHost
from remediator.host.observe.docker_listeners import docker_listeners
from remediator.host.observe.processes import HostProcess
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit
from remediator.observation import Listener
from remediator.tls.authority_names import in_words, not_among, subject
from remediator.tls.certificates import read_chain
from tests.unit.openssl import Pair, Workshop

PATIENCE = 20.0


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="module")
def pair(workshop: Workshop) -> Pair:
    """The server's own certificate; its CA is among those whose clients it takes."""
    return workshop.server("host", workshop.authority("first", "/O=Lab/CN=First CA"), "IP:127.0.0.1")


@contextmanager
def openssl_server(pair: Pair, authorities: Path, *more: str) -> Iterator[tuple[int, int]]:
    """(port, process id) of a real server that demands a certificate of one of `authorities`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    files = ["-cert", str(pair.certificate), "-key", str(pair.key), "-CAfile", str(authorities)]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", *files, "-Verify", "1", "-verify_return_error"]
    # It ends with its standard input.
    server = subprocess.Popen(
        [*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert server.stdout is not None
        while not server.stdout.readline().startswith(b"ACCEPT"):
            assert server.poll() is None
        yield port, server.pid
    finally:
        server.kill()
        server.wait()


def named(port: int) -> list[bytes] | None:
    return accepted_authorities("127.0.0.1", port, time.monotonic() + PATIENCE)


def file_of(workshop: Workshop, *stems: str) -> Path:
    path = workshop.directory / ("-".join(stems) + ".bundle")
    path.write_bytes(b"".join((workshop.directory / f"{stem}.pem").read_bytes() for stem in stems))
    return path


@pytest.mark.parametrize("versions", [(), ("-tls1_2",)])
def test_a_server_names_every_ca_that_it_trusts(workshop: Workshop, pair: Pair, versions: tuple[str, ...]) -> None:
    second = workshop.authority("second", "/CN=Second CA")
    with openssl_server(pair, file_of(workshop, "first", "second"), *versions) as (port, _):
        found = named(port)
    assert found is not None
    assert sorted(map(in_words, found)) == ["Lab, First CA", "Second CA"]
    both = read_chain(file_of(workshop, "first", "second").read_bytes())
    assert not_among(found, both) == []
    assert not_among(found, read_chain(second.pem)) == [subject(both[0])]


def test_a_server_of_tls_1_3_alone_says_nothing_in_the_clear(workshop: Workshop, pair: Pair) -> None:
    with openssl_server(pair, file_of(workshop, "first"), "-tls1_3") as (port, _):
        assert named(port) is None


def test_the_names_travel_as_base64_with_the_listener(workshop: Workshop, pair: Pair) -> None:
    with openssl_server(pair, file_of(workshop, "first")) as (port, pid):
        process = HostProcess(pid, "unit", "docker.service")
        process.words = ["dockerd", "-H", f"tcp://127.0.0.1:{port}", "--config-file=/nonexistent"]
        state = HostState({name: HostUnit(name) for name in UNIT_NAMES}, {"docker.service": process})
        (found,) = docker_listeners(state, DockerHost(state)) or []
    listener = Listener.model_validate(found)
    assert listener.speaks == "mutual_tls"
    assert list(map(in_words, listener.authorities or ())) == ["Lab, First CA"]


@contextmanager
def raw_server(said: bytes, endless: bool = False) -> Iterator[int]:
    """The port of a server that says `said` to whoever calls."""
    with socket.create_server(("127.0.0.1", 0)) as line:

        def serve() -> None:
            connection, _ = line.accept()
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    connection.recv(65536)
                    connection.sendall(said)
                    while endless:
                        connection.sendall(said)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield line.getsockname()[1]
        thread.join(PATIENCE)


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def record(content: bytes) -> bytes:
    return b"\x16\x03\x03" + len(content).to_bytes(2, "big") + content


def request(names: bytes, before: bytes = b"\x01\x40\x00\x02\x04\x03") -> bytes:
    return message(13, before + len(names).to_bytes(2, "big") + names)


HELLO = message(2, b"\x03\x03" + bytes(38))
NAME = b"\x00\x02\x30\x00"


def test_names_that_come_in_several_records_are_put_together() -> None:
    said = HELLO + request(NAME * 3)
    heard = b"".join(record(said[at : at + 7]) for at in range(0, len(said), 7))
    assert authorities_in(heard) == [b"\x30\x00"] * 3


@pytest.mark.parametrize(
    "said",
    [
        b"",
        record(HELLO),
        record(HELLO) + record(request(NAME))[:-1],  # cut short
        record(HELLO) + record(request(b"\x00\x09\x30\x00")),  # a name that is longer than the list
        record(HELLO) + record(request(NAME + b"\x00")),
        record(HELLO) + record(request(NAME, b"\xff\x40")),
        record(HELLO) + record(message(13, b"\x01\x40\x00\x02\x04\x03\x00\x04" + NAME + b"more")),
        record(message(2, b"\x03\x02" + bytes(38))) + record(request(NAME)),  # TLS 1.1: laid out otherwise
        record(request(NAME)),
        b"\x16\x03\x03\xff\xff" + b"\x0d" * 70000,
    ],
)
def test_what_is_cut_short_or_nonsense_names_nobody(said: bytes) -> None:
    assert authorities_in(said) is None


def test_of_very_many_names_the_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.host.common.handshake.STEP_SECONDS", 0.5)
    with raw_server(record(HELLO) + record(request(NAME * 4000))) as port:
        assert named(port) == [b"\x30\x00"] * MAX_AUTHORITIES


def test_who_never_stops_talking_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.host.common.handshake.STEP_SECONDS", 0.5)
    started = time.monotonic()
    with raw_server(record(message(11, bytes(60000))), endless=True) as port:
        assert named(port) is None
    assert time.monotonic() - started < PATIENCE


def test_a_certificates_own_name_is_told_and_not_its_issuers(pair: Pair) -> None:
    (leaf,) = read_chain(pair.pem)
    assert in_words(subject(leaf)) == "host"
    assert subject(leaf) == leaf.subject.public_bytes()


def test_a_name_is_shown_by_its_texts_and_harmless() -> None:
    parts = [(NameOID.ORGANIZATION_NAME, "Zürich"), (NameOID.COMMON_NAME, "CA\x1b[31m")]
    name = x509.Name([x509.NameAttribute(*part) for part in parts])
    assert in_words(name.public_bytes()) == "Zürich, CA\\x1b[31m"


@pytest.mark.parametrize(
    "name", [b"", b"\x30", b"\x30\xff", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80" * 30000, bytes(65535)]
)
def test_a_name_that_is_none_is_shown_as_none_and_in_no_certificate(name: bytes, pair: Pair) -> None:
    started = time.monotonic()
    assert in_words(name) == "a name that cannot be shown"
    assert not_among([name], read_chain(pair.pem)) == [name]
    assert time.monotonic() - started < 1
