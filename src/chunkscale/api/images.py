"""Open, describe and check images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import ArrayLike

from chunkscale.errors import AccessDeniedError, Notice, OptionError, SourceNotFoundError
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.host.limits import usable_cores
from chunkscale.parameters import PathLike, StorageOptions, VoxelSize
from chunkscale.pictures.thumbnail import thumbnail
from chunkscale.sources import opening
from chunkscale.sources.base import Sizes, Source, SourceOptions
from chunkscale.sources.collections import open_collection
from chunkscale.sources.file_image import FileImage
from chunkscale.sources.image import Image
from chunkscale.sources.parts import Part, select
from chunkscale.sources.several import several_images
from chunkscale.sources.thumbnails import paint_with
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.stores import normalise
from chunkscale.targets import source_sizes

paint_with(thumbnail)

if TYPE_CHECKING:
    from chunkscale.run.records import ProgressCallback
    from chunkscale.verify.report import CheckReport


def open_image(
    path: PathLike,
    *,
    source_voxel_size: VoxelSize | None = None,
    axes: str | None = None,
    source_unit: str | None = None,
    storage_options: StorageOptions | None = None,
) -> Image | FileImage:
    """Open an image lazily: of OME-Zarr, or in a file of another format.

    Parameters
    ----------
    path : str or path-like
        Group of a multiscale image (OME-Zarr 0.1 to 0.6): local path, or URL with
        http(s), s3, gs or az. It may be a zip file (``.ozx``, ``.zip``), or
        lie in one: ``scan.ozx/labels/cells``. Or a local file of another format, an image
        in it (``scan.ome.tif/1``), or a folder or pattern of planes (``planes/z*.tif``).
    source_voxel_size : float, str, mapping or sequence, optional
        Replaces the voxel size of the metadata: by axis name (``{"z": 1.0, "y": 0.2}``), or
        numbers for the spatial axes, or for all axes, like ``image.grid.voxel_size``. In the
        image's unit or with one (``"500nm"``), which is the image's if it has none.
    axes : str, optional
        Of a file that does not say them, like ``"zyx"``.
    source_unit : str, optional
        Of the voxel size of a file or an image that does not say it.
    storage_options : mapping, optional
        How to reach an object store: ``endpoint``, ``region``, ``anon``,
        ``profile`` and, on Azure, ``account``. Credentials are found in the
        environment and in profile files.

    Returns
    -------
    Image or FileImage
        The first of OME-Zarr, the other one of a file.

    Raises
    ------
    SourceNotFoundError
        If nothing is there; `AccessDeniedError` if access is denied.
    NotAnImageError
        If there is no image.
    MultipleImagesError
        If there are several; its ``paths`` lists them.
    MetadataError
        If the metadata breaks a rule that geometry depends on.
    """
    given = SourceOptions(
        sizes=_sizes(source_voxel_size),
        reach=storage_options,
        axes=axes,
        unit=source_unit,
        io=StoreIO(threads=usable_cores().amount),
    )
    return cast(Image | FileImage, opening.open_source(normalise(path, storage_options), given))


def _sizes(source_voxel_size: VoxelSize | None) -> Sizes | None:
    if source_voxel_size is None:
        return None
    return partial(source_sizes, source_voxel_size)


def open_source(
    source: PathLike | Source | ArrayLike,
    source_voxel_size: VoxelSize | None = None,
    *,
    axes: str | None = None,
    source_translation: Sequence[float] | None = None,
    source_unit: str | None = None,
    storage_options: StorageOptions | None = None,
    mirrored: bool = False,
) -> Source:
    """Open the source of a plan; see `plan_resampling` and `SourceOptions`.

    A run opens its array again, with the cache that was planned: until then no chunk is read.
    """
    given = SourceOptions(
        sizes=_sizes(source_voxel_size),
        reach=storage_options,
        axes=axes,
        translation=source_translation,
        unit=source_unit,
        io=StoreIO(threads=usable_cores().amount),
        mirrored=mirrored,
    )
    try:
        return opening.open_source(source, given)
    except SourceNotFoundError as error:
        if not isinstance(source, str | os.PathLike) or isinstance(error, AccessDeniedError):
            raise
        with contextlib.suppress(SourceNotFoundError):
            if found := open_collection(normalise(source, storage_options)):
                told: list[Notice] = []
                paths = tuple(found.images(told.append))
                raise several_images(found.uri, found.kind, paths, notices=told) from error
        raise


def selected(
    source: Source, channels: Indices | None, timepoints: Indices | None, crop: Crop | None
) -> Source:
    """Return the part of a source that is asked for."""
    if channels is None and timepoints is None and crop is None:
        return source
    return select(source, channels=channels, timepoints=timepoints, crop=crop)


def reopened(source: Any) -> Any:
    """Open an image anew: what is stored there may have changed. Anything else stays as it is."""
    if isinstance(source, Part):
        return replace(source, source=reopened(source.source))
    if isinstance(source, FileImage) and source.opened is not None:
        return opening.open_source(source.uri, source.opened)
    if not isinstance(source, Image):
        return source
    return open_source(source.uri, source.given or None, source_unit=source.unit)


def check(
    destination: PathLike | Image,
    *,
    source: PathLike | Image | FileImage | ArrayLike | None = None,
    source_voxel_size: VoxelSize | None = None,
    full: bool = False,
    progress: bool | ProgressCallback | None = None,
    storage_options: StorageOptions | None = None,
    source_storage_options: StorageOptions | None = None,
) -> CheckReport:
    """Verify an image and its labels, or a whole collection.

    Parameters
    ----------
    destination : str, path-like or Image
        The image or collection to check: metadata against the NGFF rules and
        against the geometry of a pyramid, and every chunk by reading it.
    source : str, path-like, Image or array, optional
        What it was made from: sample boxes of every time point and channel
        are recomputed with plain NumPy, and every voxel in them is compared. For a collection,
        the collection that it was made from; images are matched by their paths.
    source_voxel_size : float, str, mapping or sequence, optional
        As given for the run that made the image; without `source`, that of the image itself. An
        output of this package records it.
    full : bool
        Compare the whole image with `source`, at the speed of plain NumPy, and let ome-zarr judge
        its metadata.
    progress : bool or callable, optional
        As in `resample`; regions are those that are read, and those that are compared.
    storage_options, source_storage_options : mapping, optional
        As in `plan_resampling`.

    Returns
    -------
    CheckReport
        True in a boolean context if nothing is wrong; ``faults`` says what is.
    """
    from chunkscale.output.packed_place import unfinished_file
    from chunkscale.progress import reporting
    from chunkscale.run.records import Progress
    from chunkscale.verify.dataset import check_dataset
    from chunkscale.verify.report import CheckReport
    from chunkscale.verify.tally import Tally

    if full and source is None:
        raise OptionError(
            "full=True (--full) compares the whole image with its source; give source "
            "(--source), or leave it out"
        )
    reach = storage_options if source_storage_options is None else source_storage_options
    target = _location(destination, storage_options)
    if fault := unfinished_file(target):
        return CheckReport(path=target, faults=(fault,))
    origin: object = source
    if isinstance(source, str | bytes | os.PathLike | Image):
        origin = _location(cast(PathLike | Image, source), reach)
    io, sizes = StoreIO(threads=usable_cores().amount), _sizes(source_voxel_size)
    with reporting(progress) as show:

        def told(tally: Tally) -> None:
            if show is not None:
                names = (field.name for field in fields(Progress))
                show(Progress(**{name: getattr(tally, name) for name in names}))

        return check_dataset(target, origin, io, sizes, full=full, tally=Tally(told))


def _location(path: PathLike | Image, storage_options: StorageOptions | None) -> str:
    return path.uri if isinstance(path, Image) else normalise(path, storage_options)
