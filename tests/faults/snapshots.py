"""Snapshots of a disk on which commits run, taken at random moments, each mounted and recovered as after a power cut.

Target and state directory lie on a loop image; the image lies on a btrfs, which copies it in one instant (FICLONE):
what was written to the disk by then is there, whatever a filesystem still held in memory is not.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from remediator.plan import Action, Transaction
from tests.faults.figures import Figures, count
from tests.faults.scene import BrokenError, judge_names, require
from tests.unit.host.commit.host import CommitHost, chmod, commit_host, transaction, write

# _IOW(0x94, 9, int): ioctl_ficlone(2).
FICLONE = 0x40049409
FILESYSTEMS = {"ext4": ("mkfs.ext4", "-q", "-F"), "btrfs": ("mkfs.btrfs", "-q", "-f")}
IMAGE_MIB = 160
BATCH = 50
# As after a power cut: another boot than the one that the journal was written in.
_OTHER_BOOT = "mount --bind {base}/boot_id /proc/sys/kernel/random/boot_id"
NAMES = ("a.json", "etc/b.json", "etc/c.d/d.conf")


@dataclass
class Fleet:
    """What the commits of one disk have said so far: generations begun, and those whose answer came."""

    begun: int = 0
    answered: int = 0
    failure: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Snapshot:
    """A copy of the disk: its generation is at least `least` (that answer had come) and at most `most`."""

    image: Path
    least: int
    most: int


def missing() -> str:
    """Why no snapshots can be taken here; empty where they can."""
    if not Path("/dev/loop-control").exists():
        return "this machine has no loop devices"
    absent = [name for name in ("mkfs.btrfs", "mkfs.ext4", "losetup") if shutil.which(name) is None]
    if absent:
        return f"{absent[0]} is not installed"
    if shutil.which("modprobe") is not None:
        subprocess.run(["modprobe", "btrfs"], check=False, capture_output=True)
    return "" if "btrfs" in Path("/proc/filesystems").read_text() else "this kernel has no btrfs"


def run(*words: str) -> str:
    """A command's output. Raises CalledProcessError."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    """The image, by a loop device of its own, at `at`; both gone at the end."""
    device = run("losetup", "--find", "--show", str(image))
    try:
        run("mount", device, str(at))
        try:
            yield
        finally:
            unmount(at)
    finally:
        run("losetup", "--detach", device)


def unmount(at: Path) -> None:
    """Unmounts it, once whoever is just ending has let go of it. Raises CalledProcessError."""
    for _ in range(100):
        if subprocess.run(["umount", str(at)], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    run("umount", str(at))


@contextmanager
def reflinks() -> Iterator[Path]:
    """A directory on a btrfs of its own."""
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="remediator-faults-", dir="/var/cache"))
        stack.callback(shutil.rmtree, place)
        image, at = place / "outer.img", place / "outer"
        at.mkdir()
        with image.open("wb") as file:
            file.truncate(12 * 1024**3)
        run("mkfs.btrfs", "-q", str(image))
        stack.enter_context(mounted(image, at))
        yield at


def clone(source: Path, target: Path) -> None:
    """A copy of a file as it is in one instant."""
    with source.open("rb") as old, target.open("wb") as new:
        fcntl.ioctl(new, FICLONE, old.fileno())


def contents(generation: int) -> dict[str, tuple[bytes, int]]:
    """Bytes and mode of every path after that many commits."""
    wanted = {name: (b"%s %d\n" % (name.encode(), generation) * (1 + generation % 300), 0o640) for name in NAMES}
    wanted["tool"] = (b"tool", 0o755 if generation % 2 else 0o700)
    if generation % 2:
        wanted["odd"] = (b"odd %d" % generation, 0o600)
    return wanted


def next_change(host: CommitHost, generation: int) -> Transaction:
    """The transaction that makes that generation of the one before."""
    wanted = contents(generation)
    actions: list[Action] = [write(host.files / name, wanted[name][0], 0o640) for name in NAMES]
    actions.append(chmod(host.files / "tool", wanted["tool"][1]))
    odd = host.files / "odd"
    actions.append(write(odd, wanted["odd"][0], 0o600) if generation % 2 else Action(do="remove", path=str(odd)))
    return transaction(*actions)


