"""Whether the host is still as the preview saw it."""

import os
import stat
from typing import List, Optional, Tuple

from remediator.host.commit.outcomes import plain_line, system_error
from remediator.host.commit.places import PLACE_READ_FLAGS, Place, content_digest, open_place, real_path, type_name
from remediator.host.commit.request import Precondition
from remediator.host.common.digest import sha256
from remediator.host.common.mask import mask_content

# Observe reads no larger file, so none of them was masked.
MAX_MASKED = 1048576


def difference(wanted: Precondition) -> str:
    """What differs at a precondition's path, named with the path; empty where nothing does."""
    shown = plain_line(wanted.path)
    try:
        real = real_path(wanted.path)
        if real != wanted.resolved:
            return "%s leads to %s now, to %s at the preview" % (shown, plain_line(real), plain_line(wanted.resolved))
        place = open_place(wanted.resolved, trusted=False)
    except OSError as error:
        return system_error(shown, error)
    try:
        found = place.stat()
        words = compare(wanted, found)
        if not words and wanted.sha256 is not None and sha256_at(place, found, wanted.masked) != wanted.sha256:
            words = "its content is another than at the preview"
    except OSError as error:
        return system_error(shown, error)
    finally:
        place.close()
    return shown + ": " + words if words else ""


def compare(wanted: Precondition, found: Optional[os.stat_result]) -> str:
    """What differs in type, access and identity."""
    now = type_name(found)
    if now != wanted.type:
        return "%s now, %s at the preview" % (now, wanted.type)
    if found is None:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    if wanted.mode is not None and mode != wanted.mode:
        return "mode %04o now, %04o at the preview" % (mode, wanted.mode)
    numbers: List[Tuple[str, Optional[int], int]] = [
        ("owner uid", wanted.uid, found.st_uid),
        ("group gid", wanted.gid, found.st_gid),
    ]
    for word, then, value in numbers:
        if then is not None and then != value:
            return "%s %d now, %d at the preview" % (word, value, then)
    replaced: List[Tuple[Optional[int], int]] = [(wanted.ino, found.st_ino), (wanted.dev, found.st_dev)]
    if now == "file":
        # A directory's size and times change with every file that comes and goes in it.
        replaced += [(wanted.size, found.st_size), (wanted.mtime_ns, found.st_mtime_ns)]
        replaced += [(wanted.ctime_ns, found.st_ctime_ns)]
    if any(then is not None and then != value for then, value in replaced):
        return "it was replaced or written since the preview"
    return ""


def masked_digest(content: bytes) -> str:
    """sha256 of the content with its secrets masked, as observe answers it: the same code made both."""
    return sha256(mask_content(content)[0]).hexdigest()


def sha256_at(place: Place, found: Optional[os.stat_result], masked: bool) -> str:
    """sha256 of the regular file at `place`, which must still be the one in `found`; `masked`: without its secrets.

    Empty where it is another or none. Raises OSError.
    """
    if found is None:
        return ""
    descriptor = place.open(PLACE_READ_FLAGS)
    try:
        facts = os.fstat(descriptor)
        if (facts.st_dev, facts.st_ino) != (found.st_dev, found.st_ino) or not stat.S_ISREG(facts.st_mode):
            return ""
        if masked:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return masked_digest(file.read(MAX_MASKED))
        return content_digest(descriptor)
    finally:
        os.close(descriptor)
