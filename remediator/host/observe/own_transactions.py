"""The transactions that this host holds, as far as a rollback needs them: what was there before, what is there now.

No digest of a file's bytes leaves, since it may hold a secret: whether a path still holds what a transaction wrote is
told by a word. What a document holds beside the fields that are named here stays where it is.
"""

import os
import stat

from remediator.host.common.digest import sha256
from remediator.host.common.names import is_shown, raw, written_name
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import UnreadableError, open_regular, read_descriptor
from remediator.host.observe.own_records import (
    OWN_DIRECTORY,
    is_open,
    lstat_own,
    own_broken,
    own_document,
    own_names,
    own_number,
    own_path,
    own_text,
    own_trouble,
)
from remediator.host.observe.references import MAX_REFERENCE, HostReference, absent, resolved, unknown

MYPY = False
if MYPY:
    from typing import Any

BACKUP_NAME = pattern(r"^[0-9]{1,6}\.before\Z")
MAX_OWN_ENTRIES = 5000
MAX_OWN_PATH = 4095
MAX_OWN_TOTAL = 8388608  # of all documents: characters of their entries' paths, names and words
MAX_OWN_HASHED = 67108864  # bytes of the files that are compared
OWN_REFERENCE = pattern(r"^@transactions\.([0-9A-Za-z]{1,40})\.(access|content)\Z")


class Digests:
    """The digests of what lies at paths: asked of every path once, and kept here."""

    def __init__(self) -> None:
        self.left = MAX_OWN_HASHED
        self.known: "dict[str, str | None]" = {}

    def digest(self, path: "str") -> "str | None":
        """sha256 of the regular file at `path`; empty for what is none, None where it was not read."""
        if path not in self.known:
            self.known[path] = self.read(path)
        return self.known[path]

    def read(self, path: "str") -> "str | None":
        """See digest."""
        try:
            descriptor = open_regular(raw(path))
        except (FileNotFoundError, NotADirectoryError, UnreadableError):
            return ""
        except (OSError, ValueError):
            return None
        try:
            size = os.fstat(descriptor).st_size
            if size > self.left:
                return None
            self.left -= size
            return str(sha256(read_descriptor(descriptor, size + 1)).hexdigest())
        except OSError:
            return None
        finally:
            os.close(descriptor)


def own_transactions() -> "dict[str, Any]":
    """Every transaction that this host holds, newest first. `error`: why that is not known."""
    document: "dict[str, Any]" = {"error": own_trouble(OWN_DIRECTORY), "broken": None, "open": [], "records": []}
    if document["error"] is None:
        document["error"] = own_trouble(OWN_DIRECTORY + "/transactions")
    if document["error"] is not None:
        return document
    now, copies, room = Digests(), Digests(), MAX_OWN_TOTAL
    for name in own_names():
        record = own_record(name, now, copies)
        if record is None:
            continue
        room -= sum(len(str(entry)) for entry in record["entries"])
        if room < 0:
            record["entries"] = []
            record["problem"] = "its entries were left out: this host holds more than can be told at once"
        document["records"].append(record)
        if record["open"]:
            document["open"].append(name)
    document["broken"] = own_broken()
    return document


def own_record(name: "str", now: "Digests", copies: "Digests") -> "dict[str, Any] | None":
    """One transaction; `problem` says why no more is known of it. None where there is neither journal nor record.

    `now` reads what lies at its paths, `copies` what it kept of the bytes that it wrote.
    """
    run, group = name.split(".", 1)
    unfinished = is_open(name)
    path = own_path(name, "journal.json" if unfinished else "record.json")
    if own_trouble(os.path.dirname(path)) is None and lstat_own(path) is None:
        return None
    record: "dict[str, Any]" = {"run": run, "group": group, "open": unfinished, "problem": "", "entries": []}
    try:
        if own_trouble(os.path.dirname(path)) is not None:
            raise UnreadableError("its directory is not root's alone")
        document = own_document(path)
        if (document.get("run"), document.get("group")) != (run, group):
            raise UnreadableError("it is another transaction's")
    except UnreadableError as error:
        return dict(record, problem=str(error))
    for field in ("host", "who", "reason", "undoes"):
        record[field] = own_text(document.get(field))
    for field in ("started", "ended", "place"):
        record[field] = own_number(document.get(field))
    result = document.get("result")
    result = result if isinstance(result, dict) else {}
    record["outcome"] = own_text(result.get("outcome"))
    record["why"] = own_text(result.get("reason"))
    record["recovered"] = document.get("recovered") is True
    record["controls"] = own_texts(document.get("controls"))
    record["activation"] = [step for step in map(own_step, own_mappings(document.get("activation"))) if step]
    record["entries"] = []
    for entry in own_mappings(document.get("entries")):
        told = own_entry(entry, now)
        if told.get("content") == "other":  # what somebody changed since is shown from there on
            told["written"] = written_copy(name, entry, copies)
        record["entries"].append(told)
    return record


def own_mappings(value: "Any") -> "list[dict[str, Any]]":
    """Those items of a list that are mappings, bounded in number."""
    return [item for item in value[:MAX_OWN_ENTRIES] if isinstance(item, dict)] if isinstance(value, list) else []


