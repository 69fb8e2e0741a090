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
from chunkscale.kernels.cpu.jit import entry, part
from chunkscale.kernels.cpu.nearest import reads
from chunkscale.kernels.cpu.views import read_only
from chunkscale.kernels.weights import SCALE, AxisWeights

Array = NDArray[Any]

Limits = tuple[Any, Any, Any]


def mend(block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights) -> None:
    """Make what is infinite or NaN in an interpolated `out` again; all is float32 or float64."""
    of_z, of_y, of_x = (np.empty(max(2, a.weight.shape[1]), out.dtype) for a in (z, y, x))
    limits = _limits(out.dtype)
    _mend(read_only(block, block.dtype), out, z, y, x, of_z, of_y, of_x, limits)


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


@part
def _unscaled(total: Any, limits: Limits) -> Any:
    """Return a sum of scaled terms at its size; if they were finite, within the range."""
    scale, _, highest = limits
    result = total / scale
    return min(max(result, -highest), highest) if total - total == 0 else result


@part
def _combined(values: Array, axis: AxisWeights, target: int, limits: Limits) -> Any:
    """Mix or add the voxels that a target reads along an axis."""
    scale, tiny, _ = limits
    weights, number = axis.weight[target], values.dtype.type
    if weights.size == 1:
        w = weights[0]
        if w == 0:
            return values[0]
        result = values[0] + w * (values[1] - values[0])
        total = values[0] * scale * max(number(1) - w, tiny) + values[1] * scale * w
    else:
        result, total = number(-0.0), number(-0.0)
        for tap in range(weights.size):
            w = weights[tap]
            if w != 0:
                result += w * values[tap]
                total += w * (values[tap] * scale)
    return _unscaled(total, limits) if result - result != 0 else result


@part
def _made_again(
    block: Array, k: int, j: int, i: int, z: AxisWeights, y: AxisWeights, x: AxisWeights,
    of_z: Array, of_y: Array, of_x: Array, limits: Limits,
) -> Any:  # fmt: skip
    """Interpolate one target; the arrays are scratch for what it reads along an axis."""
    for c in range(of_z.size):
        if reads(z, k, c):
            for b in range(of_y.size):
                if reads(y, j, b):
                    for a in range(of_x.size):
                        if reads(x, i, a):
                            of_x[a] = block[z.first[k] + c, y.first[j] + b, x.first[i] + a]
                            if of_x[a] != of_x[a]:
                                return of_x[a]
                    of_y[b] = _combined(of_x, x, i, limits)
            of_z[c] = _combined(of_y, y, j, limits)
    return _combined(of_z, z, k, limits)


@entry
def _mend(
    block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights,
    of_z: Array, of_y: Array, of_x: Array, limits: Limits,
) -> None:  # fmt: skip
    """Make what is odd in `out` again; of NaN it becomes the one."""
    nan = out.dtype.type(np.nan)
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            row = out[k, j]
            for i in range(row.size):
                if row[i] - row[i] != 0:
                    value = _made_again(block, k, j, i, z, y, x, of_z, of_y, of_x, limits)
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
