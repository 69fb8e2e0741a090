"""Arrays of other libraries that say where their voxels are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import ngff_unit
from chunkscale.sources.array_grids import array_grid
from chunkscale.sources.base import Sizes
from chunkscale.sources.dask_blocks import check_chunks
from chunkscale.sources.foreign import is_dask_array

#: Names of dimensions, in lower case -> what the axis is called.
AXIS_NAMES = {name: name for name in "tczyx"} | {"time": "t", "channel": "c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An array, and what its library has to say of it.

    Parameters
    ----------
    what : str
        Like ``"xarray.DataArray"``.
    array : Any
        Of NumPy, Dask or CuPy. Its spatial axes come last, in the order of z, y, x.
    axes : str
        One letter for each: t, c, z, y, x.
    spacing, translation : mapping of str to float
        By axis (time included), as far as it is known.
    units : mapping of str to str
        As OME-NGFF spells them.
    unknown : mapping of str to str
        Why the spacing of a spatial axis is not known, and what makes it known.
    irregular : mapping of str to str
        Spatial axes whose coordinates do not rise in equal steps, and how they do.
    attributes : mapping
        What an OME-Zarr image of it takes over, as attributes of an NGFF group.
    notices, lost, copied : tuple of Notice
        What is strange about it; what an OME-Zarr image of it will not have; and what may not be
        right of what `wrap` makes.
    wrap : callable
        Takes an array with these axes and its grid, and returns what was given with them.
    """

    what: str
    array: Any
    axes: str
    wrap: Callable[[Any, VoxelGrid], Any]
    spacing: Mapping[str, float] = field(default_factory=dict)
    translation: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    irregular: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    is_label: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    lost: tuple[Notice, ...] = ()
    copied: tuple[Notice, ...] = ()

    @property
    def spatial(self) -> list[str]:
        """Names of the spatial axes."""
        return [name for name in self.axes if name in "zyx"]


def axis_names(what: str, dims: Sequence[Any], axes: Sequence[str] | None) -> dict[Any, str]:
    """Return the letter of each dimension, in their order.

    Parameters
    ----------
    what : str
    dims : sequence
        Their names.
    axes : str, optional
        What the user calls them, in order: for dimensions whose names say nothing.

    Raises
    ------
    OptionError
    """
    known = [AXIS_NAMES.get(str(dim).lower(), "") for dim in dims]
    if axes is None or list(axes) in (known, canonical(known)):
        found = known
    elif any(known) or len(axes) != len(dims):
        raise OptionError(
            f"axes {''.join(axes)!r} are given, and the dimensions of the {what} are "
            f"{', '.join(map(str, dims))}; leave axes out, or rename the dimensions"
        )
    else:
        found = list(axes)
    for dim, name in zip(dims, found, strict=True):
        if not name or found.count(name) > 1:
            raise OptionError(
                f"dimension {dim!r} of the {what} (of {', '.join(map(str, dims))}) is not one of "
                f"t, c, z, y, x, or repeats one; rename it, like array.rename({{{dim!r}: 'z'}}), "
                f"or take one of its indices, like array.isel({{{dim!r}: 0}})"
            )
    return dict(zip(dims, found, strict=True))


def canonical(names: Sequence[str]) -> list[str]:
    """Return axes in the order of OME-NGFF: t, c, z, y, x."""
    return sorted(names, key="tczyx".find)


