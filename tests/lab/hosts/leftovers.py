"""What an engine that has stopped must not have left on the machine."""

import subprocess
import tempfile
from pathlib import Path

from .engine import Engine
from .isolation import in_all_hierarchies


def leftovers(engine: Engine) -> list[str]:
    """Everything on the machine that belongs to this engine, apart from its data: one sentence each."""
    return [*_processes(engine), *_mounts(engine), *_network(engine), *_cgroups(engine), *_sockets(engine)]


def _processes(engine: Engine) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes()
        except OSError:
            continue  # it has ended
        if str(engine.runtime).encode() in command:
            found.append(f"process {place.parent.name}: {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def _mounts(engine: Engine) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = (engine.data, engine.runtime)
    return [f"mount {each}" for each in points if any(Path(each).is_relative_to(place) for place in places)]


def _network(engine: Engine) -> list[str]:
    names = (engine.network, engine.inner_network)
    found = [f"network interface {name}" for name in names if Path("/sys/class/net", name).exists()]
    rules = subprocess.run(["iptables-save"], capture_output=True, check=False).stdout.decode().splitlines()
    return found + [f"firewall rule {rule}" for rule in rules if any(name in rule for name in names)]


def _cgroups(engine: Engine) -> list[str]:
    # Also in the hierarchies that the machine itself does not use, where nobody would ever see them.
    with tempfile.TemporaryDirectory() as scratch:
        find = ("find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", engine.cgroup)
        command = in_all_hierarchies(Path(scratch), *find)
        output = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [f"cgroup {place}" for place in output.splitlines()]


def _sockets(engine: Engine) -> list[str]:
    return [f"directory {engine.runtime}"] if engine.runtime.exists() else []
