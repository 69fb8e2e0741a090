"""The definition of the kernels, in plain NumPy.

Written to be read and checked against, not to be fast; `chunkscale check` and
the tests hold every other backend to the bits of this one. Each NumPy call
below is one rounded operation per element.

A step along an axis that is not finite is done again with smaller terms (`_careful`):
finite voxels give finite numbers. Where all axes pick voxels their bits are copied;
every other NaN is the positive quiet one without a payload, as `numpy.nan`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.tables import AxisTable
from chunkscale.kernels.backend import Factors, Tables
from chunkscale.kernels.weights import SCALE, axis_cells, taken

empty, contiguous = np.empty, np.ascontiguousarray

Array = NDArray[Any]


def resample(block: Array, tables: Tables, out: Array | None = None) -> Array:
    """Interpolate along x, then y, then z; of cells take what the tables say.

    In float32 for bool, integers of 8 and 16 bits, float16 and float32, in
    float64 for the others; weights are cast to that type first. Integers are
    rounded half to even and clamped to their range; finite floats beyond that of
    float16 are clamped as well. Where every axis takes one source voxel as it
    is, so does the result.

    Parameters
    ----------
    block : ndarray, shape (z, y, x)
        bool, integers, float16, float32 or float64.
    tables : tuple of AxisTable
        For z, y and x, with indices from the start of `block`.
    out : ndarray, optional
        Where the result goes.

    Returns
    -------
    ndarray, shape (len(tz.index), len(ty.index), len(tx.index))
        Of the dtype of `block`.
    """
    source = np.ix_(*(t.index for t in tables))
    if all(t.kind == "pick" for t in tables):
        return _into(out, np.ascontiguousarray(block[source]))
    if takes := taken(tables):
        with np.errstate(all="ignore"):
            take = _mode if takes == "mode" else np.fmax.reduce
            return _into(out, _cells(block, tables, take))
    wide = block.dtype.itemsize > 2 and block.dtype != np.float32
    with np.errstate(all="ignore"):
        values = block.astype(np.float64 if wide else np.float32)
        for axis in (2, 1, 0):
            values = _along(values, tables[axis], axis)
        mixed = _rounded(values, block.dtype)
    z, y, x = (_takes_one(t, values.dtype) for t in tables)
    result = np.where(z[:, None, None] & y[:, None] & x, block[source], mixed)
    return _into(out, _with_one_nan(result))


def resample_and_mean(
    block: Array, tables: Tables, factors: Factors, out: Array, coarse: Array
) -> None:
    """Interpolate, and average the cells of the result: `resample`, then `mean`."""
    mean(resample(block, tables, out), factors, coarse)


def mean(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Average the voxels that exist in every cell.

    Integers and bool: the exact mean, rounded half to even. Floats: the sum of
    x pairs, then along y, then along z, each in float64, times 1 / count,
    rounded once to the dtype; see `_careful` for sums that are not finite.

    Parameters
    ----------
    block : ndarray, shape (z, y, x)
        bool, integers, float16, float32 or float64.
    factors : tuple of int
        Voxels of a cell along z, y and x: 1 or 2.
    out : ndarray, optional
        Where the result goes.

    Returns
    -------
    ndarray, shape (ceil(z / fz), ceil(y / fy), ceil(x / fx))
        Of the dtype of `block`.
    """
    count = _of_cells(np.add, np.ones(block.shape, np.int64), factors)
    if block.dtype.kind == "f":
        with np.errstate(all="ignore"):
            voxels = block.astype(np.float64)
            average, scaled = (
                _of_cells(np.add, numbers, factors) * (1.0 / count)
                for numbers in (voxels, voxels * SCALE)
            )
            return _into(out, _with_one_nan(_careful(average, scaled).astype(block.dtype)))
    # The sum of eight 64-bit numbers needs Python's integers.
    wide = block.dtype.kind in "iu" and block.itemsize == 8
    total = _of_cells(np.add, block.astype(object if wide else np.int64), factors)
    quotient = total // count
    twice = 2 * (total - quotient * count)
    up = (twice > count) | ((twice == count) & (quotient % 2 == 1))
    rounded: Array = quotient + up
    return _into(out, rounded.astype(block.dtype))


