"""Kubernetes' references, from manifests, units and configuration files that really lie on a disk."""

from pathlib import Path

import pytest

from remediator.host.observe.cluster import cluster_references
from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.kubernetes import KubernetesHost
from remediator.host.observe.main import CLUSTER_REFERENCES
from remediator.host.observe.manifests import POD_CGROUP, POD_LOG_NAME, read_manifest, read_manifests
from remediator.host.observe.references import HostReference
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit, unit_from_block

POD = """apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: kube-system
spec:
  containers:
  - command:
    - {name}
{flags}
    name: {name}
    volumeMounts:
    - mountPath: {inside}
      name: files
    - mountPath: /etc/ssl/certs
      name: ca
  volumes:
  - hostPath:
      path: {outside}
      type: DirectoryOrCreate
    name: files
  - emptyDir: {{}}
    name: ca
"""
KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  x509:
    clientCAFile: {top}/pki/ca.crt
kind: KubeletConfiguration
staticPodPath: {top}/manifests
"""


def pod(name: str, inside: str, outside: str, *flags: str) -> str:
    return POD.format(name=name, inside=inside, outside=outside, flags="\n".join(f"    - {flag}" for flag in flags))


def state_of(**blocks: str) -> HostState:
    units = {name: HostUnit(name) for name in UNIT_NAMES}
    for key, block in blocks.items():
        name = key.replace("_", "-") + ".service"
        units[name] = unit_from_block(name, "LoadState=loaded\n" + block)
    return HostState(units, {})


def exec_start(line: str) -> str:
    return f"ExecStart={{ path={line.split()[0]} ; argv[]={line} ; ignore_errors=no }}"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A kubeadm node's files below a directory of their own."""
    for name in ("manifests", "pki/etcd", "data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "kubelet.yaml").write_text(KUBELET.format(top=tmp_path))
    for name in ("ca.crt", "sa.pub", "etcd/ca.crt"):
        (tmp_path / "pki" / name).write_text("-----BEGIN CERTIFICATE-----\n")
    for name in ("ca.key", "sa.key", "ca.key.bak", "copy.txt"):
        (tmp_path / "pki" / name).write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "scheduler.conf").touch()
    (tmp_path / "manifests" / "etcd.yaml").write_text(
        pod("etcd", "/var/lib/etcd", f"{tmp_path}/data", "--data-dir=/var/lib/etcd", "--name=n")
    )
    (tmp_path / "manifests" / "kube-apiserver.yaml").write_text(
        pod("kube-apiserver", "/pki", f"{tmp_path}/pki", "--client-ca-file=/pki/ca.crt", "--tls-cert-file=/gone")
    )
    (tmp_path / "manifests" / "sched.yml").write_text(
        pod("kube-scheduler", "/conf", str(tmp_path), "--kubeconfig=/conf/scheduler.conf")
    )
    return tmp_path


def kubelet(top: Path, *words: str) -> str:
    line = f"/usr/bin/kubelet --config={top}/kubelet.yaml --kubeconfig={top}/kubelet.conf {' '.join(words)}"
    return exec_start(line) + "\nFragmentPath=/lib/systemd/system/kubelet.service\nDropInPaths=/etc/x.d/10-kubeadm.conf"


def paths(reference: HostReference) -> list[str]:
    assert reference.status == "resolved", reference.reason
    return [path for path, _ in reference.paths]


def test_a_kubeadm_nodes_references_all_resolve_to_their_real_places(top: Path) -> None:
    found = cluster_references(state_of(kubelet=kubelet(top)))
    assert paths(found["@kubelet.config_file"]) == [f"{top}/kubelet.yaml"]
    assert paths(found["@kubelet.kubeconfig"]) == [f"{top}/kubelet.conf"]
    assert paths(found["@kubelet.client_ca"]) == [f"{top}/pki/ca.crt"]
    assert len(paths(found["@kubelet.unit_files"])) == 2
    assert paths(found["@kube_apiserver.manifest"]) == [f"{top}/manifests/kube-apiserver.yaml"]
    assert paths(found["@kube_scheduler.manifest"]) == [f"{top}/manifests/sched.yml"]
    assert found["@kube_controller_manager.manifest"].status == "absent"
    assert paths(found["@etcd.manifest"]) == [f"{top}/manifests/etcd.yaml"]
    assert found["@kube_proxy.kubeconfig"].status == "absent"


