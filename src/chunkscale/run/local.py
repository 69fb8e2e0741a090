"""Regions on Dask's local schedulers, in windows."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.pool import Pool, ThreadPool
from typing import Any

from chunkscale.errors import OptionError
from chunkscale.host.limits import Limit, usable_cores
from chunkscale.run.driver import Driver
from chunkscale.run.job import Job
from chunkscale.run.records import Outcome
from chunkscale.run.worker import OpenJob, run_region

#: Regions per worker in one local graph: the idle tail of a window is a small part of it.
WINDOW = 64

_SYNCHRONOUS = ("sync", "synchronous", "single-threaded")

_THREADS = ("threads", "threading")

#: What a client sets; it comes as a `Cluster`, or not at all (inside a worker).
_CLUSTERS = ("dask.distributed", "distributed")

_LOCAL = (*_SYNCHRONOUS, *_THREADS, "processes", "multiprocessing")


@dataclass(frozen=True)
class LocalScheduler:
    """Where regions run without a cluster, as ``dask.config`` says.

    Parameters
    ----------
    scheduler : str or callable
        As ``dask.compute`` takes it.
    pool : Executor or Pool or None
        The user's.
    number : int, optional
        Regions at once: as many as the pool has, or as ``num_workers`` says; one per core if
        neither does.
    """

    scheduler: str | Callable[..., Any]
    pool: Executor | Pool | None
    number: int | None

    @cached_property
    def _cores(self) -> Limit:
        return usable_cores()

    @property
    def threads(self) -> int:
        """Those that encode and decode: one per core that this process may use."""
        return self._cores.amount

    @property
    def workers(self) -> int:
        """Regions at once."""
        return self.number or self.threads

    @property
    def origin(self) -> str:
        """Who says how many."""
        return "dask.config" if self.number else self._cores.origin

    @property
    def shares_memory(self) -> bool:
        """Whether regions surely run in threads of this process."""
        pools = ThreadPoolExecutor | ThreadPool | None
        return self.scheduler in (*_SYNCHRONOUS, *_THREADS) and isinstance(self.pool, pools)


def local_scheduler() -> LocalScheduler:
    """Return what ``dask.config`` says.

    Raises
    ------
    OptionError
        If Dask could not run with it, or would not know how many regions at once.
    """
    import dask

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
            "dask.config scheduler must be 'threads', 'processes', 'synchronous', an Executor or "
            f"a function, not {chosen!r}"
        )
    if pool is not None and not isinstance(pool, Executor | Pool):
        raise OptionError(
            "dask.config pool must be a ThreadPoolExecutor or a multiprocessing.pool.ThreadPool, "
            f"not {pool!r}"
        )
    number: Any = dask.config.get("num_workers", None) or None
    if number is not None and (not isinstance(number, int) or number < 1):
        raise OptionError(f"dask.config num_workers must be a whole number above 0, not {number!r}")
    if chosen in _SYNCHRONOUS:
        return LocalScheduler(chosen, None, 1)
    size = getattr(pool, "_max_workers", None) or getattr(pool, "_processes", None)
    return LocalScheduler(chosen, pool, size or number)


def run_locally(job: Job, driver: Driver) -> None:
    active = _Active(OpenJob.of(job))
    driver.times.started = time.perf_counter()

    def take(outcome: Outcome) -> None:
        active.untaken.pop(outcome.index, None)
        driver.take(outcome, "local", job.workers)

    try:
        with _scheduler(job.workers, max(job.pass_counts)) as get:
            for number in range(len(job.pass_counts)):
                left = driver.missing(number)
                # Later passes read what this one has written.
                while window := list(itertools.islice(left, WINDOW * job.workers)):
                    _compute(active, window, get, take)
    finally:
        active.wait()
        driver.keep(active.untaken.values(), "local")
    driver.times.worker_seconds = driver.times.wall_seconds * job.workers


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
