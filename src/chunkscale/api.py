"""The public verbs, and all defaults."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chunkscale import image as _image
from chunkscale import ome, options, report, storage
from chunkscale.errors import (
    AliasingWarning,
    ChunkscaleWarning,
    MemoryBudgetError,
    MultipleImagesError,
    OptionError,
)
from chunkscale.grid import Axis, Box, VoxelGrid, aligned_grid, like_grid
from chunkscale.image import Image
from chunkscale.mapping import grid_mapping
from chunkscale.options import VoxelSize, target_grid
from chunkscale.plan import GPU_BASE_BYTES, Limits, ResamplePlan, SourceArray, make_plan
from chunkscale.pyramid import Layout
from chunkscale.storage import StoreIO

if TYPE_CHECKING:
    import dask.array

    from chunkscale.cluster import DaskCluster
    from chunkscale.execute import LogCallback, ProgressCallback, RunTimes
    from chunkscale.verify import CheckReport

__all__ = [
    "Resampled",
    "carry_out",
    "check",
    "check_destination",
    "connect",
    "info",
    "open_image",
    "plan_resampling",
    "resample",
    "resample_array",
    "target_grid",
]

PathLike = str | os.PathLike[str]
StorageOptions = Mapping[str, Any]

DEFAULT_CODEC = "blosc-lz4"
DEFAULT_VERSION = "0.5"
#: Edge of the default chunk by number of spatial axes: inside shards, and stored one by one.
CHUNK_EDGES = {2: (512, 1024), 3: (64, 128)}
#: Regions at the same time by default, at most. On a GPU they read and write and hardly compute:
#: more of them only wait, for each other and for Python.
MOST_WORKERS = {"cpu": 1024, "gpu": 8}
#: Edge of the blocks of a lazy result.
LAZY_EDGES = {2: 2048, 3: 256}


def open_image(
    path: PathLike,
    *,
    source_voxel_size: VoxelSize | None = None,
    storage_options: StorageOptions | None = None,
) -> Image:
    """Open an OME-Zarr image lazily.

    Parameters
    ----------
    path : str or path-like
        Group of a multiscale image (0.4 or 0.5): local path, or URL with
        http(s), s3, gs or az.
    source_voxel_size : float, str, mapping or sequence, optional
        Voxel size by axis name (``{"z": 1.0, "y": 0.2, "x": 0.2}``), which
        replaces what the metadata says.
    storage_options : mapping, optional
        How to reach an object store: ``endpoint``, ``region``, ``anon``,
        ``profile`` and, on Azure, ``account``. Credentials are found in the
        environment and in profile files.

    Returns
    -------
    Image

    Raises
    ------
    SourceNotFoundError
        If nothing is there; `AccessDeniedError` where that cannot be told.
    NotAnImageError
        If there is no OME-Zarr image.
    MultipleImagesError
        If there are several; its ``paths`` lists them.
    MetadataError
        If the metadata breaks a rule that geometry depends on.
    """
    uri = storage.normalise(path, storage_options)
    return _open(uri, source_voxel_size, StoreIO(threads=_threads()))


def _open(path: str, source_voxel_size: VoxelSize | None, io: StoreIO) -> Image:
    override = None
    if source_voxel_size is not None:
        parsed = options.parse_voxel_size(source_voxel_size)
        if isinstance(parsed, str):
            raise OptionError(
                f"source voxel size {source_voxel_size!r} is not a number; give one number or "
                "one for each axis, like 1,0.2,0.2 or z=1,y=0.2,x=0.2"
            )
        if isinstance(parsed, float):
            parsed = dict.fromkeys(_spatial_names(path), parsed)
        if not isinstance(parsed, Mapping):
            parsed = options.by_axis(_spatial_names(path), parsed, "source voxel size")
        override = parsed
    return _image.open_image(path, source_voxel_size=override, io=io)


def _spatial_names(path: str) -> tuple[str, ...]:
    found = ome.describe(storage.group_attributes(path))
    axes = found.axes if isinstance(found, ome.Multiscale) else ()
    return tuple(axis.name for axis in axes if axis.kind == "space")


def _threads() -> int:
    from chunkscale.execute import codec_threads

    return codec_threads()


def plan_resampling(
    source: PathLike | Image,
    *,
    voxel_size: VoxelSize | None = None,
    zoom: float | None = None,
    like: PathLike | Image | VoxelGrid | None = None,
    source_voxel_size: VoxelSize | None = None,
    method: Literal["linear", "nearest"] | None = None,
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
    source : str, path-like or Image
        OME-Zarr image: local path, or URL with http(s), s3, gs or az.
    voxel_size : float, str, mapping or sequence, default "finest"
        Of the target, in the source's unit: a number for all spatial axes,
        numbers by axis (``"z=1,y=0.5,x=0.5"`` or a mapping; axes left out keep
        theirs), ``"finest"`` or ``"coarsest"``.
    zoom : float, default 1
        Divides the voxel size: 2 doubles the number of voxels per axis.
    like : str, path-like, Image or VoxelGrid, optional
        Take this grid instead of a voxel size.
    source_voxel_size : float, str, mapping or sequence, optional
        Replaces what the source's metadata says.
    method : {"linear", "nearest"}, optional
        Default: linear, or nearest for label images.
    antialias : bool, default False
        Average over the voxels that plain linear interpolation skips where an
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
        Regions at the same time; default: one per core, and one more where all
        are then made in fewer turns and there is memory for it, or as
        ``dask.config`` says; at most eight on a GPU.
        A cluster has its own.
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
    reach = storage_options if source_storage_options is None else source_storage_options
    image = open_source(source, source_voxel_size, storage_options=reach)
    target_uri = None if destination is None else storage.normalise(destination, storage_options)
    if ome_zarr_version not in ome.WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-Zarr version {ome_zarr_version!r} cannot be written; use "
            f"{' or '.join(ome.WRITABLE_VERSIONS)}"
        )
    storage.parse_codec(codec)
    options.check_dtype(f"array {image.array.uri!r}", image.array.dtype)
    source_grid, target = _grids(image.grid, voxel_size, zoom, like, reach)
    found = None
    if resume and target_uri is not None:
        from chunkscale import output

        found = output.unfinished(target_uri)
    stored = None if found is None else output.stored_layout(found)
    dtype = image.array.dtype.name
    make = partial(
        make_plan,
        SourceArray(
            uri=image.uri,
            path=image.multiscale.datasets[0].path,
            shape=image.array.shape,
            dtype=dtype,
            chunk=image.array.chunk,
            is_label=image.is_label,
        ),
        source_grid,
        target,
        method=options.method(method, image.is_label, antialias),
        antialias=antialias,
        outside=_fill(outside, dtype, like),
        levels=options.positive("levels", levels),
        ngff_version=ome_zarr_version,
        codec=codec,
        free_disk=None if target_uri is None else storage.free_bytes(target_uri),
    )
    layouts = partial(
        options.layouts, target, shard=shard, version=ome_zarr_version, edges=CHUNK_EDGES
    )
    with connect(client) as cluster:
        limits = [
            _limits(memory, workers, cluster, place, device_memory)
            for place in _places(device, memory, cluster)
        ]
    if found is None or stored is None or target_uri is None:
        return _first_that_fits(make, limits, layouts(chunk))
    if memory is None:
        # What is free differs from run to run, and must not keep one from being continued.
        limits = [replace(x, memory=max(x.memory, stored.memory)) for x in limits]
    # A shard that is asked for goes with the chunk that is there.
    inner = stored.chunk if chunk is None else chunk
    wanted = output.recipe(_first_that_fits(make, limits, layouts(inner)), image.array)
    asked = {"chunk": chunk, "shard": shard, "levels": levels}
    output.check_same(
        target_uri, found, wanted,
        asked=[name for name, value in asked.items() if value is not None],
    )  # fmt: skip
    again = partial(make, regions=stored.regions, levels=stored.levels, shards=stored.shards)
    return _first_that_fits(again, limits, [(Layout(chunk=stored.chunk), False)])


def open_source(
    source: PathLike | Image,
    source_voxel_size: VoxelSize | None = None,
    *,
    storage_options: StorageOptions | None = None,
    source_storage_options: StorageOptions | None = None,
) -> Image:
    """Open the source of a plan; see `plan_resampling`.

    A run opens its array again, with the cache that was planned: until then no chunk is read.
    """
    if not isinstance(source, Image):
        reach = storage_options if source_storage_options is None else source_storage_options
        uri = storage.normalise(source, reach)
        return _open(uri, source_voxel_size, StoreIO(threads=_threads(), engine="zarr"))
    if source_voxel_size is None:
        return source
    return open_source(source.uri, source_voxel_size)


def _fill(outside: float | str, dtype: str, like: object) -> float | int | None:
    """Return the value of samples outside the source; without `like` there are none."""
    fill = options.outside(outside, dtype)
    if fill is not None and like is None:
        raise OptionError(
            f"outside {outside!r} has no meaning without like: the target has the source's extent; "
            "leave it out"
        )
    return fill


def _places(device: str, memory: int | str | None, cluster: DaskCluster | None) -> tuple[str, ...]:
    """Return the devices that a run may take, the best first."""
    little = memory is not None and options.parse_bytes(memory) <= GPU_BASE_BYTES
    if device == "auto" and little:
        # To look for a GPU takes more memory than that.
        return ("cpu",)
    return options.devices(device, local=cluster is None)


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


def _limits(
    memory: int | str | None,
    workers: int | None,
    cluster: DaskCluster | None,
    device: str,
    device_memory: int | str | None,
) -> Limits:
    """Return what a run may use: of this machine, or of each process of a cluster."""
    from chunkscale.execute import local_scheduler
    from chunkscale.memory import bystander_bytes

    wanted = options.positive("workers", workers)
    spare = 0
    shape = None if cluster is None else cluster.shape()
    if shape is not None and shape.processes:
        if wanted is not None:
            raise OptionError(
                f"workers {workers!r} is for runs without a cluster; {cluster} has "
                f"{shape.slots} threads in {shape.processes} workers"
            )
        wanted = shape.threads
    elif cluster is None or wanted is None:
        # With workers, too: what Dask cannot run is refused before anything is written.
        local = local_scheduler()
        if wanted is None:
            wanted = min(local.workers, MOST_WORKERS[device])
            spare = local.spare if device == "cpu" else 0
    usual = (shape and shape.memory) or options.default_memory(wanted)
    bystanders = None if shape is None else shape.bystanders
    return Limits(
        memory=usual if memory is None else options.parse_bytes(memory),
        workers=wanted,
        threads=shape.codec_threads if shape is not None else _threads(),
        slots=shape.slots if shape is not None else 0,
        bystanders=bystander_bytes() if bystanders is None else bystanders,
        spare=spare,
        device_memory=None
        if device == "cpu"
        else options.device_memory(device_memory, local=cluster is None),
    )


def _grids(
    source: VoxelGrid,
    voxel_size: VoxelSize | None,
    zoom: float | None,
    like: PathLike | Image | VoxelGrid | None,
    storage_options: StorageOptions | None = None,
) -> tuple[VoxelGrid, VoxelGrid]:
    """Return the source and target grid, in the same units."""
    if like is None:
        return source, target_grid(
            source,
            voxel_size="finest" if voxel_size is None else voxel_size,
            zoom=1.0 if zoom is None else zoom,
        )
    if voxel_size is not None or zoom is not None:
        raise OptionError(
            "like gives the whole target grid, so voxel size and zoom must be left out"
        )
    if isinstance(like, VoxelGrid):
        other = like
    else:
        opened = like if isinstance(like, Image) else open_image(
            like, storage_options=storage_options
        )  # fmt: skip
        other = opened.grid
    return aligned_grid(source, other), like_grid(source, other)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Resampled:
    """What a finished run did.

    Parameters
    ----------
    path : str
        The output.
    plan : ResamplePlan
    times : RunTimes
        Seconds by stage, summed over the workers.
    stored_bytes : int
        Size of all levels as they are stored.
    """

    path: str
    plan: ResamplePlan
    times: RunTimes
    stored_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return what was done as JSON values."""
        return {
            "path": self.path,
            "target": self.plan.target_grid.as_dict(),
            "levels": len(self.plan.levels),
            "regions": self.plan.region_count,
            "stored_bytes": self.stored_bytes,
            "times": asdict(self.times),
        }

    def __str__(self) -> str:
        return report.run_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<Resampled {self.path!r}>"

    def _repr_html_(self) -> str:
        return report.text_html(str(self))


