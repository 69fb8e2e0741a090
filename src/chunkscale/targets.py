"""Voxel sizes, factors and shapes as users write them, and the grids that they ask for."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chunkscale.errors import NoUnitError, OptionError
from chunkscale.geometry.grid import VoxelGrid, reshaped_grid, resized_grid
from chunkscale.geometry.units import (
    METRES,
    Length,
    in_one_unit,
    is_finite,
    metres,
    ngff_unit,
    parse_length,
    symbol,
)
from chunkscale.parameters import Shape, VoxelSize
from chunkscale.text import by_commas, shown

_SIZE_HINT = (
    "give a number in the unit of the source, one with a unit like 500nm, one for each spatial "
    "axis like 1,0.5,0.5 or z=1,y=0.5,x=0.5, 'finest', 'coarsest' or 'same'"
)
_SOURCE_HINT = (
    "give one number or one for each axis, like 1,0.2,0.2 or z=1,y=0.2,x=0.2, in the unit of the "
    "source, or with one like 500nm"
)
_POINT = "decimal numbers have a point, like 0.5"
_FACTOR_HINT = "give a number, or one for each spatial axis like 5,1,1 or z=5"
_SHAPE_HINT = "give whole numbers of voxels for each spatial axis, like 256,256,256 or z=256"

_WORDS = ("finest", "coarsest", "same")

#: Voxels that no index reaches.
_ENDLESS = 2**63


def target_grid(
    source: VoxelGrid,
    *,
    voxel_size: VoxelSize = "finest",
    zoom: float = 1.0,
    factor: VoxelSize | None = None,
    shape: Shape | Mapping[str, int] | None = None,
) -> VoxelGrid:
    """Return the target grid of a voxel size and a zoom, of factors, or of a shape.

    Parameters
    ----------
    source : VoxelGrid
    voxel_size : float, str, mapping or sequence
        One number for all spatial axes, or one for each, in the source's unit or with one of
        their own (``"500nm"``); ``"finest"`` or ``"coarsest"`` (the smallest or largest that
        the source has along a spatial axis; those of one voxel do not count, and stay), or
        ``"same"``, which keeps them.
    zoom : float
        Divides the voxel size.
    factor : float, str, mapping or sequence, optional
        Instead: how many times as many voxels an axis gets.
    shape : int, str, mapping or sequence, optional
        Instead: voxels along each spatial axis. The voxel size is the extent over them.

    Examples
    --------
    >>> from chunkscale import Axis, VoxelGrid
    >>> zyx = tuple(Axis(name=n, unit="micrometer") for n in "zyx")
    >>> stack = VoxelGrid(axes=zyx, shape=(86, 396, 393), voxel_size=(1.0, 0.202, 0.202))
    >>> target_grid(stack, voxel_size=1).shape
    (86, 80, 79)
    >>> target_grid(stack, voxel_size="1000nm", zoom=2).shape
    (172, 160, 159)
    >>> target_grid(stack, factor="z=5").voxel_size
    (0.2, 0.202, 0.202)
    >>> target_grid(stack, shape="z=172,y=160").voxel_size
    (0.5, 0.49995, 0.202)
    >>> target_grid(stack, shape="64x64x64") == target_grid(stack, shape=64)
    True
    """
    if not (is_finite(zoom) and zoom > 0):
        raise OptionError(f"zoom {shown(zoom)} is not a positive finite number")
    names = {source.axes[i].name: i for i in source.spatial}
    if shape is not None:
        spelled = by_commas(shape) if isinstance(shape, str) else shape
        counts = _by_axis("shape", shape, _parse("shape", spelled, _whole, _SHAPE_HINT), names)
        return reshaped_grid(source, {names[name]: n for name, n in counts.items()})
    if factor is not None:
        factors = _by_axis("factor", factor, _parse("factor", factor, _number, _FACTOR_HINT), names)
        for number in factors.values():
            if not (math.isfinite(number) and number > 0):
                raise OptionError(f"factor {factor!r} is not positive and finite; {_FACTOR_HINT}")
        sizes = {names[name]: source.voxel_size[names[name]] / f for name, f in factors.items()}
        return resized_grid(source, sizes)
    sizes = _sizes(source, voxel_size, names)
    return resized_grid(source, {i: size / zoom for i, size in sizes.items()})


def _sizes(source: VoxelGrid, given: VoxelSize, names: Mapping[str, int]) -> dict[int, float]:
    """Return the voxel sizes of the spatial axes by position."""
    present = {i: source.voxel_size[i] for i in source.spatial}
    wanted = _parse("voxel size", given, _length, _SIZE_HINT, _WORDS)
    if wanted == "same":
        return present
    is_bare = isinstance(wanted, Length) and not wanted.unit
    if is_bare or isinstance(wanted, str):
        _check_units(source, given, lengths=isinstance(wanted, str))
    if isinstance(wanted, str):
        return _extreme(source, min if wanted == "finest" else max)
    if isinstance(wanted, list) and len(wanted) == source.ndim > len(names):
        kept = [i for i in range(source.ndim) if i not in source.spatial]
        if any(wanted[i].unit or wanted[i].value != source.voxel_size[i] for i in kept):
            raise OptionError(
                f"voxel size {given!r} changes an axis that is not spatial, and only spatial axes "
                f"are resampled; give values for {', '.join(names)}"
            )
        wanted = [wanted[i] for i in source.spatial]
    lengths = _by_axis("voxel size", given, wanted, names)
    for name, length in lengths.items():
        try:
            present[names[name]] = length.in_unit(source.axes[names[name]].unit)
        except ValueError as error:
            raise OptionError(
                f"voxel size {given!r} cannot be converted along axis {name!r}: {error}; give a "
                "number without a unit"
            ) from error
    return present


def _check_units(source: VoxelGrid, given: VoxelSize, *, lengths: bool) -> None:
    """Refuse one voxel size for axes whose units differ, but for one of `lengths` that compare."""
    units = {source.axes[i].name: source.axes[i].unit for i in source.spatial}
    known = set(units.values()) <= set(METRES)
    if len(set(map(metres, units.values()))) == 1 or (lengths and known):
        return
    listed = ", ".join(f"{name} {symbol(unit)}".rstrip() for name, unit in units.items())
    raise OptionError(
        f"the spatial axes have different units ({listed}), so one voxel size {given!r} cannot "
        f"apply to all; give {'it with a unit, like 500nm, or ' * known}one for each axis, like "
        "z=1,y=0.5,x=0.5"
    )


def _extreme(source: VoxelGrid, choose: Callable[..., int]) -> dict[int, float]:
    """Return the smallest or largest voxel size, for each axis in its own unit."""
    resized = thick(source)
    units = [source.axes[i].unit for i in resized]
    alike = dict(
        zip(resized, in_one_unit([source.voxel_size[i] for i in resized], units), strict=True)
    )
    chosen = choose(resized, key=lambda i: alike[i])
    if len(set(map(metres, units))) == 1:
        return dict.fromkeys(resized, float(source.voxel_size[chosen]))
    length = Length(source.voxel_size[chosen], source.axes[chosen].unit or "")
    return {i: length.in_unit(source.axes[i].unit) for i in resized}


def thick(source: VoxelGrid) -> tuple[int, ...]:
    """Return the spatial axes that have more than one voxel; all of them if none has.

    Between one plane and its neighbours there is nothing to interpolate, and its size along that
    axis is often a placeholder: the finest voxel size must not come from it.
    """
    return tuple(i for i in source.spatial if source.shape[i] > 1) or source.spatial


def source_sizes(value: VoxelSize, units: Mapping[str, str | None], ndim: int) -> dict[str, float]:
    """Return the voxel size of a source by axis, in the units of its spatial axes, which come last.

    One number for each of its `ndim` axes is taken, too, as `VoxelGrid.voxel_size` has them;
    those of time and channels say nothing of voxels.

    Raises
    ------
    NoUnitError
        If the sizes of all axes without a unit of length are given, in one: see `adopting`.
    OptionError

    Examples
    --------
    >>> zyx = dict.fromkeys("zyx", "micrometer")
    >>> source_sizes("1,0.5,500nm", zyx, 3), source_sizes("z=2", zyx, 3)
    ({'z': 1.0, 'y': 0.5, 'x': 0.5}, {'z': 2.0})
    >>> source_sizes((30.0, 1.0, 0.5, 0.5), zyx, 4)
    {'z': 1.0, 'y': 0.5, 'x': 0.5}
    """
    parsed = _parse("source voxel size", value, _length, _SOURCE_HINT)
    if isinstance(parsed, list) and len(parsed) == ndim:
        parsed = parsed[ndim - len(units) :]
    # Of an axis that is named and not there, or not spatial, whoever knows the axes will tell.
    lengths = (
        parsed if isinstance(parsed, dict) else _by_axis("source voxel size", value, parsed, units)
    )
    bare = [name for name, unit in units.items() if unit not in METRES]
    of_bare = [lengths[name].unit for name in bare if name in lengths]
    if any(of_bare):
        what = f"source voxel size {value!r} has a unit, but the source has no unit of length along"
        if len(of_bare) < len(bare):
            missing = [name for name in bare if name not in lengths]
            raise OptionError(
                f"{what} {', '.join(bare)}; give the size along {', '.join(missing)} as well"
            )
        message = f"{what} {', '.join(bare)}; give plain numbers, or leave source_unit out"
        stated = (unit for unit in units.values() if unit in METRES)
        raise NoUnitError(message, ngff_unit(next(stated, None) or next(filter(None, of_bare))))
    return {
        name: length.in_unit(units[name]) if name in units else length.value
        for name, length in lengths.items()
    }


def names_unit(value: VoxelSize) -> bool:
    """Whether a voxel size has a unit of its own.

    Examples
    --------
    >>> names_unit("500nm"), names_unit("z=1,y=0.5"), names_unit(0.5), names_unit({"z": "1 um"})
    (True, False, False, True)
    """
    parsed = _parse("voxel size", value, _length, _SIZE_HINT, _WORDS)
    found = parsed if isinstance(parsed, list) else [parsed]
    lengths = parsed.values() if isinstance(parsed, dict) else found
    return any(isinstance(length, Length) and length.unit for length in lengths)


def _parse(
    name: str,
    value: object,
    number: Callable[[object], Any],
    hint: str,
    words: Sequence[str] = (),
) -> Any:
    """Return an option as one of `words`, a number, a list of them, or numbers by axis."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    try:
        if isinstance(value, str):
            text = value.strip()
            if text in words:
                return text
            parts = text.split(",")
            if "=" not in text:
                return list(map(number, parts)) if len(parts) > 1 else number(text)
            pairs = [part.partition("=") for part in parts if part.strip()]
            if nameless := [size for size, mark, _ in pairs if not mark]:
                raise ValueError(f"{nameless[0]!r} has no axis; {_POINT}")
            if len({axis.strip() for axis, _, _ in pairs}) < len(pairs):
                raise ValueError("an axis appears twice")
            return {axis.strip(): number(size) for axis, _, size in pairs}
        if isinstance(value, Mapping):
            if not value:
                raise ValueError("it names no axis")
            return {str(axis): number(size) for axis, size in value.items()}
        if isinstance(value, Sequence | np.ndarray):
            return list(map(number, value))
        return number(value)
    except ValueError as error:
        raise OptionError(f"{name} {shown(value)} is not understood: {error}; {hint}") from error


