"""Names of CAs byte for byte as certificates and handshakes hold them, whatever a library would make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cryptography import x509

from remediator.text import one_line

_VERSION = 0xA0  # [0], present in every certificate but the oldest
# Of a name's strings those that hold one byte a character, or UTF-8 (X.680): the others are not worth their code here.
_TEXTS = (0x0C, 0x13, 0x14, 0x16)


def not_among(named: Sequence[bytes], authorities: Iterable[x509.Certificate]) -> list[bytes]:
    """Those of `named` (DER) that are the subject of none of `authorities`, in order, each once.

    A server names every CA that it trusts, so two of one name that stand for only one certificate are one too many.
    """
    subjects = Counter(subject(authority) for authority in authorities)
    return list(dict.fromkeys(name for name, count in Counter(named).items() if count > subjects[name]))


def subject(certificate: x509.Certificate) -> bytes:
    """The subject's name as it stands in the certificate, in DER."""
    (_, inner, _) = next(_values(certificate.tbs_certificate_bytes))
    # [version,] serial number, signature algorithm, issuer, validity, subject (RFC 5280, 4.1)
    fields = [whole for tag, _, whole in _values(inner) if tag != _VERSION]
    return fields[4]


def in_words(name: bytes) -> str:
    """The texts in a name, harmless to show: `Example, Example CA`."""
    texts = []
    for relative in (inner for _, inner, _ in _values(b"".join(inner for _, inner, _ in _values(name)))):
        for _, attribute, _ in _values(relative):
            texts += [value.decode("utf-8", "replace") for tag, value, _ in _values(attribute) if tag in _TEXTS]
    return one_line(", ".join(texts), 200) or "a name that cannot be shown"


def _values(der: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, content, the whole) of the DER values that follow each other in `der`; ends where they are cut short."""
    position = 0
    while position + 2 <= len(der):
        start, size = position + 2, der[position + 1]
        if size & 0x80:
            start, size = start + (size & 0x7F), int.from_bytes(der[start : start + (size & 0x7F)], "big")
        if start + size > len(der):
            return
        yield der[position], der[start : start + size], der[position : start + size]
        position = start + size
