"""What the references of containerd and runc stand for, whoever started containerd: its own unit or the daemon."""

import os

from remediator.host.common.reading import is_there
from remediator.host.observe.docker import DockerHost, in_path
from remediator.host.observe.references import HostReference, absent, resolved, unknown
from remediator.host.observe.settings import SettingsError, read_toml_strings
from remediator.host.observe.state import HostState
from remediator.host.observe.words import flag

CONTAINERD_UNIT = "containerd.service"
CONTAINERD_CONFIG = "/etc/containerd/config.toml"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD_STATE = "/run/containerd"
SHIMS = {
    "shim": "containerd-shim",
    "shim_runc_v1": "containerd-shim-runc-v1",
    "shim_runc_v2": "containerd-shim-runc-v2",
}


def containerd_references(state: "HostState", docker: "DockerHost") -> "dict[str, HostReference]":
    """Every `@containerd.` reference and `@runc.binary`."""
    unit = state.units[CONTAINERD_UNIT]
    binary = containerd_binary(state)
    present = bool(binary) or unit.load == "loaded"
    state.system("containerd", present, "containerd is installed" if present else "no containerd is installed")
    references = {"@runc.binary": program_reference("runc", "")}
    directory = os.path.dirname(binary[0][0]) if binary else ""
    for name, program in SHIMS.items():
        references["@containerd." + name] = program_reference(program, directory)
    if not present:
        for name in ("binary", "socket", "state_directory", "config_file"):
            references["@containerd." + name] = absent("containerd is not installed on this host")
        return references
    references["@containerd.binary"] = resolved(*binary) if binary else absent("no containerd program is installed")
    if unit.is_active or not docker.unit.is_active or flag(docker.words, "containerd"):
        references.update(own_references(state, docker))
    else:
        references.update(daemon_references(docker))
    return references


def own_references(state: "HostState", docker: "DockerHost") -> "dict[str, HostReference]":
    """containerd under its own unit: flags, then config.toml, then its defaults."""
    words, source = state.words_of(CONTAINERD_UNIT), state.source_of(CONTAINERD_UNIT)
    given = flag(words, "config", "c")
    config = (given, source + " --config") if given else (CONTAINERD_CONFIG, "containerd's default")
    references = {"@containerd.config_file": resolved(config)}
    try:
        settings = read_toml_strings(config[0])
    except SettingsError as error:
        references["@containerd.socket"] = references["@containerd.state_directory"] = unknown(str(error))
        return references
    address, where = flag(words, "address", "a"), source + " --address"
    if not address:
        address, where = settings.get("grpc.address", ""), config[0] + " grpc.address"
    if not address and docker.unit.is_active:
        address, where = flag(docker.words, "containerd") or "", docker.source + " --containerd"
    if not address:
        address, where = CONTAINERD_SOCKET, "containerd's default"
    directory, told = flag(words, "state"), source + " --state"
    if not directory:
        directory, told = settings.get("state", ""), config[0] + " state"
    if not directory:
        directory, told = CONTAINERD_STATE, "containerd's default"
    references["@containerd.socket"] = present_or_absent(address, where, "socket")
    references["@containerd.state_directory"] = resolved((directory, told))
    return references


def daemon_references(docker: "DockerHost") -> "dict[str, HostReference]":
    """containerd as the Docker daemon starts it for itself, below its own exec root."""
    given = docker.setting("exec-root")
    top = (given[0] if given else "/run/docker") + "/containerd"
    source = "the Docker daemon's own containerd"
    return {
        "@containerd.config_file": present_or_absent(top + "/containerd.toml", source, "configuration file"),
        "@containerd.socket": present_or_absent(top + "/containerd.sock", source, "socket"),
        "@containerd.state_directory": present_or_absent(top, source, "directory"),
    }


def containerd_binary(state: "HostState") -> "list[tuple[str, str]]":
    """containerd's program: what runs, what the unit starts, else what lies in the system's directories."""
    found: "list[tuple[str, str]]" = []
    process = state.processes.get(CONTAINERD_UNIT)
    if process is not None and process.executable:
        found.append((process.executable, "containerd.service (running)"))
    words = state.units[CONTAINERD_UNIT].exec_start
    if words and words[0].startswith("/"):
        found.append((words[0], "containerd.service ExecStart"))
    return found or in_path("containerd", "installed")


def program_reference(name: "str", first: "str") -> "HostReference":
    """A program that containerd would start by name."""
    found = in_path(name, "installed", first)
    return resolved(*found) if found else absent("no %s is installed" % name)


def present_or_absent(path: "str", source: "str", what: "str") -> "HostReference":
    """The path if something is there."""
    path = path[7:] if path.startswith("unix://") else path
    return resolved((path, source)) if is_there(path) else absent("there is no %s at %s" % (what, path))
