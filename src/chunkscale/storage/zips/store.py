"""Zip files as a store: paths like ``scan.ozx/0`` in whatever store they lie in."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NoReturn

from chunkscale.errors import ChunkscaleError, OptionError, SourceNotFoundError
from chunkscale.storage.base import Store
from chunkscale.storage.failures import TooLongError
from chunkscale.storage.locations import Location, StoreOptions
from chunkscale.storage.zips.archive import Archive

#: Names of zip files end so: they are told by them, before anything is read.
ENDS = (".zip", ".ozx")

_END = re.compile(r"\.(?:zip|ozx)(?=[/\\]|$)", re.IGNORECASE)

#: Zip files that stay open, with their directories.
_OPEN = 16

#: Seconds for which a server is not asked again whether it still has the same file.
_TRUSTED = 2.0


def zip_in(uri: str, store: Store) -> str | None:
    """Return the zip file that a location is or lies in; names tell, and locally a file is there.

    A file in a zip file that is one itself is not looked into.
    """
    for found in _END.finditer(uri):
        place = uri[: found.end()]
        if os.path.isfile(place) if store.is_local else place.count("/") > 2:
            return Location(place, uri.options) if isinstance(uri, Location) else place
    return None


class Zipped(Store):
    """Locations in zip files of another store.

    Parameters
    ----------
    outer : Store
    """

    kind = "in a zip file"
    is_local = writable = False

    def __init__(self, outer: Store) -> None:
        self.outer = outer
        self.schemes, self.on_disk = outer.schemes, outer.on_disk

    def normalise(self, text: str, options: StoreOptions) -> str:
        return self.outer.normalise(text, options)

    def _place(self, uri: str) -> tuple[Archive, str]:
        place = zip_in(uri, self.outer)
        if place is None:
            raise FileNotFoundError(f"{uri!r} does not exist")
        inner = uri[len(place) :].replace(os.sep, "/").strip("/")
        return opened(place, self.outer), inner

    def _below(self, uri: str) -> tuple[Archive, str]:
        archive, inner = self._place(uri)
        return archive, f"{inner}/" if inner else ""

    def zarr_store(self, uri: str) -> Any:
        from chunkscale.storage.zips.folder import ZipFolder

        archive, path = self._below(uri)
        return ZipFolder(archive, path, on_disk=self.on_disk)

    def get(self, uri: str, most: int | None = None) -> bytes | None:
        archive, inner = self._place(uri)
        entry = archive.directory.find(inner)
        if most is not None and entry is not None and entry.size > most:
            raise TooLongError(uri, most)
        return None if entry is None else archive.content(entry)

    def names(self, uri: str) -> list[str]:
        archive, path = self._below(uri)
        return archive.directory.children(path)

    def objects(self, uri: str) -> Iterator[tuple[str, int]]:
        archive, path = self._below(uri)
        return ((name[len(path) :], size) for name, size in archive.directory.below(path))

    def sizes(self, uris: Iterable[str]) -> list[int]:
        entries = (archive.directory.find(inner) for archive, inner in map(self._place, uris))
        return [0 if entry is None else entry.size for entry in entries]

    def exists(self, uri: str) -> bool:
        archive, inner = self._place(uri)
        if not inner or archive.directory.find(inner) is not None:
            return True
        return any(True for _ in archive.directory.below(f"{inner}/"))

    def edition(self, uri: str) -> str | None:
        return self._place(uri)[0].directory.digest

    def why_missing(self, uri: str) -> ChunkscaleError | None:
        archive, inner = self._place(uri)
        tops = archive.directory.children("")
        if inner or len(tops) != 1:
            return None
        return SourceNotFoundError(
            f"{uri!r} has no zarr group at its root; everything in it is below {tops[0]!r}, so "
            f"give the path {f'{uri}/{tops[0]}'!r}"
        )

    def resolved(self, uri: str) -> str:
        return self.outer.resolved(uri)

    def same_place(self, one: str, other: str) -> bool:
        return self.outer.same_place(one, other)

    def _refuse(self, *places: Any, **_: Any) -> NoReturn:
        raise OptionError(f"{places[0]!r} is in a zip file, which is only read")

    put = delete = _refuse


def opened(uri: str, store: Store) -> Archive:
    """Return the zip file at a location as it is now.

    It is opened once, and again when it has changed.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    """
    options = uri.options if isinstance(uri, Location) else None
    # A server is asked now and then, a disk each time.
    when = 0 if store.on_disk else int(time.monotonic() / _TRUSTED)
    outer: Any = store  # a protocol does not say that it can be a key
    stamp = store.stamp(uri) if store.on_disk else _stamp(uri, options, outer, when)
    if stamp is None:
        raise FileNotFoundError(f"the zip file {uri!r} does not exist")
    return _opened(uri, options, outer, stamp)


@lru_cache(maxsize=_OPEN)
def _stamp(uri: str, options: StoreOptions | None, store: Any, when: int) -> object:
    return store.stamp(uri)


@lru_cache(maxsize=_OPEN)
def _opened(uri: str, options: StoreOptions | None, store: Any, stamp: object) -> Archive:
    return Archive(uri, store)
