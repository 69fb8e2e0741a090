"""The region of a pass: what each one costs, and the cheapest that fits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.pyramid import Layout, Level
from chunkscale.plan import policy
from chunkscale.plan.cuts import (
    ALL_LEVELS,
    AxisCut,
    count_halvings,
    fixed_options,
    halving_options,
    resampling_options,
)
from chunkscale.plan.memory import (
    Limits,
    PassJob,
    cache_voxels,
    region_bytes,
    shared_bytes,
    slab_planes,
)
from chunkscale.plan.model import SourceArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the cost of a pass depends on, in bytes of voxels but for the counts."""

    decoded: float  # of the source, chunks that are decoded twice counted twice
    cached: float  # of them what waits in the cache for a neighbouring region
    written: int  # of the first level
    later: float  # of the level that a later pass has to read again
    regions: int
    slots: int  # regions at once, in all processes
    region: int  # what each region costs, whatever its size


def cost(of: Figures) -> float:
    """Return what a pass costs, in bytes that are encoded."""
    work = of.decoded / 2 + of.written  # decoding takes half as long
    turns = -(-of.regions // of.slots) * of.slots / of.regions
    return (
        work
        + policy.CACHED * of.cached / 2  # kept chunks go through memory twice
        + of.later  # stored and read once more, by further regions
        + of.regions * of.region  # reading, planning, noting down, small writes
        + work * (turns - 1) / 2  # idle in the last turn, but for codecs, which serve all regions
        + work / of.regions * of.slots / 4  # the first are read, the last written, beside nothing
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A region shape for one pass, with what it costs."""

    options: tuple[AxisCut, ...]
    order: tuple[int, ...]  # axes, the one along which regions follow each other last
    fused: int  # levels after the first
    slab: int  # planes
    amplification: float
    cache: int  # bytes, as all that follow
    shared: int
    per_worker: int
    largest: int  # of a region's source box and its first level
    cost: float

    @property
    def region(self) -> tuple[int, ...]:
        return tuple(option.region for option in self.options)

    @property
    def count(self) -> int:
        return math.prod(option.count for option in self.options)


def _combinations(
    options: Sequence[Sequence[AxisCut]], leading: int
) -> Iterator[tuple[AxisCut, ...]]:
    """Yield the ways to cut all axes: one frame in any way, or several that are whole."""
    one = [axis[:1] for axis in options[:leading]]
    yield from itertools.product(*one, *options[leading:])
    for i in reversed(range(leading)):
        whole = [[cut for cut in axis if cut.count == 1] for axis in options[i + 1 :]]
        yield from itertools.product(*one[:i], options[i][1:], *whole)


def _choices(
    options: Sequence[Sequence[AxisCut]], job: PassJob, limits: Limits
) -> Iterator[Choice]:
    """Yield every region shape with every use of a cache that makes sense."""
    region = policy.REGION_COST if limits.device_memory is None else policy.GPU_REGION_COST
    # More workers than cores take turns.
    slots = max(min(limits.workers, limits.threads), limits.slots)
    for cuts in _combinations(options, job.leading):
        target = tuple(cut.target for cut in cuts)
        count = math.prod(cut.count for cut in cuts)
        order = tuple(sorted(range(len(cuts)), key=lambda i: cuts[i].amplification))
        fused = min(len(job.steps), *(cut.fused for cut in cuts))
        slab = slab_planes(job, target, fused)
        per_worker = region_bytes(job, limits, cuts, fused, slab)
        largest = max(math.prod(target), math.prod(cut.read for cut in cuts)) * job.itemsize
        rest = job.write_size * job.itemsize / math.prod(map(math.prod, job.steps[:fused]))
        for kept in range(3 if job.cached else 1):
            cached = order[len(order) - kept :]
            if kept and not cuts[cached[0]].overlaps:
                break
            amplification = math.prod(cuts[i].amplification for i in order[: len(order) - kept])
            active = min(limits.workers, count)
            cache = cache_voxels(cuts, order, kept, active) * job.decoded_share * job.itemsize
            read = job.read_size * job.decoded_share * job.itemsize
            figures = Figures(
                decoded=read * amplification,
                cached=read if kept else 0,
                written=job.write_size * job.itemsize,
                later=0 if fused == len(job.steps) else rest,
                regions=count,
                slots=slots,
                region=region,
            )
            yield Choice(
                options=cuts,
                order=order,
                fused=fused,
                slab=slab,
                amplification=amplification,
                cache=cache,
                shared=shared_bytes(job, limits, cuts, active, cache),
                per_worker=per_worker,
                largest=largest,
                cost=cost(figures),
            )


def _choose(
    options: Sequence[Sequence[AxisCut]],
    job: PassJob,
    limits: Limits,
    beside: Sequence[Choice] = (),
) -> Choice:
    """Return the cheapest region that fits into memory, beside the buffers of passes before."""
    needs = []
    for choice in _choices(options, job, limits):
        alive = [*beside, choice]  # buffers stay, so the sum of the largest parts of all must fit
        active = min(limits.workers, max(c.count for c in alive))
        need = max(c.shared for c in alive) + active * max(c.per_worker for c in alive)
        needs.append((choice, limits.base + need))
    fitting = [(choice, need) for choice, need in needs if need <= limits.memory]
    if not fitting:
        raise TooSmallError(min(need for _, need in needs))

    def rank(fit: tuple[Choice, int]) -> tuple[int, float, int]:
        choice, need = fit
        return max(choice.largest, policy.LARGEST_REGION), choice.cost, need

    return min(fitting, key=rank)[0]


class TooSmallError(Exception):
    """No region fits; carries the bytes that would do."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def first_choice(
    source: SourceArray,
    target: VoxelGrid,
    mapping: tuple[AxisMapping, ...],
    layout: Layout,
    steps: tuple[tuple[int, ...], ...],
    fixed: tuple[int, ...] | None,
    limits: Limits,
) -> Choice:
    leading = target.ndim - len(target.spatial)
    unit = layout.shard or layout.chunk
    options = [
        list(
            resampling_options(m, 1, ALL_LEVELS, source.chunk[i])
            if i < leading
            else resampling_options(
                m, unit[i], count_halvings(unit[i], layout.chunk[i]), source.chunk[i]
            )
        )
        for i, m in enumerate(mapping)
    ]
    stacked = len(target.spatial) > 2 and limits.device_memory is None
    few_objects = target.size * source.itemsize // policy.MOST_SLABS
    job = PassJob(
        itemsize=source.itemsize,
        cached=not source.recomputed,
        read_size=math.prod(source.shape),
        read_chunk=source.chunk,
        decoded_share=source.decoded_share,
        write_size=target.size,
        write_chunk=layout.chunk,
        taps=max([2, *(m.taps for m in mapping[-3:-2] if m.kind != "cells")]),
        cell=math.prod(m.counted for m in mapping),
        steps=steps,
        leading=leading,
        is_half=source.dtype == "float16",
        planes=unit[-3] if stacked else 0,
        slab_size=min(max(policy.SLAB_BYTES, few_objects), policy.LARGEST_REGION // 2),
        mapping=tuple(mapping),
    )
    return _choose(fixed_options(options, fixed), job, limits)


def later_choice(
    levels: tuple[Level, ...],
    first: int,
    itemsize: int,
    steps: tuple[tuple[int, ...], ...],
    beside: Sequence[Choice],
    fixed: tuple[int, ...] | None,
    limits: Limits,
) -> Choice:
    level, read = levels[first], levels[first - 1]
    leading = level.grid.ndim - len(level.grid.spatial)
    options = [
        list(halving_options(size, whole, unit, ALL_LEVELS if i < leading else 0, chunk))
        for i, (size, whole, unit, chunk) in enumerate(
            zip(level.shape, read.shape, level.chunk, read.chunk, strict=True)
        )
    ]
    job = PassJob(
        cached=True,
        itemsize=itemsize,
        read_size=read.grid.size,
        read_chunk=read.chunk,
        decoded_share=1,
        write_size=level.grid.size,
        write_chunk=level.chunk,
        taps=0,
        cell=1,
        steps=steps,
        leading=leading,
        is_half=False,  # means convert plane by plane
        planes=0,
        slab_size=0,
    )
    return _choose(fixed_options(options, fixed), job, limits, beside)
