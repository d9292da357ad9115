"""What the parts of observe share about one host."""

from remediator.host.common.reading import read_quietly
from remediator.host.observe.accounts import Accounts
from remediator.host.observe.files import FileBook
from remediator.host.observe.processes import HostProcess
from remediator.host.observe.references import HostReference
from remediator.host.observe.units import HostUnit

MYPY = False
if MYPY:
    from typing import Any


class HostState:
    """One host while it is observed: units and main processes first, then what follows from them."""

    def __init__(self, units: "dict[str, HostUnit]", processes: "dict[str, HostProcess]") -> None:
        self.accounts = Accounts(read_quietly("/etc/passwd", 4194304), read_quietly("/etc/group", 4194304))
        self.files = FileBook(self.accounts)
        self.units = units
        self.processes = processes  # by unit name
        self.components: "dict[str, list[HostProcess]]" = {}
        self.references: "dict[str, HostReference]" = {}
        self.systems: "dict[str, dict[str, Any]]" = {}
        self.failures: "list[str]" = []

    def system(self, name: "str", present: "bool", reason: "str") -> None:
        """Notes whether a part is on this host and how that was recognised."""
        self.systems[name] = {"present": present, "reason": reason}

    def words_of(self, unit: "str") -> "list[str]":
        """The command line of a unit: the running process's own, else what the unit would start."""
        process = self.processes.get(unit)
        return process.words if process is not None else self.units[unit].command_line()

    def source_of(self, unit: "str") -> "str":
        """Where `words_of` reads, in words."""
        return unit + (" (running)" if unit in self.processes else " ExecStart")

    def environment_of(self, unit: "str") -> "dict[str, str]":
        """The variables of a unit's program, running or not."""
        process = self.processes.get(unit)
        return (process.environment() if process is not None else {}) or self.units[unit].environment()
