"""What a host's Docker daemon is told: by its unit's command line, by environment files and by daemon.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from remediator.dockerd.environment_file import read_assignments
from remediator.dockerd.flags import Flag, expand, is_true, read_flags, used_variables
from remediator.dockerd.json_edit import read_object
from remediator.dockerd.listen import default_host, tcp_address
from remediator.dockerd.masked import hides_settings
from remediator.dockerd.unit_line import ExecLine, Setting, in_force, read_exec_line, service_settings
from remediator.dockerd.words import split_words
from remediator.observation import FileFacts, Observation, Unit
from remediator.overlay import Overlay
from remediator.request import Needs
from remediator.text import one_line

UNIT = "docker.service"
SOCKET_UNIT = "docker.socket"
# Ours. It comes after every drop-in with a usual name: what it clears is what would be in force without it.
DROP_IN_DIRECTORY = "/etc/systemd/system/docker.service.d"
DROP_IN = f"{DROP_IN_DIRECTORY}/zz-remediator-listeners.conf"

# Flags whose key in daemon.json has another name; dockerd takes neither in the other's place.
# Of these dockerd takes what flags and file say together.
_MERGED = frozenset({"runtimes"})
_KEYS = {
    "add-runtime": "runtimes",
    "authorization-plugin": "authorization-plugins",
    "default-address-pool": "default-address-pools",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "feature": "features",
    "host": "hosts",
    "insecure-registry": "insecure-registries",
    "label": "labels",
    "log-opt": "log-opts",
    "node-generic-resource": "node-generic-resources",
    "registry-mirror": "registry-mirrors",
    "storage-opt": "storage-opts",
}
# More than any daemon has of drop-ins and of environment files, and larger than any of them: reading them takes time.
_MOST_FILES, _LARGEST = 30, 64 * 1024
_SWITCHES = ("tls", "tlsverify")
_FILES = ("tlscacert", "tlscert", "tlskey")
_PROGRAM = re.compile(r"dockerd(?:-[a-z]+)?\Z")
_ARGUMENTS = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")
# Words that systemctl prints just as they stand in the unit.
_PLAIN = re.compile(r"[^\s\"'\\%;]+\Z")
_STREAM = re.compile(r"([^/@\s]\S*) \(Stream\)")


@dataclass(frozen=True)
class Given:
    """One option as it is given: a flag's value as text, a key's as its JSON is; and where that stands, in words.

    `place` is `unit` (ExecStart= of the unit or a drop-in), `environment` (a variable that ExecStart= takes in),
    `file` (daemon.json), `socket` (docker.socket) or `default`.
    """

    value: Any
    place: Literal["unit", "environment", "file", "socket", "default"]
    where: str

    @property
    def by_flag(self) -> bool:
        """Whether it is a flag: dockerd does not start when daemon.json gives the same."""
        return self.place in ("unit", "environment")

    @property
    def is_on(self) -> bool:
        """Whether a switch is switched on."""
        return self.value is True or (self.by_flag and is_true(str(self.value)))


@dataclass(frozen=True)
class Variable:
    """A variable that ExecStart= takes in. `path` sets it; by a line of its own (`own_line`) or by Environment=."""

    value: str
    path: str
    own_line: bool


@dataclass(frozen=True)
class DaemonConfiguration:
    """All that docker.service is told, as it is on disk with the overlay's edits.

    `line` is the ExecStart= in force, `flags` are those of the whole command line, `variables` what it takes in.
    `document` is what stands in daemon.json at `config_file`. `socket_tcp` are addresses of docker.socket.
    """

    line: ExecLine
    flags: tuple[Flag, ...]
    variables: Mapping[str, Variable]
    config_file: str
    document: Mapping[str, Any]
    socket_tcp: tuple[str, ...] = ()

    @property
    def given_hosts(self) -> tuple[Given, ...]:
        """Every listener as it is given; of docker.socket those on TCP."""
        found = [Given(flag.value, *self._place(flag)) for flag in self.flags if flag.name == "host"]
        found += [Given(host, "file", self.config_file) for host in self.document.get("hosts") or ()]
        found = found or [Given(default_host(self.tls), "default", "dockerd's default")]
        if any(str(given.value).startswith("fd:") for given in found):
            found += [Given(f"tcp://{address}", "socket", SOCKET_UNIT) for address in self.socket_tcp]
        return tuple(found)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every listener as text, each once."""
        return tuple(dict.fromkeys(str(given.value) for given in self.given_hosts))

    @property
    def tcp(self) -> tuple[str, ...]:
        """The TCP listeners as `HOST:PORT`, each once.

        dockerd takes localhost and port 2375 for what an address leaves out, with TLS as without.
        """
        found = [tcp_address(host) for host in self.hosts]
        return tuple(dict.fromkeys(address for address in found if address is not None))

    @property
    def tls(self) -> bool:
        """Whether the daemon speaks TLS on TCP: `tlsverify` switches that on even where it is false."""
        given = self.option("tls")
        return self.option("tlsverify") is not None or (given is not None and given.is_on)

    @property
    def verified(self) -> bool:
        """Whether the daemon is told to demand client certificates.

        DOCKER_TLS_VERIFY in its environment does not tell it that, since 20.10; `tls` alone does since then, but not
        before, so that is not counted.
        """
        given = self.option("tlsverify")
        return given is not None and given.is_on

    @property
    def conflict(self) -> str:
        """Why dockerd would not start with this, and what to do; empty when nothing is given twice."""
        for flag in self.flags:
            key = _KEYS.get(flag.name, flag.name)
            if key in self.document and key not in _MERGED:
                place = self._place(flag)[1]
                return (
                    f"--{one_line(flag.name, 80)} ({place}) and {one_line(key, 80)} in {self.config_file} are one "
                    "option given twice, with which dockerd does not start: take one of them out"
                )
        return ""

    def option(self, name: str) -> Given | None:
        """What is given for an option by the name of its flag; of several the last. None where it is not given."""
        for flag in reversed(self.flags):
            if flag.name == name:
                return Given(flag.value, *self._place(flag))
        key = _KEYS.get(name, name)
        return Given(self.document[key], "file", self.config_file) if key in self.document else None

    def _place(self, flag: Flag) -> tuple[Literal["unit", "environment"], str]:
        if flag.variable:
            return "environment", f"{flag.variable} in {self.variables[flag.variable].path}"
        return "unit", f"ExecStart in {self.line.path}"


