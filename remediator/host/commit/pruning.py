"""What a host keeps of ended transactions: the newest, and whatever somebody may still want to undo."""

import os
import time
from typing import Any, Dict, List, Set, Tuple

from remediator.host.commit.journal import (
    JOURNAL,
    RECORD,
    each_transaction,
    is_in,
    open_transaction,
    open_transactions,
    records,
)
from remediator.host.common.serve import ProgramError

DAY = 86400


def prune(keep_count: int, keep_days: int) -> None:
    """Removes the oldest ended transactions beyond `keep_count`, and those older than `keep_days` days.

    Never the first of a path, which holds what was there before remediator came, and never the last that stands.
    """
    try:
        ended = records()
        needed = still_needed(ended)
        limit = time.time() - keep_days * DAY
        for number, (name, document) in enumerate(ended):
            if name not in needed and (number >= keep_count or document["ended"] < limit):
                remove_transaction(name)
    except (OSError, ProgramError):
        pass  # what is left is pruned the next time


def still_needed(ended: List[Tuple[str, Dict[str, Any]]]) -> Set[str]:
    """Names of the transactions that hold a path's first or its last change, of those that stand.

    What an undo took back stands no more: then the one before it is the last, and the undo itself is kept as well.
    """
    first: Dict[str, str] = {}
    last: Dict[str, str] = {}
    undos: Dict[str, str] = {}
    taken_back: Set[Tuple[str, str]] = set()
    for name, document in ended:  # newest first
        result = document.get("result")
        if not isinstance(result, dict) or result.get("outcome") != "applied":
            continue
        undone = document.get("undoes")
        for path in entry_names(document):
            first[path] = name
            if (path, str(document.get("run"))) in taken_back:
                continue
            if isinstance(undone, str) and undone:
                taken_back.add((path, undone))
                undos.setdefault(path, name)
            else:
                last.setdefault(path, name)
    return set(first.values()) | set(last.values()) | set(undos.values())


def entry_names(document: Dict[str, Any]) -> List[str]:
    """The paths and rules of a record, whatever else stands in it."""
    entries = document.get("entries")
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [str(entry.get("path") or entry.get("rule") or entry.get("pair")) for entry in found]


def remove_transaction(name: str) -> None:
    """Removes a transaction's directory with its backups. Raises OSError, ProgramError."""
    directory = open_transaction(name)
    if directory is None:
        return
    try:
        # The record first: who is interrupted leaves no record of backups that are gone.
        for entry in sorted(os.listdir(directory), key=lambda name: name != "record.json"):
            os.unlink(os.fsencode(entry), dir_fd=directory)
    finally:
        os.close(directory)
    remove_directory(name)


def remove_directory(name: str) -> None:
    """Removes an empty transaction directory; one that is not empty stays."""
    parent = open_transactions()
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError:
        pass
    finally:
        os.close(parent)


def remove_unbegun() -> None:
    """Removes directories without journal and record: of transactions that were killed before they had a journal.

    Their names are free again, so the same run may ask again.
    """
    try:
        for name, directory in each_transaction():
            if is_unbegun(directory):
                remove_transaction(name)
    except (OSError, ProgramError):
        pass  # it holds nothing that anybody needs


def is_unbegun(directory: int) -> bool:
    """Whether a transaction's directory, closed by this, has neither journal nor record. Raises OSError."""
    try:
        return not is_in(directory, JOURNAL) and not is_in(directory, RECORD)
    finally:
        os.close(directory)
