"""Voxels that lie in a file one after the other, read in boxes; in one that is packed as well."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import CorruptChunkError, RegionError
from chunkscale.geometry.box import Box
from chunkscale.sources.file_image import FileState

#: Bytes that are read at a time; few, because each thread that reads holds them and what they are
#: scaled to.
_PIECE = 2**17

#: Bytes behind the last voxel of a packed file that are read for its checksum.
_MOST_BEHIND = 2**26


@dataclass(frozen=True, kw_only=True)
class RawVoxels:
    """The voxels of a file, of which each axis of `extent` may be another one, and mirrored.

    Parameters
    ----------
    path : str
    offset : int
        Bytes before the first voxel.
    stored : numpy.dtype
        As the file has it, byte order included.
    extent : tuple of int
        Voxels along the axes of the file, that of neighbours in the file first.
    order : tuple of int
        The axis of the file that each axis is; those left out have one voxel.
    mirrored : tuple of bool
        Whether an axis runs against that of the file.
    scaling : tuple of float, optional
        Slope and intercept that values are made with.
    packed : bool
        Whether the file is unpacked as a whole before anything can be read.
    state : FileState, optional
        What the file was when it was opened.
    """

    path: str
    offset: int
    stored: np.dtype[Any]
    extent: tuple[int, ...]
    order: tuple[int, ...]
    mirrored: tuple[bool, ...]
    scaling: tuple[float, float] | None = None
    packed: bool = False
    state: FileState | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return tuple(self.extent[i] for i in self.order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native byte order; of what is scaled that of the products."""
        native = self.stored.newbyteorder("=")
        return native if self.scaling is None else np.result_type(native, np.float64)

    @property
    def chunk(self) -> tuple[int, ...]:
        """A row of the file: it is read whole."""
        return tuple(self.extent[0] if i == 0 else 1 for i in self.order)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_held"}

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels in the file."""
        return math.prod(self.extent) * self.stored.itemsize

    def read(self, box: Box, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the voxels of a box, in `out` if it is given (C order)."""
        if out is None:
            out = np.empty(box.shape, self.dtype)
        if not out.size:
            return out
        spans = [(0, 1)] * len(self.extent)
        for a, b, i, turned in zip(box.start, box.stop, self.order, self.mirrored, strict=True):
            n = self.extent[i]
            spans[i] = (n - b, n - a) if turned else (a, b)
        left = [i for i in range(len(self.extent)) if i not in self.order]
        flips = tuple(slice(None, None, -1 if turned else 1) for turned in self.mirrored)
        view = out[flips][(..., *(None for _ in left))]
        # Neighbours in the file last, as in C order.
        places = (*self.order, *left)
        view = view.transpose([places.index(i) for i in reversed(range(len(places)))])
        with self._bytes() as file:
            for index in itertools.product(*(range(b - a) for a, b in spans[:1:-1])):
                self._read_plane(file, spans, index, view[index])
        return out

    def _read_plane(
        self,
        file: IO[bytes],
        spans: Sequence[tuple[int, int]],
        index: tuple[int, ...],
        out: NDArray[Any],
    ) -> None:
        """Read rows of one plane of the file, some at a time."""
        width = self.extent[0]
        (left, right), (top, bottom) = spans[:2]
        plane = 0
        for (first, _), k, n in zip(spans[:1:-1], index, self.extent[:1:-1], strict=True):
            plane = plane * n + first + k
        step = max(1, _PIECE // (width * self.stored.itemsize))
        for row in range(top, bottom, step):
            rows = min(step, bottom - row)
            piece = np.empty((rows, width), self.stored)
            at = (plane * self.extent[1] + row) * width * self.stored.itemsize
            file.seek(self.offset + at)
            _fill(file, piece, self.path)
            taken: Any = piece[:, left:right]
            if self.scaling is not None:
                slope, inter = self.scaling
                taken = taken.astype(self.dtype)
                taken *= slope
                if inter:  # as nibabel does: 0 would take the sign of -0.0
                    taken += inter
            out[row - top : row - top + rows] = taken

    @contextlib.contextmanager
    def _bytes(self) -> Iterator[IO[bytes]]:
        if self.state is not None and (found := self.state.fate()):
            raise RegionError(f"{found} since it was opened; open it again")
        if self.packed:
            with _unpacked(self).opened() as file:
                yield file
            return
        with open(self.path, "rb", buffering=0) as file:
            yield file


def _fill(file: IO[bytes], piece: NDArray[Any], path: str) -> None:
    rest = piece.view(np.uint8).reshape(-1).data
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise CorruptChunkError(
                f"{path!r} ends before its last voxel; restore it from the original"
            )
        rest = rest[count:]


class _Unpacked:
    """A file that is unpacked once, into a temporary one without a name."""

    def __init__(self, voxels: RawVoxels) -> None:
        self._voxels = voxels
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Return the file, for one thread at a time."""
        with self._lock:
            if self._file is None:
                self._file = _unpack(self._voxels)
            yield self._file


_known: WeakValueDictionary[tuple[Any, ...], _Unpacked] = WeakValueDictionary()

_looking = threading.Lock()


def _unpacked(voxels: RawVoxels) -> _Unpacked:
    """Return what a process has unpacked of a file, for as long as somebody holds its voxels."""
    held: _Unpacked | None = voxels.__dict__.get("_held")
    if held is not None:
        return held
    seen = os.stat(voxels.path)
    key = (voxels.path, seen.st_mtime_ns, seen.st_size)
    with _looking:
        held = _known.get(key)
        if held is None:
            held = _known[key] = _Unpacked(voxels)
        voxels.__dict__["_held"] = held
    return held


def _unpack(voxels: RawVoxels) -> IO[bytes]:
    """Unpack what voxels need; what follows is read for its checksum, and is not kept."""
    from nibabel.openers import ImageOpener

    file: IO[bytes] = tempfile.TemporaryFile(prefix="chunkscale-")  # noqa: SIM115 (it is kept)
    try:
        with ImageOpener(voxels.path) as packed:
            done, end = 0, voxels.offset + voxels.nbytes
            while piece := packed.read(_PIECE):
                file.write(piece[: max(0, end - done)])
                done += len(piece)
                if done > end + _MOST_BEHIND:
                    raise ValueError(f"it continues after its last voxel (byte {end})")
    except Exception as error:  # each library has errors of its own
        file.close()
        raise CorruptChunkError(
            f"{voxels.path!r} cannot be unpacked into {tempfile.gettempdir()!r}: "
            f"{error or repr(error)}; restore it, or set TMPDIR to a folder with more room"
        ) from error
    file.flush()
    return file
