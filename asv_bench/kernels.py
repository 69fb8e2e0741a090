"""Speed of the CPU kernels, on one thread.

With asv: ``asv run --bench kernels``. On its own, ``python asv_bench/kernels.py``
prints a table with SciPy and torch, measured in turns in the same process;
``python asv_bench/kernels.py shrink`` what shrinking reads, beside a copy.
"""

from __future__ import annotations

import os
import sys

# Before torch and NumPy start their pools.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.tables import axis_table
from chunkscale.kernels import cpu
from chunkscale.kernels.backend import Tables

Array = NDArray[Any]

SHAPE = (64, 256, 256)
LARGE = (32, 720, 720)
ZOOMS = {
    "(5,1,1)": (5.0, 1.0, 1.0),
    "(2,2,2)": (2.0, 2.0, 2.0),
    "antialias (1,1/4,1/4)": (1.0, 0.25, 0.25),
}
DTYPES = ["uint8", "uint16", "float32"]


def noise(dtype: str) -> Array:
    """Return a block of noise of `SHAPE`."""
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(dtype)


def tables(
    zoom: tuple[float, ...], method: str = "linear", shape: tuple[int, int, int] = SHAPE
) -> Tables:
    """Return the tables for a shape; axes that shrink are antialiased."""
    z, y, x = (
        axis_table(
            AxisMapping(
                source_size=n,
                target_size=round(n * factor),
                step=1 / factor,
                offset=0.0,
                fuzz=1e-12,
                method=method,
                scale=max(1.0, 1 / factor) if method == "linear" else 1.0,
            ),
            0,
            round(n * factor),
        )
        for n, factor in zip(shape, zoom, strict=True)
    )
    return z, y, x


def voxels(zoom: tuple[float, ...]) -> int:
    """Return the number of source or target voxels, whichever is larger."""
    source = int(np.prod(SHAPE))
    return max(source, round(source * float(np.prod(zoom))))


def best_time(call: Callable[[], Any], seconds: float = 0.5) -> float:
    """Return the shortest time of some calls, after one that does not count."""
    call()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


# --- asv ---------------------------------------------------------------------------------------


class Resample:
    """Linear resampling; the antialiased zoom takes the triangle."""

    params = (list(ZOOMS), DTYPES)
    param_names = ("zoom", "dtype")

    def setup(self, zoom: str, dtype: str) -> None:
        self.zoom, self.block = ZOOMS[zoom], noise(dtype)
        self.tables = tables(self.zoom)
        cpu.resample(self.block, self.tables)

    def time_resample(self, zoom: str, dtype: str) -> None:
        cpu.resample(self.block, self.tables)

    def track_mvoxel_per_second(self, zoom: str, dtype: str) -> float:
        seconds = best_time(lambda: cpu.resample(self.block, self.tables))
        return voxels(self.zoom) / seconds / 1e6

    track_mvoxel_per_second.unit = "Mvoxel/s"  # type: ignore[attr-defined]


class Nearest:
    """Labels by nearest."""

    params = (["(5,1,1)", "(2,2,2)"], ["uint16", "uint32"])
    param_names = ("zoom", "dtype")

    def setup(self, zoom: str, dtype: str) -> None:
        self.block, self.tables = noise(dtype), tables(ZOOMS[zoom], "nearest")
        cpu.resample(self.block, self.tables)

    def time_resample(self, zoom: str, dtype: str) -> None:
        cpu.resample(self.block, self.tables)


class Methods:
    """The other methods, where they are used: curves that grow, means and maxima that shrink."""

    jobs: ClassVar[dict[str, tuple[str, tuple[float, ...]]]] = {
        "cubic (2,2,2)": ("cubic", (2.0, 2.0, 2.0)),
        "lanczos (2,2,2)": ("lanczos", (2.0, 2.0, 2.0)),
        "area (1,1/5,1/5)": ("area", (1.0, 0.2, 0.2)),
        "area (1,1/2.5,1/2.5)": ("area", (1.0, 0.4, 0.4)),
        "max (1,1/5,1/5)": ("max", (1.0, 0.2, 0.2)),
    }
    params = (list(jobs), DTYPES)
    param_names = ("job", "dtype")

    def setup(self, job: str, dtype: str) -> None:
        method, zoom = self.jobs[job]
        self.block, self.tables = noise(dtype), tables(zoom, method)
        cpu.resample(self.block, self.tables)

    def time_resample(self, job: str, dtype: str) -> None:
        cpu.resample(self.block, self.tables)


class Pyramid:
    """Halving all axes: the levels, and modes of larger cells."""

    params = ([*DTYPES, "uint32"],)
    param_names = ("dtype",)

    def setup(self, dtype: str) -> None:
        self.block = noise(dtype)
        self.labels = np.ascontiguousarray(
            self.block[::8, ::8, ::8].repeat(8, 0).repeat(8, 1).repeat(8, 2)
        )
        self.halves, self.thirds = (tables((1 / n,) * 3, "mode") for n in (2, 3))
        cpu.mean(self.block, (2, 2, 2))
        cpu.maximum(self.block, (2, 2, 2))
        cpu.resample(self.labels, self.halves)

    def time_mean(self, dtype: str) -> None:
        cpu.mean(self.block, (2, 2, 2))

    def time_max(self, dtype: str) -> None:
        cpu.maximum(self.block, (2, 2, 2))

    def time_mode(self, dtype: str) -> None:
        cpu.resample(self.labels, self.halves)

    def time_mode_of_thirds(self, dtype: str) -> None:
        cpu.resample(self.labels, self.thirds)


