"""Limits of chunk input and output, and arrays opened with tensorstore."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cache, cached_property, partial
from typing import Any, Literal

from chunkscale.storage import patience
from chunkscale.storage.credentials import aws_access
from chunkscale.storage.failures import BUSY_CODES, clear_answers
from chunkscale.storage.locations import escaped, in_bucket, is_remote, options_of, split_url


@dataclass(frozen=True, kw_only=True)
class StoreIO:
    """Limits of chunk input and output.

    Parameters
    ----------
    threads : int
        Threads that encode and decode, shared by the arrays with the same limits.
    cache_bytes : int
        Decoded chunks that are kept for the next read of the arrays that are
        opened with it.
    engine : {"auto", "zarr"}
        ``"zarr"`` leaves tensorstore out.
    patient : bool
        Whether a busy server is asked for a chunk again.
    faults : callable, optional
        The seam at which tests let stores fail: called with ``"read"`` or
        ``"write"`` and the array's location before each box, in whichever
        process it is done; raises what a failing store would.
    """

    threads: int
    cache_bytes: int = 0
    engine: Literal["auto", "zarr"] = "auto"
    patient: bool = True
    faults: Callable[[str, str], None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process has threads of its own.
        return partial(StoreIO, **{f.name: getattr(self, f.name) for f in fields(self)}), ()

    @cached_property
    def context(self) -> Any:
        """The tensorstore context with these limits."""
        import tensorstore as ts

        cache = {"total_bytes_limit": self.cache_bytes}
        limits = (
            self.threads,
            patience.ATTEMPTS if self.patient else 1,
            patience.FIRST_WAIT,
            patience.LONGEST_WAIT,
        )
        return ts.Context({"cache_pool": cache}, _shared_context(*limits))


@cache
def _shared_context(threads: int, attempts: int, first: timedelta, longest: timedelta) -> Any:
    """Return the context that arrays with the same limits share.

    Threads of their own would be too many, and each of them keeps freed memory
    that the others cannot use.
    """
    import tensorstore as ts

    retries = {
        "max_retries": attempts,
        "initial_delay": f"{first.total_seconds()}s",
        "max_delay": f"{longest.total_seconds()}s",
    }
    return ts.Context(
        {
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": max(2, threads)},
            # A killed process must not leave torn files, and does not: files are renamed
            # into place. Surviving a power cut is not worth an fsync for every chunk.
            "file_io_sync": False,
            "http_request_retries": retries,
            "s3_request_retries": retries,
        }
    )


def start_tensorstore(uri: str, zarr_format: int, io: StoreIO) -> Any:
    """Begin to open with tensorstore; None for places that it does not know."""
    import tensorstore as ts

    kvstore = kvstore_spec(uri) if io.engine == "auto" else None
    if kvstore is None:
        return None
    spec = {
        "driver": "zarr" if zarr_format == 2 else "zarr3",
        "kvstore": kvstore,
        "recheck_cached_data": False,
        "recheck_cached_metadata": False,
    }
    try:
        return ts.open(spec, open=True, context=io.context)
    except (ValueError, NotImplementedError):  # the place itself, before anything is read
        return None


def opened_tensorstore(uri: str, opening: Any) -> Any:
    """Wait for what `_start_tensorstore` began; None for what tensorstore does not know."""
    if opening is None:
        return None
    try:
        return opening.result()
    except (ValueError, NotImplementedError) as error:
        if in_bucket(uri) and str(error).startswith(BUSY_CODES):
            with clear_answers(uri):
                raise
        # Unknown codec, filter or data type, or metadata that only zarr-python accepts.
        return None


def kvstore_spec(uri: str) -> dict[str, Any] | None:
    """Return what tensorstore calls a location; None if it does not get there as we do.

    Its driver for Google's store takes neither an endpoint nor "anonymous",
    and there is none for Azure's. Credentials that neither the environment nor
    a profile holds are left to botocore.
    """
    if not is_remote(uri):
        return {"driver": "file", "path": uri.rstrip("/") + "/"}
    # Otherwise it waits for ever for a server that has gone silent; there is no other way to say
    # so, and it looks when it is first used.
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(patience.SILENT_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
    if not in_bucket(uri):
        return {"driver": "http", "base_url": escaped(uri) + "/"}
    scheme, bucket, key = split_url(uri)
    if scheme != "s3":
        return None
    aws = aws_access(options_of(uri))
    if aws.login is None:
        return None
    spec: dict[str, Any] = {
        "driver": "s3", "bucket": bucket, "path": f"{key}/" if key else "",
        "aws_region": aws.region, "context": {"aws_credentials": aws.login},
    }  # fmt: skip
    return {**spec, "endpoint": aws.endpoint} if aws.endpoint else spec
