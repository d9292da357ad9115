"""The Debian archive as this machine's own apt is set up to reach it, lent to a root file system being built.

No archive's address is written down anywhere: it is asked of the machine's apt (which reads both formats of its
sources), with the proxy, certificate and validity settings that go with it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .interface import LabError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_LENT = ".lab-apt"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_INDEX_FIELDS = "$(ORIGIN)|$(LABEL)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"

# What apt is told inside, besides the machine's own Acquire settings.
_SETTINGS = """\
Dir::Etc::sourcelist "/{lent}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::parts "-";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
DPkg::Options {{ "--force-confold"; }};
"""


def chroot(root: Path, *argv: str, input: bytes = b"", apt: bool = False) -> bytes:
    """Run `argv` in `root` with its own /proc and process tree, and return what it printed.

    Mount and process namespaces of its own: whatever happens, nothing stays mounted and nothing stays running.
    Raises LabError, with the end of the output, for a code other than 0.
    """
    isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root / 'proc'}"]
    return _run([*isolate, "chroot", str(root), *argv], _environment(apt=apt), input)


def debootstrap(root: Path, suite: str, packages: tuple[str, ...]) -> None:
    """Make a minimal Debian of `suite` with `packages` in the empty directory `root`. Raises LabError."""
    command = ["debootstrap", "--variant=minbase", f"--keyring={KEYRING}"]
    if packages:
        command.append(f"--include={','.join(packages)}")
    root.mkdir(mode=0o755, exist_ok=True)
    root.chmod(0o755)
    # debootstrap mounts /proc in the root by itself: in a namespace of its own, so that it cannot stay.
    isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    _run([*isolate, *command, suite, str(root), archive()["Debian"]], _environment(apt=False), b"")


def install(root: Path, suite: str, packages: tuple[str, ...]) -> None:
    """Install `packages` into `root`, a Debian of `suite`; no service is started. Raises LabError."""
    with _lent_apt(root, suite), _services_held(root):
        chroot(root, "apt-get", "-q", "update", apt=True)
        chroot(root, "apt-get", "-q", "-y", "install", *packages, apt=True)
        chroot(root, "apt-get", "-q", "clean", apt=True)
    for directory in (root / "var/lib/apt/lists", root / "var/cache/apt"):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o755)


def archive() -> dict[str, str]:
    """The address of Debian's archive by its label ("Debian", "Debian-Security"), from this machine's apt.

    Raises LabError where apt knows no Debian archive.
    """
    found = _archive_indexes()
    if "Debian" not in found:  # an apt whose lists were removed knows no origins
        _run(["apt-get", "-q", "update"], dict(os.environ), b"")
        found = _archive_indexes()
    if "Debian" not in found:
        raise LabError("apt on this machine has no source of Debian's own archive: the lab is built from that")
    return found


def _archive_indexes() -> dict[str, str]:
    command = ["apt-get", "indextargets", "--format", _INDEX_FIELDS, "Created-By: Packages"]
    found: dict[str, str] = {}
    for line in _run(command, dict(os.environ), b"").decode().splitlines():
        origin, label, codename, component, uri = line.split("|", 4)
        if origin == "Debian" and component == "main" and label not in found and "$(" not in codename:
            found[label] = uri
    return found


@contextmanager
def _lent_apt(root: Path, suite: str) -> Iterator[None]:
    """The machine's way to the archive, inside `root` for as long as the context lasts."""
    lent = root / _LENT
    lent.mkdir(mode=0o755)
    resolver, own_resolver = root / "etc/resolv.conf", lent / "resolv.conf.own"
    had_resolver = resolver.is_symlink() or resolver.exists()
    try:
        _write_apt_settings(lent, suite)
        if had_resolver:
            resolver.rename(own_resolver)
        shutil.copyfile("/etc/resolv.conf", resolver)
        yield
    finally:
        resolver.unlink(missing_ok=True)
        if own_resolver.is_symlink() or own_resolver.exists():
            own_resolver.rename(resolver)
        shutil.rmtree(lent)


def _write_apt_settings(lent: Path, suite: str) -> None:
    places = archive()
    signed = f"[signed-by=/{_LENT}/keyring.gpg]"
    sources = [f"deb {signed} {places['Debian']} {each} main" for each in (suite, f"{suite}-updates")]
    if "Debian-Security" in places:
        sources.append(f"deb {signed} {places['Debian-Security']} {suite}-security main")
    (lent / "sources.list").write_text("\n".join(sources) + "\n")
    shutil.copyfile(KEYRING, lent / "keyring.gpg")
    settings = _SETTINGS.format(lent=_LENT) + _machine_acquire_settings(lent)
    (lent / "apt.conf").write_text(settings)


def _machine_acquire_settings(lent: Path) -> str:
    """How this machine's apt fetches (proxies, certificates, validity); hooks and paths stay behind."""
    lines = _run(["apt-config", "dump"], dict(os.environ), b"").decode().splitlines()
    kept = [line for line in lines if re.match(r"Acquire::(?!IndexTargets|cdrom|CompressionTypes|Languages)", line)]
    authorities = _CA_BUNDLE
    for line in kept:
        if match := re.match(r'Acquire::https::CAInfo "(.+)";', line, re.IGNORECASE):
            authorities = Path(match[1])
    kept = [line for line in kept if "::cainfo " not in line.lower()]
    if authorities.exists():
        shutil.copyfile(authorities, lent / "ca-certificates.crt")
        kept.append(f'Acquire::https::CAInfo "/{_LENT}/ca-certificates.crt";')
    return "\n".join(kept) + "\n"


@contextmanager
def _services_held(root: Path) -> Iterator[None]:
    """Debian's own switch: packages installed meanwhile start no service."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _environment(apt: bool) -> dict[str, str]:
    fixed = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    if apt:
        fixed["APT_CONFIG"] = f"/{_LENT}/apt.conf"
    return fixed | {name: os.environ[name] for name in _PROXIES if name in os.environ}


def _run(command: list[str], environment: dict[str, str], input: bytes) -> bytes:
    try:
        result = subprocess.run(command, env=environment, input=input, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{error.filename} is missing on this machine: install its Debian package") from error
    if result.returncode != 0:
        tail = (result.stdout + result.stderr).decode(errors="backslashreplace").strip()[-4000:]
        raise LabError(f"`{' '.join(command)}` ended {result.returncode}:\n{tail}")
    return result.stdout
