"""Stored arrays, created, and written in boxes of whole stored objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import AccessDeniedError, SourceNotFoundError
from chunkscale.geometry.box import Box
from chunkscale.geometry.pyramid import Level
from chunkscale.storage import objects as contents
from chunkscale.storage.codecs import make_compressors
from chunkscale.storage.documents import ArrayDocument, array_document, read_array
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.locations import join
from chunkscale.storage.reader import ArrayReader, touched_objects
from chunkscale.storage.stores import clear_write_errors


class ArrayWriter(ArrayReader):
    """One stored array that is written in boxes of whole stored objects."""

    _read_only = False

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

    def stored_size(self, box: Box) -> int:
        """Return the bytes of the stored objects of a box; voxels of fill value have none."""
        return sum(contents.sizes(self._object(index) for index in touched_objects(box, self.unit)))

    def object_count(self, box: Box) -> int:
        """Return how many stored objects a box has if none is left out."""
        return sum(1 for _ in touched_objects(box, self.unit))

    def objects(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield position and size of every stored object."""
        prefix = join(self.uri, "c") if self.zarr_format == 3 else self.uri
        for path, size in contents.objects(prefix):
            position = path.split("/")
            if all(part.isdigit() for part in position):
                yield tuple(map(int, position)), size

    def delete_objects(self, indices: Iterable[Sequence[int]]) -> None:
        """Delete stored objects, those that are there."""
        contents.delete(self._object(index) for index in indices)


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
        document = _stored_already(place, zarr_format) if resumed else None
        if document is None:
            stored, document = _empty_array(
                level.shape, level.chunk, level.shard, dtype, codec, checksum, zarr_format, names
            )
            with clear_write_errors(uri):
                for name, content in stored.items():
                    contents.put(join(place, name), content, new=True)
        made.append(ArrayWriter(place, io, document))
    return tuple(made)


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


def _stored_already(uri: str, zarr_format: Literal[2, 3]) -> ArrayDocument | None:
    """Return the document of an array, or None where nothing is."""
    try:
        return read_array(uri, zarr_format)
    except AccessDeniedError:
        raise
    except SourceNotFoundError:
        return None
