"""Zarr hierarchies and chunk data: the only module that imports zarr, tensorstore or ome-zarr.

Hierarchy, metadata and array creation go through zarr-python. Chunk data goes
through tensorstore wherever it can open the array, and through zarr-python
otherwise (codecs and filters that tensorstore does not know).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import operator
import os
import re
import shutil
import stat
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkscale import stores
from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    CorruptChunkError,
    DestinationError,
    MetadataError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.grid import Box
from chunkscale.pyramid import Level
from chunkscale.stores import (
    StoreError,
    above,
    exists,
    in_bucket,
    is_remote,
    join,
    nearest,
    normalise,
    resolved,
    same_store,
)

__all__ = [
    "CODECS",
    "ArrayReader",
    "ArrayWriter",
    "StoreIO",
    "above",
    "begun_by_another",
    "check_links",
    "check_parent",
    "compose_multiscales",
    "create_levels",
    "delete_note",
    "discard",
    "exists",
    "fate",
    "foreign_entries",
    "free_bytes",
    "group_attributes",
    "in_bucket",
    "is_blank",
    "is_empty",
    "is_remote",
    "is_transient",
    "join",
    "make_folder",
    "nearest",
    "normalise",
    "note_names",
    "object_count",
    "open_array",
    "put_note",
    "read_note",
    "resolved",
    "same_store",
    "seen_through",
    "set_attributes",
    "start_group",
    "tidy",
    "withdraw_note",
]

#: Codec names of the interface: (compressor, its default level).
CODECS: Mapping[str, tuple[str, int]] = {
    "blosc-lz4": ("blosc", 5),
    "blosc-zstd": ("blosc", 3),
    "zstd": ("zstd", 3),
    "gzip": ("gzip", 5),
    "none": ("none", 0),
}
#: A busy server is asked so often, which takes some seconds (tensorstore's default is a quarter
#: of an hour); after that a region is tried again from its beginning.
ATTEMPTS = 4
_ARRAY_FOR_GROUP = (
    "{!r} is a zarr array, not an OME-Zarr group; give the path of the group that holds it"
)
_METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
#: Below an output: what a run notes down for the next one, gone when the output is published.
NOTES = ".chunkscale"
#: What a killed process may leave beside the objects that it was writing: tensorstore, zarr-python
#: (which drops what it takes for a suffix), `stores.put`.
_STRAY = re.compile(r"(?:zarr(?:\.json)?|\.z\w+|c?[\d.]*)(?:(?:\.[0-9a-f]{32}\.partial)+|\.__lock)")
_ENDS = (".__lock", ".partial")
#: The path of a chunk below its array, and the first name of such a path.
_CHUNK = re.compile(r"c(?:[./]\d+)*|\d+(?:[./]\d+)*")
#: What desktops leave in every folder that they show.
_DROPPINGS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")
#: Asking again does not help.
_PERMANENT = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT,
    errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EFBIG, errno.ELOOP,
}  # fmt: skip
_BUSY_CODES = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
_TRANSIENT_CODES = (*_BUSY_CODES, "INTERNAL", "UNKNOWN")
_LEVELS = {"blosc": (0, 9), "zstd": (-7, 22), "gzip": (0, 9), "none": (0, 0)}


@dataclass(frozen=True, kw_only=True)
class StoreIO:
    """Limits of chunk input and output.

    Parameters
    ----------
    threads : int
        Threads that encode and decode, shared by the arrays with the same limits.
    cache_bytes : int
        Decoded chunks that are kept for the next read of the arrays that are
        opened with it.
    engine : {"auto", "zarr"}
        ``"zarr"`` leaves tensorstore out.
    patient : bool
        Whether a busy server is asked for a chunk again.
    faults : callable, optional
        The seam at which tests let stores fail: called with ``"read"`` or
        ``"write"`` and the array's location before each box, in whichever
        process it is done; raises what a failing store would.
    """

    threads: int
    cache_bytes: int = 0
    engine: Literal["auto", "zarr"] = "auto"
    patient: bool = True
    faults: Callable[[str, str], None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process has threads of its own.
        return partial(StoreIO, **{f.name: getattr(self, f.name) for f in fields(self)}), ()

    @cached_property
    def context(self) -> Any:
        """The tensorstore context with these limits."""
        import tensorstore as ts

        cache = {"total_bytes_limit": self.cache_bytes}
        limits = (
            self.threads,
            ATTEMPTS if self.patient else 1,
            stores.FIRST_WAIT,
            stores.LONGEST_WAIT,
        )
        return ts.Context({"cache_pool": cache}, _shared_context(*limits))


@cache
def _shared_context(threads: int, attempts: int, first: timedelta, longest: timedelta) -> Any:
    """Return the context that arrays with the same limits share.

    Threads of their own would be too many, and each of them keeps freed memory
    that the others cannot use.
    """
    import tensorstore as ts

    retries = {
        "max_retries": attempts,
        "initial_delay": f"{first.total_seconds()}s",
        "max_delay": f"{longest.total_seconds()}s",
    }
    return ts.Context(
        {
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": max(2, threads)},
            # A killed process must not leave torn files, and does not: files are renamed
            # into place. Surviving a power cut is not worth an fsync for every chunk.
            "file_io_sync": False,
            "http_request_retries": retries,
            "s3_request_retries": retries,
        }
    )


def _store(uri: str) -> Any:
    if not is_remote(uri):
        return Path(uri)  # zarr takes a text for a URL, and cuts it at "#"
    if stores.in_bucket(uri):
        return _bucket_store_type()(uri)
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(stores.escaped(uri), read_only=True)
    except ImportError as error:
        raise OptionError(
            f"cannot open {uri!r}: {error}; install the extra chunkscale[http]"
        ) from error


@cache
def _bucket_store_type() -> Any:
    """Return the type of the zarr stores of buckets, which is made when zarr is there."""
    from zarr.storage import ObjectStore

    class BucketStore(ObjectStore[Any]):
        """What lies below one location in a bucket, with clear errors; it is not listed.

        zarr writes groups into everything above a node, up to where its store
        begins, which is why that is not the bucket.

        Who may not list a bucket is told 403 of what is not there. That is taken
        for "not there" of metadata alone, of which zarr tries names that never
        were; of a chunk it is an error.
        """

        supports_listing = False

        def __init__(
            self, uri: str, denied: list[str] | None = None, *, read_only: bool = False
        ) -> None:
            bucket, key = stores.open_bucket(uri)
            super().__init__(bucket, read_only=read_only)
            self.uri = uri
            self.prefix = f"{key}/" if key else ""
            self.denied = [] if denied is None else denied

        def with_read_only(self, read_only: bool = False) -> BucketStore:
            return BucketStore(self.uri, self.denied, read_only=read_only)

        def __eq__(self, other: object) -> bool:
            return super().__eq__(other) and self.prefix == getattr(other, "prefix", None)

        async def _clearly(self, key: str, work: Any, otherwise: Any) -> Any:
            try:
                with stores.clear_errors(stores.join(self.uri, key)):
                    return await work
            except AccessDeniedError as error:
                if key.rpartition("/")[2] not in _METADATA_FILES:
                    raise
                self.denied.append(str(error))
                return otherwise

        async def get(self, key: str, *args: Any, **options: Any) -> Any:
            work = super().get(self.prefix + key, *args, **options)
            return await self._clearly(key, work, None)

        async def exists(self, key: str) -> bool:
            return bool(await self._clearly(key, super().exists(self.prefix + key), False))

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            ranges = [(self.prefix + key, part) for key, part in key_ranges]
            with stores.clear_errors(self.uri):
                return await super().get_partial_values(prototype, ranges)

        async def set(self, key: str, value: Any) -> None:
            with stores.clear_errors(stores.join(self.uri, key)):
                await super().set(self.prefix + key, value)

        async def set_if_not_exists(self, key: str, value: Any) -> None:
            # zarr writes the groups above an array so. Not every server knows conditional
            # requests, and one that ignores them would lose the attributes of the output.
            if not await self.exists(key):
                await self.set(key, value)

        async def delete(self, key: str) -> None:
            with stores.clear_errors(stores.join(self.uri, key)):
                await super().delete(self.prefix + key)

    return BucketStore


def _why_missing(uri: str, store: Any) -> ChunkscaleError | None:
    """Return what is wrong where nothing was found in a bucket, if it is more than that."""
    if not stores.in_bucket(uri):
        return None
    if store.denied:
        return AccessDeniedError(store.denied[0])
    try:
        stores.names(uri)
    except AccessDeniedError:
        return None  # it may be read, and not listed
    except ChunkscaleError as error:
        return error
    return None


@contextlib.contextmanager
def _clear_errors(what: str) -> Any:
    """Turn what zarr raises for unreadable metadata into this package's errors."""
    try:
        yield
    except ChunkscaleError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceNotFoundError(f"{what} does not exist: {error}") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{what} may not be read: {error}") from error
    except json.JSONDecodeError as error:
        raise MetadataError(f"the metadata of {what} is not valid JSON: {error}") from error
    except OSError as error:
        raise SourceNotFoundError(f"{what} cannot be reached: {error}") from error


