"""Arrays as zarr-python takes them, made of their documents."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from chunkscale.errors import MetadataError
from chunkscale.storage.bounds import bound_codecs
from chunkscale.storage.diagnosis import grid_fault, why_unopened
from chunkscale.storage.documents import ArrayDocument
from chunkscale.storage.stores import store_of

#: Bytes that no index reaches.
_ENDLESS = 2**63

#: Codecs of a chunk, one after another: each takes memory of its own, in every thread.
_MOST_CODECS = 16

#: Filters are the whole process': of two threads that set them at once, the one that ends last
#: would put the other's back for good.
filter_lock = threading.Lock()


@contextlib.contextmanager
def muted_zarr() -> Iterator[None]:
    """Mute what zarr-python finds unusual in the files of other writers: no news to a reader."""
    with filter_lock, warnings.catch_warnings():
        # By module, because other threads' warnings must pass in the meantime.
        for category in (UserWarning, RuntimeWarning):
            warnings.filterwarnings("ignore", category=category, module=r"zarr\.")
        yield


def zarr_array(uri: str, document: ArrayDocument, *, read_only: bool = True) -> Any:
    """Return an array as zarr-python would open it; nothing is read.

    Raises
    ------
    MetadataError
        If zarr-python does not understand its document.
    """
    import zarr
    from zarr.storage import StorePath

    place = StorePath(store_of(uri).zarr_store(uri).with_read_only(read_only))
    try:
        metadata = _metadata(document.text, read_only)
        array = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=place))
        longest = _longest_chain(metadata)
    except Exception as error:  # zarr has no common base for bad array metadata
        raise MetadataError(
            f"array {uri!r} cannot be opened: {why_unopened(document, error)}"
        ) from error
    if longest > _MOST_CODECS:
        raise MetadataError(
            f"array {uri!r} has {longest} codecs one after another, and at most {_MOST_CODECS} are "
            "read; correct its metadata, or store it again with fewer"
        )
    return array


def _longest_chain(metadata: Any) -> int:
    """Return how many codecs a chunk goes through, or the index of its shard."""
    if metadata.zarr_format == 2:
        return len(metadata.filters or ()) + 1
    from zarr.codecs import ShardingCodec

    inner = [
        chain
        for codec in metadata.codecs
        if isinstance(codec, ShardingCodec)
        for chain in (codec.codecs, codec.index_codecs)
    ]
    return max(len(chain) for chain in (metadata.codecs, *inner))


def limit_fetches(array: Any, most: int) -> None:
    """Let the store of an array fetch no more of an object than `most` bytes, if it is remote."""
    store = array.store_path.store
    if hasattr(store, "most"):
        store.most = most


@lru_cache(maxsize=64)
def _metadata(text: str, bounded: bool) -> Any:
    """Return what zarr-python makes of a document: of images that are alike it is the same."""
    import zarr
    from zarr.storage import MemoryStore, StorePath

    with muted_zarr():
        made = zarr.Array.from_dict(StorePath(MemoryStore()), json.loads(text)).metadata
    return bound_codecs(made) if bounded else made


def regular_chunks(uri: str, array: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return the shapes of the chunks and the shards of an array, or refuse it."""
    try:
        chunks, shards = tuple(array.chunks), array.shards
    except NotImplementedError as error:
        name = array.metadata.chunk_grid.to_dict()["name"]
        raise MetadataError(f"array {uri!r} cannot be opened: {grid_fault(name)}") from error
    for what, voxels in (("chunks of", chunks), ("the shape", tuple(array.shape))):
        if math.prod(voxels) * array.dtype.itemsize >= _ENDLESS:
            raise MetadataError(
                f"array {uri!r} has {what} {voxels}, more than can exist; correct its metadata"
            )
    return chunks, tuple(shards) if shards else None
