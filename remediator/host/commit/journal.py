"""The host's journal: what each transaction is about to change, on disk before its first write, and how it ended.

/var/lib/remediator/transactions/RUN.GROUP/ belongs to one transaction. `journal.json` is there exactly while it is
open, `record.json` once it has ended; `N.before` is what entry N's file was, `N.after` a copy of what was written
there, `activating` says that activation began.
"""

import json
import os
import stat
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from remediator.host.commit.entries import Entry, parse_entries
from remediator.host.commit.files import STAGE_FLAGS, write_fully
from remediator.host.commit.lock import STATE_DIRECTORY, open_state_directory
from remediator.host.commit.outcomes import Result, StepError
from remediator.host.commit.places import DIRECTORY_FLAGS, PLACE_READ_FLAGS
from remediator.host.commit.request import Request, Step, Transaction, parse_steps
from remediator.host.common.patterns import pattern
from remediator.host.common.serve import ProgramError

TRANSACTIONS = b"transactions"
TRANSACTIONS_DIRECTORY = STATE_DIRECTORY + "/transactions"
JOURNAL = b"journal.json"
RECORD = b"record.json"
RECORD_DRAFT = b"record.new"
BROKEN_DRAFT = b"broken.new"
ACTIVATING = b"activating"
OWN_NAME = pattern(r"^[0-9A-Za-z]{1,40}\.[a-z0-9-]{1,64}\Z")
BACKUP_FILE = pattern(rb"^[0-9]{1,6}\.before\Z")
MAX_JOURNAL = 8 * 1024 * 1024
# Room for the record of how it ended, and for the mark of a broken host, is taken beforehand: a full disk must not keep
# either from being written.
RECORD_ROOM = 65536
BROKEN_ROOM = 16384


class Journal(NamedTuple):
    """One transaction's journal. `directory` is the open descriptor of its own directory, `name` that one's name."""

    name: str
    directory: int
    document: Dict[str, Any]
    entries: List[Entry]

    def close(self) -> None:
        """Closes the directory."""
        os.close(self.directory)

    def steps(self, name: str) -> Tuple[Step, ...]:
        """The steps that stand under `activation` or `probe`. Raises ProgramError where they cannot be read."""
        return parse_steps(self.document, name)

    def is_activating(self) -> bool:
        """Whether the activation had begun."""
        return is_in(self.directory, ACTIVATING)

    def note_activating(self) -> None:
        """Puts down that activation begins. Raises OSError."""
        os.close(os.open(ACTIVATING, STAGE_FLAGS, 0o600, dir_fd=self.directory))
        os.fsync(self.directory)

    def end(self, result: Result) -> None:
        """Puts down how it ended, which is from then on what it is. Raises OSError.

        Copies of what was there before stay only where the change stands.
        """
        document = dict(self.document, result=result.document(), ended=int(time.time()))
        replace_content(self.directory, RECORD_DRAFT, RECORD, encoded(document))

    def withdraw(self) -> None:
        """Takes a record back that could not be put on disk for certain: what it says is not so any more."""
        try:
            remove_name(self.directory, RECORD)
            os.fsync(self.directory)
        except OSError:
            pass  # the record of the end that follows takes its place

    def tidy(self, keep: bool) -> None:
        """Drops what only an open transaction needs, the backups unless they are to be kept; the journal last.

        Raises OSError.
        """
        names = [os.fsencode(name) for name in os.listdir(self.directory)]
        for name in names:
            if name == ACTIVATING or (not keep and BACKUP_FILE.match(name) is not None):
                os.unlink(name, dir_fd=self.directory)
        for name in (RECORD_DRAFT, BROKEN_DRAFT, JOURNAL):
            remove_name(self.directory, name)
        os.fsync(self.directory)


