"""Putting back what a journal says was there before: in a transaction that fails, and after one that was interrupted.

A path is put back only while it holds what the journal says was there before or what was to be there after; one that
somebody repaired since is named and left alone.
"""

import errno
import os
import stat
from typing import List, NamedTuple, Optional, Tuple

from remediator.host.commit.access import read_xattrs
from remediator.host.commit.entries import Entry, PairEntry, PathEntry, RuleEntry
from remediator.host.commit.files import copy_file, remove_staged, set_aside
from remediator.host.commit.kernel_audit import loaded_rules, rule_form, turn_rule
from remediator.host.commit.outcomes import LeftAloneError, StepError, plain_line, system_error
from remediator.host.commit.places import PATH_FLAGS, PLACE_READ_FLAGS, Place, UntrustedError, open_place, type_name
from remediator.host.commit.staged_pair import restore_pair
from remediator.host.commit.states import PathState, digest_at

SETID = stat.S_ISUID | stat.S_ISGID
# Mode and owner of a directory between its making and its own access.
MADE_ACCESS = (0o700, 0, 0)


class Restored(NamedTuple):
    """What came of it: the paths that were put back, what was left alone, and what failed, both in words."""

    paths: List[str]
    left_alone: List[str]
    trouble: List[str]


def restore_entries(entries: List[Entry], directory: int, rebooted: bool = False) -> Restored:
    """Puts every entry back, the last one first; `directory` holds the backups. One that fails stops no other.

    `rebooted`: the kernel, and what lies below /run, is another than the one that the journal was written for.
    """
    restored = Restored([], [], [])
    for entry in reversed(entries):
        try:
            if restore_entry(entry, directory, rebooted):
                restored.paths.append(entry.path if isinstance(entry, PathEntry) else "")
        except LeftAloneError as error:
            restored.left_alone.append(plain_line(str(error), 1000))
        except OSError as error:
            name = entry.path if isinstance(entry, PathEntry) else "the audit rules or our own key"
            restored.trouble.append(system_error(plain_line(name), error))
        except (StepError, UntrustedError) as error:
            restored.trouble.append(plain_line(str(error), 1000))
    return restored


def restore_entry(entry: Entry, directory: int, rebooted: bool) -> bool:
    """Puts one entry back; whether there was anything to do. Raises LeftAloneError, OSError, StepError."""
    if isinstance(entry, RuleEntry):
        form = rule_form(entry.rule)
        if entry.before == entry.after or (form in loaded_rules()) != entry.after:
            return False
        turn_rule(entry.rule, form, entry.before)
        return True
    if isinstance(entry, PairEntry):
        return restore_pair(entry)
    place = open_place(entry.path)
    try:
        if entry.new is not None:
            remove_staged(place, entry.new)
        return restore_path(entry, place, directory, rebooted)
    finally:
        place.close()


def restore_path(entry: PathEntry, place: Place, directory: int, rebooted: bool) -> bool:
    """One path as it was. Raises LeftAloneError, OSError, StepError."""
    before = entry.before
    if place.missing is not None and before.type != "missing":
        # Nothing may be written in the directory above instead, which is the one that is open.
        raise LeftAloneError("%s: its directory %s is gone" % (plain_line(entry.path), plain_line(place.missing)))
    found = place.stat()
    if before.type == "missing":
        return found is not None and remove_made(entry, place, found)
    if entry.backup is not None:
        if not holds_before(entry, place, found):
            take_back(entry, place, found, directory)
            return True
        drop_copy(entry, place)
        found = place.stat()
    if before.type == "directory" and entry.after.type == "missing":
        return make_again(entry, place, found)
    if before.type == "socket" and rebooted:
        return False  # a socket lives as long as who listens on it
    return restore_access(entry, place, found, rebooted)


