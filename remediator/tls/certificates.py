"""Certificates, whoever wrote them: read with bounds, described in words, and judged as Docker's clients would."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from remediator.text import one_line
from remediator.tls.names import Names

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

Purpose = Literal["server", "client"]

MAX_SIZE = 256 * 1024
MAX_CERTIFICATES = 10
SOON = timedelta(days=30)

_MAX_CHAIN = 4  # intermediates between a certificate and the CA: path building must end soon, whatever it is given
_SHOWN_NAMES = 20
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_BEGIN = b"-----BEGIN "
_ALGORITHMS = "RSA with 2048 bits or more, ECDSA on P-256, P-384 or P-521, and SHA-256 or better"


class UnreadableError(ValueError):
    """The text cannot be used as certificates; it completes the sentence `the file ...`, harmless to show."""


def read_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in `pem`, in its order. Raises UnreadableError."""
    if len(pem) > MAX_SIZE:
        raise UnreadableError(f"is larger than {MAX_SIZE // 1024} KiB")
    if b"PRIVATE KEY-----" in pem:
        raise UnreadableError("holds a private key, which belongs into a file of its own")
    if pem.count(_BEGIN) > MAX_CERTIFICATES:
        raise UnreadableError(f"holds more than {MAX_CERTIFICATES} certificates")
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except Exception as error:  # whatever a host wrote there, it is a reason and no bug of ours
        raise UnreadableError("holds no certificate that can be read (PEM is expected)") from error


def to_pem(chain: Sequence[x509.Certificate]) -> bytes:
    """The certificates in PEM, and nothing else."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def fingerprint(certificate: x509.Certificate) -> str:
    """sha256 of the certificate in DER, in hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def public_sha256(holder: x509.Certificate | x509.CertificateSigningRequest | PrivateKeyTypes | PublicKeyTypes) -> str:
    """sha256 of the public key (SubjectPublicKeyInfo, DER) in hexadecimal.

    Raises ValueError or UnsupportedAlgorithm for a certificate whose key cannot be read.
    """
    key = holder.public_key() if hasattr(holder, "public_key") else holder
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def names_of(certificate: x509.Certificate) -> Names:
    """The names and addresses that the certificate bears; none where they cannot be read."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return Names(
            tuple(name.lower() for name in found.get_values_for_type(x509.DNSName)),
            tuple(str(address) for address in found.get_values_for_type(x509.IPAddress)),
        )
    except Exception:  # noqa: BLE001 - absent or malformed: either way it bears no name
        return Names()


def moment(time: datetime) -> str:
    """`2026-11-23 21:00 UTC`."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def lifetime(certificate: x509.Certificate) -> str:
    """`2026-11-23 21:00 UTC to 2027-12-25 21:00 UTC`."""
    return f"{moment(certificate.not_valid_before_utc)} to {moment(certificate.not_valid_after_utc)}"


def describe(certificate: x509.Certificate) -> tuple[str, ...]:
    """What a preview says of a certificate, a line each, harmless to show whoever made it."""
    names = names_of(certificate).all
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return (
        f"subject: {_words(_subject, certificate)}",
        f"names: {one_line(', '.join(names[:_SHOWN_NAMES]), 2000) or 'none'}{more}",
        f"valid: {_words(lifetime, certificate)}",
        f"issuer: {_words(_issuer, certificate)}",
        f"sha256: {fingerprint(certificate)}",
        f"public key sha256: {_words(public_sha256, certificate)}",
    )


def faults(
    chain_pem: bytes,
    authority_pem: bytes,
    names: Sequence[str],
    now: datetime,
    purpose: Purpose,
    soon: timedelta = SOON,
) -> tuple[str, ...]:
    """Why clients (or, for a client's certificate, the daemon) will not accept this chain, or soon no longer will.

    Each reason completes the sentence `the certificate ...` and is harmless to show; there is none when all is well.
    `names` must all be covered. Raises nothing, whatever the two texts are.
    """
    try:
        chain = read_chain(chain_pem)
    except UnreadableError as error:
        return (f"is in a file that {error}",)
    try:
        authorities = read_chain(authority_pem)
    except UnreadableError as error:
        return (f"has a CA whose file {error}",)
    reasons: list[str] = []
    judges: tuple[Callable[[], list[str]], ...] = (
        lambda: _lifetime_faults(chain[0], now, soon),
        lambda: _chain_faults(chain, authorities, purpose, now, soon),
        lambda: _name_faults(chain[0], names),
        lambda: _usage_faults(chain[0], purpose),
    )
    for judge in judges:
        try:
            reasons += judge()
        except Exception as error:  # noqa: BLE001 - malformed on purpose or not, it is a reason and no bug of ours
            reasons.append(f"cannot be judged: {one_line(str(error), 200) or type(error).__name__}")
    return tuple(dict.fromkeys(reasons))


