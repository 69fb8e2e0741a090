"""NIfTI files, read with nibabel: axes and positions are those of the world, RAS+."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import degrees
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import (
    AccessDeniedError,
    MetadataError,
    NotAnImageError,
    Notice,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.units import metres, ngff_unit
from chunkscale.sources.base import SourceOptions, units_of
from chunkscale.sources.file_image import FileImage, FileState, file_states
from chunkscale.sources.formats import belied, refuse_missing
from chunkscale.sources.nifti_said import attributes_of, left_behind, unsized
from chunkscale.sources.raw_voxels import RawVoxels
from chunkscale.text import human_bytes

_ENDS = (".nii", ".nii.gz", ".hdr", ".img")

_PACKED = (".gz", ".bz2", ".zst")

_SPACE = {"mm": "millimeter", "meter": "meter", "micron": "micrometer"}

_TIME = {"sec": "second", "msec": "millisecond", "usec": "microsecond"}

#: An axis is one of the world if the image leaves it by less than this share of a voxel.
_ASIDE = 0.01

#: An unpacked file that is larger is told of.
_MUCH = 2**28

_LABEL_INTENT = 1002

_ARRAY = (
    "to leave its orientation behind pass it as an array: {way}, with source_voxel_size {sizes}"
)


class NiftiFormat:
    """`chunkscale.sources.file_formats.FileFormat` for NIfTI-1 and NIfTI-2."""

    def takes(self, path: str) -> bool:
        """Whether a name is that of such a file."""
        return path.lower().endswith(_ENDS) and not os.path.isdir(path)

    def images(self, path: str) -> Mapping[str, str]:
        """Return the one image that a file holds."""
        return {"0": ""}

    def open(self, path: str, name: str | None, options: SourceOptions) -> FileImage:
        """Open the image."""
        if name is not None:
            raise SourceNotFoundError(
                f"{path!r} is a NIfTI file with one image; give that path, without {name!r}"
            )
        return _opened(path, options)


def _opened(path: str, options: SourceOptions) -> FileImage:
    refuse_missing(path, ".nii")
    for option, value in (("axes", options.axes), ("source_translation", options.translation)):
        if value is not None:
            raise OptionError(
                f"{option} {value!r} does not apply to NIfTI, which states it; leave it out"
            )
    image = _loaded(path)
    header = image.header
    voxels = image.file_map["image"].filename or path
    shape = tuple(map(int, header.get_data_shape()))
    _refuse_kinds(path, image, shape)
    files = sorted({f.filename for f in image.file_map.values() if f.filename} | {path})
    notices: list[Notice] = []
    three = (*shape[:3], 1)[:3]
    affine = _affine(path, image, three, notices)
    order = _order(path, affine, three)
    grid = _grid(image, shape, affine, order, options.unit, notices)
    given = {} if options.sizes is None else options.sizes(units_of(grid), grid.ndim)
    notices += unsized(path, image, three, order, given)
    stored = image.dataobj  # which alone knows where they lie: the header is for writing again
    scaling = float(stored.slope), float(stored.inter)
    array = RawVoxels(
        path=os.path.abspath(voxels),
        offset=int(stored.offset),
        stored=stored.dtype,
        extent=(*three, *shape[3:]),
        order=_places(grid, order),
        mirrored=tuple(
            axis.kind == "space" and bool(affine[i, order[i]] < 0)
            for axis, i in zip(grid.axes, _worlds(grid), strict=True)
        ),
        scaling=None if scaling == (1, 0) else scaling,
        packed=voxels.lower().endswith(_PACKED),
    )
    _refuse_short(array)
    array = replace(array, state=FileState.of(array.path))
    notices += [*_costs(array), *left_behind(image.header)]
    opened = FileImage(
        uri=path,
        format=type(image).__name__.replace("Image", "").replace("Pair", ""),
        grid=grid,
        array=array,
        files=file_states(files),
        name=_stem(path),
        attributes=attributes_of(image.header, grid),
        notices=tuple(notices),
        stated=grid.voxel_size,
        is_label=int(header["intent_code"]) == _LABEL_INTENT,
        codec="packed as a whole" if array.packed else "none",
        opened=options,
    )
    return opened if options.sizes is None else opened.with_sizes(options.sizes)


def _loaded(path: str) -> Any:
    """Return the image as nibabel has it, of which only the header is read."""
    import nibabel

    if os.path.exists(path) and not os.path.isfile(path):
        raise NotAnImageError(f"{path!r} is a pipe or a device; give the path of a file")
    try:
        with open(path, "rb"):  # nibabel says of one that may not be read that its type is unknown
            found = nibabel.load(path)
    except PermissionError as error:
        raise AccessDeniedError(f"{path!r} may not be read: {error}") from error
    except FileNotFoundError as error:
        raise SourceNotFoundError(
            f"there is no file at {path!r}, or its pair is missing"
        ) from error
    except Exception as error:  # whatever nibabel finds wrong with it
        text = f"{path!r} cannot be read as NIfTI: {error}"
        raise NotAnImageError("; ".join(filter(None, [text, belied(path)]))) from error
    kinds = (nibabel.Nifti1Pair, nibabel.Nifti2Pair)  # which the others are derived from
    if not isinstance(found, kinds) or isinstance(found, nibabel.Cifti2Image):
        kind = type(found).__name__
        raise NotAnImageError(
            f"{path!r} is a {kind} of nibabel, not a NIfTI image; convert it with nibabel: "
            "nibabel.save(nibabel.Nifti1Image.from_image(nibabel.load(path)), 'image.nii')"
        )
    return found


def _refuse_kinds(path: str, image: Any, shape: Sequence[int]) -> None:
    """Refuse what has no place in an image of NGFF."""
    stored = image.header.get_data_dtype()
    if stored.names:
        raise NotAnImageError(
            f"the voxels of {path!r} are colors ({''.join(stored.names)}), which are not read; "
            "pass the channels as an array, with source_voxel_size and axes='czyx': "
            "numpy.stack([data[c].T for c in data.dtype.names]) of "
            f"data = numpy.asarray(nibabel.load({path!r}).dataobj)"
        )
    if not 2 <= len(shape) <= 5 or 0 in shape:
        raise NotAnImageError(
            f"{path!r} has the shape {shape}; images with two to five axes are read: x, y, z, "
            "time and a vector"
        )
    if len(shape) > 3 and shape[3] > 1 and int(image.header["xyzt_units"]) & 0x38 > 24:
        raise NotAnImageError(
            f"the fourth axis of {path!r} is not time (its unit is that of a spectrum), which is "
            "not read; pass it as an array, with source_voxel_size and axes='czyx': "
            f"numpy.asarray(nibabel.load({path!r}).dataobj).T"
        )


def _refuse_short(array: RawVoxels) -> None:
    """Refuse files that end too early, and those that there is no room to unpack."""
    if not array.packed:
        if not os.path.isfile(array.path):
            raise SourceNotFoundError(
                f"the voxels of the header lie in {array.path!r}, which is missing"
            )
        there = os.path.getsize(array.path)
        if there < array.offset + array.nbytes:
            raise MetadataError(
                f"{array.path!r} has {there} bytes, and by its header {array.offset + array.nbytes}"
                " or more; restore it from the original"
            )
        return
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < array.nbytes:
        raise OptionError(
            f"{array.path!r} is compressed as a whole, so it is unpacked into {folder!r} "
            f"({human_bytes(array.nbytes)}), where {human_bytes(free)} are free; set TMPDIR to "
            f"another folder, or unpack it yourself and give that file ({_unpack(array.path)})"
        )


def _unpack(path: str) -> str:
    tool = {".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".zst": "unzstd"}
    return f"{tool[os.path.splitext(path)[1].lower()]} {os.path.basename(path)}"


def _costs(array: RawVoxels) -> list[Notice]:
    """Say what reading costs that nobody expects."""
    found = []
    if array.packed and array.nbytes > _MUCH:
        text = (
            f"{array.path!r} is compressed as a whole: each process that reads it unpacks it "
            f"into {tempfile.gettempdir()!r} ({human_bytes(array.nbytes)}); unpack it once to "
            f"save that ({_unpack(array.path)})"
        )
        found.append(Notice("disk", text))
    if array.scaling:
        slope, inter = array.scaling
        text = (
            f"its {array.stored.newbyteorder('=').name} voxels are scaled ({slope:.9g} * stored + "
            f"{inter:.9g}), so they are read as {array.dtype.name}"
        )
        found.append(Notice("scaled", text))
    return found


def _affine(
    path: str, image: Any, shape: Sequence[int], notices: list[Notice]
) -> NDArray[np.float64]:
    """Return where the voxels lie: nibabel's choice, or voxel sizes alone if the file says no more.

    Without a code nibabel centres the image and turns x around, which no file says.
    """
    sform, qform = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
    if sform is None and qform is None:
        zooms = [*image.header.get_zooms()[:3], 1.0][: len(shape)]
        return np.diag([*zooms, 1.0]).astype(np.float64)
    affine = np.asarray(image.header.get_best_affine(), np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-30:
        raise MetadataError(
            f"the affine of {path!r} is singular: {affine[:3].tolist()}; correct it with nibabel, "
            "or clear it (sform_code and qform_code 0)"
        )
    if sform is not None and qform is not None:
        corners = np.array([[0.0, 0.0, 0.0, 1.0], [*(n - 1.0 for n in shape), 1.0]])
        away = np.abs((sform - qform) @ corners.T).max()
        if away > _ASIDE * np.linalg.norm(affine[:3, :3], axis=0).min():
            text = (
                f"{path!r} has two positions (sform and qform), up to {away:.3g} apart; the "
                "sform is used, as in nibabel"
            )
            notices.append(Notice("metadata", text))
    return affine


def _order(path: str, affine: NDArray[np.float64], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the axis of the file that lies along each axis x, y, z of the world."""
    linear = affine[:3, :3]
    sizes = np.linalg.norm(linear, axis=0)
    along = np.abs(linear / sizes)
    order = tuple(int(i) for i in along.argmax(axis=1))
    aside = np.abs(linear).copy()
    aside[range(3), order] = 0.0
    away = (aside * (np.asarray(shape) - 1)).sum(axis=1).max()
    if sorted(order) != [0, 1, 2] or away > _ASIDE * sizes.min():
        angle = degrees(np.arccos(np.clip(along.max(axis=0), 0, 1)).max())
        raw = f"numpy.asarray(nibabel.load({path!r}).dataobj).T"
        raise MetadataError(
            f"the axes of {path!r} are rotated {angle:.3g} degrees, which a scale and a "
            f"translation cannot express (affine {np.round(linear, 6).tolist()}); "
            + _ARRAY.format(way=raw, sizes=",".join(f"{s:.6g}" for s in sizes[::-1]))
        )
    return order


