"""Root file systems of lab hosts, made once per recipe and kept in the cache as tar archives."""

import shutil
import subprocess
from pathlib import Path

from . import cache, debian
from .interface import LabError
from .recipe import Account, File, Recipe

_ARCHIVE = "rootfs.tar"
_TAR = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--sparse")
# Of no use to any test, and a third of the archive.
_LEFT_OUT = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./proc/*", "./sys/*", "./dev/*")


def rootfs(wanted: Recipe) -> Path:
    """The tar archive (not compressed) of this recipe's root file system, from the cache or made now.

    Ids are numeric, extended attributes are kept, /dev, /proc and /sys are empty. Needs root. Raises LabError.
    """
    return cache.entry(f"rootfs-{wanted.name}", wanted.digest, lambda place: _build(wanted, place)) / _ARCHIVE


def unpack(archive: Path, into: Path) -> None:
    """Unpack a rootfs() archive into the directory `into`, made 0755 where it is missing. Raises LabError."""
    into.mkdir(mode=0o755, parents=True, exist_ok=True)
    _tar("-C", str(into), "-xpf", str(archive))


def _build(wanted: Recipe, place: Path) -> None:
    root = place / "root"
    if wanted.base is None:
        debian.debootstrap(root, wanted.suite, wanted.packages)
    else:
        unpack(rootfs(wanted.base), root)
        if wanted.packages:
            debian.install(root, wanted.debian, wanted.packages)
    for file in wanted.files:
        _write(root, file)
    for account in wanted.accounts:
        _add(root, account)
    for argv in wanted.commands:
        debian.chroot(root, *argv)
    _tidy(root)
    _tar("-C", str(root), *(f"--exclude={each}" for each in _LEFT_OUT), "-cf", str(place / _ARCHIVE), ".")
    shutil.rmtree(root)


def _write(root: Path, file: File) -> None:
    target = root / file.path.lstrip("/")
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise LabError(f"{file.path}: a link on the way leaves the root file system; name the path it points to")
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_text(file.content)
    debian.chroot(root, "chown", file.owner, file.path)
    debian.chroot(root, "chmod", file.mode, file.path)


def _add(root: Path, account: Account) -> None:
    groups = ["--groups", ",".join(account.groups)] if account.groups else []
    debian.chroot(root, "useradd", "--create-home", "--shell", "/bin/bash", *groups, account.name)
    # '*' is no password and no lock: sshd refuses keys too for an account that is locked with '!'.
    secret = ["usermod", "--password", "*", account.name]
    if account.password:
        debian.chroot(root, "chpasswd", input=f"{account.name}:{account.password}\n".encode())
    else:
        debian.chroot(root, *secret)


def _tidy(root: Path) -> None:
    """Remove what must differ between hosts of one image, and what only the build needed."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    if (root / "etc/machine-id").exists():
        (root / "etc/machine-id").write_text("")  # empty, not absent: the first boot fills it in
    for name in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    for log in (root / "var/log").rglob("*"):
        if log.is_file():
            log.unlink()


def _tar(*arguments: str) -> None:
    try:
        subprocess.run([*_TAR, *arguments], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise LabError(f"tar failed: {error.stderr.decode(errors='backslashreplace').strip()[-2000:]}") from error
