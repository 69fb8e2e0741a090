"""Boxes of integer indices."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open box of integer indices, ``start <= index < stop`` per axis.

    Examples
    --------
    >>> box = Box(start=(0, 4), stop=(2, 10))
    >>> box.shape, box.size
    ((2, 6), 12)
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of indices per axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index for an array that covers the whole grid."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def __str__(self) -> str:
        inner = ", ".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))
        return f"[{inner}]"


def between(box: Box, axis: int, start: int, stop: int) -> Box:
    """Return the part of a box within a range of one axis."""
    return Box(
        start=(*box.start[:axis], start, *box.start[axis + 1 :]),
        stop=(*box.stop[:axis], stop, *box.stop[axis + 1 :]),
    )
