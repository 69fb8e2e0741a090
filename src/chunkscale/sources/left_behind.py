"""What belongs to an image and an image that is made from it will not have."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from chunkscale.errors import MetadataError, Notice, SourceNotFoundError
from chunkscale.ome.lost import further_coordinates, placements
from chunkscale.ome.model import Collection
from chunkscale.ome.read import describe
from chunkscale.sources.documents import group_document
from chunkscale.storage.locations import join, nearest
from chunkscale.storage.stores import store_of

#: Labels that a notice names; what one says of a whole plate of them would fill the screen.
_MOST_NAMED = 3


class Place(NamedTuple):
    """The collection that an image belongs to, as far as its path tells."""

    attributes: Mapping[str, Any]
    collection: Collection
    uri: str
    name: str


def place_of(uri: str) -> Place | None:
    """Return the collection in the group above an image, or above that, which lists it."""
    start = uri.replace("\\", "/").rstrip("/")
    # Each look costs some requests, and only scenes have images below their own folders.
    store = store_of(uri)
    for above in list(nearest(uri, 2 if store.is_local else 1))[1:]:
        files = (join(above, name) for name in ("zarr.json", ".zgroup"))
        if store.is_local and not any(map(store.exists, files)):
            continue
        try:
            attributes = group_document(above).attributes
            found = describe(attributes)
        except (SourceNotFoundError, MetadataError):
            continue
        if not isinstance(found, Collection):
            return None
        name = start[len(above.replace("\\", "/").rstrip("/")) :].strip("/")
        if name in found.paths or (found.kind == "bioformats2raw" and "/" not in name):
            return Place(attributes, found, above, name)
    return None


def label_paths(uri: str) -> tuple[tuple[str, ...], tuple[Notice, ...]]:
    """Return the paths of the label images of an image, and what keeps them from being told."""
    try:
        found = describe(group_document(join(uri, "labels")).attributes)
    except SourceNotFoundError:
        return (), ()
    except MetadataError as error:
        return (), (Notice("lost", f"labels that may be there are left behind: {error}"),)
    paths = found.paths if isinstance(found, Collection) else ()
    return tuple(f"labels/{path}" for path in paths), ()


def left_behind(
    uri: str, attributes: Mapping[str, Any], labels: tuple[str, ...], place: Place | None
) -> Iterator[Notice]:
    """Yield what OME-Zarr 0.4 and 0.5 cannot hold, and what lies outside of the image's arrays."""
    if coordinates := further_coordinates(attributes):
        yield Notice(
            "lost",
            "further coordinate systems and transformations are left behind, because OME-Zarr 0.4 "
            f"and 0.5 cannot hold them: {coordinates}; they still apply, for an output lies in the "
            "coordinates that its source's voxels have",
        )
    if labels:
        names = ", ".join(repr(path) for path in labels[:_MOST_NAMED])
        more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
        command = shlex.join(["chunkscale", "resample", join(uri, labels[0])])
        yield Notice(
            "lost",
            f"its labels are left behind ({names}{more}); to have them on the same grid, resample "
            f"each with the same options: {command} LABELS_DST",
        )
    if place is not None and (text := _place_text(place)):
        yield Notice("lost", f"{text}: an output is an image of its own")


def _place_text(place: Place) -> str:
    kind, name, uri = place.collection.kind, place.name, place.uri.replace("\\", "/")
    if kind == "well":
        well = "/".join(uri.rsplit("/", 2)[-2:])
        return f"that it is field {name!r} of well {well!r} of a plate is left behind"
    if kind == "bioformats2raw":
        return (
            f"that it is image {name!r} of the collection {uri!r} is left behind, and so is what "
            "OME/METADATA.ome.xml there says of it"
        )
    if kind == "scene":
        return (
            f"its place in the scene {uri!r} is left behind ({placements(place.attributes, name)})"
        )
    return ""
