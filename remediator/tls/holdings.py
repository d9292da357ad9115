"""What the controller holds for each host: its names, and the certificate that could be installed there.

A fleet often shares its files: what was read of one is kept for as long as the file stays as it is. cryptography is
loaded when there is a certificate to look at, and not before.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from remediator.errors import UsageError
from remediator.surroundings import Material, Surroundings
from remediator.text import one_line
from remediator.tls.names import given_names, host_names
from remediator.tls.store import Store

_OWN = ("docker_tls_ca_file", "docker_tls_cert_file", "docker_tls_key_file")
_OWN_CLIENT = ("docker_tls_client_cert_file", "docker_tls_client_key_file")
_MAX_KEY = 64 * 1024
_KEY_MARKS = (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN RSA PRIVATE KEY-----", b"-----BEGIN EC PRIVATE KEY-----")
_ENCRYPTED_MARKS = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED", b"$ANSIBLE_VAULT")
_NOT_YET = timedelta(0)  # a certificate that expires soon can be installed today

_Identity = tuple[int, int, int, int]


@dataclass(frozen=True)
class Client:
    """What the controller shows to a daemon from outside, and the CA that it trusts there: PEM files."""

    certificate: Path
    key: Path
    authority: Path


def surroundings_of(
    host: str, address: str, variables: Mapping[str, Any], store: Path, now: datetime | None = None
) -> Surroundings:
    """The surroundings of one host. `address` is how it is reached (ansible_host), `store` the private CA's directory.

    The user's own files go before the private CA's. Raises nothing: what cannot be used is told in `problem`.
    """
    now = now or datetime.now(UTC)
    names: tuple[str, ...] = ()
    try:
        names = host_names(host, address, variables).all
        own = _own_paths(variables)
        if own is None:
            material = _issued(host, names, Store(store), now)
        else:
            names = given_names(host, variables) or _borne(own, names, now)
            material = _own(own, names, now)
    except UsageError as error:
        return Surroundings(now=now, names=names, problem=one_line(str(error), 2000))
    any_name = material is None and not variables.get("docker_tls_names")
    return Surroundings(now=now, names=names, any_name=any_name, material=material)


def key_of(variables: Mapping[str, Any]) -> bytes:
    """The user's own private key in PEM, read anew: for the commit alone. Raises UsageError."""
    own = _own_paths(variables)
    if own is None:
        raise UsageError(f"There is no key of your own: {_OWN[2]} is not set.")
    content = _content(own[2], _OWN[2], _MAX_KEY)
    _public_digest(content, own[2])  # not what has become something else since the preview
    return content


def client_of(variables: Mapping[str, Any], store: Path) -> Client | None:
    """What the controller can show to this host's daemon from outside; None where it holds nothing. Raises nothing."""
    try:
        own, client = _own_paths(variables), _paths(variables, _OWN_CLIENT)
    except UsageError:
        return None
    if own is not None:
        return None if client is None else Client(client[0], client[1], own[0])
    held = Store(store)
    found = Client(held.controller_certificate, held.controller_key, held.authority)
    return found if all(path.is_file() for path in (found.certificate, found.key, found.authority)) else None


def _own_paths(variables: Mapping[str, Any]) -> tuple[Path, ...] | None:
    """Paths of the user's CA, certificate and key; None where none is set. Raises UsageError."""
    paths = _paths(variables, _OWN)
    _paths(variables, _OWN_CLIENT)
    return paths


def _paths(variables: Mapping[str, Any], wanted: tuple[str, ...]) -> tuple[Path, ...] | None:
    values = [variables.get(name) or "" for name in wanted]
    for name, value in zip(wanted, values, strict=True):
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(f"{name} must be the path of a file on the controller. Correct it in the inventory.")
    missing = [name for name, value in zip(wanted, values, strict=True) if not value]
    if len(missing) == len(wanted):
        return None
    if missing:
        raise UsageError(f"{', '.join(wanted)} go together: set {' and '.join(missing)} too, or none of them.")
    return tuple(Path(os.path.abspath(os.path.expanduser(value))) for value in values)


def _own(paths: tuple[Path, ...], names: tuple[str, ...], now: datetime) -> Material:
    """What the user's own files are good for. Raises UsageError when they cannot be used."""
    authority_file, certificate_file, key_file = paths
    authority = _certificates(authority_file, _OWN[0], _identity(authority_file, _OWN[0]))
    chain = _certificates(certificate_file, _OWN[1], _identity(certificate_file, _OWN[1]))
    material = _material(authority, chain, "controller", certificate_file)
    if _public_of_key(key_file, _OWN[2], _identity(key_file, _OWN[2])) != material.public_sha256:
        raise UsageError(
            f"{key_file} is not the key of the first certificate in {certificate_file}. Correct {_OWN[2]} or {_OWN[1]}."
        )
    _require_sound(material, names, now, certificate_file, f"Correct {_OWN[1]}, {_OWN[0]} or docker_tls_names.")
    return material