def resample(
    source: PathLike | Image,
    destination: PathLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
    log: PathLike | None = None,
    progress: ProgressCallback | None = None,
    storage_options: StorageOptions | None = None,
    **parameters: Any,
) -> Resampled:
    """Resample an OME-Zarr image of any size into a new one.

    Parameters
    ----------
    source : str, path-like or Image
        OME-Zarr image: local path, or URL with http(s), s3, gs or az.
    destination : str or path-like
        Of the new image: local path, or URL with s3, gs or az.
    overwrite : bool, default False
        Replace an image at `destination`, or an unfinished one. It is deleted
        after all checks have passed and before anything is written.
    resume : bool, default False
        Continue what an interrupted run with the same parameters has left at
        `destination`; mend it if it is finished; start if nothing is there.
    take_over : bool, default False
        Also where another run seems to be writing `destination`.
    client : distributed.Client, optional
        Work on its cluster. Default: the active client, if there is one.
    scheduler : str or path-like, optional
        Address (``tcp://host:8786``) or scheduler file of a cluster.
    resources : mapping of str to float, optional
        What every region takes of a worker of the cluster: ``{"GPU": 1}``.
    log : str or path-like, optional
        File that gets one line of JSON for every region.
    progress : callable, optional
        Called with a `chunkscale.Progress` after every region, and while a
        cluster finishes none.
    storage_options : mapping, optional
        How to reach object stores; see `open_image`.
    **parameters
        Those of `plan_resampling`: ``voxel_size``, ``zoom``, ``like``,
        ``source_voxel_size``, ``method``, ``antialias``, ``outside``,
        ``chunk``, ``shard``, ``levels``, ``ome_zarr_version``, ``codec``,
        ``memory``, ``workers``, ``device``, ``device_memory``,
        ``source_storage_options``.

    Returns
    -------
    Resampled

    Raises
    ------
    DestinationError
        If `destination` exists, or lies in the source, or holds it; with
        `resume`, if it was begun differently.
    ChunkscaleError
        Whatever planning refuses, before anything is written.
    RegionError, CorruptChunkError, ClusterError
        While running. The unfinished output has no multiscales metadata, so
        no reader takes it for an image; `resume` continues it.

    Warns
    -----
    AliasingWarning
        If an axis shrinks by more than 2 without `antialias`.
    """
    target = check_destination(
        destination, overwrite=overwrite, resume=resume, take_over=take_over,
        storage_options=storage_options,
    )  # fmt: skip
    with connect(client, scheduler, resources) as cluster:
        image = open_source(
            source, parameters.pop("source_voxel_size", None), storage_options=storage_options,
            source_storage_options=parameters.get("source_storage_options"),
        )  # fmt: skip
        if image is source:
            # What is stored there may have changed since it was opened.
            image = open_source(image.uri, image.given or None)
        plan = plan_resampling(
            image, destination=target, resume=resume, client=cluster,
            storage_options=storage_options, **parameters,
        )  # fmt: skip
        for notice in plan.warnings:
            # That it is large or has no unit is news on a terminal, not to who wrote the call.
            if notice.kind not in ("size", "unit"):
                kind = AliasingWarning if notice.kind == "aliasing" else ChunkscaleWarning
                warnings.warn(str(notice), kind, stacklevel=2)
        return carry_out(
            plan, target, source=image, overwrite=overwrite, resume=resume, take_over=take_over,
            client=cluster, log=log, progress=progress,
        )  # fmt: skip


