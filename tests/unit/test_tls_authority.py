"""The private CA: what it signs, what it refuses to sign, and what the real openssl and a real handshake make of it."""

from __future__ import annotations

import re
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from remediator.access import Secret
from remediator.errors import HostError, UsageError
from remediator.tls.authority import Authority, create_authority, open_authority
from remediator.tls.certificates import faults, public_sha256, read_chain
from remediator.tls.names import Names, common_name
from remediator.tls.store import Store
from tests.unit.openssl import P256, RSA, Workshop, openssl, public_digest, text_of
from tests.unit.tls_server import handshake, serving

NOW = datetime.now(UTC)
PASSPHRASE = Secret("correct horse battery")
NAMES = Names(("web1", "api.example"), ("192.0.2.7", "2001:db8::1"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a CA."""
    made = Store(tmp_path / "tls")
    create_authority(made, PASSPHRASE, NOW)
    return made


@pytest.fixture
def authority(store: Store) -> Authority:
    """The CA, open."""
    return open_authority(store, lambda: PASSPHRASE)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Where hosts' requests are made, with openssl as on a host."""
    made = tmp_path / "hosts"
    made.mkdir()
    return Workshop(made)


def test_the_authority_is_what_openssl_calls_one(store: Store) -> None:
    text = text_of(store.authority.read_bytes())
    assert "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0" in text
    assert "X509v3 Key Usage: critical Certificate Sign, CRL Sign" in text
    assert "X509v3 Subject Key Identifier" in text
    assert "NIST CURVE: P-256" in text
    (certificate,) = read_chain(store.authority.read_bytes())
    assert certificate.not_valid_after_utc - NOW > timedelta(days=3650)
    assert b": OK" in openssl("verify", "-x509_strict", "-CAfile", store.authority, store.authority)


def test_two_authorities_have_two_names(store: Store, tmp_path: Path) -> None:
    other = create_authority(Store(tmp_path / "other"), PASSPHRASE, NOW)
    assert other.subject != read_chain(store.authority.read_bytes())[0].subject


def test_its_key_is_kept_encrypted_and_openssl_opens_it_with_the_passphrase(store: Store) -> None:
    pem = store.authority_key.read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE(store.authority_key.stat().st_mode) == 0o600
    opened = openssl(
        "pkey", "-in", store.authority_key, "-passin", "stdin", "-pubout", content=PASSPHRASE.reveal().encode()
    )
    assert opened == openssl("x509", "-noout", "-pubkey", "-in", store.authority)


def test_a_second_authority_is_refused(store: Store) -> None:
    before = store.authority_key.read_bytes()
    with pytest.raises(UsageError, match="There is a CA already"):
        create_authority(store, PASSPHRASE, NOW)
    assert store.authority_key.read_bytes() == before


def test_a_wrong_passphrase_is_told_as_such(store: Store) -> None:
    with pytest.raises(UsageError, match=r"The passphrase is wrong: it does not open .*ca-key\.pem"):
        open_authority(store, lambda: Secret("wrong horse battery"))


def test_without_an_authority_no_passphrase_is_asked_for(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask() -> Secret:
        asked.append("asked")
        return PASSPHRASE

    with pytest.raises(UsageError, match="remediate tls init"):
        open_authority(Store(tmp_path / "none"), ask)
    assert asked == []


def test_a_key_of_another_authority_is_told(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    create_authority(other, PASSPHRASE, NOW)
    other.authority_key.replace(store.authority_key)
    with pytest.raises(UsageError, match=r"ca-key\.pem is not the key of .*ca\.pem"):
        open_authority(store, lambda: PASSPHRASE)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_spoilt_key_is_told(content: bytes, store: Store) -> None:
    store.authority_key.write_bytes(content)
    with pytest.raises(UsageError, match=r"ca-key\.pem is no encrypted key: restore it"):
        open_authority(store, lambda: PASSPHRASE)


def test_a_spoilt_certificate_is_told(store: Store) -> None:
    store.authority.chmod(0o600)
    store.authority.write_bytes(b"garbage")
    with pytest.raises(UsageError, match=r"ca\.pem holds no certificate"):
        open_authority(store, lambda: PASSPHRASE)


def test_the_key_shows_in_no_repr(authority: Authority) -> None:
    assert "_key" not in repr(authority)


@pytest.mark.parametrize("kind", [P256, RSA, ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")])
def test_a_hosts_certificate_bears_the_inventorys_names_and_its_own_key(
    kind: tuple[str, ...], authority: Authority, store: Store, workshop: Workshop
) -> None:
    request = workshop.request("web1", "/CN=web1", kind=kind)
    pem = authority.sign_host(request.read_bytes(), "web1", NAMES, NOW)
    text = text_of(pem)
    assert "Subject: CN = web1 " in text or "Subject: CN=web1 " in text
    assert "DNS:web1, DNS:api.example, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:1" in text
    assert "X509v3 Extended Key Usage: TLS Web Server Authentication X509v3" in text
    assert "X509v3 Basic Constraints: critical CA:FALSE" in text
    encipherment = ", Key Encipherment" if kind == RSA else ""
    assert f"X509v3 Key Usage: critical Digital Signature{encipherment} X509v3" in text
    (certificate,) = read_chain(pem)
    assert public_sha256(certificate) == public_digest(workshop.directory / "web1-key.pem")
    assert certificate.not_valid_after_utc == NOW.replace(microsecond=0) + timedelta(days=397)
    assert NOW - timedelta(minutes=6) < certificate.not_valid_before_utc < NOW
    assert faults(pem, store.authority.read_bytes(), NAMES.all, NOW, "server") == ()
    path = workshop.directory / "web1.pem"
    path.write_bytes(pem)
    strict = ("verify", "-x509_strict", "-CAfile", store.authority, "-purpose")
    assert b": OK" in openssl(*strict, "sslserver", "-verify_hostname", "api.example", path)
    assert b": OK" in openssl(*strict, "sslserver", "-verify_ip", "192.0.2.7", path)


def test_every_certificate_has_a_serial_number_of_its_own(authority: Authority, workshop: Workshop) -> None:
    request = workshop.request("web1", "/CN=web1").read_bytes()
    serials = {read_chain(authority.sign_host(request, "web1", NAMES, NOW))[0].serial_number for _ in range(5)}
    assert len(serials) == 5
    assert all(serial.bit_length() > 100 for serial in serials)


@pytest.mark.parametrize(
    "subject",
    ["/CN=web2", "/", "/CN=WEB1", "/CN=web1 ", "/O=web1", "/CN=web1/O=us", "/O=us/CN=web1", "/CN=web1/CN=web2",
     "/CN=web1+O=us", "/CN=web1\\x00.evil"],
)  # fmt: skip
def test_a_forged_subject_is_refused(subject: str, authority: Authority, workshop: Workshop) -> None:
    request = workshop.request("web1", subject, *(("-multivalue-rdn",) if "+" in subject else ()))
    with pytest.raises(HostError, match=r"web1: its signing request was refused.*subject") as raised:
        authority.sign_host(request.read_bytes(), "web1", NAMES, NOW)
    assert (raised.value.kind, raised.value.host) == ("request", "web1")


@pytest.mark.parametrize(
    "asked",
    ["subjectAltName=DNS:web2", "subjectAltName=DNS:web1", "basicConstraints=critical,CA:true",
     "extendedKeyUsage=clientAuth", "keyUsage=keyCertSign", "1.2.3.4=ASN1:UTF8String:x"],
)  # fmt: skip
def test_a_request_that_asks_for_names_or_extensions_is_refused(
    asked: str, authority: Authority, workshop: Workshop
) -> None:
    request = workshop.request("web1", "/CN=web1", "-addext", asked)
    with pytest.raises(HostError, match="asks for names or extensions of its own"):
        authority.sign_host(request.read_bytes(), "web1", NAMES, NOW)


def test_a_request_with_a_challenge_password_is_refused(authority: Authority, workshop: Workshop) -> None:
    settings = workshop.directory / "req.cnf"
    settings.write_text(
        "[req]\nprompt=no\ndistinguished_name=dn\nattributes=at\n[dn]\nCN=web1\n[at]\nchallengePassword=12345678\n"
    )
    request = openssl("req", "-new", "-key", workshop.key("web1"), "-config", settings)
    with pytest.raises(HostError, match="asks for names or extensions of its own"):
        authority.sign_host(request, "web1", NAMES, NOW)


def test_a_request_without_the_key_that_it_shows_is_refused(authority: Authority, workshop: Workshop) -> None:
    """A host that shows another's public key would get a certificate for a key that it does not have."""
    victim = workshop.key("victim")
    public = workshop.directory / "victim-public.pem"
    openssl("pkey", "-in", victim, "-pubout", "-out", public)
    request = workshop.request("web1", "/CN=web1")
    der = openssl("req", "-in", request, "-outform", "DER")
    own = openssl("pkey", "-in", workshop.directory / "web1-key.pem", "-pubout", "-outform", "DER")
    stolen = openssl("pkey", "-pubin", "-in", public, "-outform", "DER")
    assert own in der
    forged = openssl("req", "-inform", "DER", content=der.replace(own, stolen))
    with pytest.raises(HostError, match="not signed with the key that it shows"):
        authority.sign_host(forged, "web1", NAMES, NOW)


@pytest.mark.parametrize(
    "kind",
    [
        ("-algorithm", "ED25519"),
        ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
    ],
)
def test_a_key_that_not_every_client_takes_is_refused(
    kind: tuple[str, ...], authority: Authority, workshop: Workshop
) -> None:
    request = workshop.request("web1", "/CN=web1", kind=kind)
    with pytest.raises(HostError, match="none of RSA from 2048 bits, ECDSA on P-256 or P-384"):
        authority.sign_host(request.read_bytes(), "web1", NAMES, NOW)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"x" * 100_000])
def test_garbage_for_a_request_is_that_hosts_error(content: bytes, authority: Authority) -> None:
    with pytest.raises(HostError, match=r"web1: its signing request was refused.*cannot be read"):
        authority.sign_host(content, "web1", NAMES, NOW)


@pytest.mark.parametrize("host", ["web_1", "web 1", "münchen", "192.0.2.7", "x" * 64, "y" * 200])
def test_any_inventory_name_can_be_a_subject(host: str, authority: Authority, workshop: Workshop) -> None:
    request = workshop.request("host", f"/CN={common_name(host)}")
    pem = authority.sign_host(request.read_bytes(), host, Names((), ("192.0.2.7",)), NOW)
    subject = openssl("x509", "-noout", "-subject", "-nameopt", "utf8,sname", content=pem).decode().strip()
    assert subject.replace(" ", "") == f"subject=CN={common_name(host)}".replace(" ", "")


def test_nothing_outlives_the_authority_and_an_expired_one_signs_nothing(
    authority: Authority, workshop: Workshop
) -> None:
    end = authority.certificate.not_valid_after_utc
    request = workshop.request("web1", "/CN=web1").read_bytes()
    late = authority.sign_host(request, "web1", NAMES, end - timedelta(days=10))
    assert read_chain(late)[0].not_valid_after_utc == end
    with pytest.raises(UsageError, match=r"The CA expired on .*remediate tls init"):
        authority.sign_host(request, "web1", NAMES, end + timedelta(seconds=1))
    with pytest.raises(UsageError, match="The CA expired"):
        authority.sign_client("ann", end + timedelta(seconds=1))


def test_a_clients_certificate_is_for_clients_alone(authority: Authority, store: Store) -> None:
    pem, key = authority.sign_client("ann", NOW, 10)
    text = text_of(pem)
    assert "X509v3 Extended Key Usage: TLS Web Client Authentication X509v3" in text
    assert "Subject Alternative Name" not in text
    assert read_chain(pem)[0].not_valid_after_utc == NOW.replace(microsecond=0) + timedelta(days=10)
    assert openssl("pkey", "-pubout", content=key) == openssl("x509", "-noout", "-pubkey", content=pem)
    trusted = store.authority.read_bytes()
    assert faults(pem, trusted, (), NOW, "client", soon=timedelta(0)) == ()
    assert "lacks serverAuth" in " ".join(faults(pem, trusted, (), NOW, "server"))


def test_a_real_handshake_takes_the_signed_pair_and_no_other(
    authority: Authority, store: Store, workshop: Workshop
) -> None:
    names = Names(("localhost",), ("127.0.0.1",))
    request = workshop.request("web1", "/CN=web1")
    (workshop.directory / "web1.pem").write_bytes(authority.sign_host(request.read_bytes(), "web1", names, NOW))
    certificate, key = authority.sign_client("ann", NOW)
    (workshop.directory / "ann.pem").write_bytes(certificate)
    (workshop.directory / "ann-key.pem").write_bytes(key)
    daemon = (workshop.directory / "web1.pem", workshop.directory / "web1-key.pem")
    client = (workshop.directory / "ann.pem", workshop.directory / "ann-key.pem")
    with serving(*daemon, store.authority) as port:
        assert handshake(port, "127.0.0.1", store.authority, client) == b"welcome"
        assert handshake(port, "localhost", store.authority, client) == b"welcome"
        with pytest.raises(ssl.SSLCertVerificationError, match=re.compile("mismatch|not valid for")):
            handshake(port, "192.0.2.1", store.authority, client)
        with pytest.raises(ssl.SSLError):
            handshake(port, "127.0.0.1", store.authority, None)
        with pytest.raises(ssl.SSLError):
            handshake(port, "127.0.0.1", store.authority, daemon)  # a server's certificate is no client's
    with serving(*client, store.authority) as port, pytest.raises(ssl.SSLCertVerificationError):
        handshake(port, "127.0.0.1", store.authority, client)
