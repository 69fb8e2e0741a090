"""Arrays as kernels take them: of few types, C-ordered, read-only where they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.kernels.weights import AxisCells, check_out

Array = NDArray[Any]


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether float64 does not hold all of its numbers, nor a 64-bit integer their sums."""
    return dtype.kind in "iu" and dtype.itemsize == 8


def number_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype whose kernel serves `dtype`: bool is stored as the bytes 0 and 1."""
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def result_array(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return where the result goes."""
    if out is None:
        return np.empty(shape, dtype)
    check_out(out, shape, dtype)
    return out


def read_only(block: Array, dtype: np.dtype[Any]) -> Array:
    """Return a read-only view: one specialisation serves blocks of both kinds."""
    view = block.view(dtype)
    view.flags.writeable = False
    return view


def in_float32(block: Array, depth: int) -> Iterator[Array]:
    """Yield the source planes of one plane of cells after another, in float32."""
    for start in range(0, len(block), depth):
        yield to_float32(block[start : start + depth])


def to_float32(block: Array) -> Array:
    """Convert float16, signalling NaN as well."""
    with np.errstate(invalid="ignore"):
        return block.astype(np.float32)


def cells_of_float16(
    take: Callable[..., None],
    block: Array,
    out: Array,
    z: AxisCells,
    y: AxisCells,
    x: AxisCells,
) -> None:
    """Take the voxels of cells in float32, one plane of cells after another."""
    wide = np.empty((1, *out.shape[1:]), np.float32)
    for first, stop, plane in zip(z.first, z.stop, out, strict=True):
        whole = AxisCells(np.zeros(1, np.int64), np.array([stop - first]))
        take(to_float32(block[first:stop]), wide, whole, y, x)
        plane[...] = wide[0]


def leave_one_nan(out: Array) -> None:
    """Write all NaN alike: there are many, and which one is taken depends on the kernel."""
    if out.dtype.kind == "f":
        for plane in out:
            plane[np.isnan(plane)] = np.nan


def to_float16(wide: Array, out: Array) -> None:
    """Convert planes from float32; what is finite stays so, at the ends of the range."""
    highest = np.finfo(np.float16).max
    for plane, numbers in zip(out, wide, strict=True):
        with np.errstate(over="ignore"):
            plane[...] = numbers
        beyond = np.isinf(plane)
        if beyond.any():
            beyond &= np.isfinite(numbers)
            plane[beyond] = np.copysign(highest, numbers[beyond])
