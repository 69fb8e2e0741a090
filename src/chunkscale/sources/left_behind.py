"""What belongs to an image and an image that is made from it will not have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from chunkscale.errors import ChunkscaleError, MetadataError, Notice, SourceNotFoundError
from chunkscale.ome.entries import plain_path
from chunkscale.ome.lost import placements
from chunkscale.ome.model import Collection
from chunkscale.ome.read import describe
from chunkscale.sources.documents import group_document
from chunkscale.storage.documents import array_facts
from chunkscale.storage.locations import join, nearest
from chunkscale.storage.stores import store_of

#: Labels whose faults are told; those of a whole plate would fill the screen.
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
    """Return the paths of the label images of an image that are there, and what is wrong."""
    try:
        found = describe(group_document(join(uri, "labels")).attributes)
    except SourceNotFoundError:
        return (), ()
    except MetadataError as error:
        return (), (Notice("lost", f"labels that may be there are left out: {error}"),)
    names = map(plain_path, found.paths) if isinstance(found, Collection) else ()
    listed = [f"labels/{name}" for name in dict.fromkeys(names)]
    # Each look costs some requests.
    looked_at = listed if store_of(uri).is_local else listed[:_MOST_NAMED]
    gone = {path: why for path in looked_at if (why := _why_unread(uri, path))}
    notices = [
        Notice(
            "metadata",
            f"{path!r} is listed as a label image but cannot be read: {why}; restore it, or "
            "remove it from the list",
        )
        for path, why in itertools.islice(gone.items(), _MOST_NAMED)
    ]
    return tuple(path for path in listed if path not in gone), tuple(notices)


def _why_unread(uri: str, path: str) -> str:
    """Return what keeps an image below another one from being opened, as far as one look tells."""
    try:
        document = group_document(join(uri, path))
        found = describe(document.attributes)
    except ChunkscaleError as error:
        return str(error)
    if isinstance(found, Collection):
        return "it is not an image"
    array = found.datasets[0].path
    (fact,) = array_facts([join(uri, path, array)], document.zarr_format)
    return f"its array {array!r} {fact.problem}" if fact.problem else ""


def place_notices(place: Place) -> Iterator[Notice]:
    """Yield what an output loses that is not made with the rest of its collection."""
    if text := _place_text(place):
        what = "a well" if place.collection.kind == "plate" else "an image"
        yield Notice("lost", f"{text}: an output is {what} of its own")


def _place_text(place: Place) -> str:
    kind, name, uri = place.collection.kind, place.name, place.uri.replace("\\", "/")
    if kind == "plate":
        return f"its place as well {name!r} of the plate {uri!r} is left out"
    if kind == "well":
        well = "/".join(uri.rsplit("/", 2)[-2:])
        return f"its place as field {name!r} of well {well!r} of a plate is left out"
    if kind == "bioformats2raw":
        text = f"its place as image {name!r} of the collection {uri!r} is left out"
        has_more = store_of(place.uri).has(join(place.uri, "OME", "METADATA.ome.xml"))
        more = ", and so is its entry in OME/METADATA.ome.xml" if has_more else ""
        return text + more
    if kind == "scene":
        return f"its place in the scene {uri!r} is left out ({placements(place.attributes, name)})"
    return ""
