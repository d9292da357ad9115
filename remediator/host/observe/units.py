"""Units: what systemd answers for all of them in one call, or, where no systemd runs, what lies on the disk."""

import os
import time

from remediator.host.common.mask import mask_text
from remediator.host.common.names import text_of
from remediator.host.common.reading import is_there, names_in, read_quietly
from remediator.host.observe.command import UNIT_NAMES, Finished
from remediator.host.observe.words import expand_words, parse_assignments, parse_environment_file, split_words

MYPY = False
if MYPY:
    from typing import Any

UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# Properties that go into the answer as they are.
SHOWN_PROPERTIES = (
    "SubState",
    "UnitFileState",
    "ExecStart",
    "Environment",
    "EnvironmentFiles",
    "Listen",
    "SocketMode",
    "SocketUser",
    "SocketGroup",
    "RefuseManualStop",
    "CanReload",
)
SYSTEMD_RUNS = "/run/systemd/system"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HostUnit:
    """One unit: where it stands, what it starts and what it gives that program."""

    def __init__(self, name: "str") -> None:
        self.name = name
        self.load = "not-found"
        self.active = "inactive"
        self.main_pid = 0
        self.fragment: "str | None" = None
        self.drop_ins: "list[str]" = []
        self.need_daemon_reload = False
        self.exec_start: "list[str]" = []  # unexpanded words
        self.assignments: "list[str]" = []  # Environment=
        self.environment_files: "list[str]" = []
        self.listen: "list[str]" = []
        self.working_directory = ""
        self.state_changed_ns: "int | None" = None
        self.properties: "dict[str, str]" = {}

    @property
    def is_loaded(self) -> "bool":
        """Whether the unit exists and is not masked."""
        return self.load == "loaded"

    @property
    def is_active(self) -> "bool":
        """Whether it runs now."""
        return self.active in ("active", "reloading", "activating", "deactivating")

    def environment(self) -> "dict[str, str]":
        """The variables that the unit gives its program: Environment=, then the files, which win."""
        variables = parse_assignments(self.assignments)
        for path in self.environment_files:
            variables.update(parse_environment_file(text_of(read_quietly(path))))
        return variables

    def command_line(self) -> "list[str]":
        """ExecStart= with its variables expanded."""
        return expand_words(self.exec_start, self.environment())

    def answer(self) -> "dict[str, Any]":
        """The unit as it goes into the answer, secrets masked."""
        return {
            "load": self.load,
            "active": self.active,
            "main_pid": self.main_pid,
            "fragment": self.fragment,
            "drop_ins": self.drop_ins,
            "need_daemon_reload": self.need_daemon_reload,
            "state_changed_ns": self.state_changed_ns,
            "properties": {name: mask_text(value) for name, value in self.properties.items() if value},
        }


def units_from_systemctl(finished: "Finished") -> "dict[str, HostUnit] | None":
    """The units as `systemctl show` printed them, None where it did not answer for all."""
    blocks = finished.output.strip("\n").split("\n\n")
    if finished.status != 0 or len(blocks) != len(UNIT_NAMES):
        return None
    return {name: unit_from_block(name, block) for name, block in zip(UNIT_NAMES, blocks)}  # noqa: B905 - Python 3.10


def unit_from_block(name: "str", block: "str") -> "HostUnit":
    """One unit from its `Property=value` lines; a property may stand there several times."""
    properties: "dict[str, list[str]]" = {}
    for line in block.split("\n"):
        key, _, value = line.partition("=")
        properties.setdefault(key, []).append(value)

    def first(key: "str") -> "str":
        return properties.get(key, [""])[0]

    unit = HostUnit(name)
    unit.load = first("LoadState") or "not-found"
    unit.active = first("ActiveState") or "inactive"
    unit.main_pid = int(first("MainPID")) if first("MainPID").isdigit() else 0
    unit.fragment = first("FragmentPath") or None
    unit.drop_ins = split_words(first("DropInPaths"))
    unit.need_daemon_reload = first("NeedDaemonReload") == "yes"
    unit.exec_start = exec_words(first("ExecStart"))
    unit.assignments = split_words(first("Environment"))
    unit.environment_files = [value.split(" (")[0] for value in properties.get("EnvironmentFiles", []) if value]
    unit.listen = [value.split(" (")[0] for value in properties.get("Listen", []) if value]
    unit.working_directory = first("WorkingDirectory").lstrip("!-")
    unit.properties = {key: "\n".join(properties[key]) for key in SHOWN_PROPERTIES if key in properties}
    unit.state_changed_ns = wall_clock(first("StateChangeTimestampMonotonic"))
    return unit


def wall_clock(microseconds: "str") -> "int | None":
    """A moment on systemd's monotonic clock, in nanoseconds since 1970 by the host's present clock; None for never."""
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int((time.time() - time.monotonic() + int(microseconds) / 1e6) * 1e9)


def exec_words(value: "str") -> "list[str]":
    """The words in `{ path=/x ; argv[]=/x --a ; ignore_errors=no ; ... }`."""
    _, found, rest = value.partition("argv[]=")
    return rest.split(" ; ")[0].split() if found else []


def units_from_disk(active: "str") -> "dict[str, HostUnit]":
    """The units as their files say; `active` is what is told of them all: `inactive` where no systemd runs."""
    units = {name: unit_from_disk(name) for name in UNIT_NAMES}
    for unit in units.values():
        unit.active = active
    return units


def unit_from_disk(name: "str") -> "HostUnit":
    """One unit from its file and drop-ins, in systemd's own order of directories."""
    unit = HostUnit(name)
    path = next((found for found in (top + "/" + name for top in UNIT_DIRECTORIES) if is_there(found)), None)
    if path is None:
        return unit
    if os.path.realpath(path) == "/dev/null":
        unit.load = "masked"
        return unit
    unit.load = "loaded"
    unit.fragment = path
    drop_ins: "dict[str, str]" = {}
    for directory in reversed(UNIT_DIRECTORIES):
        for entry in names_in(directory + "/" + name + ".d"):
            if entry.endswith(".conf"):
                drop_ins[entry] = directory + "/" + name + ".d/" + entry
    unit.drop_ins = [drop_ins[entry] for entry in sorted(drop_ins)]
    settings: "dict[str, list[str]]" = {}
    for source in [path] + unit.drop_ins:
        read_unit_file(text_of(read_quietly(source)), settings)
    unit.exec_start = split_words((settings.get("ExecStart") or [""])[-1].lstrip("-@:+!"))
    unit.assignments = [word for value in settings.get("Environment", []) for word in split_words(value)]
    unit.environment_files = [value.lstrip("-") for value in settings.get("EnvironmentFile", [])]
    unit.listen = settings.get("ListenStream", [])
    unit.working_directory = (settings.get("WorkingDirectory") or [""])[-1].lstrip("-")
    unit.properties = {key: "\n".join(settings[key]) for key in SHOWN_PROPERTIES if key in settings}
    return unit


def read_unit_file(content: "str", settings: "dict[str, list[str]]") -> None:
    """Adds the settings of one unit file or drop-in; an empty one takes back those before it (systemd.unit(5))."""
    for text in content.replace("\\\n", " ").split("\n"):
        line = text.strip()
        if not line or line[0] in "#;[":
            continue
        key, joined, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if joined and value:
            settings.setdefault(key, []).append(value)
        elif joined:
            settings[key] = []