def test_paths_of_a_pod_are_those_of_the_host(top: Path) -> None:
    found = cluster_references(state_of(kubelet=kubelet(top)))
    assert paths(found["@etcd.data_directory"]) == [f"{top}/data"]
    assert paths(found["@kube_scheduler.kubeconfig"]) == [f"{top}/scheduler.conf"]


def test_every_reference_that_is_asked_for_is_answered(top: Path) -> None:
    assert set(cluster_references(state_of(kubelet=kubelet(top)))) == set(CLUSTER_REFERENCES)


def test_the_pki_is_found_through_the_api_servers_flags_and_sorted_by_what_files_hold(top: Path) -> None:
    (top / "pki" / "out").symlink_to("/etc/passwd")
    found = cluster_references(state_of(kubelet=kubelet(top)))
    everything = paths(found["@kube.pki"])
    assert {f"{top}/pki", f"{top}/pki/etcd", f"{top}/pki/copy.txt"} <= set(everything)
    assert f"{top}/pki/out" not in everything
    keys = [path for path in paths(found["@kube.pki_keys"]) if path.startswith(str(top))]
    assert sorted(keys) == [f"{top}/pki/{name}" for name in ("ca.key", "ca.key.bak", "copy.txt", "sa.key")]
    certificates = [path for path in paths(found["@kube.pki_certificates"]) if path.startswith(str(top))]
    assert sorted(certificates) == [f"{top}/pki/{name}" for name in ("ca.crt", "etcd/ca.crt", "sa.pub")]


def test_the_systems_of_a_control_plane_are_told(top: Path) -> None:
    state = state_of(kubelet=kubelet(top))
    cluster_references(state)
    assert {name for name, system in state.systems.items() if system["present"]} == {
        "kubernetes",
        "kubelet",
        "control_plane",
        "etcd",
        "kube_proxy",
    }


def test_a_worker_has_no_control_plane(top: Path) -> None:
    for path in (top / "manifests").iterdir():
        path.unlink()
    state = state_of(kubelet=kubelet(top))
    found = cluster_references(state)
    assert not state.systems["control_plane"]["present"]
    assert found["@kube_apiserver.manifest"].status == "absent"
    assert found["@etcd.data_directory"].status == "absent"


def test_a_flag_beats_the_kubelets_configuration_file(top: Path) -> None:
    found = cluster_references(state_of(kubelet=kubelet(top, "--client-ca-file=/flag/ca.crt")))
    assert paths(found["@kubelet.client_ca"]) == ["/flag/ca.crt"]


def test_a_kubelet_configuration_that_cannot_be_read_leaves_unknown_what_hangs_on_it(top: Path) -> None:
    (top / "kubelet.yaml").write_text("a: &x 1\n")
    found = cluster_references(state_of(kubelet=kubelet(top)))
    assert found["@kubelet.client_ca"].status == "unknown"
    assert f"{top}/kubelet.yaml line 1" in found["@kubelet.client_ca"].reason
    assert found["@kube_apiserver.manifest"].status == "unknown"
    assert paths(found["@kubelet.config_file"]) == [f"{top}/kubelet.yaml"]


def test_a_manifest_that_cannot_be_read_is_found_and_its_contents_unknown(top: Path) -> None:
    (top / "manifests" / "etcd.yaml").write_text("a: &x 1\n")
    found = cluster_references(state_of(kubelet=kubelet(top)))
    assert paths(found["@etcd.manifest"]) == [f"{top}/manifests/etcd.yaml"]
    assert found["@etcd.data_directory"].status == "unknown"


def test_a_data_directory_that_no_host_path_backs_is_unknown(top: Path) -> None:
    (top / "manifests" / "etcd.yaml").write_text(pod("etcd", "/other", "/x", "--data-dir=/var/lib/etcd"))
    assert cluster_references(state_of(kubelet=kubelet(top)))["@etcd.data_directory"].status == "unknown"


