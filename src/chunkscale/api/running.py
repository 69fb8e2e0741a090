"""Do what plans say: outputs are begun, made together, and published one after another."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from chunkscale.api.images import io_threads
from chunkscale.api.plans import PlannedImage
from chunkscale.errors import ChunkscaleError, OptionError, RegionError
from chunkscale.parameters import Existing, PathLike
from chunkscale.plan.model import ResamplePlan
from chunkscale.report import run_text
from chunkscale.storage import objects as contents
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.locations import join
from chunkscale.text import text_html

if TYPE_CHECKING:
    from chunkscale.output.writing import Output
    from chunkscale.run.dask_cluster import DaskCluster
    from chunkscale.run.driver import Track
    from chunkscale.run.job import Job
    from chunkscale.run.records import LogCallback, Progress, ProgressCallback, RunTimes

#: Images that are open at the same time: each has a lease and open arrays.
MOST_TOGETHER = 32


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Resampled:
    """What a finished run did.

    Parameters
    ----------
    path : str
        The output.
    plan : ResamplePlan
    times : RunTimes
        Seconds by stage, summed over the workers; of an image and its labels together.
    stored_bytes : int
        Size of all levels as they are stored, without the labels.
    labels : tuple of Resampled
        Of the labels that went along, in the order in which the image lists them.
    """

    path: str
    plan: ResamplePlan
    times: RunTimes
    stored_bytes: int
    labels: tuple[Resampled, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what was done as JSON values."""
        return {
            "path": self.path,
            "target": self.plan.target_grid.as_dict(),
            "levels": len(self.plan.levels),
            "regions": self.plan.region_count,
            "stored_bytes": self.stored_bytes,
            "times": asdict(self.times),
            "labels": [label.as_dict() for label in self.labels],
        }

    def __str__(self) -> str:
        return run_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<Resampled {self.path!r}>"

    def _repr_html_(self) -> str:
        return text_html(str(self))


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


def check_images(images: Sequence[PlannedImage], run: Run) -> None:
    """Refuse what cannot be written before anything is."""
    from chunkscale.output.destination import check_apart, check_room, check_unread
    from chunkscale.output.labels import check_label_place
    from chunkscale.output.places import check_links

    for image in images:
        target = run.place(image)
        check_links(run.target, [image.name] if image.name else [])
        check_apart(image.plan.source, target)
        if not image.name:  # labels of an image that is made are of its version
            check_label_place(image.plan, target)
        if run.existing.overwrite and image.source.opaque:
            check_unread(image.plan.source, target)
        if not contents.exists(target):
            check_room(image.plan, target)


def make_batch(
    images: Sequence[PlannedImage], run: Run, memory: int, failed: set[str] | None = None
) -> tuple[list[Made], RunTimes]:
    """Make images together, and publish each that is whole.

    Parameters
    ----------
    images : sequence of PlannedImage
    run : Run
    memory : int
        Bytes for all of them.
    failed : set of str, optional
        Names of those that failed before, and gets those that do. Without it an error of one ends
        the run.
    """
    from chunkscale.run.records import RunTimes
    from chunkscale.run.runs import run_job

    made: list[Made] = []
    with contextlib.ExitStack() as all_open:
        begun: list[_Begun] = []
        for image in _within(images, run):
            # An image that fails must end by itself, with the error: its notes stay then.
            own = all_open.enter_context(contextlib.ExitStack())
            try:
                output = own.enter_context(_writing(image, run))
            except ChunkscaleError as error:
                made.append(_failed(image, run, error, failed))
                continue
            begun.append(_Begun(image=image, output=output, open=own))
        if not begun:
            return made, RunTimes()
        job, tracks = _job(begun, memory)
        times = run_job(job, tracks, progress=run.progress, log=run.log, cluster=run.cluster)
        for one, track in zip(begun, tracks, strict=True):
            try:
                stored = _published(one, track.error(), failed or ())
            except ChunkscaleError as error:
                made.append(_failed(one.image, run, error, failed))
            else:
                made.append(Made(image=one.image, path=one.output.uri, stored_bytes=stored))
    return made, times


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """An image whose output is open, and what closes it."""

    image: PlannedImage
    output: Output
    open: contextlib.ExitStack


def _threads(run: Run) -> int:
    return io_threads() if run.cluster is None else run.cluster.shape().codec_threads


