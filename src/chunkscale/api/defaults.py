"""All defaults of the public functions."""

from __future__ import annotations

from typing import Literal

from chunkscale.geometry.methods import DOWNSAMPLING, METHODS
from chunkscale.geometry.units import METRES

#: The methods that can be asked for, and what they do.
METHOD_WORDS = {name: method.words for name, method in METHODS.items()}

#: Units of length, in all their spellings.
LENGTH_UNITS = frozenset(METRES)

#: What coarser levels can be made with, and what that does.
DOWNSAMPLE_WORDS = dict(DOWNSAMPLING)

DEFAULT_CODEC = "blosc-lz4"

DEFAULT_CHECKSUM: Literal["none", "crc32c"] = "none"

DEFAULT_VERSION = "0.5"

#: Edge of the default chunk by number of spatial axes: inside shards, and stored one by one.
CHUNK_EDGES = {2: (512, 1024), 3: (64, 128)}

#: Regions at the same time by default, at most. On a GPU they read and write and hardly compute:
#: more of them only wait, for each other and for Python.
MOST_WORKERS = {"cpu": 1024, "gpu": 8}

#: Edge of the blocks of a lazy result.
LAZY_EDGES = {2: 2048, 3: 256}

#: What `show` can draw of the voxels that lie behind a pixel.
PROJECTION_WORDS = {
    "slice": "a plane through the middle",
    "max": "the maximum",
    "mean": "the mean",
}

#: The planes that `show` can draw.
PLANE_NAMES = ("all", "xy", "xz", "yz")

#: Of a picture of one image, and of several, in pixels.
PICTURE_WIDTHS = (1200, 1600)

#: Pixels that become black and full colour in a picture.
PICTURE_PERCENTILES = (1.0, 99.8)

#: More channels than these are not told apart when they are added up.
SHOWN_CHANNELS = 6
