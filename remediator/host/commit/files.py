"""Writing, making and removing: each atomic, each able to put back exactly what was there.

A file's new bytes and a copy of the old ones are staged beside it under dotted names that no service reads; taking the
new ones into use is one rename, and so is going back.
"""

import binascii
import hashlib
import os
import re
import stat
from typing import Callable, Dict, Optional, Sequence, Set, Tuple

from remediator.host.commit.access import CONTENT_XATTRS, copy_xattrs, read_xattrs
from remediator.host.commit.outcomes import LeftAloneError, StepError, plain_line
from remediator.host.commit.places import DIRECTORY_FLAGS, PLACE_READ_FLAGS, Place, identity, open_place
from remediator.host.commit.preconditions import compare, masked_digest
from remediator.host.commit.request import Precondition

STAGE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# `.kept` is not among them: those copies were promised to a person.
STAGED_SUFFIX = rb"\.remediator-[0-9a-f]{12}\.(new|old)"
MAX_READ_BACK = 16 * 1024 * 1024


def staged_name(name: bytes, suffix: bytes) -> bytes:
    """A dotted name beside `name` that nothing else has."""
    return b"." + name + b".remediator-" + binascii.hexlify(os.urandom(6)) + b"." + suffix


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


class FileWrite:
    """New content for a file, or a new file. `wanted` is what the preview found there, null where not known.

    The copy of the old file is noted in `copies` (device, inode). Each of `checks` gets the path of the staged file
    before that takes its place, and raises StepError where its reader would not accept it: some files count at once.
    """

    def __init__(
        self,
        path: str,
        content: bytes,
        access: Tuple[int, int, int],
        wanted: Optional[Precondition],
        copies: Set[Tuple[int, int]],
        checks: Sequence[Callable[[str], None]] = (),
    ) -> None:
        self.path = path
        self.changed = False
        self._content = content
        self._mode = access[0]
        self._owner = access[1:]
        self._wanted = wanted
        self._copies = copies
        self._checks = checks
        self._place: Optional[Place] = None
        self._new = b""
        self._old = b""
        self._written: Optional[os.stat_result] = None

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        self._place = place = open_place(self.path)
        if place.missing is not None:
            raise StepError("%s: its directory is missing" % plain_line(self.path))
        sweep_leftovers(place)
        before = place.stat()
        attributes: Dict[str, bytes] = {}
        if before is not None:
            if not stat.S_ISREG(before.st_mode):
                raise StepError(plain_line(self.path) + " is no regular file any more")
            attributes = self._copy_old(place, before)
        elif self._wanted is not None and self._wanted.type != "missing":
            raise StepError(plain_line(self.path) + " was removed by somebody else just now")
        self._stage(place, self.new_content(), attributes)
        for check in self._checks:
            check(os.path.join(os.path.dirname(self.path), os.fsdecode(self._new)))
        now = place.stat()
        if (now and identity(now)) != (before and identity(before)):
            raise StepError(plain_line(self.path) + " was changed by somebody else just now")
        os.rename(self._new, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
        self.changed = True
        self._new = b""
        os.fsync(place.parent)

    def new_content(self) -> bytes:
        """What is to be written, asked for once the old file is staged. Raises OSError, StepError."""
        return self._content

    def old_content(self) -> bytes:
        """The bytes that are replaced, from our own copy of them; none where there was no file. Raises StepError."""
        if self._place is None or not self._old:
            return b""
        with os.fdopen(os.open(self._old, PLACE_READ_FLAGS, dir_fd=self._place.parent), "rb") as file:
            data = file.read(MAX_READ_BACK + 1)
        if len(data) > MAX_READ_BACK:
            raise StepError("%s is larger than %d bytes" % (plain_line(self.path), MAX_READ_BACK))
        return data

    def settle(self) -> None:
        """Everything is on disk already."""

    def revert(self) -> None:
        """The old file in its place, or none. Raises LeftAloneError where somebody else wrote it since, OSError."""
        place = self._place
        if place is None:
            return
        if self._new:
            os.unlink(self._new, dir_fd=place.parent)
            self._new = b""
        if self.changed:
            now = place.stat()
            if now is None or self._written is None or identity(now) != identity(self._written):
                raise LeftAloneError(plain_line(self.path) + " was written by somebody else since" + self._aside())
            if self._old:
                os.rename(self._old, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
            else:
                os.unlink(place.name, dir_fd=place.parent)
            self._old = b""
            os.fsync(place.parent)
        self._drop_old()

    def keep(self) -> None:
        """Drops the copy of the old bytes."""
        self._drop_old()

    def close(self) -> None:
        """Closes the directory."""
        if self._place is not None:
            self._place.close()
            self._place = None

    def _drop_old(self) -> None:
        if self._place is not None and self._old:
            os.unlink(self._old, dir_fd=self._place.parent)
            self._old = b""

    def _aside(self) -> str:
        if self._place is None or not self._old:
            return ""
        old, self._old = self._old, b""
        return set_aside(self._place, old)

    def _copy_old(self, place: Place, before: os.stat_result) -> Dict[str, bytes]:
        """Stages a copy of the old file that is like it in everything, and answers with its attributes."""
        source = place.open(PLACE_READ_FLAGS)
        try:
            found = os.fstat(source)
            if identity(found) != identity(before):
                raise StepError(plain_line(self.path) + " was changed by somebody else just now")
            attributes = read_xattrs("/proc/self/fd/%d" % source)
            name = staged_name(place.name, b"old")
            copy = os.open(name, STAGE_FLAGS, 0o600, dir_fd=place.parent)
            self._old = name
            try:
                facts = os.fstat(copy)
                self._copies.add((facts.st_dev, facts.st_ino))
                digest = copy_bytes(source, copy, before.st_size)
                os.fchown(copy, before.st_uid, before.st_gid)
                copy_xattrs(attributes, copy, ("security.evm",))
                os.fchmod(copy, stat.S_IMODE(before.st_mode))
                os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fsync(copy)
            finally:
                os.close(copy)
        finally:
            os.close(source)
        if self._differs(found, digest):
            raise StepError(plain_line(self.path) + " was changed by somebody else just now")
        return attributes

    def _differs(self, found: os.stat_result, digest: str) -> bool:
        """Whether the old file, with that digest of its bytes, is another than the preview found."""
        wanted = self._wanted
        if wanted is None:
            return False
        # A secret can be exchanged under its mask, and a key has no digest here at all: their inodes tell.
        if wanted.type == "missing" or (wanted.ctime_ns is not None and compare(wanted, found)):
            return True
        if wanted.masked:
            digest = masked_digest(self.old_content())
        return wanted.sha256 is not None and digest != wanted.sha256

    def _stage(self, place: Place, content: bytes, attributes: Dict[str, bytes]) -> None:
        """Stages the new content. Owner, attributes and mode come before the bytes: nobody reads them too early."""
        name = staged_name(place.name, b"new")
        descriptor = os.open(name, STAGE_FLAGS, 0o600, dir_fd=place.parent)
        self._new = name
        try:
            os.fchown(descriptor, self._owner[0], self._owner[1])
            copy_xattrs(attributes, descriptor, CONTENT_XATTRS)
            os.fchmod(descriptor, self._mode)
            write_fully(descriptor, content)
            os.fsync(descriptor)
            self._written = os.fstat(descriptor)
        finally:
            os.close(descriptor)


def copy_bytes(source: int, target: int, size: int) -> str:
    """Copies `size` bytes between descriptors and answers with their sha256. Raises OSError, StepError."""
    digest = hashlib.sha256()
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

    def __init__(self, path: str) -> None:
        self.path = path
        self.changed = False
        self._place: Optional[Place] = None
        self._old = b""

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        self._place = place = open_place(self.path)
        sweep_leftovers(place)
        before = place.stat()
        if before is None or not stat.S_ISREG(before.st_mode):
            raise StepError(plain_line(self.path) + " is no regular file any more")
        self._old = staged_name(place.name, b"old")
        os.rename(place.name, self._old, src_dir_fd=place.parent, dst_dir_fd=place.parent)
        self.changed = True
        os.fsync(place.parent)

    def settle(self) -> None:
        """Everything is on disk already."""

    def revert(self) -> None:
        """The file at its place again. Raises LeftAloneError where somebody else made another since, OSError."""
        if self._place is None or not self.changed:
            return
        if self._place.stat() is not None:
            where = set_aside(self._place, self._old)
            raise LeftAloneError(plain_line(self.path) + " was written by somebody else since" + where)
        os.rename(self._old, self._place.name, src_dir_fd=self._place.parent, dst_dir_fd=self._place.parent)
        os.fsync(self._place.parent)

    def keep(self) -> None:
        """Drops the file for good."""
        if self._place is not None and self.changed:
            os.unlink(self._old, dir_fd=self._place.parent)

    def close(self) -> None:
        """Closes the directory."""
        if self._place is not None:
            self._place.close()
            self._place = None


class DirectoryMade:
    """A new directory."""

    def __init__(self, path: str, mode: int, uid: int, gid: int) -> None:
        self.path = path
        self.changed = False
        self._mode = mode
        self._owner = (uid, gid)
        self._made: Optional[os.stat_result] = None

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
                self._made = os.fstat(descriptor)
                os.fchown(descriptor, self._owner[0], self._owner[1])
                os.fchmod(descriptor, self._mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.fsync(place.parent)
        finally:
            place.close()

    def settle(self) -> None:
        """Everything is on disk already."""

    def revert(self) -> None:
        """No directory again. Raises LeftAloneError where somebody else put files in it since, OSError."""
        if not self.changed:
            return
        place = open_place(self.path)
        try:
            now = place.stat()
            if now is None or (self._made and (now.st_dev, now.st_ino) != (self._made.st_dev, self._made.st_ino)):
                raise LeftAloneError(plain_line(self.path) + " was replaced by somebody else since")
            try:
                os.rmdir(place.name, dir_fd=place.parent)
            except OSError:
                raise LeftAloneError(plain_line(self.path) + ": somebody else put files in this new directory")
            os.fsync(place.parent)
        finally:
            place.close()

    def keep(self) -> None:
        """Nothing was set aside."""

    def close(self) -> None:
        """Nothing is open."""
