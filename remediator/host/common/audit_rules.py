"""Kernel audit rules as values: one normal form for what files say, what auditctl gets and what `auditctl -l` shows.

Pure functions over words. `auditctl -l` rewrites rules (`-a exit,always -F path=P -F perm=war` is listed as
`-w P -p rwa`), so text is never compared, only forms. Sources: auditctl(8), audit.rules(7), and what auditctl 3.0 and
the kernel answered when each of these cases was loaded. What a form cannot tell apart: the listing shows
`never,exit` watches as `-w` too; names of users, groups and system calls are not resolved (root aside); auditctl 4
loads a rule with arch= and perm= but no -S with that perm's own list of system calls, where its words mean all.
"""

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from remediator.host.common.patterns import pattern

# ("watch", path, perms, keys) | ("rule", list, action, syscalls, fields, comparisons, keys)
# | ("delete", one of those) | ("control", option, value)
AuditForm = Tuple[object, ...]

AUDIT_LISTS = ("task", "exit", "user", "exclude", "filesystem", "io_uring")
AUDIT_ACTIONS = ("always", "never")
AUDIT_PERMS = "rwxa"
AUDIT_VERBS = ("-a", "-A", "-d", "-w", "-W")
AUDIT_WITH_VALUE = {*AUDIT_VERBS, "-C", "-F", "-k", "-p", "-S", "-b", "-e", "-f", "-r", "-q", "-m", "-R"}
AUDIT_LONG_WITH_VALUE = {"--backlog_wait_time", "--signal"}
AUDIT_LONG_WITHOUT = {"--loginuid-immutable", "--reset-lost", "--reset_backlog_wait_time_actual"}
AUDIT_WITHOUT_VALUE = {"-D", "-i", "-c", "-t"} | AUDIT_LONG_WITHOUT
AUDIT_ID_FIELDS = {"auid", "uid", "euid", "suid", "fsuid", "obj_uid", "gid", "egid", "sgid", "fsgid", "obj_gid"}
AUDIT_FILE_TYPES = {
    "fifo": "4096",
    "character": "8192",
    "dir": "16384",
    "block": "24576",
    "file": "32768",
    "link": "40960",
    "socket": "49152",
}
AUDIT_ARCHES = {"x86_64": "b64", "aarch64": "b64", "ppc64le": "b64", "s390x": "b64", "i386": "b32", "i686": "b32"}
AUDIT_FIELD = pattern(r"^([a-z0-9_]+)(!=|<=|>=|&=|=|<|>|&)(.*)$", re.DOTALL)
AUDIT_NUMBER = pattern(r"^-?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})$")
AUDIT_LISTED_PERM_FIRST = pattern(r"^ *-p ([rwxa]+)-w (/.*)$", re.DOTALL)
AUDIT_LISTED_WATCH = pattern(r"^-w (/.*?) -p ([rwxa]+)((?: -k .*)?)$", re.DOTALL)
# Kernel limits: AUDIT_MAX_KEY_LEN and PATH_MAX.
AUDIT_MAX_KEY = 256
AUDIT_MAX_PATH = 4096


class AuditWords(NamedTuple):
    """What one rule's options say, in order: `fields` as (name, operator, value)."""

    verb: str  # -a, -A, -d, -w or -W
    target: str  # "list,action" or the watched path
    perms: Optional[str]
    syscalls: Tuple[str, ...]
    fields: Tuple[Tuple[str, str, str], ...]
    comparisons: Tuple[Tuple[str, str, str], ...]
    keys: Tuple[str, ...]


class AuditRule(NamedTuple):
    """One line of a rules file that is neither empty nor a comment. `form` is None where auditctl would refuse it.

    `parsed` is None for that too, and for what neither adds nor deletes one rule.
    """

    source: str
    line: int
    text: str
    words: Tuple[str, ...]
    form: Optional[AuditForm]
    parsed: Optional[AuditWords]


def split_rule(line: str) -> List[str]:
    """The words of one rules-file line as auditctl splits it: at spaces only, `\\ ` is a space, quotes mean nothing."""
    return [word.replace("\0", " ") for word in line.replace("\\ ", "\0").split(" ") if word]


