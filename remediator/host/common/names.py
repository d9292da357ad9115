"""Paths as text: bytes of a name that are no UTF-8 travel as surrogates inside the program and as escapes outside."""

import re

from remediator.host.common.patterns import pattern

# Lone surrogates (undecodable bytes) and control characters.
UNSHOWN = pattern("[\ud800-\udfff\x00-\x1f\x7f-\x9f]")


def raw(path: "str") -> "bytes":
    """The bytes of a path, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def text_of(data: "bytes") -> "str":
    """Bytes from the host as text; `raw` gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def shown(path: "str") -> "str":
    """The text that stands for a path in the answer: what cannot be shown is a backslash escape."""
    return UNSHOWN.sub(escape_character, path)


def is_shown(path: "str") -> "bool":
    """Whether `shown(path)` names exactly this path; a backslash in a name could be taken for an escape."""
    return "\\" not in path and UNSHOWN.search(path) is None


def written_name(number: "int") -> "str":
    """The name, in the transaction's own directory, of a copy of the bytes that entry `number` put at its path."""
    return "%d.after" % number


def escape_character(match: "re.Match[str]") -> "str":
    """`\\xNN` for a control character or an undecodable byte."""
    code = ord(match.group())
    return "\\x%02x" % (code & 0xFF if 0xDC80 <= code <= 0xDCFF or code < 0x100 else 0x3F)
