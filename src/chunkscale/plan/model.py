"""The plan of a run: a value that says everything before anything runs.

A plan is small and picklable, whatever the size of the volume: regions are
computed from their index, never listed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chunkscale.errors import Notice
from chunkscale.geometry.box import Box, between, whole
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.methods import Downsample
from chunkscale.geometry.pyramid import Level, PyramidRule
from chunkscale.geometry.tables import source_box
from chunkscale.plan.memory import Limits
from chunkscale.plan.regions import Pass, Region
from chunkscale.report.html import plan_html
from chunkscale.report.plans import plan_line, plan_text


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceArray:
    """What a plan needs to know of the array that is read.

    Parameters
    ----------
    uri : str
        Of the image's group; empty for an array that has none.
    path : str
        Of the array inside the group; what it is, where there is none.
    shape : tuple of int
    dtype : str
        NumPy name, native byte order.
    chunk : tuple of int
        What has to be decoded together: the inner chunk of a shard.
    is_label : bool
        Whether the voxels are ids.
    part : str
        Which part of the source it is; empty if it is all.
    decoded_share : int
        Voxels that are decoded for each that is kept, where chunks span indices that are not.
    recomputed : bool
        Whether a chunk is made anew for each region that reads it, as blocks of Dask are.
    """

    uri: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    is_label: bool = False
    recomputed: bool = False
    part: str = ""
    decoded_share: int = 1

    @property
    def title(self) -> str:
        """Where it is, or else what it is."""
        return self.uri or self.path

    @property
    def itemsize(self) -> int:
        """Bytes per voxel."""
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Decoded size in bytes."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """What is to be computed, and how it is written; see `ResamplePlan` for the fields.

    The grids are in the same units; `notices` are what the source has to say.
    """

    source: SourceArray
    source_grid: VoxelGrid
    target_grid: VoxelGrid
    method: str
    antialias: bool = False
    outside: float | None = None
    pyramid: PyramidRule = "auto"
    downsample: Downsample = "mean"
    ngff_version: str = "0.5"
    codec: str = "blosc-lz4"
    checksum: str = "none"
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Upper bounds of resident memory in bytes.

    Parameters
    ----------
    base : int
        Interpreter, libraries, compiled kernels.
    buffers : int
        Chunks that are being encoded and decoded, and the cache.
    cache : int
        Decoded source chunks that are kept for the neighbouring region.
    per_worker : int
        Source box, kernel scratch, outputs (of level 0 two slabs), encode buffers.
    workers : int
    """

    base: int
    buffers: int
    cache: int
    per_worker: int
    workers: int

    @property
    def total(self) -> int:
        """Promised peak of the whole run."""
        return self.base + self.buffers + self.workers * self.per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Upper bounds of a GPU's memory in bytes.

    Parameters
    ----------
    base : int
        The driver's context and the kernels.
    per_lane : int
        Source box, all levels, tables and scratch of what is computed at a
        time: a region, or a tile of one if it does not fit.
    lanes : int
        Regions on the device at the same time.
    """

    base: int
    per_lane: int
    lanes: int

    @property
    def total(self) -> int:
        """Promised peak of the process on the device."""
        return self.base + self.lanes * self.per_lane


@dataclass(frozen=True, slots=True, kw_only=True)
class ResamplePlan:
    """What a run reads, computes and writes, and what it costs.

    Made by `chunkscale.plan_resampling`; `chunkscale.resample` carries it out.

    Parameters
    ----------
    source : SourceArray
    source_grid : VoxelGrid
        In the units of the target.
    levels : tuple of Level
        Level 0 is the resampled image; each other one is made from the one before.
    passes : tuple of Pass
    method : str
    antialias : bool
    outside : float or None
        Value of samples outside the source's extent; None for the edge voxel.
    pyramid : PyramidRule
        Which axes are halved from level to level.
    downsample : {"mean", "mode", "nearest", "max"}
        What a level has of the voxels of a cell of the one before.
    ngff_version : {"0.4", "0.5", "0.6"}
    codec : str
    checksum : {"none", "crc32c"}
    device : {"cpu", "gpu"}
    limits : Limits
        What the run may use, and who says so.
    memory : MemoryEstimate
    device_memory : DeviceMemory or None
        None on the CPU.
    bytes_read : int
        Decoded bytes of all chunks that the regions touch, at most.
    warnings : tuple of Notice
    labels : tuple of (str, ResamplePlan)
        Those of the image's labels, by their path below it.
    """

    source: SourceArray
    source_grid: VoxelGrid
    levels: tuple[Level, ...]
    passes: tuple[Pass, ...]
    method: str
    antialias: bool
    outside: float | None
    pyramid: PyramidRule
    downsample: Downsample
    ngff_version: str
    codec: str
    checksum: str
    device: str
    limits: Limits
    memory: MemoryEstimate
    device_memory: DeviceMemory | None
    bytes_read: int
    warnings: tuple[Notice, ...]
    mapping: tuple[AxisMapping, ...]
    labels: tuple[tuple[str, ResamplePlan], ...] = ()

    @property
    def target_grid(self) -> VoxelGrid:
        """Grid of level 0."""
        return self.levels[0].grid

    @property
    def dtype(self) -> str:
        """Data type of source and target."""
        return self.source.dtype

    @property
    def workers(self) -> int:
        """Regions that are processed at the same time."""
        return self.memory.workers

    @property
    def region_count(self) -> int:
        """Number of regions of all passes."""
        return sum(p.region_count for p in self.passes)

    @property
    def promise(self) -> int:
        """Most bytes of memory that the whole run takes, with the labels."""
        return max(self.memory.total, *(plan.memory.total for _, plan in self.labels), 0)

    @property
    def voxels(self) -> int:
        """Voxels that are written, all levels."""
        return sum(level.grid.size for level in self.levels)

    @property
    def bytes_written(self) -> int:
        """Bytes of all levels before compression."""
        return self.voxels * self.source.itemsize

    @property
    def read_amplification(self) -> float:
        """How many times the average source voxel is decoded, at most."""
        return self.bytes_read / self.source.nbytes

    def region(self, index: int) -> Region:
        """Return region `index`, ``0 <= index < region_count``; computed, never listed."""
        run = self.pass_of(index)
        return self._region(run, index, run.box(index))

    def slabs(self, region: Region) -> Iterator[Box]:
        """Yield the parts of a region's first level that are made one after another."""
        box, size = region.boxes[0][1], self.pass_of(region.index).slab
        axis = len(box.shape) - 3
        if axis < 0:
            yield box
            return
        for start in range(box.start[axis], box.stop[axis], size):
            yield between(box, axis, start, min(start + size, box.stop[axis]))

    def part(self, region: Region, box: Box) -> Region:
        """Return the part of a region whose first level is `box`, which starts on whole cells."""
        return self._region(self.pass_of(region.index), region.index, box)

    def pass_of(self, index: int) -> Pass:
        """Return the pass of a region."""
        return next(p for p in self.passes if index < p.start + p.region_count)

    def _region(self, run: Pass, index: int, box: Box) -> Region:
        boxes = tuple(
            (k, box.coarsened(self.level_ratio(run.first, k)))
            for k in range(run.first, run.last + 1)
        )
        if run.reads is None:
            read = source_box(self.mapping, box)
        else:
            ratio = self.level_ratio(run.reads, run.first)
            read = box.refined(ratio).clipped(whole(self.levels[run.reads].shape))
        return Region(index=index, reads=run.reads, source_box=read, boxes=boxes)

    def region_of(self, level: int, start: Sequence[int]) -> int:
        """Return the region that owns the voxel `start` of a level.

        Parameters
        ----------
        level : int
        start : sequence of int
            One index per axis.
        """
        run = next(p for p in self.passes if level <= p.last)
        ratio = self.level_ratio(run.first, level)
        return run.number(
            [a * f // r for a, f, r in zip(start, ratio, run.region_shape, strict=True)]
        )

    def level_ratio(self, fine: int, coarse: int) -> tuple[int, ...]:
        """Return how many voxels of level `fine` make one of level `coarse`, per axis."""
        pairs = zip(self.levels[fine].factors, self.levels[coarse].factors, strict=True)
        return tuple(b // a for a, b in pairs)

    def __str__(self) -> str:
        return plan_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<ResamplePlan of {plan_line(self.as_dict())}>"

    def _repr_html_(self) -> str:
        return plan_html(self.as_dict(), self.source.chunk)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan's figures as plain JSON values."""
        itemsize = self.source.itemsize
        return {
            "source": {
                "path": self.source.title,
                "array": self.source.path,
                "part": self.source.part,
                "dtype": self.dtype,
                "bytes": self.source.nbytes,
                **self.source_grid.as_dict(),
            },
            "target": self.target_grid.as_dict(),
            "method": self.method,
            "antialias": self.antialias,
            "outside": "edge" if self.outside is None else str(self.outside),
            "downsample": self.downsample,
            "ome_zarr_version": self.ngff_version,
            "codec": self.codec,
            "checksum": self.checksum,
            "device": self.device,
            "device_memory": None
            if self.device_memory is None
            else {**asdict(self.device_memory), "total": self.device_memory.total},
            "levels": [
                {
                    "path": level.path,
                    "shape": list(level.shape),
                    "voxel_size": list(level.grid.voxel_size),
                    "translation": list(level.grid.translation),
                    "chunk": list(level.chunk),
                    "shard": None if level.shard is None else list(level.shard),
                    "bytes": level.grid.size * itemsize,
                }
                for level in self.levels
            ],
            "passes": [
                {
                    "reads_level": run.reads,
                    "levels": list(range(run.first, run.last + 1)),
                    "regions": run.region_count,
                    "region_shape": list(run.region_shape),
                }
                for run in self.passes
            ],
            "regions": self.region_count,
            "bytes_read": self.bytes_read,
            "read_amplification": self.read_amplification,
            "bytes_written": self.bytes_written,
            "workers": self.workers,
            "workers_from": self.limits.workers_from,
            "memory": {
                "limit": self.limits.memory,
                "limit_from": self.limits.memory_from,
                "base": self.memory.base,
                "chunk_buffers": self.memory.buffers,
                "per_worker": self.memory.per_worker,
                "total": self.promise,
            },
            "labels": {name: plan.as_dict() for name, plan in self.labels},
            "warnings": [str(n) for n in self.warnings if n.kind != "asked"],
        }
