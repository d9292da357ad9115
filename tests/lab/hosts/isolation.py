"""How the lab's engine keeps its mounts and its hosts' cgroups apart from the machine's, and how they are removed."""

import os
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_END_SECONDS = 30

# A systemd in a container mounts every version 1 hierarchy that the kernel has and the machine does not use, at its
# root, where hosts would meet and leave cgroups that nobody sees. So the engine runs with all of them mounted, in a
# mount namespace of its own: every host gets its own cgroup in each, and the engine removes it with the host. The
# namespace also keeps every mount of the engine away from the machine. $1 is an empty directory; the rest is run.
MOUNT_ALL_HIERARCHIES = """
all=$1
shift
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t tmpfs -o mode=755 cgroups "$all"
    for each in /sys/fs/cgroup/*; do
        mountpoint -q "$each/." || continue
        if [ -L "$each" ]; then
            cp -P "$each" "$all"
        else
            mkdir "$all/${each##*/}"
            mount --bind "$each" "$all/${each##*/}"
        fi
    done
    # First the hierarchies that the kernel has (their controllers may be joined), then those that it could have.
    { cut -d : -f 2 /proc/self/cgroup; awk '$2 == 0 && $4 == 1 { print $1 }' /proc/cgroups; } | while read -r name; do
        case $name in '' | name=*) continue ;; esac
        if [ ! -e "$all/$name" ]; then
            mkdir "$all/$name"
            mount -t cgroup -o "$name" cgroup "$all/$name"
        fi
    done
    mount --rbind "$all" /sys/fs/cgroup
fi
exec "$@"
"""


def in_all_hierarchies(scratch: Path, *command: str) -> list[str]:
    """`command` as run in a mount namespace of its own with every cgroup hierarchy; `scratch` is an empty directory."""
    return ["unshare", "--mount", "sh", "-euc", MOUNT_ALL_HIERARCHIES, command[0], str(scratch), *command]


def remove_cgroup(scratch: Path, name: str) -> None:
    """Remove a top-level cgroup and those below it from every hierarchy. The kernel refuses one that has processes."""
    find = ("find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", f"*/{name}*", "-exec", "rmdir", "{}", "+")
    subprocess.run(in_all_hierarchies(scratch, *find), capture_output=True, check=False)


def end_orphans(containerd_socket: Path, cgroup: str) -> None:
    """End the containers in this cgroup, and their shims, that outlived the engine they belong to."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            shim = [b"-address", bytes(containerd_socket)]
            words = (place / "cmdline").read_bytes().split(b"\0")
            is_shim = any(words[at : at + 2] == shim for at in range(len(words)))
            if is_shim or f":/{cgroup}/" in (place / "cgroup").read_text():
                _kill(int(place.name))


def _kill(pid: int) -> None:
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], _END_SECONDS)
    finally:
        os.close(handle)
