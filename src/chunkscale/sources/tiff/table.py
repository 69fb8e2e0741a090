"""Where the voxels of an image lie in TIFF files: pages of equal shape, in strips or tiles."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import CorruptChunkError
from chunkscale.sources.tiff.inflate import refuse_larger

#: Takes encoded bytes and the number of a strip or tile; returns voxels, where they lie in the
#: page (sample, z, y, x, sample), and their shape.
Decode = Callable[..., tuple[Any, tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageTable:
    """Pages of equal shape in one or more files.

    Parameters
    ----------
    files : tuple of str
    file : ndarray
        Of each page, which of `files` it is in.
    number : ndarray
        Of each page, its number there.
    offsets, counts : ndarray
        Bytes of each strip or tile, by page. Where pages are `raw`, of the page as a whole.
    shape : tuple of int
        Of a page: separate samples, z, y, x, samples beside one another.
    segment : tuple of int
        Of a strip or tile: z, y, x, samples beside one another.
    is_tiled : bool
    dtype : numpy.dtype
        As it is stored.
    decode : callable, optional
        None for voxels that are stored as they are, in one piece for each page.
    fill : int or float
        What strips or tiles have that are not stored.
    tables : tuple of bytes or None
        JPEG tables, by page; empty where there are none.
    header : bytes, optional
        Of JPEG.
    codec : str
    """

    files: tuple[str, ...]
    file: NDArray[np.int32]
    number: NDArray[np.int64]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    shape: tuple[int, ...]
    segment: tuple[int, ...]
    is_tiled: bool
    dtype: np.dtype[Any]
    decode: Decode | None
    fill: float
    tables: tuple[bytes | None, ...] = ()
    header: bytes | None = None
    codec: str = "none"

    @property
    def pages(self) -> int:
        """How many there are."""
        return len(self.file)

    @property
    def is_raw(self) -> bool:
        """Whether voxels are read as they are stored."""
        return self.decode is None

    @property
    def page_bytes(self) -> int:
        """Decoded size of a page."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def segment_bytes(self) -> int:
        """Decoded size of a strip or tile."""
        return int(np.prod(self.segment, dtype=np.int64)) * self.dtype.itemsize

    def page_text(self, page: int) -> str:
        """Say which page it is, in which file."""
        return f"page {self.number[page]} of {self.files[self.file[page]]!r}"

    def decoded(self, page: int, index: int, data: bytes | None) -> NDArray[Any]:
        """Return a strip or tile as voxels (z, y, x, sample).

        Raises
        ------
        CorruptChunkError
            If it cannot be decoded, or has another size than the page says.
        """
        assert self.decode is not None
        more: dict[str, Any] = {}
        if self.tables:
            more = {"jpegtables": self.tables[page], "jpegheader": self.header}
        try:
            if data is not None:
                refuse_larger(self.codec.partition("+")[0], data, self.segment_bytes)
            found, _, shape = self.decode(data, index, **more)
        except Exception as error:  # whatever a codec finds wrong with it
            raise self.corrupt(page, index, error) from error
        if found is None:
            return np.full(shape, self.fill, self.dtype.newbyteorder("="))
        if found.shape != tuple(shape) or found.dtype.newbyteorder("=") != self.dtype.newbyteorder(
            "="
        ):
            what = f"it decodes to {found.dtype} of shape {found.shape} and not {shape}"
            raise self.corrupt(page, index, what)
        return np.asarray(found)

    def corrupt(self, page: int, index: int, error: object) -> CorruptChunkError:
        """Return the error of a strip or tile that cannot be read."""
        what = "tile" if self.is_tiled else "strip"
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        return CorruptChunkError(
            f"{what} {index} of {self.page_text(page)} cannot be read: {text}; restore the file "
            "from the original data and run again"
        )


class OpenFiles:
    """Files that are read from by position; each is opened once, and a few stay open."""

    _MOST = 64

    def __init__(self, files: tuple[str, ...]) -> None:
        self._files = files
        self._open: dict[int, _File] = {}

    def read_into(self, file: int, offset: int, out: memoryview) -> int:
        """Fill a buffer; return how many bytes there were."""
        done = 0
        handle = self._handle(file)
        while done < len(out):
            n = os.preadv(handle.number, [out[done:]], offset + done)
            if not n:
                break
            done += n
        return done

    def read(self, file: int, offset: int, size: int) -> bytes:
        """Return bytes; fewer where the file ends."""
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.read_into(file, offset, memoryview(buffer))])

    def _handle(self, file: int) -> _File:
        found = self._open.get(file)
        if found is None:
            if len(self._open) >= self._MOST:
                self._open.clear()  # whoever reads from one still holds it
            found = self._open.setdefault(file, _File(self._files[file]))
        return found


class _File:
    """A file that is closed when nobody holds it any more."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)
