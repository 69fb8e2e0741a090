"""Means of cells, exact and rounded half to even for integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors
from chunkscale.kernels.cpu.finite import is_odd, mend_means
from chunkscale.kernels.cpu.jit import entry, part
from chunkscale.kernels.cpu.views import (
    in_float32,
    is_wide,
    number_dtype,
    read_only,
    result_array,
)
from chunkscale.kernels.weights import cell_counts, check_block

Array = NDArray[Any]


def mean(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Average the voxels that exist in every cell.

    Integers and bool: the exact mean, rounded half to even. Floats: the sum of
    x pairs, then along y, then along z, each in float64, times 1 / count,
    rounded once to the dtype.

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
        sums = np.empty((2, shape[2]), np.float64)
        wide = np.empty((1, *shape[1:]), np.float64)
        for slab, plane in zip(in_float32(block, factors[0]), out, strict=True):
            if _mean(read_only(slab, slab.dtype), wide, factors, sums):
                mend_means(slab, wide, factors)
            plane[...] = wide[0]
    elif is_wide(block.dtype):
        signed = np.dtype(np.int64)
        flip = np.iinfo(np.int64).min if block.dtype.kind == "u" else 0
        _mean_wide(read_only(block, signed), out.view(signed), *factors, flip)
    else:
        numbers = number_dtype(block.dtype)
        sums = np.empty((2, shape[2]), sum_dtype(numbers))
        if _mean(read_only(block, numbers), out.view(numbers), factors, sums):
            mend_means(block, out, factors)
    return out


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what holds 8 times any number of `dtype`; 64-bit integers have their own kernel."""
    if dtype.kind == "f":
        return np.dtype(np.float64)
    return np.dtype(np.int32 if dtype.itemsize <= 2 else np.int64)


def _divided(total: float, shift: int, out: Array) -> Any:
    """Return ``total / 2**shift``, rounded half to even if `out` has integers."""
    raise NotImplementedError("compiled code only")


@overload(_divided)
def _divided_overload(total: Any, shift: Any, out: Any) -> Callable[..., Any]:
    if isinstance(out.dtype, types.Float):

        def divided_float(total: Any, shift: Any, out: Any) -> Any:
            return total * (1.0 / (1 << shift))

        return divided_float

    def divided(total: Any, shift: Any, out: Any) -> Any:
        # Before flooring: a half, less a bit if the quotient is even. A shift of 0 adds nothing.
        one = min(shift, 1)
        odd = (total >> shift) & one
        return (total + ((1 << shift) >> 1) - one + odd) >> shift

    return divided


@part
def _add(sums: Array, values: Array) -> None:
    for i in range(sums.size):
        sums[i] += values[i]


@part
def _add_cells(sums: Array, row: Array, factor: int) -> None:
    """Add the voxels of every cell of a row."""
    number = sums.dtype.type
    if factor == 1:
        _add(sums, row)
        return
    for i in range(row.size // 2):
        sums[i] += number(row[2 * i]) + number(row[2 * i + 1])
    if row.size % 2:
        sums[row.size // 2] += row[row.size - 1]


def _mean_of_eight(row: Array, block: Array, z: int, y: int, sums: Array) -> bool:
    """Average the cells of two by two source rows at once if their numbers are narrow integers."""
    raise NotImplementedError("compiled code only")


@overload(_mean_of_eight)
def _mean_of_eight_overload(row: Any, block: Any, z: Any, y: Any, sums: Any) -> Callable[..., Any]:
    def nothing(row: Any, block: Any, z: Any, y: Any, sums: Any) -> bool:
        return False

    def mean_of_eight(row: Any, block: Any, z: Any, y: Any, sums: Any) -> bool:
        number = np.int32
        a, b, c, d = block[z, y], block[z, y + 1], block[z + 1, y], block[z + 1, y + 1]
        for i in range(row.size):
            j, k = 2 * i, 2 * i + 1
            upper = (number(a[j]) + number(a[k])) + (number(b[j]) + number(b[k]))
            total = upper + (number(c[j]) + number(c[k])) + (number(d[j]) + number(d[k]))
            # As `_divided`, whose shift is no constant.
            row[i] = (total + 3 + ((total >> 3) & 1)) >> 3
        return True

    # Wide numbers are faster row by row.
    return mean_of_eight if sums.dtype is types.int32 else nothing


@part
def _mean_rows(
    block: Array, out: Array, k: int, start: int, stop: int, factors: Factors, sums: Array
) -> bool:
    """Average the cells of the rows from `start` to `stop` of plane `k` of `out`.

    Return whether a float came out infinite or NaN.
    """
    odd, (fz, fy, fx) = False, factors
    whole = block.shape[2] // fx
    depth = min(fz, block.shape[0] - k * fz)
    for j in range(start, stop):
        height = min(fy, block.shape[1] - j * fy)
        complete = depth == height == fx == 2 and 2 * whole == block.shape[2]
        if complete and _mean_of_eight(out[k, j], block, 2 * k, 2 * j, sums):
            continue
        for a in range(depth):
            total = sums[a]
            total[:] = -0.0  # the one number that never changes what is added to it
            for b in range(height):
                _add_cells(total, block[k * fz + a, j * fy + b], fx)
        if depth == 2:
            _add(sums[0], sums[1])
        total, row = sums[0], out[k, j]
        shift = depth + height - 2
        for i in range(whole):
            row[i] = _divided(total[i], shift + fx - 1, out)
            odd |= is_odd(row[i], out)
        for i in range(whole, row.size):
            row[i] = _divided(total[i], shift, out)
            odd |= is_odd(row[i], out)
    return odd


@part
def mean_on_the_way(
    block: Array, out: Array, k: int, top: int, height: int, factors: Factors, sums: Array
) -> bool:
    """Average the cells of rows that plane `k` of `block` completes, unless `out` is empty."""
    fz, fy, _ = factors
    if out.size and (k % fz == fz - 1 or k == block.shape[0] - 1):
        bottom = -(-(top + height) // fy)
        return bool(_mean_rows(block, out, k // fz, top // fy, bottom, factors, sums))
    return False


@entry
def _mean(block: Array, out: Array, factors: Factors, sums: Array) -> bool:
    """Average dtypes whose sums fit; `sums` has the shape (2, x of `out`)."""
    odd = False
    for k in range(out.shape[0]):
        odd |= _mean_rows(block, out, k, 0, out.shape[1], factors, sums)
    return odd


@entry
def _mean_wide(block: Array, out: Array, fz: int, fy: int, fx: int, flip: int) -> None:
    """Average 64-bit integers, as int64, by their quotients and remainders.

    `flip` is the sign bit for uint64, to shift all values by -2**63, else 0.
    """
    for k in range(out.shape[0]):
        depth = min(fz, block.shape[0] - k * fz)
        for j in range(out.shape[1]):
            height = min(fy, block.shape[1] - j * fy)
            for i in range(out.shape[2]):
                width = min(fx, block.shape[2] - i * fx)
                shift = depth + height + width - 3
                quotient, remainder = np.int64(0), np.int64(0)
                for a in range(depth):
                    for b in range(height):
                        for c in range(width):
                            value = block[k * fz + a, j * fy + b, i * fx + c] ^ flip
                            quotient += value >> shift
                            remainder += value & ((1 << shift) - 1)
                # What is rounded needs the parity of the whole: only an even part may stay out.
                odd = quotient & 1
                rounded = _divided(remainder + (odd << shift), shift, out)
                out[k, j, i] = (quotient - odd + rounded) ^ flip
