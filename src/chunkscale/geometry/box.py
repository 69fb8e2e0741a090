"""Boxes of integer indices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
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

    def within(self, outer: Box) -> tuple[slice, ...]:
        """Return the box as an index for the array of a box around it."""
        return tuple(
            slice(a - origin, b - origin)
            for a, b, origin in zip(self.start, self.stop, outer.start, strict=True)
        )

    def clipped(self, other: Box) -> Box:
        """Return the part of the box within another, whose shape is not positive if it is empty."""
        return Box(
            start=tuple(map(max, self.start, other.start)),
            stop=tuple(map(min, self.stop, other.stop)),
        )

    def shifted(self, by: Sequence[int]) -> Box:
        """Return the box with its corners moved."""
        start, stop = (
            tuple(a + b for a, b in zip(corner, by, strict=True))
            for corner in (self.start, self.stop)
        )
        return Box(start=start, stop=stop)

    def coarsened(self, factors: Sequence[int]) -> Box:
        """Return the box of the cells of so many indices that the box touches."""
        start = tuple(a // f for a, f in zip(self.start, factors, strict=True))
        return Box(start=start, stop=cell_counts(self.stop, factors))

    def refined(self, factors: Sequence[int]) -> Box:
        """Return the box of all indices in the cells that the box is made of."""
        return Box(
            start=tuple(a * f for a, f in zip(self.start, factors, strict=True)),
            stop=tuple(b * f for b, f in zip(self.stop, factors, strict=True)),
        )

    def cells(self) -> Iterator[tuple[int, ...]]:
        """Return all positions in the box, in C order."""
        return itertools.product(*map(range, self.start, self.stop))

    def __str__(self) -> str:
        inner = ", ".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))
        return f"[{inner}]"


def whole(shape: Sequence[int]) -> Box:
    """Return the box of a whole array."""
    return Box(start=(0,) * len(shape), stop=tuple(shape))


def tile(position: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> Box:
    """Return the box at a position among tiles of that size, cut to the shape."""
    place = Box(start=tuple(position), stop=tuple(p + 1 for p in position))
    return place.refined(size).clipped(whole(shape))


def boxes_of(cells: Iterable[tuple[int, ...]], most: int) -> Iterator[Box]:
    """Yield boxes that hold each of some cells once and nothing else, `most` of them each.

    Examples
    --------
    >>> [str(box) for box in boxes_of([(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)], 4)]
    ['[0:2, 0:2]', '[2:3, 1:2]']
    """
    left = dict.fromkeys(sorted(cells))
    while left:
        first = next(iter(left))
        box = Box(start=first, stop=tuple(i + 1 for i in first))
        for axis in reversed(range(len(first))):
            while True:
                end = box.stop[axis]
                added = between(box, axis, end, end + 1)
                if box.size + added.size > most or not all(c in left for c in added.cells()):
                    break
                box = between(box, axis, box.start[axis], end + 1)
        for cell in box.cells():
            del left[cell]
        yield box


def cell_counts(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """Return how many cells of so many indices cover a shape, per axis.

    Examples
    --------
    >>> cell_counts((5, 4), (2, 2))
    (3, 2)
    """
    return tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))


def between(box: Box, axis: int, start: int, stop: int) -> Box:
    """Return the part of a box within a range of one axis."""
    return Box(
        start=(*box.start[:axis], start, *box.start[axis + 1 :]),
        stop=(*box.stop[:axis], stop, *box.stop[axis + 1 :]),
    )
