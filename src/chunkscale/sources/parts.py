"""A part of a source: some of its channels and time points, a box of its voxels."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.box import Box, whole
from chunkscale.geometry.grid import VoxelGrid, covering_box, cut_grid
from chunkscale.geometry.selection import Crop, Indices, parse_crop, parse_indices
from chunkscale.ome.versions import ngff_namespace
from chunkscale.report.html import image_html
from chunkscale.sources.base import Source, Voxels
from chunkscale.sources.picked import PickedVoxels, Picks
from chunkscale.sources.thumbnails import thumbnail_of
from chunkscale.sources.views import Views
from chunkscale.storage.engine import StoreIO

if TYPE_CHECKING:
    import dask.array


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Part(Views):
    """A part of an image, read lazily; made by `Image.select`.

    Whatever resamples takes it as it takes an image, and so do `like` and the source of
    `check`. What is resampled from it has the voxels that the whole would have there: it reads
    the neighbours of its box.

    Parameters
    ----------
    source : Source
    picks : tuple
        Indices that are kept, by axis.
    box : Box
        Of the voxels that are left then.
    """

    source: Source
    picks: Picks
    box: Box

    @property
    def whole(self) -> VoxelGrid:
        """Grid of the part with the neighbours of its box."""
        return _picked_grid(self.source.whole, self.picks)

    @property
    def array_grid(self) -> VoxelGrid:
        """Grid of `array`."""
        return _picked_grid(self.source.array_grid, self.picks)

    @property
    def grid(self) -> VoxelGrid:
        """Grid of the part."""
        return cut_grid(self.whole, self.box)

    @property
    def array(self) -> Voxels:
        """The voxels on `array_grid`."""
        if not any(self.picks):
            return self.source.array
        return PickedVoxels(array=self.source.array, picks=self.picks)

    @property
    def uri(self) -> str:
        """Of the whole."""
        return self.source.uri

    @property
    def path(self) -> str:
        """Of the whole."""
        return self.source.path

    @property
    def name(self) -> str | None:
        """Of the whole."""
        return self.source.name

    @property
    def is_label(self) -> bool:
        """Whether the voxels are label ids."""
        return self.source.is_label

    @property
    def stated(self) -> tuple[float, ...] | None:
        """Of the whole."""
        return self.source.stated

    @property
    def opaque(self) -> bool:
        """As the whole."""
        return self.source.opaque

    @property
    def part(self) -> dict[str, Any]:
        """Which part it is, as JSON values; what is whole is left out."""
        found = dict(self.source.part)
        for axis, kept in zip(self.whole.axes, self.picks, strict=True):
            if kept is not None:
                found["timepoints" if axis.kind == "time" else "channels"] = list(kept)
        intervals = {
            self.whole.axes[i].name: [self.box.start[i], self.box.stop[i]]
            for i in self.whole.spatial
            if self.box.stop[i] - self.box.start[i] < self.whole.shape[i]
        }
        return found | ({"crop": intervals} if intervals else {})

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Those of the whole, with the channels that are left."""
        whole = self.whole
        channels, times = (self._picked(i) for i in (whole.channel_axis, whole.time_axis))
        return _picked_attributes(self.source.attributes, channels, times)

    def _picked(self, axis: int | None) -> tuple[int, ...] | None:
        return None if axis is None else self.picks[axis]

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Those of the whole, and what selecting loses."""
        found = list(self.source.notices)
        for axis, kept in zip(self.whole.axes, self.picks, strict=True):
            if axis.kind == "time" and kept is not None and _step(kept) is None:
                text = ", ".join(map(str, kept[:8])) + (", ..." if len(kept) > 8 else "")
                found.append(
                    Notice(
                        "lost",
                        f"the time points {text} are not equally spaced, which OME-Zarr cannot "
                        "express; the output has the time step of the source",
                    )
                )
        return tuple(found)

    @property
    def said(self) -> Mapping[str, str]:
        """Of the whole."""
        return self.source.said

    def within(self, io: StoreIO) -> Part:
        """Return the same with the limits of a run."""
        return replace(self, source=self.source.within(io))

    def fingerprint(self) -> str | None:
        """Return what tells the whole from others at its place."""
        return self.source.fingerprint()

    def fate(self, *, whole: bool = False) -> str:
        """Say what has become of the whole."""
        return self.source.fate(whole=whole)

    def select(
        self,
        *,
        channels: Indices | None = None,
        timepoints: Indices | None = None,
        crop: Crop | None = None,
    ) -> Part:
        """Return a part of the part; see `Image.select`."""
        return select(self, channels=channels, timepoints=timepoints, crop=crop)

    def as_dask(self, level: int = 0) -> dask.array.Array:
        """Return what a stored level of an image has of the part, as a lazy Dask array.

        Parameters
        ----------
        level : int
            0 is the finest, -1 the coarsest.
        """
        image: Any = self.source
        stored, grid = image.as_dask(level), _picked_grid(image.level_grid(level), self.picks)
        for axis, kept in enumerate(self.picks):
            if kept is not None:
                stored = stored[(slice(None),) * axis + (list(kept),)]
        return stored[covering_box(grid, self.grid).slices]

    @property
    def level_count(self) -> int:
        """Number of levels; of a crop one, for the others do not end where it does."""
        image: Any = self.source
        return 1 if "crop" in self.part else int(image.level_count)

    def level_grid(self, index: int) -> VoxelGrid:
        """Return the grid of what a level has of the part."""
        image: Any = self.source
        grid = _picked_grid(image.level_grid(index), self.picks)
        return cut_grid(grid, covering_box(grid, self.grid))

    @property
    def channels(self) -> list[str]:
        """Labels of the channels that are left, as far as the metadata names them."""
        listed = getattr(self.source, "channels", [])
        kept = self._picked(self.whole.channel_axis)
        if kept is None or not listed:
            return listed
        return [listed[i] if i < len(listed) else f"channel {i}" for i in kept]

    def as_dict(self) -> dict[str, Any]:
        """Return what there is to know of the part as JSON values."""
        grid = self.grid
        return {
            "path": self.uri or self.path,
            "part": self.part,
            **grid.as_dict(),
            "dtype": self.array.dtype.name,
            "bytes": grid.size * self.array.dtype.itemsize,
            "is_label": self.is_label,
            "channels": self.channels,
            "warnings": [str(notice) for notice in self.notices],
        }

    def __repr__(self) -> str:
        part = part_text(self.part) or "all"
        return f"<Part of {self.uri or self.path!r} ({part}): {self.grid.shape}>"

    def _repr_html_(self) -> str:
        facts = {**self.as_dict(), "part_text": part_text(self.part)}
        return image_html(facts, thumbnail_of(self))


def select(
    source: Source,
    *,
    channels: Indices | None = None,
    timepoints: Indices | None = None,
    crop: Crop | None = None,
) -> Part:
    """Return a part of a source; see `chunkscale.Image.select`."""
    grid = source.grid
    picks: list[tuple[int, ...] | None] = [None] * grid.ndim
    for name, value, axis in (
        ("channels", channels, grid.channel_axis),
        ("timepoints", timepoints, grid.time_axis),
    ):
        if value is None:
            continue
        if axis is None:
            raise OptionError(
                f"{name} {value!r} cannot be selected: the axes are {grid.names}; leave it out"
            )
        labels = getattr(source, "channels", []) if name == "channels" else []
        kept = parse_indices(name, value, grid.shape[axis], labels)
        picks[axis] = None if kept == tuple(range(grid.shape[axis])) else kept
    box = whole(grid.shape) if crop is None else parse_crop(crop, grid)
    counts = [n if kept is None else len(kept) for n, kept in zip(box.stop, picks, strict=True)]
    box = Box(start=box.start, stop=tuple(counts))
    if not isinstance(source, Part):
        return Part(source=source, picks=tuple(picks), box=box)
    both = tuple(
        old if new is None else tuple((old or range(n))[i] for i in new)
        for old, new, n in zip(source.picks, picks, source.whole.shape, strict=True)
    )
    # Along other axes than those of space a box is always whole.
    return Part(source=source.source, picks=both, box=box.shifted(source.box.start))


def _step(kept: tuple[int, ...]) -> int | None:
    """Return the step of indices that rise in equal ones; 1 for a single one."""
    steps = {b - a for a, b in itertools.pairwise(kept)} or {1}
    (step, *more) = steps
    return None if more or step < 1 else step


def _picked_grid(grid: VoxelGrid, picks: Picks) -> VoxelGrid:
    shape, spacing, origin = list(grid.shape), list(grid.voxel_size), list(grid.translation)
    for i, kept in enumerate(picks):
        if kept is None:
            continue
        shape[i] = len(kept)
        if grid.axes[i].kind == "time":
            origin[i] += kept[0] * spacing[i]
            spacing[i] *= _step(kept) or 1
    return grid.replace(shape=tuple(shape), voxel_size=tuple(spacing), translation=tuple(origin))


def _picked_attributes(
    attributes: Mapping[str, Any],
    channels: tuple[int, ...] | None,
    timepoints: tuple[int, ...] | None,
) -> Mapping[str, Any]:
    """Return attributes whose "omero" has the channels and the time points that are left."""
    ngff = ngff_namespace(attributes)
    omero = ngff.get("omero")
    if not isinstance(omero, Mapping):
        return attributes
    omero = copy.deepcopy(dict(omero))
    listed, rdefs = omero.get("channels"), omero.get("rdefs")
    if channels is not None and isinstance(listed, list):
        # One that is not listed gets a plain entry: it must not take the name of another.
        omero["channels"] = [
            listed[i] if i < len(listed) else {"label": f"channel {i}"} if listed else {}
            for i in channels
        ]
    if timepoints is not None and isinstance(rdefs, dict) and "defaultT" in rdefs:
        shown = rdefs["defaultT"]
        rdefs["defaultT"] = timepoints.index(shown) if shown in timepoints else 0
    if ngff is attributes:
        return {**attributes, "omero": omero}
    return {**attributes, "ome": {**ngff, "omero": omero}}


def part_text(part: Mapping[str, Any]) -> str:
    """Say which part of an image `Source.part` is.

    Examples
    --------
    >>> part_text({"level": 2, "channels": [0, 2], "crop": {"z": [3, 9]}})
    'level 2, channels 0 2, crop z 3:9'
    """
    crop = " ".join(f"{name} {a}:{b}" for name, (a, b) in part.get("crop", {}).items())
    texts = {
        key: value if key == "level" else " ".join(map(str, value))
        for key, value in part.items()
        if key != "crop"
    }
    return ", ".join(f"{k} {v}" for k, v in (texts | ({"crop": crop} if crop else {})).items())
