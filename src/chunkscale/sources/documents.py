"""Which of a group's metadata documents counts, where there are two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from chunkscale.errors import ChunkscaleError, Notice
from chunkscale.ome.versions import holds_ngff
from chunkscale.storage.documents import ABSENT, read_document
from chunkscale.storage.groups import attributes_by_format
from chunkscale.storage.locations import join
from chunkscale.storage.stores import store_of

_FILES = {2: ".zattrs (with .zgroup)", 3: "zarr.json"}


class Document(NamedTuple):
    """The attributes that describe a group, and what there is to say of others beside them."""

    attributes: dict[str, Any]
    zarr_format: int
    notices: tuple[Notice, ...] = ()


def group_document(uri: str) -> Document:
    """Read the attributes of a group: those that describe an image or a collection.

    A tool that opens a zarr 2 group for writing may leave an empty zarr.json there, and the other
    way round. Where both describe something the newer format counts, as it does for zarr.

    Raises
    ------
    SourceNotFoundError
        If there is no zarr group.
    """
    found = attributes_by_format(uri)
    telling = [zarr_format for zarr_format in found if holds_ngff(found[zarr_format])]
    taken = (telling or list(found))[0]
    notices = [
        Notice("metadata", _beside(uri, taken, other, also=other in telling))
        for other in found
        if other != taken and telling and not (other in telling and found[other] == found[taken])
    ]
    return Document(found[taken], taken, tuple(notices))


def _beside(uri: str, taken: int, other: int, *, also: bool) -> str:
    says = "describes another image" if also else "does not describe an image"
    return (
        f"{uri!r} has metadata of both zarr formats: {_FILES[taken]} is used, and "
        f"{_FILES[other]}, which {says}, is not. Other programs may use that one, so delete the "
        "one that does not belong"
    )


def quick_document(uri: str) -> Document:
    """Return what `group_document` does, without looking for a second format where one tells.

    It takes a small read or two instead of three: a plate of 10^5 wells is listed in seconds.
    """
    newer, problem = read_document(join(uri, "zarr.json"))
    if newer is not None and newer.get("node_type") == "group":
        attributes = newer.get("attributes")
        if isinstance(attributes, dict) and holds_ngff(attributes):
            return Document(attributes, 3)
    elif problem == ABSENT:
        older, _ = read_document(join(uri, ".zattrs"))
        if older is not None and holds_ngff(older):
            return Document(dict(older), 2)
    return group_document(uri)


#: What is looked at at once in a store that is not local, and so many ahead.
_REQUESTS, _AHEAD = 16, 64

T = TypeVar("T")


def each(look: Callable[[str], T], uris: Iterable[str]) -> Iterator[T]:
    """Yield what is found at each location, in order; several are asked for at once over a network.

    Few are looked at before they are wanted.
    """
    left = iter(uris)
    for first in left:
        batch = [first, *itertools.islice(left, _AHEAD - 1)]
        if store_of(first).is_local:
            yield from map(look, batch)
            continue
        with ThreadPoolExecutor(_REQUESTS) as pool:
            yield from pool.map(look, batch)


def documents(uris: Iterable[str]) -> Iterator[Document | ChunkscaleError]:
    """Yield the document of each group in order, or why it has none."""
    return each(_tried, uris)


def _tried(uri: str) -> Document | ChunkscaleError:
    try:
        return quick_document(uri)
    except ChunkscaleError as error:
        return error
