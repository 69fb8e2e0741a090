"""The driver: hand regions out, take their records in, on any scheduler.

Locally regions go to Dask in windows, to its threaded scheduler unless
``dask.config`` names another one. On a cluster a sliding window of
batches follows the workers as they come and go. Either way a run of millions
never builds a graph of millions, and what comes back is tiny.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import Pool
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import OptionError, RegionError
from chunkscale.ledger import Ledger
from chunkscale.memory import make_room
from chunkscale.plan import ResamplePlan
from chunkscale.region import Record
from chunkscale.worker import Failure, Job, OpenJob, Outcome, run_region

__all__ = [
    "Batch",
    "Cluster",
    "LocalScheduler",
    "Progress",
    "ProgressCallback",
    "RunTimes",
    "local_scheduler",
    "run_plan",
    "run_window",
]

#: Threads beyond one per core: a region waits while the last of its objects are encoded.
SPARE_WORKERS = 1
#: Regions per worker in one local graph: the idle tail of a window is a small part of it.
WINDOW = 64
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
#: A run whose last so many regions all failed does not go on.
MOST_FAILURES = 20
SHOWN_FAILURES = 10

_SYNCHRONOUS = ("sync", "synchronous", "single-threaded")
_THREADS = ("threads", "threading")
#: What a client sets; it comes as a `Cluster`, or not at all (inside a worker).
_CLUSTERS = ("dask.distributed", "distributed")
_LOCAL = (*_SYNCHRONOUS, *_THREADS, "processes", "multiprocessing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    regions, total_regions : int
        Finished, and all.
    voxels, total_voxels : int
        Written, and to be written, all levels. A resumed run counts its own
        (in proportion to the regions).
    nbytes : int
        Written, before compression.
    seconds : float
        Since the first region began.
    """

    regions: int
    total_regions: int
    voxels: int
    total_voxels: int
    nbytes: int
    seconds: float


ProgressCallback = Callable[[Progress], None]
LogCallback = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class RunTimes:
    """Sums over all regions; seconds add up over the workers.

    ``wall_seconds`` count from `started`: locally when kernels are loaded, which
    may have to be compiled before. ``worker_seconds`` is what the workers had:
    what of it is neither reading nor computing nor writing they waited.
    """

    regions: int = 0
    voxels: int = 0
    nbytes: int = 0
    read_seconds: float = 0.0
    compute_seconds: float = 0.0
    write_seconds: float = 0.0
    wall_seconds: float = 0.0
    worker_seconds: float = 0.0
    resumed_regions: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, record: Record) -> None:
        """Count a finished region."""
        self.regions += 1
        self.voxels += record.voxels
        self.nbytes += record.nbytes
        self.read_seconds += record.read_seconds
        self.compute_seconds += record.compute_seconds
        self.write_seconds += record.write_seconds
        self.wall_seconds = time.perf_counter() - self.started


@dataclass(frozen=True, slots=True)
class Batch:
    """Regions that were handed out together, and what became of them.

    Parameters
    ----------
    indices : sequence of int
    outcomes : sequence of Record or Failure
        Fewer than `indices` where the run was stopped.
    worker : str
    seconds : float
        Between the first region's begin and the last one's end.
    lost : str
        Why nothing came back, if so; the regions can be handed out again.
    """

    indices: Sequence[int]
    outcomes: Sequence[Outcome] = ()
    worker: str = ""
    seconds: float = 0.0
    lost: str = ""


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


@dataclass(frozen=True, slots=True)
class LocalScheduler:
    """Where regions run without a cluster, as ``dask.config`` says.

    Parameters
    ----------
    scheduler : str or callable
        As ``dask.compute`` takes it.
    pool : Executor or Pool or None
        The user's.
    workers : int
        Regions at once: as many as the pool has, or one per core.
    spare : int
        Further ones, if there is memory for them.
    """

    scheduler: str | Callable[..., Any]
    pool: Executor | Pool | None
    workers: int
    spare: int = 0


def local_scheduler() -> LocalScheduler:
    """Return what ``dask.config`` says.

    Raises
    ------
    OptionError
        If Dask could not run with it, or would not know how many regions at once.
    """
    import dask
    from dask.system import CPU_COUNT

    chosen: Any = dask.config.get("scheduler", None)
    pool: Any = dask.config.get("pool", None)
    if isinstance(chosen, Executor):
        chosen, pool = "threads", chosen
    if isinstance(chosen, str):
        chosen = chosen.lower()
    if not chosen or chosen in _CLUSTERS or "Client" in type(chosen).__name__:
        chosen = "threads"
    if chosen not in _LOCAL and not callable(chosen):
        raise OptionError(
            f"scheduler {chosen!r} of dask.config is unknown; set 'threads', 'processes', "
            "'synchronous', an Executor or a function, or leave it out"
        )
    if pool is not None and not isinstance(pool, Executor | Pool):
        raise OptionError(
            f"pool {pool!r} of dask.config is none; set a ThreadPoolExecutor or a "
            "multiprocessing.pool.ThreadPool, or leave it out"
        )
    number: Any = dask.config.get("num_workers", None)
    ours = chosen in _THREADS and pool is None and not number
    number = number or CPU_COUNT
    if not isinstance(number, int) or number < 1:
        raise OptionError(
            f"num_workers {number!r} of dask.config is not a whole number above 0; correct it or "
            "leave it out"
        )
    if chosen in _SYNCHRONOUS:
        return LocalScheduler(chosen, None, 1)
    size = getattr(pool, "_max_workers", None) or getattr(pool, "_processes", None)
    return LocalScheduler(chosen, pool, size or number, SPARE_WORKERS if ours else 0)


