"""One commit at a time per host: a lock that the kernel drops with its holder, whatever ends it."""

import errno
import fcntl
import json
import os
import stat
import time
from typing import Any, Dict

from remediator.host.commit.outcomes import plain_line, system_error
from remediator.host.commit.places import DIRECTORY_FLAGS, UntrustedError, open_place
from remediator.host.commit.request import Request
from remediator.host.common.serve import ProgramError

STATE_DIRECTORY = "/var/lib/remediator"
LOCK_NAME = b"lock"
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MAX_LOCK = 4096
# What opening answers where a link, a directory or a socket has the lock's name.
NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)


def take_lock(request: Request) -> int:
    """The descriptor that holds the host's lock until it is closed.

    Raises ProgramError: `locked` names the holder and since when; `state` where our directory or the lock in it is not
    what only root can make.
    """
    try:
        directory = open_state_directory()
        try:
            descriptor = os.open(LOCK_NAME, LOCK_FLAGS, 0o600, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise lock_error() if error.errno in NO_FILE else state_error(os.strerror(error.errno or 0))
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_uid != 0:
            raise lock_error()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProgramError("locked", describe_holder(os.pread(descriptor, MAX_LOCK, 0)))
        try:
            sign_lock(descriptor, request)
        except OSError as error:
            raise state_error(os.strerror(error.errno or 0))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def state_error(why: str) -> ProgramError:
    """The error for a state directory that cannot be trusted or used."""
    return ProgramError(
        "state",
        "%s cannot be used, so nothing was changed: %s. Make it a directory of root's own with room in it, then run "
        "this again." % (STATE_DIRECTORY, plain_line(why)),
    )


def lock_error() -> ProgramError:
    """The error for something else in the lock's place."""
    path = "%s/%s" % (STATE_DIRECTORY, LOCK_NAME.decode("ascii"))
    words = "%s is not a plain file of root's, so nothing was changed. See who put it there, remove it, run this again."
    return ProgramError("state", words % path)


def open_state_directory() -> int:
    """A descriptor of our own directory, made with its final mode where it is missing. Raises ProgramError, OSError."""
    try:
        place = open_place(STATE_DIRECTORY)
    except UntrustedError as error:
        raise state_error(str(error))
    except OSError as error:
        raise state_error(system_error(STATE_DIRECTORY, error))
    try:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.parent)
            os.fsync(place.parent)  # a journal in it is worth no more than its own name
        except FileExistsError:
            pass
        directory = place.open(DIRECTORY_FLAGS)
    finally:
        place.close()
    facts = os.fstat(directory)
    if facts.st_uid != 0:
        os.close(directory)
        raise state_error("it belongs to uid %d" % facts.st_uid)
    if stat.S_IMODE(facts.st_mode) != 0o700:
        os.fchmod(directory, 0o700)
    return directory


def sign_lock(descriptor: int, request: Request) -> None:
    """Writes into the lock who holds it."""
    holder = {
        "run": request.run,
        "host": request.host,
        "who": request.who,
        "pid": os.getpid(),
        "started": int(time.time()),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode("ascii") + b"\n", 0)


def describe_holder(content: bytes) -> str:
    """Who holds the lock, from what stands in it, which may be anything."""
    holder: Dict[str, Any] = {}
    try:
        read = json.loads(content.decode("ascii"))
        holder = read if isinstance(read, dict) else {}
    except (ValueError, RecursionError):
        pass
    words = {name: plain_line(str(holder.get(name, "unknown")), 100) for name in ("run", "who", "pid")}
    started = holder.get("started")
    age = "a while"
    if isinstance(started, int) and not isinstance(started, bool):
        age = "%d seconds" % max(0, min(int(time.time()) - started, 10**9))
    return "run %s by %s has been changing this host for %s (process %s); nothing was written, wait for it to end" % (
        words["run"],
        words["who"],
        age,
        words["pid"],
    )
