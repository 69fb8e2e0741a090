"""An image in a file of another format: what its reader found, as a source."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from chunkscale.errors import GridError, Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid, unusual
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.geometry.units import ngff_unit
from chunkscale.report.html import image_html
from chunkscale.report.images import info_text
from chunkscale.sources.base import Sizes, SourceOptions, Voxels, keeping, units_of
from chunkscale.sources.parts import Part, select
from chunkscale.sources.views import Whole
from chunkscale.storage.engine import StoreIO

if TYPE_CHECKING:
    pass


@runtime_checkable
class Limited(Protocol):
    """Voxels that keep what they have decoded within the limits of a run."""

    def within(self, io: StoreIO) -> Self:
        """Return the same with other limits."""


@dataclass(frozen=True, slots=True)
class FileState:
    """Which file it is, and when it was written.

    Parameters
    ----------
    path : str
    identity : tuple of int
        Device and number of the file.
    size : int
    modified : int
        In nanoseconds.
    changed : int
        When it was put there, renamed or otherwise changed, in nanoseconds.
    """

    path: str
    identity: tuple[int, int]
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: str) -> FileState:
        """Look at a file; raises `OSError` where there is none."""
        found = os.stat(path)
        identity = (found.st_dev, found.st_ino)
        return cls(path, identity, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def fate(self) -> str:
        """Say what has become of the file; nothing if it is as it was."""
        try:
            now = FileState.of(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.path!r} has gone"
        # Some file systems number a file anew while it stays, and who links one or changes its
        # permissions leaves it in its place: one that was put there since is new in both.
        other = now.identity != self.identity and now.changed != self.changed
        same = (now.size, now.modified) == (self.size, self.modified) and not other
        return "" if same else f"{self.path!r} has been replaced"


def file_states(paths: Iterable[str]) -> tuple[FileState, ...]:
    """Look at the files of an image."""
    return tuple(map(FileState.of, paths))


def given_sizes(
    uri: str, spatial: Mapping[str, str | None], ndim: int, sizes: Sizes | None
) -> dict[str, float]:
    """Return the voxel sizes that are given, by axis; refuse those of axes that are not there."""
    given = {} if sizes is None else dict(sizes(spatial, ndim))
    if other := sorted(set(given) - set(spatial)):
        raise OptionError(
            f"source_voxel_size names {', '.join(other)}, but {uri!r} has the spatial axes "
            f"{', '.join(spatial)}; leave it out"
        )
    return given


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FileImage(Whole):
    """An image in a file, read lazily; see `chunkscale.sources.base.Source`.

    Made by `open_image`, or by the readers of `chunkscale.sources.file_formats`.

    Parameters
    ----------
    uri : str
        Absolute path of the file, and that of the image in it where there are several:
        ``/data/scan.ome.tif/1``.
    format : str
        As people call it: ``"OME-TIFF"``.
    grid : VoxelGrid
        Axes in canonical order (t, c, z, y, x).
    array : Voxels
        In the order of `grid`. It is pickled where a run has several processes, so it opens the
        file when it is first read there. Where it has ``within(io)``, that is called with the
        limits of a run (`Limited`).
    files : tuple of FileState
        All that voxels are read from, looked at before anything was read.
    name : str, optional
    attributes : mapping
        What the output takes over, as the attributes of an NGFF group (``{"omero": ...}``).
    notices : tuple of Notice
    stated : tuple of float, optional
        Voxel size in the file, where it says one.
    is_label : bool
    codec : str
        What the voxels are compressed with.
    opened : SourceOptions, optional
        What it was opened with.
    """

    uri: str
    format: str
    grid: VoxelGrid
    array: Voxels
    files: tuple[FileState, ...]
    name: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    stated: tuple[float, ...] | None = None
    is_label: bool = False
    codec: str = "none"
    opened: SourceOptions | None = None

    @property
    def path(self) -> str:
        """Nothing: the place is the image."""
        return ""

    @property
    def opaque(self) -> bool:
        """Whether it may read from places that it does not tell."""
        return False

    @property
    def said(self) -> Mapping[str, str]:
        """The axes and the unit that it was opened with, where the file does not say them."""
        if self.opened is None:
            return {}
        axes = None if self.opened.axes is None else "".join(self.opened.axes)
        given = {"axes": axes, "unit": self.opened.unit and ngff_unit(self.opened.unit)}
        return {option: value for option, value in given.items() if value is not None}

    def select(
        self,
        *,
        channels: Indices | None = None,
        timepoints: Indices | None = None,
        crop: Crop | None = None,
    ) -> Part:
        """Return a part of the image, lazily; see `Image.select`."""
        return select(self, channels=channels, timepoints=timepoints, crop=crop)

    def within(self, io: StoreIO) -> FileImage:
        """Return the same image with other limits."""
        if not isinstance(self.array, Limited):
            return self
        return replace(self, array=self.array.within(io))

    def with_sizes(self, sizes: Sizes) -> FileImage:
        """Return the same image with voxel sizes that come before those of its metadata."""
        given = given_sizes(self.uri, units_of(self.grid), self.grid.ndim, sizes)
        spacing = tuple(
            float(given.get(axis.name, size))
            for axis, size in zip(self.grid.axes, self.grid.voxel_size, strict=True)
        )
        try:
            grid = self.grid.replace(voxel_size=spacing)
        except GridError as error:
            raise GridError(f"{self.uri!r}: {error}") from error
        opened = self.opened and self.options_with(replace(self.opened, sizes=sizes))
        return replace(self, grid=grid, opened=opened)

    def options_with(self, options: SourceOptions) -> SourceOptions:
        """Return what to open it with again: what is given now, and what was given before."""
        opened = self.opened or options
        units, ndim = units_of(self.grid), self.grid.ndim
        given = {} if opened.sizes is None else opened.sizes(units, ndim)
        return replace(
            options,
            sizes=keeping(given, self.grid, options.sizes, options.unit),
            axes=opened.axes if options.axes is None else options.axes,
            unit=opened.unit if options.unit is None else options.unit,
        )

    def fingerprint(self) -> str:
        """Return a hash of the sizes of the files, and of when they were written."""
        seen = [[os.path.basename(f.path), f.size, f.modified] for f in self.files]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def fate(self, *, whole: bool = False) -> str:
        """Say what has become of the files; nothing if they are as they were."""
        return next(filter(None, (file.fate() for file in self.files)), "")

    @property
    def labels(self) -> tuple[str, ...]:
        """Nothing: labels lie in files of their own."""
        return ()

    def as_dict(self) -> dict[str, Any]:
        """Return what there is to know of the image as JSON values."""
        array, grid = self.array, self.grid
        return {
            "path": self.uri,
            "format": self.format,
            "name": self.name,
            **grid.as_dict(),
            "dtype": array.dtype.name,
            "bytes": grid.size * array.dtype.itemsize,
            "codec": self.codec,
            "is_label": self.is_label,
            "levels": [
                {
                    "path": "0",
                    "shape": list(array.shape),
                    "chunk": list(array.chunk),
                    "shard": None,
                    "voxel_size": list(grid.voxel_size),
                    "translation": list(grid.translation),
                }
            ],
            "channels": self.channels,
            "labels": [],
            "warnings": [*map(str, self.notices), *(text for _, text in unusual(grid))],
        }

    def __str__(self) -> str:
        return info_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<FileImage {self.uri!r}: {self.array.dtype} {self.grid.shape}>"

    def _repr_html_(self) -> str:
        return image_html(self.as_dict())
