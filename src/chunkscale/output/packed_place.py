"""The place of an output in one file (.ozx, RFC-9), and of the folder that is packed into it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chunkscale.errors import ChunkscaleError, DestinationError, MetadataError, OptionError
from chunkscale.output import leases
from chunkscale.output.notes import DOCUMENTS, DRAFT, is_packed
from chunkscale.output.packed_tree import Tree, sorted_out, tree_of
from chunkscale.output.places import check_links, is_empty
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.storage import objects as contents
from chunkscale.storage.documents import parsed
from chunkscale.storage.names import NOTES
from chunkscale.storage.stores import normalise, store_of
from chunkscale.storage.zips.packing import DOCUMENT, begins_with
from chunkscale.text import some_names

END = ".ozx"

#: What the folder beside the file is called, behind the name of the file.
BESIDE = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPlace:
    """Where an output in one file goes.

    Parameters
    ----------
    uri : str
        The file.
    """

    uri: str

    @property
    def folder(self) -> str:
        """What is packed."""
        return self.uri + BESIDE

    @property
    def is_there(self) -> bool:
        """Whether something is in the file's place."""
        return os.path.lexists(self.uri)

    @property
    def is_begun(self) -> bool:
        """Whether the folder is what a run has left that packs it in the end."""
        return not os.path.islink(self.folder) and is_packed(self.folder)

    @property
    def is_packing(self) -> bool:
        """Whether the folder is no image any more, since it is packed."""
        return self.is_begun and self.documents.is_file()

    @property
    def documents(self) -> Path:
        """The documents of the folder while it is packed, in a zip file of their own."""
        return Path(self.folder, NOTES, DOCUMENTS)

    @property
    def draft(self) -> Path:
        """The file while it is packed."""
        return Path(self.folder, NOTES, DRAFT)

    @property
    def images_there(self) -> list[str]:
        """Whatever of the file and the folder is there and can be looked at as an image."""
        file = [self.uri] * (self.is_there and not self.why_unread())
        return file + [self.folder] * (os.path.lexists(self.folder) and not self.is_packing)

    def begun(self, *, resume: bool) -> str:
        """Return where a run finds what is there already, as an image or as a collection."""
        if resume and self.is_there:
            return self.uri
        return str(self.documents) if resume and self.is_packing else self.folder

    def why_unread(self) -> str:
        """Say why what is in the file's place cannot be read; nothing if it can, or none is."""
        try:
            if os.path.isfile(self.uri):
                contents.names(self.uri)
        except MetadataError as error:
            return str(error)
        return ""

    def named(self, text: str) -> str:
        """Return a message that names the folder with the name of the file beside it."""
        if repr(self.uri) in text:
            return text
        file, folder, documents = (
            repr(str(path))[1:-1] for path in (self.uri, self.folder, self.documents)
        )
        return re.sub(
            rf"(['\"]){re.escape(folder)}((?:[/\\][^'\"]*)?)\1",
            lambda found: f"{found[1]}{file}{found[2]}{found[1]} (in {found[1]}{folder}{found[1]})",
            text.replace(documents, folder),
        )


def packed_place(
    destination: PathLike, version: str, storage_options: StorageOptions | None
) -> PackedPlace | None:
    """Return where an output in one file goes; None for an output that is a folder.

    Raises
    ------
    OptionError, DestinationError
        Where there is no such file: in an object store, of OME-Zarr 0.4, in place of a folder.
    """
    target = normalise(destination, storage_options)
    if not target.lower().endswith(END):
        return None
    folder = target[: -len(END)] + ".zarr"
    store = store_of(target)
    if not store.on_disk:
        raise DestinationError(
            f"the output {target!r} is one file (.ozx), which is only written to local disks; "
            "write it to a local path and copy it there"
        )
    if version == "0.4":
        raise OptionError(
            f"the output {target!r} is one file (.ozx, RFC-9), which holds zarr 3, and OME-Zarr "
            f"0.4 is zarr 2; leave ome_zarr_version (--ome-zarr-version) out, or write {folder!r}"
        )
    if os.path.isdir(target):
        raise DestinationError(
            f"the output {target!r} is a folder, but a single file would be written there; "
            "choose another path, or remove it yourself"
        )
    return PackedPlace(uri=target)


