"""The plan of a resampling run: a value that says everything before anything runs.

A plan is small and picklable, whatever the size of the volume: regions are
computed from their index, never listed. It knows geometry and bytes; nothing
of zarr, Dask or devices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from chunkscale import report
from chunkscale.errors import MemoryBudgetError, OptionError
from chunkscale.grid import Box, VoxelGrid, unusual
from chunkscale.mapping import AxisMapping, AxisTable, grid_mapping, source_box, source_ranges
from chunkscale.pyramid import Layout, Level, level_count, pyramid
from chunkscale.report import human_bytes

__all__ = [
    "DeviceMemory",
    "Limits",
    "MemoryEstimate",
    "Notice",
    "Pass",
    "Region",
    "ResamplePlan",
    "SourceArray",
    "device_bytes",
    "make_plan",
    "tiles",
]

MIB = 2**20

#: Resident memory of a process that has imported everything and compiled its kernels.
BASE_BYTES = 250 * MIB
#: The same of a process that has a GPU's context, ...
GPU_BASE_BYTES = 1024 * MIB
#: ... and what that takes of the GPU's memory.
DEVICE_BASE_BYTES = 768 * MIB
#: Regions on a device at once: one is copied there, one computed, one copied back, one waits.
MOST_LANES = 4
#: What allocations are rounded up to: on the device, and of host memory that it copies.
DEVICE_ALIGNMENT = 512
HUGE_PAGE = 2 * MIB
#: Regions of smaller outputs are at most this large (decoded bytes of level 0) ...
SMALL_REGION = 32 * MIB
#: ... twice that on a GPU: a region's copies and kernels are started one by one, and while codecs
#: keep all cores busy each of them waits for a turn ...
GPU_REGION_FACTOR = 2
#: ... and those of huge outputs this large, so that there are fewer objects.
LARGE_REGION = 256 * MIB
#: Up to so many times as large they may be if each chunk of the source is then decoded for one of
#: them alone, and for no smaller ones (all planes of a stack, say): what neighbours share goes
#: through memory twice (a twentieth of a run and more, with 128x1024x1024 voxels to 0.2).
ALONE_FACTOR = 4
#: On the CPU larger ones are made and written in slabs, of at least this part of what others may
#: have: one is made while the one before is encoded, so that codecs begin early and two are held.
SLAB_FRACTION = 2
#: Regions of later passes; they read eight times as much.
LATER_REGION = 8 * MIB
#: What a decoded byte costs that waits in the cache for a neighbour, in decoded bytes.
CACHED = 0.7
#: Above this step plain interpolation skips whole source voxels.
ALIASING_STEP = 2.0
MAX_DOUBLINGS = 8
_ALL = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceArray:
    """What a plan needs to know of the array that is read.

    Parameters
    ----------
    uri : str
        Of the image's group; empty for an array in memory.
    path : str
        Of the array inside the group.
    shape : tuple of int
    dtype : str
        NumPy name, native byte order.
    chunk : tuple of int
        What has to be decoded together: the inner chunk of a shard.
    is_label : bool
        Whether the voxels are ids.
    """

    uri: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    is_label: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes per voxel."""
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Decoded size in bytes."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Regions that may run in any order, each of which writes the same levels.

    Parameters
    ----------
    reads : int or None
        The stored level that is read; None for the source image.
    first, last : int
        The levels that are written.
    shape : tuple of int
        Shape of level `first`.
    region_shape : tuple of int
        Voxels of level `first` per region; whole stored objects at every
        level written.
    slab : int
        Planes of level `first` that a region makes and writes at a time: whole
        stored objects there.
    order : tuple of int
        Axes from slowest to fastest in the numbering of regions.
    start : int
        Number of the first region.
    """

    reads: int | None
    first: int
    last: int
    shape: tuple[int, ...]
    region_shape: tuple[int, ...]
    slab: int
    order: tuple[int, ...]
    start: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Regions per axis."""
        return tuple(-(-n // r) for n, r in zip(self.shape, self.region_shape, strict=True))

    @property
    def region_count(self) -> int:
        """Number of regions."""
        return math.prod(self.counts)

    @property
    def indices(self) -> range:
        """Numbers of the regions."""
        return range(self.start, self.start + self.region_count)

    def number(self, position: Sequence[int]) -> int:
        """Return the number of the region at a position of the grid of regions."""
        index, counts = 0, self.counts
        for axis in self.order:
            index = index * counts[axis] + position[axis]
        return self.start + index

    def box(self, index: int) -> Box:
        """Return the box of level `first` that region `index` owns."""
        position, rest = [0] * len(self.shape), index - self.start
        for axis in reversed(self.order):
            rest, position[axis] = divmod(rest, self.counts[axis])
        start = tuple(p * r for p, r in zip(position, self.region_shape, strict=True))
        stop = tuple(
            min(a + r, n) for a, r, n in zip(start, self.region_shape, self.shape, strict=True)
        )
        return Box(start=start, stop=stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One task: the boxes that it reads and owns.

    Parameters
    ----------
    index : int
    reads : int or None
        The stored level that is read; None for the source image.
    source_box : Box
        In voxels of what is read, halo included.
    boxes : tuple of (int, Box)
        Levels that are written, finest first, with the box owned in each.
    """

    index: int
    reads: int | None
    source_box: Box
    boxes: tuple[tuple[int, Box], ...]


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


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a user should know before the run.

    Parameters
    ----------
    kind : {"aliasing", "labels", "size", "disk", "unit", "order"}
    text : str
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


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
        Level 0 is the resampled image; the others are means (modes of labels).
    passes : tuple of Pass
    method : {"linear", "nearest"}
    antialias : bool
    outside : float or None
        Value of samples outside the source's extent; None for the edge voxel.
    ngff_version : {"0.4", "0.5"}
    codec : str
    device : {"cpu", "gpu"}
    memory : MemoryEstimate
    device_memory : DeviceMemory or None
        None on the CPU.
    bytes_read : int
        Decoded bytes of all chunks that the regions touch, at most.
    warnings : tuple of Notice
    """

    source: SourceArray
    source_grid: VoxelGrid
    levels: tuple[Level, ...]
    passes: tuple[Pass, ...]
    method: str
    antialias: bool
    outside: float | None
    ngff_version: str
    codec: str
    device: str
    memory: MemoryEstimate
    device_memory: DeviceMemory | None
    bytes_read: int
    warnings: tuple[Notice, ...]
    mapping: tuple[AxisMapping, ...]

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
    def bytes_written(self) -> int:
        """Bytes of all levels before compression."""
        return sum(level.grid.size for level in self.levels) * self.source.itemsize

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
            yield _between(box, axis, start, min(start + size, box.stop[axis]))

    def part(self, region: Region, box: Box) -> Region:
        """Return the part of a region whose first level is `box`, which starts on whole cells."""
        return self._region(self.pass_of(region.index), region.index, box)

    def pass_of(self, index: int) -> Pass:
        """Return the pass of a region."""
        return next(p for p in self.passes if index < p.start + p.region_count)

    def _region(self, run: Pass, index: int, box: Box) -> Region:
        boxes = tuple((k, self._owned(run, box, k)) for k in range(run.first, run.last + 1))
        if run.reads is None:
            read = source_box(self.mapping, box)
        else:
            ratio = self.level_ratio(run.reads, run.first)
            read = Box(
                start=tuple(a * f for a, f in zip(box.start, ratio, strict=True)),
                stop=tuple(
                    min(b * f, n)
                    for b, f, n in zip(box.stop, ratio, self.levels[run.reads].shape, strict=True)
                ),
            )
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

    def _owned(self, run: Pass, box: Box, level: int) -> Box:
        ratio = self.level_ratio(run.first, level)
        return Box(
            start=tuple(a // f for a, f in zip(box.start, ratio, strict=True)),
            stop=tuple(-(-b // f) for b, f in zip(box.stop, ratio, strict=True)),
        )

    def __str__(self) -> str:
        return report.plan_text(self.as_dict())

    def _repr_html_(self) -> str:
        return report.plan_html(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the plan's figures as plain JSON values."""
        itemsize = self.source.itemsize
        return {
            "source": {
                "path": self.source.uri,
                "array": self.source.path,
                "dtype": self.dtype,
                "bytes": self.source.nbytes,
                **self.source_grid.as_dict(),
            },
            "target": self.target_grid.as_dict(),
            "method": self.method,
            "antialias": self.antialias,
            "outside": "edge" if self.outside is None else str(self.outside),
            "ome_zarr_version": self.ngff_version,
            "codec": self.codec,
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
            "memory": {
                "base": self.memory.base,
                "chunk_buffers": self.memory.buffers,
                "per_worker": self.memory.per_worker,
                "total": self.memory.total,
            },
            "warnings": [str(notice) for notice in self.warnings],
        }


def tiles(plan: ResamplePlan, region: Region, limit: int) -> Iterator[Region]:
    """Yield a region in parts that each take at most `limit` bytes of device memory.

    Parts are cut along z and y, where cells of all the region's levels end.

    Raises
    ------
    MemoryBudgetError
        If rows cannot be cut that small.
    """
    first, box = region.boxes[0]
    needed = device_bytes(
        region.source_box.shape[-3:],
        [owned.shape[-3:] for _, owned in region.boxes],
        plan.source.itemsize,
        plan.mapping if region.reads is None else (),
        filled=plan.outside is not None,
    )
    if needed <= limit:
        yield region
        return
    cells = plan.level_ratio(first, region.boxes[-1][0])
    counts = [-(-n // c) for n, c in zip(box.shape, cells, strict=True)]
    axis = max(range(max(0, len(counts) - 3), len(counts) - 1), key=lambda i: box.shape[i])
    if counts[axis] < 2:
        axis = max(range(max(0, len(counts) - 3), len(counts) - 1), key=lambda i: counts[i])
    if counts[axis] < 2:
        raise MemoryBudgetError(
            f"the smallest part of a region needs {needed / MIB:.1f} MiB on the device, and device "
            f"memory is limited to {limit / MIB:.1f} MiB for each; allow more device memory, or "
            "use fewer levels or smaller chunks"
        )
    middle = box.start[axis] + counts[axis] // 2 * cells[axis]
    for start, stop in ((box.start[axis], middle), (middle, box.stop[axis])):
        half = _between(box, axis, start, stop)
        yield from tiles(plan, plan.part(region, half), limit)


def _between(box: Box, axis: int, start: int, stop: int) -> Box:
    """Return the part of a box within a range of one axis."""
    return Box(
        start=(*box.start[:axis], start, *box.start[axis + 1 :]),
        stop=(*box.stop[:axis], stop, *box.stop[axis + 1 :]),
    )


def device_bytes(
    read: Sequence[int],
    levels: Sequence[Sequence[int]],
    itemsize: int,
    axes: Sequence[AxisMapping | AxisTable],
    *,
    filled: bool = False,
) -> int:
    """Return the most device memory that a box takes.

    Parameters
    ----------
    read : sequence of int
        Shape of the source box, the last three axes at most.
    levels : sequence of sequence of int
        Shapes of what is made.
    itemsize : int
        Bytes per voxel.
    axes : sequence of AxisMapping or AxisTable
        How the first of `levels` is interpolated; empty if it is a mean.
    filled : bool
        Whether a part of it can lie outside the source.
    """
    (mz, my, _), (nz, ny, nx) = (1, *read)[-3:], (1, *levels[0])[-3:]
    made = [math.prod(shape) * itemsize for shape in levels]
    parts = [math.prod(read) * itemsize, *made, *(made[:1] if filled else ())]
    taps = 1
    if any(axis.interpolation == "triangle" for axis in axes):
        # Through arrays in the compute type, one axis after the other.
        wide = 4 if itemsize <= 2 else 8
        parts += [mz * my * nx * wide, mz * ny * nx * wide]
        taps = max(_taps(axis) for axis in axes)
    # Index, weights and a flag for each target.
    parts.append((nz + ny + nx) * (8 * taps + 5) + 9 * 8)
    return sum(-(-part // DEVICE_ALIGNMENT) * DEVICE_ALIGNMENT for part in parts)


def _taps(axis: AxisMapping | AxisTable) -> int:
    if axis.interpolation != "triangle":
        return 1
    return axis.weight.shape[1] if isinstance(axis, AxisTable) else math.ceil(2 * axis.step) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use.

    Parameters
    ----------
    memory : int
        Bytes for the whole run.
    workers : int
        Regions at the same time, at most.
    threads : int
        Threads that encode and decode chunks.
    device_memory : int, optional
        Bytes for buffers on the GPU; None if there is none.
    slots : int
        Workers of all processes, where a cluster has several; `memory`,
        `workers` and `threads` are those of one process then.
    bystanders : int
        Bytes of libraries that a process without a GPU may have to load besides its own.
    spare : int
        Further workers, where regions of the first pass then take fewer turns, and all of
        `workers` and they fit beside the regions chosen for those.
    """

    memory: int
    workers: int
    threads: int
    device_memory: int | None = None
    slots: int = 0
    bystanders: int = 0
    spare: int = 0

    @property
    def base(self) -> int:
        """Bytes that a process takes before its first region."""
        return BASE_BYTES + self.bystanders if self.device_memory is None else GPU_BASE_BYTES


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to cut one axis."""

    region: int  # voxels of the first level per region
    target: int  # the same, cut to the axis
    count: int  # regions
    read: int  # longest source range
    aligned: int  # longest source range in whole source chunks
    span: int  # the whole axis of the source
    amplification: float  # voxels in touched chunks over voxels of the axis
    overlaps: bool  # whether neighbours touch the same chunk
    fused: int  # further levels whose stored objects a region owns whole


@dataclass(frozen=True, slots=True)
class _Choice:
    """A region shape for one pass, with what it costs."""

    options: tuple[_Option, ...]
    order: tuple[int, ...]
    count: int
    fused: int
    shared: int
    kept: int  # axes along which a cache saves a second decode
    cache: int
    per_worker: int
    amplification: float
    cost: float
    size: int
    slab: int  # planes

    @property
    def alone(self) -> bool:
        """Whether no two regions read the same chunk."""
        return not any(option.overlaps for option in self.options)

    @property
    def region(self) -> tuple[int, ...]:
        return tuple(option.region for option in self.options)


@dataclass(frozen=True, slots=True)
class _Job:
    """The figures of one pass that do not depend on the region."""

    itemsize: int
    read_size: int  # voxels of what is read
    read_chunk: tuple[int, ...]
    write_size: int  # voxels of the first level written
    write_chunk: tuple[int, ...]
    taps: int
    tail_levels: int  # levels after the first
    spatial: int
    is_half: bool  # float16 is computed on a float32 copy
    planes: int  # of a stored object; 0 where regions are made in one piece
    slab_size: int  # bytes of a slab, at least


def _doublings(unit: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (voxels, doublings) of a unit until it covers the axis."""
    for e in range(MAX_DOUBLINGS):
        yield unit << e, e
        if unit << e >= size:
            return


def _resampling_options(
    mapping: AxisMapping, unit: int, halvings: int, chunk: int
) -> Iterator[_Option]:
    for region, e in _doublings(unit, mapping.target_size):
        yield _resampling_option(mapping, region, halvings + e, chunk)


@lru_cache(maxsize=256)  # two axes are often alike, and plans are tried with fewer workers
def _resampling_option(mapping: AxisMapping, region: int, halvings: int, chunk: int) -> _Option:
    size, read_size = mapping.target_size, mapping.source_size
    count = -(-size // region)
    # Planning must not take longer the more regions there are.
    start = np.arange(min(count, 4096), dtype=np.int64) * region
    first, stop = source_ranges(mapping, start, np.minimum(start + region, size))
    low, high = first // chunk * chunk, np.minimum(-(-stop // chunk) * chunk, read_size)
    aligned = high - low
    return _Option(
        region=region,
        target=min(region, size),
        count=count,
        read=int((stop - first).max()),
        aligned=int(aligned.max()),
        span=read_size,
        amplification=float(aligned.mean()) * count / read_size,
        overlaps=bool((low[1:] < high[:-1]).any()),
        fused=_ALL if region >= size else halvings,
    )


def _halving_options(
    size: int, read_size: int, unit: int, halvings: int, chunk: int
) -> Iterator[_Option]:
    factor = -(-read_size // size)
    for region, e in _doublings(unit, size):
        read = min(region * factor, read_size)
        yield _Option(
            region=region,
            target=min(region, size),
            count=-(-size // region),
            read=read,
            aligned=min(-(-read // chunk) * chunk, read_size),
            span=read_size,
            amplification=1.0,
            overlaps=False,
            fused=_ALL if region >= size else halvings + e,
        )


def kernel_scratch(
    read: int, target: Sequence[int], taps: int, itemsize: int, *, is_half: bool = False
) -> int:
    """Return an upper bound of what a kernel holds beside its input and result.

    Parameters
    ----------
    read : int
        Voxels of the input.
    target : sequence of int
        Shape of the result.
    taps : int
        Source voxels per target voxel along z; 0 for means.
    itemsize : int
    is_half : bool
        Whether float16 is interpolated, on a float32 copy.
    """
    planes = (taps + 2) * math.prod(target[-2:]) * (4 if itemsize <= 2 else 8)
    return planes + is_half * 4 * (read + math.prod(target))


def _choices(options: Sequence[Sequence[_Option]], job: _Job, limits: Limits) -> Iterator[_Choice]:
    """Yield every region shape with every use of a cache that makes sense."""
    itemsize, workers = job.itemsize, limits.workers
    chunk_bytes = (math.prod(job.read_chunk) + math.prod(job.write_chunk)) * itemsize
    # Each thread holds a chunk encoded, decoded, and half way between.
    decode = 3 * limits.threads * chunk_bytes
    for combination in itertools.product(*options):
        target = tuple(o.target for o in combination)
        voxels = read = count = 1
        aligned = itemsize
        for option in combination:
            voxels *= option.target
            read *= option.read
            aligned *= option.aligned
            count *= option.count
        order = tuple(sorted(range(len(target)), key=lambda i: combination[i].amplification))
        fused = min(job.tail_levels, *(o.fused for o in combination))
        planes, slab = _slab(job, target, fused)
        # Of the first level two slabs, the others whole ...
        held = voxels // planes * min(planes, 2 * slab)
        made = held + _coarser(target[-3:], fused)
        # ... and the same again encoded (incompressible data).
        outputs = 2 * made * itemsize
        # What codec threads have freed and the allocator still holds, as seen in measured runs.
        kept_free = (read + held) * itemsize
        scratch = kernel_scratch(read, target, job.taps, itemsize, is_half=job.is_half)
        # Host buffers of a GPU are whole huge pages.
        rounding = 0 if limits.device_memory is None else (fused + 2) * 2 * HUGE_PAGE
        per_worker = read * itemsize + outputs + scratch + kept_free + rounding
        tail = job.write_size * itemsize / 2 ** (job.spatial * fused)
        if fused == job.tail_levels:
            tail = 0.0
        # More workers than cores take turns.
        slots = max(min(workers, limits.threads), limits.slots)
        idle = (-(-count // slots) * slots / count - 1) * job.write_size * itemsize
        for kept in range(3):
            cached = order[len(order) - kept :]
            if kept and not combination[cached[0]].overlaps:
                break
            amplification = math.prod(
                o.amplification for i, o in enumerate(combination) if i not in cached
            )
            active = min(workers, count)
            cache = _cache_voxels(combination, order, kept, active) * itemsize
            # Without a cache, all chunks of a region may still be decoded at once.
            shared = decode + max(cache, active * aligned)
            decoded = job.read_size * itemsize * (amplification + CACHED * (kept > 0))
            cost = decoded / 2 + tail + idle / 2 + count * 2 * MIB
            yield _Choice(
                combination, order, count, fused, shared, kept, cache, per_worker, amplification,
                cost, voxels * itemsize, slab,
            )  # fmt: skip


def _coarser(shape: Sequence[int], levels: int) -> int:
    """Return the voxels of so many further levels of a region."""
    voxels = 0
    for _ in range(levels):
        shape = [-(-n // 2) for n in shape]
        voxels += math.prod(shape)
    return voxels


def _slab(job: _Job, target: Sequence[int], fused: int) -> tuple[int, int]:
    """Return the planes of a region, and of its slabs: whole stored objects and cells of means."""
    planes = target[-3] if len(target) > 2 else 1
    if job.planes:
        plane = math.prod(target[-2:]) * job.itemsize
        for slab, _ in _doublings(job.planes, planes):
            if slab * plane >= job.slab_size and not (fused and slab % 2):
                # Two slabs are held at once: no more of them save nothing.
                return planes, slab if 2 * slab < planes else planes
    return planes, planes


def _cache_voxels(options: Sequence[_Option], order: Sequence[int], kept: int, active: int) -> int:
    """Return the size of a cache that saves neighbours along the last `kept` axes a second decode.

    Parameters
    ----------
    options : sequence of _Option
    order : sequence of int
        Axes, the one along which regions follow each other last.
    kept : int
        0, 1 or 2.
    active : int
        Regions at once, which begin in order, but not end in it.
    """
    if not kept:
        return 0
    last = options[order[-1]]
    regions = active + 2 if kept == 1 else last.count + active + 1
    region = math.prod(o.aligned for o in options)
    # They touch no more than the rows that they lie in.
    rows = -(-(regions - 1) // last.count) + 1
    return min(regions * region, rows * (region // last.aligned * last.span))


def _choose(
    options: Sequence[Sequence[_Option]],
    job: _Job,
    limits: Limits,
    most: int,
    beside: Sequence[_Choice] = (),
) -> _Choice:
    """Return the cheapest region that fits into memory.

    Parameters
    ----------
    most : int
        Bounds the decoded bytes of a region at its first level, unless the
        smallest region is larger.
    beside : sequence of _Choice
        Of the passes before: their buffers stay, so the sum of the largest
        parts of all has to fit.
    """
    needs = []
    shared = max((c.shared for c in beside), default=0)
    per_worker = max((c.per_worker for c in beside), default=0)
    count = max((c.count for c in beside), default=0)
    for choice in _choices(options, job, limits):
        active = min(limits.workers, max(count, choice.count))
        need = max(shared, choice.shared) + active * max(per_worker, choice.per_worker)
        needs.append((choice, need))
    fitting = [(choice, need) for choice, need in needs if limits.base + need <= limits.memory]
    if not fitting:
        raise _TooSmall(limits.base + min(need for _, need in needs))
    best, _ = min(fitting, key=lambda fit: (max(fit[0].size, most), fit[0].cost, fit[1]))
    if best.alone or limits.device_memory is not None:
        return best
    limit = min(ALONE_FACTOR * most, LARGE_REGION)
    larger = [choice for choice, _ in fitting if choice.alone and choice.size <= limit]

    def whole_cost(choice: _Choice) -> float:
        # At the end workers wait for the last region.
        return choice.cost + limits.workers * max(0, choice.size - most) / 2

    return min([best, *larger], key=whole_cost)


class _TooSmall(Exception):
    """No region fits; carries the bytes that would do."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def _halvings(unit: int, chunk: int) -> int:
    """Return how often `unit` halves into whole chunks."""
    count = 0
    while unit % (2 * chunk) == 0:
        unit, count = unit // 2, count + 1
    return count


def _first_choice(
    source: SourceArray,
    target: VoxelGrid,
    mapping: tuple[AxisMapping, ...],
    layout: Layout,
    levels: int,
    fixed: tuple[int, ...] | None,
    limits: Limits,
) -> _Choice:
    spatial = set(target.spatial)
    unit = layout.shard or layout.chunk
    options = [
        list(
            _resampling_options(m, unit[i], _halvings(unit[i], layout.chunk[i]), source.chunk[i])
            if i in spatial
            else itertools.islice(_resampling_options(m, 1, _ALL, source.chunk[i]), 1)
        )
        for i, m in enumerate(mapping)
    ]
    taps = math.ceil(2 * mapping[-3].step) + 1 if len(mapping) > 2 else 2
    triangle = len(mapping) > 2 and mapping[-3].interpolation == "triangle"
    small = SMALL_REGION if limits.device_memory is None else SMALL_REGION * GPU_REGION_FACTOR
    most = min(max(small, target.size * source.itemsize // 1024), LARGE_REGION)
    job = _Job(
        itemsize=source.itemsize,
        read_size=math.prod(source.shape),
        read_chunk=source.chunk,
        write_size=target.size,
        write_chunk=layout.chunk,
        taps=taps if triangle else 2,
        tail_levels=levels - 1,
        spatial=len(spatial),
        is_half=source.dtype == "float16",
        planes=unit[-3] if len(unit) > 2 and limits.device_memory is None else 0,
        slab_size=most // SLAB_FRACTION,
    )
    return _choose(_fixed(options, fixed), job, limits, most)


def _later_choice(
    levels: tuple[Level, ...],
    first: int,
    itemsize: int,
    beside: Sequence[_Choice],
    fixed: tuple[int, ...] | None,
    limits: Limits,
) -> _Choice:
    level, read = levels[first], levels[first - 1]
    spatial = set(level.grid.spatial)
    options = [
        list(
            itertools.islice(
                _halving_options(
                    level.shape[i],
                    read.shape[i],
                    level.chunk[i],
                    0 if i in spatial else _ALL,
                    read.chunk[i],
                ),
                None if i in spatial else 1,
            )
        )
        for i in range(level.grid.ndim)
    ]
    job = _Job(
        itemsize=itemsize,
        read_size=read.grid.size,
        read_chunk=read.chunk,
        write_size=level.grid.size,
        write_chunk=level.chunk,
        taps=0,
        tail_levels=len(levels) - 1 - first,
        spatial=len(spatial),
        is_half=False,  # means convert plane by plane
        planes=0,
        slab_size=0,
    )
    return _choose(_fixed(options, fixed), job, limits, LATER_REGION, beside)


def _fixed(
    options: Sequence[Sequence[_Option]], regions: tuple[int, ...] | None
) -> Sequence[Sequence[_Option]]:
    """Leave just the options of a region shape, if one is given."""
    if regions is None:
        return options
    # Where one region covers the axis it may be larger than a shard, which is cut to the image.
    fixed = [
        [replace(o, region=n) for o in axis if o.region == n or (o.count == 1 and o.target <= n)]
        for axis, n in zip(options, regions, strict=True)
    ]
    if not all(fixed):
        shapes = [sorted({o.region for o in axis}) for axis in options]
        raise OptionError(
            f"regions of {' x '.join(map(str, regions))} voxels, as the output was begun with, are "
            f"not possible with its chunks and shards (only {' x '.join(map(str, shapes))}); "
            "repeat the first command, or replace the output with overwrite=True (--overwrite)"
        )
    return fixed


def _pass(choice: _Choice, levels: tuple[Level, ...], first: int, start: int) -> Pass:
    last = first + choice.fused
    run = Pass(
        reads=None if first == 0 else first - 1,
        first=first,
        last=last,
        shape=levels[first].shape,
        region_shape=choice.region,
        slab=choice.slab,
        order=choice.order,
        start=start,
    )
    for level in levels[first : last + 1]:
        _check_alignment(run, levels[first], level)
    return run


def _check_alignment(run: Pass, first: Level, level: Level) -> None:
    """Prove that two regions never touch one stored object of `level`."""
    for axis, (region, unit) in enumerate(zip(run.region_shape, level.write_unit, strict=True)):
        ratio = level.factors[axis] // first.factors[axis]
        alone = run.counts[axis] == 1
        if not alone and (region % ratio or (region // ratio) % unit):
            raise AssertionError(
                f"regions of {region} along axis {axis} do not own whole stored objects of "
                f"{unit} at level {level.path}"
            )


def make_plan(
    source: SourceArray,
    source_grid: VoxelGrid,
    target_grid: VoxelGrid,
    *,
    method: str,
    antialias: bool,
    outside: float | None,
    layout: Layout,
    shard: bool,
    levels: int | None,
    ngff_version: str,
    codec: str,
    limits: Limits,
    free_disk: int | None = None,
    regions: Sequence[tuple[int, ...]] | None = None,
    shards: Sequence[tuple[int, ...] | None] | None = None,
) -> ResamplePlan:
    """Return the cheapest plan within the limits.

    Parameters
    ----------
    source : SourceArray
    source_grid, target_grid : VoxelGrid
        In the same units.
    method, antialias, outside, ngff_version, codec
        As in `ResamplePlan`.
    layout : Layout
        Chunk, and the shard if the caller insists on one.
    shard : bool
        Whether to make shards of whole slabs of regions where `layout` has none.
    levels : int, optional
        Number of levels; by default until one fits into a chunk.
    limits : Limits
    free_disk : int, optional
        Free bytes where the output goes, for a warning.
    regions : sequence of tuple of int, optional
        Region shape by pass, of an earlier plan with the same chunk, instead
        of the cheapest.
    shards : sequence of tuple of int or None, optional
        Shard by level, of that plan; comes before `layout` and `shard`.

    Raises
    ------
    MemoryBudgetError
        If even the smallest region needs more memory than allowed.
    """
    mapping = grid_mapping(source_grid, target_grid, method=method, antialias=antialias)
    layouts = {0: layout}
    if shards is not None:
        layouts = {k: Layout(chunk=layout.chunk, shard=given) for k, given in enumerate(shards)}
        layout = layouts[0]
    count = level_count(target_grid, layout.chunk) if levels is None else levels
    most = level_count(target_grid, (1,) * target_grid.ndim)
    if count > most:
        raise OptionError(
            f"levels {count} are more than the {most} after which a single voxel is left"
        )
    if target_grid.size * source.itemsize > 2**60:
        raise OptionError(
            f"the output would have {' x '.join(map(str, target_grid.shape))} voxels, more than "
            "any storage holds; choose a larger voxel size"
        )
    choices: list[_Choice] = []
    passes: list[Pass] = []
    asked = limits.workers
    while not passes or passes[-1].last + 1 < count:
        first = passes[-1].last + 1 if passes else 0
        start = passes[-1].indices.stop if passes else 0
        if first == 0:
            choose: Callable[..., _Choice] = partial(
                _first_choice, source, target_grid, mapping, layout, count
            )
        else:
            layouts.setdefault(first, Layout(chunk=layout.chunk))
            stored = pyramid(target_grid, count=count, layouts=layouts)
            choose = partial(_later_choice, stored, first, source.itemsize, tuple(choices))
        fixed = regions[len(passes)] if regions is not None and len(passes) < len(regions) else None
        choice, limits = _within(limits, partial(choose, fixed))
        if shards is None and layouts[first].shard is None:
            layouts |= _stored_layouts(choice, layout.chunk, shard, first)
        stored = pyramid(target_grid, count=count, layouts=layouts)
        choices.append(choice)
        passes.append(_pass(choice, stored, first, start))
    memory = MemoryEstimate(
        base=limits.base,
        buffers=max(c.shared for c in choices),
        cache=choices[0].cache,
        per_worker=max(c.per_worker for c in choices),
        workers=min(limits.workers, max(p.region_count for p in passes)),
    )
    if memory.workers == asked:
        memory = _with_spare(memory, choices, source.itemsize, limits)
    plan = ResamplePlan(
        source=source,
        source_grid=source_grid,
        levels=stored,
        passes=tuple(passes),
        method=method,
        antialias=antialias,
        outside=outside,
        ngff_version=ngff_version,
        codec=codec,
        device="cpu" if limits.device_memory is None else "gpu",
        device_memory=None,
        memory=memory,
        bytes_read=int(source.nbytes * choices[0].amplification),
        warnings=_warnings(source, source_grid, stored, mapping, antialias, free_disk),
        mapping=mapping,
    )
    if limits.device_memory is None:
        return plan
    return replace(plan, device_memory=_device_memory(plan, choices, limits.device_memory))


def _device_memory(plan: ResamplePlan, choices: Sequence[_Choice], limit: int) -> DeviceMemory:
    """Return how many regions are on the device at once, and how large their parts are there."""
    largest = 0
    for run, choice in zip(plan.passes, choices, strict=True):
        ratios = [plan.level_ratio(run.first, k) for k in range(run.first, run.last + 1)]
        shapes = [
            tuple(-(-o.target // f) for o, f in zip(choice.options, ratio, strict=True))[-3:]
            for ratio in ratios
        ]
        read = tuple(o.read for o in choice.options)[-3:]
        axes = plan.mapping if run.reads is None else ()
        filled = plan.outside is not None
        needed = device_bytes(read, shapes, plan.source.itemsize, axes, filled=filled)
        largest = max(largest, needed)
    lanes = max(1, min(MOST_LANES, plan.workers, limit // largest))
    memory = DeviceMemory(
        base=DEVICE_BASE_BYTES, per_lane=min(largest, limit // lanes), lanes=lanes
    )
    for run in plan.passes:
        # First, last and middle ones are all that there are; refuses what cannot be cut so small.
        places = itertools.product(*(sorted({0, (n - 1) // 2, n - 1}) for n in run.counts))
        for place in places:
            for _ in tiles(plan, plan.region(run.number(place)), memory.per_lane):
                pass
    return memory


def _with_spare(
    memory: MemoryEstimate, choices: Sequence[_Choice], itemsize: int, limits: Limits
) -> MemoryEstimate:
    """Add the spare workers if they fit; regions are not chosen for them, but for the others."""
    first = choices[0]
    more = min(limits.spare, first.count - memory.workers)
    if -(-first.count // (memory.workers + more)) == -(-first.count // memory.workers):
        return memory  # no fewer turns, and in the last one fewer at work
    workers = memory.workers + more
    cache = _cache_voxels(first.options, first.order, first.kept, workers) * itemsize
    # Of each: the decoded chunks of its region, cached or not.
    chunks = max(math.prod(o.aligned for o in c.options) for c in choices) * itemsize
    larger = replace(
        memory,
        workers=workers,
        buffers=memory.buffers + max(more * chunks, cache - memory.cache),
        cache=cache,
    )
    return larger if larger.total <= limits.memory else memory


def _within(limits: Limits, choose: Callable[[Limits], _Choice]) -> tuple[_Choice, Limits]:
    """Choose with fewer workers until a region fits."""
    needed, workers = 0, limits.workers
    while workers:
        attempt = replace(limits, workers=workers)
        try:
            return choose(attempt), attempt
        except _TooSmall as error:
            needed = error.needed
        workers -= max(1, workers // 8)
    raise MemoryBudgetError(
        f"the smallest region needs {math.ceil(needed / MIB)} MiB with one worker, and memory is "
        f"limited to {limits.memory // MIB} MiB; allow more memory, or use smaller chunks or shards"
    )


def _stored_layouts(
    choice: _Choice, chunk: tuple[int, ...], shard: bool, first: int
) -> dict[int, Layout]:
    """Return how a pass is stored by level: a slab is a shard, and so is a region further on."""

    def one_object(shape: Sequence[int]) -> Layout:
        outer = tuple(-(-n // c) * c for n, c in zip(shape, chunk, strict=True))
        return Layout(chunk=chunk, shard=outer if shard and outer != chunk else None)

    region = [option.target for option in choice.options]
    slab = [*region[:-3], choice.slab, *region[-2:]] if len(region) > 2 else region
    layouts = {first: one_object(slab)}
    if choice.fused and slab != region:
        layouts[first + 1] = one_object([-(-n // 2) for n in region])
    return layouts


def _warnings(
    source: SourceArray,
    grid: VoxelGrid,
    levels: tuple[Level, ...],
    mapping: tuple[AxisMapping, ...],
    antialias: bool,
    free_disk: int | None,
) -> tuple[Notice, ...]:
    found = []
    steps = {
        grid.axes[i].name: m.step
        for i, m in enumerate(mapping)
        if m.interpolation == "linear" and m.step > ALIASING_STEP * (1 + 1e-9)
    }
    if steps and not antialias:
        text = ", ".join(f"{name} by {step:.3g}" for name, step in steps.items())
        found.append(
            Notice(
                "aliasing",
                f"aliasing: the image shrinks along {text} and plain interpolation skips the "
                "voxels in between; antialias=True (--antialias) averages over them",
            )
        )
    if source.is_label and mapping and any(m.interpolation != "nearest" for m in mapping):
        found.append(Notice("labels", "linear interpolation blends the ids of this label image"))
    found += [Notice(kind, text) for kind, text in unusual(grid)]
    written = sum(level.grid.size for level in levels) * source.itemsize
    if written > 16 * source.nbytes:
        found.append(Notice("size", f"the output is {written / source.nbytes:.0f} times the input"))
    if free_disk is not None and written > free_disk:
        found.append(
            Notice(
                "disk",
                f"up to {human_bytes(written)} are written before compression, and only "
                f"{human_bytes(free_disk)} are free where the output goes",
            )
        )
    return tuple(found)
