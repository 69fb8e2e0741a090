"""Images in batches: the next one is begun and the last one published beside the one that runs."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chunkscale.api.plans import PlannedImage
from chunkscale.errors import ChunkscaleError, RegionError
from chunkscale.host.limits import usable_cores
from chunkscale.parameters import Existing
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.locations import join

if TYPE_CHECKING:
    from chunkscale.output.writing import Output
    from chunkscale.run.dask_cluster import DaskCluster
    from chunkscale.run.driver import Track
    from chunkscale.run.job import Job
    from chunkscale.run.records import LogCallback, ProgressCallback, RunTimes

#: Images that are made at the same time: each has a lease and open arrays.
MOST_TOGETHER = 32

Upcoming = Iterator[list[PlannedImage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What has become of an image of a run."""

    image: PlannedImage
    path: str
    stored_bytes: int = 0
    error: ChunkscaleError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What images of a run have in common.

    Parameters
    ----------
    target : str
        The destination, below which images lie by their names.
    existing : Existing
    cluster : DaskCluster, optional
    progress, log : callable, optional
    """

    target: str
    existing: Existing
    cluster: DaskCluster | None = None
    progress: ProgressCallback | None = None
    log: LogCallback | None = None

    def place(self, image: PlannedImage) -> str:
        """Return where an image is written."""
        return join(self.target, image.name) if image.name else self.target

    @property
    def threads(self) -> int:
        """Those that encode and decode."""
        return usable_cores().amount if self.cluster is None else self.cluster.shape().codec_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """An image whose output is open, and what closes it."""

    image: PlannedImage
    output: Output
    open: contextlib.ExitStack


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Images that are made together, and those of them that could not be begun."""

    begun: list[_Begun] = field(default_factory=list)
    failed: list[Made] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)


class Making:
    """Makes images, batch after batch.

    Parameters
    ----------
    run : Run
    memory : int
        Bytes for all images of a batch.
    failed : set of str, optional
        Gets the names of images that fail. Without it an error of one ends the run.

    Attributes
    ----------
    times : RunTimes
        Of the batches that were made.
    """

    def __init__(self, run: Run, memory: int, failed: set[str] | None = None) -> None:
        from chunkscale.run.records import RunTimes

        self.times: RunTimes = RunTimes()
        self._run, self._memory, self._failed = run, memory, failed
        self._open: list[contextlib.ExitStack] = []

    def make(self, images: Iterable[PlannedImage], take: Callable[[Made], None]) -> None:
        """Make images that are planned as they are wanted; each is taken when it is published."""
        upcoming = batches(images, self._memory)
        with contextlib.ExitStack() as ending:
            ending.push(self._end_open)
            if self._failed is None:
                self._one_by_one(upcoming, take)
            else:
                self._side_by_side(upcoming, take)

    def _one_by_one(self, upcoming: Upcoming, take: Callable[[Made], None]) -> None:
        """Publish each batch before the next is begun: an error ends the run there."""
        while (batch := self._begin(upcoming)) is not None:
            self._make(batch)
            for made in self._publish(batch):
                take(made)

    def _side_by_side(self, upcoming: Upcoming, take: Callable[[Made], None]) -> None:
        """Begin the next batch and publish the last one beside the one that runs.

        Both keep one thread busy, for which all workers would wait: a plate of 384 small fields
        takes a fifth less time so (``asv_bench/plate.py``).
        """
        published: Future[list[Made]] | None = None
        with ThreadPoolExecutor(1, "chunkscale-batches") as beside:
            batch = self._begin(upcoming)
            while batch is not None:
                ahead = beside.submit(self._begin, upcoming)
                self._make(batch)
                following = ahead.result()  # before it the last batch was published
                for made in published.result() if published else ():
                    take(made)
                published = beside.submit(self._publish, batch)
                batch = following
            for made in published.result() if published else ():
                take(made)

    def _begin(self, upcoming: Upcoming) -> _Batch | None:
        """Open the outputs of the next batch; None if there is none."""
        images = next(upcoming, None)
        if images is None:
            return None
        batch = _Batch()
        for image in images:
            # An image that fails must end by itself, with the error: its notes stay then.
            own = contextlib.ExitStack()
            try:
                output = own.enter_context(_writing(image, self._run))
            except ChunkscaleError as error:
                batch.failed.append(self._not_made(image, error))
                continue
            self._open.append(own)
            batch.begun.append(_Begun(image=image, output=output, open=own))
        return batch

    def _make(self, batch: _Batch) -> None:
        """Make all regions of a batch."""
        from chunkscale.run.driver import Track
        from chunkscale.run.runs import run_job

        if not batch.begun:
            return
        for one in batch.begun:
            output = one.output
            batch.tracks.append(Track(plan=one.image.plan, done=output.done, ledger=output.ledger))
        run = self._run
        self.times = self.times + run_job(
            _job(batch.begun, self._memory, run.threads),
            batch.tracks,
            progress=run.progress,
            log=run.log,
            cluster=run.cluster,
        )

    def _publish(self, batch: _Batch) -> list[Made]:
        """Publish the images of a batch that are whole; return what has become of each."""
        made = batch.failed
        for one, track in zip(batch.begun, batch.tracks, strict=True):
            try:
                stored = _published(one, track.error(), self._failed or ())
            except ChunkscaleError as error:
                made.append(self._not_made(one.image, error))
            else:
                made.append(Made(image=one.image, path=one.output.uri, stored_bytes=stored))
            self._open.remove(one.open)
        return made

    def _not_made(self, image: PlannedImage, error: ChunkscaleError) -> Made:
        """Put an error of one of many images aside; that of another ends the run."""
        if self._failed is None:
            raise error
        self._failed.add(image.name)
        return Made(image=image, path=self._run.place(image), error=error)

    def _end_open(self, *error: object) -> None:
        """Let what is open end with the error that ends the run, so that its notes stay."""
        for own in self._open:
            own.__exit__(*error)  # type: ignore[arg-type]


