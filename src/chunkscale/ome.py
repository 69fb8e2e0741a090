"""OME-NGFF metadata: attribute dictionaries in, geometry out, and back.

Read: 0.1 to 0.5, and 0.6 as far as it says the same (scale and translation).
Written: 0.4 and 0.5. No files here: the attributes of a Zarr group come and go
as plain dictionaries.

A reader must take what the wild holds as long as its geometry is unambiguous,
so `describe` refuses structure that cannot be understood but keeps unusable
*numbers*; `grid_of` refuses those, unless the caller overrides them.
`validate` is the strict one.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from chunkscale.errors import (
    GridError,
    MetadataError,
    MultipleImagesError,
    NotAnImageError,
    OptionError,
)
from chunkscale.grid import Axis, VoxelGrid

__all__ = [
    "WRITABLE_VERSIONS",
    "Collection",
    "Dataset",
    "Multiscale",
    "axis_entries",
    "complete_attributes",
    "dataset_entries",
    "describe",
    "downscaling_metadata",
    "grid_of",
    "multiscale_attributes",
    "validate",
]

#: NGFF versions that `multiscale_attributes` composes.
WRITABLE_VERSIONS = ("0.4", "0.5")

_NEWEST_MINOR = 6
_VERSION = re.compile(r"0\.(\d)(?!\d)")
_KIND_BY_NAME = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_RANK = {"time": 0, "space": 2}  # channel and custom types: 1, see `_rank`
_TRANSFORMS = "coordinateTransformations"
_COLLECTIONS = ("plate", "well", "labels", "bioformats2raw.layout", "series")
_DISPLAY = ("omero", "image-label")

#: Keys of a multiscales entry that say where voxels are.
_GEOMETRY = ("axes", "datasets", "coordinateTransformations", "coordinateSystems")
#: What xarray, N5 and BigDataViewer writers leave beside the NGFF keys.
_FOREIGN_GEOMETRY = ("_ARRAY_DIMENSIONS", "pixelResolution", "downsamplingFactors")
#: Group attributes that hold for the source and not for an image made from it.
_STALE = frozenset(
    ("multiscales", "scene", "ome", *_COLLECTIONS, *_DISPLAY, *_GEOMETRY, *_FOREIGN_GEOMETRY)
)
#: Keys of a multiscales entry that are composed anew.
_ENTRY_KEYS = frozenset(("version", "name", "type", "metadata", *_GEOMETRY))
_AXIS_KEYS = frozenset(("name", "type", "unit"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One resolution level, with all transformations composed.

    Parameters
    ----------
    path : str
        Path of the array inside the image's group.
    voxel_size : tuple of float
        As the metadata has it, unchecked. Empty if the metadata has none.
    translation : tuple of float
        Position of the centre of voxel 0; zeros if the metadata has none.
    """

    path: str
    voxel_size: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiscale:
    """A multiscale image as its metadata describes it.

    Parameters
    ----------
    version : str
        NGFF version as spelled, or the one that the shape of the metadata implies.
    name : str or None
    axes : tuple of Axis
    datasets : tuple of Dataset
        Largest first.
    kind : str or None
        The NGFF "type": how the smaller levels were made.
    is_label : bool
        Whether the group says "image-label".
    raw : dict
        The multiscales entry as it is (not compared).
    """

    version: str
    name: str | None = None
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    kind: str | None = None
    is_label: bool = False
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A group that lists images, or groups of images, instead of being one.

    Parameters
    ----------
    kind : str
        ``"plate"``: `paths` are wells. ``"well"``: fields of view. ``"labels"``:
        label images. ``"bioformats2raw"``: `paths` is empty, because the images
        are listed in the ``OME`` subgroup, or else are called 0, 1, 2 and so on.
        ``"series"``: such an ``OME`` subgroup; `paths` start at its parent.
    paths : tuple of str
        Relative to the group, in the order of the metadata.
    """

    kind: str
    paths: tuple[str, ...]


class _Affine(NamedTuple):
    """A scale (None where there is none) and the translation after it."""

    scale: tuple[float, ...] | None
    translation: tuple[float, ...]


# --- reading -----------------------------------------------------------------


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
    ngff = _namespace(attributes)
    if "multiscales" in ngff:
        entry = _only(ngff["multiscales"])
        version = _version_of(attributes, entry)
        return _multiscale(entry, version, is_label="image-label" in ngff)
    for key in _COLLECTIONS:
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
            f"lists {len(image.axes)} axes, {_names(image.axes)}; correct the axes"
        )
    given = _checked_override(source_voxel_size or {}, image.axes)
    return VoxelGrid(
        axes=image.axes,
        shape=tuple(int(n) for n in shape),
        voxel_size=_usable_voxel_size(image, dataset, given),
        translation=_usable_translation(image.axes, dataset, given),
    )


def _namespace(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping that holds the NGFF keys: the "ome" one, or all attributes."""
    ome = attributes.get("ome")
    if isinstance(ome, Mapping) and any(k in ome for k in ("multiscales", *_COLLECTIONS)):
        return ome
    return attributes


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