def needs() -> Needs:
    """What must be observed so that a configuration can be read and changed."""
    references = ("config_file", "unit_file", "unit_drop_ins", "environment_file", "sysconfig")
    contents = [*(f"@docker.{name}" for name in references), DROP_IN]
    above = DROP_IN_DIRECTORY.rpartition("/")[0]
    return Needs.of(["@docker.config_directory", DROP_IN_DIRECTORY, above], contents=contents)


def read_configuration(overlay: Overlay) -> DaemonConfiguration | str:
    """The daemon's configuration; a sentence that says why it cannot be known, and what to do, where it cannot."""
    try:
        return _read(overlay)
    except ValueError as error:
        return one_line(str(error), 1000)


def other_variables(told: DaemonConfiguration, overlay: Overlay) -> dict[str, tuple[str, ...]]:
    """The variables that dockerd is started with beside those in its command line, by the file that sets them.

    What cannot be read is left out: it is nothing that dockerd is known to be told.
    """
    unit = overlay.seen.units.get(UNIT)
    found: dict[str, dict[str, None]] = {}
    try:
        files = _unit_files(unit, overlay) if unit is not None else []
        settings = [one for path in files for one in _service_settings(path, overlay)]
        for setting in in_force(settings, "Environment"):
            words = split_words(setting.value, escapes=True)
            found.setdefault(setting.path, {}).update(dict.fromkeys(word.text.partition("=")[0] for word in words))
        for setting in in_force(settings, "EnvironmentFile")[:_MOST_FILES]:
            path = setting.value.removeprefix("-")
            found.setdefault(path, {}).update(dict.fromkeys(_file_variables(path, overlay)))
    except ValueError:
        pass
    return {path: tuple(name for name in names if name not in told.variables) for path, names in found.items()}


