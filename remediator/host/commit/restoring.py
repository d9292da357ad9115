"""What an undo puts back: the backups that earlier transactions left in our own directory."""

import os
import stat
from typing import NamedTuple

from remediator.host.commit.access import read_xattrs
from remediator.host.commit.entries import sha256_of
from remediator.host.commit.journal import open_transaction
from remediator.host.commit.outcomes import StepError, plain_line, system_error
from remediator.host.commit.places import PLACE_READ_FLAGS
from remediator.host.commit.states import PathState
from remediator.host.common.patterns import pattern
from remediator.host.common.serve import ProgramError

BACKUP_SOURCE = pattern(r"^([0-9A-Za-z]{1,40}\.[a-z0-9-]{1,64})/([0-9]{1,6}\.before)\Z")
MAX_BACKUP = 16 * 1024 * 1024


class Backup(NamedTuple):
    """A backup's bytes, and the state that the path has once they are back."""

    content: bytes
    state: PathState


def open_backup(source: str) -> Backup:
    """The backup at `RUN.GROUP/N.before`. Raises StepError where it is not there, or not ours alone."""
    match = BACKUP_SOURCE.match(source)
    if match is None:
        raise StepError("%s names no backup" % plain_line(source))
    try:
        directory = open_transaction(match.group(1))
        if directory is None:
            raise FileNotFoundError(2, "No such file or directory")
        try:
            descriptor = os.open(match.group(2).encode("ascii"), PLACE_READ_FLAGS, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            content = file.read(MAX_BACKUP + 1)
            attributes = read_xattrs("/proc/self/fd/%d" % descriptor)
    except OSError as error:
        words = "%s (it may have been pruned; `remediate transactions` lists what can be undone)"
        raise StepError(words % system_error("the backup %s" % source, error))
    except ProgramError as error:
        raise StepError(error.message)
    if not stat.S_ISREG(facts.st_mode) or len(content) > MAX_BACKUP:
        raise StepError("the backup %s is no plain file of at most %d bytes" % (source, MAX_BACKUP))
    state = PathState(
        "file",
        stat.S_IMODE(facts.st_mode),
        facts.st_uid,
        facts.st_gid,
        sha256_of(content),
        len(content),
        facts.st_mtime_ns,
        xattrs=attributes,
    )
    return Backup(content, state)
