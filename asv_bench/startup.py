"""What the command takes before and beside its voxels: each verb on a small image, in turn."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SHAPE = (64, 64, 64)

RUN = [sys.executable, "-m", "chunkscale"]


def write_source(path: str) -> None:
    """Store a small image."""
    from chunkscale.geometry.grid import Axis, VoxelGrid
    from chunkscale.samples import VOXEL_SIZE, synthetic_cells, write_image

    axes = tuple(Axis(name=name, unit="micrometer") for name in "zyx")
    grid = VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    write_image(path, synthetic_cells(SHAPE, VOXEL_SIZE), grid)


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is timed by name; a later one reads what an earlier one has written."""
    image, out = str(folder / "small.ome.zarr"), str(folder / "out.ome.zarr")
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import chunkscale": [sys.executable, "-c", "import chunkscale"],
        "info": [*RUN, "info", image],
        "plan": [*RUN, "plan", image],
        "resample": [*RUN, "resample", image, out, "--overwrite"],
        "check": [*RUN, "check", out],
        "check --source": [*RUN, "check", out, "--source", image],
    }


def seconds(command: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float]:
    """Run a command; return the seconds of cores and of the clock that it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took


def environment(folder: Path, package: str | None) -> dict[str, str]:
    """Return an environment with caches of its own, as a user has them after the first run."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    caches = {"PYTHONPYCACHEPREFIX": "bytecode", "NUMBA_CACHE_DIR": "kernels"}
    environ |= {name: str(folder / kind) for name, kind in caches.items()}
    return environ if package is None else environ | {"PYTHONPATH": package}


def main() -> None:
    """Print a table: least and median of the core seconds, and the least by the clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7, help="turns (default: 7)")
    parser.add_argument("--against", metavar="SRC", help="a folder with another chunkscale/")
    options = parser.parse_args()
    packages = {"this": None} | ({"other": options.against} if options.against else {})
    with tempfile.TemporaryDirectory() as scratch:
        timed = {}
        for which, package in packages.items():
            folder = Path(scratch) / which
            folder.mkdir()
            write_source(str(folder / "small.ome.zarr"))
            timed[which] = commands(folder), environment(folder, package)
            for command in timed[which][0].values():  # fills the caches
                subprocess.run(command, check=True, env=timed[which][1], stdout=subprocess.DEVNULL)
        print(f"{'':18}  {'package':7}  {'core s':>6}  {'median':>6}  {'clock s':>7}")
        for name in timed["this"][0]:
            turns: dict[str, list[tuple[float, float]]] = {which: [] for which in timed}
            for _ in range(options.repeat):
                for which, (lines, environ) in timed.items():
                    turns[which].append(seconds(lines[name], environ))
            for which, found in turns.items():
                cores, clock = zip(*found, strict=True)
                print(
                    f"{name:18}  {which:7}  {min(cores):6.2f}  {statistics.median(cores):6.2f}  "
                    f"{min(clock):7.2f}",
                    flush=True,
                )
        for which, (lines, environ) in timed.items():
            cold = dict(environ, NUMBA_CACHE_DIR=str(Path(scratch) / f"{which}-cold"))
            cores, clock = seconds(lines["resample"], cold)
            print(f"{'resample, compiles':18}  {which:7}  {cores:6.2f}  {'':6}  {clock:7.2f}")


if __name__ == "__main__":
    main()
