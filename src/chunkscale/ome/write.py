"""NGFF metadata composed: the attributes of a new image, with what the source's say besides."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from chunkscale.errors import MetadataError, OptionError
from chunkscale.geometry.grid import Axis
from chunkscale.ome.axes import axis_entries, intrinsic_axes
from chunkscale.ome.entries import (
    COLLECTIONS,
    SYSTEMS,
    TRANSFORMS,
    mappings,
    only_entry,
    or_empty,
)
from chunkscale.ome.further import Coordinates
from chunkscale.ome.model import Dataset, Multiscale
from chunkscale.ome.read import describe, grid_of
from chunkscale.ome.versions import (
    VERSION,
    WRITABLE_VERSIONS,
    ngff_namespace,
    uses_systems,
    version_of,
)

_DISPLAY = ("omero", "image-label")

#: Keys of a multiscales entry that say where voxels are.
_GEOMETRY = ("axes", "datasets", TRANSFORMS, SYSTEMS)

#: What xarray, N5 and BigDataViewer writers leave beside the NGFF keys.
_FOREIGN_GEOMETRY = ("_ARRAY_DIMENSIONS", "pixelResolution", "downsamplingFactors")

#: Group attributes that hold for the source and not for an image made from it.
_STALE = frozenset(
    (
        "multiscales",
        "ome",
        "chunkscale",
        *COLLECTIONS,
        *_DISPLAY,
        *_GEOMETRY,
        *_FOREIGN_GEOMETRY,
    )
)

#: Keys of a multiscales entry that are composed anew.
_ENTRY_KEYS = frozenset(("version", "name", "type", "metadata", *_GEOMETRY))

_AXIS_KEYS = frozenset(("name", "type", "unit"))


def dataset_entries(levels: Sequence[Dataset]) -> list[dict[str, Any]]:
    """Return the NGFF "datasets" list: one scale and one translation per level."""
    return [
        {
            "path": level.path,
            TRANSFORMS: [
                {"type": "scale", "scale": [float(s) for s in level.voxel_size]},
                {"type": "translation", "translation": [float(t) for t in level.translation]},
            ],
        }
        for level in levels
    ]


def system_datasets(levels: Sequence[Dataset], system: str) -> list[dict[str, Any]]:
    """Return the "datasets" list of version 0.6: each level leads to one coordinate system."""
    return [
        {
            "path": entry["path"],
            TRANSFORMS: [
                {
                    "type": "sequence",
                    "input": {"path": entry["path"]},
                    "output": {"name": system},
                    "transformations": entry[TRANSFORMS],
                }
            ],
        }
        for entry in dataset_entries(levels)
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
        "axis that is halved becoming one, which lies at their centre; outer edges are kept",
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
    coordinates: Coordinates | None = None,
) -> dict[str, Any]:
    """Compose all attributes of an output group.

    Parameters
    ----------
    version : str
        ``"0.4"``, ``"0.5"`` or ``"0.6"``.
    axes : sequence of Axis
    levels : sequence of Dataset
        Largest first.
    name, kind, metadata, is_label, source, coordinates
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
    composed: dict[str, Any]
    if version == "0.4":
        entry = {"axes": axis_entries(axes), "datasets": dataset_entries(levels)}
        composed = {"multiscales": [{"version": version, **entry}]}
    elif version == "0.5":
        entry = {"axes": axis_entries(axes), "datasets": dataset_entries(levels)}
        composed = {"ome": {"version": version, "multiscales": [entry]}}
    else:
        coordinates = coordinates or Coordinates()
        composed = composed_systems(axes, levels, coordinates, version)
    return complete_attributes(
        composed,
        name=name,
        kind=kind,
        metadata=metadata,
        is_label=is_label,
        source=source,
        coordinates=coordinates,
    )


def composed_systems(
    axes: Sequence[Axis], levels: Sequence[Dataset], coordinates: Coordinates, version: str
) -> dict[str, Any]:
    """Return the least that an image of version 0.6 says, as `complete_attributes` takes it."""
    system = {"name": coordinates.intrinsic, "axes": axis_entries(axes)}
    datasets = system_datasets(levels, coordinates.intrinsic)
    entry = {SYSTEMS: [system], "datasets": datasets}
    return {"ome": {"version": version, "multiscales": [entry]}}


