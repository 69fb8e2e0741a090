"""A Dask cluster: batches of regions as its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import pickle
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from chunkscale._version import __version__
from chunkscale.errors import ClusterError, OptionError
from chunkscale.host.limits import memory_limits, usable_cores
from chunkscale.host.memory import bystander_bytes
from chunkscale.run.job import Job
from chunkscale.run.records import Batch, Outcome
from chunkscale.run.waiting import Waiting, lacking
from chunkscale.run.worker import run_batch, stop_run

if TYPE_CHECKING:
    from distributed import Client

NO_DISTRIBUTED = "distributed is not installed; install the extra chunkscale[distributed]"

#: For this long regions that run are waited for when a run ends early.
STOP_SECONDS = 60.0

#: A dashboard that does not answer within this time is not named.
DASHBOARD_SECONDS = 2.0

#: Part of a worker's memory limit that regions may fill; Dask spills and pauses above.
MEMORY_PART = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a cluster has to offer now.

    Parameters
    ----------
    processes : int
        Worker processes; 0 if none has come yet.
    slots : int
        Their threads: regions that run at once.
    threads : int
        Threads in one process, at most.
    codec_threads : int
        For encoding and decoding in one process.
    memory : int or None
        Bytes that one process may use, at least; None if it has no limit.
    bystanders : int or None
        Bytes that libraries of no use here take of each, at most; None if there is no process.
    """

    processes: int
    slots: int
    threads: int
    codec_threads: int
    memory: int | None
    bystanders: int | None = None


