"""Where panels stand in a picture: in true proportions, all at one scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import readable_length
from chunkscale.pictures.views import Span, display_axes

#: Around everything, between the panels of an image, and between images, in pixels.
MARGIN, GAP, APART = 24, 6, 28

#: Above the panels of an image: its name, and two lines.
HEADER = 72

#: An image has at least this width, for its text.
_LEAST_WIDTH = 200

#: Height of a picture at most, over its width.
_TALLEST = 1.4

#: The corner between three panels takes the inset if it is this large, over the first panel, and
#: in pixels.
_CORNER, _LEAST_CORNER = 0.3, 90

#: An inset below the panels is so high, over its width, unless they are higher.
_STRIP = 0.45

#: Pixels of the inset for the smallest voxel; and how much larger it shows things, within limits.
_PER_VOXEL, _ZOOM = 3.0, (3.0, 25.0)

_PLANES: dict[str, tuple[int, int, int]] = {"xy": (1, 2, 0), "yz": (1, 0, 2), "xz": (0, 2, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rectangle of the picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Two axes of an image that a panel shows, and the third one (None where there is none)."""

    name: str
    row: int
    column: int
    across: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """An image in the picture.

    Parameters
    ----------
    header : Place
    panels : tuple of (Plane, Place)
        The first one has the scale bar, the last one has the inset's frame.
    inset : Place or None
    """

    header: Place
    panels: tuple[tuple[Plane, Place], ...]
    inset: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """All images of a picture.

    Parameters
    ----------
    blocks : tuple of Block
    width, height : int
        Of the picture, in pixels.
    pixel : float
        Size of a pixel of the panels, in the unit of the picture.
    """

    blocks: tuple[Block, ...]
    width: int
    height: int
    pixel: float


def planes_of(grid: VoxelGrid, wanted: str) -> tuple[Plane, ...]:
    """Return the planes to show of an image: all three, or one; of two axes there is one.

    Examples
    --------
    >>> from chunkscale.geometry.grid import Axis
    >>> zyx = tuple(Axis(name=name) for name in "zyx")
    >>> grid = VoxelGrid(axes=zyx, shape=(5, 6, 7), voxel_size=(1.0,) * 3)
    >>> [(plane.name, plane.row, plane.column) for plane in planes_of(grid, "all")]
    [('xy', 1, 2), ('zy', 1, 0), ('xz', 0, 2)]
    """
    axes = display_axes(grid)
    if len(axes) == 2:
        return (_plane(grid, *axes, None),)
    if wanted == "yz":  # by itself it stands as the others do, z down
        return (_plane(grid, axes[0], axes[1], axes[2]),)
    chosen = _PLANES.values() if wanted == "all" else (_PLANES[wanted],)
    return tuple(_plane(grid, *(axes[i] for i in found)) for found in chosen)


def _plane(grid: VoxelGrid, row: int, column: int, across: int | None) -> Plane:
    name = grid.axes[column].name + grid.axes[row].name
    return Plane(name=name, row=row, column=column, across=across)


def spans(grid: VoxelGrid) -> dict[int, Span]:
    """Return where the spatial axes begin and end."""
    return {i: grid.extent(i) for i in grid.spatial}


@dataclass(frozen=True, slots=True)
class _Measure:
    """Panels of an image in the unit of the picture: lengths that grow with the scale."""

    planes: tuple[Plane, ...]
    lengths: Mapping[int, float]
    doubled: bool

    @property
    def width(self) -> float:
        return (1 + self.doubled) * self.lengths[self.planes[0].column] + self._beside

    @property
    def height(self) -> float:
        below = self.lengths[self.planes[2].row] if len(self.planes) == 3 else 0.0
        return self.lengths[self.planes[0].row] + below

    @property
    def _beside(self) -> float:
        return self.lengths[self.planes[1].column] if len(self.planes) == 3 else 0.0

    def has_corner(self, pixel: float) -> bool:
        """Whether there is room for an inset beside the panel below and below that beside."""
        least = max(_CORNER * self.lengths[self.planes[0].column], _LEAST_CORNER * pixel)
        return len(self.planes) == 3 and self._beside >= least


def arranged(
    images: Sequence[tuple[VoxelGrid, Sequence[Plane]]], width: int, *, inset: bool
) -> Arrangement:
    """Return where images stand side by side.

    Parameters
    ----------
    images : sequence of (VoxelGrid, sequence of Plane)
        In one unit.
    width : int
        Of the picture at most, in pixels; less where it would become too high.
    inset : bool
        Whether to leave room for insets.
    """
    measures = [_measure(grid, planes, alone=inset and len(images) == 1) for grid, planes in images]
    gaps = sum(GAP for m in measures if len(m.planes) == 3 or m.doubled)
    gaps += APART * (len(measures) - 1)
    room = max(width - 2 * MARGIN - gaps - len(measures), 60 * len(measures))
    pixel = sum(m.width for m in measures) / room
    found = _arrangement(measures, pixel, inset=inset)
    while found.height > _TALLEST * width and pixel < max(m.height for m in measures) / 60:
        pixel *= max(1.02, (found.height - HEADER) / (_TALLEST * width - HEADER))
        found = _arrangement(measures, pixel, inset=inset)
    return found


def _measure(grid: VoxelGrid, planes: Sequence[Plane], *, alone: bool) -> _Measure:
    lengths = {i: high - low for i, (low, high) in spans(grid).items()}
    first = planes[0]
    # A single panel that is not wide has its inset beside it.
    doubled = alone and len(planes) == 1 and lengths[first.row] > 0.6 * lengths[first.column]
    return _Measure(tuple(planes), lengths, doubled)


