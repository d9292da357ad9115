"""Kubernetes' certificates and keys: every tree that its components use, each file sorted by what it holds."""

import os
import stat

from remediator.host.common.names import raw
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import UnreadableError, is_there, read_regular
from remediator.host.observe.kubernetes import CONTROL_PLANE, KubernetesHost
from remediator.host.observe.references import HostReference, absent, resolved, unknown
from remediator.host.observe.words import flag

KNOWN_TREES = ("/etc/kubernetes/pki", "/etc/kubernetes/ssl")
KUBELET_PKI = "/var/lib/kubelet/pki"
# The machine's own stores and places that hold more than Kubernetes' files: single files there, never the tree.
SHARED_PLACES = ("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr", "/etc/kubernetes", "/etc", "/var/lib/kubelet")
TLS_FLAG = pattern(
    r"^--?((?:[a-z0-9-]*-)?(?:cert|key|ca|certificate|cert-file|key-file|ca-file|certfile|keyfile|cafile|"
    r"client-certificate|client-key|private-key-file|signing-cert-file|signing-key-file|account-key-file|"
    r"certificate-authority))=(/.+)$"
)
MAX_KEY_FILE = 65536
MAX_SORTED = 1000


def pki_references(host: "KubernetesHost") -> "dict[str, HostReference]":
    """`@kube.pki` (directories too), `@kube.pki_certificates` and `@kube.pki_keys`."""
    names = ("@kube.pki", "@kube.pki_certificates", "@kube.pki_keys")
    trees, files = (host.rancher.pki_trees(), []) if host.rancher is not None else pki_places(host)
    if not trees and not files:
        return {name: absent("this host has no PKI directory of Kubernetes") for name in names}
    spared = files_of_others(host)
    everything: "list[tuple[str, str]]" = []
    leaves: "list[tuple[str, str]]" = []
    for tree, source in trees:
        everything.append((tree, source))
        for path, kind in host.state.files.tree(tree):
            # A link inside the tree leads to a file that is listed itself, or out of the tree, where none of this is.
            if kind == "symlink" or path in spared:
                continue
            everything.append((path, source))
            leaves += [(path, source)] if kind == "file" else []
        blocked = host.state.files.blocked(tree)
        if blocked:
            return dict.fromkeys(names, unknown(blocked))
    everything += files
    leaves += files
    if len(leaves) > MAX_SORTED:
        why = "its PKI has more than %d files, too many to tell keys from certificates" % MAX_SORTED
        return {"@kube.pki": resolved(*everything), **dict.fromkeys(names[1:], unknown(why))}
    keys, certificates = sort_leaves(leaves)
    return {
        "@kube.pki": resolved(*everything),
        "@kube.pki_certificates": resolved(*certificates) if certificates else absent("there are no certificates"),
        "@kube.pki_keys": resolved(*keys) if keys else absent("there are no private keys"),
    }


def pki_places(host: "KubernetesHost") -> "tuple[list[tuple[str, str]], list[tuple[str, str]]]":
    """The trees that hold only Kubernetes' PKI, and single files elsewhere that its components name."""
    trees = [(path, "known place") for path in KNOWN_TREES if os.path.isdir(raw(path))]
    if host.unit.is_loaded:
        given = flag(host.words, "cert-dir")
        directory = (given, host.source + " --cert-dir") if given else (KUBELET_PKI, "the kubelet's default")
        trees += [directory] if os.path.isdir(raw(directory[0])) else []
    singles: "list[tuple[str, str]]" = []
    for program in CONTROL_PLANE + ("etcd",):
        for path, source in named_files(host, program):
            directory_path = os.path.dirname(path)
            if directory_path in SHARED_PLACES or directory_path.startswith(tuple(p + "/" for p in SHARED_PLACES[:4])):
                singles.append((path, source))
            else:
                trees.append((directory_path, source))
    return without_nested(trees), singles


def named_files(host: "KubernetesHost", program: "str") -> "list[tuple[str, str]]":
    """The certificates and keys that a program's flags name, as they lie on the host."""
    line = host.words_of(program)
    found = []
    for word in line[0] if line is not None else []:
        match = TLS_FLAG.match(word)
        path = host.on_host(program, match.group(2)) if match is not None else None
        if match is not None and path and is_there(path):
            found.append((path, program + " --" + match.group(1)))
    return found


def files_of_others(host: "KubernetesHost") -> "set[str]":
    """Files that a component which is not root must read: their owner is that component's affair."""
    spared = set()
    for program in CONTROL_PLANE + ("etcd",):
        if host.user_of(program):
            paths = [path for path, _ in named_files(host, program)]
            spared.update(paths)
            if paths:
                host.state.files.problem(
                    "%s runs as user %d: the %d certificates and keys that it reads were left out of @kube.pki"
                    % (program, host.user_of(program), len(paths))
                )
    return spared


def without_nested(trees: "list[tuple[str, str]]") -> "list[tuple[str, str]]":
    """The trees by their real paths, those within another left out."""
    real: "dict[str, str]" = {}
    for path, source in trees:
        real.setdefault(os.path.realpath(raw(path)).decode("utf-8", "surrogateescape"), source)
    return [
        (path, source)
        for path, source in real.items()
        if not any(path.startswith(other.rstrip("/") + "/") for other in real)
    ]


def sort_leaves(
    leaves: "list[tuple[str, str]]",
) -> "tuple[list[tuple[str, str]], list[tuple[str, str]]]":
    """Private keys, whatever they are called (copies such as ca.key.bak too), and certificates and public keys."""
    keys, certificates = [], []
    for path, source in leaves:
        name = os.path.basename(path)
        content = pem_content(path)
        if b"PRIVATE KEY-----" in content or name.endswith((".key", "-key.pem")):
            keys.append((path, source))
        elif name.endswith((".crt", ".pem", ".pub", ".cert")) or b"-----BEGIN" in content:
            certificates.append((path, source))
    return keys, certificates


def pem_content(path: "str") -> "bytes":
    """A small file's content, to see what it is; it goes no further."""
    try:
        if stat.S_ISREG(os.lstat(raw(path)).st_mode):
            return read_regular(raw(path), MAX_KEY_FILE)
    except (OSError, UnreadableError):
        pass
    return b""
