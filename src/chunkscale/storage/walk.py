"""Every chunk of a stored array, read to see whether it can be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chunkscale.errors import CorruptChunkError
from chunkscale.geometry.box import Box, cell_counts, tile
from chunkscale.storage.objects import chunk_indices
from chunkscale.storage.reader import ArrayReader
from chunkscale.storage.stores import store_of

#: Decoded bytes that are read at a time.
READ_BYTES = 32 * 2**20

#: Reads of an array, 128 TiB, beyond which only what is stored is read.
_MOST_TILES = 2**22


def read_all(
    array: ArrayReader,
) -> Iterator[tuple[int, list[tuple[tuple[int, ...], CorruptChunkError]]]]:
    """Read every chunk, many at a time; yield how many, and where which cannot be read."""
    for box in _tiles(array):
        chunks = list(array.chunks(box))
        faults = []
        try:
            array.read(box)
        except CorruptChunkError:
            for index in chunks:
                part = array.chunk_box(index)
                try:
                    array.read(part)
                except CorruptChunkError as error:
                    faults.append((part.start, error))
        yield len(chunks), faults


def count_reads(array: ArrayReader) -> int:
    """Return how many times `read_all` yields, at most."""
    return math.prod(cell_counts(array.shape, _tile_size(array)))


def _tile_size(array: ArrayReader) -> list[int]:
    """Return the shape of boxes of whole chunks, as large as may be read at a time."""
    size = list(array.chunk)
    for axis in reversed(range(len(size))):
        read = math.prod(map(min, size, array.shape)) * array.dtype.itemsize
        size[axis] *= max(1, READ_BYTES // max(read, 1))
    return size


def _tiles(array: ArrayReader) -> Iterator[Box]:
    """Cut an array into boxes of whole chunks.

    Where a shape is so large that nobody would see the end, these are the stored objects.
    """
    shape, size = array.shape, _tile_size(array)
    counts = cell_counts(shape, size)
    if math.prod(counts) <= _MOST_TILES or not store_of(array.uri).lists:
        yield from (tile(position, size, shape) for position in np.ndindex(counts))
        return
    unit = array.shard or array.chunk
    for index in chunk_indices(array.uri, cell_counts(shape, unit)):
        yield tile(index, unit, shape)
