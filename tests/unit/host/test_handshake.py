"""How real servers on loopback answer a caller without a certificate."""

import base64
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remediator.host.common.handshake import MAX_HEARD, Caller, first_flight, how_it_speaks
from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.docker import DockerHost
from remediator.host.observe.docker_listeners import docker_listeners
from remediator.host.observe.processes import HostProcess
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit

Answer = Callable[[socket.socket], None]
OK = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key beside it, key.pem."""
    place = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", place / "key.pem", "-out", place / "cert.pem", "-subj", "/CN=host", "-days", "2"),
        ],
        check=True,
        capture_output=True,
    )
    return place / "cert.pem"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is given up sooner."""
    monkeypatch.setattr("remediator.host.common.handshake.STEP_SECONDS", 0.3)


class Server:
    """A server on loopback that does with every connection what `answer` does; `heard` is what came in the clear."""

    def __init__(self, answer: Answer, address: str = "127.0.0.1") -> None:
        self.answer = answer
        self.line = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.line.bind((address, 0))
        self.line.listen(50)
        self.port = int(self.line.getsockname()[1])
        self.called = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.line.accept()
            except OSError:
                return
            self.called += 1
            with connection:
                connection.settimeout(20)
                try:
                    self.answer(connection)
                except OSError:
                    continue

    def close(self) -> None:
        self.line.shutdown(socket.SHUT_RDWR)
        self.line.close()
        self.thread.join(30)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Answer, address: str = "127.0.0.1") -> Server:
        servers.append(Server(answer, address))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answer_get(connection: socket.socket) -> None:
    """HTTP, as Go serves it: what is no request is a bad one."""
    said = connection.recv(65536)
    connection.sendall(OK if said.startswith(b"GET /_ping HTTP/1.") else b"HTTP/1.1 400 Bad Request\r\n\r\n400")


