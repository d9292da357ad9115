"""Edits of a file as splices at byte offsets, so that what a mask hides can stay what it is on the host.

A piece table: the edited content is a row of pieces, each kept from the observed bytes or new. Editors give splices
into the content as it stands; what is asked of the host is splices into the observed bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class MaskedError(ValueError):
    """An edit would change bytes that the observation masked, so nobody here knows what it would take away."""


@dataclass(frozen=True)
class Splice:
    """`length` bytes at `offset` are replaced with `new`."""

    offset: int
    length: int
    new: bytes


@dataclass(frozen=True)
class _Piece:
    """Bytes `start` to `end` of the observed content, or `new` ones (then `start` == `end`)."""

    start: int
    end: int
    new: bytes | None = None

    def __len__(self) -> int:
        return len(self.new) if self.new is not None else self.end - self.start

    def cut(self, first: int, last: int) -> _Piece:
        """The part from `first` to `last`."""
        if self.new is not None:
            return _Piece(0, 0, self.new[first:last])
        return _Piece(self.start + first, self.start + last)


@dataclass(frozen=True)
class Edited:
    """The content of one file with the edits so far. `masked` are spans (offset, length) of `observed`."""

    observed: bytes
    masked: tuple[tuple[int, int], ...]
    pieces: tuple[_Piece, ...]

    @classmethod
    def of(cls, observed: bytes, masked: Sequence[tuple[int, int]] = ()) -> Edited:
        """The content as it was observed."""
        return cls(observed, tuple(masked), (_Piece(0, len(observed)),))

    @property
    def content(self) -> bytes:
        """The content now; masked where the observed one is."""
        kept = self.observed
        return b"".join(piece.new if piece.new is not None else kept[piece.start : piece.end] for piece in self.pieces)

    def splice(self, splices: Iterable[Splice]) -> Edited:
        """With these splices into `content`, which do not overlap. Raises MaskedError, ValueError outside of it."""
        edited = self
        for one in sorted(splices, key=lambda item: item.offset, reverse=True):
            edited = edited._splice(one)
        return edited

    def splices(self) -> tuple[Splice, ...]:
        """What turns the observed bytes into the content, in order."""
        found: list[Splice] = []
        position, new = 0, b""
        for piece in (*self.pieces, _Piece(len(self.observed), len(self.observed))):
            if piece.new is not None:
                new += piece.new
                continue
            if piece.start > position or new:
                found.append(Splice(position, piece.start - position, new))
            position, new = piece.end, b""
        return tuple(found)

    def _splice(self, one: Splice) -> Edited:
        end = one.offset + one.length
        if one.offset < 0 or one.length < 0 or end > sum(map(len, self.pieces)):
            raise ValueError("a splice lies outside the content")
        before: list[_Piece] = []
        after: list[_Piece] = []
        position = 0
        for piece in self.pieces:
            first, last = one.offset - position, end - position
            position += len(piece)
            if first > 0:
                before.append(piece.cut(0, min(first, len(piece))))
            if last < len(piece):
                after.append(piece.cut(max(last, 0), len(piece)))
            self._refuse_masked(piece.cut(min(max(first, 0), len(piece)), min(max(last, 0), len(piece))), first, piece)
        pieces = (*before, _Piece(0, 0, one.new), *after)
        return Edited(self.observed, self.masked, tuple(piece for piece in pieces if len(piece)))

    def _refuse_masked(self, taken: _Piece, first: int, piece: _Piece) -> None:
        """Raises MaskedError where `taken` has masked bytes, or where the splice stands inside a masked span."""
        if piece.new is not None:
            return
        inside = piece.start + first
        for offset, length in self.masked:
            if taken.start < offset + length and taken.end > offset and taken.end > taken.start:
                raise MaskedError("it would change bytes that hold a secret")
            if offset < inside < offset + length and piece.start < inside < piece.end:
                raise MaskedError("it would write into a secret")
