"""Resample arrays in memory and in Dask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chunkscale import options
from chunkscale.api.defaults import LAZY_EDGES
from chunkscale.api.planning import fill_value, source_and_target
from chunkscale.compute.devices import check_device
from chunkscale.errors import OptionError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.geometry.methods import MethodName

if TYPE_CHECKING:
    import dask.array


def resample_array(
    array: ArrayLike | dask.array.Array,
    *,
    voxel_size: options.VoxelSize | None = None,
    zoom: float | None = None,
    like: VoxelGrid | None = None,
    source_voxel_size: options.VoxelSize = 1.0,
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
    voxel_size, zoom, method, antialias, outside, device
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
    from chunkscale.compute.lazy import check_chunks, is_dask_array, resample_dask
    from chunkscale.compute.levels import resample_leading

    lazy = is_dask_array(array)
    if lazy:
        check_chunks(array)
    # An array of a device has a dtype, too, and must stay where it is.
    data: Any = array if hasattr(array, "dtype") else np.asarray(array)
    source = _array_grid(data.shape, axes, source_voxel_size, source_translation)
    source, target = source_and_target(source, voxel_size, zoom, like)
    kind = options.method(method, False, antialias)
    mapping = grid_mapping(source, target, method=kind, antialias=antialias)
    dtype = np.dtype(data.dtype).newbyteorder("=")
    options.check_dtype("the array", dtype)
    fill = fill_value(outside, dtype.name, like)
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
        return resample_leading(mapping, whole, read, outside=fill, dtype=dtype, backend=backend)


def _array_grid(
    shape: Sequence[int],
    axes: str | None,
    voxel_size: options.VoxelSize,
    translation: Sequence[float] | None,
) -> VoxelGrid:
    names = "tczyx"[-len(shape) :] if axes is None else axes
    if not 2 <= len(shape) <= 5 or len(names) != len(shape):
        raise OptionError(
            f"an array of shape {tuple(shape)} with axes {names!r} is not supported; "
            "two to five axes are, with one letter for each"
        )
    kinds = {"t": "time", "c": "channel"}
    parsed = tuple(Axis(name=n, kind=kinds.get(n, "space")) for n in names)
    spatial = [i for i, axis in enumerate(parsed) if axis.kind == "space"]
    if len(set(names)) < len(names) or spatial not in (
        list(range(len(names) - 2, len(names))),
        list(range(len(names) - 3, len(names))),
    ):
        raise OptionError(
            f"axes {names!r} are not supported: names must differ, and the last two or three must "
            "be spatial, like tczyx; transpose the array"
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
    full = [0.0] * len(shape)
    for i, value in zip(spatial, origin, strict=True):
        full[i] = value
    unit = VoxelGrid(
        axes=parsed,
        shape=tuple(shape),
        voxel_size=(1.0,) * len(shape),
        translation=tuple(full),
    )
    sizes = options.target_grid(unit, voxel_size=voxel_size).voxel_size
    return unit.replace(voxel_size=sizes)
