"""Files for this user alone: written whole or not at all, with their final mode from the first byte."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path


def make_private(directory: Path, ours: Iterable[Path]) -> None:
    """Make `directory` and what is missing above it, 0700 as XDG asks; and tighten the levels that are `ours`.

    Raises OSError; PermissionError where one of ours belongs to another user.
    """
    for level in (*reversed(directory.parents), directory):
        with contextlib.suppress(FileExistsError):
            os.mkdir(level, 0o700)
    for own in ours:
        facts = own.stat()
        if facts.st_uid != os.geteuid():
            raise PermissionError(0, f"{own} belongs to uid {facts.st_uid}, not to uid {os.geteuid()}")
        if facts.st_mode & 0o077:
            own.chmod(0o700)


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` to `path`, in place of what may be there. Raises OSError and leaves the earlier file then."""
    _write(path, content, mode, os.replace)


def create_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` to `path`, which must not be there yet. Raises FileExistsError, OSError."""
    _write(path, content, mode, _link)


def _link(temporary: Path, path: Path) -> None:
    os.link(temporary, path)  # unlike a rename, this never takes the place of another file
    temporary.unlink()


def _write(path: Path, content: bytes, mode: int, settle: Callable[[Path, Path], None]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        settle(temporary, path)
    except BaseException:  # the half-written file goes, whatever stopped us; the error itself goes on
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
