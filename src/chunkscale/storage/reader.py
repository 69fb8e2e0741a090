"""Stored arrays, read in boxes."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import CorruptChunkError, ForkError, MemoryBudgetError, MetadataError
from chunkscale.geometry.box import Box, cell_counts, tile, whole
from chunkscale.host.limits import memory_limits
from chunkscale.host.memory import available_bytes
from chunkscale.storage.bounds import ObjectBounds, refuse_size, refuse_torn
from chunkscale.storage.codecs import codec_text
from chunkscale.storage.diagnosis import refuse_code, refuse_misread
from chunkscale.storage.documents import ArrayDocument, read_array, with_attributes
from chunkscale.storage.engine import Once, StoreIO, open_tensorstore, settled
from chunkscale.storage.failures import first_line, is_denied, is_transient
from chunkscale.storage.fate import fate, metadata_file
from chunkscale.storage.files import refuse_pipes
from chunkscale.storage.holes import Look, refuse_false_hole, refuse_other_key, refuse_other_keys
from chunkscale.storage.kept_chunks import KeptChunks
from chunkscale.storage.locations import join
from chunkscale.storage.names import is_chunk_path, own_index
from chunkscale.storage.objects import holds_chunks, objects
from chunkscale.storage.stores import store_of
from chunkscale.storage.zarr_stores import limit_fetches, regular_chunks, zarr_array
from chunkscale.text import human_bytes, times

#: So many boxes with holes are looked at for chunks of other names, by each process.
_LOOKS = 4

#: Bytes of a chunk for which no memory is looked at.
_SMALL_CHUNK = 2**28

#: So many stored objects are remembered that were looked at.
_REMEMBERED = 2**16


def touched_objects(box: Box, unit: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return box.coarsened(unit).cells()


class ArrayReader:
    """One stored array that is read in boxes. Thread-safe and picklable.

    Parameters
    ----------
    uri : str
    io : StoreIO
    document : ArrayDocument, optional
        Its metadata, where they are known already.

    Attributes
    ----------
    uri : str
        Location of the array.
    shape : tuple of int
    dtype : numpy.dtype
        Native byte order.
    chunk : tuple of int
        What is decoded together (the inner chunk of a shard).
    shard : tuple of int or None
    codec : str
    look : holes.Look
        What `open_array` saw of its objects.
    """

    look = Look()
    _read_only = True

    def __init__(self, uri: str, io: StoreIO, document: ArrayDocument | None = None) -> None:
        self.uri = uri
        self.io = io
        self._store = store_of(uri)
        self._document = read_array(uri) if document is None else document
        self._array = zarr_array(uri, self._document, read_only=self._read_only)
        self._file = metadata_file(uri, self._document.zarr_format)
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype).newbyteorder("=")
        self.chunk, self.shard = regular_chunks(uri, self._array)
        self.codec = codec_text(self._array)
        self.zarr_format = self._document.zarr_format
        self._bounds = ObjectBounds.of(self._array, self.chunk, self.shard, self.codec)
        limit_fetches(self._array, self._bounds.most)
        self._tensorstore = Once(self._opened)
        self._kept = KeptChunks(self._array, self.chunk, io.blocks)
        self._fits = False
        self._looks, self._small = _LOOKS, set[tuple[int, ...]]()

    def __reduce__(self) -> tuple[type, tuple[str, StoreIO]]:
        return type(self), (self.uri, self.io)

    @property
    def _fast(self) -> Any:
        """The array as tensorstore opens it, or None; opened for the first box that is wanted."""
        return self._tensorstore.get()

    def _opened(self) -> Any:
        found = open_tensorstore(self.uri, self.zarr_format, self.io, writing=not self._read_only)
        if found is None or (found.shape, found.dtype.numpy_dtype) == (self.shape, self.dtype):
            return found
        if became := self.fate():
            raise MetadataError(f"array {self.uri!r} {became} since it was opened; open it again")
        return None  # tensorstore takes its type for another one

    @property
    def engine(self) -> Literal["tensorstore", "zarr"]:
        """What reads and writes the chunks."""
        return "zarr" if self._fast is None else "tensorstore"

    def within(self, io: StoreIO) -> ArrayReader:
        """Return the same array with other limits."""
        return ArrayReader(self.uri, io, self._document)

    def digest(self) -> str:
        """Return a hash of the array's metadata."""
        return self._document.digest()

    @property
    def dimension_names(self) -> tuple[Any, ...] | None:
        """As the array's own metadata have them, or the attribute that xarray leaves."""
        stated = getattr(self._array.metadata, "dimension_names", None)
        names = stated or self._array.attrs.get("_ARRAY_DIMENSIONS")
        return tuple(names) if isinstance(names, list | tuple) else None

    @property
    def beyond(self) -> str:
        """Name of a stored chunk that lies outside of the array, as far as it was looked for."""
        return self.look.beyond

    def looked_at(self) -> Look:
        """Refuse other names of chunks; see `holes.refuse_other_keys`."""
        return refuse_other_keys(self.uri, self._array)

    def is_hollow(self) -> bool:
        """Whether no chunk is stored, as far as the store tells: all voxels are fill value."""
        if self.look.full:
            return False
        first = self._array.metadata.encode_chunk_key((0,) * len(self.shape))
        return is_chunk_path(first) and holds_chunks(self.uri) is False

    def holds(self, box: Box) -> bool:
        """Whether a box has voxels other than fill value."""
        return not np.all(self._is_fill(self.read(box)))

    def fate(self) -> str:
        """Say what has become of the array's metadata, which is read afresh; see `fate`."""
        return fate(self.uri, self._is_there)

    def _is_there(self) -> bool:
        found = read_array(self.uri, self.zarr_format)
        file = metadata_file(self.uri, self.zarr_format)
        # Some file systems number a file anew while it stays, and who touches one leaves it in
        # its place: one that was put there since is new in both.
        same = self._file is None or file is None or any(map(operator.eq, self._file, file))
        return same and found.text == self._document.text

    def _read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        if self.io.faults is not None:
            self.io.faults("read", self.uri)
        if out is None:
            out = np.empty(box.shape, self.dtype)
        if self._fast is None:
            self._refuse_false_objects(box)
            self._kept.read(box, out)
        else:
            import tensorstore as ts

            self._refuse_large_objects(box)
            pending = ts.array(out).write(self._fast[box.slices])
            settled(pending, partial(self._look_for_pipes, box))
        if out.size:
            self._look_at_holes(box, out)
        return out

    def _look_at_holes(self, box: Box, voxels: NDArray[Any]) -> None:
        """Raise where what was read as missing is there, in another form or by another name."""
        # zarr-python's files were looked at before.
        unseen = self._fast is not None and self._store.is_local
        if not (unseen or self._looks):
            return
        missing = list(self._seemingly_missing(box, voxels))
        if unseen:
            self._refuse_false_holes(missing)
        if missing and self._looks:
            self._looks -= 1
            refuse_other_key(self.uri, self._array, missing[len(missing) // 2])

    def _look_for_pipes(self, box: Box) -> None:
        if self._store.is_local:
            refuse_pipes(map(self._object, touched_objects(box, self.shard or self.chunk)))

    @cached_property
    def _fill(self) -> NDArray[Any]:
        """What a missing chunk is read as."""
        fill = (self._array if self._fast is None else self._fast).fill_value
        return np.zeros((), self.dtype) if fill is None else np.asarray(fill, self.dtype)

    def _is_fill(self, voxels: NDArray[Any]) -> NDArray[np.bool_]:
        fill = self._fill
        same: NDArray[np.bool_] = (voxels == fill) | ((voxels != voxels) & (fill != fill))
        return same

    def _seemingly_missing(self, box: Box, voxels: NDArray[Any]) -> Iterable[tuple[int, ...]]:
        """Return the stored objects of a box, just read, that may have been missing.

        They begin with fill value. A look at each object of every read would take as long as to
        read it where chunks are small; those that were missing are among these.
        """
        unit = self.shard or self.chunk
        inside = [
            [max(i * u - a, 0) for i in range(a // u, -(-b // u))]
            for a, b, u in zip(box.start, box.stop, unit, strict=True)
        ]
        empty = self._is_fill(voxels[np.ix_(*inside)])
        return itertools.compress(touched_objects(box, unit), empty.ravel())

    def _refuse_false_holes(self, indices: Iterable[tuple[int, ...]]) -> None:
        """Raise where an object is neither a file nor missing: it reads like a missing one."""
        top, seen = os.path.normpath(self.uri), set[str]()
        for index in indices:
            refuse_false_hole(self._object(index), top, seen)

    def _object(self, index: Sequence[int]) -> str:
        """Return the location of a stored object."""
        return join(self.uri, self._array.metadata.encode_chunk_key(tuple(index)))

    def strays_and_gaps(self) -> tuple[list[str], Iterator[str]]:
        """Return stored objects called like chunks that are none, and chunks that are not stored.

        Both by their paths below the array.
        """
        counts = cell_counts(self.shape, self.shard or self.chunk)
        there, strays = set[tuple[int, ...]](), []
        for path, _ in objects(self.uri):
            if is_chunk_path(path):
                index = own_index(path, counts, self.zarr_format)
                strays.append(path) if index is None else there.add(index)
        encode = self._array.metadata.encode_chunk_key
        return strays, (encode(i) for i in whole(counts).cells() if i not in there)

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box; missing chunks are fill value.

        Parameters
        ----------
        box : Box
        out : ndarray, optional
            Filled and returned: shape of the box, the array's `dtype`.

        Returns
        -------
        ndarray
            C order, native byte order.

        Raises
        ------
        CorruptChunkError
            Naming the array and the first chunk that cannot be decoded.
        """
        if not self._fits:
            self._refuse_huge_chunks()
        try:
            return self._read(box, out)
        except (MetadataError, ForkError):
            raise
        except Exception as error:
            raise self._explained(box, error) from error

    def _explained(self, box: Box, error: Exception) -> CorruptChunkError:
        remedy = (
            "restore that chunk from the original data, and run again"
            if self._store.on_disk
            else "try again once the server answers; a damaged chunk must be restored there"
        )
        for index in self.chunks(box):
            try:
                self._read(self.chunk_box(index))
            except Exception as cause:
                if is_denied(cause):
                    remedy = "access was denied: check the permissions, and run again"
                return CorruptChunkError(
                    f"chunk {index} of array {self.uri!r} (voxels {self.chunk_box(index)}) "
                    f"cannot be read: {first_line(cause)}; {remedy}",
                    transient=is_transient(cause),
                )
        return CorruptChunkError(
            f"voxels {box} of array {self.uri!r} cannot be read: {first_line(error)}",
            transient=True,  # for the second time each of its chunks could be read
        )

    def _refuse_false_objects(self, box: Box) -> None:
        """Find what is there and is no chunk, in local folders that zarr-python is to read.

        It takes an empty shard for a missing one.
        """
        if not self._store.is_local:
            return
        indices = list(touched_objects(box, self.shard or self.chunk))
        self._refuse_false_holes(indices)
        for path in map(self._object, indices):
            with contextlib.suppress(FileNotFoundError):
                size = os.stat(path).st_size
                refuse_torn(size, 1)
                refuse_size(size, self._bounds.most)

    def _refuse_huge_chunks(self) -> None:
        """Raise where no chunk can be decoded: tensorstore ends the process when it tries."""
        size = math.prod(self.chunk) * self.dtype.itemsize
        if size < _SMALL_CHUNK:
            self._fits = True
            return
        room = min([available_bytes(), *(limit.amount for limit in memory_limits())])
        if size > room:
            raise MemoryBudgetError(
                f"a chunk of array {self.uri!r} has {times(self.chunk)} voxels, "
                f"{human_bytes(size)} decoded, and {human_bytes(room)} of memory are free: use a "
                "machine with more memory, or store the image again with smaller chunks"
            )
        self._fits = True  # what this run takes from now on its plan has counted

    def _refuse_large_objects(self, box: Box) -> None:
        """Find local files of which tensorstore would make more than the voxels that they have.

        Each is looked at once: it takes a tenth of the time to read a small chunk.
        """
        if not self._store.is_local:
            return
        for index in touched_objects(box, self.shard or self.chunk):
            if index not in self._small:
                self._bounds.refuse(self._object(index))
                if len(self._small) < _REMEMBERED:
                    self._small.add(index)

    def chunks(self, box: Box) -> Iterable[tuple[int, ...]]:
        """Yield the indices of the chunks that a box touches."""
        return touched_objects(box, self.chunk)

    def chunk_box(self, index: Sequence[int]) -> Box:
        """Return the box of one chunk."""
        return tile(index, self.chunk, self.shape)


def open_array(uri: str, io: StoreIO, document: ArrayDocument | None = None) -> ArrayReader:
    """Open the array at `uri` for reading.

    Parameters
    ----------
    uri : str
    io : StoreIO
    document : ArrayDocument, optional
        What `array_facts` has read of it.

    Raises
    ------
    MetadataError
        Also if chunks lie there whose names are not those that its metadata declares: they
        would be taken for missing.
    """
    document = read_array(uri) if document is None else with_attributes(uri, document)
    refuse_code(uri, document)
    opened = ArrayReader(uri, io, document)
    refuse_misread(uri, document)
    opened.look = opened.looked_at()
    return opened
