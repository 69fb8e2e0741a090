"""Stored arrays as lazy Dask arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box
from chunkscale.sources.base import Voxels

if TYPE_CHECKING:
    import dask.array


class _Sliceable:
    """What ``dask.array.from_array`` slices: `Voxels` with array manners."""

    def __init__(self, reader: Voxels) -> None:
        self.reader = reader
        self.shape, self.dtype, self.ndim = reader.shape, reader.dtype, len(reader.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        bounds = [k.indices(n)[:2] for k, n in zip(key, self.shape, strict=True)]
        box = Box(start=tuple(a for a, _ in bounds), stop=tuple(b for _, b in bounds))
        return self.reader.read(box)


def as_dask(reader: Voxels) -> dask.array.Array:
    """Return a stored array as a lazy Dask array with its own chunks (or shards).

    Each has a name of its own. Clusters and Dask's cache know results by name, and nothing that is
    quickly looked at tells whether a chunk was rewritten in its place.
    """
    import dask.array as da

    return da.from_array(
        _Sliceable(reader),
        chunks=getattr(reader, "shard", None) or reader.chunk,
        name=False,
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * len(reader.shape), reader.dtype),
    )
