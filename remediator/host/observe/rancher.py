"""k3s and RKE2: everything below their own data directory, much of it written again at every start."""

from remediator.host.common.reading import is_there
from remediator.host.observe.manifests import read_document
from remediator.host.observe.references import HostReference, absent, managed, resolved, unknown
from remediator.host.observe.settings import SettingsError
from remediator.host.observe.state import HostState
from remediator.host.observe.words import flag
from remediator.host.observe.yaml_block import at

RANCHER_UNITS = (
    ("k3s.service", "k3s", True),
    ("rke2-server.service", "rke2", True),
    ("k3s-agent.service", "k3s", False),
    ("rke2-agent.service", "rke2", False),
)


class RancherHost:
    """A k3s or RKE2 node: `name` is which of the two, `data` its data directory."""

    def __init__(self, state: "HostState", unit: "str", name: "str", is_server: "bool") -> None:
        self.state = state
        self.unit = state.units[unit]
        self.name = name
        self.is_server = is_server
        self.config = "/etc/rancher/%s/config.yaml" % name
        self.data = flag(state.words_of(unit), "data-dir", "d") or self.configured() or "/var/lib/rancher/" + name
        self.why = "%s writes it again when it starts: set it in %s" % (name, self.config)
        self.inside = "%s runs it in its own process" % name

    def configured(self) -> "str | None":
        """The data directory that config.yaml names."""
        try:
            return at(read_document(self.config), "data-dir") if is_there(self.config) else None
        except SettingsError as error:
            self.state.files.problem(str(error))
            return None

    @property
    def has_etcd(self) -> "bool":
        """Whether its embedded etcd keeps data here (k3s can use another database)."""
        return self.is_server and is_there(self.data + "/server/db/etcd")

    def here(self, *paths: "str") -> "HostReference":
        """Those of the paths below the data directory that exist, all of them written again at a start."""
        found = [(self.data + path, self.name + " data directory") for path in paths if is_there(self.data + path)]
        return managed(self.why, *found) if found else absent(self.inside)

    def kubelet_references(self) -> "dict[str, HostReference]":
        """The kubelet's files; the unit is this program's own."""
        files = [(path, self.unit.name) for path in [self.unit.fragment] + self.unit.drop_ins if path]
        return {
            "@kubelet.unit_files": resolved(*files),
            "@kubelet.config_file": self.here("/agent/etc/kubelet.conf.d/00-%s-defaults.conf" % self.name),
            "@kubelet.kubeconfig": self.here("/agent/kubelet.kubeconfig"),
            "@kubelet.client_ca": self.here("/agent/client-ca.crt"),
            "@kube_proxy.kubeconfig": self.here("/agent/kubeproxy.kubeconfig"),
        }

    def control_plane_references(self) -> "dict[str, HostReference]":
        """RKE2 writes manifests for its own kubelet; in k3s there are none."""
        references = {}
        for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            path = "/agent/pod-manifests/" + program + ".yaml"
            references["@" + program.replace("-", "_") + ".manifest"] = self.here(path)
        references["@kube_scheduler.kubeconfig"] = self.here("/server/cred/scheduler.kubeconfig")
        references["@kube_controller_manager.kubeconfig"] = self.here("/server/cred/controller.kubeconfig")
        admin = "/etc/rancher/%s/%s.yaml" % (self.name, self.name)
        found = [(admin, "known place")] if is_there(admin) else []
        found += [(path, "data directory") for path in [self.data + "/server/cred/admin.kubeconfig"] if is_there(path)]
        references["@kube.admin_kubeconfigs"] = managed(self.why, *found) if found else absent("there is none here")
        return references

    def etcd_references(self) -> "dict[str, HostReference]":
        """The embedded etcd."""
        data = self.data + "/server/db/etcd"
        return {
            "@etcd.manifest": self.here("/agent/pod-manifests/etcd.yaml"),
            "@etcd.data_directory": resolved((data, self.name + " data directory"))
            if self.has_etcd
            else absent("etcd does not run on this host"),
        }

    def cni_reference(self) -> "HostReference":
        """CNI's files below the data directory."""
        directory = self.data + "/agent/etc/cni/net.d"
        tree = self.state.files.tree(directory)
        files = [(path, self.name + " data directory") for path, kind in tree if kind == "file"]
        blocked = self.state.files.blocked(directory)
        if blocked:
            return unknown(blocked)
        return managed(self.why, *files) if files else absent("there are no CNI files")

    def pki_trees(self) -> "list[tuple[str, str]]":
        """Where certificates and keys lie; they are made once."""
        return (
            [(self.data + "/server/tls", self.name + " data directory")] if is_there(self.data + "/server/tls") else []
        )


def find_rancher(state: "HostState") -> "RancherHost | None":
    """The k3s or RKE2 of this host: the active one, else an installed one."""
    units = [entry for entry in RANCHER_UNITS if state.units[entry[0]].is_loaded]
    units.sort(key=lambda entry: not state.units[entry[0]].is_active)
    return RancherHost(state, *units[0]) if units else None
