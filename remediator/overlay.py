"""Staged edits of one host's files: all controls on one file meet here, and only here are diffs made.

An overlay lies over an observation. Kinds look through it, stage edits under their control's id, and never see each
other; `remediator.transactions` turns what is staged into the plan's transactions.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from remediator.observation import FileFacts, Observation
from remediator.plan import Impact, State, Step
from remediator.splices import Edited, Splice
from remediator.text import visible

_CHANGEABLE = ("missing", "file", "directory", "socket")


@dataclass(frozen=True)
class StagedKey:
    """A private key to be moved into place: where it is, and the sha256 of its public half."""

    source: Literal["host", "controller"]
    public_sha256: str


@dataclass(frozen=True)
class Staged:
    """What one path shall become, and which controls ask for it."""

    group: str
    controls: tuple[str, ...]
    facts: FileFacts  # as observed
    kind: str  # file, directory or socket
    mode: int
    uid: int
    gid: int
    user: str | None
    group_name: str | None
    content: bytes | None = None  # None: the content stays
    splices: tuple[Splice, ...] = ()  # what makes `content` of a file with masked spans
    key: StagedKey | None = None
    removed: bool = False
    details: tuple[str, ...] = ()  # what the new bytes are, in words

    @property
    def changed(self) -> bool:
        """Whether this differs from what was observed."""
        then = self.facts
        if self.removed:
            return then.type != "missing"
        return (
            then.type == "missing"
            or self.key is not None
            or (self.mode, self.uid, self.gid) != (then.mode, then.uid, then.gid)
            or (self.content is not None and self.content != then.content)
        )


@dataclass(frozen=True)
class StagedRules:
    """Kernel audit rules to add and to delete, each with the control that asks; `path` is the file that keeps them."""

    path: str
    added: tuple[tuple[str, tuple[str, ...]], ...] = ()
    removed: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class StagedRestart:
    """A unit whose process is older than what lies on disk; `rests_on` are the files that it shall read anew.

    `do` is `reload` where its running process can read all of that, so that nothing stops.
    """

    group: str
    controls: tuple[str, ...]
    why: str
    rests_on: tuple[str, ...] = ()
    do: Literal["restart", "reload"] = "restart"


@dataclass
class Overlay:
    """The staged edits of one host. `copy()` before trying something that may not be kept."""

    seen: Observation
    files: dict[str, Staged] = field(default_factory=dict)
    rules: dict[str, StagedRules] = field(default_factory=dict)  # by rules file
    steps: dict[str, tuple[Step, ...]] = field(default_factory=dict)  # activation by group
    validations: dict[str, tuple[Step, ...]] = field(default_factory=dict)  # by group, beside those that files imply
    probes: dict[str, tuple[Step, ...]] = field(default_factory=dict)  # by group, beside those that changes imply
    restarts: dict[str, StagedRestart] = field(default_factory=dict)  # by unit: where a restart is the change itself
    impacts: dict[str, Impact] = field(default_factory=dict)  # by group: what a change without activation costs
    # What each path's owner and group shall be, by the first control that said so: shared by all copies, since a
    # contradiction stands whether or not the change is made.
    claims: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _edits: dict[str, Edited] = field(default_factory=dict)

    def copy(self) -> Overlay:
        """An overlay of the same host with the same edits, to be edited apart."""
        return replace(
            self,
            files=dict(self.files),
            rules=dict(self.rules),
            steps=dict(self.steps),
            validations=dict(self.validations),
            probes=dict(self.probes),
            restarts=dict(self.restarts),
            impacts=dict(self.impacts),
            _edits=dict(self._edits),
        )

    def content(self, path: str) -> bytes | None:
        """The content of `path` with the edits so far; None where there is none or it was not observed."""
        staged = self.files.get(path)
        if staged is not None and staged.removed:
            return None
        if staged is not None and staged.content is not None:
            return staged.content
        facts = self.seen.files.get(path)
        return facts.content if facts is not None else None

    def mode(self, path: str) -> int:
        """The permission bits of `path` with the edits so far."""
        staged = self.files.get(path)
        return staged.mode if staged is not None else self.seen.files[path].mode

    def trusted(self, directory: str) -> bool:
        """Whether only root can write in `directory` once what is staged for it is done (commit asks the same)."""
        staged = self.files.get(directory)
        if staged is None or staged.uid != 0 or staged.mode & 0o002:
            return False
        return not staged.mode & 0o020 or (staged.gid == 0 and not staged.facts.acl)

    def contradicts(self, control: str, path: str, what: str, number: int) -> str | None:
        """The control that wants another `what` (owner or group) than `number` for `path`; None when none does."""
        wanted, first = self.claims.setdefault((path, what), (number, control))
        return first if wanted != number else None

    def gid(self, path: str) -> int:
        """The group of `path` with the edits so far."""
        staged = self.files.get(path)
        return staged.gid if staged is not None else self.seen.files[path].gid

    def set_access(
        self,
        control: str,
        group: str,
        path: str,
        *,
        mode: int | None = None,
        owner: tuple[str, int] | None = None,
        group_owner: tuple[str, int] | None = None,
    ) -> None:
        """Stage another mode, owner (name, uid) or group (name, gid) for the existing `path`."""
        staged = self._staged(control, group, path)
        if mode is not None:
            staged = replace(staged, mode=mode)
        if owner is not None:
            staged = replace(staged, user=owner[0], uid=owner[1])
        if group_owner is not None:
            staged = replace(staged, group_name=group_owner[0], gid=group_owner[1])
        self.files[path] = staged

    def write(
        self, control: str, group: str, path: str, content: bytes, mode: int, details: tuple[str, ...] = ()
    ) -> None:
        """Stage `content` for `path`; a file that is not there yet becomes root's with `mode`.

        The path then belongs to `group`, whose activation puts the content in force, and no longer to a group that
        only wanted another mode of it. `details` say what the content is, for a preview.
        """
        staged = self._staged(control, group, path, mode)
        self.files[path] = replace(staged, group=group, content=content, details=details)

    def edit(
        self, control: str, group: str, path: str, splices: Iterable[Splice], details: tuple[str, ...] = ()
    ) -> None:
        """Stage splices into `content(path)` of an existing file, with `write`'s meaning of `group` and `details`.

        Raises MaskedError where one touches what the observation masked.
        """
        staged = self._staged(control, group, path)
        edited = self._edits.get(path)
        if edited is None or edited.content != self.content(path):
            edited = Edited.of(self.content(path) or b"", staged.facts.masked if staged.content is None else ())
        edited = edited.splice(splices)
        self._edits[path] = edited
        made = edited.splices() if staged.facts.masked else ()
        said = details or staged.details
        self.files[path] = replace(staged, group=group, content=edited.content, splices=made, details=said)

    def install_key(
        self, control: str, group: str, path: str, key: StagedKey, mode: int, details: tuple[str, ...] = ()
    ) -> None:
        """Stage a private key for `path`, root's and with `mode` whatever was there."""
        staged = replace(self._staged(control, group, path, mode), group=group, key=key, details=details)
        self.files[path] = replace(staged, mode=mode, uid=0, gid=0, user="root", group_name="root")

    def remove(self, control: str, group: str, path: str) -> None:
        """Stage the removal of the existing regular file at `path`."""
        self.files[path] = replace(self._staged(control, group, path), group=group, removed=True, content=None)

    def make_directory(self, control: str, group: str, path: str, mode: int) -> None:
        """Stage a new directory of root's at `path`."""
        self.files[path] = replace(self._staged(control, group, path, mode), kind="directory")

    def stage_rules(
        self,
        control: str,
        path: str,
        added: Iterable[tuple[str, ...]],
        removed: Iterable[tuple[str, ...]],
    ) -> None:
        """Stage kernel audit rules, as auditctl's words, beside the rules file at `path` that makes them last."""
        before = self.rules.get(path, StagedRules(path))
        have = {rule for _, rule in before.added}
        gone = {rule for _, rule in before.removed}
        self.rules[path] = StagedRules(
            path,
            (*before.added, *((control, rule) for rule in added if rule not in have)),
            (*before.removed, *((control, rule) for rule in removed if rule not in gone)),
        )

    def activate(self, group: str, step: Step) -> None:
        """Ask for an activation step of `group`'s transaction, once; a unit that is restarted is not reloaded too."""
        if step.do == "reload" and Step(do="restart", unit=step.unit) in self.steps.get(group, ()):
            return
        if step.do == "restart":
            less = Step(do="reload", unit=step.unit)
            self.steps[group] = tuple(other for other in self.steps.get(group, ()) if other != less)
        _add(self.steps, group, step)

    def restart(
        self,
        control: str,
        group: str,
        unit: str,
        why: str,
        rests_on: Iterable[str] = (),
        do: Literal["restart", "reload"] = "restart",
    ) -> None:
        """Stage a restart of `unit` as a change of its own: its files are right, and its process has not read them.

        `why` says in words what the process does not know yet, for a preview. What is at `rests_on` must still be what
        was observed when the restart comes. With `do` it is a reload, unless somebody wants a restart.
        """
        before = self.restarts.get(unit, StagedRestart(group, (), why, do=do))
        controls = dict.fromkeys((*before.controls, control))
        files = dict.fromkeys((*before.rests_on, *rests_on))
        more = do if before.do == "reload" else before.do
        self.restarts[unit] = replace(before, controls=tuple(controls), rests_on=tuple(files), do=more)
        self.activate(group, Step(do=do, unit=unit))

    def validate(self, group: str, step: Step) -> None:
        """Ask for a validation of `group`'s transaction before its activation, once."""
        _add(self.validations, group, step)

    def probe(self, group: str, step: Step) -> None:
        """Ask for a probe of `group`'s transaction after its activation, once."""
        _add(self.probes, group, step)

    def forget_probes(self, group: str, do: str) -> None:
        """Drop the probes of this sort that were asked for: what they were to find is changed once more."""
        self.probes[group] = tuple(step for step in self.probes.get(group, ()) if step.do != do)

    def _staged(self, control: str, group: str, path: str, mode: int = 0) -> Staged:
        staged = self.files.get(path)
        if staged is not None:
            controls = staged.controls if control in staged.controls else (*staged.controls, control)
            return replace(staged, controls=controls)
        facts = self.seen.files.get(path) or FileFacts(type="missing", resolved=path)
        if facts.type not in _CHANGEABLE:
            raise ValueError(f"{path} is a {facts.type}: nothing can be staged for it")
        if facts.type == "missing":
            return Staged(group, (control,), facts, "file", mode, 0, 0, "root", "root")
        return Staged(group, (control,), facts, facts.type, facts.mode, facts.uid, facts.gid, facts.user, facts.group)


