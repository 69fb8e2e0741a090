"""What texts and tables have in common: axes, lengths and positions as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chunkscale.geometry.units import symbol
from chunkscale.text import count, number, times

Facts = Mapping[str, Any]


def spatial(grid: Facts) -> list[int]:
    """Return the positions of the axes that have voxel sizes."""
    return [i for i, axis in enumerate(grid["axes"]) if axis["type"] == "space"]


def unit_of(axis: Facts) -> str:
    """Return the symbol of an axis' unit; nothing if there is none.

    Examples
    --------
    >>> unit_of({"name": "t", "type": "time", "unit": "second"})
    's'
    """
    return _TIMES.get(axis["unit"], "") or symbol(axis["unit"])


_TIMES = {"second": "s", "millisecond": "ms", "microsecond": "µs", "minute": "min", "hour": "h"}


def common_unit(*grids: Facts) -> str | None:
    """Return the unit of all spatial axes, empty where none has one; None where they differ."""
    units = {unit_of(grid["axes"][i]) for grid in grids for i in spatial(grid)}
    return units.pop() if len(units) == 1 else None


def with_unit(value: float | None, axis: Facts) -> str:
    """Return a number with the unit of its axis."""
    return f"{number(value)} {unit_of(axis)}".rstrip()


def voxel_size(grid: Facts) -> str:
    """Return the voxel size along the spatial axes.

    Examples
    --------
    >>> axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    >>> voxel_size({"axes": axes, "voxel_size": [1.0, 0.2, 0.2]})
    '1 x 0.2 x 0.2 µm'
    """
    unit = common_unit(grid)
    if unit is not None:
        return f"{times(grid['voxel_size'][i] for i in spatial(grid))} {unit or '(no unit)'}"
    return by_axis(grid)


def by_axis(grid: Facts) -> str:
    """Return the voxel size with the name of each spatial axis: ``z 1 µm, y 0.2 µm``."""
    if all(grid["voxel_size"][i] is None for i in spatial(grid)):
        return "not stated"
    return ", ".join(
        f"{grid['axes'][i]['name']} {with_unit(grid['voxel_size'][i], grid['axes'][i])}"
        for i in spatial(grid)
    )


def time_step(grid: Facts) -> str:
    """Return the time between two time points; nothing if that is not known."""
    for axis, size in zip(grid["axes"], grid["voxel_size"], strict=True):
        if axis["type"] == "time" and (axis["unit"] or size != 1):
            return with_unit(size, axis)
    return ""


def positions(level: Facts, grid: Facts) -> list[str]:
    """Return a translation along the spatial axes; what is nothing but rounding is 0.

    Parameters
    ----------
    level, grid : mapping
        What has the translation and the voxel size, and what has the axes.
    """
    pairs = ((level["translation"][i], level["voxel_size"][i]) for i in spatial(grid))
    return [position(place, size) for place, size in pairs]


def position(place: float, size: float) -> str:
    """Return where something lies, to a millionth of a voxel.

    Examples
    --------
    >>> position(-0.29800000000000004, 0.202), position(5.5e-17, 0.1), position(-0.0, 1)
    ('-0.298', '0', '0')
    """
    return number(0.0 if abs(place) < 1e-6 * size else place)


def translation(grid: Facts) -> str:
    """Return the translation along the spatial axes: ``-0.25, 0.1, 0.1 µm``."""
    unit = common_unit(grid)
    return f"{', '.join(positions(grid, grid))} {unit or ''}".rstrip()


def axis_names(grid: Facts) -> str:
    """Return the names of the axes: ``zyx``, or with commas where one has more letters."""
    names = [axis["name"] for axis in grid["axes"]]
    return "".join(names) if all(len(name) == 1 for name in names) else ", ".join(names)


def volume(grid: Facts) -> str:
    """Return shape and voxel size along the spatial axes, as a sentence has them."""
    return f"{times(grid['shape'][i] for i in spatial(grid))} voxels of {voxel_size(grid)}"


def further(grid: Facts) -> str:
    """Return what there is along the other axes, in brackets: ``(5 time points, 2 channels)``."""
    found = ", ".join(_further(grid))
    return f" ({found})" if found else ""


def _further(grid: Facts) -> Iterator[str]:
    for axis, size in zip(grid["axes"], grid["shape"], strict=True):
        if axis["type"] == "time":
            yield count(size, "time point")
        elif axis["type"] == "channel":
            yield count(size, "channel")
        elif axis["type"] != "space":
            yield f"{size} along {axis['name']}"


def kind(facts: Facts) -> str:
    """Return what a collection is, for a sentence."""
    found = facts["kind"]
    return "a series (bioformats2raw)" if found == "bioformats2raw" else f"a {found}"


def cells(row: Sequence[str], width: int) -> list[str]:
    """Return a row with as many cells as the others have."""
    return [*row, *[""] * (width - len(row))]
