"""The driver at 10^7 regions, simulated: its own time, and how busy the workers are.

python asv_bench/scaling.py [REGIONS]
python asv_bench/scaling.py plans

The loop is the real one; the cluster and its clock are simulated, with a
scheduler that takes a millisecond for every task. ``plans`` prints what
outputs of 1 GB to 100 TB are made of, from plans of sources without data.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulation import SimulatedCluster, simulate

REGION_SECONDS = 5.0
SCHEDULER_SECONDS = 1e-3


def main(regions: int) -> None:
    """Print a row for every size of the cluster."""
    print(f"{regions} regions of {REGION_SECONDS} s, {SCHEDULER_SECONDS * 1e3:.0f} ms a task")
    print("workers  hours  busy  tasks  tasks/s  in flight  driver us/region  driver/wall  RSS MiB")
    for slots in (10, 100, 1000, 10_000, 30_000):
        cluster = SimulatedCluster(slots, REGION_SECONDS, scheduler_seconds=SCHEDULER_SECONDS)
        begun = time.perf_counter()
        _, _, own = simulate(cluster, regions)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{slots:7d}  {cluster.now / 3600:5.1f}  "
            f"{cluster.busy_seconds / (slots * cluster.now):4.0%}  {cluster.batches:5d}  "
            f"{cluster.batches / cluster.now:7.1f}  {cluster.most_flying:9d}  {own * 1e6:16.1f}  "
            f"{own * regions / cluster.now:11.2%}  {memory:7.0f}"
            f"   ({time.perf_counter() - begun:.0f} s)",
            flush=True,
        )


def plans() -> None:
    """Print regions, objects, memory and reading of outputs of three sizes."""
    from planning import write_sparse_source

    import chunkscale

    print("output   regions  passes  region        MiB each  objects  reads  memory of 4 threads")
    for name, edge in (("1 GB", 800), ("1 TB", 8000), ("100 TB", 36_800)):
        with tempfile.TemporaryDirectory() as folder:
            write_sparse_source(f"{folder}/source.zarr", (edge // 5, edge, edge))
            plan = chunkscale.plan_resampling(
                f"{folder}/source.zarr", voxel_size="finest", workers=4, memory="16GiB"
            )
        objects = sum(
            math.prod(-(-n // u) for n, u in zip(level.shape, level.write_unit, strict=True))
            for level in plan.levels
        )
        region = plan.passes[0].region_shape
        print(
            f"{name:7s}  {plan.region_count:7d}  {len(plan.passes):6d}  "
            f"{' x '.join(map(str, region)):15s} {math.prod(region) * 2 / 2**20:5.0f}  "
            f"{objects:7d}  {plan.read_amplification:5.2f}  {plan.memory.total / 2**30:.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["plans"]:
        plans()
        sys.exit()
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000)
