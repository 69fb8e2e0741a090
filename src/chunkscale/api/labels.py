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
from chunkscale.errors import ChunkscaleError, MetadataError, Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid, aligned_grid
from chunkscale.parameters import Target
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Source
from chunkscale.sources.image import Image
from chunkscale.sources.parts import Part
from chunkscale.storage.locations import join

#: Notices of an image and its labels on one grid that say nothing new of the labels.
_SAID = ("size", "unit", "order", "disk", "memory")


def chosen_labels(image: Image | None, asked: bool | str | Sequence[str]) -> tuple[str, ...]:
    """Return the paths of the labels that go along, in the order in which they are listed.

    Raises
    ------
    OptionError
        If one that is asked for is not there.
    """
    listed = () if image is None else image.labels
    if isinstance(asked, bool):
        return listed if asked else ()
    if not isinstance(asked, str | Sequence):
        raise OptionError(
            f"labels {asked!r} is neither True nor False nor a list of names; give it like "
            "'nuclei,cells'"
        )
    names = asked.split(",") if isinstance(asked, str) else asked
    wanted = [f"labels/{str(name).strip().removeprefix('labels/')}" for name in names]
    for path in wanted:
        if path not in listed:
            there = [known.removeprefix("labels/") for known in listed]
            near = difflib.get_close_matches(path.removeprefix("labels/"), there, 1) or there
            what = "this source has none" if image is None else f"{image.uri!r} has no such labels"
            remedy = f"there are {', '.join(map(repr, near))}" if near else "leave that out"
            raise OptionError(f"labels {path.removeprefix('labels/')!r}: {what}; {remedy}")
    return tuple(dict.fromkeys(wanted))


def planned_labels(
    source: Source,
    plan: ResamplePlan,
    request: Request,
    means: Means,
    *,
    destination: str | None,
    resume: bool,
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
    """
    image = _image_of(source)
    made: list[PlannedImage] = []
    notices: list[Notice] = []
    chosen = chosen_labels(image, request.labels)
    if image is None:
        return made, notices
    if left := [path for path in image.labels if path not in chosen]:
        notices.append(Notice("asked", f"its labels stay behind, as asked: {', '.join(left)}"))
    for path in chosen:
        try:
            label = _label_source(image, path, request)
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
        except ChunkscaleError as error:
            if not isinstance(request.labels, bool):
                raise
            notices.append(Notice("lost", f"{path!r} is left behind: {error}"))
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


def _label_source(image: Image, path: str, request: Request) -> Source:
    """Open labels, and take the channels and the time points of them that the image has left."""
    reach: dict[str, Any] = {"storage_options": request.storage.reach}
    label = open_source(join(image.uri, path), **reach)
    if label.array.dtype.kind not in "iu":
        raise MetadataError(
            f"labels are integers, and these are {label.array.dtype}; resample them as an image "
            "of its own"
        )
    if image.given:
        # What its metadata says of the image is wrong, so what they say of this is, too.
        same = _spatial(label.grid) == _spatial(image.grid)
        if not same:
            raise OptionError(
                "source_voxel_size is that of the image, and these labels have another grid; "
                "resample them by themselves, with their own voxel size"
            )
        label = open_source(join(image.uri, path), dict(image.given), **reach)
    return selected(label, *_selection(image.grid, label.grid, request.selection))


def _selection(
    image: VoxelGrid, label: VoxelGrid, asked: Mapping[str, Any]
) -> tuple[Any, Any, None]:
    """Return the channels and time points of labels that belong to those of their image."""

    def same(ours: int | None, theirs: int | None) -> bool:
        return None not in (ours, theirs) and image.shape[ours or 0] == label.shape[theirs or 0] > 1

    channels = asked.get("channels") if same(image.channel_axis, label.channel_axis) else None
    times = asked.get("timepoints") if same(image.time_axis, label.time_axis) else None
    return channels, times, None  # a crop is that of the target


def _spatial(grid: VoxelGrid) -> dict[str, int]:
    return {grid.axes[i].name: grid.shape[i] for i in grid.spatial}


def _outside(label: VoxelGrid, target: VoxelGrid) -> float | str:
    """Return what target voxels get that lie outside of labels: no label, beyond a rounding rest.

    Labels on coarser voxels than their image's rarely end where it does.
    """
    label = aligned_grid(label, target)
    for low, high in _gaps(label, target):
        if max(low, high) > 1.0:
            return 0
    return "edge"


def _gaps(label: VoxelGrid, target: VoxelGrid) -> Iterator[tuple[float, float]]:
    """Yield by how many label voxels the target reaches beyond either end of the labels."""
    for i in label.spatial:
        j, size = target.position(label.axes[i].name), label.voxel_size[i]
        (first, last), (start, stop) = label.extent(i), target.extent(j)
        slack = 8 * np.finfo(float).eps * max(map(abs, (first, last, start, stop))) / size
        yield (first - start) / size - slack, (stop - last) / size - slack
