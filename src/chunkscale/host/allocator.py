"""glibc's allocator, and pages of libraries: what of freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from chunkscale.host.memory import resident_bytes

# Of mman.h, and of malloc.h.
_MADV_DONTNEED = 4

_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3

#: Room for what takes memory before and after the regions of a run: loading kernels, what is
#: imported to write the metadata, and what of libraries a process maps again when it exits.
ONCE_BYTES = 160 * 2**20

#: Files of libraries that are never unloaded: extension modules, and the compiler of the kernels.
_STAYING = (
    *(suffix for suffix in importlib.machinery.EXTENSION_SUFFIXES if suffix != ".so"),
    "/libllvmlite.so",
)

# Of Linux's smaps: each mapping begins with its addresses; not every kernel tells what changed.
_MAPPINGS = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)

_UNCHANGED = re.compile(r"^(?:Anonymous|Swap): +0 kB$", re.MULTILINE)

_RESIDENT = re.compile(r"^Rss: +[1-9]", re.MULTILINE)

_trimming = threading.Lock()


def keep_below(limit: int) -> None:
    """Give memory back to the system if this process holds more than `limit`.

    First pages of libraries, the compiler above all: up to 150 MiB of their
    files that were needed once, and that the system maps again if they are.
    Then freed memory: glibc keeps freed blocks in one arena per thread; with a
    codec's threads they add up to more than what is in use.
    What is free at the end of a thread's arena stays (see `keep_freed`).
    Elsewhere this does nothing.
    """
    if resident_bytes() < limit or not _trimming.acquire(blocking=False):
        return
    try:
        _drop_libraries()
        trim = _glibc("malloc_trim")
        if trim is not None and resident_bytes() >= limit:
            trim(0)
    finally:
        _trimming.release()


def make_room(promise: int) -> None:
    """Give memory back if what happens once in a run could take more than a promise leaves."""
    keep_below(promise - ONCE_BYTES)


def _drop_libraries() -> None:
    advise = _glibc("madvise")
    if advise is None:
        return
    for start, size in _droppable(len(sys.modules)):
        # Not MADV_PAGEOUT, which leaves what another process has mapped, too.
        advise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


@functools.lru_cache(maxsize=1)
def _droppable(modules: int) -> list[tuple[int, int]]:
    """Return address and size of what of libraries is as in their files, and stays so.

    Looked for anew when the number of imported modules has changed. Only files
    that the loader has mapped, and has finished: once from their beginning, and
    with a part that can be written to. Who only reads a file may unmap it, and
    another mapping may be there next.
    """
    found: list[tuple[int, int]] = []
    for parts in _libraries().values():
        loaded = sum(part.offset == 0 for part in parts) == 1 and any("w" in p.mode for p in parts)
        if loaded and any(_RESIDENT.search(part.details) for part in parts):
            found += [
                (part.start, part.stop - part.start)
                for part in parts
                if part.mode in ("r--p", "r-xp") and len(_UNCHANGED.findall(part.details)) == 2
            ]
    return found


class _Mapping(NamedTuple):
    start: int
    stop: int
    mode: str
    offset: int
    details: str


def _libraries() -> dict[str, list[_Mapping]]:
    """Return the mappings of the libraries that stay, by file."""
    libraries: dict[str, list[_Mapping]] = {}
    try:
        text = Path("/proc/self/smaps").read_text("utf-8", "surrogateescape")
    except OSError:  # not Linux
        return libraries
    for mapping in _MAPPINGS.split(text):
        head, _, details = mapping.partition("\n")
        fields = head.split(maxsplit=5)
        if len(fields) == 6 and fields[5].endswith(_STAYING):
            start, stop = (int(number, 16) for number in fields[0].split("-"))
            part = _Mapping(start, stop, fields[1], int(fields[2], 16), details)
            libraries.setdefault(fields[5], []).append(part)
    return libraries


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
