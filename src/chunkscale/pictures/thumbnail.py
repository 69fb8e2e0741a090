"""A small picture of an image, where it costs next to nothing."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from chunkscale.errors import ChunkscaleError
from chunkscale.ome.display import label_colors
from chunkscale.pictures.colours import RGB, alone, blended, source_colours
from chunkscale.pictures.levels import Stored, stored_levels, sufficient_level
from chunkscale.pictures.pixels import central_values, read_views
from chunkscale.pictures.views import (
    View,
    decoded_voxels,
    display_axes,
    in_unit,
    picture_unit,
    view_box,
)
from chunkscale.sources.base import Source
from chunkscale.sources.image import Image
from chunkscale.sources.parts import Part, select
from chunkscale.sources.picked import decoded_share
from chunkscale.storage.locations import scheme_of

#: Pixels of the longer side.
_EDGE = 160

#: Decoded bytes that are read for it, at most: some hundredths of a second from a disk.
_MOST_BYTES = 2**24

#: Chunks of those, at most: small ones cost their number.
_MOST_CHUNKS = 2**10

_MOST_CHANNELS = 4

_PERCENTILES = (1.0, 99.8)


def thumbnail(source: Source) -> bytes | None:
    """Return the central plane of a local OME-Zarr image as a PNG.

    It is read from a level that is small; nothing is returned where there is none, or where it
    cannot be read: whoever looks at a description has not asked for voxels.
    """
    image = source
    while isinstance(image, Part):
        image = image.source
    if not isinstance(image, Image) or scheme_of(image.uri):
        return None
    if image.array.dtype.kind not in "biuf":
        return None
    try:
        return _drawn(source)
    except (ChunkscaleError, OSError):
        return None


def _drawn(source: Source) -> bytes | None:
    grid = source.grid
    shown: Source = select(
        source,
        channels=None if grid.channel_axis is None else slice(0, _MOST_CHANNELS),
        timepoints=None if grid.time_axis is None else 0,
    )
    unit = picture_unit(grid)
    view, levels = _view(shown, unit), stored_levels(shown, unit)
    first = levels.index(sufficient_level(levels, view))
    level = next((each for each in levels[first:] if _is_cheap(each, view)), None)
    if level is None:
        return None
    kind = "labels" if source.is_label else "mean"
    [(pixels, _)] = read_views([level], [view], kind)
    if source.is_label:
        return _png(alone(pixels[0], label_colors(source.attributes)))
    limits = [central_values([channel], _PERCENTILES) for channel in pixels]
    return _png(blended(pixels, limits, source_colours(shown)))


def _view(source: Source, unit: str | None) -> View:
    """Return the plane through the middle, in true proportions."""
    grid = in_unit(source.grid, unit)
    *across, row, column = display_axes(grid)
    spans = [grid.extent(i) for i in (row, column)]
    lengths = [high - low for low, high in spans]
    height, width = (max(1, round(_EDGE * length / max(lengths))) for length in lengths)
    depth = None
    if across:
        middle = grid.shape[across[0]] // 2
        depth = grid.translation[across[0]] + middle * grid.voxel_size[across[0]]
    return View(
        row=row,
        column=column,
        across=across[0] if across else None,
        rows=spans[0],
        columns=spans[1],
        height=height,
        width=width,
        depth=depth,
    )


def _is_cheap(level: Stored, view: View) -> bool:
    array = level.array
    box = view_box(level.grid, level.part, view)
    voxels = decoded_voxels(box, array.chunk, array.shape)
    decoded = voxels * array.dtype.itemsize * decoded_share(array)
    return decoded <= _MOST_BYTES and box.coarsened(array.chunk).size <= _MOST_CHUNKS


def _png(colours: RGB) -> bytes:
    """Return colours from 0 to 1 as the content of a file."""
    pixels = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with 0: as it is
    lines[:, 1:] = pixels.reshape(height, -1)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes())),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
