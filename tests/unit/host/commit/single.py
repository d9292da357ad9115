"""One piece of a commit's work by itself, between what was planned and what is there by then."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remediator.host.commit.entries import PathEntry, file_entry, sha256_of
from remediator.host.commit.places import open_place
from remediator.host.commit.restore import Restored, restore_entries
from remediator.host.commit.states import MISSING, PathState, state_at


@contextmanager
def backups(base: Path) -> Iterator[int]:
    """A transaction's own directory, open."""
    directory = tempfile.mkdtemp(dir=base)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def now(path: Path) -> PathState:
    """What is at a path now."""
    place = open_place(str(path), trusted=False)
    try:
        return state_at(place, with_bytes=True)
    finally:
        place.close()


def planned(path: Path, content: bytes | None, mode: int = 0o644, before: PathState | None = None) -> PathEntry:
    """The entry of a write, or of a removal, of what is there now."""
    after = MISSING if content is None else PathState("file", mode, 0, 0, sha256_of(content), len(content))
    return file_entry(0, str(path), (), before or now(path), after)


def put_back(entry: PathEntry, directory: int) -> Restored:
    """Puts one entry back."""
    return restore_entries([entry], directory)
