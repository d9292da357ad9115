"""The greater part of this program, compiled: kept on the host, since compiling is most of what a commit would spend.

It lies in our own directory, which root alone can read and write, beside the program that the boot unit runs. What is
taken from there is exactly what this program would compile: its name is the digest of the source that came, and of the
Python that is to run it.
"""

import marshal
import os
import stat
import sys

from remediator.host.common.digest import sha256
from remediator.host.common.later import later_source
from remediator.host.common.writing import write_all

ENGINE = "commit"
ENGINE_DIRECTORY = "/var/lib/remediator"
ENGINE_PREFIX = "engine-"
ENGINE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
ENGINE_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_ENGINE = 4 * 1024 * 1024


def load_engine() -> None:
    """Makes the names of the engine known: from the host's own copy, else compiled, and kept for the next time."""
    source = later_source(ENGINE)
    if not source:
        return  # their names are known: the boot unit's program holds them, and modules import them
    name = engine_name(source) if os.geteuid() == 0 else ""
    kept = kept_engine(name) if name else b""
    if kept:
        exec(marshal.loads(kept), globals())  # noqa: S102, S302 - root's own, under the digest of what came
        return
    code = compile(source, "remediator-" + ENGINE, "exec", dont_inherit=True, optimize=2)
    exec(code, globals())  # noqa: S102 - it arrived with the program, under the same digest
    if name:
        keep_engine(name, marshal.dumps(code))


def engine_name(source: "bytes") -> "str":
    """The name of the file that holds this source, compiled by this Python."""
    return ENGINE_PREFIX + str(sha256(sys.version.encode("utf-8", "surrogateescape") + b"\n" + source).hexdigest())


def kept_engine(name: "str") -> "bytes":
    """What lies there, where root alone can have put it there, whole; else nothing."""
    try:
        directory = engine_directory()
        try:
            descriptor = os.open(name, ENGINE_FLAGS, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            content = file.read(MAX_ENGINE)
    except OSError:
        return b""
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != 0 or facts.st_mode & 0o077 or facts.st_nlink != 1:
        return b""
    digest, _, code = content.partition(b"\n")
    return code if sha256(code).hexdigest().encode("ascii") == digest else b""


def keep_engine(name: "str", code: "bytes") -> None:
    """Keeps it in place of those of earlier versions; a host that does not take it compiles again."""
    try:
        directory = engine_directory()
    except OSError:
        return
    draft = ".%s.%d" % (name, os.getpid())
    try:
        descriptor = os.open(draft, ENGINE_NEW_FLAGS, 0o600, dir_fd=directory)
        try:
            write_all(descriptor, sha256(code).hexdigest().encode("ascii") + b"\n" + code)
        finally:
            os.close(descriptor)
        for other in os.listdir(directory):
            if other.startswith((ENGINE_PREFIX, "." + ENGINE_PREFIX)) and other != draft:
                os.unlink(other, dir_fd=directory)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        pass
    finally:
        os.close(directory)


def engine_directory() -> "int":
    """A descriptor of our own directory, where it is there and root's alone, as everything above it. Raises OSError."""
    current = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in ENGINE_DIRECTORY.split("/")[1:]:
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
        finally:
            os.close(current)
        current = below
        facts = os.fstat(current)
        if facts.st_uid != 0 or facts.st_mode & 0o022:
            os.close(current)
            raise PermissionError(1, "it is not root's alone", part)
    return current
