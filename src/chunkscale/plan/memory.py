"""The memory of a region, in bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chunkscale.geometry.box import cell_counts
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.tables import table_bytes
from chunkscale.plan import policy
from chunkscale.plan.cuts import AxisCut, doublings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use.

    Parameters
    ----------
    memory : int
        Bytes for the whole run.
    workers : int
        Regions at the same time, at most.
    threads : int
        Threads that encode and decode chunks.
    device_memory : int, optional
        Bytes for buffers on the GPU; None if there is none.
    slots : int
        Workers of all processes, where a cluster has several; `memory`,
        `workers` and `threads` are those of one process then.
    bystanders : int
        Bytes of libraries that a process without a GPU may have to load besides its own.
    memory_from, workers_from : str
        Who says how much memory and how many workers.
    ceiling : int, optional
        Bytes above which the system ends the process, as `ceiling_from` says.
    """

    memory: int
    workers: int
    threads: int
    device_memory: int | None = None
    slots: int = 0
    bystanders: int = 0
    memory_from: str = ""
    workers_from: str = ""
    ceiling: int | None = None
    ceiling_from: str = ""

    @property
    def base(self) -> int:
        """Bytes that a process takes before its first region."""
        return (
            policy.BASE_BYTES + self.bystanders
            if self.device_memory is None
            else policy.GPU_BASE_BYTES
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassJob:
    """The figures of one pass that do not depend on the region."""

    cached: bool  # whether what is decoded can wait for a neighbouring region
    itemsize: int
    read_size: int  # voxels of what is read
    read_chunk: tuple[int, ...]
    decoded_share: int  # voxels that are decoded for each that is kept
    write_size: int  # voxels of the first level written
    write_chunk: tuple[int, ...]
    taps: int  # source voxels per target voxel along z that are mixed; 0 for means
    cell: int  # source voxels per target voxel that are counted
    steps: tuple[tuple[int, ...], ...]  # of the levels after the first, each from the one before
    leading: int  # axes that are not spatial
    is_half: bool  # float16 is computed on a float32 copy
    planes: int  # of a stored object; 0 where regions are made in one piece
    slab_size: int  # bytes of a slab, at least
    mapping: tuple[AxisMapping, ...] = ()  # what is interpolated by


def region_bytes(
    job: PassJob, limits: Limits, cuts: Sequence[AxisCut], fused: int, slab: int
) -> int:
    """Return the most that a worker holds for its region."""
    target = tuple(cut.target for cut in cuts)
    voxels, read = math.prod(target), math.prod(cut.read for cut in cuts)
    planes = target[-3] if len(target) > 2 else 1
    first = voxels // planes * min(planes, 2 * slab)  # two slabs
    made = first + coarser_voxels(target, job.steps[:fused])
    scratch = kernel_scratch(
        [cut.read for cut in cuts],
        target,
        job.taps,
        job.itemsize,
        cell=job.cell,
        is_half=job.is_half,
    )
    # Host buffers of a GPU are whole huge pages.
    rounding = 0 if limits.device_memory is None else (fused + 2) * 2 * policy.HUGE_PAGE
    return (
        read * job.itemsize  # the source box
        + scratch
        + made * job.itemsize  # all levels
        + made * job.itemsize  # the same encoded: data may be incompressible
        + (read + first) * job.itemsize  # codecs' freed memory that the allocator keeps (measured)
        + rounding
        + sum(table_bytes(m, n) for m, n in zip(job.mapping, target, strict=False))
    )


def shared_bytes(
    job: PassJob, limits: Limits, cuts: Sequence[AxisCut], active: int, cache: int
) -> int:
    """Return the most that the threads of codecs and the cache hold."""
    read = math.prod(job.read_chunk) * job.decoded_share
    chunks = (read + math.prod(job.write_chunk)) * job.itemsize
    # Without a cache, all chunks of the active regions may still be decoded at once.
    kept = active * math.prod(cut.aligned for cut in cuts)
    decoded = kept * job.decoded_share * job.itemsize
    # Each thread holds a chunk encoded, decoded, and half way between.
    return 3 * limits.threads * chunks + max(cache, decoded)


def kernel_scratch(
    read: Sequence[int],
    target: Sequence[int],
    taps: int,
    itemsize: int,
    *,
    cell: int = 1,
    is_half: bool = False,
) -> int:
    """Return the most that a kernel holds beside its input, of the shape `read`, and its result."""
    # Some planes in the compute type, a row of the source and the weights of its sums, and all of
    # float16.
    wide = 4 if itemsize <= 2 else 8
    made = math.prod(target[-2:]) + 2 * target[-1]
    planes = ((taps + 2) * made + 2 * read[-1]) * wide
    # How often each value of a cell is met: four places for it, a count in each, and a list.
    counts = cell * (4 * (8 + itemsize) + 8)
    return planes + counts + is_half * 4 * (math.prod(read) + math.prod(target))


def coarser_voxels(shape: Sequence[int], steps: Iterable[Sequence[int]]) -> int:
    """Return the voxels of the further levels of a region."""
    voxels = 0
    for step in steps:
        shape = cell_counts(shape, step)
        voxels += math.prod(shape)
    return voxels


def slab_planes(job: PassJob, target: Sequence[int], fused: int) -> int:
    """Return the planes of a region's slabs: whole stored objects and cells of means."""
    planes = target[-3] if len(target) > 2 else 1
    if job.planes and math.prod(target[: job.leading]) == 1:
        plane = math.prod(target[-2:]) * job.itemsize
        for slab, _ in doublings(job.planes, planes):
            if slab * plane >= job.slab_size and not (fused and slab % 2):
                # Two slabs are held at once: no more of them save nothing.
                return slab if 2 * slab < planes else planes
    return planes


def cache_voxels(options: Sequence[AxisCut], order: Sequence[int], kept: int, active: int) -> int:
    """Return the size of a cache that saves neighbours along the last `kept` axes a second decode.

    Parameters
    ----------
    options : sequence of AxisCut
    order : sequence of int
        Axes, the one along which regions follow each other last.
    kept : int
        0, 1 or 2.
    active : int
        Regions at once, which begin in order, but not end in it.
    """
    if not kept:
        return 0
    last = options[order[-1]]
    regions = active + 2 if kept == 1 else last.count + active + 1
    region = math.prod(o.aligned for o in options)
    # They touch no more than the rows that they lie in.
    rows = -(-(regions - 1) // last.count) + 1
    kept_rows = rows * (region // last.aligned * last.span)
    return min(regions * region, kept_rows, math.prod(o.span for o in options))
