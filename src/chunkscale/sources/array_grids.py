"""The grid of an array, of which users say where its voxels are."""

from __future__ import annotations

from collections.abc import Sequence

from chunkscale.errors import OptionError
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.units import ngff_unit
from chunkscale.sources.base import Sizes


def array_grid(
    shape: Sequence[int],
    sizes: Sizes,
    *,
    axes: Sequence[str] | None = None,
    translation: Sequence[float] | None = None,
    unit: str | None = None,
) -> VoxelGrid:
    """Return the grid of an array, of which users say where its voxels are.

    Parameters
    ----------
    shape : sequence of int
    sizes : callable
    axes : str, optional
        One letter for each; default: the last ones of ``"tczyx"``.
    translation : sequence of float, optional
        For the spatial axes.
    unit : str, optional
        Of the spatial axes.
    """
    names = "tczyx"[5 - min(len(shape), 5) :] if axes is None else axes
    if not 2 <= len(shape) <= 5 or len(names) != len(shape):
        raise OptionError(
            f"an array of shape {tuple(shape)} with axes {names!r} is not supported; give two to "
            "five axes, one letter each"
        )
    kinds = {"t": "time", "c": "channel"}
    spatial = [i for i, name in enumerate(names) if name not in kinds]
    if len(set(names)) < len(names) or spatial not in (
        list(range(len(names) - 2, len(names))),
        list(range(len(names) - 3, len(names))),
    ):
        raise OptionError(
            f"axes {names!r} are not supported: names must differ, and the last two or three must "
            "be spatial, like tczyx; transpose the array"
        )
    if not (unit is None or (isinstance(unit, str) and unit)):
        raise OptionError(f"source_unit {unit!r} is not a unit; give one like 'micrometer'")
    unit = unit and ngff_unit(unit)
    called = [names[i] for i in spatial]
    given = sizes(dict.fromkeys(called, unit), len(names))
    if sorted(given) != sorted(called):
        raise OptionError(
            f"source_voxel_size {dict(given)} does not name the spatial axes {', '.join(called)}; "
            "give one number for each of them"
        )
    try:
        origin = [0.0] * len(spatial) if translation is None else list(map(float, translation))
    except (TypeError, ValueError):
        raise OptionError(
            f"source_translation {translation!r} is not understood; give a number for each of the "
            f"{len(spatial)} spatial axes"
        ) from None
    if len(origin) != len(spatial):
        raise OptionError(
            f"source_translation {tuple(origin)} has {len(origin)} values for the "
            f"{len(spatial)} spatial axes"
        )
    leading = (0.0,) * (len(shape) - len(spatial))
    return VoxelGrid(
        axes=tuple(
            Axis(name=n, kind=kinds.get(n, "space"), unit=None if n in kinds else unit)
            for n in names
        ),
        shape=tuple(map(int, shape)),
        voxel_size=tuple(float(given.get(name, 1.0)) for name in names),
        translation=(*leading, *origin),
    )
