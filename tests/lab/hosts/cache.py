"""The lab's cache: what takes minutes to build, outside the checkout, named by the digest of its recipe.

An entry is a directory. It is built in a directory beside its final place and renamed there when it is whole, under a
lock of its own: a build that was cut short leaves nothing that could be taken for an entry, and two builders of one
entry make it once.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_ENTRY = re.compile(r".+-[0-9a-f]{16}")
_PARTS, _LOCKS = ".building", ".locks"


def cache_root() -> Path:
    """$REMEDIATOR_LAB_CACHE, or remediator-lab in the user's cache directory; made, 0700, where it is missing."""
    chosen = os.environ.get("REMEDIATOR_LAB_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(chosen) if chosen else Path(base) / "remediator-lab"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root.resolve()


def digest(document: object) -> str:
    """The sha256, in hex, of a JSON document's canonical form. Raises TypeError for what is not JSON."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def entry(name: str, recipe_digest: str, build: Callable[[Path], None]) -> Path:
    """The directory of the entry NAME-DIGEST, built first by `build(empty directory)` where the cache has none.

    The directory is not to be written to afterwards. Whatever `build` raises is passed on, and its work removed.
    """
    label = f"{name}-{recipe_digest[:16]}"
    place = cache_root() / label
    if not place.is_dir():
        with _locked(label):
            if not place.is_dir():
                _build(label, place, build)
    os.utime(place)
    return place


def prune(older_than_seconds: float) -> list[str]:
    """Remove the entries that nothing asked for in that time (and what cut-short builds left). Returns their names."""
    limit = time.time() - older_than_seconds
    removed = []
    for place in sorted(cache_root().iterdir()):
        if not _ENTRY.fullmatch(place.name) or not place.is_dir() or place.stat().st_mtime >= limit:
            continue
        with _locked(place.name):
            shutil.rmtree(place)
            shutil.rmtree(cache_root() / _PARTS / place.name, ignore_errors=True)
        removed.append(place.name)
    return removed


@contextmanager
def _locked(label: str) -> Iterator[None]:
    locks = cache_root() / _LOCKS
    locks.mkdir(mode=0o700, exist_ok=True)
    with (locks / label).open("a") as lock:
        # Blocks until the other builder is done; the kernel drops the lock of one that died.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(label: str, place: Path, build: Callable[[Path], None]) -> None:
    parts = cache_root() / _PARTS
    parts.mkdir(mode=0o700, exist_ok=True)
    part = parts / label
    if part.exists():  # what a builder that was killed left: we hold its lock, so it is gone
        shutil.rmtree(part)
    part.mkdir(mode=0o700)
    try:
        build(part)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
