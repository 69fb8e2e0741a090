"""Outputs in one file (.ozx, RFC-9): a run writes a folder beside it, which is then packed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chunkscale.errors import ChunkscaleError, DestinationError, OptionError, RegionError
from chunkscale.output import leases
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.storage import objects as contents
from chunkscale.storage.documents import stored_group
from chunkscale.storage.files import move_new
from chunkscale.storage.locations import join
from chunkscale.storage.names import NOTES, is_chunk_path
from chunkscale.storage.stores import clear_write_errors, normalise, store_of
from chunkscale.storage.zips.packing import DOCUMENT, comment, pack

END = ".ozx"

#: What the folder beside the file is called, behind the name of the file.
BESIDE = ".partial"

_DRAFT = "packed.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPlace:
    """Where an output in one file goes.

    Parameters
    ----------
    uri : str
        The file.
    folder : str
        What is packed.
    """

    uri: str
    folder: str

    @property
    def is_there(self) -> bool:
        """Whether something is in the file's place."""
        return os.path.lexists(self.uri)

    @property
    def draft(self) -> Path:
        """The file while it is packed."""
        return Path(self.folder, NOTES, _DRAFT)


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
            f"the output {target!r} is one file (.ozx), which is only written to a disk; "
            "write it to a local path and copy it there"
        )
    if version == "0.4":
        raise OptionError(
            f"the output {target!r} is one file (.ozx, RFC-9), which holds zarr 3, and OME-Zarr "
            f"0.4 is zarr 2; leave ome_zarr_version (--ome-zarr-version) out, or write {folder!r}"
        )
    if os.path.isdir(target):
        raise DestinationError(
            f"the output {target!r} is a folder, and one file is to be written there; choose "
            "another path or remove it yourself"
        )
    return PackedPlace(uri=target, folder=target + BESIDE)


def check_beside(place: PackedPlace, existing: Existing) -> None:
    """Refuse a folder beside the file that another run has left, unless it is to go on or go."""
    if os.path.lexists(place.folder) and not (existing.resume or existing.overwrite):
        raise DestinationError(
            f"the output {place.uri!r} was begun by a run that did not finish (in "
            f"{place.folder!r}); go on with resume=True (--resume), or begin anew with "
            "overwrite=True (--overwrite)"
        )


def begin_anew(place: PackedPlace, source: str) -> None:
    """Delete the file that is to be replaced, and what was packed of its successor.

    Parameters
    ----------
    place : PackedPlace
    source : str
        Location of what it is made from; empty if that is no file.

    Raises
    ------
    DestinationError
        If the file is the source by another name: has its very directory.
    """
    there = store_of(place.uri).edition(place.uri)
    if source and there is not None and there == store_of(source).edition(source):
        raise DestinationError(
            f"the output {place.uri!r} looks like the source, reached by another name "
            f"({source!r}); choose another path"
        )
    with clear_write_errors(place.uri):
        place.draft.unlink(missing_ok=True)
        if place.is_there:
            os.unlink(place.uri)


def pack_output(
    place: PackedPlace, version: str, existing: Existing, pulse: Callable[[], None]
) -> None:
    """Pack the finished folder of an output into its file, and delete it.

    Interrupted at any time it goes on with `resume`. Beside the folder it takes the room of one
    object and of `packing.BATCH`.

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
        If another run is packing, or something has come to the file's place.
    RegionError
        If objects of the output are missing.
    """
    folder = place.folder
    lease = leases.acquire(folder, take_over=existing.take_over)
    with leases.kept(folder, lease), _clear_failures(place.uri):
        place.draft.parent.mkdir(exist_ok=True)

        def confirm() -> None:
            leases.confirm(folder, lease)
            pulse()

        entries = pack(Path(folder), place.draft, comment(version), confirm)
        leases.confirm(folder, lease)
        missing = _missing(folder, [entry.name for entry in entries])
        if missing:
            raise RegionError(
                f"stored objects of the output {place.uri!r} are missing ({missing}), so it stays "
                "unfinished; find out what deletes there, and make it anew with overwrite=True "
                "(--overwrite)"
            )
        try:
            move_new(str(place.draft), place.uri)
        except FileExistsError:
            raise DestinationError(
                f"something has come to the place of the output {place.uri!r} while it was made; "
                "move that away and go on with resume=True (--resume)"
            ) from None
        _settle(os.path.dirname(place.uri))
    _delete(folder)


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
    """Delete the folder of a file that is whole: a run was killed before it did."""
    if os.path.isdir(place.folder):
        leases.check_free(place.folder, take_over=False)
        _delete(place.folder)


def _delete(folder: str) -> None:
    """Delete what was packed; last what tells that it is ours, or nobody could go on with that."""
    for name in contents.names(folder):
        if name not in (DOCUMENT, NOTES):
            contents.delete_below(join(folder, name))
    contents.delete_below(join(folder, NOTES))
    contents.delete_below(folder)


def refuse_incomplete(uri: str) -> None:
    """Refuse a finished file in which objects are damaged, or missing that its run has counted."""
    names = [path for path, _ in contents.objects(uri)]
    if fault := _missing(uri, names) or _damaged(uri, names):
        raise DestinationError(
            f"the output {uri!r} is not whole ({fault}); replace it with overwrite=True "
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


def _missing(top: str, names: Iterable[str]) -> str:
    """Say of which array objects are missing, by what the images in a tree say of themselves."""
    counts: Counter[str] = Counter()
    groups = []
    for name in names:
        if name.rpartition("/")[2] == DOCUMENT:
            groups.append(name.removesuffix(DOCUMENT).rstrip("/"))
            continue
        # Of the folders that it lies in the array is the one below which it is a chunk.
        parts = name.split("/")
        for n in range(len(parts)):
            if is_chunk_path("/".join(parts[n:])):
                counts["/".join(parts[:n])] += 1
    for group in groups:
        record = (stored_group(join(top, group)) or {}).get("chunkscale")
        stated = record.get("objects") if isinstance(record, dict) else None
        for level, count in (stated or {}).items():
            array = f"{group}/{level}" if group else level
            if counts[array] != count:
                return f"{array!r} should have {count} and has {counts[array]}"
    return ""


def _settle(folder: str) -> None:
    """Wait until the names in a folder are on the disk, where systems know such a thing."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)
