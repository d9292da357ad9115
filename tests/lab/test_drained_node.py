"""A Kubernetes node with a dockerd is drained, by this controller's own kubectl, before that is restarted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .docker_tls import ALLOWED, LISTEN, make_authority, verdict
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import LAB_POLICY, inventory
from .hosts.keys import Keys
from .hosts.kubernetes import ORDINARY_POD, KubeadmHost, start_kubeadm
from .hosts.kubernetes_build import binaries
from .product import Product

DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
# Every file of Docker's packages, as a tar archive on standard output.
PACK = """
dpkg --listfiles docker.io docker-cli | while read -r file; do if test -f "$file"; then echo "$file"; fi; done |
    tar -P -c -T -
"""
START = """
groupadd --system docker
mkdir -p /etc/docker /var/lib/docker
mount -t tmpfs -o size=512m tmpfs /var/lib/docker
systemctl daemon-reload
systemctl start docker.service
"""


@pytest.fixture(scope="module")
def node(engine: Engine, lab_keys: Keys) -> Iterator[KubeadmHost]:
    """A cluster of one node, on which Docker runs beside the kubelet's containerd."""
    donor = start_docker_host(engine, lab_keys, "debian13", "donor")
    host = start_kubeadm(engine, lab_keys, "drained")
    try:
        bring_docker(donor, host)
        yield host
    finally:
        host.remove()
        donor.remove()


def bring_docker(donor: ContainerHost, host: KubeadmHost) -> None:
    """Docker of the same Debian, from a host where its package is installed."""
    packed = donor.engine.docker("exec", donor.container, "sh", "-c", PACK).stdout
    host.engine.docker("exec", "--interactive", host.container, "tar", "-P", "-x", input=packed)
    host.script(START)


def hosts_file(host: KubeadmHost, directory: Path, **policy: object) -> Path:
    """The node, told to listen, under this policy."""
    path = directory / "hosts.yml"
    variables = {"docker_tls_listen": [LISTEN], "remediator_policy": {**LAB_POLICY, **policy}}
    path.write_text(inventory([host], {host.name: variables}))
    return path


def main_process(host: KubeadmHost) -> str:
    return host.text("systemctl", "show", "--property=MainPID", "--value", "docker.service")


def test_its_daemon_is_restarted_only_after_a_drain_and_the_node_serves_again(
    node: KubeadmHost, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(node, tmp_path)
    assert make_authority(remediate, tmp_path).issue(path).code == 0
    process = main_process(node)

    held = remediate.apply(path, *ALLOWED)
    assert held.document["ended"] == "nothing_permitted", held.out
    assert "drain it first" in str(verdict(held, node, "docker.tls.mutual")["release"])
    assert main_process(node) == process

    access = tmp_path / "admin.conf"
    access.touch(mode=0o600)
    access.write_text(node.text("cat", "/etc/kubernetes/admin.conf"))
    kubectl = [str(binaries() / "kubectl"), f"--kubeconfig={access}"]
    around = {
        "before_restart": [[*kubectl, "drain", "{{ inventory_hostname }}", *DRAIN]],
        "after_restart": [[*kubectl, "uncordon", "{{ inventory_hostname }}"]],
    }
    answer = remediate.apply(hosts_file(node, tmp_path, **around), *ALLOWED)

    assert answer.code == 0, answer.out + answer.err
    assert main_process(node) != process
    assert ORDINARY_POD not in [pod.name for pod in node.pods() if pod.namespace == "default"]
    spec = json.loads(node.kubectl("get", "node", node.name, "--output=json"))["spec"]
    assert "unschedulable" not in spec
