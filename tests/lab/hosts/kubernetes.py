"""A real Kubernetes control plane: kubeadm, kubelet and its static pods, on a lab host that is a container."""

import json
import string
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .container import ContainerHost, start_host
from .engine import Engine
from .interface import CommandError, LabError
from .keys import Keys
from .kubernetes_build import KUBERNETES, binaries, images
from .recipe import recipe
from .rootfs import rootfs

STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The components that kubeadm makes static pods of; each pod is named COMPONENT-NODE, in kube-system."""

ORDINARY_POD = "web"
"""The pod in the namespace `default` that runs from the start."""

_VOLUMES = ("/var/lib/containerd", "/var/lib/kubelet")
_HOST_BINARIES = ("kubeadm", "kubectl", "kubelet")
_ADMIN = "--kubeconfig=/etc/kubernetes/admin.conf"
_CONFIGURATION = "/run/kubeadm.yaml"
_DECOY_DIRECTORY = "/srv/decoy-process"
_INIT_SECONDS, _READY_SECONDS = 600.0, 300.0


@dataclass(frozen=True)
class Pod:
    """A pod as the API server reports it."""

    namespace: str
    name: str
    phase: str
    """Pending, Running, Succeeded, Failed or Unknown."""
    ready: bool
    restarts: int
    """Of all its containers."""


@dataclass(frozen=True)
class DecoyEtcd:
    """A process named etcd, running that very program, that is not the cluster's."""

    pid: int
    """As the host numbers it."""
    data_directory: str
    """As the host names it; 0755, so that whoever takes it for the cluster's has something to say about it."""


@dataclass(frozen=True, kw_only=True)
class KubeadmHost(ContainerHost):
    """A node with a whole control plane; `name` is the node's name too."""

    def kubectl(self, *arguments: str, input: bytes | None = None, timeout: float = 120) -> str:
        """What kubectl prints, as the cluster's administrator. Raises CommandError where it does not end 0."""
        result = self.run("kubectl", _ADMIN, *arguments, input=input, timeout=timeout)
        return result.stdout.decode().strip()

    def livez(self) -> str:
        """The API server's answer to /livez: "ok"; where there is none, or it is another, what kubectl says of it."""
        result = self.run("kubectl", _ADMIN, "get", "--raw", "/livez", check=False)
        return (result.stdout if result.returncode == 0 else result.stderr).decode(errors="backslashreplace").strip()

    def pods(self) -> list[Pod]:
        """Every pod of the cluster, by namespace and name. Raises CommandError where the API server does not answer."""
        found = json.loads(self.kubectl("get", "pods", "--all-namespaces", "--output=json"))
        return sorted((_pod(each) for each in found["items"]), key=lambda pod: (pod.namespace, pod.name))

    def decoy_etcd(self) -> tuple[DecoyEtcd, DecoyEtcd]:
        """Run etcd twice where it is not the cluster's: in an ordinary pod, and as a program of the host's. Idempotent.

        The pod has the name, labels and image of the cluster's own, its data is on the host; the program is run by a
        unit that is named otherwise.
        """
        self.kubectl("apply", "--filename=-", input=(KUBERNETES / "pods/decoy-etcd.yaml").read_bytes())
        self.kubectl("wait", "--for=condition=Ready", "pod/etcd", "--timeout=120s", timeout=150)
        if self.run("systemctl", "is-active", "--quiet", "decoy.service", check=False).returncode != 0:
            self.run("mkdir", "-p", "-m", "0755", f"{_DECOY_DIRECTORY}/data")
            self.engine.docker("cp", str(binaries() / "etcd"), f"{self.container}:{_DECOY_DIRECTORY}/etcd")
            self.run("systemd-run", "--unit=decoy.service", *_decoy_command())
        in_pod = DecoyEtcd(self._pid_of("--name=decoy-in-a-pod"), "/srv/decoy-pod")
        of_host = DecoyEtcd(self._pid_of("--name=decoy-of-the-host"), f"{_DECOY_DIRECTORY}/data")
        return in_pod, of_host

    def _pid_of(self, argument: str) -> int:
        # The brackets keep the pattern from matching the shell that this line is run by.
        return int(self.text("pgrep", "--newest", "--full", f"[-]{argument[1:]}( |$)"))


