"""Dask arrays, read block by block."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import OptionError
from chunkscale.geometry.box import Box
from chunkscale.sources.foreign import check_block

if TYPE_CHECKING:
    import dask.array


def check_chunks(array: dask.array.Array) -> None:
    """Refuse a Dask array that does not know the sizes of its chunks."""
    if any(np.isnan(size) for sizes in array.chunks for size in sizes):
        raise OptionError(
            f"the array has chunks of unknown size ({array.chunks}); call its "
            "compute_chunk_sizes() first"
        )


def block_bounds(array: dask.array.Array) -> list[NDArray[np.int64]]:
    """Return where the blocks of each axis begin, and where the last one ends."""
    return [np.concatenate([[0], np.cumsum(sizes)]) for sizes in array.chunks]


def touched_blocks(bounds: Sequence[NDArray[np.int64]], box: Box) -> list[range]:
    """Return the range of source blocks that a box touches, per axis."""
    return [
        range(
            int(np.searchsorted(bound, a, side="right")) - 1,
            int(np.searchsorted(bound, b, side="left")),
        )
        for bound, a, b in zip(bounds, box.start, box.stop, strict=True)
    ]


class DaskBlocks:
    """The voxels of a Dask array: each block is computed by the thread that reads it.

    So no more blocks are held than regions are made at once.
    """

    def __init__(self, array: dask.array.Array) -> None:
        check_chunks(array)
        self._array = array
        self._lock = threading.Lock()
        self._tasks: dict[Any, Any] | None = None
        self._bounds = block_bounds(array)
        self.shape: tuple[int, ...] = tuple(map(int, array.shape))
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")
        self.chunk: tuple[int, ...] = tuple(int(max(sizes)) for sizes in array.chunks)

    def as_dask(self) -> dask.array.Array:
        """Return the array itself."""
        return self._array

    def _task_graph(self) -> dict[Any, Any]:
        # As one dictionary, of which a block needs a few entries: Dask's own layers of 20 000
        # blocks take up to seconds to say which.
        with self._lock:
            if self._tasks is None:
                self._tasks = dict(self._array.__dask_graph__())
            return self._tasks

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box."""
        if out is None:
            out = np.empty(box.shape, self.dtype)
        for index in itertools.product(*touched_blocks(self._bounds, box)):
            low = [int(b[i]) for b, i in zip(self._bounds, index, strict=True)]
            high = [int(b[i + 1]) for b, i in zip(self._bounds, index, strict=True)]
            block = self._block(index, tuple(b - a for a, b in zip(low, high, strict=True)))
            first = [max(a, b) for a, b in zip(box.start, low, strict=True)]
            last = [min(a, b) for a, b in zip(box.stop, high, strict=True)]
            spans = list(zip(first, last, strict=True))
            into, out_of = (
                tuple(slice(a - o, b - o) for (a, b), o in zip(spans, origin, strict=True))
                for origin in (box.start, low)
            )
            out[into] = block[out_of]
        return out

    def _block(self, index: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[Any]:
        import dask
        from dask.optimization import cull

        key = (self._array.name, *index)
        needed, _ = cull(self._task_graph(), [key])
        block = dask.get(needed, key)  # in this thread, whatever the configuration says
        return check_block(block, index, shape, self.dtype)
