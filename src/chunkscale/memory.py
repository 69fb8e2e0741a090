"""Resident memory: of this machine, this process and its children."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import threading
import time
from collections.abc import Callable

import psutil

__all__ = ["available_bytes", "keep_below", "peak_of", "resident_bytes"]

_trimming = threading.Lock()


def available_bytes() -> int:
    """Return how much memory new work can have without swapping."""
    return int(psutil.virtual_memory().available)


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def keep_below(limit: int) -> None:
    """Give freed memory back to the system if this process holds more than `limit`.

    glibc keeps freed blocks in one arena per thread; with a codec's threads
    they add up to more than what is in use. Elsewhere this does nothing.
    """
    if resident_bytes() < limit:
        return
    trim = _malloc_trim()
    if trim is not None and _trimming.acquire(blocking=False):
        try:
            trim(0)
        finally:
            _trimming.release()


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # not glibc
    return trim


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
