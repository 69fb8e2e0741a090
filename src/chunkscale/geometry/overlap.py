"""Whether two grids lie at the same place."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chunkscale.errors import GridError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import symbol

#: Below this part of a target that lies in the source, one of the two is likely to be misplaced.
LITTLE = 0.1

#: Of a voxel: by less than this grids touch, for their positions are rounded.
_TOUCH = 1e-6


def extent_text(grid: VoxelGrid) -> str:
    """Return where a grid begins and ends along its spatial axes, with its units."""
    parts, units = [], []
    for i in grid.spatial:
        low, high = grid.extent(i)
        parts.append(f"{grid.axes[i].name} {low:.9g} to {high:.9g}")
        units.append(symbol(grid.axes[i].unit) or "(no unit)")
    if len(set(units)) == 1:
        return f"{', '.join(parts)} {units[0]}"
    return ", ".join(f"{part} {unit}" for part, unit in zip(parts, units, strict=True))


def check_overlap(source: VoxelGrid, target: VoxelGrid) -> None:
    """Refuse a target of which nothing lies in the source; both in the same units.

    Axes are matched by name: other axes may lie before them.

    Raises
    ------
    GridError
        With both extents. Grids that touch do not overlap.
    """
    apart = []
    for i in source.spatial:
        j = target.position(source.axes[i].name)
        (a, b), (c, d) = source.extent(i), target.extent(j)
        if min(b, d) - max(a, c) <= _TOUCH * min(source.voxel_size[i], target.voxel_size[j]):
            apart.append(source.axes[i].name)
    if apart:
        raise GridError(
            f"the source and the grid to match (like) do not overlap along {', '.join(apart)}: the "
            f"source spans {extent_text(source)}, and the target {extent_text(target)}; correct "
            "the translation of one of them, or give a voxel size instead of like"
        )


def strange_match(
    given: VoxelGrid, source: VoxelGrid, other: VoxelGrid
) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for what speaks against a target that is given whole.

    Parameters
    ----------
    given : VoxelGrid
        The source as it was opened.
    source, other : VoxelGrid
        It in the units of the target, and the image to match.
    """
    bare = []
    for i in given.spatial:
        axis = given.axes[i]
        unit = other.axes[other.position(axis.name)].unit
        if (axis.unit is None) != (unit is None):
            bare.append(f"{axis.name} ({axis.unit or 'none'} here, {unit or 'none'} there)")
    if bare:
        yield (
            "unit",
            f"source and grid to match do not both have a unit along {', '.join(bare)}; they "
            "are assumed to have the same one",
        )
    covered = 1.0
    for i in source.spatial:
        j = other.position(source.axes[i].name)
        low, high = source.extent(i)
        size, origin, count = other.voxel_size[j], other.translation[j], other.shape[j]
        first = max(0, math.ceil((low - origin) / size - _TOUCH))
        last = min(count - 1, math.floor((high - origin) / size + _TOUCH))
        covered *= max(0, last - first + 1) / count
    if covered < LITTLE:
        yield (
            "overlap",
            f"only {covered:.2g} of the target lies in the source, which spans "
            f"{extent_text(source)}, and the target {extent_text(other)}; the rest has the voxels "
            "at the source's border, or what outside says",
        )
