"""Parts of the program that are compiled only where they are needed."""

# Where each group's text begins and ends in what came behind the program; filled when the program is joined, empty
# where these files are imported as modules.
LATER: "dict[str, tuple[int, int]]" = {}


def later_source(group: "str") -> "bytes":
    """The text of a group's files, once; nothing where their names are known already."""
    begin, end = LATER.pop(group, (0, 0))
    return bytes(globals()["LATER_TEXT"][begin:end]) if end else b""
