"""Parts of the program that are compiled only where they are needed."""

# Filled when the program is joined; empty where these files are imported as modules.
LATER: "dict[str, str]" = {}


def load_later(group: "str") -> None:
    """Makes the names of a group's files known, once."""
    source = LATER.pop(group, "")
    if source:
        # It arrived with the program, under the same digest.
        exec(compile(source, "remediator-" + group, "exec"), globals())  # noqa: S102
