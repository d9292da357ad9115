"""Writing, making and removing: each atomic, each leaving what restore.py needs to put back exactly what was there.

A file's new bytes and a copy of the old ones are staged beside it under dotted names that no service reads; taking the
new ones into use is one rename, and so is going back. The old file is kept in the transaction's own directory too: for
an undo later, and should the copy beside be lost.
"""

import os
import re
import stat
from typing import Callable, Dict, Optional, Sequence

from remediator.host.commit.access import CONTENT_XATTRS, copy_xattrs, read_xattrs
from remediator.host.commit.entries import PathEntry
from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.places import DIRECTORY_FLAGS, PLACE_READ_FLAGS, Place, identity, open_place
from remediator.host.commit.states import PathState
from remediator.host.common.digest import sha256
from remediator.host.common.mask import holds_private_key
from remediator.host.common.names import written_name
from remediator.host.common.reading import MAX_CONTENT

STAGE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# `.kept` is not among them: those copies were promised to a person.
STAGED_SUFFIX = rb"\.remediator-[0-9a-f]{12}\.(new|old)"


def write_fully(descriptor: int, data: bytes) -> None:
    """Writes every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sweep_leftovers(place: Place) -> None:
    """Removes what an interrupted commit staged for this path: only our own dotted names, only root's regular files."""
    pattern = re.compile(rb"\." + re.escape(place.name) + STAGED_SUFFIX + rb"\Z")
    for entry in os.listdir(place.parent):
        name = os.fsencode(entry)
        if pattern.match(name) is None:
            continue
        facts = os.stat(name, dir_fd=place.parent, follow_symlinks=False)
        if stat.S_ISREG(facts.st_mode) and facts.st_uid == 0:
            os.unlink(name, dir_fd=place.parent)


