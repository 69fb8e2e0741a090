"""How zarr-python and fsspec reach web servers; imported when an address is opened."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem
from zarr.storage import FsspecStore

from chunkscale.errors import AccessDeniedError, MetadataError
from chunkscale.storage import patience
from chunkscale.storage.base import Parts
from chunkscale.storage.failures import (
    ReplacedError,
    StoreError,
    TooLongError,
    first_line,
    forgetting,
    is_transient,
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
    except TooLongError:
        raise
    except Exception as error:
        status, transient = getattr(error, "status", None), is_transient(error)
        missing, silent = status == 410 and not is_chunk, error
        # A connection that breaks off may hold another time.
        transient |= status is None
        text = first_line(error) if status is None else f"HTTP status {status}"
    else:
        return
    if missing:
        raise FileNotFoundError(f"{uri!r} does not exist") from None
    if status in (401, 403):
        raise AccessDeniedError(
            f"access to {uri!r} was denied ({text}); if the URL has a token, check that it is "
            "still valid, and for this path"
        ) from None
    # Who breaks off may answer at once, but who is silent was waited for.
    busy = transient and not isinstance(silent, TimeoutError)
    raise StoreError(f"{uri!r} cannot be reached: {text}", transient, busy=busy) from None


def _close(session: Any, loop: asyncio.AbstractEventLoop) -> None:
    if loop.is_running() and not session.closed:
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(session.close(), loop).result(1)


class Addresses(HTTPFileSystem):  # type: ignore[misc]
    """Puts a query behind every address, and waits for none of them for ever."""

    def __init__(self, *args: Any, query: str = "", **options: Any) -> None:
        silent = patience.SILENT_SECONDS
        limits = aiohttp.ClientTimeout(
            total=patience.LONGEST_SECONDS, sock_connect=silent, sock_read=silent
        )
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
    wait = patience.FIRST_WAIT
    for left in reversed(range(patience.ATTEMPTS)):
        try:
            with clearly(uri):
                system = Addresses(query=query_of(uri))
                return bytes(sync(system.loop, _whole, system, uri, most))
        except AccessDeniedError:
            raise
        except FileNotFoundError:
            return None
        except StoreError as error:
            if not (left and error.busy):
                raise
        time.sleep(wait.total_seconds())
        wait = min(2 * wait, patience.LONGEST_WAIT)
    raise AssertionError


async def _whole(system: Addresses, uri: str, most: int | None) -> bytes:
    session, url = await system.set_session(), address(uri)
    limit = aiohttp.ClientTimeout(
        total=patience.REQUEST_SECONDS,
        sock_connect=patience.SILENT_SECONDS,
        sock_read=patience.SILENT_SECONDS,
    )
    found = bytearray()
    async with session.get(system.encode_url(url), timeout=limit) as answer:
        system._raise_not_found_for_status(answer, url)
        async for piece in answer.content.iter_any():
            found += piece
            if most is not None and len(found) > most:
                raise TooLongError(uri, most)
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


class WebStore(FsspecStore):
    """The chunks below one address."""

    supports_listing = False

    def __init__(self, uri: str, *, read_only: bool = True) -> None:
        system = Addresses(query=query_of(uri), asynchronous=True)
        super().__init__(system, read_only=read_only, path=address(uri))
        self.uri = uri

    def with_read_only(self, read_only: bool = False) -> WebStore:
        return WebStore(self.uri, read_only=read_only)

    async def get(self, key: str, *args: Any, **options: Any) -> Any:
        try:
            with clearly(join(self.uri, key), is_chunk=True):
                return await super().get(key, *args, **options)
        except AccessDeniedError:
            raise
        except FileNotFoundError:
            return None

    async def exists(self, key: str) -> bool:
        with clearly(join(self.uri, key)):
            return bool(await super().exists(key))

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
        with clearly(self.uri, is_chunk=True):
            return await super().get_partial_values(prototype, key_ranges)
