"""Run regions as Dask tasks: the only module that imports a scheduler.

Regions go to Dask in windows, so that a run of millions never builds a graph
of millions. Locally they run on Dask's threaded scheduler, unless
``dask.config`` names another one; any scheduler that ``dask.compute`` knows
does the same work and returns the same tiny records.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chunkscale.device import open_device
from chunkscale.errors import ChunkscaleError, RegionError
from chunkscale.memory import keep_below, resident_bytes
from chunkscale.plan import ResamplePlan
from chunkscale.region import Device, Record, process_region
from chunkscale.storage import ArrayReader, ArrayWriter

__all__ = ["Progress", "ProgressCallback", "RunTimes", "default_workers", "run_plan"]

#: Regions per worker in one graph: the idle tail of a window is a small part of it.
WINDOW = 64

_SYNCHRONOUS = ("sync", "synchronous", "single-threaded")
_THREADS = ("threads", "threading")
_LOCAL = (*_SYNCHRONOUS, *_THREADS, "processes", "multiprocessing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    regions, total_regions : int
        Finished, and all.
    voxels, total_voxels : int
        Written, and to be written, all levels.
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


@dataclass(slots=True)
class RunTimes:
    """Sums over all regions; seconds add up over the workers."""

    regions: int = 0
    voxels: int = 0
    nbytes: int = 0
    read_seconds: float = 0.0
    compute_seconds: float = 0.0
    write_seconds: float = 0.0
    wall_seconds: float = 0.0
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


def default_workers() -> int:
    """Return how many regions run at once: what ``dask.config`` says, or one per core."""
    import dask
    from dask.system import CPU_COUNT

    if dask.config.get("scheduler", None) in _SYNCHRONOUS:
        return 1
    pool = dask.config.get("pool", None)
    size = getattr(pool, "_max_workers", None) or dask.config.get("num_workers", None)
    return int(size or CPU_COUNT)


def codec_threads() -> int:
    """Return how many threads may encode and decode: one per core."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


def run_plan(
    plan: ResamplePlan,
    source: ArrayReader,
    target: Sequence[ArrayWriter],
    *,
    progress: ProgressCallback | None = None,
) -> RunTimes:
    """Process every region of a plan, pass after pass.

    Parameters
    ----------
    plan : ResamplePlan
    source : ArrayReader
    target : sequence of ArrayWriter
        The levels of the output.
    progress : callable, optional
        Called with a `Progress` after every region, in the calling thread.

    Raises
    ------
    RegionError
        Naming the first region that failed; regions that had begun are
        finished before it is raised.
    ChunkscaleError
        As a region raised it (a corrupt chunk, say).
    """
    times = RunTimes()
    total_voxels = sum(level.grid.size for level in plan.levels)

    def done(record: Record) -> None:
        times.add(record)
        if progress is not None:
            progress(
                Progress(
                    regions=times.regions,
                    total_regions=plan.region_count,
                    voxels=times.voxels,
                    total_voxels=total_voxels,
                    nbytes=times.nbytes,
                    seconds=times.wall_seconds,
                )
            )

    # What the process held before is not this run's; of its own part some is left for regions
    # that grow while others are looked at.
    most_resident = resident_bytes() + (plan.memory.total - plan.memory.base) * 85 // 100
    work = partial(_task, plan, source, tuple(target), open_device(plan), most_resident)
    active = _Active(work)
    most = max(one_pass.region_count for one_pass in plan.passes)
    with _scheduler(plan.workers, most) as options:
        for one_pass in plan.passes:
            for window in _windows(one_pass.indices, WINDOW * plan.workers):
                try:
                    _compute(active, window, options, done)
                finally:
                    active.wait()
    return times


class _Active:
    """Count the regions that run, to wait for those that had begun when one failed.

    Dask's threaded scheduler leaves them running, and an error must not reach
    the caller while something is still being written.
    """

    def __init__(self, work: Callable[[int], Record]) -> None:
        self.work = work
        self._changed = threading.Condition()
        self._running = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Regions of other processes cannot be counted here.
        return _Active, (self.work,)

    def __call__(self, index: int) -> Record:
        with self._changed:
            self._running += 1
        try:
            return self.work(index)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Return when no region runs in this process."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)


def _task(
    plan: ResamplePlan,
    source: ArrayReader,
    target: Sequence[ArrayWriter],
    device: Device,
    most_resident: int,
    index: int,
) -> Record:
    try:
        record = process_region(plan, index, source, target, device)
        keep_below(most_resident)
        return record
    except ChunkscaleError:
        raise
    except Exception as error:
        level, box = plan.region(index).boxes[0]
        raise RegionError(
            f"region {index} (voxels {box} of level {level}) failed: {error or repr(error)}"
        ) from error


def _windows(indices: range, size: int) -> Iterator[range]:
    for start in range(indices.start, indices.stop, size):
        yield range(start, min(start + size, indices.stop))


@contextlib.contextmanager
def _scheduler(workers: int, regions: int) -> Iterator[dict[str, Any]]:
    """Yield the options for ``dask.compute`` that give at most `workers` regions at once."""
    import dask

    chosen = dask.config.get("scheduler", None)
    if callable(chosen):
        yield {"scheduler": chosen}
    elif chosen is not None and str(chosen).lower() not in _THREADS:
        yield {"scheduler": chosen, "num_workers": workers}
    else:
        pool: Executor | None = dask.config.get("pool", None)
        if pool is not None and min(getattr(pool, "_max_workers", regions), regions) <= workers:
            yield {"scheduler": "threads", "pool": pool}
        else:
            with ThreadPoolExecutor(workers, thread_name_prefix="chunkscale") as own:
                yield {"scheduler": "threads", "pool": own}


def _compute(
    work: Callable[[int], Record],
    window: range,
    options: dict[str, Any],
    done: Callable[[Record], None],
) -> None:
    """Run one window; `done` sees every record in the calling thread."""
    import dask
    from dask.callbacks import Callback

    def after(key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        if isinstance(result, Record):
            done(result)

    task = dask.delayed(work, pure=False, traverse=False)
    tasks = [task(index) for index in window]
    # Dask calls back after each task on its local schedulers only.
    local = options["scheduler"] in _LOCAL
    with Callback(posttask=after) if local else contextlib.nullcontext():
        records = dask.compute(*tasks, optimize_graph=False, traverse=False, **options)
    if not local:
        for record in records:
            done(record)
