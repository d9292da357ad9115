"""The host itself."""

import os
import sys
import time

from remediator.host.common.names import text_of
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import is_there, read_proc, read_quietly
from remediator.host.observe.audit import in_first_namespaces
from remediator.host.observe.command import Finished
from remediator.host.observe.words import parse_environment_file

MYPY = False
if MYPY:
    from typing import Any

DOCKER_VERSION = pattern(r"Docker version ([^\s,]{1,100})")


def host_facts() -> "dict[str, Any]":
    """Which Python, kernel and system this is, and who looks."""
    release = parse_environment_file(
        text_of(read_quietly("/etc/os-release", 65536) or read_quietly("/usr/lib/os-release", 65536))
    )
    return {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "uid": os.geteuid(),
        "clock_ns": int(time.time() * 1e9),
        "kernel": os.uname().release,
        "os": release.get("ID", ""),
        "os_version": release.get("VERSION_ID", ""),
        "boot_id": text_of(read_proc("/proc/sys/kernel/random/boot_id", 64)).strip(),
        "container": container_kind(),
        "init": text_of(read_proc("/proc/1/comm", 64)).strip(),
    }


def container_kind() -> "str | None":
    """What kind of container this host is itself, as its init recorded it; None on a machine of its own."""
    recorded = text_of(read_proc("/run/systemd/container", 256)).strip()
    if recorded:
        return recorded
    for item in text_of(read_proc("/proc/1/environ")).split("\0"):
        if item.startswith("container=") and item[10:]:
            return item[10:]
    if in_first_namespaces():
        return None
    return "docker" if is_there("/.dockerenv") else "unknown"


def docker_cli_version(finished: "Finished") -> "str | None":
    """The version in `Docker version 20.10.24+dfsg1, build 297e128`; None for what is no CLI of Docker's."""
    found = DOCKER_VERSION.match(finished.output)
    return found.group(1) if found is not None else None


def package_versions(finished: "Finished") -> "dict[str, str | None]":
    """Versions of the packages that are installed, from dpkg-query's or rpm's answer."""
    versions: "dict[str, str | None]" = {}
    for line in finished.output.split("\n"):
        fields = line.split("\t")
        if len(fields) == 3:
            versions[fields[0]] = fields[1] if fields[2].startswith("ii") else None
    return versions
