"""The controller's own handshakes, with real TLS servers on this machine in the place of Docker daemons."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from remediator import run
from remediator.access import Access, Secret
from remediator.connection import Connection
from remediator.exit_codes import ExitCode, Threshold
from remediator.inventory import Host, Inventory
from remediator.plan import HostPlan, HostResult, Plan, Step, Transaction, TransactionResult
from remediator.policy import Policy
from remediator.tls import outside
from remediator.tls.authority import Authority, create_authority, open_authority
from remediator.tls.certificates import fingerprint, read_chain
from remediator.tls.clients import ensure_controller
from remediator.tls.names import Names
from remediator.tls.outside import look_from_outside
from remediator.tls.store import Store
from remediator.views.interface import Report
from remediator.views.json import JsonView
from remediator.views.terminal import TerminalView

NAME = "localhost"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
BAD = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Workshop:
    """A CA with the controller's certificate, and the daemon's certificate and key beside it."""

    store: Store
    authority: Authority
    certificate: Path
    key: Path
    fingerprint: str

    def server(self, *, verify: bool = True, trusted: Path | None = None) -> ssl.SSLContext:
        """What dockerd would serve with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(trusted or self.store.authority)
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        return context


def workshop(directory: Path) -> Workshop:
    store = Store(directory / "tls")
    create_authority(store, Secret("correct horse battery"), NOW)
    authority = open_authority(store, lambda: Secret("correct horse battery"))
    ensure_controller(authority, store, NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = authority.sign_host(request.public_bytes(Encoding.PEM), "web1", Names((NAME,)), NOW)
    (directory / "cert.pem").write_bytes(pem)
    (directory / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Workshop(store, authority, directory / "cert.pem", directory / "key.pem", fingerprint(read_chain(pem)[0]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return workshop(tmp_path_factory.mktemp("workshop"))


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a port of its own that gives every connection to `answer`, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=each, args=(line,), daemon=True).start()

    def each(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            answer(line)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def daemon(context: ssl.SSLContext, said: bytes = OK) -> Callable[[socket.socket], None]:
    """Answers as Go's TLS server does: plain HTTP gets a 400 in plain text."""

    def answer(line: socket.socket) -> None:
        if line.recv(1, socket.MSG_PEEK) != b"\x16":
            line.recv(4096)
            line.sendall(BAD)
            return
        with context.wrap_socket(line, server_side=True) as wrapped:
            wrapped.recv(4096)
            wrapped.sendall(said)

    return answer


def plain(line: socket.socket) -> None:
    if line.recv(4096).startswith(b"GET "):
        line.sendall(OK)


def silent(line: socket.socket) -> None:
    while line.recv(4096):
        pass


def host(address: str = NAME, **variables: Any) -> Host:
    return Host("web1", variables, Connection("local", address))


def planned(port: int, made: Workshop, bound: str = "0.0.0.0") -> HostPlan:
    probe = Step(do="mutual_tls", address=f"{bound}:{port}", path="/etc/docker/tls/ca.pem", sha256=made.fingerprint)
    return HostPlan(host="web1", transactions=(Transaction(group="docker", changes=(), probe=(probe,)),))


def notes(
    port: int, made: Workshop, where: Host | None = None, bound: str = "0.0.0.0", outcome: str = "applied"
) -> tuple[str, ...]:
    answer = TransactionResult.model_validate({"group": "docker", "outcome": outcome})
    results = {"web1": HostResult(host="web1", results=(answer,), notes=("seen before",))}
    inventory = Inventory((where or host(),), ("hosts.yml",))
    seen = look_from_outside(inventory, [planned(port, made, bound)], results, made.store.directory, 20)["web1"]
    assert seen.results == (answer,)
    assert seen.notes[0] == "seen before"
    return seen.notes[1:]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_daemon_with_mutual_tls_accepts_the_controller_and_nobody_else(
    made: Workshop, version: ssl.TLSVersion
) -> None:
    context = made.server()
    context.minimum_version = context.maximum_version = version
    with serving(daemon(context)) as port:
        (said,) = notes(port, made)
    assert said == (
        f"from the controller: mutual TLS accepted (localhost:{port}, certificate sha256 {made.fingerprint}); "
        "without a certificate refused; plain HTTP refused"
    )


def test_a_daemon_that_asks_for_no_certificate_is_told_of(made: Workshop) -> None:
    with serving(daemon(made.server(verify=False))) as port:
        (said,) = notes(port, made)
    assert "ANSWERED WITHOUT A CERTIFICATE" in said


def test_a_daemon_that_speaks_plain_http_is_told_of(made: Workshop) -> None:
    with serving(plain) as port:
        (said,) = notes(port, made)
    assert "mutual TLS accepted" not in said
    assert "did not let the controller in" in said
    assert said.endswith("ANSWERED PLAIN HTTP")


def test_a_name_that_clients_use_and_the_certificate_lacks_is_told_of(made: Workshop) -> None:
    with serving(daemon(made.server())) as port:
        (said,) = notes(port, made, host("127.0.0.1"))
    assert f"127.0.0.1:{port} shows a certificate that clients will not accept (IP address mismatch" in said
    assert "without a certificate" not in said
    assert said.endswith("plain HTTP refused")


def test_a_certificate_other_than_the_one_that_was_installed_is_told_of(made: Workshop, tmp_path: Path) -> None:
    with serving(daemon(made.server())) as port:
        other = Workshop(made.store, made.authority, made.certificate, made.key, "0" * 64)
        (said,) = notes(port, other)
    assert f"shows another certificate (sha256 {made.fingerprint}) than the one that was installed" in said


def test_a_daemon_that_trusts_another_ca_does_not_accept_the_controller(made: Workshop, tmp_path: Path) -> None:
    stranger = workshop(tmp_path)
    with serving(daemon(made.server(trusted=stranger.store.authority))) as port:
        (said,) = notes(port, made)
    assert "did not let the controller in with its client certificate" in said
    assert "mutual TLS accepted" not in said


def test_a_daemon_of_another_ca_is_told_of_as_such(made: Workshop, tmp_path: Path) -> None:
    with serving(daemon(workshop(tmp_path).server())) as port:
        (said,) = notes(port, made)
    assert f"shows a certificate of another CA than {made.store.authority}; plain HTTP refused" in said


def test_a_port_that_nobody_answers_at_is_told_of_with_the_reason(made: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (said,) = notes(port, made)
    assert f"localhost:{port} could not be reached (Connection refused)" in said
    assert "firewall" in said


def test_a_server_that_never_answers_costs_no_more_than_the_patience(
    made: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "PATIENCE", 0.3)
    began = time.monotonic()
    with serving(silent) as port:
        (said,) = notes(port, made)
    assert "did not let the controller in with its client certificate (no answer in" in said
    assert "to plain HTTP no answer in time" in said
    assert time.monotonic() - began < 20


def test_a_server_that_drips_its_answer_costs_no_more_than_the_patience(
    made: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "PATIENCE", 0.5)

    def drip(line: socket.socket) -> None:
        with made.server().wrap_socket(line, server_side=True) as wrapped:
            for _ in range(600):
                wrapped.send(b"H")
                time.sleep(0.1)

    began = time.monotonic()
    with serving(drip) as port:
        notes(port, made)
    assert time.monotonic() - began < 20


def test_what_a_server_says_is_not_repeated(made: Workshop) -> None:
    with serving(daemon(made.server(), b"HTTP/1.1 200\x1b[2J" * 10_000)) as port:
        assert "\x1b" not in notes(port, made)[0]
    with serving(daemon(made.server(), b"\x1b]0;x\x07" * 100_000)) as port:
        (said,) = notes(port, made)
    assert "its answer is not a Docker daemon's" in said
    assert "\x1b" not in said


def test_a_controller_that_holds_nothing_says_nothing(made: Workshop, tmp_path: Path) -> None:
    empty = Workshop(Store(tmp_path), made.authority, made.certificate, made.key, made.fingerprint)
    with serving(daemon(made.server())) as port:
        assert notes(port, empty) == ()


@pytest.mark.parametrize("bound", ["127.0.0.1", "[::1]", "localhost"])
def test_a_listener_for_the_host_alone_is_not_tried_from_outside(made: Workshop, bound: str) -> None:
    with serving(daemon(made.server())) as port:
        assert notes(port, made, bound=bound) == ()


@pytest.mark.parametrize("outcome", ["rolled_back", "stale", "held", "refused", "unreported", "broken"])
def test_only_what_was_applied_is_tried(made: Workshop, outcome: str) -> None:
    with serving(daemon(made.server())) as port:
        assert notes(port, made, outcome=outcome) == ()


def test_an_encrypted_client_key_is_no_question_at_the_terminal(made: Workshop, tmp_path: Path) -> None:
    certificate, key = made.authority.sign_client("ops", NOW)
    (tmp_path / "cert.pem").write_bytes(certificate)
    private = ec.generate_private_key(ec.SECP256R1())
    sealed = BestAvailableEncryption(b"sesame open sesame")
    (tmp_path / "key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    own = {
        "docker_tls_ca_file": str(made.store.authority),
        "docker_tls_cert_file": str(made.certificate),
        "docker_tls_key_file": str(made.key),
        "docker_tls_client_cert_file": str(tmp_path / "cert.pem"),
        "docker_tls_client_key_file": str(tmp_path / "key.pem"),
    }
    with serving(daemon(made.server())) as port:
        (said,) = notes(port, made, host(**own))
        assert f"was not tried: the client certificate {tmp_path}/cert.pem cannot be used" in said
        (tmp_path / "key.pem").write_bytes(key)
        (said,) = notes(port, made, host(**own))
        assert "mutual TLS accepted" in said


def test_every_host_of_a_fleet_is_tried_though_few_at_a_time(made: Workshop) -> None:
    hosts = [Host(f"web{number}", {}, Connection("local", NAME)) for number in range(7)]
    answer = TransactionResult(group="docker", outcome="applied")
    with serving(daemon(made.server())) as port:
        plans = [planned(port, made).model_copy(update={"host": each.name}) for each in hosts]
        results = {each.name: HostResult(host=each.name, results=(answer,)) for each in hosts}
        seen = look_from_outside(Inventory(tuple(hosts), ()), plans, results, made.store.directory, 2)
    assert [len(each.notes) for each in seen.values()] == [1] * 7


class _Kept(TerminalView):
    """A terminal view that keeps the last report."""

    report: Report

    def applied(self, report: Report) -> None:
        self.report = report


def applied(made: Workshop, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[_Kept, Any]:
    """An apply whose carrier answers that the daemon was opened at `port`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("remediator.tls.store.store_directory", lambda: made.store.directory)
    plan = Plan(controls=(), hosts=(planned(port, made),))
    done = tuple(
        TransactionResult(group=each.group, outcome="applied", digest=each.digest)
        for each in plan.hosts[0].transactions
    )
    answer = HostResult(host="web1", results=done, after=HostPlan(host="web1"))
    view = _Kept(io.StringIO(), io.StringIO(), verbose=False)
    prospect = run.Prospect(plan, Inventory((host(),), ("hosts.yml",)), Access(sources=("hosts.yml",)), Policy())
    approach = run.Approach(run.Batches((1,), 0), "", Threshold())
    return view, lambda: run.apply(prospect, approach, view, lambda _: True, lambda *_: {"web1": answer})


def test_an_apply_reports_and_records_what_the_controller_met_and_fails_where_that_contradicts_the_host(
    made: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(daemon(made.server(verify=False))) as port:
        view, call = applied(made, port, monkeypatch, tmp_path)
        assert call() == ExitCode.FAILED
    (said,) = view.report.results["web1"].notes
    assert "ANSWERED WITHOUT A CERTIFICATE" in said
    shown = {"text": io.StringIO(), "json": io.StringIO()}
    TerminalView(shown["text"], io.StringIO(), verbose=False).applied(view.report)
    JsonView(shown["json"], io.StringIO()).applied(view.report)
    assert f"web1  {said}" in shown["text"].getvalue()
    assert json.loads(shown["json"].getvalue())["hosts"][0]["notes"] == [said]
    (record,) = (tmp_path / "state" / "remediator" / "runs").iterdir()
    assert "ANSWERED WITHOUT A CERTIFICATE" in record.read_text()


def test_ctrl_c_while_looking_from_outside_still_reports_and_records_the_apply(
    made: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupting(line: socket.socket) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        silent(line)

    monkeypatch.setattr(outside, "PATIENCE", 60.0)
    began = time.monotonic()
    with serving(interrupting) as port:
        view, call = applied(made, port, monkeypatch, tmp_path)
        with pytest.raises(KeyboardInterrupt):
            call()
    assert time.monotonic() - began < 30
    assert view.report.results["web1"].results[0].outcome == "applied"
    (record,) = (tmp_path / "state" / "remediator" / "runs").iterdir()
    assert '"state": "interrupted"' in record.read_text()
    assert '"outcome": "applied"' in record.read_text()
