"""Why a path is left to a person: what commit would refuse there, said before anybody is asked to consent."""

from __future__ import annotations

from remediator.host.commit.roots import refusal
from remediator.kinds.interface import Scope
from remediator.observation import FileFacts, path_is_plain
from remediator.overlay import Overlay


def access_obstacle(path: str, facts: FileFacts, scope: Scope, overlay: Overlay) -> str:
    """Why nobody but a person should change the mode or owner of `path`; empty when commit would."""
    if not path_is_plain(path, facts):
        return "its name has characters that cannot be shown as they are"
    if facts.type not in ("file", "directory", "socket"):
        return f"it is a {facts.type}, which nothing should be in this place"
    open_to_others = open_above(path, facts, overlay)
    if open_to_others:
        return f"it lies below {open_to_others[0]}, which others than root can write: repair that first"
    if facts.type != "directory" and facts.nlink > 1:
        return f"it has {facts.nlink} hard links: another name of the same file would change too"
    return refusal(path, scope.roots) or _locked(facts)


def open_above(path: str, facts: FileFacts, overlay: Overlay) -> list[str]:
    """The directories above `path` that others than root can write once what is staged is done."""
    given_away = [directory for directory in overlay.files if path.startswith(f"{directory}/")]
    return [above for above in dict.fromkeys((*facts.untrusted_ancestors, *given_away)) if not overlay.trusted(above)]


def content_obstacle(path: str, overlay: Overlay) -> str:
    """Why it is not known what our own file at `path` holds, path and remedy included; empty when it is."""
    for place in (path.rpartition("/")[0], path):
        facts = overlay.seen.files.get(place)
        if facts is not None and facts.type == "symlink":
            return f"{place} is a symlink, and what remediator writes there must not be: remove it"
    facts = overlay.seen.files.get(path)
    if facts is None or facts.type == "missing" or (facts.type == "file" and facts.content is not None):
        return ""
    why = facts.error or f"it is a {facts.type}"
    return f"{path}: its present content is not known ({why}), so it is not overwritten: remove it or make it readable"


def edit_obstacle(path: str, scope: Scope, overlay: Overlay) -> str:
    """Why our own file at `path` cannot be written or edited, path and remedy included; empty when it can."""
    unread = content_obstacle(path, overlay)
    if unread:
        return unread
    facts = overlay.seen.files.get(path, FileFacts(type="missing"))
    if facts.type == "missing":
        reason = refusal(path, scope.roots)
        above = open_above(path, facts, overlay)
        if not reason and above:
            reason = f"it would lie below {above[0]}, which others than root can write: repair that first"
        reason = reason or _locked(facts)
    else:
        reason = access_obstacle(path, facts, scope, overlay)
        if not reason and facts.mount_point:
            reason = "it is a mount point, whose content cannot be replaced: unmount it, then check again"
    return f"{path}: {reason}" if reason else _locked_above(path, overlay)


def _locked(facts: FileFacts) -> str:
    """What keeps everybody, root included, from changing what is there; empty when nothing does."""
    if facts.read_only:
        return "it lies on a filesystem that is mounted read-only: mount it writable if it may change, then check again"
    if facts.immutable:
        return "it is immutable or append-only: take that away with chattr if it may change, then check again"
    return ""


def _locked_above(path: str, overlay: Overlay) -> str:
    """What keeps everybody from putting something new at `path`: the state of the directory that it goes into.

    Of directories that are to be made as well, that is the first one that is there.
    """
    facts = None
    while path != "/" and (facts is None or facts.type == "missing"):
        path = path.rpartition("/")[0] or "/"
        facts = overlay.seen.files.get(path)
        if facts is None or facts.type not in ("missing", "directory"):
            return ""
        reason = _locked(facts)
        if reason:
            return f"{path}: {reason}"
    return ""
