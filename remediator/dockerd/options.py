"""What is known of dockerd's options in daemon.json: their types, and which of them a running daemon reads again.

Sources: dockerd's reference for Docker 20.10 to 29 (the example files of "Daemon configuration file" and "Configuration
reload behavior") and moby's daemon/reload.go, daemon/reload_unix.go of the same versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from remediator.text import one_line

_TYPES: dict[type, str] = {
    bool: """
        bridge-accept-fwmark debug experimental icc init ip-forward ip-forward-no-drop ip-masq ip6tables iptables ipv6
        live-restore no-new-privileges raw-logs rootless selinux-enabled tls tlsverify userland-proxy
        allow-direct-routing
        """,
    int: """
        cpu-rt-period cpu-rt-runtime max-concurrent-downloads max-concurrent-uploads max-download-attempts mtu
        network-control-plane-mtu network-diagnostic-port oom-score-adjust shutdown-timeout
        """,
    str: """
        api-cors-header bip bip6 bridge cgroup-parent cluster-advertise cluster-store containerd containerd-namespace
        containerd-plugin-namespace data-root default-cgroupns-mode default-gateway default-gateway-v6 default-ipc-mode
        default-runtime exec-root fixed-cidr fixed-cidr-v6 graph group host-gateway-ip init-path ip log-driver log-level
        metrics-addr pidfile seccomp-profile storage-driver swarm-default-advertise-addr tlscacert tlscert tlskey
        userland-proxy-path userns-remap
        """,
    list: """
        allow-nondistributable-artifacts authorization-plugins default-address-pools dns dns-opts dns-search exec-opts
        hosts insecure-registries labels node-generic-resources registry-mirrors storage-opts
        """,
    dict: "builder cluster-store-opts default-ulimits features log-opts runtimes",
}
_TYPE = {key: kind for kind, keys in _TYPES.items() for key in keys.split()}
_WORDS = {bool: "true or false", int: "a number", str: "a text", list: "a list", dict: "an object"}
# Known keys of either of two types.
_ANY = frozenset({"default-shm-size"})
# What SIGHUP has the running daemon read again.
_RELOADED_WORDS = """
    allow-nondistributable-artifacts authorization-plugins debug default-cgroupns-mode default-ipc-mode default-runtime
    default-shm-size features insecure-registries labels live-restore max-concurrent-downloads max-concurrent-uploads
    max-download-attempts network-diagnostic-port registry-mirrors runtimes shutdown-timeout
    """
_RELOADED = frozenset(_RELOADED_WORDS.split())
# dockerd --validate is there from this version on, and knows its own version's options better than this file.
_VALIDATES = 23


def reloads(key: str, value: Any) -> bool:
    """Whether a running daemon takes this key's value over when it is told to read daemon.json again."""
    # The image store is chosen at the start, though it is one of the features.
    return key in _RELOADED and not (
        key == "features" and isinstance(value, dict) and "containerd-snapshotter" in value
    )


def unstartable(document: Mapping[str, Any], server_version: str | None) -> str:
    """Why a daemon of this version would not start with these options, or why nobody can tell; empty when it may.

    Only what the running daemon's own --validate would not find out before a restart is told by its version.
    """
    for key, value in document.items():
        kind = _TYPE.get(key)
        # true is a number in Python, and null is as good as nothing in Go.
        if kind is not None and value is not None and (type(value) is not kind):
            return f"{key} must be {_WORDS[kind]}, so dockerd does not start with it: correct it"
    found = re.match(r"(\d{1,4})\.", server_version or "")
    unknown = [one_line(key, 80) for key in document if key not in _TYPE and key not in _ANY]
    if unknown and (found is None or int(found[1]) < _VALIDATES):
        return (
            f"it is not known whether this dockerd has the option {unknown[0]}; with one that it does not have it does "
            "not start: see dockerd --help"
        )
    return ""