def normal_form(words: List[str]) -> Optional[AuditForm]:
    """The canonical form of one rule given as auditctl's arguments; None where auditctl would refuse them.

    A watch, however spelled, is ("watch", path, perms in the order rwxa, sorted keys). Any other rule is ("rule", list,
    action, sorted system calls, sorted fields, sorted comparisons, sorted keys). `-d` and `-W` give ("delete", form),
    everything else ("control", option, value).
    """
    return read_words(words)[0]


def read_words(words: List[str]) -> Tuple[Optional[AuditForm], Optional[AuditWords]]:
    """The normal form of one rule's words, and for what adds or deletes one rule its parts."""
    options = audit_options(words)
    if not options:
        return None, None
    first = options[0][0]
    if first in AUDIT_VERBS:
        parsed = audit_words(options)
        return (None, None) if parsed is None else (audit_form(parsed), parsed)
    if first == "-D":
        if any(option not in ("-D", "-k") for option, _ in options):
            return None, None
        return ("control", "-D", options[1][1] if len(options) > 1 else ""), None
    lone = len(options) == 1 and first not in ("-k", "-p", "-F", "-S", "-C")
    return ("control", first, options[0][1]) if lone else None, None


def listed_form(line: str) -> Optional[AuditForm]:
    """The canonical form of one line of `auditctl -l`; None for what is no rule (`No rules`) or cannot be read.

    The listing quotes nothing (a path may hold spaces) and prints ` -p wa-w PATH` for a watch whose fields were given
    in that order.
    """
    turned = AUDIT_LISTED_PERM_FIRST.match(line)
    if turned:
        path, dash, keys = turned.group(2).partition(" -k ")
        line = "-w " + path + " -p " + turned.group(1) + dash + keys
    watch = AUDIT_LISTED_WATCH.match(line)
    if watch:
        words = ["-w", watch.group(1), "-p", watch.group(2)]
        for key in watch.group(3).split(" -k ")[1:]:
            words += ["-k", key]
        return normal_form(words)
    return normal_form(line.split())


def audit_options(words: List[str]) -> Optional[List[Tuple[str, str]]]:
    """(option, value) pairs in order, as getopt reads them (`-p wa`, `-pwa`); None on a stray or unknown word."""
    options = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        name, has_value, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:] != "", word[2:])
        if word in AUDIT_WITHOUT_VALUE:
            options.append((word, ""))
        elif name in AUDIT_WITH_VALUE or name in AUDIT_LONG_WITH_VALUE:
            if not has_value:
                if position >= len(words):
                    return None
                value = words[position]
                position += 1
            options.append((name, value))
        else:
            return None
    return options


def audit_words(options: List[Tuple[str, str]]) -> Optional[AuditWords]:
    """The parts of one add or delete rule; None where auditctl would refuse them."""
    verb, target = options[0]
    perms: Optional[str] = None
    syscalls: List[str] = []
    fields: List[Tuple[str, str, str]] = []
    comparisons: List[Tuple[str, str, str]] = []
    keys: List[str] = []
    for option, value in options[1:]:
        field = AUDIT_FIELD.match(value)
        if option == "-k" or (option == "-F" and field and field.group(1) == "key"):
            key = value if option == "-k" else value[4:]
            keys += [key] if key else []
        elif option == "-p" or (option == "-F" and field and field.group(1) == "perm"):
            perms = audit_perms(value if option == "-p" else value[5:])
            if perms is None:
                return None
            if option == "-F":
                fields.append(("perm", "=", perms))
        elif option == "-S":
            syscalls += [name for name in value.split(",") if name]
        elif option == "-F" and field:
            fields.append((field.group(1), field.group(2), audit_value(field.group(1), field.group(3))))
        elif option == "-C" and field and field.group(2) in ("=", "!="):
            comparisons.append((field.group(1), field.group(2), field.group(3)))
        else:
            return None
    if sum(len(key) + 1 for key in keys) > AUDIT_MAX_KEY:
        return None
    return AuditWords(verb, target, perms, tuple(syscalls), tuple(fields), tuple(comparisons), tuple(keys))


def audit_perms(text: str) -> Optional[str]:
    """Access letters in the order rwxa; None where one is unknown."""
    letters = text.lower()
    if not letters or any(letter not in AUDIT_PERMS for letter in letters):
        return None
    return "".join(letter for letter in AUDIT_PERMS if letter in letters)


