"""The levels of a region: a source box in, level after level out, on any backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box, between, cell_counts
from chunkscale.geometry.mapping import AxisMapping, inside_range
from chunkscale.geometry.methods import Downsample
from chunkscale.geometry.pyramid import halving
from chunkscale.geometry.tables import AxisTable, axis_table, rebased, source_box
from chunkscale.kernels.backend import Backend, Factors, Tables
from chunkscale.plan.model import ResamplePlan
from chunkscale.plan.regions import Region

ReadBox = Callable[[Box], NDArray[Any]]

ReadInto = Callable[[Box, NDArray[Any]], NDArray[Any]]

Empty = Callable[[int, tuple[int, ...]], NDArray[Any]]


class Device(Protocol):
    """What computes the levels of a region: see `chunkscale.compute.devices`."""

    def levels(
        self, plan: ResamplePlan, region: Region, read: ReadInto
    ) -> Iterator[tuple[int, Box, NDArray[Any]]]:
        """Yield level, box and host array, finest first; the first level in slabs.

        `read` fills an array with the voxels of a box of what the region
        reads. The arrays stay as they are until this thread asks for the
        levels of its next region, but for slabs: only the last one does when
        the next is asked for.
        """


_ONE_PLANE = AxisTable("pick", np.zeros(1, np.int64), np.empty(0))


def zyx(block: NDArray[Any]) -> NDArray[Any]:
    """View a block of (..., y, x) or (..., z, y, x) with single leading indices as (z, y, x)."""
    spatial = block.shape[-3:] if block.ndim >= 3 else (1, *block.shape)
    return block.reshape(spatial)


def _frames(cells: Factors, *blocks: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield views of blocks as (z, y, x), for each index of the axes before those.

    Frames of whole cells are one: see `_resample_block`.
    """
    data = blocks[0]
    if data.ndim > 3 and data.shape[-3] % cells[0] == 0 and _are_contiguous(blocks):
        yield tuple(_planes(block) for block in blocks)
        return
    for index in np.ndindex(*data.shape[:-3]):
        yield tuple(zyx(block[index]) for block in blocks)


def _are_contiguous(blocks: Sequence[NDArray[Any]]) -> bool:
    return all(block.flags.c_contiguous for block in blocks)


def _planes(block: NDArray[Any]) -> NDArray[Any]:
    """View frames as one (z, y, x): the planes of all of them, one after another."""
    return block.reshape(-1, *block.shape[-2:])


def cut(array: NDArray[Any], box: Box, part: Box) -> NDArray[Any]:
    """Return a part of a box's array, as (z, y, x)."""
    return zyx(array[part.within(box)])


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
    """Return the resampled voxels of a target box, frame by frame.

    Parameters
    ----------
    mapping : sequence of AxisMapping
        One per axis; those before the last three are not spatial.
    target : Box
        Global target indices.
    read : callable
        Returns the voxels of a source box, of one frame.
    outside : float or None
        Value of samples outside the source's extent; None for the edge voxel.
    dtype : numpy.dtype
        Of the source and of the result.
    backend : Backend
    out : ndarray, optional
        Where the result goes: shape of `target`, C order.
    means : tuple of tuple and ndarray, optional
        Cells along z, y and x, and where their means go: the frames of `target`.

    Returns
    -------
    ndarray
        Shape of `target`.
    """
    if out is None:
        out = backend.empty(target.shape, dtype)
    for index in np.ndindex(*target.shape[:-3]):
        box = target
        for axis, i in enumerate(index):
            box = between(box, axis, target.start[axis] + i, target.start[axis] + i + 1)
        _resample_frame(
            mapping,
            box,
            read,
            outside,
            dtype,
            backend,
            out[index].reshape(box.shape),
            None if means is None else (means[0], zyx(means[1][index])),
        )
    return out


