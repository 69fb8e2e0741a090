"""The small picture of an image that a notebook shows.

Pictures stand above sources, so what draws it is told here by `chunkscale.api`, through which
images are opened. Without it there is no picture.
"""

from __future__ import annotations

from collections.abc import Callable

from chunkscale.sources.base import Source

#: Returns a PNG, or None where that would not be cheap.
Painter = Callable[[Source], bytes | None]

_painters: list[Painter] = []


def paint_with(painter: Painter) -> None:
    """Tell what draws thumbnails."""
    _painters[:] = [painter]


def thumbnail_of(source: Source) -> bytes | None:
    """Return a small picture of an image as PNG, if there is one."""
    return _painters[0](source) if _painters else None