def maximum(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Find the largest of the voxels that exist in every cell.

    NaN is taken only where there is nothing else; -0.0 becomes 0.0.

    Parameters
    ----------
    block : ndarray, shape (z, y, x)
        bool, integers, float16, float32 or float64.
    factors : tuple of int
        Voxels of a cell along z, y and x: 1 or 2.
    out : ndarray, optional
        Where the result goes.

    Returns
    -------
    ndarray, shape (ceil(z / fz), ceil(y / fy), ceil(x / fx))
        Of the dtype of `block`.
    """
    with np.errstate(all="ignore"):
        largest = _of_cells(np.fmax, _with_one_zero(block), factors)
        return _into(out, _with_one_nan(largest))


def _cells(block: Array, tables: Tables, take: Callable[[Array], Array]) -> Array:
    """Take one value of every cell, of its voxels along the first axis of an array.

    NaN is taken only where there is nothing else; -0.0 counts as 0.0 and becomes it.
    """
    axes = [axis_cells(t, n) for t, n in zip(tables, block.shape, strict=True)]
    lengths = [axis.stop - axis.first for axis in axes]
    result = np.empty([len(n) for n in lengths], block.dtype)
    block = _with_one_zero(block)
    # Cells of one shape at a time: they are stacked voxel by voxel.
    for shape in product(*map(np.unique, lengths)):
        targets = [np.flatnonzero(n == size) for n, size in zip(lengths, shape, strict=True)]
        firsts = [axis.first[chosen] for axis, chosen in zip(axes, targets, strict=True)]
        voxels = np.stack(
            [block[np.ix_(*map(np.add, firsts, place))] for place in product(*map(range, shape))]
        )
        result[np.ix_(*targets)] = take(voxels)
    return _with_one_nan(result)


def _mode(voxels: Array) -> Array:
    """Return the most frequent values, of equally frequent ones the smallest."""
    voxels = np.sort(voxels, axis=0)
    # Those that follow themselves most often; what is NaN comes last, and never does.
    best: Array = voxels[0]
    last, most = best, np.zeros(best.shape, np.int64)
    run = most
    for voxel in voxels:
        run = np.where(voxel == last, run + 1, voxel == voxel)
        best, most = np.where(run > most, voxel, best), np.maximum(most, run)
        last = voxel
    return best


def _into(out: Array | None, result: Array) -> Array:
    if out is None:
        return result
    out[...] = result
    return out


def _along(values: Array, table: AxisTable, axis: int) -> Array:
    """Interpolate along one axis, in the dtype of `values`, which is kept."""
    index, number = table.index, values.dtype.type
    if table.kind == "pick":
        return np.take(values, index, axis)
    weight = table.weight.astype(values.dtype)
    if table.kind == "lerp":
        shape = [1, 1, 1]
        shape[axis] = len(index)
        w = weight.reshape(shape)
        a = np.take(values, index, axis)
        b = np.take(values, np.where(weight == 0, index, index + 1), axis)
        result = np.where(w == 0, a, a + w * (b - a))
        # Both voxels are read, also where `w` was rounded to 1.
        weight = np.stack([np.maximum(1 - weight, np.finfo(number).tiny), weight], axis=1)
    else:
        result = _weighted_sum(values, index, weight, axis)
    if np.isfinite(result).all():
        return result
    return _careful(result, _weighted_sum(values * number(SCALE), index, weight, axis))


def _weighted_sum(values: Array, index: NDArray[np.int64], weight: Array, axis: int) -> Array:
    shape = [1, 1, 1]
    shape[axis] = len(index)
    # Adding to -0.0 changes nothing.
    total = np.full_like(np.take(values, index, axis), -0.0)
    for tap in range(weight.shape[1]):
        read = weight[:, tap] != 0
        term = weight[:, tap].reshape(shape) * np.take(values, index + tap * read, axis)
        total = np.where(read.reshape(shape), total + term, total)
    return total


def _careful(result: Array, scaled: Array) -> Array:
    """Replace what is not finite in `result` by the same of terms that are smaller by `SCALE`.

    That is infinite or NaN only where a term is; otherwise it is clamped.
    """
    highest = np.finfo(result.dtype).max
    whole = scaled / result.dtype.type(SCALE)
    whole = np.where(np.isfinite(scaled), np.clip(whole, -highest, highest), whole)
    return np.where(np.isfinite(result), result, whole)


def _with_one_nan(result: Array) -> Array:
    if result.dtype.kind == "f":
        result = np.where(np.isnan(result), result.dtype.type(np.nan), result)
    return result


def _with_one_zero(result: Array) -> Array:
    """Turn -0.0 into 0.0, and NaN that signals into one that does not."""
    return result + result.dtype.type(0) if result.dtype.kind == "f" else result


def _takes_one(table: AxisTable, dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return where a table takes one source voxel as it is; `dtype` is that of the weights."""
    if table.kind == "pick":
        return np.ones(len(table.index), np.bool_)
    weight = table.weight.astype(dtype)
    exact: NDArray[np.bool_] = weight == 0
    if table.kind == "weights":
        exact = (np.count_nonzero(weight, axis=1) == 1) & (weight == 1).any(axis=1)
    return exact


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return `values` as `dtype`: integers rounded half to even and clamped."""
    if dtype.kind == "f":
        highest = np.finfo(dtype).max
        return np.where(np.isinf(values), values, np.clip(values, -highest, highest)).astype(dtype)
    values = np.rint(values)
    if dtype == np.bool_:
        return values > 0
    info = np.iinfo(dtype)
    # As floats, the highest numbers of 64 bits are one too high: equal is too high already.
    high, low = values >= values.dtype.type(info.max), values <= values.dtype.type(info.min)
    inside = np.where(high | low, 0, values).astype(dtype)
    return np.where(high, dtype.type(info.max), np.where(low, dtype.type(info.min), inside))


def _of_cells(combine: np.ufunc, values: Array, factors: Factors) -> Array:
    """Combine the voxels that exist in every cell: x pairs, then along y, then along z."""
    for axis in (2, 1, 0):
        if factors[axis] == 2:
            values = np.moveaxis(values, axis, 0)
            second = values[1::2]
            values = values[0::2].copy()
            combine(values[: len(second)], second, out=values[: len(second)])
            values = np.moveaxis(values, 0, axis)
    return values
