"""Why a path is left to a person: what commit would refuse by path, said before anybody is asked to consent."""

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
    open_to_others = [above for above in facts.untrusted_ancestors if not overlay.trusted(above)]
    if open_to_others:
        return f"it lies below {open_to_others[0]}, which others than root can write: repair that first"
    if facts.type == "file" and facts.nlink > 1:
        return f"it has {facts.nlink} hard links: another name of the same file would change too"
    return refusal(path, scope.roots)


def edit_obstacle(path: str, scope: Scope, overlay: Overlay) -> str:
    """Why our own file at `path` cannot be written or edited, path and remedy included; empty when it can."""
    for place in (path.rpartition("/")[0], path):
        facts = overlay.seen.files.get(place)
        if facts is not None and facts.type == "symlink":
            return f"{place} is a symlink, and what remediator writes there must not be: remove it"
    facts = overlay.seen.files.get(path)
    if facts is None:
        return ""
    if facts.type == "missing":
        reason = refusal(path, scope.roots)
        above = [directory for directory in facts.untrusted_ancestors if not overlay.trusted(directory)]
        if not reason and above:
            reason = f"it would lie below {above[0]}, which others than root can write: repair that first"
        return f"{path}: {reason}" if reason else ""
    if facts.type != "file" or facts.content is None:
        why = facts.error or f"it is a {facts.type}"
        return (
            f"{path}: its present content is not known ({why}), so it is not overwritten: remove it or make it readable"
        )
    reason = access_obstacle(path, facts, scope, overlay)
    return f"{path}: {reason}" if reason else ""
