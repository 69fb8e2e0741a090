"""What a process does for a run: it opens the run's job once, and makes regions of it."""

from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import sleep

from chunkscale.compute.devices import open_device
from chunkscale.compute.levels import Device
from chunkscale.errors import ChunkscaleError, ClusterError, CorruptChunkError, RegionError
from chunkscale.host import allocator
from chunkscale.run.job import ImageJob, Job
from chunkscale.run.records import Failure, Outcome
from chunkscale.run.region import process_region
from chunkscale.storage.failures import is_transient

#: Seconds before each further attempt at a region whose store failed; half of each is random.
WAITS = (0.2, 0.8, 3.0, 10.0)

#: Runs whose arrays and buffers a process holds: the one that works, and one that ends.
MOST_OPEN = 2


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job and what this process does it with; picklable, and made anew where it is used.

    Parameters
    ----------
    job : Job
    turns : threading.Semaphore
        For as many regions at once as there is memory for.
    device : Device
    """

    job: Job
    turns: threading.Semaphore
    device: Device

    @classmethod
    def of(cls, job: Job) -> OpenJob:
        """Prepare for the regions of a job."""
        turns = threading.Semaphore(job.workers)
        return cls(job, turns=turns, device=open_device([image.plan for image in job.images]))

    def __reduce__(self) -> tuple[object, ...]:
        return partial(_opened, self.job.run, pickle.dumps(self.job)), ()


#: Those of this process, by run.
opened_jobs: dict[str, OpenJob] = {}

_stopped: dict[str, None] = {}

_opening = threading.Lock()


class StoppedError(Exception):
    """A run that begins no further region in this process."""


def _opened(run: str, payload: bytes) -> OpenJob:
    """Return the open job of a run, which this process may have already.

    Raises
    ------
    StoppedError
        If the run was stopped: looked at where nothing can stop it before it is open.
    """
    with _opening:
        if run in _stopped:
            raise StoppedError(run)
        found = opened_jobs.pop(run, None)
        if found is None:
            found = OpenJob.of(pickle.loads(payload))
        opened_jobs[run] = found  # the last one used is the last one dropped
        while len(opened_jobs) > MOST_OPEN:
            del opened_jobs[next(iter(opened_jobs))]
        return found


def stop_run(run: str) -> None:
    """Begin no further region of a run in this process, and close its arrays."""
    with _opening:
        opened_jobs.pop(run, None)
        _stopped[run] = None
        while len(_stopped) > 64:
            del _stopped[next(iter(_stopped))]


def run_batch(run: str, payload: bytes, indices: Sequence[int]) -> Iterator[Outcome]:
    """Make regions one after another, until the run is stopped.

    Parameters
    ----------
    run : str
    payload : bytes
        The pickled `Job`; looked at if this process has not opened it yet.
    indices : sequence of int
    """
    with allocator.tuned():
        for index in indices:
            try:
                opened = _opened(run, payload)
            except StoppedError:
                return
            yield run_region(opened, index)


def run_region(opened: OpenJob, number: int) -> Outcome:
    """Make one region; ask again, with growing waits, where a store fails for a while."""
    position, index = opened.job.locate(number)
    image = opened.job.images[position]
    waits = iter(WAITS)
    while True:
        try:
            with opened.turns:
                record = process_region(
                    image.plan, index, image.source, image.target, opened.device, image.guard
                )
                return replace(record, index=number)
        except Exception as error:
            wait = next(waits, None)
            if wait is None or not is_transient(error):
                return Failure(number, _explained(image, index, error))
            # Workers that fail together must not come back together.
            sleep(wait * random.uniform(0.5, 1.0))


def _explained(image: ImageJob, index: int, error: Exception) -> ChunkscaleError:
    # What is refused before anything is written has another exit code.
    if isinstance(error, RegionError | CorruptChunkError | ClusterError):
        return error
    level, box = image.plan.region(index).boxes[0]
    failure = RegionError(
        f"region {index} (voxels {box} of level {level}) failed: {error or repr(error)}"
    )
    failure.__cause__ = error
    return failure
