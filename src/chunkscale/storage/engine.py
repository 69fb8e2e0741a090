"""Limits of chunk input and output, and arrays opened with tensorstore."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cache, cached_property, partial
from typing import Any, Literal

from chunkscale.host.forks import fork_error, inherited
from chunkscale.storage import patience
from chunkscale.storage.block_cache import BlockCache
from chunkscale.storage.failures import BUSY_CODES, StoreError, first_line
from chunkscale.storage.stores import store_of

#: The engine of arrays that are opened without saying which.
DEFAULT: Literal["auto", "zarr"] = "auto"


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
        ``"zarr"`` leaves tensorstore out; `DEFAULT` unless it is given.
    faults : callable, optional
        The seam at which tests let stores fail: called with ``"read"`` or
        ``"write"`` and the array's location before each box, and with ``"open"``
        before tensorstore opens it, in whichever process it is done; raises what
        a failing store would.
    """

    threads: int
    cache_bytes: int = 0
    engine: Literal["auto", "zarr"] = field(default_factory=lambda: DEFAULT)
    faults: Callable[[str, str], None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process has threads of its own.
        return partial(StoreIO, **{f.name: getattr(self, f.name) for f in fields(self)}), ()

    @cached_property
    def context(self) -> Any:
        """The tensorstore context with these limits."""
        import tensorstore as ts

        cache = {"total_bytes_limit": self.cache_bytes}
        limits = self.threads, patience.ATTEMPTS, patience.FIRST_WAIT, patience.LONGEST_WAIT
        return ts.Context({"cache_pool": cache}, _shared_context(*limits))

    @cached_property
    def blocks(self) -> BlockCache:
        """The decoded chunks of arrays that zarr-python reads, which keeps none itself."""
        return BlockCache(self.cache_bytes)


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
            "s3_request_retries": retries,
        }
    )


def open_tensorstore(uri: str, zarr_format: int, io: StoreIO, *, writing: bool) -> Any:
    """Open an array with tensorstore; None for places and arrays that it does not know.

    What is read from afar is one of these: it would take an object of any size.

    Raises
    ------
    StoreError
        If the store is busy.
    """
    import tensorstore as ts

    store = store_of(uri)
    if inherited("tensorstore"):
        # It would end this process. What zarr has of a bucket's or a server's waits for threads
        # that are not here; files need none.
        if not store.on_disk:
            raise fork_error(f"what is opened of {uri!r}")
        return None
    wanted = io.engine == "auto" and (writing or store.on_disk)
    kvstore = store.kvstore(uri) if wanted else None
    if kvstore is None:
        return None
    if io.faults is not None:
        io.faults("open", uri)
    # Otherwise it waits for ever for a server that has gone silent; there is no other way to say
    # so, and it looks when it is first used.
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(patience.SILENT_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", str(patience.LEAST_SPEED))
    spec = {
        "driver": "zarr" if zarr_format == 2 else "zarr3",
        "kvstore": kvstore,
        "recheck_cached_data": False,
        "recheck_cached_metadata": False,
    }
    try:
        return ts.open(spec, open=True, context=io.context).result()
    except Exception as error:  # mostly a `ValueError`, whatever it is
        text = first_line(error)
    if text.startswith(BUSY_CODES):
        raise StoreError(text, True)  # without the answer of the server, which may hold secrets
    # Unknown codec, filter or data type, or metadata that only zarr-python accepts.
    return None


class Once:
    """What is made when it is first wanted, by one thread; the others wait for it.

    Where that fails it fails for all who wait, and the next who comes tries again: each waits
    for a busy server once, not for one after another. A forked process makes its own.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._left: list[object] = []
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._made: Future[Any] | None = None

    def get(self) -> Any:
        if self._process != os.getpid():
            self._left.append(self._made)  # to destroy it may take threads that are not here
            self._begin()
        with self._lock:
            made, mine = self._made, self._made is None
            if made is None:
                made = self._made = Future()
        if mine:
            try:
                made.set_result(self._make())
            except BaseException as error:
                self._made = None
                made.set_exception(error)
        return made.result()


def settled(pending: Any, look: Callable[[], None]) -> Any:
    """Wait for what tensorstore does; look every few seconds whether it waits for what never ends.

    Parameters
    ----------
    pending : tensorstore.Future
    look : callable
        Raises if there is nothing to wait for, like a pipe in the place of a file, and ends that.
    """
    failure: OSError | None = None
    while not _done(pending, patience.LOOK_SECONDS if failure is None else 0.01):
        try:
            look()
        except OSError as error:  # others may have to be let go before it ends
            failure = failure or error
    if failure is not None:
        raise failure
    return pending.result()


def _done(pending: Any, seconds: float) -> bool:
    with contextlib.suppress(Exception):  # what it failed with is raised where its result is asked
        pending.result(timeout=seconds)
    return bool(pending.done())
