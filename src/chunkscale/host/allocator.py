"""glibc's allocator: whether freed memory goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Iterator

_TRIM_VARIABLE = "MALLOC_TRIM_THRESHOLD_"

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

#: The most that glibc learns to keep by itself, from what is freed.
_LEARNED = ((_M_TRIM_THRESHOLD, 64 * 2**20), (_M_MMAP_THRESHOLD, 32 * 2**20))

_MMAP_DEFAULT = 128 * 2**10

_changing = threading.Lock()

_inside = 0


@contextlib.contextmanager
def tuned() -> Iterator[None]:
    """Let glibc keep freed blocks although the environment tells it to give them back.

    Dask starts its workers with a small ``MALLOC_TRIM_THRESHOLD_``. It costs a
    page fault for every page of every buffer that a codec takes, a third of a
    run: 12.6 core seconds instead of 8.0, 1.1 million faults instead of 0.08.
    ``MALLOC_TRIM_THRESHOLD_=65536 python asv_bench/compare.py --jobs C`` shows
    it beside the same without the variable, as local runs are left alone.
    Delete this when Dask no longer sets it (``distributed.nanny.pre-spawn-environ``).

    Several threads may be inside; the last to leave gives back what is free.
    Without that variable, and without glibc, this does nothing.
    """
    global _inside
    text = os.environ.get(_TRIM_VARIABLE, "")
    if not text.isdigit() or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    with _changing:
        _inside += 1
        if _inside == 1:
            for option, value in _LEARNED:
                libc.mallopt(option, value)
    try:
        yield
    finally:
        with _changing:
            _inside -= 1
            if _inside == 0:
                libc.mallopt(_M_TRIM_THRESHOLD, int(text))
                libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_DEFAULT)
                libc.malloc_trim(0)
