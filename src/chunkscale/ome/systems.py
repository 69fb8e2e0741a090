"""Coordinate systems and transformations of version 0.6: what its schemas say of them.

Readers refuse an image with one entry that breaks them, so only what follows them is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from chunkscale.geometry.units import is_finite
from chunkscale.ome.entries import is_list, short

#: As many as the schemas allow.
MOST_AXES = 5

_FIELDS = ("displacements", "coordinates")


def system_fault(system: object) -> str:
    """Return what keeps a coordinate system from being written; nothing if it is valid."""
    if not isinstance(system, Mapping):
        return "it is not an object"
    if not _is_name(system.get("name")):
        return "it has no name"
    axes = system.get("axes")
    if not is_list(axes) or not 1 <= len(axes) <= MOST_AXES:
        return f"its axes are {short(axes)}; it must be a list of 1 to {MOST_AXES}"
    for axis in axes:
        if not isinstance(axis, Mapping) or not _is_name(axis.get("name")):
            return f"its axis {short(axis)} has no name"
        for key in ("type", "unit", "longName"):
            if not isinstance(axis.get(key, ""), str):
                return f"the {key} of its axis {axis['name']!r} is not a string"
        if not isinstance(axis.get("discrete", True), bool):
            return f"'discrete' of its axis {axis['name']!r} is neither true nor false"
    if len({axis["name"] for axis in axes}) < len(axes):
        return "two of its axes have the same name"
    kinds = [axis.get("type") for axis in axes]
    spatial, of_arrays = (kinds.count(kind) for kind in ("space", "array"))
    if (2 <= spatial <= 3) == (of_arrays >= 2):
        return "its axes must be two or three of type 'space', or those of an array"
    return ""


def transform_fault(transform: object) -> str:
    """Return what keeps the parameters of a transformation from being written."""
    if not isinstance(transform, Mapping):
        return "it is not an object"
    kind = transform.get("type")
    check = _CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        return f"the type {short(kind)} is unknown in version 0.6"
    if not isinstance(transform.get("name", ""), str):
        return "its name is not a string"
    return check(transform)


def stored_arrays(transform: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of the arrays that hold the parameters of a valid transformation."""
    kind = transform["type"]
    if kind in (*_FIELDS, "affine", "rotation") and isinstance(transform.get("path"), str):
        yield transform["path"]
    for inner in _inner(transform):
        yield from stored_arrays(inner)


def _inner(transform: Mapping[str, Any]) -> list[Any]:
    """Return the transformations that one consists of; None stands for one that is not there."""
    kind = transform["type"]
    if kind == "bijection":
        return [transform.get("forward"), transform.get("inverse")]
    listed = transform.get("transformations")
    if kind not in ("sequence", "byDimension") or not is_list(listed):
        return []
    if kind == "sequence":
        return list(listed)
    return [entry.get("transformation") if isinstance(entry, Mapping) else None for entry in listed]


def _check_scale(transform: Mapping[str, Any]) -> str:
    values = transform.get("scale")
    return "" if _numbers(values) and all(v > 0 for v in values) else _not("scale", values)


def _check_translation(transform: Mapping[str, Any]) -> str:
    values = transform.get("translation")
    return "" if _numbers(values) else _not("translation", values)


def _check_matrix(transform: Mapping[str, Any]) -> str:
    """Either numbers or the path of an array, as the schemas have it."""
    kind = transform["type"]
    rows, path = transform.get(kind), transform.get("path")
    if kind not in transform:
        return "" if isinstance(path, str) else f"it has no {kind!r}"
    if isinstance(path, str):
        return f"it has both {kind!r} and 'path'"
    if not is_list(rows) or not all(map(_numbers, rows)) or len(set(map(len, rows))) != 1:
        return _not(kind, rows)
    square = len(rows) in range(2, MOST_AXES + 1) and all(len(row) == len(rows) for row in rows)
    return "" if kind == "affine" or square else _not(kind, rows)


def _check_map(transform: Mapping[str, Any]) -> str:
    values = transform.get("mapAxis")
    valid = _indices(values) and 2 <= len(values) <= MOST_AXES
    return "" if valid else _not("mapAxis", values)


def _check_projection(transform: Mapping[str, Any]) -> str:
    stated = {k: transform[k] for k in ("droppedInputs", "createdOutputs") if k in transform}
    for key, values in stated.items():
        if not _indices(values) or not 1 <= len(values) <= 3:
            return _not(key, values)
    return "" if stated else "it neither drops nor creates an axis"


def _check_field(transform: Mapping[str, Any]) -> str:
    if not isinstance(transform.get("path"), str):
        return "it does not name an array"
    how = transform.get("interpolation", "linear")
    return "" if how in ("nearest", "linear", "cubic") else _not("interpolation", how)


def _check_inner(transform: Mapping[str, Any]) -> str:
    if transform["type"] != "bijection" and not is_list(transform.get("transformations")):
        return _not("transformations", transform.get("transformations"))
    if transform["type"] == "byDimension":
        for entry in transform["transformations"]:
            keys = ("inputAxes", "outputAxes")
            if not isinstance(entry, Mapping) or not all(_indices(entry.get(k)) for k in keys):
                return f"{short(entry)} does not say which axes it is for"
    return next(filter(None, map(transform_fault, _inner(transform))), "")


def _no_parameters(transform: Mapping[str, Any]) -> str:
    return ""


_CHECKS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "identity": _no_parameters,
    "scale": _check_scale,
    "translation": _check_translation,
    "mapAxis": _check_map,
    "projectAxis": _check_projection,
    **dict.fromkeys(("affine", "rotation"), _check_matrix),
    **dict.fromkeys(_FIELDS, _check_field),
    **dict.fromkeys(("sequence", "byDimension", "bijection"), _check_inner),
}


def _not(key: str, value: object) -> str:
    return f"its {key} is {short(value)}"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _numbers(values: object) -> TypeGuard[Sequence[float]]:
    return is_list(values) and all(map(is_finite, values))


def _indices(values: object) -> TypeGuard[Sequence[int]]:
    return (
        is_list(values)
        and all(type(v) is int and 0 <= v < MOST_AXES for v in values)
        and len(set(values)) == len(values)
    )


def listed(holder: Mapping[str, Any], key: str) -> list[Any]:
    """Return the systems or transformations that metadata list, whatever they are."""
    found = holder.get(key)
    return [x for x in (found if is_list(found) else [found]) if x is not None]
