"""Entries of a zip file, read in place: whole and checked, or some bytes of them."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator

import numpy as np

from chunkscale.errors import MetadataError
from chunkscale.storage.base import Parts, Store
from chunkscale.storage.failures import BadObjectError, ReplacedError
from chunkscale.storage.zips.directory import (
    DEFLATED,
    FULL,
    LOCAL,
    LOCAL_MARK,
    Directory,
    Entry,
    read_directory,
)

#: What is read beyond an entry at once, because a local header may be longer than its name.
_SLACK = 256

#: Compressed bytes that are inflated at a time.
_PIECE = 2**20

#: Of a compressed entry that is wanted whole: it is held in memory.
MOST_INFLATED = 2**30


class Archive:
    """A zip file as it was when it was opened. Thread-safe.

    Parameters
    ----------
    uri : str
        Of the zip file.
    store : Store
        What it lies in.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    MetadataError
        If it is torn, or of a kind that is not read.
    """

    def __init__(self, uri: str, store: Store) -> None:
        self.uri, self._store = uri, store
        self._lock = threading.Lock()
        self._parts, self.directory = self._opened()
        self._starts = np.full(len(self.directory.names), -1, np.int64)

    def _opened(self) -> tuple[Parts, Directory]:
        parts = self._store.parts(self.uri)
        return parts, read_directory(self.uri, parts.size, parts.read)

    def content(self, entry: Entry) -> bytes:
        """Return an entry whole, as its checksum has it.

        Raises
        ------
        BadObjectError
            If it is damaged, or the file has been replaced.
        """
        if entry.method == DEFLATED:
            if entry.size > MOST_INFLATED:
                raise self._bad(entry, f"has {entry.size} bytes and is compressed: zip it stored")
            found = b"".join(self._inflated(entry))
        else:
            found = self._stored(entry)
        if zlib.crc32(found) != entry.crc:
            raise self._bad(entry, "is damaged: its checksum differs")
        return found

    def part(self, entry: Entry, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop` of an entry, as far as it has them."""
        stop = min(stop, entry.size)
        if start >= stop:
            return b""
        if (start, stop) == (0, entry.size):
            return self.content(entry)
        if entry.method != DEFLATED:
            return self._read(self._start(entry) + start, stop - start)
        found, at = [], 0
        for piece in self._inflated(entry):
            found.append(piece[max(0, start - at) : max(0, stop - at)])
            at += len(piece)
            if at >= stop:
                break
        return b"".join(found)

    def _stored(self, entry: Entry) -> bytes:
        head = LOCAL.size + len(entry.raw)
        content = self._read(
            entry.offset, min(entry.slot - entry.offset, head + entry.packed + _SLACK)
        )
        begin = self._header(entry, content)
        found = content[begin : begin + entry.packed]
        if missing := entry.packed - len(found):
            at = entry.offset + begin + len(found)
            found += self._read(at, missing)
        return found

    def _start(self, entry: Entry) -> int:
        """Return where the content of an entry begins."""
        known = int(self._starts[entry.index])
        if known < 0:
            head = self._read(entry.offset, LOCAL.size + len(entry.raw))
            known = entry.offset + self._header(entry, head)
            self._starts[entry.index] = known
        return known

    def _header(self, entry: Entry, head: bytes) -> int:
        """Return the length of a local header, or refuse one that is not the directory's."""
        end = LOCAL.size + len(entry.raw)
        fault = "no entry begins there"
        if len(head) >= end and head[:4] == LOCAL_MARK:
            _, _, flags, method, _, _, crc, packed, size, n, extra = LOCAL.unpack_from(head)
            length = int(end + extra)
            known = flags & 8 or (
                (crc, method) == (entry.crc, entry.method)
                and packed in (entry.packed, FULL)
                and size in (entry.size, FULL)
            )
            if n != len(entry.raw) or head[LOCAL.size : end] != entry.raw or method != entry.method:
                fault = "another entry begins there"
            elif not known or entry.offset + length + entry.packed > entry.slot:
                fault = "its sizes are others there"
            else:
                return length
        raise self._bad(entry, f"is not where the directory says, at byte {entry.offset}: {fault}")

    def _inflated(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of a compressed entry in pieces: no more than it should have."""
        inflate, left = zlib.decompressobj(-zlib.MAX_WBITS), entry.size
        at, end = self._start(entry), self._start(entry) + entry.packed
        pending = b""
        while not inflate.eof:
            if not pending:
                if at >= end:
                    break
                pending = self._read(at, min(_PIECE, end - at))
                at += len(pending)
            try:
                piece = inflate.decompress(pending, min(left + 1, 4 * _PIECE))
            except zlib.error as error:
                raise self._bad(entry, f"cannot be inflated: {error}") from None
            pending, left = inflate.unconsumed_tail, left - len(piece)
            if left < 0:
                break
            yield piece
        if left or not inflate.eof:
            raise self._bad(entry, f"should have {entry.size} bytes and does not")

    def _read(self, start: int, count: int) -> bytes:
        try:
            found = self._parts.read(start, count)
        except ReplacedError:
            found = self._again().read(start, count)
        if len(found) != count:
            raise BadObjectError(
                f"the zip file {self.uri!r} has ended at byte {start + len(found)}: copy or "
                "download it again"
            )
        return found

    def _again(self) -> Parts:
        """Open the file anew: who touches it leaves what is in it."""
        with self._lock:
            try:
                parts, directory = self._opened()
            except (MetadataError, FileNotFoundError):
                directory = None
            if directory is None or directory.digest != self.directory.digest:
                raise BadObjectError(
                    f"the zip file {self.uri!r} has been replaced since it was opened; open it "
                    "again"
                )
            self._parts = parts
            return parts

    def _bad(self, entry: Entry, why: str) -> BadObjectError:
        return BadObjectError(
            f"the entry {entry.name!r} of the zip file {self.uri!r} {why}; copy or download the "
            "file again"
        )
