"""A folder packed into a zip file, object by object: stored, documents first, to be continued."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from chunkscale.storage.zips.directory import (
    END,
    END64,
    END64_MARK,
    END_MARK,
    FULL,
    LOCAL,
    LOCAL_MARK,
    LOCATOR,
    LOCATOR_MARK,
    RECORD,
    RECORD_MARK,
)

#: What is packed before the disk is waited for, and what was packed is deleted.
BATCH = 64 * 2**20

_PIECE = 4 * 2**20

#: The first day that a zip file knows: the same run makes the same bytes.
_DATE = 1 << 5 | 1

#: A regular file that all may read, as Unix has it.
_UNIX, _MODE = 3 << 8, 0o100644 << 16

DOCUMENT = "zarr.json"

#: Of a document at the beginning of a file that may be anything.
MOST_DOCUMENT = 64 * 2**20


class Packed(NamedTuple):
    """An entry that is in the zip file."""

    name: str
    offset: int
    size: int
    crc: int


def comment(version: str) -> bytes:
    """Return what RFC-9 has a zip file say of itself.

    Examples
    --------
    >>> comment("0.5")
    b'{"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": true}}}}'
    """
    says = {"version": version, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    return json.dumps({"ome": says}).encode()


def from_the_top(documents: Iterable[str]) -> list[str]:
    """Sort documents as RFC-9 wants them.

    Examples
    --------
    >>> from_the_top(["labels/a/zarr.json", "0/zarr.json", "zarr.json"])
    ['zarr.json', '0/zarr.json', 'labels/a/zarr.json']
    """
    return sorted(documents, key=lambda name: (name.count("/"), name))


def is_document(name: str) -> bool:
    """Whether an object describes a group or an array.

    Examples
    --------
    >>> is_document("0/zarr.json"), is_document("0/c/0")
    (True, False)
    """
    return name.rpartition("/")[2] == DOCUMENT


def pack_documents(folder: Path, path: Path, names: Iterable[str], says: bytes) -> None:
    """Pack documents into a zip file of their own, which is there as a whole or not at all.

    Parameters
    ----------
    folder, path : Path
    names : iterable of str
    says : bytes
        The comment.
    """
    draft = Path(f"{path}.partial")
    with draft.open("w+b") as file:
        packed = [_add(file, folder, name) for name in from_the_top(names)]
        _close(file, packed, says)
        _settle(file)
    draft.replace(path)
    settle_names(path.parent)


def pack(
    folder: Path,
    documents: Path,
    draft: Path,
    names: Iterable[str],
    says: bytes,
    confirm: Callable[[], None],
) -> list[str]:
    """Pack the objects in a folder into a zip file behind its documents, and delete each there.

    Interrupted, it goes on where the draft ends: an object is deleted once it is in the draft for
    sure.

    Parameters
    ----------
    folder : Path
    documents : Path
        Zip file with the documents.
    draft : Path
    names : iterable of str
        The objects, or those that are left of them.
    says : bytes
        The comment.
    confirm : callable
        Called before anything is deleted; raises if this is not to go on.

    Returns
    -------
    list of str
        All that is in the zip file: without those that have gone meanwhile.
    """
    draft.touch()
    with draft.open("r+b") as file:
        packed = _headed(file, documents)
        packed += _whole(file, folder, _end(packed))
        end = _end(packed)
        file.truncate(end)
        file.seek(end)
        done = [entry.name for entry in packed]
        # A disk that is nearly full gets on in small steps, and with what was packed before.
        batch = min(BATCH, shutil.disk_usage(folder).free // 2)
        _let_go(file, folder, done, confirm)
        waiting: list[str] = []
        weight = 0
        for name in sorted({*names}.difference(done)):
            try:
                entry = _add(file, folder, name)
            except FileNotFoundError:
                continue  # the caller misses it
            packed.append(entry)
            waiting.append(name)
            weight += entry.size
            if weight >= batch:
                _let_go(file, folder, waiting, confirm)
                waiting, weight = [], 0
        _let_go(file, folder, waiting, confirm)
        _close(file, packed, says)
        _settle(file)
    return [entry.name for entry in packed]


def _headed(file: BinaryIO, documents: Path) -> list[Packed]:
    """Let a draft begin with the documents, whatever has become of its beginning."""
    with documents.open("rb") as head:
        packed = list(_entries(head, 0))
        head.seek(0)
        file.seek(0)
        file.write(head.read(_end(packed)))
    return packed


def _let_go(
    file: BinaryIO, folder: Path, names: Iterable[str], confirm: Callable[[], None]
) -> None:
    _settle(file)
    confirm()
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def settle_names(folder: Path) -> None:
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


def _add(file: BinaryIO, folder: Path, name: str) -> Packed:
    """Append an object; its header is complete only when all of it is there."""
    offset = file.tell()
    with (folder / name).open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        file.write(_local(name, size, 0))
        crc, left = 0, size
        while left and (piece := source.read(min(_PIECE, left))):
            crc = zlib.crc32(piece, crc)
            file.write(piece)
            left -= len(piece)
        if left or source.read(1):
            raise OSError(f"{str(folder / name)!r} has changed while it was packed")
    end = file.tell()
    file.seek(offset)
    file.write(_local(name, size, crc))
    file.seek(end)
    return Packed(name, offset, size, crc)


def _flags(name: str) -> int:
    return 0 if name.isascii() else 0x800


def _local(name: str, size: int, crc: int) -> bytes:
    raw, wide = name.encode(), size >= FULL
    extra = struct.pack("<2H2Q", 1, 16, size, size) if wide else b""
    shown = FULL if wide else size
    version = 45 if wide else 20
    head = LOCAL.pack(
        LOCAL_MARK, version, _flags(name), 0, 0, _DATE, crc, shown, shown, len(raw), len(extra)
    )
    return head + raw + extra


def _record(entry: Packed) -> bytes:
    raw = entry.name.encode()
    wide = [n for n in (entry.size, entry.size, entry.offset) if n >= FULL]
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    size, offset = min(entry.size, FULL), min(entry.offset, FULL)
    version = 45 if wide else 20
    made = (RECORD_MARK, _UNIX | version, version, _flags(entry.name), 0, 0, _DATE)
    what = (entry.crc, size, size, len(raw), len(extra), 0)
    head = RECORD.pack(*made, *what, 0, 0, _MODE, offset)
    return head + raw + extra


def _close(file: BinaryIO, packed: Sequence[Packed], says: bytes) -> None:
    """Write the directory and what finds it."""
    start, count = file.tell(), len(packed)
    for entry in packed:
        file.write(_record(entry))
    end = file.tell()
    length = end - start
    if count >= 0xFFFF or start >= FULL or length >= FULL:
        file.write(
            END64.pack(
                END64_MARK, END64.size - 12, _UNIX | 45, 45, 0, 0, count, count, length, start
            )
        )
        file.write(LOCATOR.pack(LOCATOR_MARK, 0, end, 1))
    shown = min(count, 0xFFFF)
    file.write(
        END.pack(END_MARK, 0, 0, shown, shown, min(length, FULL), min(start, FULL), len(says))
    )
    file.write(says)


def _end_of(entry: Packed) -> int:
    return entry.offset + len(_local(entry.name, entry.size, 0)) + entry.size


def _end(packed: Sequence[Packed]) -> int:
    return _end_of(packed[-1]) if packed else 0


def _whole(file: BinaryIO, folder: Path, at: int) -> Iterator[Packed]:
    """Yield the entries that a draft has from a position on, up to the first that is torn.

    Those whose objects are gone were on the disk before that; of the others each is read.
    """
    for entry in _entries(file, at):
        path = folder / entry.name
        if path.exists():
            file.seek(_end_of(entry) - entry.size)
            if path.stat().st_size != entry.size or _crc(file, entry.size) != entry.crc:
                return
        yield entry


def _entries(file: BinaryIO, at: int) -> Iterator[Packed]:
    """Yield the entries that lie in a file one after the other from a position on."""
    total = os.fstat(file.fileno()).st_size
    while at + LOCAL.size <= total:
        file.seek(at)
        mark, _, _, _, _, _, crc, _, size, n, extra = LOCAL.unpack(file.read(LOCAL.size))
        if mark != LOCAL_MARK:
            return
        try:
            name = file.read(n).decode()
        except UnicodeDecodeError:
            return
        if extra:
            wide = file.read(extra)
            size = struct.unpack_from("<Q", wide, 4)[0] if len(wide) == 20 else total
        entry = Packed(name, at, size, crc)
        at = _end_of(entry)
        if at > total:
            return
        yield entry


def begins_with(path: Path, name: str) -> bytes | None:
    """Return the content of an entry if a file, torn or whole, begins with it as it is packed here.

    Nothing beyond it is looked at.
    """
    with path.open("rb") as file:
        entry = next(_entries(file, 0), None)
        if entry is None or entry.name != name or entry.size > MOST_DOCUMENT:
            return None
        file.seek(_end_of(entry) - entry.size)
        content = file.read(entry.size)
    return content if zlib.crc32(content) == entry.crc else None


def _crc(file: BinaryIO, size: int) -> int:
    crc = 0
    while size and (piece := file.read(min(_PIECE, size))):
        crc, size = zlib.crc32(piece, crc), size - len(piece)
    return crc
