"""The GPU as a place to work: finding it, its memory, streams and copies.

A run has one `Gpu` per process. Regions borrow a `Lane` of it between reading
and writing: a stream, and one block of device memory that is never given
back, so that nothing is allocated per region. What is copied lies in pinned
host buffers that each thread uses again.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import math
import mmap
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import DeviceError
from chunkscale.grid import Box
from chunkscale.kernels import Factors, Tables, get_backend
from chunkscale.mapping import AxisTable, read_range, rebased
from chunkscale.plan import (
    DEVICE_ALIGNMENT,
    HUGE_PAGE,
    Region,
    ResamplePlan,
    device_bytes,
    tiles,
)
from chunkscale.region import ReadInto, cut, region_levels, sampled_box, zyx
from chunkscale.workspace import Workspace, pages

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Gpu", "Hosted", "Lane", "free_bytes", "pinned_pages", "why_unusable"]

_SMALLEST = 2**20
#: Locked for every device, not just for the current one.
_PORTABLE = 1
#: A host array goes through the device in slabs of this size, whatever is free there.
SLAB_BYTES = 2**30
_locking = threading.RLock()


def _cupy() -> ModuleType:
    import cupy

    module: ModuleType = cupy
    return module


@functools.cache
def why_unusable() -> str | None:
    """Return why no GPU can be used here; None if one can.

    CuPy is imported only where there is a driver.
    """
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
        cupy = _cupy()
        cupy.cuda.runtime.getDeviceCount()
        # Finds out whether there is a compiler for kernels, too.
        get_backend("cuda").compiled(np.dtype(np.uint16))  # type: ignore[attr-defined]
    except Exception as error:  # CuPy, CUDA and the compiler have no common base
        return f"CuPy cannot use the GPU: {(str(error) or repr(error)).splitlines()[0]}"
    return None


def free_bytes() -> int:
    """Return the free memory of the current device."""
    free, _ = _cupy().cuda.runtime.memGetInfo()
    # What CuPy holds for later is free for us.
    return int(free) + int(_cupy().get_default_memory_pool().free_bytes())


def pinned_pages(size: int) -> NDArray[np.uint8]:
    """Return page-locked host memory, which is copied at full speed: `size` bytes or a little more.

    Pages that are there already are locked about ten times as fast as the
    driver finds and locks pages of its own.
    """
    cuda = _cupy().cuda
    size = max(1, -(-size // HUGE_PAGE)) * HUGE_PAGE
    memory = pages(size + HUGE_PAGE)
    start = -memory.ctypes.data % HUGE_PAGE
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


class Lane:
    """A stream of the device and its memory: what one region uses at a time.

    Parameters
    ----------
    capacity : int
        Bytes of device memory.
    """

    def __init__(self, capacity: int) -> None:
        cupy = _cupy()
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
        with self.stream, _cupy().cuda.using_allocator(self._allocate):
            yield

    def _allocate(self, size: int) -> Any:
        start = self._used
        self._used += -(-size // DEVICE_ALIGNMENT) * DEVICE_ALIGNMENT
        if self._used > self.capacity:
            raise AssertionError(
                f"a tile needs more than the {self.capacity} bytes that were planned for it"
            )
        return self._memory + start

    def upload(self, block: NDArray[Any]) -> Any:
        """Begin to copy a block, (z, y, x) with whole rows, and return the copy."""
        cupy = _cupy()
        result = cupy.empty(block.shape, block.dtype)
        to, of = (result.data.ptr, result.strides[0]), (block.ctypes.data, block.strides[0])
        self._copy(to, of, block, cupy.cuda.runtime.memcpyHostToDevice)
        return result

    def download(self, data: Any, block: NDArray[Any]) -> None:
        """Begin to copy device data into a block, (z, y, x) with whole rows."""
        to, of = (block.ctypes.data, block.strides[0]), (data.data.ptr, data.strides[0])
        self._copy(to, of, block, _cupy().cuda.runtime.memcpyDeviceToHost)

    def _copy(
        self, to: tuple[int, int], of: tuple[int, int], block: NDArray[Any], kind: int
    ) -> None:
        """Copy planes; `to` and `of` are an address and the distance of its planes."""
        runtime, stream = _cupy().cuda.runtime, self.stream.ptr
        depth, plane = block.shape[0], math.prod(block.shape[1:]) * block.itemsize
        if depth == 1 or to[1] == of[1] == plane:
            runtime.memcpyAsync(to[0], of[0], depth * plane, kind, stream)
        else:
            runtime.memcpy2DAsync(to[0], to[1], of[0], of[1], plane, depth, kind, stream)


class Gpu:
    """A device, in as many lanes as a plan says; made anew in another process.

    Parameters
    ----------
    lanes : int
        Regions on the device at the same time.
    capacity : int
        Bytes of device memory of a lane.
    """

    def __init__(self, lanes: int, capacity: int) -> None:
        self.lanes, self.capacity = lanes, capacity
        # Threads of a pool have a current device of their own.
        self._device: int = _cupy().cuda.Device().id
        self._workspace = Workspace(pinned_pages)
        self._tickets = threading.BoundedSemaphore(lanes)
        # The last one used comes first: no more are made than are needed.
        self._idle: queue.LifoQueue[Lane] = queue.LifoQueue()
        self._making = threading.Lock()
        self._made = 0
        self._copying = threading.Lock()
        self._copied: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.lanes, self.capacity)

    @contextlib.contextmanager
    def _lane(self) -> Iterator[Lane]:
        with self._tickets:
            try:
                lane = self._idle.get_nowait()
            except queue.Empty:
                lane = self._new_lane()
            try:
                yield lane
            finally:
                # Also where something failed: what is still copied must not outlive its buffers.
                lane.stream.synchronize()
                self._idle.put(lane)

    def _new_lane(self) -> Lane:
        """Make a lane; the first one with less memory if the device has not what was planned."""
        cupy = _cupy()
        with self._making:
            capacity = self.capacity
            while True:
                try:
                    lane = Lane(capacity)
                    self._made += 1
                    return lane
                except cupy.cuda.memory.OutOfMemoryError as error:
                    cupy.get_default_memory_pool().free_all_blocks()
                    if self._made:
                        break  # there are others to wait for
                    if capacity <= _SMALLEST:
                        raise DeviceError(
                            f"the GPU has no memory left: {error}; free some, or use device cpu"
                        ) from error
                    capacity //= 2
        return self._idle.get()

    def levels(
        self, plan: ResamplePlan, region: Region, read: ReadInto
    ) -> Iterator[tuple[int, Box, NDArray[Any]]]:
        """Yield the levels of a region; see `chunkscale.region.Device`."""
        with _cupy().cuda.Device(self._device):
            results = self._levels(plan, region, read)
        yield from results

    def _levels(
        self, plan: ResamplePlan, region: Region, read: ReadInto
    ) -> list[tuple[int, Box, NDArray[Any]]]:
        dtype = np.dtype(plan.dtype)
        box = sampled_box(plan, region)
        block = None
        if box is not None:
            block = read(box, self._workspace.array("source", box.shape, dtype))
        results = [
            # By position, not by level: a later pass takes the buffers of the first.
            (level, owned, self._workspace.array(f"output {position}", owned.shape, dtype))
            for position, (level, owned) in enumerate(region.boxes)
        ]
        with self._lane() as lane:
            for tile in tiles(plan, region, lane.capacity):
                self._run_tile(lane, plan, tile, box, block, results)
        return results

    def _run_tile(
        self,
        lane: Lane,
        plan: ResamplePlan,
        tile: Region,
        box: Box | None,
        block: NDArray[Any] | None,
        results: Sequence[tuple[int, Box, NDArray[Any]]],
    ) -> None:
        """Begin the copies and kernels of a tile; `block` is what the region reads of `box`."""
        cuda = get_backend("cuda")

        def read(part: Box) -> Any:
            assert box is not None
            assert block is not None
            return lane.upload(cut(block, box, part)).reshape(part.shape)

        def empty(_: int, shape: tuple[int, ...]) -> Any:
            return cuda.empty(shape, np.dtype(plan.dtype))

        with lane.tile():
            made = list(region_levels(plan, tile, read, empty, cuda))
            # The device copies in one order: of two lanes whose copies alternate, both end late,
            # and nothing is copied while both begin anew.
            with self._copying:
                if self._copied is not None:
                    lane.stream.wait_event(self._copied)
                for (_, part, data), (_, owned, result) in zip(made, results, strict=True):
                    lane.download(zyx(data), cut(result, owned, part))
                self._copied = lane.stream.record(_cupy().cuda.Event(disable_timing=True))


class Hosted:
    """The CUDA kernels for arrays of the host, slab by slab where the device is too small.

    Parameters
    ----------
    limit : int, optional
        Bytes of device memory; default: `SLAB_BYTES`, or four fifths of what is free.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._cuda = get_backend("cuda")
        self.limit = min(SLAB_BYTES, free_bytes() * 4 // 5) if limit is None else limit

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a host array whose content is undefined."""
        return np.empty(shape, dtype)

    def contiguous(self, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a C-ordered array on the host."""
        return np.ascontiguousarray(array, dtype)

    def resample(
        self, block: NDArray[Any], tables: Tables, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Interpolate; see `chunkscale.kernels.Backend`."""
        cupy = _cupy()
        shape = tuple(len(t.index) for t in tables)
        if out is None:
            out = np.empty(shape, block.dtype)
        slabs = [(0, shape[0])]
        while slabs:
            start, stop = slabs.pop()
            z = AxisTable(
                tables[0].interpolation,
                tables[0].index[start:stop],
                tables[0].weight[start:stop],
            )
            first, last = read_range(z)
            read = (last - first, *block.shape[1:])
            needed = device_bytes(read, [(stop - start, *shape[1:])], block.itemsize, tables)
            if needed > self.limit and stop - start > 1:
                middle = (start + stop) // 2
                slabs += [(middle, stop), (start, middle)]
                continue
            try:
                # Not `asarray`: it would go through a pinned copy, rounded to a power of two.
                part = cupy.empty(read, block.dtype)
                part.set(np.ascontiguousarray(block[first:last]))
                result: Any = self._cuda.resample(part, (rebased(z, first), *tables[1:]))
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceError(
                    f"a plane of {shape[1]} x {shape[2]} voxels does not fit into the GPU's "
                    f"memory: {error}; use device cpu"
                ) from error
            result.get(out=out[start:stop])
        return out

    def resample_and_mean(
        self,
        block: NDArray[Any],
        tables: Tables,
        factors: Factors,
        out: NDArray[Any],
        coarse: NDArray[Any],
    ) -> None:
        """Interpolate and average cells; see `chunkscale.kernels.Backend`."""
        self.mean(self.resample(block, tables, out), factors, coarse)

    def mean(
        self, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Average cells; see `chunkscale.kernels.Backend`."""
        return self._combined(self._cuda.mean, block, factors, out)

    def mode(
        self, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Find modes; see `chunkscale.kernels.Backend`."""
        return self._combined(self._cuda.mode, block, factors, out)

    @staticmethod
    def _combined(
        combine: Any, block: NDArray[Any], factors: Factors, out: NDArray[Any] | None
    ) -> NDArray[Any]:
        result: NDArray[Any] = combine(_cupy().asarray(block), factors).get(out=out)
        return result