def _length(value: object) -> Length:
    return parse_length(value) if isinstance(value, str) else Length(_number(value))


def _number(value: Any) -> float:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a plain number") from None
    except OverflowError:
        raise ValueError("a whole number is larger than any size") from None


def _whole(value: Any) -> int:
    try:
        found = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a whole number") from None
    if found < 1 or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number of voxels")
    if found >= _ENDLESS:
        raise ValueError("a whole number is larger than any array")
    return found


def _has_commas(name: str, given: object) -> bool:
    """Whether a list with a wrong number of values may be numbers with decimal commas."""
    return isinstance(given, str) and "." not in given and name != "shape"


def _by_axis(name: str, given: object, parsed: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return a parsed option by axis: of all of them, or of those that it names."""
    listed = list(names)
    if isinstance(parsed, list):
        if len(parsed) != len(listed):
            raise OptionError(
                f"{name} {given!r} has {len(parsed)} values for the {len(listed)} spatial axes "
                f"{', '.join(listed)}" + (f"; {_POINT}" if _has_commas(name, given) else "")
            )
        return dict(zip(listed, parsed, strict=True))
    if not isinstance(parsed, dict):
        return dict.fromkeys(listed, parsed)
    for axis in parsed:
        if axis not in listed:
            raise OptionError(
                f"{name} {given!r} names axis {axis!r}; the spatial axes are {', '.join(listed)}"
            )
    return parsed
