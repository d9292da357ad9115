"""What stand-in hosts have of keys and signing requests, and what observe answers of them there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from remediator.observation import Observation
from remediator.tls.certificates import public_sha256
from remediator.tls.issue import CONFIGURED_KEY, KEY, REQUEST
from remediator.tls.names import common_name

INSTALLED = "/etc/docker/tls/key.pem"


@dataclass(frozen=True)
class Made:
    """A key that a host has, and its signing request."""

    request: bytes
    public: str


def pair(subject: str, claims: str = "") -> Made:
    """A new key and a request for `subject`; `claims` is a name that the request itself asks for."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name(subject))])
    )
    if claims:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(claims)]), critical=False)
    return Made(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), public_sha256(key))


def host_seen(
    staged: Made | None, installed: str | None = None, docker: bool = True, uid: int = 0, **key: Any
) -> dict[str, Any]:
    """What observe answers on a host with this pair waiting, and this key where its daemon reads it."""
    system = {"present": docker, "reason": "Docker is not installed on this host"}
    files: dict[str, Any] = {KEY: {"type": "missing"}, REQUEST: {"type": "missing"}}
    if staged is not None:
        files[KEY] = {"type": "file", "mode": 0o600, "public_sha256": staged.public, **key}
        files[REQUEST] = {"type": "file", "mode": 0o644, "content": staged.request}
    reference: dict[str, Any] = {"status": "absent", "reason": "the daemon has no TLS"}
    if installed is not None:
        files[INSTALLED] = {"type": "file", "mode": 0o400, "public_sha256": installed}
        reference = {"status": "resolved", "paths": [{"path": INSTALLED, "source": "daemon.json tlskey"}]}
    document = {
        "format_version": 1,
        "host": {"python": "3.11.2", "uid": uid},
        "systems": {"docker": system},
        "files": files,
        "references": {CONFIGURED_KEY: reference},
    }
    seen: dict[str, Any] = json.loads(Observation.model_validate(document).model_dump_json())
    return seen
