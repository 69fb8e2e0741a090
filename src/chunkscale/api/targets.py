"""Where the voxels of an output lie, as users say it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

from chunkscale import options
from chunkscale.api.images import open_image
from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid, aligned_grid, like_grid
from chunkscale.geometry.overlap import check_overlap, strange_match
from chunkscale.geometry.units import METRES
from chunkscale.parameters import StorageOptions, Target, VoxelSize
from chunkscale.sources.ome_zarr import Image
from chunkscale.text import times


def fill_value(target: Target, dtype: str) -> float | int | None:
    """Return the value of samples outside the source; without `like` there are none."""
    fill = options.outside(target.outside, dtype)
    if fill is not None and target.like is None:
        raise OptionError(
            f"outside {target.outside!r} has no meaning without like: the target has the source's "
            "extent; leave it out"
        )
    return fill


def source_and_target(
    source: VoxelGrid, target: Target, reach: StorageOptions | None = None
) -> tuple[VoxelGrid, VoxelGrid, tuple[Notice, ...]]:
    """Return the source and target grid, in the same units, and what is strange about the pair.

    `reach` is for an image in `like`.
    """
    like = target.like
    if like is None:
        size: VoxelSize = "finest" if target.voxel_size is None else target.voxel_size
        zoom = 1.0 if target.zoom is None else target.zoom
        wanted = options.target_grid(source, voxel_size=size, zoom=zoom)
        return source, wanted, tuple(starmap(Notice, _strange_size(source, wanted, size)))
    if target.voxel_size is not None or target.zoom is not None:
        raise OptionError(
            "like gives the whole target grid, so voxel size and zoom must be left out"
        )
    if not isinstance(like, VoxelGrid | Image):
        like = open_image(like, storage_options=reach)
    grid = like.grid if isinstance(like, Image) else like
    aligned, wanted = aligned_grid(source, grid), like_grid(source, grid)
    check_overlap(aligned, wanted)
    found = list(starmap(Notice, strange_match(source, aligned, grid)))
    if isinstance(like, Image):
        wrong = [notice for notice in like.notices if notice.kind == "metadata"]
        found += [Notice(notice.kind, f"the image to match: {notice}") for notice in wrong]
    return aligned, wanted, tuple(found)


def _strange_size(
    source: VoxelGrid, target: VoxelGrid, voxel_size: VoxelSize
) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for what speaks against a voxel size, or zoom, that was asked for."""
    named = isinstance(voxel_size, str) and voxel_size.strip() in ("finest", "coarsest")
    for i in source.spatial:
        name, size = source.axes[i].name, source.voxel_size[i]
        if source.shape[i] > 1:
            continue
        if target.shape[i] > 1:
            yield (
                "plane",
                f"the source has one voxel along {name}, so the {target.shape[i]} of the target "
                f"are all the same; a voxel size of {name}={size:.6g} keeps one",
            )
        elif (
            named
            and i not in options.thick(source)
            and size != target.voxel_size[options.thick(source)[0]]
        ):
            yield (
                "kept",
                f"the source has one voxel along {name}, which is left as it is ({size:.6g}); "
                f"to change it give a number, like {name}={target.voxel_size[-1]:.6g}",
            )
    flat = [i for i in source.spatial if source.shape[i] > 1 and target.shape[i] == 1]
    steps = [target.voxel_size[i] / source.voxel_size[i] for i in source.spatial]
    if flat or (not named and max(steps) < 1 / _FAR):
        names = ", ".join(source.axes[i].name for i in flat)
        what = (
            f"only one voxel is left along {names}"
            if flat
            else "the image grows many times along each axis"
        )
        yield (
            "collapse" if flat else "growth",
            f"{what}: a voxel size of {times(target.voxel_size[i] for i in source.spatial)} "
            f"{target.axes[source.spatial[-1]].unit or '(no unit)'} is {min(steps):.3g} to "
            f"{max(steps):.3g} times the source's; {_other_unit(source, target)}",
        )


#: Voxels are rarely made so many times as large or as small on purpose.
_FAR = 50.0


def _other_unit(source: VoxelGrid, target: VoxelGrid) -> str:
    """Return the size that was meant if its number is of another unit, or how to give one."""
    i = max(source.spatial, key=lambda i: source.shape[i])
    unit, size, present = source.axes[i].unit, target.voxel_size[i], source.voxel_size[i]
    for name in ("nanometer", "micrometer", "millimeter"):
        if unit in METRES and METRES[name] != METRES[unit]:
            meant = size * METRES[name] / METRES[unit]
            if 1 / 10 <= meant / present <= 10:
                return f"did you mean {size:.6g} {name}? That is {meant:.6g} here"
    return "give another one if that is not meant"
