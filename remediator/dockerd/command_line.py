"""The command line of a running dockerd against the one that its unit gives it, both with their secrets masked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from remediator.dockerd.configuration import DaemonConfiguration
from remediator.dockerd.flags import Flag, Token, read_flags
from remediator.text import one_line

_SHOWN = 200
# More words than any daemon's command line has, more of one flag than a person gives: comparing them takes time.
_MOST_WORDS, _MOST_ALIKE = 1000, 50
# systemd's specifiers (systemd.unit(5)): what one stands for only systemd knows.
_SPECIFIER = re.compile(r"%[^%]")


def differing_flags(argv: Sequence[str], told: DaemonConfiguration) -> list[str]:
    """What the process has and its unit does not give it, and the reverse, each in words; nothing where both agree."""
    found = []
    if argv[0] != one_line(told.line.program) and argv[0].rpartition("/")[2] != told.line.program:
        found.append(f"{one_line(argv[0], _SHOWN)} runs, and its unit starts {one_line(told.line.program, _SHOWN)}")
    if len(argv) > _MOST_WORDS:
        return [*found, f"the running daemon has more than {_MOST_WORDS} words on its command line"]
    tokens = [Token(word.encode("utf-8", "replace").decode("latin-1"), "", number) for number, word in enumerate(argv)]
    try:
        running = read_flags(tokens[1:])
    except ValueError as error:
        return [*found, f"the command line of the running daemon cannot be read: {one_line(str(error), _SHOWN)}"]
    less, more = _apart(told.flags, running)
    found += [f"its unit gives it {_shown(flag)}, and it was started without" for flag in less]
    return [*found, *(f"it was started with {_shown(flag)}, which its unit does not give it" for flag in more)]


def _apart(wanted: Sequence[Flag], running: Sequence[Flag]) -> tuple[list[Flag], list[Flag]]:
    """The flags that only one of both has. Of a flag given several times the order counts: the last one wins."""
    less, more = [], []
    for name in dict.fromkeys(flag.name for flag in (*wanted, *running)):
        there = [flag for flag in wanted if flag.name == name]
        here = [flag for flag in running if flag.name == name]
        if len(there) == len(here) and all(map(_agree, there, here)):
            continue
        lost, gained = _unmatched(there, here)
        less += lost if lost or gained else there
        more += gained
    return less, more


def _unmatched(there: list[Flag], here: list[Flag]) -> tuple[list[Flag], list[Flag]]:
    """Those of one name that have no counterpart; of more than anybody gives, those that are not just the same."""
    values, running = {one_line(flag.value) for flag in there}, {flag.value for flag in here}
    lost = [flag for flag in there if one_line(flag.value) not in running]
    gained = [flag for flag in here if flag.value not in values]
    if max(len(lost), len(gained)) > _MOST_ALIKE:
        return lost, gained
    return (
        [flag for flag in lost if not any(_agree(flag, other) for other in gained)],
        [flag for flag in gained if not any(_agree(other, flag) for other in lost)],
    )


def _agree(wanted: Flag, running: Flag) -> bool:
    """Whether both have one value, as far as masks and systemd's specifiers let it be seen."""
    one, other = one_line(wanted.value), running.value
    if one == other:
        return True
    if "%" in one and not wanted.variable:
        pieces = [piece.replace("%%", "%") for piece in _SPECIFIER.split(one)]
        if len(pieces) == 1:
            return pieces[0] == other
        fits = other.startswith(pieces[0]) and other.endswith(pieces[-1])
        return fits and len(other) >= len(pieces[0]) + len(pieces[-1])
    return _is_masked(one, other) or _is_masked(other, one)


def _is_masked(masked: str, clear: str) -> bool:
    """Whether `masked` is `clear` with one secret masked: at equal length in bytes, with `x`."""
    hidden, shown = masked.encode("utf-8", "replace"), clear.encode("utf-8", "replace")
    differing = [number for number, (one, other) in enumerate(zip(hidden, shown, strict=False)) if one != other]
    if len(hidden) != len(shown) or not differing:
        return False
    return set(hidden[differing[0] : differing[-1] + 1]) == {ord("x")}


def _shown(flag: Flag) -> str:
    return one_line(f"--{flag.name}={flag.value}" if flag.value != "true" else f"--{flag.name}", _SHOWN)
