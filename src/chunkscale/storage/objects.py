"""Named objects of bytes, wherever they are: each function asks the store of a location.

What they do is said in `base.Store`.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Sequence

from chunkscale.storage.names import is_chunk_path
from chunkscale.storage.stores import store_of


def exists(uri: str) -> bool:
    return store_of(uri).exists(uri)


def names(uri: str) -> list[str]:
    return store_of(uri).names(uri)


def objects(uri: str) -> Iterator[tuple[str, int]]:
    return store_of(uri).objects(uri)


def get(uri: str) -> bytes | None:
    return store_of(uri).get(uri)


def put(uri: str, content: bytes, *, new: bool = False) -> None:
    store_of(uri).put(uri, content, new=new)


def withdraw(uri: str, content: bytes) -> None:
    store_of(uri).withdraw(uri, content)


def delete_below(uri: str) -> None:
    store_of(uri).delete_below(uri)


def prune(uri: str) -> None:
    store_of(uri).prune(uri)


def sizes(uris: Iterable[str]) -> list[int]:
    """Return the sizes of objects of one store; 0 for those that are not there."""
    listed = list(uris)
    return store_of(listed[0]).sizes(listed) if listed else []


def delete(uris: Iterable[str]) -> None:
    """Delete objects of one store, those that are there."""
    left = iter(uris)
    for first in left:
        store_of(first).delete(itertools.chain([first], left))


def chunk_sizes(uri: str) -> tuple[int, int]:
    """Return the number of stored chunks or shards of an array, and their bytes."""
    sizes = [size for path, size in objects(uri) if is_chunk_path(path)]
    return len(sizes), sum(sizes)


def chunk_indices(uri: str, counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the index of every stored chunk or shard of an array that has so many per axis."""
    for path, _ in objects(uri):
        index = tuple(map(int, re.findall(r"\d+", path))) if is_chunk_path(path) else ()
        if len(index) == len(counts) and all(map(operator.lt, index, counts)):
            yield index


def holds_chunks(uri: str) -> bool | None:
    """Whether any chunk of an array is stored; None where the store does not list it."""
    store, listed = store_of(uri), False
    if not store.lists:
        return None
    with contextlib.suppress(OSError):
        for path, _ in store.objects(uri):
            listed = True
            if is_chunk_path(path):
                return True
    return False if listed else None
