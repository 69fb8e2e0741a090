"""Resample an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack, overload

from numpy.typing import ArrayLike

from chunkscale.api.batches import Run
from chunkscale.api.collections import (
    ResampledCollection,
    carry_out_collection,
    collection_of,
    planned_collection,
)
from chunkscale.api.images import reopened
from chunkscale.api.notices import warn_of
from chunkscale.api.packing import PackedRun
from chunkscale.api.parameters import PlanParameters, check_names
from chunkscale.api.planned import planned_image
from chunkscale.api.planning import planned_alone
from chunkscale.api.plans import means_of
from chunkscale.api.request import Request, request_of
from chunkscale.api.running import Resampled, carry_out, check_images, regions_done
from chunkscale.errors import ChunkscaleError, DestinationError, OptionError
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.plan.collection import CollectionPlan
from chunkscale.plan.model import ResamplePlan
from chunkscale.progress import reporting
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source
from chunkscale.sources.collections import CollectionSource
from chunkscale.storage.stores import normalise

if TYPE_CHECKING:
    from chunkscale.run.dask_cluster import DaskCluster
    from chunkscale.run.records import ProgressCallback


@overload
def resample(
    source: PathLike | Source | ArrayLike,
    destination: PathLike,
    *,
    images: None = None,
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
    log: PathLike | None = None,
    progress: bool | ProgressCallback | None = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> Resampled: ...


@overload
def resample(
    source: PathLike | Source | ArrayLike,
    destination: PathLike,
    *,
    images: str | Sequence[str],
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
    log: PathLike | None = None,
    progress: bool | ProgressCallback | None = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> Resampled | ResampledCollection: ...


def resample(
    source: PathLike | Source | ArrayLike,
    destination: PathLike,
    *,
    images: str | Sequence[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
    log: PathLike | None = None,
    progress: bool | ProgressCallback | None = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> Resampled | ResampledCollection:
    """Resample an OME-Zarr image or an array of any size into a new OME-Zarr image.

    The labels of an image are resampled, too. With `images` a whole collection is resampled into
    one of the same kind.

    Parameters
    ----------
    source : str, path-like, Image or array
        OME-Zarr image: local path, or URL with http(s), s3, gs or az. Or an
        array of NumPy or Dask, or what turns into one, with
        ``source_voxel_size``, and ``axes``, ``source_translation`` and
        ``source_unit`` if wanted. Or one that says where its voxels are: an
        `xarray.DataArray` (also of spatialdata), ``ngff_zarr.NgffImage`` or
        ``NgffMultiscales``, ``SimpleITK.Image``; its channel names, units, position
        and time step are written, with a warning for what cannot be. An array in
        memory does not count towards ``memory``; a block of Dask does, but not
        what else its tasks hold. Arrays stay in this process, and their
        runs cannot be resumed.
    destination : str or path-like
        Of the new image or collection: local path, or URL with s3, gs or az. A
        local one that ends with ``.ozx`` is one file (RFC-9): a folder beside it
        (``.ozx.partial``) is made first, and packed at the end.
    images : str or sequence of str, optional
        Of a collection (a plate, a series, a folder of images): ``"all"``, or names and
        patterns like ``"B/03/0,B/04/*"``, in which ``**`` stands for any number of names. The
        result is a collection of the same kind. ``"all"`` of one image is that image.
    overwrite : bool, default False
        Replace an image at `destination`, finished or not, and its labels; or a
        collection that this package has written, if it contains nothing else.
        It is deleted after all checks have passed and before anything is written.
    resume : bool, default False
        Continue an interrupted run with the same parameters, or start a new one if there is no
        output. A finished output is read, and damaged chunks are made again; of an unfinished
        collection only the images that are not finished.
    take_over : bool, default False
        With `resume` or `overwrite`: proceed even if another run holds the lock.
    client : distributed.Client, optional
        Work on its cluster. Default: the active client, if there is one.
    scheduler : str or path-like, optional
        Address (``tcp://host:8786``) or scheduler file of a cluster.
    resources : mapping of str to float, optional
        Dask resources required per region: ``{"GPU": 1}``.
    log : str or path-like, optional
        File that gets one line of JSON for every region.
    progress : bool or callable, optional
        True shows a bar in a terminal or a notebook, and prints a line a minute where there is
        neither. A function is called with a `chunkscale.Progress` after every region, while a
        cluster finishes none, and first with what an interrupted run has left.
    storage_options : mapping, optional
        How to reach object stores; see `open_image`.
    **parameters
        Those of `plan_resampling`: ``voxel_size``, ``zoom``, ``factor``, ``shape``,
        ``like``, ``source_voxel_size``, ``axes``, ``source_translation``,
        ``source_unit``, ``channels``, ``timepoints``, ``crop``, ``labels``,
        ``label_method``, ``level``, ``method``,
        ``antialias``, ``outside``, ``chunk``, ``shard``, ``levels``, ``pyramid``,
        ``downsample``, ``ome_zarr_version``, ``codec``, ``checksum``, ``memory``,
        ``workers``, ``device``, ``device_memory``, ``source_storage_options``.

    Returns
    -------
    Resampled
        Or a `ResampledCollection`, for `images` of a collection.

    Raises
    ------
    DestinationError
        If `destination` exists, or lies in the source, or holds it; with
        `resume`, if it was started with other options.
    ChunkscaleError
        Whatever planning refuses, before anything is written.
    RegionError, CorruptChunkError, ClusterError
        While running. The unfinished output has no multiscales metadata, so it
        cannot be opened as an image; `resume` continues it. If an image of a
        collection fails, it is named at the end, when all others are done.

    Warns
    -----
    AliasingWarning
        If an axis shrinks by more than 2 without `antialias`.
    ChunkscaleWarning
        For everything else that the plan warns of.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import chunkscale
    >>> stack = np.arange(4 * 8 * 8, dtype="uint16").reshape(4, 8, 8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = chunkscale.resample(
    ...         stack, f"{folder}/out.zarr", source_voxel_size=(2, 1, 1), source_unit="micrometer"
    ...     )
    ...     chunkscale.open_image(run.path).grid.shape
    (8, 8, 8)
    """
    check_names(parameters, "resample")
    existing = Existing(overwrite=overwrite, resume=resume, take_over=take_over)
    request = request_of(parameters, storage_options, images)
    with connect(client, scheduler, resources) as cluster:
        # What is stored there may have changed since it was opened.
        prepared = prepare(reopened(source), destination, request, existing, cluster)
        warn_of(prepared.plan.warnings, stacklevel=3)
        with reporting(progress, prepared.regions) as show:
            return prepared.carry_out(log=log, progress=show)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that has been planned, at a destination that was checked.

    Parameters
    ----------
    plan : ResamplePlan or CollectionPlan
    regions : int
        Of all images.
    check : callable
        Refuses what else cannot be written; `carry_out` does so itself.
    done : callable
        Returns how many of these regions an interrupted run has finished; of a collection None.
    carry_out : callable
        Does it; takes `log` as `resample`, and a callback `progress`.
    """

    plan: ResamplePlan | CollectionPlan
    regions: int
    check: Callable[[], None]
    done: Callable[[], int | None]
    carry_out: Callable[..., Resampled | ResampledCollection]


def prepare(
    source: PathLike | Source | ArrayLike,
    destination: PathLike,
    request: Request,
    existing: Existing,
    cluster: DaskCluster | None,
) -> Prepared:
    """Plan a run; refuse what cannot be done, before anything is written.

    Of several things that are wrong, options and source are named before the output.
    """
    from chunkscale.output.destination import check_apart

    try:
        prepared = _prepare(source, destination, request, existing, cluster)
    except DestinationError:
        if request.images is None:  # to plan a collection may take minutes
            found = planned_alone(source, request, cluster).source
            # Whoever takes it for something that is in the way may remove it.
            if not isinstance(found, str):
                check_apart(found, normalise(destination, request.storage.target))
        raise
    prepared.check()
    return prepared


def _prepare(
    source: PathLike | Source | ArrayLike,
    destination: PathLike,
    request: Request,
    existing: Existing,
    cluster: DaskCluster | None,
) -> Prepared:
    from chunkscale.output.collection_places import checked_collection, continues
    from chunkscale.output.destination import checked_destination
    from chunkscale.output.packed_place import packed_place

    collection = collection_of(source, request)
    if place := packed_place(destination, request.layout.version, request.storage.target):
        packed = PackedRun(place=place, version=request.layout.version, existing=existing)
        return _prepared_packed(source, packed, collection, request, cluster)
    if collection is None:
        target = checked_destination(destination, existing, request.storage.target)
        means = means_of(request.resources, cluster)
        images = planned_image(source, request, means, destination=target, resume=existing.resume)
        run = Run(target=target, existing=existing)
        return Prepared(
            plan=images[0].plan,
            regions=sum(image.plan.region_count for image in images),
            check=partial(check_images, images, run),
            done=partial(regions_done, images, run),
            carry_out=partial(carry_out, images, target, existing, cluster=cluster),
        )
    target = checked_collection(destination, collection, existing, request.storage.target)
    means = means_of(request.resources, cluster)
    planned = planned_collection(
        collection, request, means, destination=target, resume=continues(target, existing)
    )
    return Prepared(
        plan=planned.plan,
        regions=planned.plan.regions,
        check=_nothing,
        done=_nothing,
        carry_out=partial(carry_out_collection, planned, target, existing, cluster=cluster),
    )


def _nothing() -> None:
    """Look no further: the images of a collection are looked at when each is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a run would do.

    Parameters
    ----------
    plan : ResamplePlan or CollectionPlan
    refusal : ChunkscaleError, optional
        Why the destination cannot be written.
    regions, done : int, optional
        All, and those that a run which is continued has finished.
    """

    plan: ResamplePlan | CollectionPlan
    refusal: ChunkscaleError | None = None
    regions: int = 0
    done: int | None = None


def look(
    source: PathLike | Source | ArrayLike,
    destination: PathLike | None,
    request: Request,
    existing: Existing,
    cluster: DaskCluster | None,
) -> Looked:
    """Look what a run would do, and whether its destination, if there is one, can be written.

    Where that can be found out before the run begins: nothing is written.
    """
    refusal: ChunkscaleError | None = None
    if destination is not None:
        try:
            prepared = _prepare(source, destination, request, existing, cluster)
        except (DestinationError, OptionError) as error:
            refusal = error  # if it is none of the destination, planning says it again
        else:
            try:
                prepared.check()
            except ChunkscaleError as error:
                return Looked(plan=prepared.plan, refusal=error)
            done = prepared.done() if existing.resume else None
            return Looked(plan=prepared.plan, regions=prepared.regions, done=done)
    return Looked(plan=planned_alone(source, request, cluster), refusal=refusal)


def _prepared_packed(
    source: PathLike | Source | ArrayLike,
    run: PackedRun,
    collection: CollectionSource | None,
    request: Request,
    cluster: DaskCluster | None,
) -> Prepared:
    """Plan a run whose output is one file; its folder and the file are looked at alike."""
    from chunkscale.output.collection_places import check_collection_place, continues
    from chunkscale.output.destination import (
        check_apart,
        check_name,
        check_place,
        refuse_overlap,
        writable,
    )
    from chunkscale.output.packed_place import check_file, check_folder, naming
    from chunkscale.output.places import check_parent

    place, existing = run.place, run.existing
    at = place.begun(resume=existing.resume)
    where: Any = {"destination": at, "resume": existing.resume}
    check = check_place if collection is None else check_collection_place
    with naming(place):
        writable(place.folder, existing, None)
        check_parent(place.folder)
        check_name(place.folder)
        if collection is not None:
            for target in (place.uri, place.folder):
                refuse_overlap(collection.uri, (collection.uri,), target)
        check_file(place, existing, check)
        check_folder(place, existing)
        if at == place.folder and not place.is_packing:
            check(at, existing)
        if collection is None:
            images = planned_image(source, request, means_of(request.resources, cluster), **where)
            check_apart(images[0].plan.source, place.uri)
            return Prepared(
                plan=images[0].plan,
                regions=sum(image.plan.region_count for image in images),
                check=partial(run.check, images),
                done=partial(regions_done, images, Run(target=at, existing=existing)),
                carry_out=partial(run.carry_out, images, cluster=cluster),
            )
        means = means_of(request.resources, cluster)
        where["resume"] = continues(at, existing)
        planned = planned_collection(collection, request, means, **where)
    return Prepared(
        plan=planned.plan,
        regions=planned.plan.regions,
        check=_nothing,
        done=_nothing,
        carry_out=partial(run.carry_out_collection, planned, cluster=cluster),
    )
