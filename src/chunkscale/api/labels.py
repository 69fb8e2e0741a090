"""The labels of an image go where it goes: onto its target grid, with as many levels."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chunkscale.api.images import open_source, selected
from chunkscale.api.plans import Means, PlannedImage, plan_source
from chunkscale.api.request import Request
from chunkscale.errors import (
    AccessDeniedError,
    DestinationError,
    GridError,
    MemoryBudgetError,
    MetadataError,
    Notice,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.grid import VoxelGrid, aligned_grid
from chunkscale.geometry.overlap import check_overlap, extent_text
from chunkscale.parameters import Target
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Source, as_lengths
from chunkscale.sources.image import Image
from chunkscale.sources.parts import Part
from chunkscale.storage.locations import join
from chunkscale.text import some_names

#: Notices of an image and its labels on one grid that say nothing new of the labels.
_SAID = ("size", "unit", "order", "disk", "memory", "overlap")


def chosen_labels(
    image: Image | None, asked: bool | str | Sequence[str], missing: list[str] | None = None
) -> tuple[str, ...]:
    """Return the paths of the labels that go along, in the order in which they are listed.

    Parameters
    ----------
    image : Image, optional
    asked : bool, str or sequence of str
    missing : list, optional
        Gets those that are asked for and not there, where other images may have them.

    Raises
    ------
    OptionError
        If one that is asked for is not there, and nobody takes it.
    """
    listed = () if image is None else image.labels
    if isinstance(asked, bool):
        return listed if asked else ()
    wanted = label_names(asked)
    for path in wanted:
        if path not in listed and missing is not None:
            missing.append(path)
        elif path not in listed:
            there = [known.removeprefix("labels/") for known in listed]
            near = difflib.get_close_matches(path.removeprefix("labels/"), there, 1) or there
            what = "this source has none" if image is None else f"{image.uri!r} has no such labels"
            remedy = f"there are {', '.join(map(repr, near))}" if near else "leave that out"
            raise OptionError(f"labels {path.removeprefix('labels/')!r}: {what}; {remedy}")
    return tuple(path for path in wanted if path in listed)


def label_names(asked: bool | str | Sequence[str]) -> tuple[str, ...]:
    """Return the paths of labels that are asked for by name, each once.

    Examples
    --------
    >>> label_names("nuclei, cells"), label_names(True)
    (('labels/nuclei', 'labels/cells'), ())
    """
    if isinstance(asked, bool):
        return ()
    if not isinstance(asked, str | list | tuple):
        raise OptionError(
            f"labels {asked!r} must be True, False or names; give it like 'nuclei,cells'"
        )
    names = asked.split(",") if isinstance(asked, str) else asked
    paths = (f"labels/{str(name).strip().removeprefix('labels/')}" for name in names)
    return tuple(dict.fromkeys(paths))


def planned_labels(
    source: Source,
    plan: ResamplePlan,
    request: Request,
    means: Means,
    *,
    destination: str | None,
    resume: bool,
    mirrored: bool = False,
) -> tuple[list[PlannedImage], list[Notice]]:
    """Plan the labels of an image, and say which of them stay behind, and why.

    Parameters
    ----------
    source : Source
    plan : ResamplePlan
        Of the image.
    request : Request
    means : Means
    destination : str, optional
        Of the image.
    resume : bool
    mirrored : bool
        Whether it is one of many images, of which not all have the same labels.
    """
    image = _image_of(source)
    made: list[PlannedImage] = []
    notices: list[Notice] = []
    missing: list[str] = []
    chosen = chosen_labels(image, request.labels, missing if mirrored else None)
    if image is None:
        return made, notices
    if missing:
        notices.append(Notice("lost", f"it has no labels {some_names(missing)}"))
    if left := [path for path in image.labels if path not in chosen]:
        notices.append(Notice("asked", f"labels left out as requested: {', '.join(left)}"))
    for path in chosen:
        try:
            label = _label_source(image, path, request, source.part)
            _check_reach(label.grid, plan.target_grid)
            target = Target(
                like=plan.target_grid,
                method=request.label_method,
                outside=_outside(label.grid, plan.target_grid),
            )
            # What the image's levels are made with is for intensities.
            layout = replace(request.layout, levels=len(plan.levels), downsample=None)
            said = plan_source(
                label,
                target,
                layout,
                means,
                destination=None if destination is None else join(destination, path),
                resume=resume,
            )
        except (MemoryBudgetError, DestinationError, AccessDeniedError) as error:
            # No fault of its own: to leave it behind would hide what has to be mended.
            raise type(error)(
                f"{path}: {error}; or leave the labels out with labels=False (--no-labels)"
            ) from error
        except (MetadataError, GridError, SourceNotFoundError) as error:
            if not isinstance(request.labels, bool):
                raise
            notices.append(Notice("lost", f"{path!r} is left out: {error}"))
            continue
        made.append(PlannedImage(name=path, plan=said, source=label))
        notices += [
            Notice(notice.kind, f"{path}: {notice}")
            for notice in said.warnings
            if notice.kind not in _SAID
        ]
    return made, notices


def _image_of(source: Source) -> Image | None:
    """Return the image that a source is, or a part of."""
    while isinstance(source, Part):
        source = source.source
    return source if isinstance(source, Image) else None


def _label_source(image: Image, path: str, request: Request, part: Mapping[str, Any]) -> Source:
    """Open labels, and take the channels and the time points of them that the image has left."""
    reach: dict[str, Any] = {"storage_options": request.storage.reach}
    label = open_source(join(image.uri, path), **reach)
    if label.array.dtype.kind not in "iu":
        raise MetadataError(
            f"labels must be integers, but these are {label.array.dtype}; resample them as a "
            "separate image"
        )
    if image.given:
        # What its metadata says of the image is wrong, so what they say of this is, too.
        same = _spatial(label.grid) == _spatial(image.grid)
        if not same:
            raise MetadataError(
                "source_voxel_size applies to the image, but these labels have another grid; "
                "resample them separately, with their own voxel size"
            )
        given = as_lengths(image.grid, image.given)
        label = open_source(join(image.uri, path), given, **reach)
    return selected(label, *_selection(image.grid, label.grid, part))


def _selection(
    image: VoxelGrid, label: VoxelGrid, part: Mapping[str, Any]
) -> tuple[Any, Any, None]:
    """Return the channels and time points of labels that belong to those of a part of their image.

    Raises
    ------
    MetadataError
        If that cannot be told, as they have another number of them.
    """
    chosen: list[Any] = []
    for name, ours, theirs in (
        ("channels", image.channel_axis, label.channel_axis),
        ("timepoints", image.time_axis, label.time_axis),
    ):
        kept = part.get(name)
        if kept is None or theirs is None or label.shape[theirs] == 1:
            chosen.append(None)
        elif ours is None or image.shape[ours] != label.shape[theirs]:
            raise MetadataError(
                f"some {name} of the image are taken, and these labels have "
                f"{label.shape[theirs]} instead of {image.shape[ours or 0]}, so they cannot be "
                "matched"
            )
        else:
            chosen.append(kept)
    return chosen[0], chosen[1], None  # a crop is that of the target


def _spatial(grid: VoxelGrid) -> dict[str, int]:
    return {grid.axes[i].name: grid.shape[i] for i in grid.spatial}


def _check_reach(label: VoxelGrid, target: VoxelGrid) -> None:
    """Refuse labels of which nothing lies in the target, a crop of their image, say."""
    try:
        check_overlap(aligned_grid(label, target), target)
    except GridError:
        raise GridError(
            f"it does not overlap the target: it spans {extent_text(label)}, and the target "
            f"{extent_text(target)}"
        ) from None


def _outside(label: VoxelGrid, target: VoxelGrid) -> float | str:
    """Return what target voxels get that lie outside of labels: no label, beyond a rounding rest.

    Labels on coarser voxels than their image's rarely end where it does. A thin image may have but
    one voxel in the target, whose centre lies beyond it and which holds all of its labels.
    """
    label = aligned_grid(label, target)
    for i, (low, high) in zip(label.spatial, _gaps(label, target), strict=True):
        is_one = target.shape[target.position(label.axes[i].name)] == 1
        holds_all = is_one and min(low, high) > -1e-6
        if max(low, high) > 1.0 and not holds_all:
            return 0
    return "edge"


def _gaps(label: VoxelGrid, target: VoxelGrid) -> Iterator[tuple[float, float]]:
    """Yield by how many label voxels the target reaches beyond either end of the labels."""
    for i in label.spatial:
        j, size = target.position(label.axes[i].name), label.voxel_size[i]
        (first, last), (start, stop) = label.extent(i), target.extent(j)
        slack = 8 * np.finfo(float).eps * max(map(abs, (first, last, start, stop))) / size
        yield (first - start) / size - slack, (stop - last) / size - slack
