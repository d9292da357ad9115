"""Writing to stdout, whose reader may have gone (`| head`)."""

from __future__ import annotations

import os
from typing import TextIO


def write(stream: TextIO, text: str) -> bool:
    """Write and flush; whether somebody took it. A closed pipe is no error of the call: what it found stands."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True
