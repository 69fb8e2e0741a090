"""What `compare.py` runs, each in a process of its own: sources, contenders, and the check.

``python contenders.py JSON`` does one thing and prints one line of JSON::

    {"do": "source", "job": "A", "source": ..., "small": ...}     write the job's sources
    {"do": "run", "name": "chunkscale", "job": "A", ...}  one repetition: its seconds, and cores'
    {"do": "error", "source": ..., "output": ...}
    {"do": "touch", "bytes": ...}                         hold that much memory until input ends

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
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jobs import JOBS, TARGET, VOXEL_SIZE, Job
from numpy.typing import NDArray

#: In this time all free memory of a virtual machine has gone back.
HOLD_SECONDS = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One repetition.

    Parameters
    ----------
    job : Job
    source, output : str
        Images; the output is not there yet.
    small : str
        What `source` is, of a few voxels.
    reference : str
        What chunkscale made of `source`, for the floor.
    level_shapes : sequence of tuple of int
        Shapes of its levels, for the peers.
    workers : int or None
        Regions, blocks or tasks at the same time; None for the default.
    """

    job: Job
    source: str
    output: str
    small: str
    reference: str
    level_shapes: Sequence[tuple[int, ...]]
    workers: int | None

    @property
    def threads(self) -> int:
        """What the peers run at the same time."""
        from dask.system import CPU_COUNT

        return CPU_COUNT + 1 if self.workers is None else self.workers


#: Does everything that is not timed, and returns what is.
Contender = Callable[[Run], Callable[[], Any]]


# --- chunkscale, and the floor under it --------------------------------------------------------


def chunkscale(run: Run, device: str = "cpu") -> Callable[[], Any]:
    """From the call of ``chunkscale.resample`` to its return, kernels compiled.

    Whichever chunkscale is imported: nothing but what is public for users.
    """
    import chunkscale

    with tempfile.TemporaryDirectory() as folder:
        chunkscale.resample(
            run.small, f"{folder}/done.ome.zarr", device=device, **run.job.small.options
        )
    options = dict(run.job.options)
    if run.workers is not None and device == "cpu":
        options["workers"] = run.workers
    return partial(chunkscale.resample, run.source, run.output, device=device, **options)


def floor(run: Run) -> Callable[[], Any]:
    """Prepare the store layer alone."""
    import floor

    return floor.prepare(run.source, run.reference, run.output)


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


def _write_with_ome_zarr(run: Run, data: Any) -> None:
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
        for shape in run.level_shapes
    ]
    # Threads: SciPy and scikit-image release the GIL. Processes took four times as long, as
    # every block then crosses between processes.
    with dask.config.set(scheduler="threads", num_workers=run.threads):
        write_image(
            data,
            run.output,
            scale_factors=[dict.fromkeys("zyx", 2**k) for k in range(1, len(run.level_shapes))],
            method=Methods.LOCAL_MEAN,
            fmt=FormatV05(),
            axes="zyx",
            scale=dict.fromkeys("zyx", TARGET),
            storage_options=options,
        )


def dask_image(run: Run) -> Callable[[], Any]:
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

    def timed() -> None:
        step = np.array([TARGET / s for s in VOXEL_SIZE])
        resampled = affine_transform(
            da.from_zarr(f"{run.source}/0"),
            np.diag(step),
            offset=tuple(step / 2 - 0.5),
            order=1,
            mode="nearest",
            output_shape=run.level_shapes[0],
            output_chunks=(128, 128, 128),
        )
        _write_with_ome_zarr(run, resampled)

    return timed


def scipy_zoom(run: Run) -> Callable[[], Any]:
    """``scipy.ndimage.zoom`` of the whole volume in memory, then ome-zarr-py."""
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    import zarr
    from scipy.ndimage import zoom

    _use_zarrs()

    def timed() -> None:
        data = zarr.open_array(f"{run.source}/0", mode="r")[:]
        factors = [n / m for n, m in zip(run.level_shapes[0], data.shape, strict=True)]
        zoomed = zoom(data, factors, order=1, mode="nearest", grid_mode=True)
        _write_with_ome_zarr(run, da.from_array(zoomed, chunks=128))

    return timed


def ngff_zarr(run: Run) -> Callable[[], Any]:
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
        with dask.config.set(scheduler="threads", num_workers=run.threads):
            pyramid = nz.to_multiscales(
                nz.resample(Identity(), fixed, moving),
                scale_factors=[2**k for k in range(1, levels)],
                method=nz.Methods.DASK_BIN_SHRINK,
                chunks=min(64, *shape),
                cache=False,
            )
            nz.to_ome_zarr(output, pyramid, version="0.5", compressors=_codec())

    with tempfile.TemporaryDirectory() as folder:
        resample(run.small, f"{folder}/done.ome.zarr", (40, 32, 32), 2)
    return partial(resample, run.source, run.output, run.level_shapes[0], len(run.level_shapes))


# --- the others, on a GPU ------------------------------------------------------------------------


