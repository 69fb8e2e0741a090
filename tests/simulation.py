"""A cluster of the mind with a clock of its own, for the driver's real loop."""

import heapq
import itertools
import random
import time

from chunkscale.run.records import Batch, Failure, Record
from chunkscale.run.window import run_window


class SimulatedCluster:
    """A cluster as `chunkscale.run.window.Cluster`, with a clock of its own.

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