def _arrangement(measures: Sequence[_Measure], pixel: float, *, inset: bool) -> Arrangement:
    blocks, x = [], MARGIN
    for measure in measures:
        block, taken = _block(measure, x, pixel, inset=inset)
        blocks.append(block)
        x += taken + APART
    bottom = max(place.y + place.height for block in blocks for place in _places(block))
    return Arrangement(
        blocks=tuple(blocks), width=x - APART + MARGIN, height=bottom + MARGIN, pixel=pixel
    )


def _places(block: Block) -> Iterable[Place]:
    yield from (place for _, place in block.panels)
    if block.inset is not None:
        yield block.inset


def _block(measure: _Measure, x: int, pixel: float, *, inset: bool) -> tuple[Block, int]:
    def size(axis: int) -> int:
        return max(1, round(measure.lengths[axis] / pixel))

    top = MARGIN + HEADER
    panels, first = [], measure.planes[0]
    for plane in measure.planes:
        right = x if plane.column == first.column else x + size(first.column) + GAP
        down = top if plane.row == first.row else top + size(first.row) + GAP
        place = Place(x=right, y=down, width=size(plane.column), height=size(plane.row))
        panels.append((plane, place))
    right = max(place.x + place.width for _, place in panels)
    bottom = max(place.y + place.height for _, place in panels)
    taken = right - x
    found = None
    if inset and measure.has_corner(pixel):
        corner, side = panels[1][1], panels[2][1]
        found = Place(x=corner.x, y=side.y, width=corner.width, height=side.height)
    elif measure.doubled:
        place = panels[0][1]
        found = replace(place, x=right + GAP, width=max(place.width, _LEAST_WIDTH))
        taken = found.x + found.width - x
    elif inset:
        wide = max(taken, _LEAST_WIDTH)
        high = panels[-1][1].height if len(panels) == 1 else 0
        height = min(max(high, round(_STRIP * wide)), wide)
        found = Place(x=x, y=bottom + GAP, width=wide, height=height)
    taken = max(taken, _LEAST_WIDTH)
    header = Place(x=x, y=MARGIN, width=taken, height=HEADER)
    return Block(header=header, panels=tuple(panels), inset=found), taken


def inset_lengths(
    inset: Place, lengths: tuple[float, float], pixel: float, voxel: float
) -> tuple[float, float]:
    """Return how much an inset shows of a panel, down and to the right.

    Parameters
    ----------
    inset : Place
    lengths : (float, float)
        Of the panel, down and to the right.
    pixel, voxel : float
        Size of a pixel of the panel, and of the smallest voxel.
    """
    zoom = min(max(pixel / voxel * _PER_VOXEL, _ZOOM[0]), _ZOOM[1])
    shown = [inset.height * pixel / zoom, inset.width * pixel / zoom]
    shrink = min(1.0, *(length / part for length, part in zip(lengths, shown, strict=True)))
    return shown[0] * shrink, shown[1] * shrink


def busiest(picture: NDArray[np.float64], height: int, width: int) -> tuple[int, int]:
    """Return where a window of a picture has most edges around its middle: its upper left corner.

    Examples
    --------
    >>> picture = np.zeros((20, 30))
    >>> picture[12, 20] = 1
    >>> busiest(picture, 5, 5)
    (10, 18)
    """
    height, width = min(height, picture.shape[0]), min(width, picture.shape[1])
    down, right = np.diff(picture, axis=0), np.diff(picture, axis=1)
    edges = np.zeros(picture.shape)
    for steps, here, there in (
        (down**2, np.s_[1:, :], np.s_[:-1, :]),
        (right**2, np.s_[:, 1:], np.s_[:, :-1]),
    ):
        edges[here] += steps
        edges[there] += steps
    if not edges.any():
        return (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    # Two means, one after the other, count what lies in the middle most.
    for axis, size in ((0, height), (1, width)):
        for part in (size - size // 2, size // 2 + 1):
            edges = _moving_sums(edges, min(part, edges.shape[axis]), axis)
    row, column = (int(n) for n in np.unravel_index(edges.argmax(), edges.shape))
    return min(row, picture.shape[0] - height), min(column, picture.shape[1] - width)


def _moving_sums(values: NDArray[np.float64], size: int, axis: int) -> NDArray[np.float64]:
    moved = np.moveaxis(values, axis, 0)
    total = np.concatenate([np.zeros((1, *moved.shape[1:])), moved.cumsum(axis=0)])
    return np.moveaxis(total[size:] - total[:-size], 0, axis)


def bar_length(longest: float) -> float:
    """Return the longest of 1, 2, 5, 10, ... that is not longer.

    Examples
    --------
    >>> bar_length(37.0), bar_length(0.3)
    (20.0, 0.2)
    """
    power = math.floor(math.log10(longest) + 1e-9)
    step = max(s for s in (1, 2, 5) if s * 10.0**power <= longest * (1 + 1e-9))
    return float(f"{step}e{power}")


def bar_text(length: float, unit: str | None) -> str:
    """Return what stands at a scale bar.

    Examples
    --------
    >>> bar_text(20.0, "micrometer"), bar_text(0.5, "micrometer"), bar_text(20.0, None)
    ('20 µm', '500 nm', '20 (no unit)')
    """
    return readable_length(length, unit) if unit else f"{length:g} (no unit)"