def complete_attributes(
    composed: Mapping[str, Any],
    *,
    name: str | None = None,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    is_label: bool | None = None,
    source: Mapping[str, Any] | None = None,
    coordinates: Coordinates | None = None,
) -> dict[str, Any]:
    """Complete the attributes that another writer composed.

    Axes, datasets and version are taken from `composed`; what it lacks is
    added, and what the source's attributes say beside geometry is carried over:
    "omero" and "image-label" (as `chunkscale.ome.carry` has mended them), unknown
    attributes of the group and of its "ome" object, unknown keys of the
    multiscales entry and of its axes. Left behind
    are the source's geometry, its "type" and "metadata", and everything that
    lists groups below it.

    Parameters
    ----------
    composed : mapping
        Attributes with "multiscales"; of 0.6 as `composed_systems` makes them.
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
    coordinates : Coordinates, optional
        What 0.6 says of coordinate systems; the intrinsic one is that of `composed`.

    Returns
    -------
    dict
        Shares nothing with the arguments.

    Raises
    ------
    MetadataError
        If the outcome is not what `describe` and `grid_of` would accept.
    """
    ours = ngff_namespace(composed)
    origin = copy.deepcopy(dict(source or {}))
    theirs = ngff_namespace(origin)
    entry = only_entry(ours.get("multiscales"))
    version = version_of(composed, entry)
    if version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"the attributes to complete are of OME-NGFF version {version!r}; only "
            f"{WRITABLE_VERSIONS} can be written"
        )
    old = only_entry(theirs["multiscales"]) if "multiscales" in theirs else {}
    if old:
        old["version"] = version_of(origin, old)
    inner = _display(origin, theirs, version, is_label)
    made = _completed_entry(entry, old, version, name, kind, metadata)
    if uses_systems(entry, version):
        systems = coordinates or Coordinates()
        made[SYSTEMS] = systems.with_axes(_completed_axes(intrinsic_axes(entry), old))
        if systems.transforms:
            made[TRANSFORMS] = list(systems.transforms)
        made = copy.deepcopy(made)
    inner["multiscales"] = [made]
    result = beside_unknown(origin, version, inner)
    _assert_writable(result)
    return result


def beside_unknown(
    origin: Mapping[str, Any], version: str, inner: Mapping[str, Any]
) -> dict[str, Any]:
    """Return attributes with the NGFF keys `inner`, and all that means nothing to NGFF.

    Parameters
    ----------
    origin : mapping
        All attributes of the source's group, in any version.
    version : str
        ``"0.4"``, ``"0.5"`` or ``"0.6"``.
    inner : mapping

    Examples
    --------
    >>> beside_unknown({"plate": {}, "barcode": 7}, "0.5", {"plate": {"wells": []}})
    {'barcode': 7, 'ome': {'version': '0.5', 'plate': {'wells': []}}}
    """
    nested = origin["ome"] if isinstance(origin.get("ome"), Mapping) else {}
    if version == "0.4":
        return {**unknown_keys(origin), **unknown_keys(nested), **inner}
    # The source's "ome" may have a version of its own that means nothing to NGFF.
    return {
        **unknown_keys(origin),
        "ome": {**unknown_keys(nested), "version": version, **inner},
    }


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
    if uses_systems(entry, version):
        result[SYSTEMS] = []  # in this place, when it is known what there is
    else:
        result["axes"] = _completed_axes(entry["axes"], old)
    result["datasets"] = copy.deepcopy(list(entry["datasets"]))
    if entry.get(TRANSFORMS):
        result[TRANSFORMS] = copy.deepcopy(entry[TRANSFORMS])
    if kind is not None:
        result["type"] = kind
    if metadata is not None:
        result["metadata"] = copy.deepcopy(dict(metadata))
    return result | {k: v for k, v in old.items() if k not in _ENTRY_KEYS}


def _completed_axes(axes: Sequence[Any], old: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Add the keys beside name, type and unit that the source has (orientation, ...)."""
    extras: dict[str, dict[str, Any]] = {}
    if old:
        own = not uses_systems(old, old["version"])
        spelled = or_empty(old.get("axes")) if own else intrinsic_axes(old)
        for axis in mappings(spelled):
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


def unknown_keys(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that mean nothing to NGFF."""
    return {
        key: value
        for key, value in attributes.items()
        if key not in _STALE and not (key == "version" and VERSION.match(str(value)))
    }


def carried_keys(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `complete_attributes` takes over of a source's attributes."""
    theirs = ngff_namespace(attributes)
    entries = mappings(theirs.get("multiscales"))
    inner = attributes["ome"] if isinstance(attributes.get("ome"), Mapping) else {}
    found = {
        key: holder[key] for holder in (attributes, inner) for key in _DISPLAY if key in holder
    }
    entry = {k: v for k, v in entries[0].items() if k not in _ENTRY_KEYS} if entries else {}
    return {**unknown_keys(attributes), **unknown_keys(inner), **found, "multiscales": entry}


def _assert_writable(attributes: Mapping[str, Any]) -> None:
    image = describe(attributes)
    if not isinstance(image, Multiscale):  # pragma: no cover - it has "multiscales"
        raise MetadataError(f"the composed attributes describe a {image.kind}, not an image")
    for level in range(len(image.datasets)):
        grid_of(image, level, (1,) * len(image.axes))
