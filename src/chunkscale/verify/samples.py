"""Which voxels of an image are compared with what its source gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid

#: Edge of the boxes that are recomputed, by number of spatial axes, and how many per axis.
EDGES = {2: 256, 3: 48}
PER_AXIS = 3

#: So many frames (pairs of t and c) are looked at, or as many as there are time points if these
#: are more: a time-lapse of thousands would take hours.
MOST_FRAMES = 1000


def frame_counts(grid: VoxelGrid) -> tuple[int, ...]:
    """Return the numbers of indices along the axes that are not spatial."""
    return tuple(n for i, n in enumerate(grid.shape) if i not in grid.spatial)


def sampled_frames(grid: VoxelGrid) -> list[tuple[int, ...]]:
    """Return the frames of an image that are looked at: all, or some with every index in them."""
    counts = frame_counts(grid)
    if math.prod(counts) <= MOST_FRAMES:
        return list(np.ndindex(counts))
    corners = itertools.product(*({0, n - 1} for n in counts))
    diagonal = (tuple(i % n for n in counts) for i in range(max(counts)))
    return sorted({*corners, *diagonal})


def samples(grid: VoxelGrid, *, full: bool = False) -> Iterator[Box]:
    """Yield the boxes of an image that are compared.

    Of the first and the last frames these are corners, edges, faces and the middle; of the
    others one box each, always another one.

    Parameters
    ----------
    grid : VoxelGrid
    full : bool
        Whether all of it is compared.
    """
    size, shape = EDGES[len(grid.spatial)], [grid.shape[i] for i in grid.spatial]
    if full:
        places = list(itertools.product(*(range(0, n, size) for n in shape)))
        for frame in np.ndindex(frame_counts(grid)):
            yield from (_box(grid, frame, place) for place in places)
        return
    places = list(itertools.product(*(_starts(n, size) for n in shape)))
    counts = frame_counts(grid)
    for k, frame in enumerate(sampled_frames(grid)):
        is_corner = all(i in (0, n - 1) for i, n in zip(frame, counts, strict=True))
        for place in places if is_corner else [places[k % len(places)]]:
            yield _box(grid, frame, place)


def count_samples(grid: VoxelGrid, *, full: bool = False) -> tuple[int, int]:
    """Return how many boxes `samples` yields, and their voxels together."""
    if not full:
        sizes = [box.size for box in samples(grid)]
        return len(sizes), sum(sizes)
    size = EDGES[len(grid.spatial)]
    counts = [-(-grid.shape[i] // size) for i in grid.spatial]
    return math.prod((*counts, *frame_counts(grid))), math.prod(grid.shape)


def _starts(n: int, size: int) -> list[int]:
    """Return where boxes along an axis begin: one after the other, if so few cover all of it."""
    if n <= PER_AXIS * size:
        return list(range(0, n, size))
    last = n - size
    # An odd start would cut cells of the next level.
    positions = np.linspace(0, last, PER_AXIS).astype(int) // 2 * 2
    return sorted({*map(int, positions[:-1]), last})


def _box(grid: VoxelGrid, frame: tuple[int, ...], place: tuple[int, ...]) -> Box:
    """Return the box that begins at a place of a frame, as far as the image goes."""
    size, start, stop = EDGES[len(grid.spatial)], [], []
    indices, starts = iter(frame), iter(place)
    for i, n in enumerate(grid.shape):
        start.append(next(starts) if i in grid.spatial else next(indices))
        stop.append(min(start[-1] + (size if i in grid.spatial else 1), n))
    return Box(start=tuple(start), stop=tuple(stop))
