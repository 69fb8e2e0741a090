"""Planes in files of their own: folders, and patterns like ``planes/z*.tif``."""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chunkscale.errors import MetadataError, Notice, OptionError
from chunkscale.sources.file_image import file_states
from chunkscale.sources.folders import natural
from chunkscale.sources.tiff.library import opened, page_table, stored_axes
from chunkscale.sources.tiff.numbered import counted_axis, counted_word, differing, parts
from chunkscale.sources.tiff.pages import hole_notices, page_notices
from chunkscale.sources.tiff.table import PageTable
from chunkscale.sources.tiff.voxels import Opened

#: Files that say that a folder is one of zarr.
_ZARR = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """Files that hold a plane each, in their order.

    Parameters
    ----------
    place : str
        Folder or pattern.
    ends : tuple of str
    files : tuple of str
    """

    place: str
    ends: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the image is called: the folder that they lie in."""
        return os.path.basename(os.path.dirname(self.files[0]))

    @property
    def word(self) -> str:
        """The word in front of the number that differs in their names."""
        return counted_word(self.files) if len(self.files) > 1 else ""

    @property
    def letters(self) -> str:
        """The axis along which files follow one another: z, unless their names say another one."""
        return (counted_axis(self.word) or "z").upper() if len(self.files) > 1 else ""

    @property
    def counts(self) -> tuple[int, ...]:
        return (len(self.files),) if len(self.files) > 1 else ()

    def axis_notices(self, asked: Sequence[str] | None) -> tuple[Notice, ...]:
        """Say which axis the files are taken to follow, where neither the user nor names do.

        Raises
        ------
        OptionError
            If names say an axis, and it is not clear which.
        """
        found = counted_axis(self.word)
        if len(self.files) < 2 or asked is not None or found == "z":
            return ()
        first, last = (os.path.basename(self.files[i]) for i in (0, -1))
        numbered = f"{first!r} to {last!r}"
        if found == "":
            raise OptionError(
                f"{self.place!r}: the meaning of {self.word!r} in its file names ({numbered}) is "
                "unclear; give axes='zyx' (--source-axes zyx) if they are planes of a stack, "
                "'tyx' if they are time points, or 'cyx' if they are channels"
            )
        what = {None: "planes along z", "t": "time points", "c": "channels"}[found]
        text = f"its {len(self.files)} files ({numbered}) are read as {what}"
        return (Notice("axes", f"{text}; set axes (--source-axes) if that is wrong"),)

    def opened(self) -> Opened:
        """Open every file: each has to have one page like those of the first."""
        return self.looked_at()[0]

    def looked_at(self) -> tuple[Opened, tuple[Notice, ...]]:
        """Do what `opened` does, and say what the pages say that an image cannot hold."""
        _refuse_no_file(self.files)
        states = file_states(self.files)
        said: Counter[Notice] = Counter()
        first = _plane(self.files[0], said)
        tables = itertools.chain([first], (_plane(path, said) for path in self.files[1:]))
        table = _together(self.files, first, tables)
        count = len(self.files)
        notices = [
            notice if n == count else replace(notice, text=f"in {n} of {count} files: {notice}")
            for notice, n in said.items()
        ]
        return Opened(table=table, states=states), (*notices, *hole_notices(table))


def find_planes(place: str, ends: tuple[str, ...]) -> Planes | None:
    """Return the planes in a folder or of a pattern; None if it is neither, or holds others."""
    if os.path.isdir(place):
        try:
            names = [entry.name for entry in os.scandir(place) if not entry.name.startswith(".")]
        except PermissionError:
            return None  # a folder that may not be listed can still be one of zarr
        if any(name in _ZARR or _holds_zarr(os.path.join(place, name)) for name in names):
            return None  # a folder of images, in which a TIFF file is something else
        found = [os.path.join(place, name) for name in names if name.lower().endswith(ends)]
    elif any(mark in place for mark in "*?[") and not os.path.lexists(place):
        named = glob.glob(place)
        # What is called like a plane is none to be left out, whatever it is.
        found = [path for path in named if path.lower().endswith(ends) or os.path.isfile(path)]
        if not all(path.lower().endswith(ends) for path in found):
            return None
    else:
        return None
    if not found:
        return None
    files = sorted(found, key=lambda path: natural(os.path.basename(path)))
    _refuse_folders(place, files)
    _refuse_gap(place, files)
    return Planes(place=place, ends=ends, files=tuple(files))


def _holds_zarr(path: str) -> bool:
    """Whether a member of a folder is an image or a collection of zarr, or a zip file of one."""
    if not os.path.isdir(path):
        return path.lower().endswith((".ozx", ".zip"))
    return any(os.path.isfile(os.path.join(path, name)) for name in _ZARR)


def _refuse_no_file(files: Iterable[str]) -> None:
    """Refuse what is called like a plane and holds none; a pipe would be waited for."""
    odd = next((path for path in files if not os.path.isfile(path)), None)
    if odd is None:
        return
    what = "a pipe or a device" if os.path.exists(odd) else "a broken link"
    if os.path.isdir(odd):
        what = "a folder"
    elif not os.path.lexists(odd):
        what = "gone"
    raise MetadataError(
        f"{odd!r} is {what} instead of a file with a plane; restore the file, or move this away "
        "if it is not a plane"
    )


def _refuse_folders(place: str, files: Sequence[str]) -> None:
    """Refuse the files of several folders, also where their numbers go on: they are no stack."""
    first, *others = sorted({os.path.dirname(path) for path in files}, key=natural)
    if others:
        pattern = os.path.join(glob.escape(first), os.path.basename(place))
        raise MetadataError(
            f"{place!r}: its files are in several folders ({first!r}, "
            f"{others[0]!r}{', ...' * (len(others) > 1)}), and a stack of planes lies in one; "
            f"give a pattern for one folder at a time, like {pattern!r}"
        )


def _refuse_gap(place: str, files: Sequence[str]) -> None:
    """Refuse names whose numbers leave one out; only one number may differ."""
    names = [parts(path) for path in files]
    if len(names) < 2:
        return
    if len({len(name) for name in names}) > 1:
        odd = next(i for i, name in enumerate(names) if len(name) != len(names[0]))
        raise MetadataError(
            f"{place!r}: {os.path.basename(files[odd])!r} is not called like "
            f"{os.path.basename(files[0])!r}, so its plane number is unknown; give a pattern "
            "that leaves it out, like 'planes/z*.tif'"
        )
    differ = differing(files)
    if len(differ) != 1 or not names[0][differ[0]].isdecimal():
        raise MetadataError(
            f"{place!r}: its files ({os.path.basename(files[0])!r} to "
            f"{os.path.basename(files[-1])!r}) differ in more than one number, so their order is "
            "unknown; give a pattern for one stack of planes, like 'planes/z*_ch0.tif'"
        )
    numbers = [int(name[differ[0]]) for name in names]
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    step = min(steps)
    for i, found in enumerate(steps):
        if found == 0:
            raise MetadataError(
                f"{place!r}: {os.path.basename(files[i])!r} and "
                f"{os.path.basename(files[i + 1])!r} have the same number; remove one of them"
            )
        if found != step:
            raise MetadataError(
                f"{place!r}: a plane is missing between {os.path.basename(files[i])!r} and "
                f"{os.path.basename(files[i + 1])!r}; restore it, or renumber the files"
            )


def _plane(path: str, said: Counter[Notice]) -> PageTable:
    with opened(path) as (tif, warnings):
        series = tif.series[0]
        stored = stored_axes(path, series)
        if len(tif.series) > 1 or stored.counts:
            raise MetadataError(
                f"{path!r} holds more than one plane ({len(tif.pages)} pages), and a stack of "
                "files has one in each; give that file by itself, or a pattern that leaves it out"
            )
        table = page_table(path, series, 1)
        said.update(page_notices(series.keyframe))
        said.update(Notice("metadata", text) for text in set(warnings))
        if series.kind in ("ome", "imagej"):
            text = "metadata in the files of planes (OME-XML, ImageJ) is not used"
            said[Notice("lost", text)] += 1
        return table


def _together(files: tuple[str, ...], first: PageTable, tables: Iterable[PageTable]) -> PageTable:
    offsets, counts = [], []
    jpeg: list[bytes | None] = []
    for path, table in zip(files, tables, strict=True):
        for what, ours, theirs in (
            ("shape", table.shape, first.shape),
            ("data type", table.dtype, first.dtype),
            ("compression", table.codec, first.codec),
            ("strips or tiles", (table.segment, table.is_raw), (first.segment, first.is_raw)),
        ):
            if ours != theirs:
                raise MetadataError(
                    f"{path!r} differs from {files[0]!r}: its {what} is {ours} and not {theirs}; "
                    "planes of one image are alike, so leave it out or convert it"
                )
        offsets.append(table.offsets[0])
        counts.append(table.counts[0])
        jpeg += table.tables
    n = len(files)
    return replace(
        first,
        files=files,
        file=np.arange(n, dtype=np.int32),
        number=np.zeros(n, np.int64),
        offsets=np.array(offsets, np.int64),
        counts=np.array(counts, np.int64),
        tables=tuple(jpeg),
    )
