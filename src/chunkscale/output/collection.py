"""Begin the mirror of a collection, or continue one, and the groups that lead to its images."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chunkscale._version import __version__
from chunkscale.errors import DestinationError
from chunkscale.ome.entries import refuse_outside
from chunkscale.ome.scenes import SCENES
from chunkscale.ome.versions import holds_systems
from chunkscale.output.collection_places import (
    check_collection_place,
    collection_record,
    discard_collection,
    is_rest,
)
from chunkscale.output.destination import refuse_overlap, refuse_same
from chunkscale.output.ledger import forget
from chunkscale.output.places import begun_by_another, check_steps, discard, make_folder
from chunkscale.output.record import Found, check_same
from chunkscale.parameters import Existing
from chunkscale.sources.collections import CollectionSource
from chunkscale.storage import objects as contents
from chunkscale.storage.documents import ABSENT, read_document
from chunkscale.storage.groups import put_group
from chunkscale.storage.locations import join
from chunkscale.storage.stores import store_of

#: What the record of a collection says beside its recipe.
STATE_KEYS = ("state", "run", "image_count", "notices", SCENES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A collection that is being written.

    Parameters
    ----------
    uri : str
    version : str
        Of OME-Zarr: ``"0.4"``, ``"0.5"`` or ``"0.6"``.
    record : dict
        What its root says of it under "chunkscale".
    groups : set of str
        Those that lead to images and are there, as far as this process knows.
    scenes : dict
        What it cannot hold of scenes, by their paths; for its record.
    """

    uri: str
    version: str
    record: dict[str, Any]
    groups: set[str] = field(default_factory=set, compare=False, repr=False)
    scenes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def zarr_format(self) -> Literal[2, 3]:
        return 2 if self.version == "0.4" else 3

    @property
    def finished(self) -> bool:
        """Whether it was whole when it was begun or found."""
        return bool(self.record["state"] == "finished")


def begin_collection(
    target: str,
    source: CollectionSource,
    recipe: Mapping[str, Any],
    version: str,
    existing: Existing,
) -> Mirror:
    """Make the root of a collection, which no reader takes for one yet, or find it again.

    Parameters
    ----------
    target : str
        As `checked_collection` has returned it.
    source : CollectionSource
    recipe : mapping
        JSON values that all images depend on. What is continued must have the same.
    version : str
        Of OME-Zarr.
    existing : Existing

    Raises
    ------
    DestinationError
        If the place is taken, or was begun differently, which is then named with both values.
    """
    made = {
        "version": __version__,
        "kind": _kind(source.kind, version),
        "source": source.uri,
        "ome_zarr_version": version,
        **json.loads(json.dumps(dict(recipe))),
    }
    refuse_overlap(source.uri, (source.uri,), target)
    # It may have changed since it was looked at.
    check_collection_place(target, existing)
    there = collection_record(target)
    if there is not None and existing.resume and not is_rest(there):
        found = Found(
            recipe={name: value for name, value in there.items() if name not in STATE_KEYS},
            finished=there["state"] == "finished",
            memory=0,
            objects={},
            sizes={},
        )
        check_same(target, found, made)
        return Mirror(uri=target, version=version, record=dict(there))
    if there is not None:
        refuse_same((source.uri,), target)
        discard_collection(target)
    elif contents.names(target):
        discard(target)  # what a run has left that died while it began
    forget(target)
    make_folder(target)
    record = {**made, "run": uuid.uuid4().hex, "state": "unfinished"}
    mirror = Mirror(uri=target, version=version, record=record)
    attributes = {"chunkscale": record}
    try:
        put_group(target, zarr_format=mirror.zarr_format, attributes=attributes, new=True)
    except FileExistsError:
        raise begun_by_another(target) from None
    return mirror


def _kind(source: str, version: str) -> str:
    """Return what a mirror is: a folder where the version has no name for what its source is."""
    is_lost = source == "file" or (source == "scene" and not holds_systems(version))
    return "folder" if is_lost else source


def begin_member(mirror: Mirror, path: str) -> str:
    """Make the groups that lead to an image; return where it is to be written.

    Groups that are there stay as they are, so that it may be called again, and at once.

    Raises
    ------
    DestinationError
        If a link stands for a part of the path, or a name that differs by its case.
    """
    refuse_outside(path, "an image of the collection")
    check_steps(mirror.uri, path)
    names = path.split("/")
    for n in range(1, len(names)):
        group = "/".join(names[:n])
        if group not in mirror.groups:
            at = join(mirror.uri, group)
            _check_case(at)
            _start(at, mirror.zarr_format)
            mirror.groups.add(group)
    _check_case(join(mirror.uri, path))
    return join(mirror.uri, path)


def group_place(mirror: Mirror, path: str) -> str:
    """Return where a group of the mirror is written, or refuse a link on the way to it."""
    check_steps(mirror.uri, path)
    return join(mirror.uri, path)


def _start(uri: str, zarr_format: Literal[2, 3]) -> None:
    name, rest = ("zarr.json", "zarr.json") if zarr_format == 3 else (".zgroup", ".zattrs")
    if read_document(join(uri, name))[1] == ABSENT:
        with contextlib.suppress(FileExistsError):  # another member has just begun
            put_group(uri, zarr_format=zarr_format, attributes={}, new=True)
    elif read_document(join(uri, rest))[1] == ABSENT:  # who wrote the first was killed
        put_group(uri, zarr_format=zarr_format, attributes={})


def _check_case(uri: str) -> None:
    if not store_of(uri).is_local:
        return
    folder, name = os.path.split(uri)
    if not os.path.lexists(uri) or not os.path.lexists(os.path.join(folder, name.swapcase())):
        return
    for other in _alike(name, contents.names(folder)):
        raise DestinationError(
            f"the output would hold {name!r} and {other!r} in {folder!r}, which are one name "
            "there, where case does not count; write to another disk, or rename one in the source"
        )


def _alike(name: str, listed: list[str]) -> Iterator[str]:
    """Yield what a folder calls a name that it finds and does not list.

    Examples
    --------
    >>> list(_alike("b", ["A", "B"])), list(_alike("B", ["A", "B"]))
    (['B'], [])
    """
    if name not in listed:
        yield from (other for other in listed if other.casefold() == name.casefold())
