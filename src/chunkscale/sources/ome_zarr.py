"""One opened OME-Zarr image: its metadata, its grid and its arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from chunkscale.errors import (
    AccessDeniedError,
    MetadataError,
    MultipleImagesError,
    NotAnImageError,
    Notice,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.grid import VoxelGrid, unusual
from chunkscale.ome.model import Collection, Multiscale
from chunkscale.ome.read import describe, grid_of
from chunkscale.report import info_text
from chunkscale.sources.base import Sizes, SourceOptions
from chunkscale.sources.collections import list_images
from chunkscale.sources.formats import other_format
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.fate import fate
from chunkscale.storage.groups import group_attributes
from chunkscale.storage.locations import above, join
from chunkscale.storage.reader import ArrayReader, open_array
from chunkscale.storage.stores import normalise
from chunkscale.text import text_html

if TYPE_CHECKING:
    import dask.array


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Image:
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
        Level 0.
    labels : tuple of str
        Paths of label images inside the group.
    given : mapping of str to float
        Voxel sizes by axis that came before those of the metadata, for level 0.
    notices : tuple of chunkscale.errors.Notice
        What is strange about it, and what an image that is made from it will not have.
    """

    uri: str
    attributes: dict[str, Any]
    multiscale: Multiscale
    grid: VoxelGrid
    array: ArrayReader
    labels: tuple[str, ...] = ()
    given: Mapping[str, float] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    @property
    def is_label(self) -> bool:
        """Whether the voxels are label ids, which must not be averaged."""
        return self.multiscale.is_label

    @property
    def path(self) -> str:
        """Of level 0 inside the group."""
        return self.multiscale.datasets[0].path

    @property
    def name(self) -> str:
        """As the metadata say, or else as the place is called."""
        return self.multiscale.name or self.uri.rstrip("/").rsplit("/", 1)[-1]

    @property
    def opaque(self) -> bool:
        """Whether it may read from places that it does not tell."""
        return False

    @property
    def stated(self) -> tuple[float, ...] | None:
        """Voxel size of level 0 in the metadata, whatever it was said to be."""
        return self.multiscale.datasets[0].voxel_size

    def within(self, io: StoreIO) -> Image:
        """Return the same image with other limits."""
        return replace(self, array=self.array.within(io))

    def fingerprint(self) -> str:
        """Return a hash of the metadata of level 0."""
        return self.array.digest()

    def fate(self, *, whole: bool = False) -> str:
        """Say what has become of level 0, or of the whole image; see `Source`."""
        if found := self.array.fate():
            return f"{self.array.uri!r} {found}"
        found = fate(self.uri, self._is_there) if whole else ""
        return found and f"{self.uri!r} {found}"

    def _is_there(self) -> bool:
        return _geometry(describe(group_attributes(self.uri))) == _geometry(self.multiscale)

    @property
    def channels(self) -> list[str]:
        """Labels of the channels, as far as the metadata names them."""
        holder = self.attributes.get("ome", self.attributes)
        omero = holder.get("omero") if isinstance(holder, Mapping) else None
        listed = omero.get("channels") if isinstance(omero, Mapping) else None
        if not isinstance(listed, list):
            return []
        return [
            str(channel.get("label") or f"channel {i}")
            for i, channel in enumerate(listed)
            if isinstance(channel, Mapping)
        ]

    def level(self, index: int) -> ArrayReader:
        """Return the array of one stored level; -1 is the smallest."""
        index = self._position(index)
        if index == 0:
            return self.array
        path = self.multiscale.datasets[index].path
        return open_array(join(self.uri, path), self.array.io)

    def level_grid(self, index: int) -> VoxelGrid:
        """Return the grid of one stored level, as its metadata has it, or as it was given."""
        index = self._position(index)
        if index == 0:
            return self.grid
        shape = self.level(index).shape
        # What level 0 was said to have counts for the others: as many times as they are coarser.
        unknown = (math.nan,) * self.grid.ndim
        fine, coarse = (self.multiscale.datasets[k].voxel_size or unknown for k in (0, index))
        steps = {
            axis.name: b / a if a > 0 and math.isfinite(b / a) and b > 0 else float(round(n / m))
            for axis, a, b, n, m in zip(
                self.grid.axes, fine, coarse, self.grid.shape, shape, strict=True
            )
        }
        given = {name: size * steps[name] for name, size in self.given.items()}
        grid = grid_of(self.multiscale, index, shape, given)
        origin = list(grid.translation)
        for i, axis in enumerate(grid.axes):
            if axis.name in given:
                shift = (steps[axis.name] - 1) / 2 * self.grid.voxel_size[i]
                origin[i] = self.grid.translation[i] + shift
        return grid.replace(translation=tuple(origin))

    def _position(self, index: int) -> int:
        count = len(self.multiscale.datasets)
        if not -count <= index < count:
            raise OptionError(
                f"level {index} of {self.uri!r} is not there; it has {count}, 0 to {count - 1}"
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
        levels = []
        for index, dataset in enumerate(self.multiscale.datasets):
            stored, grid = self.level(index), self.level_grid(index)
            levels.append(
                {
                    "path": dataset.path,
                    "shape": list(stored.shape),
                    "voxel_size": list(grid.voxel_size),
                    "translation": list(grid.translation),
                    "chunk": list(stored.chunk),
                    "shard": None if stored.shard is None else list(stored.shard),
                }
            )
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
            "warnings": [*map(str, self.notices), *(text for _, text in unusual(self.grid))],
        }

    def __str__(self) -> str:
        return info_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<Image {self.uri!r}: {self.array.dtype} {self.grid.shape}>"

    def _repr_html_(self) -> str:
        return text_html(str(self))


