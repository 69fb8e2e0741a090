"""The levels of a multiscale image: shapes, voxel sizes, positions, chunks and shards.

Level ``k`` is made from level ``k - 1``: cells of two voxels per spatial axis, or per
those axes that the pyramid's rule names, become one. A cell at an odd end holds one voxel,
so sizes round up, and an axis of one voxel stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chunkscale.geometry.box import cell_counts
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.units import in_one_unit


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

    def __repr__(self) -> str:
        shard = "" if self.shard is None else f", shard {self.shard}"
        return f"<Level {self.path!r}: {self.grid!r}, chunk {self.chunk}{shard}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return self.grid.shape

    @property
    def write_unit(self) -> tuple[int, ...]:
        """Shape of one stored object: the shard, or the chunk."""
        return self.shard or self.chunk


#: Which axes are halved from level to level: those whose voxels are less than twice as large as
#: the smallest, so that voxels become isotropic; all; all but z; or none, as there is one level.
PyramidRule = Literal["auto", "all", "keep-z", "none"]

RULES: tuple[PyramidRule, ...] = get_args(PyramidRule)


def halved(grid: VoxelGrid, rule: PyramidRule = "auto") -> tuple[int, ...]:
    """Return by how much the next level shrinks each axis: 2, or 1 where it does not.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> zyx = tuple(Axis(name=n) for n in "zyx")
    >>> thick = VoxelGrid(axes=zyx, shape=(30, 512, 512), voxel_size=(1.0, 0.3, 0.3))
    >>> halved(thick), halved(thick, "all")
    ((1, 2, 2), (2, 2, 2))
    """
    able = {i for i in grid.spatial if grid.shape[i] > 1}
    if rule == "none":
        able = set()
    elif rule == "keep-z":
        able = {i for i in able if grid.axes[i].name != "z"}
    elif rule == "auto" and able:
        # Decimal numbers that are twice as large are so within their rounding.
        units = [grid.axes[i].unit for i in grid.spatial]
        alike = in_one_unit([grid.voxel_size[i] for i in grid.spatial], units)
        sizes = dict(zip(grid.spatial, alike, strict=True))
        limit = min(sizes[i] for i in able) * 2 * (1 - 1e-9)
        able = {i for i in able if sizes[i] < limit}
    return tuple(2 if i in able else 1 for i in range(grid.ndim))


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


def halving(size: int, factor: int, method: str) -> AxisMapping:
    """Return the mapping from cells of `factor` voxels of an axis to one voxel each.

    Examples
    --------
    >>> from chunkscale.geometry.tables import axis_table
    >>> m = halving(5, 2, "nearest")
    >>> axis_table(m, 0, m.target_size).index.tolist()
    [1, 3, 4]
    """
    return AxisMapping(
        source_size=size,
        target_size=-(-size // factor),
        step=float(factor),
        offset=0.0,
        fuzz=0.0,
        method=method,
    )


def level_factors(
    grid: VoxelGrid, rule: PyramidRule = "auto", chunk: tuple[int, ...] | None = None
) -> list[tuple[int, ...]]:
    """Return the voxels of level 0 per voxel of each level, per axis.

    As many levels as it takes until the last one fits into one `chunk`, or else until no axis
    can be halved.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> yx = (Axis(name="y"), Axis(name="x"))
    >>> level_factors(VoxelGrid(axes=yx, shape=(100, 40), voxel_size=(1.0, 1.0)), "all", (32, 32))
    [(1, 1), (2, 2), (4, 4)]
    """
    found = [(1,) * grid.ndim]
    fitting = [i for i in grid.spatial if rule != "keep-z" or grid.axes[i].name != "z"]
    while True:
        level = level_grid(grid, found[-1])
        step = halved(level, rule)
        if 2 not in step or (chunk and all(level.shape[i] <= chunk[i] for i in fitting)):
            return found
        found.append(tuple(a * b for a, b in zip(found[-1], step, strict=True)))


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


def pyramid(
    grid: VoxelGrid, factors: Sequence[tuple[int, ...]], layouts: Mapping[int, Layout]
) -> tuple[Level, ...]:
    """Return the levels of an image whose level 0 has that grid.

    Parameters
    ----------
    grid : VoxelGrid
        Grid of level 0.
    factors : sequence of tuple of int
        Voxels of level 0 per voxel of each level; see `level_factors`.
    layouts : mapping of int to Layout
        By the first level that it holds for; there is one for level 0.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> zyx = tuple(Axis(name=n) for n in "zyx")
    >>> iso = VoxelGrid(axes=zyx, shape=(320, 512, 512), voxel_size=(0.2, 0.2, 0.2))
    >>> layout = Layout(chunk=(64, 64, 64), shard=(256, 256, 256))
    >>> for level in pyramid(iso, level_factors(iso)[:3], {0: layout}):
    ...     print(level.path, level.shape, level.chunk, level.shard)
    0 (320, 512, 512) (64, 64, 64) (256, 256, 256)
    1 (160, 256, 256) (64, 64, 64) (128, 128, 128)
    2 (80, 128, 128) (64, 64, 64) None
    """
    levels = []
    for k, merged in enumerate(factors):
        current = level_grid(grid, merged)
        if k in layouts:
            layout, origin = layouts[k], merged
        relative = tuple(a // b for a, b in zip(merged, origin, strict=True))
        chunk, shard = _stored_shape(current.shape, relative, layout)
        levels.append(Level(path=str(k), grid=current, factors=merged, chunk=chunk, shard=shard))
    return tuple(levels)