def _read(overlay: Overlay) -> DaemonConfiguration:
    unit = overlay.seen.units.get(UNIT)
    if unit is None or unit.load != "loaded" or unit.fragment is None:
        raise ValueError(f"{UNIT} is {unit.load if unit is not None else 'not found'}: how dockerd starts is not known")
    settings = [one for path in _unit_files(unit, overlay) for one in _service_settings(path, overlay)]
    line = _exec_line(settings, unit, overlay)
    variables = _variables(settings, used_variables(line.words), overlay)
    values = {name: variable.value for name, variable in variables.items()}
    try:
        flags = read_flags(expand(line.words, values))
    except ValueError as error:
        raise ValueError(f"the command line that {line.path} gives dockerd cannot be read: {error}") from None
    config_file = _config_file(flags, overlay.seen)
    found = DaemonConfiguration(line, flags, variables, config_file, _document(config_file, overlay), _streams(overlay))
    _check_values(found)
    return found


def _unit_files(unit: Unit, overlay: Overlay) -> list[str]:
    """The unit's own file and its drop-ins in systemd's order, with ours where it is there or staged."""
    drop_ins = list(unit.drop_ins)
    if DROP_IN not in drop_ins and overlay.content(DROP_IN) is not None:
        later = [path for path in drop_ins if comes_after_ours(path)]
        drop_ins.insert(drop_ins.index(later[0]) if later else len(drop_ins), DROP_IN)
    if len(drop_ins) > _MOST_FILES:
        raise ValueError(f"{UNIT} has more than {_MOST_FILES} drop-ins: so many are not read")
    return [str(unit.fragment), *drop_ins]


def comes_after_ours(path: str) -> bool:
    """Whether systemd reads the drop-in at `path` after ours: it sorts all of them by name alone."""
    return path != DROP_IN and path.rpartition("/")[2] > DROP_IN.rpartition("/")[2]


def _service_settings(path: str, overlay: Overlay) -> tuple[Setting, ...]:
    content, masked = _content(path, overlay)
    settings = service_settings(path, content)
    for setting in settings:
        if setting.name == "ExecStart" and setting.overlaps(masked):
            raise ValueError(f"ExecStart in {path} holds a secret, so it is not known in full: move that to a file")
    return settings


def _content(path: str, overlay: Overlay) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """What is in a file, and its masked spans. Raises ValueError where that is not known."""
    facts = overlay.seen.files.get(path)
    if facts is not None and facts.type == "symlink" and facts.resolved is not None:
        path, facts = facts.resolved, overlay.seen.files.get(facts.resolved)
    content = overlay.content(path)
    if content is None:
        raise _unread(path, facts)
    if len(content) > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes: such a file is not read")
    # Where edits are staged the spans have moved; nothing is asked of such a file that a mask could hide.
    masked = facts.masked if facts is not None and facts.content == content else ()
    if hides_settings(content.decode("latin-1"), masked):
        raise ValueError(f"{path} holds a secret that hides what is around it: put that into a file of its own")
    return content, masked


def _unread(path: str, facts: FileFacts | None) -> ValueError:
    why = (facts.error or f"it is {facts.type}") if facts is not None else "the host did not answer"
    return ValueError(f"{path} cannot be read ({why}), so what dockerd is told is not known")


def _exec_line(settings: list[Setting], unit: Unit, overlay: Overlay) -> ExecLine:
    """The ExecStart= in force. Raises ValueError where it is not one command that starts dockerd."""
    lines = in_force(settings, "ExecStart")
    if len(lines) != 1:
        raise ValueError(f"{len(lines)} ExecStart= are in force for {UNIT}: there must be one")
    try:
        line = read_exec_line(lines[0])
    except ValueError as error:
        raise ValueError(f"ExecStart in {lines[0].path} cannot be read: {error}") from None
    if not _PROGRAM.match(line.program.rpartition("/")[2]):
        raise ValueError(
            f"ExecStart in {line.path} starts {one_line(line.program, 200)}, so what dockerd is told is not known"
        )
    loaded = _ARGUMENTS.search(unit.properties.get("ExecStart", ""))
    words = [line.program, *(word.text for word in line.words[1:])]
    comparable = not unit.need_daemon_reload and DROP_IN not in overlay.files and all(map(_PLAIN.match, words))
    if comparable and loaded and loaded.group(1).split() != words:
        raise ValueError(f"ExecStart in {line.path} is not what systemd starts for {UNIT}: see systemctl cat {UNIT}")
    return line


