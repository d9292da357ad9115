"""audit_watch: the kernel reports who changes a path, now and after the next boot.

A watch counts when the kernel has it loaded *and* the rules that are loaded at boot hold it where nothing before it
stops the load. Sources: docker-bench-security 1.1.3 to 1.1.18, auditctl(8), augenrules(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator, Field

from remediator import audit_file
from remediator.audit_boot import UnreadRulesError, boot_rules, missing_directories, other_rules, silencer, stopped
from remediator.host.common.audit_rules import AuditForm, AuditRule, listed_form, normal_form
from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.obstacle import content_obstacle, edit_obstacle
from remediator.observation import AuditFacts, FileFacts
from remediator.overlay import Overlay
from remediator.request import Needs
from remediator.text import one_line

GROUP = "audit"
# What stands in a rules file without quoting: auditctl splits at spaces and knows no quotes.
_SAFE_PATH = re.compile(r"/[A-Za-z0-9/._+:@%-]+\Z")


def _access(value: str) -> str:
    if not value or any(letter not in "rwxa" for letter in value):
        raise ValueError("access is made of the letters r, w, x and a")
    return value


class AuditWatchParameters(Parameters):
    """`path`: what to watch; its resolved path is watched as well. `also`: the literal paths that an official check
    looks for, watched where their directory exists. `tree`: everything below the directory too. `busy`: so much is
    written there that the log's volume needs consent.
    """

    path: str | list[str]
    also: list[str] = Field(default_factory=list)
    access: Annotated[str, AfterValidator(_access)]
    key: str
    tree: bool = False
    busy: bool = False

    @property
    def places(self) -> list[str]:
        """The paths and references as a list."""
        return [self.path] if isinstance(self.path, str) else self.path


@dataclass(frozen=True)
class _Watch:
    """One path to watch, and the rule that does it."""

    path: str
    words: tuple[str, ...]
    access: str
    tree: bool

    def covered_by(self, rule: audit_file.BootRule) -> bool:
        """Whether a watch on the same path reports at least the same accesses, whatever its key."""
        return set(self.access) <= set(str(rule.form[2])) and (rule.below or not self.tree)

    def covered_in(self, rules: dict[str, list[audit_file.BootRule]]) -> bool:
        """Whether one of `rules` (by path) covers it."""
        return any(map(self.covered_by, rules.get(self.path, ())))

    def is_in(self, block: audit_file.Block) -> bool:
        """Whether the block holds exactly this rule."""
        return " ".join(self.words) in block.lines


@dataclass(frozen=True)
class _Needed:
    """The watches, our block for them as it should be and as it is, what the kernel lacks and what it has too much.

    `shared`: another control's block is about one of the same paths, so that its changes matter to this one.
    `promised`: one of those changes keeps a watch of this control too, and is still to be made.
    """

    watches: tuple[_Watch, ...]
    block: audit_file.Block
    before: audit_file.Block
    missing: tuple[_Watch, ...]
    stale: tuple[tuple[str, ...], ...]
    shared: bool
    promised: bool

    @property
    def kept(self) -> bool:
        """Whether the rules file holds every watch already."""
        return not self.promised and set(self.block.lines) <= set(self.before.lines)


class AuditWatch(Kind):
    """Decides one watch, and stages the block of rules that is missing."""

    name = "audit_watch"
    parameters = AuditWatchParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The watched paths, our own files, the directories of both kinds, and the audit section."""
        assert isinstance(parameters, AuditWatchParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        own = [audit_file.RULES_FILE, audit_file.TMPFILES]
        parents = [path.rpartition("/")[0] or "/" for path in (*parameters.also, *own)]
        return Needs.of([*parameters.places, *parameters.also, *parents], "audit", contents=own)

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Compliant when loaded and kept; drifted with staged rules, or pending where the kernel's rules are locked."""
        assert isinstance(parameters, AuditWatchParameters)  # noqa: S101
        audit = scope.seen.audit
        if audit is None:
            return Decision("unknown", "the host did not answer for its audit rules")
        paths = _paths(parameters, scope)
        if isinstance(paths, Decision):
            left = self.left_over(control, parameters, scope, overlay) if paths.verdict == "not_applicable" else None
            return left or paths
        return _unable(audit) or _decide(control, parameters, paths, scope, audit, overlay)

    def left_over(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision | None:
        """Drifted with our rules taken out where there are any: one that names what is gone stops the load at boot."""
        assert isinstance(parameters, AuditWatchParameters)  # noqa: S101
        audit = scope.seen.audit
        if audit is None or _unable(audit) is not None or not _has_block(control, overlay):
            return None
        return _decide(control, parameters, [], scope, audit, overlay)


def _has_block(control: str, overlay: Overlay) -> bool:
    blocks = audit_file.parse_blocks(overlay.content(audit_file.RULES_FILE) or b"")
    return any(block.control == control and block.lines for block in blocks)


def _unable(audit: AuditFacts) -> Decision | None:
    """The decision where this host's audit cannot be read or configured by us."""
    detail = f" ({audit.error})" if audit.error else ""
    if audit.scope == "container":
        return Decision(
            "not_applicable",
            "this host is a container, and the kernel takes audit rules from the machine's own first namespaces only: "
            "audit Docker on the machine that this container runs on",
        )
    if audit.scope == "absent":
        return Decision(
            "manual", "auditd is not installed: install the package auditd (audit on Red Hat), then check again"
        )
    if audit.scope == "denied":
        return Decision("unknown", f"auditctl answers root only{detail}: check with --become")
    if audit.scope == "error" or audit.enabled is None:
        return Decision("unknown", f"auditctl gave no answer{detail}: run auditctl -s on the host")
    if audit.enabled == 0:
        return Decision("manual", "the kernel's audit is switched off (enabled 0): start auditd, then check again")
    if not audit.rules_directory:
        return Decision("manual", "/etc/audit/rules.d is missing: install the package auditd again, then check again")
    return None


def _paths(parameters: AuditWatchParameters, scope: Scope) -> list[str] | Decision:
    """Every path to watch: literal and resolved ones that are there, and official ones whose directory is."""
    seen = scope.seen
    paths: dict[str, None] = {}
    reasons = []
    for place in parameters.places:
        reference = seen.references.get(place)
        if reference is None:
            return Decision("unknown", f"the host did not answer what {place[1:]} is")
        if reference.status == "unknown":
            return Decision("unknown", reference.reason)
        if reference.status == "absent":
            reasons.append(reference.reason)
        for item in reference.paths:
            facts = seen.files.get(item.path)
            if facts is None or facts.type == "missing":
                reasons.append(f"{one_line(item.path, 200)} does not exist on this host")
                continue
            paths[item.path] = None
            if facts.resolved and facts.resolved != item.path:
                paths[facts.resolved] = None
    if not paths:
        return Decision("not_applicable", "; ".join(dict.fromkeys(reasons)))
    for path in parameters.also:
        parent = seen.files.get(path.rpartition("/")[0] or "/")
        there = seen.files.get(path)
        if _is_directory(parent, scope) and (not parameters.tree or _is_directory(there, scope)):
            paths[path] = None
    for path in paths:
        if _SAFE_PATH.match(path) is None:
            return Decision("manual", f"{one_line(path, 200)} cannot be written in an audit rule: watch it by hand")
    return list(paths)


def _is_directory(facts: FileFacts | None, scope: Scope) -> bool:
    if facts is not None and facts.type == "symlink" and facts.resolved:
        facts = scope.seen.files.get(facts.resolved)
    return facts is not None and facts.type == "directory"


def _decide(
    control: str, parameters: AuditWatchParameters, paths: list[str], scope: Scope, audit: AuditFacts, overlay: Overlay
) -> Decision:
    """The decision when just `paths` shall be watched; without any, what is left of the control's rules goes."""
    unread = content_obstacle(audit_file.RULES_FILE, overlay)
    if unread:
        return Decision("manual", unread)
    try:
        others = other_rules(audit, overlay)
    except UnreadRulesError as error:
        return Decision("unknown", str(error))
    silent = silencer(paths, others, audit.loaded) if paths else ""
    if silent:
        return Decision("manual", f"{silent} keeps the kernel from reporting this, whatever else is loaded: remove it")
    if len(overlay.content(audit_file.RULES_FILE) or b"") > audit_file.MAX_RULES_FILE:
        return Decision("manual", f"{audit_file.RULES_FILE} is larger than any that remediator writes: remove it")
    needed = _needed(control, parameters, paths, others, audit, overlay)
    decision = replace(_stage(control, needed, scope, audit, overlay), unsettled=needed.shared)
    if decision.verdict == "drifted" and parameters.busy and paths:
        return replace(decision, fix="guarded", why_class=_volume(audit))
    return decision


def _needed(
    control: str,
    parameters: AuditWatchParameters,
    paths: list[str],
    others: list[AuditRule],
    audit: AuditFacts,
    overlay: Overlay,
) -> _Needed:
    """What the host has of the watches, and what it lacks."""
    watches = _watches(parameters, paths)
    blocks = audit_file.parse_blocks(overlay.content(audit_file.RULES_FILE) or b"")
    before = next((item for item in blocks if item.control == control), audit_file.Block(control, ()))
    theirs = boot_rules(others)
    own = [rule for block in blocks if block.control != control for rule in block.rules]
    own_by_path = _by_path(own)
    ours = [watch for watch in watches if not watch.covered_in(_by_path(theirs))]
    # Two controls may come to one path: the first that wrote a rule keeps it, so that they do not take turns.
    elsewhere = {rule.words for rule in own}
    alone = [w for w in ours if w.words not in elsewhere and (w.is_in(before) or not w.covered_in(own_by_path))]
    block = audit_file.Block(control, tuple(" ".join(watch.words) for watch in alone))
    present = _by_path(_observed_rules(overlay))
    loaded = _loaded(audit, overlay)
    # The kernel's listing spells both kinds of watch the same: there, below is taken as said.
    listed = _by_path(audit_file.BootRule((), form) for form in loaded)
    wanted = {rule.form for rule in (*theirs, *own, *block.rules)}
    return _Needed(
        watches=watches,
        block=block,
        before=before,
        missing=tuple(watch for watch in watches if not watch.covered_in(listed)),
        stale=tuple(rule.words for rule in before.rules if rule.form not in wanted and rule.form in loaded),
        shared=any(path in own_by_path for path in paths),
        promised=any(watch not in alone and not watch.covered_in(present) for watch in ours),
    )


def _watches(parameters: AuditWatchParameters, paths: list[str]) -> tuple[_Watch, ...]:
    watches = []
    for path in paths:
        words = audit_file.rule_words(path, parameters.access, parameters.key, tree=parameters.tree)
        watches.append(_Watch(path, words, parameters.access, parameters.tree))
    return tuple(watches)


def _observed_rules(overlay: Overlay) -> list[audit_file.BootRule]:
    """What our rules file holds before any edit."""
    facts = overlay.seen.files.get(audit_file.RULES_FILE)
    content = facts.content if facts is not None else None
    return [rule for block in audit_file.parse_blocks(content or b"") for rule in block.rules]


def _loaded(audit: AuditFacts, overlay: Overlay) -> set[AuditForm]:
    """What the kernel has loaded and no control before this one takes away."""
    staged = overlay.rules.get(audit_file.RULES_FILE)
    removed = {normal_form(list(words)) for _, words in staged.removed} if staged is not None else set()
    return {form for form in map(listed_form, audit.loaded) if form is not None and form not in removed}


def _by_path(rules: Iterable[audit_file.BootRule]) -> dict[str, list[audit_file.BootRule]]:
    found: dict[str, list[audit_file.BootRule]] = {}
    for rule in rules:
        if rule.form[0] == "watch":
            found.setdefault(str(rule.form[1]), []).append(rule)
    return found


def _stage(control: str, needed: _Needed, scope: Scope, audit: AuditFacts, overlay: Overlay) -> Decision:
    locked = audit.enabled == 2
    keep = _with_file(needed, overlay)
    boot = missing_directories({watch.path: watch.tree for watch in needed.watches}, audit, overlay)
    stop = stopped(keep, [path for path, _ in boot], audit, overlay) if needed.block.lines else ""
    if stop:
        return Decision("manual", stop)
    if not needed.missing and not needed.stale and keep is None and not boot:
        paths = _several([watch.path for watch in needed.watches])
        return Decision("compliant", f"{paths} watched, now and after a reboot")
    if locked and keep is None and not boot:
        return Decision("pending", "the rules are on disk; the kernel's are locked (enabled 2) until the next reboot")
    due = {audit_file.RULES_FILE: keep is not None, audit_file.TMPFILES: bool(boot)}
    obstacles = [_write_obstacle(path, scope, overlay) for path, is_due in due.items() if is_due]
    if any(obstacles):
        return Decision("manual", next(filter(None, obstacles)))
    if keep is not None:
        overlay.write(control, GROUP, audit_file.RULES_FILE, keep, audit_file.RULES_MODE)
    for path, mode in boot:
        content = audit_file.with_boot_directory(overlay.content(audit_file.TMPFILES), path, mode)
        overlay.write(control, GROUP, audit_file.TMPFILES, content, audit_file.TMPFILES_MODE)
    if not locked:
        words = [watch.words for watch in needed.missing]
        overlay.stage_rules(control, audit_file.RULES_FILE, words, needed.stale)
    return Decision("drifted", _reason(needed, locked), left_over=not needed.watches)


def _write_obstacle(path: str, scope: Scope, overlay: Overlay) -> str:
    directory = path.rpartition("/")[0]
    facts = overlay.seen.files.get(directory)
    if facts is not None and facts.type == "missing":
        return f"{directory} is missing: make it (mode 0755, root:root), then check again"
    return edit_obstacle(path, scope, overlay)


def _with_file(needed: _Needed, overlay: Overlay) -> bytes | None:
    """Our rules file as this control needs it, or None when it need not change."""
    if needed.block.lines == needed.before.lines and not needed.promised:
        return None
    return audit_file.with_block(overlay.content(audit_file.RULES_FILE), needed.block)


def _several(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _reason(needed: _Needed, locked: bool) -> str:
    if not needed.watches:
        return f"left over from what is gone from this host: {_several(list(needed.before.lines))}"
    if locked:
        return "not kept in the rules on disk; the kernel's rules are locked (enabled 2): in force after a reboot"
    if not needed.missing and not needed.kept:
        return f"{_several([watch.path for watch in needed.watches])} watched now, but not after a reboot"
    if needed.missing and needed.kept and needed.before.lines:
        return f"on disk, but not loaded: {_several([watch.path for watch in needed.missing])}"
    if needed.missing:
        return f"no audit rule watches {_several([watch.path for watch in needed.missing])}"
    return "an outdated rule of remediator's is left, or a directory is not made at boot"


def _volume(audit: AuditFacts) -> str:
    halts = [
        f"{name} = {value}"
        for name, value in (
            ("disk_full_action", audit.disk_full_action),
            ("disk_error_action", audit.disk_error_action),
            ("admin_space_left_action", audit.admin_space_left_action),
        )
        if value and value.lower() in ("halt", "single")
    ]
    reason = "every write below a busy directory is logged"
    return f"{reason}, and auditd stops this host when the log's disk is full ({', '.join(halts)})" if halts else reason
