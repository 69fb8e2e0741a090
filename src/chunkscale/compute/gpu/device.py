"""The GPU as a device."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.compute.gpu.find import load_cupy
from chunkscale.compute.gpu.lanes import Lane, pinned_pages
from chunkscale.compute.levels import ReadInto, cut, region_levels, sampled_box, zyx
from chunkscale.compute.workspace import Workspace
from chunkscale.errors import DeviceError
from chunkscale.geometry.box import Box
from chunkscale.kernels.backend import get_backend
from chunkscale.plan.model import ResamplePlan
from chunkscale.plan.regions import Region
from chunkscale.plan.tiles import tiles


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
        self._device: int = load_cupy().cuda.Device().id
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
        cupy = load_cupy()
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
        """Yield the levels of a region; see `chunkscale.compute.levels.Device`."""
        with load_cupy().cuda.Device(self._device):
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
                self._copied = lane.stream.record(load_cupy().cuda.Event(disable_timing=True))


_SMALLEST = 2**20
