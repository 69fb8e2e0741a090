"""Plan a run."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from chunkscale import options
from chunkscale.api.defaults import CHUNK_EDGES, DEFAULT_CODEC, DEFAULT_VERSION, MOST_WORKERS
from chunkscale.api.images import io_threads, open_source
from chunkscale.api.targets import fill_value, source_and_target
from chunkscale.compute.devices import device_choices, device_memory_bytes
from chunkscale.errors import (
    AliasingWarning,
    ChunkscaleWarning,
    MemoryBudgetError,
    Notice,
    OptionError,
)
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.methods import MethodName
from chunkscale.geometry.pyramid import Layout
from chunkscale.ome.versions import WRITABLE_VERSIONS
from chunkscale.output.destination import unfinished
from chunkscale.output.record import check_same, recipe, stored_layout
from chunkscale.parameters import (
    PathLike,
    Resources,
    Storage,
    StorageLayout,
    StorageOptions,
    Target,
    VoxelSize,
)
from chunkscale.plan import policy
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import ResamplePlan, Resampling, SourceArray
from chunkscale.plan.planner import make_plan
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source
from chunkscale.sources.ome_zarr import Image
from chunkscale.storage.codecs import parse_codec
from chunkscale.storage.locations import join
from chunkscale.storage.stores import normalise, store_of

if TYPE_CHECKING:
    from chunkscale.host.limits import Limit
    from chunkscale.run.dask_cluster import DaskCluster, Shape


def plan_resampling(
    source: PathLike | Source | ArrayLike,
    *,
    voxel_size: VoxelSize | None = None,
    zoom: float | None = None,
    like: PathLike | Image | VoxelGrid | None = None,
    source_voxel_size: VoxelSize | None = None,
    axes: str | None = None,
    source_translation: Sequence[float] | None = None,
    source_unit: str | None = None,
    method: MethodName | None = None,
    antialias: bool = False,
    outside: float | str = "edge",
    chunk: int | Sequence[int] | str | None = None,
    shard: int | Sequence[int] | str | None = None,
    levels: int | None = None,
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
        Of the target, in the source's unit: a number for all spatial axes,
        numbers by axis (``"z=1,y=0.5,x=0.5"`` or a mapping; axes left out keep
        theirs), ``"finest"`` or ``"coarsest"``.
    zoom : float, default 1
        Divides the voxel size: 2 doubles the number of voxels per axis.
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
    storage = Storage(target=storage_options, source=source_storage_options)
    image = open_source(
        source,
        source_voxel_size,
        axes=axes,
        source_translation=source_translation,
        source_unit=source_unit,
        storage_options=storage.reach,
    )
    return plan_source(
        image,
        Target(
            voxel_size=voxel_size,
            zoom=zoom,
            like=like,
            outside=outside,
            method=method,
            antialias=antialias,
        ),
        StorageLayout(
            chunk=chunk, shard=shard, levels=levels, version=ome_zarr_version, codec=codec
        ),
        Resources(memory=memory, workers=workers, device=device, device_memory=device_memory),
        storage,
        destination=None if destination is None else normalise(destination, storage.target),
        resume=resume,
        client=client,
    )


def plan_source(
    image: Source,
    target: Target,
    layout: StorageLayout,
    resources: Resources,
    storage: Storage,
    *,
    destination: str | None,
    resume: bool,
    client: Any,
) -> ResamplePlan:
    """Plan for a source that is open; see `plan_resampling`."""
    if layout.version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-Zarr version {layout.version!r} cannot be written; use "
            f"{' or '.join(WRITABLE_VERSIONS)}"
        )
    parse_codec(layout.codec)
    what = _what(image, target, layout, storage)
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
            _check_here(image.path, cluster)
        places = _places(resources, cluster)
        limits = [_limits(resources, cluster, place) for place in places]
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


def _what(image: Source, target: Target, layout: StorageLayout, storage: Storage) -> Resampling:
    """Return what is to be computed; refuse what cannot be."""
    array = image.array
    options.check_dtype(
        f"array {join(image.uri, image.path)!r}" if image.uri else f"the {image.path}", array.dtype
    )
    source_grid, target_grid, notices = source_and_target(image.grid, target, storage.reach)
    return Resampling(
        source=SourceArray(
            uri=image.uri,
            path=image.path,
            shape=array.shape,
            dtype=array.dtype.name,
            chunk=array.chunk,
            is_label=image.is_label,
            recomputed=image.opaque,
        ),
        source_grid=source_grid,
        target_grid=target_grid,
        method=options.method(target.method, image.is_label, target.antialias),
        antialias=target.antialias,
        outside=fill_value(target, array.dtype.name),
        ngff_version=layout.version,
        codec=layout.codec,
        notices=(*image.notices, *notices),
    )


def _check_here(what: str, cluster: DaskCluster | None) -> None:
    """Refuse other processes, each of which would get a whole array, with every task."""
    from chunkscale.run.local import local_scheduler

    if cluster is None and local_scheduler().shares_memory:
        return
    raise OptionError(
        f"the {what} cannot go to other processes ("
        + ("dask.config says so" if cluster is None else f"client {cluster}")
        + '); wrap the call in dask.config.set(scheduler="threads", pool=None) and pass no client, '
        "or store it as OME-Zarr first"
    )


def _places(resources: Resources, cluster: DaskCluster | None) -> tuple[str, ...]:
    """Return the devices that a run may take, the best first."""
    device, memory = resources.device, resources.memory
    little = memory is not None and options.parse_bytes(memory) <= policy.GPU_BASE_BYTES
    if device == "auto" and little:
        # To look for a GPU takes more memory than that.
        return ("cpu",)
    return device_choices(device, local=cluster is None)


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


def _limits(resources: Resources, cluster: DaskCluster | None, device: str) -> Limits:
    """Return what a run may use: of this machine, or of each process of a cluster."""
    from chunkscale.host.memory import bystander_bytes
    from chunkscale.run.local import local_scheduler

    wanted, origin = options.positive("workers", resources.workers), "as given"
    shape = None if cluster is None else cluster.shape()
    if shape is not None and shape.processes:
        if wanted is not None:
            raise OptionError(
                f"workers {wanted!r} is for runs without a cluster; {cluster} has "
                f"{shape.slots} threads in {shape.processes} workers"
            )
        wanted, origin = shape.threads, "the cluster"
    elif cluster is None or wanted is None:
        # With workers, too: what Dask cannot run is refused before anything is written.
        local = local_scheduler()
        if wanted is None:
            wanted, origin = min(local.workers, MOST_WORKERS[device]), local.origin
    memory, ceiling = _memory(resources, shape, wanted)
    bystanders = None if shape is None else shape.bystanders
    return Limits(
        memory=memory.amount,
        memory_from=memory.origin,
        ceiling=None if ceiling is None else ceiling.amount,
        ceiling_from="" if ceiling is None else ceiling.origin,
        workers=wanted,
        workers_from=origin,
        threads=shape.codec_threads if shape is not None else io_threads(),
        slots=shape.slots if shape is not None else 0,
        bystanders=bystander_bytes() if bystanders is None else bystanders,
        device_memory=None
        if device == "cpu"
        else device_memory_bytes(resources.device_memory, local=cluster is None),
    )


def _memory(resources: Resources, shape: Shape | None, workers: int) -> tuple[Limit, Limit | None]:
    """Return what a process may hold, and above what the system ends it."""
    from chunkscale.host.limits import Limit, memory_limits

    ceiling: Limit | None = None
    if shape is not None:
        memory = Limit(shape.memory or 0, "the workers' own limit, less what Dask keeps free")
        if not shape.memory:
            memory = options.default_memory(workers)
    else:
        memory = options.default_memory(workers)
        ceiling = min(memory_limits(), key=lambda limit: limit.amount, default=None)
    if resources.memory is not None:
        memory = Limit(options.parse_bytes(resources.memory), "as given")
    return memory, ceiling


def warn_of(notices: Iterable[Notice], *, stacklevel: int) -> None:
    """Warn as Python does, in the name of a function of the package's user."""
    for notice in notices:
        # That it is large, or has no unit, is news on a terminal, not to who wrote the call.
        if notice.kind not in ("size", "unit", "kept"):
            kind = AliasingWarning if notice.kind == "aliasing" else ChunkscaleWarning
            warnings.warn(str(notice), kind, stacklevel=stacklevel)
