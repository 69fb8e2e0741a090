"""Make a plan: pass after pass, the cheapest within the limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from chunkscale.errors import MemoryBudgetError, Notice, OptionError
from chunkscale.geometry.box import cell_counts
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.geometry.pyramid import Layout, Level, level_factors, pyramid
from chunkscale.plan import policy
from chunkscale.plan.choice import Choice, TooSmallError, first_choice, later_choice
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import DeviceMemory, MemoryEstimate, ResamplePlan, Resampling
from chunkscale.plan.notices import find_notices
from chunkscale.plan.regions import Pass, check_alignment
from chunkscale.plan.tiles import device_bytes, tiles
from chunkscale.text import human_bytes


def _pass(choice: Choice, levels: tuple[Level, ...], first: int, start: int) -> Pass:
    last = first + choice.fused
    run = Pass(
        reads=None if first == 0 else first - 1,
        first=first,
        last=last,
        shape=levels[first].shape,
        region_shape=choice.region,
        slab=choice.slab,
        order=choice.order,
        start=start,
    )
    for level in levels[first : last + 1]:
        check_alignment(run, levels[first], level)
    return run


def make_plan(
    what: Resampling,
    *,
    layout: Layout,
    shard: bool,
    levels: int | None,
    limits: Limits,
    free_disk: int | None = None,
    regions: Sequence[tuple[int, ...]] | None = None,
    shards: Sequence[tuple[int, ...] | None] | None = None,
) -> ResamplePlan:
    """Return the cheapest plan within the limits.

    Parameters
    ----------
    what : Resampling
    layout : Layout
        Chunk, and the shard if the caller insists on one.
    shard : bool
        Whether to make shards of whole slabs of regions where `layout` has none.
    levels : int, optional
        Number of levels; by default until one fits into a chunk.
    limits : Limits
    free_disk : int, optional
        Free bytes where the output goes, for a warning.
    regions : sequence of tuple of int, optional
        Region shape by pass, of an earlier plan with the same chunk, instead
        of the cheapest.
    shards : sequence of tuple of int or None, optional
        Shard by level, of that plan; comes before `layout` and `shard`.

    Raises
    ------
    MemoryBudgetError
        If even the smallest region needs more memory than allowed.
    """
    source, target_grid = what.source, what.target_grid
    mapping = grid_mapping(
        what.source_grid, target_grid, method=what.method, antialias=what.antialias
    )
    layouts = {0: layout}
    if shards is not None:
        layouts = {k: Layout(chunk=layout.chunk, shard=given) for k, given in enumerate(shards)}
        layout = layouts[0]
    factors = level_factors(target_grid, what.pyramid, layout.chunk if levels is None else None)
    count = len(factors) if levels is None else levels
    if count > len(factors):
        raise OptionError(
            f"levels {count} is too many: this image allows at most {len(factors)} with pyramid "
            f"{what.pyramid!r}"
        )
    factors = factors[:count]
    steps = tuple(
        tuple(b // a for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(factors)
    )
    if target_grid.size * source.itemsize > 2**60:
        raise OptionError(
            f"the output would have {' x '.join(map(str, target_grid.shape))} voxels, more than "
            "can be stored; choose a larger voxel size"
        )
    choices: list[Choice] = []
    passes: list[Pass] = []
    allowed = limits
    while not passes or passes[-1].last + 1 < count:
        first = passes[-1].last + 1 if passes else 0
        start = passes[-1].indices.stop if passes else 0
        if first == 0:
            choose: Callable[..., Choice] = partial(
                first_choice, source, target_grid, mapping, layout, steps
            )
        else:
            layouts.setdefault(first, Layout(chunk=layout.chunk))
            stored = pyramid(target_grid, factors, layouts)
            choose = partial(
                later_choice, stored, first, source.itemsize, steps[first:], tuple(choices)
            )
        fixed = regions[len(passes)] if regions is not None and len(passes) < len(regions) else None
        choice, limits = _within(limits, partial(choose, fixed))
        if shards is None and layouts[first].shard is None:
            whole = len(target_grid.spatial) if shard else 0
            layouts |= _stored_layouts(choice, layout.chunk, whole, first, steps[first:])
        stored = pyramid(target_grid, factors, layouts)
        choices.append(choice)
        passes.append(_pass(choice, stored, first, start))
    memory = MemoryEstimate(
        base=limits.base,
        buffers=max(c.shared for c in choices),
        cache=choices[0].cache,
        per_worker=max(c.per_worker for c in choices),
        workers=min(limits.workers, max(p.region_count for p in passes)),
    )
    plan = ResamplePlan(
        source=source,
        source_grid=what.source_grid,
        levels=stored,
        passes=tuple(passes),
        method=what.method,
        antialias=what.antialias,
        outside=what.outside,
        pyramid=what.pyramid,
        downsample=what.downsample,
        ngff_version=what.ngff_version,
        codec=what.codec,
        checksum=what.checksum,
        device="cpu" if limits.device_memory is None else "gpu",
        device_memory=None,
        limits=allowed,
        memory=memory,
        bytes_read=int(source.nbytes * source.decoded_share * choices[0].amplification),
        warnings=find_notices(what, stored, mapping, free_disk) + _too_much(memory, allowed),
        mapping=mapping,
    )
    if limits.device_memory is None:
        return plan
    return replace(plan, device_memory=_device_memory(plan, choices, limits.device_memory))


def _too_much(memory: MemoryEstimate, limits: Limits) -> tuple[Notice, ...]:
    """Warn of memory that was asked for and that the system does not give."""
    if limits.ceiling is None or memory.total <= limits.ceiling:
        return ()
    text = (
        f"the run may take {human_bytes(memory.total)} of memory, but {limits.ceiling_from} "
        f"leaves {human_bytes(limits.ceiling)}, so the system may kill it; reduce memory "
        "(--memory), or raise that limit"
    )
    return (Notice("memory", text),)


def _device_memory(plan: ResamplePlan, choices: Sequence[Choice], limit: int) -> DeviceMemory:
    """Return how many regions are on the device at once, and how large their parts are there."""
    largest = 0
    for run, choice in zip(plan.passes, choices, strict=True):
        ratios = [plan.level_ratio(run.first, k) for k in range(run.first, run.last + 1)]
        shapes = [cell_counts([o.target for o in choice.options], ratio)[-3:] for ratio in ratios]
        read = tuple(o.read for o in choice.options)[-3:]
        axes = plan.mapping if run.reads is None else ()
        filled = plan.outside is not None
        needed = device_bytes(read, shapes, plan.source.itemsize, axes, filled=filled)
        largest = max(largest, needed)
    lanes = max(1, min(policy.MOST_LANES, plan.workers, limit // largest))
    memory = DeviceMemory(
        base=policy.DEVICE_BASE_BYTES, per_lane=min(largest, limit // lanes), lanes=lanes
    )
    for run in plan.passes:
        # First, last and middle ones are all that there are; refuses what cannot be cut so small.
        places = itertools.product(*(sorted({0, (n - 1) // 2, n - 1}) for n in run.counts))
        for place in places:
            for _ in tiles(plan, plan.region(run.number(place)), memory.per_lane):
                pass
    return memory


def _within(limits: Limits, choose: Callable[[Limits], Choice]) -> tuple[Choice, Limits]:
    """Choose with fewer workers until a region fits."""
    needed, workers = 0, limits.workers
    while workers:
        attempt = replace(limits, workers=workers)
        try:
            return choose(attempt), attempt
        except TooSmallError as error:
            needed = error.needed
        workers -= max(1, workers // 8)
    raise MemoryBudgetError(
        f"the smallest region needs {math.ceil(needed / policy.MIB)} MiB with one worker, and "
        f"memory is limited to {limits.memory // policy.MIB} MiB"
        + (f" ({limits.memory_from})" if limits.memory_from else "")
        + "; raise memory (--memory), or use smaller chunks or shards"
    )


def _stored_layouts(
    choice: Choice,
    chunk: tuple[int, ...],
    sharded: int,
    first: int,
    steps: tuple[tuple[int, ...], ...],
) -> dict[int, Layout]:
    """Return how a pass is stored by level: a slab is a shard, and so is a region further on.

    Only along the last `sharded` axes: each frame is stored for itself.
    """
    kept = len(chunk) - sharded

    def one_object(shape: Sequence[int]) -> Layout:
        outer = tuple(
            c if i < kept else -(-n // c) * c
            for i, (n, c) in enumerate(zip(shape, chunk, strict=True))
        )
        return Layout(chunk=chunk, shard=outer if outer != chunk else None)

    region = [option.target for option in choice.options]
    slab = [*region[:-3], choice.slab, *region[-2:]] if len(region) > 2 else region
    layouts = {first: one_object(slab)}
    if choice.fused and slab != region:
        layouts[first + 1] = one_object(cell_counts(region, steps[0]))
    return layouts
