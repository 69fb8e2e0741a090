"""What a user should know before a run."""

from __future__ import annotations

from chunkscale.errors import Notice
from chunkscale.geometry.grid import VoxelGrid, unusual
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.methods import METHODS
from chunkscale.geometry.pyramid import Level
from chunkscale.plan import policy
from chunkscale.plan.model import Resampling
from chunkscale.text import human_bytes, rounded


def find_notices(
    what: Resampling,
    levels: tuple[Level, ...],
    mapping: tuple[AxisMapping, ...],
    free_disk: int | None,
) -> tuple[Notice, ...]:
    source, grid = what.source, what.source_grid
    found = list(what.notices)
    found += aliasing_notices(grid, mapping)
    # A grid that stays blends nothing.
    blending = [
        m.method for m in mapping if METHODS[m.method].blends and (m.step != 1.0 or m.offset)
    ]
    if source.is_label and blending:
        text = f"{blending[0]} interpolation mixes the ids of this label image"
        found.append(Notice("labels", text))
    voted = any(m.counted > 1 for m in mapping)
    rounded = len(levels) > 1 and what.downsample in ("mean", "mode")
    if source.dtype == "bool" and (blending or voted or rounded):
        text = (
            "this is a mask: interpolated values are rounded to true or false, so structures one "
            "voxel thick vanish. To keep them as shades of grey, convert it to numbers first: "
            "resample(image.as_dask() * numpy.uint8(255), DST, source_voxel_size=...)"
        )
        found.append(Notice("mask", text))
    found += [Notice(kind, text) for kind, text in unusual(grid)]
    written = sum(level.grid.size for level in levels) * source.itemsize
    if written > 16 * source.nbytes:
        found.append(Notice("size", f"the output is {written / source.nbytes:.0f} times the input"))
    if free_disk is not None and written > free_disk:
        found.append(disk_notice(written, free_disk))
    return tuple(found)


def aliasing_notices(grid: VoxelGrid, mapping: tuple[AxisMapping, ...]) -> list[Notice]:
    """Say along which axes of a source the interpolation skips voxels."""
    skipping = {
        grid.axes[i].name: m
        for i, m in enumerate(mapping)
        if METHODS[m.method].weight
        and m.scale == 1.0
        and m.step > policy.ALIASING_STEP * (1 + 1e-9)
        and m.source_size > 1
    }
    if not skipping:
        return []
    text = ", ".join(f"{name} by {rounded(m.step)}" for name, m in skipping.items())
    method = next(iter(skipping.values())).method
    return [
        Notice(
            "aliasing",
            f"aliasing: the image shrinks along {text}, and plain {method} interpolation skips the "
            "voxels in between. method='area' (--method area) averages all of them, which keeps "
            "intensities; antialias=True (--antialias) is softer and leaves the fewest false "
            "patterns",
        )
    ]


def disk_notice(written: int, free: int) -> Notice:
    """Say that more may be written than there is room for."""
    return Notice(
        "disk",
        f"up to {human_bytes(written)} will be written before compression, but only "
        f"{human_bytes(free)} are free on the output's disk",
    )
