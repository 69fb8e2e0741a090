"""How zarr-python and fsspec reach web servers; imported when an address is opened."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import yarl
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore

from chunkscale.errors import AccessDeniedError, MetadataError
from chunkscale.storage import patience
from chunkscale.storage.base import Parts
from chunkscale.storage.bounds import refuse_torn
from chunkscale.storage.failures import (
    BadObjectError,
    ReplacedError,
    StoreError,
    TooLongError,
    first_line,
    forgetting,
    is_transient,
    no_connection,
    unreached,
)
from chunkscale.storage.locations import join, query_of


def address(uri: str, query: str = "") -> str:
    """Return a URL as servers take it, whether or not it was escaped already."""
    place = quote(uri, safe=":/%=&+@~")
    return f"{place}?{quote(query, safe=':/%=&+@~?!$,;*()')}" if query else place


@forgetting
def clearly(uri: str, *, is_chunk: bool = False) -> Iterator[None]:
    """Turn what fsspec and aiohttp raise into errors that name the location and hold no secrets.

    Their own repeat the whole address. What is not there stays a `FileNotFoundError`, and so is
    what is gone (410), unless it is a chunk: that is lost, and not empty.
    """
    try:
        yield
    except FileNotFoundError:
        missing = True
    except (TooLongError, BadObjectError):
        raise
    except Exception as error:
        status, transient = getattr(error, "status", None), is_transient(error)
        missing, silent = status == 410 and not is_chunk, error
        # A connection that breaks off may hold another time.
        transient |= status is None
        text = f"HTTP status {status}" if status else first_line(error)
        closed = ""
        if isinstance(error, aiohttp.ClientConnectorError):
            closed = no_connection(error.os_error, f"{error.host}:{error.port}")
        if isinstance(error, aiohttp.TooManyRedirects):  # which has 0 for a status
            text = "it leads elsewhere again and again"
    else:
        return
    if missing:
        raise FileNotFoundError(f"{uri!r} does not exist") from None
    if status in (401, 403):
        raise AccessDeniedError(
            f"access to {uri!r} was denied ({text}); if the URL has a token, check that it is "
            "still valid, and for this path"
        ) from None
    # Who breaks off may answer at once, but who is silent was waited for, and nobody who listens
    # is an address that is wrong: regions wait for a server that is started again.
    busy = transient and not isinstance(silent, TimeoutError) and not closed
    raise unreached(uri, closed or text, transient, busy) from None


def _close(session: Any, loop: asyncio.AbstractEventLoop) -> None:
    if loop.is_running() and not session.closed:
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(session.close(), loop).result(1)


class Addresses(HTTPFileSystem):  # type: ignore[misc]
    """Puts a query behind every address, and waits for none of them for ever."""

    def __init__(self, *args: Any, query: str = "", **options: Any) -> None:
        limits = _limits(patience.LONGEST_SECONDS)
        super().__init__(*args, client_kwargs={"timeout": limits}, **options)
        self.query = query
        self._known = False

    async def set_session(self) -> Any:
        session = await super().set_session()
        if not self._known:
            self._known = True
            # Otherwise aiohttp complains at the end of the process. zarr-python's loop still runs
            # then, because it was registered before.
            atexit.register(_close, session, asyncio.get_running_loop())
        return session

    def encode_url(self, url: str) -> Any:
        if not self.query:
            return super().encode_url(url)
        return yarl.URL(address(url, self.query), encoded=True)


def part(uri: str, **limits: int) -> bytes | None:
    """Return what is stored at an address, or the bytes from `start` to `end`; None if nothing."""
    try:
        with clearly(uri):
            return bytes(Addresses(query=query_of(uri)).cat_file(address(uri), **limits))
    except AccessDeniedError:
        raise
    except FileNotFoundError:
        return None


def whole(uri: str, most: int | None) -> bytes | None:
    """Return a document; None if there is none. A busy server is asked again for some seconds.

    Raises
    ------
    TooLongError
        If the server sends more than `most` bytes: some never end.
    """
    system = Addresses(query=query_of(uri))
    limits, too_long = _limits(patience.REQUEST_SECONDS), TooLongError(uri, most or 0)
    fetch = partial(_fetched, system, uri, too_long, most, timeout=limits)
    return cast(bytes | None, sync(system.loop, fetch))


def _limits(total: float) -> aiohttp.ClientTimeout:
    silent = patience.SILENT_SECONDS
    return aiohttp.ClientTimeout(total=total, sock_connect=silent, sock_read=silent)


async def _fetched(
    system: Addresses,
    uri: str,
    too_long: Exception,
    most: int | None,
    *,
    is_chunk: bool = False,
    **options: Any,
) -> bytes | None:
    """Return what is at an address, or nothing; who is busy is asked again for some seconds."""
    wait = patience.FIRST_WAIT
    for left in reversed(range(patience.ATTEMPTS)):
        try:
            with clearly(uri, is_chunk=is_chunk):
                return await _body(system, uri, too_long, most, **options)
        except AccessDeniedError:
            raise
        except FileNotFoundError:
            return None
        except StoreError as error:
            if not (left and error.busy):
                raise
        await asyncio.sleep(wait.total_seconds())
        wait = min(2 * wait, patience.LONGEST_WAIT)
    raise AssertionError


async def _body(
    system: Addresses, uri: str, too_long: Exception, most: int | None, **options: Any
) -> bytes:
    session, url = await system.set_session(), address(uri)
    found = bytearray()
    async with session.get(system.encode_url(url), **options) as answer:
        system._raise_not_found_for_status(answer, url)
        if "headers" in options and answer.status != 206:
            raise BadObjectError(
                "its server does not send parts of files (HTTP range requests), without which the "
                "whole shard would be fetched for each chunk; download the image"
            )
        async for piece in answer.content.iter_any():
            found += piece
            if most is not None and len(found) > most:
                raise too_long
    return bytes(found)


async def _span(
    system: Addresses, url: str, start: int, count: int
) -> tuple[int, Mapping[str, str], bytes]:
    session = await system.set_session()
    headers = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
    async with session.get(system.encode_url(url), headers=headers) as answer:
        if answer.status in (200, 416):  # what is sent now may be the whole file
            return answer.status, answer.headers, b""
        system._raise_not_found_for_status(answer, url)
        return answer.status, answer.headers, await answer.read()


class WebParts(Parts):
    """A file of a server, of which it sends parts; one that sends it whole is refused."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.stamp, _ = self._span(0, 2)  # some servers take one byte for none
        self.size = self.stamp[0]

    def read(self, start: int, count: int) -> bytes:
        if not count:
            return b""
        stamp, found = self._span(start, count)
        if stamp != self.stamp:
            raise ReplacedError(f"{self.uri!r} has changed since it was opened")
        return found

    def _span(self, start: int, count: int) -> tuple[tuple[int, str], bytes]:
        """Return size and version of the file, and bytes of it."""
        with clearly(self.uri, is_chunk=True):
            system = Addresses(query=query_of(self.uri))
            status, headers, found = sync(
                system.loop, _span, system, address(self.uri), start, count
            )
        said = re.fullmatch(
            r"bytes (?:(\d+)-\d+|\*)/(\d+)", headers.get("Content-Range", "").strip()
        )
        if said is None or (status != 416 and said[1] != str(start)):
            raise MetadataError(
                f"{self.uri!r} is a zip file, but its server does not support HTTP range "
                "requests, so the whole file would be fetched for each chunk; download it and "
                "give the path of the copy"
            )
        version = headers.get("ETag") or headers.get("Last-Modified") or ""
        return (int(said[2]), version), found


