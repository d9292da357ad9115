"""Every reference of Kubernetes on a host that has some part of it."""

from remediator.host.observe.etcd import etcd_references
from remediator.host.observe.kubernetes import (
    KubernetesHost,
    cni_reference,
    control_plane_references,
    kubelet_references,
)
from remediator.host.observe.pki import pki_references
from remediator.host.observe.references import HostReference
from remediator.host.observe.state import HostState


def cluster_references(state: "HostState") -> "dict[str, HostReference]":
    """Notes which parts of Kubernetes are here and says what each of its references stands for."""
    host = KubernetesHost(state)
    host.note_systems()
    known: "dict[str, HostReference]" = {}
    for family in (kubelet_references, control_plane_references, etcd_references, pki_references):
        known.update(family(host))
    known["@kube.cni_files"] = cni_reference(host)
    return known
