"""Buckets as zarr-python reads and writes chunks in them."""

from __future__ import annotations

from functools import cache
from typing import Any

from chunkscale.storage.bounds import refuse_size, refuse_torn
from chunkscale.storage.buckets.access import clear_bucket_errors, open_bucket
from chunkscale.storage.locations import join


@cache
def bucket_store_type() -> Any:
    """Return the type of the zarr stores of buckets, which is made when zarr is there."""
    from zarr.abc.store import RangeByteRequest
    from zarr.storage import ObjectStore

    class BucketStore(ObjectStore[Any]):
        """The chunks below one location in a bucket, with clear errors; they are not listed.

        Who may not list a bucket is told 403 of what is not there: of a chunk that is an error.
        """

        supports_listing = False
        most: int | None = None  # bytes of an object, or of a part of it; no more is fetched

        def __init__(self, uri: str, *, read_only: bool = False) -> None:
            bucket, key = open_bucket(uri)
            super().__init__(bucket, read_only=read_only)
            self.uri = uri
            self.prefix = f"{key}/" if key else ""

        def with_read_only(self, read_only: bool = False) -> BucketStore:
            return BucketStore(self.uri, read_only=read_only)

        def __eq__(self, other: object) -> bool:
            return super().__eq__(other) and self.prefix == getattr(other, "prefix", None)

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            with clear_bucket_errors(join(self.uri, key)):
                if byte_range is None and self.most is not None:
                    return await self._bounded(self.prefix + key, prototype, self.most)
                if isinstance(byte_range, RangeByteRequest) and self.most is not None:
                    refuse_size(byte_range.end - byte_range.start, self.most)
                return await super().get(self.prefix + key, prototype, byte_range)

        async def _bounded(self, path: str, prototype: Any, most: int) -> Any:
            import obstore

            try:
                found = await obstore.get_async(self.store, path)
            except FileNotFoundError:
                return None
            refuse_torn(found.meta["size"], 1)
            refuse_size(found.meta["size"], most)
            return prototype.buffer.from_bytes(await found.bytes_async())

        async def exists(self, key: str) -> bool:
            with clear_bucket_errors(join(self.uri, key)):
                return bool(await super().exists(self.prefix + key))

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            ranges = [(self.prefix + key, part) for key, part in key_ranges]
            with clear_bucket_errors(self.uri):
                return await super().get_partial_values(prototype, ranges)

        async def set(self, key: str, value: Any) -> None:
            with clear_bucket_errors(join(self.uri, key)):
                await super().set(self.prefix + key, value)

        async def delete(self, key: str) -> None:
            with clear_bucket_errors(join(self.uri, key)):
                await super().delete(self.prefix + key)

    return BucketStore
