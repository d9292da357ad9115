"""The public half of private keys. openssl reads the key from a descriptor; neither key nor digest of it leaves."""

import os

from remediator.host.common.digest import sha256
from remediator.host.common.names import raw
from remediator.host.common.private_keys import is_encrypted_key, is_private_key
from remediator.host.common.reading import UnreadableError, open_regular, reason_of
from remediator.host.observe.command import Running
from remediator.host.observe.docker import DockerHost, tls_references
from remediator.host.observe.state import HostState

MYPY = False
if MYPY:
    from typing import Any

# Where a host keeps the key that it made for a certificate of the private CA.
OWN_KEY = "/var/lib/remediator/tls/key.pem"
MAX_KEY = 65536
NO_KEY = "it is no private key"


class NoPublicHalfError(Exception):
    """There is no public half to tell of; str() says why."""


def note_public_keys(state: "HostState", docker: "DockerHost") -> None:
    """Adds `public_sha256`, or why there is none, to the facts of the daemon's key and of the one in our own place.

    Where a path is a symlink, the facts of both the link and its target get it.
    """
    paths = [OWN_KEY]
    if docker.present:
        paths += [path for path, _ in tls_references(docker)["tlskey"].paths]
    for path in paths:
        facts = state.files.add(path)
        answer = key_facts(state, path, facts)
        facts.update(answer)
        if "target" in facts:
            state.files.add(facts["target"]).update(answer)


def key_facts(state: "HostState", path: "str", facts: "dict[str, Any]") -> "dict[str, str]":
    """The digest of a key's public half, or why there is none."""
    if facts["type"] == "missing":
        return {"key_problem": "it cannot be read: no such file"}
    if facts["type"] not in ("file", "symlink"):
        return {"key_problem": "it cannot be read: %s" % (facts.get("error") or "it is a " + facts["type"])}
    try:
        return {"public_sha256": public_digest(state.files.follow(path).real)}
    except NoPublicHalfError as error:
        return {"key_problem": str(error)}
    except UnreadableError as error:
        return {"key_problem": "it cannot be read: %s" % error}
    except OSError as error:
        return {"key_problem": "it cannot be read: %s" % reason_of(error)}


def public_digest(path: "str") -> "str":
    """The sha256 of the public half (SubjectPublicKeyInfo, DER) of the private key in a regular file.

    Raises NoPublicHalfError, UnreadableError or OSError.
    """
    descriptor = open_regular(raw(path))
    try:
        size = os.fstat(descriptor).st_size
        if size > MAX_KEY:
            raise UnreadableError("%d bytes long, which is larger than %d bytes" % (size, MAX_KEY))
        # Not read(): openssl goes on from where the descriptor stands.
        content = os.pread(descriptor, MAX_KEY, 0)
        if not is_private_key(content):
            raise NoPublicHalfError(NO_KEY)
        # openssl would try an empty passphrase; the daemon never has one.
        if is_encrypted_key(content):
            raise NoPublicHalfError("it is encrypted")
        openssl = Running("public_key", descriptor)
        finished = openssl.finish()
    finally:
        os.close(descriptor)
    if openssl.program is None:
        raise NoPublicHalfError("openssl is not installed on this host")
    if finished.status is None:
        raise UnreadableError("openssl gave " + finished.errors)
    if finished.status != 0 or not finished.output:
        raise NoPublicHalfError(NO_KEY)
    digest: "str" = sha256(raw(finished.output)).hexdigest()
    return digest
