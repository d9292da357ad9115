"""What this host is to Kubernetes: its kubelet, its control plane's pods or units, and who else looks after them."""

import os

from remediator.host.common.reading import is_there, reason_of
from remediator.host.observe.containerd import CONTAINERD_CONFIG
from remediator.host.observe.manifests import Manifest, read_document, read_manifests, static_processes
from remediator.host.observe.rancher import RancherHost, find_rancher
from remediator.host.observe.references import HostReference, absent, managed, resolved, unknown
from remediator.host.observe.settings import SettingsError, read_toml_strings
from remediator.host.observe.state import HostState
from remediator.host.observe.words import flag
from remediator.host.observe.yaml_block import at

MYPY = False
if MYPY:
    from typing import Any

KUBELET_UNIT = "kubelet.service"
MANIFEST_DIRECTORY = "/etc/kubernetes/manifests"
KUBELET_CONFIGS = (
    "/var/lib/kubelet/config.yaml",
    "/etc/kubernetes/kubelet-config.yaml",
    "/etc/kubernetes/kubelet/config.json",
    "/etc/kubernetes/kubelet/kubelet-config.json",
)
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
NO_KUBELET = "no kubelet is installed on this host"


class KubernetesHost:
    """The kubelet's command line and configuration, the static pods it runs, and their processes."""

    def __init__(self, state: "HostState") -> None:
        self.state = state
        self.unit = state.units[KUBELET_UNIT]
        self.rancher: "RancherHost | None" = find_rancher(state)
        self.words = state.words_of(KUBELET_UNIT) if self.unit.is_loaded else []
        self.source = state.source_of(KUBELET_UNIT)
        self.config_path = self.find_config()
        self.config: "Any" = None
        self.config_error = ""
        if self.config_path is not None:
            try:
                self.config = read_document(self.config_path[0]) if is_there(self.config_path[0]) else None
            except SettingsError as error:
                self.config_error = str(error)
        self.manifests: "list[Manifest]" = []
        self.manifests_error = ""
        if self.unit.is_loaded:
            self.manifests_error = listing_error(self.manifest_directory())
            self.manifests = read_manifests(self.manifest_directory())
            for name, found in static_processes(self.manifests, self.node_name()).items():
                state.components.setdefault(name, []).extend(found)

    def find_config(self) -> "tuple[str, str] | None":
        """The kubelet's configuration file: the running kubelet's, the unit's, else a known place."""
        given = flag(self.words, "config")
        if given:
            return given, self.source + " --config"
        if KUBELET_UNIT not in self.state.processes and self.unit.is_loaded:
            for path in KUBELET_CONFIGS:
                if is_there(path):
                    return path, "known place"
        return None

    def manifest_directory(self) -> "str":
        """Where the kubelet looks for static pods."""
        return flag(self.words, "pod-manifest-path") or at(self.config, "staticPodPath") or MANIFEST_DIRECTORY

    def node_name(self) -> "str":
        """The node's name, which static pods' names end with."""
        return (flag(self.words, "hostname-override") or os.uname().nodename).strip().lower()

    def manifest_of(self, program: "str") -> "Manifest | None":
        """The manifest that runs `program`."""
        return next((manifest for manifest in self.manifests if manifest.program == program), None)

    def words_of(self, program: "str") -> "tuple[list[str], str] | None":
        """The command line of a control plane program and where it was read; None where this host runs none."""
        running = self.state.components.get(program)
        if running:
            return running[0].words, running[0].source + " (running)"
        manifest = self.manifest_of(program)
        if manifest is not None and not manifest.error:
            return manifest.words, manifest.path
        unit = program + ".service"
        if self.state.units[unit].is_loaded:
            return self.state.words_of(unit), self.state.source_of(unit)
        return None

    def on_host(self, program: "str", path: "str") -> "str | None":
        """Where a path of that program lies on the host."""
        manifest = self.manifest_of(program)
        return path if manifest is None or manifest.error else manifest.host_path(path)

    def user_of(self, program: "str") -> "int":
        """The user that a running program runs as; 0 where it does not run."""
        running = self.state.components.get(program)
        return int(running[0].answer()["uid"]) if running else 0

    def runs(self, program: "str") -> "bool":
        """Whether this host has that program as a static pod or a unit."""
        return self.manifest_of(program) is not None or self.state.units[program + ".service"].is_loaded

    def note_systems(self) -> None:
        """Says which parts of Kubernetes are on this host."""
        by = self.rancher.name if self.rancher is not None else ""
        kubelet = self.unit.is_loaded or bool(by)
        why = by + " runs it" if by else "kubelet.service is loaded"
        self.state.system("kubelet", kubelet, why if kubelet else NO_KUBELET)
        parts = [program for program in CONTROL_PLANE if self.runs(program)]
        hidden = self.manifests_error
        control_plane = bool(parts) or (self.rancher is not None and self.rancher.is_server)
        why = (", ".join(parts) or by) + " on this host" if control_plane else "no control plane runs on this host"
        self.state.system("control_plane", control_plane or bool(hidden), hidden or why)
        etcd = self.runs("etcd") or (self.rancher is not None and self.rancher.has_etcd)
        why = "etcd runs on this host" if etcd else "etcd does not run on this host"
        self.state.system("etcd", etcd or bool(hidden), hidden or why)
        proxy = self.state.units["kube-proxy.service"].is_loaded or kubelet
        self.state.system("kube_proxy", proxy, "this host is a node" if proxy else "this host is no node")
        here = kubelet or control_plane
        self.state.system("kubernetes", here, "this host is a node" if here else "Kubernetes is not installed")


