"""Splices that set and remove top-level keys of a JSON object and leave every other byte as it is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from remediator.splices import Splice

_BLANK = re.compile(r"[ \t\r\n]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INDENT = "    "
# More than dockerd has options: finding where each key stands takes time.
_MOST_KEYS = 1000


@dataclass(frozen=True)
class _Member:
    """One key and its value: byte offsets of the key's token and of the value."""

    key: str
    start: int
    key_end: int
    value: int
    end: int


@dataclass(frozen=True)
class _Object:
    """The top-level object: where its braces stand, and its members in order."""

    opening: int
    closing: int
    members: tuple[_Member, ...]

    def member(self, key: str) -> _Member | None:
        """The member of that key."""
        return next((member for member in self.members if member.key == key), None)


def read_object(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`; empty for a file with nothing in it but blanks.

    Raises ValueError, with the reason, for what a daemon refuses, and for a key that stands in one object twice: Go
    takes the last of them without a word.
    """
    if content.startswith(_BYTE_ORDER_MARK):
        raise ValueError("it begins with a byte order mark")
    if not content.strip():
        return {}
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    if len(document) > _MOST_KEYS:
        raise ValueError(f"it holds more than {_MOST_KEYS} keys")
    return document


def set_key(content: bytes, key: str, value: object) -> list[Splice]:
    """What makes `key` hold `value`: in place where it is there, else as the last key; nothing where it does already.

    A new value stands on one line, a new key in the file's own style. Raises ValueError as `read_object` does.
    """
    document = read_object(content)
    if key in document and _same(document[key], value):
        return []
    if not content.strip():
        return [Splice(0, len(content), f"{{\n{_INDENT}{_pair(key, ': ', value)}\n}}\n".encode())]
    found = _parse(content)
    member = found.member(key)
    if member is not None:
        return [Splice(member.value, member.end - member.value, _written(value).encode())]
    if found.members:
        return [_appended(content.decode("latin-1"), found, key, value)]
    newline = "\r\n" if b"\r\n" in content else "\n"
    inner = f"{newline}{_INDENT}{_pair(key, ': ', value)}{newline}"
    return [Splice(found.opening + 1, found.closing - found.opening - 1, inner.encode())]


def remove_key(content: bytes, key: str) -> list[Splice]:
    """What takes `key` out with its comma; nothing where it is not there. Raises ValueError as `read_object` does."""
    if key not in read_object(content):
        return []
    found = _parse(content)
    position = [member.key for member in found.members].index(key)
    member = found.members[position]
    if position + 1 < len(found.members):
        start, end = member.start, found.members[position + 1].start
    else:
        start, end = (found.members[position - 1].end if position else found.opening + 1), member.end
    return [Splice(start, end - start, b"")]


def _appended(text: str, found: _Object, key: str, value: object) -> Splice:
    """The splice that adds a last key in the style of the one before it."""
    last = found.members[-1]
    alone = len(found.members) == 1
    lead = text[found.opening + 1 if alone else found.members[-2].end : last.start].rpartition(",")[2]
    colon = text[last.key_end : last.value]
    colon = colon if "\n" not in colon else ": "
    if "\n" in lead:
        # Of blank lines above the last key, only the last line's indentation is its style.
        newline = "\r\n" if "\r\n" in lead else "\n"
        lead = newline + lead.rpartition("\n")[2]
    elif alone:
        lead = " " if lead or colon.endswith(" ") else ""
    # Keys and values may hold more than Latin-1: they are bytes of their own.
    new = ("," + lead).encode("latin-1") + _pair(key, colon, value).encode()
    return Splice(last.end, 0, new)


def _parse(content: bytes) -> _Object:
    """Where the members of a valid JSON object stand."""
    text = content.decode("latin-1")
    scan = json.JSONDecoder().raw_decode
    opening = text.index("{")
    position = _after_blanks(text, opening + 1)
    members = []
    while text[position] != "}":
        _, key_end = scan(text, position)
        value = _after_blanks(text, text.index(":", key_end) + 1)
        _, end = scan(text, value)
        key = json.loads(content[position:key_end].decode())
        members.append(_Member(key, position, key_end, value, end))
        position = _after_blanks(text, end)
        if text[position] == ",":
            position = _after_blanks(text, position + 1)
    return _Object(opening, position, tuple(members))


def _after_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found is not None else position


def _pair(key: str, colon: str, value: object) -> str:
    return json.dumps(key, ensure_ascii=False) + colon + _written(value)


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _same(one: object, other: object) -> bool:
    """Whether both are the same JSON: `1` and `true` are not, as they are in Python."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it holds the key {json.dumps(key)} twice")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")
