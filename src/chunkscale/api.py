"""The public verbs, and all defaults."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chunkscale import image as _image
from chunkscale import ome, options, storage
from chunkscale._version import __version__
from chunkscale.errors import (
    AliasingWarning,
    ChunkscaleError,
    ChunkscaleWarning,
    DestinationError,
    MemoryBudgetError,
    MultipleImagesError,
    OptionError,
    RegionError,
)
from chunkscale.grid import Axis, Box, VoxelGrid, aligned_grid, like_grid
from chunkscale.image import Image
from chunkscale.mapping import grid_mapping
from chunkscale.options import VoxelSize, target_grid
from chunkscale.plan import Limits, ResamplePlan, SourceArray, make_plan
from chunkscale.report import info_text, plan_summary
from chunkscale.storage import StoreIO

if TYPE_CHECKING:
    import dask.array

    from chunkscale.execute import ProgressCallback, RunTimes
    from chunkscale.verify import CheckReport

__all__ = [
    "Resampled",
    "carry_out",
    "check",
    "check_destination",
    "demo",
    "info",
    "info_text",
    "open_image",
    "plan_resampling",
    "plan_summary",
    "resample",
    "resample_array",
    "target_grid",
]

PathLike = str | os.PathLike[str]

DEFAULT_CODEC = "blosc-lz4"
DEFAULT_VERSION = "0.5"
#: Edge of the default chunk by number of spatial axes: inside shards, and stored one by one.
CHUNK_EDGES = {2: (512, 1024), 3: (64, 128)}
#: Regions at the same time by default, at most. On a GPU they read and write and hardly compute:
#: more of them only wait, for each other and for Python.
MOST_WORKERS = {"cpu": 1024, "gpu": 6}
#: Edge of the blocks of a lazy result.
LAZY_EDGES = {2: 2048, 3: 256}


def open_image(path: PathLike, *, source_voxel_size: VoxelSize | None = None) -> Image:
    """Open an OME-Zarr image lazily.

    Parameters
    ----------
    path : str or path-like
        Group of a multiscale image (0.4 or 0.5), local or http(s).
    source_voxel_size : float, str, mapping or sequence, optional
        Voxel size by axis name (``{"z": 1.0, "y": 0.2, "x": 0.2}``), which
        replaces what the metadata says.

    Returns
    -------
    Image

    Raises
    ------
    SourceNotFoundError
        If nothing is there.
    NotAnImageError
        If there is no OME-Zarr image.
    MultipleImagesError
        If there are several; its ``paths`` lists them.
    MetadataError
        If the metadata breaks a rule that geometry depends on.
    """
    return _open(path, source_voxel_size, StoreIO(threads=_threads()))


def _open(path: PathLike, source_voxel_size: VoxelSize | None, io: StoreIO) -> Image:
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


def _spatial_names(path: PathLike) -> tuple[str, ...]:
    found = ome.describe(storage.group_attributes(storage.normalise(path)))
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
) -> ResamplePlan:
    """Say what a run would read, compute and write; touch nothing.

    Parameters
    ----------
    source : str, path-like or Image
        OME-Zarr image, local or http(s).
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
        What samples outside the source's extent get (only `like` has any).
    chunk, shard : int, sequence or str, optional
        Voxels per spatial axis. `shard` 0 stores chunks one by one.
    levels : int, optional
        Number of levels; by default until one fits into a chunk.
    ome_zarr_version : {"0.5", "0.4"}
    codec : str, default "blosc-lz4"
        ``blosc-lz4``, ``blosc-zstd``, ``zstd``, ``gzip`` or ``none``, with a
        level after a colon if wanted.
    memory : int or str, optional
        Bytes for the whole run, like ``"4GiB"``; the plan keeps below.
    workers : int, optional
        Regions at the same time; default: one per core, or as ``dask.config``
        says, and at most six on a GPU.
    device : {"auto", "cpu", "gpu"}
        ``auto`` takes the GPU if there is one that CuPy can use and the memory
        is enough for its driver.
    device_memory : int or str, optional
        Bytes for buffers on the GPU; default: four fifths of what is free there.
    destination : str or path-like, optional
        Only to warn when its disk is too small.

    Returns
    -------
    ResamplePlan

    Raises
    ------
    ChunkscaleError
        Whatever `resample` would refuse; see `chunkscale.errors`.
    """
    from chunkscale.execute import default_workers

    image = source if isinstance(source, Image) else open_image(
        source, source_voxel_size=source_voxel_size
    )  # fmt: skip
    if isinstance(source, Image) and source_voxel_size is not None:
        image = open_image(source.uri, source_voxel_size=source_voxel_size)
    if ome_zarr_version not in ome.WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-Zarr version {ome_zarr_version!r} cannot be written; use "
            f"{' or '.join(ome.WRITABLE_VERSIONS)}"
        )
    storage.parse_codec(codec)
    options.check_dtype(f"array {image.array.uri!r}", image.array.dtype)
    source_grid, target = _grids(image.grid, voxel_size, zoom, like)
    given = options.positive("workers", workers)
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
        outside=options.outside(outside, dtype),
        levels=options.positive("levels", levels),
        ngff_version=ome_zarr_version,
        codec=codec,
        free_disk=storage.free_bytes(storage.normalise(destination or os.curdir)),
    )
    refusal: MemoryBudgetError | None = None
    for place in options.devices(device):
        wanted = given or min(default_workers(), MOST_WORKERS[place])
        limits = Limits(
            memory=options.default_memory(wanted)
            if memory is None
            else options.parse_bytes(memory),
            workers=wanted,
            threads=_threads(),
            device_memory=options.device_memory(device_memory, place),
        )
        for layout, shards in options.layouts(target, chunk, shard, ome_zarr_version, CHUNK_EDGES):
            try:
                return make(limits=limits, layout=layout, shard=shards)
            except MemoryBudgetError as error:
                refusal = error
    assert refusal is not None
    raise refusal


def _grids(
    source: VoxelGrid,
    voxel_size: VoxelSize | None,
    zoom: float | None,
    like: PathLike | Image | VoxelGrid | None,
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
        other = (like if isinstance(like, Image) else open_image(like)).grid
    return aligned_grid(source, other), like_grid(source, other)


@dataclass(frozen=True, slots=True, kw_only=True)
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
        Size on disk.
    """

    path: str
    plan: ResamplePlan
    times: RunTimes
    stored_bytes: int

    def __str__(self) -> str:
        from chunkscale.report import run_text

        return run_text(self)


