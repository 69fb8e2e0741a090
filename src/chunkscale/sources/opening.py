"""Who opens what. To add a format, write a file with such a function and list it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chunkscale.errors import OptionError
from chunkscale.sources.arrays import array_source
from chunkscale.sources.base import Source, SourceOptions, adopting
from chunkscale.sources.file_formats import file_source
from chunkscale.sources.ome_zarr import ome_zarr_source
from chunkscale.sources.parts import Part

#: Each returns what it was given as a source, or None if that is not for it.
OPENERS: tuple[Callable[[object, SourceOptions], Source | None], ...] = (
    file_source,  # told by its name, before anything is looked for
    ome_zarr_source,
    array_source,
)


def open_source(given: object, options: SourceOptions) -> Source:
    """Open a path or an object that can be resampled.

    Raises
    ------
    OptionError
        If nobody takes it.
    """
    if isinstance(given, Part):
        return replace(given, source=open_source(given.source, options))
    return adopting(lambda unit: _opened(given, replace(options, unit=unit)), options.unit)


def _opened(given: object, options: SourceOptions) -> Source:
    for opener in OPENERS:
        found = opener(given, options)
        if found is not None:
            return found
    raise OptionError(
        f"the source {given!r} is not supported; give the path or URL of an OME-Zarr image, that "
        "of a file (chunkscale formats), or an array"
    )
