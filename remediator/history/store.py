"""Where the records lie: `${XDG_STATE_HOME:-~/.local/state}/remediator/runs`, 0700, one 0600 file for each run."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from remediator.errors import UsageError
from remediator.history.record import RunRecord


def runs_directory() -> Path:
    """The directory of this user's records; not made here. A relative XDG_STATE_HOME is ignored, as XDG says.

    Raises UsageError when there is neither XDG_STATE_HOME nor a home directory.
    """
    state_home = os.environ.get("XDG_STATE_HOME", "")
    if state_home.startswith("/"):
        return Path(state_home) / "remediator" / "runs"
    try:
        return Path.home() / ".local" / "state" / "remediator" / "runs"
    except RuntimeError:
        raise UsageError("There is no home directory to keep the run's record in. Set XDG_STATE_HOME.") from None


def save(record: RunRecord) -> Path:
    """Write the record under its ULID, whole or not at all, in place of an earlier state of it.

    Raises UsageError when the directory belongs to somebody else or cannot be written.
    """
    directory = runs_directory()
    path = directory / f"{record.run}.json"
    try:
        _make_private(directory)
        _write(path, record.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(
            f"The record of run {record.run} cannot be written to {path}: {error.strerror or error}. "
            "Make room or give the directory back to this user, or set XDG_STATE_HOME to one that can be written."
        ) from error
    return path


def _make_private(directory: Path) -> None:
    """Make `directory` and what is missing above it, 0700 as XDG asks; and tighten our own two levels."""
    for level in (*reversed(directory.parents), directory):
        with contextlib.suppress(FileExistsError):
            os.mkdir(level, 0o700)
    for ours in (directory.parent, directory):
        facts = ours.stat()
        if facts.st_uid != os.geteuid():
            raise PermissionError(0, f"{ours} belongs to uid {facts.st_uid}, not to uid {os.geteuid()}")
        if facts.st_mode & 0o077:
            ours.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # the half-written file goes, whatever stopped us; the error itself goes on
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
