"""Time and memory of planning ten million regions; prints, writes only a temporary array."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import psutil

#: Ten million regions and more of 512 voxels (the planner's choice for volumes this large).
SHAPE = (22_100, 110_500, 110_500)
VOXEL_SIZE = (1.0, 0.2, 0.2)
TARGET = 0.2
MEMORY = "4GiB"
MIB = 2**20


def write_sparse_source(path: str, shape: tuple[int, ...] = SHAPE) -> None:
    """Create an image without a single chunk."""
    from chunkscale.geometry.grid import Axis, VoxelGrid
    from chunkscale.geometry.pyramid import Layout, pyramid
    from chunkscale.ome.model import Dataset
    from chunkscale.ome.write import multiscale_attributes
    from chunkscale.storage.engine import StoreIO
    from chunkscale.storage.groups import put_group
    from chunkscale.storage.writer import create_levels

    axes = tuple(Axis(name=name, unit="micrometer") for name in "zyx")
    grid = VoxelGrid(axes=axes, shape=shape, voxel_size=VOXEL_SIZE)
    levels = pyramid(grid, [(1,) * grid.ndim], {0: Layout(chunk=(64, 128, 128))})
    dataset = Dataset(path="0", voxel_size=grid.voxel_size, translation=grid.translation)
    attributes = multiscale_attributes(
        version="0.5", axes=axes, levels=[dataset], name="sparse", source=None
    )
    put_group(path, zarr_format=3, attributes=attributes)
    create_levels(
        path, levels, StoreIO(threads=1), dtype="uint16", codec="blosc-lz4", zarr_format=3
    )


def plan_from_store(path: str) -> Any:
    """Plan as a user does: open the image, and plan."""
    import chunkscale

    return chunkscale.plan_resampling(path, voxel_size=TARGET, memory=MEMORY, workers=2)


def plan_from_values() -> Any:
    """Plan without any store: `chunkscale.plan.planner.make_plan` alone."""
    from chunkscale.geometry.grid import Axis, VoxelGrid
    from chunkscale.geometry.pyramid import Layout
    from chunkscale.options import parse_bytes
    from chunkscale.plan.memory import Limits
    from chunkscale.plan.model import Resampling, SourceArray
    from chunkscale.plan.planner import make_plan
    from chunkscale.targets import target_grid

    axes = tuple(Axis(name=name, unit="micrometer") for name in "zyx")
    grid = VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    return make_plan(
        Resampling(
            source=SourceArray(uri="", path="", shape=SHAPE, dtype="uint16", chunk=(64, 128, 128)),
            source_grid=grid,
            target_grid=target_grid(grid, voxel_size=TARGET),
            method="linear",
        ),
        layout=Layout(chunk=(64, 64, 64)),
        shard=True,
        levels=None,
        limits=Limits(memory=parse_bytes(MEMORY), workers=2, threads=2),
    )


def figures(plan: Callable[[], Any]) -> dict[str, float]:
    """Return seconds and memory of a call; only the first one's seconds include imports."""
    first = _seconds(plan)
    best = min(_seconds(plan) for _ in range(5))
    before = psutil.Process().memory_info().rss
    tracemalloc.start()
    result = plan()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "regions": result.region_count,
        "first": first,
        "seconds": best,
        "rss_growth": psutil.Process().memory_info().rss - before,
        "peak": peak,
        "kept": kept,
        "pickled": len(pickle.dumps(result)),
    }


def _seconds(plan: Callable[[], Any]) -> float:
    began = time.perf_counter()
    plan()
    return time.perf_counter() - began


def _print(name: str, of: dict[str, float]) -> None:
    print(
        f"{name}: {of['regions']:,} regions, best of five {of['seconds']:.3f} s "
        f"(the first in a process, with imports, {of['first']:.2f} s)"
    )
    print(
        f"  memory: peak {of['peak'] / MIB:.2f} MiB and kept {of['kept'] / MIB:.2f} MiB of Python "
        f"objects, resident {of['rss_growth'] / MIB:+.1f} MiB, plan pickled "
        f"{of['pickled'] / 1024:.1f} KiB"
    )


def main() -> None:
    """Print the figures, each from a process of its own."""
    if len(sys.argv) == 3:
        path = sys.argv[2]
        wanted = plan_from_values if sys.argv[1] == "values" else lambda: plan_from_store(path)
        print(json.dumps(figures(wanted)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sparse.ome.zarr"
        write_sparse_source(path)
        for how, name in (("store", "plan_resampling"), ("values", "make_plan")):
            said = subprocess.run(
                [sys.executable, __file__, how, path], check=True, capture_output=True, text=True
            )
            _print(name, json.loads(said.stdout))


if __name__ == "__main__":
    main()
