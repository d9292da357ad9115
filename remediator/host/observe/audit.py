"""The kernel's audit rules, what loads them at boot, and what they lean on."""

import os

from remediator.host.common.names import raw, shown, text_of
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import is_there, names_in, read_quietly
from remediator.host.observe.command import Finished, find_program
from remediator.host.observe.state import HostState
from remediator.host.observe.version_sort import version_key

MYPY = False
if MYPY:
    from typing import Any

RULES_DIRECTORY = "/etc/audit/rules.d"
AUDIT_RULES = "/etc/audit/audit.rules"
AUDITD_CONF = "/etc/audit/auditd.conf"
AUDITD_ACTIONS = ("disk_full_action", "disk_error_action", "admin_space_left_action")
TMPFILES_DIRECTORIES = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")
# The numbers that the kernel gives its first namespaces (include/linux/proc_ns.h).
FIRST_PID_NAMESPACE = "pid:[4026531836]"
FIRST_USER_NAMESPACE = "user:[4026531837]"
RULE_PATH = pattern(r"(?:-w|path=|dir=|exe=)\s*((?:[^\s\\]|\\.)+)")
MAX_RULE_PATHS = 2000
# Far more than any host has; what the controller makes of them grows with their number.
MAX_RULES_FILES = 200


def in_first_namespaces() -> "bool":
    """Whether this is the kernel's first PID and user namespace: audit answers nowhere else."""
    try:
        own = (os.readlink("/proc/self/ns/pid"), os.readlink("/proc/self/ns/user"))
    except OSError:
        return True
    return own == (FIRST_PID_NAMESPACE, FIRST_USER_NAMESPACE)


def audit_facts(state: "HostState", status: "Finished | None", rules: "Finished | None") -> "dict[str, Any]":
    """The audit section; `status` and `rules` are what auditctl -s and -l answered, None where they were not run."""
    facts: "dict[str, Any]" = {}
    if not in_first_namespaces():
        facts["scope"] = "container"
        facts["error"] = "the kernel answers for audit in its first PID and user namespace only"
    elif find_program("auditctl") is None:
        facts["scope"] = "absent"
        facts["error"] = "auditctl is not installed"
    elif os.geteuid() != 0 or status is None or rules is None:
        facts["scope"] = "denied"
        facts["error"] = "only root may read the kernel's audit rules"
    else:
        facts.update(kernel_rules(status, rules))
    files = rules_files(state)
    facts["rules_directory"] = os.path.isdir(RULES_DIRECTORY)
    facts["rules_files"] = [shown(path) for path in files]
    loader = state.units["audit-rules.service"]
    facts["loader"] = loader.name if loader.is_loaded else None
    if facts["loader"] is None and state.units["auditd.service"].is_loaded:
        facts["loader"] = "auditd.service"
    facts.update(auditd_actions(text_of(read_quietly(AUDITD_CONF))))
    texts = [text_of(read_quietly(path)) for path in files + [AUDIT_RULES]]
    facts["rule_paths"], facts["rule_directories"] = rule_paths(texts)
    facts["boot_directories"] = boot_directories()
    return facts


def kernel_rules(status: "Finished", rules: "Finished") -> "dict[str, Any]":
    """Scope, state and loaded rules from auditctl's answers."""
    if status.status != 0 or rules.status != 0:
        said = (status.errors + rules.errors).strip() or (status.output + rules.output).strip()
        return {"scope": "error", "error": "auditctl failed: %s" % said[:300]}
    facts: "dict[str, Any]" = {
        "scope": "kernel",
        "loaded": [line for line in rules.output.split("\n") if line.startswith("-")],
    }
    for line in status.output.split("\n"):
        name, _, value = line.partition(" ")
        if name == "enabled" and value.strip().isdigit():
            facts["enabled"] = int(value)
    return facts


def rules_files(state: "HostState") -> "list[str]":
    """The files that augenrules joins, in its order (`ls -v` of *.rules); their content goes under files."""
    names = [name for name in names_in(RULES_DIRECTORY) if name.endswith(".rules") and not name.startswith(".")]
    paths = [RULES_DIRECTORY + "/" + name for name in sorted(names, key=version_key)]
    if len(paths) > MAX_RULES_FILES:
        state.files.problem("%s: only the first %d of its files were read" % (RULES_DIRECTORY, MAX_RULES_FILES))
        paths = paths[:MAX_RULES_FILES]
    for path in paths:
        state.files.add(path, content=True)
    for path in (RULES_DIRECTORY, AUDITD_CONF):
        state.files.add(path)
    state.files.add(AUDIT_RULES, content=True)
    return paths


def auditd_actions(content: "str") -> "dict[str, str]":
    """What auditd does when its disk fills or fails: some settings halt the host (auditd.conf(5))."""
    actions = {}
    for line in content.split("\n"):
        name, joined, value = line.partition("=")
        if joined and name.strip().lower() in AUDITD_ACTIONS:
            actions[name.strip().lower()] = value.strip()[:64]
    return actions


def rule_paths(texts: "list[str]") -> "tuple[dict[str, bool], list[str]]":
    """Every path that a rule names, and its parent, as spelled: whether it is there now; and which are directories.

    Symlinks are followed, as the kernel does when it loads the rule. At most MAX_RULE_PATHS.
    """
    found: "dict[str, bool]" = {}
    directories: "list[str]" = []
    for text in texts:
        for match in RULE_PATH.finditer(text):
            path = match.group(1).replace("\\ ", " ")
            if not path.startswith("/") or len(path) > 4096 or "\0" in path:
                continue
            # auditctl drops a watch's last slash, and keeps it after dir= and path=.
            whole = path.rstrip("/") or "/"
            for place in (path, whole, whole.rpartition("/")[0] or "/"):
                if len(found) < MAX_RULE_PATHS and shown(place) not in found:
                    found[shown(place)] = is_there(place)
                    directories += [shown(place)] if os.path.isdir(raw(place)) else []
    return found, directories


def boot_directories() -> "list[str]":
    """Directories below /run that tmpfiles.d(5) makes, before rules are loaded; a file of the same name in an earlier
    directory replaces a later one.
    """
    files: "dict[str, str]" = {}
    for directory in TMPFILES_DIRECTORIES:
        for name in names_in(directory):
            if name.endswith(".conf"):
                files.setdefault(name, directory + "/" + name)
    made = set()
    for name in sorted(files):
        for line in text_of(read_quietly(files[name])).split("\n"):
            fields = line.split()
            if len(fields) > 1 and fields[0].rstrip("!-+=~^") in ("d", "D", "v", "q", "Q") and "%" not in fields[1]:
                path = fields[1].strip("\"'").replace("/var/run/", "/run/", 1).rstrip("/")
                if path.startswith("/run/"):
                    made.add(path)
    return sorted(made)[:1000]
