"""Collections of images: plates, wells, series, scenes and folders, listed as far as is wanted."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    MetadataError,
    MultipleImagesError,
    NotAnImageError,
    Notice,
    SourceNotFoundError,
)
from chunkscale.ome.entries import plain_path
from chunkscale.ome.lost import scene_coordinates
from chunkscale.ome.model import Collection, Multiscale
from chunkscale.ome.plates import layout_of
from chunkscale.ome.read import describe
from chunkscale.ome.versions import holds_ngff
from chunkscale.sources.documents import Document, documents, quick_document
from chunkscale.sources.file_formats import file_images, file_of
from chunkscale.sources.folders import Tell, Within, groups_below
from chunkscale.sources.left_behind import place_notices, place_of
from chunkscale.storage.failures import refuse_unreached
from chunkscale.storage.locations import join
from chunkscale.storage.names import METADATA_FILES, is_dropping
from chunkscale.storage.stores import normalise, store_of
from chunkscale.text import some_names

#: So many numbered images are looked for at once.
_MOST_AHEAD = 64

#: What `Collection.kind` may be where images lie below a group.
_KINDS = ("plate", "well", "bioformats2raw", "scene")


def _ignore(notice: Notice) -> None:
    return


def _all(path: str) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSource:
    """A collection whose images are listed lazily; made by `open_collection`.

    Parameters
    ----------
    uri : str
    kind : str
        ``"plate"``, ``"well"``, ``"bioformats2raw"``, ``"scene"``, ``"folder"``, or ``"file"``
        for a file of another format with several images.
    zarr_format : int, optional
        Of its group; a folder may be none.
    attributes : mapping
        All attributes of that group.
    paths : tuple of str
        What they list, each once: the wells of a plate, otherwise images.
    notices : tuple of Notice
        What is strange about it, and what its mirror will not have.
    """

    uri: str
    kind: str
    zarr_format: int | None = None
    attributes: Mapping[str, Any]
    paths: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def has_layout(self) -> bool:
        """Whether the group ``OME`` beside the images belongs to it."""
        return bool(layout_of(self.attributes))

    def images(self, tell: Tell = _ignore, within: Within = _all) -> Iterator[str]:
        """Yield the paths of the images, relative to `uri`, each once.

        Wells and folders are looked into when they are reached; of images nothing is read. A well
        that cannot be read is yielded as it is, for whoever opens it is told why.

        Parameters
        ----------
        tell : callable, optional
            Gets a `Notice` of what is found to be strange on the way.
        within : callable, optional
            Whether anything at a path, or below it, is wanted: other wells and folders are not
            looked into.
        """
        for path, inner in self.members(tell, within):
            if inner is None:
                yield path
            else:
                below = partial(_within_below, within, path)
                yield from (f"{path}/{image}" for image in inner.images(tell, below))

    def members(
        self, tell: Tell = _ignore, within: Within = _all
    ) -> Iterator[tuple[str, CollectionSource | None]]:
        """Yield paths with the collection that lies there, or None for an image.

        Only folders hold collections.
        """
        if self.kind == "folder":
            yield from _in_folder(self.uri, tell, within)
            return
        if self.kind == "plate":
            found = _fields(self.uri, self.paths, tell, within)
        elif self.kind == "bioformats2raw" and not self.paths:
            found = _numbered(self.uri)
        else:
            found = iter(self.paths)
        yield from ((path, None) for path in found)


def _within_below(within: Within, folder: str, path: str) -> bool:
    return within(f"{folder}/{path}")


def open_collection(path: str | os.PathLike[str]) -> CollectionSource | None:
    """Open a collection of images; None if it is an image, or nothing that is known.

    Raises
    ------
    SourceNotFoundError
        If nothing is there; `AccessDeniedError` where that cannot be told.
    MetadataError
        If its metadata cannot be understood.
    """
    uri = normalise(path)
    if names := file_images(uri):
        return CollectionSource(uri=uri, kind="file", attributes={}, paths=names)
    if file_of(uri):
        return None
    try:
        document = quick_document(uri)
    except AccessDeniedError:
        raise
    except SourceNotFoundError as error:
        refuse_unreached(error)
        if not (_names(uri) or (store_of(uri).is_local and os.path.isdir(uri))):
            raise
        return _folder(uri, Document({}, 0))
    if not holds_ngff(document.attributes):
        return _folder(uri, document)
    try:
        found = describe(document.attributes)
    except (MultipleImagesError, NotAnImageError):
        return None  # `open_image` says what is wrong
    except MetadataError as error:
        raise type(error)(f"{uri!r}: {error}") from error
    if isinstance(found, Multiscale) or found.kind not in _KINDS:
        return None
    return _opened(uri, document, found)


def list_images(uri: str, document: Document, found: Collection) -> tuple[str, ...]:
    """Return the paths of all images of a collection, relative to `uri`."""
    if found.kind == "series":
        return tuple(f"../{path}" for path in found.paths)
    if found.kind == "labels":
        return found.paths
    return tuple(_opened(uri, document, found).images())


def _opened(uri: str, document: Document, found: Collection) -> CollectionSource:
    notices = list(document.notices)
    listed = found.paths
    if found.kind == "bioformats2raw":
        _, listed = ome_group(uri, notices.append)
    elif found.kind == "scene":
        notices.append(
            Notice(
                "scene",
                f"that its images lie in one scene is left out ({uri!r}), because OME-Zarr 0.4 "
                f"and 0.5 cannot hold it: {scene_coordinates(document.attributes)}; it stays in "
                "the record of the output, and comes back with OME-Zarr 0.6",
            )
        )
    elif found.kind == "well" and (place := place_of(uri)):
        notices += place_notices(place)
    collection = CollectionSource(
        uri=uri,
        kind=found.kind,
        zarr_format=document.zarr_format,
        attributes=document.attributes,
        paths=_each_once(uri, listed, notices.append),
    )
    return replace(collection, notices=(*notices, *_beside(collection)))


def _folder(uri: str, document: Document) -> CollectionSource | None:
    """Return a folder as a collection if an image lies in it."""
    record = document.attributes.get("chunkscale")
    if isinstance(record, Mapping) and record.get("state") == "unfinished":
        return None
    folder = CollectionSource(
        uri=uri,
        kind="folder",
        zarr_format=document.zarr_format or None,
        attributes=document.attributes,
        notices=document.notices,
    )
    found = next(folder.images(), None) if _names(uri) else None
    return None if found is None else folder


def _names(uri: str) -> list[str]:
    """Return what lies in a folder; nothing where it cannot be listed."""
    with contextlib.suppress(AccessDeniedError):
        return store_of(uri).names(uri) if store_of(uri).lists else []
    return []


def _each_once(uri: str, listed: Sequence[str], tell: Tell) -> tuple[str, ...]:
    """Return paths in their plain form, none twice and none in another."""
    counts = Counter(map(plain_path, listed))
    if twice := [path for path, n in counts.items() if n > 1]:
        text = f"{uri!r} lists {some_names(twice)} more than once; each is taken once"
        tell(Notice("metadata", text))
    for path in counts:
        parts = path.split("/")
        outer = ("/".join(parts[:n]) for n in range(1, len(parts)))
        if not path or any(name in counts for name in outer):
            raise MetadataError(
                f"{uri!r} lists {path!r}, which is the group itself or lies in another entry of "
                "the list; correct the metadata"
            )
    return tuple(counts)


def _fields(uri: str, listed: Sequence[str], tell: Tell, within: Within) -> Iterator[str]:
    wells = [well for well in listed if within(well)]
    for well, document in zip(wells, documents(join(uri, w) for w in wells), strict=True):
        fields = _well_fields(uri, well, document, tell)
        yield from [well] if fields is None else (f"{well}/{field}" for field in fields)


def _well_fields(
    uri: str, well: str, document: Document | ChunkscaleError, tell: Tell
) -> tuple[str, ...] | None:
    """Return the fields of a well of a plate; None if it cannot be read."""
    at, problem = join(uri, well), document
    if isinstance(document, Document):
        try:
            found = describe(document.attributes)
            if isinstance(found, Collection) and found.kind == "well":
                return _each_once(at, found.paths, tell)
            tell(
                Notice(
                    "lost",
                    f"{well!r} is listed as a well of {uri!r} but is not one, so it is left "
                    "out; resample it by its own path",
                )
            )
            return ()
        except MetadataError as error:
            problem = error
    text = f"the well {well!r} of {uri!r} cannot be read: {problem}"
    tell(Notice("metadata", f"{text}; restore it, or remove it from the list of wells"))
    return None


def ome_group(uri: str, tell: Tell) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the attributes of the group ``OME``, and the images that it lists.

    There are none where images are only numbered. It need not even be a group.
    """
    attributes: dict[str, Any] = {}
    try:
        attributes = quick_document(join(uri, "OME")).attributes
        found = describe(attributes)
    except NotAnImageError:
        return attributes, ()
    except SourceNotFoundError as error:
        refuse_unreached(error)
        return {}, ()
    except MetadataError as error:
        tell(Notice("metadata", f"{uri!r}: the list of images in OME is not used: {error}"))
        return attributes, ()
    listed = found.paths if isinstance(found, Collection) and found.kind == "series" else ()
    return attributes, tuple(map(plain_path, listed))


