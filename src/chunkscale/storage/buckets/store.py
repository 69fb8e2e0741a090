"""Buckets of Amazon's, Google's and Azure's object stores, and of servers that speak as they do."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chunkscale.errors import AccessDeniedError, ChunkscaleError, OptionError, SourceNotFoundError
from chunkscale.storage.base import Parts, Store
from chunkscale.storage.buckets.access import (
    BUCKETS,
    clear_answers,
    clear_bucket_errors,
    completed,
    open_bucket,
    options_of,
    root,
)
from chunkscale.storage.buckets.groups import bucket_store_type
from chunkscale.storage.credentials import aws_access
from chunkscale.storage.failures import ReplacedError, TooLongError
from chunkscale.storage.locations import Location, StoreOptions, plain, split_checked, split_url

#: Requests at once where many small ones are made.
_REQUESTS = 16

#: Objects in one request to delete, as S3 takes them.
_MOST_AT_ONCE = 1000


class Buckets(Store):
    """Addresses with s3, gs and az."""

    schemes = tuple(BUCKETS)
    kind = "an object store"

    def normalise(self, text: str, options: StoreOptions) -> str:
        scheme, _, rest = text.partition("://")
        split_checked(text, "the URL")
        if "?" in rest:
            name = "AZURE_STORAGE_SAS_TOKEN" if scheme == "az" else "AWS_SESSION_TOKEN and the like"
            raise OptionError(
                f"the URL {plain(text)!r} has a query after '?', which {scheme}:// does not "
                f"support; leave it out, and put a token into the environment ({name})"
            )
        bucket, *parts = [part for part in rest.split("/") if part not in ("", ".")] or [""]
        if not bucket or rest.startswith("/") or ".." in parts:
            raise OptionError(
                f"cannot open {text!r}: give it like {scheme}://{BUCKETS[scheme].upper()}/path"
            )
        for name in ("profile", "region") if scheme != "s3" else ("account",):
            if getattr(options, name) is not None:
                raise OptionError(f"storage option {name!r} is not for {scheme}:// ({text!r})")
        return Location(f"{scheme}://{'/'.join([bucket, *parts])}", completed(scheme, options))

    def zarr_store(self, uri: str) -> Any:
        return bucket_store_type()(uri)

    def why_missing(self, uri: str) -> ChunkscaleError | None:
        try:
            self.names(uri)
        except AccessDeniedError:
            return None  # it may be read, and not listed
        except ChunkscaleError as error:
            return error
        return None

    def kvstore(self, uri: str) -> dict[str, Any] | None:
        """Return what tensorstore calls a location; None if it does not get there as we do.

        Its driver for Google's store takes neither an endpoint nor "anonymous",
        and there is none for Azure's. Credentials that neither the environment nor
        a profile holds are left to botocore.
        """
        scheme, bucket, key = split_url(uri)
        if scheme != "s3":
            return None
        aws = aws_access(options_of(uri))
        if aws.login is None:
            return None
        return {
            "driver": "s3",
            "bucket": bucket,
            "path": f"{key}/" if key else "",
            "aws_region": aws.region,
            "context": {"aws_credentials": aws.login},
            **({"endpoint": aws.endpoint} if aws.endpoint else {}),
        }

    def clear_answers(self, uri: str) -> contextlib.AbstractContextManager[None]:
        return clear_answers(uri)

    def get(self, uri: str, most: int | None = None) -> bytes | None:
        bucket, key = open_bucket(uri)  # which says what to install where obstore is missing
        import obstore

        try:
            with clear_bucket_errors(uri):
                found = obstore.get(bucket, key)
                if most is not None and found.meta["size"] > most:
                    raise TooLongError(uri, most)
                return bytes(found.bytes())
        except SourceNotFoundError:
            raise  # the bucket, or a refusal
        except FileNotFoundError:
            return None

    def put(self, uri: str, content: bytes, *, new: bool = False) -> None:
        import obstore

        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            obstore.put(bucket, key, content)

    def names(self, uri: str) -> list[str]:
        import obstore

        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            found = obstore.list_with_delimiter(bucket, key or None)
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def objects(self, uri: str) -> Iterator[tuple[str, int]]:
        import obstore

        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            for batch in obstore.list(bucket, key or None):
                for entry in batch:
                    yield entry["path"][len(key) :].lstrip("/"), entry["size"]

    def sizes(self, uris: Iterable[str]) -> list[int]:
        with ThreadPoolExecutor(_REQUESTS) as pool:
            return [size or 0 for size in pool.map(_object_size, uris)]

    def exists(self, uri: str) -> bool:
        return any(True for _ in self.objects(uri)) or _object_size(uri) is not None

    def delete(self, uris: Iterable[str]) -> None:
        left = iter(uris)
        while part := list(itertools.islice(left, _MOST_AT_ONCE)):
            _delete_objects(part)

    def stamp(self, uri: str) -> object:
        with contextlib.suppress(FileNotFoundError):
            return BucketParts(uri).stamp
        return None

    def parts(self, uri: str) -> Parts:
        return BucketParts(uri)

    def same_place(self, one: str, other: str) -> bool:
        return root(one) == root(other) and options_of(one).endpoint == options_of(other).endpoint


class BucketParts(Parts):
    """An object of which parts are asked for, as long as it is the same one."""

    def __init__(self, uri: str) -> None:
        import obstore

        self.uri = uri
        self._bucket, self._key = open_bucket(uri)
        with clear_bucket_errors(uri):
            found = obstore.head(self._bucket, self._key)
        self.size = int(found["size"])
        self.stamp = self.size, found.get("e_tag") or str(found["last_modified"])

    def read(self, start: int, count: int) -> bytes:
        import obstore

        if not count:
            return b""
        with clear_bucket_errors(self.uri):
            answer = obstore.get(self._bucket, self._key, options={"range": (start, start + count)})
            found = bytes(answer.bytes())
        meta = answer.meta
        if (meta["size"], meta.get("e_tag") or str(meta["last_modified"])) != self.stamp:
            raise ReplacedError(f"{self.uri!r} has changed since it was opened")
        return found


def _object_size(uri: str) -> int | None:
    import obstore

    if not split_url(uri)[2]:
        return None  # the bucket itself
    try:
        with clear_bucket_errors(uri):
            bucket, key = open_bucket(uri)
            return int(obstore.head(bucket, key)["size"])
    except SourceNotFoundError:
        raise
    except FileNotFoundError:
        return None


def _delete_objects(uris: Sequence[str]) -> None:
    import obstore

    bucket, _ = open_bucket(uris[0])
    try:
        with clear_bucket_errors(uris[0]):
            obstore.delete(bucket, [split_url(uri)[2] for uri in uris])
    except SourceNotFoundError:
        raise
    except FileNotFoundError:  # some stores mind; each of the others must go all the same
        for uri in uris if len(uris) > 1 else ():
            _delete_objects([uri])
