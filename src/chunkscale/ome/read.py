"""NGFF metadata in, geometry out.

A reader must take what the wild holds as long as its geometry is unambiguous,
so `describe` refuses structure that cannot be understood but keeps unusable
*numbers*; `grid_of` refuses those, unless the caller overrides them.
`chunkscale.ome.rules.validate` is the strict one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chunkscale.errors import MetadataError, NotAnImageError, OptionError
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.ome.axes import parse_axes, raw_axes
from chunkscale.ome.entries import (
    COLLECTIONS,
    TRANSFORMS,
    axis_names,
    is_list,
    only_entry,
    or_empty,
    raw_datasets,
    refuse_outside,
    short,
)
from chunkscale.ome.model import Collection, Dataset, Multiscale
from chunkscale.ome.transforms import Affine, is_usable, parse_affine, parse_intrinsic_affine
from chunkscale.ome.versions import minor_version, ngff_namespace, version_of


def describe(attributes: Mapping[str, Any]) -> Multiscale | Collection:
    """Say what the attributes of a Zarr group describe.

    Parameters
    ----------
    attributes : mapping
        All attributes of the group (for Zarr 3 the content of "attributes").

    Raises
    ------
    NotAnImageError
        If there is no NGFF image and no collection of images.
    MultipleImagesError
        If there are several multiscales entries, which no path tells apart.
    MetadataError
        If the metadata cannot be understood.

    Examples
    --------
    >>> scale = [{"type": "scale", "scale": [0.5, 0.25]}]
    >>> image = describe({"multiscales": [{
    ...     "version": "0.4",
    ...     "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
    ...     "datasets": [{"path": "0", "coordinateTransformations": scale}],
    ... }]})
    >>> image.datasets[0].voxel_size
    (0.5, 0.25)
    """
    ngff = ngff_namespace(attributes)
    if "multiscales" in ngff:
        entry = only_entry(ngff["multiscales"])
        version = version_of(attributes, entry)
        return _multiscale(entry, version, is_label="image-label" in ngff)
    for key in COLLECTIONS:
        if key in ngff:
            return _collection(key, ngff)
    raise NotAnImageError(_nothing_found(attributes, ngff))


def grid_of(
    image: Multiscale,
    level: int,
    shape: Sequence[int],
    source_voxel_size: Mapping[str, float] | None = None,
) -> VoxelGrid:
    """Return the checked voxel grid of one level.

    Parameters
    ----------
    image : Multiscale
    level : int
        Index into ``image.datasets``.
    shape : sequence of int
        Of the stored array.
    source_voxel_size : mapping of str to float, optional
        Voxel sizes by axis name, in the unit of the axis, that replace what the
        metadata says of this level. With all spatial axes given, an image
        without any transformations opens too; its other axes then get 1.

    Raises
    ------
    MetadataError
        If the numbers of the metadata are missing or unusable.
    OptionError
        If `level` or `source_voxel_size` makes no sense for this image.
    """
    if not 0 <= level < len(image.datasets):
        raise OptionError(
            f"there is no level {level}: the image has {len(image.datasets)} "
            f"({', '.join(repr(d.path) for d in image.datasets)})"
        )
    dataset = image.datasets[level]
    if len(shape) != len(image.axes):
        raise MetadataError(
            f"array {dataset.path!r} has {len(shape)} dimensions, {tuple(shape)}, but its metadata "
            f"lists {len(image.axes)} axes, {axis_names(image.axes)}; correct the axes"
        )
    given = _checked_override(source_voxel_size or {}, image.axes)
    return VoxelGrid(
        axes=image.axes,
        shape=tuple(int(n) for n in shape),
        voxel_size=_usable_voxel_size(image, dataset, given),
        translation=_usable_translation(image.axes, dataset, given),
    )


def _nothing_found(attributes: Mapping[str, Any], ngff: Mapping[str, Any]) -> str:
    ome = attributes.get("ome")
    seen = f"the group's attributes are {sorted(map(str, attributes)) or 'empty'}"
    if isinstance(ome, Mapping):
        seen += f" and 'ome' holds {sorted(map(str, ome)) or 'nothing'}"
    if "image-label" in ngff or (isinstance(ome, Mapping) and "image-label" in ome):
        seen += " ('image-label' alone is not enough)"
    return (
        f"no OME-NGFF image here: {seen}, and none of them is 'multiscales', 'plate', 'well', "
        "'labels' or 'bioformats2raw.layout'; give the path of the group that holds the "
        "multiscales metadata"
    )


def _multiscale(entry: dict[str, Any], version: str, *, is_label: bool) -> Multiscale:
    minor_version(version)
    axes = parse_axes(raw_axes(entry, version))
    datasets = raw_datasets(entry)
    if "coordinateSystems" in entry:
        # There the multiscales' own transformations lead on from the intrinsic
        # system, which is the one for processing, to further ones.
        common = parse_affine(None, axes, "")
        levels = [parse_intrinsic_affine(d, axes) for d in datasets]
    else:
        common = parse_affine(entry.get(TRANSFORMS), axes, "the multiscales entry as a whole")
        levels = [parse_affine(d.get(TRANSFORMS), axes, f"dataset {d['path']!r}") for d in datasets]
    kind, name = entry.get("type"), entry.get("name")
    return Multiscale(
        version=version,
        name=name if isinstance(name, str) else None,
        axes=axes,
        datasets=tuple(
            _dataset(d["path"], own, common) for d, own in zip(datasets, levels, strict=True)
        ),
        kind=kind if isinstance(kind, str) else None,
        is_label=is_label,
        raw=entry,
    )


def _dataset(path: str, own: Affine, common: Affine) -> Dataset:
    size, shift = own.scale or (), own.translation
    if common.scale is not None:
        size = tuple(a * b for a, b in zip(common.scale, size, strict=True)) if size else ()
        shift = tuple(a * b for a, b in zip(common.scale, shift, strict=True))
    if any(common.translation):
        shift = tuple(a + b for a, b in zip(shift, common.translation, strict=True))
    return Dataset(path=path, voxel_size=size, translation=shift)


def _checked_override(given: Mapping[str, float], axes: tuple[Axis, ...]) -> dict[str, float]:
    for name, size in given.items():
        if name not in axis_names(axes):
            raise OptionError(
                f"a source voxel size is given for axis {name!r}, but the axes are "
                f"{axis_names(axes)}"
            )
        if not is_usable(size):
            raise OptionError(
                f"the source voxel size {size!r} given for axis {name!r} is not a positive finite "
                "number"
            )
    return {name: float(size) for name, size in given.items()}


def _usable_voxel_size(
    image: Multiscale, dataset: Dataset, given: Mapping[str, float]
) -> tuple[float, ...]:
    stated: Sequence[float | None] = dataset.voxel_size or [
        None if axis.kind == "space" else 1.0 for axis in image.axes
    ]
    sizes = [given.get(a.name, size) for a, size in zip(image.axes, stated, strict=True)]
    missing = [a.name for a, size in zip(image.axes, sizes, strict=True) if size is None]
    if missing:
        raise MetadataError(
            f"the voxel size of dataset {dataset.path!r} is missing: its version {image.version} "
            f"metadata has no scale; {_remedy(missing)}"
        )
    for axis, size in zip(image.axes, sizes, strict=True):
        if size is not None and not is_usable(size):
            raise MetadataError(
                f"the scale of dataset {dataset.path!r} along axis {axis.name!r} is {size!r}, "
                f"which is not a positive finite number; {_remedy([axis.name])}"
            )
    return tuple(size for size in sizes if size is not None)


def _usable_translation(
    axes: tuple[Axis, ...], dataset: Dataset, given: Mapping[str, float]
) -> tuple[float, ...]:
    result = []
    for axis, shift in zip(axes, dataset.translation, strict=True):
        if math.isfinite(shift):
            result.append(shift)
        elif axis.name in given:
            result.append(0.0)  # what broke the scale, and was overridden, broke this too
        else:
            raise MetadataError(
                f"the translation of dataset {dataset.path!r} along axis {axis.name!r} is "
                f"{shift!r}, which is not finite; correct the metadata, or give the source voxel "
                "size of that axis (the image then starts at 0)"
            )
    return tuple(result)


def _remedy(names: Sequence[str]) -> str:
    sizes = ", ".join(f"{name!r}: ..." for name in names)
    return f"correct the metadata, or give source_voxel_size={{{sizes}}} (--source-voxel-size)"


def _collection(key: str, ngff: Mapping[str, Any]) -> Collection:
    value = ngff[key]
    if key in ("plate", "well"):
        inner = "wells" if key == "plate" else "images"
        items = value.get(inner) if isinstance(value, Mapping) else None
        paths = [i.get("path") if isinstance(i, Mapping) else None for i in or_empty(items)]
        valid = is_list(items)
        what = f"'{inner}' of '{key}'"
    elif key == "bioformats2raw.layout":
        paths, valid, what = [], True, key
    else:
        paths, valid, what = list(or_empty(value)), is_list(value), f"'{key}'"
    if not valid or not all(isinstance(path, str) and path for path in paths):
        raise MetadataError(f"{what} is {short(value)}; it must list paths")
    listed = tuple(str(path) for path in paths)
    for path in listed:
        refuse_outside(path, what)
    return Collection(
        kind="bioformats2raw" if key == "bioformats2raw.layout" else key,
        paths=listed,
    )