def own_texts(value: "Any") -> "list[str]":
    """Those items of a list that are texts, bounded."""
    return (
        [own_text(item) for item in value[:MAX_OWN_ENTRIES] if isinstance(item, str)] if isinstance(value, list) else []
    )


def own_step(step: "dict[str, Any]") -> "dict[str, Any]":
    """An activation as it was carried out; empty for what is none."""
    if step.get("do") not in ("daemon_reload", "reload", "restart"):
        return {}
    unit = step.get("unit")
    names = own_texts(step.get("names"))
    return {"do": step["do"], "unit": own_text(unit) if isinstance(unit, str) else None, "names": names or None}


def own_entry(entry: "dict[str, Any]", now: "Digests") -> "dict[str, Any]":
    """One entry: a path, an audit rule, or a key pair of ours (`pair`)."""
    told: "dict[str, Any]" = {"controls": own_texts(entry.get("controls"))}
    if "rule" in entry:
        loaded = [entry.get(when) for when in ("before", "after")]
        return dict(told, rule=own_texts(entry["rule"]), loaded=[value is True for value in loaded])
    if "pair" in entry:
        return dict(told, pair=True)
    path, backup = entry.get("path"), entry.get("backup")
    if not isinstance(path, str) or not path.startswith("/") or len(path) > MAX_OWN_PATH or not is_shown(path):
        return dict(told, problem="it names no path that can be shown as it is")
    before, after = (entry.get(when) for when in ("before", "after"))
    before, after = (state if isinstance(state, dict) else {} for state in (before, after))
    there = isinstance(backup, str) and BACKUP_NAME.match(backup) is not None
    return dict(
        told,
        path=path,
        before=own_path_state(before),
        after=own_path_state(after),
        backup=backup if there else None,
        content=held_or_unknown(path, before, after, now),
    )


def written_copy(name: "str", entry: "dict[str, Any]", copies: "Digests") -> "str | None":
    """The name of the copy of what an entry wrote; None where there is none, or not a whole one."""
    after, number = entry.get("after"), own_number(entry.get("number"))
    if number is None or number >= MAX_OWN_ENTRIES or not isinstance(after, dict) or after.get("type") != "file":
        return None
    copy = written_name(number)
    digest = copies.digest(own_path(name, copy))
    return copy if digest and digest == after.get("sha256") else None


def own_path_state(state: "dict[str, Any]") -> "dict[str, Any]":
    """Type, mode and owner."""
    told: "dict[str, Any]" = {name: own_number(state.get(name)) for name in ("mode", "uid", "gid")}
    return dict(told, type=own_text(state.get("type")))


def held_or_unknown(path: "str", before: "dict[str, Any]", after: "dict[str, Any]", now: "Digests") -> "str | None":
    """What held_content says; `unknown` where the path cannot be looked at."""
    try:
        return held_content(path, before, after, now)
    except OSError:
        return "unknown"


def held_content(path: "str", before: "dict[str, Any]", after: "dict[str, Any]", now: "Digests") -> "str | None":
    """Which content the path holds now: `before`, `after`, `other` or `unknown`; None where content did not change.

    Raises OSError.
    """
    digests = [state.get("sha256") if state.get("type") == "file" else "" for state in (before, after)]
    if digests[0] == digests[1] and before.get("type") == after.get("type"):
        return None
    if "directory" in (before.get("type"), after.get("type")):
        found = lstat_own(path)
        now_is = "missing" if found is None else "directory" if stat.S_ISDIR(found.st_mode) else "other"
        return "after" if now_is == after.get("type") else "before" if now_is == before.get("type") else "other"
    digest = now.digest(path)
    if digest is None or None in digests:
        return "unknown"
    if digest == "" and lstat_own(path) is not None:
        return "other"
    return "after" if digest == digests[1] else "before" if digest == digests[0] else "other"


def transaction_references(names: "list[str]") -> "dict[str, HostReference]":
    """`@transactions.RUN.access` and `.content`: the paths of which RUN changed that, with copies of their bytes."""
    found: "dict[str, HostReference]" = {}
    for name in names:
        asked = OWN_REFERENCE.match(name)
        if asked is not None:
            found[name] = transaction_reference(asked.group(1), asked.group(2) == "content")
    return found


def transaction_reference(run: "str", content: "bool") -> "HostReference":
    """See transaction_references. Only what transactions changed that ended `applied` can be taken back."""
    trouble = own_trouble(OWN_DIRECTORY) or own_trouble(OWN_DIRECTORY + "/transactions")
    if trouble is not None:
        return unknown(trouble)
    paths, written = [], []
    now, copies = Digests(), Digests()
    if not content:
        now.left = copies.left = 0
    for name in own_names():
        record = own_record(name, now, copies) if name.startswith(run + ".") else None
        if record is None or record["open"] or record.get("outcome") != "applied":
            continue
        for entry in record["entries"]:
            if "path" not in entry or (entry["content"] is not None) != content:
                continue
            paths.append((entry["path"], name))
            if content and entry["backup"] is not None:
                paths.append((own_path(name, entry["backup"]), "backup"))
            if content and entry.get("written") is not None:
                written.append((own_path(name, entry["written"]), "written"))
    # What is only shown comes last, and only as far as it keeps nothing else from being looked at.
    paths += written[: max(0, MAX_REFERENCE - len(paths))]
    return resolved(*paths) if paths else absent("this host holds nothing of run %s" % run)
