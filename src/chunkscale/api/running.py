"""Do what plans say: outputs are begun, made together, and published one after another."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chunkscale.api.batches import Made, Making, Run
from chunkscale.api.plans import PlannedImage
from chunkscale.errors import OptionError
from chunkscale.parameters import Existing, PathLike
from chunkscale.plan.model import ResamplePlan
from chunkscale.report.html import run_html
from chunkscale.report.runs import run_text
from chunkscale.storage import objects as contents

if TYPE_CHECKING:
    from chunkscale.run.dask_cluster import DaskCluster
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
            "times": self.times.as_dict(),
            "labels": [label.as_dict() for label in self.labels],
        }

    def __str__(self) -> str:
        return run_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<Resampled {self.path!r}>"

    def _repr_html_(self) -> str:
        return run_html(self.as_dict())


def check_images(images: Sequence[PlannedImage], run: Run) -> None:
    """Refuse what cannot be written before anything is."""
    from chunkscale.output.destination import check_apart, check_room, check_unread
    from chunkscale.output.labels import check_label_place
    from chunkscale.output.places import check_links
    from chunkscale.output.publish import rehearse

    for image in images:
        target = run.place(image)
        check_links(run.target, [image.name] if image.name else [])
        check_apart(image.plan.source, target)
        if not image.name:  # labels of an image that is made are of its version
            check_label_place(image.plan, target)
        if run.existing.overwrite and image.source.opaque:
            check_unread(image.plan.source, target)
        rehearse(image.plan, target, image.source)
        if not contents.exists(target):
            check_room(image.plan, target)


def regions_done(images: Sequence[PlannedImage], run: Run) -> int:
    """Return how many regions of images earlier runs have noted down as finished."""
    from chunkscale.output.destination import unfinished
    from chunkscale.output.ledger import recorded

    total = 0
    for image in images:
        place, count = run.place(image), image.plan.region_count
        if found := unfinished(place):
            total += count if found.finished else int((recorded(place, count) >= 0).sum())
    return total


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

    run = Run(target=target, existing=existing, cluster=cluster)
    check_images(images, run)
    made: list[Made] = []
    with log_to(log) as note:
        if cluster is None:
            local_scheduler()  # the configuration may be another one than when it was planned
        whole = Whole.of([image.plan for image in images])
        shown = whole.shown(progress, lambda: making.times)
        making = Making(replace(run, progress=shown, log=note), images[0].plan.promise)
        making.make(images, made.append)
    times = making.times
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

    def shown(
        self, progress: ProgressCallback | None, done: Callable[[], RunTimes]
    ) -> ProgressCallback | None:
        """Return a callback for each batch, which adds what was done before it."""
        if progress is None:
            return None

        def show(now: Progress) -> None:
            before = done()
            begun = before.regions + before.resumed_regions
            # Of what has not begun nobody knows yet what is finished already.
            later = self.voxels * (self.regions - begun - now.total_regions) // self.regions
            progress(
                replace(
                    now,
                    regions=begun + now.regions,
                    total_regions=self.regions,
                    voxels=before.voxels + now.voxels,
                    total_voxels=before.voxels + now.total_voxels + later,
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
