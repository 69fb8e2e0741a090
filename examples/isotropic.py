"""Make voxels isotropic: plan, look, run, check.

python examples/isotropic.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image


def main(folder: Path) -> None:
    stack, iso = folder / "stack.ome.zarr", folder / "iso.ome.zarr"
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(stack, synthetic_cells(), grid)

    plan = chunkscale.plan_resampling(stack, voxel_size="finest", memory="1GiB")
    print(plan)
    run = chunkscale.resample(stack, iso, voxel_size="finest", memory="1GiB")
    print(run)
    report = chunkscale.check(iso, source=stack)
    print(report)
    assert report


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
