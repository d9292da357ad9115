"""Certificates that openssl made, right and wrong in every way, and what is said of each."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from remediator.text import is_plain
from remediator.tls.certificates import (
    MAX_CERTIFICATES,
    MAX_SIZE,
    UnreadableError,
    describe,
    faults,
    fingerprint,
    public_sha256,
    read_chain,
    to_pem,
)
from tests.unit.openssl import RSA, Pair, Workshop, openssl, public_digest

NOW = datetime.now(UTC) + timedelta(hours=1)  # what is made from now on is valid by then
NAMES = ("web1.example", "192.0.2.7")
BOTH = "DNS:web1.example,IP:192.0.2.7"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Where this module's certificates are made."""
    return Workshop(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def authority(workshop: Workshop) -> Pair:
    """The CA that everybody trusts here."""
    return workshop.authority("trusted")


@pytest.fixture(scope="module")
def server(workshop: Workshop, authority: Pair) -> Pair:
    """A daemon's certificate that is right in every way."""
    return workshop.server("web1", authority, BOTH)


def judged(chain: bytes, authority: Pair, names: tuple[str, ...] = NAMES, now: datetime = NOW) -> str:
    """All faults of a daemon's chain in one text."""
    return "; ".join(faults(chain, authority.pem, names, now, "server"))


def test_a_certificate_as_dockers_guide_makes_it_has_no_fault(server: Pair, authority: Pair) -> None:
    assert judged(server.pem, authority) == ""


@pytest.mark.parametrize("kind", [RSA, ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")])
def test_rsa_and_other_curves_are_as_good(kind: tuple[str, ...], workshop: Workshop) -> None:
    stem = "-".join(kind[-1].split(":"))
    authority = workshop.authority(f"ca-{stem}", kind=kind)
    usage = f"subjectAltName={BOTH}\nextendedKeyUsage=serverAuth\n"
    assert judged(workshop.signed(f"server-{stem}", authority, usage, kind=kind).pem, authority) == ""


def test_the_end_of_a_lifetime_is_told_before_and_after(server: Pair, authority: Pair) -> None:
    assert judged(server.pem, authority, now=NOW + timedelta(days=334)) == ""
    soon = judged(server.pem, authority, now=NOW + timedelta(days=336))
    assert soon.startswith("expires within 30 days, on ")
    late = judged(server.pem, authority, now=NOW + timedelta(days=366))
    assert late.startswith("expired on ")
    assert "chain" not in late
    assert judged(server.pem, authority, now=NOW - timedelta(days=1)).startswith("is not valid before ")


def test_how_soon_is_soon_can_be_said(server: Pair, authority: Pair) -> None:
    late = NOW + timedelta(days=364)
    assert faults(server.pem, authority.pem, NAMES, late, "server", soon=timedelta(0)) == ()


def test_an_authority_that_expires_is_told(workshop: Workshop, authority: Pair) -> None:
    long = workshop.server("long", authority, BOTH, days=7300)
    assert "CN=trusted, whose certificate expires within" in judged(long.pem, authority, now=NOW + timedelta(days=3630))
    assert "issuer CN=trusted is not valid at this time" in judged(long.pem, authority, now=NOW + timedelta(days=3660))


def test_another_authority_is_told_by_name_and_by_key(workshop: Workshop, server: Pair) -> None:
    other = workshop.authority("other")
    assert "it was issued by CN=trusted, the CA is CN=other" in judged(server.pem, other)
    impostor = workshop.authority("impostor", "/CN=trusted")
    assert "does not chain to the CA: signature does not match" in judged(server.pem, impostor)


def test_a_ca_file_may_hold_several_authorities(workshop: Workshop, server: Pair, authority: Pair) -> None:
    several = workshop.authority("elsewhere").pem + b"# a comment\n" + authority.pem
    assert faults(server.pem, several, NAMES, NOW, "server") == ()


def test_an_intermediate_is_needed_and_must_be_one(workshop: Workshop, authority: Pair) -> None:
    sub = workshop.signed("sub", authority, "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign\n")
    leaf = workshop.server("below", sub, BOTH)
    assert judged(leaf.pem + sub.pem, authority) == ""
    assert "issued by CN=sub, the CA is CN=trusted" in judged(leaf.pem, authority)
    plain = workshop.server("plain", authority, BOTH)
    forged = workshop.server("forged", plain, BOTH)
    assert "does not chain to the CA" in judged(forged.pem + plain.pem, authority)


def test_an_intermediate_for_clients_alone_makes_no_servers(workshop: Workshop, authority: Pair) -> None:
    limits = "basicConstraints=critical,CA:true\nextendedKeyUsage=clientAuth\n"
    sub = workshop.signed("clients-only", authority, limits)
    leaf = workshop.server("below-clients", sub, BOTH)
    assert "CN=clients-only, which must not issue certificates for servers" in judged(leaf.pem + sub.pem, authority)


def test_an_intermediate_that_may_not_sign_certificates_is_told(workshop: Workshop, authority: Pair) -> None:
    sub = workshop.signed("no-sign", authority, "basicConstraints=critical,CA:true\nkeyUsage=cRLSign\n")
    leaf = workshop.server("below-no-sign", sub, BOTH)
    assert "CN=no-sign, whose key usage does not allow that" in judged(leaf.pem + sub.pem, authority)


def test_a_certificate_that_is_trusted_by_itself_needs_no_other_ca(workshop: Workshop) -> None:
    own = ("-addext", f"subjectAltName={BOTH}", "-addext", "extendedKeyUsage=serverAuth")
    path = workshop.directory / "own.pem"
    openssl("req", "-x509", "-key", workshop.key("own"), "-subj", "/CN=own", "-days", "90", *own, "-out", path)
    assert judged(path.read_bytes(), Pair(path, path)) == ""


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("web2.example",), "web2.example"),
        (("192.0.2.8",), "192.0.2.8"),
        (("web1.example", "example"), "example"),
        (("2001:db8::1",), "2001:db8::1"),
    ],
)
def test_every_name_must_be_borne(names: tuple[str, ...], missing: str, server: Pair, authority: Pair) -> None:
    said = judged(server.pem, authority, names)
    assert f"does not bear the name {missing} (it bears web1.example, 192.0.2.7)" in said


