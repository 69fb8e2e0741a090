"""The global coordinate mapping: where a target voxel lies in the source.

Everything is computed per axis in float64 from *global* target indices, so
that any way to cut the target into regions finds the same numbers. A region
takes its part of a table and subtracts the start of its source box as an
integer; an offset that is re-based in floating point would make seams.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import GridError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.methods import METHODS, PICK, Kind, find_method

_EPS = 2.0**-52


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisMapping:
    """Target index to source index along one axis.

    The centre of target voxel ``i`` lies at the continuous source index
    ``(i + start + 0.5) * step + offset - 0.5``.

    Parameters
    ----------
    source_size, target_size : int
        Voxels on either side.
    step : float
        Target over source voxel size.
    offset : float
        Distance of the first outer edges in source voxels; 0 if they coincide, or if so many
        target voxels lie between them.
    start : int
        Number of these target voxels. What is cut out of a target grid has the very numbers of
        the whole.
    fuzz : float
        Rounding error of the formula. A coordinate that close to a voxel
        centre, or to the middle between two, is taken to be there.
    method : str
        A name in `METHODS`.
    scale : float
        Factor by which the method's kernel is widened: the step where it is antialiased.
    """

    source_size: int
    target_size: int
    step: float
    offset: float
    fuzz: float
    method: str
    scale: float = 1.0
    start: int = 0

    @property
    def kind(self) -> Kind:
        """Which table it makes."""
        if self.scale > 1.0:
            return "weights"
        kind = METHODS[self.method].kind
        # Cells that are wider than a voxel by more than rounding have one each, and share none.
        return "pick" if kind == "cells" and self.step - 1.0 <= 4 * self.fuzz else kind

    @property
    def taps(self) -> int:
        """Source voxels that a target reads at most."""
        if self.kind == "weights":
            return math.ceil(2 * METHODS[self.method].support * self.scale) + 1
        if self.kind == "cells":
            return min(math.ceil(self.step) + 1, self.source_size)
        return 2 if self.kind == "lerp" else 1


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
    """

    kind: Kind
    index: NDArray[np.int64]
    weight: NDArray[np.float64]


def grid_mapping(
    source: VoxelGrid, target: VoxelGrid, *, method: str, antialias: bool = False
) -> tuple[AxisMapping, ...]:
    """Return the mapping of every axis from one grid to another.

    Parameters
    ----------
    source, target : VoxelGrid
        Same axes in the same order and units. Non-spatial axes must have the
        same size; they are passed through.
    method : str
        A name in `METHODS`.
    antialias : bool
        Widen the method's kernel by the step along axes that shrink.
    """
    chosen = find_method(method)
    widened = antialias and chosen.weight is not None
    spatial = set(source.spatial)
    mappings = []
    for i, axis in enumerate(source.axes):
        n_in, n_out = source.shape[i], target.shape[i]
        if i not in spatial:
            if n_in != n_out:
                raise GridError(
                    f"axis {axis.name!r} is not spatial and cannot change its size "
                    f"from {n_in} to {n_out}"
                )
            mappings.append(_identity(n_in))
            continue
        s_in, s_out = source.voxel_size[i], target.voxel_size[i]
        edge_in = source.translation[i] - s_in / 2
        edge_out = target.translation[i] - s_out / 2
        step, offset = s_out / s_in, (edge_out - edge_in) / s_in
        magnitude = max(abs(source.translation[i]), abs(target.translation[i]), s_in, s_out) / s_in
        start = round(offset / step) if abs(offset / step) < 2**48 else 0
        if abs(offset - start * step) <= 16 * _EPS * magnitude:
            offset, magnitude = 0.0, 1.0
        else:
            start = 0
        # The same for a grid and what is cut out of it, as long as that lies within the source.
        reach = max(1.0, n_in + step, max(-start, start + n_out) * step, magnitude)
        fuzz = 16 * _EPS * reach
        # A sum of weights that only ever has one term needs no halo.
        hits = abs(step - 1.0) * max(n_in, start + n_out) + abs(offset - round(offset)) <= fuzz
        passes = hits and chosen.kind == "weights"
        mappings.append(
            AxisMapping(
                source_size=n_in,
                target_size=n_out,
                step=step,
                offset=offset,
                fuzz=fuzz,
                method=PICK.name if passes else method,
                scale=step if widened and step > 1.0 and not passes else 1.0,
                start=start,
            )
        )
    return tuple(mappings)


def _identity(size: int) -> AxisMapping:
    return AxisMapping(
        source_size=size, target_size=size, step=1.0, offset=0.0, fuzz=0.0, method=PICK.name
    )