# --- comparison --------------------------------------------------------------------------------


def scipy_call(block: Array, zoom: tuple[float, ...]) -> Callable[[], Any] | None:
    """Return SciPy's linear zoom on the same grid; it does not antialias."""
    if min(zoom) < 1 or importlib.util.find_spec("scipy") is None:
        return None
    from scipy import ndimage

    return lambda: ndimage.zoom(block, zoom, order=1, mode="nearest", grid_mode=True)


def torch_call(block: Array, zoom: tuple[float, ...]) -> Callable[[], Any] | None:
    """Return torch's interpolation in float32 alone: the casts that integers need are left out.

    torch antialiases in two dimensions only, which is why the zoom keeps z.
    """
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.set_num_threads(1)
    values = torch.from_numpy(block.astype(np.float32))
    shrinks = min(zoom) < 1
    values = values[:, None] if shrinks else values[None, None]
    size = tuple(round(n * f) for n, f in zip(SHAPE, zoom, strict=True))[1 if shrinks else 0 :]
    mode = "bilinear" if shrinks else "trilinear"
    return lambda: torch.nn.functional.interpolate(values, size, mode=mode, antialias=shrinks)


def print_resample() -> None:
    """Print what all can do, in turns."""
    for (name, zoom), dtype in itertools.product(ZOOMS.items(), DTYPES):
        block, grid = noise(dtype), tables(zoom)
        own = best_time(partial(cpu.resample, block, grid))
        line = f"{name:24}{dtype:10}{voxels(zoom) / own / 1e6:12.0f}"
        for call in (scipy_call(block, zoom), torch_call(block, zoom)):
            text = "-"
            if call is not None:
                other = best_time(call)
                text = f"{voxels(zoom) / other / 1e6:.0f} (x {other / own:.1f})"
            line += f"{text:>20}"
        print(line)


def print_others() -> None:
    """Print what has no counterpart."""
    for zoom, dtype in itertools.product(*Nearest.params):
        nearest = Nearest()
        nearest.setup(zoom, dtype)
        seconds = best_time(partial(nearest.time_resample, zoom, dtype))
        print(f"{'nearest ' + zoom:24}{dtype:10}{voxels(ZOOMS[zoom]) / seconds / 1e6:12.0f}")
    for job, dtype in itertools.product(*Methods.params):
        method = Methods()
        method.setup(job, dtype)
        seconds = best_time(partial(method.time_resample, job, dtype))
        print(f"{job:24}{dtype:10}{voxels(Methods.jobs[job][1]) / seconds / 1e6:12.0f}")
    for dtype in Pyramid.params[0]:
        block = noise(dtype)
        seconds = best_time(partial(np.copyto, np.empty_like(block), block))
        print(f"{'a copy':24}{dtype:10}{np.prod(SHAPE) / seconds / 1e6:12.0f}")
        pyramid = Pyramid()
        pyramid.setup(dtype)
        for name, call in (
            ("mean (2,2,2)", pyramid.time_mean),
            ("max (2,2,2)", pyramid.time_max),
            ("mode of labels (2,2,2)", pyramid.time_mode),
            ("mode of labels (3,3,3)", pyramid.time_mode_of_thirds),
        ):
            seconds = best_time(partial(call, dtype))
            print(f"{name:24}{dtype:10}{np.prod(SHAPE) / seconds / 1e6:12.0f}")


def print_shrinking() -> None:
    """Print GB/s read beside those of a copy: a larger block, and the least of ten turns."""
    factors = [(1, 2, 2), (2, 2, 2), (1, 4, 4), (1, 5, 5)]
    print(f"block {LARGE}, one thread, GB/s read, and the share of a copy's")
    for dtype in DTYPES:
        block = np.random.default_rng(0).integers(0, 200, LARGE).astype(dtype)
        calls: dict[str, Callable[[], Any]] = {"a copy": partial(np.copyto, block.copy(), block)}
        for factor, (name, method) in itertools.product(
            factors, (("area", "area"), ("antialiased", "linear"))
        ):
            grid = tables(tuple(1 / f for f in factor), method, LARGE)
            out = np.empty([len(t.index) for t in grid], dtype)
            calls[f"{name} {factor}"] = partial(cpu.resample, block, grid, out)
        seconds = dict.fromkeys(calls, np.inf)
        for name in [*calls] * 10:
            start = time.thread_time()
            calls[name]()
            seconds[name] = min(seconds[name], time.thread_time() - start)
        for name, least in seconds.items():
            share = seconds["a copy"] / least
            print(f"{name:24}{dtype:10}{block.nbytes / least / 1e9:8.2f}{share:8.0%}")


def main() -> None:
    """Print Mvoxel/s (of target or source, whichever is larger) and ratios."""
    print(f"block {SHAPE}, one thread, Mvoxel/s; (x n): chunkscale is n times as fast")
    print(f"{'zoom':24}{'dtype':10}{'chunkscale':>12}{'scipy':>20}{'torch':>20}")
    print_resample()
    print_others()


if __name__ == "__main__":
    print_shrinking() if sys.argv[1:] == ["shrink"] else main()
