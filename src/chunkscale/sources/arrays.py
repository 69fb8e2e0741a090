"""Arrays as sources: those in memory, and those of Dask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import Notice, OptionError, UnstatedError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid, aligned_grid
from chunkscale.ome.carry import carried
from chunkscale.ome.display import with_windows
from chunkscale.sources.array_grids import array_grid
from chunkscale.sources.base import Source, SourceOptions, Voxels
from chunkscale.sources.dask_blocks import DaskBlocks
from chunkscale.sources.foreign import is_dask_array, plain_array, refusal, why_refused
from chunkscale.sources.libraries import find_placed
from chunkscale.sources.placed import Placed, canonical, placed_grid
from chunkscale.sources.views import Views, Whole
from chunkscale.storage.engine import StoreIO


class HeldArray:
    """The voxels of a NumPy array, which stays as it is."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")
        self.chunk: tuple[int, ...] = (1,) * array.ndim

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return a copy of the voxels of a box."""
        if out is None:
            out = np.empty(box.shape, self.dtype)
        out[...] = self._array[box.slices]
        return out


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ArraySource(Whole):
    """An array with a grid; see `chunkscale.sources.base.Source`."""

    path: str
    grid: VoxelGrid
    array: Voxels
    opaque: bool
    uri: str = ""
    name: str | None = None
    is_label: bool = False
    stated: tuple[float, ...] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.path}: {self.array.dtype} {self.grid.shape}>"

    def within(self, io: StoreIO) -> ArraySource:
        """Return the same: nothing is decoded here."""
        return self

    def fingerprint(self) -> None:
        """Return nothing: whatever an array is known by ends with its process."""

    def fate(self, *, whole: bool = False) -> str:
        """Say nothing: as long as it is held it is there."""
        return ""


def array_source(given: object, options: SourceOptions) -> Source | None:
    """Take what is an array, or turns into one; a source stays what it is."""
    if isinstance(given, Views):
        return cast(Source, given)
    if isinstance(given, list | tuple):
        raise refusal(given, "make it an array, like numpy.stack(list) or dask.array.stack(list)")
    place, unit = options.translation, options.unit
    if found := find_placed(given, options.axes):
        grid, notices = placed_grid(found, sizes=options.sizes, translation=place, unit=unit)
        return placed_source(found, grid, notices)
    if reason := why_refused(given):
        raise refusal(given, reason)
    if not hasattr(given, "__array__"):
        return None
    if options.sizes is None:
        raise UnstatedError(
            "source_voxel_size is missing: an array does not say how large its voxels are; give "
            "one number or one for each spatial axis (1 where only ratios matter)"
        )
    array = _voxels(plain_array(given, on_gpu=False))
    grid = array_grid(array.shape, options.sizes, axes=options.axes, translation=place, unit=unit)
    names = [axis.name for axis in grid.axes]
    if names != (order := canonical(names)):
        places = ", ".join(str(names.index(name)) for name in order)
        raise OptionError(
            f"axes {options.axes!r} are not in the order of OME-Zarr; give "
            f"array.transpose({places}) with axes={''.join(order)!r}"
        )
    lazy = isinstance(array, DaskBlocks)
    return ArraySource(
        path="Dask array" if lazy else "array in memory", grid=grid, array=array, opaque=lazy
    )


def placed_source(found: Placed, grid: VoxelGrid, notices: Sequence[Notice] = ()) -> ArraySource:
    """Return a source of an array of another library."""
    array = _voxels(plain_array(found.array, on_gpu=False))
    attributes, more = with_windows(found.attributes, array.dtype)
    return ArraySource(
        path=found.what,
        grid=grid,
        array=array,
        opaque=isinstance(array, DaskBlocks),
        name=found.name,
        is_label=found.is_label,
        attributes=attributes,
        notices=(*notices, *found.notices, *found.lost, *more),
    )


def lazy_source(source: Source, array: Any, grid: VoxelGrid) -> ArraySource:
    """Return what was lazily resampled from a source as one."""
    whole = aligned_grid(source.grid, grid)
    attributes, notices = carried(source.attributes, whole, grid, array.dtype.name)
    return ArraySource(
        path="resampled image",
        grid=grid,
        array=DaskBlocks(array),
        opaque=True,
        name=source.name,
        is_label=source.is_label,
        attributes=attributes,
        notices=tuple(dict.fromkeys((*source.notices, *notices))),
    )


def _voxels(plain: Any) -> Voxels:
    return DaskBlocks(plain) if is_dask_array(plain) else HeldArray(plain)
