"""Names of runs: ULIDs, which sort by the time at which they were made (github.com/ulid/spec)."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O or U to misread
_LENGTH = 26
_SHAPE = re.compile(rf"[0-7][{_ALPHABET}]{{{_LENGTH - 1}}}")
_RANDOM_BITS = 80


def new_ulid(milliseconds: int | None = None) -> str:
    """A new ULID: 48 bits of Unix time in milliseconds (now, unless told) and 80 random bits, 26 characters."""
    moment = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    number = (moment << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def ulid_time(ulid: str) -> datetime | None:
    """When `ulid` says that it was made, in UTC; None where it is none, or names a time after the year 9999."""
    word = ulid.upper()
    if _SHAPE.fullmatch(word) is None:
        return None
    number = 0
    for letter in word:
        number = number << 5 | _ALPHABET.index(letter)
    try:
        return datetime.fromtimestamp((number >> _RANDOM_BITS) / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
