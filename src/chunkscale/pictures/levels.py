"""Which stored level a view is read from: the coarsest that suffices for its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid, covering_box
from chunkscale.pictures.views import View, decoded_voxels, in_unit, view_box
from chunkscale.sources.base import Source, Voxels
from chunkscale.sources.coarser import agreeing_levels

#: So many voxels are decoded for a view where a coarser level makes that possible: a few seconds.
MOST_DECODED = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stored level of what is shown.

    Parameters
    ----------
    number : int
        0 is the finest.
    array : Voxels
    grid : VoxelGrid
        Of `array`, in the unit of the picture.
    part : Box
        What is shown of it.
    """

    number: int
    array: Voxels
    grid: VoxelGrid
    part: Box


def stored_levels(source: Source, unit: str | None) -> tuple[Stored, ...]:
    """Return the levels that a source can be read from, the finest first."""
    return tuple(
        Stored(
            number=number,
            array=found.array,
            grid=in_unit(found.array_grid, unit),
            part=covering_box(found.array_grid, source.grid),
        )
        for number, found in agreeing_levels(source)
    )


def sufficient_level(levels: Sequence[Stored], view: View) -> Stored:
    """Return the level to read for a view: voxels no larger than its pixels, or than level 0's.

    Where that would decode more than `MOST_DECODED` voxels a coarser one is taken.
    """
    finest = levels[0].grid.voxel_size
    pixels = {
        view.row: (view.rows[1] - view.rows[0]) / view.height,
        view.column: (view.columns[1] - view.columns[0]) / view.width,
    }
    if view.across is not None and view.depth is not None:
        pixels[view.across] = max(pixels.values())  # a slice shall stay thin
    best = 0
    for place, level in enumerate(levels):
        sizes = level.grid.voxel_size
        if all(sizes[i] <= max(p, finest[i]) * (1 + 1e-6) for i, p in pixels.items()):
            best = place
    while best + 1 < len(levels) and _cost(levels[best], view) > MOST_DECODED:
        best += 1
    return levels[best]


def _cost(level: Stored, view: View) -> int:
    box = view_box(level.grid, level.part, view)
    return decoded_voxels(box, level.array.chunk, level.array.shape)