def _edge_distance(mapping: AxisMapping, index: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the distance of target centres from the source's outer edge, in source voxels.

    Voxel centres are at halves and voxel borders at integers; both are
    settled here, once for all methods.
    """
    # The sum of whole numbers and a half is exact.
    centre = (np.asarray(index, np.float64) + mapping.start + 0.5) * mapping.step + mapping.offset
    half = np.rint(centre * 2.0) * 0.5
    return np.where(np.abs(centre - half) <= mapping.fuzz, half, centre)


def inside_range(mapping: AxisMapping) -> tuple[int, int]:
    """Return the half-open range of target indices within the source's extent.

    The outer edges belong to the extent.

    Examples
    --------
    >>> m = AxisMapping(source_size=4, target_size=10, step=1.0, offset=-3.0, fuzz=0.0,
    ...                 method="linear")
    >>> inside_range(m)
    (3, 7)
    """

    def first(limit: float, closed: bool) -> int:
        # The formula is monotonic; start a little below the algebraic answer.
        i = math.floor((limit - mapping.offset) / mapping.step - 0.5) - mapping.start - 2
        i = min(max(i, 0), mapping.target_size)
        while i < mapping.target_size:
            centre = float(_edge_distance(mapping, float(i)))
            if centre > limit or (closed and centre == limit):
                break
            i += 1
        return i

    start = first(0.0, closed=True)
    return start, max(start, first(float(mapping.source_size), closed=False))


@functools.lru_cache(maxsize=32)
def axis_table(mapping: AxisMapping, start: int, stop: int) -> AxisTable:
    """Return the table of targets ``start <= i < stop``, in global source indices.

    Regions in a row share tables: the last ones are kept, and cannot be written to.

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
    image alone, and its edge voxel if there is none.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis, VoxelGrid
    >>> x = (Axis(name="x"),)
    >>> coarse = VoxelGrid(axes=x, shape=(2,), voxel_size=(1.0,))
    >>> fine = VoxelGrid(axes=x, shape=(4,), voxel_size=(0.5,), translation=(-0.25,))
    >>> (m,) = grid_mapping(coarse, fine, method="linear")
    >>> table = axis_table(m, 0, 4)
    >>> table.index.tolist(), table.weight.tolist()
    ([0, 0, 0, 1], [0.0, 0.25, 0.75, 0.0])
    """
    table = _table_at(mapping, np.arange(start, stop, dtype=np.float64))
    table.index.flags.writeable = table.weight.flags.writeable = False
    return table


def _table_at(mapping: AxisMapping, target: NDArray[np.float64]) -> AxisTable:
    last = mapping.source_size - 1
    edge = _edge_distance(mapping, target)
    if mapping.kind == "pick":
        index = np.clip(np.floor(edge), 0, last).astype(np.int64)
        return AxisTable("pick", index, np.empty(0))
    if mapping.kind == "weights":
        return _weights_table(mapping, edge)
    if mapping.kind == "cells":
        begin, end = (np.ceil(_edge_distance(mapping, target + h) - 0.5) for h in (-0.5, 0.5))
        begin = np.clip(begin, 0, last)
        end = np.clip(end, begin + 1, mapping.source_size)
        return AxisTable("cells", begin.astype(np.int64), end - begin)
    centre = np.clip(edge - 0.5, 0.0, float(last))
    floor = np.floor(centre)
    return AxisTable("lerp", floor.astype(np.int64), centre - floor)


def _window(
    mapping: AxisMapping, edge: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the voxels around each target, their distances, and which of them its kernel covers.

    All have the shape (n, taps). A widened kernel is cut at the image's borders; one that is
    not reaches beyond them.
    """
    method, size = METHODS[mapping.method], mapping.source_size
    centre, reach, widened = edge - 0.5, method.support * mapping.scale, mapping.scale > 1.0
    if widened and method.lobes:
        # Farther out the weights of what a cut kernel still covers can add up to nothing.
        centre = np.clip(centre, -0.5, size - 0.5)
    first = np.floor(centre - reach + mapping.fuzz) + 1
    taps = math.ceil(2 * min(reach, float(size) if widened else reach)) + 1
    if widened:
        first, taps = np.clip(first, 0, size - 1), min(size, taps)
    tap = first.astype(np.int64)[:, None] + np.arange(taps, dtype=np.int64)
    distance = np.abs(tap - centre[:, None])
    covered = reach - distance > mapping.fuzz
    if widened:
        covered &= tap < size
        # A window that lies wholly beyond the image takes its edge voxel, which is the first tap.
        covered[~covered.any(axis=1), 0] = True
    return tap, distance, covered


def _weights_table(mapping: AxisMapping, edge: NDArray[np.float64]) -> AxisTable:
    kernel = METHODS[mapping.method].weight
    assert kernel is not None
    tap, distance, covered = _window(mapping, edge)
    single = covered.sum(axis=1, keepdims=True) == 1
    raw = np.where(covered, np.where(single, 1.0, kernel(distance, mapping.scale)), 0.0)
    # Voxels beyond the image are its edge voxel again.
    held = np.clip(tap, 0, mapping.source_size - 1)
    index, rows, taps = held[:, 0], np.arange(len(edge)), tap.shape[1]
    # Tap by tap: the order of a NumPy sum may depend on the number of rows.
    weight, total = np.zeros_like(raw), np.zeros(len(edge))
    for k in range(taps):
        weight[rows, held[:, k] - index] += raw[:, k]
    for k in range(taps):
        total += weight[:, k]
    # A table begins with the first voxel that has a weight: the only one, where a voxel is hit.
    lead = np.argmax(weight != 0, axis=1)
    place = np.arange(taps) + lead[:, None]
    begun = np.take_along_axis(weight, np.minimum(place, taps - 1), axis=1)
    return AxisTable("weights", index + lead, np.where(place < taps, begun, 0.0) / total[:, None])


def rebased(table: AxisTable, start: int) -> AxisTable:
    """Return the table with indices counted from source voxel `start`."""
    return AxisTable(table.kind, table.index - start, table.weight)


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
    if mapping.kind != "weights":
        return _table_at(mapping, begin).index, _stops(_table_at(mapping, end))
    # By windows: a target that hits a voxel reads less than the targets around it.
    limit = mapping.source_size - 1
    first = _window(mapping, _edge_distance(mapping, begin))[0][:, 0]
    tap, _, covered = _window(mapping, _edge_distance(mapping, end))
    last = tap[:, -1] - np.argmax(covered[:, ::-1], axis=1)
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
