"""Where the private CA lies: `${XDG_DATA_HOME:-~/.local/share}/remediator/tls`, 0700.

    ca.pem                  the CA's certificate
    ca-key.pem              its key, PKCS #8, encrypted with the passphrase
    hosts/NAME/cert.pem     what was issued for a host; its key never leaves the host
    clients/NAME.pem        what was issued for a client and is valid still, newest first; keys go into bundles only
    controller/             cert.pem and key.pem: what the controller itself shows when it tries a daemon from outside

Nothing here imports cryptography: a store knows files and names, not what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from remediator.errors import UsageError
from remediator.private_files import create_file, make_private, replace_file
from remediator.text import one_line

_LONGEST_NAME = 240  # bytes of a file's name, with room for what a temporary file adds


def store_directory() -> Path:
    """The directory of this user's CA; not made here. A relative XDG_DATA_HOME is ignored, as XDG says.

    Raises UsageError when there is neither XDG_DATA_HOME nor a home directory.
    """
    data_home = os.environ.get("XDG_DATA_HOME", "")
    if data_home.startswith("/"):
        return Path(data_home) / "remediator" / "tls"
    try:
        return Path.home() / ".local" / "share" / "remediator" / "tls"
    except RuntimeError:
        raise UsageError("There is no home directory to keep a CA in. Set XDG_DATA_HOME.") from None


@dataclass(frozen=True)
class Store:
    """The private CA's files below `directory`. Reading one that is not there gives None."""

    directory: Path

    @property
    def authority(self) -> Path:
        """The CA's certificate."""
        return self.directory / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """The CA's key, encrypted."""
        return self.directory / "ca-key.pem"

    @property
    def controller_certificate(self) -> Path:
        """The certificate that the controller itself shows to daemons."""
        return self.directory / "controller" / "cert.pem"

    @property
    def controller_key(self) -> Path:
        """The key of `controller_certificate`, 0600 and not encrypted: it opens daemons, and signs nothing."""
        return self.directory / "controller" / "key.pem"

    def host_certificate(self, host: str) -> Path:
        """Where the certificate of `host` lies, or would."""
        return self.directory / "hosts" / _file_name(host) / "cert.pem"

    def client_certificates(self, name: str) -> Path:
        """Where the certificates of the client `name` lie, or would."""
        return self.directory / "clients" / f"{_file_name(name)}.pem"

    def hosts(self) -> dict[str, Path]:
        """Every host with a certificate, by name in order. Raises UsageError when the directory cannot be read."""
        found = self._listed("hosts")
        return {unquote(path.name): path / "cert.pem" for path in found if (path / "cert.pem").is_file()}

    def clients(self) -> dict[str, Path]:
        """Every client with certificates, by name in order. Raises UsageError when the directory cannot be read."""
        return {unquote(path.stem): path for path in self._listed("clients") if path.suffix == ".pem"}

    def read(self, path: Path) -> bytes | None:
        """The content of one of the store's files. Raises UsageError when it is there and cannot be read."""
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(path, error) from None

    def require_authority(self) -> None:
        """Raises UsageError where there is no CA: asked before its passphrase is."""
        if not os.path.lexists(self.authority) or not os.path.lexists(self.authority_key):
            raise UsageError(
                f"There is no CA in {self.directory}. Make one with `remediate tls init`, or name the place of yours "
                "with XDG_DATA_HOME."
            )

    def require_none(self) -> None:
        """Raises UsageError where there is a CA, or what is left of one."""
        for path in (self.authority_key, self.authority):
            if os.path.lexists(path):
                raise UsageError(
                    f"There is a CA already: {path}. It was not touched, because every certificate that it signed "
                    f"would be worth nothing. To begin anew, move {self.directory} away first."
                )

    def create_authority(self, certificate: bytes, encrypted_key: bytes) -> None:
        """Keep a new CA. Raises UsageError where there is one, or what is left of one, or it cannot be written."""
        self.require_none()
        try:
            self._put(self.authority_key, encrypted_key, 0o600, create_file)
        except FileExistsError:  # made at this very moment, by another call
            self.require_none()
            raise
        try:
            self._put(self.authority, certificate, 0o444, create_file)
        except BaseException:
            self.authority_key.unlink()  # half a CA would be in the way of the next attempt
            raise

    def save_host(self, host: str, certificate: bytes) -> None:
        """Keep a host's certificate in place of an earlier one. Raises UsageError."""
        self._put(self.host_certificate(host), certificate, 0o600, replace_file)

    def save_client(self, name: str, certificates: bytes) -> None:
        """Keep a client's certificates in place of the earlier ones. Raises UsageError."""
        self._put(self.client_certificates(name), certificates, 0o600, replace_file)

    def save_controller(self, certificate: bytes, key: bytes) -> None:
        """Keep what the controller itself shows to daemons. Raises UsageError."""
        self._put(self.controller_key, key, 0o600, replace_file)
        self._put(self.controller_certificate, certificate, 0o600, replace_file)

    def _put(self, path: Path, content: bytes, mode: int, write: Callable[[Path, bytes, int], None]) -> None:
        """Raises FileExistsError where `write` does, UsageError for all else."""
        levels = [self.directory, *(level for level in reversed(path.parents) if self.directory in level.parents)]
        try:
            make_private(path.parent, ours=levels)
            write(path, content, mode)
        except FileExistsError:
            raise
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror or error}. Make room or give the directory back to this "
                "user, or set XDG_DATA_HOME to one that can be written."
            ) from error

    def _listed(self, name: str) -> list[Path]:
        directory = self.directory / name
        try:
            return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(directory, error) from None


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} cannot be read: {error.strerror or error}. Give it back to this user, or set XDG_DATA_HOME."
    )


def _file_name(name: str) -> str:
    """`name` as a file's name that `unquote` turns back. Raises UsageError for one that is too long."""
    quoted = quote(name, safe="", errors="surrogatepass").replace(".", "%2E", 1 if name.startswith(".") else 0)
    if not quoted or len(quoted) > _LONGEST_NAME:
        raise UsageError(f"{one_line(name, 80)}: this name is too long, or empty, to keep a certificate under.")
    return quoted