def _numbered(uri: str) -> Iterator[str]:
    """Yield the images called 0, 1, 2 and so on, up to the first that is not there."""
    start, size = 0, 1
    while True:
        names = [str(k) for k in range(start, start + size)]
        for name, document in zip(names, documents(join(uri, n) for n in names), strict=True):
            if isinstance(document, SourceNotFoundError):
                refuse_unreached(document)
                return
            yield name
        # So that a few images do not take many requests, nor many images one after the other.
        start, size = start + size, min(2 * size, _MOST_AHEAD)


def _in_folder(
    uri: str, tell: Tell, within: Within
) -> Iterator[tuple[str, CollectionSource | None]]:
    for path, _, document in groups_below(uri, tell, within):
        if document is None:
            yield path, None
            continue
        try:
            found = describe(document.attributes)
            inner = None
            if isinstance(found, Collection) and found.kind in _KINDS:
                inner = _opened(join(uri, path), document, found)
        except MetadataError:
            yield path, None  # whoever opens it is told why
            continue
        if inner is not None or isinstance(found, Multiscale):
            for notice in inner.notices if inner else ():
                tell(notice)
            yield path, inner
        else:
            text = f"left out is {path!r} in {uri!r}, which lists {found.kind} of no image"
            tell(Notice("lost", text))


def _beside(collection: CollectionSource) -> Iterator[Notice]:
    """Yield what lies in the group beside its images, and no mirror will have."""
    known = {path.partition("/")[0] for path in collection.paths} | {*METADATA_FILES}
    if collection.has_layout:
        known.add("OME")
    numbered = collection.kind == "bioformats2raw" and not collection.paths
    left = [
        name
        for name in _names(collection.uri)
        if name not in known
        and not (name.startswith(".") or is_dropping(name))
        and not (numbered and name.isdecimal())
    ]
    if left:
        what = "wells" if collection.kind == "plate" else "images"
        where = f"what lies in {collection.uri!r} beside its {what}"
        yield Notice("lost", f"{where} is left out: {some_names(left)}")
