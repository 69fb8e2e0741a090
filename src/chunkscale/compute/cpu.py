"""The processor as a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.compute.levels import ReadInto, reduce_box, region_levels, resample_box
from chunkscale.compute.workspace import Workspace
from chunkscale.geometry.box import Box
from chunkscale.kernels.backend import Backend, get_backend
from chunkscale.plan.model import ResamplePlan
from chunkscale.plan.regions import Region


class Cpu:
    """The processor: every thread computes its region in buffers of its own.

    Parameters
    ----------
    plans : sequence of ResamplePlan
        Their kernels are loaded, or compiled, at once: compilers need memory that
        regions are promised.
    """

    def __init__(self, plans: Sequence[ResamplePlan]) -> None:
        self._backend = get_backend("cpu")
        self._workspace = Workspace()
        for plan in {id(plan): plan for plan in plans}.values():
            _load_kernels(plan, self._backend)

    def levels(
        self, plan: ResamplePlan, region: Region, read: ReadInto
    ) -> Iterator[tuple[int, Box, NDArray[Any]]]:
        """Yield the levels of a region; see `chunkscale.compute.levels.Device`."""
        dtype, workspace = np.dtype(plan.dtype), self._workspace
        return region_levels(
            plan,
            region,
            lambda box: read(box, workspace.array("source", box.shape, dtype)),
            lambda place, shape: workspace.array(f"output {place}", shape, dtype),
            self._backend,
        )


def _load_kernels(plan: ResamplePlan, backend: Backend) -> None:
    dtype, shape = np.dtype(plan.dtype), plan.levels[0].shape
    # Some voxels: of one alone it does not show which axes change, and so which kernel is needed.
    stop = (1,) * len(shape[:-3]) + tuple(min(n, 4) for n in shape[-3:])
    # NaN: what makes such voxels again is loaded as well.
    voxel = dtype.type(np.nan if dtype.kind == "f" else 0)
    resample_box(
        plan.mapping,
        Box(start=(0,) * len(shape), stop=stop),
        lambda box: np.full(box.shape, voxel),
        outside=None,
        dtype=dtype,
        backend=backend,
    )
    for factors in {plan.level_ratio(k - 1, k) for k in range(1, len(plan.levels))}:
        reduce_box(np.full(factors, voxel), factors, downsample=plan.downsample, backend=backend)
