"""Which lines of a shell's start-up file are at its top level: a whole command there can go, and the rest still runs.

A reader of POSIX shell, bash and zsh that knows quotes, here-documents and what opens and closes a compound command. It
runs and expands nothing. Where it loses its way it says no for the rest of the file: what it calls top level is.
"""

from __future__ import annotations

import re

_CLOSED_BY = {"if": "fi", "case": "esac", "loop": "done", "{": "}"}
_CLOSERS = frozenset(_CLOSED_BY.values())
_OPENERS = {"if": "if", "case": "case", "{": "{", "for": "loop", "select": "loop", "while": "loop", "until": "loop"}
# After these comes a command again; after any other word come its arguments.
_LEADERS = frozenset(("if", "while", "until", "{", "then", "else", "elif", "do", "!"))
# What may be followed by a compound command in ways that are not read here.
_CONFUSING = frozenset(("coproc", "time", "foreach", "repeat"))
_QUOTES = {
    "'": re.compile(r"'"),
    "$'": re.compile(r"'|\\.", re.DOTALL),
    '"': re.compile(r"\"|`|\$\(|\$\{|\\.", re.DOTALL),
    "${": re.compile(r"\}|\$'|['\"`]|\$\(|\$\{|\\.", re.DOTALL),
}
_QUOTE_ENDS = {"'": "'", "$'": "'", '"': '"', "${": "}"}
# What is nested deeper is no script of a person's, and each level costs time.
_DEEPEST = 100
_TOKEN = re.compile(
    r"(?P<blank>[ \t]+)|(?P<newline>\n)|(?P<escape>\\.?)|(?P<quote>\$'|\$\"|['\"]|\$\{)|(?P<tick>`)"
    r"|(?P<inner>\$\(|[<>]\()|(?P<here><<<|<<-?)|(?P<redirect>&>>?|[<>]+[&|]?)|(?P<chain>&&|\|[|&]?)|(?P<end>;+&?|&)"
    r"|(?P<open>\()|(?P<close>\))|(?P<word>[^ \t\n\\'\"`$<>;&|()]+|\$)",
    re.DOTALL,
)
_DELIMITER = re.compile(r"[ \t]*(?:'([^'\n]+)'|\"([^\"\n]+)\"|\\?([^ \t\n\\'\"`$<>;&|()]+))")


def top_level_lines(text: str) -> list[bool]:
    """For each line of a script, as `split("\\n")` gives them, whether it begins a command at the top level."""
    reader = _Reader(text)
    while reader.position < len(text):
        reader.step()
    return reader.lines


