"""Words as systemd splits them, with where each stands, and how words are taken out of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

BLANKS = " \t\r\n"
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_ESCAPES.update({character: character for character in "\\\"'"})
_NUMBERED = re.compile(r"x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")


@dataclass(frozen=True)
class Word:
    """One word without its quotes and escapes; `start` and `end` are where it stands with them."""

    text: str
    start: int
    end: int


def split_words(text: str, *, escapes: bool) -> tuple[Word, ...]:
    """The words of a setting (systemd.syntax(7)): blanks separate, quotes hold together.

    With `escapes` a backslash begins one of C's escapes, else it stands before a character that is meant as it is.
    Raises ValueError for a quote that is not closed and for escapes that systemd does not know.
    """
    found: list[Word] = []
    position = 0
    while True:
        while position < len(text) and text[position] in BLANKS:
            position += 1
        if position == len(text):
            return tuple(found)
        word = _word(text, position, escapes)
        found.append(word)
        position = word.end


def _word(text: str, start: int, escapes: bool) -> Word:
    """The word that begins at `start`."""
    characters: list[str] = []
    quote, position = "", start
    while position < len(text) and (quote or text[position] not in BLANKS):
        character = text[position]
        position += 1
        if character == "\\":
            meant, position = _escaped(text, position, escapes)
            characters.append(meant)
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        else:
            characters.append(character)
    if quote:
        raise ValueError("a quote is not closed")
    return Word("".join(characters), start, position)


def _escaped(text: str, position: int, escapes: bool) -> tuple[str, int]:
    """What the escape means whose backslash stands before `position`, and where it ends."""
    character = text[position : position + 1]
    if not character:
        raise ValueError("it ends in a backslash")
    if not escapes:
        return character, position + 1
    if character in _ESCAPES:
        return _ESCAPES[character], position + 1
    found = _NUMBERED.match(text, position)
    if found is None:
        raise ValueError(f"it holds an escape that systemd does not know: \\{character}")
    byte, octal, *unicode = found.groups()
    if byte or octal:
        return chr(int(byte, 16) if byte else int(octal, 8)), found.end()
    # A character is a byte in here.
    return chr(int(next(filter(None, unicode)), 16)).encode().decode("latin-1"), found.end()


def cuts(words: Sequence[Word], taken: Mapping[int, str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, new) for each piece of the text that changes when the words in `taken`, by index, go.

    `taken` holds what stays in a word's place: nothing takes it out, with the blanks before it, or after it where it
    is the first. The pieces are in order and do not overlap.
    """
    position = 0
    while position < len(words):
        if position not in taken:
            position += 1
            continue
        if taken[position]:
            yield words[position].start, words[position].end, taken[position]
            position += 1
            continue
        first = position
        while position < len(words) and taken.get(position) == "":
            position += 1
        if first:
            yield words[first - 1].end, words[position - 1].end, ""
        else:
            end = words[position].start if position < len(words) else words[position - 1].end
            yield words[0].start, end, ""