class DaskCluster:
    """A cluster as the driver wants it; see `chunkscale.run.window.Cluster`.

    Parameters
    ----------
    client : distributed.Client
        Stays open.
    resources : mapping of str to float, optional
        What every task takes of its worker, like ``{"GPU": 1}``.
    """

    def __init__(self, client: Client, resources: Mapping[str, float] | None = None) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise OptionError(f"client {client!r} cannot be used: {NO_DISTRIBUTED}") from error
        if not isinstance(client, Client) or client.asynchronous:
            raise OptionError(
                f"client {client!r} is not a synchronous distributed.Client; pass one"
            )
        self.client = client
        self._resources = dict(resources or {}) or None
        self._shape: Shape | None = None
        self._run = ""
        self._payload = b""
        self._serial = itertools.count()
        self._flying: dict[Any, Sequence[int]] = {}
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._batches: queue.SimpleQueue[Batch | Exception] = queue.SimpleQueue()
        self._waiting = Waiting(self._lacking)

    def __str__(self) -> str:
        dashboard = _dashboard(self.client.dashboard_link)
        return f"{self.address}" + (f", dashboard {dashboard}" if dashboard else "")

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        scheduler = self.client.scheduler
        return str(scheduler.address) if scheduler is not None else "closed"

    def shape(self) -> Shape:
        """Return what the workers had when they were first asked; refuse other versions.

        Raises
        ------
        ClusterError
            Naming the worker and both versions.
        """
        if self._shape is None:
            self._shape = self._ask()
        return self._shape

    def _ask(self) -> Shape:
        threads = self.client.nthreads()
        if not threads:
            return Shape(processes=0, slots=0, threads=1, codec_threads=1, memory=None)
        answers = self.client.run(_facts, on_error="ignore")
        facts = {
            worker: told
            for worker, told in answers.items()
            if isinstance(told, _Facts) and told.version == __version__
        }
        if len(facts) < len(threads):
            # One left, or is of another version, which may not even understand the question.
            self.check_versions()
        cores = {worker: told.cores for worker, told in facts.items()}
        memory = [told.memory for told in facts.values() if told.memory]
        hosts = Counter(_host(worker) for worker in cores)
        return Shape(
            processes=len(threads),
            slots=sum(threads.values()),
            threads=max(threads.values()),
            codec_threads=max(
                # Two at least: one alone has nobody to work beside it while it waits for a disk.
                [2, *(math.ceil(n / hosts[_host(worker)]) for worker, n in cores.items())]
            ),
            memory=int(min(memory) * MEMORY_PART) if memory else None,
            bystanders=max((told.bystanders for told in facts.values()), default=None),
        )

    def check_versions(self) -> None:
        """Raise if a worker has another version of this package, or none."""
        found = self.client.get_versions(packages=["chunkscale"])
        ours = found["client"]["packages"].get("chunkscale")
        for worker, versions in found["workers"].items():
            theirs = versions["packages"].get("chunkscale")
            if theirs != ours:
                raise _skew(worker, theirs, ours)

    def start(self, job: Job) -> None:
        """Prepare for the batches of a run."""
        self._run, self._payload = job.run, pickle.dumps(job)
        self._waiting.ends()
        # A daemon: if the scheduler is gone for good, nobody waits for it.
        threading.Thread(target=self._collect, name="chunkscale-results", daemon=True).start()

    def slots(self) -> int:
        """Return the number of worker threads; 0 while there is no worker."""
        self._check_connection()
        return sum(self.client.nthreads().values())

    def submit(self, indices: Sequence[int]) -> None:
        """Hand out a batch."""
        self._check_connection()
        future = self.client.submit(
            _batch,
            __version__,
            self._run,
            self._payload,
            indices,
            key=f"chunkscale-{self._run}-{next(self._serial)}",
            pure=False,
            resources=self._resources,
        )
        self._flying[future] = indices
        future.add_done_callback(self._finished.put)

    def wait(self, seconds: float) -> list[Batch]:
        """Return batches that have come back; wait for the first of them, but not longer."""
        found: list[Batch] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._next(seconds))
            while True:
                found.append(self._next(0.0))
        if found:
            self._waiting.ends()
        else:
            self._check_connection()
            self._waiting.goes_on()
        return found

    def _lacking(self) -> str:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return lacking(self.address, workers, self._resources)

    def _next(self, seconds: float) -> Batch:
        batch = self._batches.get(timeout=seconds) if seconds else self._batches.get_nowait()
        if isinstance(batch, Exception):
            raise batch
        return batch

    def stop(self) -> Iterator[Batch]:
        """End after the regions that run, and yield the batches that come back."""
        try:
            if self.client.status != "running":
                return
            end = time.monotonic() + STOP_SECONDS
            # In a thread, as Dask waits for an answer of every worker, and a frozen one gives none.
            telling = threading.Thread(
                target=self._tell_to_stop, args=(bool(self._flying),), daemon=True
            )
            telling.start()
            while self._flying and time.monotonic() < end and self.client.status == "running":
                with contextlib.suppress(queue.Empty, ClusterError):
                    yield self._next(0.1)
            while not self._batches.empty():
                with contextlib.suppress(queue.Empty, ClusterError):
                    yield self._next(0.0)
            if self._flying:
                self.client.cancel(list(self._flying), force=True)
            telling.join(max(0.0, end - time.monotonic()))
        finally:
            self._flying.clear()
            self._finished.put(None)

    def _tell_to_stop(self, wait: bool) -> None:
        # At the end of a run nothing is left that it would have to wait for.
        # The connection may be lost, or closed in the meantime: each is tried all the same.
        with contextlib.suppress(Exception):
            if wait:
                self._cancel_unbegun()
        with contextlib.suppress(Exception):
            self.client.run(_stop, self._run, on_error="ignore", wait=wait)

    def _cancel_unbegun(self) -> None:
        """Take back what no worker has: perhaps none ever will."""
        begun = {key for keys in self.client.processing().values() for key in keys}
        self.client.cancel([f for f in list(self._flying) if f.key not in begun], force=True)

    def _check_connection(self) -> None:
        if self.client.status not in ("running", "connecting"):
            raise ClusterError(
                f"the connection to the scheduler {self.address} is lost (the client is "
                f"{self.client.status}); continue with resume=True (--resume) once it runs again"
            )

    def _collect(self) -> None:
        """Turn futures that are done into batches, in a thread of its own."""
        while (future := self._finished.get()) is not None:
            done = [future]
            with contextlib.suppress(queue.Empty):
                while (future := self._finished.get_nowait()) is not None:
                    done.append(future)
            try:
                for batch in self._results(done):
                    self._batches.put(batch)
            except Exception as error:
                failure = ClusterError(f"results of the cluster cannot be fetched: {error!r}")
                failure.__cause__ = error
                self._batches.put(failure)
            if future is None:
                return

    def _results(self, futures: Sequence[Any]) -> Iterator[Batch | Exception]:
        finished = [future for future in futures if future.status == "finished"]
        with contextlib.suppress(Exception):  # one that was lost and failed; looked at below
            results = self.client.gather(finished)
            for future, result in zip(finished, results, strict=True):
                yield self._batch(future, result)
        for future in futures:
            if future not in self._flying:
                continue
            if future.status in ("pending", "lost"):
                # Its worker died with the result; the scheduler has it made again.
                future.add_done_callback(self._finished.put)
            elif future.status == "finished":
                yield self._batch(future, future.result())
            else:
                yield self._without_result(future)

    def _batch(self, future: Any, result: tuple[str, float, list[Outcome]]) -> Batch:
        worker, seconds, outcomes = result
        return Batch(self._flying.pop(future, ()), outcomes, worker, seconds)

    def _without_result(self, future: Any) -> Batch | Exception:
        from distributed import KilledWorker

        indices = self._flying.pop(future)
        if future.status != "error":
            return ClusterError(
                f"the scheduler {self.address} has dropped tasks of this run ({future.status}); "
                "it may have been restarted. Continue with resume=True (--resume)"
            )
        error = future.exception()
        if isinstance(error, KilledWorker):
            return Batch(
                indices, lost=f"its workers died, the last one {error.last_worker.address}"
            )
        if isinstance(error, ClusterError):
            return error
        if isinstance(error, ImportError | AttributeError):
            try:
                self.check_versions()
            except ClusterError as skew:
                return skew
        failure = ClusterError(f"a worker of {self.address} cannot run the task: {error!r}")
        failure.__cause__ = error
        return failure


