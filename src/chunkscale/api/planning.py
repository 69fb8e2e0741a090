"""Plan a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack, overload

from numpy.typing import ArrayLike

from chunkscale.api.collections import collection_of, planned_collection
from chunkscale.api.defaults import DEFAULT_CHECKSUM, DEFAULT_CODEC, DEFAULT_VERSION
from chunkscale.api.parameters import PlanParameters
from chunkscale.api.planned import planned_image
from chunkscale.api.plans import means_of
from chunkscale.api.request import Request, request_of
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.methods import Downsample, MethodName
from chunkscale.geometry.pyramid import PyramidRule
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.parameters import PathLike, Shape, StorageOptions, VoxelSize
from chunkscale.plan.collection import CollectionPlan
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Source
from chunkscale.sources.image import Image
from chunkscale.storage.stores import normalise


@overload
def plan_resampling(
    source: PathLike | Source | ArrayLike,
    *,
    images: None = None,
    destination: PathLike | None = None,
    resume: bool = False,
    client: Any = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> ResamplePlan: ...


@overload
def plan_resampling(
    source: PathLike | Source | ArrayLike,
    *,
    images: str | Sequence[str],
    destination: PathLike | None = None,
    resume: bool = False,
    client: Any = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> ResamplePlan | CollectionPlan: ...


def plan_resampling(
    source: PathLike | Source | ArrayLike,
    *,
    images: str | Sequence[str] | None = None,
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
    labels: bool | str | Sequence[str] = True,
    label_method: Literal["mode", "nearest"] = "mode",
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
    checksum: Literal["none", "crc32c"] = DEFAULT_CHECKSUM,
    memory: int | str | None = None,
    workers: int | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    device_memory: int | str | None = None,
    destination: PathLike | None = None,
    resume: bool = False,
    client: Any = None,
    storage_options: StorageOptions | None = None,
    source_storage_options: StorageOptions | None = None,
) -> ResamplePlan | CollectionPlan:
    """Say what a run would read, compute and write; touch nothing.

    Parameters
    ----------
    source : str, path-like, Image or array
        OME-Zarr image: local path, or URL with http(s), s3, gs or az. Or an
        array: of NumPy, Dask, or with coordinates; see `resample`.
    images : str or sequence of str, optional
        Of a collection (a plate, a series, a folder of images): ``"all"``, or names and
        patterns like ``"B/03/0,B/04/*"``, in which ``**`` stands for any number of names.
        All of them get these parameters, and the result is a collection of the same kind.
    voxel_size : float, str, mapping or sequence, default "finest"
        Of the target, in the source's unit or with one (``"500nm"``): a number for all
        spatial axes, numbers by axis (``"z=1,y=0.5,x=0.5"`` or a mapping; axes left out
        keep theirs), ``"finest"``, ``"coarsest"``, or ``"same"``, which keeps every voxel.
    zoom : float, default 1
        Divides the voxel size: 2 doubles the number of voxels per axis.
    factor : float, str, mapping or sequence, optional
        Instead of a voxel size: multiplies the number of voxels, for all spatial
        axes or by axis (``"5,1,1"`` or ``"z=5"``).
    shape : int, str, mapping or sequence, optional
        Instead of a voxel size: voxels along the spatial axes (``"256,256,256"`` or
        ``"z=256"``). The voxel size is the extent over the shape.
    like : str, path-like, Image, VoxelGrid or array with coordinates, optional
        Take this grid instead of a voxel size.
    source_voxel_size : float, str, mapping or sequence, optional
        Replaces the voxel size of the source's metadata or coordinates; required for a plain
        array. As `voxel_size`, or one number for each axis, like ``image.grid.voxel_size``.
        In the source's unit or with one (``"500nm"``), which is the source's if it has none.
    axes : str, optional
        Of an array, in order; default: the last ones of ``"tczyx"``.
    source_translation : sequence of float, optional
        Of an array: position of the centre of voxel 0, for the spatial axes.
    source_unit : str, optional
        Of the voxel size of an array, or of an image or file without a unit: ``"micrometer"``.
    channels, timepoints, crop : optional
        Take a part of the source; see `Image.select`. A crop has exactly the voxels of the
        full result.
    labels : bool, str or sequence of str, default True
        Resample the image's labels, too, or some of them by name (``"nuclei,cells"``): onto the
        same grid, with as many levels. What they do not cover has the label 0. Labels that cannot
        be resampled are left out with a warning; if they are named, that is an error.
    label_method : {"mode", "nearest"}
        How these labels are resampled: the most frequent label of the voxels that fall into a
        target voxel (the nearest where an axis grows), or always the nearest. If `source` itself
        is a label image, `method` applies.
    level : int or "auto", default 0
        Read this stored level of the image instead of the finest. ``"auto"`` takes the
        coarsest that is as fine as the target along every axis and matches level 0. Its
        voxels are averages of those of level 0, computed by the program that wrote the levels.
    method : {"linear", "nearest", "cubic", "lanczos", "area", "mode", "max"}, optional
        How voxels are made: of the two around along each axis, the nearest, a curve through
        four or a sharper one through six; or, where an axis shrinks, of all that fall into one:
        their mean (else linear), the most frequent or the largest (else nearest). Default:
        linear, or nearest for label images.
    antialias : bool, default False
        Smooth before downsampling; recommended where an axis shrinks by more
        than 2.
    outside : "edge" or number, default "edge"
        Value outside the source's extent; only with `like`.
    chunk, shard : int, sequence or str, optional
        Voxels per spatial axis. `shard` 0 stores chunks one by one.
    levels : int, optional
        Number of levels; by default until one fits into a chunk.
    pyramid : {"auto", "all", "keep-z", "none"}
        Which axes are halved from level to level: those whose voxels are less than twice as
        large as the smallest, so that coarse levels tend to isotropy; all; all but z; or
        none, as there is one level.
    downsample : {"mean", "mode", "nearest", "max"}, optional
        How coarser levels are made: the mean of the voxels of a cell, the most frequent, the
        one after the middle, or the largest. Default: mode if the method is nearest or
        mode, max if it is max, else mean. Labels of an image get modes.
    ome_zarr_version : {"0.5", "0.4", "0.6"}
    codec : str, default "blosc-lz4"
        ``blosc-lz4``, ``blosc-zstd``, ``zstd``, ``gzip`` or ``none``, with a
        level after a colon if wanted.
    checksum : {"none", "crc32c"}
        Stored with each chunk (also inside shards), so that readers notice a
        flipped bit; four bytes each. Not for 0.4.
    memory : int or str, optional
        Peak memory of the whole run, like ``"4GiB"``. On a cluster: of each worker
        process.
    workers : int, optional
        Parallel regions; default: about one per core, or as ``dask.config`` says; at most
        eight on a GPU. Not for clusters.
    device : {"auto", "cpu", "gpu"}
        ``auto`` takes the GPU if there is one that CuPy can use and the memory
        is enough for its driver.
    device_memory : int or str, optional
        Bytes for buffers on the GPU; default: four fifths of what is free there.
    destination : str or path-like, optional
        To warn when its disk is too small.
    resume : bool, default False
        Keep the layout of an interrupted run at `destination`.
    client : distributed.Client, optional
        Plan for its cluster. Default: the active client, if there is one.
    storage_options : mapping, optional
        How to reach object stores; see `open_image`.
    source_storage_options : mapping, optional
        The same for the source (and `like`), where that differs.

    Returns
    -------
    ResamplePlan
        Of the image; ``labels`` has those of its labels. A `CollectionPlan` for `images` of a
        collection.

    Raises
    ------
    ChunkscaleError
        Whatever `resample` would refuse; see `chunkscale.errors`.
    """
    parameters = PlanParameters(
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
        labels=labels,
        label_method=label_method,
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
        checksum=checksum,
        memory=memory,
        workers=workers,
        device=device,
        device_memory=device_memory,
        source_storage_options=source_storage_options,
    )
    request = request_of(parameters, storage_options, images)
    with _looked_at(destination, request, resume) as at:
        return planned_alone(source, request, client, destination=at, resume=resume)


def planned_alone(
    source: PathLike | Source | ArrayLike,
    request: Request,
    client: Any,
    *,
    destination: str | None = None,
    resume: bool = False,
) -> ResamplePlan | CollectionPlan:
    """Return the plan of a request; see `plan_resampling`."""
    collection = collection_of(source, request)
    means = means_of(request.resources, client)
    place: Any = {"destination": destination, "resume": resume}
    if collection is not None:
        return planned_collection(collection, request, means, **place).plan
    return planned_image(source, request, means, **place)[0].plan


@contextlib.contextmanager
def _looked_at(
    destination: PathLike | None, request: Request, resume: bool
) -> Iterator[str | None]:
    """Yield where a run would find what it continues."""
    from chunkscale.output.packed_place import naming, packed_place

    storage = request.storage.target
    if destination is None:
        yield None
    elif packed := packed_place(destination, request.layout.version, storage):
        with naming(packed):
            yield packed.begun(resume=resume)
    else:
        yield normalise(destination, storage)
