"""One opened OME-Zarr image: its metadata, its grid and its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from chunkscale.errors import (
    ChunkscaleError,
    Notice,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.grid import VoxelGrid, unusual
from chunkscale.geometry.selection import Crop, Indices
from chunkscale.geometry.units import ngff_unit
from chunkscale.ome.further import further_text
from chunkscale.ome.model import Collection, Multiscale
from chunkscale.ome.read import coarser_grid, describe
from chunkscale.ome.units import in_unit, united
from chunkscale.report.html import image_html
from chunkscale.report.images import info_text
from chunkscale.sources.coordinates import coordinates_of
from chunkscale.sources.documents import group_document
from chunkscale.sources.parts import Part, select
from chunkscale.sources.thumbnails import thumbnail_of
from chunkscale.sources.views import Whole
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.fate import fate
from chunkscale.storage.locations import join
from chunkscale.storage.reader import ArrayReader, open_array

if TYPE_CHECKING:
    import dask.array


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Image(Whole):
    """A multiscale image that is read lazily.

    Made by `open_image`.

    Parameters
    ----------
    uri : str
        Location of the image's group.
    attributes : dict
        All attributes of the group.
    multiscale : chunkscale.ome.model.Multiscale
        The metadata, parsed.
    grid : VoxelGrid
        Grid of level 0.
    array : ArrayReader
        The level that is read: level 0, unless `read_level` says another.
    labels : tuple of str
        Paths of label images inside the group.
    given : mapping of str to float
        Voxel sizes by axis that came before those of the metadata, for level 0.
    unit : str, optional
        Given for the axes whose metadata have none.
    shapes : tuple of tuple of int
        Of the levels, as their documents have them; empty where they could not be told.
    notices : tuple of chunkscale.errors.Notice
        What is strange about it, and what an image that is made from it will not have.
    read_level : int
        Which level `array` is.
    read_grid : VoxelGrid, optional
        Its grid, where that is not level 0.
    """

    uri: str
    attributes: dict[str, Any]
    multiscale: Multiscale
    grid: VoxelGrid
    array: ArrayReader
    labels: tuple[str, ...] = ()
    given: Mapping[str, float] = field(default_factory=dict)
    unit: str | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    notices: tuple[Notice, ...] = ()
    read_level: int = 0
    read_grid: VoxelGrid | None = None

    @property
    def is_label(self) -> bool:
        """Whether the voxels are label ids, which must not be averaged."""
        return self.multiscale.is_label

    @property
    def path(self) -> str:
        """Of the level that is read, inside the group."""
        return self.multiscale.datasets[self.read_level].path

    @property
    def name(self) -> str:
        """As the metadata say, or else as the place is called."""
        return self.multiscale.name or self.uri.rstrip("/").rsplit("/", 1)[-1]

    @property
    def opaque(self) -> bool:
        """Whether it may read from places that it does not tell."""
        return False

    @property
    def said(self) -> dict[str, str]:
        """The unit that it was opened with, where its metadata have none."""
        return {"unit": ngff_unit(self.unit)} if self.unit else {}

    @property
    def stated(self) -> tuple[float, ...] | None:
        """Voxel size of the level in the metadata, whatever it was said to be."""
        return self.multiscale.datasets[self.read_level].voxel_size

    @property
    def array_grid(self) -> VoxelGrid:
        """Grid of `array`: that of the level that is read."""
        return self.read_grid or self.grid

    @property
    def part(self) -> dict[str, Any]:
        """The level, if it is not the finest."""
        return {"level": self.read_level} if self.read_level else {}

    def select(
        self,
        *,
        channels: Indices | None = None,
        timepoints: Indices | None = None,
        crop: Crop | None = None,
    ) -> Part:
        """Return a part of the image, lazily; whatever resamples takes it as an image.

        Parameters
        ----------
        channels : int, str, slice or sequence, optional
            Indices or names, like ``"0,DAPI"``, in the order that they shall have.
        timepoints : int, str, slice or sequence, optional
            Indices, or ranges without their end, like ``"3:6"`` or ``"0,4,8"``.
        crop : str, mapping or Box, optional
            Intervals without their end in voxels of level 0, like ``"z=10:50,y=200:900"``, or
            in lengths (``"z=5um:20um"``): the voxels whose centres lie there.

        Examples
        --------
        >>> import tempfile, numpy as np, chunkscale
        >>> stack = np.zeros((3, 8, 16, 16), "uint8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = {"voxel_size": "same", "source_voxel_size": 1, "axes": "czyx"}
        ...     run = chunkscale.resample(stack, f"{folder}/stack.zarr", **size)
        ...     chunkscale.open_image(run.path).select(channels=2, crop="z=2:6").grid.shape
        (1, 4, 16, 16)
        """
        return select(self, channels=channels, timepoints=timepoints, crop=crop)

    def within(self, io: StoreIO) -> Image:
        """Return the same image with other limits."""
        return replace(self, array=self.array.within(io))

    def fingerprint(self) -> str:
        """Return a hash of the metadata of the level that is read."""
        return self.array.digest()

    def fate(self, *, whole: bool = False) -> str:
        """Say what has become of the level that is read, or of the whole image; see `Source`."""
        if found := self.array.fate():
            return f"{self.array.uri!r} {found}"
        found = fate(self.uri, self._is_there) if whole else ""
        return found and f"{self.uri!r} {found}"

    def _is_there(self) -> bool:
        attributes = group_document(self.uri).attributes
        if attributes == self.attributes:
            return True
        found = describe(attributes)
        if isinstance(found, Multiscale):
            found = united(in_unit(found, self.unit) if self.unit else found, self.given)
        return _geometry(found, self.path) == _geometry(self.multiscale, self.path)

    @property
    def level_count(self) -> int:
        """Number of stored levels, as the metadata lists them."""
        return len(self.multiscale.datasets)

    def level(self, index: int) -> ArrayReader:
        """Return the array of one stored level; -1 is the smallest."""
        index = self._position(index)
        if index == self.read_level:
            return self.array
        path = self.multiscale.datasets[index].path
        try:
            return open_array(join(self.uri, path), self.array.io)
        except SourceNotFoundError as error:
            raise SourceNotFoundError(
                f"level {index} of {self.uri!r} is listed as {path!r}, and cannot be opened: "
                f"{error}; take another level"
            ) from error

    def level_grid(self, index: int) -> VoxelGrid:
        """Return the grid of one stored level, as its metadata has it, or as it was given."""
        index = self._position(index)
        if index == 0:
            return self.grid
        shape = self.shapes[index] or self.level(index).shape
        return coarser_grid(self.multiscale, (0, index), self.grid, shape, self.given)

    def _position(self, index: int) -> int:
        count = len(self.multiscale.datasets)
        if not -count <= index < count:
            raise OptionError(
                f"level {index} of {self.uri!r} does not exist; it has {count}, 0 to {count - 1}"
            )
        return index % count

    def as_dask(self, level: int = 0) -> dask.array.Array:
        """Return a stored level as a lazy Dask array with its own chunks.

        Parameters
        ----------
        level : int
            0 is the finest, -1 the coarsest.
        """
        from chunkscale.sources.dask_view import as_dask

        return as_dask(self.level(level))

    def as_dict(self) -> dict[str, Any]:
        """Return what there is to know of the image as JSON values."""
        levels = [self._level_facts(k) for k in range(len(self.multiscale.datasets))]
        warnings = [*map(str, self.notices), *(text for _, text in unusual(self.grid))]
        for level in levels:
            if "problem" in level and f"dataset {level['path']!r}" not in " ".join(warnings):
                warnings.append(level["problem"])
        return {
            "path": self.uri,
            "ome_zarr_version": self.multiscale.version,
            "zarr_format": self.array.zarr_format,
            "name": self.multiscale.name,
            **self.grid.as_dict(),
            "dtype": self.array.dtype.name,
            "bytes": self.grid.size * self.array.dtype.itemsize,
            "codec": self.array.codec,
            "is_label": self.is_label,
            "levels": levels,
            "channels": self.channels,
            "labels": list(self.labels),
            "coordinates": further_text(coordinates_of(self, self.grid.axes)),
            "warnings": warnings,
        }

    def _level_facts(self, index: int) -> dict[str, Any]:
        facts: dict[str, Any] = {"path": self.multiscale.datasets[index].path}
        try:
            stored = self.level(index)
            facts |= {
                "shape": list(stored.shape),
                "chunk": list(stored.chunk),
                "shard": None if stored.shard is None else list(stored.shard),
            }
            grid = self.level_grid(index)
            return facts | {
                "voxel_size": list(grid.voxel_size),
                "translation": list(grid.translation),
            }
        except ChunkscaleError as error:
            unknown = dict.fromkeys(("shape", "voxel_size", "translation", "chunk", "shard"))
            return unknown | facts | {"problem": str(error)}

    def __str__(self) -> str:
        return info_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<Image {self.uri!r}: {self.array.dtype} {self.grid.shape}>"

    def _repr_html_(self) -> str:
        return image_html(self.as_dict(), thumbnail_of(self))


def _geometry(found: Multiscale | Collection, path: str) -> str:
    """Return what the metadata of an image say of one level."""
    # As a text, because a number may be NaN.
    if isinstance(found, Collection):
        return repr(found)
    return repr((found.axes, [dataset for dataset in found.datasets if dataset.path == path]))
