"""The units of an image whose metadata do not name them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.units import METRES, metres, ngff_unit, symbol
from chunkscale.ome.model import Multiscale


def in_unit(image: Multiscale, unit: str) -> Multiscale:
    """Return an image whose spatial axes have a unit where the metadata name none of length."""
    if not isinstance(unit, str):
        raise OptionError(f"source_unit {unit!r} is not a unit; give one like 'micrometer'")
    named = ngff_unit(unit)
    spatial = [a for a in image.axes if a.kind == "space"]
    bare = [a for a in spatial if a.unit not in METRES]
    if not bare and (others := [a for a in spatial if metres(a.unit) != metres(named)]):
        raise OptionError(
            f"source_unit {unit!r} is given, but the image states {symbol(others[0].unit)}; leave "
            "it out"
        )
    if not unit:
        return image
    axes = tuple(replace(a, unit=named) if a in bare else a for a in image.axes)
    return replace(image, axes=axes)


def united(image: Multiscale, given: Mapping[str, float]) -> Multiscale:
    """Return an image with one unit for all spatial axes, where their voxel sizes are given.

    Numbers that are given together are of one unit: that of the axes that have one. Where several
    units of length are stated each number is in that of its axis.

    Parameters
    ----------
    image : Multiscale
    given : mapping of str to float
        Voxel sizes by axis.
    """
    units = {a.unit for a in image.axes if a.kind == "space" and a.unit in METRES}
    if len(units) != 1 or any(a.name not in given for a in image.axes if a.kind == "space"):
        return image
    (unit,) = units
    axes = tuple(replace(a, unit=unit) if a.kind == "space" else a for a in image.axes)
    return replace(image, axes=axes)


def unit_notices(image: Multiscale, found: Multiscale) -> Iterator[Notice]:
    """Yield what `united` has changed."""
    names = [a.name for a, b in zip(image.axes, found.axes, strict=True) if a.unit != b.unit]
    if names:
        unit = next(symbol(a.unit) for a in found.axes if a.kind == "space")
        text = f"the given voxel size is taken to be in {unit} along {', '.join(names)}, too"
        yield Notice("unit", text)
