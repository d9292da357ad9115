"""Paths opened so that nothing is followed: from / down by directory descriptors, each O_NOFOLLOW.

Paths are handled as bytes: Python 3.6 under the C locale cannot encode any other than ASCII itself.
"""

import fcntl
import os
import stat
import struct
from typing import List, Optional, Tuple

from remediator.host.common.digest import sha256
from remediator.host.common.patterns import pattern

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PLACE_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# ioctl_iflags(2): _IOR('f', 1, long), and its immutable and append-only bits.
GET_FLAGS = 0x80000000 | (struct.calcsize("l") << 16) | (ord("f") << 8) | 1
FLAG_IMMUTABLE = 0x10
FLAG_APPEND_ONLY = 0x20
MOUNT_ESCAPE = pattern(rb"\\([0-7]{3})")
TYPES = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISLNK, "symlink"),
    (stat.S_ISFIFO, "fifo"),
)


class UntrustedError(Exception):
    """A directory above a path can be written by others than root, so what lies below may be swapped at any time."""


class Place:
    """A path's parent directory, held open, and its last name: what every write goes through.

    Close it after use. `missing` is the first directory that is not there; `parent` is then the last one that is.
    """

    def __init__(self, path: str, parent: int, name: bytes, missing: Optional[str] = None) -> None:
        self.path = path
        self.parent = parent
        self.name = name
        self.missing = missing

    def stat(self) -> Optional[os.stat_result]:
        """What is there now, not followed; None for nothing. Raises OSError."""
        if self.missing is not None:
            return None
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, flags: int) -> int:
        """A descriptor of it; `flags` hold O_NOFOLLOW. Raises OSError."""
        return os.open(self.name, flags, dir_fd=self.parent)

    def close(self) -> None:
        """Closes the parent."""
        os.close(self.parent)


def real_path(path: str) -> str:
    """Where `path` leads to now, every symlink followed. Raises OSError."""
    return os.path.realpath(path.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def open_place(path: str, trusted: bool = True) -> Place:
    """The place of `path`, which is absolute, normal and resolved.

    Raises UntrustedError where a directory above it can be written by others than root (unless `trusted` is False), and
    OSError: ELOOP or ENOTDIR where one of them is no directory of its own, a symlink say.
    """
    parts = path.encode("utf-8", "surrogateescape").split(b"/")[1:]
    current = os.open("/", DIRECTORY_FLAGS)
    missing = None
    try:
        for depth, part in enumerate(parts[:-1], 1):
            if trusted:
                require_trust(current, b"/" + b"/".join(parts[: depth - 1]))
            try:
                below = os.open(part, DIRECTORY_FLAGS, dir_fd=current)
            except FileNotFoundError:
                missing = "/" + b"/".join(parts[:depth]).decode("utf-8", "surrogateescape")
                break
            os.close(current)
            current = below
        if trusted:
            require_trust(current, b"/" + b"/".join(parts[:-1]))
    except BaseException:
        os.close(current)
        raise
    return Place(path, current, parts[-1] or b".", missing)


def require_trust(directory: int, path: bytes) -> None:
    """Raises UntrustedError unless only root can write in the open `directory`."""
    facts = os.fstat(directory)
    shown = path.decode("utf-8", "backslashreplace")
    if facts.st_uid != 0:
        raise UntrustedError("%s belongs to uid %d, who can replace what lies below" % (shown, facts.st_uid))
    group_writes = facts.st_mode & stat.S_IWGRP and (facts.st_gid != 0 or has_acl(directory))
    if facts.st_mode & stat.S_IWOTH or group_writes:
        raise UntrustedError("%s (mode %04o) can be written by others than root" % (shown, stat.S_IMODE(facts.st_mode)))


def has_acl(descriptor: int) -> bool:
    """Whether an open file has a POSIX access ACL, whose mask then stands in the group bits."""
    try:
        return "system.posix_acl_access" in os.listxattr(descriptor)
    except OSError:
        return False


def type_name(facts: Optional[os.stat_result]) -> str:
    """What a stat result is, in the request's words."""
    if facts is None:
        return "missing"
    return next((name for is_type, name in TYPES if is_type(facts.st_mode)), "device")


def identity(facts: os.stat_result) -> Tuple[int, int, int, int]:
    """What changes whenever a file is replaced or written."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def content_digest(descriptor: int) -> str:
    """sha256 of an open file's bytes. Raises OSError."""
    digest = sha256()
    # No more than was there when it was opened: a file that grows as it is read must not hold the host up.
    left = os.fstat(descriptor).st_size + 1
    while left > 0:
        piece = os.read(descriptor, min(left, 1048576))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


def lock_flag(descriptor: int) -> str:
    """`immutable` or `append-only` for an open file or directory that is (chattr +i, +a); else empty."""
    try:
        buffer = fcntl.ioctl(descriptor, GET_FLAGS, b"\0" * struct.calcsize("l"))
    except OSError:
        return ""  # a filesystem without such flags
    flags = struct.unpack("i", buffer[:4])[0] if len(buffer) == 4 else struct.unpack("l", buffer)[0]
    return "immutable" if flags & FLAG_IMMUTABLE else "append-only" if flags & FLAG_APPEND_ONLY else ""


def mount_points() -> List[str]:
    """Every mount point that this program sees, bind mounts of single files among them (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", "rb") as table:
        fields = [line.split(b" ") for line in table if line.count(b" ") >= 5]
    points = [MOUNT_ESCAPE.sub(lambda match: bytes([int(match.group(1), 8)]), field[4]) for field in fields]
    return [point.decode("utf-8", "surrogateescape") for point in points]
