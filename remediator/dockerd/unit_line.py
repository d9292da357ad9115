"""Unit files as systemd reads them (systemd.syntax(7)), and the ExecStart= line that is in force among several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from remediator.dockerd.words import BLANKS, Word, cuts, split_words

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\n|\r|\Z)")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What may stand before a program without changing what its words mean: `-` failure is fine, `+` and `!` privileges.
_PREFIXES = "-+!|"


@dataclass(frozen=True)
class Setting:
    """One `name=value` of a unit file's [Service] section.

    `value` is what systemd makes of it, `raw` is how it stands there with line continuations, and `places` tells for
    each character of `value` where it stands in the file.
    """

    path: str
    name: str
    value: str
    raw: str
    places: tuple[int, ...]

    def overlaps(self, masked: Iterable[tuple[int, int]]) -> bool:
        """Whether one of the spans (offset, length) of the file touches the value."""
        if not self.places:
            return False
        return any(offset <= self.places[-1] and offset + length > self.places[0] for offset, length in masked)


@dataclass(frozen=True)
class ExecLine:
    """The command of an ExecStart= line: its words, whose places are in `raw`. The first word is the program."""

    path: str
    raw: str
    words: tuple[Word, ...]

    @property
    def program(self) -> str:
        """The program's path."""
        return self.words[0].text.lstrip(_PREFIXES)

    def edited(self, taken: Mapping[int, str], added: Iterable[str]) -> str:
        """`raw` without the words in `taken` (by index; see `words.cuts`), with `added` after the last word."""
        pieces, position = [], 0
        end = self.words[-1].end
        for start, stop, new in (*cuts(self.words, taken), (end, end, "".join(f" {word}" for word in added))):
            pieces += [self.raw[position:start], new]
            position = stop
        return "".join([*pieces, self.raw[position:]])


def service_settings(path: str, content: bytes) -> tuple[Setting, ...]:
    """The settings of the [Service] section in the order in which they stand there.

    Raises ValueError where the file takes in another one, or has a byte order mark.
    """
    if _BYTE_ORDER_MARK in content:
        raise ValueError(f"{path} has a byte order mark: remove it")
    text = content.decode("latin-1")
    section = ""
    found = []
    for line, places in _logical_lines(text):
        stripped = line.strip(BLANKS)
        if stripped.startswith(".include"):
            raise ValueError(f"{path} takes in another file with .include: write that file's settings out")
        name, equals, value = line.partition("=")
        if stripped.startswith("["):
            section = stripped
        elif equals and section == "[Service]":
            first = len(name) + 1 + len(value) - len(value.lstrip(BLANKS))
            own = places[first : first + len(value.strip(BLANKS))]
            raw = text[own[0] : own[-1] + 1] if own else ""
            found.append(Setting(path, name.strip(BLANKS), value.strip(BLANKS), raw, tuple(own)))
    return tuple(found)


def in_force(settings: Iterable[Setting], name: str) -> list[Setting]:
    """The settings of that name, of files in systemd's order, that count: an empty one takes back those before it."""
    found: list[Setting] = []
    for setting in settings:
        if setting.name == name:
            if setting.value:
                found.append(setting)
            else:
                found.clear()
    return found


def read_exec_line(setting: Setting) -> ExecLine:
    """The command in an ExecStart= setting. Raises ValueError, with the reason, where it is not one plain command."""
    found = split_words(setting.value, escapes=True)
    if any(word.text == ";" for word in found):
        raise ValueError("it holds several commands")
    if found[0].text.lstrip(_PREFIXES)[:1] in ("@", ":"):
        raise ValueError("its program begins with @ or :, which changes what the words after it mean")
    places = setting.places
    words = tuple(
        Word(word.text, places[word.start] - places[0], places[word.end - 1] + 1 - places[0]) for word in found
    )
    return ExecLine(setting.path, setting.raw, words)


def drop_in_content(raw: str, comment: str) -> bytes:
    """A drop-in that puts `raw` in the place of every ExecStart= before it."""
    head = f"# Written by remediator: {comment}\n[Service]\nExecStart=\nExecStart="
    return head.encode() + raw.encode("latin-1") + b"\n"


def _logical_lines(text: str) -> Iterator[tuple[str, list[int]]]:
    """Lines as systemd joins them, each with the places of its characters.

    A backslash at the end of a line is a blank and goes on in the next line; comments between such lines count for
    nothing.
    """
    line: list[str] = []
    places: list[int] = []
    for found in _LINE.finditer(text):
        if found.group(1).lstrip(BLANKS).startswith(("#", ";")):
            continue
        line += found.group(1)
        places += range(found.start(1), found.end(1))
        if _ends_escaped(line):
            line[-1] = " "
            continue
        yield "".join(line), places
        line, places = [], []
    yield "".join(line), places


def _ends_escaped(line: list[str]) -> bool:
    """Whether the last character is a backslash that is not itself escaped by one."""
    count = 0
    while count < len(line) and line[-1 - count] == "\\":
        count += 1
    return count % 2 == 1
