"""The door to xarray: arrays whose coordinates say where their voxels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkscale.errors import OptionError
from chunkscale.geometry.grid import VoxelGrid

if TYPE_CHECKING:
    import xarray


def data_array(
    data: Any,
    grid: VoxelGrid,
    *,
    name: str | None = None,
    channels: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
) -> xarray.DataArray:
    """Return voxels on a grid as a `xarray.DataArray`; see `chunkscale.sources.views.Views`."""
    try:
        import xarray
    except ImportError as error:
        raise OptionError("xarray is not installed; install it with: pip install xarray") from error
    coordinates: dict[str, Any] = {}
    for i, axis in enumerate(grid.axes):
        if axis.kind in ("space", "time"):
            said = {"units": axis.unit} if axis.unit else {}
            positions = grid.translation[i] + grid.voxel_size[i] * np.arange(grid.shape[i])
            coordinates[axis.name] = (
                axis.name,
                positions,
                {**said, "voxel_size": grid.voxel_size[i]},
            )
        elif channels and i == grid.channel_axis:
            coordinates[axis.name] = (axis.name, list(channels))
    return xarray.DataArray(
        data,
        coords=coordinates,
        dims=[axis.name for axis in grid.axes],
        name=name,
        attrs=dict(attributes or {}),
    )
