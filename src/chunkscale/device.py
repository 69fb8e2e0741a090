"""What computes: the processor or the GPU, chosen by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chunkscale import options
from chunkscale.errors import OptionError
from chunkscale.grid import Box
from chunkscale.kernels import Backend, get_backend
from chunkscale.memory import make_room
from chunkscale.plan import Region, ResamplePlan
from chunkscale.region import Device, ReadInto, reduce_box, region_levels, resample_box
from chunkscale.workspace import Workspace

__all__ = ["Cpu", "array_backend", "at_array", "open_device"]


class Cpu:
    """The processor: every thread computes its region in buffers of its own.

    Parameters
    ----------
    plan : ResamplePlan
        Its kernels are loaded, or compiled, at once: compilers need memory that
        regions are promised.
    """

    def __init__(self, plan: ResamplePlan) -> None:
        self._backend = get_backend("cpu")
        self._workspace = Workspace()
        make_room(plan.memory.total)
        _load_kernels(plan, self._backend)

    def levels(
        self, plan: ResamplePlan, region: Region, read: ReadInto
    ) -> Iterator[tuple[int, Box, NDArray[Any]]]:
        """Yield the levels of a region; see `chunkscale.region.Device`."""
        dtype, workspace = np.dtype(plan.dtype), self._workspace
        return region_levels(
            plan,
            region,
            lambda box: read(box, workspace.array("source", box.shape, dtype)),
            lambda place, shape: workspace.array(f"output {place}", shape, dtype),
            self._backend,
        )


def open_device(plan: ResamplePlan) -> Device:
    """Return the device that a plan names, with what the plan allows it."""
    if plan.device == "cpu":
        return Cpu(plan)
    from chunkscale.gpu import Gpu

    options.devices("gpu")  # refuses where there is none
    get_backend("cuda").compiled(np.dtype(plan.dtype))  # type: ignore[attr-defined]
    assert plan.device_memory is not None
    return Gpu(plan.device_memory.lanes, plan.device_memory.per_lane)


def _load_kernels(plan: ResamplePlan, backend: Backend) -> None:
    dtype, shape = np.dtype(plan.dtype), plan.levels[0].shape
    # Some voxels: of one alone it does not show which axes change, and so which kernel is needed.
    stop = (1,) * len(shape[:-3]) + tuple(min(n, 4) for n in shape[-3:])
    resample_box(
        plan.mapping, Box(start=(0,) * len(shape), stop=stop),
        lambda box: np.zeros(box.shape, dtype), outside=None, dtype=dtype, backend=backend,
    )  # fmt: skip
    for factors in {plan.level_ratio(k - 1, k) for k in range(1, len(plan.levels))}:
        reduce_box(np.zeros(factors, dtype), factors, method=plan.method, backend=backend)


def array_backend(array: object, device: str) -> Backend:
    """Return what resamples an array in memory: on the GPU where it lies there."""
    options.check_device(device)
    if _is_on_gpu(array):
        if device == "cpu":
            raise OptionError("the array is on the GPU, and device is 'cpu'; copy it or use auto")
        return get_backend("cuda")
    if options.devices(device)[0] == "cpu":
        return get_backend("cpu")
    from chunkscale.gpu import Hosted

    return Hosted()


def at_array(array: object) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which new arrays lie on the device of this one."""
    return cast(Any, array).device if _is_on_gpu(array) else contextlib.nullcontext()


def _is_on_gpu(array: object) -> bool:
    # Without importing CuPy.
    return type(array).__module__.partition(".")[0] == "cupy"
