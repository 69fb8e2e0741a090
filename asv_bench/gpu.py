"""What the GPU gives, in one run: the same bits, copies, kernels, memory, and whole runs.

``python asv_bench/gpu.py`` needs an NVIDIA GPU and CuPy; ``python asv_bench/gpu.py stage runs``
does these parts. torch, dask-image and nvCOMP are compared where they are installed, and
`compute-sanitizer` looks where it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cupy as cp
import numpy as np
from contenders import touch_memory
from jobs import JOBS, VOXEL_SIZE
from sources import write_source

import chunkscale
from chunkscale.compute.gpu.device import Gpu
from chunkscale.compute.gpu.lanes import pinned_pages
from chunkscale.compute.workspace import pages
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.geometry.pyramid import Layout
from chunkscale.geometry.tables import axis_table
from chunkscale.kernels.backend import get_backend
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import ResamplePlan, Resampling, SourceArray
from chunkscale.plan.planner import make_plan
from chunkscale.samples import synthetic_cells, write_image
from chunkscale.targets import target_grid

GIB, MIB = 2**30, 2**20


def main() -> None:
    """Print what the arguments ask for."""
    parts: dict[str, Callable[[argparse.Namespace], object]] = {
        "tests": tests, "sanitizer": sanitizer, "kernels": kernels, "stage": stage,
        "memory": memory, "beyond": beyond, "codecs": codecs, "runs": runs,
        "peers": peers,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--repeat", type=int, default=7, help="of what is short")
    parser.add_argument("--runs", type=int, default=3, help="repetitions of whole runs")
    parser.add_argument(
        "--workdir", type=Path, nargs="*", default=[Path("/dev/shm"), Path(tempfile.gettempdir())],
        help="for whole runs: a RAM disk and a local disk (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    name = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{name}, CuPy {cp.__version__}, median of {options.repeat}")
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose of {', '.join(parts)}")
    for part in options.parts or parts:
        parts[part](options)
        sys.stdout.flush()


# --- the same bits -------------------------------------------------------------------------------


def tests(_: argparse.Namespace) -> None:
    """Run the tests that need a GPU: bits, seams, memory, compilations."""
    print("\ntests on the GPU: ", end="", flush=True)
    workers = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    _pytest("-m", "gpu", *workers, "tests")


def sanitizer(_: argparse.Namespace) -> None:
    """Let NVIDIA's checker look at the kernels: addresses, and races in shared memory."""
    found = shutil.which("compute-sanitizer")
    # Many blocks of threads, and every kernel of the data types that differ in code.
    chosen = "many_blocks and (u2 or f4 or i8 or f2)"
    for tool in ("memcheck", "racecheck"):
        print(f"\ncompute-sanitizer, {tool}: ", end="", flush=True)
        if found is None:
            print("not installed")
            continue
        _pytest("-k", chosen, "tests/compute/test_gpu.py", before=[found, "--tool", tool])


def _pytest(*arguments: str, before: Sequence[str] = ()) -> None:
    root = Path(__file__).resolve().parent.parent
    command = [*before, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *arguments], cwd=root, check=False, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if " passed" in line or "ERROR SUM" in line]
    print("; ".join(lines))
    if done.returncode or not lines:
        print(done.stdout[-5000:], done.stderr[-2000:])


# --- copies --------------------------------------------------------------------------------------


def copies(options: argparse.Namespace) -> float:
    """Print copy bandwidths; return that of pinned memory to the host, in bytes per second."""
    repeat = options.repeat
    size = 256 * MIB
    device = cp.empty(size, cp.uint8)
    began = time.perf_counter()
    pinned = pinned_pages(size)
    seconds = time.perf_counter() - began
    print(
        f"\npinning of {size // MIB} MiB: {seconds * 1e3:.0f} ms ({size / seconds / 1e9:.1f} GB/s)"
    )
    pageable = pages(size)
    pageable[:] = 1
    stream = cp.cuda.Stream(non_blocking=True)
    runtime = cp.cuda.runtime
    found = {}
    for kind, host in (("pinned", pinned), ("pageable", pageable)):
        ends = (device.data.ptr, host.ctypes.data)
        for way, order, code in (
            ("in", ends, runtime.memcpyHostToDevice),
            ("out", ends[::-1], runtime.memcpyDeviceToHost),
        ):

            def copy(order: Any = order, code: int = code) -> None:
                runtime.memcpyAsync(*order, size, code, stream.ptr)

            found[kind, way] = size / timed(copy, stream, repeat)
    for (kind, way), rate in found.items():
        print(f"copy {way:<4}{kind:<9}{rate / 1e9:7.1f} GB/s")
    return found["pinned", "out"]


