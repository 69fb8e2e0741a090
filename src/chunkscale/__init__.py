"""Out-of-core resampling of OME-Zarr volumes to isotropic voxels, exact to the bit.

>>> import chunkscale
>>> import numpy as np
>>> chunkscale.resample_array(np.array([[0, 10], [20, 30]], "uint8"), zoom=2).shape
(4, 4)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import chunkscale.host.forks  # noqa: F401  (it has to see every fork from now on)
from chunkscale._version import __version__

if TYPE_CHECKING:
    from chunkscale.api.arrays import resample_array
    from chunkscale.api.collections import ResampledCollection
    from chunkscale.api.describing import formats, info
    from chunkscale.api.images import check, open_image
    from chunkscale.api.pictures import Picture, show
    from chunkscale.api.planning import plan_resampling
    from chunkscale.api.resampling import resample
    from chunkscale.api.running import Resampled
    from chunkscale.api.viewing import Viewing, view
    from chunkscale.errors import (
        AccessDeniedError,
        AliasingWarning,
        ChunkscaleError,
        ChunkscaleWarning,
        ClusterError,
        CorruptChunkError,
        DestinationError,
        DeviceError,
        ForkError,
        GridError,
        MemoryBudgetError,
        MetadataError,
        MultipleImagesError,
        NotAnImageError,
        OptionError,
        RegionError,
        SourceNotFoundError,
    )
    from chunkscale.geometry.box import Box
    from chunkscale.geometry.grid import Axis, VoxelGrid
    from chunkscale.geometry.pyramid import Level
    from chunkscale.plan.collection import CollectionPlan
    from chunkscale.plan.model import ResamplePlan
    from chunkscale.run.records import Progress
    from chunkscale.sources.file_image import FileImage
    from chunkscale.sources.image import Image
    from chunkscale.targets import target_grid
    from chunkscale.verify.report import CheckReport

_HOMES = {
    "api.arrays": "resample_array",
    "api.collections": "ResampledCollection",
    "api.describing": "formats info",
    "api.images": "check open_image",
    "api.pictures": "Picture show",
    "api.planning": "plan_resampling",
    "api.resampling": "resample",
    "api.running": "Resampled",
    "api.viewing": "Viewing view",
    "errors": (
        "AccessDeniedError AliasingWarning ChunkscaleError ChunkscaleWarning ClusterError "
        "CorruptChunkError DestinationError DeviceError ForkError GridError MemoryBudgetError "
        "MetadataError MultipleImagesError NotAnImageError OptionError RegionError "
        "SourceNotFoundError"
    ),
    "geometry.box": "Box",
    "geometry.grid": "Axis VoxelGrid",
    "geometry.pyramid": "Level",
    "targets": "target_grid",
    "plan.collection": "CollectionPlan",
    "plan.model": "ResamplePlan",
    "run.records": "Progress",
    "sources.file_image": "FileImage",
    "sources.image": "Image",
    "verify.report": "CheckReport",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AccessDeniedError",
    "AliasingWarning",
    "Axis",
    "Box",
    "CheckReport",
    "ChunkscaleError",
    "ChunkscaleWarning",
    "ClusterError",
    "CollectionPlan",
    "CorruptChunkError",
    "DestinationError",
    "DeviceError",
    "FileImage",
    "ForkError",
    "GridError",
    "Image",
    "Level",
    "MemoryBudgetError",
    "MetadataError",
    "MultipleImagesError",
    "NotAnImageError",
    "OptionError",
    "Picture",
    "Progress",
    "RegionError",
    "ResamplePlan",
    "Resampled",
    "ResampledCollection",
    "SourceNotFoundError",
    "Viewing",
    "VoxelGrid",
    "__version__",
    "check",
    "formats",
    "info",
    "open_image",
    "plan_resampling",
    "resample",
    "resample_array",
    "show",
    "target_grid",
    "view",
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