def remove_made(entry: PathEntry, place: Place, found: os.stat_result) -> bool:
    """Removes what the transaction made where nothing was. Raises LeftAloneError, OSError, StepError."""
    shown = plain_line(entry.path)
    if entry.after.type == "directory" and stat.S_ISDIR(found.st_mode):
        try:
            os.rmdir(place.name, dir_fd=place.parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise LeftAloneError(shown + ": somebody else put files in this new directory")
    elif entry.after.type == "file" and stat.S_ISREG(found.st_mode) and is_content(place, found, entry.after):
        os.unlink(place.name, dir_fd=place.parent)
    else:
        raise LeftAloneError(shown + " was written by somebody else since")
    os.fsync(place.parent)
    return True


def make_again(entry: PathEntry, place: Place, found: Optional[os.stat_result]) -> bool:
    """The directory that was removed, with its mode, owner and attributes; whether there was anything to do.

    One that was made again and did not get its access any more, root's alone and empty, gets it now. Raises
    LeftAloneError for anything else that is not as before, OSError.
    """
    before = entry.before
    if found is None:
        os.mkdir(place.name, 0o700, dir_fd=place.parent)
    descriptor = place.open(PATH_FLAGS)
    try:
        now = os.fstat(descriptor)
        access = (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid)
        is_directory = type_name(now) == "directory"
        if is_directory and access == (before.mode, before.uid, before.gid) and has_xattrs(descriptor, before):
            return False
        if not is_directory or access not in (MADE_ACCESS, (before.mode, before.uid, before.gid)):
            raise LeftAloneError(plain_line(entry.path) + " was made by somebody else since")
        set_access(descriptor, before)
    finally:
        os.close(descriptor)
    os.fsync(place.parent)
    return True


def holds_before(entry: PathEntry, place: Place, found: Optional[os.stat_result]) -> bool:
    """Whether the old bytes are at the path. Raises LeftAloneError where it holds neither old nor new ones, OSError."""
    shown = plain_line(entry.path)
    if found is None:
        if entry.after.type == "missing" or copied(entry, place):
            return False
        raise LeftAloneError(shown + " was removed by somebody else since")
    if not stat.S_ISREG(found.st_mode):
        raise LeftAloneError(shown + " was replaced by somebody else since" + kept_aside(entry, place))
    if is_content(place, found, entry.before):
        return True
    if entry.after.type == "file" and is_content(place, found, entry.after):
        return False
    raise LeftAloneError(shown + " was written by somebody else since" + kept_aside(entry, place))


def take_back(entry: PathEntry, place: Place, found: Optional[os.stat_result], directory: int) -> None:
    """The old file at its place again: by one rename, of the copy beside it or one of the backup. Raises OSError.

    Raises LeftAloneError where a file came back that was removed.
    """
    old = (entry.old or "").encode("utf-8", "surrogateescape")
    if not copied(entry, place):
        source = os.open((entry.backup or "").encode("ascii"), PLACE_READ_FLAGS, dir_fd=directory)
        try:
            copy_file(source, place.parent, old, entry.before)
        finally:
            os.close(source)
    if found is None and place.stat() is not None:
        raise LeftAloneError(plain_line(entry.path) + " was written by somebody else since" + kept_aside(entry, place))
    os.rename(old, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    os.fsync(place.parent)


def restore_access(entry: PathEntry, place: Place, found: Optional[os.stat_result], rebooted: bool) -> bool:
    """Mode, owner and attributes as before. Raises LeftAloneError where somebody else changed them or the path."""
    before, after, shown = entry.before, entry.after, plain_line(entry.path)
    if found is None:
        raise LeftAloneError(shown + " was removed by somebody else since")
    descriptor = place.open(PATH_FLAGS)
    try:
        now = os.fstat(descriptor)
        # A device has its number for one boot only, and btrfs for one mount.
        same = now.st_ino == before.ino and (rebooted or now.st_dev == before.dev)
        same = same or entry.backup is not None
        if type_name(now) != before.type or not same:
            raise LeftAloneError(shown + " was replaced by somebody else since")
        mode, owner = stat.S_IMODE(now.st_mode), (now.st_uid, now.st_gid)
        if (mode, owner) == (before.mode, (before.uid, before.gid)) and has_xattrs(descriptor, before):
            return False
        modes = (before.mode, after.mode, (before.mode or 0) & ~SETID)
        if mode not in modes or owner not in ((before.uid, before.gid), (after.uid, after.gid)):
            raise LeftAloneError(shown + ": mode or owner was changed by somebody else since")
        set_access(descriptor, before)
    finally:
        os.close(descriptor)
    return True


def set_access(descriptor: int, before: PathState) -> None:
    """Gives what is open (O_PATH) that owner, mode and those attributes, on disk. Raises OSError."""
    link = "/proc/self/fd/%d" % descriptor
    # The owner first: chown(2) clears setuid and setgid bits and file capabilities.
    os.chown(link, before.uid or 0, before.gid or 0)
    os.chmod(link, before.mode or 0)
    found = read_xattrs(link)
    for name, value in (before.xattrs or {}).items():
        if found.get(name) != value:
            os.setxattr(link, name, value)
    if before.type != "socket":
        opened = os.open(link, PLACE_READ_FLAGS & ~os.O_NOFOLLOW)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def has_xattrs(descriptor: int, before: PathState) -> bool:
    """Whether what is open has all the attributes from before."""
    found = read_xattrs("/proc/self/fd/%d" % descriptor)
    return all(found.get(name) == value for name, value in (before.xattrs or {}).items())


def is_content(place: Place, found: os.stat_result, wanted: PathState) -> bool:
    """Whether the regular file in `found` has exactly the wanted bytes. Raises OSError, StepError."""
    if wanted.size is not None and found.st_size != wanted.size:
        return False
    return digest_at(place, found) == wanted.sha256


def copied(entry: PathEntry, place: Place) -> bool:
    """Whether the copy beside the path is there, whole: it has the size and the digest of the old file."""
    if entry.old is None:
        return False
    beside = Place(entry.path, place.parent, entry.old.encode("utf-8", "surrogateescape"))
    facts = beside.stat()
    return facts is not None and stat.S_ISREG(facts.st_mode) and is_content(beside, facts, entry.before)


def drop_copy(entry: PathEntry, place: Place) -> None:
    """Removes the copy beside a path that never was replaced. Raises OSError."""
    if entry.old is not None:
        remove_staged(place, entry.old)


def kept_aside(entry: PathEntry, place: Place) -> str:
    """Gives the copy a name that no later commit sweeps, and says so; empty where there is none."""
    if not copied(entry, place):
        drop_copy(entry, place)
        return ""
    return set_aside(place, (entry.old or "").encode("utf-8", "surrogateescape"))


def drop_copies(entries: List[Entry]) -> List[str]:
    """Removes, once a transaction stands, the copies of the old files beside the new ones; what failed, in words."""
    left = []
    for entry in entries:
        if not isinstance(entry, PathEntry) or entry.old is None:
            continue
        try:
            place = open_place(entry.path)
        except FileNotFoundError:
            continue  # gone with its directory
        except UntrustedError as error:
            left.append("the copy of what was at %s before: %s" % (plain_line(entry.path), plain_line(str(error))))
            continue
        except OSError as error:
            left.append(system_error("the copy of what was at %s before" % plain_line(entry.path), error))
            continue
        try:
            if place.missing is None:
                remove_staged(place, entry.old)
        except OSError as error:
            left.append(system_error("the copy of what was at %s before" % plain_line(entry.path), error))
        finally:
            place.close()
    return left


def places_of(entries: List[Entry]) -> Tuple[str, ...]:
    """The paths of the entries."""
    return tuple(entry.path for entry in entries if isinstance(entry, PathEntry))
