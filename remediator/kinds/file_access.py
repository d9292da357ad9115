"""file_access: who may read, write and own a file. Bits are only taken away; stricter than required is compliant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import AfterValidator, Field

from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.obstacle import access_obstacle, open_above
from remediator.observation import FileFacts
from remediator.overlay import Overlay
from remediator.plan import FixClass
from remediator.request import Needs
from remediator.text import one_line

# Below it lie system accounts (login.defs(5), UID_MIN).
_FIRST_PERSON = 1000
# Why a symlink leads nowhere when there is just nothing at its end.
_GONE = ("no such file or directory", "not a directory")


def _octal(value: str) -> str:
    if re.fullmatch(r"0[0-7]{3}", value) is None:
        raise ValueError('a mode is four octal digits in quotes, such as "0644"')
    return value


Mode = Annotated[str, AfterValidator(_octal)]


class FromVariable(Parameters):
    """An account name that a role variable holds.

    While the variable is empty the control is decided against `otherwise`, and its fix waits for the variable; without
    an `otherwise` there is nothing to decide.
    """

    variable: str
    otherwise: str | None = None


class FileAccessParameters(Parameters):
    """`mode` is the most that files (and, without `directory_mode`, directories) may allow; `owner` and `group` are
    account names. `stricter` gives further paths a mode of their own. `readers` are the components that must still
    reach it: one that runs as another account than root makes the fix a person's. `transaction` is the group whose
    changes stand or fall together.
    """

    path: str | list[str]
    mode: Mode | None = None
    directory_mode: Mode | None = None
    owner: str | FromVariable | None = None
    group: str | FromVariable | None = None
    readers: list[str] = Field(default_factory=list)
    stricter: dict[str, Mode] = Field(default_factory=dict)
    transaction: str = Field(default="files")

    @property
    def places(self) -> list[str]:
        """The paths and references as a list."""
        return [*([self.path] if isinstance(self.path, str) else self.path), *self.stricter]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one host's files, names resolved to numbers."""

    mode: int | None
    directory_mode: int | None
    owner: tuple[str, int] | None
    group: tuple[str, int] | None


@dataclass(frozen=True)
class _Target:
    """One path to judge, the place of the control's that it comes from, and who alone may change it (if not we)."""

    path: str
    place: str
    managed: str = ""


@dataclass
class _Findings:
    """What the paths of one control came to; `locked_out` says whom a fix would keep from its files, if anybody, and
    `below_open` whether a path waits for a directory above it to be repaired.
    """

    locked_out: str = ""
    below_open: bool = False
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    person: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    risks: dict[str, None] = field(default_factory=dict)


class FileAccess(Kind):
    """Decides docker-bench's section 3 and kube-bench's file-mode, file-owner and PKI checks.

    Modes are compared as bits (`mode & ~allowed == 0`), owners by number: the official tools compare decimals and
    substrings.
    """

    name = "file_access"
    parameters = FileAccessParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The paths themselves, and of a socket the unit that makes it."""
        assert isinstance(parameters, FileAccessParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        return Needs.of(parameters.places)

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Compliant when every present path is as strict as wanted; drifted with staged access changes otherwise."""
        assert isinstance(parameters, FileAccessParameters)  # noqa: S101
        wanted = resolve_names(parameters, scope)
        if isinstance(wanted, Decision):
            return wanted
        targets = _targets(parameters, scope)
        if isinstance(targets, Decision):
            return targets
        found = _Findings(locked_out=_locked_out(parameters, wanted, scope))
        for target in targets:
            own = parameters.stricter.get(target.place)
            due = wanted if own is None else replace(wanted, mode=int(own, 8))
            _judge(control, target, due, parameters, scope, overlay, found)
        return _conclude(found, _waits_for(parameters, scope))


