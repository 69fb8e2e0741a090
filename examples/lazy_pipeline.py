"""Resample inside a Dask pipeline: nothing is computed until it is asked for.

A threshold of the isotropic image is counted block by block; the isotropic
image itself is never stored.

    python examples/lazy_pipeline.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image


def main(folder: Path) -> None:
    stack = folder / "stack.ome.zarr"
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(stack, synthetic_cells(), grid)

    image = chunkscale.open_image(stack)
    lazy = chunkscale.resample_array(
        image.as_dask(), source_voxel_size=image.grid.voxel_size, voxel_size=0.5, chunk=128
    )
    bright = (lazy > 500).sum()
    print(f"{lazy.shape} voxels of 0.5 um in {lazy.npartitions} blocks")
    volume = int(bright.compute()) * 0.5**3
    print(f"bright volume: {volume:.0f} um^3")
    assert volume > 0


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
