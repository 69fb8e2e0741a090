"""The group ``OME`` of a collection: the list of its images, and OME-XML made true for them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from chunkscale.errors import AccessDeniedError, MetadataError, Notice
from chunkscale.ome.carry import json_safe
from chunkscale.ome.model import Multiscale
from chunkscale.ome.omexml import MOST_BYTES, MadeImage, revised
from chunkscale.ome.read import describe
from chunkscale.ome.write import beside_unknown
from chunkscale.output.collection import Mirror, group_place
from chunkscale.sources.collections import CollectionSource, ome_group
from chunkscale.sources.documents import each
from chunkscale.sources.folders import Tell
from chunkscale.storage import objects as contents
from chunkscale.storage.documents import array_facts, stored_group
from chunkscale.storage.groups import put_group
from chunkscale.storage.locations import join
from chunkscale.storage.names import METADATA_FILES, OME_XML
from chunkscale.storage.stores import store_of
from chunkscale.text import human_bytes, some_names


def mirror_ome(
    mirror: Mirror, source: CollectionSource, prefix: str, made: AbstractSet[str], tell: Tell
) -> None:
    """Write the group that lists the images, and the OME-XML that describes them in that order.

    Parameters
    ----------
    mirror : Mirror
    source : CollectionSource
        Which has such a group.
    prefix : str
        Where its mirror lies in the whole.
    made : set of str
        Paths of the images that were made, relative to `source`.
    tell : callable
        Gets a notice of what is left out.
    """
    origin, at = join(source.uri, "OME"), group_place(mirror, f"{prefix}OME")
    attributes, listed = ome_group(source.uri, tell)
    if source.kind != "plate":
        listed = source.paths
    in_order = source.kind != "plate" or made <= set(listed)
    if not listed or not in_order:
        listed = tuple(source.images())
    series = {"series": [path for path in listed if path in made]}
    result = beside_unknown(json_safe(attributes)[0], mirror.version, series)
    # First of all: a folder that is no group could be anybody's.
    put_group(at, zarr_format=mirror.zarr_format, attributes=result)
    try:
        document = _source_xml(origin)
        if document is not None:
            if not in_order:
                raise MetadataError("no list says which images it describes")
            below = join(mirror.uri, prefix)
            content, notices = revised(document, _made_images(below, listed, made))
            contents.put(join(at, OME_XML), content)
            for notice in notices:
                tell(Notice(notice.kind, f"{join(origin, OME_XML)!r}: {notice.text}"))
    except (MetadataError, AccessDeniedError) as error:
        tell(Notice("lost", f"{join(origin, OME_XML)!r} is left out: {error}"))
    _tell_others(origin, tell)


def _source_xml(origin: str) -> bytes | None:
    at = join(origin, OME_XML)
    size = contents.sizes([at])[0] if store_of(at).lists else 0
    if size > MOST_BYTES:  # it is not even read
        raise MetadataError(f"it has {human_bytes(size)}, over {human_bytes(MOST_BYTES)}")
    return contents.get(at)


def _made_images(uri: str, listed: Sequence[str], made: AbstractSet[str]) -> list[MadeImage | None]:
    found = each(_made_image, (join(uri, path) for path in listed if path in made))
    return [next(found) if path in made else None for path in listed]


def _made_image(uri: str) -> MadeImage:
    """Return what the metadata of an output say of its level 0, and its record of its source."""
    attributes = stored_group(uri) or {}
    image = describe(attributes)
    if not isinstance(image, Multiscale):
        raise MetadataError(f"{uri!r} is not an image")
    level = image.datasets[0]
    (facts,) = array_facts([join(uri, level.path)], 2 if image.version == "0.4" else 3)
    if facts.problem:
        raise MetadataError(f"the array {level.path!r} of {uri!r} {facts.problem}")
    record = attributes["chunkscale"]
    part = record.get("source_part", {})
    # Of another part than a box the record has the grid of that part.
    known = set(part) <= {"crop"}
    return MadeImage(
        axes=image.axes,
        shape=facts.shape,
        voxel_size=level.voxel_size,
        source_shape=tuple(record["source_shape"]) if known else None,
        source_voxel_size=tuple(record["source_voxel_size"]) if known else None,
        part=part,
    )


def _tell_others(origin: str, tell: Tell) -> None:
    names: list[str] = []
    with contextlib.suppress(OSError):  # not everybody may list a bucket
        if store_of(origin).lists:
            names = contents.names(origin)
    left = [n for n in names if n not in (*METADATA_FILES, OME_XML) and not n.startswith(".")]
    if left:
        tell(Notice("lost", f"left out is what else {origin!r} contains: {some_names(left)}"))
