"""Faults at one system call of the commit program, put there by strace: it is killed as it enters, or the call fails.

Only the program itself is traced, never what it starts: a host's own openssl or systemctl is not what dies here.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.faults.scene import Scene

# Everything that writes, makes, renames, removes, changes or syncs something on a filesystem.
CALLS = (
    "write",
    "pwrite64",
    "writev",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "fchmod",
    "fchmodat",
    "chmod",
    "fchown",
    "fchownat",
    "chown",
    "setxattr",
    "fsetxattr",
    "utimensat",
    "symlink",
    "symlinkat",
    "openat",
)
_LINE = re.compile(r"^([a-z0-9]+)\(")


@dataclass(frozen=True)
class Point:
    """The `number`th time that the program makes the system call `call`; `last`: and every time after it."""

    call: str
    number: int
    last: bool = False

    def __str__(self) -> str:
        return f"{self.call} {self.number}{'+' if self.last else ''}"


def points_of(trace: str) -> list[Point]:
    """The points of a clean run, in order, out of what strace wrote.

    An openat counts where it may make a file. A call that fails by itself (nothing to remove, there already) does
    nothing, so what holds there holds at the next one.
    """
    counts: dict[str, int] = {}
    points = []
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        call = found[1]
        counts[call] = counts.get(call, 0) + 1
        if " = -1 E" not in line and (call != "openat" or "O_CREAT" in line):
            points.append(Point(call, counts[call]))
    return points


def traced(output: Path) -> str:
    """The command under which a clean run is written down."""
    return f"strace -o {shlex.quote(str(output))} -e trace={','.join(CALLS)} -e signal=none"


def faulted(point: Point, effect: str) -> str:
    """The command under which a run meets its fault: `effect` is `signal=KILL` or `error=EIO`."""
    when = f"{point.number}{'+' if point.last else ''}"
    return f"strace -o /dev/null -e trace={point.call} -e signal=none -e inject={point.call}:{effect}:when={when}"


def clean_run(scene: Scene) -> tuple[dict, list[Point]]:
    """A run without a fault: its answer, and the points at which others may meet one."""
    output = scene.host.base / "trace"
    answer = scene.start(traced(output)).answer()
    return answer, points_of(output.read_text())
