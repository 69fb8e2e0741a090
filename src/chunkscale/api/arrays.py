"""Resample arrays in memory and in Dask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chunkscale import options
from chunkscale.api.defaults import LAZY_EDGES
from chunkscale.api.grids import fill_value, source_and_target
from chunkscale.api.notices import warn_of
from chunkscale.compute.devices import check_device
from chunkscale.errors import OptionError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.geometry.methods import MethodName
from chunkscale.parameters import Shape, Target, VoxelSize
from chunkscale.sources.arrays import array_grid
from chunkscale.sources.dask_blocks import check_chunks
from chunkscale.sources.foreign import is_dask_array, plain_array
from chunkscale.targets import source_sizes

if TYPE_CHECKING:
    import dask.array


def resample_array(
    array: ArrayLike | dask.array.Array,
    *,
    voxel_size: VoxelSize | None = None,
    zoom: float | None = None,
    factor: VoxelSize | None = None,
    shape: Shape | Mapping[str, int] | None = None,
    like: VoxelGrid | None = None,
    source_voxel_size: VoxelSize = 1.0,
    source_translation: Sequence[float] | None = None,
    method: MethodName | None = None,
    antialias: bool = False,
    outside: float | str = "edge",
    axes: str | None = None,
    chunk: int | Sequence[int] | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
) -> Any:
    """Resample an array in memory, or lazily a Dask array.

    Gives the very voxels of level 0 that `resample` writes.

    Parameters
    ----------
    array : array_like or dask.array.Array
        Two to five axes, the last two or three of them spatial.
    voxel_size, zoom, factor, shape, method, antialias, outside, device
        As in `plan_resampling`.
    like : VoxelGrid, optional
        Take this grid instead of a voxel size.
    source_voxel_size : float, str, mapping or sequence, default 1
        Of `array`, for the spatial axes.
    source_translation : sequence of float, optional
        Position of the centre of voxel 0, for the spatial axes; with `like`.
    axes : str, optional
        Axis names in order; default: the last ones of ``"tczyx"``.
    chunk : int or sequence of int, optional
        Block shape of a lazy result (spatial axes).

    Returns
    -------
    ndarray, cupy.ndarray or dask.array.Array
        Same data type; lazy if `array` is. The blocks of a lazy result pull
        just their source box. An array on the GPU, or blocks there, stay there.

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

    data = plain_array(array, on_gpu=True)
    lazy = is_dask_array(data)
    if lazy:
        check_chunks(data)
    source = array_grid(
        data.shape, partial(_sizes, source_voxel_size), axes=axes, translation=source_translation
    )
    if not (like is None or isinstance(like, VoxelGrid)):
        raise OptionError(
            f"like {like!r} is not a VoxelGrid; give that of an image: open_image(path).grid"
        )
    wanted = Target(
        voxel_size=voxel_size, zoom=zoom, factor=factor, shape=shape, like=like, outside=outside
    )
    source, target, notices = source_and_target(source, wanted)
    warn_of(notices, stacklevel=3)
    kind = options.method(method, False, antialias)
    mapping = grid_mapping(source, target, method=kind, antialias=antialias)
    dtype = np.dtype(data.dtype).newbyteorder("=")
    options.check_dtype("the array", dtype)
    fill = fill_value(wanted, dtype.name)
    if lazy:
        check_device(device)
        inner = options.shape_option("chunk", chunk, target)
        if inner is None:
            edge = LAZY_EDGES[len(target.spatial)]
            inner = tuple(edge if i in target.spatial else 1 for i in range(target.ndim))
        return resample_dask(data, mapping, chunk=inner, outside=fill, device=device)
    backend = array_backend(data, device)

    def read(box: Box) -> NDArray[Any]:
        return backend.contiguous(data[box.slices], dtype)

    whole = Box(start=(0,) * target.ndim, stop=target.shape)
    with at_array(data):
        return resample_box(mapping, whole, read, outside=fill, dtype=dtype, backend=backend)


def _sizes(value: VoxelSize, names: Sequence[str]) -> dict[str, float]:
    """Return voxel sizes by axis; those left out are 1."""
    return dict.fromkeys(names, 1.0) | source_sizes(value, names)
