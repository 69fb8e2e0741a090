"""Where the voxels of an output lie, as users say it."""

from __future__ import annotations

from itertools import starmap

from chunkscale import options
from chunkscale.api.images import open_image
from chunkscale.errors import Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid, aligned_grid, like_grid
from chunkscale.geometry.overlap import check_overlap, strange_match
from chunkscale.parameters import StorageOptions, Target
from chunkscale.sources.ome_zarr import Image


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
        wanted = options.target_grid(
            source,
            voxel_size="finest" if target.voxel_size is None else target.voxel_size,
            zoom=1.0 if target.zoom is None else target.zoom,
        )
        return source, wanted, ()
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
        found += [Notice("like", f"the image to match: {notice}") for notice in like.notices]
    return aligned, wanted, tuple(found)
