"""Modes of cells: the most frequent voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors
from chunkscale.kernels.cpu.jit import entry, part
from chunkscale.kernels.cpu.views import in_float32, number_dtype, read_only, result_array
from chunkscale.kernels.weights import cell_counts, check_block

Array = NDArray[Any]


def mode(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Find the most frequent value of the voxels that exist in every cell.

    Of equally frequent values the smallest. NaN is taken only where there is
    nothing else; -0.0 counts as 0.0 and becomes it.

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
    same = np.empty(shape[2], np.uint8)
    if block.dtype == np.float16:
        wide, values = np.empty((1, *shape[1:]), np.float32), np.empty(8, np.float32)
        for slab, plane in zip(in_float32(block, factors[0]), out, strict=True):
            _mode(read_only(slab, slab.dtype), wide, *factors, same, values)
            plane[...] = wide[0]
    else:
        numbers = number_dtype(block.dtype)
        values = np.empty(8, numbers)
        _mode(read_only(block, numbers), out.view(numbers), *factors, same, values)
    if block.dtype.kind == "f":
        for plane in out:
            plane[np.isnan(plane)] = np.nan
    return out


@part
def _compare(same: NDArray[np.uint8], row: Array, source: Array, factor: int) -> None:
    """Clear `same` where a source row has another value in the cell than `row`."""
    if factor == 1:
        for i in range(row.size):
            same[i] &= source[i] == row[i]
        return
    for i in range(source.size // 2):
        same[i] &= (source[2 * i] == row[i]) & (source[2 * i + 1] == row[i])
    if source.size % 2:
        same[row.size - 1] &= source[source.size - 1] == row[row.size - 1]


@part
def _most_frequent(values: Array, n: int) -> Any:
    """Return the mode of the first `n` values."""
    best, most = values[0], 0
    for i in range(n):
        count = 0
        for j in range(n):
            count += values[j] == values[i]
        if count > most or (count == most and values[i] < best):
            best, most = values[i], count
    return best


@entry
def _mode(
    block: Array, out: Array, fz: int, fy: int, fx: int, same: NDArray[np.uint8], values: Array
) -> None:
    """Find modes; `same`, shape (x of `out`,), and `values`, shape (8,), are scratch."""
    zero = values.dtype.type(0)
    for k in range(out.shape[0]):
        depth = min(fz, block.shape[0] - k * fz)
        for j in range(out.shape[1]):
            height = min(fy, block.shape[1] - j * fy)
            row, first = out[k, j], block[k * fz, j * fy]
            for i in range(row.size):
                row[i] = first[i * fx] + zero  # -0.0 becomes 0.0
                same[i] = 1
            for a in range(depth):
                for b in range(height):
                    _compare(same, row, block[k * fz + a, j * fy + b], fx)
            for i in range(row.size):
                if same[i]:
                    continue
                n = 0
                for a in range(depth):
                    for b in range(height):
                        for c in range(i * fx, min(i * fx + fx, block.shape[2])):
                            values[n] = block[k * fz + a, j * fy + b, c] + zero
                            n += 1
                row[i] = _most_frequent(values, n)