def _variables(settings: list[Setting], names: tuple[str, ...], overlay: Overlay) -> dict[str, Variable]:
    """Those of `names` that are set: Environment=, then the files, which win. Raises ValueError."""
    found: dict[str, Variable] = {}
    if not names:
        return found
    for setting in in_force(settings, "Environment"):
        try:
            words = split_words(setting.value, escapes=True)
        except ValueError as error:
            raise ValueError(f"Environment in {setting.path} cannot be read: {error}") from None
        for name, _, value in (word.text.partition("=") for word in words):
            found[name] = Variable(value, setting.path, own_line=False)
    files = in_force(settings, "EnvironmentFile")
    if len(files) > _MOST_FILES:
        raise ValueError(f"{UNIT} has more than {_MOST_FILES} environment files: so many are not read")
    for setting in files:
        path = setting.value.removeprefix("-")
        if not re.fullmatch(r"/[^*?\[%\"'\\\s]*", path):
            raise ValueError(f"EnvironmentFile={one_line(setting.value, 200)} in {setting.path} is no plain path")
        found.update(_file_variables(path, overlay))
    return {name: found[name] for name in names if name in found}


def _file_variables(path: str, overlay: Overlay) -> dict[str, Variable]:
    """The variables of one environment file; none where it is missing."""
    facts = overlay.seen.files.get(path)
    if facts is not None and facts.type == "missing" and overlay.content(path) is None:
        return {}
    content, _ = _content(path, overlay)
    try:
        assignments = read_assignments(content)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return {assignment.name: Variable(assignment.value, path, own_line=True) for assignment in assignments}


def _config_file(flags: tuple[Flag, ...], seen: Observation) -> str:
    """The path of daemon.json. Raises ValueError where observe and the command line do not name the same."""
    reference = seen.references.get("@docker.config_file")
    if reference is None or reference.status != "resolved" or len(reference.paths) != 1:
        raise ValueError("the host did not answer where dockerd's configuration file is")
    path = reference.paths[0].path
    given = [flag.value for flag in flags if flag.name == "config-file"]
    if given and given[-1] != path:
        raise ValueError(f"--config-file is {one_line(given[-1], 200)}, and the running daemon has {path}: restart it")
    return path


def _document(path: str, overlay: Overlay) -> dict[str, Any]:
    """What stands in daemon.json; empty where there is none. Raises ValueError."""
    facts = overlay.seen.files.get(path)
    if facts is not None and facts.type == "missing" and overlay.content(path) is None:
        return {}
    if facts is not None and facts.type == "symlink" and facts.resolved is not None:
        path = facts.resolved
    content = overlay.content(path)
    if content is None:
        raise _unread(path, facts)
    try:
        return read_object(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}, so dockerd does not start with it: correct it") from None


def _streams(overlay: Overlay) -> tuple[str, ...]:
    """The TCP addresses on which systemd listens for the daemon."""
    unit = overlay.seen.units.get(SOCKET_UNIT)
    listed = unit.properties.get("Listen", "") if unit is not None and unit.load == "loaded" else ""
    # The lines of a property reach us on one line, their ends escaped.
    found = [_STREAM.match(line) for line in listed.replace("\\n", "\n").split("\n")]
    addresses = [tcp_address(line.group(1)) for line in found if line is not None]
    return tuple(address for address in addresses if address is not None)


def _check_values(found: DaemonConfiguration) -> None:
    """Raises ValueError for a value of an option in here that dockerd does not take, or that only systemd knows."""
    hosts = found.document.get("hosts")
    if hosts is not None and not (isinstance(hosts, list) and all(isinstance(host, str) for host in hosts)):
        raise ValueError(f"hosts in {found.config_file} is no list of texts: correct it")
    for name, kind in (*((name, bool) for name in _SWITCHES), *((name, str) for name in _FILES)):
        if name in found.document and not isinstance(found.document[name], kind):
            wanted = "true or false" if kind is bool else "a path"
            raise ValueError(f"{name} in {found.config_file} must be {wanted}: correct it")
    for flag in found.flags:
        if "%" in flag.value and not flag.variable and flag.name in ("host", *_FILES):
            raise ValueError(f"--{flag.name} in {found.line.path} has a value that only systemd knows")
    for host in found.hosts:
        tcp_address(host)