def _words(read: Callable[[x509.Certificate], str], certificate: x509.Certificate) -> str:
    try:
        return one_line(read(certificate), 400) or "none"
    except Exception:  # noqa: BLE001 - what cannot be read is said to be so
        return "unreadable"


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def _issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string()


def _lifetime_faults(certificate: x509.Certificate, now: datetime, soon: timedelta) -> list[str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return [f"expired on {moment(end)}"]
    if now < begin:
        return [f"is not valid before {moment(begin)}"]
    if now + soon >= end:
        return [f"expires within {soon.days} days, on {moment(end)}"]
    return []


def _chain_faults(
    chain: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    purpose: Purpose,
    now: datetime,
    soon: timedelta,
) -> list[str]:
    """Faults of the way from the certificate to the CA, and of the certificates on it."""
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

    leaf = chain[0]
    if leaf in authorities:  # trusted by itself, as a self-signed certificate is
        return []
    # The certificate's own lifetime is judged elsewhere; here it must not hide what else is wrong.
    time = min(max(now, leaf.not_valid_before_utc), leaf.not_valid_after_utc)
    anything = ExtensionPolicy.permit_all()  # Docker's own guide makes CAs without keyUsage and key identifiers
    signing = anything.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    policy = (
        PolicyBuilder().store(Store(list(authorities))).time(time.replace(microsecond=0)).max_chain_depth(_MAX_CHAIN)
    )
    verifier = policy.extension_policies(ca_policy=signing, ee_policy=anything).build_client_verifier()
    try:
        path = verifier.verify(leaf, list(dict.fromkeys(chain[1:]))).chain
    except VerificationError as error:
        return [_broken_chain(leaf, chain[1:], authorities, time, str(error))]
    reasons = []
    for each in path[1:]:
        owner = _words(_subject, each)
        reasons += [f"was issued by {owner}, whose certificate {why}" for why in _lifetime_faults(each, now, soon)]
        if not _may_sign(each):
            reasons.append(f"was issued by {owner}, whose key usage does not allow that")
        elif not _allows(each, purpose, absent=True):
            reasons.append(f"was issued by {owner}, which must not issue certificates for {purpose}s")
    return reasons


def _broken_chain(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    time: datetime,
    words: str,
) -> str:
    issuer = _words(_issuer, leaf)
    candidates = [each for each in (*intermediates, *authorities) if each.subject == leaf.issuer]
    if not candidates:
        return f"does not chain to the CA: it was issued by {issuer}, the CA is {_subjects(authorities)}"
    if all(not each.not_valid_before_utc <= time <= each.not_valid_after_utc for each in candidates):
        return f"does not chain to the CA: the certificate of its issuer {issuer} is not valid at this time"
    if "Forbidden" in words:
        return f"does not chain to the CA by algorithms that every client has: {_ALGORITHMS}"
    # The library's reason, without the certificates that it quotes.
    why = words.removeprefix("validation failed: ").removeprefix("candidates exhausted: ").partition(" (encountered")[0]
    return f"does not chain to the CA: {one_line(why, 200)} (issuer {issuer}, CA {_subjects(authorities)})"


def _subjects(certificates: Sequence[x509.Certificate]) -> str:
    return one_line(", ".join(_words(_subject, each) for each in certificates), 400)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _allows(certificate: x509.Certificate, purpose: Purpose, absent: bool) -> bool:
    """Whether its extended key usage allows `purpose`; `absent` is the answer where it has none."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return absent
    return _USAGES[purpose] in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _name_faults(certificate: x509.Certificate, names: Sequence[str]) -> list[str]:
    borne = names_of(certificate)
    missing = [name for name in names if not _covers(borne, name)]
    if not missing:
        return []
    there = one_line(", ".join(borne.all[:_SHOWN_NAMES]), 400) or "none"
    return [f"does not bear the name {one_line(', '.join(missing), 400)} (it bears {there})"]


def _covers(borne: Names, name: str) -> bool:
    try:
        return str(ipaddress.ip_address(name)) in borne.addresses
    except ValueError:
        lower = name.lower()
        _, dot, parent = lower.partition(".")
        return lower in borne.dns or (bool(dot) and f"*.{parent}" in borne.dns)


def _usage_faults(certificate: x509.Certificate, purpose: Purpose) -> list[str]:
    if _allows(certificate, purpose, absent=False):
        return []
    return [f"is not one for a {purpose}: its extended key usage lacks {purpose}Auth"]
