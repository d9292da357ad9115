"""Files of environment variables as systemd reads them (EnvironmentFile= in systemd.exec(5)), and edits of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from remediator.dockerd.words import cuts, split_words
from remediator.splices import Splice

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# An assignment up to its value; a value is pieces in quotes and bare ones, of which the last ends the line.
_BEFORE = re.compile(r"([^=\n\r]*)=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'[ \t]*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*', re.DOTALL)
_BARE = re.compile(r"(?:[^\\\n\r]|\\.)*\\?", re.DOTALL)
_LINE_END = re.compile(r"[^\n\r]*(?:[\n\r]|\Z)")


@dataclass(frozen=True)
class Assignment:
    """`name` gets `value`. `start` is where the value stands in the file byte for byte; None where it does not.

    It does not where it is put together of several pieces, or where a backslash changes what follows it.
    """

    name: str
    value: str
    start: int | None


def read_assignments(content: bytes) -> tuple[Assignment, ...]:
    """Every assignment in the order in which it stands there; of one name the last counts.

    `export NAME=value` is none to systemd. Raises ValueError, with the reason, where it is not sure how systemd reads
    the file.
    """
    text = content.decode("latin-1")
    found = []
    position = 0
    while position < len(text):
        line = _line(text, position)
        before = _BEFORE.match(text, position)
        if line.strip()[:1] in ("", "#", ";") or before is None:
            if line.lstrip().startswith(("#", ";")) and line.endswith("\\"):
                raise ValueError("a comment ends in a backslash, and the next line may belong to it: take that away")
            position += len(line) + 1
            continue
        value, start, position = _value(text, before.end())
        if _NAME.match(before.group(1).strip()):
            found.append(Assignment(before.group(1).strip(), value, start))
    return tuple(found)


def without_words(content: bytes, name: str, taken: Mapping[int, str]) -> list[Splice]:
    """What takes the words in `taken` (by index; see `words.cuts`) out of the value of the variable `name`.

    Raises ValueError, with the reason, where the value cannot surely be edited.
    """
    found = [assignment for assignment in read_assignments(content) if assignment.name == name]
    if len(found) != 1:
        raise ValueError(f"it sets {name} {len(found)} times")
    value, start = found[0].value, found[0].start
    if start is None:
        raise ValueError(f"the value of {name} is put together of several pieces, or has backslashes")
    words = split_words(value, escapes=False)
    return [Splice(start + first, end - first, new.encode("latin-1")) for first, end, new in cuts(words, taken)]


def _line(text: str, position: int) -> str:
    """The line that begins at `position`, without its end."""
    found = _LINE_END.match(text, position)
    return found.group().rstrip("\r\n") if found is not None else ""


def _value(text: str, position: int) -> tuple[str, int | None, int]:
    """(value, where it stands byte for byte or None, where the next line begins)."""
    quoted = _piece(text, position)
    if quoted is None:
        bare = _BARE.match(text, position)
        raw = bare.group() if bare is not None else ""
        plain = "\\" not in raw
        return (raw.rstrip(" \t") if plain else _unescaped(raw), position if plain else None, position + len(raw) + 1)
    end = quoted.end()
    rest = _line(text, end)
    if rest.strip():
        raise ValueError("something stands after the quotes of a value: put all of it in the quotes")
    value = quoted.group(1)
    plain = "\\" not in value or quoted.re is _SINGLE
    return (value if plain else _unquoted(value), quoted.start(1) if plain else None, end + len(rest) + 1)


def _piece(text: str, position: int) -> re.Match[str] | None:
    """The quoted value that begins there; None where it is bare. Raises ValueError where it does not end."""
    quote = text[position : position + 1]
    if quote not in ("'", '"') or not quote:
        return None
    found = (_SINGLE if quote == "'" else _DOUBLE).match(text, position)
    if found is None:
        raise ValueError("a quote is not closed")
    return found


def _unescaped(raw: str) -> str:
    """A bare value: a backslash stands before a character that is meant as it is; with a line's end it is nothing."""
    value = raw.rstrip(" \t")
    if (len(value) - len(value.rstrip("\\"))) % 2:
        value = raw[: len(value) + 1]
    return re.sub(r"\\(.?)", lambda found: found.group(1).strip("\r\n"), value, flags=re.DOTALL)


def _unquoted(value: str) -> str:
    """A value in double quotes, where a backslash counts only before what a shell would heed there."""
    return re.sub(r'\\(["\\`$]|\n)', lambda found: found.group(1).strip("\n"), value)
