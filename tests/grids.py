"""Grids for the tests."""

from chunkscale import Axis, VoxelGrid


def grid_for(shape, voxel_size=None, axes=None, unit="micrometer", translation=()):
    names = axes or "tczyx"[-len(shape) :]
    kinds = {"t": "time", "c": "channel"}
    return VoxelGrid(
        axes=tuple(
            Axis(name=n, kind=kinds.get(n, "space"), unit=None if n in kinds else unit)
            for n in names
        ),
        shape=tuple(shape),
        voxel_size=tuple(voxel_size or [1.0] * len(shape)),
        translation=tuple(translation),
    )
