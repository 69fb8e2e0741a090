"""Many images in one run: planned one after another, made together, published as a collection."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from chunkscale.api.batches import Made, Making, Run
from chunkscale.api.grids import with_open_like
from chunkscale.api.labels import label_names
from chunkscale.api.planned import planned_image
from chunkscale.api.plans import Means, PlannedImage
from chunkscale.api.request import Request
from chunkscale.api.running import Whole, log_to
from chunkscale.errors import ChunkscaleError, Notice, OptionError, RegionError
from chunkscale.ome.scenes import say_for
from chunkscale.parameters import Existing, PathLike
from chunkscale.plan.collection import CollectionPlan, Survey
from chunkscale.plan.notices import disk_notice
from chunkscale.report.html import run_html
from chunkscale.report.runs import run_text
from chunkscale.sources.chosen import chosen, scene_losses
from chunkscale.sources.collections import CollectionSource, open_collection
from chunkscale.storage.locations import join
from chunkscale.storage.stores import normalise, store_of
from chunkscale.text import some

if TYPE_CHECKING:
    from chunkscale.output.collection import Mirror
    from chunkscale.run.dask_cluster import DaskCluster
    from chunkscale.run.records import ProgressCallback, RunTimes

#: Images whose plans wait for the run; the others are opened a second time.
MOST_WAITING = 1000

#: A run whose last so many images all failed does not go on.
MOST_FAILED = 20

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ResampledCollection:
    """What a finished run of many images did.

    Of one image and its labels it is a `Resampled`.

    Parameters
    ----------
    path : str
        The output.
    plan : CollectionPlan
    times : RunTimes
        Seconds by stage, summed over the workers.
    stored_bytes : int
        Size of all levels of all images and labels as they are stored.
    notices : tuple of Notice
        What was found while the collection was mirrored.
    """

    path: str
    plan: CollectionPlan
    times: RunTimes
    stored_bytes: int
    notices: tuple[Notice, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what was done as JSON values."""
        return {
            "path": self.path,
            "kind": self.plan.kind,
            "images": self.plan.images,
            "label_images": self.plan.labels,
            "regions": self.plan.regions,
            "stored_bytes": self.stored_bytes,
            "times": self.times.as_dict(),
            "notices": [str(notice) for notice in self.notices],
        }

    def __str__(self) -> str:
        return run_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<ResampledCollection {self.path!r}>"

    def _repr_html_(self) -> str:
        return run_html(self.as_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCollection:
    """A collection whose images can be planned again and again, one after another.

    Parameters
    ----------
    source : CollectionSource
    request : Request
    means : Means
    plan : CollectionPlan
    waiting : list
        What was planned of its first images.
    """

    source: CollectionSource
    request: Request
    means: Means
    plan: CollectionPlan
    waiting: list[tuple[str, list[PlannedImage] | ChunkscaleError]] = field(default_factory=list)


def collection_of(source: object, request: Request) -> CollectionSource | None:
    """Return the collection that images are asked of; None for an image of its own.

    Raises
    ------
    OptionError
        If there are no images to choose from.
    """
    if request.images is None:
        return None
    found = None
    if isinstance(source, str | bytes | os.PathLike):
        found = open_collection(normalise(source, request.storage.reach))  # type: ignore[arg-type]
    if found is None and patterns_of(request) is not None:
        is_path = isinstance(source, str | os.PathLike)
        what = repr(str(source)) if is_path else f"the {type(source).__name__} that is given"
        raise OptionError(
            f"images={request.images!r} (--images) selects images of a collection, but {what} is "
            "one image; leave it out"
        )
    return found


def patterns_of(request: Request) -> Sequence[str] | None:
    """Return the names and patterns of images that are asked for; None for all."""
    asked = request.images
    if asked is None or asked == ALL:
        return None
    return [text.strip() for text in asked.split(",")] if isinstance(asked, str) else asked


def planned_collection(
    source: CollectionSource,
    request: Request,
    means: Means,
    *,
    destination: str | None = None,
    resume: bool = False,
) -> PlannedCollection:
    """Look at every image of a collection that is asked for, and add up what they cost.

    Raises
    ------
    ChunkscaleError
        If none of them can be made.
    """
    target = with_open_like(request.target, request.storage.reach)
    request = replace(request, target=target)  # one for all images
    survey = Survey()
    waiting: list[tuple[str, list[PlannedImage] | ChunkscaleError]] = []
    say = partial(say_for, request.layout.version, survey.say)
    for notice in source.notices:
        say(notice)
    first_error: ChunkscaleError | None = None
    labelled: set[str] = set()
    names = chosen(source, patterns_of(request), say)
    there = destination if resume else None
    for name, images in _each(source, names, request, means, there, resume):
        if len(waiting) < MOST_WAITING:
            waiting.append((name, images))
        if isinstance(images, ChunkscaleError):
            first_error = first_error or images
            survey.fail(name, images)
        else:
            survey.add(name, [image.plan for image in images])
            labelled.update(image.name.removeprefix(f"{name}/") for image in images[1:])
    if not survey.images:
        if first_error is None:
            raise OptionError(f"{source.uri!r} holds no image; give another path")
        raise first_error
    for path in label_names(request.labels):
        if path not in labelled:
            raise OptionError(
                f"labels {path.removeprefix('labels/')!r}: none of the selected images in "
                f"{source.uri!r} has such labels; leave the name out"
            )
    if destination is not None:
        free = store_of(destination).free_bytes(destination)
        if free is not None and survey.bytes_written > free:
            survey.say(disk_notice(survey.bytes_written, free))
    for notice in scene_losses(source, patterns_of(request), request.layout.version):
        survey.say(notice)
    plan = survey.plan(source.uri, source.kind)
    return PlannedCollection(
        source=source, request=request, means=means, plan=plan, waiting=waiting
    )


def _each(
    source: CollectionSource,
    names: Iterator[str],
    request: Request,
    means: Means,
    destination: str | None,
    resume: bool,
) -> Iterator[tuple[str, list[PlannedImage] | ChunkscaleError]]:
    """Yield the plans of images and their labels, by name, or why there are none."""
    for name in names:
        try:
            images = planned_image(
                join(source.uri, name),
                request,
                means,
                destination=None if destination is None else join(destination, name),
                resume=resume,
                mirrored=True,
            )
        except ChunkscaleError as error:
            yield name, error
            continue
        yield (
            name,
            [replace(i, name=join(name, i.name) if i.name else name, owner=name) for i in images],
        )


def carry_out_collection(
    planned: PlannedCollection,
    target: str,
    existing: Existing,
    *,
    cluster: DaskCluster | None = None,
    log: PathLike | None = None,
    progress: ProgressCallback | None = None,
) -> ResampledCollection:
    """Make the images of a collection at a target that was checked; see `chunkscale.resample`."""
    from chunkscale.output import leases
    from chunkscale.output.collection import begin_collection
    from chunkscale.output.collection_publish import publish_collection

    recipe = recipe_of(planned.request)
    version = planned.request.layout.version
    mirror = begin_collection(target, planned.source, recipe, version, existing)
    lease = leases.acquire(target, take_over=existing.take_over)
    with leases.kept(target, lease), log_to(log) as note:
        mine = Existing(resume=existing.resume, take_over=existing.take_over)
        run = Run(target=target, existing=mine, cluster=cluster, progress=progress, log=note)
        made = _Making(planned, run, mirror)
        made.make()
        if made.errors:
            raise made.error()
        told = [notice for notice in planned.plan.warnings if notice.kind in ("lost", "asked")]
        notices = publish_collection(mirror, planned.source, made.names, told)
    return ResampledCollection(
        path=target,
        plan=planned.plan,
        times=made.times,
        stored_bytes=made.stored,
        notices=notices,
    )


class _Making:
    """The images of a collection on their way: batch after batch, errors put aside."""

    def __init__(self, planned: PlannedCollection, run: Run, mirror: Mirror) -> None:
        self.planned, self.run, self.mirror = planned, run, mirror
        self.stored = 0
        self.names: list[str] = []
        #: Image, image or labels of it, and error.
        self.errors: list[tuple[str, str, ChunkscaleError]] = []
        self._failed_in_a_row: list[str] = []
        self._regions_there = 0
        plan = planned.plan
        whole = Whole(regions=plan.regions, voxels=plan.voxels)
        shown = whole.shown(run.progress, lambda: self.times)
        self._making = Making(replace(run, progress=shown), plan.promise, failed=set())

    @property
    def times(self) -> RunTimes:
        """Of all that was made, with what was there already."""
        times = self._making.times
        return replace(times, resumed_regions=times.resumed_regions + self._regions_there)

    def make(self) -> None:
        """Make all that can be made."""
        self._making.make(self._images(), self._take)

    def error(self, *, ended: bool = False) -> ChunkscaleError:
        """Return what is told of the images that failed, and whether the run has ended for them."""
        names = {owner for owner, _, _ in self.errors}
        shown = some([f"{name}: {error}" for _, name, error in self.errors], 10, "\n  ")
        rest = "all others are done"
        if ended:
            rest = f"the last {MOST_FAILED} failed one after another, so the others were not tried"
        return RegionError(
            f"{len(names)} of {self.planned.plan.images + self.planned.plan.failed} images could "
            f"not be made, so the output {self.run.target!r} is incomplete; {rest}. Fix the "
            "cause and continue with resume=True (--resume), or select the other images with "
            f"images (--images) and start again with overwrite=True (--overwrite):\n  {shown}"
        )

    def _take(self, made: Made) -> None:
        if made.error is None:
            self.stored += made.stored_bytes
            self._failed_in_a_row = []
            return
        owner = made.image.owner
        self.errors.append((owner, made.image.name, made.error))
        if owner not in self._failed_in_a_row:
            self._failed_in_a_row.append(owner)
        if len(self._failed_in_a_row) >= MOST_FAILED:
            raise self.error(ended=True)

    def _images(self) -> Iterator[PlannedImage]:
        """Yield the images and labels that are to be made, as they are wanted."""
        from chunkscale.output.collection import begin_member

        for name, images in self._plans():
            self.names.append(name)
            if isinstance(images, ChunkscaleError):
                self.errors.append((name, name, images))
                continue
            try:
                begin_member(self.mirror, name)
            except ChunkscaleError as error:
                self.errors.append((name, name, error))
                continue
            # Labels follow their image: nothing lists them before there is one.
            is_whole = self._is_there(images[0])
            for image in images if not is_whole else images[1:]:
                if not (is_whole and self._is_there(image)):
                    yield image

    def _plans(self) -> Iterator[tuple[str, list[PlannedImage] | ChunkscaleError]]:
        """Yield what the survey has kept, and plan the rest again."""
        planned = self.planned
        yield from planned.waiting
        names = chosen(planned.source, patterns_of(planned.request))
        rest = itertools.islice(names, MOST_WAITING, None)
        place = self.run.target if self.run.existing.resume else None
        yield from _each(
            planned.source, rest, planned.request, planned.means, place, place is not None
        )

    def _is_there(self, image: PlannedImage) -> bool:
        """Whether an image is whole; of a finished collection each is looked at in detail."""
        from chunkscale.output.destination import is_whole
        from chunkscale.output.labels import list_label

        if not self.run.existing.resume or self.mirror.finished:
            return False
        with contextlib.suppress(ChunkscaleError):  # who continues it is told why
            if stored := is_whole(image.plan, image.source, self.run.place(image)):
                self.stored += stored
                self._regions_there += image.plan.region_count
                self._failed_in_a_row = []
                list_label(image.plan, self.run.place(image))  # which may be all that is missing
                return True
        return False


def recipe_of(request: Request) -> dict[str, Any]:
    """Return what all images of a collection depend on, as JSON values: what is no default."""
    given: dict[str, Any] = {**request.opening, **request.selection}
    groups: tuple[Any, ...] = (request, request.target, request.layout)
    for group in groups:
        values = {f.name: getattr(group, f.name) for f in fields(group)}
        given |= {
            f.name: values[f.name]
            for f in fields(group)
            if f.default is not MISSING and f.default != values[f.name]
        }
    parameters: dict[str, Any] = json.loads(json.dumps(given, default=str))
    return {"parameters": {name: _spelled(value) for name, value in parameters.items()}}


def _spelled(value: Any) -> Any:
    """Return a JSON value in one spelling: a number is given as a text or as a number.

    Examples
    --------
    >>> _spelled("1"), _spelled(1.0), _spelled({"z": "500nm", "y": "2"})
    (1.0, 1.0, {'z': '500nm', 'y': 2.0})
    """
    if isinstance(value, dict):
        return {name: _spelled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_spelled(inner) for inner in value]
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
    return value
