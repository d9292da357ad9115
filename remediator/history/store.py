"""Where the records lie: `${XDG_STATE_HOME:-~/.local/state}/remediator/runs`, 0700, one 0600 file for each run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from remediator.errors import UsageError
from remediator.history.record import RunRecord
from remediator.history.ulid import ulid_time
from remediator.private_files import make_private, replace_file


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
        make_private(directory, ours=(directory.parent, directory))
        replace_file(path, record.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(
            f"The record of run {record.run} cannot be written to {path}: {error.strerror or error}. "
            "Make room or give the directory back to this user, or set XDG_STATE_HOME to one that can be written."
        ) from error
    return path


def newest_first() -> Iterator[RunRecord]:
    """The records of this user, each read when it is asked for; none where no run was recorded yet.

    Raises UsageError for a directory or a record that cannot be read: what it holds may be what is looked for.
    """
    directory = runs_directory()
    try:
        paths = [path for path in directory.iterdir() if path.suffix == ".json" and ulid_time(path.stem) is not None]
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"The records of earlier runs in {directory} cannot be read: {error.strerror or error}. "
            "Give the directory back to this user, or name the RUN that you mean."
        ) from error
    for path in sorted(paths, key=lambda path: path.stem, reverse=True):
        try:
            yield RunRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            why = error.strerror or error if isinstance(error, OSError) else "it is no record of this version"
            raise UsageError(
                f"The record of run {path.stem} in {path} cannot be read ({why}), so what came last is not sure. "
                "Name the RUN that you mean, or move the file away."
            ) from error
