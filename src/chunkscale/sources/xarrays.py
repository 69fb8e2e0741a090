"""The door to xarray: arrays whose coordinates say where their voxels are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import METRES, metres, ngff_unit
from chunkscale.ome.carry import counts_voxels
from chunkscale.ome.display import shown_channels
from chunkscale.sources.placed import Placed, axis_names, canonical
from chunkscale.sources.spacings import spacing_of
from chunkscale.sources.transformed import KEY, placement

if TYPE_CHECKING:
    import xarray

#: What the attributes of a DataArray call label images, whose ids must not be averaged.
LABELS = {"image_type": "labels"}

WHAT = "xarray.DataArray"

#: Names of attributes that are understood here; others have no place in an OME-Zarr image.
_UNDERSTOOD = ("image_type", "direction")

#: A key of Dask: a word, and a hash or a random number.
_KEY = re.compile(r".*-([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})")

#: A unit of time of the CF conventions: "seconds since 2020-01-01".
_SINCE = re.compile(r"\s*(\w+)\s+(?:since|after|from|ref)\s+(.+?)\s*", re.IGNORECASE)

#: Of the attributes of a coordinate, where its unit is looked for.
_UNITS = ("units", "unit")


def data_array(
    data: Any,
    grid: VoxelGrid,
    *,
    name: str | None = None,
    channels: Sequence[str] = (),
    is_label: bool = False,
) -> xarray.DataArray:
    """Return voxels on a grid as a `xarray.DataArray`; see `chunkscale.sources.views.Views`."""
    try:
        import xarray
    except ImportError as error:
        raise OptionError("xarray is not installed; install it with: pip install xarray") from error
    coordinates: dict[str, Any] = {}
    for i, axis in enumerate(grid.axes):
        if axis.kind in ("space", "time"):
            coordinates[axis.name] = _coordinate(grid, i, axis.name, {})
        elif channels and i == grid.channel_axis:
            coordinates[axis.name] = (axis.name, list(channels))
    found = xarray.DataArray(
        data,
        coords=coordinates,
        dims=[axis.name for axis in grid.axes],
        attrs=LABELS if is_label else {},
    )
    return found.rename(name)  # which it else takes from the keys of Dask


def _coordinate(grid: VoxelGrid, i: int, dim: str, before: Mapping[str, Any]) -> Any:
    """Return the coordinates of an axis as xarray takes them, with the attributes of before."""
    unit, spacing = grid.axes[i].unit, grid.voxel_size[i]
    attributes = {**before, "voxel_size": spacing}
    stated = _unit(before)
    if unit and (stated is None or metres(ngff_unit(stated)) != metres(unit)):
        attributes |= dict.fromkeys([k for k in _UNITS if k in before] or ["units"], unit)
    return dim, grid.translation[i] + spacing * np.arange(grid.shape[i]), attributes


def _unit(attributes: Mapping[str, Any]) -> str | None:
    found = (attributes.get(key) for key in _UNITS)
    return next((str(unit) for unit in found if unit is not None and str(unit)), None)


def placed_data_array(given: Any, axes: Sequence[str] | None) -> Placed | None:
    """Return what a `xarray.DataArray` says; None for what is not of xarray.

    Raises
    ------
    OptionError
        For what else xarray has, with the way to the array in it.
    """
    if not _is_of_xarray(given):
        return None
    kind = type(given).__name__
    if hasattr(given, "data_vars"):
        names = ", ".join(repr(str(name)) for name in list(given.data_vars)[:8]) or "(none)"
        below = [] if kind == "Dataset" else list(getattr(given, "children", ()))
        deeper = f", and below it are {', '.join(below)}" if below else ""
        raise OptionError(
            f"the source is an xarray.{kind}, which holds several arrays; give one of them, like "
            f"{kind.lower()}['NAME'] (its arrays are {names}{deeper})"
        )
    if not hasattr(given, "coords"):
        raise OptionError(
            f"the source is an xarray.{kind}, which is not supported; give an xarray.DataArray, or "
            "its data with source_voxel_size"
        )
    _refuse_turned(given)
    found = _Found(given, {name: dim for dim, name in axis_names(WHAT, given.dims, axes).items()})
    order = canonical(list(found.dims))
    dims = [found.dims[name] for name in order]
    array = given if _in_memory(given) else given.chunk("auto")
    array = array.data if list(given.dims) == dims else array.transpose(*dims).data
    for name in order:
        found.look_at(name)
    found.look_at_others()
    return Placed(
        what=WHAT,
        array=array,
        axes="".join(order),
        spacing=found.spacing,
        translation=found.translation,
        units=found.units,
        unknown=found.unknown,
        irregular=found.irregular,
        name=_name(given),
        is_label=found.is_label,
        attributes=shown_channels(found.channels),
        notices=tuple(found.notices),
        lost=tuple(found.lost),
        copied=tuple(found.copied),
        wrap=_Wrap(given, dims, found),
    )


def _name(given: Any) -> str | None:
    """Return its name; xarray calls arrays of Dask like their keys, which is none."""
    name = None if given.name is None else str(given.name)
    return None if name and _KEY.fullmatch(name) else name


def _is_of_xarray(given: object) -> bool:
    return any(kind.__module__.partition(".")[0] == "xarray" for kind in type(given).__mro__)


def _in_memory(given: Any) -> bool:
    """Whether voxels are at hand, or lazy; to ask for those of a file loads them all."""
    variable = given.variable
    if getattr(variable, "_in_memory", True) or given.chunks is not None:
        return True
    # An array of another library, on a GPU for one; a file is behind a class of xarray's own.
    return not type(variable._data).__module__.startswith("xarray.")


def _refuse_turned(given: Any) -> None:
    """Refuse arrays of ITK whose axes are turned."""
    direction = given.attrs.get("direction")
    if direction is not None and not np.array_equal(direction, np.eye(len(np.asarray(direction)))):
        raise OptionError(
            f"the {WHAT} has the direction {np.asarray(direction).tolist()}, and images are "
            "resampled along their axes; turn it with ITK, or if that does not matter give "
            "array.assign_attrs(direction=None)"
        )


class _Found:
    """What is found of a DataArray, axis by axis."""

    def __init__(self, given: Any, dims: dict[str, Any]) -> None:
        self.given, self.dims = given, dims
        self.spacing: dict[str, float] = {}
        self.translation: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.irregular: dict[str, str] = {}
        self.channels: list[str] = []
        self.notices: list[Notice] = []
        self.lost: list[Notice] = []
        self.copied: list[Notice] = []
        # Images of spatialdata lie where their transformations say.
        self.place = placement(given, dims)
        if self.place is not None:
            self.spacing |= self.place.spacing
            self.translation |= self.place.translation

    @property
    def is_label(self) -> bool:
        """Whether voxels are label ids; those of spatialdata are images without channels."""
        if self.place is not None:
            return "c" not in self.dims and self.given.dtype.kind in "iu"
        return all(self.given.attrs.get(key) == value for key, value in LABELS.items())

    def look_at(self, name: str) -> None:
        """Look at the coordinates of an axis."""
        dim = self.dims[name]
        if self.place is not None and name in self.place.spacing:
            return
        if dim not in self.given.coords:
            if name in "zyx":
                self.unknown[name] = f"dimension {dim!r} has no coordinates"
            return
        coordinate = self.given.coords[dim]
        values = np.asarray(coordinate.values)
        if name == "c":
            if not np.array_equal(values, np.arange(len(values))):
                self.channels = [str(value) for value in values]
            return
        if (unit := _unit(coordinate.attrs)) is not None:
            found = ngff_unit(self._counted(unit) if name == "t" else unit)
            if name == "t" or found in METRES:
                self.units[name] = found
            else:
                text = f"the unit {unit!r} along {name} is unknown, so voxel sizes have no unit"
                self.notices.append(Notice("unit", text))
        if values.dtype.kind in "mM" and name == "t":
            if np.isnat(values).any():
                self._say_irregular(name, "a time is missing (NaT)")
                return
            values = self._seconds(values)
        if values.dtype.kind not in "iuf":
            self._say_irregular(name, f"its coordinates are not numbers but {values.dtype}")
            return
        self._numbers(name, values, coordinate.attrs.get("voxel_size"))

    def _numbers(self, name: str, values: NDArray[Any], hint: object) -> None:
        if not np.isfinite(values[0]):
            self._say_irregular(name, f"the first coordinate is {values[0]}")
            return
        self.translation[name] = float(values[0])
        if len(values) == 1:
            if isinstance(hint, int | float | np.number) and np.isfinite(hint) and hint > 0:
                self.spacing[name] = float(hint)
            elif name != "t":
                self.unknown[name] = "one coordinate does not give a spacing"
            return
        try:
            self.spacing[name] = spacing_of(values, hint)
        except ValueError as error:
            if str(error) == "they fall" and name != "t":
                raise OptionError(
                    f"the coordinates of the {WHAT} fall along {name}, from {values[0]:.6g} to "
                    f"{values[-1]:.6g}, but positions of an image increase; flip it: "
                    f"array.isel({{{self.dims[name]!r}: slice(None, None, -1)}})"
                ) from None
            self._say_irregular(name, f"its coordinates are irregular: {error}")

    def _say_irregular(self, name: str, text: str) -> None:
        if name != "t":
            self.irregular[name] = text
            return
        self.translation.pop("t", None)
        self.units.pop("t", None)
        text = f"{text}, along t, which OME-Zarr cannot express; the output has no time step"
        self.lost.append(Notice("lost", text))

    def _counted(self, unit: str) -> str:
        """Return the unit of times that are counted from one, as CF has them."""
        found = _SINCE.fullmatch(unit)
        if found is None:
            return unit
        text = f"OME-Zarr counts time from 0; the reference time {found[2]} is not kept"
        self.lost.append(Notice("lost", text))
        return found[1]

    def _seconds(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return times as seconds; those of a clock since the first of them."""
        self.units["t"] = "second"
        if values.dtype.kind == "M":
            text = f"OME-Zarr counts time from 0; the start at {values[0]} is not kept"
            self.lost.append(Notice("lost", text))
            values = values - values[0]
        nanoseconds = values.astype("timedelta64[ns]").astype(np.int64)
        return np.asarray(nanoseconds / 1e9)

    def look_at_others(self) -> None:
        """Say what has no place: in an OME-Zarr image, or along axes that are resampled."""
        given, spatial = self.given, {self.dims[n] for n in self.dims if n in "zyx"}
        others = {name: c for name, c in given.coords.items() if name not in given.dims}
        gone = [str(name) for name, c in others.items() if set(c.dims) & spatial]
        if gone:
            text = (
                f"the coordinates {', '.join(gone)} of the {WHAT} are left out; they are not "
                "resampled"
            )
            self.notices.append(Notice("lost", text))
        left = [str(name) for name in others if str(name) not in gone]
        known = _UNDERSTOOD if self.place is None else (*_UNDERSTOOD, KEY)
        stated = {str(k): v for k, v in given.attrs.items() if k not in known and v is not None}
        attributes = list(stated)
        if stale := [name for name, value in stated.items() if counts_voxels(name, value)]:
            text = f"the attributes {', '.join(stale)} may refer to voxels and are copied unchanged"
            self.copied.append(Notice("copied", text))
        for what, names in (("coordinates", left), ("attributes", attributes)):
            if names:
                text = f"the {what} {', '.join(names)} of the {WHAT} cannot be stored in OME-Zarr"
                self.lost.append(Notice("lost", text))


