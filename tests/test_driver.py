"""The driver of clusters, simulated: the real loop, a cluster of the mind, and its clock."""

import heapq
import itertools
import random
import time
import tracemalloc

import pytest

from chunkscale.execute import MOST_LOSSES, Batch, run_window
from chunkscale.region import Record
from chunkscale.worker import Failure


class SimulatedCluster:
    """A cluster as `chunkscale.execute.Cluster`, with a clock of its own.

    Parameters
    ----------
    slots : int
    region_seconds : float
    loss : float
        Part of the batches that are lost with their worker.
    scheduler_seconds : float
        For one task, of which the scheduler does one after another.
    sizes : dict of float to int, optional
        Slots from a time on.
    """

    def __init__(self, slots, region_seconds, *, loss=0.0, scheduler_seconds=0.0, sizes=None):
        self.sizes = {0.0: slots, **(sizes or {})}
        self.region_seconds = region_seconds
        self.loss = loss
        self.scheduler_seconds = scheduler_seconds
        self.now = 0.0
        self.busy_until = 0.0
        self.free = [0.0] * slots
        self.coming = []
        self.serial = itertools.count()
        self.random = random.Random(1)
        self.batches = self.most_flying = self.busy_seconds = 0

    def clock(self):
        return self.now

    def slots(self):
        at = max(t for t in self.sizes if t <= self.now)
        while len(self.free) < self.sizes[at]:
            heapq.heappush(self.free, self.now)
        return self.sizes[at]

    def submit(self, indices):
        self.batches += 1
        self.busy_until = max(self.busy_until, self.now) + self.scheduler_seconds
        begin = max(heapq.heappop(self.free), self.busy_until)
        seconds = len(indices) * self.region_seconds * self.random.uniform(0.7, 1.3)
        self.busy_seconds += seconds
        heapq.heappush(self.free, begin + seconds)
        heapq.heappush(self.coming, (begin + seconds, next(self.serial), indices, seconds))
        self.most_flying = max(self.most_flying, len(self.coming))

    def wait(self, seconds):
        end = max(self.now + seconds, self.now)
        if not self.coming or self.coming[0][0] > end:
            self.now = end
            return []
        found = []
        self.now = max(self.now, self.coming[0][0])
        while self.coming and self.coming[0][0] <= self.now:
            _, _, indices, took = heapq.heappop(self.coming)
            if self.random.random() < self.loss:
                found.append(Batch(indices, lost="its worker died"))
            else:
                records = [Record(i, 1, 1, 0.0, 0.0, 0.0) for i in indices]
                found.append(Batch(indices, records, "w", took))
        return found


def simulate(cluster, regions):
    """Run the driver; return what came back and its own seconds per region."""
    seen, failed = bytearray(regions), []

    def take(batch):
        for outcome in batch.outcomes:
            if isinstance(outcome, Failure):
                failed.append(outcome.index)
            else:
                seen[outcome.index] += 1

    begun = time.process_time()
    run_window(cluster, range(regions), regions, take, lambda slots, s: None, cluster.clock)
    return seen, failed, (time.process_time() - begun) / regions


@pytest.mark.parametrize(
    ("regions", "slots", "seconds"),
    [(1, 8, 1.0), (7, 8, 1.0), (1000, 8, 2.0), (20_000, 500, 5.0), (100_000, 16, 1e-4)],
)
def test_every_region_comes_back_once_and_slots_stay_busy(regions, slots, seconds):
    """The time is close to that of a perfect schedule; windows and batches stay bounded."""
    cluster = SimulatedCluster(slots, seconds)
    seen, failed, _ = simulate(cluster, regions)
    assert set(seen) == {1}
    assert not failed
    perfect = max(regions * seconds / slots, seconds)
    assert cluster.now < 1.25 * perfect + 2 * seconds + 0.5
    assert cluster.most_flying <= 24 * slots + 1


def test_small_regions_travel_together():
    """Where regions take no time, there are far fewer tasks than regions."""
    cluster = SimulatedCluster(8, 1e-5)
    simulate(cluster, 200_000)
    assert cluster.batches < 2000


def test_large_clusters_get_batches_that_a_scheduler_can_follow():
    """2000 slots that a scheduler with 1 ms for a task could not keep busy region by region."""
    cluster = SimulatedCluster(2000, 0.5, scheduler_seconds=1e-3)
    seen, _, _ = simulate(cluster, 200_000)
    assert set(seen) == {1}
    assert cluster.now < 1.3 * 200_000 * 0.5 / 2000


def test_lost_batches_are_handed_out_again():
    """Workers that die cost nothing but time; a region that is lost again and again fails."""
    cluster = SimulatedCluster(16, 1.0, loss=0.05)
    seen, failed, _ = simulate(cluster, 3000)
    assert sorted(failed) == [i for i, count in enumerate(seen) if count == 0]
    assert set(seen) <= {0, 1}
    assert len(failed) < 3000 * 0.05**MOST_LOSSES * 20 + 3
    cluster = SimulatedCluster(16, 1.0, loss=1.0)
    seen, failed, _ = simulate(cluster, 10)
    assert sorted(failed) == list(range(10))


def test_the_window_follows_the_workers():
    """More workers get more at once, and a cluster without any gets something to begin with."""
    cluster = SimulatedCluster(1, 1.0, sizes={0.0: 0, 20.0: 40})
    simulate(cluster, 1000)
    assert cluster.now < 20 + 2 * 1000 / 40 + 10
    assert cluster.most_flying >= 80


def test_the_driver_holds_no_more_for_more_regions():
    """Memory is that of the window: 4 times the regions take as much, and little time each."""
    peaks = []
    for regions in (20_000, 80_000):
        cluster = SimulatedCluster(100, 1.0)
        tracemalloc.start()
        _, _, per_region = simulate(cluster, regions)
        peaks.append(tracemalloc.get_traced_memory()[1] - regions)
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 2**20
    assert per_region < 1e-3
