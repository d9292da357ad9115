"""The key that this host made for itself, with the request to sign it: one pair, in a directory of our own.

A pair is replaced as a whole: the new one is made in a directory beside, and two renames exchange the directories. Who
is interrupted between them has no pair at its place, never a mix of two; the next that asks for it here finds the old
one put back (`recover_pair`).
"""

import errno
import os
import stat
from typing import List, Optional, Tuple

from remediator.host.commit.entries import PairEntry, staged_name
from remediator.host.commit.files import STAGE_FLAGS, STAGED_SUFFIX, write_fully
from remediator.host.commit.lock import STATE_DIRECTORY, open_state_directory
from remediator.host.commit.openssl import (
    key_public_sha256,
    make_private_key,
    make_request,
    request_public_sha256,
    require_openssl,
)
from remediator.host.commit.outcomes import StepError, system_error
from remediator.host.commit.places import DIRECTORY_FLAGS, PLACE_READ_FLAGS
from remediator.host.common.patterns import pattern
from remediator.host.common.serve import ProgramError

PAIR_NAME = b"tls"
PAIR_KEY = b"key.pem"
PAIR_REQUEST = b"request.pem"
PAIR_DIRECTORY = STATE_DIRECTORY + "/tls"
KEY_PATH = PAIR_DIRECTORY + "/key.pem"
REQUEST_PATH = PAIR_DIRECTORY + "/request.pem"
PAIR_ASIDE = pattern(rb"\.tls" + STAGED_SUFFIX + rb"\Z")
MAX_KEY = 65536


class PairMade:
    """A new private key and its signing request; the pair from before is set aside until the transaction stands."""

    def __init__(self, entry: PairEntry, subject: str) -> None:
        self.path = KEY_PATH
        self.changed = False
        self._subject = subject
        self._entry = entry
        self._new = entry.new.encode("ascii")
        self._old = entry.old.encode("ascii")

    def do(self) -> None:
        """Raises StepError."""
        require_openssl()
        try:
            state = open_own_directory()
            try:
                recover_pair(state)
                before = open_pair(state)
                if before is not None:
                    os.close(before)
                self._make(state)
                self._exchange(state)
            finally:
                os.close(state)
        except OSError as error:
            raise StepError(system_error(PAIR_DIRECTORY, error))

    def settle(self) -> None:
        """Everything is on disk already."""

    def keep(self) -> None:
        """Drops the pair from before. Raises OSError, StepError."""
        drop_old_pair(self._entry)

    def _make(self, state: int) -> None:
        os.mkdir(self._new, 0o700, dir_fd=state)
        directory = os.open(self._new, DIRECTORY_FLAGS, dir_fd=state)
        try:
            key = make_private_key()
            write_new(directory, PAIR_KEY, key, 0o600)
            request = make_request("%s/%s/key.pem" % (STATE_DIRECTORY, self._new.decode("ascii")), self._subject)
            if request_public_sha256(request) != key_public_sha256(key):
                raise StepError("openssl made a signing request of another key")
            write_new(directory, PAIR_REQUEST, request, 0o644)
            os.fsync(directory)
        finally:
            os.close(directory)

    def _exchange(self, state: int) -> None:
        try:
            os.rename(PAIR_NAME, self._old, src_dir_fd=state, dst_dir_fd=state)
        except FileNotFoundError:
            pass
        os.rename(self._new, PAIR_NAME, src_dir_fd=state, dst_dir_fd=state)
        self.changed = True
        os.fsync(state)


def pair_entry(number: int, controls: Tuple[str, ...]) -> PairEntry:
    """What make_key will change. Raises OSError, StepError."""
    state = open_own_directory()
    try:
        recover_pair(state)
        names = [staged_name(PAIR_NAME, suffix).decode("ascii") for suffix in (b"old", b"new")]
        return PairEntry(number, PAIR_DIRECTORY, controls, PAIR_NAME in names_in_state(state), names[0], names[1])
    finally:
        os.close(state)


def restore_pair(entry: PairEntry) -> bool:
    """The pair from before at its place again, or none; whether there was anything to do. Raises OSError, StepError."""
    old, new = entry.old.encode("ascii"), entry.new.encode("ascii")
    state = open_own_directory()
    try:
        names = names_in_state(state)
        if old in names:
            if PAIR_NAME in names:
                drop_aside(state, new)
                os.rename(PAIR_NAME, new, src_dir_fd=state, dst_dir_fd=state)
            os.rename(old, PAIR_NAME, src_dir_fd=state, dst_dir_fd=state)
        elif not entry.before and PAIR_NAME in names:
            drop_aside(state, new)
            os.rename(PAIR_NAME, new, src_dir_fd=state, dst_dir_fd=state)
        elif new not in names:
            return False
        drop_aside(state, new)
        os.fsync(state)
        return True
    finally:
        os.close(state)


