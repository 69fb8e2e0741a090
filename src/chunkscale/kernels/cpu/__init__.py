"""The CPU kernels, compiled by Numba.

One thread per call; calls release the GIL, so that regions run side by side
in threads. Every operation is rounded on its own (no fastmath, no contraction
to FMA), hence the bits equal those of `chunkscale.kernels.reference` and of
the GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors, Tables
from chunkscale.kernels.cpu.cells import mean
from chunkscale.kernels.cpu.finite import mend
from chunkscale.kernels.cpu.linear import interpolate, restore_exact
from chunkscale.kernels.cpu.maxima import maxima
from chunkscale.kernels.cpu.maxima import maximum as maximum
from chunkscale.kernels.cpu.modes import modes
from chunkscale.kernels.cpu.nearest import pick
from chunkscale.kernels.cpu.views import is_wide, read_only, result_array, to_float16, to_float32
from chunkscale.kernels.weights import (
    AxisWeights,
    axis_cells,
    axis_weights,
    cell_counts,
    check_block,
    check_out,
    compute_dtype,
    taken,
)

empty, contiguous = np.empty, np.ascontiguousarray

Array = NDArray[Any]


def resample(block: Array, tables: Tables, out: Array | None = None) -> Array:
    """Interpolate along x, then y, then z; of cells take what the tables say.

    Parameters
    ----------
    block : ndarray, shape (z, y, x)
        C order, native byte order; bool, integers, float16, float32 or float64.
    tables : tuple of AxisTable
        For z, y and x, with indices from the start of `block`.
    out : ndarray, optional
        Where the result goes; it must not overlap `block`.

    Returns
    -------
    ndarray, shape (len(tz.index), len(ty.index), len(tx.index))
        Of the dtype of `block`.
    """
    check_block(block)
    out = result_array(out, tuple(len(t.index) for t in tables), block.dtype)
    if not out.size:
        return out
    if takes := taken(tables):
        take = modes if takes == "mode" else maxima
        take(block, out, *(axis_cells(t, n) for t, n in zip(tables, block.shape, strict=True)))
        return out
    if block.dtype == np.float16 and not _is_pick(tables):
        to_float16(resample(to_float32(block), tables), out)
        return out
    z, y, x = _weights(block, tables)
    if _is_pick(tables):
        bits = np.dtype(f"u{block.itemsize}")
        pick(read_only(block, bits), out.view(bits), z, y, x)
        return out
    if interpolate(block, out, z, y, x, (1, 1, 1), np.empty((0, 0, 0), block.dtype)):
        mend(block, out, z, y, x)
    if is_wide(block.dtype):
        restore_exact(block, out, z, y, x)
    elif _can_be_two(block.dtype, tables):
        numbers = out.view(np.uint8)
        np.minimum(numbers, 1, out=numbers)
    return out


def resample_and_mean(
    block: Array, tables: Tables, factors: Factors, out: Array, coarse: Array
) -> None:
    """Interpolate, and average the cells of the result while it is in the cache.

    Parameters
    ----------
    block, tables, out
        As in `resample`.
    factors : tuple of int
        As in `mean`.
    coarse : ndarray
        Where the means go.
    """
    apart = block.dtype == np.float16 or is_wide(block.dtype) or _can_be_two(block.dtype, tables)
    if apart or _is_pick(tables) or taken(tables) or not out.size:
        mean(resample(block, tables, out), factors, coarse)
        return
    check_block(block)
    check_out(out, tuple(len(t.index) for t in tables), block.dtype)
    check_out(coarse, cell_counts(out, factors), block.dtype)
    weights = _weights(block, tables)
    if interpolate(block, out, *weights, factors, coarse):
        mend(block, out, *weights)
        mean(out, factors, coarse)


def _weights(block: Array, tables: Tables) -> tuple[AxisWeights, AxisWeights, AxisWeights]:
    dtype = compute_dtype(block.dtype)
    z, y, x = (axis_weights(t, n, dtype) for t, n in zip(tables, block.shape, strict=True))
    return z, y, x


def _is_pick(tables: Tables) -> bool:
    return all(t.kind == "pick" for t in tables)


def _can_be_two(dtype: np.dtype[Any], tables: Tables) -> bool:
    """Whether kernels with lobes overshoot true so far that it is rounded to 2, not to 1."""
    return dtype == np.bool_ and any(t.kind == "weights" for t in tables)
