"""Whether a mask can hide more than a secret.

Observe masks a secret up to where its word ends as a shell reads it, and where a quote is open that can be lines later:
then whole settings are behind the mask.
"""

from __future__ import annotations

from collections.abc import Iterable

_QUOTES = "\"'"
# More than any file of settings has: looking at each takes time.
_MOST_SPANS = 1000
_LONGEST_NAME = 200


def hides_settings(text: str, masked: Iterable[tuple[int, int]]) -> bool:
    """Whether one of the spans (offset, length) of `text` may reach beyond the value of one variable or option."""
    spans = tuple(masked)
    return len(spans) > _MOST_SPANS or not all(
        _is_user_of_url(text, *span) or _is_quoted(text, *span) or _is_bare(text, *span) for span in spans
    )


def _is_user_of_url(text: str, offset: int, length: int) -> bool:
    """`://xxxx@`: such a mask never has a quote or a blank behind it."""
    return text.endswith("://", 0, offset) and text.startswith("@", offset + length)


def _is_quoted(text: str, offset: int, length: int) -> bool:
    """`"xxxx"` and `"NAME=xxxx"`: the mask ends at the quote that closes what was opened before it."""
    after = text[offset + length : offset + length + 1]
    if not after or after not in _QUOTES:
        return False
    opened = text.rfind(after, max(0, offset - _LONGEST_NAME), offset)
    name = text[opened + 1 : offset]
    return opened >= 0 and (not name or (name.endswith("=") and not set(name) & set(_QUOTES + " \t\r\n")))


def _is_bare(text: str, offset: int, length: int) -> bool:
    """`NAME=xxxx` in a line without any quote; not where everything up to the end of the file is masked."""
    if offset + length == len(text):
        return False
    first, end = text.rfind("\n", 0, offset) + 1, text.find("\n", offset + length)
    return all(text.find(quote, first, end if end >= 0 else len(text)) < 0 for quote in _QUOTES)