def _resample_block(
    mapping: Sequence[AxisMapping],
    target: Box,
    held: tuple[Box, NDArray[Any]] | None,
    *,
    outside: float | None,
    dtype: np.dtype[Any],
    backend: Backend,
    out: NDArray[Any],
    means: tuple[Factors, NDArray[Any]] | None,
) -> None:
    """Do `resample_box`; `held` are a source box and its voxels, None where all lies outside.

    All frames are made at once where that is possible: threads that come back from a kernel wait
    for their turn at the interpreter, and with many small frames that is most of what they do.
    """
    frames, depth = target.shape[:-3], target.shape[-3:][0]
    if (
        held is not None
        and math.prod(frames) > 1
        and held[0].shape[:-3] == frames
        and (outside is None or _inside(mapping, target) == target)
        and (means is None or depth % means[0][0] == 0)
        and _are_contiguous((held[1], out, *([] if means is None else means[1:])))
    ):
        source, block = held
        z, y, x = _tables(mapping, target, source)
        tables = _of_all_frames(z, math.prod(frames), source.shape[-3]), y, x
        coarse = None if means is None else (means[0], _planes(means[1]))
        _make(backend, _planes(block), tables, _planes(out), coarse)
        return

    def read(part: Box) -> NDArray[Any]:
        assert held is not None
        return cut(held[1], held[0], part)

    resample_box(
        mapping, target, read, outside=outside, dtype=dtype, backend=backend, out=out, means=means
    )


def _make(
    backend: Backend,
    block: NDArray[Any],
    tables: Tables,
    out: NDArray[Any],
    means: tuple[Factors, NDArray[Any]] | None,
) -> None:
    if means is None:
        backend.resample(block, tables, out)
    else:
        factors, coarse = means
        backend.resample_and_mean(block, tables, factors, out, coarse)


def _of_all_frames(table: AxisTable, frames: int, planes: int) -> AxisTable:
    """Return the table along z of frames that lie one after another, each of so many planes.

    Examples
    --------
    >>> table = AxisTable("lerp", np.array([0, 0]), np.array([0.25, 0.75]))
    >>> both = _of_all_frames(table, 2, 3)
    >>> both.index.tolist(), both.weight.tolist()
    ([0, 0, 3, 3], [0.25, 0.75, 0.25, 0.75])
    """
    start = np.arange(frames)[:, None] * planes
    weight = np.concatenate([table.weight] * frames)
    return replace(table, index=(start + table.index).ravel(), weight=weight)


def _resample_frame(
    mapping: Sequence[AxisMapping],
    target: Box,
    read: ReadBox,
    outside: float | None,
    dtype: np.dtype[Any],
    backend: Backend,
    out: NDArray[Any],
    means: tuple[Factors, NDArray[Any]] | None = None,
) -> None:
    inner = target if outside is None else _inside(mapping, target)
    if inner == target:
        source = source_box(tuple(mapping), target)
        block, tables = zyx(read(source)), _tables(mapping, target, source)
        _make(backend, block, tables, zyx(out), means)
        return
    out[...] = dtype.type(outside)
    if min(inner.shape) > 0:
        part = backend.empty(inner.shape, dtype)
        _resample_frame(mapping, inner, read, None, dtype, backend, part)
        out[inner.within(target)] = part
    if means is not None:
        backend.mean(zyx(out), *means)


def _inside(mapping: Sequence[AxisMapping], target: Box) -> Box:
    """Return the part of a target box within the source's extent; it may be empty."""
    start, stop = zip(*map(inside_range, mapping), strict=True)
    return target.clipped(Box(start=start, stop=stop))


def sampled_box(plan: ResamplePlan, region: Region) -> Box | None:
    """Return the box that a region reads; None if all of it lies outside the source's extent."""
    if region.reads is not None or plan.outside is None:
        return region.source_box
    inner = _inside(plan.mapping, region.boxes[0][1])
    return source_box(plan.mapping, inner) if min(inner.shape) > 0 else None


