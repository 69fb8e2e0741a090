"""What pages say of how they are shown, and what is missing of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkscale.errors import Notice
from chunkscale.sources.tiff.table import PageTable


def page_notices(page: Any) -> Iterator[Notice]:
    """Yield what a page of tifffile says of how it is shown, and an image cannot hold."""
    orientation = int(page.tags.valueof(274, 1))
    if orientation != 1:
        text = f"it is stored turned or mirrored (Orientation {orientation}) and is read as stored"
        yield Notice("lost", text)
    photometric = int(page.photometric)
    if photometric == 3:
        yield Notice("lost", "its colour map is left out; voxel values are unchanged")
    elif photometric == 0:
        yield Notice("lost", "it is displayed inverted (0 is white); voxel values are unchanged")


def hole_notices(table: PageTable) -> Iterator[Notice]:
    """Yield that strips or tiles are not stored."""
    holes = int(np.count_nonzero((table.offsets == 0) | (table.counts == 0)))
    if holes:
        text = (
            f"{holes} of {table.offsets.size} strips or tiles are not stored and are read as "
            f"{table.fill}"
        )
        yield Notice("empty", text)