def _dashboard(link: str | None) -> str:
    """Return the link of a dashboard that is there, or nothing.

    Schedulers give a link in any case, and without bokeh a page that asks to install it. A client
    that is closed has none.
    """
    if not link:
        return ""
    try:
        with urlopen(link, timeout=DASHBOARD_SECONDS) as answer:
            page = answer.read(4096)
    except (OSError, ValueError, HTTPException):
        return ""
    return "" if b"needs bokeh" in page else link


def _host(address: str) -> str:
    return address.rsplit(":", 1)[0]


def _skew(worker: str, theirs: str | None, ours: str | None) -> ClusterError:
    return ClusterError(
        f"worker {worker} has chunkscale {theirs or '(none)'}, and the client {ours}; install the "
        "same version on both"
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    version: str
    cores: int
    memory: int | None
    bystanders: int


def _facts(dask_worker: Any) -> _Facts:
    """Return what the driver must know of the worker that this runs in."""
    limits = [limit.amount for limit in memory_limits()]
    if limit := dask_worker.memory_manager.memory_limit:
        limits.append(limit)
    return _Facts(__version__, usable_cores().amount, min(limits, default=None), bystander_bytes())


def _batch(
    version: str, run: str, payload: bytes, indices: Sequence[int]
) -> tuple[str, float, list[Outcome]]:
    """Make regions in a worker."""
    from distributed import get_worker

    worker: str = get_worker().address
    if version != __version__:
        raise _skew(worker, __version__, version)
    start = time.perf_counter()
    outcomes = list(run_batch(run, payload, indices))
    return worker, time.perf_counter() - start, outcomes


async def _stop(run: str) -> None:
    # In a thread, as a job may just be opened, which it waits for; and a coroutine,
    # as Dask sends nothing else without waiting for its result.
    await asyncio.to_thread(stop_run, run)
