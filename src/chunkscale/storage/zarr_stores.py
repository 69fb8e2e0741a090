"""Stores and arrays as zarr-python opens them."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from chunkscale.errors import AccessDeniedError, ChunkscaleError, MetadataError, OptionError
from chunkscale.storage import objects as contents
from chunkscale.storage.buckets import open_bucket
from chunkscale.storage.failures import clear_bucket_errors, clear_metadata_errors, first_line
from chunkscale.storage.locations import escaped, in_bucket, is_remote, join

METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def zarr_store(uri: str) -> Any:
    if not is_remote(uri):
        return Path(uri)  # zarr takes a text for a URL, and cuts it at "#"
    if in_bucket(uri):
        return _bucket_store_type()(uri)
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(escaped(uri), read_only=True)
    except ImportError as error:
        raise OptionError(
            f"cannot open {uri!r}: {error}; install the extra chunkscale[http]"
        ) from error


@cache
def _bucket_store_type() -> Any:
    """Return the type of the zarr stores of buckets, which is made when zarr is there."""
    from zarr.storage import ObjectStore

    class BucketStore(ObjectStore[Any]):
        """What lies below one location in a bucket, with clear errors; it is not listed.

        zarr writes groups into everything above a node, up to where its store
        begins, which is why that is not the bucket.

        Who may not list a bucket is told 403 of what is not there. That is taken
        for "not there" of metadata alone, of which zarr tries names that never
        were; of a chunk it is an error.
        """

        supports_listing = False

        def __init__(
            self, uri: str, denied: list[str] | None = None, *, read_only: bool = False
        ) -> None:
            bucket, key = open_bucket(uri)
            super().__init__(bucket, read_only=read_only)
            self.uri = uri
            self.prefix = f"{key}/" if key else ""
            self.denied = [] if denied is None else denied

        def with_read_only(self, read_only: bool = False) -> BucketStore:
            return BucketStore(self.uri, self.denied, read_only=read_only)

        def __eq__(self, other: object) -> bool:
            return super().__eq__(other) and self.prefix == getattr(other, "prefix", None)

        async def _clearly(self, key: str, work: Any, otherwise: Any) -> Any:
            try:
                with clear_bucket_errors(join(self.uri, key)):
                    return await work
            except AccessDeniedError as error:
                if key.rpartition("/")[2] not in METADATA_FILES:
                    raise
                self.denied.append(str(error))
                return otherwise

        async def get(self, key: str, *args: Any, **options: Any) -> Any:
            work = super().get(self.prefix + key, *args, **options)
            return await self._clearly(key, work, None)

        async def exists(self, key: str) -> bool:
            return bool(await self._clearly(key, super().exists(self.prefix + key), False))

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            ranges = [(self.prefix + key, part) for key, part in key_ranges]
            with clear_bucket_errors(self.uri):
                return await super().get_partial_values(prototype, ranges)

        async def set(self, key: str, value: Any) -> None:
            with clear_bucket_errors(join(self.uri, key)):
                await super().set(self.prefix + key, value)

        async def set_if_not_exists(self, key: str, value: Any) -> None:
            # zarr writes the groups above an array so. Not every server knows conditional
            # requests, and one that ignores them would lose the attributes of the output.
            if not await self.exists(key):
                await self.set(key, value)

        async def delete(self, key: str) -> None:
            with clear_bucket_errors(join(self.uri, key)):
                await super().delete(self.prefix + key)

    return BucketStore


def why_missing(uri: str, store: Any) -> ChunkscaleError | None:
    """Return what is wrong where nothing was found in a bucket, if it is more than that."""
    if not in_bucket(uri):
        return None
    if store.denied:
        return AccessDeniedError(store.denied[0])
    try:
        contents.names(uri)
    except AccessDeniedError:
        return None  # it may be read, and not listed
    except ChunkscaleError as error:
        return error
    return None


#: Filters are the whole process': of two threads that set them at once, the one that ends last
#: would put the other's back for good.
filter_lock = threading.Lock()


@contextlib.contextmanager
def muted_zarr() -> Iterator[None]:
    """Mute what zarr-python finds unusual in the files of other writers: no news to a reader.

    It warns in a thread of its own, so that the filter cannot be this thread's alone.
    """
    with filter_lock, warnings.catch_warnings():
        # By module, because other threads' warnings must pass in the meantime.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"zarr\.")
        yield


def open_zarr(uri: str, mode: Literal["r", "r+"], zarr_format: Literal[2, 3] | None = None) -> Any:
    import zarr
    from zarr.errors import ContainsGroupError, NodeTypeValidationError

    with clear_metadata_errors(f"array {uri!r}"):
        store = zarr_store(uri)
        try:
            with muted_zarr():
                return zarr.open_array(
                    store, mode=mode, zarr_format=zarr_format or known_format(uri)
                )
        except (ContainsGroupError, NodeTypeValidationError) as error:
            raise MetadataError(f"{uri!r} is a zarr group where an array should be") from error
        except FileNotFoundError as error:
            raise (why_missing(uri, store) or error) from error
        except (OSError, json.JSONDecodeError):
            raise
        except Exception as error:  # zarr has no common base for bad array metadata
            raise MetadataError(
                f"array {uri!r} cannot be opened: {first_line(error)}; its metadata is damaged, "
                "or needs a codec that is missing from this environment"
            ) from error


def known_format(uri: str) -> Literal[3] | None:
    """Return the zarr format of a node where a look tells; zarr opens the files of both."""
    return 3 if not is_remote(uri) and os.path.exists(os.path.join(uri, "zarr.json")) else None


ARRAY_FOR_GROUP = (
    "{!r} is a zarr array, not an OME-Zarr group; give the path of the group that holds it"
)