def set_aside(place: Place, old: bytes) -> str:
    """Gives a staged copy a name that no later commit sweeps, and answers with words that name it. Raises OSError."""
    kept = old[: -len(b"old")] + b"kept"
    os.rename(old, kept, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    os.fsync(place.parent)
    return "; its bytes from before are kept beside it as " + plain_line(os.fsdecode(kept))


def remove_staged(place: Place, name: str) -> None:
    """Removes what is staged under one of our own names beside a path, where it is there. Raises OSError.

    On disk at once: no journal tells of it once this one is closed.
    """
    try:
        os.unlink(name.encode("utf-8", "surrogateescape"), dir_fd=place.parent)
    except FileNotFoundError:
        return
    os.fsync(place.parent)


def named(name: Optional[str]) -> bytes:
    """A staged name as the kernel has it."""
    return (name or "").encode("utf-8", "surrogateescape")


class FileWrite:
    """New content for a file, or a new file, as `entry` says; `backups` is the transaction's own directory.

    Each of `checks` gets the path of the staged file before that takes its place, and raises StepError where its reader
    would not accept it: some files count at once. `attributes` are the new file's, where they are not the old one's.
    """

    def __init__(
        self,
        entry: PathEntry,
        content: bytes,
        backups: int,
        checks: Sequence[Callable[[str], None]] = (),
        attributes: Optional[Dict[str, bytes]] = None,
    ) -> None:
        self.path = entry.path
        self.changed = False
        self.entry = entry
        self._content = content
        self._backups = backups
        self._checks = checks
        self._attributes = attributes

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        place = open_place(self.path)
        try:
            if place.missing is not None:
                raise StepError("%s: its directory is missing" % plain_line(self.path))
            sweep_leftovers(place)
            before = place.stat()
            attributes = back_up(self.entry, place, before, self._backups)
            if self._attributes is not None:
                attributes = self._attributes
            self._stage(place, attributes)
            for check in self._checks:
                check(os.path.join(os.path.dirname(self.path), self.entry.new or ""))
            now = place.stat()
            if (now and identity(now)) != (before and identity(before)):
                raise StepError(plain_line(self.path) + " was changed by somebody else just now")
            os.rename(named(self.entry.new), place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
            self.changed = True
            os.fsync(place.parent)
        finally:
            place.close()

    def settle(self) -> None:
        """Everything is on disk already."""

    def keep(self) -> None:
        """Leaves a copy of what was written: a rollback shows what somebody changed since. Raises nothing."""
        keep_written(self.entry, self._content, self._backups)

    def _stage(self, place: Place, attributes: Dict[str, bytes]) -> None:
        """Stages the new content. Owner, attributes and mode come before the bytes: nobody reads them too early."""
        after = self.entry.after
        descriptor = os.open(named(self.entry.new), STAGE_FLAGS, 0o600, dir_fd=place.parent)
        try:
            os.fchown(descriptor, after.uid or 0, after.gid or 0)
            copy_xattrs(attributes, descriptor, CONTENT_XATTRS if self._attributes is None else ("security.evm",))
            os.fchmod(descriptor, after.mode or 0)
            write_fully(descriptor, self._content)
            if after.mtime_ns is not None:
                os.utime(descriptor, ns=(after.mtime_ns, after.mtime_ns))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def back_up(entry: PathEntry, place: Place, before: Optional[os.stat_result], backups: int) -> Dict[str, bytes]:
    """Copies the old file, beside its path and into `backups`, both on disk; answers with its attributes.

    Raises StepError where it is another than the journal says, OSError.
    """
    shown = plain_line(entry.path)
    if before is None or entry.before.type == "missing":
        if before is not None:
            raise StepError(shown + " was changed by somebody else just now")
        if entry.before.type != "missing":
            raise StepError(shown + " was removed by somebody else just now")
        return {}
    if not stat.S_ISREG(before.st_mode):
        raise StepError(shown + " is no regular file any more")
    source = place.open(PLACE_READ_FLAGS)
    try:
        if identity(os.fstat(source)) != identity(before):
            raise StepError(shown + " was changed by somebody else just now")
        attributes = read_xattrs("/proc/self/fd/%d" % source)
        digest = copy_file(source, place.parent, named(entry.old), entry.before)
    finally:
        os.close(source)
    if digest != entry.before.sha256 or (before.st_dev, before.st_ino) != (entry.before.dev, entry.before.ino):
        raise StepError(shown + " was changed by somebody else just now")
    keep_copy(place.parent, named(entry.old), backups, named(entry.backup), entry.before)
    return attributes


def keep_copy(parent: int, name: bytes, backups: int, backup: bytes, before: PathState) -> None:
    """The staged copy in `backups` too: the same file where one filesystem holds both. Raises OSError, StepError."""
    try:
        os.link(name, backup, src_dir_fd=parent, dst_dir_fd=backups, follow_symlinks=False)
    except OSError:
        source = os.open(name, PLACE_READ_FLAGS, dir_fd=parent)
        try:
            copy_file(source, backups, backup, before)
        finally:
            os.close(source)
    os.fsync(backups)


def keep_written(entry: PathEntry, content: bytes, backups: int) -> None:
    """A copy of an entry's new bytes in `backups`, for showing only. Raises nothing.

    Nothing is ever put back from it, so it is neither synced nor worth a failure: whoever reads it compares its digest.
    There is none of what observe would not show: a private key, or more than it reads of a file.
    """
    if len(content) > MAX_CONTENT or holds_private_key(content):
        return
    name = written_name(entry.number).encode("ascii")
    try:
        descriptor = os.open(name, STAGE_FLAGS, 0o600, dir_fd=backups)
        try:
            write_fully(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError:
        try:
            os.unlink(name, dir_fd=backups)
        except OSError:
            pass  # half a copy has another digest


def copy_file(source: int, directory: int, name: bytes, like: PathState) -> str:
    """Copies an open file to `name`, with the owner, mode, attributes and time of `like`; the sha256 of its bytes.

    Raises OSError, StepError.
    """
    remains = os.fstat(source)
    attributes = read_xattrs("/proc/self/fd/%d" % source)
    try:
        os.unlink(name, dir_fd=directory)  # a half one, of the time before an interruption
    except FileNotFoundError:
        pass
    copy = os.open(name, STAGE_FLAGS, 0o600, dir_fd=directory)
    try:
        digest = copy_bytes(source, copy, remains.st_size)
        os.fchown(copy, like.uid or 0, like.gid or 0)
        copy_xattrs(attributes, copy, ("security.evm",))
        os.fchmod(copy, like.mode or 0)
        os.utime(copy, ns=(remains.st_atime_ns, remains.st_mtime_ns))
        os.fsync(copy)
    finally:
        os.close(copy)
    return digest


def copy_bytes(source: int, target: int, size: int) -> str:
    """Copies `size` bytes between descriptors and answers with their sha256. Raises OSError, StepError."""
    digest = sha256()
    left = size
    while left > 0:
        piece = os.read(source, min(left, 1048576))
        if not piece:
            raise StepError("a file became shorter while it was read")
        digest.update(piece)
        write_fully(target, piece)
        left -= len(piece)
    return digest.hexdigest()


class FileRemoval:
    """Removing a regular file: first set aside under a dotted name, dropped once the transaction stands."""

    def __init__(self, entry: PathEntry, backups: int) -> None:
        self.path = entry.path
        self.changed = False
        self._entry = entry
        self._backups = backups

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        place = open_place(self.path)
        try:
            sweep_leftovers(place)
            before = place.stat()
            if before is None or not stat.S_ISREG(before.st_mode):
                raise StepError(plain_line(self.path) + " is no regular file any more")
            back_up(self._entry, place, before, self._backups)
            now = place.stat()
            if now is None or identity(now) != identity(before):
                raise StepError(plain_line(self.path) + " was changed by somebody else just now")
            os.unlink(place.name, dir_fd=place.parent)
            self.changed = True
            os.fsync(place.parent)
        finally:
            place.close()

    def settle(self) -> None:
        """Everything is on disk already."""

    def keep(self) -> None:
        """Nothing more is to be done once the transaction stands."""


class DirectoryMade:
    """A new directory."""

    def __init__(self, entry: PathEntry) -> None:
        self.path = entry.path
        self.changed = False
        self._after = entry.after

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        place = open_place(self.path)
        try:
            if place.missing is not None:
                raise StepError("%s: its directory is missing" % plain_line(self.path))
            os.mkdir(place.name, 0o700, dir_fd=place.parent)
            self.changed = True
            descriptor = place.open(DIRECTORY_FLAGS)
            try:
                os.fchown(descriptor, self._after.uid or 0, self._after.gid or 0)
                os.fchmod(descriptor, self._after.mode or 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.fsync(place.parent)
        finally:
            place.close()

    def settle(self) -> None:
        """Everything is on disk already."""

    def keep(self) -> None:
        """Nothing more is to be done once the transaction stands."""


class DirectoryRemoved:
    """Removing a directory, which must be empty but for copies of what this transaction removed from it (`copies`).

    Those go first: the transaction's own directory holds the same bytes.
    """

    def __init__(self, entry: PathEntry, copies: Sequence[str]) -> None:
        self.path = entry.path
        self.changed = False
        self._copies = copies

    def do(self) -> None:
        """Raises OSError, UntrustedError."""
        place = open_place(self.path)
        try:
            directory = place.open(DIRECTORY_FLAGS)
            inside = Place(self.path, directory, place.name)
            try:
                for name in self._copies:
                    remove_staged(inside, name)
            finally:
                inside.close()
            os.rmdir(place.name, dir_fd=place.parent)
            self.changed = True
            os.fsync(place.parent)
        finally:
            place.close()

    def settle(self) -> None:
        """Everything is on disk already."""

    def keep(self) -> None:
        """Nothing more is to be done once the transaction stands."""
