"""Regions on a cluster: a sliding window of batches that follows the workers."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from chunkscale.errors import RegionError
from chunkscale.run.driver import Driver
from chunkscale.run.job import Job
from chunkscale.run.records import Batch, Failure

#: A batch takes this many seconds, or more where a scheduler could not follow ...
BATCH_SECONDS = 0.25

#: ... because it would get more than this many batches a second.
BATCHES_PER_SECOND = 500

MOST_REGIONS = 4096

#: Work that waits in front of each slot: a cluster that adapts looks at it.
AHEAD_SECONDS = 6.0

AHEAD_BATCHES = (2, 24)

#: Seconds between two looks at the size of the cluster, and at whether to stop.
LOOK_SECONDS = 1.0

TICK_SECONDS = 0.25

#: A batch whose worker died this often fails; the scheduler has tried it some times itself.
MOST_LOSSES = 3


class Cluster(Protocol):
    """What the driver needs of a cluster."""

    def start(self, job: Job) -> None:
        """Prepare for the batches of a run."""

    def slots(self) -> int:
        """Return how many batches can run at once now; 0 while there is no worker."""

    def submit(self, indices: Sequence[int]) -> None:
        """Hand out a batch."""

    def wait(self, seconds: float) -> list[Batch]:
        """Return batches that have come back; wait for the first of them, but not longer."""

    def stop(self) -> Iterator[Batch]:
        """End after the regions that run, and yield the batches that come back."""


class _Pace:
    """How many regions make a batch, by the seconds that they were seen to take."""

    def __init__(self) -> None:
        self.region_seconds: float | None = None

    def add(self, batch: Batch) -> None:
        """Learn from a batch that came back."""
        if not batch.outcomes:
            return
        seen = batch.seconds / len(batch.outcomes)
        before = self.region_seconds or seen
        # The first one on a worker opens arrays and loads kernels: what is faster counts more.
        weight = 0.5 if seen < before else 0.2
        self.region_seconds = (1 - weight) * before + weight * seen

    def batch(self, slots: int, left: int) -> int:
        """Return the regions of the next batch."""
        if self.region_seconds is None:
            return 1
        follow = slots / BATCHES_PER_SECOND
        size = int(max(BATCH_SECONDS, follow) / max(self.region_seconds, 1e-6))
        # Towards the end batches shrink, so that all slots end together.
        least = int(follow / 2 / max(self.region_seconds, 1e-6))
        return max(1, min(size, max(left // (2 * max(1, slots)), least), MOST_REGIONS))

    def ahead(self, slots: int, size: int) -> int:
        """Return how many batches of `size` are handed out for each slot."""
        low, high = AHEAD_BATCHES
        if self.region_seconds is None:
            return low if slots < BATCHES_PER_SECOND else 1
        return max(low, min(math.ceil(AHEAD_SECONDS / (size * self.region_seconds + 1e-6)), high))


def run_window(
    cluster: Cluster,
    indices: Iterable[int],
    count: int,
    take: Callable[[Batch], None],
    tick: Callable[[int, float], None],
    clock: Callable[[], float] = time.monotonic,
    keep: Callable[[Batch], None] = lambda batch: None,
) -> None:
    """Keep a cluster busy with regions until all have come back.

    Parameters
    ----------
    cluster : Cluster
    indices : iterable of int
        Regions; looked at as they are needed.
    count : int
        How many there are at most.
    take : callable
        Gets every batch that comes back.
    tick : callable
        Called with the slots, and the seconds since the last call, some times
        a second. Both may raise to stop.
    clock : callable
        Seconds that only go forward.
    keep : callable, optional
        Gets the batches that have come back when `take` raises.
    """
    source = iter(indices)
    again: deque[Sequence[int]] = deque()
    losses: dict[int, int] = {}
    pace = _Pace()
    flying, left, ticked = 0, count, clock()
    slots, looked, look = cluster.slots(), clock(), LOOK_SECONDS
    while True:
        size = pace.batch(slots, left)
        while flying < max(1, slots) * pace.ahead(slots, size):
            batch = again.popleft() if again else list(itertools.islice(source, size))
            if not batch:
                break
            cluster.submit(batch)
            flying += 1
            left -= len(batch)
            size = pace.batch(slots, left)
        if not flying:
            return
        came = iter(cluster.wait(TICK_SECONDS))
        try:
            for back in came:
                flying -= 1
                pace.add(back)
                if back.lost:
                    again.extend(_handed_out_again(back, losses, take))
                else:
                    take(back)
        except BaseException:
            for back in came:
                keep(back)
            raise
        now = clock()
        if now - looked >= look:
            slots, looked = cluster.slots(), clock()
            # Asking a large cluster takes time that it does not get too often.
            look = max(LOOK_SECONDS, 50 * (looked - now))
        if now - ticked >= TICK_SECONDS:
            tick(slots, now - ticked)
            ticked = now


def _handed_out_again(
    batch: Batch, losses: dict[int, int], take: Callable[[Batch], None]
) -> Iterator[Sequence[int]]:
    """Yield the regions of a lost batch one by one, but for those that were lost too often."""
    for index in batch.indices:
        losses[index] = losses.get(index, 0) + 1
        if losses[index] < MOST_LOSSES:
            yield [index]
        else:
            error = RegionError(
                f"region {index} failed: {batch.lost}; if its workers ran out of memory, give "
                "them more memory, or plan with less with memory (--memory)"
            )
            take(Batch([index], [Failure(index, error)]))


def run_on_cluster(cluster: Cluster, job: Job, driver: Driver) -> None:
    slots = 1

    def take(batch: Batch) -> None:
        outcomes = iter(batch.outcomes)
        try:
            for outcome in outcomes:
                driver.take(outcome, batch.worker, slots)
        except BaseException:
            driver.keep(outcomes, batch.worker)
            raise

    def keep(batch: Batch) -> None:
        driver.keep(batch.outcomes, batch.worker)

    def tick(now: int, seconds: float) -> None:
        nonlocal slots
        slots = now
        driver.times.worker_seconds += now * seconds
        driver.tick()

    cluster.start(job)
    try:
        for number, count in enumerate(job.pass_counts):
            run_window(cluster, driver.missing(number), count, take, tick, keep=keep)
    except BaseException:
        for batch in cluster.stop():
            keep(batch)
        raise
    for _ in cluster.stop():
        raise AssertionError("a batch came back after the last one")
