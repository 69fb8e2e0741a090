"""The place of a collection that is written: what lies there, what may go, and what is deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from chunkscale.errors import DestinationError, MetadataError
from chunkscale.ome.entries import COLLECTIONS
from chunkscale.ome.versions import ngff_namespace
from chunkscale.output import leases
from chunkscale.output.destination import (
    check_name,
    refuse_overlap,
    writable,
)
from chunkscale.output.ledger import forget
from chunkscale.output.notes import is_packed
from chunkscale.output.places import (
    check_links,
    check_parent,
    discard,
    foreign_entries,
    is_blank,
    is_nobodys,
)
from chunkscale.output.provenance import path_hash, source_hash
from chunkscale.output.record import is_unfinished, level_paths
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.sources.collections import CollectionSource
from chunkscale.storage import objects as contents
from chunkscale.storage.documents import stored_group
from chunkscale.storage.groups import set_attributes
from chunkscale.storage.locations import join
from chunkscale.storage.names import NOTES, OME_XML
from chunkscale.storage.stores import store_of
from chunkscale.text import some_names

#: What the record of a collection calls itself; that of an image has no kind.
KINDS = ("plate", "well", "bioformats2raw", "scene", "folder")


def checked_collection(
    destination: PathLike,
    source: CollectionSource,
    existing: Existing,
    storage_options: StorageOptions | None = None,
) -> str:
    """Return the path where a mirror of a collection may be written, or refuse it."""
    target = writable(destination, existing, storage_options)
    refuse_overlap(source.uri, (source.uri,), target)
    check_collection_place(target, existing)
    check_parent(target)
    check_name(target)
    return target


def collection_record(target: str) -> Mapping[str, Any] | None:
    """Return what a collection that this package wrote says of itself; None for all else."""
    record = (stored_group(target) or {}).get("chunkscale")
    known = isinstance(record, Mapping) and record.get("kind") in KINDS
    return record if known else None


def check_collection_place(target: str, existing: Existing) -> None:
    """Refuse a place that holds what may not be replaced or continued.

    With `overwrite` that is all but a collection of this package in which nothing else lies: of
    what a user may have put there, every group and file is named by the walk.
    """
    if not contents.exists(target) or _is_empty_folder(target):
        return
    check_links(target)
    leases.check_free(target, take_over=existing.take_over)
    if is_blank(target) and (existing.resume or existing.overwrite or is_packed(target)):
        return
    record = collection_record(target)
    if record is None:
        raise DestinationError(
            f"the output {target!r} exists and is not a collection written by chunkscale, so it "
            "is never overwritten; choose another path, or remove it yourself"
        )
    if existing.overwrite or (existing.resume and is_rest(record)):
        foreign = list(foreign_below(target, take_over=existing.take_over))
        if foreign:
            raise DestinationError(
                f"the output {target!r} contains files not written by chunkscale "
                f"({some_names(foreign)}), so it is not overwritten; choose another path, or "
                "move them away"
            )
    elif not existing.resume:
        unfinished = is_unfinished(record)
        state = " (the output of a run that did not finish)" if unfinished else ""
        raise DestinationError(
            f"the output {target!r} exists{state}; choose another path, or replace it with "
            "overwrite=True (--overwrite)"
            + (", or continue with resume=True (--resume)" if unfinished else "")
        )


def is_rest(record: Mapping[str, Any]) -> bool:
    """Whether a record is that of a collection whose deletion was interrupted."""
    return is_unfinished(record) and "run" not in record


def continues(target: str, existing: Existing) -> bool:
    """Whether a run goes on with a collection, and does not begin anew."""
    record = collection_record(target) if existing.resume else None
    return record is not None and not is_rest(record)


def _is_empty_folder(uri: str) -> bool:
    return store_of(uri).is_local and os.path.isdir(uri) and not os.listdir(uri)


def foreign_below(target: str, *, take_over: bool) -> Iterator[str]:
    """Yield what lies in a collection that was written and is no part of it.

    Parts are images that were written, finished or not, their labels, the groups that lead to
    them, and OME-XML.

    Raises
    ------
    DestinationError
        If another run is writing one of the images.
    """
    origin = source_hash({"chunkscale": collection_record(target)})
    yield from _foreign_in(target, "", take_over, origin)


def _foreign_in(uri: str, prefix: str, take_over: bool, origin: str) -> Iterator[str]:
    for name in _entries(uri):
        at, path = join(uri, name), prefix + name
        inside = contents.names(at)
        found = stored_group(at)
        if name == OME_XML and prefix.endswith("OME/") and not inside:
            continue
        if found is None:
            # A folder may be left of an image whose deletion was interrupted.
            if inside and "/labels/" in path:  # names of labels may have several parts
                yield from _foreign_in(at, f"{path}/", take_over, origin)
            elif not (_is_empty_folder(at) or inside == [NOTES]):
                yield path
        elif is_made_image(found):
            if origin and source_hash(found) not in (path_hash(path, origin), ""):
                yield path  # made from something else
                continue
            leases.check_free(at, take_over=take_over)
            yield from _foreign_in_image(at, f"{path}/", found, take_over, origin)
        elif found and not any(key in ngff_namespace(found) for key in COLLECTIONS):
            yield path  # another image, or somebody's group
        else:
            yield from _foreign_in(at, f"{path}/", take_over, origin)


def _foreign_in_image(
    uri: str, prefix: str, attributes: Mapping[str, Any], take_over: bool, origin: str
) -> Iterator[str]:
    try:
        arrays = level_paths(attributes)
    except MetadataError:
        arrays = []
    for name in foreign_entries(uri, arrays):
        if name == "labels":
            yield from _foreign_in(join(uri, name), f"{prefix}{name}/", take_over, origin)
        else:
            yield prefix + name


def is_made_image(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a group are those of an image of this package, finished or not."""
    record = attributes.get("chunkscale")
    return isinstance(record, Mapping) and "state" in record and "kind" not in record


def _entries(uri: str) -> Iterator[str]:
    """Yield what lies in a group beside its metadata, our notes and what belongs to nobody."""
    for name in contents.names(uri):
        if not (name.startswith(NOTES) or is_nobodys(uri, name)):
            yield name


def discard_collection(target: str) -> None:
    """Delete a collection but for its notes; the caller has made sure that it is one.

    Image by image, so that whoever is interrupted here finds nothing but parts of it.
    """
    record = collection_record(target) or {}
    rest = {name: record.get(name) for name in ("kind", "source", "source_hash") if name in record}
    set_attributes(target, {"chunkscale": {**rest, "state": "unfinished"}})
    for name in _entries(target):
        _discard_below(join(target, name))
    forget(target)
    for name in (".zmetadata", ".zattrs", ".zgroup", "zarr.json"):
        contents.delete([join(target, name)])


def _discard_below(uri: str) -> None:
    if store_of(uri).is_local and os.path.islink(uri):
        contents.delete_below(uri)  # the link alone: what it leads to is not the collection's
        return
    found = stored_group(uri)
    if found is not None and is_made_image(found):
        if contents.names(join(uri, "labels")):
            _discard_below(join(uri, "labels"))
        discard(uri, level_paths(found))
    elif found is not None:
        for name in _entries(uri):
            _discard_below(join(uri, name))
    contents.delete_below(uri)
