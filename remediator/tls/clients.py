"""Certificates for clients: a user's, whose key goes into a bundle only, and the controller's own."""

from __future__ import annotations

import re
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from remediator.errors import UsageError
from remediator.text import one_line
from remediator.tls.authority import CERTIFICATE_DAYS, Authority
from remediator.tls.certificates import UnreadableError, faults, public_sha256, read_chain, to_pem
from remediator.tls.store import Store

CONTROLLER = "controller"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{1,62}")  # what `docker context create` takes for a name as well
_TAKEN = {CONTROLLER: "the controller itself", "default": "Docker's own context"}
_KEPT = 9  # earlier certificates of one client: with the new one, as many as one file may hold


def check_client_name(name: str) -> None:
    """Raises UsageError unless `name` can be a client's, and a docker context's."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{one_line(name, 80)}: a client's name is 2 to 63 letters, digits and _ . + - and begins with a letter or "
            "a digit."
        )
    if name in _TAKEN:
        raise UsageError(f"{name} is the name of {_TAKEN[name]}. Choose another.")


def issue_client(
    authority: Authority, store: Store, name: str, now: datetime, days: int = CERTIFICATE_DAYS
) -> tuple[bytes, bytes]:
    """A new certificate for the client `name` and its key, both PEM. The store keeps the certificate alone.

    Earlier ones that have not expired stay on record: there is no way to call them back. Raises UsageError.
    """
    check_client_name(name)
    earlier = _earlier(store, name, now)
    certificate, key = authority.sign_client(name, now, days)
    store.save_client(name, certificate + earlier)
    return certificate, key


def ensure_controller(authority: Authority, store: Store, now: datetime) -> None:
    """Have a client certificate that the controller can show to daemons for 30 days at least. Raises UsageError."""
    certificate = store.read(store.controller_certificate)
    key = store.read(store.controller_key)
    trusted = authority.certificate.public_bytes(Encoding.PEM)
    if (
        certificate is None
        or key is None
        or not _fits(certificate, key)
        or faults(certificate, trusted, (), now, "client")
    ):
        store.save_controller(*authority.sign_client(CONTROLLER, now))


def _earlier(store: Store, name: str, now: datetime) -> bytes:
    file = store.client_certificates(name)
    content = store.read(file)
    try:
        held = read_chain(content) if content else ()
    except UnreadableError as error:
        raise UsageError(
            f"{file} {error}: which certificates {name} has would be lost. Restore it from a backup, or move it away."
        ) from None
    valid = [each for each in held if now <= each.not_valid_after_utc]
    if len(valid) > _KEPT:
        raise UsageError(
            f"{name} has {len(valid)} certificates that are valid still, and no more are kept on record: take another "
            "client's name, or a new CA if one of them is in wrong hands."
        )
    return to_pem(valid)


def _fits(certificate: bytes, key: bytes) -> bool:
    try:
        return public_sha256(read_chain(certificate)[0]) == public_sha256(load_pem_private_key(key, None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
