"""The driver of clusters, simulated: the real loop, a cluster of the mind, and its clock."""

import tracemalloc
from types import SimpleNamespace

import pytest
from simulation import SimulatedCluster, simulate

from chunkscale.errors import RegionError
from chunkscale.run.driver import MOST_FAILURES, Driver, Track
from chunkscale.run.job import ImageJob, Job
from chunkscale.run.records import Batch, Failure, Record
from chunkscale.run.window import MOST_LOSSES, run_on_cluster


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
    assert cluster.batches == 10 * MOST_LOSSES


def test_the_window_follows_the_workers():
    """More workers get more at once, and a cluster without any gets something to begin with."""
    cluster = SimulatedCluster(1, 1.0, sizes={0.0: 0, 20.0: 40})
    simulate(cluster, 1000)
    assert cluster.now < 20 + 2 * 1000 / 40 + 10
    assert cluster.most_flying >= 80


def test_what_came_back_together_is_kept_when_a_run_is_stopped():
    """The rest of the batch whose region stopped it, and the batches beside it."""

    class Noted:
        def __init__(self):
            self.regions = []

        def add(self, index, stored):
            self.regions.append(index)

        def tick(self):
            if len(self.regions) == 3:
                raise KeyboardInterrupt

    class Cluster:
        def __init__(self):
            self.handed_out = []

        def start(self, job):
            pass

        def slots(self):
            return 2

        def submit(self, indices):
            self.handed_out.append(list(indices))

        def wait(self, seconds):
            batches, self.handed_out = self.handed_out, []
            return [
                Batch(given, [Record(i, 1, 1, 0.0, 0.0, 0.0, 1) for i in given], "w", 1e-3)
                for given in batches
            ]

        def stop(self):
            yield from self.wait(0)

    one_pass = SimpleNamespace(indices=range(9), region_count=9)
    plan = SimpleNamespace(region_count=9, voxels=0, passes=[one_pass])
    noted, cluster = Noted(), Cluster()
    job = Job(run="run", images=(ImageJob(plan=plan, source=None, target=()),), workers=2)
    driver = Driver(job, [Track(plan=plan, ledger=noted)])
    with pytest.raises(KeyboardInterrupt):
        run_on_cluster(cluster, job, driver)
    assert sorted(noted.regions) == list(range(len(noted.regions)))
    assert len(noted.regions) > 3


def test_a_run_goes_on_as_long_as_something_succeeds_in_between():
    """It stops when so many regions in a row have failed, whatever failed before."""
    plan = SimpleNamespace(region_count=100, voxels=0, passes=[])
    job = Job(run="run", images=(ImageJob(plan=plan, source=None, target=()),), workers=2)
    driver = Driver(job, [Track(plan=plan)])
    failure = Failure(0, RegionError("injected"))
    for _ in range(3):
        driver.take(Record(1, 1, 1, 0.0, 0.0, 0.0), "w", 2)
        for _ in range(MOST_FAILURES - 1):
            driver.take(failure, "w", 2)
    with pytest.raises(RegionError, match=r"\d+ regions failed"):
        driver.take(failure, "w", 2)


def test_the_driver_holds_no_more_for_more_regions():
    """Memory is that of the window: 4 times the regions take as much, and little time each."""
    peaks = []
    for regions in (10_000, 40_000):
        cluster = SimulatedCluster(100, 1.0)
        tracemalloc.start()
        _, _, per_region = simulate(cluster, regions)
        peaks.append(tracemalloc.get_traced_memory()[1] - regions)
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 2**20
    assert per_region < 1e-3
