"""What daemon.json says against what the running daemon answers of itself (GET /info).

Only keys that stand in the file are compared; what the daemon adds of its own accord is no difference.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from remediator.observation import DaemonSettings, DockerFacts
from remediator.text import one_line

# More entries of one option than any daemon has: comparing them takes time.
_MOST_ENTRIES = 2000
_SHOWN = 160
# One and the same driver, as the daemon itself and as containerd's image store call it.
_OVERLAYS = frozenset(("overlay2", "overlayfs"))
_DEFAULT_PROFILES = frozenset(("", "default", "builtin"))
_CGROUP_DRIVER = "native.cgroupdriver="


@dataclass(frozen=True)
class Difference:
    """A key whose value the daemon does not have: `wanted` is the file's, `found` the daemon's, both harmless."""

    key: str
    wanted: str
    found: str


@dataclass(frozen=True)
class Compared:
    """How daemon.json and the daemon's answer compare; `untold` are the keys of which the answer tells nothing."""

    differences: tuple[Difference, ...]
    untold: tuple[str, ...]


# What the daemon has in words, an empty text where that is what is wanted, None where it does not tell.
_Answer = str | None
_Comparer = Callable[[Any, DockerFacts, DaemonSettings], _Answer]


def compare(document: Mapping[str, Any], docker: DockerFacts) -> Compared:
    """Every key of daemon.json against the daemon's answer."""
    differences, untold = [], []
    settings = docker.settings or DaemonSettings()
    for key, value in document.items():
        comparer = _COMPARERS.get(key)
        found = comparer(value, docker, settings) if comparer is not None else None
        if found is None:
            untold.append(key)
        elif found:
            differences.append(Difference(key, _shown(value), one_line(found, _SHOWN)))
    return Compared(tuple(differences), tuple(untold))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return _listed(map(str, value))
    return _listed(map(str, value)) if isinstance(value, list) else one_line(str(value), _SHOWN) or "empty"


def _listed(items: Iterable[str]) -> str:
    return one_line(", ".join(items), _SHOWN) or "none"


