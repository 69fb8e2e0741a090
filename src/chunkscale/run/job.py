"""What a process has to know of a run: images whose regions are numbered through."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Voxels
from chunkscale.storage.writer import ArrayWriter


def no_guard() -> None:
    """Let everything be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageJob:
    """One image of a job.

    Parameters
    ----------
    plan : ResamplePlan
        Images that are alike share one.
    source : Voxels
    target : tuple of ArrayWriter
        The levels.
    guard : callable
        Called before anything is written; raises if this run may not write any more.
    """

    plan: ResamplePlan
    source: Voxels
    target: tuple[ArrayWriter, ...]
    guard: Callable[[], None] = no_guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Images that are made together. Small where it is pickled, and open elsewhere again.

    A pass is made of all images before the next one begins: it may read what is stored.

    Parameters
    ----------
    run : str
        Names the run.
    images : tuple of ImageJob
    workers : int
        Regions at the same time, of whichever images.
    starts : tuple of int
        Number of the first region of each image, and that of all regions.
    """

    run: str
    images: tuple[ImageJob, ...]
    workers: int
    starts: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        counts = (image.plan.region_count for image in self.images)
        object.__setattr__(self, "starts", tuple(itertools.accumulate(counts, initial=0)))

    @property
    def region_count(self) -> int:
        """Number of regions of all images."""
        return self.starts[-1]

    @property
    def pass_counts(self) -> tuple[int, ...]:
        """Number of regions of all images, by pass."""
        passes = ((run.region_count for run in image.plan.passes) for image in self.images)
        return tuple(map(sum, itertools.zip_longest(*passes, fillvalue=0)))

    def locate(self, number: int) -> tuple[int, int]:
        """Return the position of the image that a region belongs to, and its index there."""
        image = bisect_right(self.starts, number) - 1
        return image, number - self.starts[image]


def common_workers(plans: Sequence[ResamplePlan], memory: int) -> int:
    """Return how many regions of these plans, whichever they are, fit into memory together.

    Each plan has counted those of its own image, which may be few.
    """
    shared = max(plan.memory.base + plan.memory.buffers for plan in plans)
    each = max(plan.memory.per_worker for plan in plans)
    return max(1, min(plans[0].limits.workers, (memory - shared) // each))
