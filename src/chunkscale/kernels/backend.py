"""Numeric kernels behind one signature.

A backend is a module with `resample`, `mean` and `maximum` (see `Backend`).
Kernels know arrays and tables; nothing of OME, Dask or paths.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.tables import AxisTable

Tables = tuple[AxisTable, AxisTable, AxisTable]

Factors = tuple[int, int, int]


class Backend(Protocol):
    """What every device implements, bit for bit alike.

    Blocks have the axes (z, y, x), C order, native byte order. A table's
    indices count from the start of the block. `out`, if given, has the shape
    and dtype of the result and C order; it is filled and returned. On a GPU
    arrays are CuPy's.
    """

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of this device whose content is undefined."""

    def contiguous(self, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of this device in C order; the same if it is one."""

    def resample(
        self, block: NDArray[Any], tables: Tables, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Interpolate: x first, then y, then z; same dtype out. Of cells take one voxel."""

    def resample_and_mean(
        self,
        block: NDArray[Any],
        tables: Tables,
        factors: Factors,
        out: NDArray[Any],
        coarse: NDArray[Any],
    ) -> None:
        """Do `resample`, and `mean` of its result, in one go where that is faster."""

    def mean(
        self, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Mean of the voxels that exist in every cell of `factors` (1 or 2 per axis)."""

    def maximum(
        self, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Largest of the voxels that exist in every cell of `factors`."""


def get_backend(name: str) -> Backend:
    """Return the backend called `name` (``"cpu"``, ``"cuda"`` or ``"reference"``)."""
    if name not in ("cpu", "cuda", "reference"):
        raise ValueError(f"unknown backend {name!r}")
    return cast(Backend, importlib.import_module(f"chunkscale.kernels.{name}"))
