"""The ways to cut one axis into regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from chunkscale.errors import OptionError
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.tables import source_ranges
from chunkscale.plan import policy

ALL_LEVELS = 99


@dataclass(frozen=True, slots=True)
class AxisCut:
    """One way to cut one axis."""

    region: int  # voxels of the first level per region
    target: int  # the same, cut to the axis
    count: int  # regions
    read: int  # longest source range
    aligned: int  # longest source range in whole source chunks
    span: int  # the whole axis of the source
    amplification: float  # voxels in touched chunks over voxels of the axis
    overlaps: bool  # whether neighbours touch the same chunk
    fused: int  # further levels whose stored objects a region owns whole


def doublings(unit: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (voxels, doublings) of a unit until it covers the axis."""
    for e in range(policy.MAX_DOUBLINGS):
        yield unit << e, e
        if unit << e >= size:
            return


def resampling_options(
    mapping: AxisMapping, unit: int, halvings: int, chunk: int
) -> Iterator[AxisCut]:
    for region, e in doublings(unit, mapping.target_size):
        yield _resampling_option(mapping, region, halvings + e, chunk)


@lru_cache(maxsize=256)  # two axes are often alike, and plans are tried with fewer workers
def _resampling_option(mapping: AxisMapping, region: int, halvings: int, chunk: int) -> AxisCut:
    size, read_size = mapping.target_size, mapping.source_size
    count = -(-size // region)
    # Planning must not take longer the more regions there are.
    start = np.arange(min(count, 4096), dtype=np.int64) * region
    first, stop = source_ranges(mapping, start, np.minimum(start + region, size))
    low, high = first // chunk * chunk, np.minimum(-(-stop // chunk) * chunk, read_size)
    aligned = high - low
    return AxisCut(
        region=region,
        target=min(region, size),
        count=count,
        read=int((stop - first).max()),
        aligned=int(aligned.max()),
        span=read_size,
        amplification=float(aligned.mean()) * count / read_size,
        overlaps=bool((low[1:] < high[:-1]).any()),
        fused=ALL_LEVELS if region >= size else halvings,
    )


def halving_options(
    size: int, read_size: int, unit: int, halvings: int, chunk: int
) -> Iterator[AxisCut]:
    factor = -(-read_size // size)
    for region, e in doublings(unit, size):
        read = min(region * factor, read_size)
        yield AxisCut(
            region=region,
            target=min(region, size),
            count=-(-size // region),
            read=read,
            aligned=min(-(-read // chunk) * chunk, read_size),
            span=read_size,
            amplification=1.0,
            overlaps=False,
            fused=ALL_LEVELS if region >= size else halvings + e,
        )


def count_halvings(unit: int, chunk: int) -> int:
    """Return how often `unit` halves into whole chunks."""
    count = 0
    while unit % (2 * chunk) == 0:
        unit, count = unit // 2, count + 1
    return count


def fixed_options(
    options: Sequence[Sequence[AxisCut]], regions: tuple[int, ...] | None
) -> Sequence[Sequence[AxisCut]]:
    """Leave just the options of a region shape, if one is given."""
    if regions is None:
        return options
    # Where one region covers the axis it may be larger than a shard, which is cut to the image.
    fixed = [
        [replace(o, region=n) for o in axis if o.region == n or (o.count == 1 and o.target <= n)]
        for axis, n in zip(options, regions, strict=True)
    ]
    if not all(fixed):
        shapes = [sorted({o.region for o in axis}) for axis in options]
        raise OptionError(
            f"regions of {' x '.join(map(str, regions))} voxels, as in the original run, are not "
            f"possible with its chunks and shards (only {' x '.join(map(str, shapes))}); repeat "
            "the original command, or replace the output with overwrite=True (--overwrite)"
        )
    return fixed
