"""dockerd's command line: what its words are once systemd has put variables in, and the flags in them (Go's pflag)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from remediator.dockerd.words import Word, split_words

# `${NAME}` in a word; what is not closed, and `$$`, match without a name.
_BRACED = re.compile(r"\$\$|\$\{(?:([^}]*)\}|[^}]*\Z)")
_SHORT = {
    "D": "debug",
    "G": "group",
    "H": "host",
    "b": "bridge",
    "g": "graph",
    "h": "help",
    "l": "log-level",
    "p": "pidfile",
    "s": "storage-driver",
    "v": "version",
}
# Switches never take the next word for their value; of other flags this is known of those that matter here, and else
# seen by the next word: one that begins with a dash is a flag unless it is a number.
_SWITCHES = frozenset(("debug", "help", "version", "tls", "tlsverify"))
_VALUED = frozenset(("host", "config-file", "tlscacert", "tlscert", "tlskey", *_SHORT.values())) - _SWITCHES
# More than any daemon's command line has.
_MOST_WORDS, _LONGEST = 1000, 256 * 1024
# More than any word of switches has: each keeps what stands before it.
_MOST_SWITCHES = 50
_NUMBER = re.compile(r"-[0-9]+\Z")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")


@dataclass(frozen=True)
class Token:
    """One word of the command line: the word at `index` of ExecStart= or, where it is named, of a variable's value."""

    text: str
    variable: str
    index: int


@dataclass(frozen=True)
class Flag:
    """One flag by its long name; a switch without a value has `true`.

    Its words are those at `indexes` of ExecStart= or of `variable`; `kept` is what the first of them holds besides:
    `-D` of `-DH`. `scattered`: its value stands in another place than itself.
    """

    name: str
    value: str
    variable: str
    indexes: tuple[int, ...]
    kept: str = ""
    scattered: bool = False

    @property
    def is_on(self) -> bool:
        """Whether a switch is switched on."""
        return is_true(self.value)


def is_true(value: str) -> bool:
    """Whether a switch with this value is switched on (Go's strconv.ParseBool)."""
    return value in _TRUE


def used_variables(words: Iterable[Word]) -> tuple[str, ...]:
    """The variables that these words of an ExecStart= take in, each once."""
    found: dict[str, None] = {}
    for word in words:
        alone = _alone(word.text)
        names = _BRACED.findall(word.text) if alone is None else [alone]
        found.update(dict.fromkeys(name for name in names if name))
    return tuple(found)


def expand(words: Sequence[Word], variables: Mapping[str, str]) -> tuple[Token, ...]:
    """The command line after the program: a word `$NAME` becomes several words, `${NAME}` within a word stays one.

    Raises ValueError where a variable's value cannot be split, or where this is longer than any daemon's.
    """
    tokens: list[Token] = []
    length = 0
    for index, word in enumerate(words[1:], 1):
        alone = _alone(word.text)
        names = _BRACED.findall(word.text) if alone is None else [alone]
        length += len(word.text) + sum(len(variables.get(name, "")) for name in names)
        if length > _LONGEST:
            raise ValueError("it is longer than any daemon's")
        if alone is not None:
            parts = split_words(variables.get(alone, ""), escapes=False)
            tokens += [Token(part.text, alone, position) for position, part in enumerate(parts)]
        else:
            tokens.append(Token(_BRACED.sub(lambda found: _put_in(found, variables), word.text), "", index))
        if len(tokens) > _MOST_WORDS:
            raise ValueError("it has more words than any daemon's")
    return tuple(tokens)


def read_flags(tokens: Sequence[Token]) -> tuple[Flag, ...]:
    """The flags of a command line in order. Raises ValueError, with the reason, where dockerd would not take it."""
    flags = []
    position = 0
    while position < len(tokens):
        following = tokens[position + 1] if position + 1 < len(tokens) else None
        read = _long if tokens[position].text.startswith("--") else _short
        found = read(tokens[position], following)
        flags += found
        position += len(found[-1].indexes)
    return tuple(flags)


def _alone(text: str) -> str | None:
    """The name in a word that is nothing but `$NAME`; None for another word."""
    return text[1:] if text.startswith("$") and text[1:2] not in ("{", "$") else None


def _put_in(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    return found[0] if found[1] is None else variables.get(found[1], "")


def _long(token: Token, following: Token | None) -> list[Flag]:
    """The flag of a word with two dashes."""
    name, equals, value = token.text[2:].partition("=")
    if not name:
        raise ValueError(f"dockerd does not take the word {_shown(token.text)}")
    if equals:
        return [Flag(_decoded(name), _decoded(value), token.variable, (token.index,))]
    return [_with_following(name, token, following, "")]


def _short(token: Token, following: Token | None) -> list[Flag]:
    """The flags of a word with one dash: switches, and at the end perhaps one with a value."""
    letters = token.text[1:]
    if not token.text.startswith("-") or not letters:
        raise ValueError(f"dockerd does not take the word {_shown(token.text)}")
    flags: list[Flag] = []
    for position, letter in enumerate(letters):
        if position > _MOST_SWITCHES:
            raise ValueError(f"{_shown(token.text)} has more switches than dockerd")
        name, rest = _SHORT.get(letter, ""), letters[position + 1 :]
        if not name:
            raise ValueError(f"the flag -{_shown(letter)} in {_shown(token.text)} is not known")
        kept = "-" + letters[:position] if position else ""
        if name not in _SWITCHES or rest.startswith("="):
            if not rest:
                return [*flags, _with_following(name, token, following, kept)]
            return [*flags, Flag(name, _decoded(rest.removeprefix("=")), token.variable, (token.index,), kept)]
        flags.append(Flag(name, "true", token.variable, (token.index,), kept))
    return flags


def _with_following(name: str, token: Token, following: Token | None, kept: str) -> Flag:
    """The flag whose value, if it takes one, is the next word."""
    next_is_flag = following is None or (following.text.startswith("-") and not _NUMBER.match(following.text))
    if name in _SWITCHES or (next_is_flag and name not in _VALUED):
        return Flag(_decoded(name), "true", token.variable, (token.index,), kept)
    if following is None:
        raise ValueError(f"the flag {_shown(token.text)} has no value")
    indexes = (token.index, following.index)
    scattered = following.variable != token.variable
    return Flag(_decoded(name), _decoded(following.text), token.variable, indexes, kept, scattered)


def _decoded(text: str) -> str:
    """The text of bytes. Raises ValueError where they are no UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"the word {_shown(text)} is not UTF-8") from None


def _shown(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")[:80]
