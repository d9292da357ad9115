"""Which variables of its caller sudo keeps, from the lines of its policy (sudoers(5)), read as sudo reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from remediator.observation import SudoLine

DIRECTORY = "/etc/sudoers.d"
_SETTING = re.compile(r"(!?) ?\b(env_keep|env_reset)\b *(?:(\+=|-=|=) *(?:\"([^\"]*)\"|([^ ,\"]+)))?")


def keeps(lines: Sequence[SudoLine], variable: str) -> bool:
    """Whether sudo keeps `variable` when it is 1, for everybody; Defaults of one user, host or command are left out."""
    return [False, *_kept_after_each(lines, variable)][-1]


def with_own(lines: Sequence[SudoLine], own: SudoLine) -> list[SudoLine] | None:
    """The lines with `own` where sudo would take it, in place of its file's; None where sudo reads no such file."""
    others = [line for line in lines if line.path != own.path]
    marker = next((place for place, line in enumerate(others) if line.text == f"@includedir {DIRECTORY}"), None)
    if marker is None:
        return None
    place = marker + 1
    while place < len(others) and others[place].path.startswith(f"{DIRECTORY}/") and others[place].path < own.path:
        place += 1
    return [*others[:place], own, *others[place:]]


def taken_back(lines: Sequence[SudoLine], own: SudoLine, variable: str) -> SudoLine | None:
    """The first line behind `own` after which `variable` is not kept any more."""
    behind = False
    for line, kept in zip(lines, _kept_after_each(lines, variable), strict=True):
        if behind and not kept:
            return line
        behind = behind or line is own
    return None


def _kept_after_each(lines: Sequence[SudoLine], variable: str) -> Iterator[bool]:
    """For each line whether `variable` would be kept if the policy ended with it."""
    reset = True
    names: list[str] = []  # those that take the variable
    for line in lines:
        for negated, name, operator, quoted, bare in _SETTING.findall(_general(line.text)):
            given = [item for item in (quoted or bare).split() if _covers(item, variable)]
            if name == "env_reset":
                reset = not negated
            elif negated:
                names = []
            elif operator == "-=":
                names = [item for item in names if item not in given]
            elif operator:
                names = [*(names if operator == "+=" else []), *given]
        yield not reset or bool(names)


def _covers(pattern: str, variable: str) -> bool:
    """Whether an item of env_keep, in which `*` is anything, takes `variable` with the value 1."""
    text = f"{variable}=1" if "=" in pattern else variable
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    position = len(first)
    for part in others[:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return text.startswith(first) and len(text) - len(others[-1]) >= position and text.endswith(others[-1])


def _general(text: str) -> str:
    """The settings of a Defaults line that is for everybody; empty for any other."""
    return text.removeprefix("Defaults") if re.match(r"Defaults\s", text) else ""