def _grid(
    image: Any,
    shape: Sequence[int],
    affine: NDArray[np.float64],
    order: Sequence[int],
    unit: str | None,
    notices: list[Notice],
) -> VoxelGrid:
    """Return the grid: t, c, z, y, x as far as the file has them."""
    header = image.header
    space, time = _units(header, notices)
    unit = None if unit is None else ngff_unit(str(unit))
    if unit is not None and space is not None and metres(unit) != metres(space):
        raise OptionError(f"source_unit {unit!r} differs from the file's {space!r}; leave it out")
    extent, zooms = (*shape[:3], 1)[:3], (*header.get_zooms()[:3], 0.0)[:3]
    axes, sizes, origins, counts = [], [], [], []
    if len(shape) > 3 and shape[3] > 1:
        step = _decimal(header.get_zooms()[3])
        if not step > 0:
            notices.append(Notice("metadata", f"its time step is {step} and is left out"))
            step, time = Decimal(1), None
        axes.append(Axis(name="t", kind="time", unit=time))
        sizes.append(float(step))
        origins.append(float(_decimal(header["toffset"])))
        counts.append(shape[3])
    if len(shape) > 4 and shape[4] > 1:
        axes.append(Axis(name="c", kind="channel", unit=None))
        sizes.append(1.0)
        origins.append(0.0)
        counts.append(shape[4])
    for name, i in (("z", 2), ("y", 1), ("x", 0)):
        n = extent[order[i]]
        step, first = _step(affine[i, order[i]], zooms[order[i]]), _decimal(affine[i, 3])
        axes.append(Axis(name=name, kind="space", unit=space or unit))
        sizes.append(float(abs(step)))
        origins.append(float(first + min(step * (n - 1), Decimal(0))))
        counts.append(n)
    return VoxelGrid(
        axes=tuple(axes), shape=tuple(counts), voxel_size=tuple(sizes), translation=tuple(origins)
    )


