"""Lines of the terminal view: styled text with an indentation, harmless whatever a host put in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from remediator.plan import Severity
from remediator.text import visible

SEVERITY_STYLES: dict[Severity, str] = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}


@dataclass(frozen=True)
class Line:
    """One line of output.

    `wrap`: a terminal that is too narrow may break it between words, code never is; what is broken off goes on `hang`
    columns further right.
    """

    text: Text
    indent: int = 0
    wrap: bool = True
    hang: int = 0


BLANK = Line(Text(""))


def line(indent: int, *parts: str | tuple[str, str], wrap: bool = True, hang: int = 0) -> Line:
    """A line of plain parts and (part, style) pairs. Parts are text, never markup."""
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(_shown(words), style=style)
    return Line(text, indent, wrap, hang)


def plain_text(lines: Sequence[Line]) -> str:
    """The lines as they stand in output without colours, each ended."""
    return "".join(f"{' ' * each.indent}{each.text.plain}".rstrip() + "\n" for each in lines)


def columns(indent: int, rows: Sequence[Sequence[tuple[str, str]]], right: frozenset[int] = frozenset()) -> list[Line]:
    """Rows of (cell, style) in columns, two spaces apart; the column numbers in `right` are set flush right."""
    widths = [max(cell_len(_shown(row[index][0])) for row in rows) for index in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        parts: list[str | tuple[str, str]] = []
        for index, (cell, style) in enumerate(row):
            gap = " " * (widths[index] - cell_len(_shown(cell)))
            parts += [gap, (cell, style)] if index in right else [(cell, style), gap]
            if index < len(row) - 1:
                parts.append("  ")
        made = line(indent, *parts, wrap=False)
        made.text.rstrip()
        lines.append(made)
    return lines


def _shown(words: str) -> str:
    """`words` on one line, whole, with every character that could do more than be read as an escape."""
    return visible(words, len(words)).replace("\n", "\\n")
