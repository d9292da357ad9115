"""The order of `ls -v`, in which augenrules joins its files (gnulib's filevercmp)."""

from remediator.host.common.patterns import pattern

# One suffix such as `.rules` or `.conf.d` is looked at only when all before it is equal.
SUFFIX = pattern(r"(?:\.[A-Za-z~][A-Za-z0-9~]*)*$")
DIGITS = pattern(r"(\d+)")


def version_key(name: "str") -> "tuple[list[tuple[list[int], int]], list[tuple[list[int], int]], str]":
    """A sort key: runs of digits count as numbers, letters come before everything else, `~` before the end."""
    suffix = SUFFIX.search(name)
    stem = name[: suffix.start()] if suffix is not None else name
    return parts_key(stem), parts_key(name), name


def parts_key(text: "str") -> "list[tuple[list[int], int]]":
    """(order of the characters, number) pairs: a non-digit part and the number after it."""
    parts = DIGITS.split(text) + [""]
    return [
        ([character_order(character) for character in parts[position]] + [0], int(parts[position + 1] or "0"))
        for position in range(0, len(parts) - 1, 2)
    ]


def character_order(character: "str") -> "int":
    """filevercmp's order of one character: `~`, the end, letters, the rest."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() and ord(character) < 128 else ord(character) + 256
