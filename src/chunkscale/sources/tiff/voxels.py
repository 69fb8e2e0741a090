"""The voxels of pages, read in boxes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import CorruptChunkError, RegionError
from chunkscale.geometry.box import Box
from chunkscale.sources.file_image import FileState
from chunkscale.sources.tiff.axes import AxisOrder
from chunkscale.sources.tiff.table import OpenFiles, PageTable
from chunkscale.storage.block_cache import BlockCache
from chunkscale.storage.engine import Once, StoreIO

#: Bytes of rows that are read at a time where they cannot be read in their place.
_ROWS = 2**20

#: Rows are read one by one where less than one voxel of so many is wanted.
_SPARSE = 8

#: Voxels along x that are read together where nothing has to be decoded: what a disk reads.
_RUN_BYTES = 4096

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is read, as it is found when files are opened.

    Parameters
    ----------
    table : PageTable
    states : tuple of FileState
        Of its files, before they were read.
    """

    table: PageTable
    states: tuple[FileState, ...]


class TiffVoxels:
    """Voxels of pages. Thread-safe; another process opens the files when it first reads.

    Parameters
    ----------
    order : AxisOrder
    chunk : tuple of int
        A strip or tile.
    dtype : numpy.dtype
    stamp : str
        What the files were when they were opened; see `stamp_of`.
    load : callable
        Opens them; it can be pickled.
    io : StoreIO
    opened : Opened, optional
        What it would return, in this process.
    """

    def __init__(
        self,
        order: AxisOrder,
        chunk: tuple[int, ...],
        dtype: np.dtype[Any],
        stamp: str,
        load: Callable[[], Opened],
        io: StoreIO,
        opened: Opened | None = None,
    ) -> None:
        self.shape, self.chunk, self.dtype = order.shape, chunk, dtype
        self._order, self._stamp, self._load, self._io = order, stamp, load, io
        self._opened = opened
        self._pages = Once(self._open)

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._order, self.chunk, self.dtype, self._stamp, self._load, self._io)
        return type(self), given

    def within(self, io: StoreIO) -> TiffVoxels:
        """Return the same with other limits."""
        return TiffVoxels(
            self._order, self.chunk, self.dtype, self._stamp, self._load, io, self._opened
        )

    def _open(self) -> _Pages:
        opened = self._opened or self._load()
        now = any(state.fate() for state in opened.states)
        if now or stamp_of(opened.states) != self._stamp:
            raise RegionError(
                f"{opened.states[0].path!r} has been replaced since it was opened; open it again"
            )
        return _Pages(opened.table, self._io)

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box, in `out` if it is given.

        Raises
        ------
        CorruptChunkError
            Naming the file, the page and the strip or tile.
        """
        if out is None:
            out = np.empty(box.shape, self.dtype)
        pages: _Pages = self._pages.get()
        for page, where, view in _by_page(self._order, box, out):
            pages.read(page, where, view)
        return out


def stamp_of(states: tuple[FileState, ...]) -> str:
    """Return what tells files from others that take their places."""
    import hashlib

    seen = repr([(state.path, state.size, state.modified) for state in states])
    return hashlib.sha256(seen.encode()).hexdigest()


def chunk_shape(table: PageTable, order: AxisOrder) -> tuple[int, ...]:
    """Return what has to be decoded together, by axis of the image."""
    sizes = (1, *table.segment[:3])
    if table.is_raw:
        run = max(1, _RUN_BYTES // (table.dtype.itemsize * table.shape[4]))
        sizes = (1, 1, 1, min(run, table.shape[3]))
    together = 1 if table.is_raw else table.shape[4]
    return tuple(
        min(n, sizes[role] if role is not None else together if name == "c" else 1)
        for name, n, role in zip(order.names, order.shape, order.roles, strict=True)
    )


def _by_page(
    order: AxisOrder, box: Box, out: NDArray[Any]
) -> Iterator[tuple[int, tuple[Interval, ...], NDArray[Any]]]:
    """Yield pages with the interval of each (sample, z, y, x), and the view of `out` for it."""
    choices: list[list[tuple[int, int, int, slice | int]]] = []
    for i, (a, b) in enumerate(zip(box.start, box.stop, strict=True)):
        if order.names[i] == "c" and order.samples > 1:
            choices.append(_samples(order.samples, a, b))
        elif order.roles[i] is None:
            choices.append([(k, 0, 1, k - a) for k in range(a, b)])
        else:
            choices.append([(0, a, b, slice(None))])
    for chosen in itertools.product(*choices):
        page = sum(c[0] * step for c, step in zip(chosen, order.frames, strict=True))
        where: list[Interval] = [(0, 1)] * 4
        for i, (_, a, b, part) in enumerate(chosen):
            if isinstance(part, slice):
                where[order.roles[i] or 0] = (a, b)
        view = out[tuple(c[3] for c in chosen)]
        kept = [order.roles[i] or 0 for i, c in enumerate(chosen) if isinstance(c[3], slice)]
        view = np.transpose(view, np.argsort(kept))
        for role in sorted(set(range(4)) - set(kept)):
            view = np.expand_dims(view, role)
        yield page, tuple(where), view


def _samples(n: int, a: int, b: int) -> list[tuple[int, int, int, slice | int]]:
    """Return what an interval of channels is, of which `n` are the samples of a page."""
    found: list[tuple[int, int, int, slice | int]] = []
    for k in range(a // n, -(-b // n)):
        low, high = max(a, k * n), min(b, k * n + n)
        found.append((k, low - k * n, high - k * n, slice(low - a, high - a)))
    return found


class _Pages:
    """Pages that are open, and strips and tiles that were decoded last."""

    def __init__(self, table: PageTable, io: StoreIO) -> None:
        self.table = table
        self._files = OpenFiles(table.files)
        self._io = io
        self._kept = BlockCache(io.cache_bytes)

    def read(self, page: int, where: tuple[Interval, ...], out: NDArray[Any]) -> None:
        """Read a part of a page (sample, z, y, x) into a view of that shape."""
        if self._io.faults is not None:
            self._io.faults("read", self.table.files[self.table.file[page]])
        try:
            if self.table.is_raw:
                self._read_raw(page, where, out)
            else:
                self._read_segments(page, where, out)
        except CorruptChunkError:
            raise
        except OSError as error:
            raise CorruptChunkError(
                f"{self.table.page_text(page)} cannot be read: {error}; check that the file "
                "exists and may be read, and run again",
                transient=True,
            ) from error

    def _read_raw(self, page: int, where: tuple[Interval, ...], out: NDArray[Any]) -> None:
        """Read rows: in their place if they are stored as they are wanted there."""
        table = self.table
        _, depth, length, width, together = table.shape
        (s0, s1), (z0, z1), (y0, y1), (x0, x1) = where
        item, base = table.dtype.itemsize, int(table.offsets[page, 0])
        # To read what lies between rows takes less time than to ask for each of them.
        apart = (x1 - x0) * _SPARSE < width
        first, last = (x0, x1) if apart else (0, width)
        rows = 1 if apart else max(1, _ROWS // (width * together * item))
        in_place = table.dtype.isnative and together == 1 and last - first == x1 - x0
        planes = range(s0, s1) if together == 1 else range(1)
        for s, z in itertools.product(planes, range(z0, z1)):
            for y in range(y0, y1, rows):
                n = min(rows, y1 - y)
                start = ((s * depth + z) * length + y) * width + first
                offset = base + start * together * item
                chosen = slice(s0, s1) if together > 1 else slice(s - s0, s - s0 + 1)
                into = out[:, z - z0, y - y0 : y - y0 + n]
                if in_place and (row := into[chosen]).flags.c_contiguous:
                    self._fill(page, offset, row.reshape(-1))
                    continue
                found = np.empty((n, last - first, together), table.dtype)
                self._fill(page, offset, found.reshape(-1))
                found = found[:, x0 - first : x1 - first]
                if together > 1:
                    into[...] = np.moveaxis(found[..., chosen], -1, 0)
                else:
                    into[chosen] = np.moveaxis(found, -1, 0)

    def _fill(self, page: int, offset: int, into: NDArray[Any]) -> None:
        buffer = into.view(np.uint8).data
        got = self._files.read_into(int(self.table.file[page]), offset, buffer)
        if got < len(buffer):
            raise self.table.corrupt(page, 0, f"the file ends {len(buffer) - got} bytes too early")

    def _read_segments(self, page: int, where: tuple[Interval, ...], out: NDArray[Any]) -> None:
        table = self.table
        together = table.shape[4]
        counts = [-(-n // c) for n, c in zip(table.shape[1:4], table.segment[:3], strict=True)]
        (s0, s1), *inner = where
        spans = [
            range(a // c, -(-b // c)) for (a, b), c in zip(inner, table.segment[:3], strict=True)
        ]
        planes = range(s0, s1) if together == 1 else range(1)
        for s, *place in itertools.product(planes, *spans):
            index = s
            for n, i in zip(counts, place, strict=True):
                index = index * n + i
            decoded = self._kept.get((page, index), partial(self._decoded, page, index))
            into, out_of = [], []
            for (a, b), i, c, n in zip(
                inner, place, table.segment[:3], decoded.shape, strict=False
            ):
                low, high = max(a, i * c), min(b, i * c + c)
                if high > i * c + n:
                    raise table.corrupt(
                        page, index, f"it has {n} rows and should have {high - i * c}"
                    )
                into.append(slice(low - a, high - a))
                out_of.append(slice(low - i * c, high - i * c))
            part = decoded[(*out_of, slice(s0, s1) if together > 1 else slice(None))]
            target = slice(None) if together > 1 else slice(s - s0, s - s0 + 1)
            out[(target, *into)] = np.moveaxis(part, -1, 0)

    def _decoded(self, page: int, index: int) -> NDArray[Any]:
        table = self.table
        offset, count = int(table.offsets[page, index]), int(table.counts[page, index])
        if not offset or not count:
            return table.decoded(page, index, None)
        data = self._files.read(int(table.file[page]), offset, count)
        if len(data) < count:
            raise table.corrupt(page, index, f"the file ends {count - len(data)} bytes too early")
        return table.decoded(page, index, data)


def held_bytes(table: PageTable) -> int:
    """Return what the table itself takes in memory."""
    return math.prod(table.offsets.shape) * 16