def resolve_names(parameters: FileAccessParameters, scope: Scope) -> Wanted | Decision:
    """The wanted mode and accounts with their numbers on this host, or the decision when that cannot be known."""
    accounts: list[tuple[str, int] | None] = []
    for what, account, table in (
        ("user", parameters.owner, scope.seen.users),
        ("group", parameters.group, scope.seen.groups),
    ):
        name = account
        if isinstance(account, FromVariable):
            name = _value(account, scope) or account.otherwise
            if name is None:
                return Decision("not_applicable", f"set {account.variable} in the inventory to ask for this")
        if name is None:
            accounts.append(None)
        elif name == "root":
            accounts.append(("root", 0))
        elif isinstance(name, str) and name in table:
            accounts.append((name, table[name]))
        else:
            return Decision(
                "manual", f"this host has no {what} {one_line(str(name), 64)}: create it first, then check again"
            )
    mode = int(parameters.mode, 8) if parameters.mode else None
    directory_mode = int(parameters.directory_mode, 8) if parameters.directory_mode else mode
    return Wanted(mode, directory_mode, accounts[0], accounts[1])


def _value(account: FromVariable, scope: Scope) -> str:
    value = scope.variables.get(account.variable)
    return value if isinstance(value, str) else ""


def _waits_for(parameters: FileAccessParameters, scope: Scope) -> str:
    """What must be set before an opt-in fix is made; empty when nothing is missing."""
    accounts = (parameters.owner, parameters.group)
    missing = [a.variable for a in accounts if isinstance(a, FromVariable) and not _value(a, scope)]
    return f"{missing[0]} in the inventory" if missing else ""


def _locked_out(parameters: FileAccessParameters, wanted: Wanted, scope: Scope) -> str:
    """Which reader runs as an account that a fix would take access from; empty when none does.

    A person's account as the wanted owner is refused as well: the component's files would be that person's.
    """
    owner = wanted.owner[1] if wanted.owner is not None else 0
    if owner >= _FIRST_PERSON:
        return f"{wanted.owner[0] if wanted.owner else owner} is no system account: choose one whose uid is below 1000"
    for name in parameters.readers:
        for component in scope.seen.components.get(name, ()):
            if component.uid not in (0, owner):
                return f"{name} runs as uid {component.uid} and would lose access: change its account first"
    return ""


def _targets(parameters: FileAccessParameters, scope: Scope) -> list[_Target] | Decision:
    """The paths to judge."""
    targets: dict[str, _Target] = {}
    reasons: list[str] = []
    for place in parameters.places:
        if not place.startswith("@"):
            targets.setdefault(place, _Target(place, place))
            continue
        reference = scope.seen.references.get(place)
        if reference is None:
            return Decision("unknown", f"the host did not answer what {place[1:]} is")
        if reference.status == "unknown":
            return Decision("unknown", reference.reason)
        if reference.status == "absent":
            reasons.append(reference.reason)
        for item in reference.paths:
            managed = reference.reason if reference.status == "managed" else ""
            targets.setdefault(item.path, _Target(item.path, place, managed))
    if not targets:
        return Decision("not_applicable", "; ".join(dict.fromkeys(reasons)) or "there is no such file here")
    return _without_missing(targets, scope)


def _without_missing(targets: dict[str, _Target], scope: Scope) -> list[_Target] | Decision:
    """Every path resolved to what a commit would change, and what is not there left out."""
    present: dict[str, _Target] = {}
    for literal, target in targets.items():
        facts = scope.seen.files.get(literal)
        if facts is not None and _leads_nowhere(facts) and facts.error in (None, *_GONE):
            continue
        path = literal if facts is None or facts.resolved is None else facts.resolved
        facts = scope.seen.files.get(path)
        if facts is None or facts.type != "missing":
            present.setdefault(path, replace(target, path=path))
    if not present:
        names = _several([one_line(path, 200) for path in targets], ", ")
        return Decision("not_applicable", f"{names} {'does' if len(targets) == 1 else 'do'} not exist on this host")
    return list(present.values())


def _leads_nowhere(facts: FileFacts) -> bool:
    """A symlink that does not resolve: its target's directory is gone, or it is a loop, or nobody may look."""
    return facts.type == "symlink" and facts.resolved is None


