"""The levels of a multiscale image: shapes, voxel sizes, positions, chunks and shards.

Level ``k`` is made from level ``k - 1`` by means over cells of two voxels per
spatial axis. A cell at an odd end holds one voxel, so sizes round up, and an
axis of one voxel stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chunkscale.geometry.box import cell_counts
from chunkscale.geometry.grid import VoxelGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a level is stored, and the levels that are made together with it.

    Parameters
    ----------
    chunk : tuple of int
        Inner chunk, the same at every level (cut to the level's shape).
    shard : tuple of int, optional
        Shard of the first of the levels, a multiple of `chunk`. It halves with
        the level as long as whole chunks remain.
    """

    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One stored resolution of an image.

    Parameters
    ----------
    path : str
        Path of the array inside the image's group.
    grid : VoxelGrid
    factors : tuple of int
        Voxels of level 0 per voxel of this level, per axis.
    chunk : tuple of int
    shard : tuple of int, optional
        None where chunks are stored one by one.
    """

    path: str
    grid: VoxelGrid
    factors: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return self.grid.shape

    @property
    def write_unit(self) -> tuple[int, ...]:
        """Shape of one stored object: the shard, or the chunk."""
        return self.shard or self.chunk


def halved(grid: VoxelGrid) -> tuple[int, ...]:
    """Return by how much the next level shrinks each axis: 2, or 1 where it cannot."""
    spatial = set(grid.spatial)
    return tuple(2 if i in spatial and n > 1 else 1 for i, n in enumerate(grid.shape))


def level_grid(grid: VoxelGrid, factors: tuple[int, ...]) -> VoxelGrid:
    """Return the grid whose voxels are cells of `factors` voxels of `grid`.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> fine = VoxelGrid(axes=(Axis(name="x"),), shape=(5,), voxel_size=(0.5,))
    >>> coarse = level_grid(fine, (4,))
    >>> coarse.shape, coarse.voxel_size, coarse.translation
    ((2,), (2.0,), (0.75,))
    """
    return grid.replace(
        shape=cell_counts(grid.shape, factors),
        voxel_size=tuple(s * f for s, f in zip(grid.voxel_size, factors, strict=True)),
        translation=tuple(
            t + (f - 1) / 2 * s
            for t, f, s in zip(grid.translation, factors, grid.voxel_size, strict=True)
        ),
    )


def level_count(grid: VoxelGrid, chunk: tuple[int, ...]) -> int:
    """Return how many levels it takes until the last one fits into one chunk."""
    count, factors = 1, (1,) * grid.ndim
    shape = grid.shape
    while any(shape[i] > chunk[i] for i in grid.spatial):
        step = halved(grid.replace(shape=shape))
        factors = tuple(a * b for a, b in zip(factors, step, strict=True))
        shape = cell_counts(grid.shape, factors)
        count += 1
    return count


def _stored_shape(
    shape: tuple[int, ...], factors: tuple[int, ...], layout: Layout
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    chunk = tuple(min(c, n) for c, n in zip(layout.chunk, shape, strict=True))
    if layout.shard is None:
        return chunk, None
    shard = []
    for size, factor, inner, outer, full in zip(
        shape, factors, chunk, layout.shard, layout.chunk, strict=True
    ):
        while factor > 1 and outer % (2 * full) == 0:
            outer, factor = outer // 2, factor // 2
        whole = -(-size // inner) * inner
        shard.append(min(outer, whole) if outer % inner == 0 else whole)
    return chunk, (tuple(shard) if tuple(shard) != chunk else None)


def pyramid(grid: VoxelGrid, *, count: int, layouts: Mapping[int, Layout]) -> tuple[Level, ...]:
    """Return the levels of an image whose level 0 has that grid.

    Parameters
    ----------
    grid : VoxelGrid
        Grid of level 0.
    count : int
        Number of levels, at least 1.
    layouts : mapping of int to Layout
        By the first level that it holds for; there is one for level 0.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> zyx = tuple(Axis(name=n) for n in "zyx")
    >>> iso = VoxelGrid(axes=zyx, shape=(320, 512, 512), voxel_size=(0.2, 0.2, 0.2))
    >>> layout = Layout(chunk=(64, 64, 64), shard=(256, 256, 256))
    >>> for level in pyramid(iso, count=3, layouts={0: layout}):
    ...     print(level.path, level.shape, level.chunk, level.shard)
    0 (320, 512, 512) (64, 64, 64) (256, 256, 256)
    1 (160, 256, 256) (64, 64, 64) (128, 128, 128)
    2 (80, 128, 128) (64, 64, 64) None
    """
    levels = []
    factors = (1,) * grid.ndim
    for k in range(count):
        current = level_grid(grid, factors)
        if k in layouts:
            layout, origin = layouts[k], factors
        relative = tuple(a // b for a, b in zip(factors, origin, strict=True))
        chunk, shard = _stored_shape(current.shape, relative, layout)
        levels.append(Level(path=str(k), grid=current, factors=factors, chunk=chunk, shard=shard))
        factors = tuple(a * b for a, b in zip(factors, halved(current), strict=True))
    return tuple(levels)