def _within(images: Sequence[PlannedImage], run: Run) -> Iterator[PlannedImage]:
    """Yield images whose sources share one cache."""
    cache = max(image.plan.memory.cache for image in images)
    io = StoreIO(threads=_threads(run), cache_bytes=cache)
    for image in images:
        yield replace(image, source=image.source.within(io))


def _failed(image: PlannedImage, run: Run, error: ChunkscaleError, failed: set[str] | None) -> Made:
    """Put an error of one of many images aside; that of another ends the run."""
    if failed is None:
        raise error
    failed.add(image.name)
    return Made(image=image, path=run.place(image), error=error)


def _job(begun: Sequence[_Begun], memory: int) -> tuple[Job, list[Track]]:
    """Return what the regions of images are made by, and what is kept of them."""
    from chunkscale.run.driver import Track
    from chunkscale.run.job import ImageJob, Job, common_workers

    plans = [one.image.plan for one in begun]
    images = (
        ImageJob(plan=one.image.plan, source=one.image.source.array, target=one.output.levels)
        for one in begun
    )
    # One has the workers that its plan says: it may be limited to fewer.
    workers = plans[0].workers if len(plans) == 1 else common_workers(plans, memory)
    job = Job(run=uuid.uuid4().hex, images=tuple(images), workers=workers)
    tracks = [
        Track(plan=one.image.plan, done=one.output.done, ledger=one.output.ledger) for one in begun
    ]
    return job, tracks


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
    from chunkscale.output.writing import writing

    target = run.place(image)
    found = unfinished(target) if run.existing.resume else None
    io = StoreIO(threads=_threads(run))
    return writing(image.plan, target, image.source, found, run.existing, io)


def carry_out(
    images: Sequence[PlannedImage],
    target: str,
    existing: Existing,
    *,
    cluster: DaskCluster | None = None,
    log: PathLike | None = None,
    progress: ProgressCallback | None = None,
) -> Resampled:
    """Make an image, which comes first, and its labels, at a target that was checked.

    See `chunkscale.resample` and `check_destination`.
    """
    from chunkscale.run.local import local_scheduler
    from chunkscale.run.records import RunTimes

    if not (progress is None or callable(progress)):
        raise OptionError(f"progress {progress!r} cannot be called; give a function")
    plan = images[0].plan
    memory = plan.promise
    run = Run(target=target, existing=existing, cluster=cluster)
    check_images(images, run)
    with log_to(log) as note:
        if cluster is None:
            local_scheduler()  # the configuration may be another one than when it was planned
        whole = Whole.of([image.plan for image in images])
        made: list[Made] = []
        times = RunTimes()
        for batch in batches(images, memory):
            shown = None if progress is None else whole.behind(times, progress)
            now = replace(run, progress=shown, log=note)
            done, spent = make_batch(batch, now, memory)
            made += done
            times = times + spent
    first, *labels = (
        Resampled(
            path=found.path, plan=found.image.plan, times=times, stored_bytes=found.stored_bytes
        )
        for found in made
    )
    return replace(first, labels=tuple(labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """All that a run makes, for its progress: batches know of themselves alone."""

    regions: int
    voxels: int

    @classmethod
    def of(cls, plans: Iterable[ResamplePlan]) -> Whole:
        """Return the sums of plans."""
        counts = [(plan.region_count, plan.voxels) for plan in plans]
        regions, voxels = map(sum, zip(*counts, strict=True))
        return cls(regions=regions, voxels=voxels)

    def behind(self, before: RunTimes, progress: ProgressCallback) -> Callable[[Progress], None]:
        """Return a callback for the next batch, after what was done before."""

        def show(now: Progress) -> None:
            skipped = before.resumed_regions
            progress(
                replace(
                    now,
                    regions=before.regions + skipped + now.regions,
                    total_regions=self.regions,
                    voxels=before.voxels + now.voxels,
                    total_voxels=self.voxels * (self.regions - skipped) // self.regions,
                    nbytes=before.nbytes + now.nbytes,
                    seconds=before.wall_seconds + now.seconds,
                )
            )

        return show


@contextlib.contextmanager
def log_to(path: PathLike | None) -> Iterator[LogCallback | None]:
    """Yield a function that appends lines of JSON to a file."""
    if path is None:
        yield None
        return
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"log {path!r} is not a path; give that of a file")
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "a", 1, "utf-8"))
        except OSError as error:
            raise OptionError(f"log {os.fspath(path)!r} cannot be written: {error}") from error
        yield lambda entry: print(json.dumps(entry), file=file)