def _only(entries: object) -> dict[str, Any]:
    """Return the one multiscales entry."""
    if not _is_list(entries) or not entries or not all(isinstance(e, Mapping) for e in entries):
        raise MetadataError(
            f"'multiscales' is {_short(entries)}; it must be a list of at least one object"
        )
    if len(entries) > 1:
        names = [entry.get("name") for entry in entries]
        raise MultipleImagesError(
            f"the group holds {len(entries)} multiscale images, named {_short(names)}; give each a "
            "group of its own",
            (),
        )
    return dict(entries[0])


def _version_of(attributes: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    ngff = _namespace(attributes)
    nested = ngff is not attributes
    stated = [entry.get("version"), ngff.get("version")]
    if nested:
        stated.reverse()
    elif not _VERSION.match(str(stated[1])):
        stated.pop()  # somebody's own attribute of that name
    for value in stated:
        if value is not None:
            return str(value)
    if "coordinateSystems" in entry:
        return "0.6"
    if nested:
        return "0.5"
    axes = entry.get("axes")
    if axes is None:
        return "0.2"
    return "0.3" if _is_list(axes) and all(isinstance(a, str) for a in axes) else "0.4"


def _minor(version: str) -> int:
    match = _VERSION.match(version)
    if match is None or not 1 <= int(match[1]) <= _NEWEST_MINOR:
        raise MetadataError(
            f"OME-NGFF version {version!r} is not known here (0.1 to 0.{_NEWEST_MINOR} are); "
            "convert the metadata to 0.4 or 0.5"
        )
    return int(match[1])


def _multiscale(entry: dict[str, Any], version: str, *, is_label: bool) -> Multiscale:
    _minor(version)
    axes = _parse_axes(_raw_axes(entry, version))
    datasets = _raw_datasets(entry)
    if "coordinateSystems" in entry:
        # There the multiscales' own transformations lead on from the intrinsic
        # system, which is the one for processing, to further ones.
        common = _affine(None, axes, "")
        levels = [_intrinsic_affine(d, axes) for d in datasets]
    else:
        common = _affine(entry.get(_TRANSFORMS), axes, "the multiscales entry as a whole")
        levels = [_affine(d.get(_TRANSFORMS), axes, f"dataset {d['path']!r}") for d in datasets]
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


def _dataset(path: str, own: _Affine, common: _Affine) -> Dataset:
    size, shift = own.scale or (), own.translation
    if common.scale is not None:
        size = tuple(a * b for a, b in zip(common.scale, size, strict=True)) if size else ()
        shift = tuple(a * b for a, b in zip(common.scale, shift, strict=True))
    if any(common.translation):
        shift = tuple(a + b for a, b in zip(shift, common.translation, strict=True))
    return Dataset(path=path, voxel_size=size, translation=shift)


def _raw_datasets(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    datasets = entry.get("datasets")
    if not _is_list(datasets) or not datasets:
        raise MetadataError(
            f"'datasets' of the multiscales entry is {_short(datasets)}; it must be a list of at "
            "least one object with a 'path'"
        )
    for i, dataset in enumerate(datasets):
        path = dataset.get("path") if isinstance(dataset, Mapping) else None
        if not isinstance(path, str) or not path:
            raise MetadataError(
                f"dataset number {i} is {_short(dataset)}; it must be an object whose 'path' names "
                "an array inside the group"
            )
    return list(datasets)


# --- axes --------------------------------------------------------------------


def _raw_axes(entry: Mapping[str, Any], version: str) -> list[Any]:
    """Return the axes as spelled."""
    if "coordinateSystems" in entry:
        return _intrinsic_axes(entry)
    axes = entry.get("axes")
    if axes is None and _minor(version) <= 2:
        return list("tczyx")  # those versions know nothing else
    if not _is_list(axes):
        raise MetadataError(
            f"'axes' of the multiscales entry is {_short(axes)}; version {version} needs a list "
            "with one object per dimension of the arrays"
        )
    return list(axes)


def _intrinsic_axes(entry: Mapping[str, Any]) -> list[Any]:
    """Return the axes of the one coordinate system that all datasets lead to (0.6)."""
    systems = entry["coordinateSystems"]
    if not _is_list(systems) or not all(isinstance(s, Mapping) for s in systems) or not systems:
        raise MetadataError(
            f"'coordinateSystems' is {_short(systems)}; it must be a list of objects"
        )
    by_name = {s["name"]: s for s in systems if isinstance(s.get("name"), str)}
    outputs = set()
    for dataset in _raw_datasets(entry):
        for transform in _mappings(dataset.get(_TRANSFORMS)):
            output = transform.get("output")
            outputs.add(str(output.get("name") if isinstance(output, Mapping) else output))
    if outputs <= {"None"} and len(systems) == 1:
        outputs = {str(systems[0].get("name"))}
    if len(outputs) != 1 or not outputs <= set(by_name):
        raise MetadataError(
            f"the datasets lead to the coordinate systems {sorted(outputs)}, and those listed are "
            f"{list(by_name)}; all datasets must lead to one that is listed"
        )
    axes = by_name[outputs.pop()].get("axes")
    if not _is_list(axes):
        raise MetadataError(
            f"'axes' of the coordinate system is {_short(axes)}; it must be a list of objects"
        )
    return list(axes)


def _parse_axes(raw: Sequence[object]) -> tuple[Axis, ...]:
    spelled = [_spelled_axis(i, value) for i, value in enumerate(raw)]
    # At most three axes are spatial, so beside three of them a nameless kind is
    # a custom one; beside two it could be either.
    spatial = sum(kind == "space" for _, kind, _ in spelled)
    for name, kind, _ in spelled:
        if kind is None and spatial < 3:
            raise MetadataError(
                f"axis {name!r} has no type, and its name does not tell it; add a 'type' "
                "('space', 'time', 'channel') to the axis"
            )
    axes = tuple(Axis(name=n, kind=k or "custom", unit=u) for n, k, u in spelled)
    _check_axes(axes)
    return axes


def _spelled_axis(index: int, value: object) -> tuple[str, str | None, str | None]:
    """Return name, kind and unit of an axis, the kind inferred from the name if need be."""
    if isinstance(value, str):
        value = {"name": value}
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(name, str) or not name:
        raise MetadataError(
            f"axis number {index} is {_short(value)}; it must be an object with a 'name'"
        )
    kind, unit = value.get("type"), value.get("unit")
    for key, text in (("type", kind), ("unit", unit)):
        if text is not None and not isinstance(text, str):
            raise MetadataError(
                f"the {key} of axis {name!r} is {_short(text)}; it must be a text, or left out"
            )
    if kind == "array":
        raise MetadataError(
            f"axis {name!r} has the type 'array', so nothing tells what it stands for; give the "
            "axes the types 'space', 'time' or 'channel'"
        )
    return name, kind or _KIND_BY_NAME.get(name.lower()), unit or None


def _rank(axis: Axis) -> int:
    return _RANK.get(axis.kind, 1)


def _check_axes(axes: tuple[Axis, ...]) -> None:
    names = _names(axes)
    if not 2 <= len(axes) <= 5:
        raise MetadataError(f"there are {len(axes)} axes, {names}; an image has 2 to 5")
    for axis in axes:
        if names.count(axis.name) > 1:
            raise MetadataError(f"axis {axis.name!r} is listed twice in {names}; rename one")
    spatial = [a.name for a in axes if a.kind == "space"]
    if not 2 <= len(spatial) <= 3:
        raise MetadataError(
            f"{len(spatial)} of the axes {names} are of type 'space', {spatial}; there must be 2 "
            "or 3: correct the axis types, or give a single line or plane an axis of one voxel"
        )
    for what, found in (
        ("of type 'time'", [a.name for a in axes if a.kind == "time"]),
        ("of type 'channel' or of a custom type", [a.name for a in axes if _rank(a) == 1]),
    ):
        if len(found) > 1:
            raise MetadataError(
                f"the axes {found} are {what}; at most one may be: split the image along "
                f"{found[-1]!r}"
            )
    for before, axis in itertools.pairwise(axes):
        if _rank(axis) < _rank(before):
            raise MetadataError(
                f"axis {axis.name!r} (type {axis.kind!r}) comes after axis {before.name!r} (type "
                f"{before.kind!r}); the order must be time, channel, space: transpose the arrays "
                "and list the axes so"
            )


# --- transformations ---------------------------------------------------------


def _affine(
    value: object, axes: tuple[Axis, ...], where: str, *, identity_is_scale: bool = False
) -> _Affine:
    """Read a list of transformations, the numbers unchecked but for their count.

    With `identity_is_scale`, an identity alone says that voxels have size 1.
    Before 0.6 it says nothing: a scale is required beside it.
    """
    if value is not None and not _is_list(value):
        raise MetadataError(f"{_TRANSFORMS} of {where} is {_short(value)}; it must be a list")
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None
    identity = False
    for entry in value or ():
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        if kind == "identity":
            identity = True
        elif kind == "scale":
            if scale is not None:
                raise MetadataError(f"{where} has two scales; multiply them into one")
            if translation is not None:
                raise MetadataError(
                    f"{where} has its translation before its scale; list the scale first and give "
                    "the translation in physical units"
                )
            scale = _vector(entry, "scale", axes, where)
        elif kind == "translation":
            if translation is not None:
                raise MetadataError(f"{where} has two translations; add them into one")
            translation = _vector(entry, "translation", axes, where)
        else:
            raise MetadataError(
                f"{where} has a transformation of type {kind!r} ({_short(entry)}); only scale and "
                "translation keep the voxel grid along the axes: resample the image onto such a "
                "grid first, or remove the transformation"
            )
    if scale is None and identity and identity_is_scale:
        scale = (1.0,) * len(axes)
    return _Affine(scale, translation or (0.0,) * len(axes))


def _intrinsic_affine(dataset: Mapping[str, Any], axes: tuple[Axis, ...]) -> _Affine:
    """Read the one transformation of a dataset of version 0.6."""
    where = f"dataset {dataset['path']!r}"
    value = dataset.get(_TRANSFORMS)
    if _is_list(value) and len(value) > 1:
        raise MetadataError(
            f"{where} has {len(value)} transformations; in version 0.6 it has one, a scale or a "
            "sequence of a scale and a translation"
        )
    if _is_list(value) and len(value) == 1 and isinstance(value[0], Mapping):
        only = value[0]
        value = only.get("transformations") if only.get("type") == "sequence" else value
    return _affine(value, axes, where, identity_is_scale=True)


def _vector(
    entry: Mapping[str, Any], kind: str, axes: tuple[Axis, ...], where: str
) -> tuple[float, ...]:
    values = entry.get(kind)
    if not _is_list(values):
        stored = entry.get("path", values)
        hint = (
            f"its values lie in the file {stored!r}, which is not read: write them out"
            if isinstance(stored, str)
            else "it must be a list of numbers"
        )
        raise MetadataError(f"the {kind} of {where} is {_short(values)}; {hint}")
    if len(values) != len(axes):
        raise MetadataError(
            f"the {kind} of {where} has {len(values)} values, {_short(values)}, for the "
            f"{len(axes)} axes {_names(axes)}; give one value per axis"
        )
    return tuple(
        _number(value, kind, axis, where) for value, axis in zip(values, axes, strict=True)
    )


def _number(value: object, kind: str, axis: Axis, where: str) -> float:
    if value is None:
        return math.nan  # how writers that follow JSON to the letter spell it
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(
            f"the {kind} of {where} along axis {axis.name!r} is {_short(value)}; it must be a "
            "number"
        )
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _usable(size: float) -> bool:
    return math.isfinite(size) and size > 0


def _checked_override(given: Mapping[str, float], axes: tuple[Axis, ...]) -> dict[str, float]:
    for name, size in given.items():
        if name not in _names(axes):
            raise OptionError(
                f"a source voxel size is given for axis {name!r}, but the axes are {_names(axes)}"
            )
        if not _usable(size):
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
        if size is not None and not _usable(size):
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


# --- collections -------------------------------------------------------------


def _collection(key: str, ngff: Mapping[str, Any]) -> Collection:
    value = ngff[key]
    if key in ("plate", "well"):
        inner = "wells" if key == "plate" else "images"
        items = value.get(inner) if isinstance(value, Mapping) else None
        paths = [i.get("path") if isinstance(i, Mapping) else None for i in _or_empty(items)]
        valid = _is_list(items)
        what = f"'{inner}' of '{key}'"
    elif key == "bioformats2raw.layout":
        paths, valid, what = [], True, key
    else:
        paths, valid, what = list(_or_empty(value)), _is_list(value), f"'{key}'"
    if not valid or not all(isinstance(path, str) and path for path in paths):
        raise MetadataError(f"{what} is {_short(value)}; it must list paths")
    return Collection(
        kind="bioformats2raw" if key == "bioformats2raw.layout" else key,
        paths=tuple(str(path) for path in paths),
    )


# --- writing -----------------------------------------------------------------


def axis_entries(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Return the NGFF "axes" list."""
    return [
        {"name": a.name, "type": a.kind} | ({"unit": a.unit} if a.unit is not None else {})
        for a in axes
    ]


def dataset_entries(levels: Sequence[Dataset]) -> list[dict[str, Any]]:
    """Return the NGFF "datasets" list: one scale and one translation per level."""
    return [
        {
            "path": level.path,
            _TRANSFORMS: [
                {"type": "scale", "scale": [float(s) for s in level.voxel_size]},
                {"type": "translation", "translation": [float(t) for t in level.translation]},
            ],
        }
        for level in levels
    ]


def downscaling_metadata(
    method: str, *, version: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the "metadata" object that NGFF wants beside "type".

    Parameters
    ----------
    method : str
        What made the smaller levels, such as ``"chunkscale.resample (mean)"``.
    version : str
        Of the software.
    parameters : mapping, optional
        JSON values.
    """
    return {
        "description": "each level is made from the stored one before it, cells of two voxels per "
        "spatial axis becoming one; centres and outer edges are kept",
        "method": method,
        "version": version,
        "args": [],
        "kwargs": copy.deepcopy(dict(parameters or {})),
    }


def multiscale_attributes(
    *,
    version: str,
    axes: Sequence[Axis],
    levels: Sequence[Dataset],
    name: str | None = None,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    is_label: bool | None = None,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compose all attributes of an output group.

    Parameters
    ----------
    version : str
        ``"0.4"`` or ``"0.5"``.
    axes : sequence of Axis
    levels : sequence of Dataset
        Largest first.
    name, kind, metadata, is_label, source
        See `complete_attributes`.

    Examples
    --------
    >>> attributes = multiscale_attributes(
    ...     version="0.5",
    ...     axes=(Axis(name="y", unit="micrometer"), Axis(name="x", unit="micrometer")),
    ...     levels=[Dataset(path="0", voxel_size=(0.5, 0.5), translation=(0.0, 0.0))],
    ...     name="cells",
    ...     kind="mean",
    ... )
    >>> attributes["ome"]["multiscales"][0]["type"]
    'mean'
    """
    if version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-NGFF version {version!r} cannot be written; choose one of {WRITABLE_VERSIONS}"
        )
    entry = {"axes": axis_entries(axes), "datasets": dataset_entries(levels)}
    composed: dict[str, Any]
    if version == "0.4":
        composed = {"multiscales": [{"version": version, **entry}]}
    else:
        composed = {"ome": {"version": version, "multiscales": [entry]}}
    return complete_attributes(
        composed,
        name=name,
        kind=kind,
        metadata=metadata,
        is_label=is_label,
        source=source,
    )


def complete_attributes(
    composed: Mapping[str, Any],
    *,
    name: str | None = None,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    is_label: bool | None = None,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Complete the attributes that another writer composed.

    Axes, datasets and version are taken from `composed`; what it lacks is
    added, and what the source's attributes say beside geometry is carried over:
    "omero" and "image-label", unknown attributes of the group and of its "ome"
    object, unknown keys of the multiscales entry and of its axes. Left behind
    are the source's geometry, its "type" and "metadata", and everything that
    lists groups below it.

    Parameters
    ----------
    composed : mapping
        Attributes with "multiscales", as `ome_zarr` writes them for 0.4 or 0.5.
    name : str, optional
        Of the image; without it there is none, whatever `composed` has.
    kind : str, optional
        NGFF "type", the downscaling method: ``"mean"``, ``"mode"`` and so on.
    metadata : mapping, optional
        See `downscaling_metadata`.
    is_label : bool, optional
        Whether the output is a label image; by default it is if the source is.
    source : mapping, optional
        All attributes of the source's group, in any version.

    Returns
    -------
    dict
        Shares nothing with the arguments.

    Raises
    ------
    MetadataError
        If the outcome is not what `describe` and `grid_of` would accept.
    """
    ours = _namespace(composed)
    origin = copy.deepcopy(dict(source or {}))
    theirs = _namespace(origin)
    entry = _only(ours.get("multiscales"))
    version = _version_of(composed, entry)
    if version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"the attributes to complete are of OME-NGFF version {version!r}; only "
            f"{WRITABLE_VERSIONS} can be written"
        )
    old = _only(theirs["multiscales"]) if "multiscales" in theirs else {}
    inner = _display(origin, theirs, version, is_label)
    inner["multiscales"] = [_completed_entry(entry, old, version, name, kind, metadata)]
    outer = _unknown(origin)
    nested = origin["ome"] if isinstance(origin.get("ome"), Mapping) else {}
    if version == "0.4":
        result = {**outer, **_unknown(nested), **inner}
    else:
        # The source's "ome" may have a version of its own that means nothing to NGFF.
        result = {**outer, "ome": {**_unknown(nested), "version": version, **inner}}
    _assert_writable(result)
    return result


def _completed_entry(
    entry: Mapping[str, Any],
    old: Mapping[str, Any],
    version: str,
    name: str | None,
    kind: str | None,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    result: dict[str, Any] = {"version": version} if version == "0.4" else {}
    if name is not None:
        result["name"] = name
    result["axes"] = _completed_axes(entry["axes"], old)
    result["datasets"] = copy.deepcopy(list(entry["datasets"]))
    if entry.get(_TRANSFORMS):
        result[_TRANSFORMS] = copy.deepcopy(entry[_TRANSFORMS])
    if kind is not None:
        result["type"] = kind
    if metadata is not None:
        result["metadata"] = copy.deepcopy(dict(metadata))
    return result | {k: v for k, v in old.items() if k not in _ENTRY_KEYS}


def _completed_axes(axes: Sequence[Any], old: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Add the keys beside name, type and unit that the source has (orientation, ...)."""
    extras: dict[str, dict[str, Any]] = {}
    if old and ("axes" in old or "coordinateSystems" in old):
        spelled = _intrinsic_axes(old) if "coordinateSystems" in old else _or_empty(old["axes"])
        for axis in _mappings(spelled):
            name = str(axis.get("name"))
            extras[name] = {k: v for k, v in axis.items() if k not in _AXIS_KEYS}
    return [{**axis, **extras.get(axis["name"], {})} for axis in axes]


def _display(
    origin: Mapping[str, Any], theirs: Mapping[str, Any], version: str, is_label: bool | None
) -> dict[str, Any]:
    """Return "omero" as it is, and "image-label" with the version that it must carry.

    Its "source" is left behind: that path was relative to where the labels were. Some writers
    put a mere flag there, or the labels' names; only that there is one can be kept of that.
    """
    found = {k: origin[k] for k in _DISPLAY if k in origin}
    found |= {k: theirs[k] for k in _DISPLAY if k in theirs}
    label = found.pop("image-label", None)
    if is_label is None:
        is_label = "image-label" in theirs  # as `describe` says
    if is_label:
        kept = label if isinstance(label, Mapping) else {}
        found["image-label"] = {
            **{k: v for k, v in kept.items() if k != "source"},
            "version": version,
        }
    return found


def _unknown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that mean nothing to NGFF."""
    return {
        key: value
        for key, value in attributes.items()
        if key not in _STALE and not (key == "version" and _VERSION.match(str(value)))
    }


def _assert_writable(attributes: Mapping[str, Any]) -> None:
    image = describe(attributes)
    if not isinstance(image, Multiscale):  # pragma: no cover - it has "multiscales"
        raise MetadataError(f"the composed attributes describe a {image.kind}, not an image")
    for level in range(len(image.datasets)):
        grid_of(image, level, (1,) * len(image.axes))


# --- checking ----------------------------------------------------------------


def validate(
    attributes: Mapping[str, Any],
    level_shapes: Sequence[Sequence[int]],
    *,
    strict_geometry: bool = False,
) -> list[str]:
    """Return what is wrong with an image's metadata, in words.

    Parameters
    ----------
    attributes : mapping
        All attributes of the image's group.
    level_shapes : sequence of sequence of int
        Shapes of the arrays, in the order of the datasets.
    strict_geometry : bool
        Whether the levels must also be related as in stores that this package
        makes: each axis halved or kept from level to level, sizes rounded up,
        positions at the centres of the merged voxels.

    Returns
    -------
    list of str
        Empty if nothing is wrong.
    """
    try:
        image = describe(attributes)
    except MetadataError as error:
        return [str(error)]
    if isinstance(image, Collection):
        return [f"the group is a collection ({image.kind}), not an image; check its images"]
    faults = list(_spelling_faults(attributes, image))
    if len(level_shapes) != len(image.datasets):
        faults.append(
            f"the metadata lists {len(image.datasets)} datasets, but there are "
            f"{len(level_shapes)} arrays"
        )
        return faults
    grids = []
    for level, shape in enumerate(level_shapes):
        try:
            grids.append(grid_of(image, level, shape))
        except (MetadataError, GridError) as error:
            faults.append(str(error))
    if len(grids) == len(image.datasets):
        faults.extend(_order_faults(image, grids))
        if strict_geometry:
            faults.extend(_geometry_faults(image, grids))
    return faults


def _spelling_faults(attributes: Mapping[str, Any], image: Multiscale) -> Iterator[str]:
    """Yield what `describe` forgives although NGFF does not."""
    minor = _minor(image.version)
    ngff = _namespace(attributes)
    if ngff is not attributes and not isinstance(ngff.get("version"), str):
        yield "'ome' has no 'version'; it must say which version of OME-NGFF it follows"
    if minor >= 5 and ngff is attributes:
        yield f"version {image.version} metadata must be inside the attribute 'ome'"
    if minor in (4, 5):
        for axis in image.raw.get("axes", ()):
            if isinstance(axis, str):
                yield f"axis {axis!r} is a text; since version 0.4 it must be an object"
        common = image.raw.get(_TRANSFORMS)
        if common is not None:
            yield from _list_faults(common, "the multiscales entry as a whole")
        for dataset in image.raw["datasets"]:
            listed = dataset.get(_TRANSFORMS)
            yield from _list_faults(listed, f"dataset {dataset['path']!r}")
    paths = [dataset.path for dataset in image.datasets]
    for path in sorted({p for p in paths if paths.count(p) > 1}):
        yield f"dataset {path!r} is listed {paths.count(path)} times"


def _list_faults(transforms: object, where: str) -> Iterator[str]:
    kinds = [entry.get("type") for entry in _mappings(transforms)]
    if "identity" in kinds:
        yield f"{where} has an identity transformation; only scale and translation may be listed"
    if "scale" not in kinds:
        yield f"the {_TRANSFORMS} of {where} have no scale; there must be exactly one"


def _order_faults(image: Multiscale, grids: Sequence[VoxelGrid]) -> Iterator[str]:
    pairs = itertools.pairwise(grids)
    for (before, grid), dataset in zip(pairs, image.datasets[1:], strict=True):
        if any(a < b for a, b in zip(before.shape, grid.shape, strict=True)):
            yield (
                f"dataset {dataset.path!r} {grid.shape} is larger than the one before it "
                f"{before.shape}; datasets must be listed from the largest to the smallest"
            )


def _geometry_faults(image: Multiscale, grids: Sequence[VoxelGrid]) -> Iterator[str]:
    first = grids[0]
    for level, dataset in enumerate(image.datasets):
        kinds = [e.get("type") for e in _mappings(image.raw["datasets"][level].get(_TRANSFORMS))]
        if "coordinateSystems" not in image.raw and kinds != ["scale", "translation"]:
            yield (
                f"the transformations of dataset {dataset.path!r} are {kinds}; they must be a "
                "scale and a translation"
            )
        for i, axis in enumerate(image.axes):
            where = f"dataset {dataset.path!r}, axis {axis.name!r}"
            if level:
                yield from _step_faults(grids[level - 1], grids[level], i, where)
            yield from _position_faults(first, grids[level], i, where)


def _step_faults(before: VoxelGrid, grid: VoxelGrid, i: int, where: str) -> Iterator[str]:
    step = grid.voxel_size[i] / before.voxel_size[i]
    allowed = (1, 2) if i in grid.spatial else (1,)
    whole = round(step) if math.isclose(step, round(step), rel_tol=1e-9) else 0
    if whole not in allowed:
        yield (
            f"{where}: the voxel size {grid.voxel_size[i]!r} is {step:.6g} times that of the level "
            f"before, {before.voxel_size[i]!r}; it must be {' or '.join(map(str, allowed))} times"
        )
    elif grid.shape[i] != -(-before.shape[i] // whole):
        yield (
            f"{where}: {grid.shape[i]} voxels; {before.shape[i]} voxels at the level before and a "
            f"step of {whole} make {-(-before.shape[i] // whole)}"
        )


def _position_faults(first: VoxelGrid, grid: VoxelGrid, i: int, where: str) -> Iterator[str]:
    factor = grid.voxel_size[i] / first.voxel_size[i]
    expected = first.translation[i] + (factor - 1) / 2 * first.voxel_size[i]
    tolerance = 1e-6 * first.voxel_size[i] + 1e-12 * abs(expected)
    if abs(grid.translation[i] - expected) > tolerance:
        yield (
            f"{where}: the translation is {grid.translation[i]!r}; the centre of the first voxel "
            f"of {factor:.6g} merged ones lies at {expected!r}"
        )


# --- small helpers -----------------------------------------------------------


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _or_empty(value: object) -> Sequence[Any]:
    return value if _is_list(value) else ()


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in _or_empty(value) if isinstance(entry, Mapping)]


def _names(axes: Sequence[Axis]) -> list[str]:
    return [axis.name for axis in axes]


def _short(value: object) -> str:
    """Return `value` as text that fits into a message."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