def reduce_box(
    data: NDArray[Any],
    factors: Sequence[int],
    *,
    downsample: Downsample,
    backend: Backend,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the next level of a box: of each cell a mean, or one of its voxels.

    Parameters
    ----------
    data : ndarray
        A box that starts on a cell.
    factors : sequence of int
        Cell size per axis, 1 or 2.
    downsample : {"mean", "mode", "nearest", "max"}
    backend : Backend
    out : ndarray, optional
        Where the result goes.
    """
    if out is None:
        out = backend.empty(cell_counts(data.shape, factors), data.dtype)
    cells = _cells(factors)
    for frame, result in _frames(cells, data, out):
        if downsample == "mean":
            backend.mean(frame, cells, result)
        elif downsample == "max":
            backend.maximum(frame, cells, result)
        else:
            backend.resample(frame, _halving(frame.shape, cells, downsample), result)
    return out


def _cells(factors: Sequence[int]) -> Factors:
    z, y, x = (1, 1, 1, *factors)[-3:]
    return z, y, x


def _halving(shape: Sequence[int], cells: Factors, method: str) -> Tables:
    """Return the tables of a method that takes of each cell one voxel."""
    z, y, x = (
        axis_table(halving(size, factor, method), 0, -(-size // factor))
        for size, factor in zip(shape, cells, strict=True)
    )
    return z, y, x


def region_levels(
    plan: ResamplePlan,
    region: Region,
    read: ReadBox,
    empty: Empty,
    backend: Backend,
) -> Iterator[tuple[int, Box, NDArray[Any]]]:
    """Yield every level of a region, or of a tile of one, finest first; level 0 in slabs.

    Parameters
    ----------
    plan : ResamplePlan
    region : Region
    read : callable
        Returns the voxels of a box of what the region reads.
    empty : callable
        Returns an array for a result; takes the number of a buffer and a
        shape. The first two are taken in turn, for slabs of the first level.
    backend : Backend
    """
    first, box = region.boxes[0]
    coarser = [empty(place, owned.shape) for place, (_, owned) in enumerate(region.boxes[1:], 2)]
    reduced = partial(reduce_box, downsample=plan.downsample, backend=backend)
    if first == 0:
        yield from _slabs(plan, region, read, empty, backend, *coarser[:1])
    else:
        finer = empty(0, box.shape)
        reduced(read(region.source_box), plan.level_ratio(first - 1, first), out=finer)
        yield first, box, finer
    for k, ((level, owned), out) in enumerate(zip(region.boxes[1:], coarser, strict=True)):
        if first > 0 or k > 0:
            reduced(finer, plan.level_ratio(level - 1, level), out=out)
        yield level, owned, out
        finer = out


def _slabs(
    plan: ResamplePlan,
    region: Region,
    read: ReadBox,
    empty: Empty,
    backend: Backend,
    coarse: NDArray[Any] | None = None,
) -> Iterator[tuple[int, Box, NDArray[Any]]]:
    """Yield level 0 of a region, slab by slab; fill `coarse`, its level 1, on the way."""
    source = sampled_box(plan, region)
    held = None if source is None else (source, read(source))
    averages = plan.downsample == "mean"
    for turn, box in enumerate(plan.slabs(region)):
        out = empty(turn % 2, box.shape)
        means = None
        if coarse is not None:
            ratio = plan.level_ratio(0, 1)
            means = _cells(ratio), _planes_of(coarse, region.boxes[0][1], box, ratio)
        _resample_block(
            plan.mapping,
            box,
            held,
            outside=plan.outside,
            dtype=np.dtype(plan.dtype),
            backend=backend,
            out=out,
            means=means if averages else None,
        )
        if means is not None and not averages:
            reduce_box(out, ratio, downsample=plan.downsample, backend=backend, out=means[1])
        yield 0, box, out


def _planes_of(coarse: NDArray[Any], box: Box, slab: Box, ratio: Sequence[int]) -> NDArray[Any]:
    """Return the part of a box's next level that is made of a slab of it."""
    if len(ratio) < 3:
        return coarse
    start, stop = (slab.start[-3] - box.start[-3], slab.stop[-3] - box.start[-3])
    return coarse[..., start // ratio[-3] : -(-stop // ratio[-3]), :, :]
