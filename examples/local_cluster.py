"""The same run on a Dask cluster: here one of two processes, elsewhere any other.

python examples/local_cluster.py [FOLDER]

Needs the extra ``chunkscale[distributed]``.
"""

import sys
import tempfile
from pathlib import Path

from distributed import Client, LocalCluster

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image


def main(folder: Path) -> None:
    stack, iso = folder / "stack.ome.zarr", folder / "iso.ome.zarr"
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(stack, synthetic_cells(), grid)

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        print("dashboard:", client.dashboard_link)
        # An active client is used by itself; client=client says so.
        run = chunkscale.resample(
            stack, iso, voxel_size="finest", memory="1GiB", client=client, log=folder / "log.jsonl"
        )
    print(run)
    print((folder / "log.jsonl").read_text().splitlines()[0])
    assert chunkscale.check(iso, source=stack)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
