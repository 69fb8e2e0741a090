"""A Dask cluster of Slurm jobs, through dask-jobqueue.

On a login node, or as a small job of its own, with ``chunkscale[distributed]`` and
dask-jobqueue installed::

    python examples/slurm_cluster.py SRC DST

or as `sbatch` text: ``python examples/slurm_cluster.py --sbatch`` prints it.
Without Slurm, ``python examples/slurm_cluster.py [FOLDER]`` runs the same
function on a local cluster, on a small stack.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from distributed import LocalCluster

import chunkscale
from chunkscale.cli.main import main
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image

WORKERS = 40

SBATCH = """\
#!/bin/bash
#SBATCH --job-name=chunkscale-driver
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
# The driver: it holds no data. It asks Slurm for the workers, and a job that ends before the
# work does is put back into the queue and goes on where it was.
trap 'kill -TERM $driver' TERM
python slurm_cluster.py "$SRC" "$DST" & driver=$!
wait $driver; code=$?
# The shell comes back from the first wait when the signal does; what counts is the second.
if [ $code -gt 128 ]; then wait $driver; code=$?; fi
[ $code -eq 4 ] && scontrol requeue "$SLURM_JOB_ID"
exit $code
"""


def slurm_cluster():
    """Return a cluster whose workers are Slurm jobs: 8 cores, 32 GB, 2 processes each."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        cores=8,
        processes=2,
        memory="32GB",
        walltime="04:00:00",
        # Workers leave before Slurm ends their job, and others take their place.
        worker_extra_args=["--lifetime", "230m", "--lifetime-stagger", "5m"],
    )
    cluster.adapt(minimum=1, maximum=WORKERS)
    return cluster


def run(cluster, source: str, destination: str) -> int:
    """Resample on a cluster, and return the exit code.

    A run that was cut short goes on, and SIGTERM ends it between two regions: with code 4.
    """
    return main(
        ["resample", source, destination, "--resume", "--scheduler", cluster.scheduler_address]
    )


def local_part(folder: Path) -> None:
    """Run the same on two local processes."""
    stack, iso = folder / "stack.ome.zarr", folder / "iso.ome.zarr"
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(stack, synthetic_cells(), grid)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        assert run(cluster, str(stack), str(iso)) == 0
    assert chunkscale.check(iso, source=stack)
    if not shutil.which("sbatch"):
        print("no Slurm here; for a cluster that has it:\n\n" + SBATCH)


if __name__ == "__main__":
    if sys.argv[1:] == ["--sbatch"]:
        print(SBATCH, end="")
    elif len(sys.argv) == 3:
        with slurm_cluster() as jobs:
            code = run(jobs, *sys.argv[1:])
        sys.exit(code)
    else:
        local_part(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
