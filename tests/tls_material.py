"""Certificates for tests that decide: two real CAs, what they signed, and a host document's words for them.

In a document `pem:NAME` stands for a certificate's text in base64, `der:NAME` for the certificate in DER, `name:NAME`
for its subject in DER, `public:NAME` for the sha256 of its public half. `renewed` has the key of `good`, `moved`
another.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from remediator.access import Secret
from remediator.surroundings import Material
from remediator.tls.authority import Authority, create_authority, open_authority
from remediator.tls.certificates import describe, fingerprint, public_sha256, read_chain
from remediator.tls.names import Names
from remediator.tls.store import Store

NOW = datetime(2026, 7, 1, tzinfo=UTC)
HOST = "recorded"
_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Held:
    """A certificate in PEM and the CA's that signed it."""

    certificate: bytes
    authority: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return read_chain(self.certificate)[0]

    def as_material(self, source: Literal["host", "controller"]) -> Material:
        """What a controller holds for the host."""
        return Material(
            authority=self.authority,
            certificate=self.certificate,
            public_sha256=public_sha256(self.leaf),
            fingerprint=fingerprint(self.leaf),
            expires=self.leaf.not_valid_after_utc,
            source=source,
            details=describe(self.leaf),
        )


@cache
def held() -> dict[str, Held]:
    """Every certificate by name; `ca` and `other-ca` are the two CAs, `both-cas` one file with them."""
    ours, theirs = _authority(), _authority()
    key, moved = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    right = Names((HOST,), ("192.0.2.7",))

    def signed(by: Authority, now: datetime, names: Names = right, of: ec.EllipticCurvePrivateKey = key) -> Held:
        return Held(by.sign_host(_request(of), HOST, names, now), _pem(by.certificate))

    return {
        "ca": Held(_pem(ours.certificate), _pem(ours.certificate)),
        "other-ca": Held(_pem(theirs.certificate), _pem(theirs.certificate)),
        "both-cas": Held(_pem(theirs.certificate) + _pem(ours.certificate), _pem(ours.certificate)),
        "good": signed(ours, datetime(2026, 2, 1, tzinfo=UTC)),
        "renewed": signed(ours, datetime(2026, 6, 1, tzinfo=UTC)),
        "moved": signed(ours, datetime(2026, 6, 1, tzinfo=UTC), of=moved),
        "ending": signed(ours, datetime(2025, 6, 15, tzinfo=UTC)),
        "expired": signed(ours, _BEGAN),
        "misnamed": signed(ours, datetime(2026, 2, 1, tzinfo=UTC), Names(("elsewhere",))),
        "of-other-ca": signed(theirs, datetime(2026, 2, 1, tzinfo=UTC)),
        "client": Held(ours.sign_client("someone", datetime(2026, 2, 1, tzinfo=UTC))[0], _pem(ours.certificate)),
    }


def filled(value: Any) -> Any:
    """A document with the certificates in place of the words that stand for them."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    kind, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    return _WORDS[kind](held()[name]) if colon and kind in _WORDS else value


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


_WORDS: dict[str, Callable[[Held], str]] = {
    "pem": lambda one: _base64(one.certificate),
    "der": lambda one: _base64(one.leaf.public_bytes(Encoding.DER)),
    "name": lambda one: _base64(one.leaf.subject.public_bytes()),
    "public": lambda one: public_sha256(one.leaf),
    "sha256": lambda one: hashlib.sha256(one.certificate).hexdigest(),
}


def _authority() -> Authority:
    with tempfile.TemporaryDirectory() as directory:
        store, passphrase = Store(Path(directory)), Secret("only for this test")
        create_authority(store, passphrase, _BEGAN)
        return open_authority(store, lambda: passphrase)


def _request(key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
