"""The door of tifffile: what it finds in a file, and whether that can be trusted."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import AccessDeniedError, ChunkscaleError, MetadataError, SourceNotFoundError
from chunkscale.sources.tiff.axes import StoredAxes
from chunkscale.sources.tiff.chain import SIZES, check_chain
from chunkscale.sources.tiff.table import PageTable
from chunkscale.text import human_bytes, some

#: Tags in which pages that share strips and tiles have to agree, and what they are if left out.
_ALIKE = {
    **dict.fromkeys((256, 257, 278, 322, 323, 32998)),  # width, length, rows of a strip, tiles
    **dict.fromkeys((258, 259, 266, 277, 284, 317, 32997), 1),  # bits, codec, samples, depth
}

_JPEG = (6, 7, 34892, 33007)

#: A tile may be larger than its page, and an encoded one larger than a decoded one, but not by
#: more than this factor; what is small does no harm.
_MOST_PADDING, _SMALL = 4, 2**24


class _Heard(logging.Handler):
    """What tifffile logs in this thread instead of raising it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            text = record.getMessage()
            # A tag of somebody's own that is not understood keeps no voxel from being read.
            severe = record.levelno >= logging.ERROR and "TiffTag" not in text
            (self.errors if severe else self.warnings).append(text)


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[Any, list[str]]]:
    """Open a file with tifffile; yield it, and a list that gets what tifffile warns of.

    Raises
    ------
    MetadataError
        If it is no TIFF file, or damaged: tifffile logs that and goes on with what is left.
    """
    import tifffile

    check_chain(path)
    heard = _Heard()
    log = logging.getLogger("tifffile")
    log.addHandler(heard)
    # It is told in messages of our own.
    propagate, log.propagate = log.propagate, False
    try:
        with tifffile.TiffFile(path) as tif:
            yield tif, heard.warnings
            if heard.errors:
                raise MetadataError(
                    f"the TIFF file {path!r} is damaged: {_told(heard.errors)}; restore it from "
                    "the original data"
                )
    except ChunkscaleError:
        raise
    except PermissionError as error:
        raise AccessDeniedError(f"{path!r} may not be read: {error}") from error
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{path!r} does not exist") from error
    except Exception as error:  # whatever the library finds wrong with a file that is damaged
        text = _told([str(error) or type(error).__name__, *heard.errors])
        raise MetadataError(
            f"{path!r} cannot be read as a TIFF file: {text}; restore it from the original data"
        ) from error
    finally:
        log.propagate = propagate
        log.removeHandler(heard)


def _told(texts: Sequence[str]) -> str:
    return some([" ".join(text.split())[:160] for text in dict.fromkeys(texts)], 2, "; ")


def stored_axes(path: str, series: Any) -> StoredAxes:
    """Return the axes of a series of tifffile, without those of one voxel.

    Raises
    ------
    MetadataError
        If its pages do not make up its shape.
    """
    page = tuple(map(int, series.keyframe.shaped))
    pairs = [(a, int(n)) for a, n in zip(series.axes, series.shape, strict=True) if n != 1]
    inner = [n for n in page if n != 1]
    leading = pairs[: len(pairs) - len(inner)]
    if [n for _, n in pairs[len(leading) :]] != inner:
        raise MetadataError(
            f"{path!r}: its pages of {' x '.join(map(str, inner))} voxels do not make up "
            f"{' x '.join(map(str, series.shape))} ({series.axes}); correct its metadata"
        )
    called = dict(
        zip((i for i, n in enumerate(page) if n != 1), pairs[len(leading) :], strict=True)
    )
    return StoredAxes(
        leading="".join(a for a, _ in leading),
        counts=tuple(n for _, n in leading),
        page=page,
        plane=called.get(2, "Y")[0] + called.get(3, "X")[0],
    )


