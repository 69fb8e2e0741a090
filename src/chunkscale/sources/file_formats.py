"""Files of other formats: which reader takes them, and how images in them are addressed.

Of a file with several images each has a path below the file, ``scan.ome.tif/1``. To add a
format, write a file with a `FileFormat` and list it here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Protocol, cast

from chunkscale.sources.base import SourceOptions
from chunkscale.sources.bioio import BioioFormat
from chunkscale.sources.file_image import FileImage
from chunkscale.sources.nifti import NiftiFormat
from chunkscale.sources.tiff.files import TiffFiles
from chunkscale.storage.locations import scheme_of
from chunkscale.storage.stores import normalise


class FileFormat(Protocol):
    """Files that one reader takes. Its library is imported when a file is opened."""

    def takes(self, path: str) -> bool:
        """Whether a local path is one of these files; told by its name, not by reading it."""

    def images(self, path: str) -> Mapping[str, str]:
        """Return the names of the images in a file, and what people call each, if anything.

        A single one has any name. Names hold no slash. Raises a `ChunkscaleError` if the file
        cannot be read.
        """

    def open(self, path: str, name: str | None, options: SourceOptions) -> FileImage:
        """Open the image of that name, or the only one.

        Raises
        ------
        SourceNotFoundError
            If there is none of that name.
        MultipleImagesError
            If there are several, and no name is given.
        ChunkscaleError
            If the file cannot be read, or does not say what is needed.
        """


FORMATS: tuple[FileFormat, ...] = (TiffFiles(), NiftiFormat(), BioioFormat())


def file_of(uri: str) -> tuple[FileFormat, str, str | None] | None:
    """Return who reads what lies at a place, the file, and the name of an image in it."""
    if scheme_of(uri):
        return None
    for path, name in _splits(uri):
        for one in FORMATS:
            if one.takes(path):
                return one, path, name
    return None


def _splits(uri: str) -> Iterator[tuple[str, str | None]]:
    """Yield a path as a file, and as an image in a file."""
    yield uri, None
    path, name = os.path.split(uri)
    if name and os.path.isfile(path):
        yield path, name


def file_source(given: object, options: SourceOptions) -> FileImage | None:
    """Open a file that a reader takes; an image that is open already stays as it is.

    What a unit applies to its file alone says, so where one is given that is opened again.
    """
    if isinstance(given, FileImage):
        if options.unit is None:
            return given if options.sizes is None else given.with_sizes(options.sizes)
        options = given.options_with(options)
        given = given.uri
    if not isinstance(given, str | os.PathLike):
        return None
    uri = normalise(cast(str, given), options.reach)
    found = file_of(uri)
    if found is None:
        return None
    reader, path, name = found
    return reader.open(path, name, options)


def file_images(uri: str) -> tuple[str, ...]:
    """Return the names of the images in a file that has several; nothing for all else."""
    found = file_of(uri)
    if found is None or found[2] is not None:
        return ()
    names = tuple(found[0].images(found[1]))
    return names if len(names) > 1 else ()
