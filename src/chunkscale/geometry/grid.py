"""Voxel grids: where the voxels of an image are in physical space.

A grid puts the *centre* of voxel ``i`` of an axis at
``translation + voxel_size * i`` (OME-NGFF); its outer edges are half a voxel
further out. No arrays and no files here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from chunkscale.errors import GridError
from chunkscale.geometry.box import Box
from chunkscale.geometry.units import METRES, symbol
from chunkscale.text import escaped, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of an image.

    Parameters
    ----------
    name : str
        ``"t"``, ``"c"``, ``"z"``, ``"y"``, ``"x"`` or any other name.
    kind : str
        The NGFF axis type: ``"space"``, ``"time"``, ``"channel"`` or a custom one.
    unit : str, optional
        As the metadata spells it.
    """

    name: str
    kind: str = "space"
    unit: str | None = None


#: Of voxel sizes, in any unit: their products and quotients are finite as well.
LARGEST = 1e100


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelGrid:
    """The sampling grid of one image: shape, voxel size and position.

    Parameters
    ----------
    axes : tuple of Axis
        Slowest first, as in the array.
    shape : tuple of int
        Voxels per axis.
    voxel_size : tuple of float
        Spacing of voxel centres per axis, in the unit of the axis.
    translation : tuple of float
        Physical position of the centre of voxel 0 per axis.

    Raises
    ------
    GridError
        If the lengths differ, a size is below 1, or a voxel size is not a
        positive finite number.

    Examples
    --------
    >>> grid = VoxelGrid(
    ...     axes=(Axis(name="z"), Axis(name="y"), Axis(name="x")),
    ...     shape=(86, 396, 393),
    ...     voxel_size=(1.0, 0.202, 0.202),
    ... )
    >>> grid.translation
    (0.0, 0.0, 0.0)
    """

    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    translation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.translation:
            object.__setattr__(self, "translation", (0.0,) * len(self.axes))
        n = len(self.axes)
        for label, values in (
            ("shape", self.shape),
            ("voxel size", self.voxel_size),
            ("translation", self.translation),
        ):
            if len(values) != n:
                raise GridError(
                    f"{label} {tuple(values)} has {len(values)} values for the {n} axes "
                    f"{self.names}; give one value per axis"
                )
        for axis, size, spacing, origin in zip(
            self.axes, self.shape, self.voxel_size, self.translation, strict=True
        ):
            if size < 1:
                raise GridError(
                    f"axis {axis.name!r} has {size} voxels; an image needs at least 1 along each "
                    "axis"
                )
            if not (math.isfinite(spacing) and spacing > 0):
                raise GridError(
                    f"voxel size {spacing!r} of axis {axis.name!r} must be a positive finite "
                    "number; correct the metadata, or give source_voxel_size "
                    "(--source-voxel-size)"
                )
            if not math.isfinite(origin):
                raise GridError(f"translation {origin!r} of axis {axis.name!r} is not finite")
            if not 1 / LARGEST <= spacing <= LARGEST:
                raise GridError(
                    f"voxel size {spacing!r} of axis {axis.name!r} must be between "
                    f"{1 / LARGEST:g} and {LARGEST:g}; correct it, or give it in another unit"
                )

    def __repr__(self) -> str:
        units = {self.axes[i].unit for i in self.spatial}
        unit = symbol(units.pop()) if len(units) == 1 else ""
        size, place = (
            ", ".join(map(number, values)) for values in (self.voxel_size, self.translation)
        )
        return escaped(
            f"<VoxelGrid {self.names} {self.shape}: voxel size ({size}){f' {unit}' * bool(unit)}, "
            f"translation ({place})>"
        )

    @property
    def names(self) -> str | tuple[str, ...]:
        """Axis names: one string if all are single letters, a tuple otherwise."""
        names = tuple(axis.name for axis in self.axes)
        return "".join(names) if all(len(n) == 1 for n in names) else names

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Positions of the axes that are resampled (those of kind ``"space"``)."""
        return tuple(i for i, axis in enumerate(self.axes) if axis.kind == "space")

    @property
    def channel_axis(self) -> int | None:
        """Position of the axis that is neither spatial nor time, whatever its kind is called."""
        kinds = enumerate(axis.kind for axis in self.axes)
        return next((i for i, kind in kinds if kind not in ("space", "time")), None)

    @property
    def time_axis(self) -> int | None:
        """Position of the time axis."""
        return next((i for i, axis in enumerate(self.axes) if axis.kind == "time"), None)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def extent(self, i: int) -> tuple[float, float]:
        """Return where an axis begins and ends: at the outer edges of its voxels.

        Examples
        --------
        >>> VoxelGrid(axes=(Axis(name="z"),), shape=(10,), voxel_size=(0.5,)).extent(0)
        (-0.25, 4.75)
        """
        low = self.translation[i] - self.voxel_size[i] / 2
        return low, low + self.shape[i] * self.voxel_size[i]

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, Any]:
        """Return the grid as JSON values."""
        return {
            "axes": [{"name": a.name, "type": a.kind, "unit": a.unit} for a in self.axes],
            "shape": list(self.shape),
            "voxel_size": list(self.voxel_size),
            "translation": list(self.translation),
        }

    def position(self, name: str) -> int:
        """Return the position of the axis called `name`."""
        for i, axis in enumerate(self.axes):
            if axis.name == name:
                return i
        raise GridError(f"there is no axis {name!r}; the axes are {self.names}")


def round_size(voxels: float) -> int:
    """Round a fractional number of voxels half up, to at least one.

    Halves are recognised with a relative tolerance of 1e-9, of a tenth of a voxel at most, because
    voxel sizes are decimal numbers that binary ones only approximate.

    Examples
    --------
    >>> round_size(396 * 0.202 / 1.0), round_size(0.2), round_size(2.4999999999999996)
    (80, 1, 3)
    >>> round_size(1e9)
    1000000000
    """
    return max(1, math.floor(voxels + 0.5 + min(1e-9 * max(1.0, voxels), 0.1)))


def resized_grid(source: VoxelGrid, voxel_size: Mapping[int, float]) -> VoxelGrid:
    """Return the grid that covers the extent of `source` with other voxels.

    The outer edges of the first voxels coincide, the voxel size is exactly the
    requested one, and the number of voxels is the extent over the voxel size,
    rounded half up. Axes without an entry stay as they are.

    Parameters
    ----------
    source : VoxelGrid
    voxel_size : mapping of int to float
        New voxel size by axis position, in the unit of that axis.

    Examples
    --------
    >>> zyx = tuple(Axis(name=n) for n in "zyx")
    >>> stack = VoxelGrid(axes=zyx, shape=(86, 396, 393), voxel_size=(1.0, 0.202, 0.202))
    >>> resized_grid(stack, {0: 1.0, 1: 1.0, 2: 1.0}).shape
    (86, 80, 79)
    >>> resized_grid(stack, {0: 0.5, 1: 0.5, 2: 0.5}).shape
    (172, 160, 159)
    """
    shape, spacing, origin = list(source.shape), list(source.voxel_size), list(source.translation)
    for i, target in voxel_size.items():
        if not (math.isfinite(target) and target > 0):
            raise GridError(
                f"target voxel size {target!r} of axis {source.axes[i].name!r} is not a "
                "positive finite number"
            )
        voxels = source.shape[i] * (source.voxel_size[i] / target)
        if voxels > 2**48:
            raise GridError(
                f"voxel size {target!r} gives {voxels:.3g} voxels along axis "
                f"{source.axes[i].name!r}, more than can be stored; choose a larger one"
            )
        shape[i] = round_size(voxels)
        spacing[i] = float(target)
        origin[i] = source.translation[i] + (target - source.voxel_size[i]) / 2
    return source.replace(shape=tuple(shape), voxel_size=tuple(spacing), translation=tuple(origin))


def reshaped_grid(source: VoxelGrid, shape: Mapping[int, int]) -> VoxelGrid:
    """Return the grid that covers the extent of `source` with so many voxels.

    The outer edges of both grids coincide. Axes without an entry stay as they are.

    Parameters
    ----------
    source : VoxelGrid
    shape : mapping of int to int
        New number of voxels by axis position.

    Examples
    --------
    >>> stack = VoxelGrid(axes=(Axis(name="z"),), shape=(10,), voxel_size=(1.0,))
    >>> reshaped_grid(stack, {0: 4}).voxel_size, reshaped_grid(stack, {0: 4}).translation
    ((2.5,), (0.75,))
    """
    counts, spacing, origin = list(source.shape), list(source.voxel_size), list(source.translation)
    for i, count in shape.items():
        counts[i] = count
        spacing[i] = source.shape[i] * source.voxel_size[i] / count
        origin[i] = source.translation[i] + (spacing[i] - source.voxel_size[i]) / 2
    return source.replace(shape=tuple(counts), voxel_size=tuple(spacing), translation=tuple(origin))


def cut_grid(grid: VoxelGrid, box: Box) -> VoxelGrid:
    """Return the grid of the voxels in a box.

    Examples
    --------
    >>> stack = VoxelGrid(axes=(Axis(name="z"),), shape=(10,), voxel_size=(0.5,))
    >>> cut_grid(stack, Box(start=(4,), stop=(10,))).translation
    (2.0,)
    """
    origin = (
        t + a * s for t, a, s in zip(grid.translation, box.start, grid.voxel_size, strict=True)
    )
    return grid.replace(shape=box.shape, translation=tuple(origin))


def covering_box(grid: VoxelGrid, part: VoxelGrid) -> Box:
    """Return the box of the voxels of a grid that lie in the extent of another, more or less.

    The voxel is in it whose outer edges lie within half a voxel of those of `part`; there is one
    at least along each axis. Axes that are not spatial are taken whole.

    Examples
    --------
    >>> fine = VoxelGrid(axes=(Axis(name="x"),), shape=(100,), voxel_size=(0.1,))
    >>> part = VoxelGrid(axes=(Axis(name="x"),), shape=(3,), voxel_size=(1.0,), translation=(2.45,))
    >>> print(covering_box(fine, part))
    [20:50]
    """
    start, stop = [0] * grid.ndim, list(grid.shape)
    for i in grid.spatial:
        size = grid.voxel_size[i]
        edge = part.extent(i)[0] - grid.extent(i)[0]
        first, last = (
            math.floor(x / size + 0.5 + 1e-9 * max(1.0, abs(x / size)))
            for x in (edge, edge + part.shape[i] * part.voxel_size[i])
        )
        start[i] = min(max(first, 0), grid.shape[i] - 1)
        stop[i] = min(max(last, start[i] + 1), grid.shape[i])
    return Box(start=tuple(start), stop=tuple(stop))


def _conversion(axis: Axis, other: Axis) -> float:
    """Return how many units of `other` make one unit of `axis`."""
    if axis.unit == other.unit or axis.unit is None or other.unit is None:
        return 1.0
    if axis.unit not in METRES or other.unit not in METRES:
        raise GridError(
            f"axis {axis.name!r} has the unit {axis.unit!r} here and {other.unit!r} in the image "
            "to match, which cannot be converted; correct one of them"
        )
    return METRES[axis.unit] / METRES[other.unit]


def aligned_grid(source: VoxelGrid, other: VoxelGrid) -> VoxelGrid:
    """Return `source` in the units of `other` (spatial axes, matched by name)."""
    axes, spacing, origin = list(source.axes), list(source.voxel_size), list(source.translation)
    for i in source.spatial:
        reference = other.axes[other.position(source.axes[i].name)]
        factor = _conversion(source.axes[i], reference)
        axes[i] = replace(source.axes[i], unit=reference.unit or source.axes[i].unit)
        if factor != 1.0:
            spacing[i], origin[i] = spacing[i] * factor, origin[i] * factor
    return source.replace(axes=tuple(axes), voxel_size=tuple(spacing), translation=tuple(origin))


def like_grid(source: VoxelGrid, other: VoxelGrid) -> VoxelGrid:
    """Return a grid with the spatial axes of `other` and the rest of `source`."""
    names = {source.axes[i].name for i in source.spatial}
    theirs = {other.axes[i].name for i in other.spatial}
    if names != theirs:
        raise GridError(
            f"the spatial axes differ: {sorted(names)} here, {sorted(theirs)} in the image to match"
        )
    shape, spacing, origin = list(source.shape), list(source.voxel_size), list(source.translation)
    for i in source.spatial:
        j = other.position(source.axes[i].name)
        shape[i], spacing[i], origin[i] = other.shape[j], other.voxel_size[j], other.translation[j]
    return aligned_grid(source, other).replace(
        shape=tuple(shape), voxel_size=tuple(spacing), translation=tuple(origin)
    )


def unusual(grid: VoxelGrid) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for what OME-NGFF advises against, and is taken all the same."""
    axes = [grid.axes[i] for i in grid.spatial]
    bare = [
        f"{axis.name} ({axis.unit!r})" if axis.unit else axis.name
        for axis in axes
        if axis.unit not in METRES
    ]
    if bare:
        yield (
            "unit",
            f"the voxel size has no physical unit along {', '.join(bare)}; the numbers are used "
            "as stored",
        )
    names = [axis.name for axis in axes]
    if set(names) <= set("zyx") and names != sorted(names, reverse=True):
        yield (
            "order",
            f"the spatial axes are listed as {', '.join(names)} and OME-NGFF advises "
            f"{', '.join(sorted(names, reverse=True))}; other programs may take one for another",
        )


#: So many voxels away from 0 a position still tells where in a voxel it is.
_FARTHEST = 2.0**48


def refuse_far(grid: VoxelGrid) -> None:
    """Raise where an image lies so far from 0 that its voxels cannot be told apart.

    Raises
    ------
    GridError
    """
    for i in grid.spatial:
        name, size, shift = grid.axes[i].name, grid.voxel_size[i], grid.translation[i]
        if abs(shift) > _FARTHEST * size:
            raise GridError(
                f"the translation along axis {name!r} is {shift!r}, so far from 0 that voxels of "
                f"{size!r} cannot be told apart; correct the translation, or choose a larger "
                "voxel size"
            )