def page_table(path: str, series: Any, pages: int) -> PageTable:
    """Return where the voxels of a series of tifffile are.

    Parameters
    ----------
    path : str
    series : tifffile.TiffPageSeries
    pages : int
        How many make it up.

    Raises
    ------
    MetadataError
        If a page is missing, differs from the others, or lies beyond the end of its file.
    """
    key = series.keyframe
    if key.dtype is None or series.dtype != key.dtype:
        raise MetadataError(f"{path!r}: its data type is not known ({key.bitspersample} bit)")
    raw = bool(key.is_final)
    first = series.pages[0]
    contiguous = None if first is None else series.dataoffset
    files = _Files(path)
    if raw and contiguous is not None:
        found = [(files.of(first), int(first.index))]
        size = int(key.nbytes)
        offsets = contiguous + size * np.arange(pages, dtype=np.int64)[:, None]
        counts = np.full((pages, 1), size, np.int64)
        file = np.full(pages, found[0][0], np.int32)
        step = 0 if len(series.pages) == 1 else 1
        number = first.index + step * np.arange(pages, dtype=np.int64)
    else:
        listed = list(series.pages)
        _refuse_missing(path, listed, pages)
        _refuse_unlike(path, listed, key)
        file = np.array([files.of(page) for page in listed], np.int32)
        number = np.array([page.index for page in listed], np.int64)
        if raw:
            offsets = np.array([[page.dataoffsets[0]] for page in listed], np.int64)
            counts = np.full((pages, 1), key.nbytes, np.int64)
        else:
            offsets, counts = _segments(path, listed, key)
    tables: tuple[bytes | None, ...] = ()
    if key.compression in _JPEG:
        tables = tuple(page.jpegtables for page in series.pages)
    table = PageTable(
        files=tuple(files.paths),
        file=file,
        number=number,
        offsets=offsets,
        counts=counts,
        shape=tuple(map(int, key.shaped)),
        segment=_segment_shape(key),
        is_tiled=bool(key.is_tiled),
        dtype=np.dtype(key.dtype).newbyteorder(key.parent.byteorder),
        decode=None if raw else key.decode,
        fill=key.nodata,
        tables=tables,
        header=key.jpegheader if tables else None,
        codec=_codec(key),
    )
    _refuse_beyond(table)
    if not raw:
        _refuse_absurd(table)
    return table


class _Files:
    """The files of pages, in the order in which they are met."""

    def __init__(self, path: str) -> None:
        self.paths = [path]
        self._known: dict[int, int] = {}

    def of(self, page: Any) -> int:
        """Return the number of the file that a page is in."""
        parent = page.parent
        if id(parent) not in self._known:
            place = parent.filehandle.path
            if place not in self.paths:
                self.paths.append(place)
            self._known[id(parent)] = self.paths.index(place)
        return self._known[id(parent)]


def _codec(key: Any) -> str:
    import tifffile

    code = int(key.compression)
    known = code in tifffile.COMPRESSION._value2member_map_
    name = tifffile.COMPRESSION(code).name.lower() if known else f"codec {code}"
    return name + ("+predictor" if key.predictor != 1 else "")


def _segment_shape(key: Any) -> tuple[int, ...]:
    together = int(key.samplesperpixel) if key.planarconfig == 1 else 1
    if key.is_tiled:
        return int(key.tiledepth), int(key.tilelength), int(key.tilewidth), together
    rows = min(int(key.rowsperstrip), int(key.imagelength))
    return 1, rows, int(key.imagewidth), together


