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
    coarser_voxels,
    kernel_scratch,
    slab_planes,
)
from chunkscale.plan.model import SourceArray


@dataclass(frozen=True, slots=True)
class Choice:
    """A region shape for one pass, with what it costs."""

    options: tuple[AxisCut, ...]
    order: tuple[int, ...]
    count: int
    fused: int
    shared: int
    kept: int  # axes along which a cache saves a second decode
    cache: int
    per_worker: int
    amplification: float
    cost: float
    size: int
    slab: int  # planes

    @property
    def alone(self) -> bool:
        """Whether no two regions read the same chunk."""
        return not any(option.overlaps for option in self.options)

    @property
    def region(self) -> tuple[int, ...]:
        return tuple(option.region for option in self.options)


def _choices(
    options: Sequence[Sequence[AxisCut]], job: PassJob, limits: Limits
) -> Iterator[Choice]:
    """Yield every region shape with every use of a cache that makes sense."""
    itemsize, workers = job.itemsize, limits.workers
    chunk_bytes = (math.prod(job.read_chunk) + math.prod(job.write_chunk)) * itemsize
    # Each thread holds a chunk encoded, decoded, and half way between.
    decode = 3 * limits.threads * chunk_bytes
    for combination in itertools.product(*options):
        target = tuple(o.target for o in combination)
        voxels = read = count = 1
        aligned = itemsize
        for option in combination:
            voxels *= option.target
            read *= option.read
            aligned *= option.aligned
            count *= option.count
        order = tuple(sorted(range(len(target)), key=lambda i: combination[i].amplification))
        fused = min(job.tail_levels, *(o.fused for o in combination))
        planes, slab = slab_planes(job, target, fused)
        # Of the first level two slabs, the others whole ...
        held = voxels // planes * min(planes, 2 * slab)
        made = held + coarser_voxels(target[-3:], fused)
        # ... and the same again encoded (incompressible data).
        outputs = 2 * made * itemsize
        # What codec threads have freed and the allocator still holds, as seen in measured runs.
        kept_free = (read + held) * itemsize
        scratch = kernel_scratch(read, target, job.taps, itemsize, is_half=job.is_half)
        # Host buffers of a GPU are whole huge pages.
        rounding = 0 if limits.device_memory is None else (fused + 2) * 2 * policy.HUGE_PAGE
        per_worker = read * itemsize + outputs + scratch + kept_free + rounding
        tail = job.write_size * itemsize / 2 ** (job.spatial * fused)
        if fused == job.tail_levels:
            tail = 0.0
        # More workers than cores take turns.
        slots = max(min(workers, limits.threads), limits.slots)
        idle = (-(-count // slots) * slots / count - 1) * job.write_size * itemsize
        for kept in range(3):
            cached = order[len(order) - kept :]
            if kept and not combination[cached[0]].overlaps:
                break
            amplification = math.prod(
                o.amplification for i, o in enumerate(combination) if i not in cached
            )
            active = min(workers, count)
            cache = cache_voxels(combination, order, kept, active) * itemsize
            # Without a cache, all chunks of a region may still be decoded at once.
            shared = decode + max(cache, active * aligned)
            decoded = job.read_size * itemsize * (amplification + policy.CACHED * (kept > 0))
            cost = decoded / 2 + tail + idle / 2 + count * 2 * policy.MIB
            yield Choice(
                combination, order, count, fused, shared, kept, cache, per_worker, amplification,
                cost, voxels * itemsize, slab,
            )  # fmt: skip


def _choose(
    options: Sequence[Sequence[AxisCut]],
    job: PassJob,
    limits: Limits,
    most: int,
    beside: Sequence[Choice] = (),
) -> Choice:
    """Return the cheapest region that fits into memory.

    Parameters
    ----------
    most : int
        Bounds the decoded bytes of a region at its first level, unless the
        smallest region is larger.
    beside : sequence of _Choice
        Of the passes before: their buffers stay, so the sum of the largest
        parts of all has to fit.
    """
    needs = []
    shared = max((c.shared for c in beside), default=0)
    per_worker = max((c.per_worker for c in beside), default=0)
    count = max((c.count for c in beside), default=0)
    for choice in _choices(options, job, limits):
        active = min(limits.workers, max(count, choice.count))
        need = max(shared, choice.shared) + active * max(per_worker, choice.per_worker)
        needs.append((choice, need))
    fitting = [(choice, need) for choice, need in needs if limits.base + need <= limits.memory]
    if not fitting:
        raise TooSmallError(limits.base + min(need for _, need in needs))
    best, _ = min(fitting, key=lambda fit: (max(fit[0].size, most), fit[0].cost, fit[1]))
    if best.alone or limits.device_memory is not None:
        return best
    limit = min(policy.ALONE_FACTOR * most, policy.LARGE_REGION)
    larger = [choice for choice, _ in fitting if choice.alone and choice.size <= limit]

    def whole_cost(choice: Choice) -> float:
        # At the end workers wait for the last region.
        return choice.cost + limits.workers * max(0, choice.size - most) / 2

    return min([best, *larger], key=whole_cost)


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
    levels: int,
    fixed: tuple[int, ...] | None,
    limits: Limits,
) -> Choice:
    spatial = set(target.spatial)
    unit = layout.shard or layout.chunk
    options = [
        list(
            resampling_options(
                m, unit[i], count_halvings(unit[i], layout.chunk[i]), source.chunk[i]
            )
            if i in spatial
            else itertools.islice(resampling_options(m, 1, ALL_LEVELS, source.chunk[i]), 1)
        )
        for i, m in enumerate(mapping)
    ]
    small = (
        policy.SMALL_REGION
        if limits.device_memory is None
        else policy.SMALL_REGION * policy.GPU_REGION_FACTOR
    )
    most = min(max(small, target.size * source.itemsize // 1024), policy.LARGE_REGION)
    job = PassJob(
        itemsize=source.itemsize,
        read_size=math.prod(source.shape),
        read_chunk=source.chunk,
        write_size=target.size,
        write_chunk=layout.chunk,
        taps=max([2, *(m.taps for m in mapping[-3:-2])]),
        tail_levels=levels - 1,
        spatial=len(spatial),
        is_half=source.dtype == "float16",
        planes=unit[-3] if len(unit) > 2 and limits.device_memory is None else 0,
        slab_size=most // policy.SLAB_FRACTION,
    )
    return _choose(fixed_options(options, fixed), job, limits, most)


def later_choice(
    levels: tuple[Level, ...],
    first: int,
    itemsize: int,
    beside: Sequence[Choice],
    fixed: tuple[int, ...] | None,
    limits: Limits,
) -> Choice:
    level, read = levels[first], levels[first - 1]
    spatial = set(level.grid.spatial)
    options = [
        list(
            itertools.islice(
                halving_options(
                    level.shape[i],
                    read.shape[i],
                    level.chunk[i],
                    0 if i in spatial else ALL_LEVELS,
                    read.chunk[i],
                ),
                None if i in spatial else 1,
            )
        )
        for i in range(level.grid.ndim)
    ]
    job = PassJob(
        itemsize=itemsize,
        read_size=read.grid.size,
        read_chunk=read.chunk,
        write_size=level.grid.size,
        write_chunk=level.chunk,
        taps=0,
        tail_levels=len(levels) - 1 - first,
        spatial=len(spatial),
        is_half=False,  # means convert plane by plane
        planes=0,
        slab_size=0,
    )
    return _choose(fixed_options(options, fixed), job, limits, policy.LATER_REGION, beside)
