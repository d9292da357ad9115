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

_HERE = Path(__file__).parent
_OWN_IMPORT = re.compile(r"^from (?:remediator\.host\S*|__future__) import (?:\([^)]*\)|.*)$", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^ *#.*\n", re.MULTILINE)
_SERVE = "\nserve(MARKER, REQUEST, handle)\n"
# Only what commits is given what came behind the request (a private key, which no document may hold), and the whole
# that it came in, to hand it on.
_SERVE_WHOLE = "\nserve(MARKER, REQUEST, lambda document: begin(document, SECRET, Call(MARKER, BODY)))\n"
Parts = tuple[str, ...]


def bootstrap_source() -> str:
    """The bootstrap without its documentation, as it stands in the remote command."""
    source = (_HERE / "bootstrap.py").read_text("utf-8")
    return _COMMENT_LINE.sub("", source.split('"""\n', 1)[1]).strip() + "\n"


@lru_cache(maxsize=1)
def observe_program() -> bytes:
    """The program that observes: read-only, answers one request document with one observation."""
    from remediator.host.observe import LATER, PARTS

    return join(PARTS, LATER)


@lru_cache(maxsize=1)
def commit_program() -> bytes:
    """The program that commits: takes transactions, answers with their outcomes."""
    from remediator.host.commit import LATER, PARTS

    return join(PARTS, LATER, serve=_SERVE_WHOLE)


def join(parts: Parts, later: Mapping[str, Parts] | None = None, serve: str = _SERVE) -> bytes:
    """The files `parts` (paths below host/, in order) as one program; `serve`, its end, calls the last one's function.

    Groups of `later` travel as text that the program compiles when `load_later(group)` asks for it: compiling is most
    of what a host pays, and most processes need no more than one of them.
    """
    groups = "".join(f"LATER[{group!r}] = {_text(names)!r}\n" for group, names in (later or {}).items())
    return (_text(parts) + "\n" + groups + serve).encode("utf-8")


def _text(parts: Parts) -> str:
    return "\n".join(_OWN_IMPORT.sub("", (_HERE / part).read_text("utf-8")) for part in parts)
