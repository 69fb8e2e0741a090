"""What `compare.py` runs, each in a process of its own: cases, contenders, and the check.

``python contenders.py JSON`` does one job and prints one line of JSON::

    {"do": "source", "case": "A", "path": ...}             write the case's source
    {"do": "run", "name": "chunkscale", "case": "A", ...}  one repetition: its seconds, and cores'
    {"do": "error", "case": "A", "source": ..., "output": ...}

The clock runs in this process, after all imports and after a warm-up that
compiles what is compiled, when a line comes in; see `compare.py`.
"""

from __future__ import annotations

import gc
import json
import math
import mmap
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from dask.system import CPU_COUNT
from numpy.typing import NDArray

#: Of the source; every target is isotropic at the smallest.
VOXEL_SIZE = (1.0, 0.2, 0.2)
TARGET = 0.2
SOURCE_CHUNK = (64, 128, 128)
#: In this time all free memory of a virtual machine has gone back, twice.
HOLD_SECONDS = 4.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One volume to resample, and the number of levels that chunkscale makes of it."""

    shape: tuple[int, int, int]
    levels: int

    @property
    def target_shape(self) -> tuple[int, int, int]:
        """Voxels per axis of the isotropic image."""
        z, y, x = self.shape
        return 5 * z, y, x

    @property
    def level_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the pyramid."""
        return [tuple(-(-n // 2**k) for n in self.target_shape) for k in range(self.levels)]


CASES = {
    "A": Case(shape=(64, 512, 512), levels=4),
    "C": Case(shape=(128, 1024, 1024), levels=5),
    "G": Case(shape=(256, 2048, 2048), levels=4),
}
#: Larger sources repeat a part of this shape.
PART = (256, 512, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One repetition.

    Parameters
    ----------
    case : Case
    source, output : str
        Images; the output is not there yet.
    reference : str
        What chunkscale made of `source`, for the floor.
    workers : int or None
        Regions, blocks or tasks at the same time; None for the default.
    """

    case: Case
    source: str
    output: str
    reference: str
    workers: int | None

    @property
    def threads(self) -> int:
        """What the peers run at the same time."""
        return CPU_COUNT + 1 if self.workers is None else self.workers


#: Does everything that is not timed, and returns what is.
Contender = Callable[[Job], Callable[[], Any]]


def write_source(path: str, shape: Sequence[int]) -> None:
    """Write an image of blobs and camera noise, as a light microscope gives it."""
    from chunkscale.demo import synthetic_cells, write_image
    from chunkscale.grid import Axis, VoxelGrid

    axes = tuple(Axis(name=name, unit="micrometer") for name in "zyx")
    grid = VoxelGrid(axes=axes, shape=tuple(shape), voxel_size=VOXEL_SIZE)
    part = [min(n, m) for n, m in zip(shape, PART, strict=True)] if max(shape) > 1024 else shape
    volume = math.prod(n * s for n, s in zip(part, VOXEL_SIZE, strict=True))
    data = synthetic_cells(part, VOXEL_SIZE, cells=max(1, round(volume / 6000)))
    data = np.tile(data, [n // m for n, m in zip(shape, part, strict=True)])
    write_image(path, data, grid, chunk=SOURCE_CHUNK)


# --- chunkscale, and the floor under it --------------------------------------------------------


def chunkscale(job: Job, device: str = "cpu") -> Callable[[], Any]:
    """From the call of ``chunkscale.resample`` to its return, kernels compiled.

    The allocator is set as the command line sets it for its process.
    """
    import chunkscale
    from chunkscale.memory import limit_arenas

    limit_arenas()

    with tempfile.TemporaryDirectory() as folder:
        small, done = f"{folder}/small.ome.zarr", f"{folder}/done.ome.zarr"
        write_source(small, (8, 32, 32))
        chunkscale.resample(
            small, done, voxel_size=TARGET, chunk=16, levels=2, device=device, workers=1
        )
    return partial(
        chunkscale.resample, job.source, job.output,
        voxel_size=TARGET, levels=job.case.levels, device=device,
        workers=job.workers if device == "cpu" else None,
    )  # fmt: skip


def floor(job: Job) -> Callable[[], Any]:
    """Chunkscale's own input and output, and nothing else.

    The source is read once (whole chunks, in as many boxes as the plan has
    regions); arrays of the same shapes, chunks, shards and codec are created
    and written in the plan's regions by as many threads. What is written is
    the result itself, region by region in memory, so that it compresses alike.
    The allocator is set as chunkscale sets it.
    """
    import chunkscale
    from chunkscale import memory, storage
    from chunkscale.execute import codec_threads
    from chunkscale.storage import StoreIO

    memory.limit_arenas()
    memory.keep_freed(2**26)
    plan = chunkscale.plan_resampling(
        job.source, voxel_size=TARGET, levels=job.case.levels, workers=job.workers,
        device="auto" if job.case == CASES["G"] else "cpu",
    )  # fmt: skip
    io = StoreIO(threads=codec_threads())
    made = [storage.open_array(storage.join(job.reference, x.path), io) for x in plan.levels]
    ready = {
        index: [(level, box, made[level].read(box)) for level, box in plan.region(index).boxes]
        for index in range(plan.region_count)
    }
    boxes = {index: _own_source(plan, index) for index in plan.passes[0].indices}
    # Reading the result has filled the allocator with memory for codecs, which no new process has.
    del made
    memory.keep_below(0)

    def run() -> None:
        reader = storage.open_array(storage.join(job.source, plan.source.path), io)
        storage.start_group(job.output, zarr_format=3, attributes={})
        writers = storage.create_levels(
            job.output, plan.levels, StoreIO(threads=io.threads), dtype=plan.dtype,
            codec=plan.codec, zarr_format=3,
        )  # fmt: skip

        def one(index: int) -> None:
            if index in boxes and boxes[index].size:
                reader.read(boxes[index])
            pending = [
                (writers[k], writers[k].start_write(box, data)) for k, box, data in ready[index]
            ]
            for writer, future in pending:
                writer.finish_write(future)

        with ThreadPoolExecutor(plan.workers) as pool:
            for one_pass in plan.passes:
                list(pool.map(one, one_pass.indices))

    return run


def _own_source(plan: Any, index: int) -> Any:
    """Return a region's share of the source: whole chunks, and no chunk of another region."""
    from chunkscale.grid import Box

    box = plan.region(index).boxes[0][1]
    chunk, shape, target = plan.source.chunk, plan.source.shape, plan.levels[0].shape
    edges = []
    for a, b, c, n, m in zip(box.start, box.stop, chunk, shape, target, strict=True):
        edges.append([n if e == m else min(n, round(e * n / m / c) * c) for e in (a, b)])
    return Box(start=tuple(a for a, _ in edges), stop=tuple(b for _, b in edges))


# --- the others --------------------------------------------------------------------------------


def _codec() -> Any:
    """Return chunkscale's default codec: blosc-lz4, level 5, bitshuffle."""
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2)


def _use_zarrs() -> None:
    """Let zarr-python encode and decode in Rust; it made every contender faster."""
    import zarr
    import zarrs  # noqa: F401

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def _write_with_ome_zarr(job: Job, data: Any) -> None:
    """Write a pyramid with ome-zarr-py: the same chunks, codec and number of levels.

    `LOCAL_MEAN` is what chunkscale computes too, and faster than the default
    `RESIZE`. No shards: they made every variant slower here (a Dask block must
    then hold a whole shard, and zarr-python encodes a shard's chunks in turn).
    """
    import dask
    from ome_zarr.format import FormatV05
    from ome_zarr.scale import Methods
    from ome_zarr.writer import write_image

    options = [
        {"chunks": tuple(min(64, n) for n in shape), "compressors": _codec()}
        for shape in job.case.level_shapes
    ]
    # Threads: SciPy and scikit-image release the GIL. Processes took four times as long, as
    # every block then crosses between processes.
    with dask.config.set(scheduler="threads", num_workers=job.threads):
        write_image(
            data,
            job.output,
            scale_factors=[dict.fromkeys("zyx", 2**k) for k in range(1, job.case.levels)],
            method=Methods.LOCAL_MEAN,
            fmt=FormatV05(),
            axes="zyx",
            scale=dict.fromkeys("zyx", TARGET),
            storage_options=options,
        )


def dask_image(job: Job) -> Callable[[], Any]:
    """``dask_image.ndinterp.affine_transform`` and ome-zarr-py's ``write_image``.

    Blocks of 128: of 64, 128, 256 and columns of the whole depth none was
    faster on both cases (64 makes eight times as many tasks, 256 leaves the
    two threads unevenly loaded). The matrix is 2D: a 1D one gives wrong values
    beyond the first block. Source blocks are the source's chunks.
    """
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from dask_image.ndinterp import affine_transform

    _use_zarrs()

    def run() -> None:
        step = np.array([TARGET / s for s in VOXEL_SIZE])
        resampled = affine_transform(
            da.from_zarr(f"{job.source}/0"),
            np.diag(step),
            offset=tuple(step / 2 - 0.5),
            order=1,
            mode="nearest",
            output_shape=job.case.target_shape,
            output_chunks=(128, 128, 128),
        )
        _write_with_ome_zarr(job, resampled)

    return run


def scipy_zoom(job: Job) -> Callable[[], Any]:
    """``scipy.ndimage.zoom`` of the whole volume in memory, then ome-zarr-py."""
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    import zarr
    from scipy.ndimage import zoom

    _use_zarrs()

    def run() -> None:
        data = zarr.open_array(f"{job.source}/0", mode="r")[:]
        factors = [n / m for n, m in zip(job.case.target_shape, data.shape, strict=True)]
        zoomed = zoom(data, factors, order=1, mode="nearest", grid_mode=True)
        _write_with_ome_zarr(job, da.from_array(zoomed, chunks=128))

    return run


def ngff_zarr(job: Job) -> Callable[[], Any]:
    """``ngff_zarr.resample`` and ``to_ome_zarr``, which brings its own Rust writer.

    Chunks of 64 as everywhere, means by Dask (its ITK-Wasm means took five
    times as long); columns of the whole depth were faster than blocks of 128
    or 256. The warm-up compiles the WebAssembly.
    """
    import dask
    import dask.array as da
    import ngff_zarr as nz
    from ngff_zarr.v06.zarr_metadata import Identity

    def resample(source: str, output: str, shape: Sequence[int], levels: int) -> None:
        moving = nz.from_ome_zarr(source).images[0]
        fixed = nz.to_ngff_image(
            da.zeros(shape, dtype=moving.data.dtype, chunks=(-1, 128, 128)),
            dims=("z", "y", "x"),
            scale=dict.fromkeys("zyx", TARGET),
            translation={
                axis: (TARGET - size) / 2 for axis, size in zip("zyx", VOXEL_SIZE, strict=True)
            },
        )
        with dask.config.set(scheduler="threads", num_workers=job.threads):
            pyramid = nz.to_multiscales(
                nz.resample(Identity(), fixed, moving),
                scale_factors=[2**k for k in range(1, levels)],
                method=nz.Methods.DASK_BIN_SHRINK,
                chunks=min(64, *shape),
                cache=False,
            )
            nz.to_ome_zarr(output, pyramid, version="0.5", compressors=_codec())

    with tempfile.TemporaryDirectory() as folder:
        write_source(f"{folder}/small.ome.zarr", (8, 32, 32))
        resample(f"{folder}/small.ome.zarr", f"{folder}/done.ome.zarr", (40, 32, 32), 2)
    return partial(resample, job.source, job.output, job.case.target_shape, job.case.levels)


# --- the others, on a GPU ------------------------------------------------------------------------


def cupy_blocks(job: Job) -> Callable[[], Any]:
    """``cupyx.scipy.ndimage.zoom`` of every block through ``map_blocks``, and ome-zarr-py.

    Blocks know nothing of their neighbours: there is a seam at every border.
    """
    import cupy
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from cupyx.scipy.ndimage import zoom

    _use_zarrs()
    factors = [n / m for n, m in zip(job.case.target_shape, job.case.shape, strict=True)]

    def one(block: NDArray[Any]) -> NDArray[Any]:
        on_device = zoom(cupy.asarray(block), factors, order=1, mode="nearest", grid_mode=True)
        result: NDArray[Any] = cupy.asnumpy(on_device)
        return result

    def run() -> None:
        data = da.from_zarr(f"{job.source}/0").rechunk((64, 512, 512))
        chunks = [[int(n * f) for n in c] for c, f in zip(data.chunks, factors, strict=True)]
        zoomed = data.map_blocks(one, chunks=tuple(map(tuple, chunks)), dtype=data.dtype)
        _write_with_ome_zarr(job, zoomed.rechunk((320, 512, 512)))

    return run


def dask_image_cupy(job: Job) -> Callable[[], Any]:
    """``dask_image.ndinterp.affine_transform`` with CuPy blocks, and ome-zarr-py."""
    import cupy
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from dask_image.ndinterp import affine_transform

    _use_zarrs()

    def run() -> None:
        step = np.array([TARGET / s for s in VOXEL_SIZE])
        resampled = affine_transform(
            da.from_zarr(f"{job.source}/0").map_blocks(cupy.asarray),
            np.diag(step),
            offset=step / 2 - 0.5,
            order=1,
            mode="nearest",
            output_shape=job.case.target_shape,
            output_chunks=(256, 256, 256),
        )
        _write_with_ome_zarr(job, resampled.map_blocks(cupy.asnumpy))

    return run


def torch_trilinear(job: Job) -> Callable[[], Any]:
    """``torch.nn.functional.interpolate`` slab by slab on the GPU, and ome-zarr-py.

    The whole result is in host memory: torch has no files. Slabs, as its
    kernel overflows beyond 2^31 voxels; they overlap by a plane, so that the
    interpolation is right inside.
    """
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    import torch
    import zarr

    _use_zarrs()
    factor = job.case.target_shape[0] // job.case.shape[0]

    def run() -> None:
        data = zarr.open_array(f"{job.source}/0", mode="r")[:]
        result = np.empty(job.case.target_shape, data.dtype)
        for start in range(0, len(data), 32):
            low, high = max(0, start - 1), min(len(data), start + 33)
            slab = torch.from_numpy(data[low:high].astype(np.float32)).cuda()[None, None]
            size = ((high - low) * factor, *result.shape[1:])
            made = torch.nn.functional.interpolate(slab, size=size, mode="trilinear")[0, 0]
            made = made.round_()[(start - low) * factor :][: 32 * factor]
            result[start * factor : start * factor + len(made)] = made.to(torch.int32).cpu().numpy()
        _write_with_ome_zarr(job, da.from_array(result, chunks=256))

    return run


CONTENDERS: dict[str, Contender] = {
    "floor": floor,
    "chunkscale": chunkscale,
    "chunkscale-gpu": partial(chunkscale, device="gpu"),
    "cupy-blocks": cupy_blocks,
    "dask-image-cupy": dask_image_cupy,
    "torch": torch_trilinear,
    "dask-image": dask_image,
    "ngff-zarr": ngff_zarr,
    "scipy": scipy_zoom,
}


def touch_memory(case: Case) -> None:
    """Use and free as much memory as a run may need, for its buffers and for the page cache.

    A virtual machine gives memory that is free back to its host, two seconds
    after some became so, and waits for it at the next use (eight times slower
    here), which would be charged to whoever needs fresh memory. So it is held
    until what became free before has gone, and freed just before a run. Huge
    pages, as those are what is given back.
    """
    size = min(3 * sum(2 * math.prod(shape) for shape in case.level_shapes), 2**34)
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)
        pages[:: mmap.PAGESIZE] = 1
        del pages
        time.sleep(HOLD_SECONDS)


# --- the check ---------------------------------------------------------------------------------


def greatest_error(source: str, output: str, edge: int = 48) -> int:
    """Return the greatest difference of level 0 from float64 interpolation, rounded.

    Two corners and two boxes in between are compared, one of them across the
    borders of every power-of-two block.
    """
    import zarr

    attributes = zarr.open_group(output, mode="r").attrs["ome"]
    level = attributes["multiscales"][0]["datasets"][0]["path"]
    made = zarr.open_array(f"{output}/{level}", mode="r")
    original = zarr.open_array(f"{source}/0", mode="r")
    worst = 0
    for start in _corners(made.shape, edge):
        stop = [min(a + edge, n) for a, n in zip(start, made.shape, strict=True)]
        found = made[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        right = _interpolated(original, start, stop, made.shape)
        worst = max(worst, int(np.abs(found.astype(np.int64) - np.rint(right)).max()))
    return worst


def _corners(shape: Sequence[int], edge: int) -> Iterator[tuple[int, ...]]:
    yield (0,) * len(shape)
    yield tuple(n // 3 for n in shape)
    yield tuple(2 ** int(math.log2(n - 1)) - edge // 2 for n in shape)
    yield tuple(n - edge for n in shape)


def _interpolated(
    original: Any, start: Sequence[int], stop: Sequence[int], shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return what a float64 interpolation by SciPy gives in a box of the target."""
    from scipy.ndimage import map_coordinates

    axes, cut = [], []
    for a, b, n, size in zip(start, stop, shape, original.shape, strict=True):
        at = (np.arange(a, b) + 0.5) * (size / n) - 0.5
        low, high = max(0, math.floor(at[0])), min(size, math.floor(at[-1]) + 2)
        axes.append(at - low)
        cut.append(slice(low, high))
    # The cut ends where the image ends or beyond the last voxel that is read.
    block = original[tuple(cut)].astype(np.float64)
    grid = np.meshgrid(*axes, indexing="ij")
    result: NDArray[np.float64] = map_coordinates(block, grid, order=1, mode="nearest")
    return result


def _do(job: dict[str, Any]) -> dict[str, Any]:
    case = CASES[job["case"]]
    if job["do"] == "source":
        write_source(job["path"], case.shape)
        return {}
    if job["do"] == "touch":
        touch_memory(case)
        return {}
    if job["do"] == "error":
        return {"error": greatest_error(job["source"], job["output"])}
    contender = CONTENDERS[job["name"]]
    run = contender(
        Job(
            case=case,
            source=job["source"],
            output=job["output"],
            reference=job["reference"],
            workers=job["workers"],
        )
    )
    # What imports have left would otherwise be looked through during some repetitions: it took
    # the contender with the most imports up to 7 ms.
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    began, busy = time.perf_counter(), time.process_time()
    result = run()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return {"seconds": seconds, "cpu_seconds": busy, "said": str(result or "")}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(_do(json.loads(sys.argv[1]))))