def listing_error(directory: "str") -> "str":
    """Why a directory cannot be listed; empty when it can, or when there is none."""
    try:
        os.listdir(directory.encode("utf-8", "surrogateescape"))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return "which pods run from %s is not known: %s" % (directory, reason_of(error))
    return ""


def kubelet_references(host: "KubernetesHost") -> "dict[str, HostReference]":
    """Every `@kubelet.` reference and kube-proxy's kubeconfig."""
    if host.rancher is not None:
        return host.rancher.kubelet_references()
    names = ("config_file", "kubeconfig", "client_ca", "unit_files")
    references = {"@kubelet." + name: absent(NO_KUBELET) for name in names}
    references["@kube_proxy.kubeconfig"] = proxy_kubeconfig(host)
    if not host.unit.is_loaded:
        return references
    files = [(path, KUBELET_UNIT) for path in [host.unit.fragment] + host.unit.drop_ins if path]
    references["@kubelet.unit_files"] = resolved(*files)
    running = KUBELET_UNIT in host.state.processes
    if host.config_path is not None:
        references["@kubelet.config_file"] = resolved(host.config_path)
    else:
        references["@kubelet.config_file"] = absent(
            "the kubelet runs without a configuration file" if running else "the kubelet has no configuration file yet"
        )
    references["@kubelet.kubeconfig"] = kubelet_kubeconfig(host)
    references["@kubelet.client_ca"] = kubelet_client_ca(host)
    return references


def kubelet_kubeconfig(host: "KubernetesHost") -> "HostReference":
    """What the kubelet speaks to the API server with."""
    given = flag(host.words, "kubeconfig")
    if given:
        return resolved((given, host.source + " --kubeconfig"))
    if is_there("/etc/kubernetes/kubelet.conf"):
        return resolved(("/etc/kubernetes/kubelet.conf", "known place"))
    return absent("the kubelet has no kubeconfig")


def kubelet_client_ca(host: "KubernetesHost") -> "HostReference":
    """The CA whose client certificates the kubelet accepts; the flag beats the configuration file."""
    given = flag(host.words, "client-ca-file")
    if given:
        return resolved((given, host.source + " --client-ca-file"))
    if host.config_error:
        return unknown(host.config_error)
    path = at(host.config, "authentication", "x509", "clientCAFile")
    if path and host.config_path is not None:
        return resolved((path, host.config_path[0] + " clientCAFile"))
    return absent("the kubelet has no client CA configured")


def proxy_kubeconfig(host: "KubernetesHost") -> "HostReference":
    """kube-proxy's kubeconfig, where it is a service of this host."""
    if not host.state.units["kube-proxy.service"].is_loaded:
        return absent("kube-proxy is no service of this host: as a pod it has its kubeconfig from a ConfigMap")
    return kubeconfig_reference(host, "kube-proxy", ())


