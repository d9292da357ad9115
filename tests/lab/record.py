"""Records the observations that `tests/kinds/` decides from (root, with the lab's packages).

Run `python -m tests.lab.record [NAME...]`.

Each is what observe answered on a lab host for the whole catalogue: Docker hosts and the control plane drifted, and a
machine with kernel audit. Times and inode numbers differ from recording to recording; decisions do not rest on them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from remediator import wire
from remediator.catalogue import load_catalogue
from remediator.host import observe_program
from remediator.request import compile_request

from .expectations import drift
from .hosts.container import start_docker_host
from .hosts.engine import engine
from .hosts.interface import LabHost
from .hosts.keys import make_keys
from .hosts.kubernetes import start_kubeadm
from .hosts.machine import Machine

_TARGET = Path(__file__).parents[1] / "kinds" / "observations"


def record(host: LabHost, name: str) -> None:
    """Write what observe answers on `host`."""
    marker = "recording" * 4
    request = wire.frame(marker, observe_program(), compile_request(load_catalogue().needs()))
    said = host.run("sh", "-c", wire.command("/usr/bin/python3", marker), input=request)
    document = json.loads(wire.read_answer(host.name, said.stdout, marker))
    _TARGET.mkdir(exist_ok=True)
    (_TARGET / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def record_containers(wanted: set[str]) -> None:
    """The Docker hosts and the control plane, drifted."""
    with tempfile.TemporaryDirectory() as folder, engine() as running:
        keys = make_keys(Path(folder) / "keys")
        for image in sorted({"debian12", "debian13"} & wanted):
            docker = start_docker_host(running, keys, image, image)
            docker.script(drift("docker"))
            record(docker, image)
            docker.remove()
        if "kubeadm" in wanted:
            node = start_kubeadm(running, keys, "kubeadm")
            node.decoy_etcd()
            node.script(drift("kubernetes"))
            record(node, "kubeadm")
            node.remove()


def record_machines(wanted: set[str]) -> None:
    """The machines, as they come: what matters there is the kernel's audit."""
    for suite, name in (("bookworm", "machine12"), ("trixie", "machine13")):
        if name in wanted:
            with Machine.start(suite) as machine:
                record(machine.host, name)


if __name__ == "__main__":
    NAMES = set(sys.argv[1:]) or {"debian12", "debian13", "kubeadm", "machine12", "machine13"}
    record_containers(NAMES)
    record_machines(NAMES)
