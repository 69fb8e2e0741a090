"""Memory of this machine, of this process and of its children."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import time

import psutil


def available_bytes() -> int:
    """Return how much memory new work can have without swapping."""
    return int(psutil.virtual_memory().available)


#: Libraries that zarr (the first) and Dask (the second, and pandas with it) import wherever they
#: are installed, and the resident memory that they take at most: CuPy does where there is a driver.
_BYSTANDERS = {"cupy": 192 * 2**20, "xarray": 96 * 2**20}


@functools.cache
def bystander_bytes() -> int:
    """Return what libraries take that are of no use here and are imported all the same."""
    return sum(size for name, size in _BYSTANDERS.items() if _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # something else has taken its place
        return False
    return spec is not None and spec.origin is not None  # a folder of that name has no origin


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(_this_process(os.getpid()).memory_info().rss)


@functools.lru_cache(maxsize=1)
def _this_process(pid: int) -> psutil.Process:
    # Finding a process takes longer than asking it; a fork is another one.
    return psutil.Process(pid)


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
