"""Say what an image or a collection of images is, and what is read at all."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from typing import Any

from chunkscale.api.images import open_image
from chunkscale.errors import (
    ChunkscaleError,
    MultipleImagesError,
    SourceNotFoundError,
    UnstatedError,
)
from chunkscale.parameters import PathLike, StorageOptions, VoxelSize
from chunkscale.sources.collections import CollectionSource, open_collection
from chunkscale.sources.file_image import FileImage
from chunkscale.sources.formats import FORMATS
from chunkscale.sources.image import Image
from chunkscale.sources.placed import canonical
from chunkscale.storage.locations import join
from chunkscale.storage.stores import normalise

#: Images of a collection that are opened; the others are listed.
MOST_OPENED = 1000


def info(
    path: PathLike,
    *,
    source_voxel_size: VoxelSize | None = None,
    axes: str | None = None,
    source_unit: str | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Return what there is to know of an image or of a collection, as JSON values.

    Parameters
    ----------
    path : str or path-like
        Of an image, a plate, or any other collection of images.
    source_voxel_size, axes, source_unit, storage_options : optional
        See `open_image`.

    Returns
    -------
    dict
        Of an image its axes, shape, voxel size, levels, labels and more; where a file states no
        voxel size, that is None, and ``warnings`` names the option to give it. Of a collection its
        ``kind``, the paths of its ``images``, and in ``members`` the shape, the voxel size and
        the labels of the first `MOST_OPENED` of them.
    """
    uri = normalise(path, storage_options)
    said: dict[str, Any] = {
        "source_voxel_size": source_voxel_size,
        "axes": axes,
        "source_unit": source_unit,
    }
    collection = None
    with contextlib.suppress(SourceNotFoundError):  # `open_image` says what lies there instead
        collection = open_collection(uri)
    if collection is not None:
        return _collection_facts(collection, said)
    try:
        image, missing = _opened(uri, said)
    except MultipleImagesError as error:  # a group that lists images which lie elsewhere
        return _listed_facts(uri, "list of images", list(error.paths), said)
    labels = [_member(join(image.uri, name), name, {}) for name in image.labels]
    facts = {**image.as_dict(), "label_images": labels}
    if missing:
        for fault in reversed(missing):  # the names of axes last
            _leave_open(facts, fault)
        facts["warnings"] = [*map(str, missing), *map(str, image.notices)]
    return facts


def _opened(
    uri: str, said: Mapping[str, Any]
) -> tuple[Image | FileImage, tuple[UnstatedError, ...]]:
    """Open an image, with anything for what it does not state; return what that is as well."""
    try:
        return open_image(uri, **said), ()
    except UnstatedError as error:
        option = "axes" if error.axes else "source_voxel_size"
        if said[option] is not None or list(error.axes) != canonical(error.axes):
            raise
        value = error.axes or dict.fromkeys(error.sizes, 1)
        image, missing = _opened(uri, {**said, option: value})
        return image, (error, *missing)


def _leave_open(facts: dict[str, Any], error: UnstatedError) -> None:
    """Take out of the facts of an image what stood in for what it does not state."""
    for i, axis in enumerate(facts["axes"]):
        if axis["name"] in error.sizes:
            facts["voxel_size"][i] = None
            for level in facts["levels"]:
                level["voxel_size"] = None
        if error.stated and axis["name"] != error.stated[i]:
            axis |= {"name": error.stated[i], "type": None}


def formats() -> list[dict[str, Any]]:
    """Return the table of formats: what is read, with what, and the way on for others.

    Returns
    -------
    list of dict
        For each its ``name``, the ``ends`` of its files, its ``reader`` (None if it is not read),
        whether that is ``installed`` here and what pip takes to ``install`` it, how ``lazily`` it
        is read, what an output ``keeps`` of its metadata, and what to do ``instead``.

    Examples
    --------
    >>> import chunkscale
    >>> next(f["reader"] for f in chunkscale.formats() if ".nii.gz" in f["ends"])
    'nibabel'
    """
    return [found.as_dict() for found in FORMATS]


def _collection_facts(collection: CollectionSource, said: Mapping[str, Any]) -> dict[str, Any]:
    told: list[str] = [str(notice) for notice in collection.notices]
    images = list(collection.images(lambda notice: told.append(str(notice))))
    facts = _listed_facts(collection.uri, collection.kind, images, said)
    return {**facts, "warnings": list(dict.fromkeys(told))}


def _listed_facts(
    uri: str, kind: str, images: list[str], said: Mapping[str, Any]
) -> dict[str, Any]:
    opened = itertools.islice(images, MOST_OPENED)
    members = [_member(join(uri, name), name, said) for name in opened]
    return {"path": uri, "kind": kind, "images": images, "members": members, "warnings": []}


def _member(uri: str, name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of an image in the tree that it belongs to."""
    try:
        image = open_image(uri, **said)
    except ChunkscaleError as error:
        return {"path": name, "problem": str(error)}
    facts = image.as_dict()
    kept = ("axes", "shape", "voxel_size", "dtype", "bytes", "labels")
    return {"path": name, "problem": "", **{key: facts[key] for key in kept}}
