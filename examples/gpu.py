"""Make an image isotropic on one GPU, or on all GPUs of this machine.

    pip install 'chunkscale[cuda13]'                                 # or cuda12
    python gpu.py stack.ome.zarr isotropic.ome.zarr --device-memory 8GiB
    pip install 'chunkscale[cuda13,distributed]' dask-cuda
    python gpu.py stack.ome.zarr isotropic.ome.zarr --all-gpus

The image may be larger than the memory of the card, and the result has the same bits as on a CPU.
Run it again after an interruption: it goes on.
"""

import argparse
import contextlib
import sys

import chunkscale


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("out", help="a new OME-Zarr image")
    parser.add_argument("--all-gpus", action="store_true", help="a Dask worker for each")
    parser.add_argument(
        "--device-memory", help="of each GPU at most (default: 80 %% of what is free)"
    )
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    parser.add_argument("--memory", help="for each process at most, like 8GiB")
    return parser.parse_args(argv)


@contextlib.contextmanager
def each_gpu():
    """Yield a client of a cluster with a worker for each GPU."""
    try:
        from dask_cuda import LocalCUDACluster
        from distributed import Client
    except ImportError as missing:
        sys.exit(
            f"error: {missing.name} is missing; pip install 'chunkscale[distributed]' dask-cuda"
        )
    # Several threads read and write while the GPU computes.
    with LocalCUDACluster(threads_per_worker=6) as cluster, Client(cluster) as client:
        yield client


def main(argv: list[str] | None = None) -> str | None:
    """Resample and check, and return what went wrong, if anything."""
    given = arguments(argv)
    try:
        with each_gpu() if given.all_gpus else contextlib.nullcontext() as client:
            run = chunkscale.resample(
                given.source,
                given.out,
                voxel_size=given.voxel_size,
                antialias=True,
                device="gpu",
                device_memory=given.device_memory,
                memory=given.memory,
                client=client,
                resume=True,
            )
        print(run, flush=True)
        report = chunkscale.check(given.out, source=given.source)
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    print(report)
    return None if report else "error: the result has faults"


if __name__ == "__main__":
    sys.exit(main())
