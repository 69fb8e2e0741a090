"""What zarr-python reads from a zip file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.core.buffer.core import default_buffer_prototype

from chunkscale.storage.bounds import refuse_size
from chunkscale.storage.failures import BadObjectError
from chunkscale.storage.zips.archive import Archive

#: Bytes that are read at once where they lie on a disk: to hand them to a thread takes longer.
_SMALL = 2**15


class ZipFolder(Store):
    """The entries of a zip file below a path. Read-only; threads may share it.

    Parameters
    ----------
    archive : Archive
    path : str
        Empty, or with a slash at its end.
    on_disk : bool
        Whether small parts are read without a thread.

    Attributes
    ----------
    most : int, optional
        Bytes of an entry; nothing is read of a longer one.
    """

    most: int | None = None
    supports_writes = supports_deletes = False
    supports_listing = True

    def __init__(self, archive: Archive, path: str, *, on_disk: bool) -> None:
        super().__init__(read_only=True)
        self.archive, self.path, self.on_disk = archive, path, on_disk
        self._is_open = True

    def with_read_only(self, read_only: bool = False) -> ZipFolder:
        return self

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZipFolder)
            and self.archive is other.archive
            and self.path == other.path
        )

    def _get(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        name = self.path + key
        entry = self.archive.directory.find(name)
        if entry is None:
            if self.archive.directory.has_folder(name):
                raise BadObjectError(
                    f"{name!r} in the zip file {self.archive.uri!r} is a folder instead of a "
                    "file; make the zip file again"
                )
            self._refuse_file_above(name)
            return None
        if not entry.size:  # zarr-python takes an empty shard for a missing one
            raise BadObjectError(
                f"the entry {entry.name!r} of the zip file {self.archive.uri!r} is empty; make "
                "the zip file again"
            )
        if self.most is not None:
            refuse_size(entry.size, self.most)
        match byte_range:
            case None:
                return self.archive.content(entry)
            case RangeByteRequest(start, end):
                return self.archive.part(entry, start, end)
            case OffsetByteRequest(offset):
                return self.archive.part(entry, offset, entry.size)
            case SuffixByteRequest(suffix):
                return self.archive.part(entry, max(0, entry.size - suffix), entry.size)
        raise TypeError(f"{byte_range!r} is not a range of bytes")

    def _refuse_file_above(self, name: str) -> None:
        """Raise where a file stands in the place of a folder: all that is in it seems missing."""
        above = name.rpartition("/")[0]
        while len(above) >= len(self.path.rstrip("/")) and above:
            if self.archive.directory.find(above) is not None:
                raise BadObjectError(
                    f"{above!r} in the zip file {self.archive.uri!r} is a file where a folder "
                    "should be; make it anew"
                )
            above = above.rpartition("/")[0]

    def _is_small(self, key: str, byte_range: ByteRequest | None) -> bool:
        if not self.on_disk:
            return False
        if isinstance(byte_range, RangeByteRequest):
            return byte_range.end - byte_range.start <= _SMALL
        return isinstance(byte_range, SuffixByteRequest) and byte_range.suffix <= _SMALL

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        if self._is_small(key, byte_range):
            found = self._get(key, byte_range)
        else:
            found = await asyncio.to_thread(self._get, key, byte_range)
        buffer = (prototype or default_buffer_prototype()).buffer
        return None if found is None else buffer.from_bytes(found)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges))

    async def exists(self, key: str) -> bool:
        return self.archive.directory.find(self.path + key) is not None

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name, _ in self.archive.directory.below(self.path + prefix):
            yield name[len(self.path) :]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        top = self.path + (f"{prefix.rstrip('/')}/" if prefix else "")
        for name in self.archive.directory.children(top):
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("a zip file is only read")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("a zip file is only read")

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("what is open of a zip file stays in its process; send its path")