def codec_threads() -> int:
    """Return how many threads may encode and decode: one per core."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


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
    driver = _Driver(job.plan, done, ledger, progress, log)
    try:
        if cluster is None:
            _run_locally(job, driver)
        else:
            _run_on(cluster, job, driver)
    finally:
        if ledger is not None:
            ledger.flush()
    return driver.times


class _Driver:
    """Takes outcomes in: counts, ledger, progress, log and failures."""

    def __init__(
        self,
        plan: ResamplePlan,
        done: NDArray[np.bool_] | None,
        ledger: Ledger | None,
        progress: ProgressCallback | None,
        log: LogCallback | None,
    ) -> None:
        self.plan = plan
        self.done = done
        self.ledger = ledger
        self.progress = progress
        self.log = log
        self.times = RunTimes()
        if done is not None:
            self.times.resumed_regions = int(np.count_nonzero(done))
        left = plan.region_count - self.times.resumed_regions
        voxels = sum(level.grid.size for level in plan.levels)
        self.voxels = voxels * left // plan.region_count
        self.failures: list[Failure] = []
        self.failed_in_a_row = 0

    def missing(self, indices: range) -> Iterator[int]:
        """Yield those of a pass that are not done."""
        if self.done is None:
            yield from indices
            return
        for start in range(indices.start, indices.stop, 65536):
            part = self.done[start : min(start + 65536, indices.stop)]
            yield from (start + np.flatnonzero(~part)).tolist()

    def take(self, outcome: Outcome, worker: str, slots: int) -> None:
        """Take one outcome in."""
        self._note(outcome, worker)
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= max(MOST_FAILURES, 2 * slots):
                self.raise_failures()
            return
        self.failed_in_a_row = 0
        self.times.add(outcome)
        self.tick()

    def keep(self, outcomes: Iterable[Outcome], worker: str) -> None:
        """Note down what was finished while the error that ends the run was raised."""
        for outcome in outcomes:
            with contextlib.suppress(OSError):  # of the log: the run has an error already
                self._note(outcome, worker)

    def _note(self, outcome: Outcome, worker: str) -> None:
        # The ledger first: an interrupt may come in between.
        if isinstance(outcome, Record) and self.ledger is not None:
            self.ledger.add(outcome)
        if self.log is not None:
            self.log(_log_entry(outcome, worker))

    def tick(self) -> None:
        """Show progress, and note down what is finished if it is time to."""
        if self.ledger is not None:
            self.ledger.tick()
        if self.progress is not None:
            self.progress(
                Progress(
                    regions=self.times.regions + self.times.resumed_regions,
                    total_regions=self.plan.region_count,
                    voxels=self.times.voxels,
                    total_voxels=self.voxels,
                    nbytes=self.times.nbytes,
                    seconds=self.times.wall_seconds,
                )
            )

    def raise_failures(self) -> None:
        """Raise what went wrong, if something did."""
        if not self.failures:
            return
        first = self.failures[0].error
        if len(self.failures) == 1:
            raise first
        shown = [f"  {failure.error}" for failure in self.failures[:SHOWN_FAILURES]]
        more = len(self.failures) - len(shown)
        text = "\n".join(
            [
                f"{len(self.failures)} regions failed, and everything else that could be done "
                "is kept; once the cause is removed, resume:",
                *shown,
                *([f"  and {more} more"] if more else []),
            ]
        )
        kinds = {type(failure.error) for failure in self.failures}
        error = kinds.pop()(text) if len(kinds) == 1 else RegionError(text)
        raise error from first


def _log_entry(outcome: Outcome, worker: str) -> dict[str, Any]:
    entry = {"time": round(time.time(), 3), "region": outcome.index, "worker": worker}
    if isinstance(outcome, Failure):
        return {**entry, "error": str(outcome.error)}
    return {
        **entry,
        "read_seconds": round(outcome.read_seconds, 6),
        "compute_seconds": round(outcome.compute_seconds, 6),
        "write_seconds": round(outcome.write_seconds, 6),
        "bytes": outcome.nbytes,
        "stored_bytes": outcome.stored,
    }


# -- local schedulers --------------------------------------------------------------------------


def _run_locally(job: Job, driver: _Driver) -> None:
    plan = job.plan
    active = _Active(OpenJob.of(job))
    driver.times.started = time.perf_counter()
    most = max(one_pass.region_count for one_pass in plan.passes)

    def take(outcome: Outcome) -> None:
        active.untaken.pop(outcome.index, None)
        driver.take(outcome, "local", plan.workers)

    try:
        with _scheduler(plan.workers, most) as get:
            for one_pass in plan.passes:
                left = driver.missing(one_pass.indices)
                while window := list(itertools.islice(left, WINDOW * plan.workers)):
                    _compute(active, window, get, take)
                # Later passes read what this one has written.
                driver.raise_failures()
    finally:
        active.wait()
        driver.keep(active.untaken.values(), "local")
        make_room(plan.memory.total)
    driver.times.worker_seconds = driver.times.wall_seconds * plan.workers


class _Active:
    """Count the regions that run, to wait for those that had begun when a run ends early.

    Dask's threaded scheduler leaves them running, and an error must not reach
    the caller while something is still being written. What they have made is
    kept in `untaken` by region, for Dask tells no more of it.
    """

    def __init__(self, opened: OpenJob) -> None:
        self.opened = opened
        self.untaken: dict[int, Outcome] = {}
        self._changed = threading.Condition()
        self._running = 0
        self._ended = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Regions of other processes cannot be counted here.
        return _Active, (self.opened,)

    def __call__(self, index: int) -> Outcome:
        with self._changed:
            if self._ended:
                raise RuntimeError("the run has ended")  # to a pool that no one listens to any more
            self._running += 1
        try:
            outcome = self.untaken[index] = run_region(self.opened, index)
            return outcome
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Return when no region runs in this process, and let none begin any more."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: self._running == 0)


#: Runs the named tasks of a graph, as all of Dask's schedulers do.
_Get = Callable[[dict[str, Any], list[str]], Sequence[Any]]


@contextlib.contextmanager
def _scheduler(workers: int, regions: int) -> Iterator[_Get]:
    """Yield a scheduler that runs at most `workers` regions at once."""
    import dask.local
    import dask.threaded

    local = local_scheduler()
    if callable(local.scheduler):
        yield local.scheduler
    elif local.scheduler in _SYNCHRONOUS:
        yield dask.local.get_sync
    elif local.scheduler not in _THREADS:
        import dask.multiprocessing

        yield partial(dask.multiprocessing.get, num_workers=workers, optimize_graph=False)
    elif local.pool is None or min(local.workers, regions) > workers:
        # Of a larger pool every thread would come to hold buffers.
        with ThreadPoolExecutor(workers, thread_name_prefix="chunkscale") as own:
            yield partial(dask.threaded.get, pool=own)
    elif isinstance(local.pool, Executor):
        yield partial(dask.local.get_async, local.pool.submit, local.workers)
    else:
        yield partial(dask.threaded.get, pool=local.pool)


def _compute(
    work: Callable[[int], Outcome],
    window: Sequence[int],
    get: _Get,
    take: Callable[[Outcome], None],
) -> None:
    """Run one window; `take` sees every outcome in the calling thread."""
    from dask.callbacks import Callback

    seen: set[str] = set()

    def after(key: str, outcome: Any, tasks: Any, state: Any, worker: Any) -> None:
        # Schedulers may add tasks, and other threads' graphs call back as well.
        if key in graph:
            seen.add(key)
            take(outcome)

    # Independent tasks begin in the reverse order of their names. Neighbours read the same
    # chunks, and the small regions at the edge come last. No collection: its graph takes longer.
    # No name comes twice: Dask may know results by them (its cache does).
    unique = uuid.uuid4().hex
    names = [f"region-{unique}-{len(window) - place:09d}" for place in range(len(window))]
    graph = {name: (work, index) for name, index in zip(names, window, strict=True)}
    # Dask's local schedulers call back after each task; others may not.
    with Callback(posttask=after):
        outcomes = get(graph, names)
    for name, index, outcome in zip(names, window, outcomes, strict=True):
        if outcome.index != index:
            raise AssertionError(f"the scheduler returned region {outcome.index} for {index}")
        if name not in seen:
            take(outcome)


# -- clusters ----------------------------------------------------------------------------------


def _run_on(cluster: Cluster, job: Job, driver: _Driver) -> None:
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
        for one_pass in job.plan.passes:
            indices = driver.missing(one_pass.indices)
            run_window(cluster, indices, one_pass.region_count, take, tick, keep=keep)
            driver.raise_failures()
    except BaseException:
        for batch in cluster.stop():
            keep(batch)
        raise
    for _ in cluster.stop():
        raise AssertionError("a batch came back after the last one")


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
                "them more or plan with less (memory)"
            )
            take(Batch([index], [Failure(index, error)]))
