"""Floats that came out infinite or NaN, made again with care, voxel by voxel.

Kernels look at what they write, which costs next to nothing (`is_odd`). What is odd is made again
as `chunkscale.kernels.reference` says, by kernels that are compiled for floats alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from chunkscale.kernels.backend import Factors
from chunkscale.kernels.cpu.jit import entry, inlined
from chunkscale.kernels.cpu.views import read_only
from chunkscale.kernels.weights import SCALE, AxisWeights

Array = NDArray[Any]

Limits = tuple[Any, Any, Any]


def mend(block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights) -> None:
    """Make what is infinite or NaN in an interpolated `out` again; all is float32 or float64."""
    of_z, of_y, of_x = (np.empty(max(2, a.weight.shape[1]), out.dtype) for a in (z, y, x))
    _mend(read_only(block, block.dtype), out, z, y, x, (of_z, of_y, of_x), _limits(out.dtype))


def mend_means(block: Array, out: Array, factors: Factors) -> None:
    """Make what is infinite or NaN in means again; `out` may be wider than `block`."""
    _mend_means(read_only(block, block.dtype), out, factors, _limits(np.dtype(np.float64)))


def _limits(dtype: np.dtype[Any]) -> Limits:
    """Return what makes terms smaller, the smallest weight and the largest number."""
    info = np.finfo(dtype)
    return dtype.type(SCALE), dtype.type(info.tiny), dtype.type(info.max)


def is_odd(value: float, like: Array) -> bool:
    """Return whether a number is infinite or NaN; never if `like` has integers."""
    raise NotImplementedError("compiled code only")


@overload(is_odd)
def _is_odd_overload(value: Any, like: Any) -> Callable[..., Any]:
    def odd(value: Any, like: Any) -> Any:
        return value - value != 0

    def never(value: Any, like: Any) -> Any:
        return False

    return odd if isinstance(like.dtype, types.Float) else never


@inlined
def _unscaled(total: Any, limits: Limits) -> Any:
    """Return a sum of scaled terms at its size; if they were finite, within the range."""
    scale, _, highest = limits
    result = total / scale
    return min(max(result, -highest), highest) if total - total == 0 else result


@inlined
def _combined(values: Array, weight: Array, target: int, limits: Limits) -> Any:
    """Mix or add the voxels that a target reads along an axis."""
    scale, tiny, _ = limits
    number = values.dtype.type
    if weight.shape[1] == 1:
        w = weight[target, 0]
        if w == 0:
            return values[0]
        result = values[0] + w * (values[1] - values[0])
        if result - result != 0:
            keep = max(number(1) - w, tiny)
            result = _unscaled(values[0] * scale * keep + values[1] * scale * w, limits)
        return result
    result, total = number(-0.0), number(-0.0)
    for tap in range(weight.shape[1]):
        w = weight[target, tap]
        if w != 0:
            result += w * values[tap]
            total += w * (values[tap] * scale)
    return _unscaled(total, limits) if result - result != 0 else result


@inlined
def _reads_first(weight: Array, target: int) -> bool:
    return bool(weight.shape[1] == 1 or weight[target, 0] != 0)


@inlined
def _taps(weight: Array, target: int) -> int:
    """Return the number of voxels to look at; those of a sum may have no weight."""
    if weight.shape[1] > 1:
        return int(weight.shape[1])
    return 1 + int(weight[target, 0] != 0)


@entry
def _mend(
    block: Array,
    out: Array,
    z: AxisWeights,
    y: AxisWeights,
    x: AxisWeights,
    held: tuple[Array, Array, Array],
    limits: Limits,
) -> None:
    """Make what is odd in `out` again; of NaN it becomes the one. `held` is scratch for taps."""
    nan = out.dtype.type(np.nan)
    of_z, of_y, of_x = held
    w_z, w_y, w_x, first = z.weight, y.weight, x.weight, x.first
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            row, source = out[k, j], block[z.first[k], y.first[j]]
            for i in range(row.size):
                if row[i] - row[i] == 0:
                    continue
                # Most often the first voxel tells already.
                has_nan = _reads_first(w_z, k) and _reads_first(w_y, j) and _reads_first(w_x, i)
                has_nan &= np.isnan(source[np.uint64(first[i])])
                for c in range(0 if has_nan else _taps(w_z, k)):
                    if has_nan or (w_z.shape[1] > 1 and w_z[k, c] == 0):
                        continue
                    for b in range(_taps(w_y, j)):
                        if has_nan or (w_y.shape[1] > 1 and w_y[j, b] == 0):
                            continue
                        for a in range(_taps(w_x, i)):
                            if w_x.shape[1] == 1 or w_x[i, a] != 0:
                                voxel = block[z.first[k] + c, y.first[j] + b, first[i] + a]
                                of_x[a] = voxel
                                has_nan |= voxel != voxel
                        of_y[b] = _combined(of_x, w_x, i, limits)
                    of_z[c] = _combined(of_y, w_y, j, limits)
                value = nan if has_nan else _combined(of_z, w_z, k, limits)
                row[i] = nan if value != value else value


@entry
def _mend_means(block: Array, out: Array, factors: Factors, limits: Limits) -> None:
    """Make what is odd in means again: sums of x pairs, then along y, then along z."""
    fz, fy, fx = factors
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            row = out[k, j]
            for i in range(row.size):
                if row[i] - row[i] != 0:
                    cell = block[k * fz : k * fz + fz, j * fy : j * fy + fy, i * fx : i * fx + fx]
                    total = -0.0
                    for c in range(cell.shape[0]):
                        of_plane = -0.0
                        for b in range(cell.shape[1]):
                            of_row = -0.0
                            for a in range(cell.shape[2]):
                                of_row += cell[c, b, a] * limits[0]
                            of_plane += of_row
                        total += of_plane
                    value = _unscaled(total * (1.0 / cell.size), limits)
                    row[i] = np.nan if value != value else value