def over_tls(certificate: Path, version: ssl.TLSVersion, verify: ssl.VerifyMode, ciphers: str = "") -> Answer:
    """The same over TLS of one version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    context.load_verify_locations(certificate)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = verify
    if ciphers:
        context.set_ciphers(ciphers)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tunnel:
            answer_get(tunnel)

    return answer


def speaks(server: Server, host: str = "127.0.0.1", seconds: float = 10) -> tuple[str, bytes | None]:
    return how_it_speaks(host, server.port, time.monotonic() + seconds)


def der(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("verify", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_tls_that_serves_anybody_is_tls(
    serve: Callable[..., Server], certificate: Path, version: ssl.TLSVersion, verify: ssl.VerifyMode
) -> None:
    assert speaks(serve(over_tls(certificate, version, verify))) == ("tls", der(certificate))


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_that_demands_a_certificate_is_mutual_and_its_own_is_known(
    serve: Callable[..., Server], certificate: Path, version: ssl.TLSVersion
) -> None:
    server = serve(over_tls(certificate, version, ssl.CERT_REQUIRED))
    for _ in range(20):
        assert speaks(server) == ("mutual_tls", der(certificate))


def test_http_without_tls_is_plain(serve: Callable[..., Server]) -> None:
    assert speaks(serve(answer_get)) == ("plain", None)


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden", b"404 Not Found"])
def test_http_is_plain_whatever_it_answers(serve: Callable[..., Server], status: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        if connection.recv(65536).startswith(b"GET "):
            connection.sendall(b"HTTP/1.0 " + status + b"\r\n\r\nno")

    assert speaks(serve(answer)) == ("plain", None)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"200 OK\r\nApi-Version: 1.41\r\n\r\nOK", "plain"),
        (b"200 OK\r\n\r\nOK", "plain"),
        (b"403 Forbidden\r\nServer: Docker/28\r\napi-version: 1.51\r\n\r\nno", "plain"),
        (b"404 Not Found\r\nContent-Type: text/plain\r\n\r\n404 page not found", "nothing"),
        (b"200 OK\r\n\r\n<html>\r\nApi-Version: 1", "nothing"),
        (b"400 Bad Request\r\n\r\nOK", "nothing"),
    ],
)
def test_of_http_only_dockers_answer_counts_where_that_is_asked(
    serve: Callable[..., Server], certificate: Path, said: bytes, expected: str
) -> None:
    def answer(connection: socket.socket) -> None:
        if connection.recv(65536).startswith(b"GET "):
            connection.sendall(b"HTTP/1.0 " + said)

    def answer_over_tls(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tunnel:
            answer(tunnel)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    deadline = time.monotonic() + 10
    assert how_it_speaks("127.0.0.1", serve(answer).port, deadline, only_docker=True) == (expected, None)
    over = "tls" if expected == "plain" else "nothing"
    assert how_it_speaks("127.0.0.1", serve(answer_over_tls).port, deadline, only_docker=True)[0] == over


def test_what_answers_http_by_asking_for_https_is_not_plain(serve: Callable[..., Server]) -> None:
    def answer(connection: socket.socket) -> None:
        if connection.recv(65536).startswith(b"GET "):
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")

    assert speaks(serve(answer)) == ("nothing", None)


def test_what_speaks_tls_is_never_spoken_to_in_the_clear(serve: Callable[..., Server], certificate: Path) -> None:
    for verify in (ssl.CERT_NONE, ssl.CERT_REQUIRED):
        server = serve(over_tls(certificate, ssl.TLSVersion.TLSv1_3, verify))
        speaks(server)
        assert server.called == 1


def test_a_handshake_that_fails_for_another_reason_proves_nothing(
    serve: Callable[..., Server], certificate: Path
) -> None:
    # RSA key exchange with an EC certificate: no cipher fits, and the alert is a handshake failure too.
    answer = over_tls(certificate, ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED, "AES128-SHA256")
    assert speaks(serve(answer)) == ("nothing", None)


def test_a_server_that_hangs_up_after_the_handshake_proves_nothing(
    serve: Callable[..., Server], certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    def answer(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    assert speaks(serve(answer)) == ("nothing", der(certificate))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"\x16\x03\x01", b"\x16\x03\x03\xff\xff" + b"\x0b" * 70000])
def test_what_speaks_neither_is_given_up_in_time(serve: Callable[..., Server], said: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(said)
        while connection.recv(65536):
            pass

    started = time.monotonic()
    assert speaks(serve(answer)) == ("nothing", None)
    assert time.monotonic() - started < 3


def hear_out(caller: Caller) -> None:
    while caller.hear():
        pass


def test_a_server_that_never_stops_talking_is_given_up(serve: Callable[..., Server]) -> None:
    def answer(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.0 200 OK\r\n" + b"x" * 65536)

    server = serve(answer)
    caller = Caller("127.0.0.1", server.port, time.monotonic() + 10)
    with caller.line, pytest.raises(OSError, match="no end"):
        hear_out(caller)
    assert MAX_HEARD < len(caller.heard) < 2 * MAX_HEARD
    assert speaks(server) == ("plain", None)


@pytest.mark.usefixtures("quick")
def test_a_slow_talker_holds_nobody_past_the_deadline(serve: Callable[..., Server]) -> None:
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        while not ended.wait(0.05):
            connection.sendall(b"\x16")

    started = time.monotonic()
    speaks(serve(answer), seconds=0.5)
    ended.set()
    assert time.monotonic() - started < 2


def test_where_nobody_listens_is_an_error() -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused"):
            how_it_speaks("127.0.0.1", line.getsockname()[1], time.monotonic() + 5)


def test_a_first_flight_that_is_cut_or_nonsense_is_read_without_harm() -> None:
    for heard in (b"\x16\x03\x03\x00\x10\x0b\xff\xff\xff", b"\x16\x03\x03\xff\xff" + b"\x0b\x00\x00\x07" * 9, b"\x16"):
        asked, _ = first_flight(heard)
        assert asked is False


def test_a_certificate_travels_as_base64(serve: Callable[..., Server], certificate: Path) -> None:
    server = serve(over_tls(certificate, ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED))
    process = HostProcess(os.getpid(), "unit", "docker.service")
    process.words = ["dockerd", "-H", f"tcp://127.0.0.1:{server.port}", "--config-file=/nonexistent"]
    state = HostState({name: HostUnit(name) for name in UNIT_NAMES}, {"docker.service": process})
    (found,) = docker_listeners(state, DockerHost(state))
    assert found["speaks"] == "mutual_tls"
    assert base64.b64decode(found["certificate"]) == der(certificate)