def cupy_blocks(run: Run) -> Callable[[], Any]:
    """``cupyx.scipy.ndimage.zoom`` of every block through ``map_blocks``, and ome-zarr-py.

    Blocks know nothing of their neighbours: there is a seam at every border.
    """
    import cupy
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from cupyx.scipy.ndimage import zoom

    _use_zarrs()
    factors = [n / m for n, m in zip(run.level_shapes[0], run.job.shape, strict=True)]

    def one(block: NDArray[Any]) -> NDArray[Any]:
        on_device = zoom(cupy.asarray(block), factors, order=1, mode="nearest", grid_mode=True)
        result: NDArray[Any] = cupy.asnumpy(on_device)
        return result

    def timed() -> None:
        data = da.from_zarr(f"{run.source}/0").rechunk((64, 512, 512))
        chunks = [[int(n * f) for n in c] for c, f in zip(data.chunks, factors, strict=True)]
        zoomed = data.map_blocks(one, chunks=tuple(map(tuple, chunks)), dtype=data.dtype)
        _write_with_ome_zarr(run, zoomed.rechunk((320, 512, 512)))

    return timed


def dask_image_cupy(run: Run) -> Callable[[], Any]:
    """``dask_image.ndinterp.affine_transform`` with CuPy blocks, and ome-zarr-py."""
    import cupy
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from dask_image.ndinterp import affine_transform

    _use_zarrs()

    def timed() -> None:
        step = np.array([TARGET / s for s in VOXEL_SIZE])
        resampled = affine_transform(
            da.from_zarr(f"{run.source}/0").map_blocks(cupy.asarray),
            np.diag(step),
            offset=step / 2 - 0.5,
            order=1,
            mode="nearest",
            output_shape=run.level_shapes[0],
            output_chunks=(256, 256, 256),
        )
        _write_with_ome_zarr(run, resampled.map_blocks(cupy.asnumpy))

    return timed


def torch_trilinear(run: Run) -> Callable[[], Any]:
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
    factor = run.level_shapes[0][0] // run.job.shape[0]

    def timed() -> None:
        data = zarr.open_array(f"{run.source}/0", mode="r")[:]
        result = np.empty(run.level_shapes[0], data.dtype)
        for start in range(0, len(data), 32):
            low, high = max(0, start - 1), min(len(data), start + 33)
            slab = torch.from_numpy(data[low:high].astype(np.float32)).cuda()[None, None]
            size = ((high - low) * factor, *result.shape[1:])
            made = torch.nn.functional.interpolate(slab, size=size, mode="trilinear")[0, 0]
            made = made.round_()[(start - low) * factor :][: 32 * factor]
            result[start * factor : start * factor + len(made)] = made.to(torch.int32).cpu().numpy()
        _write_with_ome_zarr(run, da.from_array(result, chunks=256))

    return timed


CONTENDERS: dict[str, Contender] = {
    "floor": floor,
    "chunkscale": chunkscale,
    "against": chunkscale,
    "chunkscale-gpu": partial(chunkscale, device="gpu"),
    "cupy-blocks": cupy_blocks,
    "dask-image-cupy": dask_image_cupy,
    "torch": torch_trilinear,
    "dask-image": dask_image,
    "ngff-zarr": ngff_zarr,
    "scipy": scipy_zoom,
}


def touch_memory(size: int, wait: Callable[[], object] | None = None) -> None:
    """Use and free as much memory as a run may need, for its buffers and for the page cache.

    A virtual machine gives memory that is free back to its host, two seconds
    after some became so, and waits for it at the next use (eight times slower
    here), which would be charged to whoever needs fresh memory. So it is held
    until what became free before has gone, and what else is waited for has
    come, and freed just before a run. Huge pages, as those are what is given back.
    """
    with mmap.mmap(-1, min(size, 2**34), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)
        pages[:: mmap.PAGESIZE] = 1
        del pages
        time.sleep(HOLD_SECONDS)
        if wait is not None:
            wait()


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


def _do(what: dict[str, Any]) -> dict[str, Any]:
    if what["do"] == "touch":
        touch_memory(what["bytes"], sys.stdin.read)
        return {}
    if what["do"] == "error":
        return {"error": greatest_error(what["source"], what["output"])}
    job = JOBS[what["job"]]
    if what["do"] == "source":
        from sources import write_source

        write_source(what["source"], job)
        write_source(what["small"], job.small)
        return {}
    run = Run(
        job=job,
        source=what["source"],
        output=what["output"],
        small=what["small"],
        reference=what["reference"],
        level_shapes=[tuple(shape) for shape in what["level_shapes"]],
        workers=what["workers"],
    )
    timed = CONTENDERS[what["name"]](run)
    # What imports have left would otherwise be looked through during some repetitions: it took
    # the contender with the most imports up to 7 ms.
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    began, busy = time.perf_counter(), time.process_time()
    result = timed()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    code = getattr(sys.modules.get("chunkscale"), "__file__", None)
    return {"seconds": seconds, "cpu_seconds": busy, "said": str(result or ""), "code": code}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(_do(json.loads(sys.argv[1]))))
