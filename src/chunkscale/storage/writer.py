"""Stored arrays, created, and written in boxes of whole stored objects."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import CorruptChunkError, DestinationError, RegionError
from chunkscale.geometry.box import Box, cell_counts, tile
from chunkscale.geometry.pyramid import Level
from chunkscale.storage import objects as contents
from chunkscale.storage.codecs import make_compressors
from chunkscale.storage.documents import ArrayDocument, array_document, parsed
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.failures import first_line
from chunkscale.storage.files import link_above, link_text
from chunkscale.storage.locations import join
from chunkscale.storage.names import own_index
from chunkscale.storage.reader import ArrayReader, touched_objects
from chunkscale.storage.stores import clear_write_errors
from chunkscale.text import shown


class ArrayWriter(ArrayReader):
    """One stored array that is written in boxes of whole stored objects."""

    _read_only = False

    def __init__(self, uri: str, io: StoreIO, document: ArrayDocument | None = None) -> None:
        super().__init__(uri, io, document)
        self._place = self._store.resolved(uri)

    @property
    def unit(self) -> tuple[int, ...]:
        """What is stored as one object."""
        return self.shard or self.chunk

    @cached_property
    def _reader(self) -> ArrayReader:
        # Written chunks may be referenced where they were written from, and callers use that
        # memory again: reading goes through a handle that has never seen them.
        return ArrayReader(self.uri, replace(self.io), self._document)

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the stored voxels of a box; see `ArrayReader.read`."""
        return self._reader.read(box, out)

    def start_write(self, box: Box, data: NDArray[Any]) -> Any:
        """Begin to write a box; `data` must not change until `finish_write`.

        Parameters
        ----------
        box : Box
            Starts on stored objects and ends on them or at the array's end:
            two writers never share an object.
        data : ndarray
            Shape of the box.
        """
        for a, b, u, n in zip(box.start, box.stop, self.unit, self.shape, strict=True):
            if a % u or (b % u and b != n):
                raise AssertionError(
                    f"box {box} of {self.uri!r} cuts stored objects of shape {self.unit}"
                )
        self.refuse_links(touched_objects(box, self.unit))
        if self.io.faults is not None:
            self.io.faults("write", self.uri)
        if self._fast is not None:
            return self._fast[box.slices].write(data, can_reference_source_data_indefinitely=True)
        with clear_write_errors(self.uri):
            self._array[box.slices] = data
        return None

    def finish_write(self, pending: Any) -> None:
        """Wait until what `start_write` began is stored."""
        if pending is not None:
            with clear_write_errors(self.uri), self._store.clear_answers(self.uri):
                pending.result()

    def is_sound(self, box: Box) -> bool:
        """Whether what is stored of a box can be decoded, and is no file that was never filled.

        After a power cut there are files of the right size that hold zeros. Without a codec these
        are voxels, but chunks of fill value alone are never stored.
        """
        try:
            voxels = self.read(box)
        except CorruptChunkError as error:
            if error.transient:
                raise
            return False
        for index in self._seemingly_missing(box, voxels):
            if contents.sizes([self._object(index)])[0]:
                part = tile(index, self.unit, self.shape)
                inside = tuple(
                    slice(max(a, c) - c, min(b, d) - c)
                    for a, b, c, d in zip(part.start, part.stop, box.start, box.stop, strict=True)
                )
                if np.all(self._is_fill(voxels[inside])):
                    return False
        return True

    def stored_size(self, box: Box) -> int:
        """Return the bytes of the stored objects of a box; voxels of fill value have none."""
        return sum(contents.sizes(self._object(index) for index in touched_objects(box, self.unit)))

    def object_count(self, box: Box) -> int:
        """Return how many stored objects a box has if none is left out."""
        return sum(1 for _ in touched_objects(box, self.unit))

    def refuse_links(self, indices: Iterable[Sequence[int]] = ()) -> None:
        """Raise if a link leads the array elsewhere since it was opened, or some of its objects.

        What lies there is not ours: neither is it written to, nor is anything deleted.

        Raises
        ------
        RegionError
        """
        if not self._store.is_local:
            return
        if self._store.resolved(self.uri) != self._place:
            raise RegionError(
                f"the array {self.uri!r} is now behind a link, made since this run began, to "
                f"{self._store.resolved(self.uri)!r}; nothing is written there. Restore the "
                "folder and continue with resume=True (--resume)"
            )
        if link := link_above(map(self._object, indices), self.uri):
            raise RegionError(f"the array {self.uri!r} {link_text(link)}")

    def objects(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield position and size of every stored object."""
        prefix = "c/" if self.zarr_format == 3 else ""
        counts = cell_counts(self.shape, self.unit)
        for path, size in contents.objects(join(self.uri, prefix)):
            # Others may have put there what looks alike, or a link or a file in place of a folder.
            index = own_index(prefix + path, counts, self.zarr_format)
            if index is not None:
                yield index, size

    def delete_objects(self, indices: Iterable[Sequence[int]]) -> None:
        """Delete stored objects, those that are there."""
        listed = list(indices)
        self.refuse_links(listed)
        contents.delete(map(self._object, listed))


def create_levels(
    uri: str,
    levels: Sequence[Level],
    io: StoreIO,
    *,
    dtype: str,
    codec: str,
    zarr_format: Literal[2, 3],
    checksum: str = "none",
    resumed: bool = False,
) -> tuple[ArrayWriter, ...]:
    """Create the (empty) array of every level; if `resumed`, open those that are there already."""
    names = tuple(axis.name for axis in levels[0].grid.axes) if zarr_format == 3 else None
    made = []
    for level in levels:
        place = join(uri, level.path)
        stored, document = _empty_array(
            level.shape, level.chunk, level.shard, dtype, codec, checksum, zarr_format, names
        )
        there = {name: contents.get(join(place, name)) if resumed else None for name in stored}
        for name, content in there.items():
            if content is not None:
                _refuse_other(join(place, name), content, stored[name])
        for name, content in stored.items():
            if there[name] is None:
                _put_new(uri, join(place, name), content)
        made.append(ArrayWriter(place, io, document))
    return tuple(made)


#: What a document of an array may say besides: chunks do not depend on it.
_REMARKS = ("attributes", "consolidated_metadata")


def _refuse_other(uri: str, found: bytes, planned: bytes) -> None:
    """Refuse a document of an array that says something else than the plan: chunks go by it."""
    name = uri.replace("\\", "/").rpartition("/")[2]
    wanted = parsed(planned, name)
    try:
        there = parsed(found, name)
        others = {**wanted, **there} if name != ".zattrs" else {}
        text = "; ".join(
            f"{key} is {shown(there.get(key))} there and {shown(wanted.get(key))} now"
            for key in others
            if key not in there or there[key] != wanted.get(key)
            if not (key in _REMARKS and isinstance(there.get(key), dict))
        )
    except (ValueError, RecursionError) as error:
        text = f"it is not valid JSON: {first_line(error)}"
    if text:
        raise DestinationError(
            f"the document {uri!r} of the output has changed since it was written ({text}); "
            "delete that file and continue with resume=True (--resume), which writes it again"
        )


def _put_new(uri: str, at: str, content: bytes) -> None:
    try:
        with clear_write_errors(uri):
            contents.put(at, content, new=True)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        raise DestinationError(
            f"the output {uri!r} holds something unexpected at {at!r}: from another run, or not "
            "a file, like a broken link; if no other run writes the output, remove it and "
            "continue with resume=True (--resume)"
        ) from error


@lru_cache(maxsize=64)
def _empty_array(
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    dtype: str,
    codec: str,
    checksum: str,
    zarr_format: Literal[2, 3],
    names: tuple[str, ...] | None,
) -> tuple[dict[str, bytes], ArrayDocument]:
    """Return what zarr-python stores of an empty array, by name, and what that says.

    Images that are alike have the same, and zarr takes a millisecond for each.
    """
    import zarr
    from zarr.storage import MemoryStore

    made: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(made),
        shape=shape,
        chunks=chunk,
        shards=shard,
        dtype=dtype,
        compressors=make_compressors(codec, checksum, zarr_format, np.dtype(dtype).itemsize),
        filters=None,
        fill_value=0,
        dimension_names=names,
        chunk_key_encoding={
            "name": "v2" if zarr_format == 2 else "default",
            "separator": "/",
        },
        zarr_format=zarr_format,
    )
    stored = {name: content.to_bytes() for name, content in made.items()}
    document = array_document(stored)
    assert document is not None
    return stored, document
