"""The CPU kernels, compiled by Numba.

One thread per call; calls release the GIL, so that regions run side by side
in threads. Every operation is rounded on its own (no fastmath, no contraction
to FMA), hence the bits equal those of `chunkscale.kernels.reference` and of
the GPU. NaN is the exception: which NaN comes out is up to the processor.

`resample` walks the target in strips of rows that stay in the cache. A strip
keeps a ring of source planes that are already interpolated along x and y, one
per tap along z; a plane in turn is made from a ring of source rows that are
already interpolated along x. So every source row is gathered once per strip,
and what remains per target voxel is one mix of contiguous arrays. Where only z
changes, that mix reads the source itself. The means of the next level are made
of a strip's planes while they are still in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors, Tables
from chunkscale.kernels.weights import (
    AxisWeights,
    axis_weights,
    cell_counts,
    check_block,
    check_out,
    compute_dtype,
)

empty, contiguous = np.empty, np.ascontiguousarray

# One plane of a strip: two of them, and what is written, fit into a core's L2 cache.
_STRIP_BYTES = 1 << 18

Array = NDArray[Any]

_F = TypeVar("_F", bound=Callable[..., Any])


def _entry(function: _F) -> _F:
    """Compile a kernel that Python calls; keep the machine code on disk if any place allows it."""
    try:
        return cast(_F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # neither the package nor the user has a writable directory
        return cast(_F, numba.njit(nogil=True)(function))


def _part(function: _F) -> _F:
    """Compile a piece of a kernel: it needs no entry points of its own."""
    return cast(_F, numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))


def _stored(value: float, out: Array) -> Any:
    """Return `value` as `out` takes it: rounded half to even and clamped if `out` has integers."""
    raise NotImplementedError("compiled code only")


@overload(_stored)
def _stored_overload(value: Any, out: Any) -> Callable[..., Any]:
    kind = out.dtype
    if isinstance(kind, types.Float):

        def stored_float(value: Any, out: Any) -> Any:
            return value

        return stored_float
    number = np.float32 if value is types.float32 else np.float64
    lowest, highest = kind.minval, kind.maxval
    low, high = number(lowest), number(highest)
    if kind.bitwidth == 64:
        # `high` is one more than `highest`, and too high to be converted.
        def stored_wide(value: Any, out: Any) -> Any:
            rounded = np.rint(value)
            if rounded >= high:
                return out.dtype.type(highest)
            return out.dtype.type(max(rounded, low))

        return stored_wide
    if kind.bitwidth <= 16:
        # Floats around this are whole numbers: adding it rounds what is smaller than 2**22, as all
        # means of 16 bits are, and the last bits of the sum are the result.
        size, bits = np.float32(1.5 * 2**23), np.float32(1.5 * 2**23).view(np.int32)
        least, most = np.int32(lowest), np.int32(highest)

        def stored_narrow(value: Any, out: Any) -> Any:
            whole = np.int32(np.float32(value + size).view(np.int32) - bits)
            return min(max(whole, least), most)

        return stored_narrow
    # Conversions to signed integers vectorise, others do not.
    integer = np.int64 if kind is types.uint32 else np.int32

    def stored(value: Any, out: Any) -> Any:
        return integer(min(max(np.rint(value), low), high))

    return stored


def resample(block: Array, tables: Tables, out: Array | None = None) -> Array:
    """Interpolate along x, then y, then z.

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
    out = _result(out, tuple(len(t.index) for t in tables), block.dtype)
    if block.dtype == np.float16:
        wide = resample(block.astype(np.float32), tables)
        with np.errstate(over="ignore"):
            out[...] = wide
        return out
    if not out.size:
        return out
    z, y, x = _weights(block, tables)
    if _is_pick(tables):
        bits = np.dtype(f"u{block.itemsize}")
        _pick(_source(block, bits), out.view(bits), z, y, x)
        return out
    _linear(block, out, z, y, x, (1, 1, 1), np.empty((0, 0, 0), block.dtype))
    if _is_wide(block.dtype):
        _restore_exact(block, out, z, y, x)
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
    apart = block.dtype == np.float16 or _is_wide(block.dtype)
    if apart or _can_be_two(block.dtype, tables) or _is_pick(tables) or not out.size:
        mean(resample(block, tables, out), factors, coarse)
        return
    check_block(block)
    check_out(out, tuple(len(t.index) for t in tables), block.dtype)
    check_out(coarse, cell_counts(out, factors), block.dtype)
    _linear(block, out, *_weights(block, tables), factors, coarse)