class _Reader:
    """The state between two tokens. `open` names what is open, innermost last."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines = [True]
        self.open: list[str] = []
        self.command = True  # a word here would be a command's name
        self.glued = False  # what comes next belongs to the word before it
        self.target = False  # the next word is a redirection's
        self.name = False  # the next word is a function's
        self.chained = False  # the command goes on in the next line: `a &&`
        self.here: list[tuple[str, bool]] = []  # ends of the here-documents that begin with the next line

    def step(self) -> None:
        """Take one token."""
        quote = _QUOTES.get(self.open[-1]) if self.open else None
        if quote is not None:
            self._quoted(quote)
            return
        if not self.glued and self.text[self.position] == "#":
            end = self.text.find("\n", self.position)
            self.position = end if end >= 0 else len(self.text)
            return
        found = _TOKEN.match(self.text, self.position)
        if found is None:
            self._lose()
            return
        self.position = found.end()
        getattr(self, f"_{found.lastgroup}")(found.group())

    def _lose(self) -> None:
        """Nothing after this is top level any more."""
        self.open = ["lost"]
        self._line_ends(self.text.count("\n", self.position))
        self.position = len(self.text)

    def _line_ends(self, count: int = 1) -> None:
        """Note what the next line, or the next `count` ones, are."""
        self.lines += [not self.open and not self.chained] * count

    def _push(self, what: str) -> None:
        if len(self.open) >= _DEEPEST:
            self._lose()
            return
        self.open.append(what)
        self.command, self.glued, self.target, self.name, self.chained = True, False, False, False, False

    def _pop(self, command: bool) -> None:
        """Close the innermost; `command`: a reserved word may come right behind it."""
        self.open.pop()
        self.command, self.glued, self.target = command, not command, False

    def _quoted(self, quote: re.Pattern[str]) -> None:
        """Take what stands in quotes or in `${}`, up to its end or to what opens within."""
        found = quote.search(self.text, self.position)
        end = found.end() if found is not None else len(self.text)
        self._line_ends(self.text.count("\n", self.position, end))
        self.position = end
        word = found.group() if found is not None else ""
        if word == _QUOTE_ENDS[self.open[-1]]:
            self._pop(command=False)
        elif word == "`":
            self._tick(word)
        elif word and not word.startswith("\\"):
            self._push(word)

    def _blank(self, _: str) -> None:
        self.glued = False

    def _newline(self, _: str) -> None:
        self.command, self.glued, self.target, self.name = True, False, False, False
        self._line_ends()
        for delimiter, tabs in self.here:
            self._here_document(delimiter, tabs)
        self.here = []

    def _here_document(self, delimiter: str, tabs: bool) -> None:
        """Skip to the line behind the document's end. Its lines are no commands."""
        while self.position < len(self.text):
            end = self.text.find("\n", self.position)
            line = self.text[self.position : end if end >= 0 else len(self.text)]
            self.lines[-1] = False
            self.position = end + 1 if end >= 0 else len(self.text)
            if end >= 0:
                self._line_ends()
            if (line.lstrip("\t") if tabs else line) == delimiter:
                return
        self.open = ["lost"]

    def _escape(self, word: str) -> None:
        if word == "\\\n":
            self.lines.append(False)
        else:
            self._piece()

    def _quote(self, word: str) -> None:
        self._piece()
        self._push('"' if word == '$"' else word)

    def _tick(self, _: str) -> None:
        if self.open and self.open[-1] == "`":
            self._pop(command=False)
        elif "`" in self.open:
            self._lose()
        else:
            self._piece()
            self._push("`")

    def _inner(self, word: str) -> None:
        self._piece()
        self._push(word)

    def _here(self, word: str) -> None:
        if word == "<<<":
            self._redirect(word)
            return
        found = _DELIMITER.match(self.text, self.position)
        if found is None:
            self._lose()
            return
        self.position = found.end()
        self.here.append((next(filter(None, found.groups())), word == "<<-"))
        self.command, self.glued = False, True

    def _redirect(self, _: str) -> None:
        self.target, self.glued = True, False

    def _chain(self, _: str) -> None:
        self._end(_)
        self.chained = True

    def _end(self, _: str) -> None:
        self.command, self.glued, self.target, self.name = True, False, False, False

    def _open(self, _: str) -> None:
        """A subshell, an array's values, or a function's `()`, whose body may stand in the next line."""
        if not self.text.endswith("=", 0, self.position - 1) and self.text.startswith(")", self.position):
            self.position += 1
            self._chain(_)
        else:
            self._push("a=(" if self.glued else "(")

    def _close(self, _: str) -> None:
        innermost = self.open[-1] if self.open else ""
        if innermost == "case":
            self._end(_)
        elif innermost in ("(", "$(", "<(", ">(", "a=("):
            self._pop(command=innermost == "(")
        else:
            self._lose()

    def _word(self, word: str) -> None:
        behind = self.text[self.position : self.position + 1]
        whole = not self.glued and (not behind or behind in " \t\n;&|()<>")
        if self.name and whole:
            self._chain(word)
        elif whole and self.command and not self.target:
            self._first_word(word)
        else:
            self._piece()

    def _first_word(self, word: str) -> None:
        """A word where a command's name stands, and where reserved words are known."""
        if word in _CONFUSING:
            self._lose()
        elif word in _CLOSERS:
            if not self.open or _CLOSED_BY.get(self.open[-1]) != word:
                self._lose()
            else:
                self._pop(command=True)
        else:
            if word in _OPENERS:
                self._push(_OPENERS[word])
            self._piece()
            self.command, self.name = word in _LEADERS, word == "function"

    def _piece(self) -> None:
        """A part of a word that is no reserved one."""
        self.command, self.target, self.name, self.chained, self.glued = False, False, False, False, True
