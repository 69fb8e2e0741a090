"""The story of one region: read its source box, resample, make its levels, write them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkscale.grid import Box
from chunkscale.kernels import Backend, Factors, Tables
from chunkscale.mapping import (
    AxisMapping,
    AxisTable,
    axis_table,
    inside_range,
    rebased,
    source_box,
)
from chunkscale.plan import Region, ResamplePlan
from chunkscale.storage import ArrayReader, ArrayWriter

__all__ = [
    "Device",
    "ReadInto",
    "Record",
    "process_region",
    "reduce_box",
    "region_levels",
    "resample_box",
    "resample_leading",
    "sampled_box",
    "zyx",
]


ReadInto = Callable[[Box, NDArray[Any]], NDArray[Any]]


class Device(Protocol):
    """What computes the levels of a region: see `chunkscale.device`."""

    def levels(
        self, plan: ResamplePlan, region: Region, read: ReadInto
    ) -> Iterator[tuple[int, Box, NDArray[Any]]]:
        """Yield level, box and host array, finest first.

        `read` fills an array with the voxels of a box of what the region
        reads. The arrays stay as they are until this thread asks for the
        levels of its next region.
        """


@dataclass(frozen=True, slots=True)
class Record:
    """What a finished region reports.

    Parameters
    ----------
    index : int
    voxels : int
        Voxels written, all levels.
    nbytes : int
        Their size before compression.
    read_seconds, compute_seconds, write_seconds : float
    stored : int
        Bytes of the objects that hold it.
    """

    index: int
    voxels: int
    nbytes: int
    read_seconds: float
    compute_seconds: float
    write_seconds: float
    stored: int = 0


_ONE_PLANE = AxisTable("nearest", np.zeros(1, np.int64), np.empty(0))


def zyx(block: NDArray[Any]) -> NDArray[Any]:
    """View a block of (..., y, x) or (..., z, y, x) with single leading indices as (z, y, x)."""
    spatial = block.shape[-3:] if block.ndim >= 3 else (1, *block.shape)
    return block.reshape(spatial)


def _tables(mapping: Sequence[AxisMapping], target: Box, source: Box) -> Tables:
    tables = [
        rebased(axis_table(m, a, b), start)
        for m, a, b, start in zip(mapping, target.start, target.stop, source.start, strict=True)
    ][-3:]
    z, y, x = tables if len(tables) == 3 else (_ONE_PLANE, *tables)
    return z, y, x


def resample_box(
    mapping: Sequence[AxisMapping],
    target: Box,
    read: Callable[[Box], NDArray[Any]],
    *,
    outside: float | None,
    dtype: np.dtype[Any],
    backend: Backend,
    out: NDArray[Any] | None = None,
    means: tuple[Factors, NDArray[Any]] | None = None,
) -> NDArray[Any]:
    """Return the resampled voxels of a target box.

    Parameters
    ----------
    mapping : sequence of AxisMapping
        One per axis; of more than three axes all but the last three have one
        index in `target`.
    target : Box
        Global target indices.
    read : callable
        Returns the voxels of a source box.
    outside : float or None
        Value of samples outside the source's extent; None for the edge voxel.
    dtype : numpy.dtype
        Of the source and of the result.
    backend : Backend
    out : ndarray, optional
        Where the result goes: shape of `target`, C order.
    means : tuple of tuple and ndarray, optional
        Cells along z, y and x, and where their means go.

    Returns
    -------
    ndarray
        Shape of `target`.
    """
    if out is None:
        out = backend.empty(target.shape, dtype)
    if outside is None:
        source = source_box(tuple(mapping), target)
        block, tables = zyx(read(source)), _tables(mapping, target, source)
        if means is None:
            backend.resample(block, tables, zyx(out))
        else:
            factors, coarse = means
            backend.resample_and_mean(block, tables, factors, zyx(out), coarse)
        return out
    inner = _inside(mapping, target)
    if inner == target:
        return resample_box(
            mapping, target, read, outside=None, dtype=dtype, backend=backend, out=out, means=means
        )
    out[...] = dtype.type(outside)
    if min(inner.shape) > 0:
        place = tuple(
            slice(a - t, b - t)
            for a, b, t in zip(inner.start, inner.stop, target.start, strict=True)
        )
        out[place] = resample_box(mapping, inner, read, outside=None, dtype=dtype, backend=backend)
    if means is not None:
        backend.mean(zyx(out), *means)
    return out


def _inside(mapping: Sequence[AxisMapping], target: Box) -> Box:
    """Return the part of a target box within the source's extent; it may be empty."""
    limits = [inside_range(m) for m in mapping]
    return Box(
        start=tuple(max(a, low) for a, (low, _) in zip(target.start, limits, strict=True)),
        stop=tuple(min(b, high) for b, (_, high) in zip(target.stop, limits, strict=True)),
    )


def sampled_box(plan: ResamplePlan, region: Region) -> Box | None:
    """Return the box that a region reads; None if all of it lies outside the source's extent."""
    if region.reads is not None or plan.outside is None:
        return region.source_box
    inner = _inside(plan.mapping, region.boxes[0][1])
    return source_box(plan.mapping, inner) if min(inner.shape) > 0 else None


