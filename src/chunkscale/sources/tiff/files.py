"""Opening TIFF files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from chunkscale.errors import (
    GridError,
    MetadataError,
    Notice,
    OptionError,
    SourceNotFoundError,
    UnstatedError,
)
from chunkscale.geometry.grid import Axis, VoxelGrid, refuse_far
from chunkscale.geometry.units import in_one_unit, ngff_unit, symbol
from chunkscale.ome.display import with_windows
from chunkscale.sources.base import SourceOptions
from chunkscale.sources.file_image import FileImage, FileState, file_states, given_sizes
from chunkscale.sources.several import several_images
from chunkscale.sources.tiff.axes import AxisOrder, StoredAxes, axis_names, axis_order
from chunkscale.sources.tiff.imagej import imagej_said
from chunkscale.sources.tiff.library import opened, page_table, stored_axes
from chunkscale.sources.tiff.ome import ome_image, ome_images, ome_said
from chunkscale.sources.tiff.pages import hole_notices, page_notices
from chunkscale.sources.tiff.planes import Planes, find_planes
from chunkscale.sources.tiff.said import Said
from chunkscale.sources.tiff.table import PageTable
from chunkscale.sources.tiff.vendors import vendor_said
from chunkscale.sources.tiff.voxels import Opened, TiffVoxels, chunk_shape, stamp_of
from chunkscale.text import times

ENDS = (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".svs", ".ndpi", ".scn")

#: Photometric interpretations of colour pictures: RGB, and what is decoded to it.
_COLORED = (2, 6)

_KINDS = {"ome": "OME-TIFF", "imagej": "ImageJ TIFF"}


class TiffFiles:
    """TIFF files, and folders and patterns of planes; see `FileFormat`."""

    def takes(self, path: str) -> bool:
        """Whether it is a TIFF file by its name, or planes in files."""
        if os.path.isfile(path):
            return path.lower().endswith(ENDS)
        return find_planes(path, ENDS) is not None

    def images(self, path: str) -> Mapping[str, str]:
        """Return the numbers of the series in a file, and their names."""
        if not os.path.isfile(path):
            return {"0": ""}
        return dict(_titles(FileState.of(path)))

    def open(self, path: str, name: str | None, options: SourceOptions) -> FileImage:
        """Open a series of a file, or planes in files."""
        if options.translation is not None:
            raise OptionError(
                f"source_translation {tuple(options.translation)!r} is for arrays; leave it out"
            )
        if os.path.isfile(path):
            return _open_series(path, name, options)
        planes = find_planes(path, ENDS)
        if planes is None:
            raise SourceNotFoundError(f"{path!r} has no TIFF files; give another path")
        return _open_planes(path, planes, options)


@lru_cache(maxsize=32)
def _titles(state: FileState) -> tuple[tuple[str, str], ...]:
    with opened(state.path) as (tif, _):
        return _titles_of(tif)


def _titles_of(tif: Any) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(i), f"{series.name}: {times(series.shape)} {series.dtype}".lstrip(": "))
        for i, series in enumerate(tif.series)
    )


def _index(path: str, name: str | None, tif: Any) -> int:
    count = len(tif.series)
    if name is None and count > 1:
        titles = dict(_titles_of(tif))
        raise several_images(path, "file", list(titles), titles)
    if name is not None and (not name.isdecimal() or int(name) >= count):
        raise SourceNotFoundError(
            f"{path!r} has no image {name!r}; it has {count}, called 0 to {count - 1}"
        )
    return int(name or 0)


def _open_series(path: str, name: str | None, options: SourceOptions) -> FileImage:
    state = FileState.of(path)
    with opened(path) as (tif, warnings):
        index = _index(path, name, tif)
        series = tif.series[index]
        stored = stored_axes(path, series)
        table = page_table(path, series, int(np.prod(stored.counts, dtype=np.int64)))
        said = _said(tif, index, stored)
        notices = [*said.notices, *page_notices(series.keyframe), *hole_notices(table)]
        notices += [Notice("metadata", text) for text in dict.fromkeys(warnings)]
    states = (state, *file_states(table.files[1:]))
    uri = path if name is None else os.path.join(path, name)
    kind = _KINDS.get(series.kind, "TIFF")
    return _image(
        uri,
        kind,
        stored,
        replace(said, notices=tuple(notices)),
        Opened(table=table, states=states),
        partial(reopen_series, path, index),
        options,
    )


def reopen_series(path: str, index: int) -> Opened:
    """Open a series in another process."""
    state = FileState.of(path)
    with opened(path) as (tif, _):
        series = tif.series[index]
        stored = stored_axes(path, series)
        table = page_table(path, series, int(np.prod(stored.counts, dtype=np.int64)))
    return Opened(table=table, states=(state, *file_states(table.files[1:])))


def _open_planes(path: str, planes: Planes, options: SourceOptions) -> FileImage:
    axes = planes.axis_notices(options.axes)
    found, shown = planes.looked_at()
    page = found.table.shape
    stored = StoredAxes(leading=planes.letters, counts=planes.counts, page=page)
    said = Said(name=planes.name, notices=(*axes, *shown))
    return _image(path, "TIFF planes", stored, said, found, planes.opened, options)


def _said(tif: Any, index: int, stored: StoredAxes) -> Said:
    series = tif.series[index]
    if series.kind == "ome" and tif.ome_metadata:
        found = ome_image(ome_images(tif.ome_metadata), tif.series, index)
        if found is not None:
            is_rgb = int(series.keyframe.photometric) in _COLORED and stored.samples in (3, 4)
            return ome_said(found, is_rgb)
        text = "OME-XML does not say which of its images this is, so it is not used"
        return Said(name=series.name or None, notices=(Notice("metadata", text),))
    if series.kind == "imagej" and tif.imagej_metadata:
        letters = dict(zip(stored.letters, stored.shape, strict=True))
        channels = letters.get("C", 1) * letters.get("S", 1)
        return imagej_said(tif.imagej_metadata, series.keyframe, channels, letters.get("Z", 1))
    return vendor_said(tif, index) or Said(name=series.name or None)


def _image(
    uri: str,
    kind: str,
    stored: StoredAxes,
    said: Said,
    found: Opened,
    load: Any,
    options: SourceOptions,
) -> FileImage:
    table = found.table
    names = axis_names(stored, options.axes, uri)
    order = axis_order(stored, names)
    _check_codec(table)
    grid, is_stated = _grid(uri, order, said, options)
    attributes, more = with_windows(said.attributes, table.dtype.newbyteorder("="))
    notices = [*_still_true(said, grid), *more, *_unused(said, order)]
    if stored.samples > 1:
        text = f"its {stored.samples} samples per pixel are read as channels"
        notices.append(Notice("samples", text))
    array = TiffVoxels(
        order,
        chunk_shape(table, order),
        table.dtype.newbyteorder("="),
        stamp_of(found.states),
        load,
        options.io,
        found,
    )
    return FileImage(
        uri=uri,
        format=kind,
        grid=grid,
        array=array,
        files=found.states,
        name=said.name,
        attributes=attributes,
        notices=tuple(notices),
        stated=tuple(said.sizes.get(name, 1.0) for name in order.names) if is_stated else None,
        codec=table.codec,
        opened=options,
    )


def _unused(said: Said, order: AxisOrder) -> list[Notice]:
    """Say what is known of axes that the image has not, because it has one plane or time point."""
    found = []
    for name in sorted((set(said.sizes) | set(said.translation)) - set(order.names)):
        unit = f" {symbol(said.units[name])}" if name in said.units else ""
        stated = {"step": said.sizes.get(name), "position": said.translation.get(name)}
        texts = [f"{what} {n:g}{unit}" for what, n in stated.items() if n is not None]
        text = f"the image has no axis {name}, so what the file says of it is left out"
        found.append(Notice("lost", f"{text}: {', '.join(texts)}"))
    return found


def _check_codec(table: PageTable) -> None:
    """Decode the first strip or tile, so that a codec which is not there is told now."""
    if table.is_raw:
        return
    page, index = (int(i) for i in np.argwhere((table.offsets > 0) & (table.counts > 0))[0])
    with open(table.files[table.file[page]], "rb") as file:
        file.seek(int(table.offsets[page, index]))
        data = file.read(int(table.counts[page, index]))
    try:
        table.decoded(page, index, data)
    except OSError as error:
        cause = error.__cause__
        if "imagecodecs" not in f"{cause}" and not isinstance(cause, ImportError):
            raise
        raise MetadataError(
            f"{table.page_text(page)} is compressed with {table.codec}, which needs the package "
            "imagecodecs: pip install imagecodecs (or 'chunkscale[tiff]')"
        ) from error


def _still_true(said: Said, grid: VoxelGrid) -> list[Notice]:
    """Return what is to be told of a file, without the guess of a size that was given."""
    sizes = {axis.name: size for axis, size in zip(grid.axes, grid.voxel_size, strict=True)}
    is_guess = sizes.get("z") == said.sizes.get("z")
    return [notice for notice in said.notices if notice.kind != "spacing" or is_guess]


def _grid(uri: str, order: AxisOrder, said: Said, options: SourceOptions) -> tuple[VoxelGrid, bool]:
    """Return the grid, and whether the file says all voxel sizes."""
    spatial = [name for name in order.names if name in "zyx"]
    # Sizes that are given are in the unit of the file, whichever axis it is told of.
    common = next((said.units[name] for name in reversed(spatial) if name in said.units), None)
    unit = ngff_unit(options.unit) if isinstance(options.unit, str) else None
    known = {name: unit or said.units.get(name, common) for name in spatial}
    given = given_sizes(uri, known, len(order.names), options.sizes)
    missing = [name for name in spatial if name not in given and name not in said.sizes]
    if missing:
        unit = f", in {common}" if common else ""
        # Next to numbers that have no unit one alone cannot have it.
        example = ",".join(f"{n}=1" + "um" * (missing == spatial and not unit) for n in missing)
        who = f" is {said.origin} and" if said.origin else ""
        raise UnstatedError(
            f"{uri!r}{who} does not say how large its voxels are along {', '.join(missing)}; give "
            f"source_voxel_size={example!r} (--source-voxel-size {example}) with their sizes{unit}",
            sizes=tuple(missing),
        )
    sizes = {**said.sizes, **given}
    units: dict[str, str | None] = {**said.units}
    if options.unit is not None:
        if not (isinstance(options.unit, str) and options.unit):
            raise OptionError(
                f"source_unit {options.unit!r} is not a unit; give one like 'micrometer'"
            )
        for name in spatial:
            stated = said.units.get(name)
            if name not in given and stated not in (None, ngff_unit(options.unit)):
                raise OptionError(
                    f"source_unit {options.unit!r} is given, and {uri!r} says {said.sizes[name]:g} "
                    f"{stated} along {name}; leave it out, or give all sizes in your unit with "
                    "source_voxel_size (--source-voxel-size)"
                )
        units |= dict.fromkeys(spatial, ngff_unit(options.unit))
    elif given:
        units |= {name: known[name] for name in given}
    kinds = {"t": "time", "c": "channel"}
    try:
        grid = VoxelGrid(
            axes=tuple(
                Axis(
                    name=name,
                    kind=kinds.get(name, "space"),
                    unit=None if name == "c" else units.get(name),
                )
                for name in order.names
            ),
            shape=order.shape,
            voxel_size=tuple(float(sizes.get(name, 1.0)) for name in order.names),
            translation=tuple(_position(said, name, units.get(name)) for name in order.names),
        )
        refuse_far(grid)
    except GridError as error:
        raise GridError(f"{uri!r}: {error}") from error
    return grid, all(name in said.sizes for name in spatial)


def _position(said: Said, name: str, unit: str | None) -> float:
    """Return where a file says that it lies, in the unit that an axis has."""
    stated = float(said.translation.get(name, 0.0))
    return in_one_unit([0.0, stated], [unit, said.units.get(name)])[1]
