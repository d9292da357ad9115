"""What becomes of audit rules at the next boot: which are loaded, in which order, and what stops them.

A simulation of augenrules and auditctl -R over what observe saw, so that a rule of ours is only ever written where it
will load and stops nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from remediator import audit_file
from remediator.audit_file import BootRule
from remediator.audit_load import simulate_load
from remediator.host.common.audit_rules import AuditForm, AuditRule, assemble_rules, listed_form
from remediator.observation import AuditFacts
from remediator.overlay import Overlay
from remediator.text import one_line

_VOLATILE = ("/run/", "/var/run/", "/tmp/", "/dev/")  # noqa: S108 - places that are empty at boot, not used
# More rules than any host has: simulating their load takes a second.
_MAX_RULES = 10_000
# Observe answers for no more rules files than this.
_MAX_FILES = 200


class UnreadRulesError(Exception):
    """The boot-time load cannot be told; `str()` says why, with the file."""


def other_rules(audit: AuditFacts, overlay: Overlay) -> list[AuditRule]:
    """Everybody else's rules, in the order in which they are loaded at boot. Raises UnreadRulesError."""
    files = []
    if len(audit.rules_files) >= _MAX_FILES:
        raise UnreadRulesError(f"/etc/audit/rules.d holds {_MAX_FILES} files or more: their load is not simulated")
    for path in audit.rules_files:
        if path == audit_file.RULES_FILE:
            continue
        facts = overlay.seen.files.get(path)
        if facts is None or facts.content is None:
            why = facts.error if facts is not None and facts.error else "the host did not answer"
            raise UnreadRulesError(f"{one_line(path, 200)} cannot be read ({why}), so the boot-time load is unknown")
        files.append((path, facts.content.decode("utf-8", "replace")))
    if sum(text.count("\n") for _, text in files) > _MAX_RULES:
        raise UnreadRulesError(f"/etc/audit/rules.d holds over {_MAX_RULES} lines: the boot-time load is not simulated")
    return assemble_rules(files)


def boot_rules(rules: Iterable[AuditRule]) -> list[BootRule]:
    """Those rules that auditctl would take."""
    return [BootRule(rule.words, rule.form) for rule in rules if rule.form is not None]


def silencer(paths: list[str], rules: Iterable[AuditRule], loaded: Iterable[str]) -> str:
    """The rule that keeps the kernel from reporting changes of `paths` whatever else is loaded; empty without one.

    `-a never,task` switches auditing off for every process; an `exit,never` rule that stands before ours wins over it
    (auditctl(8)).
    """
    for rule in rules:
        if rule.form is not None and _silences(rule.form, paths):
            return f"{one_line(rule.source, 200)} line {rule.line} ({one_line(rule.text.strip(), 200)})"
    for line in loaded:
        form = listed_form(line)
        if form is not None and _silences(form, paths):
            return f"the loaded rule {one_line(line, 200)}"
    return ""


def _silences(form: AuditForm, paths: list[str]) -> bool:
    if form[0] != "rule" or form[2] != "never":
        return False
    fields = form[4]
    if form[1] == "task":
        return fields == ()
    if form[1] != "exit" or not isinstance(fields, tuple):
        return False
    named = [value for name, operator, value in fields if name in ("path", "dir") and operator == "="]
    return any(path == name or path.startswith(f"{name.rstrip('/')}/") for name in named for path in paths)


def missing_directories(paths: dict[str, bool], audit: AuditFacts, overlay: Overlay) -> list[tuple[str, int]]:
    """Directories below /run, with modes, that our rules lean on and that nothing makes before rules are loaded.

    `paths` are what is watched, and whether the watch goes below it.
    """
    made = {*audit.boot_directories, *audit_file.boot_directories(overlay.content(audit_file.TMPFILES))}
    wanted: dict[str, int] = {}
    for path, below in paths.items():
        if not path.startswith("/run/"):
            continue
        directory = path if below else path.rpartition("/")[0]
        if directory != "/run" and directory not in made:
            facts = overlay.seen.files.get(directory)
            wanted[directory] = facts.mode if facts is not None and facts.type == "directory" else 0o711
    return list(wanted.items())


def stopped(keep: bytes | None, boot: list[str], audit: AuditFacts, overlay: Overlay) -> str:
    """Why loading would stop before or at our rules; empty when they load and stop nobody.

    `keep` is our rules file as it will be (None: as it is), `boot` are directories that we make at boot.
    """
    ours = keep if keep is not None else overlay.content(audit_file.RULES_FILE)
    files = []
    for path in sorted({*audit.rules_files, audit_file.RULES_FILE}, key=lambda path: _load_order(path, audit)):
        facts = overlay.seen.files.get(path)
        content = ours if path == audit_file.RULES_FILE else facts.content if facts is not None else None
        files.append((path, (content or b"").decode("utf-8", "replace")))
    rules = assemble_rules(files)
    staged = audit_file.boot_directories(overlay.content(audit_file.TMPFILES))
    exists, is_directory = _at_boot([*audit.boot_directories, *staged, *boot], audit, overlay)
    stop = next((failure for failure in simulate_load(rules, exists, is_directory) if failure.stops), None)
    ours_at = [index for index, rule in enumerate(rules) if rule.source == audit_file.RULES_FILE]
    if stop is None or not ours_at or ours_at[-1] < rules.index(stop.rule):
        return ""
    return (
        f"{one_line(stop.rule.source, 200)} line {stop.rule.line} stops the loading of audit rules at boot "
        f"({one_line(stop.reason, 200)}), so ours would be gone after a reboot: correct that line first"
    )


def _load_order(path: str, audit: AuditFacts) -> tuple[int, str]:
    """augenrules' order: the host's own, with our file at its place by name where it is not there yet."""
    if path in audit.rules_files:
        return audit.rules_files.index(path) * 2, path
    return sum(1 for other in audit.rules_files if other < path) * 2 - 1, path


def _at_boot(
    boot: list[str], audit: AuditFacts, overlay: Overlay
) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Whether a path exists, and whether it is a directory, when rules are loaded at boot."""
    directories = set(audit.rule_directories)

    def below_run(path: str) -> bool:
        path = path.replace("/var/run/", "/run/", 1) if path.startswith("/var/run/") else path
        return path == "/run" or any(each == path or each.startswith(path + "/") for each in boot)

    def exists(path: str) -> bool:
        if path in ("/run", "/var/run") or path.startswith(_VOLATILE):
            return below_run(path)
        facts = overlay.seen.files.get(path)
        if facts is not None:
            return facts.type != "missing"
        return audit.rule_paths.get(path, True)

    def is_directory(path: str) -> bool:
        if path in ("/run", "/var/run") or path.startswith(_VOLATILE):
            return below_run(path)
        facts = overlay.seen.files.get(path)
        if facts is not None and facts.type != "symlink":
            return facts.type == "directory"
        # What was not asked about is a parent of somebody's rule on a host that did not list it: taken as there.
        return path in directories if path in audit.rule_paths else True

    return exists, is_directory
