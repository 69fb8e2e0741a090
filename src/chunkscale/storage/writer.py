"""Stored arrays, created, and written in boxes of whole stored objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import ChunkscaleError
from chunkscale.geometry.box import Box
from chunkscale.geometry.pyramid import Level
from chunkscale.storage import objects as contents
from chunkscale.storage.codecs import make_compressor
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.failures import clear_metadata_errors
from chunkscale.storage.locations import join
from chunkscale.storage.reader import ArrayReader, touched_objects
from chunkscale.storage.stores import clear_write_errors
from chunkscale.storage.zarr_stores import muted_zarr, open_group, open_zarr


class ArrayWriter(ArrayReader):
    """One stored array that is written in boxes of whole stored objects."""

    _mode = "r+"

    @property
    def unit(self) -> tuple[int, ...]:
        """What is stored as one object."""
        return self.shard or self.chunk

    @cached_property
    def _reader(self) -> ArrayReader:
        # Written chunks may be referenced where they were written from, and callers use that
        # memory again: reading goes through a handle that has never seen them.
        return ArrayReader(self.uri, replace(self.io), self._array)

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
    resumed: bool = False,
) -> tuple[ArrayWriter, ...]:
    """Create the (empty) array of every level; if `resumed`, open those that are there already."""
    group = open_group(uri, zarr_format)
    names = [axis.name for axis in levels[0].grid.axes]
    made = []
    for level in levels:
        place = join(uri, level.path)
        array = _opened_already(group, level.path, place) if resumed else None
        if array is None:
            with clear_write_errors(uri):
                array = group.create_array(
                    level.path,
                    shape=level.shape,
                    chunks=level.chunk,
                    shards=level.shard,
                    dtype=dtype,
                    compressors=make_compressor(codec, zarr_format, np.dtype(dtype).itemsize),
                    filters=None,
                    fill_value=0,
                    dimension_names=names if zarr_format == 3 else None,
                    chunk_key_encoding={
                        "name": "v2" if zarr_format == 2 else "default",
                        "separator": "/",
                    },
                )
        made.append(ArrayWriter(place, io, array))
    return tuple(made)


def _opened_already(group: Any, path: str, uri: str) -> Any:
    """Return the array at a path of a group, or None where nothing is."""
    try:
        with clear_metadata_errors(f"array {uri!r}"), muted_zarr():
            found = group.get(path)
    except ChunkscaleError:
        raise
    except Exception:  # zarr has no common base for bad metadata
        found = False
    # Whatever else is there, opening it says what is wrong.
    return found if found is None or hasattr(found, "chunks") else open_zarr(uri, "r+")
