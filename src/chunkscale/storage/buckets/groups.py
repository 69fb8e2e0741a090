"""Buckets as zarr-python opens them."""

from __future__ import annotations

from functools import cache
from typing import Any

from chunkscale.errors import AccessDeniedError
from chunkscale.storage.buckets.access import clear_bucket_errors, open_bucket
from chunkscale.storage.locations import join
from chunkscale.storage.names import METADATA_FILES


@cache
def bucket_store_type() -> Any:
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
