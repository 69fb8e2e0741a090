"""Coordinate transformations of NGFF metadata, composed to one scale and one translation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from chunkscale.errors import MetadataError
from chunkscale.geometry.grid import Axis
from chunkscale.ome.compose import flattened
from chunkscale.ome.entries import DEEPEST, TRANSFORMS, axis_names, depth, is_list, short


class Affine(NamedTuple):
    """A scale and the translation after it; None where there is none, or none that can be used.

    `faults` says what cannot be used: voxel sizes that are given stand in for such numbers.
    `backwards` is a scale with a negative number along a spatial axis, in words: nothing does.
    """

    scale: tuple[float, ...] | None
    translation: tuple[float, ...] | None
    faults: tuple[str, ...] = ()
    backwards: str = ""


def parse_affine(
    value: object, axes: tuple[Axis, ...], where: str, *, identity_is_scale: bool = False
) -> Affine:
    """Read a list of transformations, the numbers unchecked but for their count and type.

    With `identity_is_scale`, an identity alone says that voxels have size 1.
    Before 0.6 it says nothing: a scale is required beside it.
    """
    if value is not None and not is_list(value):
        raise MetadataError(f"{TRANSFORMS} of {where} is {short(value)}; it must be a list")
    found: dict[str, tuple[float, ...] | None] = {}
    faults: list[str] = []
    identity, backwards = False, ""
    for entry in value or ():
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        if kind == "identity":
            identity = True
        elif kind in ("scale", "translation"):
            if kind in found:
                remedy = "multiply" if kind == "scale" else "add"
                raise MetadataError(f"{where} has two {kind}s; {remedy} them into one")
            if kind == "scale" and found:
                raise MetadataError(
                    f"{where} has its translation before its scale; list the scale first and give "
                    "the translation in physical units"
                )
            if kind == "scale" and (turned := _turned(entry.get(kind), axes)):
                backwards = f"the scale of {where} is {short(entry.get(kind))}, so {turned}"
            try:
                found[kind] = _vector(entry, kind, axes, where)
            except MetadataError as error:
                found[kind] = None
                faults.append(str(error))
        else:
            raise MetadataError(
                f"{where} has a transformation of type {kind!r} ({short(entry)}); only scale and "
                "translation are supported: resample the image onto an axis-aligned grid first, "
                "or remove the transformation"
            )
    if "scale" not in found and identity and identity_is_scale:
        found["scale"] = (1.0,) * len(axes)
    zeros = (0.0,) * len(axes)
    shift = found.get("translation", zeros)
    return Affine(found.get("scale"), shift, tuple(faults), backwards)


def _turned(value: object, axes: tuple[Axis, ...]) -> str:
    """Say which spatial axis has a negative number in a scale, or that one may have; or nothing."""
    if is_list(value) and len(value) == len(axes):
        pairs = zip(axes, value, strict=True)
        names = [axis.name for axis, v in pairs if axis.kind == "space" and _negative(v)]
        return f"axis {names[0]!r} runs backwards" if names else ""
    return "an axis runs backwards" if _negative(value) else ""


def _negative(value: object) -> bool:
    """Whether there is a negative number in a value, however it is spelled."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if is_list(value):
        return any(map(_negative, value))
    if isinstance(value, str):
        return re.search(r"(^|[^\w.])-\s*\.?\d", value) is not None
    return isinstance(value, int | float) and value < 0


def parse_intrinsic_affine(dataset: Mapping[str, Any], axes: tuple[Axis, ...]) -> Affine:
    """Read the one transformation of a dataset of version 0.6."""
    where = f"dataset {dataset['path']!r}"
    value = dataset.get(TRANSFORMS)
    if is_list(value) and len(value) > 1:
        raise MetadataError(
            f"{where} has {len(value)} transformations; where 'coordinateSystems' have the "
            "axes (0.6) it has one, a scale or a sequence of a scale and a translation"
        )
    if depth(value) > DEEPEST:
        raise MetadataError(
            f"the transformation of {where} is nested deeper than {DEEPEST}; write out one scale "
            "and one translation"
        )
    if is_list(value) and len(value) == 1 and isinstance(value[0], Mapping):
        value = flattened(value[0], len(axes))
    return parse_affine(value, axes, where, identity_is_scale=True)


def _vector(
    entry: Mapping[str, Any], kind: str, axes: tuple[Axis, ...], where: str
) -> tuple[float, ...]:
    values = entry.get(kind)
    if not is_list(values):
        stored = entry.get("path", values)
        hint = (
            f"its values are in the file {stored!r}, which is not read: write them into the "
            "metadata"
            if isinstance(stored, str)
            else "it must be a list of numbers"
        )
        raise MetadataError(f"the {kind} of {where} is {short(values)}; {hint}")
    if len(values) != len(axes):
        raise MetadataError(
            f"the {kind} of {where} has {len(values)} values, {short(values)}, for the "
            f"{len(axes)} axes {axis_names(axes)}; give one value per axis"
        )
    return tuple(
        _number(value, kind, axis, where) for value, axis in zip(values, axes, strict=True)
    )


def _number(value: object, kind: str, axis: Axis, where: str) -> float:
    if value is None:
        return math.nan  # how writers that follow JSON to the letter spell it
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(
            f"the {kind} of {where} along axis {axis.name!r} is {short(value)}; it must be a number"
        )
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_usable(size: float) -> bool:
    return math.isfinite(size) and size > 0
