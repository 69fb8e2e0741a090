"""Boxes read with zarr-python, whose chunks are kept for the boxes beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from chunkscale.geometry.box import Box, boxes_of, tile, whole
from chunkscale.storage.block_cache import BlockCache

#: Bytes of chunks that are asked for at once: each is copied out of what zarr-python returns.
_AT_ONCE = 2**24


class KeptChunks:
    """Reads an array in boxes. Thread-safe.

    A chunk that several boxes touch is fetched and decoded once. Without that a run on a source of
    whole planes in a bucket took 4.6 times as long (`python asv_bench/objects.py` reads planes in
    parts with and without it).

    Parameters
    ----------
    array : zarr.Array
    chunk : tuple of int
    blocks : BlockCache
        Where they are kept; it may be that of several arrays, and have no room.
    """

    def __init__(self, array: Any, chunk: Sequence[int], blocks: BlockCache) -> None:
        self._array, self._blocks = array, blocks
        self._chunk, self._shape = tuple(chunk), tuple(array.shape)
        # Whoever states chunks of nothing is refused elsewhere.
        self._most = max(1, _AT_ONCE // max(1, math.prod(chunk) * array.dtype.itemsize))

    def read(self, box: Box, out: NDArray[Any]) -> None:
        """Fill the array of a box."""
        if not self._blocks.room:
            out[...] = self._voxels(box)
            return
        keys = [(self, index) for index in box.coarsened(self._chunk).cells()]
        for (_, index), voxels in self._blocks.get_all(keys, self._made):
            place = tile(index, self._chunk, self._shape)
            part = place.clipped(box)
            out[part.within(box)] = voxels[part.within(place)]

    def _voxels(self, box: Box) -> NDArray[Any]:
        try:
            found: NDArray[Any] = self._array[box.slices]
        except ExceptionGroup as group:  # of parts of a shard that are read at once
            error: Exception = group
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            raise error from None
        return found

    def _made(
        self, keys: Sequence[tuple[KeptChunks, tuple[int, ...]]]
    ) -> Iterator[tuple[tuple[KeptChunks, tuple[int, ...]], NDArray[Any]]]:
        """Yield chunks that are not held; some are read at once, as each waits for its server."""
        for cells in boxes_of((index for _, index in keys), self._most):
            box = cells.refined(self._chunk).clipped(whole(self._shape))
            voxels = self._voxels(box)
            for index in cells.cells():
                place = tile(index, self._chunk, self._shape).within(box)
                yield (self, index), voxels if cells.size == 1 else voxels[place].copy()