def _worlds(grid: VoxelGrid) -> list[int]:
    """Return the axis of the world that each axis is; 0 for those of no space."""
    return [max("xyz".find(axis.name), 0) for axis in grid.axes]


def _places(grid: VoxelGrid, order: Sequence[int]) -> tuple[int, ...]:
    """Return the axis of the file that each axis of the grid is."""
    known = {"t": 3, "c": 4, **dict(zip("xyz", order, strict=True))}
    return tuple(known[axis.name] for axis in grid.axes)


def _decimal(value: Any) -> Decimal:
    """Return a number of 32 bits as it was meant: 0.2, not 0.20000000298."""
    return Decimal(str(np.float32(value)))


def _step(value: float, zoom: Any) -> Decimal:
    """Return an entry of an affine: the voxel size of the header where it is that one.

    A quaternion gives it with a rounding error.
    """
    near = zoom > 0 and abs(abs(value) - float(zoom)) <= 1e-5 * float(zoom)
    return _decimal(zoom).copy_sign(Decimal(value)) if near else _decimal(value)


def _units(header: Any, notices: list[Notice]) -> tuple[str | None, str | None]:
    try:
        space, time = header.get_xyzt_units()
    except KeyError:
        code = int(header["xyzt_units"])
        notices.append(Notice("metadata", f"its units (xyzt_units {code}) are not those of NIfTI"))
        return None, None
    return _SPACE.get(space), _TIME.get(time)


def _stem(path: str) -> str:
    name = os.path.basename(path)
    end = max((e for e in _ENDS if name.lower().endswith(e)), key=len)
    return name[: -len(end)]
