"""Lazy resampling of Dask arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.compute.devices import array_backend, at_array
from chunkscale.compute.levels import resample_box
from chunkscale.geometry.box import Box
from chunkscale.geometry.mapping import AxisMapping, source_box
from chunkscale.sources.dask_blocks import block_bounds, touched_blocks

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
    is sliced or concatenated in the graph.

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
    import dask
    import dask.array as da
    from dask.array.utils import meta_from_array

    bounds = block_bounds(array)
    sources = array.to_delayed(optimize_graph=False)
    # Blocks in another byte order are copied into the native one as they are read.
    dtype = array.dtype.newbyteorder("=")
    meta = meta_from_array(array, dtype=dtype)
    block = dask.delayed(_block, pure=True, traverse=False)
    shape = tuple(m.target_size for m in mapping)
    cuts = [[(a, min(a + c, n)) for a in range(0, n, c)] for n, c in zip(shape, chunk, strict=True)]
    blocks = np.empty([len(c) for c in cuts], dtype=object)
    for position in itertools.product(*(range(len(c)) for c in cuts)):
        spans = [cuts[axis][i] for axis, i in enumerate(position)]
        target = Box(start=tuple(a for a, _ in spans), stop=tuple(b for _, b in spans))
        touched = touched_blocks(bounds, source_box(mapping, target))
        parts = [sources[index] for index in itertools.product(*touched)]
        origin = tuple(
            tuple(int(b) for b in bound[t.start : t.stop + 1])
            for bound, t in zip(bounds, touched, strict=True)
        )
        delayed = block(mapping, target, origin, outside, device, dtype, *parts)
        blocks[position] = da.from_delayed(delayed, target.shape, meta=meta)
    return da.block(blocks.tolist())


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
    backend = array_backend(parts[0], device)

    def read(box: Box) -> NDArray[Any]:
        result = backend.empty(box.shape, dtype)
        spans = [list(itertools.pairwise(bound)) for bound in bounds]
        for part, span in zip(parts, itertools.product(*spans), strict=True):
            low = [max(a, s) for a, (s, _) in zip(box.start, span, strict=True)]
            high = [min(b, e) for b, (_, e) in zip(box.stop, span, strict=True)]
            if any(a >= b for a, b in zip(low, high, strict=True)):
                continue
            into = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, box.start, strict=True))
            out_of = tuple(
                slice(a - s, b - s) for a, b, (s, _) in zip(low, high, span, strict=True)
            )
            result[into] = part[out_of]
        return result

    with at_array(parts[0]):
        return resample_box(mapping, target, read, outside=outside, dtype=dtype, backend=backend)
