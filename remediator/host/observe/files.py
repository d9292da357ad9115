"""The facts of files: stat, resolved path, who can replace it, and content where it was asked for."""

import binascii
import errno
import fcntl
import os
import stat

from remediator.host.common.digest import sha256
from remediator.host.common.mask import holds_private_key, mask_content
from remediator.host.common.names import is_shown, raw, shown, text_of
from remediator.host.common.reading import UnreadableError, open_regular, read_proc, read_regular, reason_of
from remediator.host.observe.accounts import Accounts

MYPY = False
if MYPY:
    from typing import Any

MAX_FILES = 20000
MAX_TREE = 5000
MAX_TOTAL_CONTENT = 33554432
MAX_DEPTH = 8
MAX_LINKS = 40
MAX_COMPONENTS = 200
# FS_IOC_GETFLAGS, ioctl_iflags(2): the direction bits are the architecture's own.
GETFLAGS = 0x40086601 if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")) else 0x80086601
IMMUTABLE_OR_APPEND = 0x10 | 0x20
FILE_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "char",
}
PRIVATE_NAMES = (".key", "-key.pem", "_key.pem", ".p12", ".pfx", ".jks")


class Place:
    """Where a path leads: its realpath, and the directories on the way that a user other than root can write."""

    def __init__(self, real: "str", found: "os.stat_result | None", untrusted: "tuple[str, ...]" = ()) -> None:
        self.real = real
        self.found = found  # lstat of `real`, None where there is nothing
        self.untrusted = untrusted


