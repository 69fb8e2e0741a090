"""Mixes and weighted sums of voxels, along one axis after the other.

The target is walked in strips of rows that stay in the cache. A strip
keeps a ring of source planes that are already interpolated along x and y, one
per tap along z; a plane in turn is made from a ring of source rows that are
already interpolated along x. So every source row is gathered once per strip,
and what remains per target voxel is one mix of contiguous arrays. Where only z
changes, that mix reads the source itself. The means of the next level are made
of a strip's planes while they are still in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors
from chunkscale.kernels.cpu.cells import mean_on_the_way, sum_dtype
from chunkscale.kernels.cpu.finite import is_odd
from chunkscale.kernels.cpu.jit import entry, part
from chunkscale.kernels.cpu.nearest import copy
from chunkscale.kernels.cpu.sums import Sums, add_taps, empty_taps, row_sums, sum_rows
from chunkscale.kernels.cpu.views import number_dtype, read_only
from chunkscale.kernels.weights import AxisWeights, compute_dtype

# One plane of a strip: two of them, and what is written, fit into a core's L2 cache.
STRIP_BYTES = 1 << 18

# Sums of so many voxels, and the voxels of one tap, stay in the L1 cache from tap to tap.
SUMS = 1 << 11

Array = NDArray[Any]


def interpolate(
    block: Array,
    out: Array,
    z: AxisWeights,
    y: AxisWeights,
    x: AxisWeights,
    factors: Factors,
    coarse: Array,
) -> bool:
    """Interpolate; average the cells of the result unless `coarse` is empty.

    Return whether a float came out infinite or NaN.
    """
    numbers, dtype = number_dtype(block.dtype), compute_dtype(block.dtype)
    width = len(x.first)
    sums = np.empty((2, coarse.shape[2]), sum_dtype(numbers))
    result, means = read_only(out, numbers), coarse.view(numbers)
    height = max(1, min(len(y.first), STRIP_BYTES // (width * dtype.itemsize)))
    strip = width * -(-height // factors[1]) * factors[1]  # of whole cells
    planes = out.view(numbers).reshape(len(z.first), -1)
    # What adds up is compiled where it is needed alone: that takes half of the time.
    adds = any(axis.weight.shape[1] > 1 for axis in (z, y, x))
    taps = max(z.taps, y.taps)
    room = np.empty((1, min(SUMS, strip)), dtype)
    total = Sums(room, empty_taps(taps, dtype)) if adds else None
    # Wide integers are slow to convert: once for each plane is enough.
    quick = block.itemsize <= 2 or block.dtype.kind == "f"
    if quick and y.is_slice and x.is_slice and width == block.shape[2]:
        source = read_only(block, numbers).reshape(len(block), -1)
        first = int(y.first[0]) * width
        args = (source, first, planes, z, strip, total, result, means, factors, sums)
        return bool(_interpolate_z(*args))
    wide = row_sums(x, block.shape[2]) if x.weight.shape[1] > 1 else None
    odd = _interpolate(
        read_only(block, numbers),
        planes,
        z,
        y,
        x,
        np.empty((z.taps, strip), dtype),
        np.empty((y.taps, width), dtype),
        (total, wide),
        result,
        means,
        factors,
        sums,
    )
    return bool(odd)


def restore_exact(block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights) -> None:
    """Copy the targets that are source voxels: float64 does not hold all 64-bit integers."""
    targets = np.ix_(np.flatnonzero(y.exact), np.flatnonzero(x.exact))
    sources = np.ix_(y.first[y.exact], x.first[x.exact])
    for k in np.flatnonzero(z.exact):
        out[k][targets] = block[z.first[k]][sources]


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


@part
def _reads(axis: AxisWeights, target: int, tap: int) -> bool:
    """Return whether a target reads its tap."""
    if axis.weight.shape[1] == 1:
        return tap == 0 or axis.weight[target, 0] != 0
    return bool(axis.weight[target, tap] != 0)


@part
def _along_x(
    ring: Array,
    slot: int,
    start: int,
    block: Array,
    z: int,
    y: int,
    count: int,
    x: AxisWeights,
    wide: Any,
) -> None:
    """Interpolate `count` source rows from (z, y) on along x, to `start` and on of their slots.

    They go to `ring[slot]` and those after it. `wide` is the table of sums; None where rows are
    mixed or copied. Either is compiled alone, which saves 10 MiB of the other.
    """
    if wide is not None:
        sum_rows(ring, slot, start, block, z, y, count, wide)
        return
    number, index, weight = ring.dtype.type, x.first, x.weight
    for k in range(count):
        row, source = ring[(slot + k) % len(ring), start : start + index.size], block[z, y + k]
        if x.is_slice:
            copy(row, source[index[0] :])
            continue
        # Unsigned indices spare Numba the check for negative ones.
        for i in range(row.size):
            w = weight[i, 0]
            a = number(source[np.uint64(index[i])])
            b = number(source[np.uint64(index[i] + (w != 0))])
            mixed = a + w * (b - a)
            row[i] = a if w == 0 else mixed


@part
def _mix(
    out: Array,
    row: int,
    start: int,
    size: int,
    ring: Array,
    offset: int,
    axis: AxisWeights,
    target: int,
    sums: Any,
    like: Array,
) -> bool:
    """Mix `size` voxels of the ring's arrays from `offset` on, to `out[row]` from `start` on.

    Source voxel ``i`` is ``ring[i % len(ring)]``; `sums` is scratch, None where nothing is added
    up. Return whether a number is infinite or NaN, unless `like` has integers.
    """
    if sums is None:
        return _mix_two(out, row, start, size, ring, offset, axis, target, like)
    if axis.weight.shape[1] == 1:
        return _mix_two(out, row, start, size, ring, offset, axis, target, like)
    part, total, taps = out[row, start : start + size], sums.total, sums.taps
    index, weight, n, odd = axis.first[target], axis.weight, len(ring), False
    for begin in range(0, size, SUMS):
        count, n_taps = min(SUMS, size - begin), 0
        for tap in range(weight.shape[1]):
            w = weight[target, tap]
            if w != 0:
                taps.row[n_taps], taps.shift[n_taps] = (index + tap) % n, offset + begin
                taps.weight[n_taps] = w
                n_taps += 1
        add_taps(total, 0, 0, count, ring, taps, n_taps)
        for i in range(count):
            value = total[0, np.uint64(i)]
            part[np.uint64(begin + i)] = _stored(value, out)
            odd |= is_odd(value, like)
    return odd


@part
def _mix_two(
    out: Array,
    row: int,
    start: int,
    size: int,
    ring: Array,
    offset: int,
    axis: AxisWeights,
    target: int,
    like: Array,
) -> bool:
    """Mix two arrays of the ring, or take one as it is; see `_mix`."""
    part, number = out[row, start : start + size], axis.weight.dtype.type
    index, w, n = axis.first[target], axis.weight[target, 0], len(ring)
    a, odd = ring[index % n, offset : offset + size], False
    if w == 0:
        for i in range(size):
            part[i] = _stored(number(a[i]), out)
            odd |= is_odd(number(a[i]), like)
    else:
        b = ring[(index + 1) % n, offset : offset + size]
        for i in range(size):
            low = number(a[i])
            mixed = low + w * (number(b[i]) - low)
            part[i] = _stored(mixed, out)
            odd |= is_odd(mixed, like)
    return odd


@part
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
    total: Any,
    wide: Any,
) -> None:
    """Interpolate `height` target rows from `top` on of one source plane along x and y."""
    n, width = rows.shape
    held[:] = -1
    for j in range(height):
        first = y.first[top + j]
        if n == 1:
            _along_x(planes, slot, j * width, block, source, first, 1, x, wide)
            continue
        begin, end = first + n, first
        for tap in range(n):
            row = first + tap
            if held[row % n] != row and _reads(y, top + j, tap):
                begin, end = min(begin, row), row + 1
        if begin < end:
            for row in range(begin, end):
                held[row % n] = row
            _along_x(rows, begin % n, 0, block, source, begin, end - begin, x, wide)
        _mix(planes, slot, j * width, width, rows, 0, y, top + j, total, block)


@entry
def _interpolate(
    block: Array,
    out: Array,
    z: AxisWeights,
    y: AxisWeights,
    x: AxisWeights,
    planes: Array,
    rows: Array,
    scratch: tuple[Any, Any],
    result: Array,
    coarse: Array,
    factors: Factors,
    sums: Array,
) -> bool:
    """Interpolate a block, shape (z, y, x), into `out`, shape (z, y * x).

    `planes`, shape (taps of z, voxels of a strip), and `rows`, shape (taps of
    y, x), are the rings; `scratch` is that of `_mix`, and that of `_along_x`.

    `result` is `out` with the shape (z, y, x); the means of its cells go to
    `coarse`, unless that is empty. A strip has whole cells. `sums` is as in `_mean`.
    """
    n, width, odd = len(planes), rows.shape[1], False
    strip = planes.shape[1] // width
    planes_held, rows_held = np.empty(n, np.int64), np.empty(len(rows), np.int64)
    total, wide = scratch
    for top in range(0, y.first.size, strip):
        height = min(strip, y.first.size - top)
        planes_held[:] = -1
        for k in range(z.first.size):
            for tap in range(n):
                source = z.first[k] + tap
                slot = source % n
                if planes_held[slot] != source and _reads(z, k, tap):
                    planes_held[slot] = source
                    held = (rows, rows_held, total, wide)
                    _fill_plane(planes, slot, block, source, top, height, y, x, *held)
            odd |= _mix(out, k, top * width, height * width, planes, 0, z, k, total, block)
            odd |= mean_on_the_way(result, coarse, k, top, height, factors, sums)
    return odd


@entry
def _interpolate_z(
    planes: Array,
    first: int,
    out: Array,
    z: AxisWeights,
    strip: int,
    total: Any,
    result: Array,
    coarse: Array,
    factors: Factors,
    sums: Array,
) -> bool:
    """Interpolate along z alone, as `_interpolate`; rows are those of `planes` from `first` on.

    `planes` are those of the source, shape (z, y * x); a strip has so many voxels.
    """
    odd, (rows, width) = False, result.shape[1:]
    strip //= width
    for top in range(0, rows, strip):
        start, height = top * width, min(strip, rows - top)
        for k in range(z.first.size):
            odd |= _mix(out, k, start, height * width, planes, first + start, z, k, total, planes)
            odd |= mean_on_the_way(result, coarse, k, top, height, factors, sums)
    return odd
