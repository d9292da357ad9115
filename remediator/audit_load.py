"""What the kernel makes of a list of audit rules when auditctl -R loads them: which would fail, and where it stops.

A simulation, by what auditctl 3.0 and the kernel answered when each of these cases was loaded, and by
kernel/auditfilter.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from remediator.host.common.audit_rules import AUDIT_PERMS, AuditRule


class AuditFailure(NamedTuple):
    """A rule that would not load at boot, and why; `stops`: nothing after it is loaded either."""

    rule: AuditRule
    reason: str
    stops: bool


class _KernelRule(NamedTuple):
    """What the kernel compares to call two rules duplicates: like the normal form, but fields keep their order."""

    where: str
    action: str
    syscalls: tuple[str, ...]
    fields: tuple[tuple[str, str, str], ...]
    comparisons: tuple[tuple[str, str, str], ...]
    keys: tuple[str, ...]


class _LoadedRules:
    """The kernel's rules while a load is simulated: a multiset (-A adds a rule that is there), found by key as well."""

    def __init__(self) -> None:
        self._counts: dict[_KernelRule, int] = {}
        self._by_key: dict[str, dict[_KernelRule, None]] = {}

    def __contains__(self, rule: _KernelRule) -> bool:
        return rule in self._counts

    def add(self, rule: _KernelRule) -> None:
        """One more of this rule."""
        self._counts[rule] = self._counts.get(rule, 0) + 1
        for key in rule.keys:
            self._by_key.setdefault(key, {})[rule] = None

    def remove(self, rule: _KernelRule) -> None:
        """One less of a rule that is there."""
        self._counts[rule] -= 1
        if not self._counts[rule]:
            self._forget(rule)

    def clear(self, key: str) -> None:
        """What `-D -k KEY` leaves; `-D` without a key leaves nothing."""
        if not key:
            self._counts, self._by_key = {}, {}
        for rule in list(self._by_key.get(key, ())):
            self._forget(rule)

    def _forget(self, rule: _KernelRule) -> None:
        del self._counts[rule]
        for key in set(rule.keys):
            del self._by_key[key][rule]


def simulate_load(
    rules: list[AuditRule], exists: Callable[[str], bool], is_directory: Callable[[str], bool] | None = None
) -> list[AuditFailure]:
    """Which of `rules` would fail when auditctl -R loads them in this order, as it happens at boot.

    `exists(path)` follows symlinks, as the kernel does. Fatal are a line that auditctl cannot read, a missing parent
    directory of a watched file or an exe= program, a missing dir= target, an exact duplicate, the deletion of a rule
    that is not there, and anything after `-e 2`. A file that is missing below an existing directory is fine. Loading
    ends at the first failure unless -c or -i came before. Not judged: unknown users, groups and system calls.
    """
    directory = is_directory or exists
    failures: list[AuditFailure] = []
    loaded = _LoadedRules()
    locked = goes_on = False
    for rule in rules:
        identity = _kernel_rule(rule, directory)
        reason = _fault(rule, identity, loaded, locked, exists, directory)
        if reason:
            failures.append(AuditFailure(rule, reason, not goes_on))
            if not goes_on:
                break
            continue
        form = rule.form or ()
        if form[0] == "control":
            goes_on = goes_on or form[1] in ("-c", "-i")
            locked = locked or form[1:] == ("-e", "2")
            if form[1] == "-D":
                loaded.clear(str(form[2]))
        elif identity is not None and form[0] == "delete":
            loaded.remove(identity)
        elif identity is not None:
            loaded.add(identity)
    return failures


def _kernel_rule(rule: AuditRule, is_directory: Callable[[str], bool]) -> _KernelRule | None:
    """`rule` as the kernel sees it; None for what neither adds nor deletes a rule.

    `-w` becomes a directory's or a file's watch as auditctl decides when it loads.
    """
    parsed = rule.parsed
    form = rule.form[1] if rule.form and rule.form[0] == "delete" else rule.form
    if parsed is None or not isinstance(form, tuple):
        return None
    fields = parsed.fields
    where, action = "exit", "always"
    if parsed.verb in ("-w", "-W"):
        path = parsed.target.rstrip("/") or "/"
        kind = "dir" if is_directory(path) else "path"
        fields = ((kind, "=", path), ("perm", "=", parsed.perms or AUDIT_PERMS), *fields)
    elif form[0] == "rule":
        where, action = str(form[1]), str(form[2])
    syscalls = tuple(sorted(set(parsed.syscalls))) if parsed.syscalls else ("all",)
    return _KernelRule(where, action, syscalls, fields, parsed.comparisons, parsed.keys)


def _fault(
    rule: AuditRule,
    identity: _KernelRule | None,
    loaded: _LoadedRules,
    locked: bool,
    exists: Callable[[str], bool],
    is_directory: Callable[[str], bool],
) -> str:
    """Why this rule, `identity` to the kernel, would not load after those in `loaded`; empty where it would."""
    if rule.form is None:
        return "auditctl cannot read this line"
    if locked:
        return "-e 2 has locked the rules before it"
    if rule.form[0] == "control":
        return ""
    if identity is None:
        return "auditctl cannot read this line"
    if rule.form[0] == "delete":
        return "" if identity in loaded else "it deletes a rule that is not loaded"
    for name, _, value in identity.fields:
        if name == "dir" and not exists(value):
            return f"directory {value} is missing"
        parent = value.rpartition("/")[0] or "/"
        if name in ("path", "exe") and not (value.startswith("/") and is_directory(parent)):
            return f"directory {parent} is missing"
        if name == "path" and value.endswith("/") and value != "/":
            return "a watched file's path cannot end in /"
    # -A asks the kernel for a rule that differs from every appended one: it is never called a duplicate.
    if rule.words[0][:2] != "-A" and identity in loaded:
        return "an identical rule is loaded before it"
    return ""
