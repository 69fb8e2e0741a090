"""What a panel shows of an image: a plane of it, in the unit of the picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkscale.geometry.box import Box, cell_counts, whole
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import METRES

#: An interval along an axis, in the unit of the picture.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A rectangle of an image, and the pixels that it gets.

    Parameters
    ----------
    row, column : int
        Axes of the grid that go down and to the right.
    across : int or None
        The axis that is cut or looked along; None in an image of two axes.
    rows, columns : (float, float)
        What is shown along them.
    height, width : int
        Pixels.
    depth : float or None
        Where the slice lies; None for all that lies behind one another.
    """

    row: int
    column: int
    across: int | None
    rows: Span
    columns: Span
    height: int
    width: int
    depth: float | None = None


def picture_unit(grid: VoxelGrid) -> str | None:
    """Return the unit of a picture: that of the last axis of its first image."""
    return grid.axes[grid.spatial[-1]].unit


def in_unit(grid: VoxelGrid, unit: str | None) -> VoxelGrid:
    """Return a grid with all spatial axes in one unit; unknown units are taken as that one.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> one = VoxelGrid(axes=(Axis(name="x", unit="nanometer"),), shape=(4,), voxel_size=(500.0,))
    >>> in_unit(one, "micrometer").voxel_size
    (0.5,)
    """
    spacing, origin = list(grid.voxel_size), list(grid.translation)
    for i in grid.spatial:
        ours = grid.axes[i].unit
        if ours in METRES and unit in METRES:
            factor = METRES[ours] / METRES[unit]
            spacing[i], origin[i] = spacing[i] * factor, origin[i] * factor
    return grid.replace(voxel_size=tuple(spacing), translation=tuple(origin))


def display_axes(grid: VoxelGrid) -> tuple[int, ...]:
    """Return the spatial axes in the order z, y, x, or as they are listed; no single plane's z.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> axes = tuple(Axis(name=name) for name in "xyz")
    >>> display_axes(VoxelGrid(axes=axes, shape=(5, 6, 7), voxel_size=(1.0,) * 3))
    (2, 1, 0)
    >>> display_axes(VoxelGrid(axes=axes, shape=(5, 6, 1), voxel_size=(1.0,) * 3))
    (1, 0)
    """
    names = {i: grid.axes[i].name for i in grid.spatial}
    order = list(grid.spatial)
    if set(names.values()) <= set("zyx"):
        order.sort(key=lambda i: "zyx".index(names[i]))
    if len(order) == 3 and grid.shape[order[0]] == 1:
        del order[0]
    return tuple(order)


def slice_index(grid: VoxelGrid, axis: int, place: float) -> int:
    """Return the voxel that a place lies in, or the nearest one."""
    index = math.floor((place - grid.extent(axis)[0]) / grid.voxel_size[axis] + 1e-9)
    return min(max(index, 0), grid.shape[axis] - 1)


def view_box(grid: VoxelGrid, part: Box, view: View) -> Box:
    """Return the voxels that a view needs of the part of a grid that is shown."""
    start, stop = list(part.start), list(part.stop)
    for axis, (low, high) in ((view.row, view.rows), (view.column, view.columns)):
        origin, size = grid.extent(axis)[0], grid.voxel_size[axis]
        first = math.floor((low - origin) / size + 1e-6)
        last = math.ceil((high - origin) / size - 1e-6)
        start[axis] = min(max(first, part.start[axis]), part.stop[axis] - 1)
        stop[axis] = max(min(last, part.stop[axis]), start[axis] + 1)
    if view.across is not None and view.depth is not None:
        index = slice_index(grid, view.across, view.depth)
        index = min(max(index, part.start[view.across]), part.stop[view.across] - 1)
        start[view.across], stop[view.across] = index, index + 1
    return Box(start=tuple(start), stop=tuple(stop))


def decoded_voxels(box: Box, chunk: Sequence[int], shape: Sequence[int]) -> int:
    """Return how many voxels are decoded to read a box.

    Examples
    --------
    >>> decoded_voxels(Box(start=(5, 0), stop=(6, 100)), (10, 10), (20, 100))
    1000
    """
    return box.coarsened(chunk).refined(chunk).clipped(whole(shape)).size


def tiles(box: Box, chunk: Sequence[int], most: int) -> Iterator[Box]:
    """Yield parts of a box that are whole chunks, of so many voxels or a chunk; later axes first.

    Examples
    --------
    >>> [str(tile) for tile in tiles(Box(start=(0, 0), stop=(4, 10)), (2, 4), 16)]
    ['[0:2, 0:8]', '[0:2, 8:10]', '[2:4, 0:8]', '[2:4, 8:10]']
    """
    size = [max(1, min(c, b)) for c, b in zip(chunk, box.stop, strict=True)]
    counts = box.coarsened(size)
    for axis in reversed(range(len(size))):
        room = max(1, most // math.prod(size))
        needed = counts.stop[axis] - counts.start[axis]
        # One more, as the first may begin before the box.
        size[axis] *= min(room, needed + 1)
    grid = box.coarsened(size)
    for position in itertools.product(*map(range, grid.start, grid.stop)):
        cell = Box(start=position, stop=tuple(p + 1 for p in position))
        yield cell.refined(size).clipped(box)


def bin_edges(first: int, stop: int, factor: int, grid: VoxelGrid, axis: int) -> list[float]:
    """Return where bins of so many voxels begin and end; the last one may be smaller."""
    origin, size = grid.extent(axis)[0], grid.voxel_size[axis]
    (count,) = cell_counts((stop - first,), (factor,))
    places = [min(first + k * factor, stop) for k in range(count + 1)]
    return [origin + place * size for place in places]
