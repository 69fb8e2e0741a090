"""NGFF metadata in, geometry out.

A reader must take what the wild holds as long as its geometry is unambiguous,
so `describe` refuses structure that cannot be understood but keeps unusable
*numbers*; `grid_of` refuses those of spatial axes, unless the caller overrides
them. `chunkscale.ome.rules` says what was forgiven.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chunkscale.errors import MetadataError, NotAnImageError, Notice, OptionError
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
from chunkscale.ome.lost import leads_on, scene_paths
from chunkscale.ome.model import Collection, Dataset, Multiscale
from chunkscale.ome.transforms import Affine, is_usable, parse_affine, parse_intrinsic_affine
from chunkscale.ome.versions import minor_version, ngff_namespace, uses_systems, version_of


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
        without any transformations that can be understood opens too. Other axes
        without a usable size get 1.

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
    _refuse_flips(image, dataset, shape)
    return VoxelGrid(
        axes=image.axes,
        shape=tuple(int(n) for n in shape),
        voxel_size=_usable_voxel_size(image, dataset, given),
        translation=_usable_translation(image.axes, dataset, given),
    )


def coarser_grid(
    image: Multiscale,
    levels: tuple[int, int],
    finest: VoxelGrid,
    shape: Sequence[int],
    given: Mapping[str, float],
) -> VoxelGrid:
    """Return the grid of a smaller level, as the metadata have it, or as it was given.

    What the finest level was said to have counts for the others: as many times as they are coarser.

    Parameters
    ----------
    image : Multiscale
    levels : tuple of int
        Indices of the finest level and of the smaller one.
    finest : VoxelGrid
        Of the finest level.
    shape : sequence of int
        Of the smaller one.
    given : mapping of str to float
        Voxel sizes of the finest level, by axis, that replace those of the metadata.
    """
    unknown = (math.nan,) * finest.ndim
    fine, coarse = (image.datasets[k].voxel_size or unknown for k in levels)
    steps = {
        axis.name: b / a if a > 0 and math.isfinite(b / a) and b > 0 else float(round(n / m))
        # A level of other dimensions is refused below.
        for axis, a, b, n, m in zip(finest.axes, fine, coarse, finest.shape, shape, strict=False)
    }
    sizes = {name: size * steps.get(name, 1.0) for name, size in given.items()}
    grid = grid_of(image, levels[1], shape, sizes)
    origin = list(grid.translation)
    for i, axis in enumerate(grid.axes):
        if axis.name in given:
            shift = (steps[axis.name] - 1) / 2 * finest.voxel_size[i]
            origin[i] = finest.translation[i] + shift
    return grid.replace(translation=tuple(origin))


def _nothing_found(attributes: Mapping[str, Any], ngff: Mapping[str, Any]) -> str:
    ome = attributes.get("ome")
    seen = f"the group's attributes are {sorted(map(str, attributes)) or 'empty'}"
    if isinstance(ome, Mapping):
        seen += f" and 'ome' holds {sorted(map(str, ome)) or 'nothing'}"
    if "image-label" in ngff or (isinstance(ome, Mapping) and "image-label" in ome):
        seen += " ('image-label' alone is not enough)"
    return (
        f"no OME-Zarr image here: {seen}, without 'multiscales', 'plate', 'well', 'labels', "
        "'scene' or 'bioformats2raw.layout'; give the path of the group that has the multiscales "
        "metadata"
    )


def _multiscale(entry: dict[str, Any], version: str, *, is_label: bool) -> Multiscale:
    minor_version(version)
    axes = parse_axes(raw_axes(entry, version))
    datasets = raw_datasets(entry)
    if uses_systems(entry, version):
        # There the multiscales' own transformations lead on from the intrinsic
        # system, which is the one for processing, to further ones.
        common = parse_affine(None, axes, "")
        levels = [parse_intrinsic_affine(d, axes) for d in datasets]
    else:
        own = entry.get(TRANSFORMS)
        if further := leads_on(entry, version):
            own = [t for t in own or () if t not in further]
        common = parse_affine(own, axes, "the multiscales entry as a whole")
        levels = [parse_affine(d.get(TRANSFORMS), axes, f"dataset {d['path']!r}") for d in datasets]
    kind, name = entry.get("type"), entry.get("name")
    return Multiscale(
        version=version,
        name=name if isinstance(name, str) else None,
        axes=axes,
        datasets=tuple(
            _dataset(d["path"], own, common, len(axes))
            for d, own in zip(datasets, levels, strict=True)
        ),
        kind=kind if isinstance(kind, str) else None,
        is_label=is_label,
        raw=entry,
    )


def _dataset(path: str, own: Affine, common: Affine, count: int) -> Dataset:
    size, shift = own.scale or (), own.translation or (math.nan,) * count
    if common.faults:  # nothing tells what the dataset's own numbers stand for
        size, shift = (), (math.nan,) * count
    if common.scale is not None:
        size = tuple(a * b for a, b in zip(common.scale, size, strict=True)) if size else ()
        shift = tuple(a * b for a, b in zip(common.scale, shift, strict=True))
    if common.translation is not None and any(common.translation):
        shift = tuple(a + b for a, b in zip(shift, common.translation, strict=True))
    return Dataset(
        path=path,
        voxel_size=size,
        translation=shift,
        faults=(*own.faults, *common.faults),
        backwards=own.backwards or common.backwards,
    )


def _checked_override(given: Mapping[str, float], axes: tuple[Axis, ...]) -> dict[str, float]:
    for name, size in given.items():
        if name not in axis_names(axes):
            raise OptionError(
                f"a source voxel size was given for axis {name!r}, but the axes are "
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
    unknown = (math.nan,) * len(image.axes)
    stated = zip(image.axes, dataset.voxel_size or unknown, strict=True)
    sizes = {axis.name: given.get(axis.name, size) for axis, size in stated}
    for axis in image.axes:
        if axis.kind != "space" and not is_usable(sizes[axis.name]):
            sizes[axis.name] = 1.0  # nothing is resampled there; `number_notices` says so
    broken = {name: size for name, size in sizes.items() if not is_usable(size)}
    if not broken:
        return tuple(sizes.values())
    name, size = next(iter(broken.items()))
    if dataset.faults:
        what = "; ".join(dataset.faults)
    elif not dataset.voxel_size:
        what = (
            f"the voxel size of dataset {dataset.path!r} is missing: its version {image.version} "
            "metadata has no scale"
        )
    else:
        what = (
            f"the scale of dataset {dataset.path!r} along axis {name!r} is {size!r}, which is not "
            "a positive finite number"
        )
    raise MetadataError(f"{what}; {_remedy(list(broken))}")


def _usable_translation(
    axes: tuple[Axis, ...], dataset: Dataset, given: Mapping[str, float]
) -> tuple[float, ...]:
    result = []
    for axis, shift in zip(axes, dataset.translation, strict=True):
        if math.isfinite(shift):
            result.append(shift)
        elif axis.name in given or axis.kind != "space":
            result.append(0.0)  # what broke the scale, and was overridden, broke this too
        else:
            what = "; ".join(dataset.faults) or (
                f"the translation of dataset {dataset.path!r} along axis {axis.name!r} is "
                f"{shift!r}, which is not finite"
            )
            unknown = [
                a.name
                for a, t in zip(axes, dataset.translation, strict=True)
                if a.kind == "space" and not math.isfinite(t)
            ]
            raise MetadataError(f"{what}; {_remedy(unknown)} (the image then starts at 0)")
    return tuple(result)


def _refuse_flips(image: Multiscale, dataset: Dataset, shape: Sequence[int]) -> None:
    """Refuse an axis that runs backwards: any positive size would mirror the image."""
    for i, (axis, size) in enumerate(zip(image.axes, dataset.voxel_size, strict=False)):
        if axis.kind == "space" and math.isfinite(size) and size < 0:
            start = dataset.translation[i] + size * (shape[i] - 1)  # of the voxel that is last now
            raise MetadataError(
                f"the scale of dataset {dataset.path!r} along axis {axis.name!r} is {size!r}: "
                "the axis runs backwards, and images are not flipped; store the array reversed "
                f"along {axis.name!r}, with the scale {-size!r} and the translation {start!r}"
            )
    if dataset.backwards:
        raise MetadataError(
            f"{dataset.backwards}, and images are not flipped, whatever voxel size is given; "
            "store the array reversed along it, with a positive scale and the translation of the "
            "new first voxel"
        )


def number_notices(image: Multiscale, given: Mapping[str, float]) -> Iterator[Notice]:
    """Yield what `grid_of` forgives of numbers, and what stands in for them."""
    dataset = image.datasets[0]
    where = f"of dataset {dataset.path!r} along axis"
    for fault in dataset.faults:
        yield Notice("metadata", f"{fault}; the given voxel size is used")
    for axis, shift in zip(image.axes, dataset.translation, strict=True):
        if not math.isfinite(shift):
            text = (
                f"the translation {where} {axis.name!r} is {shift!r}; the image starts at 0 there"
            )
            yield Notice("metadata", text)
    for i, axis in enumerate(image.axes):
        if axis.kind == "space" or axis.name in given:
            continue
        sized = [d for d in image.datasets if d.voxel_size and not is_usable(d.voxel_size[i])]
        if sized:
            text = (
                f"the scale of dataset {', '.join(repr(d.path) for d in sized)} along axis "
                f"{axis.name!r} is {sized[0].voxel_size[i]!r}, which is not a positive finite "
                "number; that axis is not resampled, so 1 is used"
            )
            yield Notice("metadata", text)


def _remedy(names: Sequence[str]) -> str:
    sizes = ", ".join(f"{name!r}: ..." for name in names)
    typed = ",".join(f"{name}=..." for name in names)
    return (
        f"correct the metadata, or give source_voxel_size={{{sizes}}} (--source-voxel-size {typed})"
    )


def _collection(key: str, ngff: Mapping[str, Any]) -> Collection:
    value = ngff[key]
    if key in ("plate", "well"):
        inner = "wells" if key == "plate" else "images"
        items = value.get(inner) if isinstance(value, Mapping) else None
        paths = [i.get("path") if isinstance(i, Mapping) else None for i in or_empty(items)]
        valid = is_list(items)
        what = f"'{inner}' of '{key}'"
    elif key == "scene":
        # Images are where its transformations lead from or to; nothing else lists them.
        listed = value.get(TRANSFORMS) if isinstance(value, Mapping) else None
        paths, valid = list(dict.fromkeys(scene_paths(listed))), is_list(listed)
        what = f"'{TRANSFORMS}' of 'scene'"
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