def begin_journal(request: Request, transaction: Transaction, entries: List[Entry], running: List[str]) -> Journal:
    """A new journal, on disk. `running` are the containers that run now. Raises OSError, StepError."""
    name = own_name(request.run, transaction.group)
    document = {
        "format_version": 1,
        "run": request.run,
        "host": request.host,
        "group": transaction.group,
        "digest": transaction.digest,
        "who": request.who,
        "reason": request.reason,
        "undoes": request.undoes,
        "started": int(time.time()),
        "monotonic_us": int(time.monotonic() * 1e6),  # as systemd's own times, within one boot
        "boot_id": boot_id(),
        "place": [each.group for each in request.transactions].index(transaction.group),
        "controls": list(transaction.controls),
        "running": running,
        "healthy_seconds": request.healthy_seconds,
        "moves_own_key": any(action.do == "install_key" and action.source == "host" for action in transaction.actions),
        "entries": [entry.document() for entry in entries],
        "activation": [step.document() for step in transaction.activation],
        "probe": [step.document() for step in transaction.probe],
    }
    parent = open_transactions()
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        directory = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        os.fsync(parent)
    finally:
        os.close(parent)
    journal = Journal(name, directory, document, entries)
    try:
        content = encoded(document)
        reserve(directory, RECORD_DRAFT, len(content) + RECORD_ROOM)
        reserve(directory, BROKEN_DRAFT, BROKEN_ROOM)
        replace_content(directory, b"journal.new", JOURNAL, content)
    except BaseException:
        forget(journal)
        raise
    return journal


def forget(journal: Journal) -> None:
    """Removes the journal of a transaction that changed nothing, whatever of it is there, and closes it."""
    try:
        # The journal first: what is left of a directory without one is nothing that anybody recovers.
        for name in [JOURNAL] + [os.fsencode(each) for each in os.listdir(journal.directory)]:
            remove_name(journal.directory, name)
        journal.close()
        parent = open_transactions()
        try:
            os.rmdir(journal.name, dir_fd=parent)
        finally:
            os.close(parent)
    except OSError:
        pass  # an empty directory of our own more


def open_journals() -> List[Journal]:
    """The journals of transactions that never ended, oldest first. Raises ProgramError for one that cannot be read."""
    found = []
    for name, directory in each_transaction():
        if is_in(directory, JOURNAL):
            found.append(read_journal(name, directory))
        else:
            os.close(directory)
    return sorted(found, key=lambda journal: (journal.document["started"], journal.name))


def read_journal(name: str, directory: int) -> Journal:
    """The open journal in `directory`. Raises ProgramError where it is not what this program wrote."""
    try:
        document = read_document(directory, JOURNAL)
        if document.get("format_version") != 1 or own_name(document.get("run"), document.get("group")) != name:
            raise ValueError("it is another transaction's or another version's")
        texts = ("host", "digest", "who", "reason", "boot_id")
        if not all(isinstance(document.get(field), str) for field in texts):
            raise ValueError("a text is missing in it")
        if not isinstance(document.get("started"), int):
            raise ValueError("it does not say when it began")
        return Journal(name, directory, document, parse_entries(document.get("entries")))
    except (OSError, ValueError, StepError, RecursionError) as error:
        os.close(directory)
        raise unreadable(name, str(error))


def unreadable(name: str, why: str) -> ProgramError:
    """The error for a journal that nothing can be recovered from."""
    place = "%s/%s/journal.json" % (TRANSACTIONS_DIRECTORY, name)
    return ProgramError(
        "state",
        "the journal of an interrupted transaction cannot be used (%s: %s), so nothing was changed. Look at what it "
        "names, put that right by hand, remove its directory, then run this again." % (place, why[:200]),
    )


def recorded(run: str, group: str) -> Optional[Dict[str, Any]]:
    """The record of that transaction; None where it never ended or never was. Raises OSError, ValueError."""
    directory = open_transaction(own_name(run, group))
    if directory is None:
        return None
    try:
        return read_document(directory, RECORD) if is_in(directory, RECORD) else None
    finally:
        os.close(directory)


