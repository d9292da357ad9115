"""What a path is before and after a change, as the host's journal has it."""

import base64
import binascii
import os
import stat
from typing import Any, Dict, NamedTuple, Optional

from remediator.host.commit.access import read_xattrs
from remediator.host.commit.outcomes import StepError
from remediator.host.commit.places import PATH_FLAGS, PLACE_READ_FLAGS, Place, content_digest, type_name

STATE_TYPES = ("missing", "file", "directory", "socket")


class PathState(NamedTuple):
    """All null but `type` where nothing is there. `sha256` is of a file's real bytes, null where they do not matter.

    `dev` and `ino` are of what was there before; what is still to be made has none.
    """

    type: str
    mode: Optional[int] = None
    uid: Optional[int] = None
    gid: Optional[int] = None
    sha256: Optional[str] = None
    size: Optional[int] = None
    mtime_ns: Optional[int] = None
    dev: Optional[int] = None
    ino: Optional[int] = None
    xattrs: Optional[Dict[str, bytes]] = None

    def document(self) -> Dict[str, Any]:
        """As it stands in the journal."""
        found = {name: value for name, value in self._asdict().items() if value is not None}
        if self.xattrs is not None:
            found["xattrs"] = {name: base64.b64encode(value).decode("ascii") for name, value in self.xattrs.items()}
        return found


MISSING = PathState("missing")


def parse_state(document: Any) -> PathState:
    """A state from a journal, every field of its type. Raises ValueError."""
    if not isinstance(document, dict) or document.get("type") not in STATE_TYPES:
        raise ValueError("a state has no type")
    values = {name: value for name, value in document.items() if name in PathState._fields and value is not None}
    xattrs = values.pop("xattrs", None)
    for name, value in values.items():
        wanted = str if name in ("type", "sha256") else int
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError("a state's %s has a wrong type" % name)
    if values["type"] != "missing" and not all(name in values for name in ("mode", "uid", "gid")):
        raise ValueError("a state lacks its mode or owner")
    found = PathState(**values)
    return found if xattrs is None else found._replace(xattrs=parse_xattrs(xattrs))


def parse_xattrs(document: Any) -> Dict[str, bytes]:
    """Extended attributes from a journal. Raises ValueError."""
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise ValueError("a state's attributes have a wrong type")
    try:
        return {name: base64.b64decode(value.encode("ascii"), validate=True) for name, value in document.items()}
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("a state's attributes are not base64")


def state_at(place: Place, with_bytes: bool) -> PathState:
    """What is at `place` now; `with_bytes`: a file's digest too. Raises OSError, StepError for what is not changed."""
    try:
        descriptor = place.open(PATH_FLAGS) if place.missing is None else -1
    except FileNotFoundError:
        descriptor = -1
    if descriptor < 0:
        return MISSING
    try:
        facts = os.fstat(descriptor)
        kind = type_name(facts)
        if kind not in STATE_TYPES:
            raise StepError("%s is a %s" % (place.path, kind))
        attributes = read_xattrs("/proc/self/fd/%d" % descriptor)
    finally:
        os.close(descriptor)
    sha256 = digest_at(place, facts) if with_bytes and kind == "file" else None
    return PathState(
        kind,
        stat.S_IMODE(facts.st_mode),
        facts.st_uid,
        facts.st_gid,
        sha256,
        facts.st_size if kind == "file" else None,
        facts.st_mtime_ns if kind == "file" else None,
        facts.st_dev,
        facts.st_ino,
        attributes,
    )


def digest_at(place: Place, facts: os.stat_result) -> str:
    """sha256 of the regular file at `place`, which must still be the one in `facts`. Raises OSError, StepError."""
    descriptor = place.open(PLACE_READ_FLAGS)
    try:
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) != (facts.st_dev, facts.st_ino):
            raise StepError("%s was replaced by somebody else just now" % place.path)
        return content_digest(descriptor)
    finally:
        os.close(descriptor)
