"""Where the voxels of an output lie."""

from __future__ import annotations

from chunkscale import options
from chunkscale.api.images import open_image
from chunkscale.errors import MetadataError, Notice, OptionError
from chunkscale.geometry.grid import (
    VoxelGrid,
    aligned_grid,
    covering_box,
    cut_grid,
    like_grid,
)
from chunkscale.parameters import PathLike, StorageOptions, Target
from chunkscale.sources.ome_zarr import Image
from chunkscale.sources.parts import Part
from chunkscale.targets import target_grid


def fill_value(target: Target, dtype: str) -> float | int | None:
    """Return the value of samples outside the source; without `like` there are none."""
    fill = options.outside(target.outside, dtype)
    if fill is not None and target.like is None:
        raise OptionError(
            f"outside {target.outside!r} has no meaning without like: the target has the source's "
            "extent; leave it out"
        )
    return fill


def _image_like(path: PathLike, reach: StorageOptions | None) -> Image:
    """Open the image to be like; what is said of the source's voxels does not hold for it."""
    try:
        return open_image(path, storage_options=reach)
    except MetadataError as error:
        what, remedy, _ = str(error).partition("; correct the metadata, or give source_voxel_size=")
        if not remedy:
            raise
        raise type(error)(
            f"like: {what}; correct its metadata, or in Python pass "
            "like=chunkscale.open_image(path, source_voxel_size=...)"
        ) from error


def source_and_target(
    source: VoxelGrid,
    target: Target,
    reach: StorageOptions | None = None,
    part: VoxelGrid | None = None,
) -> tuple[VoxelGrid, VoxelGrid, tuple[Notice, ...]]:
    """Return the source and target grid, in the same units, and what is wrong with `like`.

    `reach` is for an image there. Of the target that part is left which lies in `part`, so that
    it has the voxels that the whole has there.
    """
    _check_one(target)
    like, cropped = target.like, part is not None and part != source
    if like is None:
        grid = target_grid(
            part if part is not None and target.shape is not None else source,
            voxel_size="finest" if target.voxel_size is None else target.voxel_size,
            zoom=1.0 if target.zoom is None else target.zoom,
            factor=target.factor,
            shape=target.shape,
        )
        if part is not None and cropped and target.shape is None:
            grid = cut_grid(grid, covering_box(grid, part))
        return source, grid, ()
    if cropped:
        raise OptionError(
            "like gives the whole target grid, so a crop of the source has no meaning beside it; "
            "leave one of them out"
        )
    if not isinstance(like, VoxelGrid | Image | Part):
        like = _image_like(like, reach)
    said, grid = ((), like) if isinstance(like, VoxelGrid) else (like.notices, like.grid)
    wrong = (n for n in said if n.kind == "metadata")
    return aligned_grid(source, grid), like_grid(source, grid), tuple(wrong)


def _check_one(target: Target) -> None:
    """Refuse two ways to say where the voxels lie; only a voxel size and a zoom go together."""
    ways = {
        name: value
        for name in ("like", "shape", "factor", "voxel_size", "zoom")
        if (value := getattr(target, name)) is not None
    }
    if len(ways) > 1 and ways.keys() != {"voxel_size", "zoom"}:
        first, second, *_ = ways
        raise OptionError(
            f"{first} {ways[first]!r} and {second} {ways[second]!r} both say where the target's "
            "voxels lie; leave one of them out"
        )