def records() -> List[Tuple[str, Dict[str, Any]]]:
    """Name and record of every transaction that ended, newest first; one that cannot be read is left out."""
    found = []
    for name, directory in each_transaction():
        try:
            document = read_document(directory, RECORD)
            if isinstance(document.get("ended"), int):
                found.append((name, document))
        except (OSError, ValueError, RecursionError):
            pass
        finally:
            os.close(directory)
    return sorted(found, key=lambda item: (item[1]["ended"], item[0]), reverse=True)


def own_name(run: Any, group: Any) -> str:
    """The name of a transaction's directory. Raises StepError where run or group cannot be part of one."""
    name = "%s.%s" % (run, group)
    if OWN_NAME.match(name) is None:
        raise StepError("run and group are no names: %s" % ascii(name)[:100])
    return name


def boot_id() -> str:
    """Which boot of the kernel this is."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read(64).decode("ascii", "replace").strip()


def open_transactions() -> int:
    """A descriptor of the directory of all transactions, made where it is missing. Raises OSError, ProgramError."""
    state = open_state_directory()
    try:
        try:
            os.mkdir(TRANSACTIONS, 0o700, dir_fd=state)
            os.fsync(state)
        except FileExistsError:
            pass
        return own_directory(state, TRANSACTIONS)
    finally:
        os.close(state)


def own_directory(parent: int, name: bytes) -> int:
    """A descriptor of a directory of ours. Raises OSError: ELOOP, ENOTDIR, or EPERM where it is not root's alone."""
    directory = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    facts = os.fstat(directory)
    if facts.st_uid != 0 or facts.st_mode & 0o077:
        os.close(directory)
        raise PermissionError(1, "it is not root's alone", name)
    return directory


def each_transaction(beginning: str = "") -> Iterator[Tuple[str, int]]:
    """Name and open directory of every transaction, those with that beginning; whoever takes one closes it.

    Raises OSError, ProgramError.
    """
    parent = open_transactions()
    try:
        for name in sorted(os.listdir(parent)):
            if not name.startswith(beginning) or OWN_NAME.match(name) is None:
                continue
            try:
                directory = own_directory(parent, name.encode("ascii"))
            except FileNotFoundError:
                continue
            yield name, directory
    finally:
        os.close(parent)


def open_transaction(name: str) -> Optional[int]:
    """A descriptor of one transaction's directory; None where there is none. Raises OSError, ProgramError."""
    parent = open_transactions()
    try:
        return own_directory(parent, name.encode("ascii"))
    except FileNotFoundError:
        return None
    finally:
        os.close(parent)


def is_in(directory: int, name: bytes) -> bool:
    """Whether that name is in an open directory."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_name(directory: int, name: bytes) -> None:
    """Removes a file of ours that may be gone already. Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def encoded(document: Dict[str, Any]) -> bytes:
    """A document as it lies on disk."""
    return json.dumps(document, sort_keys=True, ensure_ascii=True).encode("ascii") + b"\n"


def read_document(directory: int, name: bytes) -> Dict[str, Any]:
    """A JSON mapping in a plain file of root's own. Raises OSError, ValueError."""
    descriptor = os.open(name, PLACE_READ_FLAGS, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != 0 or facts.st_mode & 0o077:
            raise ValueError("it is no plain file of root's alone")
        content = file.read(MAX_JOURNAL + 1)
    if len(content) > MAX_JOURNAL:
        raise ValueError("it is larger than %d bytes" % MAX_JOURNAL)
    document = json.loads(content.decode("ascii"))
    if not isinstance(document, dict):
        raise ValueError("it is no mapping")
    return document


def reserve(directory: int, name: bytes, size: int) -> None:
    """Takes room on the disk for what must be written later, whatever happens. Raises OSError."""
    descriptor = os.open(name, STAGE_FLAGS, 0o600, dir_fd=directory)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def replace_content(directory: int, draft: bytes, name: bytes, content: bytes, target: Optional[int] = None) -> None:
    """`content` under `name`, whole or not at all, by way of `draft`, which may hold room for it. Raises OSError.

    `target` is the directory of `name`, where that is another one.
    """
    into = directory if target is None else target
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600, dir_fd=directory)
    try:
        write_fully(descriptor, content)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=into)
    os.fsync(into)
