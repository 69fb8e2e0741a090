"""Lanes: a stream and a block of device memory each, and pinned host memory."""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.compute.gpu.find import load_cupy
from chunkscale.compute.workspace import pages
from chunkscale.plan import policy


class Lane:
    """A stream of the device and its memory: what one region uses at a time.

    Parameters
    ----------
    capacity : int
        Bytes of device memory.
    """

    def __init__(self, capacity: int) -> None:
        cupy = load_cupy()
        self.capacity = capacity
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._memory = cupy.cuda.alloc(capacity)
        self._used = 0

    @contextlib.contextmanager
    def tile(self) -> Iterator[None]:
        """Let CuPy work in this stream and take its memory here, from the start again.

        What an earlier tile still does in the stream comes before.
        """
        self._used = 0
        with self.stream, load_cupy().cuda.using_allocator(self._allocate):
            yield

    def _allocate(self, size: int) -> Any:
        start = self._used
        self._used += -(-size // policy.DEVICE_ALIGNMENT) * policy.DEVICE_ALIGNMENT
        if self._used > self.capacity:
            raise AssertionError(
                f"a tile needs more than the {self.capacity} bytes that were planned for it"
            )
        return self._memory + start

    def upload(self, block: NDArray[Any]) -> Any:
        """Begin to copy a block, (z, y, x) with whole rows, and return the copy."""
        cupy = load_cupy()
        result = cupy.empty(block.shape, block.dtype)
        to, of = (result.data.ptr, result.strides[0]), (block.ctypes.data, block.strides[0])
        self._copy(to, of, block, cupy.cuda.runtime.memcpyHostToDevice)
        return result

    def download(self, data: Any, block: NDArray[Any]) -> None:
        """Begin to copy device data into a block, (z, y, x) with whole rows."""
        to, of = (block.ctypes.data, block.strides[0]), (data.data.ptr, data.strides[0])
        self._copy(to, of, block, load_cupy().cuda.runtime.memcpyDeviceToHost)

    def _copy(
        self, to: tuple[int, int], of: tuple[int, int], block: NDArray[Any], kind: int
    ) -> None:
        """Copy planes; `to` and `of` are an address and the distance of its planes."""
        runtime, stream = load_cupy().cuda.runtime, self.stream.ptr
        depth, plane = block.shape[0], math.prod(block.shape[1:]) * block.itemsize
        if depth == 1 or to[1] == of[1] == plane:
            runtime.memcpyAsync(to[0], of[0], depth * plane, kind, stream)
        else:
            runtime.memcpy2DAsync(to[0], to[1], of[0], of[1], plane, depth, kind, stream)


def pinned_pages(size: int) -> NDArray[np.uint8]:
    """Return page-locked host memory, which is copied at full speed: `size` bytes or a little more.

    Pages that are there already are locked about ten times as fast as the
    driver finds and locks pages of its own.
    """
    cuda = load_cupy().cuda
    size = max(1, -(-size // policy.HUGE_PAGE)) * policy.HUGE_PAGE
    memory = pages(size + policy.HUGE_PAGE)
    start = -memory.ctypes.data % policy.HUGE_PAGE
    locked, address = memory[start : start + size], memory.ctypes.data + start
    locked[:: mmap.PAGESIZE] = 0
    try:
        _lock_pages(cuda.runtime.hostRegister, address, size, _PORTABLE)
    except cuda.runtime.CUDARuntimeError:
        # Not everywhere may memory of others be locked.
        own = cuda.PinnedMemoryPointer(cuda.PinnedMemory(size), 0)
        return np.frombuffer(own, np.uint8, size)
    weakref.finalize(memory, _lock_pages, cuda.runtime.hostUnregister, address)
    return locked


def _lock_pages(change: Callable[..., None], *arguments: int) -> None:
    # Of two threads that do this at once, one may be told that its pages are locked already. A
    # finalizer may run while its own thread is here.
    with _locking:
        change(*arguments)


_locking = threading.RLock()

#: Locked for every device, not just for the current one.
_PORTABLE = 1
