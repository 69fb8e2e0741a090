"""Resident memory: of this machine, this process and its children."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable

import psutil

__all__ = ["available_bytes", "keep_below", "limit_arenas", "peak_of", "resident_bytes"]

# Of malloc.h.
_M_ARENA_MAX = -8

_trimming = threading.Lock()


def available_bytes() -> int:
    """Return how much memory new work can have without swapping."""
    return int(psutil.virtual_memory().available)


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(_this_process(os.getpid()).memory_info().rss)


@functools.lru_cache(maxsize=1)
def _this_process(pid: int) -> psutil.Process:
    # Finding a process takes longer than asking it; a fork is another one.
    return psutil.Process(pid)


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


def limit_arenas() -> None:
    """Let threads share as many of glibc's arenas as there are cores, for good.

    By default each thread gets its own, so that what one codec thread has freed
    is of no use to the next, which faults in fresh pages. It works before a
    process has many threads, and cannot be undone: for programs, not for
    libraries. Elsewhere this does nothing.
    """
    set_option = _glibc("mallopt")
    if set_option is not None:
        set_option(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    return _glibc("malloc_trim")


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None  # not glibc
    return function


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