def resample(
    source: PathLike | Image,
    destination: PathLike,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    **parameters: Any,
) -> Resampled:
    """Resample an OME-Zarr image of any size into a new one.

    Parameters
    ----------
    source : str, path-like or Image
        OME-Zarr image, local or http(s).
    destination : str or path-like
        Local path of the new image.
    overwrite : bool, default False
        Replace a zarr hierarchy at `destination`. It is deleted after all
        checks have passed and before anything is written.
    progress : callable, optional
        Called with a `chunkscale.Progress` after every region.
    **parameters
        Those of `plan_resampling`: ``voxel_size``, ``zoom``, ``like``,
        ``source_voxel_size``, ``method``, ``antialias``, ``outside``,
        ``chunk``, ``shard``, ``levels``, ``ome_zarr_version``, ``codec``,
        ``memory``, ``workers``, ``device``, ``device_memory``.

    Returns
    -------
    Resampled

    Raises
    ------
    DestinationError
        If `destination` exists, or lies in the source, or holds it.
    ChunkscaleError
        Whatever planning refuses, before anything is written.
    RegionError, CorruptChunkError
        While running. The unfinished output has no multiscales metadata, so
        no reader takes it for an image.

    Warns
    -----
    AliasingWarning
        If an axis shrinks by more than 2 without `antialias`.
    """
    target = check_destination(destination, overwrite=overwrite)
    plan = plan_resampling(source, destination=target, **parameters)
    for notice in plan.warnings:
        # That the output is large or has no unit is news on a terminal, not to who wrote the call.
        if notice.kind not in ("size", "unit"):
            kind = AliasingWarning if notice.kind == "aliasing" else ChunkscaleWarning
            warnings.warn(str(notice), kind, stacklevel=2)
    return carry_out(plan, target, overwrite=overwrite, progress=progress)


