"""Regions in parts that fit into a device's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chunkscale.errors import MemoryBudgetError
from chunkscale.geometry.box import between, cell_counts
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.tables import AxisTable
from chunkscale.plan import policy
from chunkscale.plan.model import ResamplePlan
from chunkscale.plan.regions import Region


def tiles(plan: ResamplePlan, region: Region, limit: int) -> Iterator[Region]:
    """Yield a region in parts that each take at most `limit` bytes of device memory.

    Parts are single frames, cut along z and y where cells of all the region's levels end.

    Raises
    ------
    MemoryBudgetError
        If rows cannot be cut that small.
    """
    first, box = region.boxes[0]
    for axis, size in enumerate(box.shape[:-3]):
        if size > 1:
            for i in range(box.start[axis], box.stop[axis]):
                yield from tiles(plan, plan.part(region, between(box, axis, i, i + 1)), limit)
            return
    needed = device_bytes(
        region.source_box.shape[-3:],
        [owned.shape[-3:] for _, owned in region.boxes],
        plan.source.itemsize,
        plan.mapping if region.reads is None else (),
        filled=plan.outside is not None,
    )
    if needed <= limit:
        yield region
        return
    cells = plan.level_ratio(first, region.boxes[-1][0])
    counts = cell_counts(box.shape, cells)
    axis = max(range(max(0, len(counts) - 3), len(counts) - 1), key=lambda i: box.shape[i])
    if counts[axis] < 2:
        axis = max(range(max(0, len(counts) - 3), len(counts) - 1), key=lambda i: counts[i])
    if counts[axis] < 2:
        raise MemoryBudgetError(
            f"the smallest part of a region needs {needed / policy.MIB:.1f} MiB on the device, "
            f"but device memory is limited to {limit / policy.MIB:.1f} MiB for each; raise "
            "device_memory (--device-memory), or use fewer levels or smaller chunks"
        )
    middle = box.start[axis] + counts[axis] // 2 * cells[axis]
    for start, stop in ((box.start[axis], middle), (middle, box.stop[axis])):
        half = between(box, axis, start, stop)
        yield from tiles(plan, plan.part(region, half), limit)


def device_bytes(
    read: Sequence[int],
    levels: Sequence[Sequence[int]],
    itemsize: int,
    axes: Sequence[AxisMapping | AxisTable],
    *,
    filled: bool = False,
) -> int:
    """Return the most device memory that a box takes.

    Parameters
    ----------
    read : sequence of int
        Shape of the source box, the last three axes at most.
    levels : sequence of sequence of int
        Shapes of what is made.
    itemsize : int
        Bytes per voxel.
    axes : sequence of AxisMapping or AxisTable
        How the first of `levels` is interpolated; empty if it is a mean.
    filled : bool
        Whether a part of it can lie outside the source.
    """
    (mz, my, _), (nz, ny, nx) = (1, *read)[-3:], (1, *levels[0])[-3:]
    made = [math.prod(shape) * itemsize for shape in levels]
    parts = [math.prod(read) * itemsize, *made, *(made[:1] if filled else ())]
    taps = 1
    if any(axis.kind == "weights" for axis in axes):
        # Through arrays in the compute type, one axis after the other.
        wide = 4 if itemsize <= 2 else 8
        parts += [mz * my * nx * wide, mz * ny * nx * wide]
        taps = max(_taps(axis) for axis in axes)
    # Index, weights and a flag for each target; what takes one voxel has tables at each level.
    parts.append((nz + ny + nx) * (8 * taps + 5) + 9 * 8)
    parts += [(1 + sum(shape)) * (8 + 5) + 9 * 8 for shape in levels[1:]]
    return sum(-(-part // policy.DEVICE_ALIGNMENT) * policy.DEVICE_ALIGNMENT for part in parts)


def _taps(axis: AxisMapping | AxisTable) -> int:
    if axis.kind != "weights":
        return 1
    return axis.weight.shape[1] if isinstance(axis, AxisTable) else axis.taps
