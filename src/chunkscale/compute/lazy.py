"""Lazy resampling of Dask arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.compute.devices import array_backend, at_array
from chunkscale.compute.levels import resample_box
from chunkscale.geometry.box import Box, cell_counts, tile
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.tables import source_box
from chunkscale.sources.dask_blocks import block_bounds, touched_blocks
from chunkscale.sources.foreign import check_block

if TYPE_CHECKING:
    import dask.array


def resample_dask(
    array: dask.array.Array,
    mapping: tuple[AxisMapping, ...],
    *,
    chunk: Sequence[int],
    outside: float | None,
    device: str,
) -> dask.array.Array:
    """Return the lazily resampled array; every block pulls just its source box.

    One task per block takes the source blocks that its box touches; nothing
    is sliced, concatenated or renamed in the graph.

    Parameters
    ----------
    array : dask.array.Array
        Its chunks are known; one index per chunk is not needed along any axis.
    mapping : tuple of AxisMapping
    chunk : sequence of int
        Shape of the blocks of the result.
    outside : float or None
    device : str
    """
    import dask.array as da
    from dask.array.core import normalize_chunks
    from dask.array.utils import meta_from_array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    bounds = block_bounds(array)
    # Blocks in another byte order are copied into the native one as they are read.
    dtype = array.dtype.newbyteorder("=")
    shape = tuple(m.target_size for m in mapping)
    name = f"resample-{tokenize(array, mapping, tuple(chunk), outside, device)}"
    tasks: dict[Any, Any] = {}
    for position in np.ndindex(*cell_counts(shape, chunk)):
        target = tile(position, chunk, shape)
        touched = touched_blocks(bounds, source_box(mapping, target))
        origin = tuple(
            tuple(int(b) for b in bound[t.start : t.stop + 1])
            for bound, t in zip(bounds, touched, strict=True)
        )
        # In one callable, so that Dask looks for keys among the source blocks alone.
        block = partial(_block, mapping, target, origin, outside, device, dtype)
        keys = ((array.name, *index) for index in itertools.product(*touched))
        tasks[(name, *position)] = (block, *keys)
    return da.Array(
        HighLevelGraph.from_collections(name, tasks, dependencies=[array]),
        name,
        chunks=normalize_chunks(tuple(chunk), shape),
        meta=meta_from_array(array, dtype=dtype),
    )


def _block(
    mapping: tuple[AxisMapping, ...],
    target: Box,
    bounds: Sequence[Sequence[int]],
    outside: float | None,
    device: str,
    dtype: np.dtype[Any],
    *parts: NDArray[Any],
) -> NDArray[Any]:
    """Resample one block from the source blocks between `bounds` (C order)."""
    spans = [list(itertools.pairwise(bound)) for bound in bounds]
    places = [
        Box(start=a, stop=b) for a, b in (zip(*p, strict=True) for p in itertools.product(*spans))
    ]
    for part, there in zip(parts, places, strict=True):
        check_block(part, there, there.shape, dtype, on_gpu=True)
    backend = array_backend(parts[0], device)

    def read(box: Box) -> NDArray[Any]:
        result = backend.empty(box.shape, dtype)
        for part, there in zip(parts, places, strict=True):
            common = box.clipped(there)
            if min(common.shape) > 0:
                result[common.within(box)] = part[common.within(there)]
        return result

    with at_array(parts[0]):
        return resample_box(mapping, target, read, outside=outside, dtype=dtype, backend=backend)
