"""What a host's records say of its paths, in the shape in which an undo asks for it.

Everything here is made once for a host, however many paths and transactions it claims: a hostile journal must not
cost more than its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from remediator.host.common.audit_rules import AuditForm, listed_form
from remediator.observation import FileFacts, Observation
from remediator.own_records import RecordedEntry, RecordedState, RecordedTransaction


@dataclass(frozen=True)
class PathRecord:
    """One path of one transaction: what was there before its first entry, and after its last.

    `backup` and `written` are where the host keeps the bytes of both, null where it does not.
    """

    entries: tuple[RecordedEntry, ...]
    path: str
    before: RecordedState
    after: RecordedState
    content: str | None
    backup: str | None
    written: str | None

    @property
    def controls(self) -> tuple[str, ...]:
        """Who asked for it, each once."""
        return tuple(dict.fromkeys(control for entry in self.entries for control in entry.controls))

    def is_as_left(self, facts: FileFacts) -> bool:
        """Whether the path, which `facts` show, is as the transaction left it."""
        return self.content in (None, "after") and has(facts, self.after)


@dataclass(frozen=True)
class Past:
    """One observation, and what is asked of it again and again."""

    seen: Observation

    @cached_property
    def users(self) -> dict[int, str]:
        """The host's own user names by number, the first one of each."""
        return {number: name for name, number in reversed(self.seen.users.items())}

    @cached_property
    def groups(self) -> dict[int, str]:
        """The host's own group names by number, the first one of each."""
        return {number: name for name, number in reversed(self.seen.groups.items())}

    @cached_property
    def loaded_rules(self) -> set[AuditForm | None] | None:
        """The kernel's audit rules; None where they were not seen."""
        audit = self.seen.audit
        return {listed_form(line) for line in audit.loaded} if audit is not None and audit.scope == "kernel" else None

    def later(self, path: str, facts: FileFacts, run: str) -> RecordedTransaction | None:
        """The newest transaction after `run` that left the path as it is now."""
        for record, recorded in self._standing.get(path, ()):
            if record.run.upper() > run.upper() and recorded.is_as_left(facts):
                return record
        return None

    @cached_property
    def _standing(self) -> dict[str, list[tuple[RecordedTransaction, PathRecord]]]:
        """The transactions that stand by the paths that they changed, the newest first."""
        found: dict[str, list[tuple[RecordedTransaction, PathRecord]]] = {}
        known = self.seen.transactions
        for record in known.records if known is not None else ():
            if record.applied:
                for recorded in path_records(record):
                    found.setdefault(recorded.path, []).append((record, recorded))
        return found


def has(facts: FileFacts, state: RecordedState) -> bool:
    """Whether type, mode and owner are those of `state`."""
    return facts.type == state.type and (state.type == "missing" or (facts.mode, facts.uid, facts.gid) == state.access)


def path_records(record: RecordedTransaction) -> list[PathRecord]:
    """The transaction's paths in the order in which it changed them; a path that was changed twice is one."""
    by_path: dict[str, list[RecordedEntry]] = {}
    for entry in record.entries:
        if entry.path is not None and entry.before is not None and entry.after is not None:
            by_path.setdefault(entry.path, []).append(entry)
    found = []
    for path, entries in by_path.items():
        first, last = entries[0], entries[-1]
        assert first.before is not None and last.after is not None  # noqa: S101, PT018 - chosen above
        changing = next((entry for entry in entries if entry.content is not None), None)
        content, backup, written = None, None, None
        if changing is not None:
            content = changing.content
            backup, written = record.kept_path(changing.backup), record.kept_path(changing.written)
        found.append(PathRecord(tuple(entries), path, first.before, last.after, content, backup, written))
    return found
