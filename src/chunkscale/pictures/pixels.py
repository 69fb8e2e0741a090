"""Voxels to pixels: read block by block, and summed up where they fall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.pictures.levels import Stored, sufficient_level
from chunkscale.pictures.views import Span, View, bin_edges, tiles, view_box

#: Decoded voxels of a block, unless a single chunk has more.
BLOCK_BYTES = 2**26

Pixels = NDArray[np.float64]


class _Canvas(Protocol):
    """Where the blocks of a view are gathered."""

    def add(self, block: NDArray[Any], box: Box) -> None:
        """Take a block in."""

    def pixels(self) -> NDArray[Any]:
        """Return what came of all blocks: channels, rows, columns."""


def read_views(
    levels: Sequence[Stored], views: Sequence[View], kind: str
) -> list[tuple[NDArray[Any], int]]:
    """Return the pixels of each view, and the level that they were read from.

    Memory does not grow with the image: blocks of at most `BLOCK_BYTES` (or a chunk) are read one
    after another, and views that need the same box share them.

    Parameters
    ----------
    levels : sequence of Stored
    views : sequence of View
    kind : {"mean", "max", "labels"}
        What becomes of the voxels behind a pixel: their mean or their maximum, as floats with
        NaN where nothing is, or the first label that is not 0.

    Returns
    -------
    list of (ndarray, int)
        Channels, rows, columns.
    """
    chosen = [sufficient_level(levels, view) for view in views]
    boxes = [
        view_box(stored.grid, stored.part, view) for stored, view in zip(chosen, views, strict=True)
    ]
    canvases: list[_Canvas] = [
        _canvas(kind, view, stored, box)
        for view, stored, box in zip(views, chosen, boxes, strict=True)
    ]
    shared: dict[tuple[int, Box], list[_Canvas]] = {}
    for stored, box, canvas in zip(chosen, boxes, canvases, strict=True):
        shared.setdefault((stored.number, box), []).append(canvas)
    by_number = {stored.number: stored for stored in levels}
    for (number, box), group in shared.items():
        array = by_number[number].array
        for tile in tiles(box, array.chunk, BLOCK_BYTES // array.dtype.itemsize):
            block = array.read(tile)
            for canvas in group:
                canvas.add(block, tile)
    return [
        (canvas.pixels(), stored.number) for canvas, stored in zip(canvases, chosen, strict=True)
    ]


def _canvas(kind: str, view: View, stored: Stored, box: Box) -> _Canvas:
    if kind == "labels":
        return _Labels(view, stored, box)
    return (_Maxima if kind == "max" else _Means)(view, stored, box)


def _arranged(block: NDArray[Any], grid: VoxelGrid, view: View) -> NDArray[Any]:
    """Return a block as channels, depth, rows, columns; of time there is one."""
    last = [view.row, view.column]
    deep = [i for i in grid.spatial if i not in last]
    front = [i for i in range(grid.ndim) if i not in grid.spatial]
    axes = block.transpose(*front, *deep, *last)
    rows, columns = axes.shape[-2:]
    depth = int(np.prod([block.shape[i] for i in deep], dtype=int))
    return axes.reshape(-1, depth, rows, columns)


class _Binned:
    """Voxels are gathered in bins that are no larger than a pixel, unless a voxel is."""

    start: float

    def __init__(self, view: View, stored: Stored, box: Box) -> None:
        self._view, self._grid, self._box = view, stored.grid, box
        rows = (view.row, view.rows, view.height)
        columns = (view.column, view.columns, view.width)
        self._factors = tuple(
            max(1, int((high - low) / count / stored.grid.voxel_size[axis] + 1e-6))
            for axis, (low, high), count in (rows, columns)
        )
        self._edges = tuple(
            np.array(bin_edges(box.start[axis], box.stop[axis], factor, stored.grid, axis))
            for axis, factor in zip((view.row, view.column), self._factors, strict=True)
        )
        others = [i for i in range(box_axes(box)) if i not in stored.grid.spatial]
        channels = int(np.prod([box.shape[i] for i in others], dtype=int))
        shape = (channels, *(len(edges) - 1 for edges in self._edges))
        self._values = np.full(shape, self.start)
        self._counts = np.zeros(shape)

    def _binned(
        self, plane: NDArray[Any], ufunc: np.ufunc, box: Box
    ) -> tuple[NDArray[Any], tuple[slice, ...]]:
        """Return a plane (channels, rows, columns) of a block in bins, and where those are."""
        places = [slice(None)]
        axes = zip((1, 2), (self._view.row, self._view.column), self._factors, strict=True)
        for position, axis, factor in axes:
            indices = np.arange(box.start[axis], box.stop[axis]) - self._box.start[axis]
            bins = indices // factor
            starts = np.flatnonzero(np.diff(bins, prepend=-1))
            plane = ufunc.reduceat(plane, starts, axis=position)
            places.append(slice(int(bins[0]), int(bins[-1]) + 1))
        return plane, tuple(places)

    def pixels(self) -> Pixels:
        """Return the mean of the bins in each pixel; NaN where there is none."""
        known = self._counts > 0
        values = np.where(known, self._finished(), 0.0)
        shares = known.astype(float)
        view = self._view
        for axis, edges, span, count in (
            (1, self._edges[0], view.rows, view.height),
            (2, self._edges[1], view.columns, view.width),
        ):
            values = area_sums(values, edges, span, count, axis)
            shares = area_sums(shares, edges, span, count, axis)
        whole = (view.rows[1] - view.rows[0]) * (view.columns[1] - view.columns[0])
        shown = shares > 1e-6 * whole / (view.height * view.width)
        return np.where(shown, values / np.where(shown, shares, 1.0), np.nan)

    def _finished(self) -> Pixels:
        return self._values


class _Means(_Binned):
    start = 0.0

    def add(self, block: NDArray[Any], box: Box) -> None:
        stack = _arranged(block, self._grid, self._view)
        if stack.dtype.kind == "f":
            known = np.isfinite(stack)
            stack = np.where(known, stack, 0)
            counts = known.sum(axis=1, dtype=float)
        else:
            channels, depth, *plane = stack.shape
            counts = np.full((channels, *plane), float(depth))
        sums, place = self._binned(stack.sum(axis=1, dtype=float), np.add, box)
        self._values[place] += sums
        self._counts[place] += self._binned(counts, np.add, box)[0]

    def _finished(self) -> Pixels:
        return self._values / np.maximum(self._counts, 1)


class _Maxima(_Binned):
    start = -np.inf

    def add(self, block: NDArray[Any], box: Box) -> None:
        stack = _arranged(block, self._grid, self._view)
        if stack.dtype.kind == "f":
            stack = np.where(np.isfinite(stack), stack, -np.inf)
        most, place = self._binned(stack.max(axis=1).astype(float), np.maximum, box)
        np.maximum(self._values[place], most, out=self._values[place])
        self._counts[place] = self._values[place] > -np.inf


class _Labels:
    """The label at the centre of each pixel: the first one along the line of sight."""

    def __init__(self, view: View, stored: Stored, box: Box) -> None:
        self._view, self._grid = view, stored.grid
        self._indices = tuple(
            _at_centres(stored.grid, axis, span, count, box)
            for axis, span, count in (
                (view.row, view.rows, view.height),
                (view.column, view.columns, view.width),
            )
        )
        self._labels = np.zeros((view.height, view.width), stored.array.dtype)

    def add(self, block: NDArray[Any], box: Box) -> None:
        stack = _arranged(block, self._grid, self._view)[0]
        inside, picked = [], []
        for axis, indices in zip((self._view.row, self._view.column), self._indices, strict=True):
            here = np.flatnonzero((indices >= box.start[axis]) & (indices < box.stop[axis]))
            inside.append(here)
            picked.append(indices[here] - box.start[axis])
        if not all(map(len, inside)):
            return
        seen = stack[:, picked[0]][:, :, picked[1]]
        first = np.take_along_axis(seen, (seen != 0).argmax(axis=0)[None], axis=0)[0]
        place = np.ix_(*inside)
        before = self._labels[place]
        self._labels[place] = np.where(before == 0, first, before)

    def pixels(self) -> NDArray[Any]:
        return self._labels[None]


def box_axes(box: Box) -> int:
    """Return the number of axes of a box."""
    return len(box.start)


def _at_centres(grid: VoxelGrid, axis: int, span: Span, count: int, box: Box) -> NDArray[np.int64]:
    """Return the voxel at the centre of each pixel; -1 where there is none."""
    pitch = (span[1] - span[0]) / count
    centres = span[0] + pitch * (np.arange(count) + 0.5)
    places = (centres - grid.extent(axis)[0]) / grid.voxel_size[axis]
    indices: NDArray[np.int64] = np.floor(places + 1e-9).astype(np.int64)
    outside = (indices < box.start[axis]) | (indices >= box.stop[axis])
    indices[outside] = -1
    return indices


def area_sums(values: Pixels, edges: Pixels, span: Span, count: int, axis: int) -> Pixels:
    """Return the integral over each of some pixels of what is constant between edges.

    Voxels that are larger than a pixel stay the blocks that they are, and smaller ones are
    averaged, so that nothing is skipped and nothing looks smoother than it is.

    Examples
    --------
    >>> edges = np.array([0.0, 1.0, 2.0])
    >>> area_sums(np.array([[10.0, 20.0]]), edges, (0.0, 2.0), 4, 1)
    array([[ 5.,  5., 10., 10.]])
    """
    moved = np.moveaxis(values, axis, -1)
    total = np.zeros((*moved.shape[:-1], len(edges)))
    np.cumsum(moved * np.diff(edges), axis=-1, out=total[..., 1:])
    places = np.clip(np.linspace(span[0], span[1], count + 1), edges[0], edges[-1])
    index = np.clip(np.searchsorted(edges, places, side="right") - 1, 0, len(edges) - 2)
    share = (places - edges[index]) / np.diff(edges)[index]
    at = total[..., index] + share * (total[..., index + 1] - total[..., index])
    return np.moveaxis(np.diff(at, axis=-1), -1, axis)


def central_values(planes: Iterable[NDArray[Any]], percentiles: tuple[float, float]) -> Span:
    """Return the contrast limits of some panels: percentiles of all their pixels.

    The upper one is that of pixels above the lowest value: empty ground does not count, or the
    little that there is on it would be without any shades.

    Examples
    --------
    >>> central_values([np.arange(11.0)], (50, 100)), central_values([np.eye(50)], (10, 90))
    ((5.0, 10.0), (0.0, 1.0))
    """
    known = np.concatenate([plane[np.isfinite(plane)].ravel() for plane in planes])
    if not known.size:
        return 0.0, 1.0
    low = np.percentile(known, percentiles[0])
    above = known[known > known.min()]
    high = np.percentile(above, percentiles[1]) if above.size else low
    if not high > low:
        low, high = known.min(), known.max()
    return float(low), float(high) if high > low else float(low) + 1.0