def _text(field: str) -> _Comparer:
    def compared(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
        found: str | None = getattr(settings, field)
        if found is None or not isinstance(value, str) or not value:
            return None
        return "" if one_line(value) == found else found or "nothing"

    return compared


def _switch(field: str) -> _Comparer:
    def compared(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
        found: bool | None = getattr(settings, field)
        if found is None or not isinstance(value, bool):
            return None
        return "" if value is found else _shown(found)

    return compared


def _entries(field: str, normal: Callable[[str], str]) -> _Comparer:
    """Of lists whose order means nothing."""

    def compared(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
        found: tuple[str, ...] | None = getattr(settings, field)
        wanted = _texts(value)
        if found is None or wanted is None:
            return None
        return "" if set(map(normal, wanted)) == set(map(normal, found)) else _listed(found)

    return compared


def _texts(value: Any) -> list[str] | None:
    """A list of texts as the observation has them; None for anything else."""
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES or not all(isinstance(item, str) for item in value):
        return None
    return [one_line(item) for item in value]


def _storage_driver(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    found = settings.storage_driver
    if value in _OVERLAYS and found in _OVERLAYS:
        return ""
    return _text("storage_driver")(value, _docker, settings)


def _data_root(value: Any, docker: DockerFacts, _settings: DaemonSettings) -> _Answer:
    """Where user namespaces are remapped the daemon keeps its data in a directory below, named after the range."""
    found = docker.data_root
    if found is None or not isinstance(value, str) or not value.startswith("/"):
        return None
    roots = {one_line(root).rstrip("/") or "/" for root in (value, docker.configured_root) if root}
    same = found in roots or any(found.rpartition("/")[0] == root and _is_range(found) for root in roots)
    return "" if same else found


def _is_range(path: str) -> bool:
    uid, dot, gid = path.rpartition("/")[2].partition(".")
    return bool(dot) and uid.isdigit() and gid.isdigit()


def _runtimes(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    found = settings.runtimes
    if found is None or not isinstance(value, dict) or len(value) > _MOST_ENTRIES:
        return None
    return "" if {one_line(name) for name in value} <= set(found) else _listed(found)


def _insecure_registries(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    """The daemon adds the loopback; it takes a scheme off, and writes networks in their shortest form."""
    found, wanted = settings.insecure_registries, _texts(value)
    if found is None or wanted is None:
        return None
    have = {_registry(name) for name in found}
    beyond = [name for name in sorted(have - {_registry(name) for name in wanted}) if not _is_loopback(name)]
    missing = {_registry(name) for name in wanted} - have
    return _listed(found) if beyond or missing else ""


def _registry(name: str) -> str:
    name = name.removeprefix("http://").removeprefix("https://").rstrip("/").lower()
    try:
        return str(ipaddress.ip_network(name, strict=False)) if "/" in name else name
    except ValueError:
        return name


def _is_loopback(name: str) -> bool:
    try:
        return "/" in name and ipaddress.ip_network(name).is_loopback
    except ValueError:
        return False


def _authorization_plugins(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    """They are asked in their order, each once."""
    found, wanted = settings.authorization_plugins, _texts(value)
    if found is None or wanted is None:
        return None
    return "" if list(dict.fromkeys(wanted)) == list(found) else _listed(found)


def _address_pools(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    found = settings.address_pools
    if found is None or not isinstance(value, list) or len(value) > _MOST_ENTRIES:
        return None
    pools = [pool for pool in value if isinstance(pool, dict) and {"base", "size"} <= pool.keys()]
    if len(pools) != len(value):
        return None
    wanted = [one_line(f"{pool['base']} {pool['size']}") for pool in pools]
    return "" if list(map(_pool, wanted)) == list(map(_pool, found)) else _listed(found)


def _pool(text: str) -> str:
    base, _, size = text.rpartition(" ")
    return f"{_registry(base)} {size}"


def _exec_opts(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    """Only the cgroup driver shows."""
    wanted = [item.removeprefix(_CGROUP_DRIVER) for item in _texts(value) or () if item.startswith(_CGROUP_DRIVER)]
    if len(wanted) != 1 or len(value) != 1:
        return None
    return _text("cgroup_driver")(wanted[0], _docker, settings)


def _seccomp(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    """The profile by its path, `unconfined`, or the daemon's own, which has two names."""
    found = _security(settings, "name=seccomp")
    if not found or not isinstance(value, str):
        return None
    profile = found[0].partition("profile=")[2]
    if profile in _DEFAULT_PROFILES and value in _DEFAULT_PROFILES:
        return ""
    return "" if profile == one_line(value) else profile or "the default"


def _security_switch(name: str) -> _Comparer:
    """A switch that shows among the security options while it is on; not in every version, nor on every kernel."""

    def compared(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
        found = _security(settings, name)
        if found is None or not isinstance(value, bool) or (value and not found):
            return None
        return "" if value == bool(found) else "true"

    return compared


def _userns(value: Any, _docker: DockerFacts, settings: DaemonSettings) -> _Answer:
    found = _security(settings, "name=userns")
    if found is None or not isinstance(value, str):
        return None
    return "" if bool(value) == bool(found) else ("on" if found else "off")


def _security(settings: DaemonSettings, name: str) -> list[str] | None:
    """The security options of that name; None where none are told."""
    if settings.security_options is None:
        return None
    return [option for option in settings.security_options if option == name or option.startswith(f"{name},")]


_COMPARERS: dict[str, _Comparer] = {
    "authorization-plugins": _authorization_plugins,
    "data-root": _data_root,
    "debug": _switch("debug"),
    "default-address-pools": _address_pools,
    "default-runtime": _text("default_runtime"),
    "exec-opts": _exec_opts,
    "experimental": _switch("experimental"),
    "init-path": _text("init_binary"),
    "insecure-registries": _insecure_registries,
    "labels": _entries("labels", str),
    "live-restore": _switch("live_restore"),
    "log-driver": _text("log_driver"),
    "no-new-privileges": _security_switch("name=no-new-privileges"),
    "registry-mirrors": _entries("registry_mirrors", lambda mirror: mirror.rstrip("/")),
    "runtimes": _runtimes,
    "seccomp-profile": _seccomp,
    "selinux-enabled": _security_switch("name=selinux"),
    "storage-driver": _storage_driver,
    "userns-remap": _userns,
}