def timed(work: Callable[[], Any], stream: Any, repeat: int) -> float:
    """Return the median seconds of some work on a stream, by events; once before, unmeasured."""
    with stream:
        work()
        seconds = []
        for _ in range(repeat):
            begin, end = cp.cuda.Event(), cp.cuda.Event()
            begin.record()
            work()
            end.record()
            end.synchronize()
            seconds.append(cp.cuda.get_elapsed_time(begin, end) / 1e3)
    return statistics.median(seconds)


# --- kernels -------------------------------------------------------------------------------------


def kernels(options: argparse.Namespace) -> None:
    """Print the speed of interpolation alone, data on the device, beside CuPy's and torch's."""
    titles = f"{'chunkscale':>12}{'cupyx':>9}{'x':>6}{'torch':>9}{'x':>6}"
    print(f"\n{'uint16, Gvoxel/s out':<24}{titles}")
    for zoom, shape in (((5, 1, 1), (128, 640, 640)), ((2, 2, 2), (256, 320, 320))):
        _zoomed(zoom, shape, options.repeat)


def _zoomed(zoom: tuple[int, int, int], shape: tuple[int, int, int], repeat: int) -> None:
    cuda = get_backend("cuda")
    stream = cp.cuda.Stream(non_blocking=True)
    block = cp.random.randint(0, 2**16, shape, cp.uint16)
    zyx = tuple(Axis(name=n) for n in "zyx")
    source = VoxelGrid(axes=zyx, shape=shape, voxel_size=tuple(map(float, zoom)))
    target = target_grid(source, voxel_size=1.0)
    z, y, x = (
        axis_table(m, 0, m.target_size) for m in grid_mapping(source, target, method="linear")
    )
    out = cp.empty(target.shape, cp.uint16)
    own = target.size / timed(lambda: cuda.resample(block, (z, y, x), out), stream, repeat)
    cupyx = target.size / timed(lambda: _cupyx(block, zoom), stream, repeat)
    torch = _torch_rate(block, target, repeat)
    row = f"{zoom!s:<24}{own / 1e9:>12.0f}{cupyx / 1e9:>9.0f}{own / cupyx:>6.1f}"
    print(row + (f"{torch / 1e9:>9.0f}{own / torch:>6.1f}" if torch else ""))
    mean = target.size / timed(lambda: cuda.mean(out, (2, 2, 2)), stream, repeat)
    moved = mean * out.itemsize * 9 / 8
    print(f"{'  mean of 2x2x2, in':<24}{mean / 1e9:>12.0f}   ({moved / 1e12:.1f} TB/s)")


def _cupyx(block: Any, zoom: Any) -> Any:
    from cupyx.scipy.ndimage import zoom as scaled

    return scaled(block, zoom, order=1, mode="nearest", grid_mode=True)


def _torch_rate(block: Any, target: VoxelGrid, repeat: int) -> float | None:
    """Return voxels per second of torch's trilinear interpolation, in float32, no conversion."""
    try:
        import torch
    except ImportError:
        return None
    data = torch.from_dlpack(block.astype(cp.float32))[None, None]

    def work() -> None:
        torch.nn.functional.interpolate(data, size=target.shape, mode="trilinear")

    work()
    seconds = []
    for _ in range(repeat):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return target.size / statistics.median(seconds)


# --- the stage of a region -----------------------------------------------------------------------


