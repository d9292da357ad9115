"""What commit will not touch, found out before its transaction's first write."""

import errno
import os
import stat
from typing import Dict, Set, Tuple

from remediator.host.commit.finding import find_program
from remediator.host.commit.outcomes import NotStartedError, plain_line, system_error
from remediator.host.commit.places import (
    PLACE_READ_FLAGS,
    Place,
    UntrustedError,
    lock_flag,
    mount_points,
    open_place,
    type_name,
)
from remediator.host.commit.request import Action, Transaction
from remediator.host.commit.roots import OWN_SUDOERS, refusal

# For directory entries and blocks that are not quite full, beside the bytes themselves.
SPACE_MARGIN = 65536
NEW_BYTES = ("write", "edit", "install_key", "restore")
UNLOCK = "take that away with chattr if it may change, then run this again"
REMOUNT = "mount it writable if it may change, then run this again"
ROOM = "make room there, then run this again"


def refuse_places(transaction: Transaction, roots: Tuple[str, ...]) -> None:
    """Raises NotStartedError(`refused`) unless every path of the transaction is one that commit may change, and can."""
    mounts = set(mount_points())
    made: Set[str] = set()
    needs: Dict[int, Tuple[str, int, int]] = {}
    try:
        for action in transaction.actions:
            if action.path is None:
                continue
            path = known_path(transaction, action.path, roots, needs_digest=action.do == "edit")
            if action.do == "install_key":
                refuse_unknown_key(transaction, action.path)
            place = trusted_place(path)
            try:
                refuse_state(place, action, path in mounts, made)
                if action.do in NEW_BYTES:
                    before = place.stat()
                    size = new_size(action, before.st_size if before is not None else 0) + SPACE_MARGIN
                    device = os.fstat(place.parent).st_dev
                    _, total, count = needs.get(device, (path, 0, 0))
                    needs[device] = (path, total + size, count + 2)
            finally:
                place.close()
            if action.do == "mkdir":
                made.add(path)
        for path, size, count in needs.values():
            refuse_space(path, size, count)
    except OSError as error:
        raise NotStartedError("refused", system_error(plain_line(str(error.filename or "a path")), error))


def new_size(action: Action, before: int) -> int:
    """How many bytes the action needs at most, for the new content and a copy of the old one of `before` bytes."""
    if action.splices is not None:
        return 2 * before + sum(len(one.content) for one in action.splices)
    return before + len(action.content or b"")


def refuse_unchecked_sudoers(transaction: Transaction) -> None:
    """Raises NotStartedError where sudo would get a file that visudo did not check: a broken one locks people out."""
    checked = {step.path for step in transaction.validation if step.do == "sudoers"}
    for action in transaction.actions:
        is_sudoers = action.do in NEW_BYTES and transaction.resolved(action.path or "") == OWN_SUDOERS
        # What is put back was there before: sudo has taken it already.
        if is_sudoers and action.do != "restore" and (action.path not in checked or action.do == "install_key"):
            raise NotStartedError("refused", OWN_SUDOERS + ": it is written only where visudo checks it first")
    if checked and find_program("visudo") is None:
        why = "visudo is not installed on this host, so what sudo reads cannot be checked before it counts: install "
        raise NotStartedError("refused", why + "the package that has it (sudo), then run this again")


def known_path(transaction: Transaction, path: str, roots: Tuple[str, ...], needs_digest: bool) -> str:
    """The real path that an action on `path` goes to. Raises NotStartedError where it may not.

    `needs_digest`: the action leans on the bytes that are there, so the transaction must say which.
    """
    wanted = transaction.wanted(path)
    if wanted is None or (needs_digest and wanted.type == "file" and wanted.sha256 is None):
        raise NotStartedError("refused", plain_line(path) + ": the transaction does not say what must be found there")
    real = transaction.resolved(path)
    reason = refusal(real, roots)
    if reason:
        raise NotStartedError("refused", plain_line(path) + ": " + reason)
    return real


