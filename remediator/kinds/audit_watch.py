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
from remediator.host.common.audit_rules import AuditRule, listed_form
from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.obstacle import edit_obstacle
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
    """The watches, our block for them as it should be and as it is, what the kernel lacks and what it has too much."""

    watches: tuple[_Watch, ...]
    block: audit_file.Block
    before: audit_file.Block
    missing: tuple[_Watch, ...]
    stale: tuple[tuple[str, ...], ...]


class AuditWatch(Kind):
    """Decides one watch, and stages the block of rules that is missing."""

    name = "audit_watch"
    parameters = AuditWatchParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The watched paths, the directories of literal ones, our own files and the audit section."""
        assert isinstance(parameters, AuditWatchParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        parents = [path.rpartition("/")[0] or "/" for path in parameters.also]
        own = [audit_file.RULES_FILE, audit_file.TMPFILES]
        return Needs.of([*parameters.places, *parameters.also, *parents], "audit", contents=own)

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Compliant when loaded and kept; drifted with staged rules, or pending where the kernel's rules are locked."""
        assert isinstance(parameters, AuditWatchParameters)  # noqa: S101
        audit = scope.seen.audit
        if audit is None:
            return Decision("unknown", "the host did not answer for its audit rules")
        paths = _paths(parameters, scope)
        refusal = _unable(audit)
        if isinstance(paths, Decision):
            # What is gone needs no watch, and a rule of ours that still names it could stop the load at boot.
            left = paths.verdict == "not_applicable" and refusal is None and _has_block(control, overlay)
            return _decide(control, parameters, [], scope, audit, overlay) if left else paths
        if refusal is not None:
            return refusal
        return _decide(control, parameters, paths, scope, audit, overlay)


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
    for own in (audit_file.RULES_FILE, audit_file.TMPFILES):
        obstacle = edit_obstacle(own, scope, overlay)
        if obstacle:
            return Decision("manual", obstacle)
    try:
        others = other_rules(audit, overlay)
    except UnreadRulesError as error:
        return Decision("unknown", str(error))
    silent = silencer(paths, others, audit.loaded)
    if silent:
        return Decision("manual", f"{silent} keeps the kernel from reporting this, whatever else is loaded: remove it")
    ours = overlay.content(audit_file.RULES_FILE) or b""
    if len(ours) > audit_file.MAX_RULES_FILE:
        return Decision("manual", f"{audit_file.RULES_FILE} is larger than any that remediator writes: remove it")
    decision = _stage(control, _needed(control, parameters, paths, others, ours, audit), audit, overlay)
    if decision.verdict == "drifted" and parameters.busy:
        return replace(decision, fix="guarded", why_class=_volume(audit))
    return decision


def _needed(
    control: str,
    parameters: AuditWatchParameters,
    paths: list[str],
    others: list[AuditRule],
    ours: bytes,
    audit: AuditFacts,
) -> _Needed:
    """What the host has of the watches, and what it lacks."""
    watches = []
    for path in paths:
        words = audit_file.rule_words(path, parameters.access, parameters.key, tree=parameters.tree)
        watches.append(_Watch(path, words, parameters.access, parameters.tree))
    blocks = audit_file.parse_blocks(ours)
    before = next((item for item in blocks if item.control == control), audit_file.Block(control, ()))
    theirs = boot_rules(others)
    own = [rule for block in blocks if block.control != control for rule in block.rules]
    kept = [w for w in watches if not w.covered_in(_by_path(theirs))]
    # Two controls may come to one path: the first that wrote a rule keeps it, so that they do not take turns.
    lines = tuple(
        " ".join(w.words)
        for w in kept
        if not (w.words in {rule.words for rule in own} or (w.covered_in(_by_path(own)) and not w.is_in(before)))
    )
    block = audit_file.Block(control, lines)
    elsewhere = [*theirs, *own]
    loaded = {form for form in map(listed_form, audit.loaded) if form is not None}
    # The kernel's listing spells both kinds of watch the same: there, below is taken as said.
    listed = _by_path(audit_file.BootRule((), form) for form in loaded)
    missing = tuple(w for w in watches if not w.covered_in(listed))
    wanted = {rule.form for rule in (*elsewhere, *block.rules)}
    stale = tuple(rule.words for rule in before.rules if rule.form not in wanted and rule.form in loaded)
    return _Needed(tuple(watches), block, before, missing, stale)


def _by_path(rules: Iterable[audit_file.BootRule]) -> dict[str, list[audit_file.BootRule]]:
    found: dict[str, list[audit_file.BootRule]] = {}
    for rule in rules:
        if rule.form[0] == "watch":
            found.setdefault(str(rule.form[1]), []).append(rule)
    return found


def _stage(control: str, needed: _Needed, audit: AuditFacts, overlay: Overlay) -> Decision:
    locked = audit.enabled == 2
    keep = _with_file(needed.block, needed.before, overlay)
    boot = missing_directories({watch.path: watch.tree for watch in needed.watches}, audit, overlay)
    stop = stopped(keep, [path for path, _ in boot], audit, overlay) if needed.block.lines else ""
    if stop:
        return Decision("manual", stop)
    if not needed.missing and not needed.stale and keep is None and not boot:
        paths = _several([watch.path for watch in needed.watches])
        return Decision("compliant", f"{paths} watched, now and after a reboot")
    if locked and keep is None and not boot:
        return Decision("pending", "the rules are on disk; the kernel's are locked (enabled 2) until the next reboot")
    if keep is not None:
        overlay.write(control, GROUP, audit_file.RULES_FILE, keep, audit_file.RULES_MODE)
    for path, mode in boot:
        content = audit_file.with_boot_directory(overlay.content(audit_file.TMPFILES), path, mode)
        overlay.write(control, GROUP, audit_file.TMPFILES, content, audit_file.TMPFILES_MODE)
    if not locked:
        words = [watch.words for watch in needed.missing]
        overlay.stage_rules(control, audit_file.RULES_FILE, words, needed.stale)
    return Decision("drifted", _reason(needed, locked))


def _with_file(block: audit_file.Block, before: audit_file.Block, overlay: Overlay) -> bytes | None:
    """Our rules file with the new block, or None when it need not change."""
    if block.lines == before.lines:
        return None
    return audit_file.with_block(overlay.content(audit_file.RULES_FILE), block)


def _several(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _reason(needed: _Needed, locked: bool) -> str:
    if locked:
        return "not kept in the rules on disk; the kernel's rules are locked (enabled 2): in force after a reboot"
    kept = needed.block.lines == needed.before.lines
    if not needed.missing and not kept and needed.block.lines:
        return f"{_several([watch.path for watch in needed.watches])} watched now, but not after a reboot"
    if needed.missing and kept and needed.before.lines:
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
