"""The private CA: made once on the controller, opened with its passphrase, and what it signs.

Keys are ECDSA on P-256, which every TLS library of the last ten years has.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from remediator.access import Secret
from remediator.errors import HostError, UsageError
from remediator.text import one_line
from remediator.tls.certificates import UnreadableError, moment, public_sha256, read_chain
from remediator.tls.names import Names, common_name
from remediator.tls.store import Store

AUTHORITY_DAYS = 3652  # ten years
CERTIFICATE_DAYS = 397

_BACKDATED = timedelta(minutes=5)  # a host whose clock is a little behind must not refuse a new certificate
_MAX_REQUEST = 64 * 1024
_RSA_BITS = range(2048, 8193)
_CURVES = (ec.SECP256R1, ec.SECP384R1)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class Authority:
    """The CA, open: it can sign. Its key never shows in `repr` and is written nowhere from here."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign_host(self, request_pem: bytes, host: str, names: Names, now: datetime) -> bytes:
        """The certificate (PEM) that makes the key behind `host`'s signing request that of `names`, for 397 days.

        Whatever the request asks for itself is a reason to refuse it. Raises HostError (kind `request`); UsageError
        where the CA has expired.
        """
        key = _requested_key(request_pem, host)
        return self._sign(key, common_name(host), ExtendedKeyUsageOID.SERVER_AUTH, names, now, CERTIFICATE_DAYS)

    def sign_client(self, name: str, now: datetime, days: int = CERTIFICATE_DAYS) -> tuple[bytes, bytes]:
        """A client's certificate and its new key, both PEM; the key is not encrypted. Raises UsageError."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = self._sign(key.public_key(), common_name(name), usage, Names(), now, days)
        return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def _sign(
        self, key: PublicKey, name: str, usage: ObjectIdentifier, names: Names, now: datetime, days: int
    ) -> bytes:
        last = self.certificate.not_valid_after_utc
        if now >= last:
            raise UsageError(
                f"The CA expired on {moment(last)}, so nothing that it signs would be accepted. Move its directory "
                "away and make a new one with `remediate tls init`."
            )
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        until = min(now.replace(microsecond=0) + timedelta(days=days), last)
        builder = _begun(_common_name(name), self.certificate.subject, key, now, until)
        alternatives = [*map(x509.DNSName, names.dns), *(x509.IPAddress(ip_address(each)) for each in names.addresses)]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(key_encipherment=isinstance(key, rsa.RSAPublicKey)), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(Encoding.PEM)


def create_authority(store: Store, passphrase: Secret, now: datetime) -> x509.Certificate:
    """Make a CA and keep it in `store`; its certificate. Raises UsageError where there is one already."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two CAs of one name would send clients to the wrong key.
    subject = _common_name(f"remediator CA {secrets.token_hex(4)}")
    until = now.replace(microsecond=0) + timedelta(days=AUTHORITY_DAYS)
    certificate = (
        _begun(subject, subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = BestAvailableEncryption(_bytes(passphrase))
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    store.create_authority(certificate.public_bytes(Encoding.PEM), encrypted)
    return certificate


def open_authority(store: Store, passphrase: Callable[[], Secret]) -> Authority:
    """The CA in `store`; its passphrase is asked for only where there is a CA to open.

    Raises UsageError when there is none, the passphrase is wrong or the files do not fit.
    """
    store.require_authority()
    certificate = _certificate(store)
    pem = store.read(store.authority_key) or b""
    try:
        key = load_pem_private_key(pem, _bytes(passphrase()))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if b"BEGIN ENCRYPTED PRIVATE KEY" not in pem:
            raise UsageError(f"{store.authority_key} is no encrypted key: restore it from a backup.") from None
        raise UsageError(
            f"The passphrase is wrong: it does not open {store.authority_key}. Try again with the right one."
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or public_sha256(key) != public_sha256(certificate):
        raise UsageError(f"{store.authority_key} is not the key of {store.authority}: restore the two from one backup.")
    return Authority(certificate, key)


def _certificate(store: Store) -> x509.Certificate:
    try:
        return read_chain(store.read(store.authority) or b"")[0]
    except UnreadableError as error:
        raise UsageError(f"{store.authority} {error}: restore it from a backup.") from None


def _requested_key(pem: bytes, host: str) -> PublicKey:
    """The key of a signing request that asks for nothing but its own host's name. Raises HostError."""
    try:
        if len(pem) > _MAX_REQUEST:
            raise ValueError("it is too large")
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        subject = [(each.oid, each.value) for relative in request.subject.rdns for each in relative]
        asked = len(request.attributes)
    except Exception as error:  # noqa: BLE001 - a host wrote it: whatever is wrong with it is that host's own error
        raise _refused(host, f"it cannot be read ({one_line(str(error), 200) or type(error).__name__})") from None
    if not isinstance(key, PublicKey) or not _is_accepted(key):
        raise _refused(host, "its key is none of RSA from 2048 bits, ECDSA on P-256 or P-384")
    if not _is_signed(request):
        raise _refused(host, "it is not signed with the key that it shows")
    if subject != [(NameOID.COMMON_NAME, common_name(host))]:
        raise _refused(
            host, f"it asks for the subject {one_line(request.subject.rfc4514_string(), 200) or 'of nobody'}"
        )
    if asked:
        raise _refused(host, "it asks for names or extensions of its own, which the inventory alone decides")
    return key


def _refused(host: str, why: str) -> HostError:
    return HostError(
        host,
        "request",
        f"{one_line(host)}: its signing request was refused, and nothing was signed: {why}. Find out who wrote it "
        "there; `remediate tls issue` has the host make a new one.",
    )


def _is_signed(request: x509.CertificateSigningRequest) -> bool:
    """Whether the key was at hand when the request was made; asked only of a key whose size is known to be sane."""
    try:
        return request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        return False


def _is_accepted(key: PublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in _RSA_BITS
    return isinstance(key.curve, _CURVES)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    """A certificate with what all of ours have."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.replace(microsecond=0) - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(signs: bool = False, key_encipherment: bool = False) -> x509.KeyUsage:
    """For a CA that signs certificates and revocation lists, or for a TLS key that signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _bytes(passphrase: Secret) -> bytes:
    return passphrase.reveal().encode("utf-8", "surrogateescape")