def carry_out(
    plan: ResamplePlan,
    target: str,
    *,
    source: Image,
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
    log: PathLike | None = None,
    progress: ProgressCallback | None = None,
) -> Resampled:
    """Do what a plan says, with the source that it was made for and a target that was checked.

    See `resample` and `check_destination`.
    """
    from chunkscale import output
    from chunkscale.execute import local_scheduler, run_plan
    from chunkscale.memory import make_room
    from chunkscale.worker import Job

    if not (progress is None or callable(progress)):
        raise OptionError(f"progress {progress!r} cannot be called; give a function")
    output.check_apart(plan.source, target)
    if not storage.exists(target):
        output.check_room(plan, target)
    found = output.unfinished(target) if resume else None
    with connect(client, scheduler, resources) as cluster, _log(log) as note:
        if cluster is None:
            local_scheduler()  # the configuration may be another one than when it was planned
        threads = _threads() if cluster is None else cluster.shape().codec_threads
        reader = source.array.within(StoreIO(threads=threads, cache_bytes=plan.memory.cache))
        io = StoreIO(threads=threads)
        with output.writing(
            plan, target, reader, found, overwrite=overwrite, resume=resume, take_over=take_over,
            io=io,
        ) as out:  # fmt: skip
            job = Job(run=uuid.uuid4().hex, plan=plan, source=reader, target=out.levels)
            times = run_plan(
                job, done=out.done, ledger=out.ledger, progress=progress, log=note, cluster=cluster
            )
            stored = output.publish(plan, out, reader, source.attributes)
        if cluster is None:
            make_room(plan.memory.total)
    return Resampled(path=target, plan=plan, times=times, stored_bytes=stored)