def _geometry(found: Multiscale | Collection) -> str:
    """Return what the metadata of an image say of its level 0."""
    # As a text, because a number may be NaN.
    return repr((found.axes, found.datasets[:1]) if isinstance(found, Multiscale) else found)


def ome_zarr_source(given: object, options: SourceOptions) -> Image | None:
    """Open a path; an image that is open already stays as it is, unless sizes are given."""
    if not isinstance(given, Image | str | bytes | os.PathLike):
        return None
    for option, value in (
        ("axes", options.axes),
        ("source_translation", options.translation),
        ("source_unit", options.unit),
    ):
        if value is not None:
            raise OptionError(
                f"{option} {value!r} is for arrays; an image says that itself, so leave it out"
            )
    if isinstance(given, Image):
        if options.sizes is None:
            return given
        return open_ome_zarr(given.uri, sizes=options.sizes, io=options.io)
    uri = normalise(cast(str, given), options.reach)  # which refuses bytes
    return open_ome_zarr(uri, sizes=options.sizes, io=options.io)


def open_ome_zarr(
    path: str | os.PathLike[str], *, sizes: Sizes | None = None, io: StoreIO
) -> Image:
    """Open one image; see `chunkscale.open_image`."""
    uri = normalise(path)
    try:
        attributes = group_attributes(uri)
    except SourceNotFoundError as error:
        if not (hint := other_format(uri)) or isinstance(error, AccessDeniedError):
            raise
        raise SourceNotFoundError(f"{error}; {hint}") from error
    try:
        found = describe(attributes)
    except NotAnImageError as error:
        state = attributes.get("chunkscale")
        if isinstance(state, Mapping) and state.get("state") == "unfinished":
            raise NotAnImageError(
                f"{uri!r} is the output of a run that did not finish; go on with resume=True "
                "(--resume), or replace it with overwrite=True (--overwrite)"
            ) from error
        raise NotAnImageError(f"{uri!r}: {error}") from error
    except MultipleImagesError as error:
        raise MetadataError(
            f"{uri!r} has several multiscales entries in one group, which no path tells apart; "
            f"give each image a group of its own ({error})"
        ) from error
    except MetadataError as error:
        raise type(error)(f"{uri!r}: {error}") from error
    if isinstance(found, Collection):
        paths = list_images(uri, found)
        listing = "\n  ".join(paths) or "(none found)"
        raise MultipleImagesError(
            f"{uri!r} is a {found.kind} collection; open one of its images:\n  {listing}", paths
        )
    try:
        array = open_array(join(uri, found.datasets[0].path), io)
    except SourceNotFoundError as error:
        raise SourceNotFoundError(
            f"the metadata of {uri!r} names the array {found.datasets[0].path!r}, "
            f"which cannot be opened: {error}"
        ) from error
    spatial = [axis.name for axis in found.axes if axis.kind == "space"]
    given = {} if sizes is None else dict(sizes(spatial))
    try:
        grid = grid_of(found, 0, array.shape, given)
    except MetadataError as error:
        raise type(error)(f"{uri!r}: {error}") from error
    if not found.is_label and _listed_as_label(uri):
        found = replace(found, is_label=True)
    return Image(
        uri=uri,
        attributes=attributes,
        multiscale=found,
        grid=grid,
        array=array,
        labels=_label_paths(uri),
        given=given,
    )


def _listed_as_label(uri: str) -> bool:
    """Whether the group above lists this image as a label image; not all writers mark it."""
    group, name = above(uri), uri.replace(os.sep, "/").rpartition("/")[2]
    if group.rpartition("/")[2] != "labels":
        return False
    try:
        found = describe(group_attributes(group))
    except (SourceNotFoundError, MetadataError):
        return False
    return isinstance(found, Collection) and name in found.paths


def _label_paths(uri: str) -> tuple[str, ...]:
    try:
        labels = describe(group_attributes(join(uri, "labels")))
    except (SourceNotFoundError, MetadataError):
        return ()
    if not isinstance(labels, Collection):
        return ()
    return tuple(f"labels/{path}" for path in labels.paths)
