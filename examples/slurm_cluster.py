"""Make a very large image isotropic with many Slurm jobs, which come and go as Slurm has room.

    pip install 'chunkscale[distributed]' dask-jobqueue
    python slurm_cluster.py stack.ome.zarr isotropic.ome.zarr --jobs 40 --queue normal

Run it on a login node, or as a small job that goes back into the queue at its time limit:

    sbatch --cpus-per-task=1 --mem=4G slurm.sh python slurm_cluster.py SRC OUT --jobs 40

All nodes must see source and output under the same paths. Run it again after an interruption: it
goes on. For an image that one node can do, slurm.sh alone is simpler.
"""

import argparse
import shutil
import signal
import sys

import chunkscale


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("out", help="a new OME-Zarr image")
    parser.add_argument("--jobs", type=int, default=10, help="at most (default: 10)")
    parser.add_argument("--cores", type=int, default=8, help="of each job (default: 8)")
    parser.add_argument("--job-memory", default="32GB", help="of each job (default: 32GB)")
    parser.add_argument("--queue", help="the partition (default: the one Slurm chooses)")
    parser.add_argument("--account", help="who pays")
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    return parser.parse_args(argv)


def slurm_cluster(given: argparse.Namespace):
    """Return a cluster of Slurm jobs of four hours, with two processes each."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as missing:
        sys.exit(
            f"error: {missing.name} is missing; pip install 'chunkscale[distributed]' dask-jobqueue"
        )
    if not shutil.which("sbatch"):
        sys.exit("error: there is no Slurm here (sbatch is not found)")
    cluster = SLURMCluster(
        cores=given.cores,
        processes=2,
        memory=given.job_memory,
        queue=given.queue,
        account=given.account,
        walltime="04:00:00",
        # Workers leave before Slurm ends their job, and others take their place.
        worker_extra_args=["--lifetime", "230m", "--lifetime-stagger", "5m"],
    )
    cluster.adapt(minimum_jobs=1, maximum_jobs=given.jobs)
    return cluster


def main(argv: list[str] | None = None) -> str | None:
    """Resample, and return what went wrong, if anything; the exit status is 4 after SIGTERM."""
    given = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))  # leave in order: the jobs end as well
    try:
        with slurm_cluster(given) as cluster:
            run = chunkscale.resample(
                given.source,
                given.out,
                voxel_size=given.voxel_size,
                antialias=True,
                scheduler=cluster.scheduler_address,
                log=f"{given.out.rstrip('/')}.log.jsonl",
                resume=True,
            )
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    print(run)
    return None


if __name__ == "__main__":
    sys.exit(main())