@contextlib.contextmanager
def _log(path: PathLike | None) -> Iterator[LogCallback | None]:
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


def check_destination(
    destination: PathLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    storage_options: StorageOptions | None = None,
) -> str:
    """Return the output path, which remembers its options, or refuse it."""
    from chunkscale import output

    return output.check_destination(
        destination, overwrite=overwrite, resume=resume, take_over=take_over,
        storage_options=storage_options,
    )  # fmt: skip


@contextlib.contextmanager
def connect(
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
) -> Iterator[DaskCluster | None]:
    """Yield the cluster that a run would use, or None for the local scheduler.

    Parameters
    ----------
    client, scheduler, resources
        As in `resample`.
    """
    from chunkscale.cluster import DaskCluster, active_client, connected

    if client is not None and scheduler is not None:
        raise OptionError("client and scheduler both name a cluster; pass one of them")
    if isinstance(client, DaskCluster):
        yield client
    elif scheduler is not None:
        with connected(scheduler) as own:
            yield DaskCluster(own, resources)
    else:
        chosen = active_client() if client is None else client
        if chosen is None and resources:
            raise OptionError(
                f"resources {dict(resources)!r} are those of a cluster's workers, and there is no "
                "cluster; give client or scheduler, or leave them out"
            )
        yield DaskCluster(chosen, resources) if chosen is not None else None