def test_an_etcd_that_is_a_service_of_the_host_is_read_from_its_unit(tmp_path: Path) -> None:
    (tmp_path / "etcd.env").write_text("ETCD_DATA_DIR=/srv/etcd\n")
    block = exec_start("/usr/bin/etcd") + f"\nEnvironmentFiles={tmp_path}/etcd.env (x)\nFragmentPath=/e/etcd.service"
    found = cluster_references(state_of(etcd=block))
    assert paths(found["@etcd.data_directory"]) == ["/srv/etcd"]
    assert paths(found["@etcd.manifest"]) == ["/e/etcd.service", f"{tmp_path}/etcd.env"]


def test_etcds_default_directory_is_in_its_working_directory() -> None:
    block = exec_start("/usr/bin/etcd --name=n1") + "\nWorkingDirectory=/var/lib/etcd/"
    assert paths(cluster_references(state_of(etcd=block))["@etcd.data_directory"]) == ["/var/lib/etcd/n1.etcd"]


def test_the_kubelet_takes_no_dotted_files_and_no_directories_for_manifests(top: Path) -> None:
    (top / "manifests" / ".staged.yaml").write_text(pod("etcd", "/a", "/b"))
    (top / "manifests" / "sub").mkdir()
    (top / "manifests" / "broken.yaml").write_text("- not a pod\n")
    found = {manifest.program: manifest.error for manifest in read_manifests(str(top / "manifests"))}
    assert set(found) == {"etcd", "kube-apiserver", "kube-scheduler", "broken"}
    assert "no pod" in found["broken"]


def test_a_json_manifest_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "etcd.json"
    path.write_text('{"metadata": {"name": "etcd"}, "spec": {"containers": [{"command": ["etcd"], "args": ["--x"]}]}}')
    manifest = read_manifest(str(path))
    assert (manifest.name, manifest.words, manifest.error) == ("etcd", ["etcd", "--x"], "")


def test_only_hashes_are_static_pods_and_only_kube_systems() -> None:
    static = "0123456789abcdef0123456789abcdef"
    assert POD_LOG_NAME.match(f"kube-system_etcd-node_{static}") is not None
    assert POD_LOG_NAME.match("kube-system_etcd-node_01234567-89ab-cdef-0123-456789abcdef") is None
    assert POD_LOG_NAME.match(f"default_etcd-node_{static}") is None


@pytest.mark.parametrize(
    "line",
    [
        "0::/kubepods/burstable/pod{}/abc",
        "5:cpu:/docker/x/kubepods/burstable/pod{}/abc",
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-a.scope",
    ],
)
def test_a_pods_cgroup_is_recognised_under_both_drivers(line: str) -> None:
    uid = "0123456789abcdef0123456789abcdef"
    match = POD_CGROUP.search(line.format(uid))
    assert match is not None
    assert match.group(1) == uid
    assert POD_CGROUP.search(f"0::/system.slice/pod{uid}") is None


def test_k3s_keeps_everything_below_its_data_directory(tmp_path: Path) -> None:
    for path in ("server/tls", "server/db/etcd", "agent"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "agent" / "kubelet.kubeconfig").touch()
    (tmp_path / "server" / "tls" / "ca.key").write_text("-----BEGIN PRIVATE KEY-----\n")
    state = state_of(
        k3s=exec_start(f"/usr/local/bin/k3s server --data-dir {tmp_path}") + "\nFragmentPath=/e/k3s.service"
    )
    found = cluster_references(state)
    assert found["@kubelet.kubeconfig"].status == "managed"
    assert "/etc/rancher/k3s/config.yaml" in found["@kubelet.kubeconfig"].reason
    assert found["@kube_apiserver.manifest"].status == "absent"
    assert paths(found["@etcd.data_directory"]) == [f"{tmp_path}/server/db/etcd"]
    assert paths(found["@kube.pki_keys"]) == [f"{tmp_path}/server/tls/ca.key"]
    assert state.systems["control_plane"]["present"]
    assert set(found) == set(CLUSTER_REFERENCES)


def test_the_node_name_is_the_kubelets_own(top: Path) -> None:
    assert KubernetesHost(state_of(kubelet=kubelet(top, "--hostname-override=Node-7"))).node_name() == "node-7"
