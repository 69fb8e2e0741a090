"""What every source offers besides being resampled: itself as arrays of other libraries."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkscale.errors import (
    ChunkscaleWarning,
    MemoryBudgetError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.grid import VoxelGrid, covering_box
from chunkscale.geometry.units import METRES
from chunkscale.host.memory import available_bytes
from chunkscale.ome.display import channel_labels, listed_channels, number
from chunkscale.ome.further import further_text
from chunkscale.ome.versions import ngff_namespace
from chunkscale.sources.base import Source
from chunkscale.sources.coordinates import coordinates_of
from chunkscale.sources.dask_view import voxels_as_dask
from chunkscale.text import human_bytes

if TYPE_CHECKING:
    import dask.array
    import xarray

#: Units of time that napari understands as they are spelled by OME-NGFF.
_TIMES = ("second", "millisecond", "microsecond", "nanosecond", "minute", "hour", "day")


class Views:
    """Shape, voxel size and lazy arrays of a `Source`; what has several levels overrides some.

    Needs `grid`, `array_grid`, `whole`, `array`, `name`, `attributes` and `is_label` alone.
    """

    __slots__ = ()

    @property
    def shape(self: Source) -> tuple[int, ...]:
        """Voxels per axis."""
        return self.grid.shape

    @property
    def ndim(self: Source) -> int:
        """Number of axes."""
        return self.grid.ndim

    @property
    def dtype(self: Source) -> np.dtype[Any]:
        """Data type of the voxels."""
        return self.array.dtype

    @property
    def axes(self: Source) -> str | tuple[str, ...]:
        """Names of the axes in order, like ``"tczyx"``; a tuple if one has more letters."""
        return self.grid.names

    @property
    def voxel_size(self: Source) -> dict[str, float]:
        """Voxel size by spatial axis, in the unit of that axis.

        As every ``voxel_size`` and ``source_voxel_size`` takes it. ``grid.voxel_size`` has one
        for each axis, time and channels included.
        """
        return {self.grid.axes[i].name: self.grid.voxel_size[i] for i in self.grid.spatial}

    @property
    def channels(self: Source) -> list[str]:
        """Names of the channels, if they have any."""
        return channel_labels(ngff_namespace(self.attributes), self.grid)

    @property
    def level_count(self) -> int:
        """Number of levels: one, if nothing smaller is stored."""
        return 1

    def level_grid(self: Source, index: int) -> VoxelGrid:
        """Return the grid of one level; there is one alone."""
        _only_level(self, index)
        return self.grid

    def as_dask(self: Source, level: int = 0) -> dask.array.Array:
        """Return the voxels as a lazy Dask array.

        Parameters
        ----------
        level : int
            0 is the finest, -1 the coarsest.
        """
        _only_level(self, level)
        return voxels_as_dask(self.array)[covering_box(self.whole, self.grid).slices]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all voxels of level 0.

        Raises
        ------
        ValueError
            If `copy` is False: voxels are read from where they are stored.
        MemoryBudgetError
            If they do not fit into the memory that is free.
        """
        if copy is False:
            raise ValueError(
                "an image has to be read, so there is no array without a copy; "
                "use numpy.asarray(image)"
            )
        source: Any = self
        needed, free = source.grid.size * source.array.dtype.itemsize, available_bytes()
        if needed > free:
            raise MemoryBudgetError(
                f"{(source.uri or source.path)!r} has {human_bytes(needed)} of voxels, and "
                f"{human_bytes(free)} of memory are free; use image.as_dask(), which is lazy, or "
                "a coarser level: image.as_dask(-1)"
            )
        if source.array_grid != source.whole:  # a coarser level is read in its place
            found = np.asarray(source.as_dask())
        else:
            found = source.array.read(covering_box(source.whole, source.grid))
        return found if dtype is None else found.astype(dtype, copy=False)

    def to_xarray(self, level: int = 0) -> xarray.DataArray:
        """Return a level as a lazy `xarray.DataArray`, backed by Dask.

        Its dimensions are the axes. Coordinates of space and time are the positions of voxel
        centres (``translation + voxel_size * index``); their attributes are ``units``, where
        there is one, and ``voxel_size``, which a single coordinate would not tell. Channels
        have their names. `chunkscale.resample_array` takes it, and gives one back.

        Parameters
        ----------
        level : int
            0 is the finest, -1 the coarsest.

        Warns
        -----
        ChunkscaleWarning
            If the image has coordinate systems beyond that of its voxels.
        """
        from chunkscale.sources.xarrays import data_array

        source: Any = self
        if found := further_text(coordinates_of(source, source.grid.axes)):
            text = (
                "an xarray.DataArray has no place for further coordinate systems and "
                f"transformations, which are left out: {found}"
            )
            warnings.warn(ChunkscaleWarning(text), stacklevel=2)
        return data_array(
            source.as_dask(level),
            source.level_grid(level),
            name=source.name,
            channels=source.channels,
            is_label=source.is_label,
        )

    def to_napari(self, level: int | None = None) -> tuple[Any, dict[str, Any], str]:
        """Return data, keywords and type of a napari layer; nothing is read.

        For ``viewer.add_image(data, **keywords)``, or ``add_labels`` where the type is
        ``"labels"``: scale, translation, units and axis labels, and of an image with channels
        ``channel_axis`` with their names, colours and contrast limits where those are known.

        Parameters
        ----------
        level : int, optional
            One level alone. Default: all of them as a multiscale image, where there are several.

        Returns
        -------
        data : dask.array.Array or list of dask.array.Array
        keywords : dict
        layer_type : {"image", "labels"}

        Examples
        --------
        >>> import tempfile, numpy as np, chunkscale
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stack = np.zeros((4, 16, 16), "uint8")
        ...     run = chunkscale.resample(stack, f"{folder}/a.zarr", source_voxel_size=(2, 1, 1))
        ...     data, keywords, kind = chunkscale.open_image(run.path).to_napari()
        >>> keywords["scale"], keywords["translate"], kind
        ((1.0, 1.0, 1.0), (-0.5, 0.0, 0.0), 'image')
        """
        source: Any = self
        levels = range(source.level_count) if level is None else [level]
        data = []
        for index in levels:
            try:
                data.append(source.as_dask(index))
            except SourceNotFoundError:
                if level is not None or not index:
                    raise
                # It is listed and not there, as opening has said.
        grid = source.level_grid(levels[0])
        channel = None if source.is_label else grid.channel_axis
        kept = [i for i in range(grid.ndim) if i != channel]
        keywords: dict[str, Any] = {
            "name": source.name or source.path,
            "scale": tuple(grid.voxel_size[i] for i in kept),
            "translate": tuple(grid.translation[i] for i in kept),
            "axis_labels": tuple(grid.axes[i].name for i in kept),
        }
        units = [grid.axes[i].unit for i in kept]
        if all(unit is None or unit in METRES or unit in _TIMES for unit in units):
            keywords["units"] = tuple(unit or "pixel" for unit in units)
        if len(data) > 1:
            keywords["multiscale"] = True
        if source.is_label:
            return (data if len(data) > 1 else data[0]), keywords, "labels"
        keywords["rgb"] = False  # three or four voxels along x are no colours
        keywords |= _shown(source.attributes, grid, keywords["name"])
        return (data if len(data) > 1 else data[0]), keywords, "image"


