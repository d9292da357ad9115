"""The images of the lab's machines: a disk, its kernel, and the saved state of the machine running from it.

Made once per recipe and kept in the cache: a root file system with a kernel is booted, its containers are started, and
what is then in its processor, devices, memory and disk becomes the state that every machine of the image starts from.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import cache, workload
from .container import AUTHORIZED_KEYS
from .interface import LabError, LabHost
from .keys import make_keys
from .machine_boot import await_boot
from .machine_qemu import HARDWARE, MEMORY_MIB, Emulator, make_disk
from .recipe import Recipe, recipe
from .rootfs import rootfs, unpack

_BUILDER_VERSION = 1
_DISK_SIZE = "6G"
_MACHINES = {"bookworm": ("machine12", "machine-debian12"), "trixie": ("machine13", "machine-debian13")}


@dataclass(frozen=True)
class MachineImage:
    """One image: a directory of the cache, not to be written to. All machines of it share its keys."""

    name: str
    """Its machines' host name."""
    directory: Path
    """Has kernel, initrd, disk.qcow2 (over root.raw), state, memory, id_ed25519 and host.pub."""

    @property
    def saved_memory(self) -> str:
        """The memory of a machine that loads the state: read from the image page by page as used, never written to."""
        return f"memory-backend-file,id=memory,size={MEMORY_MIB}M,mem-path=image/memory,share=off,readonly=on,rom=off"

    def link(self, directory: Path) -> None:
        """Make this image the one that an emulator run in `directory` boots from."""
        (directory / "image").symlink_to(self.directory)

    def host(self, port: int, directory: Path) -> LabHost:
        """Root's way to a machine of this image that answers at 127.0.0.1:`port`; its host key is pinned in there."""
        kind, blob = (self.directory / "host.pub").read_text().split()[:2]
        known_hosts = directory / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port},{self.name} {kind} {blob}\n")
        return LabHost(self.name, "127.0.0.1", port, "root", self.directory / "id_ed25519", known_hosts)


def machine_image(suite: str) -> MachineImage:
    """The image of Debian `suite` (bookworm, trixie), from the cache or made now (two minutes). Needs root.

    Its Docker runs the containers of workload.py. Raises LabError.
    """
    if suite not in _MACHINES:
        raise LabError(f"{suite}: no machine is made of it, only of {' and '.join(_MACHINES)}")
    name, recipe_name = _MACHINES[suite]
    wanted = recipe(recipe_name)
    ingredients = {
        "builder": _BUILDER_VERSION,
        "root": wanted.digest,
        "emulator": recipe("machine-qemu").digest,
        "hardware": [*HARDWARE, _DISK_SIZE],
        "workload": Path(workload.__file__).read_text(),
    }
    place = cache.entry(name, cache.digest(ingredients), lambda place: _build(name, wanted, place))
    return MachineImage(name, place)


def _build(name: str, wanted: Recipe, place: Path) -> None:
    image = MachineImage(name, place)
    root = place / "root"
    unpack(rootfs(wanted), root)
    _personalise(image, root)
    _take_kernel(place, root)
    _make_file_system(place / "root.raw", root)
    shutil.rmtree(root)
    _save_ready(image)


def _personalise(image: MachineImage, root: Path) -> None:
    """Give the machine its name and its keys. They open nothing but machines of this image, on this computer."""
    keys = make_keys(image.directory)
    host_key = keys.make_host_key(image.name)
    (image.directory / "host.pub").write_text(host_key.public)
    ssh = root / "etc/ssh"
    private = ssh / "ssh_host_ed25519_key"
    private.touch(mode=0o600)
    private.write_text(host_key.private)
    (ssh / "ssh_host_ed25519_key.pub").write_text(host_key.public)
    (root / AUTHORIZED_KEYS.lstrip("/")).write_text(keys.public)
    (root / "etc/hostname").write_text(f"{image.name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {image.name}\n")


def _take_kernel(place: Path, root: Path) -> None:
    for pattern, name in (("vmlinuz-*", "kernel"), ("initrd.img-*", "initrd")):
        found = sorted((root / "boot").glob(pattern))
        if len(found) != 1:
            raise LabError(f"{root}/boot has {len(found)} files {pattern}, not one: no kernel, or no initramfs made")
        shutil.copyfile(found[0], place / name)


def _make_file_system(file: Path, root: Path) -> None:
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(file), _DISK_SIZE]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode != 0:
        raise LabError(f"{file}: mke2fs failed: {result.stderr.decode(errors='backslashreplace')}")


def _save_ready(image: MachineImage) -> None:
    place = image.directory
    # An emulator runs in a directory with a disk and an `image`. This directory is both, for this one time.
    (place / "image").symlink_to(".")
    make_disk(place, "root.raw", "raw")
    emulator = Emulator(place, f"memory-backend-file,id=memory,size={MEMORY_MIB}M,mem-path=memory,share=on")
    try:
        host = image.host(emulator.port, place)
        await_boot(host, emulator)
        failed = host.text("systemctl", "list-units", "--failed", "--plain", "--no-legend")
        if failed:
            raise LabError(f"{image.name}: units failed in its first boot:\n{failed}")
        workload.start_workload(host)
        host.run("sync")
        emulator.save("state")
        emulator.quit()
    finally:
        emulator.kill()
    for name in ("image", "known_hosts", "qemu.log", "serial.log"):
        (place / name).unlink()
