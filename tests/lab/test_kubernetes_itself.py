"""The control plane that the tests of Kubernetes hosts rest on is a real one, and whole."""

import json
import os
from pathlib import Path

from .hosts.kubernetes import ORDINARY_POD, STATIC_PODS, KubeadmHost
from .hosts.kubernetes_images import Image, write_archive


def _program_of(host: KubeadmHost, pid: int) -> str:
    return host.text("cat", f"/proc/{pid}/comm")


def _cgroups_of(host: KubeadmHost, pid: int) -> str:
    return host.text("cat", f"/proc/{pid}/cgroup")


def test_the_api_server_is_live(kubeadm: KubeadmHost) -> None:
    assert kubeadm.livez() == "ok"


def test_every_static_pod_and_the_ordinary_one_run_and_are_ready(kubeadm: KubeadmHost) -> None:
    wanted = {("kube-system", f"{component}-{kubeadm.name}") for component in STATIC_PODS} | {("default", ORDINARY_POD)}
    running = {(pod.namespace, pod.name) for pod in kubeadm.pods() if pod.phase == "Running" and pod.ready}
    assert wanted <= running


def test_the_node_is_ready_and_runs_the_version_that_kubeadm_installed(kubeadm: KubeadmHost) -> None:
    node = json.loads(kubeadm.kubectl("get", "node", kubeadm.name, "--output=json"))
    conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    manifest = kubeadm.text("cat", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    assert f"kube-apiserver:{node['status']['nodeInfo']['kubeletVersion']}\n" in manifest


def test_each_component_runs_in_the_cgroup_of_its_static_pod(kubeadm: KubeadmHost) -> None:
    for component in STATIC_PODS:
        pod = json.loads(
            kubeadm.kubectl("get", "pod", "-n", "kube-system", f"{component}-{kubeadm.name}", "-o", "json")
        )
        # The kubelet names the cgroup of a static pod by its manifest's hash, not by the mirror pod's uid.
        uid = pod["metadata"]["annotations"]["kubernetes.io/config.hash"]
        pids = kubeadm.text("pgrep", "--exact", "--full", f"{component} .*").split()
        assert any(f"/pod{uid}/" in _cgroups_of(kubeadm, int(pid)) for pid in pids), component


def test_a_pod_started_with_kubectl_run_executes_commands_and_reaches_another_pod(kubeadm: KubeadmHost) -> None:
    other = kubeadm.kubectl("get", "pod", ORDINARY_POD, "--output=jsonpath={.status.podIP}")
    kubeadm.kubectl("run", "probe", "--image=localhost/busybox:1", "--restart=Never", "--", "sleep", "1000")
    try:
        kubeadm.kubectl("wait", "--for=condition=Ready", "pod/probe", "--timeout=60s")
        assert kubeadm.kubectl("exec", "probe", "--", "busybox", "echo", "hello") == "hello"
        ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 10 {other} 80"
        assert kubeadm.kubectl("exec", "probe", "--", "sh", "-c", ask).startswith("HTTP/")
    finally:
        kubeadm.kubectl("delete", "pod", "probe", "--now")


def test_the_decoys_run_etcd_outside_the_clusters_own_pod_and_harm_nothing(kubeadm: KubeadmHost) -> None:
    decoys = kubeadm.decoy_etcd()
    own = kubeadm.kubectl(
        *("get", "pod", "--namespace=kube-system", f"etcd-{kubeadm.name}"),
        r"--output=jsonpath={.metadata.annotations.kubernetes\.io/config\.hash}",
    )
    for decoy in decoys:
        assert _program_of(kubeadm, decoy.pid) == "etcd"
        assert own not in _cgroups_of(kubeadm, decoy.pid)
        assert kubeadm.text("stat", "--format=%a", decoy.data_directory) == "755"
        kubeadm.run("test", "-d", f"{decoy.data_directory}/member/wal")
    assert kubeadm.decoy_etcd() == decoys
    assert kubeadm.livez() == "ok"


def test_the_same_binaries_make_the_same_images(tmp_path: Path) -> None:
    binary = tmp_path / "program"
    binary.write_bytes(b"program")
    images = [Image("localhost/program:1", ("program",), {"bin/program": binary, "usr/local/bin/again": binary})]
    write_archive(tmp_path / "first.tar", images)
    os.utime(binary, (1, 1))
    write_archive(tmp_path / "second.tar", images)
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
