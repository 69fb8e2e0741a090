"""Out-of-core resampling of OME-Zarr volumes to isotropic voxels, exact to the bit.

>>> import chunkscale
>>> import numpy as np
>>> chunkscale.resample_array(np.array([[0, 10], [20, 30]], "uint8"), zoom=2).shape
(4, 4)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chunkscale._version import __version__

if TYPE_CHECKING:
    from chunkscale.api import (
        Resampled,
        check,
        info,
        open_image,
        plan_resampling,
        resample,
        resample_array,
        target_grid,
    )
    from chunkscale.errors import (
        AliasingWarning,
        ChunkscaleError,
        ChunkscaleWarning,
        ClusterError,
        CorruptChunkError,
        DestinationError,
        DeviceError,
        GridError,
        MemoryBudgetError,
        MetadataError,
        MultipleImagesError,
        NotAnImageError,
        OptionError,
        RegionError,
        SourceNotFoundError,
    )
    from chunkscale.execute import Progress
    from chunkscale.grid import Axis, Box, VoxelGrid
    from chunkscale.image import Image
    from chunkscale.plan import ResamplePlan
    from chunkscale.pyramid import Level
    from chunkscale.verify import CheckReport

_HOMES = {
    "api": ("Resampled check info open_image plan_resampling resample resample_array target_grid"),
    "errors": (
        "AliasingWarning ChunkscaleError ChunkscaleWarning ClusterError CorruptChunkError "
        "DestinationError DeviceError GridError MemoryBudgetError MetadataError "
        "MultipleImagesError NotAnImageError OptionError RegionError SourceNotFoundError"
    ),
    "execute": "Progress",
    "grid": "Axis Box VoxelGrid",
    "image": "Image",
    "plan": "ResamplePlan",
    "pyramid": "Level",
    "verify": "CheckReport",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AliasingWarning",
    "Axis",
    "Box",
    "CheckReport",
    "ChunkscaleError",
    "ChunkscaleWarning",
    "ClusterError",
    "CorruptChunkError",
    "DestinationError",
    "DeviceError",
    "GridError",
    "Image",
    "Level",
    "MemoryBudgetError",
    "MetadataError",
    "MultipleImagesError",
    "NotAnImageError",
    "OptionError",
    "Progress",
    "RegionError",
    "ResamplePlan",
    "Resampled",
    "SourceNotFoundError",
    "VoxelGrid",
    "__version__",
    "check",
    "info",
    "open_image",
    "plan_resampling",
    "resample",
    "resample_array",
    "target_grid",
]


def __getattr__(name: str) -> Any:
    # Heavy imports wait until something is used.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
