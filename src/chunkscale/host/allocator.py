"""glibc's allocator: what of freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable

from chunkscale.host.memory import resident_bytes

_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3

_trimming = threading.Lock()


def keep_below(limit: int) -> None:
    """Give memory back to the system if this process holds more than `limit`.

    glibc keeps freed blocks in one arena per thread; with a codec's threads
    they add up to more than what is in use.
    What is free at the end of a thread's arena stays (see `keep_freed`).
    Elsewhere this does nothing.
    """
    if resident_bytes() < limit or not _trimming.acquire(blocking=False):
        return
    try:
        trim = _glibc("malloc_trim")
        if trim is not None:
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


#: glibc's own limits for what it learns to keep, and a default of its.
_MOST_LEARNED = 32 * 2**20

_LEARNED = ((_M_TRIM_THRESHOLD, 2 * _MOST_LEARNED), (_M_MMAP_THRESHOLD, _MOST_LEARNED))

_MMAP_DEFAULT = (_M_MMAP_THRESHOLD, 128 * 2**10)

_TRIM_VARIABLE = "MALLOC_TRIM_THRESHOLD_"


def keep_freed(most: int) -> None:
    """Let glibc keep freed blocks for who asks next: up to about `most` bytes in each arena.

    It learns that from the largest block that was freed, for good, as most
    programs with arrays have taught it before. Codecs only need small ones, and
    a tenth of a run was page faults. Where thresholds were set, and without
    glibc, this does nothing.
    """
    allocate, release = _glibc("malloc"), _glibc("free")
    if allocate is None or release is None:
        return
    allocate.restype = ctypes.c_void_p  # type: ignore[attr-defined]
    # Twice a block's size is kept; the largest that counts has a header, too.
    block = allocate(ctypes.c_size_t(min(most // 2, _MOST_LEARNED - 2**16)))
    release(ctypes.c_void_p(block))


def reuse_freed(wanted: bool) -> None:
    """Let glibc keep freed blocks although the environment tells it to give them back, or not.

    Dask starts its workers with a small ``MALLOC_TRIM_THRESHOLD_``. It costs a
    page fault for every page of every buffer that a codec takes: reading and
    writing took two to three times as long. Without that variable, and where
    there is no glibc, this does nothing.
    """
    text = os.environ.get(_TRIM_VARIABLE, "")
    if not text.isdigit():
        return
    set_option = _glibc("mallopt")
    if set_option is None:
        return
    for option, value in _LEARNED if wanted else ((_M_TRIM_THRESHOLD, int(text)), _MMAP_DEFAULT):
        set_option(option, value)
    if not wanted:
        keep_below(0)


@functools.cache
def _glibc(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None  # not glibc
    return function
