"""Kubernetes and etcd, built from their Go modules and kept in the cache: static binaries, and their images.

No image registry is needed: what kubeadm would pull is made here from the modules, whose digests go.sum pins.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from . import cache, debian
from .interface import LabError
from .kubernetes_images import Image, architecture, write_archive
from .recipe import RECIPES, recipe
from .rootfs import rootfs, unpack

KUBERNETES = RECIPES / "kubernetes"

OLDEST_GO = (1, 24)
"""What the modules ask for; instead of an older Go, Debian 13's is used in a root file system of its own."""

_BUILDER_VERSION = 1
_ARCHIVE = "images.tar"
_BUSYBOX = "./usr/bin/busybox"
_BUILD_SECONDS = 3600.0
_MODULE_SETTINGS = ("GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def binaries() -> Path:
    """The directory with each component's static, stripped binary, from the cache or built now (7 minutes on 2 cores).

    Needs this machine's way to Go modules, and root where it has no Go, or one older than OLDEST_GO. Raises LabError.
    """
    return cache.entry("kubernetes-binaries", _binaries_digest(), _build_binaries)


def images(host: Path) -> Path:
    """The archive, for `ctr images import`, of every image that the cluster and the tests' pods run.

    Busybox is taken from `host`, a rootfs() archive with Debian's busybox-static. Raises LabError.
    """
    busybox = _busybox(host)
    made_from = {
        "builder": _BUILDER_VERSION,
        "binaries": _binaries_digest(),
        "busybox": hashlib.sha256(busybox).hexdigest(),
        "images": _document("images.json"),
    }
    entry = cache.entry("kubernetes-images", cache.digest(made_from), lambda place: _build_images(place, busybox))
    return entry / _ARCHIVE


def _binaries_digest() -> str:
    build = _document("build.json")
    sources = {
        str(file.relative_to(KUBERNETES)): file.read_text()
        for module in build
        for file in sorted((KUBERNETES / module).iterdir())
    }
    return cache.digest(
        {"builder": _BUILDER_VERSION, "architecture": architecture(), "build": build, "sources": sources}
    )


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((KUBERNETES / name).read_text())
    return document


def _build_binaries(place: Path) -> None:
    own_go = _go_of_this_machine()
    debian_root = place / ".debian"
    for module, build in _document("build.json").items():
        arguments = ["install", "-trimpath", f"-ldflags={' '.join(build['ldflags'])}", *build["install"]]
        if own_go:
            _run_go(module, [own_go, *arguments], place)
        else:
            _run_go_of_debian(debian_root, module, arguments, place)
        missing = [name for name in build["binaries"] if not (place / name).is_file()]
        if missing:
            raise LabError(f"{KUBERNETES / module}: the build made no {', '.join(missing)}; see build.json beside it")
    shutil.rmtree(debian_root, ignore_errors=True)


def _go_of_this_machine() -> str | None:
    """The path of this machine's go, or None where it has none that is new enough."""
    go = shutil.which("go")
    if go is None:
        return None
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/").stdout
    version = re.match(r"go(\d+)\.(\d+)", answer)
    return go if version and (int(version[1]), int(version[2])) >= OLDEST_GO else None


def _run_go(module: str, command: list[str], into: Path) -> None:
    environment = {**os.environ, "GOBIN": str(into), "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        subprocess.run(
            command, cwd=KUBERNETES / module, env=environment, capture_output=True, check=True, timeout=_BUILD_SECONDS
        )
    except subprocess.CalledProcessError as error:
        tail = error.stderr.decode(errors="backslashreplace").strip()[-4000:]
        raise LabError(f"{KUBERNETES / module}: `{' '.join(command)}` ended {error.returncode}:\n{tail}") from error
    except subprocess.TimeoutExpired as expired:
        raise LabError(f"{KUBERNETES / module}: the build did not end within {_BUILD_SECONDS:.0f} s") from expired


def _run_go_of_debian(root: Path, module: str, arguments: list[str], into: Path) -> None:
    """Run go in the Debian 13 in `root`, made where it is missing."""
    if not root.exists():
        unpack(rootfs(recipe("go")), root)
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
        if _AUTHORITIES.exists():  # the proxy may be reached through an authority that only this machine knows
            shutil.copyfile(_AUTHORITIES, root / _AUTHORITIES.relative_to("/"))
    shutil.copytree(KUBERNETES / module, root / "src" / module)
    settings = {name: os.environ[name] for name in _MODULE_SETTINGS if name in os.environ}
    settings |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOBIN": "/bin-made"}
    words = [f"{name}={value}" for name, value in settings.items()]
    debian.chroot(root, "env", f"--chdir=/src/{module}", *words, "go", *arguments)
    for made in (root / "bin-made").iterdir():
        shutil.move(made, into / made.name)


def _busybox(host: Path) -> bytes:
    with tarfile.open(host) as archive:
        content = archive.extractfile(_BUSYBOX) if _BUSYBOX in archive.getnames() else None
        if content is None:
            raise LabError(f"{host}: it has no file {_BUSYBOX}; its recipe needs Debian's busybox-static")
        with content:
            return content.read()


def _build_images(place: Path, busybox: bytes) -> None:
    made, own_busybox = binaries(), place / "busybox"
    own_busybox.write_bytes(busybox)
    images = [
        Image(
            name=name,
            entrypoint=tuple(image["entrypoint"]),
            files={path: own_busybox if file == "busybox" else made / file for path, file in image["files"].items()},
        )
        for name, image in _document("images.json").items()
    ]
    write_archive(place / _ARCHIVE, images)
    own_busybox.unlink()
