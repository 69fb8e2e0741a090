"""Web servers, which can only be read, and list nothing.

Chunks are read by zarr-python: tensorstore takes bodies of any length, and what comes from a server
that somebody else runs has to be bounded.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, NoReturn

from chunkscale.errors import OptionError, SourceNotFoundError
from chunkscale.storage.base import Parts, Store
from chunkscale.storage.locations import (
    Location,
    StoreOptions,
    above,
    plain,
    query_of,
    split_checked,
)
from chunkscale.storage.names import METADATA_FILES


class Http(Store):
    """Addresses with http and https."""

    schemes = ("http", "https")
    kind = "a web address"
    lists = writable = False

    def normalise(self, text: str, options: StoreOptions) -> str:
        split_checked(text, "the URL")
        if "#" in text:
            raise OptionError(
                f"the URL {plain(text)!r} has a fragment after '#', which is never sent to the "
                "server; leave it out, or write %23 if the '#' belongs to a name"
            )
        url, _, query = text.partition("?")
        if mark := re.search(r";\w+=", url):
            raise OptionError(
                f"the URL {plain(url[: mark.start()])!r} has a parameter behind a ';' "
                f"({mark[0][1:-1]!r}), which may be secret, but paths are written into metadata "
                "and logs; put it after a '?', or write %3B if the ';' belongs to a name"
            )
        query = query or query_of(text)
        url = url.rstrip("/")
        return Location(url, StoreOptions(query=query)) if query else url

    def zarr_store(self, uri: str) -> Any:
        return _web(uri).WebStore(uri)

    def get(self, uri: str, most: int | None = None) -> bytes | None:
        found: bytes | None = _web(uri).whole(uri, most)
        name = uri.rpartition("/")[2]
        if found is not None and name in METADATA_FILES and _is_page(name, found):
            raise SourceNotFoundError(
                f"{above(uri)!r} has no metadata: what the server sends for {name!r} is not "
                "valid zarr metadata (a web page?); give the URL of an OME-Zarr image"
            )
        return found

    def has(self, uri: str) -> bool:
        with contextlib.suppress(OSError):
            head = _web(uri).part(uri, start=0, end=64)
            # Some servers send a page for whatever they do not have.
            return bool(head) and not head.lstrip().startswith(b"<")
        return False

    def stamp(self, uri: str) -> object:
        with contextlib.suppress(FileNotFoundError):
            return _web(uri).WebParts(uri).stamp
        return None

    def parts(self, uri: str) -> Parts:
        found: Parts = _web(uri).WebParts(uri)
        return found

    def _refuse(self, *places: Any, **_: Any) -> NoReturn:
        raise OptionError(
            f"{places[0]!r} is a web address, which is read-only and cannot be listed; give a "
            "local path, or one in an object store"
        )

    put = names = objects = sizes = exists = delete = _refuse


def _is_page(name: str, content: bytes) -> bool:
    """Whether what a server sends in place of a document is something else, and no damaged one.

    A page, or JSON that says "not found".
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    if not isinstance(document, dict):
        return True
    return bool(document) and "zarr_format" not in document and name != ".zattrs"


def _web(uri: str) -> Any:
    """Return the module with what needs fsspec and aiohttp."""
    try:
        from chunkscale.storage import web
    except ImportError as error:
        raise OptionError(
            f"cannot open {uri!r}: {error}; run: pip install aiohttp fsspec"
        ) from error
    return web
