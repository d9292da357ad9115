"""The probe of mutual TLS: what a daemon serves, to whom, and how exactly it is told when that is wrong."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remediator.host.commit import mutual_tls
from remediator.host.commit.outcomes import StepError
from remediator.host.commit.request import Step as HostStep
from remediator.host.common import handshake
from remediator.plan import Step
from tests.unit.host.commit.certificates import CLIENT, Certificate, issue
from tests.unit.host.commit.host import CommitHost, chmod, state_of, transaction
from tests.unit.host.commit.test_commit_services import ACTIVE, RESTART, SYSTEMCTL, calls
from tests.unit.host.commit.tls_server import DoubleListener, Listener, listening, server_context

NEW, OLD = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
CA = issue("the CA", ca=True)
SERVED = issue("web1", CA)


@pytest.fixture(params=[NEW, OLD], ids=["TLS 1.3", "TLS 1.2"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    """Whom the refusal of a caller without certificate reaches late, and whom early."""
    assert isinstance(request.param, ssl.TLSVersion)
    return request.param


def probe(host: CommitHost, address: str, sha256: str = SERVED.sha256, authority: bytes = CA.pem) -> dict[str, Any]:
    """The result of a transaction that probes that address."""
    path = host.file("daemon.json")
    file = host.file("ca.pem", authority)
    step = Step(do="mutual_tls", address=address, path=str(file), sha256=sha256)
    [result] = host.run(transaction(chmod(path, 0o600), probe=(step,)))
    assert (path.stat().st_mode & 0o777 == 0o600) == (result["outcome"] == "applied")
    return result


def failure(host: CommitHost, address: str, **changes: Any) -> str:
    result = probe(host, address, **changes)
    assert result["outcome"] == "rolled_back"
    return str(result["reason"])


def test_a_daemon_that_serves_its_certificate_and_nobody_without_one_is_well(
    host: CommitHost, version: ssl.TLSVersion
) -> None:
    with listening(server_context(host.base, SERVED, CA, version)) as port:
        assert probe(host, f"127.0.0.1:{port}")["outcome"] == "applied"
        assert probe(host, f"0.0.0.0:{port}")["outcome"] == "applied"


@pytest.mark.parametrize("address", ["[::]", "[::1]"])
def test_a_listener_on_every_address_of_ipv6_is_called_on_the_loopback_one(host: CommitHost, address: str) -> None:
    with listening(server_context(host.base, SERVED, CA, NEW), "::1") as port:
        assert probe(host, f"{address}:{port}")["outcome"] == "applied"


@pytest.mark.parametrize("listens", ["127.0.0.1", "::1"])
def test_every_address_and_localhost_are_called_on_either_loopback(host: CommitHost, listens: str) -> None:
    with listening(server_context(host.base, SERVED, CA, NEW), listens) as port:
        for address in ("[::]", "localhost", ""):
            assert probe(host, f"{address}:{port}")["outcome"] == "applied"
    with listening(None, listens) as port:
        assert "serves plain HTTP" in failure(host, f"localhost:{port}")


def test_an_address_that_is_not_the_hosts_own_is_not_called(host: CommitHost) -> None:
    for address in ("192.0.2.7", "[2001:db8::7]", "[::ffff:192.0.2.7]"):
        assert "is not an address of this host now, so nobody was called there" in failure(host, f"{address}:2376")


def test_every_loopback_address_is_the_hosts_own_however_it_is_written() -> None:
    assert mutual_tls.call_targets("127.8.9.10:9") == (["127.8.9.10"], 9)
    assert mutual_tls.call_targets("[::ffff:127.0.0.1]:9") == (["127.0.0.1"], 9)


@pytest.mark.parametrize("address", ["node.example", "127.1", "[fe80::1%eth0]"])
def test_a_name_or_a_zone_is_never_looked_up_and_someone_must_listen(
    host: CommitHost, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("nobody is to be called or looked up")

    authority = host.file("ca.pem", CA.pem)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(mutual_tls, "Caller", never)
    with listening(None) as port:
        assert probe(host, f"{address}:{port}")["outcome"] == "applied"
        step = step_for(port, authority)._replace(address=f"{address}:{port}")
        mutual_tls.probe_mutual_tls(step, str(authority), 0.0)
    assert "gives no answer: nobody listens there" in failure(host, f"{address}:{port}")


def test_another_certificate_is_told_by_its_fingerprint(host: CommitHost, version: ssl.TLSVersion) -> None:
    other = issue("web1", CA)
    with listening(server_context(host.base, other, CA, version)) as port:
        reason = failure(host, f"127.0.0.1:{port}")
    assert f"serves another certificate (sha256 {other.sha256}) than" in reason
    assert SERVED.sha256 in reason


def test_a_daemon_that_asks_for_no_certificate_is_found_out(host: CommitHost, version: ssl.TLSVersion) -> None:
    with listening(server_context(host.base, SERVED, None, version)) as port:
        assert "serves callers who have no client certificate" in failure(host, f"127.0.0.1:{port}")


@pytest.mark.parametrize("status", [b"403 Forbidden", b"404 Not Found"])
def test_even_an_error_in_http_is_an_answer_to_a_caller_without_certificate(host: CommitHost, status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\n\r\n"
    with listening(server_context(host.base, SERVED, None, NEW), answer=answer) as port:
        assert "serves callers who have no client certificate" in failure(host, f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (issue("web1", issue("another CA", ca=True)), "unable to get local issuer certificate"),
        (issue("web1", CA, days=-1), "certificate has expired"),
        (issue("web1", CA, usage=CLIENT), "purpose"),
    ],
    ids=["chain", "expired", "usage"],
)
def test_a_certificate_that_clients_would_not_accept_is_told_with_the_reason(
    host: CommitHost, served: Certificate, words: str, version: ssl.TLSVersion
) -> None:
    with listening(server_context(host.base, served, CA, version)) as port:
        reason = failure(host, f"127.0.0.1:{port}", sha256=served.sha256)
    assert "does not verify" in reason
    assert words in reason


def test_an_intermediate_ca_is_trusted_as_dockers_client_trusts_it(host: CommitHost) -> None:
    between = issue("between", CA, ca=True)
    served = issue("web1", between)
    with listening(server_context(host.base, served, between, NEW, chain=between.pem)) as port:
        for authority in (between.pem, CA.pem, b"# \xc3\xbc\n" + CA.pem):
            result = probe(host, f"127.0.0.1:{port}", sha256=served.sha256, authority=authority)
            assert result["outcome"] == "applied"


def test_plain_http_is_found_out(host: CommitHost) -> None:
    with listening(None) as port:
        assert "serves plain HTTP" in failure(host, f"127.0.0.1:{port}")


def test_plain_http_beside_tls_is_found_out(host: CommitHost) -> None:
    both = DoubleListener(server_context(host.base, SERVED, CA, NEW))
    both.start()
    try:
        assert "serves plain HTTP beside TLS" in failure(host, f"127.0.0.1:{both.port}")
    finally:
        both.stop()


def test_what_speaks_neither_is_told_so(host: CommitHost) -> None:
    with listening(None, answer=b"SSH-2.0-x\r\nGo away, this is no HTTP.\r\n") as port:
        reason = failure(host, f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port} gives no answer: it speaks no TLS" in reason


def test_nobody_there_is_told_so(host: CommitHost) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        reason = failure(host, f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port} gives no answer: Connection refused" in reason


def test_a_ca_file_without_a_certificate_is_told_so(host: CommitHost) -> None:
    with listening(server_context(host.base, SERVED, CA, NEW)) as port:
        reason = failure(host, f"127.0.0.1:{port}", authority=b"no certificate")
    assert f"{host.files / 'ca.pem'} holds no certificate of a CA" in reason


@pytest.mark.parametrize(
    "address", ["2376", "host:port", "::1:2376", "[x]:1", "a b:1", "h:99999", "-h:1\n", "u@h:1", "[fe80::1%]:1"]
)
def test_an_address_that_is_none_is_refused_with_the_whole_request(host: CommitHost, address: str) -> None:
    step = Step(do="mutual_tls", address=address, path="/etc/ca.pem", sha256="0" * 64)
    answer = host.start(host.request(transaction(probe=(step,)))).answer()
    assert answer["error"]["kind"] == "request"
    assert "not HOST:PORT" in answer["error"]["message"]


def step_for(port: int, authority: Path) -> HostStep:
    given = {"do": "mutual_tls", "address": f"127.0.0.1:{port}", "path": str(authority), "sha256": SERVED.sha256}
    return HostStep(**{name: given.get(name) for name in HostStep._fields})


def test_a_daemon_that_comes_late_is_waited_for_and_a_wrong_answer_is_not(
    host: CommitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = host.file("ca.pem", CA.pem)
    late = Listener(server_context(host.base, SERVED, CA, NEW))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        late.start()

    monkeypatch.setattr(mutual_tls, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    try:
        mutual_tls.probe_mutual_tls(step_for(late.port, authority), str(authority), 30.0)
    finally:
        late.stop()
    assert len(pauses) == 1
    with listening(None) as port, pytest.raises(StepError, match="serves plain HTTP"):
        mutual_tls.probe_mutual_tls(step_for(port, authority), str(authority), 30.0)
    assert len(pauses) == 1


def test_a_listener_that_never_says_a_word_is_given_up(host: CommitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = host.file("ca.pem", CA.pem)
    monkeypatch.setattr(handshake, "STEP_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        step = step_for(silent.getsockname()[1], authority)
        with pytest.raises(StepError, match="gives no answer: it speaks no TLS"):
            mutual_tls.probe_mutual_tls(step, str(authority), 0.0)


def test_a_daemon_that_was_put_back_need_not_speak_tls(host: CommitHost) -> None:
    host.program("systemctl", SYSTEMCTL)
    path, authority = host.file("daemon.json"), host.file("ca.pem", CA.pem)
    before = state_of(path)
    with listening(None) as port:
        step = Step(do="mutual_tls", address=f"127.0.0.1:{port}", path=str(authority), sha256=SERVED.sha256)
        planned = transaction(chmod(path, 0o600), activation=RESTART, probe=(*ACTIVE, step))
        [result] = host.run(planned)
    assert (result["outcome"], state_of(path)) == ("rolled_back", before)
    assert "serves plain HTTP" in result["reason"]
    assert sum("restart --" in call for call in calls(host)) == 2
