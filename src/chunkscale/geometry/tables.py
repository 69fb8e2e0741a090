"""Tables of an axis: which source voxels each target reads, and with what weights.

They hold global source indices. A region takes its part and subtracts the start of its source
box as an integer.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box
from chunkscale.geometry.mapping import AxisMapping, edge_distance
from chunkscale.geometry.methods import METHODS, Kind, Taken

#: Tables of so many taps (256 KiB) are kept, and weights are computed for so many at a time.
KEPT_TAPS = 2**15


@dataclass(frozen=True, slots=True, eq=False)
class AxisTable:
    """What a kernel needs to know of one axis of a region.

    Parameters
    ----------
    kind : {"pick", "lerp", "weights", "cells"}
    index : ndarray of int64, shape (n,)
        First source voxel of each target voxel, counted from the start of the
        source box.
    weight : ndarray of float64
        - pick: shape (0,), unused.
        - lerp: shape (n,), the ``w`` of ``a + w * (b - a)`` with ``b`` the
          voxel after ``a``. Where it is 0, ``b`` must not be read.
        - weights: shape (n, taps), normalised: the weights of the voxels
          from ``index`` on. Voxels of weight 0 must not be read.
        - cells: shape (n,), how many voxels from ``index`` on are the cell's.
    takes : {"mode", "max"}
        Which voxel of a cell is taken.
    """

    kind: Kind
    index: NDArray[np.int64]
    weight: NDArray[np.float64]
    takes: Taken = "mode"


def axis_table(mapping: AxisMapping, start: int, stop: int) -> AxisTable:
    """Return the table of targets ``start <= i < stop``, in global source indices.

    Regions in a row share tables: the last small ones are kept, and cannot be written to.

    Parameters
    ----------
    mapping : AxisMapping
    start, stop : int
        Global target indices.

    Returns
    -------
    AxisTable
        See `rebased` for the table of a source box.

    Notes
    -----
    Coordinates between two voxels are clamped to the first and last voxel centre, so
    that a sample beyond takes the edge voxel. Widened kernels are those of Pillow's and
    torch's ``antialias=True``: support times step to either side, cut at the
    image border, weights normalised to 1; so a voxel larger than the image is
    a mean of all of it. Other kernels repeat the edge voxels instead. The cell of a
    target has the voxels whose centres lie in its extent, the lower end included: of the
    image alone, and its edge voxel if there is none. So have shares: those of the voxels that
    the extent covers, in whole or in part. Extents touch to the bit, being made of one number.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis, VoxelGrid
    >>> from chunkscale.geometry.mapping import grid_mapping
    >>> x = (Axis(name="x"),)
    >>> coarse = VoxelGrid(axes=x, shape=(2,), voxel_size=(1.0,))
    >>> fine = VoxelGrid(axes=x, shape=(4,), voxel_size=(0.5,), translation=(-0.25,))
    >>> (m,) = grid_mapping(coarse, fine, method="linear")
    >>> table = axis_table(m, 0, 4)
    >>> table.index.tolist(), table.weight.tolist()
    ([0, 0, 0, 1], [0.0, 0.25, 0.75, 0.0])
    """
    if (stop - start) * mapping.taps > KEPT_TAPS:
        return _table_at(mapping, np.arange(start, stop, dtype=np.float64))
    return _kept_table(mapping, start, stop)


@functools.lru_cache(maxsize=32)
def _kept_table(mapping: AxisMapping, start: int, stop: int) -> AxisTable:
    table = _table_at(mapping, np.arange(start, stop, dtype=np.float64))
    table.index.flags.writeable = table.weight.flags.writeable = False
    return table


def _extent(
    mapping: AxisMapping, target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where targets begin and end, in source voxels from the source's outer edge."""
    return edge_distance(mapping, target - 0.5), edge_distance(mapping, target + 0.5)


def _table_at(mapping: AxisMapping, target: NDArray[np.float64]) -> AxisTable:
    if mapping.kind == "weights":
        return _weights_table(mapping, target)
    last = mapping.source_size - 1
    edge = edge_distance(mapping, target)
    if mapping.kind == "pick":
        index = np.clip(np.floor(edge), 0, last).astype(np.int64)
        return AxisTable("pick", index, np.empty(0))
    if mapping.kind == "cells":
        begin, end = (np.ceil(end - 0.5) for end in _extent(mapping, target))
        begin = np.clip(begin, 0, last)
        end = np.clip(end, begin + 1, mapping.source_size)
        takes = METHODS[mapping.method].takes
        return AxisTable("cells", begin.astype(np.int64), end - begin, takes)
    centre = np.clip(edge - 0.5, 0.0, float(last))
    floor = np.floor(centre)
    return AxisTable("lerp", floor.astype(np.int64), centre - floor)


