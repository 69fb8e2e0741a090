"""What a source of voxels is to whoever plans, runs or checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import Notice, NoUnitError, OptionError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import METRES, metres, ngff_unit, symbol
from chunkscale.storage.engine import StoreIO

_Made = TypeVar("_Made")

#: Takes the spatial axes with their units and the number of all axes, and returns voxel sizes by
#: name, in these units.
Sizes = Callable[[Mapping[str, str | None], int], Mapping[str, float]]


def adopting(make: Callable[[str | None], _Made], unit: str | None) -> _Made:
    """Make something whose voxel sizes are given; where it has no unit, in the one of the sizes.

    Parameters
    ----------
    make : callable
        Takes the unit that axes without one are said to have.
    unit : str, optional
        The one that the user names, which none that comes with the sizes replaces.
    """
    try:
        return make(unit)
    except NoUnitError as error:
        if unit is not None:
            raise
        return make(error.unit)


def as_lengths(grid: VoxelGrid, sizes: Mapping[str, float]) -> dict[str, Any]:
    """Return voxel sizes that a grid has with its units: what takes them may have others."""
    units = units_of(grid)
    return {n: f"{s!r} {units[n]}" if units[n] in METRES else s for n, s in sizes.items()}


def units_of(grid: VoxelGrid) -> dict[str, str | None]:
    """Return the spatial axes of a grid with their units."""
    return {grid.axes[i].name: grid.axes[i].unit for i in grid.spatial}


def keeping(
    given: Mapping[str, float], grid: VoxelGrid, sizes: Sizes | None, unit: str | None
) -> Sizes:
    """Return voxel sizes for an image that is open already: those that it was opened with stay.

    Parameters
    ----------
    given : mapping of str to float
        By axis, what it was opened with.
    grid : VoxelGrid
        Which it has got with them, in its units.
    sizes : callable, optional
        Those that are given now, which come first.
    unit : str, optional
        The one that is named now. Sizes in another one are not taken to be in it.
    """
    return partial(_kept, dict(given), units_of(grid), sizes, unit)


def _kept(
    given: Mapping[str, float],
    stated: Mapping[str, str | None],
    sizes: Sizes | None,
    unit: str | None,
    units: Mapping[str, str | None],
    ndim: int,
) -> dict[str, float]:
    new = {} if sizes is None else sizes(units, ndim)
    for name in (n for n in given if n not in new):
        known = stated[name]
        if unit is not None and known in METRES and metres(known) != metres(ngff_unit(str(unit))):
            raise OptionError(
                f"source_unit {unit!r} is given, but the image was opened with a voxel size in "
                f"{symbol(known)} along {name}; leave it out, or give all sizes in your unit with "
                "source_voxel_size (--source-voxel-size)"
            )
    return {**given, **new}


class Voxels(Protocol):
    """The voxels that are read. Thread-safe; small where it is pickled, or not picklable."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native byte order."""

    @property
    def chunk(self) -> tuple[int, ...]:
        """What has to be decoded together."""

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box, in `out` if it is given (C order)."""


class Source(Protocol):
    """An image that can be resampled; `chunkscale.sources.opening` makes it."""

    @property
    def uri(self) -> str:
        """Where it is; empty for what has no place."""

    @property
    def path(self) -> str:
        """Of the array inside that place; what it is, where there is none."""

    @property
    def name(self) -> str | None:
        """What an image that is made from it is called; None if that is left to its place."""

    @property
    def grid(self) -> VoxelGrid: ...

    @property
    def whole(self) -> VoxelGrid:
        """The grid that targets are derived from, of which `grid` may be a part."""

    @property
    def array_grid(self) -> VoxelGrid:
        """The grid of `array`: `whole`, or that of a coarser level that is read instead."""

    @property
    def part(self) -> Mapping[str, Any]:
        """Which part it is of what lies at its place, as JSON values; empty if it is all."""

    @property
    def array(self) -> Voxels: ...

    @property
    def is_label(self) -> bool:
        """Whether the voxels are label ids, which must not be averaged."""

    @property
    def stated(self) -> tuple[float, ...] | None:
        """The voxel size that its own metadata have, if they have any."""

    @property
    def opaque(self) -> bool:
        """Whether it may read from places that it does not tell."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What an image that is made from it takes over, as the attributes of an NGFF group."""

    @property
    def said(self) -> Mapping[str, str]:
        """The "axes" and "unit" that it was opened with, where it takes them to open it again."""

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is strange about it, and what an image that is made from it will not have."""

    def within(self, io: StoreIO) -> Source:
        """Return the same with the limits of a run."""

    def fingerprint(self) -> str | None:
        """Return what tells it from others at its place; None if nothing lasts that could."""

    def fate(self, *, whole: bool = False) -> str:
        """Say what has become of it since it was opened; nothing if it is as it was.

        Raises
        ------
        OSError
            If that cannot be told now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What is said of a source besides what it is.

    Parameters
    ----------
    sizes : callable, optional
        Its voxel sizes, which come before those of its metadata.
    reach : mapping, optional
        Storage options.
    axes, translation, unit : optional
        Of an array, see `chunkscale.sources.arrays.array_grid`, or of a file that does not say
        them.
    io : StoreIO
    mirrored : bool
        Whether the collection that it lies in is made as well, so that its place is not lost.
    """

    sizes: Sizes | None = None
    reach: Mapping[str, Any] | None = None
    axes: Sequence[str] | None = None
    translation: Sequence[float] | None = None
    unit: str | None = None
    io: StoreIO
    mirrored: bool = False