def start_kubeadm(engine: Engine, keys: Keys, name: str, *, keeper: str | None = None) -> KubeadmHost:
    """Start a host and make it a cluster of one node, as `kubeadm init` does; 20 s once everything is in the cache.

    When it returns the API server is live, the node Ready, every static pod and the ordinary one running. `keeper`
    as in start_host(). Raises LabError, with the host's own words, where it does not come to that.
    """
    made = recipe("kubeadm")
    programs, archive = binaries(), images(rootfs(made))
    container = start_host(engine, keys, made, name, volumes=_VOLUMES, keeper=keeper)
    host = KubeadmHost(**{each.name: getattr(container, each.name) for each in fields(container)})
    try:
        _install(host, programs, archive)
        _initialise(host)
        _await_ready(host)
        host.kubectl("apply", "--filename=-", input=(KUBERNETES / f"pods/{ORDINARY_POD}.yaml").read_bytes())
        host.kubectl("wait", "--for=condition=Ready", f"pod/{ORDINARY_POD}", "--timeout=120s", timeout=150)
    except BaseException:  # an interrupted start leaves no host behind either
        host.remove()
        raise
    return host


# What a kubelet demands of the kernel, and sets where it is otherwise (pkg/kubelet/cm, setupKernelTunables). These are
# the machine's own, not the host's to change: in the host's view alone they are as demanded.
_DEMANDED_OF_THE_KERNEL = """
for each in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  as_demanded=/run/lab-kernel/${each%%=*}
  mkdir -p "$(dirname "$as_demanded")"
  echo "${each#*=}" >"$as_demanded"
  mount --bind "$as_demanded" "/proc/sys/${each%%=*}"
done
"""


def _install(host: KubeadmHost, programs: Path, archive: Path) -> None:
    host.script(_DEMANDED_OF_THE_KERNEL)
    for program in _HOST_BINARIES:
        host.engine.docker("cp", str(programs / program), f"{host.container}:/usr/bin/{program}")
    host.run("systemctl", "enable", "--quiet", "kubelet.service")
    command = ("exec", "--interactive", host.container, "ctr", "--namespace", "k8s.io", "images", "import", "-")
    with archive.open("rb") as content:
        host.engine.docker(*command, input=content)


def _initialise(host: KubeadmHost) -> None:
    template = string.Template((KUBERNETES / "kubeadm.yaml").read_text())
    configuration = template.substitute(name=host.name, address=host.address)
    host.put(_CONFIGURATION, configuration.encode(), mode="0600")
    # Preflight asks for a kernel of the host's own. Of the addons, one needs that too, the other an image from afar.
    skipped = ("--ignore-preflight-errors=all", "--skip-phases=addon")
    try:
        host.run("kubeadm", "init", f"--config={_CONFIGURATION}", *skipped, timeout=_INIT_SECONDS)
    except CommandError as error:
        raise LabError(f"{error}\n{_kubelet_log(host)}") from error


def _await_ready(host: KubeadmHost) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while missing := _missing(host):
        if time.monotonic() > deadline:
            raise LabError(f"{host.name}: {missing} after {_READY_SECONDS:.0f} s\n{_kubelet_log(host)}")
        time.sleep(0.5)


def _missing(host: KubeadmHost) -> str:
    """The first thing that a healthy cluster still lacks; empty where it lacks nothing."""
    if (livez := host.livez()) != "ok":
        return f"/livez answers {livez!r}"
    ready = host.run(
        "kubectl", _ADMIN, "wait", "--for=condition=Ready", f"node/{host.name}", "--timeout=0", check=False
    )
    if ready.returncode != 0:
        return "the node is not Ready"
    running = {pod.name for pod in host.pods() if pod.namespace == "kube-system" and pod.ready}
    if absent := [each for each in STATIC_PODS if f"{each}-{host.name}" not in running]:
        return f"no ready pod of {', '.join(absent)}"
    account = host.run("kubectl", _ADMIN, "get", "serviceaccount", "default", check=False)
    return "" if account.returncode == 0 else "there is no default service account"


def _pod(found: dict[str, Any]) -> Pod:
    status = found["status"]
    return Pod(
        namespace=found["metadata"]["namespace"],
        name=found["metadata"]["name"],
        phase=status["phase"],
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ())),
        restarts=sum(each["restartCount"] for each in status.get("containerStatuses", ())),
    )


def _decoy_command() -> list[str]:
    # Ports of its own: it shares the host's network with the cluster's.
    clients, peers = "http://127.0.0.1:22379", "http://127.0.0.1:22380"
    return [
        *(f"{_DECOY_DIRECTORY}/etcd", "--name=decoy-of-the-host", f"--data-dir={_DECOY_DIRECTORY}/data"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}", f"--listen-peer-urls={peers}"),
    ]


def _kubelet_log(host: KubeadmHost) -> str:
    command = ("journalctl", "--no-pager", "--lines=40", "--unit=kubelet.service")
    result = host.engine.docker("exec", host.container, *command, check=False)
    return (result.stdout + result.stderr).decode(errors="backslashreplace")
