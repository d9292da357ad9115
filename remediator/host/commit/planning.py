"""What a transaction's actions will do to each path, worked out and compared before the first of them."""

from typing import Dict, List, NamedTuple, Optional, Tuple

from remediator.host.commit.edits import spliced
from remediator.host.commit.entries import Entry, PathEntry, RuleEntry, file_entry, sha256_of
from remediator.host.commit.kernel_audit import loaded_rules, rule_form
from remediator.host.commit.key_install import KeySource
from remediator.host.commit.outcomes import NotStartedError, StepError, plain_line
from remediator.host.commit.places import open_place
from remediator.host.commit.preconditions import difference
from remediator.host.commit.reading import read_file
from remediator.host.commit.request import Action, Transaction
from remediator.host.commit.restoring import Backup, open_backup
from remediator.host.commit.staged_pair import pair_entry
from remediator.host.commit.states import MISSING, PathState, state_at

# What these do needs the old bytes, or leaves none of them.
CHANGES_BYTES = ("write", "edit", "install_key", "restore", "remove")


class Planned(NamedTuple):
    """The entries of a journal-to-be; `contents` are new bytes, by path, and `backups` what is restored from where."""

    entries: List[Entry]
    contents: Dict[str, bytes]
    backups: Dict[str, Backup]

    def entry(self, path: str) -> PathEntry:
        """The entry of a path. Raises StepError for none: a defect of ours."""
        for entry in self.entries:
            if isinstance(entry, PathEntry) and entry.path == path:
                return entry
        raise StepError(plain_line(path) + " was not planned")

    def copies_in(self, directory: str) -> List[str]:
        """The names of the copies that are staged beside files of a directory."""
        entries = [entry for entry in self.entries if isinstance(entry, PathEntry)]
        return [entry.old for entry in entries if entry.old and entry.path.rpartition("/")[0] == directory]


def plan_changes(transaction: Transaction, secret: bytes) -> Planned:
    """What the transaction will change. Raises NotStartedError (stale), StepError, OSError."""
    planned = Planned([], {}, {})
    before: Dict[str, PathState] = {}
    after: Dict[str, PathState] = {}
    rules = loaded_rules() if any(action.rule for action in transaction.actions) else []
    for action in transaction.actions:
        number = len(planned.entries)
        if action.rule is not None:
            was = rule_form(action.rule) in rules
            controls = transaction.controls_of(" ".join(action.rule))
            planned.entries.append(RuleEntry(number, action.rule, controls, was, action.do == "audit_add"))
        elif action.do == "make_key":
            planned.entries.append(pair_entry(number, transaction.controls))
        elif action.path is not None:
            path = transaction.resolved(action.path)
            if path not in before:
                before[path] = after[path] = state_before(path, transaction, action.path)
            after[path] = state_after(action, path, before[path], after[path], planned, secret)
    for path, state in before.items():
        controls = transaction.controls_of(shown_path(transaction, path))
        planned.entries.append(entry_of(len(planned.entries), path, controls, state, after[path]))
    unchanged_since(transaction)
    return planned


def shown_path(transaction: Transaction, real: str) -> str:
    """The path as the preview named it."""
    return next((item.path for item in transaction.preconditions if item.resolved == real), real)


def entry_of(number: int, path: str, controls: Tuple[str, ...], before: PathState, after: PathState) -> PathEntry:
    """The entry of a path, with staged names where its bytes change."""
    if before.sha256 is not None or (after.type == "file" and before.type == "missing"):
        return file_entry(number, path, controls, before, after)
    return PathEntry(number, path, controls, before, after)


def unchanged_since(transaction: Transaction) -> None:
    """Raises NotStartedError (stale) where what the plan was made from is not what the preview saw."""
    for action in transaction.actions:
        wanted = transaction.wanted(action.path or "") if action.do in CHANGES_BYTES else None
        words = difference(wanted) if wanted is not None else ""
        if words:
            raise NotStartedError("stale", words)


def state_before(path: str, transaction: Transaction, shown: str) -> PathState:
    """What is at a path now, with the digest of its bytes where an action changes them. Raises OSError, StepError."""
    with_bytes = any(action.path == shown and action.do in CHANGES_BYTES for action in transaction.actions)
    place = open_place(path)
    try:
        return state_at(place, with_bytes)
    finally:
        place.close()


def state_after(
    action: Action, path: str, before: PathState, now: PathState, planned: Planned, secret: bytes
) -> PathState:
    """What an action makes of a path that is `now` by then. Raises OSError, StepError."""
    if action.do in ("remove", "rmdir"):
        return MISSING
    if action.do == "chmod":
        return now._replace(mode=action.mode)
    if action.do == "chown":
        return now._replace(uid=action.uid, gid=action.gid)
    if action.do == "mkdir":
        return PathState("directory", action.mode, action.uid, action.gid)
    if action.do == "restore":
        backup = planned.backups[path] = open_backup(action.source or "")
        planned.contents[path] = backup.content
        return backup.state
    content = new_content(action, path, before, secret)
    planned.contents[path] = content
    return PathState("file", action.mode, action.uid, action.gid, sha256_of(content), len(content))


def new_content(action: Action, path: str, before: PathState, secret: bytes) -> bytes:
    """The bytes that a write, an edit or an install_key puts at a path. Raises OSError, StepError."""
    if action.do == "write" and action.content is not None:
        return action.content
    if action.do == "edit" and action.splices is not None:
        if before.type != "file":
            raise StepError(plain_line(path) + " is no regular file: there is nothing to edit")
        return spliced(path, read_file(path), action.splices)
    if action.do == "install_key":
        return key_source(action, secret).key()
    raise StepError("commit has no action " + plain_line(action.do))


def key_source(action: Action, secret: bytes) -> KeySource:
    """Where the key of an install_key comes from."""
    return KeySource(action.source or "", action.public_sha256 or "", secret)


def kind_at(transaction: Transaction, action: Action) -> str:
    """What an action's path is by then: a directory where this transaction makes one."""
    if any(other.do == "mkdir" and other.path == action.path for other in transaction.actions):
        return "directory"
    wanted = transaction.wanted(action.path or "")
    return wanted.type if wanted is not None and wanted.type != "missing" else "file"


def attributes_of(backup: Optional[Backup]) -> Optional[Dict[str, bytes]]:
    """The attributes that a restored file gets; None: those of the file that it replaces."""
    return None if backup is None else dict(backup.state.xattrs or {})
