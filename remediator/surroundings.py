"""What a decision rests on beside the host's own answer: the time, and what the controller holds for the host.

Nothing here imports cryptography: most calls decide without a certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class Material:
    """The certificate that the controller holds for one host's Docker daemon; its key is elsewhere.

    `source` says where the key is: made on the `host`, or the user's own file on the `controller`. `public_sha256` is
    the sha256 of the key's public half (SubjectPublicKeyInfo, DER) in hexadecimal, `fingerprint` that of the
    certificate in DER, `details` describe the certificate for a preview. `expires` is the end of its lifetime.
    """

    authority: bytes  # PEM: the CA's certificate, which daemon and clients trust
    certificate: bytes  # PEM: the daemon's certificate, and intermediates after it
    public_sha256: str
    fingerprint: str
    expires: datetime
    source: Literal["host", "controller"]
    details: tuple[str, ...]


@dataclass(frozen=True)
class Surroundings:
    """`now` is the time of the decision. `names` are what clients call the host, from the inventory alone.

    A certificate must bear them all, or `any_name` of them: who issued one elsewhere knew the host by a name of his
    choice.

    `material` is what could be installed; where there is something but it cannot be used, `problem` says why and what
    to do.
    """

    now: datetime
    names: tuple[str, ...] = ()
    material: Material | None = None
    problem: str = ""
    any_name: bool = False