class FileBook:
    """Every path that was looked at, once. Directories are remembered: most paths share their ancestors."""

    def __init__(self, accounts: "Accounts") -> None:
        self.accounts = accounts
        self.facts: "dict[str, dict[str, Any]]" = {}
        self.problems: "list[str]" = []
        self.content_left = MAX_TOTAL_CONTENT
        self.unlisted: "dict[str, str]" = {}  # directories that could not be listed
        self.directories: "dict[str, Place]" = {}
        self.read_only: "dict[str, bool]" = {}
        self.mounts = mount_points(read_proc("/proc/self/mountinfo", 4194304))

    def add(self, path: "str", content: "bool" = False) -> "dict[str, Any]":
        """The facts of `path`; for a symlink those of its target are added under the target's own path."""
        key = shown(path)
        known = self.facts.get(key)
        if known is not None and (not content or known.get("read")):
            return known
        if len(self.facts) >= MAX_FILES:
            self.problem("more than %d files were asked for: the rest was left out" % MAX_FILES)
            return {"type": "unreadable", "error": "too many files"}
        facts = self.facts[key] = self.observe(path, content)
        if facts["type"] == "symlink" and facts.get("target") is not None:
            self.add(facts["target"], content)
        return facts

    def answer(self) -> "dict[str, dict[str, Any]]":
        """All facts as they go into the answer: what has its default value is left out."""
        return {
            key: {
                name: value
                for name, value in facts.items()
                if name not in ("target", "read") and (value or name in ("type", "plain", "content"))
            }
            for key, facts in self.facts.items()
        }

    def problem(self, text: "str") -> None:
        """Notes what could not be done, once."""
        if text not in self.problems:
            self.problems.append(text)

    def observe(self, path: "str", content: "bool") -> "dict[str, Any]":
        """The facts of one path, whatever it is."""
        if not path.startswith("/") or "\0" in path:
            return {"type": "unreadable", "error": "not an absolute path"}
        directory, name = os.path.split(path.rstrip("/") or "/")
        try:
            parent = self.directory(directory)
            own = parent.real.rstrip("/") + "/" + name if name not in ("", ".", "..") else self.follow(path).real
            found = lstat_or_none(own)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return self.missing(path, None)
            return {"type": "unreadable", "error": reason_of(error)}
        except RecursionError:
            return {"type": "unreadable", "error": "too many levels of symbolic links"}
        if found is None:
            return self.missing(path, Place(own, None, parent.untrusted))
        facts = self.stat_facts(found)
        facts["untrusted_ancestors"] = [shown(above) for above in parent.untrusted]
        facts["resolved"] = shown(own)
        facts["plain"] = is_shown(path) and is_shown(own)
        facts["read_only"] = self.is_read_only(
            own if facts["type"] == "directory" or own in self.mounts else parent.real
        )
        if facts["type"] == "symlink":
            self.symlink_facts(own, facts)
        else:
            facts["mount_point"] = own in self.mounts
            facts["acl"] = has_acl(own)
            if facts["type"] in ("file", "directory"):
                facts["immutable"] = is_immutable(own, facts["type"])
        if content and facts["type"] not in ("directory", "symlink"):
            self.content_facts(own, facts)
        if facts["plain"]:
            del facts["plain"]
        return facts

    def missing(self, path: "str", place: "Place | None") -> "dict[str, Any]":
        """The facts of a path where nothing is; `place` is None where not even its directory is."""
        facts: "dict[str, Any]" = {"type": "missing"}
        if not is_shown(path):
            facts["plain"] = False
        if place is not None:
            facts["resolved"] = shown(place.real)
            facts["untrusted_ancestors"] = [shown(above) for above in place.untrusted]
            facts["read_only"] = self.is_read_only(os.path.dirname(place.real))
        facts["read"] = True
        return facts

    def stat_facts(self, found: "os.stat_result") -> "dict[str, Any]":
        """What lstat says, with names for its numbers."""
        return {
            "type": FILE_TYPES.get(stat.S_IFMT(found.st_mode), "unreadable"),
            "mode": stat.S_IMODE(found.st_mode),
            "uid": found.st_uid,
            "gid": found.st_gid,
            "user": self.accounts.user(found.st_uid),
            "group": self.accounts.group(found.st_gid),
            "group_members": self.accounts.members(found.st_gid),
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "ctime_ns": found.st_ctime_ns,
            "ino": found.st_ino,
            "dev": found.st_dev,
            "nlink": found.st_nlink,
        }

    def symlink_facts(self, own: "str", facts: "dict[str, Any]") -> None:
        """Where a symlink leads, and whether others can make it lead elsewhere."""
        facts["resolved"] = None
        try:
            place = self.follow(own)
        except OSError as error:
            facts["error"] = reason_of(error)
            return
        except RecursionError:
            facts["error"] = "too many levels of symbolic links"
            return
        facts["resolved"] = shown(place.real)
        facts["target"] = place.real
        facts["plain"] = facts["plain"] and is_shown(place.real)
        known = facts["untrusted_ancestors"]
        known += [shown(above) for above in place.untrusted if shown(above) not in known]

    def content_facts(self, own: "str", facts: "dict[str, Any]") -> None:
        """Content, its digest and its masked spans; or why it was not read or stays where it is."""
        facts["read"] = True
        if facts["type"] != "file":
            facts["error"] = "it is a %s, not a regular file: it was not read" % facts["type"]
            return
        if own.lower().endswith(PRIVATE_NAMES):
            facts["error"] = "private keys are not read out"
            return
        try:
            content = read_regular(raw(own))
        except UnreadableError as error:
            facts["error"] = str(error)
            return
        self.content_left -= len(content)
        if self.content_left < 0:
            facts["error"] = "more than %d bytes of content were asked for in all" % MAX_TOTAL_CONTENT
            return
        if holds_private_key(content):
            facts["error"] = "it holds a private key, so its content is not read out"
            return
        if b"\0" in content:
            facts["error"] = "it holds NUL bytes, so it is no text: its content is not read out"
            return
        masked, spans = mask_content(content)
        facts["content"] = binascii.b2a_base64(masked, newline=False).decode("ascii")
        facts["sha256"] = sha256(masked).hexdigest()
        facts["masked"] = spans

    def follow(self, path: "str", links: "int" = 0) -> "Place":
        """Where `path` leads, every symlink followed. Raises OSError for a loop or a missing or closed directory.

        The last part may be missing.
        """
        directory, name = os.path.split(path.rstrip("/") or "/")
        if name == "":
            return self.directory("/")
        parent = self.directory(directory, links)
        if name in (".", ".."):
            return parent if name == "." else self.directory(os.path.dirname(parent.real), links)
        own = parent.real.rstrip("/") + "/" + name
        found = lstat_or_none(own)
        if found is None or not stat.S_ISLNK(found.st_mode):
            return Place(own, found, parent.untrusted)
        if links >= MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = text_of(os.readlink(raw(own)))
        place = self.follow(target if target.startswith("/") else parent.real + "/" + target, links + 1)
        return Place(place.real, place.found, joined(parent.untrusted, place.untrusted))

    def directory(self, path: "str", links: "int" = 0) -> "Place":
        """Where a directory is, and the directories down to it (itself included) that others can write."""
        known = self.directories.get(path)
        if known is not None:
            return known
        if path.count("/") > MAX_COMPONENTS:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        place = Place("/", os.lstat("/")) if path.strip("/") == "" else self.follow(path, links)
        if place.found is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not stat.S_ISDIR(place.found.st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if others_can_write(place.found, place.real):
            place = Place(place.real, place.found, joined(place.untrusted, (place.real,)))
        self.directories[path] = place
        return place

    def is_read_only(self, directory: "str") -> "bool":
        """Whether the filesystem there is mounted read-only."""
        if directory not in self.read_only:
            try:
                self.read_only[directory] = bool(os.statvfs(raw(directory)).f_flag & os.ST_RDONLY)
            except OSError:
                self.read_only[directory] = False
        return self.read_only[directory]

    def tree(self, top: "str") -> "list[tuple[str, str]]":
        """Every (path, type) below the directory `top`, sorted, no symlink followed, itself not included.

        At most MAX_TREE entries, MAX_DEPTH deep; what was left out is a problem.
        """
        found: "list[tuple[str, str]]" = []
        waiting = [(raw(top), 1)]
        while waiting:
            directory, depth = waiting.pop()
            try:
                entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    self.unlisted.setdefault(
                        text_of(directory), "%s cannot be listed (is this root?)" % shown(text_of(directory))
                    )
                    self.problem("%s cannot be listed: %s" % (shown(text_of(directory)), reason_of(error)))
                continue
            for entry in entries:
                if len(found) >= MAX_TREE:
                    self.leave_out(top, "%s holds more than %d entries: the rest was left out" % (shown(top), MAX_TREE))
                    return sorted(found)
                is_directory = entry.is_dir(follow_symlinks=False)
                kind = "symlink" if entry.is_symlink() else "directory" if is_directory else "file"
                found.append((text_of(entry.path), kind))
                if is_directory and depth < MAX_DEPTH:
                    waiting.append((entry.path, depth + 1))
                elif is_directory:
                    path = text_of(entry.path)
                    self.leave_out(path, "%s is too deep: what is below it was left out" % shown(path))
        return sorted(found)

    def blocked(self, top: "str") -> "str":
        """Why what is below `top` is not known in full after `tree(top)`; empty when it is."""
        found = [path for path in self.unlisted if path == top or path.startswith(top + "/")]
        return self.unlisted[found[0]] if found else ""

    def leave_out(self, path: "str", why: "str") -> None:
        """Notes that what is below `path` was not looked at in full."""
        self.unlisted.setdefault(path, why)
        self.problem(why)


def lstat_or_none(path: "str") -> "os.stat_result | None":
    """lstat, None where nothing is. Raises OSError for everything else."""
    try:
        return os.lstat(raw(path))
    except FileNotFoundError:
        return None


def joined(above: "tuple[str, ...]", below: "tuple[str, ...]") -> "tuple[str, ...]":
    """Both, in order, each once."""
    return above + tuple(path for path in below if path not in above)


def others_can_write(found: "os.stat_result", path: "str") -> "bool":
    """Whether a user other than root can make, rename or replace entries in this directory.

    A sticky directory counts: names in it are anybody's to take.
    """
    if found.st_uid != 0 or found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP:
        return False
    return found.st_gid != 0 or has_acl(path)


def has_acl(path: "str") -> "bool":
    """Whether a POSIX access ACL goes beyond the mode (then its group bits are only the ACL's mask)."""
    try:
        return bool(os.getxattr(raw(path), "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def is_immutable(path: "str", kind: "str") -> "bool":
    """chattr +i or +a. Opening reads nothing; where it is refused the answer is no."""
    flags = bytearray(8)
    try:
        if kind == "file":
            descriptor = open_regular(raw(path))
        else:
            descriptor = os.open(raw(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.ioctl(descriptor, GETFLAGS, flags)
        finally:
            os.close(descriptor)
    except (OSError, UnreadableError):
        return False
    return bool((flags[0] | flags[3] if GETFLAGS == 0x40086601 else flags[0]) & IMMUTABLE_OR_APPEND)


def mount_points(mountinfo: "bytes") -> "set[str]":
    """Where something is mounted: the fifth field of /proc/self/mountinfo, whose escapes are octal."""
    points = set()
    for line in mountinfo.split(b"\n"):
        fields = line.split(b" ", 5)
        if len(fields) == 6:
            point = fields[4]
            if b"\\" in point:
                for escape, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
                    point = point.replace(escape, character)
            points.add(text_of(point))
    return points
