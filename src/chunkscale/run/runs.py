"""Run a job: every region that is not done, pass after pass, on any scheduler."""

from __future__ import annotations

from collections.abc import Sequence

from chunkscale.run.driver import Driver, Track
from chunkscale.run.job import Job
from chunkscale.run.local import run_locally
from chunkscale.run.records import LogCallback, ProgressCallback, RunTimes
from chunkscale.run.window import Cluster, run_on_cluster


def run_job(
    job: Job,
    tracks: Sequence[Track],
    *,
    progress: ProgressCallback | None = None,
    log: LogCallback | None = None,
    cluster: Cluster | None = None,
) -> RunTimes:
    """Process every region of the images of a job that is not done, pass after pass.

    What cannot be made is in the tracks afterwards: all that could be done beside it is.

    Parameters
    ----------
    job : Job
    tracks : sequence of Track
        Of its images: what is done, and who is told of it.
    progress : callable, optional
        Called with a `Progress` after every region, in the calling thread,
        while a cluster finishes none, and at the begin where regions are done already. What it
        raises stops the run.
    log : callable, optional
        Called with a mapping for every region.
    cluster : Cluster, optional
        Default: a local scheduler.

    Raises
    ------
    ChunkscaleError
        If regions fail one after another, and nothing else. Nothing is written any more.
    """
    driver = Driver(job, tracks, progress, log)
    if driver.times.resumed_regions:
        driver.tick()
    if cluster is None:
        run_locally(job, driver)
    else:
        run_on_cluster(cluster, job, driver)
    return driver.times
