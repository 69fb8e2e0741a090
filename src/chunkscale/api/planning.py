"""Plan a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, Literal, TypeVar, Unpack

from numpy.typing import ArrayLike

from chunkscale import options
from chunkscale.api.defaults import CHUNK_EDGES, DEFAULT_CODEC, DEFAULT_VERSION
from chunkscale.api.grids import fill_value, leveled, opened_like, source_and_target
from chunkscale.api.images import open_source, selected
from chunkscale.api.parameters import PlanParameters
from chunkscale.api.resources import check_here, limits_at, places
from chunkscale.errors import MemoryBudgetError, Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid, aligned_grid
from chunkscale.geometry.methods import Downsample, MethodName
from chunkscale.geometry.pyramid import Layout, PyramidRule
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.ome.carry import carried
from chunkscale.ome.versions import WRITABLE_VERSIONS
from chunkscale.output.destination import unfinished
from chunkscale.output.record import check_same, recipe, stored_layout
from chunkscale.parameters import (
    PathLike,
    Resources,
    Shape,
    Storage,
    StorageLayout,
    StorageOptions,
    Target,
    VoxelSize,
)
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import ResamplePlan, Resampling, SourceArray
from chunkscale.plan.planner import make_plan
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source
from chunkscale.sources.image import Image
from chunkscale.sources.parts import decoded_share, part_text
from chunkscale.storage.codecs import parse_codec
from chunkscale.storage.locations import join
from chunkscale.storage.stores import normalise, store_of


def plan_resampling(
    source: PathLike | Source | ArrayLike,
    *,
    voxel_size: VoxelSize | None = None,
    zoom: float | None = None,
    factor: VoxelSize | None = None,
    shape: Shape | Mapping[str, int] | None = None,
    like: PathLike | Image | VoxelGrid | None = None,
    source_voxel_size: VoxelSize | None = None,
    axes: str | None = None,
    source_translation: Sequence[float] | None = None,
    source_unit: str | None = None,
    channels: Indices | None = None,
    timepoints: Indices | None = None,
    crop: Crop | None = None,
    level: int | str = 0,
    method: MethodName | None = None,
    antialias: bool = False,
    outside: float | str = "edge",
    chunk: int | Sequence[int] | str | None = None,
    shard: int | Sequence[int] | str | None = None,
    levels: int | None = None,
    pyramid: PyramidRule = "auto",
    downsample: Downsample | None = None,
    ome_zarr_version: str = DEFAULT_VERSION,
    codec: str = DEFAULT_CODEC,
    memory: int | str | None = None,
    workers: int | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    device_memory: int | str | None = None,
    destination: PathLike | None = None,
    resume: bool = False,
    client: Any = None,
    storage_options: StorageOptions | None = None,
    source_storage_options: StorageOptions | None = None,
) -> ResamplePlan:
    """Say what a run would read, compute and write; touch nothing.

    Parameters
    ----------
    source : str, path-like, Image or array
        OME-Zarr image: local path, or URL with http(s), s3, gs or az. Or an
        array of NumPy or Dask, or what turns into one: see `resample`.
    voxel_size : float, str, mapping or sequence, default "finest"
        Of the target, in the source's unit or with one (``"500nm"``): a number for all
        spatial axes, numbers by axis (``"z=1,y=0.5,x=0.5"`` or a mapping; axes left out
        keep theirs), ``"finest"``, ``"coarsest"``, or ``"same"``, which keeps every voxel.
    zoom : float, default 1
        Divides the voxel size: 2 doubles the number of voxels per axis.
    factor : float, str, mapping or sequence, optional
        Instead of a voxel size: how many times as many voxels an axis gets, for all spatial
        axes or by axis (``"5,1,1"`` or ``"z=5"``).
    shape : int, str, mapping or sequence, optional
        Instead of a voxel size: voxels along the spatial axes (``"256,256,256"`` or
        ``"z=256"``). The voxel size is the extent over the shape.
    like : str, path-like, Image or VoxelGrid, optional
        Take this grid instead of a voxel size.
    source_voxel_size : float, str, mapping or sequence, optional
        Replaces what the source's metadata says; an array needs it.
    axes : str, optional
        Of an array, in order; default: the last ones of ``"tczyx"``.
    source_translation : sequence of float, optional
        Of an array: position of the centre of voxel 0, for the spatial axes.
    source_unit : str, optional
        Of an array's voxel size, like ``"micrometer"``.
    channels, timepoints, crop : optional
        Take a part of the source; see `Image.select`. What is cropped has the voxels that
        the whole would have there.
    level : int or "auto", default 0
        Read this stored level of the image instead of the finest. ``"auto"`` takes the
        coarsest that is as fine as the target along every axis and agrees with level 0. Its
        voxels are averages of those of level 0, as whoever made the levels took them.
    method : str, optional
        A name in `chunkscale.geometry.methods.METHODS`. Default: linear, or nearest for
        label images.
    antialias : bool, default False
        Average over the voxels that plain interpolation skips where an
        axis shrinks.
    outside : "edge" or number, default "edge"
        What samples outside the source's extent get; only with `like`.
    chunk, shard : int, sequence or str, optional
        Voxels per spatial axis. `shard` 0 stores chunks one by one.
    levels : int, optional
        Number of levels; by default until one fits into a chunk.
    pyramid : {"auto", "all", "keep-z", "none"}
        Which axes are halved from level to level: those whose voxels are less than twice as
        large as the smallest, so that coarse levels tend to isotropy; all; all but z; or
        none, as there is one level.
    downsample : {"mean", "mode", "nearest", "max"}, optional
        What a coarser level has of the voxels of a cell: their mean, the most frequent, the
        one after the middle, or the largest. Default: mode where the method is nearest or
        mode, else mean, which labels cannot have.
    ome_zarr_version : {"0.5", "0.4"}
    codec : str, default "blosc-lz4"
        ``blosc-lz4``, ``blosc-zstd``, ``zstd``, ``gzip`` or ``none``, with a
        level after a colon if wanted.
    memory : int or str, optional
        Bytes for the whole run, like ``"4GiB"``; the plan keeps below. On a
        cluster: for each worker process.
    workers : int, optional
        Regions at the same time; default: one per core, or as
        ``dask.config`` says; at most eight on a GPU. A cluster has its own.
    device : {"auto", "cpu", "gpu"}
        ``auto`` takes the GPU if there is one that CuPy can use and the memory
        is enough for its driver.
    device_memory : int or str, optional
        Bytes for buffers on the GPU; default: four fifths of what is free there.
    destination : str or path-like, optional
        To warn when its disk is too small.
    resume : bool, default False
        Take the layout over from what an interrupted run has left at
        `destination`.
    client : distributed.Client, optional
        Plan for its cluster. Default: the active client, if there is one.
    storage_options : mapping, optional
        How to reach object stores; see `open_image`.
    source_storage_options : mapping, optional
        The same for the source (and `like`), where that differs.

    Returns
    -------
    ResamplePlan

    Raises
    ------
    ChunkscaleError
        Whatever `resample` would refuse; see `chunkscale.errors`.
    """
    plan, _ = planned(
        source,
        voxel_size=voxel_size,
        zoom=zoom,
        factor=factor,
        shape=shape,
        like=like,
        source_voxel_size=source_voxel_size,
        axes=axes,
        source_translation=source_translation,
        source_unit=source_unit,
        channels=channels,
        timepoints=timepoints,
        crop=crop,
        level=level,
        method=method,
        antialias=antialias,
        outside=outside,
        chunk=chunk,
        shard=shard,
        levels=levels,
        pyramid=pyramid,
        downsample=downsample,
        ome_zarr_version=ome_zarr_version,
        codec=codec,
        memory=memory,
        workers=workers,
        device=device,
        device_memory=device_memory,
        source_storage_options=source_storage_options,
        destination=destination,
        resume=resume,
        client=client,
        storage_options=storage_options,
    )
    return plan


def planned(
    source: PathLike | Source | ArrayLike,
    *,
    destination: PathLike | None = None,
    resume: bool = False,
    client: Any = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> tuple[ResamplePlan, Source]:
    """Return a plan, and the source as it is read then; see `plan_resampling`."""
    given: dict[str, Any] = dict(parameters)
    given["version"] = given.pop("ome_zarr_version", DEFAULT_VERSION)
    storage = Storage(target=storage_options, source=given.pop("source_storage_options", None))
    image = open_source(
        source,
        given.pop("source_voxel_size", None),
        axes=given.pop("axes", None),
        source_translation=given.pop("source_translation", None),
        source_unit=given.pop("source_unit", None),
        storage_options=storage.reach,
    )
    image = selected(image, *(given.pop(name, None) for name in ("channels", "timepoints", "crop")))
    target = opened_like(image, _some(Target, given), storage.reach)
    image, notices = leveled(image, given.pop("level", 0), target)
    plan = plan_source(
        image,
        target,
        _some(StorageLayout, given),
        _some(Resources, given),
        destination=None if destination is None else normalise(destination, storage.target),
        resume=resume,
        client=client,
        notices=notices,
    )
    return plan, image


_Group = TypeVar("_Group", Target, StorageLayout, Resources)


def _some(group: type[_Group], given: Mapping[str, Any]) -> _Group:
    """Return a group of parameters with those that are given."""
    return group(**{f.name: given[f.name] for f in fields(group) if f.name in given})


def plan_source(
    image: Source,
    target: Target,
    layout: StorageLayout,
    resources: Resources,
    *,
    destination: str | None,
    resume: bool,
    client: Any,
    notices: tuple[Notice, ...],
) -> ResamplePlan:
    """Plan for a source that is open; see `plan_resampling`."""
    if layout.version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-Zarr version {layout.version!r} cannot be written; use "
            f"{' or '.join(WRITABLE_VERSIONS)}"
        )
    parse_codec(layout.codec)
    what = _what(image, target, layout, notices)
    if resume and not image.uri:
        raise OptionError(
            f"resume needs a source that can be known again, and an {image.path} cannot; store it "
            "as OME-Zarr first, or start anew with overwrite=True"
        )
    make = partial(
        make_plan,
        what,
        levels=options.positive("levels", layout.levels),
        free_disk=None if destination is None else store_of(destination).free_bytes(destination),
    )
    with connect(client) as cluster:
        if not image.uri:
            check_here(image.path, cluster)
        devices = places(resources, cluster)
        limits = [limits_at(resources, cluster, place) for place in devices]
    layouts = partial(options.layouts, what.target_grid, edges=CHUNK_EDGES)
    if resume and destination is not None:
        found = unfinished(destination)
        if found is not None:
            stored = stored_layout(found)
            if resources.memory is None:
                # What is free differs from run to run, and must not keep one from being continued.
                limits += [_raised(x, stored.memory) for x in limits]
            # A shard that is asked for goes with the chunk that is there.
            inner = layout if layout.chunk is not None else replace(layout, chunk=stored.chunk)
            wanted = recipe(_first_that_fits(make, limits, layouts(inner)), image)
            check_same(destination, found, wanted, asked=layout.asked)
            again = partial(
                make, regions=stored.regions, levels=stored.levels, shards=stored.shards
            )
            return _first_that_fits(again, limits, [(Layout(chunk=stored.chunk), False)])
    return _first_that_fits(make, limits, layouts(layout))


def _raised(limits: Limits, memory: int) -> Limits:
    """Return limits with the memory of an earlier run, as far as the system gives it."""
    most = memory if limits.ceiling is None else min(memory, limits.ceiling)
    if most <= limits.memory:
        return limits
    return replace(limits, memory=most, memory_from="the run that is continued")


def _what(
    image: Source,
    target: Target,
    layout: StorageLayout,
    notices: tuple[Notice, ...],
) -> Resampling:
    """Return what is to be computed; refuse what cannot be."""
    array = image.array
    options.check_dtype(
        f"array {join(image.uri, image.path)!r}" if image.uri else f"the {image.path}", array.dtype
    )
    method = options.method(target.method, image.is_label, target.antialias)
    source_grid, target_grid, said = source_and_target(image.whole, target, image.grid)
    _, mended = carried(image.attributes, source_grid, target_grid, array.dtype.name)
    if image.array_grid != image.whole:
        source_grid = aligned_grid(image.array_grid, target_grid)
    return Resampling(
        source=SourceArray(
            uri=image.uri,
            path=image.path,
            shape=array.shape,
            dtype=array.dtype.name,
            chunk=array.chunk,
            is_label=image.is_label,
            recomputed=image.opaque,
            part=part_text(image.part),
            decoded_share=decoded_share(array),
        ),
        source_grid=source_grid,
        target_grid=target_grid,
        method=method,
        antialias=target.antialias,
        outside=fill_value(target, array.dtype.name),
        pyramid=options.pyramid_rule(layout.pyramid),
        downsample=options.downsample(layout.downsample, method, image.is_label),
        ngff_version=layout.version,
        codec=layout.codec,
        notices=tuple(dict.fromkeys((*image.notices, *said, *mended, *notices))),
    )


def _first_that_fits(
    make: Callable[..., ResamplePlan],
    limits: Iterable[Limits],
    layouts: Iterable[tuple[Layout, bool]],
) -> ResamplePlan:
    refusal: MemoryBudgetError | None = None
    for limit, (layout, shards) in itertools.product(limits, layouts):
        try:
            return make(limits=limit, layout=layout, shard=shards)
        except MemoryBudgetError as error:
            refusal = error
    assert refusal is not None
    raise refusal