class _Wrap:
    """Makes the DataArray of a result: with new coordinates, and all else as before."""

    def __init__(self, given: Any, dims: Sequence[Any], found: _Found) -> None:
        self.given, self.dims, self.found = given, list(dims), found

    def __call__(self, array: Any, grid: VoxelGrid) -> Any:
        given, spatial = self.given, {self.dims[i] for i in grid.spatial}
        kept = [name for name, c in given.coords.items() if not set(c.dims) & spatial]
        result = type(given)(array, dims=self.dims, attrs=given.attrs).rename(given.name)
        result = result.assign_coords(given.coords.to_dataset()[kept].coords)
        result = result.assign_coords({self.dims[i]: self._position(grid, i) for i in grid.spatial})
        if self.found.place is not None:
            result = result.assign_attrs({KEY: self.found.place.transformations(grid)})
        return result if list(given.dims) == self.dims else result.transpose(*given.dims)

    def _position(self, grid: VoxelGrid, i: int) -> Any:
        dim, name, found = self.dims[i], grid.axes[i].name, self.found
        before = self.given.coords.get(dim)
        if before is None:
            return _coordinate(grid, i, dim, {})
        if found.place is not None:
            return dim, np.arange(grid.shape[i]) + 0.5, before.attrs
        places = grid.voxel_size[i], grid.translation[i], grid.axes[i].unit
        stated = tuple(d.get(name) for d in (found.spacing, found.translation, found.units))
        if places == stated and grid.shape[i] == len(before):
            kept = before.variable
            if kept.attrs.get("voxel_size", places[0]) != places[0]:  # it was cut with a step
                kept = kept.copy()
                kept.attrs["voxel_size"] = places[0]
            return kept
        return _coordinate(grid, i, dim, before.attrs)
