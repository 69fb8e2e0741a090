"""What a page shows: layers in one space, where one looks first, and what stands beside what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import METRES
from chunkscale.pictures.colours import Colour, channel_colours, source_colours
from chunkscale.pictures.pixels import central_values
from chunkscale.pictures.views import Span, picture_unit
from chunkscale.sources.base import Source
from chunkscale.viewing.volumes import UNIT, Served, Volume, volume_of

#: Voxels in the middle of the smallest level that contrast is taken from.
_SAMPLE = 2**22

#: Pixels that the largest side of the first image gets at first.
_PIXELS = 400

#: Seconds of the units of time that are served.
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "nanosecond": 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An image to show.

    Parameters
    ----------
    source : Source
    title : str
    channels : tuple of (int, str)
        Those that are shown: their indices and their names, which may be empty.
    labels : tuple of (Source, str)
        What lies over it.
    """

    source: Source
    title: str
    channels: tuple[tuple[int, str], ...]
    labels: tuple[tuple[Source, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A volume as it is shown.

    Parameters
    ----------
    name : str
        Like no other of the page.
    volume : Volume
    colour : tuple of float
    limits : (float, float) or None
        Values that become black and full colour; None for labels.
    """

    name: str
    volume: Volume
    colour: Colour
    limits: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A page.

    Parameters
    ----------
    layers : tuple of Layer
    groups : tuple of tuple of str
        Names of the layers that lie over one another. What moves one group moves all.
    dimensions : dict of str to (float, str)
        The axes of the space: x, y, z, then time. What one step of a position is, in metres or
        seconds, and the unit, which is empty where none is known.
    position : tuple of float
        Where one looks first: the middle of the first image and its first time point.
    pixel : float
        Steps in a pixel.
    layout : str
    """

    layers: tuple[Layer, ...]
    groups: tuple[tuple[str, ...], ...]
    dimensions: dict[str, tuple[float, str]]
    position: tuple[float, ...]
    pixel: float
    layout: str


def scene_of(images: Sequence[Shown], percentiles: Span, *, overlay: bool) -> Scene:
    """Return images as a page.

    Parameters
    ----------
    images : sequence of Shown
    percentiles : (float, float)
        Of the voxels, that become black and full colour. Images of one data type have the same
        contrast, that of the first.
    overlay : bool
        Whether all lie over one another, each in a colour of its own, or side by side.
    """
    unit = picture_unit(images[0].source.grid)
    taken: set[str] = set()
    limits: dict[tuple[str, int], Span] = {}
    groups: list[list[Layer]] = []
    for image, tints in zip(images, _colours(images, overlay=overlay), strict=True):
        group = []
        for (channel, name), colour in zip(image.channels, tints, strict=True):
            is_label = image.source.is_label and image.source.array.dtype.kind in "iub"
            volume = volume_of(image.source, channel, unit, is_label=is_label)
            contrast = None
            if not is_label:
                key = (volume.levels[0].dtype.name, channel)
                if key not in limits:
                    limits[key] = _contrast(volume.levels[-1], percentiles)
                contrast = limits[key]
            title = _unique(f"{image.title} {name}".strip(), taken)
            group.append(Layer(name=title, volume=volume, colour=colour, limits=contrast))
        for labels, name in image.labels:
            volume = volume_of(labels, 0, unit, is_label=True)
            title = _unique(name, taken)
            group.append(Layer(name=title, volume=volume, colour=(1.0, 1.0, 1.0), limits=None))
        groups.append(group)
    layers = tuple(layer for group in groups for layer in group)
    if overlay:
        groups = [list(layers)]
    return _placed(layers, tuple(tuple(layer.name for layer in group) for group in groups))


def _placed(layers: tuple[Layer, ...], groups: tuple[tuple[str, ...], ...]) -> Scene:
    first = layers[0].volume.grid
    step = min(first.voxel_size[i] for i in first.spatial)
    dimensions: dict[str, tuple[float, str]] = {}
    position: dict[str, float] = {}
    for grid in (layer.volume.grid for layer in layers):
        for i in _order(grid):
            axis = grid.axes[i]
            if axis.name in dimensions:
                continue
            size = step if i in grid.spatial else grid.voxel_size[i]
            dimensions[axis.name] = _scale(size, axis.unit)
            low, high = grid.extent(i)
            centre = (low + high) / 2 if i in grid.spatial else grid.translation[i]
            position[axis.name] = centre / size
    # Space comes first: the first three axes are those that are drawn.
    times = {
        axis.name for layer in layers for axis in layer.volume.grid.axes if axis.kind == "time"
    }
    names = sorted(dimensions, key=lambda name: name in times)
    sides = (first.extent(i) for i in first.spatial)
    return Scene(
        layers=layers,
        groups=groups,
        dimensions={name: dimensions[name] for name in names},
        position=tuple(position[name] for name in names),
        pixel=max(high - low for low, high in sides) / step / _PIXELS,
        layout="4panel" if len(names) - len(times) > 2 else "xy",
    )


def _order(grid: VoxelGrid) -> Iterator[int]:
    """Yield the axes as they are drawn: x to the right, y down, and then into the depth."""
    found = list(reversed(range(grid.ndim)))
    names = [grid.axes[i].name for i in grid.spatial]
    if set(names) <= set("xyz"):
        found.sort(key=lambda i: grid.axes[i].name)
    yield from found


def _scale(size: float, unit: str | None) -> tuple[float, str]:
    if unit == UNIT:
        return size * METRES[UNIT], "m"
    return (size * _SECONDS[unit], "s") if unit in _SECONDS else (size, "")


def _colours(images: Sequence[Shown], *, overlay: bool) -> list[list[Colour]]:
    """Return the colours of the channels of each image."""
    if overlay and all(len(image.channels) == 1 for image in images) and len(images) > 1:
        return [[colour] for colour in channel_colours([None] * len(images))]
    return [
        [found[channel] for channel, _ in image.channels]
        for image in images
        for found in [source_colours(image.source)]
    ]


def _contrast(level: Served, percentiles: Span) -> Span:
    """Return the contrast limits that the middle of a level asks for."""
    sides = list(level.grid.shape)
    while np.prod(sides, dtype=object) > _SAMPLE:
        largest = max(range(len(sides)), key=lambda i: sides[i])
        sides[largest] = -(-sides[largest] // 2)
    start = tuple((n - side) // 2 for n, side in zip(level.grid.shape, sides, strict=True))
    box = Box(start=start, stop=tuple(a + side for a, side in zip(start, sides, strict=True)))
    low, high = central_values([level.read(box)], percentiles)
    if level.dtype.kind == "f":
        return low, high
    return float(int(low)), float(max(int(high), int(low) + 1))


def _unique(name: str, taken: set[str]) -> str:
    """Return a name that no layer has yet."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    taken.add(found)
    return found