def carry_out(
    plan: ResamplePlan,
    destination: PathLike,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> Resampled:
    """Do what a plan says; see `resample`."""
    from chunkscale.execute import run_plan

    target = check_destination(destination, overwrite=overwrite)
    _check_apart(plan.source, target)
    io = StoreIO(threads=_threads(), cache_bytes=plan.memory.cache)
    reader = storage.open_array(storage.join(plan.source.uri, plan.source.path), io)
    attributes = storage.group_attributes(plan.source.uri)
    record = _provenance(plan)
    zarr_format: Literal[2, 3] = 2 if plan.ngff_version == "0.4" else 3
    if os.path.lexists(target):
        storage.discard(target)
    run = {"run": uuid.uuid4().hex, "levels": [level.path for level in plan.levels]}
    unfinished = {"chunkscale": {**record, **run, "state": "unfinished"}}
    storage.start_group(target, zarr_format=zarr_format, attributes=unfinished)
    storage.create_levels(
        target, plan.levels, dtype=plan.dtype, codec=plan.codec, zarr_format=zarr_format
    )
    out = StoreIO(threads=_threads())
    writers = [storage.open_writer(storage.join(target, level.path), out) for level in plan.levels]
    times = run_plan(plan, reader, writers, progress=progress)
    record["objects"] = {
        level.path: storage.object_count(storage.join(target, level.path)) for level in plan.levels
    }
    if storage.group_attributes(target) != unfinished:
        raise RegionError(
            f"the output {target!r} was replaced by another run while this one wrote it; "
            "run one of them again"
        )
    # What ome-zarr imports is large: it has to wait until the buffers of the run are free.
    del reader, writers
    published = _published(plan, attributes)
    # Last of all: from here on a reader takes the group for an image.
    storage.set_attributes(target, {**published, "chunkscale": {**record, "state": "finished"}})
    return Resampled(path=target, plan=plan, times=times, stored_bytes=storage.stored_bytes(target))


def check_destination(destination: PathLike, *, overwrite: bool) -> str:
    """Return the output path, or refuse it."""
    target = storage.normalise(destination)
    if storage.is_remote(target):
        raise OptionError(
            f"the output {target!r} is a URL; only local paths can be written in this version"
        )
    if os.path.lexists(target):
        state = _disposable_state(target)
        if not overwrite:
            raise DestinationError(
                f"the output {target!r} exists{state}; choose another path, or replace it with "
                "overwrite=True (--overwrite)"
            )
    storage.check_parent(target)
    return target


def _disposable_state(target: str) -> str:
    """Refuse to replace what is not just one image; say what is there if it may go."""
    if os.path.isdir(target) and not os.listdir(target):
        return " (an empty directory)"
    try:
        attributes = storage.group_attributes(target)
        record = attributes.get("chunkscale", {})
        unfinished = isinstance(record, Mapping) and record.get("state") == "unfinished"
        if unfinished:
            arrays = [str(path) for path in record.get("levels", [])]
        else:
            found = ome.describe(attributes)
            arrays = [d.path for d in found.datasets] if isinstance(found, ome.Multiscale) else []
        foreign = storage.foreign_entries(target, arrays)
    except ChunkscaleError as error:
        raise DestinationError(
            f"the output {target!r} exists and is not an OME-Zarr image, so it is never "
            "overwritten; choose another path or remove it yourself"
        ) from error
    if foreign:
        raise DestinationError(
            f"the output {target!r} exists and holds more than one image ({foreign[0]!r}), so it "
            "is never overwritten; choose another path or remove it yourself"
        )
    return " (the output of a run that did not finish)" if unfinished else ""


def _check_apart(source: SourceArray, target: str) -> None:
    """Refuse an output in the source, and one that holds it; links are followed."""
    if storage.is_remote(source.uri):
        return
    output = os.path.realpath(target)
    for part in (source.uri, storage.join(source.uri, source.path)):
        origin = os.path.realpath(part)
        if origin == output:
            raise DestinationError(
                f"the output {target!r} is the source itself; choose another path"
            )
        for inner, outer, text in (
            (output, origin, "lies inside the source"),
            (origin, output, "holds the source"),
        ):
            if os.path.commonpath([inner, outer]) == outer:
                raise DestinationError(
                    f"the output {target!r} {text} {source.uri!r}; choose a path outside of it"
                )


def _provenance(plan: ResamplePlan) -> dict[str, Any]:
    """Return what a finished output says of its making."""
    return {
        "version": __version__,
        "source": plan.source.uri,
        "source_voxel_size": list(plan.source_grid.voxel_size),
        "source_translation": list(plan.source_grid.translation),
        "method": plan.method,
        "antialias": plan.antialias,
        # As text: JSON has no NaN.
        "outside": "edge" if plan.outside is None else str(plan.outside),
    }


def _published(plan: ResamplePlan, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that make a finished group an image."""
    levels = [
        ome.Dataset(
            path=level.path,
            voxel_size=level.grid.voxel_size,
            translation=level.grid.translation,
        )
        for level in plan.levels
    ]
    described = ome.describe(source)
    named = described.name if isinstance(described, ome.Multiscale) else None
    name = named or plan.source.uri.rstrip("/").rsplit("/", 1)[-1]
    kind = "mode" if plan.method == "nearest" else "mean"
    composed = storage.compose_multiscales(
        version=plan.ngff_version,
        name=name,
        axes=ome.axis_entries(plan.target_grid.axes),
        datasets=ome.dataset_entries(levels),
    )
    return ome.complete_attributes(
        composed,
        name=name,
        kind=kind,
        metadata=ome.downscaling_metadata(
            f"chunkscale.resample ({kind})",
            version=__version__,
            parameters={"method": plan.method, "antialias": plan.antialias},
        ),
        source=source,
        is_label=plan.source.is_label,
    )


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
    from chunkscale.device import array_backend
    from chunkscale.lazy import is_dask_array, resample_dask
    from chunkscale.region import resample_leading

    lazy = is_dask_array(array)
    # An array of a device has a dtype, too, and must stay where it is.
    data: Any = array if hasattr(array, "dtype") else np.asarray(array)
    source = _array_grid(data.shape, axes, source_voxel_size, source_translation)
    source, target = _grids(source, voxel_size, zoom, like)
    kind = options.method(method, False, antialias)
    mapping = grid_mapping(source, target, method=kind, antialias=antialias)
    dtype = np.dtype(data.dtype).newbyteorder("=")
    options.check_dtype("the array", dtype)
    fill = options.outside(outside, dtype.name)
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
    origin = [0.0] * len(spatial) if translation is None else list(translation)
    if len(origin) != len(spatial):
        raise OptionError(
            f"source_translation {tuple(origin)} has {len(origin)} values for the "
            f"{len(spatial)} spatial axes"
        )
    full = [0.0] * len(shape)
    for i, value in zip(spatial, origin, strict=True):
        full[i] = float(value)
    unit = VoxelGrid(
        axes=parsed,
        shape=tuple(shape),
        voxel_size=(1.0,) * len(shape),
        translation=tuple(full),
    )
    sizes = target_grid(unit, voxel_size=voxel_size).voxel_size
    return unit.replace(voxel_size=sizes)


def check(destination: PathLike, *, source: PathLike | None = None) -> CheckReport:
    """Say whether an OME-Zarr image is complete and valid, and right.

    Parameters
    ----------
    destination : str or path-like
        The image to check: metadata against the NGFF rules and against the
        geometry of a pyramid, and every chunk by reading it.
    source : str or path-like, optional
        Where it was made from: regions spread over the volume are recomputed
        with plain NumPy, and every voxel of them is compared.

    Returns
    -------
    CheckReport
        True in a boolean context if nothing is wrong; ``faults`` says what is.
    """
    from chunkscale.verify import check_image

    io = StoreIO(threads=_threads())
    return check_image(storage.normalise(destination), source, io)


def info(path: PathLike) -> dict[str, Any]:
    """Return what there is to know of an image or of a collection, as JSON values.

    Parameters
    ----------
    path : str or path-like
        Of an image, a plate, or any other collection of images.
    """
    from chunkscale.report import image_dict

    try:
        return image_dict(open_image(path))
    except MultipleImagesError as error:
        return {"path": storage.normalise(path), "images": list(error.paths)}


def demo(folder: PathLike = "chunkscale-demo") -> bool:
    """Resample a synthetic stack in every way; see ``chunkscale demo --help``."""
    from chunkscale.demo import run_demo

    return run_demo(folder)
