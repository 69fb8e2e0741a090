"""Look at images: central slices or projections, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from chunkscale.api.defaults import (
    PICTURE_PERCENTILES,
    PICTURE_WIDTHS,
    PLANE_NAMES,
    PROJECTION_WORDS,
)
from chunkscale.api.overlays import Over, warn_unlabelled
from chunkscale.api.subjects import opened_together, subject_of
from chunkscale.errors import DestinationError, OptionError
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.parameters import PathLike, StorageOptions, VoxelSize
from chunkscale.pictures import drawing
from chunkscale.pictures.compose import composed
from chunkscale.pictures.look import Look
from chunkscale.sources.base import Source
from chunkscale.storage.stores import clear_write_errors, normalise, store_of
from chunkscale.text import count

if TYPE_CHECKING:
    from chunkscale.pictures.drawing import Figure


@dataclass(frozen=True, slots=True)
class Picture:
    """What `show` has drawn; a notebook shows it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Not one of ``pyplot``: nothing has to be closed.
    """

    figure: Figure

    def __repr__(self) -> str:
        width, height = (
            round(inches * self.figure.dpi) for inches in self.figure.get_size_inches()
        )
        return f"<Picture: {width} x {height} pixels>"

    def __str__(self) -> str:
        return repr(self)[len("<Picture: ") : -1]

    def save(
        self,
        path: PathLike,
        *,
        overwrite: bool = False,
        storage_options: StorageOptions | None = None,
    ) -> None:
        """Write the picture; the end of its name says as what.

        Parameters
        ----------
        path : str or path-like
            Ends with .png, .pdf or .svg. A local path, or a URL with s3, gs or az.
        overwrite : bool, default False
            Replace a file that is there.
        storage_options : mapping, optional
            See `open_image`.

        Raises
        ------
        DestinationError
            If a file is there.
        """
        kind, place = _output(path, overwrite, storage_options)
        content = drawing.encoded(self.figure, kind)
        with clear_write_errors(place):
            store_of(place).put(place, content)

    def _repr_png_(self) -> bytes:
        return drawing.encoded(self.figure, "png")


def show(
    source: PathLike | Source | ArrayLike,
    *others: PathLike | Source | ArrayLike,
    output: PathLike | None = None,
    overwrite: bool = False,
    projection: Literal["slice", "max", "mean"] = "slice",
    plane: Literal["all", "xy", "xz", "yz"] = "all",
    labels: bool | str | Sequence[Any] = False,
    channels: Indices | None = None,
    timepoint: int = 0,
    crop: Crop | None = None,
    percentiles: Sequence[float] | str = PICTURE_PERCENTILES,
    colormap: str | None = None,
    inset: bool = True,
    titles: Sequence[str] | None = None,
    width: int | None = None,
    source_voxel_size: VoxelSize | None = None,
    axes: str | None = None,
    source_unit: str | None = None,
    storage_options: StorageOptions | None = None,
) -> Picture:
    """Draw images side by side: planes through their centres, or projections.

    All panels have one scale and true proportions. An inset shows the same place of each image
    enlarged, where the first one has most contrast. Images of one data type have the same
    contrast, so that they can be compared. Pixels are means of the voxels that fall into them,
    read from the coarsest stored level that is fine enough for them; an image of any size is read
    block by block. Needs Matplotlib: ``pip install 'chunkscale[plot]'``.

    Parameters
    ----------
    source : str, path-like, Image or array
        What `open_image` and `resample` take.
    *others : str, path-like, Image or array
        Shown beside it: what was made of it, say, or its labels.
    output : str or path-like, optional
        Write the picture there: .png, .pdf or .svg.
    overwrite : bool, default False
        Replace a file that is there.
    projection : {"slice", "max", "mean"}, default "slice"
        Slices through the centre of `source`, or the maximum or the mean of all voxels that lie
        behind a pixel. Of label images a projection shows the first label along the line of sight.
    plane : {"all", "xy", "xz", "yz"}, default "all"
    labels : bool, str or sequence, default False
        Draw labels over the images: True for all that an image has, names (``"nuclei,cells"``),
        or label images (paths, or as `source`). They are outlined and tinted.
    channels : int, str, slice or sequence, optional
        Indices or names; default: those that the image's metadata do not switch off, the first
        six at most.
    timepoint : int, default 0
    crop : str, mapping or Box, optional
        Show this part of `source` and of the others, in voxels of each or in lengths; see
        `Image.select`.
    percentiles : sequence of float or str, default (1, 99.8)
        Of the pixels, that become black and full colour; the second one of those above the
        lowest value, so that empty ground does not count.
    colormap : str, optional
        Of Matplotlib, like ``"magma"``, for images of one channel. Default: the colour that the
        image gives to its channel, or white.
    inset : bool, default True
    titles : sequence of str, optional
        One for each image; default: their names.
    width : int, optional
        Of the picture, in pixels, at most. Default: 1200 for one image, 1600 for several.
    source_voxel_size, axes, source_unit : optional
        Of `source`, where it does not say them; see `open_image`.
    storage_options : mapping, optional
        See `open_image`.

    Returns
    -------
    Picture
        Its ``figure`` is one of Matplotlib; a notebook shows it.

    Raises
    ------
    OptionError
        If Matplotlib is missing, or an option makes no sense.
    DestinationError
        If `output` is there and shall not be replaced.
    """
    drawing.require()
    if output is not None:
        _output(output, overwrite, storage_options)
    wide = PICTURE_WIDTHS[bool(others)] if width is None else width
    look = _look(projection, plane, percentiles, colormap, inset, wide)
    said = {"source_voxel_size": source_voxel_size, "axes": axes, "source_unit": source_unit}
    opened = opened_together(source, others, said, storage_options)
    if titles is not None and len(titles) != len(opened):
        raise OptionError(
            f"titles has {count(len(titles), 'entry', '')} for {len(opened)} images; give one "
            "title for each"
        )
    over = Over(labels=labels, like=opened[0], axes=axes, reach=storage_options)
    chosen = channels, timepoint, crop
    subjects = [
        subject_of(found, None if titles is None else titles[i], chosen, over)
        for i, found in enumerate(opened)
    ]
    warn_unlabelled(over, opened, (subject.labels for subject in subjects))
    picture = Picture(drawing.drawn(composed(subjects, look)))
    if output is not None:
        picture.save(output, overwrite=overwrite, storage_options=storage_options)
    return picture


def _output(
    path: PathLike, overwrite: bool, storage_options: StorageOptions | None
) -> tuple[str, str]:
    """Return what a picture is written as and where, or refuse it."""
    kind = os.fspath(path).rpartition(".")[2].lower()
    if kind not in drawing.FORMATS:
        raise OptionError(
            f"the picture {os.fspath(path)!r} needs an ending that gives its format, one of "
            + ", ".join(f".{end}" for end in drawing.FORMATS)
        )
    place = normalise(path, storage_options)
    if not overwrite and store_of(place).get(place) is not None:
        raise DestinationError(
            f"the picture {place!r} exists; give overwrite=True (--overwrite) to replace it, or "
            "choose another name"
        )
    return kind, place


def _look(
    projection: str,
    plane: str,
    percentiles: Sequence[float] | str,
    colormap: str | None,
    inset: bool,
    width: int,
) -> Look:
    for name, value, known in (
        ("projection", projection, tuple(PROJECTION_WORDS)),
        ("plane", plane, PLANE_NAMES),
    ):
        if value not in known:
            raise OptionError(f"{name} {value!r} is unknown; use {', '.join(known)}")
    try:
        low, high = percentiles.split(",") if isinstance(percentiles, str) else percentiles
        shares = float(low), float(high)
        if not 0 <= shares[0] < shares[1] <= 100:
            raise ValueError
    except (ValueError, TypeError):
        raise OptionError(
            f"percentiles {percentiles!r} must be two increasing numbers from 0 to 100, like 1,99.8"
        ) from None
    if isinstance(width, bool) or not isinstance(width, int) or not 200 <= width <= 10000:
        raise OptionError(f"width {width!r} must be 200 to 10000 pixels")
    return Look(
        projection=projection,
        plane=plane,
        percentiles=shares,
        table=None if colormap is None else drawing.colour_table(colormap),
        inset=inset,
        width=width,
    )
