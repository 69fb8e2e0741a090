"""Host arrays of any size resampled on the GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.compute.gpu.find import free_bytes, load_cupy
from chunkscale.errors import DeviceError
from chunkscale.geometry.tables import read_range, rebased
from chunkscale.kernels.backend import Factors, Tables, get_backend
from chunkscale.plan.tiles import device_bytes


class Hosted:
    """The CUDA kernels for arrays of the host, slab by slab where the device is too small.

    Parameters
    ----------
    limit : int, optional
        Bytes of device memory; default: `SLAB_BYTES`, or four fifths of what is free.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._cuda = get_backend("cuda")
        self.limit = min(SLAB_BYTES, free_bytes() * 4 // 5) if limit is None else limit

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a host array whose content is undefined."""
        return np.empty(shape, dtype)

    def contiguous(self, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a C-ordered array on the host."""
        return np.ascontiguousarray(array, dtype)

    def resample(
        self, block: NDArray[Any], tables: Tables, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Interpolate; see `chunkscale.kernels.backend.Backend`."""
        cupy = load_cupy()
        shape = tuple(len(t.index) for t in tables)
        if out is None:
            out = np.empty(shape, block.dtype)
        slabs = [(0, shape[0])]
        while slabs:
            start, stop = slabs.pop()
            index, weight = tables[0].index[start:stop], tables[0].weight[start:stop]
            z = replace(tables[0], index=index, weight=weight)
            first, last = read_range(z)
            read = (last - first, *block.shape[1:])
            needed = device_bytes(read, [(stop - start, *shape[1:])], block.itemsize, tables)
            if needed > self.limit and stop - start > 1:
                middle = (start + stop) // 2
                slabs += [(middle, stop), (start, middle)]
                continue
            try:
                # Not `asarray`: it would go through a pinned copy, rounded to a power of two.
                part = cupy.empty(read, block.dtype)
                part.set(np.ascontiguousarray(block[first:last]))
                result: Any = self._cuda.resample(part, (rebased(z, first), *tables[1:]))
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceError(
                    f"a plane of {shape[1]} x {shape[2]} voxels does not fit into the GPU's "
                    f"memory: {error}; use device cpu"
                ) from error
            result.get(out=out[start:stop])
        return out

    def resample_and_mean(
        self,
        block: NDArray[Any],
        tables: Tables,
        factors: Factors,
        out: NDArray[Any],
        coarse: NDArray[Any],
    ) -> None:
        """Interpolate and average cells; see `chunkscale.kernels.backend.Backend`."""
        self.mean(self.resample(block, tables, out), factors, coarse)

    def mean(
        self, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Average cells; see `chunkscale.kernels.backend.Backend`."""
        return self._combined(self._cuda.mean, block, factors, out)

    def maximum(
        self, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Find maxima; see `chunkscale.kernels.backend.Backend`."""
        return self._combined(self._cuda.maximum, block, factors, out)

    @staticmethod
    def _combined(
        combine: Any, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None
    ) -> NDArray[Any]:
        result: NDArray[Any] = combine(load_cupy().asarray(block), factors).get(out=out)
        return result


#: A host array goes through the device in slabs of this size, whatever is free there.
SLAB_BYTES = 2**30
