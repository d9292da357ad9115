"""Keys and certificates for tests, made in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key, passphrase: bytes = b"", form: str = "PKCS8") -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    private = {"PKCS8": serialization.PrivateFormat.PKCS8, "EC": serialization.PrivateFormat.TraditionalOpenSSL}[form]
    return key.private_bytes(serialization.Encoding.PEM, private, encryption)


def public_sha256(key: ec.EllipticCurvePublicKey) -> str:
    """The digest by which a preview names a key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key."""

    held: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.held.public_bytes(serialization.Encoding.PEM)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.held.public_bytes(serialization.Encoding.DER)).hexdigest()


def issue(
    name: str,
    issuer: Certificate | None = None,
    *,
    ca: bool = False,
    usage: x509.ObjectIdentifier = SERVER,
    days: int = 1,
) -> Certificate:
    """A certificate of `issuer`, or one that signed itself; `days` until it expires."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.held.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Certificate(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)
