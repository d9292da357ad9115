"""References: what a symbolic path stands for on this host, and where that was read."""

from remediator.host.common.names import shown

MYPY = False
if MYPY:
    from typing import Any

MAX_REFERENCE = 5000


class HostReference:
    """What one reference stands for. `paths` are (path, source)."""

    def __init__(self, status: "str", paths: "list[tuple[str, str]]", reason: "str") -> None:
        self.status = status
        self.paths = paths
        self.reason = reason

    def answer(self) -> "dict[str, Any]":
        """The reference as it goes into the answer."""
        paths = [{"path": shown(path), "source": source} for path, source in self.paths]
        return {"status": self.status, "paths": paths, "reason": self.reason}


def resolved(*paths: "tuple[str, str]") -> "HostReference":
    """The reference stands for these (path, source); of one path that was read in two places the first counts.

    Unknown when they are too many: a part of them says nothing about the whole.
    """
    unique: "dict[str, str]" = {}
    for path, source in paths:
        unique.setdefault(clean(path), source)
    if len(unique) > MAX_REFERENCE:
        return unknown("there are more than %d such files, too many to look at" % MAX_REFERENCE)
    return HostReference("resolved", list(unique.items()), "")


def managed(by: "str", *paths: "tuple[str, str]") -> "HostReference":
    """The reference stands for these, but the program `by` writes them again."""
    found = resolved(*paths)
    return HostReference("managed", found.paths, by) if found.status == "resolved" else found


def absent(reason: "str") -> "HostReference":
    """There is no such thing on this host."""
    return HostReference("absent", [], reason)


def unknown(reason: "str") -> "HostReference":
    """It could not be found out."""
    return HostReference("unknown", [], reason)


def clean(path: "str") -> "str":
    """A path without doubled or trailing slashes and `.` parts. `..` stays: behind a link it is not lexical."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts) if path.startswith("/") else path
