"""What pictures show of an image: which channels, which time point, which labels over it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from chunkscale import options
from chunkscale.api.defaults import SHOWN_CHANNELS
from chunkscale.api.images import open_source, selected
from chunkscale.api.overlays import Over, name_of, overlays
from chunkscale.errors import MultipleImagesError, OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.selection import Crop, Indices, parse_indices, parts_of
from chunkscale.geometry.units import symbol
from chunkscale.ome.display import channel_labels, listed_channels
from chunkscale.ome.versions import ngff_namespace
from chunkscale.parameters import StorageOptions
from chunkscale.pictures.look import Subject
from chunkscale.sources.base import Source
from chunkscale.storage.locations import join
from chunkscale.text import count, some_names


def opened_together(
    source: Any,
    others: Sequence[Any],
    said: Mapping[str, Any],
    storage_options: StorageOptions | None,
) -> list[Source]:
    """Open images that are shown together; what is said holds for the first alone."""
    first = _single(source, storage_options=storage_options, **said)
    return [first, *(_single(other, storage_options=storage_options) for other in others)]


def _single(source: Any, **options: Any) -> Source:
    """Open one image; of several one has to be named, for they are not shown together."""
    try:
        return open_source(source, **options)
    except MultipleImagesError as error:
        if not error.paths:
            raise
        named = some_names(error.paths)
        raise MultipleImagesError(
            f"{str(source)!r} holds several images ({named}); give the path of one of them, like "
            f"{join(str(source), error.paths[0])!r}",
            error.paths,
        ) from None


def subject_of(
    source: Source,
    title: str | None,
    chosen: tuple[Indices | None, int, Crop | None],
    over: Over,
) -> Subject:
    options.check_dtype(f"{name_of(source)!r}", source.array.dtype)
    channels, timepoint, crop = chosen
    grid, notes = source.grid, []
    if grid.time_axis is not None and grid.shape[grid.time_axis] > 1:
        notes.append(f"time {timepoint} of 0 to {grid.shape[grid.time_axis] - 1}")
    total = 1 if grid.channel_axis is None else grid.shape[grid.channel_axis]
    if grid.channel_axis is None:
        channels = None
    elif channels is None:
        channels = active_channels(source, total)
    elif source is not over.like:
        channels = _those_there(channels, source, total)
        if total == 1:  # which has no colour to tell it by
            notes += channel_labels(ngff_namespace(source.attributes), grid)
    shown = selected(source, channels, None if grid.time_axis is None else timepoint, crop)
    kept = 1 if grid.channel_axis is None else shown.grid.shape[grid.channel_axis]
    if kept < total:
        notes.append(f"{kept} of {total} channels")
    names = list(getattr(shown, "channels", []))
    if kept > 1 and not names:
        picked = getattr(shown, "part", {}).get("channels", range(kept))
        names = [f"channel {i}" for i in picked]
    drawn = [] if source.is_label else list(overlays(source, over))
    if over.labels is True and not drawn and not source.is_label:
        notes.append("no labels")
    return Subject(
        source=shown,
        title=name_of(source) if title is None else title,
        facts=_facts(shown.grid),
        channels=tuple(names) if total > 1 else (),
        notes=tuple(notes),
        labels=tuple(selected(found, *_first(found, source, timepoint)) for found in drawn),
    )


def _those_there(channels: Indices, source: Source, total: int) -> Indices:
    """Return the channels that an image beside the first has: a part of that may have fewer."""
    names = channel_labels(ngff_namespace(source.attributes), source.grid)
    there: list[int] = []
    for part in parts_of(channels):
        with contextlib.suppress(OptionError):
            there += parse_indices("channels", part, total, names)
    if there:
        return list(dict.fromkeys(there))
    has = f"only {', '.join(names)}" if names else count(total, "channel")
    raise OptionError(
        f"channels {channels!r}: {name_of(source)!r} has none of them, but {has}; choose by a name "
        "that both have, leave channels out, or show it by itself"
    )


def active_channels(source: Source, total: int) -> list[int]:
    """Return the channels that are shown if none are asked for."""
    if source.is_label:
        return [0]
    listed = listed_channels(source.attributes)[:total]
    off = {i for i, entry in enumerate(listed) if entry.get("active") is False}
    shown = (i for i in range(total) if i not in off)
    found = list(itertools.islice(shown, SHOWN_CHANNELS))
    return found or list(range(min(total, SHOWN_CHANNELS)))


def _first(labels: Source, image: Source, timepoint: int) -> tuple[Any, Any, None]:
    """Return the channel and the time point of labels that lie over an image's."""
    grid, time = labels.grid, labels.grid.time_axis
    if time is None or grid.shape[time] == 1:
        at = None if time is None else 0
    elif (
        image.grid.time_axis is not None
        and grid.shape[time] == image.grid.shape[image.grid.time_axis]
    ):
        at = timepoint
    else:
        raise OptionError(
            f"labels {name_of(labels)!r} have {grid.shape[time]} time points, but "
            f"{name_of(image)!r} has another number; show them beside it"
        )
    return None if grid.channel_axis is None else 0, at, None


def _facts(grid: VoxelGrid) -> tuple[str, str]:
    units = {symbol(grid.axes[i].unit) for i in grid.spatial}
    shape = " × ".join(str(grid.shape[i]) for i in grid.spatial)
    if len(units) == 1:
        size = " × ".join(f"{grid.voxel_size[i]:.4g}" for i in grid.spatial)
        return f"{shape} voxels", f"of {size} {units.pop() or '(no unit)'}"
    sizes = (f"{grid.voxel_size[i]:.4g} {symbol(grid.axes[i].unit)}" for i in grid.spatial)
    return f"{shape} voxels", "of " + " × ".join(size.strip() for size in sizes)
