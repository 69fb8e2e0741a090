"""Levels that lack chunks which others of the same image have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import CorruptChunkError
from chunkscale.geometry.box import Box, cell_counts, tile
from chunkscale.storage.objects import chunk_indices
from chunkscale.storage.reader import ArrayReader
from chunkscale.storage.stores import store_of

#: Places of chunks that are compared, a byte each.
_MOST_CELLS = 2**26

#: So many chunks of a smaller level are read, where level 0 has none.
_MOST_READ = 16

#: Voxels at the border of a chunk that may come from its neighbour, where a level was smoothed.
_BLUR = 2


def hollow_levels(arrays: Mapping[str, ArrayReader]) -> tuple[tuple[str, ...], list[str]]:
    """Find levels without chunks, and level 0 without those that a smaller level has.

    Parameters
    ----------
    arrays : mapping of str to ArrayReader
        By path, from the largest.

    Returns
    -------
    tuple of str
        What may be meant: a level that is fill value.
    list of str
        What cannot be.
    """
    if not arrays:
        return (), []
    hollow = [path for path, array in arrays.items() if array.is_hollow()]
    first, *others = arrays
    if first in hollow and (full := [path for path in others if path not in hollow]):
        return (), [
            f"dataset {first!r} has no stored chunk, and {', '.join(map(repr, full))} "
            "which must be made from it has; copy the chunks of all levels"
        ]
    notes = [
        f"dataset {path!r} has no stored chunk: all its voxels are fill value" for path in hollow
    ]
    faults = list(_holes(arrays)) if first not in hollow else []
    return tuple(notes), faults


def _holes(arrays: Mapping[str, ArrayReader]) -> Iterator[str]:
    (first, fine), *others = arrays.items()
    counts = cell_counts(fine.shape, fine.shard or fine.chunk)
    if not others or not store_of(fine.uri).lists or not 0 < math.prod(counts) <= _MOST_CELLS:
        return
    stored = np.zeros(counts, np.bool_)
    for index in chunk_indices(fine.uri, counts):
        stored[index] = True
    if stored.all():
        return
    for path, coarse in others:
        boxes = itertools.islice(_boxes(fine, coarse, stored), _MOST_READ)
        if len(coarse.shape) == len(fine.shape) and any(_holds(coarse, box) for box in boxes):
            yield (
                f"dataset {first!r} has {np.count_nonzero(stored)} of {stored.size} chunks or "
                f"shards, and {path!r}, which must be made from it, has voxels where it has none; "
                "copy the chunks of all levels"
            )


def _boxes(fine: ArrayReader, coarse: ArrayReader, stored: NDArray[np.bool_]) -> Iterator[Box]:
    """Yield the insides of stored chunks of a level where level 0 has none."""
    unit, cells = coarse.shard or coarse.chunk, fine.shard or fine.chunk
    for index in chunk_indices(coarse.uri, cell_counts(coarse.shape, unit)):
        box = tile(index, unit, coarse.shape)
        starts, stops = box.start, box.stop
        places = tuple(
            slice(a * n // m // c, math.ceil(math.ceil(b * n / m) / c))
            for a, b, n, m, c in zip(starts, stops, fine.shape, coarse.shape, cells, strict=True)
        )
        if not stored[places].any():
            edges = zip(starts, stops, coarse.shape, strict=True)
            inner = [(a + _BLUR * (a > 0), b - _BLUR * (b < n)) for a, b, n in edges]
            if all(a < b for a, b in inner):
                yield Box(start=tuple(a for a, _ in inner), stop=tuple(b for _, b in inner))


def _holds(array: ArrayReader, box: Box) -> bool:
    """Whether a box has other voxels than fill value; a chunk that is damaged is told elsewhere."""
    try:
        return array.holds(box)
    except CorruptChunkError:
        return False