@contextlib.contextmanager
def naming(place: PackedPlace) -> Iterator[None]:
    """Let errors name the file that a user knows of, beside the folder where they happen."""
    try:
        yield
    except (ChunkscaleError, OSError) as error:
        error.args = tuple(place.named(x) if isinstance(x, str) else x for x in error.args)
        raise


def unfinished_file(uri: str) -> str:
    """Say of a file that is not there that a run has begun it; nothing if none has."""
    place = PackedPlace(uri=uri.removesuffix(BESIDE))
    is_file = store_of(place.uri).is_local and place.uri.lower().endswith(END)
    if not is_file or place.is_there or not place.is_begun:
        return ""
    return (
        f"the run that writes {place.uri!r} did not finish; its data is in {place.folder!r}; "
        "continue with resume=True (--resume), or start again with overwrite=True (--overwrite)"
    )


def check_file(
    place: PackedPlace, existing: Existing, check: Callable[[str, Existing], None]
) -> None:
    """Refuse what is in the file's place, unless it is to go on or go.

    Of a file that cannot be read what it begins with tells whether this package wrote it.

    Parameters
    ----------
    place : PackedPlace
    existing : Existing
    check : callable
        Does so where the file can be read.
    """
    why = place.why_unread()
    if not why:
        check(place.uri, existing)
    elif not _is_made(place.uri):
        raise DestinationError(
            f"the output {place.uri!r} exists and was not written by chunkscale ({why}), so it "
            "is never overwritten; choose another path, or move or delete it yourself"
        )
    elif not existing.overwrite:
        raise DestinationError(
            f"the output {place.uri!r} exists and cannot be read: {why}, or replace it with "
            "overwrite=True (--overwrite)"
        )


def _is_made(uri: str) -> bool:
    content = begins_with(Path(uri), DOCUMENT)
    try:
        attributes = parsed(content, DOCUMENT).get("attributes")
    except (ValueError, RecursionError):
        return False
    record = attributes.get("chunkscale") if isinstance(attributes, dict) else None
    return isinstance(record, dict) and "state" in record


def check_folder(place: PackedPlace, existing: Existing) -> None:
    """Refuse a folder beside the file that is none of a run, or is not to go on or go."""
    folder = place.folder
    if (existing.resume and place.is_there) or not os.path.lexists(folder):
        return
    if not (place.is_begun or (is_folder(folder) and is_empty(folder))):
        raise DestinationError(
            f"the output {place.uri!r} is made in the folder {folder!r} first, which exists and "
            "is not from such a run, so it is never overwritten; move it away, or choose another "
            "path"
        )
    check_links(folder)
    with naming(place):
        leases.check_free(folder, take_over=existing.take_over)
    if not (existing.resume or existing.overwrite):
        raise DestinationError(
            f"the output {place.uri!r} was started by a run that did not finish (in {folder!r}); "
            "continue with resume=True (--resume), or start again with overwrite=True "
            "(--overwrite)"
        )
    if existing.overwrite and place.is_packing:
        refuse_foreign(place, sorted_out(folder, packed_tree(place))[1])


def is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def refuse_foreign(place: PackedPlace, foreign: Iterable[str]) -> None:
    """Refuse to go on with a folder in which something lies that no run has written."""
    if names := list(dict.fromkeys(foreign)):
        raise DestinationError(
            f"the folder {place.folder!r}, in which the output {place.uri!r} is made, contains "
            f"files not written by a run ({some_names(names)}), which would be deleted; move "
            "them away, and continue with resume=True (--resume), or start again with "
            "overwrite=True (--overwrite)"
        )


def packed_tree(place: PackedPlace) -> Tree:
    """Return what the documents of a folder say that is packed."""
    at = str(place.documents)
    return tree_of(at, (name for name, _ in contents.objects(at)))
