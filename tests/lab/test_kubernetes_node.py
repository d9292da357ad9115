"""A real kubeadm control plane: files and etcd's data tightened while it runs, and it still runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .expectations import drift, expected
from .hosts.engine import Engine
from .hosts.interface import inventory
from .hosts.keys import Keys
from .hosts.kubernetes import KubeadmHost, start_kubeadm
from .hosts.witness import changes_of
from .product import Answer, Product

OURS = "/var/lib/remediator"
# What a running cluster writes all the time.
BUSY = ("/var/lib/etcd/member", "/var/lib/kubelet", "/var/log", "/var/lib/containerd", "/etc/kubernetes/tmp")


@pytest.fixture(scope="module")
def node(engine: Engine, lab_keys: Keys) -> Iterator[KubeadmHost]:
    """A control plane whose files are open, with programs named etcd that are not the cluster's."""
    host = start_kubeadm(engine, lab_keys, "kubeadm-drifted")
    host.decoy_etcd()
    host.script(drift("kubernetes"))
    yield host
    host.remove()


@pytest.fixture(scope="module")
def hosts_file(node: KubeadmHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory with the node alone."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([node]))
    return path


def running(node: KubeadmHost) -> dict[str, tuple[bool, int]]:
    return {f"{pod.namespace}/{pod.name}": (pod.ready, pod.restarts) for pod in node.pods()}


def test_a_check_gives_every_control_its_expected_verdict(
    node: KubeadmHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file)
    assert answer.code == 1, answer.err
    assert answer.verdicts(node.name) == expected("kubeadm", "before")


def test_a_check_changes_nothing_that_the_cluster_does_not_change_itself(
    node: KubeadmHost, hosts_file: Path, remediate: Product
) -> None:
    bare = changes_of(node, lambda: node.as_user("ops").run("sudo", "true")).paths
    changed = changes_of(node, lambda: remediate.check(hosts_file))
    assert changed.without(*BUSY, *bare).paths == []


def test_neither_an_etcd_in_a_pod_nor_one_of_another_unit_is_taken_for_the_clusters(
    node: KubeadmHost, hosts_file: Path, remediate: Product
) -> None:
    named = {change["path"] for change in remediate.check(hosts_file).host(node.name)["changes"]}
    decoys = {decoy.data_directory for decoy in node.decoy_etcd()}
    assert "/var/lib/etcd" in named
    assert named & decoys == set()


def test_apply_tightens_exactly_the_previewed_files_and_no_pod_restarts(
    node: KubeadmHost, hosts_file: Path, remediate: Product
) -> None:
    before = running(node)
    preview = remediate.check(hosts_file).host(node.name)
    named = {change["path"] for change in preview["changes"] if change["permitted"]}
    answers: list[Answer] = []
    changed = changes_of(node, lambda: answers.append(remediate.apply(hosts_file)))
    assert answers[0].code == 0, answers[0].err + answers[0].out
    assert named <= set(changed.changed)
    assert [path for path in changed.without(OURS, *BUSY, *named).paths if path.startswith("/etc/")] == []
    assert node.livez() == "ok"
    assert running(node) == before
    assert node.text("stat", "-c", "%a", "/var/lib/etcd", "/etc/kubernetes/admin.conf") == "700\n600"


def test_after_the_apply_every_control_has_its_expected_verdict_and_nothing_is_proposed(
    node: KubeadmHost, hosts_file: Path, remediate: Product
) -> None:
    answer = remediate.check(hosts_file)
    assert answer.verdicts(node.name) == expected("kubeadm", "after")
    assert [change for change in answer.host(node.name)["changes"] if change["permitted"]] == []
    assert remediate.apply(hosts_file).code == 0


def test_cni_files_are_tightened_once_that_is_allowed(node: KubeadmHost, hosts_file: Path, remediate: Product) -> None:
    answer = remediate.apply(hosts_file, "--allow", "guarded")
    assert answer.code == 0, answer.err + answer.out
    assert set(node.text("sh", "-c", "stat -c '%a %U:%G' /etc/cni/net.d/*").splitlines()) == {"600 root:root"}
    assert node.livez() == "ok"


def test_the_data_directory_goes_to_another_account_only_where_the_inventory_asks_for_it(
    node: KubeadmHost, hosts_file: Path, remediate: Product
) -> None:
    node.run("useradd", "--system", "--no-create-home", "--user-group", "etcd")
    asked = ("-e", "kube_etcd_data_owner=etcd")
    control = "kube.etcd.data-directory-owner"
    assert remediate.check(hosts_file).verdicts(node.name)[control] == "not_applicable"
    assert remediate.check(hosts_file, *asked).verdicts(node.name)[control] == "drifted"
    answer = remediate.apply(hosts_file, *asked, "--allow", control)
    assert answer.code == 0, answer.err + answer.out
    assert node.text("stat", "-c", "%U:%G", "/var/lib/etcd") == "etcd:etcd"
    assert node.livez() == "ok"
