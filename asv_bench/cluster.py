"""Clusters and interrupted runs: what the driver costs, and what a resumed run costs.

python asv_bench/cluster.py [tasks] [overhead] [ledger] [ratio] [resume]
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil

HERE = Path(__file__).resolve().parent
MIB = 2**20
REGIONS = 1_000_000
RUNS = 5


def _resident() -> float:
    return psutil.Process().memory_info().rss / MIB


def _nothing(opened: Any, index: int) -> Any:
    from chunkscale.run.records import Record

    return Record(index, 1, 1, 0.0, 0.0, 0.0)


class _NoWork:
    """A worker plugin under which regions cost nothing."""

    def setup(self, worker: Any) -> None:
        import chunkscale.run.worker

        chunkscale.run.worker.run_region = _nothing
        chunkscale.run.worker._opened = lambda run, payload: None


def write_stack(path: Path, shape: tuple[int, ...]) -> None:
    """Write noise as an image whose z steps are five times as large as the others."""
    import chunkscale
    from chunkscale.samples import write_image

    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=shape, voxel_size=(1.0, 0.2, 0.2))
    write_image(path, np.random.default_rng(0).integers(0, 400, shape, "uint16"), grid)


def _settle() -> None:
    """Leave no run what the last one left to the disk, nor memory that the host has taken."""
    os.sync()
    touch = json.dumps({"do": "touch", "bytes": 4 * 2**30})
    command = [sys.executable, str(HERE / "contenders.py"), touch]
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, stdin=quiet, stdout=quiet)


def tasks(folder: Path) -> None:
    """Print what a task costs, with a region in each."""
    with mock.patch("chunkscale.run.window.MOST_REGIONS", 1):
        overhead(folder, edge=20, local_too=False)


def ledger(folder: Path) -> None:
    """Print the cost of noting regions down, of reading them again and of listing objects."""
    import chunkscale
    from chunkscale.output.leases import acquire
    from chunkscale.output.ledger import Ledger, recorded
    from chunkscale.output.sweep import measured
    from chunkscale.run.records import Record
    from chunkscale.storage.engine import StoreIO
    from chunkscale.storage.writer import ArrayWriter

    uri = str(folder / "notes")
    notes = Ledger(uri, acquire(uri))
    begun = time.perf_counter()
    for index in range(REGIONS):
        notes.add(Record(index, 1, 1, 0.0, 0.0, 0.0, 21_407_840 + index % 999))
    notes.flush()
    noted = time.perf_counter()
    recorded(uri, REGIONS)
    read = time.perf_counter()
    size = sum(path.stat().st_size for path in Path(uri).rglob("*.json"))
    source, out = folder / "small-stack.zarr", folder / "objects.zarr"
    write_stack(source, (64, 512, 512))
    plan = chunkscale.resample(source, out, chunk=16, shard=0, memory="1GiB").plan
    writers = [ArrayWriter(str(out / level.path), StoreIO(threads=2)) for level in plan.levels]
    begun_listing = time.perf_counter()
    _, counts = measured(plan, writers)
    listed = time.perf_counter() - begun_listing
    print(
        f"ledger: {(noted - begun) / REGIONS * 1e6:.1f} us and {size / REGIONS:.0f} bytes a "
        f"region, read again {(read - noted) / REGIONS * 1e6:.1f} us; {counts.sum()} objects "
        f"listed, {listed / counts.sum() * 1e6:.0f} us each",
        flush=True,
    )


def overhead(folder: Path, edge: int = 100, local_too: bool = True) -> None:
    """Print start, seconds for each region and memory of the client, at 10^6 regions."""
    import distributed

    import chunkscale
    from chunkscale.output.leases import acquire
    from chunkscale.output.ledger import Ledger
    from chunkscale.run.dask_cluster import DaskCluster
    from chunkscale.run.driver import Track
    from chunkscale.run.job import ImageJob, Job
    from chunkscale.run.runs import run_job
    from chunkscale.storage.engine import StoreIO
    from chunkscale.storage.reader import open_array

    write_stack(folder / "small.zarr", (4, 20, 20))
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        client.register_plugin(_worker_plugin(distributed))
        plan = chunkscale.plan_resampling(folder / "small.zarr")
        # As many regions as there are voxels of a volume that no disk has to hold.
        one = plan.passes[0]
        shape, regions = (edge,) * 3, edge**3
        many = _replace(
            plan,
            passes=(_replace(one, shape=shape, region_shape=(1, 1, 1), order=(0, 1, 2)),),
        )
        source = open_array(str(folder / "small.zarr" / "0"), StoreIO(threads=1))
        clusters: dict[str, Any] = {"cluster of 2 processes": DaskCluster(client)}
        if local_too:
            clusters["threads"] = None
        for name, cluster in clusters.items():
            image = ImageJob(plan=many, source=source, target=())
            job = Job(run=name, images=(image,), workers=many.workers)
            notes = Ledger(str(folder / name), acquire(str(folder / name)))
            first: list[float] = []

            def progress(state: Any, first: list[float] = first) -> None:
                if not first:
                    first.append(time.perf_counter())

            before, begun = _resident(), time.perf_counter()
            with mock.patch("chunkscale.run.local.run_region", _nothing):
                run_job(job, [Track(plan=many, ledger=notes)], progress=progress, cluster=cluster)
            seconds = time.perf_counter() - begun
            print(
                f"{name}: {regions} regions in {seconds:.0f} s, "
                f"{seconds / regions * 1e3:.3f} ms a region; the first after "
                f"{first[0] - begun:.2f} s; client memory +{_resident() - before:.0f} MiB",
                flush=True,
            )


def _worker_plugin(distributed: Any) -> Any:
    return type("NoWork", (_NoWork, distributed.WorkerPlugin), {})()


def _replace(value: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(value, **changes)


def _median(run: Callable[[], float], runs: int = RUNS) -> float:
    return statistics.median(run() for _ in range(runs))


def ratio(folder: Path) -> None:
    """Print a local cluster of 2 processes as a multiple of 2 threads, and of the default."""
    import distributed

    import chunkscale

    source = folder / "stack.zarr"
    write_stack(source, (128, 1024, 1024))
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local, set_as_default=False) as client,
    ):

        def run(**where: Any) -> float:
            output = folder / "out.zarr"
            shutil.rmtree(output, ignore_errors=True)
            _settle()
            begun = time.perf_counter()
            chunkscale.resample(source, output, memory="1GiB", **where)
            return time.perf_counter() - begun

        cold = run(client=client)
        run(workers=2)
        turns = [(run(client=client), run(workers=2), run()) for _ in range(2 * RUNS)]
        cluster, threads, default = (statistics.median(t) for t in zip(*turns, strict=True))
        print(
            f"128x1024x1024: cluster {cluster:.2f} s, 2 threads {threads:.2f} s, ratio "
            f"{cluster / threads:.2f} (median of the turns' ratios "
            f"{statistics.median(a / b for a, b, _ in turns):.2f}); by default threads take "
            f"{default:.2f} s, ratio {cluster / default:.2f}; first on new workers {cold:.2f} s",
            flush=True,
        )


def resume(folder: Path) -> None:
    """Print what a run costs that was interrupted half way, as a part of a whole one."""
    import chunkscale

    source = folder / "stack.zarr"
    if not source.exists():
        write_stack(source, (128, 1024, 1024))
    out, small = folder / "resumed.zarr", folder / "small-stack.zarr"
    write_stack(small, (4, 20, 20))

    class Half(Exception):
        pass

    def stop(state: Any) -> None:
        if state.regions >= state.total_regions / 2:
            raise Half

    def timed(**options: Any) -> float:
        _settle()
        # A run lets go of the pages of libraries. One that was interrupted does not come to the
        # end, where most of them are wanted again: the next one would wait for what it never does.
        for resumed in (False, True):
            chunkscale.resample(
                small, folder / "small-out.zarr", overwrite=not resumed, resume=resumed
            )
        begun = time.perf_counter()
        chunkscale.resample(source, out, memory="1GiB", **options)
        return time.perf_counter() - begun

    timed()
    parts = []
    for _ in range(2 * RUNS):
        shutil.rmtree(out)
        whole = timed()
        shutil.rmtree(out)
        try:
            chunkscale.resample(source, out, memory="1GiB", progress=stop)
        except Half:
            parts.append(timed(resume=True) / whole)
    print(f"128x1024x1024: resumed half way, {statistics.median(parts):.0%} of a whole run")


def main(names: list[str]) -> None:
    """Run what is named, or everything."""
    parts: dict[str, Callable[[Path], None]] = {
        "tasks": tasks,
        "overhead": overhead,
        "ledger": ledger,
        "ratio": ratio,
        "resume": resume,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names or list(parts):
            parts[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