def refuse_unknown_key(transaction: Transaction, path: str) -> None:
    """Raises NotStartedError where a file would be replaced of which the transaction does not say which one it is.

    No digest of a key ever travels: only these tell whether it is still the one that the preview saw.
    """
    wanted = transaction.wanted(path)
    if wanted is None or wanted.type == "missing":
        return
    if None in (wanted.ino, wanted.dev, wanted.size, wanted.mtime_ns, wanted.ctime_ns):
        words = ": the transaction does not say which key must be found there (inode, device, size and both times)"
        raise NotStartedError("refused", plain_line(path) + words)


def trusted_place(path: str) -> Place:
    """Its place, below directories that only root can write. Raises NotStartedError."""
    try:
        return open_place(path)
    except UntrustedError as error:
        raise NotStartedError("refused", "%s: %s; repair that first" % (plain_line(path), plain_line(str(error))))
    except OSError as error:
        raise NotStartedError("refused", system_error(plain_line(path), error))


def refuse_state(place: Place, action: Action, is_mount: bool, made: Set[str]) -> None:
    """Raises NotStartedError where what is at `place`, or the directory that it lies in, cannot take the action."""
    shown = plain_line(place.path)
    if place.missing is not None:
        if place.missing not in made:
            raise NotStartedError("refused", "%s: directory %s is missing" % (shown, plain_line(place.missing)))
        return
    found = place.stat()
    if found is not None and not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
        raise NotStartedError("refused", "%s has %d hard links: another name leads to it too" % (shown, found.st_nlink))
    if action.do == "remove" and type_name(found) != "file":
        raise NotStartedError("refused", shown + " is no regular file: only those are removed")
    if action.do == "rmdir" and type_name(found) != "directory":
        raise NotStartedError("refused", shown + " is no directory: only those are removed so")
    if action.do == "mkdir" and found is not None:
        raise NotStartedError("refused", shown + " is there already")
    if action.do == "edit" and type_name(found) != "file":
        raise NotStartedError("refused", shown + " is no regular file: there is nothing to edit")
    replaces = action.do in NEW_BYTES + ("mkdir", "remove", "rmdir")
    if replaces and is_mount:
        raise NotStartedError("refused", shown + " is a mount point: only its mode and owner can be changed")
    if read_only(place, found is not None and is_mount):
        raise NotStartedError("refused", shown + " lies on a filesystem that is mounted read-only: " + REMOUNT)
    flag = lock_flag(place.parent) if replaces else ""
    if flag:
        raise NotStartedError("refused", "the directory of %s is %s: %s" % (shown, flag, UNLOCK))
    flag = own_flag(place) if type_name(found) in ("file", "directory") else ""
    if flag:
        raise NotStartedError("refused", "%s is %s: %s" % (shown, flag, UNLOCK))


def own_flag(place: Place) -> str:
    """`immutable`, `append-only` or nothing, for the file or directory itself."""
    descriptor = place.open(PLACE_READ_FLAGS)
    try:
        return lock_flag(descriptor)
    finally:
        os.close(descriptor)


def read_only(place: Place, is_mount: bool) -> bool:
    """Whether the mount that the path lies on, or is, is read-only."""
    if not is_mount:
        return bool(os.fstatvfs(place.parent).f_flag & os.ST_RDONLY)
    descriptor = place.open(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
    finally:
        os.close(descriptor)


def refuse_space(path: str, size: int, count: int) -> None:
    """Raises NotStartedError unless the filesystem of `path` has room for new contents and copies of the old ones."""
    place = trusted_place(path)
    try:
        free = os.fstatvfs(place.parent)
    finally:
        place.close()
    shown = plain_line(path)
    if free.f_bfree * free.f_frsize < size:
        full = os.strerror(errno.ENOSPC)
        raise NotStartedError("refused", "%s: %s (%d bytes are needed): %s" % (shown, full, size, ROOM))
    if free.f_files and free.f_ffree < count:
        raise NotStartedError("refused", "%s: no free inodes on its filesystem: %s" % (shown, ROOM))
