"""The lines of a file that set DOCKER_CONTENT_TRUST, and the splices that leave exactly one of them, or none.

What counts is how the file's own reader takes a line. Measured on Debian 12: pam_env keeps blanks and a carriage return
behind a value, systemd drops them; pam_env takes `export`, systemd ignores such a line; both join lines at a backslash;
in quotes systemd reads on across lines and pam_env does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from remediator.shell_lines import top_level_lines
from remediator.splices import Splice

VARIABLE = "DOCKER_CONTENT_TRUST"
RIGHT_LINE = b"DOCKER_CONTENT_TRUST=1"
_NAME = rb"DOCKER_CONTENT_TRUST"
_CLOSED_QUOTES = re.compile(rb"(?:[ \t]*(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'))*[ \t]*")
_PLAIN = rb"(?:[A-Za-z0-9_.:-]*|\"[A-Za-z0-9_.:-]*\"|'[A-Za-z0-9_.:-]*')"


class Syntax(Enum):
    """How a file is read; the values are what observe calls such files."""

    ASSIGNMENTS = "environment file"
    SHELL = "shell start-up file"
    SYSTEM_MANAGER = "configuration of systemd's system manager"
    USER_MANAGER = "configuration of systemd's user managers"
    OTHER = "configuration of log-ins"


@dataclass(frozen=True)
class Setting:
    """A line that sets the variable, or would if it were no comment (`active`).

    `right`: it sets it to 1 for everybody who reads this file. `whole`: it is that and nothing else, and what stands
    around it does not lean on it, so it can be taken out. `start` to `end` are its bytes with the line's ending.
    """

    number: int
    start: int
    end: int
    active: bool
    right: bool
    whole: bool


@dataclass(frozen=True)
class _Line:
    """One line: its text without the newline, and whether it stands for itself, apart from the lines before it."""

    number: int
    start: int
    text: bytes
    whole: bool

    def setting(self, active: bool, right: bool, whole: bool) -> Setting:
        return Setting(self.number, self.start, self.start + len(self.text) + 1, active, right, whole and self.whole)


def settings_in(syntax: Syntax, content: bytes) -> tuple[Setting, ...]:
    """The settings of a file, in order."""
    found = (_READERS[syntax](line) for line in _lines(syntax, content))
    return tuple(_within(setting, len(content)) for setting in found if setting is not None)


def can_append(content: bytes) -> bool:
    """Whether a line behind the last one of an environment file would stand for itself."""
    return _lines(Syntax.ASSIGNMENTS, content if content.endswith(b"\n") or not content else content + b"\n")[-1].whole


def without(settings: Iterable[Setting]) -> list[Splice]:
    """The splices that take these lines out."""
    return [Splice(setting.start, setting.end - setting.start, b"") for setting in settings]


def settled(content: bytes, settings: Sequence[Setting]) -> list[Splice]:
    """The splices that leave exactly one right line in an environment file: in place of one of these, else at its end.

    All of them must be whole, and without any `can_append` true.
    """
    if not settings:
        gap = b"" if not content or content.endswith(b"\n") else b"\n"
        return [Splice(len(content), 0, gap + RIGHT_LINE + b"\n")]
    kept = min(settings, key=lambda setting: (not setting.right, not setting.active))
    splices = without(setting for setting in settings if setting is not kept)
    if not kept.right:
        splices.append(Splice(kept.start, kept.end - kept.start, RIGHT_LINE + b"\n"))
    return splices


def _within(setting: Setting, length: int) -> Setting:
    """The setting of a last line that may lack its newline."""
    return Setting(
        setting.number, setting.start, min(setting.end, length), setting.active, setting.right, setting.whole
    )


def _lines(syntax: Syntax, content: bytes) -> list[_Line]:
    texts = content.split(b"\n")
    if syntax is Syntax.SHELL:
        # One byte is one character, so that lines stay what they are.
        whole = top_level_lines(content.decode("latin-1"))
    else:
        whole = _own_lines(texts, quotes=syntax is Syntax.ASSIGNMENTS)
    lines = []
    start = 0
    for number, text in enumerate(texts, 1):
        lines.append(_Line(number, start, text, whole[number - 1]))
        start += len(text) + 1
    return lines


def _own_lines(texts: Sequence[bytes], *, quotes: bool) -> list[bool]:
    """For each line whether it begins anew: the one before it does not go on, nor, with `quotes`, a quoted value."""
    whole = []
    joined = within = False
    for text in texts:
        whole.append(not joined and not within)
        within = within or (quotes and not joined and _opens_quote(text))
        joined = text.endswith(b"\\")
    return whole


def _opens_quote(text: bytes) -> bool:
    """Whether the value of an assignment begins with a quote that its line does not close."""
    name, _, value = text.partition(b"=")
    closed = _CLOSED_QUOTES.match(value)
    rest = value[closed.end() :] if closed is not None else value
    return rest[:1] in (b'"', b"'") and name.lstrip(b" \t")[:1] not in (b"#", b";")


_ASSIGNMENT = re.compile(rb"[ \t]*(?:export[ \t]+)?" + _NAME + rb"[ \t]*=")
_RIGHT_ASSIGNMENT = re.compile(rb"[ \t]*" + _NAME + rb"=(?:1|\"1\"|'1')")
_COMMENT = re.compile(rb"[ \t]*[#;][#; \t]*(?:export[ \t]+)?" + _NAME + rb"[ \t]*=[^ \t]*[ \t\r]*")


def _assignment(line: _Line) -> Setting | None:
    if _ASSIGNMENT.match(line.text):
        right = _RIGHT_ASSIGNMENT.fullmatch(line.text) is not None
        return line.setting(True, right and line.whole, not line.text.endswith(b"\\"))
    return _commented(_COMMENT, line)


_COMMAND = re.compile(
    rb"[ \t]*(?:export[ \t]+"
    + _NAME
    + rb"(?:="
    + _PLAIN
    + rb")?|"
    + _NAME
    + rb"="
    + _PLAIN
    + rb")[ \t]*(?:;[ \t]*)?(?:#.*)?"
)
_SHELL_MENTION = re.compile(
    rb"(?<![A-Za-z0-9_$])(?<!\$\{)(?<!\$\{[#!])" + _NAME + rb"(?![A-Za-z0-9_])|\$\{" + _NAME + rb":?="
)
_SHELL_COMMENT = re.compile(rb"[ \t]*#[# \t]*(?:export[ \t]+)?" + _NAME + rb"=[^ \t]*[ \t\r]*")


def _command(line: _Line) -> Setting | None:
    """A line of a shell script. Reading the variable sets nothing; what sets it in any other way is not whole."""
    if line.text.lstrip(b" \t").startswith(b"#"):
        return _commented(_SHELL_COMMENT, line)
    if _SHELL_MENTION.search(line.text) is None:
        return None
    return line.setting(True, False, _COMMAND.fullmatch(line.text) is not None)


_DEFAULT = rb"DefaultEnvironment[ \t]*=[ \t]*([\"']?)" + _NAME + rb"=([^ \t\"'\\]*)\1[ \t\r]*"
_MANAGER_SETTING = re.compile(rb"[ \t]*" + _DEFAULT)
_MANAGER_COMMENT = re.compile(rb"[ \t]*[#;][#; \t]*" + _DEFAULT)
_MENTION = re.compile(rb"(?<![A-Za-z0-9_])" + _NAME + rb"(?![A-Za-z0-9_])")


def _user_manager(line: _Line) -> Setting | None:
    if line.text.lstrip(b" \t")[:1] in (b"#", b";"):
        return _commented(_MANAGER_COMMENT, line)
    if _MENTION.search(line.text) is None:
        return None
    return line.setting(True, False, _MANAGER_SETTING.fullmatch(line.text) is not None)


def _system_manager(line: _Line) -> Setting | None:
    """Like the user managers', but for 1: that reaches the system's services, which nothing else of ours does."""
    found = _MANAGER_SETTING.fullmatch(line.text)
    return None if found is not None and found.group(2) == b"1" else _user_manager(line)


def _other(line: _Line) -> Setting | None:
    """A line of a file in which remediator edits nothing."""
    if line.text.lstrip(b" \t")[:1] == b"#" or _MENTION.search(line.text) is None:
        return None
    return line.setting(True, False, False)


def _commented(pattern: re.Pattern[bytes], line: _Line) -> Setting | None:
    """A comment that is the assignment and nothing else; None where it belongs to the line before it."""
    return line.setting(False, False, True) if line.whole and pattern.fullmatch(line.text) else None


_READERS = {
    Syntax.ASSIGNMENTS: _assignment,
    Syntax.SHELL: _command,
    Syntax.SYSTEM_MANAGER: _system_manager,
    Syntax.USER_MANAGER: _user_manager,
    Syntax.OTHER: _other,
}
