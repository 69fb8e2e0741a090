"""Reading from a coarser stored level, where that is as fine as what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chunkscale.errors import ChunkscaleError, Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.sources.base import Source
from chunkscale.sources.image import Image
from chunkscale.sources.parts import Part

#: A level begins where level 0 does, to this part of a voxel of level 0. Writers that leave the
#: translation out are half a voxel off at the first level.
_SHIFT = 0.25


def at_level(source: Source, level: int) -> Source:
    """Return the same source, of which a coarser level is read."""
    if isinstance(source, Part):
        return replace(source, source=at_level(source.source, level))
    image = _image(source, level)
    array, grid = image.level(level), image.level_grid(level)
    if array.dtype != image.array.dtype:
        raise OptionError(
            f"level {level} of {image.uri!r} has the data type {array.dtype} and level 0 "
            f"{image.array.dtype}; take level 0"
        )
    read = level % len(image.multiscale.datasets)
    return replace(image, array=array, read_grid=grid, read_level=read)


def level_for(source: Source, target: VoxelGrid) -> tuple[int, tuple[Notice, ...]]:
    """Return the coarsest level that is as fine as a target in the same units, and notices.

    A coarser one that would do and does not agree with level 0 is named.
    """
    if isinstance(source, Part):
        return level_for(source.source, target)
    image = _image(source, "auto")
    for level in reversed(range(1, len(image.multiscale.datasets))):
        try:
            image.level(level)
            grid = image.level_grid(level)
        except ChunkscaleError:
            continue  # it is not there, or cannot be understood; opening has said so
        limit = [target.voxel_size[i] * (1 + 1e-9) for i in grid.spatial]
        if any(grid.voxel_size[i] > most for i, most in zip(grid.spatial, limit, strict=True)):
            continue
        faults = list(_disagreements(image.grid, grid))
        if not faults:
            return level, ()
        path = image.multiscale.datasets[level].path
        text = f"level {path!r} would be fine enough, but does not match level 0 ({faults[0]})"
        return 0, (Notice("level", f"{text}, so level 0 is read"),)
    return 0, ()


def agreeing_levels(source: Source) -> Iterator[tuple[int, Source]]:
    """Yield the source read from each stored level that agrees with level 0, with its number.

    Levels that are not there, or do not lie where level 0 does, are left out.
    """
    yield 0, source
    image = source
    while isinstance(image, Part):
        image = image.source
    for level in range(1, image.level_count if isinstance(image, Image) else 1):
        try:
            found = at_level(source, level)
        except ChunkscaleError:
            continue  # opening has said so
        if not any(_disagreements(source.whole, found.array_grid)):
            yield level, found


def _image(source: Source, level: object) -> Image:
    if isinstance(source, Image):
        return source
    raise OptionError(
        f"level {level!r} applies to OME-Zarr images; the {source.path or 'file'} has no levels, "
        "so leave it out"
    )


def _disagreements(first: VoxelGrid, grid: VoxelGrid) -> Iterator[str]:
    """Yield where a level does not cover the extent of level 0."""
    for i, axis in enumerate(first.axes):
        if i not in first.spatial:
            if grid.shape[i] != first.shape[i]:
                yield f"it has {grid.shape[i]} voxels along {axis.name} instead of {first.shape[i]}"
            continue
        fine, coarse = first.voxel_size[i], grid.voxel_size[i]
        begin, start = first.extent(i)[0], grid.extent(i)[0]
        if abs(start - begin) > _SHIFT * fine:
            yield f"along {axis.name} it begins at {start:.6g} instead of {begin:.6g}"
        length, covered = first.shape[i] * fine, grid.shape[i] * coarse
        # A cell at the end may be cut, or be left out.
        if abs(covered - length) >= coarse * (1 - 1e-6):
            yield f"along {axis.name} it covers {covered:.6g} instead of {length:.6g}"
