"""Find the GPU, and say why none can be used."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from typing import TYPE_CHECKING

import numpy as np

from chunkscale.host.forks import fork_error, inherited
from chunkscale.kernels.backend import get_backend

if TYPE_CHECKING:
    from types import ModuleType


def load_cupy() -> ModuleType:
    import cupy

    module: ModuleType = cupy
    return module


def why_unusable() -> str | None:
    """Return why no GPU can be used here; None if one can.

    CuPy is imported only where there is a driver.
    """
    if inherited("cupy"):
        return str(fork_error("the GPU"))
    return _why_unusable()


@functools.cache
def _why_unusable() -> str | None:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver"
    if importlib.util.find_spec("cupy") is None:
        return (
            "CuPy is not installed; install the extra chunkscale[cuda13] or chunkscale[cuda12], "
            "whichever the driver supports"
        )
    try:
        cupy = load_cupy()
        cupy.cuda.runtime.getDeviceCount()
        # Finds out whether there is a compiler for kernels, too.
        get_backend("cuda").compiled(np.dtype(np.uint16))  # type: ignore[attr-defined]
    except Exception as error:  # CuPy, CUDA and the compiler have no common base
        return f"CuPy cannot use the GPU: {(str(error) or repr(error)).splitlines()[0]}"
    return None


def free_bytes() -> int:
    """Return the free memory of the current device."""
    free, _ = load_cupy().cuda.runtime.memGetInfo()
    # What CuPy holds for later is free for us.
    return int(free) + int(load_cupy().get_default_memory_pool().free_bytes())
