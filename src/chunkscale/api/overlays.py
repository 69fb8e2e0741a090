"""Labels that are drawn over images: their own, or others that lie elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chunkscale.api.images import open_source
from chunkscale.errors import ChunkscaleWarning, OptionError, UnstatedError
from chunkscale.parameters import StorageOptions
from chunkscale.sources.base import Source, as_lengths
from chunkscale.sources.image import Image
from chunkscale.sources.parts import Part
from chunkscale.storage.locations import join
from chunkscale.text import times


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Which labels are drawn over images, and how they are opened.

    Parameters
    ----------
    labels : bool, str or sequence
        All that an image has, or some by name, or others.
    like : Source
        The image whose axes and voxels labels have that do not state theirs.
    axes : str, optional
        What is said of its axes.
    reach : mapping, optional
        Storage options.
    """

    labels: bool | str | Sequence[Any]
    like: Source
    axes: str | None = None
    reach: StorageOptions | None = None


def overlays(source: Source, asked: Over) -> Iterator[Source]:
    """Yield the labels that are drawn over an image: its own, by name, or others."""
    labels = asked.labels
    if labels is False:
        return
    image: Any = source
    while isinstance(image, Part):
        image = image.source
    own = image.labels if isinstance(image, Image) else ()
    wanted: Sequence[Any] = own
    if isinstance(labels, str):
        wanted = [name.strip() for name in labels.split(",")]
    elif labels is not True:
        wanted = labels if isinstance(labels, list | tuple) else [labels]
    for name in wanted:
        path = f"labels/{str(name).removeprefix('labels/')}"
        if isinstance(name, str) and path in own:
            found = open_source(join(image.uri, path), storage_options=asked.reach)
        else:
            found = _other_labels(name, asked)
        if found.array.dtype.kind not in "iub":
            raise OptionError(
                f"labels {name_of(found)!r} are {found.array.dtype}, not integers; show them "
                "beside the image"
            )
        yield found


def _other_labels(labels: Any, asked: Over, **taken: Any) -> Source:
    """Open labels that lie in a place of their own, as a file or an array may.

    If they do not state their axes or voxel size they have those of the image, if its shape.
    """
    grid = asked.like.whole
    try:
        found = open_source(labels, storage_options=asked.reach, **taken)
    except UnstatedError as error:
        option, value = _stand_in(asked, error)
        if value is None or option in taken:
            raise
        return _other_labels(labels, asked, **taken, **{option: value})
    shape, wanted = ({g.axes[i].name: g.shape[i] for i in g.spatial} for g in (found.grid, grid))
    if taken and shape != wanted:
        missing = [option.removeprefix("source_").replace("_", " ") for option in taken]
        raise OptionError(
            f"labels {name_of(found)!r} do not state their {' or '.join(missing)}, and have the "
            f"shape {times(shape.values())}, not that of the image, {times(wanted.values())}; "
            f"store them with their {' and '.join(missing)}, as OME-Zarr or OME-TIFF"
        )
    return found


def _stand_in(asked: Over, error: UnstatedError) -> tuple[str, Any]:
    """Return an option for what labels do not state, and what it is for the image."""
    grid = asked.like.whole
    sizes = {grid.axes[i].name: grid.voxel_size[i] for i in grid.spatial}
    if not error.axes:
        return "source_voxel_size", as_lengths(grid, sizes)
    named = (asked.axes or "", "".join(sizes))
    return "axes", next((names for names in named if len(names) == len(error.axes)), None)


def warn_unlabelled(asked: Over, shown: Iterable[Source], found: Iterable[Any]) -> None:
    """Warn where labels are asked for and no image has any."""
    if asked.labels is True and not any(found) and not any(image.is_label for image in shown):
        text = (
            "no image has labels, so none are drawn; give those that lie elsewhere by their path, "
            "like labels='mask.tif' (--labels mask.tif)"
        )
        warnings.warn(ChunkscaleWarning(text), stacklevel=3)


def name_of(source: Source) -> str:
    """Return what an image is called: the end of its path, from the file or store on."""
    if not source.uri:
        return source.name or source.path
    parts = source.uri.rstrip("/").split("/")
    stores = [i for i, part in enumerate(parts) if "." in part] or [len(parts) - 1]
    return "/".join(parts[stores[-1] :])