def group_attributes(uri: str) -> dict[str, Any]:
    """Return the attributes of the zarr group at `uri`, whichever zarr format it has.

    Consolidated metadata is left aside: it may be stale.

    Raises
    ------
    SourceNotFoundError
        If there is no zarr group.
    """
    import zarr
    from zarr.errors import ContainsArrayError, NodeTypeValidationError

    if not is_remote(uri) and not os.path.exists(uri):
        raise SourceNotFoundError(f"{uri!r} does not exist; check the path")
    with _clear_errors(f"{uri!r}"):
        store = _store(uri)
        try:
            group = zarr.open_group(
                store, mode="r", zarr_format=_known_format(uri), use_consolidated=False
            )
        except (ContainsArrayError, NodeTypeValidationError) as error:
            raise MetadataError(_ARRAY_FOR_GROUP.format(uri)) from error
        except FileNotFoundError as error:
            if not is_remote(uri) and os.path.exists(os.path.join(uri, ".zarray")):
                raise MetadataError(_ARRAY_FOR_GROUP.format(uri)) from error
            raise _why_missing(uri, store) or SourceNotFoundError(
                f"{uri!r} is not a zarr group (neither zarr.json nor .zgroup is there); "
                "give the path of an OME-Zarr image"
            ) from error
        except (OSError, json.JSONDecodeError):
            raise
        except Exception as error:  # zarr has no common base for bad group metadata
            raise MetadataError(
                f"the metadata of {uri!r} cannot be understood: {_first_line(error)}"
            ) from error
        return dict(group.attrs)


def _known_format(uri: str) -> Literal[3] | None:
    """Return the zarr format of a node where a look tells; zarr opens the files of both."""
    return 3 if not is_remote(uri) and os.path.exists(os.path.join(uri, "zarr.json")) else None