def _range(part: ByteRequest) -> str:
    """Return how HTTP says which bytes of an object are wanted."""
    match part:
        case RangeByteRequest():
            return f"bytes={part.start}-{part.end - 1}"
        case OffsetByteRequest():
            return f"bytes={part.offset}-"
        case SuffixByteRequest():
            return f"bytes=-{part.suffix}"


class WebStore(FsspecStore):
    """The chunks below one address.

    Attributes
    ----------
    most : int, optional
        Bytes of an object, of which no more is fetched.
    """

    supports_listing = False
    most: int | None = None

    def __init__(self, uri: str, *, read_only: bool = True) -> None:
        system = Addresses(query=query_of(uri), asynchronous=True)
        super().__init__(system, read_only=read_only, path=address(uri))
        self.uri = uri

    def with_read_only(self, read_only: bool = False) -> WebStore:
        return WebStore(self.uri, read_only=read_only)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        options: dict[str, Any] = {}
        if byte_range is not None:
            options["headers"] = {"Range": _range(byte_range), "Accept-Encoding": "identity"}
        found = await _fetched(
            self.fs,
            join(self.uri, key),
            BadObjectError(f"it has more than the {self.most} bytes that it may have"),
            self.most,
            is_chunk=True,
            **options,
        )
        if found is not None:
            refuse_torn(len(found), 1)  # zarr-python takes an empty shard for a missing one
        return None if found is None else prototype.buffer.from_bytes(found)

    async def exists(self, key: str) -> bool:
        with clearly(join(self.uri, key)):
            return bool(await super().exists(key))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges))