def stage(options: argparse.Namespace) -> None:
    """Print how fast regions of 512 go through the device, from host memory to host memory."""
    bandwidth = copies(options)
    plan = _plan()
    region = plan.region(plan.region_count // 2)
    written = sum(box.size for _, box in region.boxes) * 2
    print(f"\nregions of {region.boxes[0][1].shape}, {len(region.boxes)} levels, zoom (5, 1, 1)")
    print(f"{'lanes':<8}{'GB/s out':>10}{'of the pinned copy out':>26}")
    for lanes in (1, 2, 3, 4):
        device = Gpu(lanes, plan.device_memory.per_lane)  # type: ignore[union-attr]

        def one(_: int, device: Gpu = device) -> None:
            for _ in device.levels(plan, region, lambda box, out: out):
                pass

        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(one, range(4 * lanes)))
            count, rates = 16 * lanes, []
            for _ in range(options.repeat):
                began = time.perf_counter()
                list(pool.map(one, range(count)))
                rates.append(count * written / (time.perf_counter() - began))
        rate = statistics.median(rates)
        print(f"{lanes:<8}{rate / 1e9:>10.1f}{rate / bandwidth:>25.0%}")


def _plan() -> ResamplePlan:
    zyx = tuple(Axis(name=n) for n in "zyx")
    shape = (307, 1536, 1536)
    source = VoxelGrid(axes=zyx, shape=shape, voxel_size=(1.0, 0.2, 0.2))
    array = SourceArray(uri="", path="0", shape=shape, dtype="uint16", chunk=(64, 128, 128))
    return make_plan(
        Resampling(
            source=array, source_grid=source, target_grid=target_grid(source), method="linear"
        ),
        layout=Layout(chunk=(64, 64, 64), shard=(512, 512, 512)), shard=True, levels=4,
        limits=Limits(memory=64 * GIB, workers=4, threads=4, device_memory=32 * GIB),
    )  # fmt: skip


# --- memory --------------------------------------------------------------------------------------


def memory(_: argparse.Namespace) -> None:
    """Print the device memory of whole runs beside the promise, as the driver counts it."""
    print(f"\n{'device memory, MiB':<24}{'promised':>10}{'peak':>8}")
    with tempfile.TemporaryDirectory() as folder:
        write_source(f"{folder}/source", JOBS["A"])
        for budget in ("64MiB", "1GiB"):
            run = [f"{folder}/source", "--device", "gpu", "--device-memory", budget]
            promise, peak, _ = _watched(run, f"{folder}/out")
            print(f"{'  budget ' + budget:<24}{promise / MIB:>10.0f}{peak / MIB:>8.0f}")


def beyond(_: argparse.Namespace) -> None:
    """Make an output larger than the GPU's memory, with a budget of 64 MiB there."""
    card = cp.cuda.runtime.memGetInfo()[1]
    with tempfile.TemporaryDirectory() as folder:
        # A few cells in the dark: most of what is made is never stored.
        data = np.zeros((64, 320, 320), np.uint16)
        data[20:40, 100:180, 100:180] = synthetic_cells((20, 80, 80), VOXEL_SIZE, cells=30)
        zyx = tuple(Axis(name=n, unit="micrometer") for n in "zyx")
        grid = VoxelGrid(axes=zyx, shape=data.shape, voxel_size=VOXEL_SIZE)
        write_image(f"{folder}/source", data, grid)
        zoom = math.ceil((card * 1.02 / (2 * 5 * data.size)) ** (1 / 3) * 10) / 10
        run = [f"{folder}/source", "--zoom", str(zoom), "--device", "gpu"]
        run += ["--device-memory", "64MiB"]
        promise, peak, seconds = _watched(run, f"{folder}/out")
        made = chunkscale.open_image(f"{folder}/out").grid
        print(
            f"\n{made.shape} voxels of uint16, {made.size * 2 / GIB:.0f} GiB on a GPU of "
            f"{card / GIB:.0f} GiB: {seconds:.0f} s, device memory {peak / MIB:.0f} MiB at most, "
            f"{promise / MIB:.0f} MiB promised"
        )


def _watched(run: Sequence[str], out: str) -> tuple[int, int, float]:
    """Run the command line; return the promise, the peak that the driver saw, and the seconds."""
    plan = [sys.executable, "-m", "chunkscale", "plan", *run, "--json"]
    promise = json.loads(subprocess.run(plan, check=True, capture_output=True).stdout)
    before, peak, began = cp.cuda.runtime.memGetInfo()[0], 0, time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkscale", "resample", run[0], out, *run[1:], "--overwrite"],
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        peak = max(peak, before - cp.cuda.runtime.memGetInfo()[0])
        time.sleep(0.005)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return promise["device_memory"]["total"], peak, time.perf_counter() - began


