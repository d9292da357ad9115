"""An independent witness of what a host's file system is: every path's type, mode, owner, attributes and content.

It shares nothing with the product, not even a parser: what it says about a run of the product is evidence.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .interface import LabError, LabHost

# Runs on the host as root, Python 3.9 or newer, and writes nothing. Input: zlib of JSON, {path: [stamp, sha256]}
# of an earlier snapshot. Output: zlib of JSON, one array a path. A stamp is what the kernel changes with a
# file's content (device, inode, size, mtime, ctime): what has the same one is not read again.
_PROGRAM = r"""
import hashlib, json, os, stat, sys, zlib

known = json.loads(zlib.decompress(sys.stdin.buffer.read()))

# Kernel objects and network namespaces are no files of the host; a container's merged root shows its layers again.
NO_FILES = {"proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "debugfs", "tracefs", "securityfs",
            "pstore", "bpf", "fusectl", "configfs", "hugetlbfs", "nsfs", "overlay", "binfmt_misc", "autofs", "efivarfs"}
mounts = {}
with open("/proc/self/mountinfo") as table:
    for line in table:
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        mounts[point] = right.split()[0]
mounts.pop("/", None)

def below(path):
    if path == "/dev" or mounts.get(path) in NO_FILES:
        return False
    # Layers belong to the containers: there are as many files in them as in all the rest.
    return not (os.path.dirname(path) in ("/var/lib/docker/overlay2", "/var/lib/docker/vfs/dir")
                or path.endswith(".snapshotter.v1.overlayfs/snapshots"))

def content(path, found):
    stamp = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    before = known.get(path)
    if before and before[0] == stamp:
        return stamp, before[1]
    digest = hashlib.sha256()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
    descriptor = os.open(path, flags)
    with open(descriptor, "rb", buffering=0) as opened:
        while True:
            block = opened.read(1 << 20)
            if not block:
                return stamp, digest.hexdigest()
            digest.update(block)

def entry(path, volatile):
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    stamp, digest, target = None, None, None
    if kind == stat.S_IFREG and mounts.get(path) not in NO_FILES:
        stamp, digest = content(path, found)
    elif kind == stat.S_IFLNK:
        target = os.readlink(path)
    attributes = {}
    for name in os.listxattr(path, follow_symlinks=False):
        attributes[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return kind, [path, volatile, kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, attributes, digest,
                  target, found.st_rdev, found.st_mtime_ns, stamp]

lines, waiting = [], [("/", False)]
while waiting:
    path, volatile = waiting.pop()
    try:
        kind, found = entry(path, volatile)
        lines.append(found)
        names = os.listdir(path) if kind == stat.S_IFDIR and below(path) else []
    except (FileNotFoundError, ProcessLookupError):
        continue  # gone since its directory was listed
    for name in names:
        child = os.path.join(path, name)
        waiting.append((child, volatile or mounts.get(child) in ("tmpfs", "ramfs")))
sys.stdout.buffer.write(zlib.compress(json.dumps(lines).encode(), 1))
"""


@dataclass(frozen=True)
class Entry:
    """What one path is. Two entries are equal when the path is the same thing, whenever it was written."""

    kind: str
    """file, directory, link, socket, fifo, character or block."""
    mode: str
    """Four octal digits."""
    uid: int
    gid: int
    xattrs: Mapping[str, str]
    """By name (security.capability, system.posix_acl_access...); values in hex."""
    sha256: str | None
    """Of a file's content."""
    target: str | None
    """Of a link."""
    device: int
    mtime_ns: int = field(compare=False)
    stamp: list[int] | None = field(compare=False, repr=False)


@dataclass(frozen=True)
class Snapshot:
    """Everything below / of one host, at one time, except kernel objects, /dev and containers' layers."""

    disk: Mapping[str, Entry]
    """What a reboot leaves."""
    volatile: Mapping[str, Entry]
    """What lives in memory only: /run, /tmp and the like where they are a tmpfs."""


@dataclass(frozen=True)
class Difference:
    """What changed between two snapshots' mappings; paths are sorted."""

    added: Mapping[str, Entry]
    removed: Mapping[str, Entry]
    changed: Mapping[str, tuple[Entry, Entry]]
    touched: tuple[str, ...]
    """The same but for the time of the last change: rewritten, or a directory where something came and went."""

    @property
    def paths(self) -> list[str]:
        """Every path that was added, removed or changed."""
        return sorted([*self.added, *self.removed, *self.changed])

    def without(self, *prefixes: str) -> "Difference":
        """The same, without the paths that are one of `prefixes` or below it."""

        def kept(paths: Iterable[str]) -> list[str]:
            return [each for each in paths if not any(PurePosixPath(each).is_relative_to(top) for top in prefixes)]

        return Difference(
            added={path: self.added[path] for path in kept(self.added)},
            removed={path: self.removed[path] for path in kept(self.removed)},
            changed={path: self.changed[path] for path in kept(self.changed)},
            touched=tuple(kept(self.touched)),
        )


_KINDS = {
    0o100000: "file",
    0o040000: "directory",
    0o120000: "link",
    0o140000: "socket",
    0o010000: "fifo",
    0o020000: "character",
    0o060000: "block",
}


def snapshot(host: LabHost, since: Snapshot | None = None, timeout: float = 600) -> Snapshot:
    """The host as it is now, seen by root over SSH. Needs python3 there.

    With `since`, files whose inode, size and times are as they were then are not read again. Raises LabError.
    """
    known: dict[str, Any] = {}
    if since is not None:
        entries = [*since.disk.items(), *since.volatile.items()]
        known = {path: [entry.stamp, entry.sha256] for path, entry in entries if entry.stamp}
    request = zlib.compress(json.dumps(known).encode(), 1)
    answer = host.as_user("root").run("python3", "-I", "-B", "-c", _PROGRAM, input=request, timeout=timeout).stdout
    try:
        lines = json.loads(zlib.decompress(answer))
    except (zlib.error, ValueError) as error:
        raise LabError(f"{host.name}: the witness's answer is not whole: {error}") from error
    disk: dict[str, Entry] = {}
    volatile: dict[str, Entry] = {}
    for path, in_memory, kind, mode, uid, gid, xattrs, sha256, target, device, mtime, stamp in sorted(lines):
        entry = Entry(_KINDS[kind], f"{mode:04o}", uid, gid, xattrs, sha256, target, device, mtime, stamp)
        (volatile if in_memory else disk)[path] = entry
    return Snapshot(disk, volatile)


def diff(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Difference:
    """What changed between two snapshots' `disk` (or `volatile`)."""
    both = [path for path in before if path in after]
    same = [path for path in both if before[path] == after[path]]
    return Difference(
        added={path: after[path] for path in sorted(after.keys() - before.keys())},
        removed={path: before[path] for path in sorted(before.keys() - after.keys())},
        changed={path: (before[path], after[path]) for path in sorted(both) if before[path] != after[path]},
        touched=tuple(sorted(path for path in same if before[path].mtime_ns != after[path].mtime_ns)),
    )


def changes_of(host: LabHost, action: Callable[[], object]) -> Difference:
    """What `action` changed on the host's disk: snapshots around it, compared."""
    before = snapshot(host)
    action()
    return diff(before.disk, snapshot(host, since=before).disk)