def resample_array(
    array: ArrayLike | dask.array.Array,
    *,
    voxel_size: VoxelSize | None = None,
    zoom: float | None = None,
    like: VoxelGrid | None = None,
    source_voxel_size: VoxelSize = 1.0,
    source_translation: Sequence[float] | None = None,
    method: Literal["linear", "nearest"] = "linear",
    antialias: bool = False,
    outside: float | str = "edge",
    axes: str | None = None,
    chunk: int | Sequence[int] | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
) -> Any:
    """Resample an array in memory, or lazily a Dask array.

    Gives the very voxels of level 0 that `resample` writes.

    Parameters
    ----------
    array : array_like or dask.array.Array
        Two to five axes, the last two or three of them spatial.
    voxel_size, zoom, method, antialias, outside, device
        As in `plan_resampling`.
    like : VoxelGrid, optional
        Take this grid instead of a voxel size.
    source_voxel_size : float, str, mapping or sequence, default 1
        Of `array`, for the spatial axes.
    source_translation : sequence of float, optional
        Position of the centre of voxel 0, for the spatial axes; with `like`.
    axes : str, optional
        Axis names in order; default: the last ones of ``"tczyx"``.
    chunk : int or sequence of int, optional
        Block shape of a lazy result (spatial axes).

    Returns
    -------
    ndarray, cupy.ndarray or dask.array.Array
        Same data type; lazy if `array` is. The blocks of a lazy result pull
        just their source box. An array on the GPU, or blocks there, stay there.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkscale
    >>> chunkscale.resample_array(np.array([[0.0, 2.0], [4.0, 6.0]]), zoom=2)
    array([[0. , 0.5, 1.5, 2. ],
           [1. , 1.5, 2.5, 3. ],
           [3. , 3.5, 4.5, 5. ],
           [4. , 4.5, 5.5, 6. ]])
    """
    from chunkscale.device import array_backend, at_array
    from chunkscale.lazy import check_chunks, is_dask_array, resample_dask
    from chunkscale.region import resample_leading

    lazy = is_dask_array(array)
    if lazy:
        check_chunks(array)
    # An array of a device has a dtype, too, and must stay where it is.
    data: Any = array if hasattr(array, "dtype") else np.asarray(array)
    source = _array_grid(data.shape, axes, source_voxel_size, source_translation)
    source, target = _grids(source, voxel_size, zoom, like)
    kind = options.method(method, False, antialias)
    mapping = grid_mapping(source, target, method=kind, antialias=antialias)
    dtype = np.dtype(data.dtype).newbyteorder("=")
    options.check_dtype("the array", dtype)
    fill = _fill(outside, dtype.name, like)
    if lazy:
        options.check_device(device)
        inner = options.shape_option("chunk", chunk, target)
        if inner is None:
            edge = LAZY_EDGES[len(target.spatial)]
            inner = tuple(edge if i in target.spatial else 1 for i in range(target.ndim))
        return resample_dask(data, mapping, chunk=inner, outside=fill, device=device)
    backend = array_backend(data, device)

    def read(box: Box) -> NDArray[Any]:
        return backend.contiguous(data[box.slices], dtype)

    whole = Box(start=(0,) * target.ndim, stop=target.shape)
    with at_array(data):
        return resample_leading(mapping, whole, read, outside=fill, dtype=dtype, backend=backend)


