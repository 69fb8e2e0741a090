"""What compiled kernels share: tables in the compute type, and checks of what they are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.methods import Taken
from chunkscale.geometry.tables import AxisTable
from chunkscale.kernels.backend import Factors, Tables

Array = NDArray[Any]

#: A power of two that makes terms small enough for any sum of them, where one was not finite.
SCALE = 2.0**-16


class AxisWeights(NamedTuple):
    """One table, checked and cast to the compute type.

    Parameters
    ----------
    first : ndarray of int64, shape (n,)
        First source voxel of each target.
    weight : ndarray of float32 or float64, shape (n, k)
        ``k == 1``: the ``w`` of ``a + w * (b - a)``; ``k > 1``: the weights of a sum.
    exact : ndarray of bool, shape (n,)
        Where the target is a source voxel as it is.
    taps : int
        Source voxels that a target reads at most, from `first` on.
    is_slice : bool
        Whether the targets are consecutive source voxels as they are.
    """

    first: NDArray[np.int64]
    weight: Array
    exact: NDArray[np.bool_]
    taps: int
    is_slice: bool


def axis_weights(table: AxisTable, size: int, dtype: np.dtype[Any]) -> AxisWeights:
    """Return a table for an axis of `size` source voxels; `dtype` is the compute type."""
    n = len(table.index)
    index = table.index.astype(np.int64)
    if table.kind == "weights":
        used = np.flatnonzero(table.weight.any(axis=0))
        taps = max(2, int(used[-1]) + 1) if len(used) else 2
        weight = np.zeros((n, taps), dtype)
        weight[:, : table.weight.shape[1]] = table.weight[:, :taps]
        read = weight != 0
        last = index + (taps - 1 - read[:, ::-1].argmax(axis=1))
        exact = (read.sum(axis=1) == 1) & (weight.max(axis=1) == 1)
    else:
        weight = np.zeros((n, 1), dtype)
        if table.kind == "lerp":
            weight[:, 0] = table.weight
        read = weight[:, 0] != 0
        taps = 2 if read.any() else 1
        last = index + read
        exact = ~read
    _check_reach(index, last, size)
    is_slice = taps == 1 and bool((np.diff(index) == 1).all())
    return AxisWeights(index, weight, exact, taps, is_slice)


def taken(tables: Tables) -> Taken | None:
    """Return which voxel of a cell is taken; None if there are no cells."""
    found = {table.takes for table in tables if table.kind == "cells"}
    if len(found) > 1:
        raise ValueError("of one cell either the mode or the maximum is taken, not both")
    return found.pop() if found else None


class AxisCells(NamedTuple):
    """One table of cells, checked; a voxel that is picked is a cell of one.

    Parameters
    ----------
    first, stop : ndarray of int64, shape (n,)
        Half-open ranges of the source voxels of each target.
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]

    @property
    def most(self) -> int:
        """Voxels of the largest cell."""
        return int((self.stop - self.first).max(initial=1))


def axis_cells(table: AxisTable, size: int) -> AxisCells:
    """Return a table for an axis of `size` source voxels."""
    if table.kind not in ("pick", "cells"):
        raise ValueError(f"a table of the kind {table.kind!r} mixes voxels, and cells take one")
    first = table.index.astype(np.int64)
    stop = first + (table.weight.astype(np.int64) if table.kind == "cells" else 1)
    _check_reach(first, stop - 1, size)
    return AxisCells(first, stop)


def _check_reach(first: NDArray[np.int64], last: NDArray[np.int64], size: int) -> None:
    if len(first) and (first.min() < 0 or last.max() >= size):
        raise IndexError(
            f"a table reads voxels {first.min()} to {last.max()} of an axis of {size} voxels"
        )


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 where it holds every value, else float64."""
    exact_in_float32 = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if exact_in_float32 else np.float64)


def check_block(block: Array) -> None:
    """Refuse what would need a copy or another specialisation."""
    if block.ndim != 3 or not block.flags.c_contiguous or not block.dtype.isnative:
        raise ValueError(
            "a block must have the axes (z, y, x), C order and native byte order, "
            f"not shape {block.shape}, strides {block.strides} and dtype {block.dtype.str!r}"
        )
    if block.dtype.kind not in "biuf" or block.itemsize > 8:
        raise TypeError(f"dtype {block.dtype} cannot be resampled")


def check_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an `out` that is not a C-ordered array of this shape and dtype."""
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-ordered array of shape {shape} and dtype {dtype}")


def cell_counts(block: Array, factors: Factors) -> tuple[int, int, int]:
    """Return the number of cells along z, y and x."""
    if any(f not in (1, 2) for f in factors):
        raise ValueError(f"factors must be 1 or 2, not {factors}")
    z, y, x = (-(-n // f) for n, f in zip(block.shape, factors, strict=True))
    return z, y, x
