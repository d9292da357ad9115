"""Components: a process counts when the host's own init started it for its unit, in the host's own namespaces.

What a process is called identifies nothing: a nested daemon, a container or anybody's program may bear the name.
"""

import os
import time

from remediator.host.common.mask import mask_words
from remediator.host.common.names import text_of
from remediator.host.common.reading import read_proc

MYPY = False
if MYPY:
    from typing import Any

DELETED = " (deleted)"
# The clock that /proc counts in, which runs on while the machine is suspended: time.CLOCK_BOOTTIME from Python 3.7 on.
BOOT_CLOCK = 7
# In /proc/PID/stat the process's start comes this many fields after its name (proc_pid_stat(5): field 22).
START_FIELD = 19


class HostProcess:
    """A running component: its process, how it was recognised, and its own words unmasked."""

    def __init__(self, pid: "int", how: "str", source: "str") -> None:
        self.pid = pid
        self.how = how
        self.source = source
        self.words = process_words(pid)
        self.executable = process_executable(pid)

    def environment(self) -> "dict[str, str]":
        """The variables it was started with. They are looked at on the host only."""
        pairs = [item.partition("=") for item in text_of(read_proc("/proc/%d/environ" % self.pid)).split("\0")]
        return {name: value for name, joined, value in pairs if joined}

    def answer(self) -> "dict[str, Any]":
        """The component as it goes into the answer, secrets masked."""
        return {
            "pid": self.pid,
            "exe": self.executable,
            "started_ns": process_start(self.pid),
            "argv": mask_words(self.words),
            "how": self.how,
            "source": self.source,
            "uid": process_uid(self.pid),
            "replaced": self.how == "unit" and was_replaced(self.pid),
        }


def main_process(unit: "str", pid: "int", problems: "list[str]") -> "HostProcess | None":
    """The main process of an active unit, if it lives in the host's own root and PID namespace."""
    if pid <= 0 or not os.path.isdir("/proc/%d" % pid):
        return None
    if not shares_host(pid):
        problems.append("the main process of %s has a root or PID namespace of its own: it was not looked at" % unit)
        return None
    return HostProcess(pid, "unit", unit)


def shares_host(pid: "int") -> "bool":
    """Whether a process has the root directory and the PID namespace of PID 1. Without root that cannot be seen, and
    systemd's word stands.
    """
    try:
        own, first = os.stat("/proc/%d/root" % pid), os.stat("/proc/1/root")
        if (own.st_dev, own.st_ino) != (first.st_dev, first.st_ino):
            return False
        return os.readlink("/proc/%d/ns/pid" % pid) == os.readlink("/proc/1/ns/pid")
    except PermissionError:
        return True
    except OSError:
        return False


def process_words(pid: "int") -> "list[str]":
    """The command line of a process."""
    content = text_of(read_proc("/proc/%d/cmdline" % pid))
    return content.rstrip("\0").split("\0") if content else []


def process_executable(pid: "int") -> "str | None":
    """The program that a process runs, by the path it had; None where that cannot be seen."""
    try:
        path = text_of(os.readlink(b"/proc/%d/exe" % pid))
    except OSError:
        return None
    return path[: -len(DELETED)] if path.endswith(DELETED) else path


def process_start(pid: "int") -> "int | None":
    """When a process was started, in nanoseconds since 1970 by the host's present clock; None where it is gone.

    The kernel counts in ticks, so this is up to 10 ms early.
    """
    fields = read_proc("/proc/%d/stat" % pid, 4096).rpartition(b")")[2].split()
    if len(fields) <= START_FIELD or not fields[START_FIELD].isdigit():
        return None
    age = time.clock_gettime(BOOT_CLOCK) - int(fields[START_FIELD]) / os.sysconf("SC_CLK_TCK")
    return int((time.time() - age) * 1e9)


def was_replaced(pid: "int") -> "bool":
    """Whether the file of the program that a process of the host runs was taken away or replaced since it started."""
    try:
        path = os.readlink(b"/proc/%d/exe" % pid)
        runs = os.stat("/proc/%d/exe" % pid)
    except OSError:
        return False
    try:
        lies = os.stat(path)
    except OSError:
        return True
    return (runs.st_dev, runs.st_ino) != (lies.st_dev, lies.st_ino)


def process_uid(pid: "int") -> "int":
    """The user that a process runs as."""
    try:
        return os.stat("/proc/%d" % pid).st_uid
    except OSError:
        return 0
