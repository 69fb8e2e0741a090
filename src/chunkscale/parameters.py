"""What users pass, in the groups in which it travels from the public functions on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PathLike = str | os.PathLike[str]
StorageOptions = Mapping[str, Any]
VoxelSize = float | str | Mapping[str, float | str] | Sequence[float | str]
#: Voxels for each spatial axis, for all of them, or as users write them.
Shape = int | Sequence[int] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the voxels of an output lie, and what is made of the source's there.

    Parameters
    ----------
    voxel_size, zoom, factor, shape, like, outside, method, antialias
        As in `chunkscale.plan_resampling`.
    """

    voxel_size: VoxelSize | None = None
    zoom: float | None = None
    factor: VoxelSize | None = None
    shape: Shape | Mapping[str, int] | None = None
    like: Any = None
    outside: float | str = "edge"
    method: str | None = None
    antialias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLayout:
    """How an output is stored; see `chunkscale.plan_resampling`."""

    chunk: Shape | None = None
    shard: Shape | None = None
    levels: int | None = None
    pyramid: str = "auto"
    downsample: str | None = None
    version: str = "0.5"
    codec: str = "blosc-lz4"
    checksum: str = "none"

    @property
    def asked(self) -> list[str]:
        """What a resumed run must not take from the output as it is."""
        given = {"chunk": self.chunk, "shard": self.shard, "levels": self.levels}
        return [name for name, value in given.items() if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run may use; see `chunkscale.plan_resampling`."""

    memory: int | str | None = None
    workers: int | None = None
    device: str = "auto"
    device_memory: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What may become of what is there already; see `chunkscale.resample`."""

    overwrite: bool = False
    resume: bool = False
    take_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How stores are reached: options of the target, and of the source where those differ."""

    target: StorageOptions | None = None
    source: StorageOptions | None = None

    @property
    def reach(self) -> StorageOptions | None:
        """Options of the source."""
        return self.target if self.source is None else self.source
