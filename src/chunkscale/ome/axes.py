"""Axes of NGFF metadata, in every spelling, and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chunkscale.errors import MetadataError, Notice
from chunkscale.geometry.grid import Axis
from chunkscale.ome.entries import (
    SYSTEMS,
    TRANSFORMS,
    axis_names,
    is_list,
    mappings,
    raw_datasets,
    short,
)
from chunkscale.ome.versions import minor_version, uses_systems

_KIND_BY_NAME = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

_SPELLED = {
    **dict.fromkeys(("space", "spatial", "spacial", "z", "y", "x"), "space"),
    **dict.fromkeys(("time", "temporal", "t"), "time"),
    **dict.fromkeys(("channel", "channels", "c"), "channel"),
}

_RANK = {"time": 0, "space": 2}  # channel and custom types: 1, see `_rank`


def raw_axes(entry: Mapping[str, Any], version: str) -> list[Any]:
    """Return the axes as spelled."""
    if uses_systems(entry, version):
        return intrinsic_axes(entry)
    axes = entry.get("axes")
    if axes is None and minor_version(version) <= 2:
        return list("tczyx")  # those versions know nothing else
    if not is_list(axes):
        raise MetadataError(
            f"'axes' of the multiscales entry is {short(axes)}; version {version} needs a list "
            "with one object per dimension"
        )
    return list(axes)


def intrinsic_axes(entry: Mapping[str, Any]) -> list[Any]:
    """Return the axes of the one coordinate system that all datasets lead to (0.6)."""
    axes = intrinsic_system(entry).get("axes")
    if not is_list(axes):
        raise MetadataError(
            f"'axes' of the coordinate system is {short(axes)}; it must be a list of objects"
        )
    return list(axes)


def intrinsic_system(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return that system itself."""
    systems = entry[SYSTEMS]
    if not is_list(systems) or not all(isinstance(s, Mapping) for s in systems) or not systems:
        raise MetadataError(
            f"'coordinateSystems' is {short(systems)}; it must be a list of objects"
        )
    by_name = {s["name"]: s for s in systems if isinstance(s.get("name"), str)}
    outputs = set()
    for dataset in raw_datasets(entry):
        for transform in mappings(dataset.get(TRANSFORMS)):
            output = transform.get("output")
            outputs.add(str(output.get("name") if isinstance(output, Mapping) else output))
    if outputs <= {"None"} and len(systems) == 1:
        return dict(systems[0])
    if len(outputs) != 1 or not outputs <= set(by_name):
        raise MetadataError(
            f"the datasets lead to the coordinate systems {sorted(outputs)}, and those listed are "
            f"{list(by_name)}; all datasets must lead to one that is listed"
        )
    return dict(by_name[outputs.pop()])


def parse_axes(raw: Sequence[object]) -> tuple[Axis, ...]:
    axes = tuple(_spelled_axis(i, value) for i, value in enumerate(raw))
    _check_axes(axes)
    return axes


def type_notices(raw: Sequence[object], version: str) -> Iterator[Notice]:
    """Yield what has to be said of the types of axes; before 0.4 none had to be told."""
    for axis in mappings(raw):
        name, stated = str(axis.get("name")), axis.get("type")
        kind, by_name = _kind(name, stated), _KIND_BY_NAME.get(name.lower())
        if stated is None and minor_version(version) < 4:
            continue
        if not str(stated or "").strip() and by_name is None:
            text = (
                f"axis {name!r} has no type, so it counts as a custom one and is not resampled; if "
                'it is spatial add "type": "space" to it'
            )
            yield Notice("axes", text)
        elif (stated is None and kind == "space") or (stated is not None and stated != kind):
            text = (
                f"axis {name!r} has the type {stated!r}, which is read as {kind!r}; correct it"
                if str(stated or "").strip()
                else f"axis {name!r} has no type and is read as {kind!r} because of its "
                f'name; add "type": "{kind}" to it'
            )
            yield Notice("metadata", text)
        elif stated is not None and by_name not in (None, kind):
            text = (
                f"axis {name!r} has the type {kind!r}, which does not fit its name; the type "
                f'counts, so it is not resampled. If that is wrong, give it "type": "{by_name}"'
            )
            yield Notice("axes", text)  # the specification allows it


def _kind(name: str, stated: str | None) -> str:
    """Return the type of an axis, however it is spelled, and if need be by its name."""
    text = (stated or "").strip()
    return _SPELLED.get(text.lower(), text) or _KIND_BY_NAME.get(name.lower(), "custom")


def _spelled_axis(index: int, value: object) -> Axis:
    """Return an axis, its kind inferred from the name if need be."""
    if isinstance(value, str):
        value = {"name": value}
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(name, str) or not name:
        raise MetadataError(
            f"axis number {index} is {short(value)}; it must be an object with a 'name'"
        )
    kind, unit = value.get("type"), value.get("unit")
    for key, text in (("type", kind), ("unit", unit)):
        if text is not None and not isinstance(text, str):
            raise MetadataError(
                f"the {key} of axis {name!r} is {short(text)}; it must be a string, or left out"
            )
    if kind == "array":
        raise MetadataError(
            f"axis {name!r} has the type 'array', so its meaning is unknown; give the axes the "
            "types 'space', 'time' or 'channel'"
        )
    meant, by_name = _kind(name, kind), _KIND_BY_NAME.get(name.lower(), "")
    known = meant in _KIND_BY_NAME.values() and by_name
    if known and (meant == "space") != (by_name == "space"):
        raise MetadataError(
            f"axis {name!r} has the type {kind!r}, which contradicts its name, so whether it is "
            f'resampled is unclear; give it "type": "{by_name}", or another name'
        )
    return Axis(name=name, kind=meant, unit=unit or None)


def _rank(axis: Axis) -> int:
    return _RANK.get(axis.kind, 1)


def _check_axes(axes: tuple[Axis, ...]) -> None:
    names = axis_names(axes)
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
                f"the axes {found} are {what}; at most one is allowed: split the image along "
                f"{found[-1]!r}"
            )
    for before, axis in itertools.pairwise(axes):
        if _rank(axis) < _rank(before):
            raise MetadataError(
                f"axis {axis.name!r} (type {axis.kind!r}) comes after axis {before.name!r} (type "
                f"{before.kind!r}); the order must be time, channel, space: transpose the arrays "
                "and list the axes so"
            )


def axis_entries(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Return the NGFF "axes" list."""
    return [
        {"name": a.name, "type": a.kind} | ({"unit": a.unit} if a.unit is not None else {})
        for a in axes
    ]
