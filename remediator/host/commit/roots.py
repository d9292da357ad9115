"""Where commit may write at all. The controller imports this too: a preview calls `manual` what commit refuses."""

from typing import Sequence

# One that ends in `*` stands for every name with that beginning.
COMPILED_ROOTS = (
    "/etc",
    "/usr/lib/systemd",
    "/lib/systemd",
    "/usr/local/lib/systemd",
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd",
    "/run/docker",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/lib/rancher",
    "/var/lib/kube-*",
    "/root/.docker",
    "/opt/cni",
)

# Directories of the system's own: nothing of a container host's hardening changes them themselves, and none of them
# can be named as a root by an inventory.
_SYSTEM = """
/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp
/usr /usr/bin /usr/include /usr/lib /usr/lib32 /usr/lib64 /usr/libexec /usr/local /usr/local/bin /usr/local/lib
/usr/local/sbin /usr/sbin /usr/share /usr/src /var /var/backups /var/cache /var/lib /var/local /var/lock
/var/log /var/mail /var/opt /var/run /var/spool /var/tmp /run/lock /run/systemd /run/user /etc/alternatives
/etc/apt /etc/cron.d /etc/default /etc/init.d /etc/ld.so.conf.d /etc/pam.d /etc/pki /etc/profile.d /etc/security
/etc/selinux /etc/ssh /etc/ssl /etc/ssl/certs /etc/ssl/private /etc/sudoers.d /etc/sysconfig /etc/sysctl.d
/etc/systemd /etc/systemd/system /etc/tmpfiles.d /etc/udev /etc/yum.repos.d /lib/systemd /lib/systemd/system
/usr/lib/systemd /usr/lib/systemd/system /usr/local/lib/systemd /usr/local/lib/systemd/system
"""
SYSTEM_DIRECTORIES = frozenset(_SYSTEM.split())

# What decides who may log in and as whom: a symlink in a configuration's place must not lead a change there.
_LOGIN = """
/etc/group /etc/group- /etc/gshadow /etc/gshadow- /etc/nsswitch.conf /etc/pam.conf /etc/pam.d /etc/passwd /etc/passwd-
/etc/security /etc/shadow /etc/shadow- /etc/ssh /etc/subgid /etc/subuid /etc/sudoers /etc/sudoers.d
"""
LOGIN_PLACES = tuple(_LOGIN.split())

# The one file among them that is ours to make. sudo reads no name in that directory that holds a dot or ends in `~`, so
# what is staged beside it under our dotted names counts for nothing; commit has visudo check it before it counts.
OWN_SUDOERS = "/etc/sudoers.d/remediator-docker-content-trust"

MAX_PATH = 4095
LONGEST_NAME = 200  # of a component: our own dotted names beside it must fit in 255 bytes


def refusal(path: str, roots: Sequence[str]) -> str:
    """Why commit would refuse to touch `path` (already resolved), judged by its name alone; empty where it would not.

    `roots` are the inventory's own, besides the compiled ones; one that is a system directory counts for nothing.
    """
    if not is_normal_path(path):
        return "its path is not absolute and plain (no `..`, no `//`, no control characters)"
    if path in SYSTEM_DIRECTORIES:
        return "it is a directory of the system itself"
    if path != OWN_SUDOERS and any(is_below(path, place) for place in LOGIN_PLACES):
        return "it belongs to the system's accounts and log-ins"
    own = [root.rstrip("/") for root in roots if is_normal_path(root.rstrip("/"))]
    if any(is_below(path, root) for root in COMPILED_ROOTS):
        return ""
    if any(is_below(path, root) for root in own if root not in SYSTEM_DIRECTORIES):
        return ""
    return "it lies outside the places that remediator may change; name its directory under roots in remediator_policy"


def is_normal_path(path: str) -> bool:
    """Whether `path` is absolute, has no empty, `.` or `..` part, nothing unprintable, and fits the kernel's limits."""
    if not path.startswith("/") or not path.isprintable() or len(path.encode("utf-8")) > MAX_PATH:
        return False
    parts = path.split("/")[1:] if path != "/" else []
    return all(part not in ("", ".", "..") and len(part.encode("utf-8")) <= LONGEST_NAME for part in parts)


def is_below(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it; a `root` that ends in `*` stands for every name that begins so."""
    if root.endswith("*"):
        parent, _, head = root[:-1].rpartition("/")
        name = path[len(parent) + 1 :].split("/")[0] if path.startswith(parent + "/") else ""
        return name.startswith(head) and name != head
    return path == root or path.startswith(root + "/")
