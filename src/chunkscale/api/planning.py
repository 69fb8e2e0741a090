"""Plan a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from chunkscale import options
from chunkscale.api.defaults import CHUNK_EDGES, DEFAULT_CODEC, DEFAULT_VERSION, MOST_WORKERS
from chunkscale.api.images import io_threads, open_image, open_source
from chunkscale.compute.devices import device_choices, device_memory_bytes
from chunkscale.errors import MemoryBudgetError, OptionError
from chunkscale.geometry.grid import VoxelGrid, aligned_grid, like_grid
from chunkscale.geometry.methods import MethodName
from chunkscale.geometry.pyramid import Layout
from chunkscale.ome.versions import WRITABLE_VERSIONS
from chunkscale.plan import policy
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import ResamplePlan, SourceArray
from chunkscale.plan.planner import make_plan
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source
from chunkscale.sources.ome_zarr import Image
from chunkscale.storage.codecs import parse_codec
from chunkscale.storage.locations import join
from chunkscale.storage.stores import normalise, store_of

if TYPE_CHECKING:
    from chunkscale.run.dask_cluster import DaskCluster


def plan_resampling(
    source: options.PathLike | Source | ArrayLike,
    *,
    voxel_size: options.VoxelSize | None = None,
    zoom: float | None = None,
    like: options.PathLike | Image | VoxelGrid | None = None,
    source_voxel_size: options.VoxelSize | None = None,
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
    destination: options.PathLike | None = None,
    resume: bool = False,
    client: Any = None,
    storage_options: options.StorageOptions | None = None,
    source_storage_options: options.StorageOptions | None = None,
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
    image = open_source(
        source, source_voxel_size, axes=axes, source_translation=source_translation,
        source_unit=source_unit, storage_options=reach,
    )  # fmt: skip
    target_uri = None if destination is None else normalise(destination, storage_options)
    if ome_zarr_version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-Zarr version {ome_zarr_version!r} cannot be written; use "
            f"{' or '.join(WRITABLE_VERSIONS)}"
        )
    parse_codec(codec)
    options.check_dtype(
        f"array {join(image.uri, image.path)!r}" if image.uri else f"the {image.path}",
        image.array.dtype,
    )
    source_grid, target = source_and_target(image.grid, voxel_size, zoom, like, reach)
    if resume and not image.uri:
        raise OptionError(
            f"resume needs a source that can be known again, and an {image.path} cannot; store it "
            "as OME-Zarr first, or start anew with overwrite=True"
        )
    found = None
    if resume and target_uri is not None:
        from chunkscale.output.destination import unfinished
        from chunkscale.output.record import check_same, recipe, stored_layout

        found = unfinished(target_uri)
    stored = None if found is None else stored_layout(found)
    dtype = image.array.dtype.name
    make = partial(
        make_plan,
        SourceArray(
            uri=image.uri,
            path=image.path,
            shape=image.array.shape,
            dtype=dtype,
            chunk=image.array.chunk,
            is_label=image.is_label,
        ),
        source_grid,
        target,
        method=options.method(method, image.is_label, antialias),
        antialias=antialias,
        outside=fill_value(outside, dtype, like),
        levels=options.positive("levels", levels),
        ngff_version=ome_zarr_version,
        codec=codec,
        free_disk=None if target_uri is None else store_of(target_uri).free_bytes(target_uri),
    )
    layouts = partial(
        options.layouts, target, shard=shard, version=ome_zarr_version, edges=CHUNK_EDGES
    )
    with connect(client) as cluster:
        if not image.uri:
            _check_here(image.path, cluster)
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
    wanted = recipe(_first_that_fits(make, limits, layouts(inner)), image)
    asked = {"chunk": chunk, "shard": shard, "levels": levels}
    check_same(
        target_uri, found, wanted,
        asked=[name for name, value in asked.items() if value is not None],
    )  # fmt: skip
    again = partial(make, regions=stored.regions, levels=stored.levels, shards=stored.shards)
    return _first_that_fits(again, limits, [(Layout(chunk=stored.chunk), False)])


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


def fill_value(outside: float | str, dtype: str, like: object) -> float | int | None:
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


def _limits(
    memory: int | str | None,
    workers: int | None,
    cluster: DaskCluster | None,
    device: str,
    device_memory: int | str | None,
) -> Limits:
    """Return what a run may use: of this machine, or of each process of a cluster."""
    from chunkscale.host.memory import bystander_bytes
    from chunkscale.run.local import local_scheduler

    wanted = options.positive("workers", workers)
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
    usual = (shape and shape.memory) or options.default_memory(wanted)
    bystanders = None if shape is None else shape.bystanders
    return Limits(
        memory=usual if memory is None else options.parse_bytes(memory),
        workers=wanted,
        threads=shape.codec_threads if shape is not None else io_threads(),
        slots=shape.slots if shape is not None else 0,
        bystanders=bystander_bytes() if bystanders is None else bystanders,
        device_memory=None
        if device == "cpu"
        else device_memory_bytes(device_memory, local=cluster is None),
    )


def source_and_target(
    source: VoxelGrid,
    voxel_size: options.VoxelSize | None,
    zoom: float | None,
    like: options.PathLike | Image | VoxelGrid | None,
    storage_options: options.StorageOptions | None = None,
) -> tuple[VoxelGrid, VoxelGrid]:
    """Return the source and target grid, in the same units."""
    if like is None:
        return source, options.target_grid(
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