def kubeconfig_reference(host: "KubernetesHost", program: "str", known: "tuple[str, ...]") -> "HostReference":
    """A program's kubeconfigs: its flags', its configuration file's, else the known places."""
    line = host.words_of(program)
    manifest = host.manifest_of(program)
    if line is None and manifest is not None and manifest.error:
        return unknown(manifest.error)
    found: "list[tuple[str, str]]" = []
    words, source = line or ([], "")
    for option in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"):
        given = flag(words, option)
        if given:
            found.append((host.on_host(program, given) or "", source + " --" + option))
    config = flag(words, "config")
    if config and not flag(words, "kubeconfig"):
        path = host.on_host(program, config)
        try:
            inner = at(read_document(path), "clientConnection", "kubeconfig") if path and is_there(path) else None
        except SettingsError as error:
            return unknown(str(error))
        found += [(host.on_host(program, inner) or "", str(path) + " clientConnection.kubeconfig")] if inner else []
    found = [item for item in found if item[0]]
    if not found:
        found = [(path, "known place") for path in known if is_there(path)]
    if not found:
        return absent("this host has no kubeconfig of %s" % program)
    user = host.user_of(program)
    if user:
        return managed("%s runs as user %d and reads it: its owner and mode follow that" % (program, user), *found)
    return resolved(*found)


def control_plane_references(host: "KubernetesHost") -> "dict[str, HostReference]":
    """Manifests and kubeconfigs of the control plane, and the administrators' kubeconfigs."""
    if host.rancher is not None:
        return host.rancher.control_plane_references()
    references = {}
    for program in CONTROL_PLANE:
        references["@" + program.replace("-", "_") + ".manifest"] = manifest_reference(host, program)
    for program, name in (("kube-scheduler", "scheduler"), ("kube-controller-manager", "controller-manager")):
        places = ("/etc/kubernetes/%s.conf" % name, "/var/lib/%s/kubeconfig" % program)
        references["@" + program.replace("-", "_") + ".kubeconfig"] = kubeconfig_reference(host, program, places)
    admin = [
        (path, "known place")
        for path in ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf")
        if is_there(path)
    ]
    references["@kube.admin_kubeconfigs"] = (
        resolved(*admin) if admin else absent("this host has no administrator's kubeconfig in /etc/kubernetes")
    )
    return references


def manifest_reference(host: "KubernetesHost", program: "str") -> "HostReference":
    """The static pod manifest of a program."""
    paths = [(manifest.path, "static pod") for manifest in host.manifests if manifest.program == program]
    if paths:
        return resolved(*paths)
    if host.state.units[program + ".service"].is_loaded:
        return absent("%s runs as %s.service here, not as a static pod" % (program, program))
    if host.config_error or host.manifests_error:
        return unknown(host.config_error or host.manifests_error)
    broken = [manifest.error for manifest in host.manifests if manifest.error]
    if broken:
        return unknown("which static pods run here is not certain: " + broken[0])
    return absent("%s does not run on this host" % program)


def cni_reference(host: "KubernetesHost") -> "HostReference":
    """CNI's configuration files and address records: where the kubelet and containerd look."""
    if host.rancher is not None:
        return host.rancher.cni_reference()
    if not host.unit.is_loaded:
        return absent(NO_KUBELET)
    directories = [("/etc/cni/net.d", "CNI's default"), ("/var/lib/cni/networks", "CNI's host-local addresses")]
    given = flag(host.words, "cni-conf-dir")
    if given:
        directories.insert(0, (given, host.source + " --cni-conf-dir"))
    try:
        settings = read_toml_strings(CONTAINERD_CONFIG)
    except SettingsError:
        settings = {}
    for key, value in settings.items():
        if key.endswith("cni.conf_dir") or key.endswith(".cni.conf_dir"):
            directories.insert(0, (value, CONTAINERD_CONFIG + " conf_dir"))
    files = []
    for directory, source in directories:
        files += [(path, source) for path, kind in host.state.files.tree(directory) if kind == "file"]
        blocked = host.state.files.blocked(directory)
        if blocked:
            return unknown(blocked)
    return resolved(*files) if files else absent("there are no CNI files in %s" % directories[0][0])
