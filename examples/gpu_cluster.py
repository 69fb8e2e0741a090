"""One process for each GPU of this host: a Dask cluster by dask-cuda.

python examples/gpu_cluster.py [FOLDER]

Needs ``chunkscale[cuda13,distributed]`` (or ``cuda12``) and dask-cuda; without them it says so.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image


def main(folder: Path) -> None:
    missing = [name for name in ("cupy", "dask_cuda") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: nothing to do here")
        return
    from dask_cuda import LocalCUDACluster
    from distributed import Client

    stack, iso = folder / "stack.ome.zarr", folder / "iso.ome.zarr"
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(stack, synthetic_cells(), grid)
    # Each worker sees its own GPU first; several threads read and write while it computes.
    with LocalCUDACluster(threads_per_worker=6) as cluster, Client(cluster) as client:
        run = chunkscale.resample(stack, iso, device="gpu", device_memory="2GiB", client=client)
    print(run)
    assert chunkscale.check(iso, source=stack)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
