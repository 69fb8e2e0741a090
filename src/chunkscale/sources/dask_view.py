"""Voxels as lazy Dask arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box
from chunkscale.sources.base import Voxels
from chunkscale.storage.reader import ArrayReader

if TYPE_CHECKING:
    import dask.array


class _Sliceable:
    """What ``dask.array.from_array`` slices: `Voxels` with array manners."""

    def __init__(self, voxels: Voxels) -> None:
        self.voxels = voxels
        self.shape, self.dtype, self.ndim = voxels.shape, voxels.dtype, len(voxels.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        bounds = [k.indices(n)[:2] for k, n in zip(key, self.shape, strict=True)]
        box = Box(start=tuple(a for a, _ in bounds), stop=tuple(b for _, b in bounds))
        return self.voxels.read(box)


def as_dask(reader: ArrayReader) -> dask.array.Array:
    """Return a stored array as a lazy Dask array with its own chunks (or shards)."""
    return _lazy(reader, reader.shard or reader.chunk)


def voxels_as_dask(voxels: Voxels) -> dask.array.Array:
    """Return any voxels as a lazy Dask array.

    What is decoded together may be as small as a line: so many of them are in one of its chunks
    as Dask finds right (``array.chunk-size`` of its configuration).
    """
    from dask.array.core import normalize_chunks

    if isinstance(voxels, ArrayReader):
        return as_dask(voxels)
    if (held := getattr(voxels, "as_dask", None)) is not None:
        return held()
    chunks = normalize_chunks(
        "auto", voxels.shape, dtype=voxels.dtype, previous_chunks=voxels.chunk
    )
    return _lazy(voxels, chunks)


def _lazy(voxels: Voxels, chunks: Any) -> dask.array.Array:
    """Return voxels as a Dask array.

    Each has a name of its own. Clusters and Dask's cache know results by name, and nothing that is
    quickly looked at tells whether a chunk was rewritten in its place.
    """
    import dask.array as da

    return da.from_array(
        _Sliceable(voxels),
        chunks=chunks,
        name=False,
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * len(voxels.shape), voxels.dtype),
    )
