"""The stores that there are, and which one a location belongs to."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from chunkscale.errors import OptionError
from chunkscale.storage.base import Store
from chunkscale.storage.buckets.store import Buckets
from chunkscale.storage.failures import first_line, is_transient, system_errno
from chunkscale.storage.files import Files
from chunkscale.storage.http import Http
from chunkscale.storage.locations import Location, parse_options, plain, scheme_of
from chunkscale.storage.zips.store import Zipped, zip_in

#: A store that is added here can be read from, and written to if it is `writable`.
STORES: tuple[Store, ...] = (Files(), Http(), Buckets())

_zipped = cache(Zipped)


def store_of(uri: str) -> Store:
    """Return the store that a location belongs to."""
    scheme = scheme_of(uri)
    for store in STORES:
        if scheme in store.schemes:
            known: Any = store  # a protocol does not say that it can be a key
            return store if zip_in(uri, store) is None else _zipped(known)
    meant = f" (did you mean {_MEANT[scheme]}://?)" if scheme in _MEANT else ""
    raise OptionError(
        f"cannot open {plain(uri)!r}: the scheme {scheme!r} is not supported{meant}; use a local "
        f"path, or a URL with one of {', '.join(_schemes())}"
    )


#: How other programs call object stores.
_MEANT = {
    "gcs": "gs",
    **dict.fromkeys(("s3a", "s3n"), "s3"),
    **dict.fromkeys(("abfs", "abfss", "adl", "azure", "wasb", "wasbs"), "az"),
}


def _schemes() -> list[str]:
    return [name for store in STORES for name in store.schemes if name]


def normalise(uri: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> str:
    """Return a URL without a trailing slash, or an absolute local path.

    Parameters
    ----------
    uri : str or path-like
        A location that was normalised before keeps its options.
    options : mapping, optional
        Those of the user; they are for object stores.

    Raises
    ------
    OptionError
        For URL schemes that are not supported, and bad options.
    """
    parsed = parse_options(options)
    text: object = os.fspath(uri) if isinstance(uri, os.PathLike) else uri
    if not isinstance(text, str):
        raise OptionError(
            f"the path {text!r} must be a string or a Path"
            + ("; decode it (os.fsdecode)" if isinstance(text, bytes) else "")
        )
    if not text:
        raise OptionError("the path is empty; give the path of an OME-Zarr image")
    if isinstance(text, Location) and options is None:
        return text
    if (scheme := scheme_of(text)) and not scheme.islower():
        text = scheme.lower() + text[len(scheme) :]
    _refuse_lost_slash(text)
    found = store_of(text).normalise(text, parsed)
    if "\0" in found or found != found.encode(errors="replace").decode():
        raise OptionError(
            f"the path {found!r} is not valid UTF-8, which metadata cannot store; rename it, or "
            "make a link to it (ln -s) and give the path of the link"
        )
    return found


def _refuse_lost_slash(text: str) -> None:
    """Refuse a URL that was a `Path` in between, which makes one slash of two, and worse ones."""
    scheme, mark, rest = text.partition(":")
    if not mark or scheme.lower() not in _schemes() or rest.startswith("//"):
        return
    if rest.startswith(("/", "\\")) or scheme.lower() in ("http", "https"):
        place = rest.lstrip("/\\")
        raise OptionError(
            f"{plain(f'{scheme}://{place}')!r} lacks a slash after {scheme + ':'!r}; give a URL "
            "as text, not as a Path, which drops one of the two"
        )


def same_store(one: str, other: str) -> bool:
    """Whether one of two locations can lie in the other: in one bucket, or both on disks."""
    stores = [getattr(store, "outer", store) for store in map(store_of, (one, other))]
    return stores[0] is stores[1] and stores[0].same_place(one, other)


def resolved(uri: str) -> str:
    """Return a location with its links followed."""
    return store_of(uri).resolved(uri)


@contextlib.contextmanager
def clear_write_errors(uri: str) -> Iterator[None]:
    """Name the place, the room that is left there and the remedy when a write fails."""
    try:
        yield
    except Exception as error:
        room = store_of(uri).free_bytes(uri)
        left = "" if room is None else f"; {room / 2**20:.1f} MiB are free there"
        failure = OSError(
            f"cannot write to {uri!r}: {first_line(error)}{left}. The output is incomplete; once "
            "it can be written, continue with resume=True (--resume)"
        )
        failure.errno = getattr(error, "errno", None) or system_errno(str(error))
        if failure.errno is None and not is_transient(error):
            failure.errno = errno.EACCES
        raise failure from error
