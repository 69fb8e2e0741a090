"""Passes and regions: the boxes that tasks read and own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chunkscale.geometry.box import Box, cell_counts, tile
from chunkscale.geometry.pyramid import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Regions that may run in any order, each of which writes the same levels.

    Parameters
    ----------
    reads : int or None
        The stored level that is read; None for the source image.
    first, last : int
        The levels that are written.
    shape : tuple of int
        Shape of level `first`.
    region_shape : tuple of int
        Voxels of level `first` per region; whole stored objects at every
        level written.
    slab : int
        Planes of level `first` that a region makes and writes at a time: whole
        stored objects there.
    order : tuple of int
        Axes from slowest to fastest in the numbering of regions.
    start : int
        Number of the first region.
    """

    reads: int | None
    first: int
    last: int
    shape: tuple[int, ...]
    region_shape: tuple[int, ...]
    slab: int
    order: tuple[int, ...]
    start: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Regions per axis."""
        return cell_counts(self.shape, self.region_shape)

    @property
    def region_count(self) -> int:
        """Number of regions."""
        return math.prod(self.counts)

    @property
    def indices(self) -> range:
        """Numbers of the regions."""
        return range(self.start, self.start + self.region_count)

    def number(self, position: Sequence[int]) -> int:
        """Return the number of the region at a position of the grid of regions."""
        index, counts = 0, self.counts
        for axis in self.order:
            index = index * counts[axis] + position[axis]
        return self.start + index

    def box(self, index: int) -> Box:
        """Return the box of level `first` that region `index` owns."""
        position, rest = [0] * len(self.shape), index - self.start
        for axis in reversed(self.order):
            rest, position[axis] = divmod(rest, self.counts[axis])
        return tile(position, self.region_shape, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One task: the boxes that it reads and owns.

    Parameters
    ----------
    index : int
    reads : int or None
        The stored level that is read; None for the source image.
    source_box : Box
        In voxels of what is read, halo included.
    boxes : tuple of (int, Box)
        Levels that are written, finest first, with the box owned in each.
    """

    index: int
    reads: int | None
    source_box: Box
    boxes: tuple[tuple[int, Box], ...]


def check_alignment(run: Pass, first: Level, level: Level) -> None:
    """Prove that two regions never touch one stored object of `level`."""
    for axis, (region, unit) in enumerate(zip(run.region_shape, level.write_unit, strict=True)):
        ratio = level.factors[axis] // first.factors[axis]
        alone = run.counts[axis] == 1
        if not alone and (region % ratio or (region // ratio) % unit):
            raise AssertionError(
                f"regions of {region} along axis {axis} do not own whole stored objects of "
                f"{unit} at level {level.path}"
            )