def _judge(
    control: str,
    target: _Target,
    wanted: Wanted,
    parameters: FileAccessParameters,
    scope: Scope,
    overlay: Overlay,
    found: _Findings,
) -> None:
    path = target.path
    facts = scope.seen.files.get(path)
    name = one_line(path, 300)
    if facts is None or facts.type == "unreadable" or _leads_nowhere(facts):
        found.unknown.append(f"{name}: {facts.error if facts and facts.error else 'the host did not answer'}")
        return
    wrong = _wrong(facts, wanted)
    rival = _rival(control, path, wanted, overlay)
    if rival and wrong:
        found.person.append(f"{name} ({', '.join(wrong)}): {rival} wants another owner for the same path")
        return
    if not wrong:
        found.right += 1
        return
    obstacle = target.managed or found.locked_out or access_obstacle(path, facts, scope, overlay)
    if obstacle:
        found.below_open |= bool(open_above(path, facts, overlay))
        found.person.append(f"{name} ({', '.join(wrong)}): {obstacle}")
        return
    found.wrong.append(f"{name} {', '.join(wrong)}")
    allowed = _allowed(facts, wanted)
    risk = _risk(path, facts, wanted, allowed, overlay)
    if risk:
        found.risks.setdefault(risk)
    overlay.set_access(
        control,
        _group(parameters, facts, overlay),
        path,
        mode=None if allowed is None else overlay.mode(path) & allowed,
        owner=wanted.owner,
        group_owner=wanted.group,
    )


def _rival(control: str, path: str, wanted: Wanted, overlay: Overlay) -> str | None:
    for what, account in (("owner", wanted.owner), ("group", wanted.group)):
        rival = overlay.contradicts(control, path, what, account[1]) if account is not None else None
        if rival is not None:
            return rival
    return None


def _allowed(facts: FileFacts, wanted: Wanted) -> int | None:
    return wanted.directory_mode if facts.type == "directory" else wanted.mode


def _wrong(facts: FileFacts, wanted: Wanted) -> list[str]:
    wrong = []
    allowed = _allowed(facts, wanted)
    if allowed is not None and facts.mode & ~allowed:
        wrong.append(f"has mode {facts.mode:04o} where {allowed:04o} is the most")
    for what, is_now, number, want in (
        ("owner", facts.user, facts.uid, wanted.owner),
        ("group", facts.group, facts.gid, wanted.group),
    ):
        if want is not None and number != want[1]:
            wrong.append(f"has {what} {is_now or number} in place of {want[0]}")
    return wrong


def _group(parameters: FileAccessParameters, facts: FileFacts, overlay: Overlay) -> str:
    """Files below directories that are repaired in this same run come after those: a transaction of their own."""
    depth = len(facts.untrusted_ancestors)
    if depth == 0:
        return parameters.transaction
    first = parameters.transaction
    nearest = overlay.files.get(facts.untrusted_ancestors[-1])
    if first == "files" and nearest is not None:
        # Plain files come before all other transactions, and so before one of those that repairs the directory.
        first = nearest.group.partition("-")[0]
    return f"{first}-{depth + 1}"


def _risk(path: str, facts: FileFacts, wanted: Wanted, allowed: int | None, overlay: Overlay) -> str:
    """Who loses access by this fix, when that is a group with members or whom an ACL names.

    Judged on what other permitted controls leave of the access: what is gone already is not taken here.
    """
    mode, gid = overlay.mode(path), overlay.gid(path)
    lost = mode & 0o070 & ~(0o7777 if allowed is None else allowed)
    leaves = wanted.group is not None and wanted.group[1] != gid and mode & 0o070
    if lost and facts.acl:
        return "it takes access from those whom the file's ACL names"
    if gid != facts.gid or facts.group_members == 0 or not (lost or leaves):
        return ""
    members = "the one member" if facts.group_members == 1 else f"{facts.group_members} members"
    return f"it takes access from {members} of the group {facts.group or facts.gid}"


def _several(items: list[str], between: str = "; ") -> str:
    rest = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
    return between.join(items[:3]) + rest


def _conclude(found: _Findings, waits_for: str) -> Decision:
    if found.wrong:
        reason = _several(found.wrong)
        if found.person or found.unknown:
            reason += f"; left to a person: {_several([*found.person, *found.unknown])}"
        fix: FixClass | None = "guarded" if found.risks else None
        why_class = _several(list(found.risks))
        return Decision("drifted", reason, fix, why_class, waits_for, unsettled=found.below_open)
    if found.unknown:
        rest = f"; left to a person: {_several(found.person)}" if found.person else ""
        return Decision("unknown", _several(found.unknown) + rest, unsettled=found.below_open)
    if found.person:
        return Decision("manual", _several(found.person))
    return Decision(
        "compliant", f"{found.right} path(s) as strict as wanted" if found.right > 1 else "as strict as wanted"
    )
