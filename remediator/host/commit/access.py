"""Changing a path's mode or owner through a descriptor of the thing itself, and putting it back."""

import errno
import os
import stat
from typing import Dict, Optional, Set, Tuple

from remediator.host.commit.outcomes import LeftAloneError, StepError, plain_line
from remediator.host.commit.places import PATH_FLAGS, PLACE_READ_FLAGS, open_place, type_name

# What a content's change makes worthless: never carried over to new bytes.
CONTENT_XATTRS = ("security.capability", "security.ima", "security.evm")


class AccessChange:
    """One chmod or chown of a file, directory or socket, through a descriptor (O_PATH) that is kept until it ends.

    Putting back reaches the very thing that was changed, or one of `copies` (device, inode): the old file that this
    transaction itself has put back in its place by then.
    """

    def __init__(
        self, path: str, kind: str, mode: Optional[int], owner: Optional[Tuple[int, int]], copies: Set[Tuple[int, int]]
    ) -> None:
        self.path = path
        self._copies = copies
        self.kind = kind
        self.mode = mode
        self.owner = owner
        self.changed = False
        self._descriptor = -1
        self._before: Optional[os.stat_result] = None
        self._xattrs: Dict[str, bytes] = {}

    def do(self) -> None:
        """Raises OSError, StepError, UntrustedError."""
        place = open_place(self.path)
        try:
            self._descriptor = place.open(PATH_FLAGS)
        finally:
            place.close()
        self._before = os.fstat(self._descriptor)
        if type_name(self._before) != self.kind:
            raise StepError("%s became a %s" % (plain_line(self.path), type_name(self._before)))
        self._xattrs = read_xattrs(self._link())
        self.changed = True
        if self.owner is not None:
            os.chown(self._link(), self.owner[0], self.owner[1])
        if self.mode is not None:
            os.chmod(self._link(), self.mode)

    def settle(self) -> None:
        """Puts the change on disk. Raises OSError."""
        if self.kind == "socket":
            return
        descriptor = os.open(self._link(), PLACE_READ_FLAGS & ~os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def revert(self) -> None:
        """Owner, mode and attributes as before. Raises OSError, LeftAloneError where somebody changed them since."""
        if not self.changed or self._before is None:
            return
        self._reach_again()
        now = os.fstat(self._descriptor)
        before = self._before
        ours = self.owner is None or (now.st_uid, now.st_gid) == self.owner
        ours = ours and (self.mode is None or stat.S_IMODE(now.st_mode) == self.mode)
        still = (now.st_uid, now.st_gid, now.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
        if not ours and not still:
            raise LeftAloneError(plain_line(self.path) + ": mode or owner was changed by somebody else since")
        # The owner first: chown(2) clears setuid and setgid bits and file capabilities.
        os.chown(self._link(), before.st_uid, before.st_gid)
        os.chmod(self._link(), stat.S_IMODE(before.st_mode))
        for name, value in self._xattrs.items():
            if read_xattrs(self._link()).get(name) != value:
                os.setxattr(self._link(), name, value)
        self.settle()

    def keep(self) -> None:
        """Nothing was set aside."""

    def close(self) -> None:
        """Closes the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _reach_again(self) -> None:
        place = open_place(self.path)
        try:
            there = place.open(PATH_FLAGS)
        except FileNotFoundError:
            raise LeftAloneError(plain_line(self.path) + " was removed by somebody else since")
        finally:
            place.close()
        facts, held = os.fstat(there), os.fstat(self._descriptor)
        if (facts.st_dev, facts.st_ino) == (held.st_dev, held.st_ino):
            os.close(there)
        elif (facts.st_dev, facts.st_ino) in self._copies:
            os.close(self._descriptor)
            self._descriptor = there
        else:
            os.close(there)
            raise LeftAloneError(plain_line(self.path) + " was replaced by somebody else since")

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
