"""Writing to a descriptor."""

import os


def write_all(descriptor: "int", data: "bytes") -> None:
    """Writes every byte of `data`, however little the pipe takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
