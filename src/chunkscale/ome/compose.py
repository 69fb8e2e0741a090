"""Transformations of a dataset of version 0.6, in whatever way they are nested, as a plain list.

What keeps voxels on a grid along the axes is a scale and a translation after it, however it is
spelled: order and nesting are told there, so nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from chunkscale.geometry.units import is_finite
from chunkscale.ome.entries import is_list, mappings

Transform = Mapping[str, Any]

_FORMS = (["identity"], ["scale"], ["sequence", "scale", "translation"])


def has_schema_form(transform: Transform) -> bool:
    """Whether it is what a dataset of version 0.6 may have: no other nesting, no other order."""
    inner = mappings(transform.get("transformations"))
    kinds = [transform.get("type"), *(t.get("type") for t in inner)]
    return kinds in _FORMS


def flattened(transform: Transform, count: int) -> list[Any]:
    """Return the scale and the translation that a transformation is, and no other list than that.

    What cannot be understood is left in the list, for whoever reads it.

    Parameters
    ----------
    transform : mapping
    count : int
        Axes.

    Examples
    --------
    >>> move = {"type": "translation", "translation": [1, 0]}
    >>> zoom = {"type": "sequence", "transformations": [{"type": "scale", "scale": [2, 4]}]}
    >>> flattened({"type": "sequence", "transformations": [move, zoom]}, 2)
    [{'type': 'scale', 'scale': [2, 4]}, {'type': 'translation', 'translation': [2, 0]}]
    """
    steps = list(_steps(transform, count))
    kinds = [step.get("type") if isinstance(step, Mapping) else None for step in steps]
    moves = [kind for kind in kinds if kind != "identity"]
    if moves in ([], ["scale"], ["translation"], ["scale", "translation"]):
        return steps
    folded = _folded(steps, count)
    return steps if folded is None else _plain(*folded)


def _steps(transform: Any, count: int) -> Iterator[Any]:
    kind = transform.get("type") if isinstance(transform, Mapping) else None
    if kind == "sequence" and is_list(transform.get("transformations")):
        for inner in transform["transformations"]:
            yield from _steps(inner, count)
    elif kind == "mapAxis" and transform.get("mapAxis") == list(range(count)):
        yield {"type": "identity"}
    elif kind == "byDimension" and (found := _by_dimension(transform, count)):
        yield from _plain(*found)
    else:
        yield transform


def _plain(scale: Sequence[float], shift: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"type": "scale", "scale": list(scale)},
        {"type": "translation", "translation": list(shift)},
    ]


def _folded(steps: Sequence[Any], count: int) -> tuple[list[float], list[float]] | None:
    """Return steps as one scale and one translation; None if one of them is something else."""
    scale: list[float] = [1] * count
    shift: list[float] = [0] * count
    for step in steps:
        kind = step.get("type") if isinstance(step, Mapping) else None
        if kind == "identity":
            continue
        values = step.get(kind) if kind in ("scale", "translation") else None
        if not _are_numbers(values, count) or (kind == "scale" and min(values) <= 0):
            return None  # two flips are no flip, but one of them would mirror what is between
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
            shift = [a * b for a, b in zip(shift, values, strict=True)]
        else:
            shift = [a + b for a, b in zip(shift, values, strict=True)]
    return scale, shift


def _by_dimension(transform: Transform, count: int) -> tuple[list[float], list[float]] | None:
    """Return the scale and the translation of axes that are transformed each for itself."""
    scale: list[float] = [1] * count
    shift: list[float] = [0] * count
    seen: list[float] = []
    for entry in mappings(transform.get("transformations")):
        axes, inner = entry.get("inputAxes"), entry.get("transformation")
        if not is_list(axes) or axes != entry.get("outputAxes") or not _are_numbers(axes):
            return None
        found = _folded(list(_steps(inner, len(axes))), len(axes))
        if found is None or not all(i in range(count) for i in axes):
            return None
        for k, i in enumerate(map(int, axes)):
            scale[i], shift[i] = found[0][k], found[1][k]
        seen += axes
    return (scale, shift) if sorted(seen) == list(range(count)) else None


def _are_numbers(values: object, count: int | None = None) -> TypeGuard[Sequence[float]]:
    return (
        is_list(values) and (count is None or len(values) == count) and all(map(is_finite, values))
    )