def placed_grid(
    placed: Placed,
    *,
    sizes: Sizes | None = None,
    translation: Sequence[float] | None = None,
    unit: str | None = None,
) -> tuple[VoxelGrid, tuple[Notice, ...]]:
    """Return the grid of an array, and where options came before what it says itself."""
    if is_dask_array(placed.array):
        check_chunks(placed.array)
    spatial = placed.spatial
    common = {placed.units[name] for name in spatial if name in placed.units}
    others = next(iter(common)) if len(common) == 1 else None
    said_unit = ngff_unit(unit) if isinstance(unit, str) else None
    known_units = {name: said_unit or placed.units.get(name, others) for name in spatial}
    given = {} if sizes is None else dict(sizes(known_units, len(placed.axes)))
    for name in given:
        if name not in spatial:
            raise OptionError(
                f"source_voxel_size names axis {name!r}; the spatial axes of the {placed.what} are "
                f"{', '.join(spatial)}"
            )
    known = {name: placed.spacing[name] for name in spatial if name in placed.spacing}
    for name in spatial:
        if name in placed.irregular and name not in given:
            raise OptionError(
                f"the voxels of the {placed.what} are not regular along {name}: "
                f"{placed.irregular[name]}; interpolate them there first, or give "
                f"source_voxel_size={{{name!r}: ...}} to take them as regular"
            )
        if name not in given and name not in known:
            raise OptionError(
                f"the {placed.what} does not give the voxel size along {name}: "
                f"{placed.unknown.get(name, 'it says none')}; give source_voxel_size, like "
                f"{{{name!r}: 1.0}}"
            )
    # What is not resampled keeps its step.
    grid = array_grid(
        placed.array.shape,
        lambda units, _: {name: (known | given)[name] for name in units},
        axes=placed.axes,
        translation=translation,
        unit=unit,
    )
    step = [placed.spacing.get(a.name, s) if a.kind == "time" else s for a, s in _pairs(grid)]
    units = dict(placed.units)
    if unit is None and len(common := {units[name] for name in spatial if name in units}) == 1:
        # What is given for an axis that says nothing is in the unit of the others.
        units |= {name: unit or next(iter(common)) for name in placed.unknown if name in given}
    axes = [
        axis if unit and axis.kind == "space" else replace(axis, unit=units.get(axis.name))
        for axis in grid.axes
    ]
    stated = {
        name: t
        for name, t in placed.translation.items()
        if translation is None or name not in spatial
    }
    origin = [stated.get(a.name, t) for a, t in zip(grid.axes, grid.translation, strict=True)]
    said = (*_overruled(placed, given, translation, unit), *_unknown_step(placed))
    return grid.replace(axes=tuple(axes), voxel_size=tuple(step), translation=tuple(origin)), said


def _unknown_step(placed: Placed) -> Iterator[Notice]:
    """Say that a step is made up, where a unit makes a length of time of it."""
    if "t" in placed.axes and "t" in placed.units and "t" not in placed.spacing:
        unit = placed.units["t"]
        text = (
            f"the {placed.what} has no time step, but positions in {unit}: a step of 1 {unit} is "
            "written, because OME-Zarr needs one"
        )
        yield Notice("time", text)


def _pairs(grid: VoxelGrid) -> Iterator[tuple[Any, float]]:
    return zip(grid.axes, grid.voxel_size, strict=True)


def _overruled(
    placed: Placed,
    given: Mapping[str, float],
    translation: Sequence[float] | None,
    unit: str | None,
) -> Iterator[Notice]:
    """Yield a notice for each option that says another thing than the array."""
    places = dict(zip(placed.spatial, () if translation is None else translation, strict=False))
    for option, asked, stated in (
        ("source_voxel_size", given, placed.spacing),
        ("source_translation", places, placed.translation),
    ):
        other = [
            f"{name} {stated[name]:.6g}"
            for name, value in asked.items()
            if name in stated and not math.isclose(stated[name], value, rel_tol=1e-6, abs_tol=1e-9)
        ]
        if other:
            yield Notice(
                "given",
                f"{option} is used, although the {placed.what} says {', '.join(other)}",
            )
    for name in given:
        if name in placed.irregular:
            text = f"source_voxel_size is used along {name}, although {placed.irregular[name]}"
            yield Notice("given", text)
    units = {placed.units[name] for name in placed.spatial if name in placed.units}
    if unit and units - {ngff_unit(unit)}:
        text = f"source_unit is used, although the {placed.what} says {', '.join(sorted(units))}"
        yield Notice("given", text)
