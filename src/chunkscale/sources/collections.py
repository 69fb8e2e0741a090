"""The images of plates, series and other collections."""

from __future__ import annotations

from chunkscale.errors import MetadataError, SourceNotFoundError
from chunkscale.ome.model import Collection
from chunkscale.ome.read import describe
from chunkscale.sources.documents import group_document
from chunkscale.storage.locations import join


def list_images(uri: str, collection: Collection) -> tuple[str, ...]:
    """Return the paths of the images of a collection, relative to `uri`.

    Wells of a plate are looked into; one that is missing is listed as it is.
    """
    if collection.kind == "plate":
        return tuple(image for well in collection.paths for image in _members(uri, well))
    if collection.kind == "bioformats2raw":
        return _series(uri)
    if collection.kind == "series":
        return tuple(f"../{path}" for path in collection.paths)
    return collection.paths


def _members(uri: str, well: str) -> tuple[str, ...]:
    try:
        found = describe(group_document(join(uri, well)).attributes)
    except (SourceNotFoundError, MetadataError):
        return (well,)
    paths = found.paths if isinstance(found, Collection) else ()
    return tuple(f"{well}/{path}" for path in paths)


def _series(uri: str) -> tuple[str, ...]:
    """Return the images of a bioformats2raw group: those listed, or else those numbered."""
    try:
        listed = describe(group_document(join(uri, "OME")).attributes)
    except (SourceNotFoundError, MetadataError):
        listed = None
    if isinstance(listed, Collection):
        # Listed from the OME subgroup, whose paths start at its parent.
        return listed.paths
    found: list[str] = []
    while True:
        try:
            group_document(join(uri, str(len(found))))
        except (SourceNotFoundError, MetadataError):
            return tuple(found)
        found.append(str(len(found)))