def _borne(paths: tuple[Path, ...], names: tuple[str, ...], now: datetime) -> tuple[str, ...]:
    """Those of `names` that the user's own certificate bears, all where it bears none.

    Without docker_tls_names one is enough: who issued it knew the host by its name or by its address.

    Raises UsageError when a file cannot be read.
    """
    from remediator.tls.certificates import faults

    pairs = ((paths[0], _OWN[0]), (paths[1], _OWN[1]))
    authority, chain = (_certificates(path, name, _identity(path, name)) for path, name in pairs)
    borne = [name for name in names if not faults(chain, authority, (name,), now, "server", soon=_NOT_YET)]
    return tuple(borne) or names


def _issued(host: str, names: tuple[str, ...], store: Store, now: datetime) -> Material | None:
    """What the private CA issued for the host, if anything. Raises UsageError when it cannot be used."""
    path = store.host_certificate(host)
    certificate = store.read(path)
    if certificate is None:
        return None
    authority = store.read(store.authority)
    if authority is None:
        raise UsageError(f"{store.authority} is missing, and {path} is of no use without it: restore it from a backup.")
    material = _material(authority, certificate, "host", path)
    _require_sound(material, names, now, path, "Have a new one made with `remediate tls issue`.")
    return material


def _material(authority: bytes, certificate: bytes, source: Literal["host", "controller"], file: Path) -> Material:
    """Raises UsageError when `certificate`, the content of `file`, is none."""
    from remediator.tls.certificates import describe, fingerprint, public_sha256, read_chain

    try:
        leaf = read_chain(certificate)[0]
        public = public_sha256(leaf)
    except Exception as error:  # noqa: BLE001 - whatever is malformed in it, it is the file that has to be replaced
        raise UsageError(f"{file} {one_line(str(error), 200)}. Replace it.") from None
    return Material(
        authority=authority,
        certificate=certificate,
        public_sha256=public,
        fingerprint=fingerprint(leaf),
        expires=leaf.not_valid_after_utc,
        source=source,
        details=describe(leaf),
    )


def _require_sound(material: Material, names: tuple[str, ...], now: datetime, file: Path, remedy: str) -> None:
    """Raises UsageError with every reason why clients would not accept the certificate that `file` holds."""
    from remediator.tls.certificates import faults

    found = faults(material.certificate, material.authority, names, now, "server", soon=_NOT_YET)
    if found:
        raise UsageError(f"The certificate in {file} {'; it '.join(found)}. {remedy}")


@functools.lru_cache(maxsize=1024)
def _certificates(path: Path, variable: str, _as_of: _Identity) -> bytes:
    """The certificates in a file of the user's, in PEM without whatever else stands there. Raises UsageError."""
    from remediator.tls.certificates import MAX_SIZE, UnreadableError, read_chain, to_pem

    try:
        return to_pem(read_chain(_content(path, variable, MAX_SIZE)))
    except UnreadableError as error:
        raise UsageError(f"{path} {error}. Correct the file or {variable}.") from None


@functools.lru_cache(maxsize=1024)
def _public_of_key(path: Path, variable: str, _as_of: _Identity) -> str:
    """The public digest of a key; the key itself is not kept. Raises UsageError."""
    return _public_digest(_content(path, variable, _MAX_KEY), path)


def _public_digest(pem: bytes, path: Path) -> str:
    """The public digest of a private key that dockerd can read. Raises UsageError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from remediator.tls.certificates import public_sha256

    if any(mark in pem for mark in _ENCRYPTED_MARKS):
        raise UsageError(
            f"{path} is encrypted, and dockerd cannot decrypt it. Write it decrypted into a file that you alone can "
            f"read (`openssl pkey -in FILE -out FILE`), and name that in {_OWN[2]}."
        )
    try:
        if not any(mark in pem for mark in _KEY_MARKS):
            raise ValueError
        return public_sha256(load_pem_private_key(pem, None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(
            f"{path} is no private key that dockerd can read: PEM with PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY. "
            f"Correct {_OWN[2]}, or convert the key with `openssl pkey`."
        ) from None


def _identity(path: Path, variable: str) -> _Identity:
    """What changes when a file does. Raises UsageError when it is no regular file, or out of reach."""
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, variable, error) from None
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(f"{path} is no regular file. Correct {variable}.")
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size


def _content(path: Path, variable: str, most: int) -> bytes:
    _identity(path, variable)  # a pipe would be waited for
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, variable, error) from None
    if len(content) > most:
        raise UsageError(f"{path} is larger than {most // 1024} KiB. Correct {variable}.")
    return content


def _unreadable(path: Path, variable: str, error: OSError | ValueError) -> UsageError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    return UsageError(f"{path} cannot be read on the controller: {why}. Correct {variable} or the file's permissions.")
