"""Host text made harmless: what may be shown, stored or compared of strings that a managed host chose.

Everything a host says is hostile until it has been through here: terminal escapes, bidirectional overrides, lone
surrogates, NUL and the characters that XML or a database refuses become visible backslash escapes.
"""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, zero-width and bidirectional controls, line and paragraph separators, the
# language tags, byte order mark, lone surrogates and the noncharacters.
# Sources: Unicode 15 chapter 23, UTS 55, XML 1.0 section 2.2.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef"
    "\ufe00-\ufe0f\ufeff\ufff0-\uffff\U000e0000-\U000e0fff]"
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str, limit: int = 4096) -> str:
    """`text` with every unsafe character as a backslash escape, cut to `limit` characters (a cut ends in `...`)."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return _UNSAFE.sub(_escape, text)


def one_line(text: str, limit: int = 4096) -> str:
    """Like `visible`, and newlines and tabs are escaped as well: for reasons, names and paths."""
    return visible(text, limit).replace("\n", "\\n").replace("\t", "\\t")


def is_plain(text: str) -> bool:
    """Whether `text` is shown exactly as it is, so that what is displayed names what is meant."""
    return _UNSAFE.search(text) is None and "\n" not in text and "\t" not in text
