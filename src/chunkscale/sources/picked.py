"""Voxels of some indices along axes, read through those of an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box
from chunkscale.sources.base import Voxels

if TYPE_CHECKING:
    pass

#: Indices that are kept of an axis; None for all of them.
Picks = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedVoxels:
    """Voxels with some of their indices, along axes that are not spatial."""

    array: Voxels
    picks: Picks

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        pairs = zip(self.array.shape, self.picks, strict=True)
        return tuple(n if kept is None else len(kept) for n, kept in pairs)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native byte order."""
        return self.array.dtype

    @property
    def chunk(self) -> tuple[int, ...]:
        """What has to be decoded together: one index, and what `decoded_share` counts."""
        pairs = zip(self.array.chunk, self.picks, strict=True)
        return tuple(n if kept is None else 1 for n, kept in pairs)

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box, in `out` if it is given (C order)."""
        if out is None:
            out = np.empty(box.shape, self.dtype)
        frames = [
            [(0, b - a, a, b)] if kept is None else list(_runs(kept[a:b]))
            for a, b, kept in zip(box.start, box.stop, self.picks, strict=True)
        ]
        # What lies in front of an axis with several runs is read index by index: only then is each
        # part of `out` in one piece.
        last = max((i for i, runs in enumerate(frames) if len(runs) > 1), default=0)
        frames[:last] = [list(_singly(runs)) for runs in frames[:last]]
        for runs in itertools.product(*frames):
            part = Box(start=tuple(r[2] for r in runs), stop=tuple(r[3] for r in runs))
            self.array.read(part, out[tuple(slice(r[0], r[1]) for r in runs)])
        return out


Run = tuple[int, int, int, int]


def _runs(kept: tuple[int, ...]) -> Iterator[Run]:
    """Yield (first, stop) of places, and of the indices that follow one another there."""
    start = 0
    for place in range(1, len(kept) + 1):
        if place == len(kept) or kept[place] != kept[place - 1] + 1:
            yield start, place, kept[start], kept[place - 1] + 1
            start = place


def _singly(runs: list[Run]) -> Iterator[Run]:
    for place, stop, index, _ in runs:
        yield from (
            (k, k + 1, index + k - place, index + k - place + 1) for k in range(place, stop)
        )


def library_bytes(array: Voxels) -> int:
    """Return what the library that reads an array takes of each process's memory."""
    inner = array.array if isinstance(array, PickedVoxels) else array
    return int(getattr(inner, "library_bytes", 0))


def decoded_share(array: Voxels) -> int:
    """Return how many voxels are decoded for each that is kept, where chunks span indices."""
    if not isinstance(array, PickedVoxels):
        return 1
    return math.prod(
        min(chunk, n)
        for chunk, n, kept in zip(array.array.chunk, array.array.shape, array.picks, strict=True)
        if kept is not None
    )