def audit_value(name: str, value: str) -> str:
    """A field's value as one spelling: numbers in decimal, `unset` ids as -1, root as 0, arch as b64 or b32."""
    if name in AUDIT_ID_FIELDS and value in ("unset", "4294967295", "-1"):
        return "-1"
    if name in AUDIT_ID_FIELDS and value == "root":
        return "0"
    if name == "arch":
        return AUDIT_ARCHES.get(value, value)
    if name == "filetype":
        return AUDIT_FILE_TYPES.get(value, value)
    if name == "success":
        return {"yes": "1", "true": "1", "no": "0", "false": "0"}.get(value, value)
    if AUDIT_NUMBER.match(value):
        return str(int(value, 0) if "x" in value.lower() else int(value))
    return value


def audit_form(parsed: AuditWords) -> Optional[AuditForm]:
    """The normal form of parsed words; None where list, action or path is not valid."""
    deletes = parsed.verb in ("-d", "-W")
    keys = tuple(sorted(parsed.keys))
    fields = parsed.fields
    if parsed.verb in ("-w", "-W"):
        path = parsed.target.rstrip("/") or "/"
        if not parsed.target.startswith("/") or len(path) >= AUDIT_MAX_PATH:
            return None
        where, action = "exit", "always"
        fields = (("path", "=", path), ("perm", "=", parsed.perms or AUDIT_PERMS)) + fields
    else:
        where, _, action = parsed.target.partition(",")
        if where in AUDIT_ACTIONS:
            where, action = action, where
        if where not in AUDIT_LISTS or action not in AUDIT_ACTIONS:
            return None
        fields += (("perm", "=", parsed.perms),) if parsed.perms and not any(f[0] == "perm" for f in fields) else ()
    watched = [value for name, operator, value in fields if name in ("path", "dir") and operator == "="]
    plain = {name for name, _, _ in fields} in ({"path", "perm"}, {"dir", "perm"}) and len(fields) == 2
    whole = parsed.syscalls in ((), ("all",)) and not parsed.comparisons
    form: Optional[AuditForm] = None
    if where == "exit" and action == "always" and plain and whole and watched:
        perms = next(value for name, _, value in fields if name == "perm")
        form = ("watch", watched[0].rstrip("/") or "/", perms, keys)
    else:
        syscalls = tuple(sorted(set(parsed.syscalls))) or (("all",) if where == "exit" else ())
        compared = tuple(sorted((min(a, b), operator, max(a, b)) for a, operator, b in parsed.comparisons))
        form = ("rule", where, action, syscalls, tuple(sorted(fields)), compared, keys)
    return ("delete", form) if deletes else form


def parse_rules(text: str, source: str = "") -> List[AuditRule]:
    """Every rule of one rules file, with its line number from 1; comments and empty lines are left out."""
    return assemble_rules([(source, text)], hoist=False)


def assemble_rules(files: List[Tuple[str, str]], hoist: bool = True) -> List[AuditRule]:
    """The rules of `files` (name, text), in the order in which augenrules makes one audit.rules of them.

    The last plain -D, -b and -f come first and the last -e last, as augenrules puts them (`hoist`). The texts are
    joined as they are: where a file lacks its final newline, the next one's first line becomes part of its last rule.
    """
    lines: List[Tuple[str, int, str]] = []
    glued = False
    for source, text in files:
        for number, line in enumerate(text.split("\n"), 1):
            if glued and number == 1:
                lines[-1] = (lines[-1][0], lines[-1][1], lines[-1][2] + line)
            else:
                lines.append((source, number, line))
        glued = bool(lines)
    rules: List[AuditRule] = []
    hoisted: Dict[str, AuditRule] = {}
    for source, number, line in lines:
        words = split_rule(line)
        if not words or words[0].startswith("#"):
            continue
        form, parsed = (None, None) if "\t" in line else read_words(words)
        rule = AuditRule(source, number, line, tuple(words), form, parsed)
        stripped = line.lstrip()
        if hoist and (stripped[:2] in ("-e", "-f", "-b") or stripped.rstrip() == "-D"):
            hoisted[stripped[:2]] = rule
        else:
            rules.append(rule)
    first = [hoisted[option] for option in ("-D", "-b", "-f") if option in hoisted]
    return first + rules + ([hoisted["-e"]] if "-e" in hoisted else [])
