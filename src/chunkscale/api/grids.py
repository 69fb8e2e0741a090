"""Where the voxels of an output lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import starmap

from chunkscale import options
from chunkscale.api.images import open_image
from chunkscale.errors import MetadataError, Notice, OptionError
from chunkscale.geometry.grid import (
    VoxelGrid,
    aligned_grid,
    covering_box,
    cut_grid,
    like_grid,
    refuse_far,
)
from chunkscale.geometry.overlap import check_overlap, strange_match
from chunkscale.geometry.units import METRES, symbol
from chunkscale.parameters import StorageOptions, Target
from chunkscale.sources.base import Source
from chunkscale.sources.coarser import at_level, level_for
from chunkscale.sources.libraries import find_placed
from chunkscale.sources.placed import placed_grid
from chunkscale.sources.views import Views
from chunkscale.targets import names_unit, target_grid, thick
from chunkscale.text import rounded, times


def fill_value(target: Target, dtype: str) -> float | int | None:
    """Return the value of samples outside the source; without `like` there are none."""
    fill = options.outside(target.outside, dtype)
    if fill is not None and target.like is None:
        raise OptionError(
            f"outside {target.outside!r} applies only with like: without it the target has the "
            "source's extent; leave it out"
        )
    return fill


def opened_like(source: Source, target: Target, reach: StorageOptions | None) -> Target:
    """Return a target for a source whose `like` is open; see `with_open_like`."""
    if target.like is not None and source.grid != source.whole:
        raise OptionError(
            "like already gives the whole target grid, so crop cannot be combined with it; leave "
            "one of them out"
        )
    return with_open_like(target, reach)


def with_open_like(target: Target, reach: StorageOptions | None) -> Target:
    """Return a target whose `like` is open, if it is a path; `reach` is for that.

    What is said of the source's voxels does not hold for that image.
    """
    _check_one(target)
    if target.like is None or isinstance(target.like, VoxelGrid | Views):
        return target
    if found := find_placed(target.like):
        return replace(target, like=placed_grid(found)[0])
    if not isinstance(target.like, str | os.PathLike):
        raise OptionError(
            f"like is of type {type(target.like).__name__!r}, which has no grid; give the path of "
            "an image, an opened one, an array with coordinates, or a VoxelGrid"
        )
    try:
        return replace(target, like=open_image(target.like, storage_options=reach))
    except MetadataError as error:
        what, remedy, _ = str(error).partition("; correct the metadata, or give source_voxel_size=")
        if not remedy:
            raise
        raise type(error)(
            f"like: {what}; correct its metadata, or in Python pass "
            "like=chunkscale.open_image(path, source_voxel_size=...)"
        ) from error


def source_and_target(
    source: VoxelGrid, target: Target, part: VoxelGrid | None = None
) -> tuple[VoxelGrid, VoxelGrid, tuple[Notice, ...]]:
    """Return the source and target grid, in the same units, and what is strange about the pair.

    Of the target that part is left which lies in `part`, so that it has the voxels that the whole
    has there. What it is to be like is open, and takes no part.
    """
    _check_one(target)
    refuse_far(source)
    part, like = source if part is None else part, target.like
    if like is None:
        wanted = target_grid(
            source if target.shape is None else part,
            voxel_size="finest" if target.voxel_size is None else target.voxel_size,
            zoom=1.0 if target.zoom is None else target.zoom,
            factor=target.factor,
            shape=target.shape,
        )
        if part != source and target.shape is None:
            wanted = cut_grid(wanted, covering_box(wanted, part))
        refuse_far(wanted)
        strange = _strange_size(source, part, wanted, target)
        return source, wanted, tuple(starmap(Notice, strange))
    said, grid = ((), like) if isinstance(like, VoxelGrid) else (like.notices, like.grid)
    wanted = like_grid(source, grid)  # which refuses other axes
    aligned = aligned_grid(source, grid)
    refuse_far(wanted)
    check_overlap(aligned, wanted)
    found = list(starmap(Notice, strange_match(source, aligned, grid)))
    wrong = [notice for notice in said if notice.kind == "metadata"]
    found += [Notice(notice.kind, f"the image to match: {notice}") for notice in wrong]
    return aligned, wanted, tuple(found)


def leveled(source: Source, level: int | str, target: Target) -> tuple[Source, tuple[Notice, ...]]:
    """Return the source of which a stored level is read, and what speaks against others."""
    notices: tuple[Notice, ...] = ()
    if level == "auto":
        _, wanted, _ = source_and_target(source.whole, target, source.grid)
        chosen, notices = level_for(source, aligned_grid(wanted, source.whole))
    else:
        try:
            chosen = int(level)
        except (TypeError, ValueError):
            raise OptionError(f"level {level!r} is neither 'auto' nor a number") from None
        if chosen:
            notices = tuple(_coarser(at_level(source, chosen), chosen, target))
    return (at_level(source, chosen) if chosen else source), notices


def _coarser(source: Source, level: int, target: Target) -> Iterator[Notice]:
    """Yield a notice where a level is read that has not what the target asks for."""
    _, wanted, _ = source_and_target(source.whole, target, source.grid)
    read, grid = aligned_grid(source.array_grid, wanted), []
    for i in read.spatial:
        j = wanted.position(read.axes[i].name)
        if read.voxel_size[i] > wanted.voxel_size[j] * (1 + 1e-6):
            grid.append(f"{read.axes[i].name} {read.voxel_size[i]:.6g}")
    if grid:
        yield Notice(
            "level",
            f"level {level} has larger voxels ({', '.join(grid)}) than the target, so details "
            "of level 0 are lost; read level 0, or choose a larger voxel size",
        )


def _check_one(target: Target) -> None:
    """Refuse two ways to say where the voxels lie; only a voxel size and a zoom go together."""
    ways = {
        name: value
        for name in ("like", "shape", "factor", "voxel_size", "zoom")
        if (value := getattr(target, name)) is not None
    }
    same = isinstance(target.voxel_size, str) and target.voxel_size.strip() == "same"
    if len(ways) > 1 and (same or ways.keys() != {"voxel_size", "zoom"}):
        first, second, *_ = ways
        raise OptionError(
            f"{first} {ways[first]!r} and {second} {ways[second]!r} both define the target grid; "
            "leave one of them out"
        )


_WORDS = ("finest", "coarsest", "same")


def _strange_size(
    source: VoxelGrid, part: VoxelGrid, target: VoxelGrid, asked: Target
) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for what speaks against a voxel size, or zoom, that was asked for.

    The target is that of a part of the source; what is interpolated has the neighbours beside it.
    """
    counted = asked.factor is not None or asked.shape is not None
    size = asked.voxel_size
    named = not counted and (size is None or (isinstance(size, str) and size.strip() in _WORDS))
    kept = all(target.voxel_size[i] == source.voxel_size[i] for i in source.spatial)
    if named and size != "same" and kept and all(source.shape[i] > 1 for i in source.spatial):
        yield (
            "isotropic",
            "the voxels are isotropic already, so they are only copied; give a voxel size to "
            "change that",
        )
    for i in source.spatial:
        name, present = source.axes[i].name, source.voxel_size[i]
        if source.shape[i] > 1:
            continue
        if target.shape[i] > 1:
            yield (
                "plane",
                f"the source has one voxel along {name}, so the {target.shape[i]} of the target "
                f"are all the same; a voxel size of {name}={present:.6g} keeps one",
            )
        elif named and size != "same" and present != target.voxel_size[thick(source)[0]]:
            yield (
                "kept",
                f"the source has one voxel along {name}, which is left as it is ({present:.6g}); "
                f"to change it give a number, like {name}={target.voxel_size[-1]:.6g}",
            )
    flat = [i for i in source.spatial if part.shape[i] > 1 and target.shape[i] == 1]
    steps = [target.voxel_size[i] / source.voxel_size[i] for i in source.spatial]
    if flat or (not named and not counted and max(steps) < 1 / _FAR):
        names = ", ".join(source.axes[i].name for i in flat)
        what = (
            f"only one voxel is left along {names}"
            if flat
            else "the image grows many times along each axis"
        )
        low, high = rounded(min(steps)), rounded(max(steps))
        yield (
            "collapse" if flat else "growth",
            f"{what}: a voxel size of {times(target.voxel_size[i] for i in source.spatial)} "
            f"{symbol(target.axes[source.spatial[-1]].unit) or '(no unit)'} is {low} to {high} "
            f"times the source's; {_other_unit(source, target, asked)}",
        )


#: Voxels are rarely made so many times as large or as small on purpose.
_FAR = 50.0


def _other_unit(source: VoxelGrid, target: VoxelGrid, asked: Target) -> str:
    """Return the size that was meant if its number is of another unit, or how to give one."""
    if asked.zoom is not None or asked.voxel_size is None or names_unit(asked.voxel_size):
        return "check that this is intended"  # no number was typed as a size without a unit
    i = max(source.spatial, key=lambda i: source.shape[i])
    unit, size, present = source.axes[i].unit, target.voxel_size[i], source.voxel_size[i]
    for name in ("nm", "um", "mm"):
        if unit in METRES and METRES[name] != METRES[unit]:
            meant = size * METRES[name] / METRES[unit]
            if 1 / 10 <= meant / present <= 10:
                return f"did you mean {size:.6g}{name}? That is {meant:.6g} here"
    return "check that this is intended"