def batches(images: Iterable[PlannedImage], memory: int) -> Iterator[list[PlannedImage]]:
    """Yield images that are made together: as many as leave each the workers that it has alone."""
    from chunkscale.run.job import common_workers

    batch: list[PlannedImage] = []
    for image in images:
        plans = [planned.plan for planned in (*batch, image)]
        alike = {(plan.device, plan.limits.workers) for plan in plans}
        fits = common_workers(plans, memory) >= max(plan.workers for plan in plans)
        if batch and (len(alike) > 1 or not fits or len(batch) >= MOST_TOGETHER):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def _job(begun: Sequence[_Begun], memory: int, threads: int) -> Job:
    """Return what the regions of images are made by; their sources share one cache."""
    from chunkscale.run.job import ImageJob, Job, common_workers

    plans = [one.image.plan for one in begun]
    io = StoreIO(threads=threads, cache_bytes=max(plan.memory.cache for plan in plans))
    images = (
        ImageJob(
            plan=one.image.plan,
            source=one.image.source.within(io).array,
            target=one.output.levels,
            guard=one.output.ledger.guard,
        )
        for one in begun
    )
    # One has the workers that its plan says: it may be limited to fewer.
    workers = plans[0].workers if len(plans) == 1 else common_workers(plans, memory)
    return Job(run=uuid.uuid4().hex, images=tuple(images), workers=workers)


def _published(one: _Begun, error: ChunkscaleError | None, failed: Collection[str]) -> int:
    """Publish an image of which nothing failed; return the bytes that are stored of it."""
    from chunkscale.output.labels import list_label
    from chunkscale.output.publish import publish

    with one.open:
        if error is not None:
            raise error
        if one.image.owner in failed:
            # Nothing lists labels before there is an image.
            raise RegionError("its image could not be made")
        stored = publish(one.image.plan, one.output, one.image.source)
    list_label(one.image.plan, one.output.uri)
    return stored


def _writing(image: PlannedImage, run: Run) -> contextlib.AbstractContextManager[Output]:
    from chunkscale.output.destination import unfinished
    from chunkscale.output.places import check_steps
    from chunkscale.output.publish import rehearse
    from chunkscale.output.writing import writing

    target = run.place(image)
    if image.owner:  # images of their own were looked at before anything was deleted
        rehearse(image.plan, target, image.source)
    check_steps(run.target, image.name)
    found = unfinished(target) if run.existing.resume else None
    return writing(
        image.plan, target, image.source, found, run.existing, StoreIO(threads=run.threads)
    )
