"""What computes: the processor or the GPU, chosen by name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from chunkscale import options
from chunkscale.compute.cpu import Cpu
from chunkscale.compute.levels import Device
from chunkscale.errors import DeviceError, OptionError
from chunkscale.kernels.backend import Backend, get_backend
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.foreign import is_on_gpu


def open_device(plans: Sequence[ResamplePlan]) -> Device:
    """Return the device that plans name, with what they allow it for regions of any of them."""
    if plans[0].device == "cpu":
        return Cpu(plans)
    from chunkscale.compute.gpu.device import Gpu

    device_choices("gpu")  # refuses where there is none
    for dtype in {plan.dtype for plan in plans}:
        get_backend("cuda").compiled(np.dtype(dtype))  # type: ignore[attr-defined]
    needed = [plan.device_memory for plan in plans if plan.device_memory is not None]
    # Each keeps below what the device has free: so many of the largest fit whatever they hold.
    return Gpu(min(memory.lanes for memory in needed), max(memory.per_lane for memory in needed))


def array_backend(array: object, device: str) -> Backend:
    """Return what resamples an array in memory: on the GPU where it lies there."""
    check_device(device)
    if is_on_gpu(array):
        if device == "cpu":
            raise OptionError("the array is on the GPU, but device is 'cpu'; copy it, or use auto")
        return get_backend("cuda")
    if device_choices(device)[0] == "cpu":
        return get_backend("cpu")
    from chunkscale.compute.gpu.hosted import Hosted

    return Hosted()


def at_array(array: object) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which new arrays lie on the device of this one."""
    return cast(Any, array).device if is_on_gpu(array) else contextlib.nullcontext()


def check_device(name: str) -> None:
    """Refuse a device option that is none."""
    if name not in ("auto", "cpu", "gpu"):
        raise OptionError(f"device {name!r} is unknown; use auto, cpu or gpu")


def device_choices(name: str, *, local: bool = True) -> tuple[str, ...]:
    """Return the devices that an option means, the best first: ``"cpu"``, ``"gpu"``.

    Parameters
    ----------
    name : {"auto", "cpu", "gpu"}
    local : bool
        Whether this process computes. The workers of a cluster find out for
        themselves whether they have the GPU that is asked for.
    """
    check_device(name)
    if not local:
        return ("gpu",) if name == "gpu" else ("cpu",)
    if name == "cpu":
        return ("cpu",)
    from chunkscale.compute.gpu.find import why_unusable

    reason = why_unusable()
    if name == "gpu" and reason is not None:
        raise DeviceError(f"device 'gpu' cannot be used: {reason}; or use device cpu")
    if name == "gpu":
        return ("gpu",)
    return ("cpu",) if reason is not None else ("gpu", "cpu")


def device_memory_bytes(value: int | str | None, *, local: bool = True) -> int:
    """Return the bytes for buffers on a GPU; of a worker elsewhere, what any GPU has."""
    if value is not None:
        return options.parse_bytes(value, "device memory")
    if not local:
        return 4 * options.GIB
    from chunkscale.compute.gpu.find import free_bytes

    return free_bytes() * 4 // 5