def _codec_text(array: Any) -> str:
    if array.metadata.zarr_format == 2:
        codecs: Iterable[Any] = [*(array.filters or ()), *(array.compressors or ())]
    else:
        codecs = [*array.filters, *array.compressors]
    names = []
    for codec in codecs:
        config = codec.get_config() if hasattr(codec, "get_config") else codec.to_dict()
        name = config.get("id") or config.get("name", type(codec).__name__)
        inner = {**config, **config.get("configuration", {})}
        cname = inner.get("cname")
        names.append(f"{name}-{getattr(cname, 'value', cname)}" if cname else str(name))
    return "+".join(names) or "none"


def _touched(box: Box, unit: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return itertools.product(
        *(range(a // u, -(-b // u)) for a, b, u in zip(box.start, box.stop, unit, strict=True))
    )


class ArrayReader:
    """One stored array that is read in boxes. Thread-safe and picklable.

    Parameters
    ----------
    uri : str
    io : StoreIO
    array : zarr.Array, optional
        The array, where it is open already: zarr takes two milliseconds for that.
    opening : optional
        What `_start_tensorstore` returned for it, if that was begun already.

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
    """

    _mode: Literal["r", "r+"] = "r"

    def __init__(self, uri: str, io: StoreIO, array: Any = None, opening: Any = None) -> None:
        self.uri = uri
        self.io = io
        self._array = _open_zarr(uri, self._mode) if array is None else array
        self._file = _file_of(uri, self._array.metadata.zarr_format)
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype).newbyteorder("=")
        self.chunk: tuple[int, ...] = tuple(self._array.chunks)
        shards = self._array.shards
        self.shard: tuple[int, ...] | None = tuple(shards) if shards else None
        self.codec = _codec_text(self._array)
        # Whether a stored object is one blosc buffer: no shard, and blosc the last codec.
        self._blosc = self.shard is None and "blosc" in self.codec.split("+")[-1]
        self.zarr_format: Literal[2, 3] = self._array.metadata.zarr_format
        if opening is None:
            opening = _start_tensorstore(uri, self.zarr_format, io)
        self._opening = opening

    def __reduce__(self) -> tuple[type, tuple[str, StoreIO]]:
        return type(self), (self.uri, self.io)

    @cached_property
    def _fast(self) -> Any:
        """The array as tensorstore opens it, or None; waited for by whoever needs it first."""
        try:
            return _tensorstore(self.uri, self._opening)
        except StoreError:  # a busy server, which is asked again for the next box
            self._opening = _start_tensorstore(self.uri, self.zarr_format, self.io)
            raise

    @property
    def engine(self) -> Literal["tensorstore", "zarr"]:
        """What reads and writes the chunks."""
        return "zarr" if self._fast is None else "tensorstore"

    def within(self, io: StoreIO) -> ArrayReader:
        """Return the same array with other limits."""
        return ArrayReader(self.uri, io, self._array)

    def digest(self) -> str:
        """Return a hash of the array's metadata."""
        return _digest(self._array)

    def fate(self) -> str:
        """Say what has become of the array's metadata, which is read afresh; see `fate`."""
        return fate(self.uri, self._is_there)

    def _is_there(self) -> bool:
        found = _digest(_open_zarr(self.uri, self._mode, self.zarr_format))
        file = _file_of(self.uri, self.zarr_format)
        # Some file systems number a file anew while it stays, and who touches one leaves it in
        # its place: one that was put there since is new in both.
        same = self._file is None or file is None or any(map(operator.eq, self._file, file))
        return same and found == self.digest()

    def _read(self, box: Box, out: NDArray[Any] | None = None, fast: Any = None) -> NDArray[Any]:
        if self.io.faults is not None:
            self.io.faults("read", self.uri)
        if out is None:
            out = np.empty(box.shape, self.dtype)
        if self._fast is None:
            self._refuse_torn_objects(box)
            out[...] = self._array[box.slices]
        else:
            import tensorstore as ts

            with _clear_answers(self.uri):
                ts.array(out).write((self._fast if fast is None else fast)[box.slices]).result()
            if out.size and not is_remote(self.uri):
                self._refuse_false_holes(self._seemingly_missing(box, out))
        return out

    @cached_property
    def _fill(self) -> NDArray[Any]:
        """What tensorstore returns for a missing chunk."""
        fill = self._fast.fill_value
        return np.zeros((), self.dtype) if fill is None else np.asarray(fill, self.dtype)

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
        first, fill = voxels[np.ix_(*inside)], self._fill
        empty = (first == fill) | ((first != first) & (fill != fill))
        return itertools.compress(_touched(box, unit), empty.ravel())

    def _refuse_false_holes(self, indices: Iterable[tuple[int, ...]]) -> None:
        """Raise where an object is neither a file nor missing: it reads like a missing one."""
        top, seen = os.path.normpath(self.uri), set[str]()
        for index in indices:
            _refuse_false_hole(self._object(index), top, seen)

    def _object(self, index: Sequence[int]) -> str:
        """Return the location of a stored object."""
        return stores.join(self.uri, self._array.metadata.encode_chunk_key(tuple(index)))

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
            Naming the array and the first chunk that cannot be decoded, or the array alone
            where its store is too busy to open it.
        """
        try:
            _ = self._fast
        except StoreError as error:
            # None of its chunks is to be looked for: that would wait for the server again.
            raise CorruptChunkError(
                f"array {self.uri!r} cannot be opened: {_first_line(error)}; try again once the "
                "server answers",
                transient=error.transient,
            ) from error
        try:
            return self._read(box, out)
        except Exception as error:
            raise self._explained(box, error) from error

    def _explained(self, box: Box, error: Exception) -> CorruptChunkError:
        remedy = (
            "try again once the server answers; a damaged chunk must be restored there"
            if is_remote(self.uri)
            else "restore that chunk from the original data and run again"
        )
        # To find the chunk each is asked for once: the error was waited for already.
        fast = None
        if self._fast is not None:
            once = replace(self.io, patient=False, cache_bytes=0)
            with contextlib.suppress(StoreError):
                fast = _tensorstore(self.uri, _start_tensorstore(self.uri, self.zarr_format, once))
        for index in self.chunks(box):
            try:
                self._read(self.chunk_box(index), fast=fast)
            except Exception as cause:
                return CorruptChunkError(
                    f"chunk {index} of array {self.uri!r} (voxels {self.chunk_box(index)}) "
                    f"cannot be read: {_first_line(cause)}; {remedy}",
                    transient=is_transient(cause),
                )
        return CorruptChunkError(
            f"voxels {box} of array {self.uri!r} cannot be read: {_first_line(error)}",
            transient=True,  # for the second time each of its chunks could be read
        )

    def _refuse_torn_objects(self, box: Box) -> None:
        """Find local files that zarr-python would decode although their end is missing.

        It takes an empty shard for a missing one, and numcodecs decodes a blosc buffer as
        long as its header says, whatever its true length.
        """
        if is_remote(self.uri):
            return
        indices = list(_touched(box, self.shard or self.chunk))
        self._refuse_false_holes(indices)
        for index in indices:
            try:
                with open(self._object(index), "rb") as file:
                    head, size = file.read(16), os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                continue
            wanted = 1
            if self._blosc:
                wanted = max(16, int.from_bytes(head[12:16], "little"))
            if size < wanted:
                raise _BadObjectError(f"its file has {size} bytes and should have {wanted} or more")

    def chunks(self, box: Box) -> Iterable[tuple[int, ...]]:
        """Yield the indices of the chunks that a box touches."""
        return _touched(box, self.chunk)

    def chunk_box(self, index: Sequence[int]) -> Box:
        """Return the box of one chunk."""
        start = tuple(i * c for i, c in zip(index, self.chunk, strict=True))
        stop = tuple(min(a + c, n) for a, c, n in zip(start, self.chunk, self.shape, strict=True))
        return Box(start=start, stop=stop)


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
        with _clear_write_errors(self.uri):
            self._array[box.slices] = data
        return None

    def finish_write(self, pending: Any) -> None:
        """Wait until what `start_write` began is stored."""
        if pending is not None:
            with _clear_write_errors(self.uri), _clear_answers(self.uri):
                pending.result()

    def stored_size(self, box: Box) -> int:
        """Return the bytes of the stored objects of a box; voxels of fill value have none."""
        return sum(stores.sizes(self._object(index) for index in _touched(box, self.unit)))

    def object_count(self, box: Box) -> int:
        """Return how many stored objects a box has if none is left out."""
        return sum(1 for _ in _touched(box, self.unit))

    def objects(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield position and size of every stored object."""
        prefix = stores.join(self.uri, "c") if self.zarr_format == 3 else self.uri
        for path, size in stores.objects(prefix):
            position = path.split("/")
            if all(part.isdigit() for part in position):
                yield tuple(map(int, position)), size

    def delete_objects(self, indices: Iterable[Sequence[int]]) -> None:
        """Delete stored objects, those that are there."""
        stores.delete(self._object(index) for index in indices)


@contextlib.contextmanager
def _clear_answers(uri: str) -> Iterator[None]:
    """Turn what tensorstore raises for an object store into clear errors without secrets.

    Its own repeat the server's whole answer, which may repeat what was signed.
    """
    try:
        yield
    except Exception as error:
        if not stores.in_bucket(uri):
            raise
        text = _first_line(error)
    else:
        return
    if text.startswith(("PERMISSION_DENIED", "UNAUTHENTICATED")):
        raise stores.denial(uri, text)
    raise StoreError(text, text.startswith(_TRANSIENT_CODES))


@contextlib.contextmanager
def _clear_write_errors(uri: str) -> Iterator[None]:
    """Name the place, the room that is left there and the remedy when a write fails."""
    try:
        yield
    except Exception as error:
        room = free_bytes(uri)
        left = "" if room is None else f"; {room / 2**20:.1f} MiB are free there"
        failure = OSError(
            f"cannot write to {uri!r}: {_first_line(error)}{left}. What has been written is "
            "unfinished and opens as no image; when it can be written, go on with resume=True "
            "(--resume)"
        )
        failure.errno = getattr(error, "errno", None) or _system_errno(str(error))
        if failure.errno is None and not is_transient(error):
            failure.errno = errno.EACCES
        raise failure from error


class _BadObjectError(OSError):
    """What lies at the place of a chunk or shard is not what was written."""


def _refuse_false_hole(path: str, top: str, seen: set[str]) -> None:
    """Raise unless a file is at the path of an object, or nothing at all.

    Parameters
    ----------
    path : str
    top : str
        Folder of the array.
    seen : set of str
        Folders that were found in order, to which this one's are added.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        _refuse_lost_folder(os.path.dirname(path), top, seen)
        return
    if stat.S_ISLNK(mode):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            raise _BadObjectError(
                f"{path!r} is a link to {os.readlink(path)!r}, which is not there; fetch that file"
            ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or the like"
        raise _BadObjectError(f"{path!r} is {kind} where a file should be")


def _refuse_lost_folder(folder: str, top: str, seen: set[str]) -> None:
    """Raise where a whole folder of objects has gone: a dangling link, a disk taken away."""
    if folder in seen:
        return
    if not os.path.isdir(folder):
        if folder == top or os.path.lexists(folder):
            raise _BadObjectError(f"the folder {folder!r} is not there; make it available")
        _refuse_lost_folder(os.path.dirname(folder), top, seen)
    seen.add(folder)


def _system_errno(text: str) -> int | None:
    """Return the errno that tensorstore tells in its message."""
    found = re.search(r"OS error (\d+)", text)
    return int(found.group(1)) if found else None


def is_transient(error: BaseException) -> bool:
    """Whether a store that raised `error` may answer when it is asked again."""
    if isinstance(error, CorruptChunkError):
        return error.transient
    if isinstance(error, ChunkscaleError | _BadObjectError):
        return False
    if isinstance(error, StoreError):
        return error.transient
    status = getattr(error, "status", None)  # of an HTTP answer
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    if isinstance(error, OSError):
        return error.errno not in _PERMANENT
    # tensorstore raises ValueError for most, and says which kind at the beginning.
    return isinstance(error, TimeoutError) or str(error).startswith(_TRANSIENT_CODES)


def _first_line(error: BaseException) -> str:
    """Return what an error says, without what tensorstore adds for its developers."""
    text = str(error).split(" [tensorstore_spec", maxsplit=1)[0].strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return re.sub(r" \[http_response_body=.*?\](?= \[|$)", "", line)


#: Filters are the whole process': of two threads that set them at once, the one that ends last
#: would put the other's back for good.
_filtering = threading.Lock()


@contextlib.contextmanager
def _muted_zarr() -> Iterator[None]:
    """Mute what zarr-python finds unusual in the files of other writers: no news to a reader.

    It warns in a thread of its own, so that the filter cannot be this thread's alone.
    """
    with _filtering, warnings.catch_warnings():
        # By module, because other threads' warnings must pass in the meantime.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"zarr\.")
        yield


def _digest(array: Any) -> str:
    text = json.dumps(array.metadata.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_of(uri: str, zarr_format: int) -> tuple[tuple[int, int], int] | None:
    """Return which file a local array's metadata is, and when it was written."""
    if is_remote(uri):
        return None
    try:
        found = os.stat(os.path.join(uri, "zarr.json" if zarr_format == 3 else ".zarray"))
    except OSError:
        return None  # whoever reads it finds out
    return (found.st_dev, found.st_ino), found.st_mtime_ns


def fate(uri: str, is_there: Callable[[], bool]) -> str:
    """Say what has become of a node that was opened before; nothing if it is as it was.

    Parameters
    ----------
    uri : str
    is_there : callable
        Reads its metadata afresh, and says whether they are what they were.

    Raises
    ------
    OSError
        If the store does not tell, and may tell another time.
    """
    try:
        return "" if is_there() else "has been replaced"
    except AccessDeniedError:
        raise
    except SourceNotFoundError as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError | None):
            raise
        return "has gone"
    except MetadataError as error:
        if is_remote(uri) and not in_bucket(uri):  # so does a web server that fails come here
            raise StoreError(str(error), True) from error
        return "has been damaged"


def _open_zarr(uri: str, mode: Literal["r", "r+"], zarr_format: Literal[2, 3] | None = None) -> Any:
    import zarr
    from zarr.errors import ContainsGroupError, NodeTypeValidationError

    with _clear_errors(f"array {uri!r}"):
        store = _store(uri)
        try:
            with _muted_zarr():
                return zarr.open_array(
                    store, mode=mode, zarr_format=zarr_format or _known_format(uri)
                )
        except (ContainsGroupError, NodeTypeValidationError) as error:
            raise MetadataError(f"{uri!r} is a zarr group where an array should be") from error
        except FileNotFoundError as error:
            raise (_why_missing(uri, store) or error) from error
        except (OSError, json.JSONDecodeError):
            raise
        except Exception as error:  # zarr has no common base for bad array metadata
            raise MetadataError(
                f"array {uri!r} cannot be opened: {_first_line(error)}; its metadata is damaged, "
                "or needs a codec that is missing from this environment"
            ) from error


def _start_tensorstore(uri: str, zarr_format: int, io: StoreIO) -> Any:
    """Begin to open with tensorstore; None for places that it does not know."""
    import tensorstore as ts

    kvstore = stores.kvstore(uri) if io.engine == "auto" else None
    if kvstore is None:
        return None
    spec = {
        "driver": "zarr" if zarr_format == 2 else "zarr3",
        "kvstore": kvstore,
        "recheck_cached_data": False,
        "recheck_cached_metadata": False,
    }
    try:
        return ts.open(spec, open=True, context=io.context)
    except (ValueError, NotImplementedError):  # the place itself, before anything is read
        return None


def _tensorstore(uri: str, opening: Any) -> Any:
    """Wait for what `_start_tensorstore` began; None for what tensorstore does not know."""
    if opening is None:
        return None
    try:
        return opening.result()
    except (ValueError, NotImplementedError) as error:
        if stores.in_bucket(uri) and str(error).startswith(_BUSY_CODES):
            with _clear_answers(uri):
                raise
        # Unknown codec, filter or data type, or metadata that only zarr-python accepts.
        return None


def open_array(uri: str, io: StoreIO) -> ArrayReader:
    """Open the array at `uri` for reading.

    Raises
    ------
    MetadataError
        Also if chunks lie there whose names are not those that its metadata declares: they
        would be taken for missing.
    """
    array = _open_zarr(uri, "r")
    _refuse_other_keys(uri, array)
    return ArrayReader(uri, io, array)


def _refuse_other_keys(uri: str, array: Any) -> None:
    metadata, ndim = array.metadata, len(array.shape)
    declared = metadata.encode_chunk_key((0,) * ndim)
    layouts = _key_layouts(ndim)
    if declared not in layouts:
        return
    names = stores.first_names(uri)
    lying = {key for key, first in layouts.items() if any(map(first.fullmatch, names))}
    others = sorted(lying - {declared})
    if not others:
        return
    if declared in lying:
        raise MetadataError(
            f"array {uri!r} holds chunks with names like {declared!r}, which its metadata "
            f"declares, and others like {others[0]!r}, which would be left out; move those away "
            "that do not belong to it"
        )
    raise MetadataError(
        f"the metadata of array {uri!r} declares chunks with names like {declared!r}, but those "
        f"that lie there have names like {others[0]!r} and would be taken for missing; "
        f"{_key_remedy(others[0], metadata.zarr_format)}"
    )


def _key_layouts(ndim: int) -> dict[str, re.Pattern[str]]:
    """Return how chunks may be named: the name of the first, and the top of such names."""
    number, zeros = r"\d+", ["0"] * ndim
    return {
        "/".join(zeros): re.compile(number + "/" if ndim > 1 else number),
        ".".join(zeros): re.compile(r"\.".join([number] * ndim)),
        "/".join(["c", *zeros]): re.compile("c/"),
        ".".join(["c", *zeros]): re.compile(r"\.".join(["c"] + [number] * ndim)),
    }


def _key_remedy(key: str, zarr_format: int) -> str:
    """Return what to set so that chunks with such names are found."""
    separator = "/" if "/" in key else "."
    if zarr_format == 3:
        encoding = {
            "name": "default" if key.startswith("c") else "v2",
            "configuration": {"separator": separator},
        }
        return f'set "chunk_key_encoding": {json.dumps(encoding)} in its zarr.json'
    if key.startswith("c"):
        return "they are of zarr format 3: restore the zarr.json that belongs to them"
    return f'set "dimension_separator": "{separator}" in its .zarray'


def parse_codec(text: str) -> tuple[str, int]:
    """Return (name, level) of a codec option like ``"zstd"`` or ``"zstd:5"``.

    Examples
    --------
    >>> parse_codec("blosc-lz4"), parse_codec("zstd:7")
    (('blosc-lz4', 5), ('zstd', 7))
    """
    name, _, level = text.partition(":") if isinstance(text, str) else (None, "", "")
    if name not in CODECS:
        raise OptionError(f"unknown codec {text!r}; choose one of {', '.join(CODECS)}")
    kind, default = CODECS[name]
    low, high = _LEVELS[kind]
    try:
        number = int(level) if level else default
    except ValueError:
        raise OptionError(f"the level in codec {text!r} is not a whole number") from None
    if not low <= number <= high:
        raise OptionError(f"the level of codec {text!r} must be between {low} and {high}")
    return name, number


def _compressor(codec: str, zarr_format: int, itemsize: int) -> Any:
    name, level = parse_codec(codec)
    kind, _ = CODECS[name]
    cname: Any = name.removeprefix("blosc-")
    if zarr_format == 2:
        import numcodecs

        return {
            "blosc": lambda: numcodecs.Blosc(cname=cname, clevel=level, shuffle=2),
            "zstd": lambda: numcodecs.Zstd(level=level),
            "gzip": lambda: numcodecs.GZip(level=level),
            "none": lambda: None,
        }[kind]()
    from zarr import codecs

    return {
        "blosc": lambda: codecs.BloscCodec(
            cname=cname, clevel=level, shuffle="bitshuffle", typesize=itemsize
        ),
        "zstd": lambda: codecs.ZstdCodec(level=level),
        "gzip": lambda: codecs.GzipCodec(level=level),
        "none": lambda: None,
    }[kind]()


def make_folder(uri: str) -> None:
    """Make the folder of an output where there is none; object stores have none at all.

    A link to an image is replaced, not followed: what it leads to stays. One to
    a blank folder leads to where the output is to be.
    """
    if is_remote(uri):
        return
    with _clear_write_errors(uri):
        if os.path.islink(uri) and not is_blank(uri):
            os.unlink(uri)
        Path(uri).mkdir(parents=True, exist_ok=True)


def begun_by_another(uri: str) -> DestinationError:
    """Return the error of a run that is not the first at a place."""
    return DestinationError(
        f"another run has just begun to write the output {uri!r}; wait for it, or choose another "
        "path"
    )


def start_group(
    uri: str, *, zarr_format: Literal[2, 3], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Create the group of an image, without the metadata that would make it one.

    Returns
    -------
    dict
        Its attributes.
    """
    import zarr

    with contextlib.nullcontext() if is_remote(uri) else _clear_write_errors(uri):
        group = zarr.create_group(_store(uri), zarr_format=zarr_format, attributes=dict(attributes))
    return dict(group.attrs)


def create_levels(
    uri: str, levels: Sequence[Level], io: StoreIO, *, dtype: str, codec: str,
    zarr_format: Literal[2, 3], resumed: bool = False,
) -> tuple[ArrayWriter, ...]:  # fmt: skip
    """Create the (empty) array of every level; if `resumed`, open those that are there already."""
    import zarr

    group = zarr.open_group(_store(uri), mode="r+", zarr_format=zarr_format, use_consolidated=False)
    names = [axis.name for axis in levels[0].grid.axes]
    made = []
    for level in levels:
        place = join(uri, level.path)
        array = _opened_already(group, level.path, place) if resumed else None
        if array is None:
            with _clear_write_errors(uri):
                array = group.create_array(
                    level.path,
                    shape=level.shape,
                    chunks=level.chunk,
                    shards=level.shard,
                    dtype=dtype,
                    compressors=_compressor(codec, zarr_format, np.dtype(dtype).itemsize),
                    filters=None,
                    fill_value=0,
                    dimension_names=names if zarr_format == 3 else None,
                    chunk_key_encoding={
                        "name": "v2" if zarr_format == 2 else "default",
                        "separator": "/",
                    },
                )
        # While the next one is created.
        made.append((place, array, _start_tensorstore(place, zarr_format, io)))
    return tuple(ArrayWriter(place, io, array, opening) for place, array, opening in made)


def _opened_already(group: Any, path: str, uri: str) -> Any:
    """Return the array at a path of a group, or None where nothing is."""
    try:
        with _clear_errors(f"array {uri!r}"), _muted_zarr():
            found = group.get(path)
    except ChunkscaleError:
        raise
    except Exception:  # zarr has no common base for bad metadata
        found = False
    # Whatever else is there, opening it says what is wrong.
    return found if found is None or hasattr(found, "chunks") else _open_zarr(uri, "r+")


def set_attributes(
    uri: str, attributes: Mapping[str, Any], *, instead_of: Mapping[str, Any] | None = None
) -> bool:
    """Replace the attributes of a group in one write.

    Parameters
    ----------
    uri : str
    attributes : mapping
    instead_of : mapping, optional
        What they have to be, looked at just before; otherwise nothing is written.

    Returns
    -------
    bool
        Whether they were written.
    """
    import zarr

    group = zarr.open_group(
        _store(uri), mode="r+", zarr_format=_known_format(uri), use_consolidated=False
    )
    if instead_of is not None and dict(group.attrs) != instead_of:
        return False
    with _clear_write_errors(uri):
        group.attrs.put(dict(attributes))
    return True


def compose_multiscales(
    *, version: str, name: str | None, axes: Sequence[Mapping[str, Any]],
    datasets: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Return the group attributes that ome-zarr writes for a multiscale image.

    They are composed in memory; nothing is stored.
    """
    import zarr
    from zarr.storage import MemoryStore

    with _filtering, warnings.catch_warnings():
        # ome-zarr 0.18 uses a class that it has deprecated itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        from ome_zarr.format import format_from_version
        from ome_zarr.writer import write_multiscales_metadata

    fmt = format_from_version(version)
    group = zarr.open_group(MemoryStore(), mode="w", zarr_format=fmt.zarr_format)
    write_multiscales_metadata(
        group, [dict(d) for d in datasets], fmt=fmt, axes=[dict(a) for a in axes], name=name
    )
    return dict(group.attrs)


def foreign_entries(uri: str, arrays: Iterable[str]) -> list[str]:
    """Return what lies in a group beside its metadata, these arrays and their chunks."""
    paths = [tuple(path.split("/")) for path in arrays]
    return [name for name in _foreign(uri, paths) if name != NOTES]


def _foreign(uri: str, arrays: Sequence[tuple[str, ...]]) -> Iterator[str]:
    inner: dict[str, list[tuple[str, ...]]] = {}
    for first, *rest in filter(None, arrays):
        inner.setdefault(first, []).append(tuple(rest))
    is_array = () in arrays
    for name in stores.names(uri):
        if name in inner:
            yield from (
                f"{name}/{found}" for found in _foreign(stores.join(uri, name), inner[name])
            )
        elif name not in _METADATA_FILES and not any(
            pattern.fullmatch(name) for pattern in (_STRAY, _DROPPINGS, *[_CHUNK] * is_array)
        ):
            yield name


def is_empty(uri: str) -> bool:
    """Whether a path holds nothing but notes."""
    return set(stores.names(uri)) <= {NOTES}


def is_blank(uri: str) -> bool:
    """Whether a path holds nothing, or what a run leaves that died while it began."""
    if not stores.in_bucket(uri) and not os.path.isdir(uri):
        return False
    names = stores.names(uri)
    if not names and stores.in_bucket(uri):
        return not stores.exists(uri)  # an object without a name below it
    left = [n for n in names if n != NOTES and not _STRAY.fullmatch(n)]
    if not {"zarr.json", ".zgroup", ".zattrs"}.issuperset(left):
        return False
    try:
        return not (left and group_attributes(uri))
    except (SourceNotFoundError, MetadataError):
        return False  # an array, or damaged: it could be anyone's


def put_note(uri: str, name: str, text: str, *, new: bool = False) -> None:
    """Store a small text below an output, in one piece.

    Raises
    ------
    FileExistsError
        If it is to be `new`, and is there; object stores do not tell.
    """
    stores.put(stores.join(uri, NOTES, name), text.encode(), new=new)


def withdraw_note(uri: str, name: str, text: str) -> None:
    """Delete a note that is as it was read; one that has changed raises a `FileExistsError`.

    In object stores a note is simply replaced by the next one.
    """
    if not stores.in_bucket(uri):
        stores.withdraw(stores.join(uri, NOTES, name), text.encode())


def read_note(uri: str, name: str) -> str | None:
    """Return such a text, or None."""
    content = stores.get(stores.join(uri, NOTES, name))
    return None if content is None else content.decode(errors="replace")


def note_names(uri: str) -> list[str]:
    """Return the names of all of them."""
    return stores.names(stores.join(uri, NOTES))


def delete_note(uri: str, name: str) -> None:
    """Delete one; with the last one nothing of them is left."""
    stores.delete([stores.join(uri, NOTES, name)])
    stores.prune(stores.join(uri, NOTES))


def tidy(uri: str, arrays: Iterable[str]) -> tuple[dict[str, int], int, int]:
    """Delete what killed processes left while they wrote objects; look once at all that is stored.

    Parameters
    ----------
    uri : str
        Of a group.
    arrays : iterable of str
        Names of its arrays.

    Returns
    -------
    counts : dict of str to int
        Stored chunks or shards by array.
    stored : int
        Size of these chunks or shards.
    nbytes : int
        Size of all objects of these arrays.
    """
    counts, stored, nbytes, strays = dict.fromkeys(arrays, 0), 0, 0, []
    local = not stores.in_bucket(uri)
    for path, size in stores.objects(uri):
        if path.endswith(_ENDS) and local and _STRAY.fullmatch(path.rpartition("/")[2]):
            strays.append(stores.join(uri, path))
            continue
        array, _, inner = path.partition("/")
        if array in counts:
            is_chunk = _is_chunk(inner)
            counts[array] += is_chunk
            stored += is_chunk * size
            nbytes += size
    stores.delete(strays)
    return counts, stored, nbytes


def check_parent(uri: str) -> None:
    """Refuse an output where no directory can be made, and one in an array; local ones only."""
    if stores.in_bucket(uri):
        return
    for parent in Path(resolved(uri)).parents:
        if _is_array(parent):
            raise DestinationError(
                f"the output {uri!r} lies inside the array {str(parent)!r}; choose a path outside "
                "of it"
            )
    for parent in Path(uri).parents:
        if parent.is_dir():
            break
        if os.path.lexists(parent):
            raise DestinationError(
                f"the output {uri!r} cannot be made: {str(parent)!r} is not a directory"
            )
    try:
        # Permissions do not tell: a file system may be read-only, or no place for files.
        os.rmdir(tempfile.mkdtemp(prefix=".chunkscale-", dir=parent))
    except OSError as error:
        raise DestinationError(
            f"the output {uri!r} cannot be made: nothing can be written in {str(parent)!r} "
            f"({error.strerror}); choose another path"
        ) from error


def check_links(uri: str, arrays: Iterable[str] = ()) -> None:
    """Refuse a local output in which a link stands for a folder of its notes or these arrays.

    What lies behind one is not the output's, and would be written and deleted with it. A link to
    a file does no harm: it is replaced or deleted itself.
    """
    if is_remote(uri):
        return
    for link in stores.linked_folders(uri, [NOTES, *arrays]):
        raise DestinationError(
            f"the output {uri!r} holds the link {link!r} where a folder of its own belongs, and "
            f"nothing outside of an output is ever written or deleted; remove the link (what it "
            f"leads to, {os.path.realpath(link)!r}, stays), or move that folder to its place"
        )


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    try:
        node = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(node, dict) and node.get("node_type") == "array"


def seen_through(uri: str, places: Iterable[str]) -> dict[str, bool | None]:
    """Say of places whether they are the folder `uri` by another name; None where none can tell.

    A draft of a name that was never there is put into the folder, and looked for in each of the
    places: paths say nothing where disks are mounted twice or served by a server, and servers keep
    answers for names that they know. Names with a dot in front are hidden by many of them.
    """
    name, mark = f"zarr.{uuid.uuid4().hex}.partial", uuid.uuid4().bytes
    try:
        stores.put(join(uri, name), mark)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return dict.fromkeys(places)
    try:
        return {place: _holds(join(place, name), mark) for place in places}
    finally:
        stores.delete([join(uri, name)])


def _holds(uri: str, content: bytes) -> bool | None:
    try:
        return stores.get(uri) == content
    except Exception:  # fsspec and aiohttp have no common base for what servers do
        return None


def discard(uri: str, arrays: Iterable[str] = ()) -> None:
    """Delete an output but for its notes; the caller has made sure that it is one.

    While it goes no reader takes it for an image, and whoever is interrupted
    here may delete it again: it says which `arrays` it had.
    """
    _unpublish(uri, arrays)
    for name in stores.names(uri):
        if name != NOTES and name not in _METADATA_FILES:
            stores.delete_below(stores.join(uri, name))
    # Metadata last: it says what the rest was; what repeats it before the rest of it.
    left = [name for name in stores.names(uri) if name != NOTES]
    left.sort(key=lambda name: name != ".zmetadata")
    stores.delete(stores.join(uri, name) for name in left)


def _unpublish(uri: str, arrays: Iterable[str]) -> None:
    try:
        group_attributes(uri)
    except (SourceNotFoundError, MetadataError):
        return  # it was no image
    try:
        set_attributes(uri, {"chunkscale": {"state": "unfinished", "levels": list(arrays)}})
    except OSError:
        if stores.in_bucket(uri):
            raise
        # A full disk, which the deletion makes room on.


def free_bytes(uri: str) -> int | None:
    """Return the free disk space where a local output would go; None for object stores."""
    if is_remote(uri):
        return None
    path = Path(uri)
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def object_count(uri: str) -> int:
    """Return the number of stored chunks or shards of an array."""
    return sum(_is_chunk(path) for path, _ in stores.objects(uri))


def _is_chunk(path: str) -> bool:
    """Whether an object of an array is one: not metadata, and nothing that is no part of it."""
    return _CHUNK.fullmatch(path) is not None
