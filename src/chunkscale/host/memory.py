"""Memory of this machine, and of a process and its children."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import time
from typing import Any

import psutil

from chunkscale.errors import MemoryBudgetError


def available_bytes() -> int:
    """Return how much memory new work can have without swapping."""
    return int(_machine().available)


def total_bytes() -> int:
    """Return how much memory this machine has."""
    return int(_machine().total)


def _machine() -> Any:
    try:
        return psutil.virtual_memory()
    except OSError as error:
        raise MemoryBudgetError(
            f"the memory of this machine is unknown ({error}); on Linux, mount /proc"
        ) from error


#: Resident memory that CuPy takes at most, where there is a driver.
_CUPY_BYTES = 256 * 2**20


@functools.cache
def bystander_bytes() -> int:
    """Return what CuPy takes, which zarr imports wherever it is installed, of use here or not."""
    try:
        spec = importlib.util.find_spec("cupy")
    except ValueError:  # something else has taken its place
        return 0
    # A folder of that name has no origin.
    return _CUPY_BYTES if spec is not None and spec.origin is not None else 0


def peak_of(process: subprocess.Popen[bytes], interval: float = 0.005) -> int:
    """Wait for a process; return the peak resident memory of it and its children together.

    Parameters
    ----------
    process : subprocess.Popen
    interval : float
        Seconds between two looks.
    """
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            tree = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(p.memory_info().rss for p in tree))
        except psutil.NoSuchProcess:
            break
        time.sleep(interval)
    process.wait()
    return peak
