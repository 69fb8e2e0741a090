"""Large arrays that a thread uses again for its next region.

Fresh memory costs a page fault for every page and, where an allocator keeps
freed blocks in one arena per thread, stays resident long after it was freed.
"""

from __future__ import annotations

import math
import mmap
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Workspace:
    """Named buffers, one set for each thread; released with the workspace.

    Parameters
    ----------
    new : callable, optional
        Returns bytes of fresh memory; default: `pages`.

    Examples
    --------
    >>> workspace = Workspace()
    >>> first = workspace.array("source", (2, 3), "uint16")
    >>> again = workspace.array("source", (4,), "uint8")
    >>> first.shape, again.shape, np.shares_memory(first, again)
    ((2, 3), (4,), True)
    """

    def __init__(self, new: Callable[[int], NDArray[np.uint8]] | None = None) -> None:
        self._new = new or pages
        self._local = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process begins with buffers of its own.
        return type(self), (self._new,)

    def array(self, name: str, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array whose content is undefined; it replaces the last one of that name."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        buffers = self._local.__dict__
        if name not in buffers or buffers[name].nbytes < size:
            buffers.pop(name, None)
            buffers[name] = self._new(size)
        flat: NDArray[np.uint8] = buffers[name][:size]
        return flat.view(kind).reshape(shape)


def pages(size: int) -> NDArray[np.uint8]:
    """Return anonymous memory that does not pass through the allocator's arenas."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return np.frombuffer(mmap.mmap(-1, max(1, size)), np.uint8)
    # Shared mappings, Python's default, never get huge pages, and forked processes share them.
    memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)
