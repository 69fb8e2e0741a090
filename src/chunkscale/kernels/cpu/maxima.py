"""Maxima of cells: the largest voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors
from chunkscale.kernels.cpu.jit import entry, inlined, part
from chunkscale.kernels.cpu.modes import again
from chunkscale.kernels.cpu.nearest import copy
from chunkscale.kernels.cpu.views import (
    cells_of_float16,
    in_float32,
    leave_one_nan,
    number_dtype,
    read_only,
    result_array,
)
from chunkscale.kernels.weights import AxisCells, cell_counts, check_block

Array = NDArray[Any]


def maximum(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Find the largest of the voxels that exist in every cell.

    NaN is taken only where there is nothing else; -0.0 becomes 0.0.

    Parameters
    ----------
    block : ndarray, shape (z, y, x)
        C order, native byte order; bool, integers, float16, float32 or float64.
    factors : tuple of int
        Voxels of a cell along z, y and x: 1 or 2.
    out : ndarray, optional
        Where the result goes; it must not overlap `block`.

    Returns
    -------
    ndarray, shape (ceil(z / fz), ceil(y / fy), ceil(x / fx))
        Of the dtype of `block`.
    """
    check_block(block)
    shape = cell_counts(block, factors)
    out = result_array(out, shape, block.dtype)
    if block.dtype == np.float16:
        wide = np.empty((1, *shape[1:]), np.float32)
        for slab, plane in zip(in_float32(block, factors[0]), out, strict=True):
            _maxima(read_only(slab, slab.dtype), wide, factors)
            plane[...] = wide[0]
    else:
        numbers = number_dtype(block.dtype)
        _maxima(read_only(block, numbers), out.view(numbers), factors)
    leave_one_nan(out)
    return out


def maxima(block: Array, out: Array, z: AxisCells, y: AxisCells, x: AxisCells) -> None:
    """Take the largest value of every cell of any size, as `chunkscale.kernels.reference` says."""
    if block.dtype == np.float16:
        cells_of_float16(maxima, block, out, z, y, x)
        return
    numbers = number_dtype(block.dtype)
    best = np.empty(block.shape[2], numbers)
    _maxima_of_cells(read_only(block, numbers), out.view(numbers), z, y, x, best)
    leave_one_nan(out)


@inlined
def _larger(a: Any, b: Any) -> Any:
    return b if b > a or a != a else a


@part
def _raise(row: Array, source: Array, factor: int) -> None:
    """Raise a row to the voxels of its cells in a source row."""
    if factor == 1:
        for i in range(row.size):
            row[i] = _larger(row[i], source[i])
        return
    for i in range(source.size // 2):
        row[i] = _larger(row[i], _larger(source[2 * i], source[2 * i + 1]))
    if source.size % 2:
        row[row.size - 1] = _larger(row[row.size - 1], source[source.size - 1])


@entry
def _maxima(block: Array, out: Array, factors: Factors) -> None:
    zero, (fz, fy, fx) = out.dtype.type(0), factors
    for k in range(out.shape[0]):
        depth = min(fz, block.shape[0] - k * fz)
        for j in range(out.shape[1]):
            height = min(fy, block.shape[1] - j * fy)
            row, first = out[k, j], block[k * fz, j * fy]
            for i in range(row.size):
                row[i] = first[i * fx]
            for a in range(depth):
                for b in range(height):
                    _raise(row, block[k * fz + a, j * fy + b], fx)
            for i in range(row.size):
                row[i] += zero  # -0.0 becomes 0.0


@entry
def _maxima_of_cells(
    block: Array, out: Array, z: AxisCells, y: AxisCells, x: AxisCells, best: Array
) -> None:
    """Find maxima; `best`, shape (x of `block`,), is scratch for those of columns."""
    zero = out.dtype.type(0)
    for k in range(out.shape[0]):
        same_planes = again(z, k)
        for j in range(out.shape[1]):
            row = out[k, j]
            if same_planes:
                copy(row, out[k - 1, j])
                continue
            if again(y, j):
                copy(row, out[k, j - 1])
                continue
            copy(best, block[z.first[k], y.first[j]])
            for a in range(z.first[k], z.stop[k]):
                for b in range(y.first[j], y.stop[j]):
                    _raise(best, block[a, b], 1)
            for i in range(row.size):
                # Unsigned indices spare Numba the check for negative ones.
                start, stop = np.uint64(x.first[i]), np.uint64(x.stop[i])
                value = best[start]
                for c in range(start + np.uint64(1), stop):
                    value = _larger(value, best[c])
                row[i] = value + zero  # -0.0 becomes 0.0
