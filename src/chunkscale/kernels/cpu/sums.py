"""Weighted sums of voxels, in the order of the taps; adding -0.0 changes nothing.

To read voxels here and there is what takes the time. Where the targets of a row lie a whole number
of voxels apart and have the same weights, it is first sorted by its *phases*: voxels of one phase
lie as far apart as the targets, so that each tap reads voxels side by side. Shrinking by (1, 5, 5)
takes 0.6 of the time so (``python asv_bench/kernels.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkscale.kernels.cpu.jit import inlined, part
from chunkscale.kernels.cpu.nearest import copy
from chunkscale.kernels.weights import AxisWeights

Array = NDArray[Any]

#: Compilers make vector code of loops over so many phases, and of no more.
PHASES = range(2, 7)


class Taps(NamedTuple):
    """Where the taps of a sum are read, and their weights, none of which is 0.

    Parameters
    ----------
    row, shift : ndarray of int64, shape (n,)
        Voxel ``i`` of the sum reads ``source[row[k], shift[k] + i]``.
    weight : ndarray, shape (n,)
    """

    row: NDArray[np.int64]
    shift: NDArray[np.int64]
    weight: Array


def empty_taps(n: int, dtype: np.dtype[Any]) -> Taps:
    """Return room for so many taps."""
    return Taps(np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, dtype))


class Sums(NamedTuple):
    """Scratch for sums of planes and of rows.

    Parameters
    ----------
    total : ndarray, shape (1, n)
    taps : Taps
    """

    total: Array
    taps: Taps


class RowSums(NamedTuple):
    """The table of a row, as its sums take it.

    Parameters
    ----------
    first : ndarray of int64, shape (n,)
        First source voxel of each target.
    weight : ndarray, shape (taps, n)
    step, low, high, start : int
        Targets from `low` to `high` lie `step` voxels apart, have the same weights, and read from
        `start` on. Without such targets all are 0.
    taps : Taps
        Those of them, in `held`.
    held : ndarray, shape (phases, voxels)
        Scratch: a row in the compute type, by its phases if there are any.
    """

    first: NDArray[np.int64]
    weight: Array
    step: int
    low: int
    high: int
    start: int
    taps: Taps
    held: Array


def row_sums(x: AxisWeights, size: int) -> RowSums:
    """Return the table of a row of `size` voxels."""
    n, weight = len(x.first), np.ascontiguousarray(x.weight.T)
    middle = n // 2
    step = int(x.first[middle] - x.first[max(middle - 1, 0)])
    alike = (x.weight == x.weight[middle]).all(axis=1)
    alike &= x.first - x.first[middle] == step * (np.arange(n) - middle)
    # All around the middle; those at the border of an image are cut.
    low = middle - int(np.append(alike[:middle][::-1], False).argmin())
    high = middle + int(np.append(alike[middle:], False).argmin())
    tap = np.flatnonzero(x.weight[middle])
    # Few alike gain less than the others lose, which are then summed one by one.
    if step not in PHASES or high - low < max(2, n / 2) or not tap.size:
        wide = np.zeros((1, size + len(weight)), weight.dtype)
        return RowSums(x.first, weight, 0, 0, 0, 0, empty_taps(0, weight.dtype), wide)
    row, shift = (tap - tap[0]) % step, (tap - tap[0]) // step
    taps = Taps(row.astype(np.int64), shift.astype(np.int64), x.weight[middle, tap])
    held = np.zeros((step, high - low + int(shift[-1])), weight.dtype)
    return RowSums(x.first, weight, step, low, high, int(x.first[low] + tap[0]), taps, held)


@inlined
def _sort(held: Array, block: Array, z: int, y: int, start: int, step: int) -> None:
    """Sort voxels of a row from `start` on by their phases."""
    there = block.shape[2] - start
    whole = min(held.shape[1], there // step)
    for i in range(whole):
        for phase in range(step):
            # Unsigned indices spare Numba the check for negative ones.
            held[phase, i] = block[z, y, np.uint64(start + (step * i + phase))]
    for i in range(step * whole, min(there, held.size)):
        held[i % step, i // step] = block[z, y, start + i]


@part
def _sort_by_phases(held: Array, block: Array, z: int, y: int, start: int) -> None:
    # Written out: only steps that are constants make vector code.
    if len(held) == 2:
        _sort(held, block, z, y, start, 2)
    elif len(held) == 3:
        _sort(held, block, z, y, start, 3)
    elif len(held) == 4:
        _sort(held, block, z, y, start, 4)
    elif len(held) == 5:
        _sort(held, block, z, y, start, 5)
    else:
        _sort(held, block, z, y, start, 6)


@part
def add_taps(
    total: Array, at: int, start: int, size: int, source: Array, taps: Taps, n: int
) -> None:
    """Set `size` voxels of `total[at]` from `start` on to the sum of `n` taps, four at a time."""
    number, weight, row, shift = total.dtype.type, taps.weight, taps.row, taps.shift
    done = 0
    # Unsigned indices spare Numba the check for negative ones.
    for i in range(size):
        total[at, np.uint64(start + i)] = -0.0
    while n - done >= 4:
        w, v, u, t = weight[done], weight[done + 1], weight[done + 2], weight[done + 3]
        a, b, c, d = row[done], row[done + 1], row[done + 2], row[done + 3]
        p, q, r, s = shift[done], shift[done + 1], shift[done + 2], shift[done + 3]
        for i in range(size):
            value = total[at, np.uint64(start + i)] + w * number(source[a, np.uint64(p + i)])
            value += v * number(source[b, np.uint64(q + i)])
            value += u * number(source[c, np.uint64(r + i)])
            total[at, np.uint64(start + i)] = value + t * number(source[d, np.uint64(s + i)])
        done += 4
    for k in range(done, n):
        w, a, p = weight[k], row[k], shift[k]
        for i in range(size):
            total[at, np.uint64(start + i)] += w * number(source[a, np.uint64(p + i)])


@part
def _gather(row: Array, wide: Array, first: NDArray[np.int64], weight: Array) -> None:
    """Add taps up, four at a time, without a branch for those of no weight."""
    none, taps = row.dtype.type(-0.0), len(weight)
    for i in range(row.size):
        row[i] = none
    done = 0
    while taps - done >= 4:
        w, v, u, t = weight[done], weight[done + 1], weight[done + 2], weight[done + 3]
        for i in range(row.size):
            # Unsigned indices spare Numba the check for negative ones.
            at = np.uint64(first[i] + done)
            a, b = w[i] * wide[at], v[i] * wide[at + np.uint64(1)]
            c, d = u[i] * wide[at + np.uint64(2)], t[i] * wide[at + np.uint64(3)]
            total = row[i] + (a if w[i] != 0 else none)
            total += b if v[i] != 0 else none
            total += c if u[i] != 0 else none
            row[i] = total + (d if t[i] != 0 else none)
        done += 4
    for tap in range(done, taps):
        w = weight[tap]
        for i in range(row.size):
            term = w[i] * wide[np.uint64(first[i] + tap)]
            row[i] += term if w[i] != 0 else none


@part
def _sum_alone(
    block: Array, z: int, y: int, first: NDArray[np.int64], weight: Array, target: int
) -> Any:
    """Add the weighted voxels of a target whose weights are its own."""
    number = weight.dtype.type
    total = number(-0.0)
    for tap in range(len(weight)):
        w = weight[tap, target]
        if w != 0:
            total += w * number(block[z, y, first[target] + tap])
    return total


@part
def sum_rows(
    ring: Array, slot: int, start: int, block: Array, z: int, y: int, count: int, x: RowSums
) -> None:
    """Add the voxels of `count` rows from (z, y) on up, to `ring[slot]` and those after it.

    Several rows a call: to hand arrays over takes as long as a third of a row.
    """
    first, weight, held, taps = x.first, x.weight, x.held, x.taps
    size, width = x.high - x.low, first.size
    for k in range(count):
        at, row = (slot + k) % len(ring), y + k
        if not x.step:
            copy(held[0, : block.shape[2]], block[z, row])
            _gather(ring[at, start : start + width], held[0], first, weight)
            continue
        _sort_by_phases(held, block, z, row, x.start)
        add_taps(ring, at, start + x.low, size, held, taps, taps.weight.size)
        for i in range(x.low):
            ring[at, start + i] = _sum_alone(block, z, row, first, weight, i)
        for i in range(x.high, width):
            ring[at, start + i] = _sum_alone(block, z, row, first, weight, i)