class Whole(Views):
    """A `Source` that is all of what lies at its place, and is read as it is."""

    __slots__ = ()

    @property
    def whole(self: Source) -> VoxelGrid:
        """The same as `grid`."""
        return self.grid

    @property
    def array_grid(self: Source) -> VoxelGrid:
        """The same as `grid`."""
        return self.grid

    @property
    def part(self) -> dict[str, Any]:
        """Nothing: it is all."""
        return {}

    @property
    def said(self) -> Mapping[str, str]:
        """Nothing: what it is made of says its axes and units."""
        return {}


def _only_level(source: Source, index: int) -> None:
    if index not in (0, -1):
        raise OptionError(
            f"level {index} of the {source.uri or source.path} does not exist; it only has level 0"
        )


def _shown(attributes: Mapping[str, Any], grid: VoxelGrid, name: str) -> dict[str, Any]:
    """Return how the channels of an image are shown in napari, as far as that is known."""
    found: dict[str, Any] = {}
    ngff = ngff_namespace(attributes)
    axis, entries = grid.channel_axis, listed_channels(ngff)
    count = 1 if axis is None else grid.shape[axis]
    if axis is not None:
        names = channel_labels(ngff, grid) or [f"channel {i}" for i in range(count)]
        found |= {"channel_axis": axis, "name": [f"{name} {text}" for text in names]}
    if len(entries) != count:
        return found
    windows = [_limits(entry.get("window")) for entry in entries]
    colors = [_hexadecimal(entry.get("color")) for entry in entries]
    if all(windows):
        found["contrast_limits"] = windows if axis is not None else windows[0]
    if all(colors):
        found["colormap"] = colors if axis is not None else colors[0]
    return found


def _limits(window: object) -> list[float] | None:
    shown = window if isinstance(window, Mapping) else {}
    low, high = number(shown.get("start")), number(shown.get("end"))
    if (low, high) == (number(shown.get("min")), number(shown.get("max"))):
        return None  # it says what voxels can be, not what they are
    return None if low is None or high is None or low >= high else [low, high]


def _hexadecimal(color: object) -> str | None:
    text = color.lstrip("#") if isinstance(color, str) else ""
    digits = len(text) == 6 and all(c in "0123456789abcdefABCDEF" for c in text)
    return f"#{text}" if digits else None
