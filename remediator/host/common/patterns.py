"""Regular expressions that are compiled when they are first used: most answers need few of them."""

import re

MYPY = False
if MYPY:
    from typing import AnyStr


class LazyPattern:
    """Stands for a compiled pattern until it is asked for its first method."""

    def __init__(self, text: "str | bytes", flags: "int") -> None:
        self.text = text
        self.flags = flags

    def __getattr__(self, name: "str") -> "object":
        compiled = re.compile(self.text, self.flags)
        for method in ("search", "match", "finditer", "sub", "split"):
            self.__dict__[method] = getattr(compiled, method)
        return getattr(compiled, name)


def pattern(text: "AnyStr", flags: "int" = 0) -> "re.Pattern[AnyStr]":
    """The pattern `text`, compiled at its first use."""
    return LazyPattern(text, flags)  # type: ignore[return-value]
