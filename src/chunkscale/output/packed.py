"""Outputs in one file (.ozx, RFC-9): a run writes a folder beside it, which is then packed."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from chunkscale.errors import ChunkscaleError, ChunkscaleWarning, DestinationError, RegionError
from chunkscale.output import leases
from chunkscale.output.notes import PACKED, put_note
from chunkscale.output.packed_place import (
    PackedPlace,
    check_folder,
    is_folder,
    packed_tree,
    refuse_foreign,
)
from chunkscale.output.packed_tree import files_below, sorted_out, tree_of
from chunkscale.output.places import begun_by_another, is_empty
from chunkscale.parameters import Existing
from chunkscale.storage import objects as contents
from chunkscale.storage.files import move_new
from chunkscale.storage.locations import join
from chunkscale.storage.names import NOTES, is_dropping
from chunkscale.storage.stores import clear_write_errors, store_of
from chunkscale.storage.zips.packing import comment, pack, pack_documents, settle_names
from chunkscale.text import some_names


def begin(place: PackedPlace, existing: Existing, source: str) -> None:
    """Make the folder, and say that it is packed in the end; delete what is to be replaced.

    Parameters
    ----------
    place : PackedPlace
    existing : Existing
    source : str
        Location of what it is made from; empty if that is no file.

    Raises
    ------
    DestinationError
        If the file is the source by another name: has its very directory. If another run has just
        begun there.
    """
    if existing.overwrite:
        _refuse_source(place, source)
        if place.is_packing:
            loser = leases.active(place.folder)
            lease = leases.acquire(place.folder, take_over=existing.take_over)
            with leases.kept(place.folder, lease), _clear_failures(place.uri):
                if loser is not None:
                    leases.wait_for_loser()
                    leases.confirm(place.folder, lease)
                _clear(place)
        if place.is_there:
            with clear_write_errors(place.uri):
                os.unlink(place.uri)
    wanted = existing.resume or existing.overwrite
    if wanted and place.is_begun:
        return
    check_folder(place, existing)  # it may have come meanwhile
    with _clear_failures(place.uri):
        try:
            os.makedirs(place.folder, exist_ok=wanted)
            put_note(place.folder, PACKED, os.path.basename(place.uri), new=True)
        except FileExistsError:
            raise begun_by_another(place.uri) from None


def _refuse_source(place: PackedPlace, source: str) -> None:
    if not source or not place.is_there or place.why_unread():
        return
    there = store_of(place.uri).edition(place.uri)
    if there is not None and there == store_of(source).edition(source):
        raise DestinationError(
            f"the output {place.uri!r} looks like the source, reached by another name "
            f"({source!r}); choose another path"
        )


def pack_output(
    place: PackedPlace,
    version: str,
    existing: Existing,
    pulse: Callable[[], None],
) -> None:
    """Pack the finished folder of an output into its file, and delete it.

    Interrupted at any time it goes on with `resume`. Beside the folder it takes the room of one
    object, of `packing.BATCH` and of the documents.

    Parameters
    ----------
    place : PackedPlace
    version : str
        Of OME-Zarr.
    existing : Existing
    pulse : callable
        Called now and then; what it raises ends the packing.

    Raises
    ------
    DestinationError
        If another run is packing, if something lies in the folder that the run has not written, or
        something has come to the file's place.
    RegionError
        If objects of the output are missing.
    """
    folder = place.folder
    lease = leases.acquire(folder, take_over=existing.take_over)
    with leases.kept(folder, lease), _clear_failures(place.uri):

        def confirm() -> None:
            leases.confirm(folder, lease)
            pulse()

        says = comment(version)
        if not place.is_packing:
            tree = tree_of(folder, files_below(folder))
            refuse_foreign(place, sorted_out(folder, tree)[1])
            confirm()
            pack_documents(Path(folder), place.documents, tree.documents, says)
        tree = packed_tree(place)
        confirm()
        # From here on no reader takes anything in the folder for an image, or for an array.
        contents.delete(join(folder, name) for name in tree.documents)
        settle_names(Path(folder))
        names = sorted_out(folder, tree)[0]
        packed = pack(Path(folder), place.documents, place.draft, names, says, confirm)
        leases.confirm(folder, lease)
        if missing := tree.missing(packed):
            raise RegionError(
                f"stored objects of the output {place.uri!r} are missing ({missing}), so it is "
                "incomplete; find out what deletes them, and make it again with overwrite=True "
                "(--overwrite)"
            )
        try:
            move_new(str(place.draft), place.uri)
        except FileExistsError:
            raise DestinationError(
                f"something else has appeared at the output {place.uri!r} meanwhile; move it "
                "away and continue with resume=True (--resume)"
            ) from None
        settle_names(Path(place.uri).parent)
    drop_folder(place)


@contextlib.contextmanager
def _clear_failures(uri: str) -> Iterator[None]:
    try:
        yield
    except ChunkscaleError:
        raise
    except OSError as error:
        with clear_write_errors(uri):
            raise error


def drop_folder(place: PackedPlace) -> None:
    """Delete what is left of the folder of a file that is whole; what no run has written stays."""
    folder, reason = place.folder, ""
    if not place.is_begun and not (is_folder(folder) and is_empty(folder)):
        return
    leases.check_free(folder, take_over=False)
    try:
        _clear(place)
        left = [name for name in os.listdir(folder) if name != NOTES]
        if left:
            reason = f"it contains {some_names(left)}, which do not belong to it"
        else:
            contents.delete_below(join(folder, NOTES))
            os.rmdir(folder)
    except OSError as error:
        reason = str(error)
    if reason:
        warnings.warn(
            f"{place.uri!r} is complete, but the folder {folder!r}, in which it was made, "
            f"stays: {reason}; keep what you need, and delete the folder yourself",
            ChunkscaleWarning,
            stacklevel=6,
        )


def _clear(place: PackedPlace) -> None:
    """Delete what a run has left while it packed; last the documents, which tell what that is."""
    place.draft.unlink(missing_ok=True)
    if place.documents.is_file():
        tree = packed_tree(place)
        own = sorted_out(place.folder, tree)[0]
        contents.delete(join(place.folder, name) for name in own)
    _prune(place.folder)
    place.documents.unlink(missing_ok=True)


def _prune(folder: str) -> None:
    """Remove the folders below one in which is nothing but what belongs to nobody, or to runs."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if not is_folder(path):
            if is_dropping(name):
                os.unlink(path)
        elif name != NOTES:
            contents.delete_below(join(path, NOTES))
            _prune(path)
            contents.prune(path)


def refuse_incomplete(uri: str) -> None:
    """Refuse a finished file in which objects are damaged, or missing that its run has counted."""
    names = [path for path, _ in contents.objects(uri)]
    if fault := _damaged(uri, names) or tree_of(uri, names).missing(names):
        raise DestinationError(
            f"the output {uri!r} is not complete ({fault}); replace it with overwrite=True "
            "(--overwrite)"
        )


def _damaged(uri: str, names: Iterable[str]) -> str:
    """Say which object of a file is not what was packed."""
    for name in names:
        try:
            contents.get(join(uri, name))  # which compares its checksum
        except (ChunkscaleError, OSError) as error:
            return f"{name!r} is damaged: {error}"
    return ""


def stored_bytes(uri: str) -> int:
    """Return the size of all levels of all images and labels in a file."""
    objects = list(contents.objects(uri))
    return tree_of(uri, (name for name, _ in objects)).nbytes(objects)
