"""Parts of an image as users say them: indices along an axis, and a box in space."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chunkscale.errors import OptionError
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import parse_length, symbol

#: What `parse_indices` and `parse_crop` take.
Indices = int | str | slice | range | Sequence[int | str]
Crop = str | Box | Mapping[str, Any]

_RANGE = re.compile(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(?::\s*(\d+)?\s*)?")


def parse_indices(
    name: str, value: Indices, count: int, labels: Sequence[str] = ()
) -> tuple[int, ...]:
    """Return the indices that an option selects of `count`, in its order.

    Parameters
    ----------
    name : str
        Of the option, for messages.
    value : int, str, slice, range or sequence
        Indices (from the end, if negative), ranges without their end like ``"3:6"`` or
        ``"0:10:2"``, and labels. What is both an index and a label is the index.
    count : int
    labels : sequence of str

    Examples
    --------
    >>> parse_indices("channels", "0,DAPI", 3, ["GFP", "RFP", "DAPI"])
    (0, 2)
    >>> parse_indices("timepoints", "3:6", 10), parse_indices("timepoints", "::4", 10)
    ((3, 4, 5), (0, 4, 8))
    """
    found: list[int] = []
    for part in parts_of(value):
        found += _selected(name, value, part, count, labels)
    if not found:
        raise OptionError(f"{name} {value!r} selects nothing; {_choices(count, labels)}")
    if len(set(found)) < len(found):
        raise OptionError(f"{name} {value!r} selects an index twice; give each once")
    return tuple(found)


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a selection lists, one by one."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, np.ndarray) and not value.ndim:
        return (value.item(),)
    if isinstance(value, Sequence) or (not isinstance(value, slice) and hasattr(value, "__iter__")):
        return value
    return (value,)


def _selected(
    name: str, value: Indices, part: Any, count: int, labels: Sequence[str]
) -> Iterable[int]:
    if isinstance(part, slice):
        return range(count)[part]
    if isinstance(part, str):
        if (found := _RANGE.fullmatch(part)) and part not in labels:
            start, stop, step = (None if text is None else int(text) for text in found.groups())
            if step == 0:
                raise OptionError(f"{name} {value!r} has the step 0; leave it out, or give 1")
            if all(end is None or -count <= end <= count for end in (start, stop)):
                return range(count)[start:stop:step]
        elif re.fullmatch("-?[0-9]+", part) and -count <= int(part) < count:
            return (int(part) % count,)
        places = [i for i, label in enumerate(labels) if label == part]
        if len(places) > 1:
            raise OptionError(f"{name} {value!r}: {part!r} is the name of {places}; give indices")
        if places:
            return places
    else:
        try:
            index = operator.index(part)
        except TypeError:
            index = count
        if -count <= index < count and not isinstance(part, bool):
            return (index % count,)
    raise OptionError(f"{name} {value!r}: there is no {part!r}; {_choices(count, labels)}")


def _choices(count: int, labels: Sequence[str]) -> str:
    named = f", called {', '.join(labels)}" if labels else ""
    return f"there are {count}, 0 to {count - 1}{named}" if count > 1 else f"there is only 0{named}"


def parse_crop(value: Crop, grid: VoxelGrid) -> Box:
    """Return the box of voxels that a crop leaves of a grid; whole along axes that it leaves out.

    Parameters
    ----------
    value : str, Box or mapping
        ``"z=10:50,y=200:900"`` in voxels (from the end, if negative), with either end left
        out, or in lengths: ``"z=5um:20um"`` keeps the voxels whose centres lie there, in the
        coordinates of the image. A mapping has such texts, slices or pairs by axis. A Box has
        an interval for each spatial axis.
    grid : VoxelGrid

    Examples
    --------
    >>> from chunkscale import Axis, VoxelGrid
    >>> zyx = tuple(Axis(name=n, unit="micrometer") for n in "zyx")
    >>> stack = VoxelGrid(axes=zyx, shape=(86, 396, 393), voxel_size=(1.0, 0.202, 0.202))
    >>> print(parse_crop("z=10:50,x=-93:", stack))
    [10:50, 0:396, 300:393]
    >>> print(parse_crop("z=5um:20um", stack))
    [5:20, 0:396, 0:393]
    """
    start, stop = [0] * grid.ndim, list(grid.shape)
    for name, interval in _intervals(value, grid).items():
        i = grid.position(name)
        start[i], stop[i] = _interval(name, interval, value, grid)
    return Box(start=tuple(start), stop=tuple(stop))


def _intervals(value: Crop, grid: VoxelGrid) -> Mapping[str, Any]:
    names = [grid.axes[i].name for i in grid.spatial]
    if isinstance(value, Box):
        if len(value.start) != len(names):
            raise OptionError(f"crop {value} has {len(value.start)} axes; give one for {names}")
        return dict(zip(names, zip(value.start, value.stop, strict=True), strict=True))
    found: Mapping[str, Any] = {}
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        found = {name.strip(): text for name, _, text in pairs}
        if len(found) < len(pairs):
            raise OptionError(f"crop {value!r} names an axis twice; give one interval for each")
    elif isinstance(value, Mapping):
        found = value
    if not found or not set(found) <= set(names):
        raise OptionError(
            f"crop {value!r} is not understood; the spatial axes are {', '.join(names)}: give "
            "intervals in voxels or lengths, like z=10:50,y=200:900 or z=5um:20um"
        )
    return found


def _interval(name: str, given: Any, value: Crop, grid: VoxelGrid) -> tuple[int, int]:
    """Return the first voxel of an interval, and the one after the last."""
    i = grid.position(name)
    count = grid.shape[i]
    ends: Sequence[Any] = ()
    if isinstance(given, slice | range):
        ends = (given.start, given.stop) if given.step in (None, 1) else ()
    elif isinstance(given, str):
        ends = [end.strip() or None for end in given.split(":")]
    elif isinstance(given, Sequence):
        ends = given
    if len({_has_unit(end) for end in ends if end is not None}) > 1:
        raise OptionError(
            f"crop {value!r}: {given!r} has a unit at one end alone; give both ends along {name} "
            "in voxels or both in lengths, like 10:50 or 5um:20um"
        )
    try:
        first, last = (None if end is None else _place(end, i, grid) for end in ends)
    except (ValueError, TypeError, OverflowError) as error:
        why = f" ({error})" if len(ends) == 2 else ""
        raise OptionError(
            f"crop {value!r}: {given!r} is not an interval along {name}{why}; give it like 10:50 "
            "or 5um:20um"
        ) from error
    start, stop = 0 if first is None else first, count if last is None else last
    if not 0 <= start < stop <= count:
        low, high = grid.extent(i)
        raise OptionError(
            f"crop {value!r}: {given!r} is outside axis {name}, which has {count} "
            f"voxels, from {low:.6g} to {high:.6g} {symbol(grid.axes[i].unit)}".rstrip()
            + "; choose an interval inside"
        )
    return start, stop


def _has_unit(end: Any) -> bool:
    return isinstance(end, str) and re.search("[^-+.0-9 ]", end) is not None


def _place(end: Any, i: int, grid: VoxelGrid) -> int:
    """Return the first voxel that is not before an end of an interval."""
    if isinstance(end, str) and not re.fullmatch("-?[0-9]+", end):
        length = parse_length(end)
        if not length.unit:
            raise ValueError(f"{end} is not a whole number of voxels")
        position = length.in_unit(grid.axes[i].unit)
        index = (position - grid.translation[i]) / grid.voxel_size[i]
        close = math.isclose(index, round(index), rel_tol=1e-9, abs_tol=1e-9)
        # A length that begins before the first centre, or ends behind the last, takes all there is.
        return min(max(round(index) if close else math.ceil(index), 0), grid.shape[i])
    index = int(end) if isinstance(end, str) else operator.index(end)
    return index + grid.shape[i] if index < 0 else index