def _weights(block: Array, tables: Tables) -> tuple[AxisWeights, AxisWeights, AxisWeights]:
    dtype = compute_dtype(block.dtype)
    z, y, x = (axis_weights(t, n, dtype) for t, n in zip(tables, block.shape, strict=True))
    return z, y, x


def _is_pick(tables: Tables) -> bool:
    return all(t.kind == "pick" for t in tables)


def _linear(
    block: Array,
    out: Array,
    z: AxisWeights,
    y: AxisWeights,
    x: AxisWeights,
    factors: Factors,
    coarse: Array,
) -> None:
    """Interpolate; average the cells of the result unless `coarse` is empty."""
    numbers, dtype = _number_dtype(block.dtype), compute_dtype(block.dtype)
    width = len(x.first)
    sums = np.empty((2, coarse.shape[2]), _sum_dtype(numbers))
    result, means = _source(out, numbers), coarse.view(numbers)
    height = max(1, min(len(y.first), _STRIP_BYTES // (width * dtype.itemsize)))
    strip = width * -(-height // factors[1]) * factors[1]  # of whole cells
    planes = out.view(numbers).reshape(len(z.first), -1)
    total = np.empty(strip, dtype)
    # Wide integers are slow to convert: once for each plane is enough.
    quick = block.itemsize <= 2 or block.dtype.kind == "f"
    if quick and y.is_slice and x.is_slice and width == block.shape[2]:
        source = _source(block, numbers).reshape(len(block), -1)
        first = int(y.first[0]) * width
        _interpolate_z(source, first, planes, z, total, result, means, factors, sums)
        return
    _interpolate(
        _source(block, numbers),
        planes,
        z,
        y,
        x,
        np.empty((z.taps, strip), dtype),
        np.empty((y.taps, width), dtype),
        total,
        result,
        means,
        factors,
        sums,
    )


def _is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether float64 does not hold all of its numbers, nor a 64-bit integer their sums."""
    return dtype.kind in "iu" and dtype.itemsize == 8


def _can_be_two(dtype: np.dtype[Any], tables: Tables) -> bool:
    """Whether kernels with lobes overshoot true so far that it is rounded to 2, not to 1."""
    return dtype == np.bool_ and any(t.kind == "weights" for t in tables)


def _number_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype whose kernel serves `dtype`: bool is stored as the bytes 0 and 1."""
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def _result(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return where the result goes."""
    if out is None:
        return np.empty(shape, dtype)
    check_out(out, shape, dtype)
    return out


def _source(block: Array, dtype: np.dtype[Any]) -> Array:
    """Return a read-only view: one specialisation serves blocks of both kinds."""
    view = block.view(dtype)
    view.flags.writeable = False
    return view


def _restore_exact(
    block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights
) -> None:
    """Copy the targets that are source voxels: float64 does not hold all 64-bit integers."""
    targets = np.ix_(np.flatnonzero(y.exact), np.flatnonzero(x.exact))
    sources = np.ix_(y.first[y.exact], x.first[x.exact])
    for k in np.flatnonzero(z.exact):
        out[k][targets] = block[z.first[k]][sources]


@_entry
def _pick(block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights) -> None:
    """Gather ``out[k, j, i] = block[z[k], y[j], x[i]]``."""
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            row = out[k, j]
            if j > 0 and y.first[j] == y.first[j - 1]:
                _copy(row, out[k, j - 1])
            elif x.is_slice:
                _copy(row, block[z.first[k], y.first[j], x.first[0] :])
            else:
                source = block[z.first[k], y.first[j]]
                for i in range(row.size):
                    row[i] = source[np.uint64(x.first[i])]


@_part
def _copy(out: Array, values: Array) -> None:
    """Convert as many values as `out` holds."""
    for i in range(out.size):
        out[i] = values[i]


@_part
def _reads(axis: AxisWeights, target: int, tap: int) -> bool:
    """Return whether a target reads its tap."""
    if axis.weight.shape[1] == 1:
        return tap == 0 or axis.weight[target, 0] != 0
    return bool(axis.weight[target, tap] != 0)


@_part
def _along_x(
    ring: Array, slot: int, start: int, block: Array, z: int, y: int, x: AxisWeights
) -> None:
    """Interpolate the source row (z, y) along x, to `ring[slot]` from `start` on."""
    number, index, weight = ring.dtype.type, x.first, x.weight
    row, source = ring[slot, start : start + index.size], block[z, y]
    if x.is_slice:
        _copy(row, source[index[0] :])
    elif weight.shape[1] == 1:
        # Unsigned indices spare Numba the check for negative ones.
        for i in range(row.size):
            w = weight[i, 0]
            a = number(source[np.uint64(index[i])])
            b = number(source[np.uint64(index[i] + (w != 0))])
            mixed = a + w * (b - a)
            row[i] = a if w == 0 else mixed
    else:
        for i in range(row.size):
            total = number(-0.0)
            for tap in range(weight.shape[1]):
                w = weight[i, tap]
                if w != 0:
                    total += w * number(source[np.uint64(index[i] + tap)])
            row[i] = total


@_part
def _mix(
    out: Array,
    row: int,
    start: int,
    size: int,
    ring: Array,
    offset: int,
    axis: AxisWeights,
    target: int,
    total: Array,
) -> None:
    """Mix `size` voxels of the ring's arrays from `offset` on, to `out[row]` from `start` on.

    Source voxel ``i`` is ``ring[i % len(ring)]``; `total` is scratch for sums.
    """
    part, number = out[row, start : start + size], total.dtype.type
    index, weight, n = axis.first[target], axis.weight, len(ring)
    a = ring[index % n, offset : offset + size]
    if weight.shape[1] == 1:
        w = weight[target, 0]
        if w == 0:
            for i in range(size):
                part[i] = _stored(number(a[i]), out)
        else:
            b = ring[(index + 1) % n, offset : offset + size]
            for i in range(size):
                low = number(a[i])
                part[i] = _stored(low + w * (number(b[i]) - low), out)
        return
    for i in range(size):
        total[i] = -0.0  # the one number that never changes what is added to it
    for tap in range(weight.shape[1]):
        w = weight[target, tap]
        if w != 0:
            b = ring[(index + tap) % n, offset : offset + size]
            for i in range(size):
                total[i] += w * number(b[i])
    for i in range(size):
        part[i] = _stored(total[i], out)


@_part
def _fill_plane(
    planes: Array,
    slot: int,
    block: Array,
    source: int,
    top: int,
    height: int,
    y: AxisWeights,
    x: AxisWeights,
    rows: Array,
    held: NDArray[np.int64],
    total: Array,
) -> None:
    """Interpolate `height` target rows from `top` on of one source plane along x and y."""
    n, width = rows.shape
    held[:] = -1
    for j in range(height):
        first = y.first[top + j]
        if n == 1:
            _along_x(planes, slot, j * width, block, source, first, x)
            continue
        for tap in range(n):
            row = first + tap
            if held[row % n] != row and _reads(y, top + j, tap):
                held[row % n] = row
                _along_x(rows, row % n, 0, block, source, row, x)
        _mix(planes, slot, j * width, width, rows, 0, y, top + j, total)


@_entry
def _interpolate(
    block: Array,
    out: Array,
    z: AxisWeights,
    y: AxisWeights,
    x: AxisWeights,
    planes: Array,
    rows: Array,
    total: Array,
    result: Array,
    coarse: Array,
    factors: Factors,
    sums: Array,
) -> None:
    """Interpolate a block, shape (z, y, x), into `out`, shape (z, y * x).

    `planes`, shape (taps of z, voxels of a strip), and `rows`, shape (taps of
    y, x), are the rings; `total`, shape (voxels of a strip,), is for sums.

    `result` is `out` with the shape (z, y, x); the means of its cells go to
    `coarse`, unless that is empty. A strip has whole cells. `sums` is as in `_mean`.
    """
    n, width = len(planes), rows.shape[1]
    strip = planes.shape[1] // width
    planes_held, rows_held = np.empty(n, np.int64), np.empty(len(rows), np.int64)
    for top in range(0, y.first.size, strip):
        height = min(strip, y.first.size - top)
        planes_held[:] = -1
        for k in range(z.first.size):
            for tap in range(n):
                source = z.first[k] + tap
                slot = source % n
                if planes_held[slot] != source and _reads(z, k, tap):
                    planes_held[slot] = source
                    _fill_plane(
                        planes, slot, block, source, top, height, y, x, rows, rows_held, total
                    )
            _mix(out, k, top * width, height * width, planes, 0, z, k, total)
            _mean_on_the_way(result, coarse, k, top, height, factors, sums)


@_entry
def _interpolate_z(
    planes: Array,
    first: int,
    out: Array,
    z: AxisWeights,
    total: Array,
    result: Array,
    coarse: Array,
    factors: Factors,
    sums: Array,
) -> None:
    """Interpolate along z alone, as `_interpolate`; rows are those of `planes` from `first` on.

    `planes` are those of the source, shape (z, y * x).
    """
    rows, width = result.shape[1:]
    strip = total.size // width
    for top in range(0, rows, strip):
        start, height = top * width, min(strip, rows - top)
        for k in range(z.first.size):
            _mix(out, k, start, height * width, planes, first + start, z, k, total)
            _mean_on_the_way(result, coarse, k, top, height, factors, sums)


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
    out = _result(out, shape, block.dtype)
    if block.dtype == np.float16:
        sums = np.empty((2, shape[2]), np.float64)
        wide = np.empty((1, *shape[1:]), np.float64)
        for slab, plane in zip(_slabs(block, factors[0]), out, strict=True):
            _mean(_source(slab, slab.dtype), wide, factors, sums)
            plane[...] = wide[0]
    elif _is_wide(block.dtype):
        signed = np.dtype(np.int64)
        flip = np.iinfo(np.int64).min if block.dtype.kind == "u" else 0
        _mean_wide(_source(block, signed), out.view(signed), *factors, flip)
    else:
        numbers = _number_dtype(block.dtype)
        sums = np.empty((2, shape[2]), _sum_dtype(numbers))
        _mean(_source(block, numbers), out.view(numbers), factors, sums)
    return out


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
    out = _result(out, shape, block.dtype)
    same = np.empty(shape[2], np.uint8)
    if block.dtype == np.float16:
        wide, values = np.empty((1, *shape[1:]), np.float32), np.empty(8, np.float32)
        for slab, plane in zip(_slabs(block, factors[0]), out, strict=True):
            _mode(_source(slab, slab.dtype), wide, *factors, same, values)
            plane[...] = wide[0]
    else:
        numbers = _number_dtype(block.dtype)
        values = np.empty(8, numbers)
        _mode(_source(block, numbers), out.view(numbers), *factors, same, values)
    return out


def _slabs(block: Array, depth: int) -> Iterator[Array]:
    """Yield the source planes of one plane of cells after another, in float32."""
    for start in range(0, len(block), depth):
        yield block[start : start + depth].astype(np.float32)


def _sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
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


@_part
def _add(sums: Array, values: Array) -> None:
    for i in range(sums.size):
        sums[i] += values[i]


@_part
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


@_part
def _mean_rows(
    block: Array, out: Array, k: int, start: int, stop: int, factors: Factors, sums: Array
) -> None:
    """Average the cells of the rows from `start` to `stop` of plane `k` of `out`."""
    fz, fy, fx = factors
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
        for i in range(whole, row.size):
            row[i] = _divided(total[i], shift, out)


@_part
def _mean_on_the_way(
    block: Array, out: Array, k: int, top: int, height: int, factors: Factors, sums: Array
) -> None:
    """Average the cells of rows that plane `k` of `block` completes, unless `out` is empty."""
    fz, fy, _ = factors
    if out.size and (k % fz == fz - 1 or k == block.shape[0] - 1):
        _mean_rows(block, out, k // fz, top // fy, -(-(top + height) // fy), factors, sums)


@_entry
def _mean(block: Array, out: Array, factors: Factors, sums: Array) -> None:
    """Average dtypes whose sums fit; `sums` has the shape (2, x of `out`)."""
    for k in range(out.shape[0]):
        _mean_rows(block, out, k, 0, out.shape[1], factors, sums)


@_entry
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


@_part
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


@_part
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


@_entry
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
