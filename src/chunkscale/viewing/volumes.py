"""An image as a viewer asks for it: a Zarr hierarchy that is stored nowhere.

Documents and chunks are made when they are asked for, from whatever a source is. So a viewer that
knows nothing but OME-Zarr sees TIFF files, archives and arrays, and nothing but voxels is served.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import OptionError
from chunkscale.geometry.box import Box, tile, whole
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.units import METRES
from chunkscale.pictures.levels import Stored, stored_levels
from chunkscale.sources.base import Source

#: The unit that lengths are served in: the voxel sizes of most images stay the numbers they are.
UNIT = "micrometer"

#: A chunk that is served has no more bytes, and no fewer voxels where the image has them.
MOST_BYTES, LEAST_VOXELS = 2**22, 2**16

#: As viewers know them by name; other times have no unit.
_TIMES = ("second", "millisecond", "microsecond", "nanosecond")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A level of a volume.

    Parameters
    ----------
    stored : Stored
        Where its voxels come from.
    grid : VoxelGrid
        Of what is served: the axes of space and, if it has several points, time.
    kept : tuple of int
        The axes of `stored` that these are.
    corner : tuple of int
        Where what is served begins in `stored`, along all its axes.
    chunk : tuple of int
    dtype : dtype
    """

    stored: Stored
    grid: VoxelGrid
    kept: tuple[int, ...]
    corner: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box of `grid`."""
        start = list(self.corner)
        stop = [first + 1 for first in start]
        for i, low, high in zip(self.kept, box.start, box.stop, strict=True):
            start[i], stop[i] = self.corner[i] + low, self.corner[i] + high
        found = self.stored.array.read(Box(start=tuple(start), stop=tuple(stop)))
        return found.reshape(box.shape).astype(self.dtype, copy=False)

    def encoded(self, position: Sequence[int]) -> bytes:
        """Return a chunk as it is served: whole, with zeros beyond the end of the image."""
        box = tile(position, self.chunk, self.grid.shape)
        block = np.zeros(self.chunk, self.dtype)
        block[whole(box.shape).slices] = self.read(box)
        return block.astype(self.dtype.newbyteorder("<"), copy=False).tobytes()

    def document(self) -> dict[str, Any]:
        """Return the array's document of Zarr 3."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.grid.shape),
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunk)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One channel of an image with its levels, the finest first."""

    levels: tuple[Served, ...]

    @property
    def grid(self) -> VoxelGrid:
        """Of the finest level."""
        return self.levels[0].grid

    def document(self) -> dict[str, Any]:
        """Return the group's document of OME-Zarr 0.5."""
        axes = [
            {"name": axis.name, "type": axis.kind, **({"unit": axis.unit} if axis.unit else {})}
            for axis in self.grid.axes
        ]
        datasets = [
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(level.grid.voxel_size)},
                    {"type": "translation", "translation": list(level.grid.translation)},
                ],
            }
            for number, level in enumerate(self.levels)
        ]
        multiscales = [{"name": "", "axes": axes, "datasets": datasets}]
        return {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"ome": {"version": "0.5", "multiscales": multiscales}},
        }

    def content(self, path: str) -> bytes | None:
        """Return what lies at a path of the hierarchy; None if nothing does.

        Parameters
        ----------
        path : str
            ``zarr.json``, ``0/zarr.json``, ``0/c/2/0/1``.
        """
        parts = path.split("/")
        if parts == ["zarr.json"]:
            return json.dumps(self.document()).encode()
        number = _index(parts[0], len(self.levels))
        if number is None:
            return None
        level = self.levels[number]
        if parts[1:] == ["zarr.json"]:
            return json.dumps(level.document()).encode()
        counts = [-(-n // c) for n, c in zip(level.grid.shape, level.chunk, strict=True)]
        if parts[1:2] != ["c"] or len(parts) != 2 + len(counts):
            return None
        position = [_index(part, count) for part, count in zip(parts[2:], counts, strict=True)]
        known = [index for index in position if index is not None]
        return level.encoded(known) if len(known) == len(position) else None


def volume_of(source: Source, channel: int, unit: str | None, *, is_label: bool) -> Volume:
    """Return one channel of a source.

    Parameters
    ----------
    source : Source
    channel : int
    unit : str or None
        What lengths without a known unit are taken to be in, as in `pictures.views.in_unit`.
    is_label : bool
        Whether its voxels are shown as ids.

    Raises
    ------
    OptionError
        If it has an axis that is neither space, nor time, nor that of the channels.
    """
    dtype = served_dtype(source.array.dtype, is_label=is_label)
    known = UNIT if unit in METRES else unit
    levels = stored_levels(source, known)
    return Volume(levels=tuple(_served(level, channel, known, dtype) for level in levels))


def served_dtype(dtype: np.dtype[Any], *, is_label: bool) -> np.dtype[Any]:
    """Return the type that voxels are shown as: one that a viewer has.

    Examples
    --------
    >>> [str(served_dtype(np.dtype(name), is_label=False)) for name in ("bool", "int64", "uint16")]
    ['uint8', 'float32', 'uint16']
    >>> str(served_dtype(np.dtype("int64"), is_label=True))
    'uint64'
    """
    if dtype.kind == "b":
        return np.dtype("uint8")
    if dtype.kind == "f":
        return np.dtype("float32")
    if dtype == np.dtype("int64"):
        return np.dtype("uint64" if is_label else "float32")
    return dtype.newbyteorder("=")


def served_chunk(
    chunk: Sequence[int], shape: Sequence[int], itemsize: int, spatial: Sequence[int]
) -> tuple[int, ...]:
    """Return the chunk to serve: the stored one, unless that is too large or too small.

    Examples
    --------
    >>> served_chunk((1, 8192, 8192), (50, 8192, 8192), 2, (0, 1, 2))
    (1, 1024, 2048)
    >>> served_chunk((1, 16, 16), (50, 8192, 8192), 2, (0, 1, 2))
    (32, 32, 64)
    """
    found = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    while math.prod(found) * itemsize > MOST_BYTES:
        largest = max(range(len(found)), key=lambda i: found[i])
        found[largest] = -(-found[largest] // 2)
    while math.prod(found) < LEAST_VOXELS:
        growing = [i for i in spatial if found[i] < shape[i]]
        if not growing:
            break
        smallest = min(reversed(growing), key=lambda i: found[i])
        found[smallest] = min(2 * found[smallest], shape[smallest])
    return tuple(found)


def _served(level: Stored, channel: int, unit: str | None, dtype: np.dtype[Any]) -> Served:
    grid, corner = level.grid, list(level.part.start)
    sides = level.part.shape
    kept = list(grid.spatial)
    if grid.time_axis is not None and sides[grid.time_axis] > 1:
        kept.insert(0, grid.time_axis)
    if grid.channel_axis is not None:
        corner[grid.channel_axis] += channel
    left = set(range(grid.ndim)) - set(kept) - {grid.channel_axis}
    if any(sides[i] > 1 for i in left):
        names = ", ".join(repr(grid.axes[i].name) for i in left if sides[i] > 1)
        raise OptionError(f"axes {names} have no place in a viewer of space, time and channels")
    part = VoxelGrid(
        axes=tuple(_axis(grid, i, unit) for i in kept),
        shape=tuple(sides[i] for i in kept),
        voxel_size=tuple(grid.voxel_size[i] for i in kept),
        translation=tuple(grid.translation[i] + corner[i] * grid.voxel_size[i] for i in kept),
    )
    chunk = served_chunk(
        [level.array.chunk[i] for i in kept], part.shape, dtype.itemsize, part.spatial
    )
    return Served(
        stored=level,
        grid=part,
        kept=tuple(kept),
        corner=tuple(corner),
        chunk=chunk,
        dtype=dtype,
    )


def _axis(grid: VoxelGrid, i: int, unit: str | None) -> Axis:
    axis = grid.axes[i]
    if axis.kind == "space":
        return replace(axis, unit=unit if unit in METRES else None)
    return replace(axis, unit=axis.unit if axis.unit in _TIMES else None)


def _index(text: str, count: int) -> int | None:
    """Return the number that a part of a path is, if there is such a one."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or str(int(text)) != text:
        return None
    return int(text) if int(text) < count else None
