"""One change as lines: a unified diff, a mode, an owner, a restart, or a list of kernel audit rules."""

from __future__ import annotations

from remediator.plan import Change, State
from remediator.views.lines import Line, line

_SIGNS = {
    "create": ("+", "green"),
    "remove": ("-", "red"),
    "content": ("~", "yellow"),
    "access": ("~", "yellow"),
    "key": ("+", "green"),
    "restart": ("~", "yellow"),
    "reload": ("~", "yellow"),
}


def change_lines(change: Change, indent: int) -> list[Line]:
    """The path and what happens to it, then the diff; what somebody changed since before that, where it is known."""
    if change.what == "audit_rule":
        return _rules(change, indent)
    sign, style = _SIGNS[change.what]
    access = access_words(change)
    head = line(
        indent, (sign, f"bold {style}"), " ", (change.path, "bold"), f"  {access}" if access else "", wrap=False
    )
    lines = [head, *(line(indent + 2, (detail, "cyan")) for detail in change.details)]
    if change.since:
        lines += [line(indent + 2, ("changed since the run:", "cyan")), *diff_lines(change.since, indent + 4)]
        if change.diff:
            lines.append(line(indent + 2, ("what taking it back would change now:", "cyan")))
    return [*lines, *diff_lines(change.diff, indent + (4 if change.since else 2))]


def access_words(change: Change) -> str:
    """`mode 0644 -> 0600, owner docker:root -> root:root`: what differs of mode and owner, or all of it if new."""
    before, after = change.before, change.after
    if change.what in ("restart", "reload"):
        return f"{change.what}ed"
    if after.type == "missing":
        return "removed"
    if before.type == "missing":
        kind = "new directory, " if after.type == "directory" else ""
        return f"{kind}mode {_mode(after)}, owner {_owner(after)}"
    words = []
    if before.mode != after.mode:
        words.append(f"mode {_mode(before)} -> {_mode(after)}")
    if (before.uid, before.gid) != (after.uid, after.gid):
        words.append(f"owner {_owner(before)} -> {_owner(after)}")
    return ", ".join(words)


def diff_lines(diff: str, indent: int) -> list[Line]:
    """A unified diff, line for line, without its two header lines: the path stands above it."""
    lines = []
    for number, text in enumerate(diff.removesuffix("\n").split("\n") if diff else []):
        if number < 2 and text.startswith(("--- ", "+++ ")):
            continue
        style = {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "dim")
        lines.append(line(indent, (text, style), wrap=False))
    return lines


def _rules(change: Change, indent: int) -> list[Line]:
    head = line(
        indent, ("~", "bold yellow"), " ", ("kernel audit rules", "bold"), f"  kept by {change.path}", wrap=False
    )
    details = [line(indent + 2, (detail, "cyan")) for detail in change.details]
    removed = [line(indent + 2, (f"- {rule}", "red"), wrap=False) for rule in change.removed]
    added = [line(indent + 2, (f"+ {rule}", "green"), wrap=False) for rule in change.added]
    return [head, *details, *removed, *added]


def _mode(state: State) -> str:
    return "?" if state.mode is None else f"{state.mode:04o}"


def _owner(state: State) -> str:
    user = state.user if state.user is not None else state.uid
    group = state.group if state.group is not None else state.gid
    return f"{user}:{group}"
