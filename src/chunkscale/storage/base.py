"""What a store is: a kind of place for bytes, and all that this package asks of one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from chunkscale.storage.locations import StoreOptions, join

#: So many names tell what lies in a folder; S3 lists as many at once.
FIRST = 1000


class Parts(Protocol):
    """An object of which parts are read, as it was when it was opened. Thread-safe.

    Attributes
    ----------
    size : int
    """

    size: int

    def read(self, start: int, count: int) -> bytes:
        """Return bytes; fewer where it ends.

        Raises
        ------
        ReplacedError
            If it has changed since it was opened.
        """
        ...


class Store(Protocol):
    """All places with the same kind of address; it has no state, and a location says where.

    What follows from the rest, or is as in most stores, is here already. Whatever fails raises
    an `OSError` that names the location and holds no secret: a `StoreError` if it may go better
    another time, an `AccessDeniedError` where it was refused.

    Attributes
    ----------
    schemes : tuple of str
        What stands before ``://`` in its addresses.
    kind : str
        For messages.
    is_local : bool
        Whether it has folders, links and drafts of objects, which other stores have not.
    on_disk : bool
        Whether its bytes are this machine's, whatever process asks for them.
    lists, writable : bool
        What it is able to do.
    """

    schemes: tuple[str, ...]
    kind: str
    is_local: bool = False
    on_disk: bool = False
    lists: bool = True
    writable: bool = True

    def normalise(self, text: str, options: StoreOptions) -> str:
        """Return the location that an address of a user means, or refuse it."""
        ...

    def zarr_store(self, uri: str) -> Any:
        """Return what zarr-python opens as the store whose top is a location."""
        ...

    def get(self, uri: str, most: int | None = None) -> bytes | None:
        """Return what is stored at a location; None if nothing is.

        Raises
        ------
        TooLongError
            If it has more than `most` bytes, which are then not read.
        """
        ...

    def put(self, uri: str, content: bytes, *, new: bool = False) -> None:
        """Store an object in one piece; if it is to be `new`, a local one that is there stays."""
        ...

    def names(self, uri: str) -> list[str]:
        """Return the names directly below a location."""
        ...

    def objects(self, uri: str) -> Iterator[tuple[str, int]]:
        """Yield path (relative, with slashes) and size of every object below a location."""
        ...

    def sizes(self, uris: Iterable[str]) -> list[int]:
        """Return the sizes of objects; 0 for those that are not there."""
        ...

    def exists(self, uri: str) -> bool:
        """Whether anything is stored at or below a location."""
        ...

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects, those that are there."""
        ...

    def delete_below(self, uri: str) -> None:
        """Delete everything at and below a location."""
        self.delete(join(uri, path) for path, _ in self.objects(uri))

    def withdraw(self, uri: str, content: bytes) -> None:
        """Delete a local object if it is what was seen there; of several who try, one does.

        In other stores it stays, and is simply replaced by the next one.

        Raises
        ------
        FileExistsError
            If it is another one by now. It stays.
        """
        return

    def prune(self, uri: str) -> None:
        """Remove a folder that is empty; most stores have none."""
        return

    def first_objects(self, uri: str) -> set[str] | None:
        """Return some of the paths below a location; None if the store does not tell.

        Of a folder whose objects were not looked for the name stands there, with a slash; empty
        ones are left out. It takes as long for a million objects as for a thousand: whichever the
        store lists first. Not every bucket may be listed.
        """
        with contextlib.suppress(OSError):
            if self.lists:
                return {path for path, _ in itertools.islice(self.objects(uri), FIRST)}
        return None

    def has(self, uri: str) -> bool:
        """Whether an object is there, and the store says so."""
        with contextlib.suppress(OSError):
            return self.sizes([uri]) > [0]
        return False

    def stamp(self, uri: str) -> object:
        """Return what changes when an object does, to be compared; None if there is none."""
        return None

    def parts(self, uri: str) -> Parts:
        """Open an object that is read in parts.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        raise FileNotFoundError(f"{uri!r} does not exist")

    def edition(self, uri: str) -> str | None:
        """Return what is another one when anything in the same file is; None where nobody knows."""
        return None

    def kvstore(self, uri: str) -> dict[str, Any] | None:
        """Return what tensorstore calls a location; None if it does not get there as we do."""
        return None

    def clear_answers(self, uri: str) -> contextlib.AbstractContextManager[None]:
        """Turn what tensorstore raises into clear errors, if it is not clear."""
        return contextlib.nullcontext()

    def why_missing(self, uri: str) -> Exception | None:
        """Return what is wrong where nothing is found, if it is more than that."""
        return None

    def resolved(self, uri: str) -> str:
        """Return a location with its links followed."""
        return uri

    def same_place(self, one: str, other: str) -> bool:
        """Whether one of two locations can lie in the other."""
        return False

    def free_bytes(self, uri: str) -> int | None:
        """Return the free space where an output would go; None where nobody can tell."""
        return None