def test_an_address_written_as_a_dns_name_is_no_address(workshop: Workshop, authority: Pair) -> None:
    wrong = workshop.server("dns-ip", authority, "DNS:192.0.2.7,DNS:web1.example")
    assert "does not bear the name 192.0.2.7" in judged(wrong.pem, authority)


def test_a_wildcard_covers_one_label(workshop: Workshop, authority: Pair) -> None:
    wild = workshop.server("wild", authority, "DNS:*.Example")
    assert judged(wild.pem, authority, ("web1.example", "WEB2.example")) == ""
    assert "a.web1.example" in judged(wild.pem, authority, ("a.web1.example",))
    assert "name example " in judged(wild.pem, authority, ("example",))


def test_a_common_name_is_no_name(workshop: Workshop, authority: Pair) -> None:
    old = workshop.signed("web1.example", authority, "extendedKeyUsage=serverAuth\n")
    assert "does not bear the name web1.example (it bears none)" in judged(old.pem, authority, ("web1.example",))


@pytest.mark.parametrize(
    ("usage", "server_fault", "client_fault"),
    [
        ("extendedKeyUsage=serverAuth\n", False, True),
        ("extendedKeyUsage=clientAuth\n", True, False),
        ("extendedKeyUsage=serverAuth,clientAuth\n", False, False),
        ("extendedKeyUsage=anyExtendedKeyUsage\n", False, False),
        ("extendedKeyUsage=codeSigning\n", True, True),
        ("", True, True),
    ],
)
def test_the_extended_key_usage_must_say_what_it_is_for(
    usage: str, server_fault: bool, client_fault: bool, workshop: Workshop, authority: Pair
) -> None:
    made = workshop.signed(f"usage-{usage.strip()[17:]}", authority, f"subjectAltName={BOTH}\n{usage}")
    found = faults(made.pem, authority.pem, NAMES, NOW, "server")
    assert found == (("is not one for a server: its extended key usage lacks serverAuth",) if server_fault else ())
    found = faults(made.pem, authority.pem, (), NOW, "client")
    assert found == (("is not one for a client: its extended key usage lacks clientAuth",) if client_fault else ())


def test_an_algorithm_that_not_every_client_has_is_told(workshop: Workshop) -> None:
    authority = workshop.authority("edwards", kind=("-algorithm", "ED25519"))
    made = workshop.server("by-edwards", authority, BOTH)
    assert "algorithms that every client has" in judged(made.pem, authority)


