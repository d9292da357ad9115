"""Changing a path's mode or owner through a descriptor of the thing itself."""

import errno
import os
from typing import Dict, Optional, Tuple

from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.places import PATH_FLAGS, PLACE_READ_FLAGS, open_place, type_name

# What a content's change makes worthless: never carried over to new bytes.
CONTENT_XATTRS = ("security.capability", "security.ima", "security.evm")


class AccessChange:
    """One chmod or chown of a file, directory or socket, through a descriptor (O_PATH) that is kept until then."""

    def __init__(self, path: str, kind: str, mode: Optional[int], owner: Optional[Tuple[int, int]]) -> None:
        self.path = path
        self.kind = kind
        self.mode = mode
        self.owner = owner
        self.changed = False
        self._descriptor = -1

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        place = open_place(self.path)
        try:
            self._descriptor = place.open(PATH_FLAGS)
        finally:
            place.close()
        found = type_name(os.fstat(self._descriptor))
        if found != self.kind:
            raise StepError("%s became a %s" % (plain_line(self.path), found))
        self.changed = True
        if self.owner is not None:
            os.chown(self._link(), self.owner[0], self.owner[1])
        if self.mode is not None:
            os.chmod(self._link(), self.mode)

    def settle(self) -> None:
        """Puts the change on disk. Raises OSError."""
        try:
            if self.kind == "socket":
                return
            descriptor = os.open(self._link(), PLACE_READ_FLAGS & ~os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def keep(self) -> None:
        """Nothing more is to be done once the transaction stands."""

    def _link(self) -> str:
        # An O_PATH descriptor takes no fchmod(2); its name below /proc leads to the thing itself, whatever its path.
        return "/proc/self/fd/%d" % self._descriptor


def read_xattrs(target: str) -> Dict[str, bytes]:
    """Extended attributes of what `target` leads to, labels and ACLs among them; none where there is no such thing."""
    try:
        return {name: os.getxattr(target, name) for name in os.listxattr(target)}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS, errno.ENODATA, errno.EPERM, errno.EACCES):
            return {}
        raise


def copy_xattrs(attributes: Dict[str, bytes], descriptor: int, leave: Tuple[str, ...]) -> None:
    """Gives an open file those attributes, but for the ones in `leave`. Raises OSError."""
    for name, value in attributes.items():
        if name not in leave:
            os.setxattr(descriptor, name, value)