def _array_grid(
    shape: Sequence[int],
    axes: str | None,
    voxel_size: VoxelSize,
    translation: Sequence[float] | None,
) -> VoxelGrid:
    names = "tczyx"[-len(shape) :] if axes is None else axes
    if not 2 <= len(shape) <= 5 or len(names) != len(shape):
        raise OptionError(
            f"an array of shape {tuple(shape)} with axes {names!r} is not supported; "
            "two to five axes are, with one letter for each"
        )
    kinds = {"t": "time", "c": "channel"}
    parsed = tuple(Axis(name=n, kind=kinds.get(n, "space")) for n in names)
    spatial = [i for i, axis in enumerate(parsed) if axis.kind == "space"]
    if len(set(names)) < len(names) or spatial not in (
        list(range(len(names) - 2, len(names))),
        list(range(len(names) - 3, len(names))),
    ):
        raise OptionError(
            f"axes {names!r} are not supported: names must differ, and the last two or three must "
            "be spatial, like tczyx; transpose the array"
        )
    try:
        origin = [0.0] * len(spatial) if translation is None else list(map(float, translation))
    except (TypeError, ValueError):
        raise OptionError(
            f"source_translation {translation!r} is not understood; give a number for each of the "
            f"{len(spatial)} spatial axes"
        ) from None
    if len(origin) != len(spatial):
        raise OptionError(
            f"source_translation {tuple(origin)} has {len(origin)} values for the "
            f"{len(spatial)} spatial axes"
        )
    full = [0.0] * len(shape)
    for i, value in zip(spatial, origin, strict=True):
        full[i] = value
    unit = VoxelGrid(
        axes=parsed,
        shape=tuple(shape),
        voxel_size=(1.0,) * len(shape),
        translation=tuple(full),
    )
    sizes = target_grid(unit, voxel_size=voxel_size).voxel_size
    return unit.replace(voxel_size=sizes)


def check(
    destination: PathLike | Image,
    *,
    source: PathLike | Image | None = None,
    storage_options: StorageOptions | None = None,
    source_storage_options: StorageOptions | None = None,
) -> CheckReport:
    """Say whether an OME-Zarr image is complete and valid, and right.

    Parameters
    ----------
    destination : str, path-like or Image
        The image to check: metadata against the NGFF rules and against the
        geometry of a pyramid, and every chunk by reading it.
    source : str, path-like or Image, optional
        Where it was made from: regions spread over the volume are recomputed
        with plain NumPy, and every voxel of them is compared.
    storage_options, source_storage_options : mapping, optional
        As in `plan_resampling`.

    Returns
    -------
    CheckReport
        True in a boolean context if nothing is wrong; ``faults`` says what is.
    """
    from chunkscale.verify import check_image

    reach = storage_options if source_storage_options is None else source_storage_options
    target = _location(destination, storage_options)
    origin = None if source is None else _location(source, reach)
    return check_image(target, origin, StoreIO(threads=_threads()))


def _location(path: PathLike | Image, storage_options: StorageOptions | None) -> str:
    return path.uri if isinstance(path, Image) else storage.normalise(path, storage_options)


def info(path: PathLike, *, storage_options: StorageOptions | None = None) -> dict[str, Any]:
    """Return what there is to know of an image or of a collection, as JSON values.

    Parameters
    ----------
    path : str or path-like
        Of an image, a plate, or any other collection of images.
    storage_options : mapping, optional
        How to reach an object store; see `open_image`.
    """
    try:
        return open_image(path, storage_options=storage_options).as_dict()
    except MultipleImagesError as error:
        return {"path": storage.normalise(path), "images": list(error.paths)}
