"""Web servers, which can only be read, and list nothing."""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from chunkscale.errors import OptionError
from chunkscale.storage.base import Store
from chunkscale.storage.locations import StoreOptions, refuse_password


class Http(Store):
    """Addresses with http and https."""

    schemes = ("http", "https")
    kind = "a web address"
    lists = writable = fails_clearly = False

    def normalise(self, text: str, options: StoreOptions) -> str:
        refuse_password(urlsplit(text).netloc, "the URL")
        return text.rstrip("/")

    def zarr_store(self, uri: str) -> Any:
        from zarr.storage import FsspecStore

        try:
            return FsspecStore.from_url(_escaped(uri), read_only=True)
        except ImportError as error:
            raise OptionError(
                f"cannot open {uri!r}: {error}; install the extra chunkscale[http]"
            ) from error

    def kvstore(self, uri: str) -> dict[str, Any] | None:
        return {"driver": "http", "base_url": _escaped(uri) + "/"}

    def get(self, uri: str) -> bytes | None:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(_escaped(uri))
        try:
            return bytes(system.cat_file(path))
        except FileNotFoundError:
            return None

    def _refuse(self, *places: Any, **_: Any) -> NoReturn:
        raise OptionError(
            f"{places[0]!r} is a web address, which can only be read, and lists nothing; give a "
            "local path, or one in an object store"
        )

    put = names = objects = sizes = exists = delete = _refuse


def _escaped(url: str) -> str:
    """Return a URL as servers take it, whether or not it was escaped already."""
    return quote(url, safe=":/%?=&+@~")