def commit_on(host: CommitHost, fleet: Fleet) -> None:
    """Commits, one generation after the other, until it is told to stop."""
    while not fleet.stop.is_set():
        generation = fleet.begun + 1
        planned = next_change(host, generation)
        fleet.begun = generation
        [result] = host.run(planned, keep={"count": 3, "days": 1})
        if result["outcome"] != "applied":
            fleet.failure = str(result)
            return
        fleet.answered = generation


def taken(kind: str, place: Path, wanted: int, chance: random.Random) -> tuple[Path, list[Snapshot]]:
    """Snapshots of a new disk of that kind, and where its host lies in it."""
    image, at = place / "inner.img", place / "inner"
    at.mkdir(exist_ok=True)
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(IMAGE_MIB * 1024**2)
    run(*FILESYSTEMS[kind], str(image))
    snapshots = []
    with mounted(image, at), commit_host(str(at)) as host:
        for name, (content, mode) in contents(0).items():
            host.file(name, content, mode)
        (host.base / "boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
        run("sync", "--file-system", str(at))
        fleet = Fleet()
        worker = threading.Thread(target=commit_on, args=(host, fleet))
        worker.start()
        try:
            while fleet.answered == 0 and worker.is_alive():
                time.sleep(0.05)
            for number in range(wanted):
                time.sleep(chance.uniform(0, 0.2))
                least = fleet.answered
                clone(image, place / f"copy-{number}.img")
                snapshots.append(Snapshot(place / f"copy-{number}.img", least, fleet.begun))
        finally:
            fleet.stop.set()
            worker.join()
        require(not fleet.failure, f"{kind}: a commit without any fault ended {fleet.failure}")
    return host.base, snapshots


def judged(base: Path, at: Path, snapshot: Snapshot, at_boot: bool) -> str:
    """How the snapshot ends once it is mounted and recovered. Raises BrokenError."""
    with mounted(snapshot.image, at):
        host = CommitHost(base, None)  # type: ignore[arg-type]  # its log is another boot's
        was_open = any(host.state.glob("transactions/*/journal.json"))
        setup = _OTHER_BOOT.format(base=base)
        request = host.request(do="boot" if at_boot else "recover")
        answer = host.start(request, setup).answer()
        require("error" not in answer, f"recovering failed: {answer}")
        judge_generation(host, snapshot, answer)
        return ("rolled back" if answer["recovered"] else "tidied") if was_open else "nothing open"


def judge_generation(host: CommitHost, snapshot: Snapshot, answer: dict[str, Any]) -> None:
    """Raises BrokenError unless all of its paths are of one generation, one that can be."""
    found = {
        str(path.relative_to(host.files)): (path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in sorted(host.files.rglob("*"))
        if path.is_file()
    }
    fits = [one for one in range(snapshot.least, snapshot.most + 1) if contents(one) == found]
    shown = {name: content[:30] for name, (content, _) in found.items()}
    require(len(fits) == 1, f"neither before nor after, between {snapshot.least} and {snapshot.most}: {shown} {answer}")
    judge_names({path.name for path in host.state.iterdir()})
    for directory in (host.state / "transactions").iterdir():
        held = {path.name for path in directory.iterdir()}
        require("journal.json" not in held, f"a journal is still open: {held}")


def campaign(kind: str, wanted: int, seed: int, end: float, say: Callable[[str], None]) -> Figures:
    """That many snapshots of a disk of that kind, in batches, until `end` on the monotonic clock."""
    figures = Figures(f"snapshots of {'an' if kind == 'ext4' else 'a'} {kind} disk at random moments", wanted)
    chance, begun = random.Random(f"{seed} {kind}"), time.monotonic()
    with reflinks() as place:
        while figures.count < wanted and time.monotonic() < end:
            base, snapshots = taken(kind, place, min(BATCH, wanted - figures.count), chance)
            for snapshot in snapshots:
                attempt = partial(said, base, place / "inner", snapshot, chance.random() < 0.5)
                count(figures, attempt, say)
                os.unlink(snapshot.image)
            say(f"{figures.part}: {figures.count} of {wanted}, {len(figures.broken)} broken: {dict(figures.ends)}")
    figures.seconds = time.monotonic() - begun
    return figures


def said(base: Path, at: Path, snapshot: Snapshot, at_boot: bool) -> str:
    """As `judged`, with the snapshot's name in what it raises."""
    try:
        return judged(base, at, snapshot, at_boot)
    except AssertionError as error:
        raise BrokenError(f"{snapshot.image.name}: {error}") from error
