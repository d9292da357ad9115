"""Container images out of single static binaries, as one archive in the format of `docker save`, made without a daemon.

The format: https://github.com/moby/docker-image-spec (version 1.2: manifest.json, one configuration and one layer an
image). The same binaries give the same bytes.
"""

import hashlib
import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .interface import LabError

# What Go and image configurations call the machine's architecture.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """One image: its name with the tag, what it runs, and its files (path below its root -> where the file is now)."""

    name: str
    entrypoint: tuple[str, ...]
    files: Mapping[str, Path]


def architecture() -> str:
    """The machine's architecture as Go names it. Raises LabError where the lab knows no name for it."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise LabError(f"no images can be made for {machine}: the lab's Kubernetes runs on {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[machine]


def write_archive(archive: Path, images: list[Image]) -> None:
    """Write `images` to `archive`: what `ctr images import` and `docker load` read."""
    manifest = []
    with tarfile.open(archive, "w") as out:
        written: set[str] = set()
        for image in images:
            with tempfile.TemporaryFile(dir=archive.parent) as layer:
                layer_digest = _write_layer(layer, image)
                layer_name = f"{layer_digest}.tar"
                if layer_name not in written:
                    _add(out, layer_name, layer)
                    written.add(layer_name)
            config = json.dumps(_configuration(image, layer_digest), sort_keys=True).encode()
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(out, config_name, io.BytesIO(config))
            manifest.append({"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]})
        _add(out, "manifest.json", io.BytesIO(json.dumps(manifest).encode()))


def _configuration(image: Image, layer_digest: str) -> dict[str, object]:
    return {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": list(image.entrypoint), "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
    }


def _write_layer(layer: io.BufferedRandom, image: Image) -> str:
    """Write the image's one layer, as root's files of no date; its sha256, in hex."""
    with tarfile.open(fileobj=layer, mode="w") as out:
        directories = {str(parent) for path in image.files for parent in Path(path).parents} - {"."}
        for path in sorted(directories | {"tmp"}):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            out.addfile(entry)
        for path, binary in sorted(image.files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = binary.stat().st_size, 0o755
            with binary.open("rb") as content:
                out.addfile(entry, content)
    layer.seek(0)
    return hashlib.file_digest(layer, "sha256").hexdigest()


def _add(out: tarfile.TarFile, name: str, content: io.BufferedIOBase) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = content.seek(0, io.SEEK_END), 0o644
    content.seek(0)
    out.addfile(entry, content)
