"""Small texts below an output that a run notes down for the next one."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable

from chunkscale.errors import DestinationError
from chunkscale.storage import objects as contents
from chunkscale.storage.files import link_text
from chunkscale.storage.locations import join
from chunkscale.storage.names import NOTES
from chunkscale.storage.stores import store_of


def notes_place(uri: str) -> str:
    """Return the folder of the notes below an output.

    Raises
    ------
    DestinationError
        If a link stands there: what it leads to is not ours to change.
    """
    place = join(uri, NOTES)
    if store_of(place).is_local and os.path.islink(place):
        raise DestinationError(f"the output {uri!r} {link_text(place)}")
    return place


#: No notes of a run, and there from one run to the next: what says that an output is packed in the
#: end, its documents once they are, and the file.
PACKING = PACKED, DOCUMENTS, DRAFT = "packed", "documents.zip", "packed.zip"


def put_note(uri: str, name: str, text: str, *, new: bool = False) -> None:
    """Store a small text below an output, in one piece.

    Raises
    ------
    FileExistsError
        If it is to be `new`, and is there; object stores do not tell.
    """
    contents.put(join(notes_place(uri), name), text.encode(), new=new)


def withdraw_note(uri: str, name: str, text: str) -> None:
    """Delete a note that is as it was read; one that has changed raises a `FileExistsError`.

    In object stores a note is simply replaced by the next one.
    """
    content = text.encode(errors="surrogateescape")
    contents.withdraw(join(notes_place(uri), name), content)


def read_note(uri: str, name: str) -> str | None:
    """Return such a text, or None."""
    content = contents.get(join(uri, NOTES, name))
    return None if content is None else content.decode(errors="surrogateescape")


def note_names(uri: str) -> list[str]:
    """Return the names of all of them."""
    return [name for name in contents.names(join(uri, NOTES)) if name not in PACKING]


def is_packed(uri: str) -> bool:
    """Whether what is made in a folder is packed in the end."""
    return read_note(uri, PACKED) is not None


def delete_note(uri: str, name: str) -> None:
    """Delete one; with the last one nothing of them is left."""
    place = notes_place(uri)
    contents.delete([join(place, name)])
    contents.prune(place)


def seen_through(uri: str, places: Iterable[str]) -> dict[str, bool | None]:
    """Say of places whether they are the folder `uri` by another name; None where none can tell.

    A draft of a name that was never there is put into the folder, and looked for in each of the
    places: paths say nothing where disks are mounted twice or served by a server, and servers keep
    answers for names that they know. Names with a dot in front are hidden by many of them.
    """
    name, mark = f"zarr.{uuid.uuid4().hex}.partial", uuid.uuid4().bytes
    try:
        contents.put(join(uri, name), mark)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return dict.fromkeys(places)
    try:
        return {place: _holds(join(place, name), mark) for place in places}
    finally:
        contents.delete([join(uri, name)])


def _holds(uri: str, content: bytes) -> bool | None:
    try:
        return contents.get(uri) == content
    except Exception:  # fsspec and aiohttp have no common base for what servers do
        return None
