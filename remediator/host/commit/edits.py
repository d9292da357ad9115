"""Editing a file whose secrets never leave the host: its new bytes are made here, from the real old ones."""

from typing import Callable, Sequence, Set, Tuple

from remediator.host.commit.files import FileWrite
from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.request import EditSplice, Precondition


class FileEdit(FileWrite):
    """Splices into the bytes that an existing file has, with FileWrite's promises; `wanted` says which bytes."""

    def __init__(
        self,
        path: str,
        splices: Tuple[EditSplice, ...],
        access: Tuple[int, int, int],
        wanted: Precondition,
        copies: Set[Tuple[int, int]],
        checks: Sequence[Callable[[str], None]] = (),
    ) -> None:
        FileWrite.__init__(self, path, b"", access, wanted, copies, checks)
        self._splices = splices

    def new_content(self) -> bytes:
        """The old bytes with the splices in. Raises StepError where one lies outside of them."""
        old = self.old_content()
        pieces = []
        position = 0
        for one in self._splices:
            if one.offset < position or one.offset + one.length > len(old):
                raise StepError("%s has other bytes than those that were to be edited" % plain_line(self.path))
            pieces += [old[position : one.offset], one.content]
            position = one.offset + one.length
        return b"".join(pieces + [old[position:]])
