"""Undo of paths: each as it was before a run, while it still is what that run left; else refused, by name and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from remediator.host.commit.roots import refusal
from remediator.kinds.interface import Scope
from remediator.kinds.obstacle import access_obstacle, open_above
from remediator.observation import FileFacts, Observation, path_is_plain
from remediator.overlay import Overlay, unified_diff
from remediator.own_records import RecordedEntry, RecordedTransaction
from remediator.plan import Action, Change, Precondition, State, Step, Undo
from remediator.surroundings import Surroundings
from remediator.text import one_line
from remediator.undo_past import Past, PathRecord, has, path_records

_FORCE = "--force takes it back all the same"
_CHANGEABLE = ("missing", "file", "directory", "socket")


@dataclass(frozen=True)
class Piece:
    """One change of an undo and what carries it out; `refusal` says why it is held, `content` whether bytes change."""

    change: Change
    preconditions: tuple[Precondition, ...]
    actions: tuple[Action, ...]
    probe: tuple[Step, ...]
    content: bool
    refusal: str = ""

    def refused(self, why: str) -> Piece:
        """The same, held back, with the reason where a preview shows it."""
        details = (*self.change.details, one_line(f"refused: {why}", 2000))
        return replace(self, refusal=why, change=self.change.model_copy(update={"details": details}))


@dataclass(frozen=True)
class Look:
    """What pieces are made from: what was asked for, the record, and the host with what is taken back before."""

    undo: Undo
    roots: tuple[str, ...]
    record: RecordedTransaction
    past: Past
    staged: Overlay

    @property
    def seen(self) -> Observation:
        """The host as observed."""
        return self.staged.seen


def asked_for(entry: RecordedEntry, undo: Undo) -> bool:
    """Whether the controls that were named ask for this entry; without any, all do."""
    return not undo.controls or bool(set(entry.controls).intersection(undo.controls))


def shared_with(entries: Iterable[RecordedEntry], undo: Undo) -> str:
    """Which controls, not named, asked for the same; empty where none did."""
    others = {control for entry in entries for control in entry.controls}.difference(undo.controls)
    if not undo.controls or not others:
        return ""
    named = ", ".join(sorted(others))
    return f"{named} asked for it too: name {'it' if len(others) == 1 else 'them'} with --control as well"


def undone_words(controls: Iterable[str]) -> str:
    """What a change takes back, for a preview."""
    return one_line(f"takes back {', '.join(controls)}", 2000)


def stage_access(staged: Overlay, pieces: Iterable[Piece]) -> None:
    """Note which directories these pieces give back, or take back: what lies below is trusted by that afterwards."""
    for piece in pieces:
        after = piece.change.after
        facts = staged.seen.files.get(piece.change.path)
        if after.type == "directory" and facts is not None and facts.type == "directory":
            owner, group = (after.user or "", after.uid or 0), (after.group or "", after.gid or 0)
            path = piece.change.path
            staged.set_access("", "", path, mode=after.mode, owner=owner, group_owner=group)


def path_pieces(look: Look) -> Iterator[Piece]:
    """A piece for each path that is not as it was before the transaction, the last one first."""
    for recorded in reversed(path_records(look.record)):
        facts = look.seen.files.get(recorded.path, FileFacts(type="unreadable", error="it was not looked at"))
        if not any(asked_for(entry, look.undo) for entry in recorded.entries) or _is_before(recorded, facts):
            continue
        piece = _piece(recorded, facts, look)
        why = (
            shared_with(recorded.entries, look.undo)
            or _obstacle(recorded, facts, look)
            or ("" if look.undo.force else _changed_since(recorded, facts, look))
        )
        yield piece.refused(why) if why else piece


def _is_before(recorded: PathRecord, facts: FileFacts) -> bool:
    return recorded.content in (None, "before") and has(facts, recorded.before)


def _changed_since(recorded: PathRecord, facts: FileFacts, look: Look) -> str:
    """Who changed the path since the run, and what; empty where it is as the run left it."""
    if recorded.is_as_left(facts):
        return ""
    later = look.past.later(recorded.path, facts, look.record.run)
    if later is not None:
        return f"run {later.run} changed it since: roll that back first, or {_FORCE}"
    return f"somebody changed it since run {look.record.run}: {_differences(recorded, facts)}; {_FORCE}"


def _differences(recorded: PathRecord, facts: FileFacts) -> str:
    """What is not as the run left it, in words."""
    after = recorded.after
    if facts.type != after.type:
        return f"it is {facts.type} now, and was {after.type} then"
    words = []
    if recorded.content not in (None, "after"):
        held = {"before": "the bytes from before the run", "other": "other bytes than the run wrote"}
        words.append(f"it holds {held.get(recorded.content or '', 'bytes that could not be compared')}")
    if facts.type != "missing" and facts.mode != after.mode:
        words.append(f"its mode is {facts.mode:04o}, and was {after.mode or 0:04o} then")
    if facts.type != "missing" and (facts.uid, facts.gid) != (after.uid, after.gid):
        words.append(f"its owner is {facts.uid}:{facts.gid}, and was {after.uid}:{after.gid} then")
    return " and ".join(words)


def _obstacle(recorded: PathRecord, facts: FileFacts, look: Look) -> str:
    """What keeps commit from putting the path back, whoever asks; empty when nothing does."""
    if facts.type not in _CHANGEABLE:
        return f"{facts.error}" if facts.type == "unreadable" and facts.error else f"it is a {facts.type} now"
    if facts.type != "missing":
        scope = Scope(look.seen, Surroundings(datetime.min), {}, look.roots)
        reason = access_obstacle(recorded.path, facts, scope, look.staged)
        if reason or not facts.mount_point or recorded.content is None:
            return reason or _kind_obstacle(recorded, facts, look)
        return "it is a mount point, whose content cannot be replaced"
    if not path_is_plain(recorded.path, facts):
        return "its name has characters that cannot be shown as they are"
    above = open_above(recorded.path, facts, look.staged)
    if above:
        return f"it would lie below {above[0]}, which others than root can write: repair that first"
    if facts.read_only:
        return "it would lie on a filesystem that is mounted read-only"
    return refusal(recorded.path, look.roots) or _kind_obstacle(recorded, facts, look)


def _kind_obstacle(recorded: PathRecord, facts: FileFacts, look: Look) -> str:
    """Why what is there now cannot become what was there before."""
    before = recorded.before.type
    if before == "file" and recorded.content is not None:
        kept = look.seen.files.get(recorded.backup or "")
        if kept is None or kept.type != "file":
            return "its bytes from before are no longer kept on this host"
        return "" if facts.type in ("file", "missing") else f"it is a {facts.type} now, and was a file"
    if before == "directory" and facts.type == "missing":
        return ""
    if before != "missing" and facts.type != before:
        return f"it is {facts.type} now, and was a {before}"
    if before == "missing" and facts.type == "socket":
        return "it is a socket now"
    return ""


def _piece(recorded: PathRecord, facts: FileFacts, look: Look) -> Piece:
    """The change of one path, and what carries it out where nothing stands against it."""
    before = recorded.before
    content = recorded.content is not None
    kept = look.seen.files.get(recorded.backup or "")
    since, unshown = _since(recorded, facts, look.seen.files.get(recorded.written or ""))
    details = [undone_words(recorded.controls), *_unshown(recorded, facts, kept), *unshown]
    change = Change(
        controls=recorded.controls,
        what="remove" if before.type == "missing" else _what(facts, content),
        path=recorded.path,
        before=_state(facts, with_content=content),
        after=_after(recorded, kept, look.past),
        diff=_diff(recorded, facts, kept),
        since=since,
        details=tuple(details),
    )
    probe: tuple[Step, ...] = ()
    if before.type != "missing":
        probe = (Step(do="mode_is", path=recorded.path, mode=before.mode, uid=before.uid, gid=before.gid),)
    return Piece(change, (_precondition(recorded, facts),), _actions(recorded, facts), probe, content)


def _what(facts: FileFacts, content: bool) -> str:
    return "create" if facts.type == "missing" else "content" if content else "access"


def _actions(recorded: PathRecord, facts: FileFacts) -> tuple[Action, ...]:
    before, path = recorded.before, recorded.path
    if before.type == "missing":
        return (Action(do="rmdir" if facts.type == "directory" else "remove", path=path),)
    if before.type == "directory" and facts.type == "missing":
        return (Action(do="mkdir", path=path, mode=before.mode, uid=before.uid, gid=before.gid),)
    if recorded.content is not None and recorded.backup is not None:
        return (Action(do="restore", path=path, source="/".join(recorded.backup.rsplit("/", 2)[1:])),)
    owner = (Action(do="chown", path=path, uid=before.uid, gid=before.gid),)
    # After a change of owner too: the kernel clears setuid and setgid bits then (chown(2)).
    mode = (Action(do="chmod", path=path, mode=before.mode),)
    if (facts.uid, facts.gid) != (before.uid, before.gid):
        return (*owner, *mode)
    return mode


def _precondition(recorded: PathRecord, facts: FileFacts) -> Precondition:
    """The path as it is now: of its bytes only where they are replaced or removed."""
    resolved = facts.resolved or recorded.path
    if facts.type not in _CHANGEABLE or facts.type == "missing":
        return Precondition(path=recorded.path, resolved=resolved, type="missing")
    found: dict[str, object] = {"type": facts.type, "mode": facts.mode, "uid": facts.uid, "gid": facts.gid}
    if recorded.content is not None and facts.type == "file":
        found["sha256"] = facts.sha256
        found["masked"] = bool(facts.masked)
        if facts.sha256 is None or facts.masked:
            # Its bytes never leave the host: what changes with them tells that they are still the same.
            identity = ("ino", "dev", "size", "mtime_ns", "ctime_ns")
            found.update({name: getattr(facts, name) for name in identity})
    return Precondition.model_validate({"path": recorded.path, "resolved": resolved, **found})


def _state(facts: FileFacts, with_content: bool) -> State:
    if facts.type not in _CHANGEABLE or facts.type == "missing":
        return State(type="missing")
    found = {name: getattr(facts, name) for name in ("type", "mode", "uid", "gid", "user", "group")}
    shown = with_content and not facts.masked
    return State.model_validate({**found, "sha256": facts.sha256 if shown else None})


def _after(recorded: PathRecord, kept: FileFacts | None, past: Past) -> State:
    before = recorded.before
    if before.type == "missing":
        return State(type="missing")
    return State(
        type=before.type,
        mode=before.mode,
        uid=before.uid,
        gid=before.gid,
        user=past.users.get(before.uid) if before.uid is not None else None,
        group=past.groups.get(before.gid) if before.gid is not None else None,
        sha256=kept.sha256 if kept is not None and not kept.masked else None,
    )


def _diff(recorded: PathRecord, facts: FileFacts, kept: FileFacts | None) -> str:
    """From what is there now to what was there before, as far as both may be shown."""
    if recorded.content is None or (facts.content is None and facts.type != "missing"):
        return ""
    if recorded.before.type == "missing":
        return unified_diff(recorded.path, facts.content, b"") if facts.content is not None else ""
    if kept is None or kept.content is None or kept.content == facts.content:
        return ""
    return unified_diff(recorded.path, facts.content, kept.content)


def _since(recorded: PathRecord, facts: FileFacts, written: FileFacts | None) -> tuple[str, list[str]]:
    """The diff from what the run wrote to what is there now, where somebody changed that; or why there is none."""
    if recorded.content != "other" or (facts.content is None and facts.type != "missing"):
        return "", []  # that the bytes of now are not shown is said already
    if recorded.after.type == "missing":
        return unified_diff(recorded.path, None, facts.content or b""), []
    if written is None or written.content is None:
        return "", ["what was changed since is not shown: the bytes that the run wrote are not kept on this host"]
    if written.content == facts.content:
        return "", ["since the run it was changed only in what is masked here"]
    return unified_diff(recorded.path, written.content, facts.content or b""), []


def _unshown(recorded: PathRecord, facts: FileFacts, kept: FileFacts | None) -> list[str]:
    """Why bytes of it are not in the diff."""
    if recorded.content is None:
        return []
    words = [
        one_line(f"the bytes {when} are not shown: {one.error or 'they were not read'}", 500)
        for when, one in (("that are there now", facts), ("from before", kept))
        if one is not None and one.type == "file" and one.content is None
    ]
    both = [one for one in (facts, kept) if one is not None and one.content is not None]
    if len(both) == 2 and both[0].content == both[1].content and recorded.content != "before":
        words.append("it differs only in what is masked here")
    elif any(one.masked for one in both):
        words.append("secrets in it are masked")
    return words
