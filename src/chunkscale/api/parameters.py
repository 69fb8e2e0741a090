"""The parameters of a plan, by name: what `resample` passes on, and the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypedDict

from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.methods import Downsample, MethodName
from chunkscale.geometry.pyramid import PyramidRule
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.parameters import PathLike, Shape, StorageOptions, VoxelSize
from chunkscale.sources.image import Image


class PlanParameters(TypedDict, total=False):
    """Parameters of `plan_resampling` that `resample` takes as well."""

    voxel_size: VoxelSize | None
    zoom: float | None
    factor: VoxelSize | None
    shape: Shape | Mapping[str, int] | None
    like: PathLike | Image | VoxelGrid | None
    source_voxel_size: VoxelSize | None
    axes: str | None
    source_translation: Sequence[float] | None
    source_unit: str | None
    channels: Indices | None
    timepoints: Indices | None
    crop: Crop | None
    labels: bool | str | Sequence[str]
    label_method: Literal["mode", "nearest"]
    level: int | str
    method: MethodName | None
    antialias: bool
    outside: float | str
    chunk: Shape | None
    shard: Shape | None
    levels: int | None
    pyramid: PyramidRule
    downsample: Downsample | None
    ome_zarr_version: str
    codec: str
    checksum: Literal["none", "crc32c"]
    memory: int | str | None
    workers: int | None
    device: Literal["auto", "cpu", "gpu"]
    device_memory: int | str | None
    source_storage_options: StorageOptions | None


#: What the command line calls otherwise, and is like the name of another parameter.
_OTHERWISE = {"source_axes": ["axes"]}


def check_names(given: Iterable[str], function: str) -> None:
    """Refuse parameters that there are not, as Python does, with the nearest one that there is."""
    for name in given:
        if name not in PlanParameters.__annotations__:
            near = _OTHERWISE.get(name) or difflib.get_close_matches(
                name, PlanParameters.__annotations__, 1
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function}() has no parameter {name!r}{hint}")
