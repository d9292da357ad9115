"""Reading, and only reading: regular files, never through a last symlink, never more than a limit."""

import errno
import os
import stat

MAX_CONTENT = 1048576
# O_NONBLOCK: a FIFO put in a file's place must not hold us; O_NOCTTY: nor a terminal attach itself.
READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY


class UnreadableError(Exception):
    """A file could not be read; str() says why, in words for the user."""


def open_regular(path: "bytes", directory: "int | None" = None) -> "int":
    """A read-only descriptor of the regular file `path`, whose access time stays as it is where that is permitted.

    A relative path is looked up in `directory`, a descriptor. Raises UnreadableError for what is no regular file,
    OSError for what cannot be opened.
    """
    if not stat.S_ISREG(os.lstat(path, dir_fd=directory).st_mode):
        raise UnreadableError("not a regular file")
    try:
        descriptor = os.open(path, READ_FLAGS | os.O_NOATIME, dir_fd=directory)
    except PermissionError:
        # O_NOATIME is for owners and root only.
        descriptor = os.open(path, READ_FLAGS, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableError("not a regular file")
    return descriptor


def read_descriptor(descriptor: "int", limit: "int") -> "bytes":
    """Up to `limit` bytes, to the end of the file."""
    pieces = []
    left = limit
    while left > 0:
        piece = os.read(descriptor, min(left, 1048576))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_regular(path: "bytes", limit: "int" = MAX_CONTENT) -> "bytes":
    """The whole content of a regular file of at most `limit` bytes. Raises UnreadableError, with the reason."""
    try:
        descriptor = open_regular(path)
        try:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise UnreadableError("%d bytes long, which is larger than %d bytes" % (size, limit))
            content = read_descriptor(descriptor, limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableError(reason_of(error))
    if len(content) > limit:
        raise UnreadableError("larger than %d bytes" % limit)
    return content


def read_settings(path: "str", limit: "int" = MAX_CONTENT) -> "bytes":
    """Like read_regular, following symlinks: for configuration that a program on the host reads as well."""
    return read_regular(os.path.realpath(path.encode("utf-8", "surrogateescape")), limit)


def read_quietly(path: "str", limit: "int" = MAX_CONTENT) -> "bytes":
    """The content that `read_settings` gives, or nothing where there is none that can be read."""
    try:
        return read_settings(path, limit)
    except UnreadableError:
        return b""


def read_proc(path: "str", limit: "int" = 262144) -> "bytes":
    """A file of /proc or /sys, whose size is not known beforehand; empty where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return read_descriptor(descriptor, limit)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def names_in(path: "str", limit: "int" = 5000) -> "list[str]":
    """The sorted names in a directory (at most `limit`), empty where there is none that can be read."""
    try:
        names = os.listdir(path.encode("utf-8", "surrogateescape"))
    except OSError:
        return []
    return sorted(name.decode("utf-8", "surrogateescape") for name in names)[:limit]


def is_there(path: "str") -> "bool":
    """Whether something is at `path`, symlinks followed. What may not be looked at counts: its own facts say why."""
    try:
        os.stat(path.encode("utf-8", "surrogateescape"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def reason_of(error: "OSError") -> "str":
    """An error as words: the kernel's, without the path that the caller names anyway."""
    if error.errno == errno.ELOOP:
        return "too many levels of symbolic links"
    return (error.strerror or str(error)).lower()
