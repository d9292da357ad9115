"""The lab from the command line: build everything, start hosts to work with, remove them.

python -m tests.lab.hosts build [IMAGE...]             make what the lab needs (slow once, then from the cache)
python -m tests.lab.hosts up [--group G] [IMAGE...]    start a host of each image, print where their inventory is
python -m tests.lab.hosts list                         what is in the cache, and which hosts were left running
python -m tests.lab.hosts down [--group G]             remove the hosts that `up` left running
python -m tests.lab.hosts prune [--days N]             remove what nothing used for that long from the cache
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cache
from .container import start_docker_host, start_host, start_jump_pair
from .engine import OWNER_LABEL, Engine, engine
from .interface import LabError, LabHost, reaching
from .keys import Keys, make_keys
from .kubernetes import start_kubeadm
from .kubernetes_build import binaries, images
from .machine_image import machine_image
from .recipe import recipe
from .rootfs import rootfs

Start = Callable[[Engine, Keys, str], Sequence[LabHost]]


def _docker_host(image: str) -> Start:
    return lambda lab, keys, group: [start_docker_host(lab, keys, image, image, keeper=group)]


def _plain_host(image: str) -> Start:
    return lambda lab, keys, group: [start_host(lab, keys, recipe(image), image, volumes=(), keeper=group)]


STARTS: dict[str, Start] = {
    "debian12": _docker_host("debian12"),
    "debian13": _docker_host("debian13"),
    "kubeadm": lambda lab, keys, group: [start_kubeadm(lab, keys, "kubeadm", keeper=group)],
    "minimal": _plain_host("minimal"),
    "python2": _plain_host("python2"),
    "jump": lambda lab, keys, group: start_jump_pair(lab, keys, "debian12", "behind", keeper=group),
}
USUAL = ("debian12", "debian13")
CONTAINERS = ("debian12", "debian13", "kubeadm", "minimal", "python2")
MACHINES = {"machine12": "bookworm", "machine13": "trixie"}
GROUP = "kept"


def build(names: Sequence[str]) -> None:
    """Make what the cache and the engine do not have."""
    with engine() as lab:
        for name in names or (*CONTAINERS, *MACHINES):
            started = time.monotonic()
            _build(lab, name)
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def _build(lab: Engine, name: str) -> None:
    if name in MACHINES:
        machine_image(MACHINES[name])
        return
    lab.image(recipe(name))
    if name == "kubeadm":
        binaries()
        images(rootfs(recipe(name)))


def up(names: Sequence[str], group: str) -> None:
    """Start hosts and leave them running, with an inventory that reaches them."""
    place = _place(group)
    with engine() as lab:
        if _kept(lab, group):
            raise LabError(f"hosts are up already, {place / 'inventory.yml'}: `down --group {group}` removes them")
        keys = make_keys(place / "keys")
        try:
            with ThreadPoolExecutor() as pool:
                started = list(pool.map(lambda name: STARTS[name](lab, keys, group), names or USUAL))
        except BaseException:
            lab.remove_owned_by(group)
            raise
        (place / "inventory.yml").write_text(reaching({host: {} for each in started for host in each}))
    print(place / "inventory.yml")


def down(group: str) -> None:
    """Remove what `up` left running."""
    with engine() as lab:
        lab.remove_owned_by(group)
    shutil.rmtree(_place(group))


def list_all() -> None:
    """Print the cache's entries and the hosts that are up."""
    for entry in sorted(cache.cache_root().iterdir()):
        if not entry.name.startswith(".") and entry.name != _GROUPS:
            print(f"cached  {entry}")
    with engine() as lab:
        for place in sorted((cache.cache_root() / _GROUPS).glob("*")):
            print(f"up      {' '.join(_kept(lab, place.name))} ({place / 'inventory.yml'})")


_GROUPS = "hosts"


def prune(days: float) -> None:
    """Remove what nothing asked for in that time from the cache."""
    for name in cache.prune(days * 86400):
        print(f"removed {name}")


def _place(group: str) -> Path:
    place = cache.cache_root() / _GROUPS / group
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _kept(lab: Engine, group: str) -> list[str]:
    names = lab.text("ps", "-a", "--filter", f"label={OWNER_LABEL}={group}", "--format", "{{.Names}}").split()
    return sorted(name.removesuffix(f"-{group}") for name in names)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.hosts", description="Real hosts for the lab tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    building = verbs.add_parser("build", help="make what the lab needs")
    building.add_argument("images", nargs="*", choices=[*CONTAINERS, *MACHINES, []], metavar="IMAGE")
    starting = verbs.add_parser("up", help="start hosts and leave them running")
    starting.add_argument("images", nargs="*", choices=[*STARTS, []], metavar="IMAGE", help=", ".join(STARTS))
    stopping = verbs.add_parser("down", help="remove the hosts that `up` left running")
    for each in (starting, stopping):
        each.add_argument("--group", default=GROUP, help="a name for these hosts, apart from others'")
    verbs.add_parser("list", help="the cache's entries and the hosts that are up")
    pruning = verbs.add_parser("prune", help="remove what nothing used for a while from the cache")
    pruning.add_argument("--days", type=float, default=14, help="how long that is (14)")
    return parser.parse_args()


def main() -> int:
    """Returns the exit code: 1 for a lab that failed, with one message and no traceback."""
    arguments = _arguments()
    try:
        match arguments.verb:
            case "build":
                build(arguments.images)
            case "up":
                up(arguments.images, arguments.group)
            case "down":
                down(arguments.group)
            case "list":
                list_all()
            case "prune":
                prune(arguments.days)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
