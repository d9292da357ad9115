"""Reading a regular file of the host's whole, through a path that only root can change."""

import os
import stat

from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.places import PLACE_READ_FLAGS, open_place

MAX_VALIDATED = 16 * 1024 * 1024


def read_file(path: str) -> bytes:
    """A regular file's bytes, up to MAX_VALIDATED. Raises OSError, StepError, UntrustedError."""
    place = open_place(path)
    try:
        descriptor = place.open(PLACE_READ_FLAGS)
    finally:
        place.close()
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise StepError(plain_line(path) + " is no regular file")
        data = file.read(MAX_VALIDATED + 1)
    if len(data) > MAX_VALIDATED:
        raise StepError("%s is larger than %d bytes" % (plain_line(path), MAX_VALIDATED))
    return data