def _add(steps: dict[str, tuple[Step, ...]], group: str, step: Step) -> None:
    if step not in steps.get(group, ()):
        steps[group] = (*steps.get(group, ()), step)


def state_before(staged: Staged) -> State:
    """The observed state of a staged path."""
    facts = staged.facts
    if facts.type == "missing":
        return State(type="missing")
    sha256 = facts.sha256 if staged.content is not None or staged.removed else None
    return State(
        type=staged.kind,
        mode=facts.mode,
        uid=facts.uid,
        gid=facts.gid,
        user=facts.user,
        group=facts.group,
        sha256=sha256,
    )


def state_after(staged: Staged) -> State:
    """The state that a staged path shall have."""
    if staged.removed:
        return State(type="missing")
    sha256 = None
    if staged.content is not None and not staged.facts.masked:
        sha256 = hashlib.sha256(staged.content).hexdigest()
    return State(
        type=staged.kind,
        mode=staged.mode,
        uid=staged.uid,
        gid=staged.gid,
        user=staged.user,
        group=staged.group_name,
        sha256=sha256,
    )


def unified_diff(path: str, before: bytes | None, after: bytes) -> str:
    """A unified diff, harmless to show: unsafe characters are escaped, undecodable bytes are replaced."""
    old = _lines(before or b"")
    new = _lines(after)
    header = path if before is not None else "/dev/null"
    lines = difflib.unified_diff(old, new, fromfile=header, tofile=path, lineterm="")
    return "\n".join(visible(line) for line in lines)


def _lines(content: bytes) -> list[str]:
    text = content.decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    elif lines:
        lines.append("\\ No newline at end of file")
    return lines