def test_every_reason_is_told_at_once(workshop: Workshop, server: Pair) -> None:
    found = faults(server.pem, workshop.authority("another").pem, ("x.example",), NOW + timedelta(days=400), "client")
    assert len(found) == 4


def test_digests_are_those_of_openssl(server: Pair) -> None:
    (certificate,) = read_chain(server.pem)
    der = openssl("x509", "-outform", "DER", content=server.pem)
    assert fingerprint(certificate) == hashlib.sha256(der).hexdigest()
    assert public_sha256(certificate) == public_digest(server.key)


def test_a_certificate_is_described_in_words(server: Pair) -> None:
    (certificate,) = read_chain(server.pem)
    subject, names, valid, issuer, sha256, public = describe(certificate)
    assert (subject, issuer) == ("subject: CN=web1", "issuer: CN=trusted")
    assert names == "names: web1.example, 192.0.2.7"
    assert valid.startswith("valid: 20")
    assert valid.endswith(" UTC")
    assert sha256 == f"sha256: {fingerprint(certificate)}"
    assert public == f"public key sha256: {public_digest(server.key)}"


def test_a_description_is_harmless_and_bounded(workshop: Workshop, authority: Pair) -> None:
    names = ",".join(f"DNS:\x1b[31m{number}.example" for number in range(2000))
    path = workshop.request("evil", "/CN=\x1b]0;owned\x07\u202e")
    wanted = workshop.directory / "evil.ext"
    wanted.write_text(f"subjectAltName={names}\n")
    signer = ("-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial")
    made = openssl("x509", "-req", "-in", path, *signer, "-extfile", wanted)
    said = [*describe(read_chain(made)[0]), *faults(made, authority.pem, ("\x1b[0m.example",), NOW, "server")]
    assert all(is_plain(line) for line in said)
    assert sum(map(len, said)) < 5000
    assert "and 1980 more" in said[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no certificate"),
        (b"\xff\x00 garbage", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
        (b"x" * (MAX_SIZE + 1), "is larger than 256 KiB"),
        (b"-----BEGIN CERTIFICATE-----\n" * (MAX_CERTIFICATES + 1), "more than 10 certificates"),
        (b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "holds a private key"),
    ],
)
def test_what_is_no_certificate_is_a_reason(content: bytes, words: str, server: Pair, authority: Pair) -> None:
    with pytest.raises(UnreadableError, match=words):
        read_chain(content)
    (as_chain,) = faults(content, authority.pem, NAMES, NOW, "server")
    (as_authority,) = faults(server.pem, content, NAMES, NOW, "server")
    assert as_chain.startswith("is in a file that ")
    assert as_authority.startswith("has a CA whose file ")
    assert words in as_chain
    assert words in as_authority


def test_only_certificates_are_passed_on(server: Pair, authority: Pair) -> None:
    commented = b"token=hunter2\n" + openssl("x509", "-text", content=server.pem) + b"\n# more\n" + authority.pem
    passed = to_pem(read_chain(commented))
    assert passed == server.pem + authority.pem


def test_a_maze_of_cross_signed_authorities_ends_soon(workshop: Workshop, authority: Pair) -> None:
    """Path building is exponential in careless hands: eight authorities of one name and key, none of them trusted."""
    loop = workshop.authority("maze")
    twins = b"".join(
        openssl("req", "-new", "-x509", "-key", loop.key, "-subj", "/CN=maze", "-days", str(days))
        for days in range(100, 108)
    )
    leaf = workshop.server("lost", loop, BOTH)
    began = time.monotonic()
    assert "does not chain to the CA" in judged(leaf.pem + twins, authority)
    assert time.monotonic() - began < 5


def test_no_damage_to_a_certificate_is_more_than_a_reason(server: Pair, authority: Pair) -> None:
    noise = random.Random(4)  # noqa: S311 - the same damage at every run
    whole = openssl("x509", "-in", server.certificate, "-outform", "DER")
    for _ in range(3000):
        der = bytearray(whole)
        for _ in range(noise.randrange(1, 12)):
            der[noise.randrange(len(der))] = noise.randrange(256)
        pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(der)) + b"-----END CERTIFICATE-----\n"
        said = [*faults(pem, authority.pem, NAMES, NOW, "server"), *faults(server.pem, pem, NAMES, NOW, "server")]
        assert said or der == whole
        with contextlib.suppress(UnreadableError):
            said += describe(read_chain(pem)[0])
        assert all(is_plain(line) for line in said)
