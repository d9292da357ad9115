"""The catalogue: every control of every role, loaded from roles/*/controls/*.yml and validated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from remediator.collection import collection_root
from remediator.errors import UsageError
from remediator.kinds import KINDS
from remediator.kinds.interface import Parameters
from remediator.plan import FixClass, Severity
from remediator.request import Needs

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9-]+){1,3}\Z")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Entry(BaseModel):
    """A control as written; its kind's key is taken out beforehand."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str
    title: str
    rationale: str
    severity: Severity
    references: dict[str, str] = {}
    threat: str | None = None
    applies_to: Literal[
        "docker", "docker_client", "containerd", "kubernetes", "control_plane", "kubelet", "etcd", "kube_proxy"
    ]
    fix: FixClass
    impact: str


@dataclass(frozen=True)
class Control:
    """One requirement. `impact` says in a sentence what its fix costs, for `remediate controls`."""

    id: str
    role: str
    title: str
    rationale: str
    severity: Severity
    references: dict[str, str]
    threat: str | None
    applies_to: str
    fix: FixClass
    impact: str
    kind: str
    parameters: Parameters


@dataclass(frozen=True)
class Catalogue:
    """Controls in the order of their roles and files, and the defaults of the roles' variables."""

    controls: tuple[Control, ...]
    defaults: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[Control, ...] = ()  # by a selection: policies may still name them

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have a control here."""
        return tuple(dict.fromkeys(control.role for control in self.controls))

    @property
    def everything(self) -> tuple[Control, ...]:
        """The controls with those that a selection left out."""
        return (*self.controls, *self.left_out)

    @property
    def all_roles(self) -> frozenset[str]:
        """Every role that has a control, selected or not."""
        return frozenset(control.role for control in self.everything)

    def ids(self, word: str) -> set[str]:
        """The ids of all controls, selected or not, whose id or official id is `word`."""
        return {c.id for c in self.everything if c.id == word or word in c.references.values()}

    def get(self, control: str) -> Control:
        """The control with this id. Raises UsageError when there is none."""
        for candidate in self.controls:
            if candidate.id == control:
                return candidate
        raise UsageError(f"There is no control {control}. `remediate controls` lists them.")

    def find(self, word: str) -> tuple[Control, ...]:
        """The controls whose id, or whose id in an official benchmark, is `word`."""
        return tuple(c for c in self.controls if c.id == word or word in c.references.values())

    def select(self, roles: Iterable[str] = (), controls: Iterable[str] = (), skip: Iterable[str] = ()) -> Catalogue:
        """Only these roles' controls and these controls (all when neither is named), without those in `skip`.

        Controls are named by id or official id. Raises UsageError for a name that means nothing, or when none is left.
        """
        wanted_roles = set(roles)
        for role in sorted(wanted_roles - set(self.roles)):
            raise UsageError(f"There is no role {role}. The roles are {', '.join(self.roles)}.")
        named = self._ids(controls)
        skipped = self._ids(skip)
        everything = not wanted_roles and not named
        chosen = tuple(
            control
            for control in self.controls
            if (everything or control.role in wanted_roles or control.id in named) and control.id not in skipped
        )
        if not chosen:
            raise UsageError("No control is left to check: --skip-control took all that were selected.")
        kept = {control.id for control in chosen}
        return Catalogue(chosen, self.defaults, tuple(c for c in self.everything if c.id not in kept))

    def needs(self, hosts: Iterable[Mapping[str, Any]] = ()) -> Needs:
        """What observe must answer for all of these controls; `hosts` are the role variables of the hosts it asks."""
        total = Needs()
        for control in self.controls:
            total |= KINDS[control.kind].needs(control.parameters)
        asked = ((control, variables) for variables in hosts for control in self.controls)
        own = {KINDS[control.kind].host_needs(control.parameters, variables) for control, variables in asked}
        for needs in own:
            total |= needs
        return total

    def _ids(self, words: Iterable[str]) -> set[str]:
        found = set()
        for word in words:
            matches = self.find(word)
            if not matches:
                raise UsageError(f"There is no control {word}. `remediate controls` lists them.")
            found |= {control.id for control in matches}
        return found


def load_catalogue(root: Path | None = None) -> Catalogue:
    """Every control below `root`/roles (the collection's own by default), in file order.

    Raises UsageError naming file and entry: unreadable YAML, an unknown key or kind, an unquoted mode, a duplicate id.
    """
    roles = (root or collection_root()) / "roles"
    controls: dict[str, Control] = {}
    defaults: dict[str, Any] = {}
    for role in sorted(path for path in roles.iterdir() if path.is_dir()):
        for file in sorted((role / "controls").glob("*.yml")):
            for entry in _entries(file):
                control = _control(file, role.name, entry)
                if control.id in controls:
                    raise UsageError(
                        f"{file}: the control id {control.id} is there twice. Give one of them another id."
                    )
                controls[control.id] = control
        if (role / "defaults" / "main.yml").is_file():
            defaults.update(_load(role / "defaults" / "main.yml") or {})
    if not controls:
        raise UsageError(f"{roles}: no controls are there. Install remediator again.")
    return Catalogue(tuple(controls.values()), defaults)


def _load(file: Path) -> Any:
    try:
        # The loader is a safe one: CSafeLoader is SafeLoader on libyaml, several times as fast.
        return yaml.load(file.read_bytes(), Loader=_Loader)  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: it cannot be read as YAML ({error}). Correct the file.") from None


def _entries(file: Path) -> list[Any]:
    entries = _load(file)
    if not isinstance(entries, list):
        raise UsageError(f"{file}: a control file is a list of controls. Correct the file.")
    return entries


def _problems(error: ValidationError) -> str:
    """Every problem that pydantic found in one control, in a line, with the remedy for YAML's octal numbers."""
    said = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        said.append(f"{where}: {problem['msg']}.")
        if "mode" in where and isinstance(problem["input"], int):
            said.append('Modes are quoted strings such as "0644": unquoted, YAML reads an octal number.')
    return " ".join(said)


def _control(file: Path, role: str, entry: Any) -> Control:
    if not isinstance(entry, dict):
        raise UsageError(f"{file}: a control is a mapping with an id. Correct the file.")
    name = entry.get("id", "a control without id")
    kinds = [key for key in entry if key in KINDS]
    if len(kinds) != 1:
        raise UsageError(f"{file}: {name} needs exactly one kind, one of {', '.join(KINDS)}. Correct the file.")
    kind = kinds[0]
    try:
        head = _Entry.model_validate({key: value for key, value in entry.items() if key != kind})
        parameters = KINDS[kind].parameters.model_validate(entry[kind])
    except ValidationError as error:
        raise UsageError(f"{file}: {name}: {_problems(error)} Correct the file.") from None
    if _ID.match(head.id) is None:
        raise UsageError(f"{file}: {head.id!r} is no control id: lower case words joined by dots. Correct the file.")
    return Control(role=role, kind=kind, parameters=parameters, **dict(head))
