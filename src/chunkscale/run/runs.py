"""Run a plan: every region that is not done, pass after pass, on any scheduler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chunkscale.output.ledger import Ledger
from chunkscale.run.driver import Driver
from chunkscale.run.local import run_locally
from chunkscale.run.records import LogCallback, ProgressCallback, RunTimes
from chunkscale.run.window import Cluster, run_on_cluster
from chunkscale.run.worker import Job


def run_plan(
    job: Job,
    *,
    done: NDArray[np.bool_] | None = None,
    ledger: Ledger | None = None,
    progress: ProgressCallback | None = None,
    log: LogCallback | None = None,
    cluster: Cluster | None = None,
) -> RunTimes:
    """Process every region of a plan that is not done, pass after pass.

    Parameters
    ----------
    job : Job
    done : ndarray of bool, optional
        By region.
    ledger : Ledger, optional
        Told of every finished region.
    progress : callable, optional
        Called with a `Progress` after every region, in the calling thread,
        and while a cluster finishes none. What it raises stops the run.
    log : callable, optional
        Called with a mapping for every region.
    cluster : Cluster, optional
        Default: a local scheduler.

    Raises
    ------
    RegionError
        Naming the regions that failed and why, when all others of their pass
        are finished. Nothing is written any more.
    ChunkscaleError
        As the regions raised it, if all of them raised the same (a corrupt
        chunk, say).
    """
    driver = Driver(job.plan, done, ledger, progress, log)
    try:
        if cluster is None:
            run_locally(job, driver)
        else:
            run_on_cluster(cluster, job, driver)
    finally:
        if ledger is not None:
            ledger.flush()
    return driver.times
