"""The only code that ever runs on a managed host: a bootstrap and two programs, observe and commit.

A program is small files joined into one when sent. Each file stays importable here for its tests; imports between them
(`from remediator.host...`) are dropped when joined, so top-level names are unique within a program and modules are not
imported as such. The floor is Python 3.6 and its standard library. See README.md beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
_OWN_IMPORT = re.compile(r"^from (?:remediator\.host\S*|__future__) import (?:\([^)]*\)|.*)$", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^ *#.*\n", re.MULTILINE)
_SERVE = "\nserve(MARKER, REQUEST, handle)\n"
# Only what commits is given what came behind the request (a private key, which no document may hold), the whole that it
# came in, to hand it on, and its own text, which the boot unit runs.
_BEGIN = "\nbegin(MARKER, RUN, BODY)\nanswer(MARKER, REQUEST, SECRET, own_program(SOURCE, LATER_TEXT))\n"
# What changes services, and so must not end with the connection; the rest is short, or waits for a unit itself.
OUTLIVING = frozenset({"commit", "recover"})
Parts = tuple[str, ...]


class Program(NamedTuple):
    """What is sent to a host: `source` runs there, `later` is the text of what it compiles only where it needs that.

    `run` is the id of the run whose commit it is: that is done by a unit of the host's own systemd, which outlives the
    connection. Empty: by the session.
    """

    source: bytes
    later: bytes = b""
    run: str = ""


def bootstrap_source() -> str:
    """The bootstrap without its documentation, as it stands in the remote command."""
    source = (_HERE / "bootstrap.py").read_text("utf-8")
    return _COMMENT_LINE.sub("", source.split('"""\n', 1)[1]).strip() + "\n"


@lru_cache(maxsize=1)
def observe_program() -> Program:
    """The program that observes: read-only, answers one request document with one observation."""
    from remediator.host.observe import LATER, PARTS

    return join(PARTS, LATER)


def commit_program(do: str, run: str) -> Program:
    """The program that commits: takes transactions, answers with their outcomes.

    `do` is what its request will ask for, `run` the id of the run that asks. See README.md beside this file.
    """
    return _commit()._replace(run=run if do in OUTLIVING else "")


@lru_cache(maxsize=1)
def _commit() -> Program:
    from remediator.host.commit import LATER, PARTS

    return join(PARTS, LATER, end=_BEGIN)


def join(parts: Parts, later: Mapping[str, Parts] | None = None, end: str = _SERVE) -> Program:
    """The files `parts` (paths below host/, in order) as one program; `end` calls what they define.

    Groups of `later` travel as text behind it (`later_source(group)`), which the program compiles once it needs it:
    compiling is most of what a host pays, and most processes need no more than one of them.
    """
    text, places = b"", ""
    for group, names in (later or {}).items():
        begin, text = len(text), text + _text(names)
        places += f"LATER[{group!r}] = ({begin}, {len(text)})\n"
    return Program(_text(parts) + f"\n{places}{end}".encode(), text)


def _text(parts: Parts) -> bytes:
    return "\n".join(_OWN_IMPORT.sub("", (_HERE / part).read_text("utf-8")) for part in parts).encode()
