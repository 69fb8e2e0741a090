"""The story of one region: read its source box, resample, make its levels, write them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from chunkscale.compute.levels import Device
from chunkscale.geometry.box import Box
from chunkscale.plan.model import ResamplePlan
from chunkscale.run.job import no_guard
from chunkscale.run.records import Record
from chunkscale.sources.base import Voxels
from chunkscale.storage.writer import ArrayWriter


def process_region(
    plan: ResamplePlan,
    index: int,
    source: Voxels,
    target: Sequence[ArrayWriter],
    device: Device,
    guard: Callable[[], None] = no_guard,
) -> Record:
    """Make one region: everything that it owns, at every level of its pass.

    Parameters
    ----------
    plan : ResamplePlan
    index : int
        Region number.
    source : Voxels
        Level 0 of the source.
    target : sequence of ArrayWriter
        The levels of the output.
    device : Device
        What computes; its host buffers are free again when this returns.
    guard : callable
        Called before anything is written; raises if this run may not write any more.
    """
    region = plan.region(index)
    clock = time.perf_counter()
    read_seconds = 0.0

    def read(box: Box, out: NDArray[Any]) -> NDArray[Any]:
        nonlocal read_seconds
        start = time.perf_counter()
        (source if region.reads is None else target[region.reads]).read(box, out)
        read_seconds += time.perf_counter() - start
        return out

    pending: dict[int, list[tuple[ArrayWriter, Any]]] = {level: [] for level, _ in region.boxes}
    voxels, waited = 0, 0.0
    try:
        for level, box, data in device.levels(plan, region, read):
            writes = pending[level]
            guard()
            writes.append((target[level], target[level].start_write(box, data)))
            voxels += box.size
            start = time.perf_counter()
            # The next slab takes the place of the one before this.
            _finish(writes[:-1])
            del writes[:-1]
            waited += time.perf_counter() - start
    except BaseException:
        with contextlib.suppress(OSError):
            _finish([write for writes in pending.values() for write in writes])
        raise
    computed = time.perf_counter()
    _finish([write for writes in pending.values() for write in writes])
    stored = sum(target[level].stored_size(box) for level, box in region.boxes)
    return Record(
        index=index,
        voxels=voxels,
        nbytes=voxels * plan.source.itemsize,
        read_seconds=read_seconds,
        compute_seconds=computed - clock - read_seconds - waited,
        write_seconds=time.perf_counter() - computed + waited,
        stored=stored,
    )


def _finish(pending: Sequence[tuple[ArrayWriter, Any]]) -> None:
    """Wait for all writes, also if one fails: their buffers are used again."""
    failure: OSError | None = None
    for writer, future in pending:
        try:
            writer.finish_write(future)
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure
