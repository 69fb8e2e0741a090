"""The chain of pages in a TIFF file, walked before any library does: it may never end."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from chunkscale.errors import AccessDeniedError, MetadataError, NotAnImageError, SourceNotFoundError

_MOST_TAGS = 4096

#: Sizes of values by type of a tag.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}

#: Tags below are those of TIFF itself; of the others ImageJ's say what an image is.
_PRIVATE, _IMAGEJ = 32768, (50838, 50839)


def check_chain(path: str) -> int:
    """Return how many pages a file has.

    Raises
    ------
    NotAnImageError
        If it is no TIFF file.
    MetadataError
        If the chain of its pages is cut off, or leads back into itself.
    """
    try:
        with open(path, "rb") as file:
            return _walk(path, file, os.fstat(file.fileno()).st_size)
    except PermissionError as error:
        raise AccessDeniedError(f"{path!r} may not be read: {error}") from error
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{path!r} does not exist") from error


def _walk(path: str, file: BinaryIO, size: int) -> int:
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    kind = 0 if not order or len(head) < 8 else struct.unpack_from(order + "H", head, 2)[0]
    if kind not in (42, 43):
        raise NotAnImageError(
            f"{path!r} is not a TIFF file in spite of its name: it begins with {head[:4]!r}"
        )
    big = kind == 43
    number, place, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    if big and len(head) < 16:
        raise MetadataError(f"{path!r} is cut off in its first 16 bytes")
    at = struct.unpack_from(order + place, head, 8 if big else 4)[0]
    seen: dict[int, int] = {}
    width = struct.calcsize(number)
    while at:
        page = len(seen)
        if at in seen:
            raise MetadataError(
                f"the TIFF file {path!r} is damaged: page {page - 1} leads back to page "
                f"{seen[at]}; restore it from the original data"
            )
        seen[at] = page
        file.seek(at)
        raw = file.read(width)
        tags = struct.unpack(order + number, raw)[0] if len(raw) == width else _MOST_TAGS + 1
        entries = b"" if page else file.read(min(tags, _MOST_TAGS) * entry)
        file.seek(at + width + min(tags, _MOST_TAGS) * entry)
        raw = file.read(struct.calcsize(place))
        if at >= size or tags > _MOST_TAGS or len(raw) < struct.calcsize(place):
            raise MetadataError(
                f"the TIFF file {path!r} is damaged or cut off: page {page} should begin at byte "
                f"{at} of {size}, and no list of tags is there; restore it from the original data"
            )
        for code, end in _values(entries, order, big):
            if end > size and (code < _PRIVATE or code in _IMAGEJ):
                raise MetadataError(
                    f"the TIFF file {path!r} is damaged or cut off: the value of tag {code} of its "
                    f"first page ends at byte {end}, and the file at {size}; restore it from the "
                    "original data"
                )
        at = struct.unpack(order + place, raw)[0]
    if not seen:
        raise MetadataError(f"the TIFF file {path!r} has no page; it is cut off or empty")
    return len(seen)


def _values(entries: bytes, order: str, big: bool) -> Iterator[tuple[int, int]]:
    """Yield tags whose values lie elsewhere in the file, and where these end."""
    form, step, room = ("HHQQ", 20, 8) if big else ("HHII", 12, 4)
    whole = entries[: len(entries) // step * step]
    for code, kind, count, at in struct.iter_unpack(order + form, whole):
        if (size := SIZES.get(kind, 0) * count) > room:
            yield code, at + size