# --- whole runs ----------------------------------------------------------------------------------


def runs(options: argparse.Namespace) -> None:
    """Compare whole runs with the floor, from and to each of the folders: `compare.py`."""
    for folder in options.workdir:
        _compare(folder, options.runs, ["chunkscale-gpu"])


def peers(options: argparse.Namespace) -> None:
    """Compare, once, with what else a user might do: `compare.py`. They write through zarrs.

    dask-image takes minutes for the large case.
    """
    others = ["chunkscale-gpu", "cupy-blocks"]
    others += ["torch-gpu"] if importlib.util.find_spec("torch") else []
    _compare(options.workdir[0], 1, others)
    if importlib.util.find_spec("dask_image"):
        _compare(options.workdir[0], 1, [*others, "dask-image-cupy"], job="C")


def _compare(folder: Path, repeat: int, others: Sequence[str], job: str = "G") -> None:
    print(f"\nwhole runs from and to {folder}", flush=True)
    command = [sys.executable, str(Path(__file__).with_name("compare.py")), "--jobs", job]
    more = ["--repeat", str(repeat), "--workdir", str(folder), "--peers", *others]
    subprocess.run([*command, *more], check=True)


def codecs(options: argparse.Namespace) -> None:
    """Print what a whole run takes by codec, and what nvCOMP would need to encode its voxels.

    Encoded on the GPU a run takes at least as long as nvCOMP needs for its
    voxels, and as long as one that stores them as they are, but for the bytes.
    """
    job = JOBS["G"]
    print(f"\n{'codec, a whole run':<24}{'s':>8}{'GB/s':>8}{'stored':>9}")
    with tempfile.TemporaryDirectory(dir=options.workdir[0]) as folder:
        source, out = f"{folder}/source", f"{folder}/out"
        write_source(source, job)
        plan = chunkscale.plan_resampling(source, **job.options, device="gpu")
        made = sum(2 * math.prod(level.shape) for level in plan.levels)
        for codec in ("blosc-lz4", "zstd:1", "zstd", "none"):
            seconds = []
            for _ in range(options.runs):
                shutil.rmtree(out, ignore_errors=True)
                touch_memory(3 * made)
                began = time.perf_counter()
                run = chunkscale.resample(source, out, **job.options, codec=codec, device="gpu")
                seconds.append(time.perf_counter() - began)
            middle = statistics.median(seconds)
            share = run.stored_bytes / made
            print(f"{codec:<24}{middle:>8.2f}{made / middle / 1e9:>8.1f}{share:>9.0%}")
        part = chunkscale.open_image(out).as_dask(0)[:512, :1024, :1024].compute()
    _nvcomp(part, made, options.repeat)


def _nvcomp(data: Any, made: int, repeat: int) -> None:
    """Print the speed of nvCOMP's raw zstd frames for chunks of 64, data on the device.

    Version 6.0 complains when the process exits, as the device's context is gone by then.
    """
    try:
        from nvidia import nvcomp
    except ImportError:
        print("nvCOMP: not installed")
        return
    cells = [
        cp.asarray(np.ascontiguousarray(data[z : z + 64, y : y + 64, x : x + 64]))
        for z in range(0, data.shape[0], 64)
        for y in range(0, data.shape[1], 64)
        for x in range(0, data.shape[2], 64)
    ]
    stream = cp.cuda.Stream(non_blocking=True)
    codec = nvcomp.Codec(
        algorithm="Zstd", bitstream_kind=nvcomp.BitstreamKind.RAW, cuda_stream=stream.ptr
    )
    chunks = nvcomp.as_arrays([cell.ravel().view(cp.uint8) for cell in cells])
    frames: list[Any] = codec.encode(chunks)
    stored = sum(frame.buffer_size for frame in frames) / data.nbytes
    del frames
    rate = data.nbytes / timed(lambda: codec.encode(chunks), stream, repeat)
    print(f"{'zstd by nvCOMP, alone':<24}{made / rate:>8.2f}{rate / 1e9:>8.1f}{stored:>9.0%}")


if __name__ == "__main__":
    main()
