"""Editing a file whose secrets never leave the host: its new bytes are made here, from the real old ones."""

from typing import Tuple

from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.request import EditSplice


def spliced(path: str, old: bytes, splices: Tuple[EditSplice, ...]) -> bytes:
    """The old bytes of `path` with the splices in. Raises StepError where one lies outside of them."""
    pieces = []
    position = 0
    for one in splices:
        if one.offset < position or one.offset + one.length > len(old):
            raise StepError("%s has other bytes than those that were to be edited" % plain_line(path))
        pieces += [old[position : one.offset], one.content]
        position = one.offset + one.length
    return b"".join(pieces + [old[position:]])