def drop_old_pair(entry: PairEntry) -> None:
    """Removes the pair from before, once the new one stands. Raises OSError, StepError."""
    state = open_own_directory()
    try:
        drop_aside(state, entry.old.encode("ascii"))
    finally:
        os.close(state)


def names_in_state(state: int) -> List[bytes]:
    """The names in our own directory."""
    return [os.fsencode(entry) for entry in os.listdir(state)]


def drop_aside(state: int, name: bytes) -> None:
    """Removes a pair that was set aside, where it is there. Raises OSError."""
    try:
        drop_pair(state, name)
    except FileNotFoundError:
        pass


def write_new(directory: int, name: bytes, content: bytes, mode: int) -> None:
    """A new file that nobody reads before it has its mode, on disk. Raises OSError."""
    descriptor = os.open(name, STAGE_FLAGS, 0o600, dir_fd=directory)
    try:
        os.fchmod(descriptor, mode)
        write_fully(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_own_directory() -> int:
    """A descriptor of our state directory. Raises OSError, StepError."""
    try:
        return open_state_directory()
    except ProgramError as error:
        raise StepError(error.message)


def open_pair(state: int) -> Optional[int]:
    """A descriptor of the pair's directory, root's alone; None where there is no pair. Raises OSError, StepError."""
    try:
        directory = os.open(PAIR_NAME, DIRECTORY_FLAGS, dir_fd=state)
    except FileNotFoundError:
        return None
    facts = os.fstat(directory)
    if facts.st_uid != 0:
        os.close(directory)
        raise StepError("%s belongs to uid %d: remove it, then run this again" % (PAIR_DIRECTORY, facts.st_uid))
    if stat.S_IMODE(facts.st_mode) != 0o700:
        os.fchmod(directory, 0o700)
    return directory


def recover_pair(state: int) -> None:
    """Ends what an interrupted exchange left: the old pair goes back where none is, all else is dropped."""
    names = names_in_state(state)
    there = PAIR_NAME in names
    for name in names:
        if PAIR_ASIDE.match(name) is None:
            continue
        if not there and name.endswith(b".old"):
            os.rename(name, PAIR_NAME, src_dir_fd=state, dst_dir_fd=state)
            there = True
        else:
            drop_pair(state, name)
    os.fsync(state)


def drop_pair(state: int, name: bytes) -> None:
    """Removes a pair that was set aside: its two files, and its directory unless somebody put others in."""
    directory = os.open(name, DIRECTORY_FLAGS, dir_fd=state)
    try:
        drop_files(directory)
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=state)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def drop_files(directory: int) -> None:
    """Removes a pair's two files, the key first. Raises OSError."""
    for file in (PAIR_KEY, PAIR_REQUEST):
        try:
            os.unlink(file, dir_fd=directory)
        except FileNotFoundError:
            pass
    os.fsync(directory)


def staged_key() -> bytes:
    """The private key that waits to be moved into place. Raises StepError where there is none that can be trusted."""
    try:
        descriptor = open_staged_key()
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != 0 or facts.st_nlink != 1 or facts.st_mode & 0o077:
                raise StepError(KEY_PATH + " is no plain file that root alone can read")
            return file.read(MAX_KEY)
    except FileNotFoundError:
        raise StepError(KEY_PATH + " is not there: have this host make a key (remediate tls issue), then preview again")
    except OSError as error:
        raise StepError(system_error(KEY_PATH, error))


def open_staged_key() -> int:
    """A descriptor of it. Raises OSError, StepError."""
    state = open_own_directory()
    try:
        recover_pair(state)
        directory = open_pair(state)
    finally:
        os.close(state)
    if directory is None:
        raise FileNotFoundError
    try:
        return os.open(PAIR_KEY, PLACE_READ_FLAGS, dir_fd=directory)
    finally:
        os.close(directory)


def drop_staged_pair() -> None:
    """Removes the pair, once its key lies where it is used: a key is in one place. Raises OSError, StepError."""
    state = open_own_directory()
    try:
        directory = open_pair(state)
    finally:
        os.close(state)
    if directory is not None:
        try:
            drop_files(directory)
        finally:
            os.close(directory)
