"""Arrays as sources: those in memory, and those of Dask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.sources.base import Sizes, Source, SourceOptions, Voxels
from chunkscale.sources.dask_blocks import DaskBlocks
from chunkscale.sources.foreign import is_dask_array, plain_array, refusal, why_refused
from chunkscale.sources.views import Views
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySource(Views):
    """An array with a grid; see `chunkscale.sources.base.Source`."""

    path: str
    grid: VoxelGrid
    array: Voxels
    opaque: bool
    uri: str = ""
    name: None = None
    is_label: bool = False
    stated: None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    @property
    def whole(self) -> VoxelGrid:
        """The same as `grid`."""
        return self.grid

    @property
    def array_grid(self) -> VoxelGrid:
        """The same as `grid`."""
        return self.grid

    @property
    def part(self) -> dict[str, Any]:
        """Nothing: it is all."""
        return {}

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
        raise refusal(
            given, "make an array of it, like numpy.stack(list) or dask.array.stack(list)"
        )
    if reason := why_refused(given):
        raise refusal(given, reason)
    if not hasattr(given, "__array__"):
        return None
    plain = plain_array(given, on_gpu=False)
    array: Voxels = DaskBlocks(plain) if is_dask_array(plain) else HeldArray(plain)
    if options.sizes is None:
        raise OptionError(
            "source_voxel_size is missing: an array does not say how large its voxels are; give "
            "one number or one for each spatial axis (1 where only ratios matter)"
        )
    grid = array_grid(
        array.shape,
        options.sizes,
        axes=options.axes,
        translation=options.translation,
        unit=options.unit,
    )
    lazy = isinstance(array, DaskBlocks)
    return ArraySource(
        path="Dask array" if lazy else "array in memory", grid=grid, array=array, opaque=lazy
    )


def array_grid(
    shape: Sequence[int],
    sizes: Sizes,
    *,
    axes: Sequence[str] | None = None,
    translation: Sequence[float] | None = None,
    unit: str | None = None,
) -> VoxelGrid:
    """Return the grid of an array, of which users say where its voxels are.

    Parameters
    ----------
    shape : sequence of int
    sizes : callable
    axes : str, optional
        One letter for each; default: the last ones of ``"tczyx"``.
    translation : sequence of float, optional
        For the spatial axes.
    unit : str, optional
        Of the spatial axes.
    """
    names = "tczyx"[5 - min(len(shape), 5) :] if axes is None else axes
    if not 2 <= len(shape) <= 5 or len(names) != len(shape):
        raise OptionError(
            f"an array of shape {tuple(shape)} with axes {names!r} is not supported; "
            "two to five axes are, with one letter for each"
        )
    kinds = {"t": "time", "c": "channel"}
    spatial = [i for i, name in enumerate(names) if name not in kinds]
    if len(set(names)) < len(names) or spatial not in (
        list(range(len(names) - 2, len(names))),
        list(range(len(names) - 3, len(names))),
    ):
        raise OptionError(
            f"axes {names!r} are not supported: names must differ, and the last two or three must "
            "be spatial, like tczyx; transpose the array"
        )
    if not (unit is None or (isinstance(unit, str) and unit)):
        raise OptionError(f"source_unit {unit!r} is no unit; give one like 'micrometer'")
    called = [names[i] for i in spatial]
    given = sizes(called)
    if sorted(given) != sorted(called):
        raise OptionError(
            f"source_voxel_size {dict(given)} does not name the spatial axes {', '.join(called)}; "
            "give one number for each of them"
        )
    try:
        origin = [0.0] * len(spatial) if translation is None else list(map(float, translation))
    except (TypeError, ValueError):
        raise OptionError(
            f"source_translation {translation!r} is not understood; give a number for each of the "
            f"{len(spatial)} spatial axes"
        ) from None
    if len(origin) != len(spatial):
        raise OptionError(
            f"source_translation {tuple(origin)} has {len(origin)} values for the "
            f"{len(spatial)} spatial axes"
        )
    leading = (0.0,) * (len(shape) - len(spatial))
    return VoxelGrid(
        axes=tuple(
            Axis(name=n, kind=kinds.get(n, "space"), unit=None if n in kinds else unit)
            for n in names
        ),
        shape=tuple(map(int, shape)),
        voxel_size=tuple(float(given.get(name, 1.0)) for name in names),
        translation=(*leading, *origin),
    )