def table_bytes(mapping: AxisMapping, targets: int) -> int:
    """Return the most that a table takes while it is made and used; nothing if it is kept.

    With two copies in the compute type, which weights are not zero and which are alike, and beside
    that the block of rows that is being weighed.
    """
    if targets * mapping.taps <= KEPT_TAPS:
        return 0
    weighed = max(KEPT_TAPS, mapping.taps) if mapping.kind == "weights" else 0
    return targets * (26 * mapping.taps + 40) + 96 * weighed


@dataclass(frozen=True, slots=True)
class _Window:
    """What the kernels of some targets cover.

    Parameters
    ----------
    centre : ndarray of float64, shape (n,)
        Position of the targets among the source voxels.
    first : ndarray of int64, shape (n,)
        First voxel that may be covered.
    taps : int
        Voxels that may be.
    reach : float
        Of the kernel to either side, in voxels.
    last : int
        The last voxel that may be; there is none where kernels reach beyond the image.
    """

    centre: NDArray[np.float64]
    first: NDArray[np.int64]
    taps: int
    reach: float
    last: int | None

    @classmethod
    def of(cls, mapping: AxisMapping, edge: NDArray[np.float64]) -> _Window:
        """Return the windows of targets at a distance from the source's edge.

        A widened kernel is cut at the image's borders; one that is not reaches beyond them.
        """
        method, size = METHODS[mapping.method], mapping.source_size
        centre, reach, widened = edge - 0.5, method.support * mapping.scale, mapping.scale > 1.0
        if widened and method.lobes:
            # Farther out the weights of what a cut kernel still covers can add up to nothing.
            centre = np.clip(centre, -0.5, size - 0.5)
        first = np.floor(centre - reach + mapping.fuzz) + 1
        if not widened:
            return cls(centre, first.astype(np.int64), math.ceil(2 * reach) + 1, reach, None)
        first = np.clip(first, 0, size - 1).astype(np.int64)
        taps = min(size, math.ceil(2 * min(reach, float(size))) + 1)
        return cls(centre, first, taps, reach, size - 1)

    def covered(self, tap: NDArray[np.int64], fuzz: float) -> NDArray[np.bool_]:
        """Whether kernels cover voxels; shape (n, k), as `tap` has."""
        found = self.reach - np.abs(tap - self.centre[:, None]) > fuzz
        return found if self.last is None else found & (tap <= self.last)

    def last_covered(self, fuzz: float) -> NDArray[np.int64]:
        """Return the last voxel that each kernel covers; its first one if it covers none."""
        beyond = np.floor(self.centre + self.reach).astype(np.int64)[:, None] + 2
        stop = self.first[:, None] + self.taps
        if self.last is not None:
            stop = np.minimum(stop, self.last + 1)
        # One of the last three voxels before the kernel's end, whatever is rounded.
        tap = np.minimum(beyond, stop) - np.arange(1, 5)
        tap = np.maximum(tap, self.first[:, None])
        found = np.where(self.covered(tap, fuzz), tap, self.first[:, None])
        last: NDArray[np.int64] = found.max(axis=1)
        return last


