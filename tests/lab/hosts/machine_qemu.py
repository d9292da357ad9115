"""QEMU as Debian 13 has it, on whatever Debian this machine is, and one running emulator with its monitor.

The programs run from their unpacked root file system through its own dynamic loader, with its own libraries: nothing is
mounted, nothing is installed, and the process that was started is QEMU itself.
"""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import cache
from .interface import LabError
from .recipe import recipe
from .rootfs import rootfs, unpack

MEMORY_MIB = 1536

# Part of the saved state's identity: a state is loaded by the very hardware that saved it. Paths are relative to the
# directory that the emulator runs in. What only costs time at boot is left out: svm with its module, the kernel's talk.
HARDWARE = (
    *("-nodefaults", "-display", "none", "-accel", "tcg,thread=multi", "-cpu", "qemu64,-svm"),
    *("-machine", "pc-i440fx-10.0,memory-backend=memory", "-smp", "2", "-m", str(MEMORY_MIB)),
    *("-kernel", "image/kernel", "-initrd", "image/initrd", "-append"),
    "root=/dev/vda rw console=ttyS0 audit=1 audit_backlog_limit=8192 mitigations=off quiet",
    *("-drive", "file=disk.qcow2,if=virtio,format=qcow2"),
    *("-device", "virtio-net-pci,netdev=network,romfile=", "-device", "virtio-rng-pci"),
    *("-chardev", "file,id=serial,path=serial.log,append=on", "-serial", "chardev:serial"),
)
FRESH_MEMORY = f"memory-backend-ram,id=memory,size={MEMORY_MIB}M"

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_ANSWER_SECONDS = 30.0
_MIGRATION_SECONDS = 60.0
_EXIT_SECONDS = 30.0
# A saved state's memory is a file of its own, mapped by who saves and who loads it, so the state itself is tiny.
_MEMORY_APART = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}


def qemu_root() -> Path:
    """The directory with the root file system that has QEMU, from the cache or made now. Raises LabError."""
    wanted = recipe("machine-qemu")
    return cache.entry("qemu-root", wanted.digest, lambda place: unpack(rootfs(wanted), place / "root")) / "root"


def program(name: str) -> list[str]:
    """The words that start QEMU's program `name` (qemu-img, qemu-system-x86_64); its arguments follow them."""
    root = qemu_root()
    loader = [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(root / _LIBRARIES), "--argv0", name]
    return [*loader, str(root / "usr/bin" / name)]


def make_disk(directory: Path, backing: str, kind: str) -> None:
    """Make disk.qcow2 in `directory`, an empty layer over `backing` (raw or qcow2, relative to it). Raises LabError."""
    command = [*program("qemu-img"), "create", "-q", "-f", "qcow2", "-b", backing, "-F", kind, "disk.qcow2"]
    result = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    if result.returncode != 0:
        raise LabError(f"{directory}/disk.qcow2: qemu-img failed: {result.stderr.decode(errors='backslashreplace')}")


class Emulator:
    """One running QEMU: a machine of HARDWARE whose SSH port is forwarded from 127.0.0.1, and that reaches nothing.

    It dies with the thread that started it, whatever ends that.
    """

    def __init__(self, directory: Path, memory: str, port: int = 0, paused_for_state: bool = False) -> None:
        """Start it in `directory`, which has disk.qcow2 and image/, with the object `memory` as its memory.

        `port` 0 lets the kernel choose. Raises LabError.
        """
        self.directory = directory
        network = f"user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
        arguments = [*HARDWARE, "-object", memory, "-netdev", network]
        if paused_for_state:
            arguments += ["-incoming", "defer"]
        self._monitor, theirs = socket.socketpair()
        self._monitor.settimeout(_ANSWER_SECONDS)
        self._answers = self._monitor.makefile("rb")
        with theirs:
            self._process = _spawn(directory, arguments, theirs.fileno())
        try:
            self._answer("QMP")
            self.execute("qmp_capabilities")
            self.port = self._forwarded_port()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a machine that powered itself off has none."""
        return self._process.poll() is None

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run one command of QEMU's machine protocol and return its answer. Raises LabError where it is refused."""
        request = {"execute": command, "arguments": dict(arguments or {})}
        try:
            self._monitor.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise LabError(self.last_words(f"took no {command}: {error}")) from error
        return self._answer("return")

    def save(self, state: str) -> None:
        """Stop the machine and save its state, without its disk and memory, to the file `state`. Raises LabError."""
        self.execute("stop")
        self.execute("migrate-set-capabilities", _MEMORY_APART)
        self.execute("migrate", {"uri": f"file:{state}"})
        self._await_migration()

    def load(self, state: str) -> None:
        """Load a state, saved with this disk and memory, into a machine started for it, and run. Raises LabError."""
        self.execute("migrate-set-capabilities", _MEMORY_APART)
        self.execute("migrate-incoming", {"uri": f"file:{state}"})
        self._await_migration()
        self.execute("cont")

    def quit(self) -> None:
        """End a machine that was stopped, its disk written out. Raises LabError."""
        self.execute("quit")
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired as expired:
            raise LabError(self.last_words(f"does not end within {_EXIT_SECONDS:.0f} s")) from expired
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL it, which to the machine is a power cut; nothing where it is gone already."""
        self._process.kill()
        self._process.wait(_EXIT_SECONDS)
        self._answers.close()
        self._monitor.close()

    def last_words(self, what: str) -> str:
        """An error's text: `what` happened to this emulator, with the end of what it and its console said."""
        logs = [self.directory / "qemu.log", self.directory / "serial.log"]
        ends = [each.read_bytes()[-2000:].decode(errors="backslashreplace") for each in logs if each.exists()]
        return "\n".join([f"the machine in {self.directory} {what}", *ends]).rstrip()

    def _answer(self, wanted: str) -> Any:
        while True:
            try:
                line = self._answers.readline()
            except OSError as error:
                raise LabError(self.last_words(f"gave no answer: {error}")) from error
            if not line:
                raise LabError(self.last_words("has ended"))
            message = json.loads(line)
            if "error" in message:
                raise LabError(self.last_words(f"refused: {message['error']['desc']}"))
            if wanted in message:
                return message[wanted]
            # Anything else is an event; who waits for a state asks for it.

    def _await_migration(self) -> None:
        deadline = time.monotonic() + _MIGRATION_SECONDS
        while (status := self.execute("query-migrate").get("status")) != "completed":
            if status == "failed" or time.monotonic() > deadline:
                raise LabError(self.last_words(f"neither saved nor loaded its state: {status}"))
            time.sleep(0.02)

    def _forwarded_port(self) -> int:
        listing = self.execute("human-monitor-command", {"command-line": "info usernet"})
        found = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", listing)
        if found is None:
            raise LabError(self.last_words(f"forwards no port:\n{listing}"))
        return int(found[1])


def _spawn(directory: Path, arguments: Sequence[str], monitor: int) -> "subprocess.Popen[bytes]":
    root = qemu_root()
    own = ["-L", str(root / "usr/share/seabios"), "-L", str(root / "usr/share/qemu")]
    control = ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
    with (directory / "qemu.log").open("ab") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *program("qemu-system-x86_64"), *own, *control, *arguments],
            cwd=directory,
            env=os.environ | {"QEMU_MODULE_DIR": str(root / _LIBRARIES / "qemu")},
            pass_fds=(monitor,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests, which then end it
        )
