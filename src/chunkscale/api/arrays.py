"""Resample arrays in memory and in Dask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from chunkscale import options
from chunkscale.api.defaults import LAZY_EDGES
from chunkscale.api.grids import fill_value, source_and_target, with_open_like
from chunkscale.api.notices import warn_of
from chunkscale.compute.devices import check_device
from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.box import Box, whole
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.geometry.methods import MethodName
from chunkscale.parameters import Shape, Target, VoxelSize
from chunkscale.plan.notices import aliasing_notices
from chunkscale.sources.array_grids import array_grid
from chunkscale.sources.arrays import lazy_source
from chunkscale.sources.base import Source, adopting
from chunkscale.sources.dask_blocks import check_chunks
from chunkscale.sources.foreign import is_dask_array, plain_array
from chunkscale.sources.libraries import find_placed
from chunkscale.sources.parts import Part
from chunkscale.sources.placed import placed_grid
from chunkscale.sources.views import Views
from chunkscale.targets import source_sizes


def resample_array(
    array: Any,
    *,
    voxel_size: VoxelSize | None = None,
    zoom: float | None = None,
    factor: VoxelSize | None = None,
    shape: Shape | Mapping[str, int] | None = None,
    like: Any = None,
    source_voxel_size: VoxelSize | None = None,
    source_translation: Sequence[float] | None = None,
    method: MethodName | None = None,
    antialias: bool = False,
    outside: float | str = "edge",
    axes: str | None = None,
    chunk: int | Sequence[int] | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
) -> Any:
    """Resample an array in memory, or lazily a Dask array; coordinates go along.

    The result has exactly the voxels of level 0 that `resample` writes.

    Parameters
    ----------
    array : array_like or dask.array.Array
        Two to five axes, the last two or three of them spatial. Or an array that says where its
        voxels are: `xarray.DataArray`, ``ngff_zarr.NgffImage``, ``SimpleITK.Image``; or an
        `Image` or a part of one.
    voxel_size, zoom, factor, shape, method, antialias, outside, device
        As in `plan_resampling`. What is marked as labels is resampled as such.
    like : VoxelGrid, Image or array with coordinates, optional
        Take this grid instead of a voxel size.
    source_voxel_size : float, str, mapping or sequence, optional
        Of `array`, for the spatial axes. Default: from its coordinates, or else 1. It replaces
        coordinates, with a warning if they differ.
    source_translation : sequence of float, optional
        Position of the centre of voxel 0, for the spatial axes; with `like`.
    axes : str, optional
        Axis names in order; default: the last ones of ``"tczyx"``, or the names of dimensions.
    chunk : int or sequence of int, optional
        Block shape of a lazy result (spatial axes).

    Returns
    -------
    ndarray, cupy.ndarray, dask.array.Array, or what was given
        Same data type; lazy if `array` is. The blocks of a lazy result read
        only their source box. Results of arrays on a GPU stay there.
        An array with coordinates gets those of its new voxels, and keeps its name, attributes and
        channels; ``NgffMultiscales`` give an ``NgffImage`` of their first level. An image gives a
        lazy one, with ``grid``, ``as_dask()``, ``to_xarray()`` and the like, that can be passed on.

    Raises
    ------
    OptionError
        If coordinates are irregular (by more than a thousandth of a voxel), fall, or do not tell
        a spacing, or if the array is turned (``direction``); it says what to do.

    Warns
    -----
    AliasingWarning
        If an axis shrinks by more than 2 without `antialias`.
    ChunkscaleWarning
        For what is unusual, and for coordinates that are not resampled.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkscale
    >>> chunkscale.resample_array(np.array([[0.0, 2.0], [4.0, 6.0]]), zoom=2)
    array([[0. , 0.5, 1.5, 2. ],
           [1. , 1.5, 2.5, 3. ],
           [3. , 3.5, 4.5, 5. ],
           [4. , 4.5, 5.5, 6. ]])
    """
    from chunkscale.compute.devices import array_backend, at_array
    from chunkscale.compute.lazy import resample_dask
    from chunkscale.compute.levels import resample_box

    given = _opened(array, source_voxel_size, axes, source_translation)
    data = given.data
    lazy = is_dask_array(data)
    wanted = Target(
        voxel_size=voxel_size, zoom=zoom, factor=factor, shape=shape, like=like, outside=outside
    )
    wanted = with_open_like(wanted, None)
    source, target, notices = source_and_target(given.whole, wanted, given.grid)
    kind = options.method(method, given.is_label, antialias)
    mapping = grid_mapping(source, target, method=kind, antialias=antialias)
    told = (*given.notices, *notices, *aliasing_notices(source, mapping))
    warn_of(dict.fromkeys(told), stacklevel=3)
    dtype = np.dtype(data.dtype).newbyteorder("=")
    options.check_dtype("the array", dtype)
    fill = fill_value(wanted, dtype.name)
    if lazy:
        check_device(device)
        inner = options.shape_option("chunk", chunk, target)
        if inner is None:
            edge = LAZY_EDGES[len(target.spatial)]
            inner = tuple(edge if i in target.spatial else 1 for i in range(target.ndim))
        result = resample_dask(data, mapping, chunk=inner, outside=fill, device=device)
        return given.wrap(result, target)
    backend = array_backend(data, device)

    def read(box: Box) -> NDArray[Any]:
        return backend.contiguous(data[box.slices], dtype)

    everything = whole(target.shape)
    with at_array(data):
        voxels = resample_box(mapping, everything, read, outside=fill, dtype=dtype, backend=backend)
    return given.wrap(voxels, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """An array that is to be resampled, and how it becomes again what was given."""

    data: Any
    whole: VoxelGrid
    grid: VoxelGrid
    is_label: bool = False
    notices: tuple[Notice, ...] = ()
    wrap: Callable[[Any, VoxelGrid], Any]


def _opened(
    array: object,
    sizes: VoxelSize | None,
    axes: str | None,
    translation: Sequence[float] | None,
) -> _Given:
    """Return the array of what is given, and its grid: of its coordinates, or as it is told."""
    if isinstance(array, Views):
        image = cast(Source, array)
        for option, value in (
            ("source_voxel_size", sizes),
            ("axes", axes),
            ("source_translation", translation),
        ):
            if value is not None:
                raise OptionError(
                    f"{option} {value!r} applies to arrays only; an image states it itself, so "
                    "leave it out"
                )
        return _Given(
            data=_uncut(image),
            whole=image.whole,
            grid=image.grid,
            is_label=image.is_label,
            notices=image.notices,
            wrap=partial(lazy_source, image),
        )
    if found := find_placed(array, axes):
        said = None if sizes is None else partial(source_sizes, sizes)
        if said is None and not set(found.spatial) & {*found.spacing, *found.irregular}:
            said = partial(_sizes, 1.0)  # only ratios matter, as of an array without a word
        grid, notices = adopting(
            lambda unit: placed_grid(found, sizes=said, translation=translation, unit=unit), None
        )
        return _Given(
            data=plain_array(found.array, on_gpu=True),
            whole=grid,
            grid=grid,
            is_label=found.is_label,
            notices=(*notices, *found.notices, *found.copied),
            wrap=found.wrap,
        )
    data = plain_array(array, on_gpu=True)
    if is_dask_array(data):
        check_chunks(data)
    told = partial(_sizes, 1.0 if sizes is None else sizes)
    grid = adopting(
        lambda unit: array_grid(data.shape, told, axes=axes, translation=translation, unit=unit),
        None,
    )
    return _Given(data=data, whole=grid, grid=grid, wrap=lambda voxels, _: voxels)


def _uncut(image: Any) -> Any:
    """Return the voxels that targets are derived from: of a crop those around it as well."""
    if isinstance(image, Part):
        image = replace(image, box=whole(image.whole.shape))
    return image.as_dask()


def _sizes(value: VoxelSize, units: Mapping[str, str | None], ndim: int) -> dict[str, float]:
    """Return voxel sizes by axis; those left out are 1."""
    return dict.fromkeys(units, 1.0) | source_sizes(value, units, ndim)
