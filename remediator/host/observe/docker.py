"""What the references of Docker stand for: read from the running daemon, then its unit, then daemon.json."""

import os
import stat

from remediator.host.common.names import raw, text_of
from remediator.host.common.reading import is_there
from remediator.host.observe.docker_api import docker_facts
from remediator.host.observe.references import HostReference, absent, resolved, unknown
from remediator.host.observe.settings import SettingsError, read_json_settings
from remediator.host.observe.state import HostState
from remediator.host.observe.units import DEFAULT_PATH
from remediator.host.observe.words import flag, flag_values, is_on

MYPY = False
if MYPY:
    from typing import Any

DOCKER_UNIT = "docker.service"
DOCKER_SOCKET_UNIT = "docker.socket"
DAEMON_JSON = "/etc/docker/daemon.json"
# Fixed in the engine, whatever --config-file says.
REGISTRY_DIRECTORY = "/etc/docker/certs.d"
DEFAULT_SOCKET = "/run/docker.sock"
DEFAULT_DATA_ROOT = "/var/lib/docker"
TLS_FILES = (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem"))
NO_DOCKER = "Docker is not installed on this host"


class DockerHost:
    """The daemon's configuration as far as paths depend on it."""

    def __init__(self, state: "HostState") -> None:
        self.state = state
        self.unit = state.units[DOCKER_UNIT]
        self.words = state.words_of(DOCKER_UNIT)
        self.source = state.source_of(DOCKER_UNIT)
        self.binary = daemon_binary(state)
        self.present = self.unit.load not in ("not-found", "masked") or bool(self.binary)
        given = flag(self.words, "config-file")
        self.config_file = (given, self.source + " --config-file") if given else (DAEMON_JSON, "the daemon's default")
        self.settings: "dict[str, Any]" = {}
        self.settings_error = ""
        try:
            self.settings = read_json_settings(self.config_file[0])
        except SettingsError as error:
            self.settings_error = str(error)
        self.facts: "dict[str, Any] | None" = None

    def setting(self, name: "str") -> "tuple[str, str] | None":
        """A string option and where it stands: the daemon refuses one that is in both places."""
        value = flag(self.words, name)
        if value is not None:
            return value, self.source + " --" + name
        value = self.settings.get(name)
        return (value, self.config_file[0] + " " + name) if isinstance(value, str) and value else None

    def ask(self, with_containers: "bool") -> "dict[str, Any]":
        """The daemon's own answers, asked for once; only an active daemon is spoken to."""
        if self.facts is None:
            path = self.socket_path()[0]
            if not self.unit.is_active or self.unit.active == "deactivating":
                self.facts = {"error": "docker.service is %s" % self.unit.active}
            elif not path.startswith("/"):
                self.facts = {"error": "the daemon listens on no local socket"}
            else:
                self.facts = docker_facts(path, with_containers)
                given = self.settings.get("data-root")
                if isinstance(given, str) and given.startswith("/"):
                    self.facts["configured_root"] = text_of(os.path.realpath(raw(given)))
        return self.facts

    def socket_path(self) -> "tuple[str, str]":
        """The daemon's local socket and where that is said; `-H fd://` means the socket unit's."""
        hosts = [(value, self.source + " -H") for value in flag_values(self.words, "host", "H")]
        listed = self.settings.get("hosts")
        for value in listed if isinstance(listed, list) else []:
            hosts.append((str(value), self.config_file[0] + " hosts"))
        unit = self.state.units[DOCKER_SOCKET_UNIT]
        listens = [path for path in unit.listen if path.startswith("/")]
        if listens and (not hosts or any(value.startswith("fd:") for value, _ in hosts)):
            return listens[0], "docker.socket ListenStream"
        for value, source in hosts:
            if value.startswith("unix://"):
                return value[7:] or DEFAULT_SOCKET, source
        if hosts:
            return "", hosts[0][1]
        return DEFAULT_SOCKET, "the daemon's default"


def daemon_binary(state: "HostState") -> "list[tuple[str, str]]":
    """The daemon's program: what runs, what the unit starts, else what lies in the system's directories."""
    found: "list[tuple[str, str]]" = []
    process = state.processes.get(DOCKER_UNIT)
    if process is not None and process.executable:
        found.append((process.executable, "docker.service (running)"))
    words = state.units[DOCKER_UNIT].exec_start
    if words and words[0].startswith("/"):
        found.append((words[0], "docker.service ExecStart"))
    return found or in_path("dockerd", "installed")


def in_path(name: "str", source: "str", first: "str" = "") -> "list[tuple[str, str]]":
    """The program that a service would find by `name`, with its directory of preference first."""
    for directory in ([first] if first else []) + DEFAULT_PATH.split(":"):
        path = directory + "/" + name
        try:
            if stat.S_ISREG(os.stat(raw(path)).st_mode):
                return [(path, source)]
        except OSError:
            continue
    return []


def docker_references(state: "HostState", docker: "DockerHost") -> "dict[str, HostReference]":
    """Every `@docker.` reference."""
    names = "daemon_binary unit_file unit_drop_ins socket_unit config_directory config_file environment_file sysconfig"
    names += " tlscacert tlscert tlskey socket data_root registry_certificates registry_keys"
    if not docker.present:
        return {"@docker." + name: absent(NO_DOCKER) for name in names.split()}
    references = {
        "daemon_binary": resolved(*docker.binary) if docker.binary else absent("no dockerd is installed"),
        "config_file": resolved(docker.config_file),
        "config_directory": resolved((os.path.dirname(docker.config_file[0]), docker.config_file[1])),
        "socket": socket_reference(docker),
        "data_root": data_root_reference(docker),
    }
    references.update(unit_references(state))
    references.update(tls_references(docker))
    references.update(registry_references(state))
    return {"@docker." + name: reference for name, reference in references.items()}


def unit_references(state: "HostState") -> "dict[str, HostReference]":
    """The units' own files and the environment files that they read."""
    unit, socket_unit = state.units[DOCKER_UNIT], state.units[DOCKER_SOCKET_UNIT]
    files = [(path, "docker.service EnvironmentFile") for path in unit.environment_files]
    sysconfig = [item for item in files if item[0].startswith("/etc/sysconfig/")]
    if not sysconfig and is_there("/etc/sysconfig/docker"):
        sysconfig = [("/etc/sysconfig/docker", "it is there")]
    others = [item for item in files if item not in sysconfig]
    drop_ins = [(path, "docker.service") for path in unit.drop_ins]
    drop_ins += [(path, "docker.socket") for path in socket_unit.drop_ins]
    return {
        "unit_file": fragment_reference(unit.fragment, DOCKER_UNIT),
        "socket_unit": fragment_reference(socket_unit.fragment, DOCKER_SOCKET_UNIT),
        "unit_drop_ins": resolved(*drop_ins) if drop_ins else absent("docker's units have no drop-ins"),
        "environment_file": resolved(*others) if others else absent("docker.service reads no environment file"),
        "sysconfig": resolved(*sysconfig) if sysconfig else absent("this host has no /etc/sysconfig/docker"),
    }


def fragment_reference(fragment: "str | None", unit: "str") -> "HostReference":
    """A unit's own file."""
    return resolved((fragment, unit)) if fragment else absent("this host has no %s" % unit)


def tls_references(docker: "DockerHost") -> "dict[str, HostReference]":
    """The daemon's TLS files: as configured, else where it looks when TLS is on."""
    references = {}
    switches = [docker.settings.get(name) is True for name in ("tls", "tlsverify")]
    switches += [is_on(flag(docker.words, name)) for name in ("tls", "tlsverify")]
    environment = docker.state.environment_of(DOCKER_UNIT)
    switches.append(bool(environment.get("DOCKER_TLS_VERIFY")))
    home = environment.get("DOCKER_CERT_PATH") or environment.get("HOME", "/root") + "/.docker"
    for name, default in TLS_FILES:
        given = docker.setting(name)
        if given is not None:
            references[name] = resolved(given)
        elif docker.settings_error:
            references[name] = unknown(docker.settings_error)
        elif any(switches):
            references[name] = resolved((home + "/" + default, "the daemon's default with TLS on"))
        else:
            references[name] = absent("the daemon has neither TLS nor %s configured" % name)
    return references


def socket_reference(docker: "DockerHost") -> "HostReference":
    """The daemon's socket, where there is one."""
    path, source = docker.socket_path()
    if docker.settings_error and "-H" not in source and "ListenStream" not in source:
        return unknown(docker.settings_error)
    if not path.startswith("/"):
        return absent("the daemon listens on no local socket (%s)" % source)
    return resolved((path, source)) if is_there(path) else absent("there is no socket at %s" % path)


def data_root_reference(docker: "DockerHost") -> "HostReference":
    """Where the daemon keeps its data: its own word while it runs, else its configuration."""
    told = docker.ask(False).get("data_root") if docker.facts is None else docker.facts.get("data_root")
    if isinstance(told, str) and told.startswith("/"):
        return resolved((told, "docker info"))
    given = docker.setting("data-root") or docker.setting("graph")
    if given is not None:
        return resolved(given)
    short = flag_values(docker.words, "", "g")
    if short:
        return resolved((short[-1], docker.source + " -g"))
    if docker.settings_error:
        return unknown(docker.settings_error)
    return resolved((DEFAULT_DATA_ROOT, "the daemon's default"))


def registry_references(state: "HostState") -> "dict[str, HostReference]":
    """Certificates and keys for registries, each host's in a directory of its own."""
    entries = [path for path, kind in state.files.tree(REGISTRY_DIRECTORY) if kind != "directory"]
    certificates = [(path, REGISTRY_DIRECTORY) for path in entries if path.endswith((".crt", ".cert", ".pem"))]
    keys = [(path, REGISTRY_DIRECTORY) for path in entries if path.endswith(".key")]
    blocked = state.files.blocked(REGISTRY_DIRECTORY)
    if blocked:
        return dict.fromkeys(("registry_certificates", "registry_keys"), unknown(blocked))
    nothing = absent("there are none below %s" % REGISTRY_DIRECTORY)
    return {
        "registry_certificates": resolved(*certificates) if certificates else nothing,
        "registry_keys": resolved(*keys) if keys else nothing,
    }
