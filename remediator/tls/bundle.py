"""A client's bundle as Docker expects it: a directory with ca.pem, cert.pem and key.pem, and how to use it."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shlex
from pathlib import Path

from remediator.errors import UsageError
from remediator.private_files import create_file, make_private
from remediator.text import is_plain
from remediator.tls.names import checked_name

PORT = 2376
ANY_HOST = "HOST"  # stands for a name in commands that a person completes
_MODES = {"ca.pem": 0o444, "cert.pem": 0o444, "key.pem": 0o400}


def check_bundle_directory(directory: Path) -> None:
    """Raises UsageError where a bundle could not be put, or would take the place of something."""
    if not is_plain(str(directory)):
        raise UsageError("The directory's path must have no control characters: name another one with -o.")
    if os.path.lexists(directory) and not os.path.isdir(directory):
        raise UsageError(f"{directory} is no directory. Name another one with -o.")
    for name in _MODES:
        if os.path.lexists(directory / name):
            raise UsageError(f"{directory / name} exists, and is not overwritten. Name another directory with -o.")


def write_bundle(directory: Path, authority: bytes, certificate: bytes, key: bytes) -> None:
    """Make the directory, 0700 where it is new, and its three files: all of them or none. Raises UsageError."""
    check_bundle_directory(directory)
    made: list[Path] = []
    try:
        make_private(directory, ours=())
        for (name, mode), content in zip(_MODES.items(), (authority, certificate, key), strict=True):
            create_file(directory / name, content, mode)
            made.append(directory / name)
    except BaseException as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        if not isinstance(error, OSError):
            raise
        raise UsageError(
            f"The bundle cannot be written to {directory}: {error.strerror or error}. Name another directory with -o."
        ) from error


def listener(text: str) -> str:
    """The address of a daemon in Docker's form (`tcp://web1:2376`) for a name, an address, or either with a port.

    Raises UsageError.
    """
    name, port = ANY_HOST if text == ANY_HOST else checked_name(text), str(PORT)
    if name is None and ":" in text:
        before, _, port = text.rpartition(":")
        name = checked_name(before)
    if name is None or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{text}: a daemon's host is a DNS name or an IP address, with :PORT where it is not {PORT}.")
    return f"tcp://[{name}]:{port}" if ":" in name else f"tcp://{name}:{port}"


def context_command(name: str, address: str, directory: Path) -> str:
    """The command that makes a docker context of this name for the daemon at `address` (`tcp://...`)."""
    files = (f"{role}={directory / f'{role}.pem'}" for role in ("ca", "cert", "key"))
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([f"host={address}", *files])  # Docker reads the value as CSV
    return f"docker context create {shlex.quote(name)} --docker {shlex.quote(line.getvalue())}"


def environment(address: str, directory: Path) -> str:
    """The shell command that has every docker client use the bundle without a context."""
    return (
        f"export DOCKER_HOST={shlex.quote(address)} DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={shlex.quote(str(directory))}"
    )
