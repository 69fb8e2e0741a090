"""Modes of cells: the most frequent voxel.

Rows of voxels are compared side by side, which vectorises, so that cells of one value cost
little. The others are counted in a table with room for as many values as a cell can have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from chunkscale.kernels.cpu.jit import entry, inlined, part
from chunkscale.kernels.cpu.nearest import copy
from chunkscale.kernels.cpu.views import (
    cells_of_float16,
    leave_one_nan,
    number_dtype,
    read_only,
)
from chunkscale.kernels.weights import AxisCells

Array = NDArray[Any]

Range = tuple[int, int]


class Counts(NamedTuple):
    """How often each value of a cell was met: a hash table with open addressing.

    Parameters
    ----------
    values : ndarray, shape (2**n,)
    times : ndarray of int64, shape (2**n,)
        0 where there is no value; so everywhere between two cells.
    used : ndarray of int64
        Scratch: the places that have one.
    shift : uint64
        What leaves n bits of 64.
    """

    values: Array
    times: NDArray[np.int64]
    used: NDArray[np.int64]
    shift: np.uint64


def modes(block: Array, out: Array, z: AxisCells, y: AxisCells, x: AxisCells) -> None:
    """Take the most frequent value of every cell, as `chunkscale.kernels.reference` says."""
    if block.dtype == np.float16:
        cells_of_float16(modes, block, out, z, y, x)
        return
    numbers = number_dtype(block.dtype)
    differs = np.empty(block.shape[2], np.uint8)
    counts = _empty_counts(z.most * y.most * x.most, numbers)
    _modes(read_only(block, numbers), out.view(numbers), z, y, x, differs, counts)
    leave_one_nan(out)


def _empty_counts(voxels: int, dtype: np.dtype[Any]) -> Counts:
    """Return a table for cells of so many voxels, half of which stays empty."""
    most = min(voxels, 2 ** (8 * dtype.itemsize))
    bits = (2 * most - 1).bit_length()
    return Counts(
        values=np.empty(1 << bits, dtype),
        times=np.zeros(1 << bits, np.int64),
        used=np.empty(most, np.int64),
        shift=np.uint64(64 - bits),
    )


def _bits(value: float) -> Any:
    """Return the bits of a number as an integer."""
    raise NotImplementedError("compiled code only")


@overload(_bits)
def _bits_overload(value: Any) -> Callable[..., Any]:
    def of_float32(value: Any) -> Any:
        return np.float32(value).view(np.int32)

    def of_float64(value: Any) -> Any:
        return np.float64(value).view(np.int64)

    def of_integer(value: Any) -> Any:
        return value

    return {types.float32: of_float32, types.float64: of_float64}.get(value, of_integer)


@inlined
def _note(counts: Counts, n: int, value: float, times: int) -> int:
    """Count a value so many times more; return how many values there are, which were `n`."""
    last = np.uint64(counts.values.size - 1)
    at = (np.uint64(_bits(value)) * np.uint64(0x9E3779B97F4A7C15)) >> counts.shift
    while counts.times[at] and counts.values[at] != value:
        at = (at + np.uint64(1)) & last
    if not counts.times[at]:
        counts.values[at], counts.used[n] = value, at
        n += 1
    counts.times[at] += times
    return n


@inlined
def _most_frequent(block: Array, counts: Counts, z: Range, y: Range, x: Range) -> Any:
    """Return the mode of the voxels within three ranges."""
    number, zero = counts.values.dtype.type, counts.values.dtype.type(0)
    value = number(block[z[0], y[0], x[0]] + zero)  # -0.0 becomes 0.0
    best, most, run, n = value, 0, 0, 0
    for a in range(z[0], z[1]):
        for b in range(y[0], y[1]):
            row = block[a, b]
            for c in range(np.uint64(x[0]), np.uint64(x[1])):
                voxel = number(row[c] + zero)
                if voxel == value:
                    run += 1
                elif voxel == voxel:
                    if run:
                        n = _note(counts, n, value, run)
                    value, run = voxel, 1
    if run:
        n = _note(counts, n, value, run)
    for i in range(n):
        at = counts.used[i]
        value, times = counts.values[at], counts.times[at]
        counts.times[at] = 0
        if times > most or (times == most and value < best):
            best, most = value, times
    return best


@part
def _compare(differs: NDArray[np.uint8], row: Array, other: Array) -> None:
    for i in range(differs.size):
        differs[i] |= row[i] != other[i]


@part
def again(axis: AxisCells, target: int) -> bool:
    """Return whether a target has the cell of the one before."""
    before = max(target - 1, 0)
    same = axis.first[target] == axis.first[before] and axis.stop[target] == axis.stop[before]
    return bool(target > 0 and same)


@entry
def _modes(
    block: Array,
    out: Array,
    z: AxisCells,
    y: AxisCells,
    x: AxisCells,
    differs: NDArray[np.uint8],
    counts: Counts,
) -> None:
    """Find modes; `differs`, shape (x of `block`,), is scratch."""
    number, zero = counts.values.dtype.type, counts.values.dtype.type(0)
    for k in range(out.shape[0]):
        of_z, same_planes = (z.first[k], z.stop[k]), again(z, k)
        for j in range(out.shape[1]):
            of_y, row = (y.first[j], y.stop[j]), out[k, j]
            if same_planes:
                copy(row, out[k - 1, j])
                continue
            if again(y, j):
                copy(row, out[k, j - 1])
                continue
            first = block[of_z[0], of_y[0]]
            differs[:] = 0
            for a in range(of_z[0], of_z[1]):
                for b in range(of_y[0], of_y[1]):
                    _compare(differs, first, block[a, b])
            for i in range(row.size):
                # Unsigned indices spare Numba the check for negative ones.
                start, stop = np.uint64(x.first[i]), np.uint64(x.stop[i])
                value = first[start]
                mixed = differs[start]
                for c in range(start + np.uint64(1), stop):
                    mixed |= differs[c] | (first[c] != value)
                row[i] = number(value + zero)
                if mixed:
                    row[i] = _most_frequent(block, counts, of_z, of_y, (x.first[i], x.stop[i]))