def resample_leading(
    mapping: Sequence[AxisMapping],
    target: Box,
    read: Callable[[Box], NDArray[Any]],
    *,
    outside: float | None,
    dtype: np.dtype[Any],
    backend: Backend,
) -> NDArray[Any]:
    """Resample a box of any leading (non-spatial) extent, index by index."""
    leading = max(0, len(target.shape) - 3)
    result = backend.empty(target.shape, dtype)
    for index in np.ndindex(*target.shape[:leading]):
        at = tuple(a + i for a, i in zip(target.start, index, strict=False))
        box = Box(
            start=at + target.start[leading:],
            stop=tuple(i + 1 for i in at) + target.stop[leading:],
        )
        resample_box(
            mapping, box, read, outside=outside, dtype=dtype, backend=backend,
            out=result[index].reshape(box.shape),
        )  # fmt: skip
    return result


def reduced_shape(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the cells of a box."""
    return tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))


def reduce_box(
    data: NDArray[Any],
    factors: Sequence[int],
    *,
    method: str,
    backend: Backend,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the next level of a box: means of cells, or modes where `method` is nearest.

    Parameters
    ----------
    data : ndarray
        A box that starts on a cell.
    factors : sequence of int
        Cell size per axis, 1 or 2.
    method : {"linear", "nearest"}
    backend : Backend
    out : ndarray, optional
        Where the result goes.
    """
    if out is None:
        out = backend.empty(reduced_shape(data.shape, factors), data.dtype)
    combine = backend.mode if method == "nearest" else backend.mean
    combine(zyx(data), _cells(factors), zyx(out))
    return out


def _cells(factors: Sequence[int]) -> Factors:
    z, y, x = (1, 1, 1, *factors)[-3:]
    return z, y, x


def region_levels(
    plan: ResamplePlan,
    region: Region,
    read: Callable[[Box], NDArray[Any]],
    empty: Callable[[int, tuple[int, ...]], NDArray[Any]],
    backend: Backend,
) -> Iterator[tuple[int, Box, NDArray[Any]]]:
    """Yield every level of a region, or of a tile of one, finest first.

    Parameters
    ----------
    plan : ResamplePlan
    region : Region
    read : callable
        Returns the voxels of a box of what the region reads.
    empty : callable
        Returns the array for a level's result; takes level and shape.
    backend : Backend
    """
    outputs = [empty(level, box.shape) for level, box in region.boxes]
    first, box = region.boxes[0]
    ready = 0
    if first == 0:
        means = None
        if len(outputs) > 1 and plan.method != "nearest":
            means = _cells(plan.level_ratio(0, 1)), zyx(outputs[1])
        resample_box(
            plan.mapping, box, read, outside=plan.outside, dtype=np.dtype(plan.dtype),
            backend=backend, out=outputs[0], means=means,
        )  # fmt: skip
        ready = 1 if means is None else 2
    for k, (level, box) in enumerate(region.boxes):
        if k >= ready:
            finer = outputs[k - 1] if k else read(region.source_box)
            factors = plan.level_ratio(level - 1, level)
            reduce_box(finer, factors, method=plan.method, backend=backend, out=outputs[k])
        yield level, box, outputs[k]


def process_region(
    plan: ResamplePlan,
    index: int,
    source: ArrayReader,
    target: Sequence[ArrayWriter],
    device: Device,
) -> Record:
    """Make one region: everything that it owns, at every level of its pass.

    Parameters
    ----------
    plan : ResamplePlan
    index : int
        Region number.
    source : ArrayReader
        Level 0 of the source image.
    target : sequence of ArrayWriter
        The levels of the output.
    device : Device
        What computes; its host buffers are free again when this returns.
    """
    region = plan.region(index)
    clock = time.perf_counter()
    read_seconds = 0.0

    def read(box: Box, out: NDArray[Any]) -> NDArray[Any]:
        nonlocal read_seconds
        start = time.perf_counter()
        (source if region.reads is None else target[region.reads]).read(box, out)
        read_seconds += time.perf_counter() - start
        return out

    pending = []
    voxels = 0
    try:
        for level, box, data in device.levels(plan, region, read):
            pending.append((target[level], target[level].start_write(box, data)))
            voxels += box.size
    except BaseException:
        with contextlib.suppress(OSError):
            _finish(pending)
        raise
    computed = time.perf_counter()
    _finish(pending)
    stored = sum(target[level].stored_size(box) for level, box in region.boxes)
    return Record(
        index=index,
        voxels=voxels,
        nbytes=voxels * plan.source.itemsize,
        read_seconds=read_seconds,
        compute_seconds=computed - clock - read_seconds,
        write_seconds=time.perf_counter() - computed,
        stored=stored,
    )


def _finish(pending: Sequence[tuple[ArrayWriter, Any]]) -> None:
    """Wait for all writes, also if one fails: their buffers are used again."""
    failure: OSError | None = None
    for writer, future in pending:
        try:
            writer.finish_write(future)
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure
