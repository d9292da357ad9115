"""What this host knows of our own changes to it: transactions that were interrupted, and how the last one ended.

/var/lib/remediator is root's alone; what lies there may be anything all the same, and is read as such.
"""

import json
import os
import re
import stat

from remediator.host.common.names import raw, shown, text_of
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import UnreadableError, names_in, read_proc, read_regular, reason_of

MYPY = False
if MYPY:
    from typing import Any

OWN_DIRECTORY = "/var/lib/remediator"
OWN_NAME = pattern(r"^([0-9A-Za-z]{1,40})\.([a-z0-9-]{1,64})\Z")
MAX_OWN_NAMES = 100000
MAX_OWN_RECORDS = 200
MAX_OWN_DOCUMENT = 1048576
MAX_OPEN_DOCUMENT = 8388608  # as much as commit reads of a journal
MAX_OWN_TEXT = 1000
MAX_OWN_UNITS = 100
# Of /proc/locks: `3: FLOCK  ADVISORY  WRITE 812 00:2e:1843 0 EOF`.
HELD_LOCK = pattern(r"^\d+: FLOCK .* (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)


def own_state() -> "dict[str, Any]":
    """Open transactions, the broken mark, the newest ended transaction, and who changes the host right now."""
    document: "dict[str, Any]" = {"error": None, "open": [], "broken": None, "last": None, "holder": None}
    document["error"] = own_trouble(OWN_DIRECTORY)
    if document["error"] is not None or lstat_own(OWN_DIRECTORY) is None:
        return document
    names = own_names()
    document["open"] = [open_transaction_facts(name) for name in names if is_open(name)]
    document["broken"] = own_broken()
    document["last"] = last_ended(names)
    document["holder"] = lock_holder()
    return document


def own_trouble(path: "str") -> "str | None":
    """Why a directory of ours cannot be looked into; None where it can, or is not there."""
    try:
        found = lstat_own(path)
    except OSError as error:
        return "%s: %s" % (path, reason_of(error))
    if found is None:
        return None
    if os.geteuid() != 0:
        return "unreadable: %s is root's alone, and this host was reached without root" % path
    if not stat.S_ISDIR(found.st_mode) or not is_ours(found):
        return "%s is no directory of root's alone, so nothing in it is believed" % path
    return None


def lstat_own(path: "str") -> "os.stat_result | None":
    """lstat; None where nothing is. Raises OSError for everything else."""
    try:
        return os.lstat(raw(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_ours(found: "os.stat_result") -> "bool":
    """Whether only root can have written it."""
    return found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def own_names() -> "list[str]":
    """The names RUN.GROUP of the newest transactions, newest run first."""
    top = OWN_DIRECTORY + "/transactions"
    if own_trouble(top) is not None:
        return []
    names = [name for name in names_in(top, MAX_OWN_NAMES) if OWN_NAME.match(name) is not None]
    return names[::-1][:MAX_OWN_RECORDS]


def own_path(name: "str", file: "str") -> "str":
    """The path of a file of one transaction."""
    return "/".join((OWN_DIRECTORY, "transactions", name, file))


def is_open(name: "str") -> "bool":
    """Whether that transaction was begun and never ended."""
    if own_trouble(OWN_DIRECTORY + "/transactions/" + name) is not None:
        return False
    return lstat_own(own_path(name, "journal.json")) is not None and lstat_own(own_path(name, "record.json")) is None


def own_document(path: "str", limit: "int" = MAX_OWN_DOCUMENT) -> "dict[str, Any]":
    """A JSON object that only root can have written. Raises UnreadableError, with the reason."""
    try:
        found = os.lstat(raw(path))
    except OSError as error:
        raise UnreadableError(reason_of(error))
    if not is_ours(found):
        raise UnreadableError("others than root could have written it")
    try:
        document = json.loads(text_of(read_regular(raw(path), limit)))
    except (ValueError, RecursionError):
        raise UnreadableError("it is no JSON")
    if not isinstance(document, dict):
        raise UnreadableError("it is no JSON object")
    return document


def own_text(value: "Any") -> "str":
    """A text of a document, bounded; empty for what is none."""
    return shown(value[:MAX_OWN_TEXT]) if isinstance(value, str) else ""


def own_number(value: "Any") -> "int | None":
    """A whole number that fits 63 bits and is not negative; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def open_transaction_facts(name: "str") -> "dict[str, Any]":
    """Who began an open transaction, when, and what rolling it back restarts; `problem` says why that is not known."""
    run, group = name.split(".", 1)
    facts: "dict[str, Any]" = {"run": run, "group": group, "who": "", "started": None, "restarts": [], "problem": ""}
    try:
        document = own_document(own_path(name, "journal.json"), MAX_OPEN_DOCUMENT)
    except UnreadableError as error:
        return dict(facts, problem=str(error))
    if document.get("format_version") != 1 or (document.get("run"), document.get("group")) != (run, group):
        return dict(facts, problem="it is another transaction's or another version's")
    told = {"who": own_text(document.get("who")), "started": own_number(document.get("started"))}
    return dict(facts, restarts=restarts_again(name, document), **told)


def restarts_again(name: "str", document: "dict[str, Any]") -> "list[str]":
    """The units that are restarted when that open transaction is rolled back; none where none had read its change."""
    begun = lstat_own(own_path(name, "activating")) is not None
    if not begun and document.get("boot_id") == text_of(read_proc("/proc/sys/kernel/random/boot_id", 64)).strip():
        return []
    steps = document.get("activation")
    steps = [step for step in steps[:MAX_OWN_UNITS] if isinstance(step, dict)] if isinstance(steps, list) else []
    units = [own_text(step.get("unit")) for step in steps if step.get("do") == "restart"]
    return list(dict.fromkeys(unit for unit in units if unit))


def own_broken() -> "dict[str, Any] | None":
    """Which transaction ended broken, so that nothing more is committed here; a mark that cannot be read counts."""
    path = OWN_DIRECTORY + "/broken.json"
    if lstat_own(path) is None:
        return None
    try:
        document = own_document(path)
    except UnreadableError as error:
        return {"run": "", "group": "", "reason": "%s cannot be read: %s" % (path, error), "since": None}
    texts = {name: own_text(document.get(name)) for name in ("run", "group", "reason")}
    return dict(texts, since=own_number(document.get("since")))


def last_ended(names: "list[str]") -> "dict[str, Any] | None":
    """How the newest transaction that has ended did; None where there is none."""
    found: "list[tuple[int, dict[str, Any]]]" = []
    for name in names:
        if found and not name.startswith(found[0][1]["run"] + "."):
            break
        try:
            document = own_document(own_path(name, "record.json"))
        except UnreadableError:
            continue
        run, group = name.split(".", 1)
        result = document.get("result")
        result = result if isinstance(result, dict) else {}
        ended = own_number(document.get("ended"))
        facts = {
            "run": run,
            "group": group,
            "outcome": own_text(result.get("outcome")),
            "reason": own_text(result.get("reason")),
            "ended": ended,
            "recovered": document.get("recovered") is True,
        }
        found.append((ended or 0, facts))
    return max(found, key=lambda item: item[0])[1] if found else None


def lock_holder() -> "dict[str, Any] | None":
    """The run that holds this host's lock now, as it signed; None where nobody does. The lock itself is left alone."""
    path = OWN_DIRECTORY + "/lock"
    found = lstat_own(path)
    if found is None:
        return None
    try:
        document = own_document(path)
    except UnreadableError:
        document = {}
    # The inode alone may be another filesystem's, and its device is not what stat(2) says on btrfs: the process that
    # signed it tells. Who has the lock and has not signed it yet is not told.
    held = HELD_LOCK.finditer(text_of(read_proc("/proc/locks", 1048576)))
    holder = (str(document.get("pid")), str(found.st_ino))
    if not any((line.group(1), line.group(2)) == holder for line in held):
        return None
    texts = {name: own_text(document.get(name)) for name in ("run", "who")}
    return dict(texts, started=own_number(document.get("started")))
