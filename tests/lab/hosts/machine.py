"""Lab hosts that are emulated machines: own kernel, audit, AppArmor, cgroup v2, reboots and power cuts."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .cache import cache_root
from .interface import LabError, LabHost
from .machine_boot import await_boot, await_success, boot_id
from .machine_image import MachineImage, machine_image
from .machine_qemu import FRESH_MEMORY, Emulator, make_disk

_LOG_IN_SECONDS = 120.0
_LOCK = "lock"
_YOUNG_SECONDS = 60.0


class Machine:
    """One emulated machine on a disk of its own, gone at the end: a context manager that Machine.start() returns.

    It is slow (a command over SSH takes about a second) and an emulator takes both cores: run one at a time.
    """

    host: LabHost
    """Root's way in; the same for the machine's whole life, through reboots and power cuts."""

    def __init__(self, image: MachineImage) -> None:
        """Of Machine.start()."""
        self._image = image
        _remove_what_the_killed_left()
        self._directory = Path(tempfile.mkdtemp(prefix=f"{image.name}-", dir=_machines()))
        self._lock = _lock(self._directory / _LOCK)
        self._emulator: Emulator | None = None

    @classmethod
    def start(cls, suite: str) -> Self:
        """A machine of Debian `suite` (bookworm, trixie), as it ran when its image was saved, its clock set to now.

        systemd, sshd, dockerd, auditd and the containers of workload.py run. Its image is made first where the cache
        has none. Needs root. It ends with the calling thread at the latest. Raises LabError.
        """
        machine = cls(machine_image(suite))
        try:
            machine._restore()
        except BaseException:  # an interrupted start leaves no machine behind either
            machine.stop()
            raise
        return machine

    @property
    def pid(self) -> int:
        """Its emulator's process id. Raises LabError where it is switched off."""
        return self._running().pid

    def reboot(self) -> None:
        """Reboot through systemd and wait until the machine is up again. Raises LabError."""
        before = boot_id(self.host)
        # The connection may be cut before the command's end is known; the new boot's id is the proof.
        self.host.run("systemctl", "reboot", check=False)
        await_boot(self.host, self._running(), other_than=before)

    def pull_plug(self) -> None:
        """Cut the power: what the machine had not written to its disk is lost."""
        self._running().kill()
        self._emulator = None

    def boot(self) -> None:
        """Switch the machine on again after pull_plug() or its own power-off, and wait until it is up."""
        if self._emulator is not None and self._emulator.running:
            raise LabError(f"{self.host.name} is running: pull its plug before you boot it")
        if self._emulator is not None:
            self._emulator.kill()
        self._emulator = Emulator(self._directory, FRESH_MEMORY, self.host.port)
        await_boot(self.host, self._emulator)

    def console(self) -> str:
        """What the machine has written to its serial console since it was started."""
        log = self._directory / "serial.log"
        return log.read_bytes().decode(errors="backslashreplace") if log.exists() else ""

    def stop(self) -> None:
        """End the machine and remove its disk; nothing where that was done."""
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator = None
        if self._lock is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> Emulator:
        if self._emulator is None:
            raise LabError(f"{self.host.name} is switched off: boot it first")
        return self._emulator

    def _restore(self) -> None:
        self._image.link(self._directory)
        make_disk(self._directory, "image/disk.qcow2", "qcow2")
        self._emulator = Emulator(self._directory, self._image.saved_memory, paused_for_state=True)
        self._emulator.load("image/state")
        self.host = self._image.host(self._emulator.port, self._directory)
        self._set_clock()

    def _set_clock(self) -> None:
        # The machine's hardware clock is this computer's; its kernel's stood still since the state was saved.
        set_clock = 'date --set "@$(cat /sys/class/rtc/rtc0/since_epoch)"'
        await_success(self.host, self._running(), ("sh", "-euc", set_clock), _LOG_IN_SECONDS)


def _machines() -> Path:
    """Where the machines' own disks are: with the cache, on a real disk that only its owner reads."""
    place = cache_root() / ".machines"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def _lock(file: Path, flags: int = os.O_CREAT) -> int | None:
    """A descriptor that holds this file's lock for as long as its process lives; None where another's does."""
    descriptor = os.open(file, os.O_RDWR | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_what_the_killed_left() -> None:
    """Remove the disks of machines whose tests were killed before they could: nobody holds their locks any more."""
    for lock in _machines().glob(f"*/{_LOCK}"):
        with suppress(FileNotFoundError):  # its own session is removing it right now
            # One that is just being made may not hold its lock yet.
            old = time.time() - lock.stat().st_mtime > _YOUNG_SECONDS
            descriptor = _lock(lock, flags=0) if old else None
            if descriptor is not None:
                shutil.rmtree(lock.parent)
                os.close(descriptor)