def _segments(
    path: str, listed: Sequence[Any], key: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    wanted = int(np.prod(key.chunked, dtype=np.int64))
    for page in listed:
        for what in (page.dataoffsets, page.databytecounts):
            if len(what) != wanted:
                raise MetadataError(
                    f"page {page.index} of {path!r} lists {len(what)} strips or tiles and should "
                    f"have {wanted}; the file is damaged, restore it from the original data"
                )
    offsets = np.array([page.dataoffsets for page in listed], np.int64)
    return offsets, np.array([page.databytecounts for page in listed], np.int64)


def _refuse_missing(path: str, listed: Sequence[Any], pages: int) -> None:
    missing = [i for i, page in enumerate(listed) if page is None]
    missing += range(len(listed), pages)
    if missing:
        raise MetadataError(
            f"{path!r}: {len(missing)} of the {pages} planes that its metadata lists are not "
            f"there (the first is number {missing[0]}), and would be read as zeros; restore the "
            "file, or the files that it names"
        )


def _refuse_beyond(table: PageTable) -> None:
    """Refuse pages that lie beyond the end of their file: it is cut off."""
    sizes = np.array([os.path.getsize(path) for path in table.files], np.int64)
    stored = (table.offsets > 0) & (table.counts > 0)
    beyond = stored & (table.offsets + table.counts > sizes[table.file][:, None])
    beyond |= (table.offsets < 0) | (table.counts < 0)
    if beyond.any():
        page = int(np.argwhere(beyond)[0][0])
        raise MetadataError(
            f"{table.page_text(page)} is beyond the end of the file, which has "
            f"{sizes[table.file[page]]} bytes: it is cut off; restore it from the original data"
        )
    if not stored.any():
        raise MetadataError(f"{table.files[0]!r} has no voxels: no strip or tile is stored")


def _refuse_absurd(table: PageTable) -> None:
    """Refuse strips and tiles that no writer makes, and that would be taken into memory whole."""
    decoded, page = table.segment_bytes, table.page_bytes
    if decoded > _MOST_PADDING * max(page, _SMALL):
        raise MetadataError(
            f"the strips or tiles of {table.files[0]!r} have {human_bytes(decoded)} each by its "
            f"tags, and a whole page has {human_bytes(page)}; the file is damaged, restore it from "
            "the original data"
        )
    absurd = table.counts > _MOST_PADDING * max(decoded, _SMALL)
    if absurd.any():
        number, index = (int(i) for i in np.argwhere(absurd)[0])
        raise MetadataError(
            f"strip or tile {index} of {table.page_text(number)} has "
            f"{human_bytes(int(table.counts[number, index]))} by its tags, and "
            f"{human_bytes(decoded)} when it is decoded; the file is damaged, restore it from the "
            "original data"
        )


def _refuse_unlike(path: str, listed: Sequence[Any], key: Any) -> None:
    """Refuse pages whose tags are not those of the first: tifffile reads only where they are."""
    if key.parent.tiff.is_ndpi:
        return
    first: dict[int, int] | None = None
    place, file = "", None
    with contextlib.ExitStack() as stack:
        for page in listed:
            if page.offset <= 0:  # it has no tags of its own
                continue
            if page.parent.filehandle.path != place:
                stack.close()
                place = page.parent.filehandle.path
                file = stack.enter_context(open(place, "rb"))
            tags = short_tags(file, page.offset, page.parent)
            first = tags if first is None else first
            for code, default in _ALIKE.items():
                if code == 278 and key.is_final:
                    continue
                one, other = tags.get(code, default), first.get(code, default)
                if one != other:
                    raise MetadataError(
                        f"page {page.index} of {place!r} differs from the first one of the image "
                        f"(tag {code} is {one} and not {other}), so they are not one image; give "
                        "a file whose pages have one shape and data type"
                    )


def short_tags(file: Any, offset: int, tif: Any) -> dict[int, int]:
    """Return the values of tags that stand in the directory itself."""
    form = tif.tiff
    file.seek(offset)
    count = struct.unpack(form.tagnoformat, file.read(form.tagnosize))[0]
    raw = file.read(count * form.tagsize)
    order: Any = "little" if tif.byteorder == "<" else "big"
    found = {}
    for at in range(0, len(raw), form.tagsize):
        code, kind = struct.unpack_from(tif.byteorder + "HH", raw, at)
        size = SIZES.get(kind)
        if code in _ALIKE and size:
            number = struct.unpack_from(form.offsetformat, raw, at + 4)[0]
            if number * size <= form.offsetsize:
                start = at + 4 + form.offsetsize
                found[code] = int.from_bytes(raw[start : start + number * size], order)
    return found
