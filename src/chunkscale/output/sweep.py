"""Stored objects by region: what is finished, and what is to be made again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chunkscale.plan.model import ResamplePlan
from chunkscale.storage.writer import ArrayWriter

#: Regions in one of the notes that a resumed run begins with, and objects looked at together.
MOST_AT_ONCE = 100_000


def finished_regions(
    plan: ResamplePlan, target: Sequence[ArrayWriter], stored: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which regions need not be made again; delete what is stored of the others.

    Parameters
    ----------
    plan : ResamplePlan
    target : sequence of ArrayWriter
        The levels of the output.
    stored : ndarray
        Bytes by region as recorded; -1 for regions that are to be made.

    Returns
    -------
    ndarray of bool
        By region.
    """
    found = np.zeros(len(stored), np.int64)
    broken = np.zeros(len(stored), np.bool_)
    recorded = stored >= 0
    for region, size in _swept(plan, target, recorded):
        found[region] += size
        broken[region] |= size == 0
    done: NDArray[np.bool_] = recorded & (stored == found) & ~broken
    lost = np.flatnonzero(recorded & ~done)
    if lost.size:
        # Later passes may have read what was lost after that, as fill value.
        done[plan.pass_of(int(lost[0])).indices.stop :] = False
    if (done != recorded).any():
        for _ in _swept(plan, target, done):
            pass
    return done


def undecodable(
    plan: ResamplePlan,
    target: Sequence[ArrayWriter],
    done: NDArray[np.bool_],
    *,
    whole: bool,
) -> Iterator[int]:
    """Yield finished regions of which something that is stored cannot be read.

    Parameters
    ----------
    plan : ResamplePlan
    target : sequence of ArrayWriter
        The levels of the output.
    done : ndarray of bool
        By region.
    whole : bool
        Whether every level is read, or those alone that a pass reads which is not done: it would
        fail again and again.
    """
    awaited = {
        run.reads for run in plan.passes if not done[run.indices.start : run.indices.stop].all()
    }
    for index in np.flatnonzero(done).tolist():
        boxes = plan.region(index).boxes
        if not all(target[k].is_sound(box) for k, box in boxes if whole or k in awaited):
            yield index


def _swept(
    plan: ResamplePlan, target: Sequence[ArrayWriter], kept: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Yield region and size of the stored objects of regions to be kept; delete the others."""
    for level, group in itertools.groupby(_objects(plan, target), key=lambda found: found[0]):
        while part := list(itertools.islice(group, MOST_AT_ONCE)):
            yield from ((region, size) for _, region, size, _ in part if kept[region])
            target[level].delete_objects(index for _, region, _, index in part if not kept[region])


def measured(
    plan: ResamplePlan, target: Sequence[ArrayWriter]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stored bytes of every region, and its objects by (level, region)."""
    stored = np.zeros(plan.region_count, np.int64)
    counts = np.zeros((len(target), plan.region_count), np.int64)
    for level, region, size, _ in _objects(plan, target):
        stored[region] += size
        counts[level, region] += 1
    return stored, counts


def _objects(
    plan: ResamplePlan, target: Sequence[ArrayWriter]
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Yield level, region, size and position of every stored object of an output."""
    for level, writer in enumerate(target):
        for index, size in writer.objects():
            start = [i * u for i, u in zip(index, writer.unit, strict=True)]
            yield level, plan.region_of(level, start), size, index
