"""Keys and signing requests, made and looked at by the host's own openssl (1.1.1 and 3.x understand these words).

No key is ever a word of a command line: keys come and go through pipes, or lie in a directory of root's own.
"""

import base64
import binascii
import re

from remediator.host.commit.finding import find_program
from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.programs import run_program
from remediator.host.common.digest import sha256
from remediator.host.common.patterns import pattern
from remediator.host.common.private_keys import is_encrypted_key, is_private_key

MAX_SUBJECT = 64  # X.520's limit of a common name, in characters
PUBLIC_PEM = pattern(r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")
# Nothing but what -subj says: without this section `openssl req` refuses to work, and with the host's own
# configuration it would add names and extensions to the request.
REQUEST_SETTINGS = b"[req]\ndistinguished_name = name\nprompt = no\nstring_mask = utf8only\n[name]\n"


def require_openssl() -> None:
    """Raises StepError, with the remedy, where the host has no openssl."""
    if find_program("openssl") is None:
        raise StepError("openssl is not installed on this host: install its package openssl, then run this again")


def require_subject(subject: str) -> None:
    """Raises StepError unless `subject` can be a certificate's common name."""
    if not subject.isprintable() or subject != subject.strip() or not 0 < len(subject) <= MAX_SUBJECT:
        raise StepError(
            "a certificate's name needs 1 to %d printable characters without blanks around them; give the host a "
            "shorter name in the inventory" % MAX_SUBJECT
        )


def make_private_key() -> bytes:
    """A new private key on the curve P-256, as PEM without a passphrase. Raises StepError."""
    curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"]
    answer = run_program("openssl", ["genpkey", "-algorithm", "EC"] + curve)
    key = answer.output.encode("ascii", "replace")
    if answer.status != 0 or not is_private_key(key):
        # What it printed may be a key all the same: only its standard error is told.
        raise StepError("openssl genpkey made no key: " + plain_line(answer.errors.strip() or "it printed none"))
    return key


def make_request(key_path: str, subject: str) -> bytes:
    """A signing request as PEM, of the key at `key_path`, for exactly CN=`subject`. Raises StepError."""
    # In -subj a slash begins the next part of the name, and a plus sign another value of this one.
    name = "/CN=" + re.sub(r"([\\/+])", r"\\\1", subject)
    words = ["req", "-new", "-batch", "-utf8", "-sha256", "-config", "/proc/self/fd/0", "-key", key_path]
    answer = run_program("openssl", words + ["-subj", name], given=REQUEST_SETTINGS)
    if answer.status != 0:
        raise StepError("openssl req made no signing request: " + answer.complaint())
    return answer.output.encode("ascii", "replace")


def request_public_sha256(request: bytes) -> str:
    """sha256 of a signing request's public key (SubjectPublicKeyInfo, DER). Raises StepError."""
    return public_digest(run_program("openssl", ["req", "-noout", "-pubkey"], given=request).output)


def key_public_sha256(key: bytes) -> str:
    """sha256 of a private key's public half (SubjectPublicKeyInfo, DER). Raises StepError where it cannot serve."""
    if is_encrypted_key(key):
        raise StepError("the private key is encrypted, and no daemon can ask for its passphrase: give one without")
    # The empty passphrase keeps openssl from asking at a terminal, whatever else it takes for encrypted.
    answer = run_program("openssl", ["pkey", "-pubout", "-passin", "pass:"], given=key or b"\n")
    return public_digest(answer.output)


def public_digest(text: str) -> str:
    """sha256 of the public key in PEM that openssl printed. Raises StepError where it printed none."""
    found = PUBLIC_PEM.search(text)
    try:
        der = base64.b64decode("".join(found.group(1).split()), validate=True) if found is not None else b""
    except binascii.Error:
        der = b""
    if not der:
        raise StepError("openssl reads no private key there")
    return sha256(der).hexdigest()