def _weights_table(mapping: AxisMapping, target: NDArray[np.float64]) -> AxisTable:
    """Return a table of weights, made block by block: to weigh takes several times the result."""
    weigh = _shares if mapping.by_extent else _weighed
    rows = max(1, KEPT_TAPS // mapping.taps)
    if len(target) <= rows:
        return AxisTable("weights", *weigh(mapping, target))
    taps = weigh(mapping, target[:1])[1].shape[1]
    table = AxisTable("weights", np.empty(len(target), np.int64), np.empty((len(target), taps)))
    for start in range(0, len(target), rows):
        part = slice(start, start + rows)
        table.index[part], table.weight[part] = weigh(mapping, target[part])
    return table


def _covered(
    mapping: AxisMapping, target: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the half-open ranges of the voxels that targets cover; beyond is the edge voxel."""
    low, high = _extent(mapping, target)
    first = np.clip(np.floor(low), 0, mapping.source_size - 1).astype(np.int64)
    stop = np.clip(np.ceil(high), first + 1, mapping.source_size).astype(np.int64)
    return first, stop


def _shares(
    mapping: AxisMapping, target: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the first voxel of targets, and the shares of what their extents cover."""
    first, _ = _covered(mapping, target)
    low, high = (end[:, None] for end in _extent(mapping, target))
    high = np.minimum(high, mapping.source_size)
    tap = first[:, None] + np.arange(mapping.taps, dtype=np.int64)
    share = np.maximum(np.minimum(high, tap + 1) - np.maximum(low, tap), 0.0)
    share[~share.any(axis=1), 0] = 1.0
    # One after the other, as below.
    return first, share / np.cumsum(share, axis=1)[:, -1:]


def _weighed(
    mapping: AxisMapping, target: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the first voxel and the weights of targets; rows do not depend on each other."""
    kernel = METHODS[mapping.method].weight
    assert kernel is not None
    window = _Window.of(mapping, edge_distance(mapping, target))
    taps = window.taps
    tap = window.first[:, None] + np.arange(taps, dtype=np.int64)
    distance = np.abs(tap - window.centre[:, None])
    covered = window.covered(tap, mapping.fuzz)
    if window.last is not None:
        # A window that lies wholly beyond the image takes its edge voxel, which is the first tap.
        covered[~covered.any(axis=1), 0] = True
    single = covered.sum(axis=1, keepdims=True) == 1
    raw = np.where(covered, np.where(single, 1.0, kernel(distance, mapping.scale)), 0.0)
    if window.last is None:
        index, weight = _held(tap, raw, mapping.source_size)
    else:
        index, weight = window.first, raw + 0.0
    # One after the other: the order of a NumPy sum may depend on the number of rows.
    total = np.cumsum(weight, axis=1)[:, -1]
    # A table begins with the first voxel that has a weight: the only one, where a voxel is hit.
    lead = np.argmax(weight != 0, axis=1)
    place = np.arange(taps) + lead[:, None]
    begun = np.take_along_axis(weight, np.minimum(place, taps - 1), axis=1)
    return index + lead, np.where(place < taps, begun, 0.0) / total[:, None]


def _held(
    tap: NDArray[np.int64], raw: NDArray[np.float64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return first voxels and weights where voxels beyond the image are its edge voxel again."""
    held = np.clip(tap, 0, size - 1)
    index, rows, weight = held[:, 0], np.arange(len(tap)), np.zeros_like(raw)
    for k in range(tap.shape[1]):
        weight[rows, held[:, k] - index] += raw[:, k]
    return index, weight


def rebased(table: AxisTable, start: int) -> AxisTable:
    """Return the table with indices counted from source voxel `start`."""
    return replace(table, index=table.index - start)


def read_range(table: AxisTable) -> tuple[int, int]:
    """Return the half-open range of source voxels that a table reads.

    Examples
    --------
    >>> read_range(AxisTable("lerp", np.array([2, 3]), np.array([0.5, 0.0])))
    (2, 4)
    """
    return int(table.index.min()), int(_stops(table).max())


def _stops(table: AxisTable) -> NDArray[np.int64]:
    """Return the voxel after the last one that each target reads."""
    taps = np.ones(len(table.index), np.int64)
    if table.kind == "lerp":
        taps += table.weight != 0
    elif table.kind == "weights":
        taps = table.weight.shape[1] - np.argmax(table.weight[:, ::-1] != 0, axis=1)
    elif table.kind == "cells":
        taps = table.weight.astype(np.int64)
    return table.index + taps


def source_ranges(
    mapping: AxisMapping, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the half-open ranges of source voxels that ranges of targets read.

    Parameters
    ----------
    mapping : AxisMapping
    start, stop : ndarray of int64, shape (n,)
        Half-open ranges of target indices.

    Examples
    --------
    >>> m = AxisMapping(source_size=10, target_size=20, step=0.5, offset=0.0, fuzz=0.0,
    ...                 method="linear")
    >>> first, stop = source_ranges(m, np.array([4]), np.array([8]))
    >>> int(first[0]), int(stop[0])
    (1, 5)
    """
    begin, end = start.astype(np.float64), stop.astype(np.float64) - 1
    if mapping.by_extent:
        return _covered(mapping, begin)[0], _covered(mapping, end)[1]
    if mapping.kind != "weights":
        return _table_at(mapping, begin).index, _stops(_table_at(mapping, end))
    # By windows: a target that hits a voxel reads less than the targets around it.
    limit = mapping.source_size - 1
    first = _Window.of(mapping, edge_distance(mapping, begin)).first
    last = _Window.of(mapping, edge_distance(mapping, end)).last_covered(mapping.fuzz)
    return np.clip(first, 0, limit), np.clip(last, 0, limit) + 1


def source_box(mapping: tuple[AxisMapping, ...], target: Box) -> Box:
    """Return the source box, halo included, that a target box reads."""
    ranges = [
        _source_range(m, a, b) for m, a, b in zip(mapping, target.start, target.stop, strict=True)
    ]
    return Box(start=tuple(a for a, _ in ranges), stop=tuple(b for _, b in ranges))


@functools.lru_cache(maxsize=1024)
def _source_range(mapping: AxisMapping, start: int, stop: int) -> tuple[int, int]:
    first, last = source_ranges(mapping, np.array([start]), np.array([stop]))
    return int(first[0]), int(last[0])
