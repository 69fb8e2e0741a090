"""Other tools in `compare.py`, as users would run them best: the same codec, chunks and levels.

Each function does everything that is not timed, imports among it, and returns
what is. `PEERS` says what each of them needs.
"""

from __future__ import annotations

import importlib.util
import itertools
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jobs import TARGET, VOXEL_SIZE
from numpy.typing import NDArray

if TYPE_CHECKING:
    from contenders import Run

CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another tool.

    Parameters
    ----------
    words : str
        What a reader of the table needs to know.
    run : callable
        Does everything that is not timed, and returns what is.
    modules : tuple of str
        What must be installed, as it is imported.
    gpu : bool
        Whether it needs a GPU.
    """

    words: str
    run: Callable[[Run], Callable[[], Any]]
    modules: tuple[str, ...]
    gpu: bool = False

    @property
    def missing(self) -> list[str]:
        """What is not installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]


# --- what they write with ----------------------------------------------------------------------


def codec() -> Any:
    """Return chunkscale's default codec: blosc-lz4, level 5, bitshuffle."""
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2)


def use_zarrs() -> None:
    """Let zarr-python encode and decode in Rust; it made every contender faster."""
    import zarr
    import zarrs  # noqa: F401

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def write_with_ome_zarr(run: Run, data: Any) -> None:
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
        {"chunks": tuple(min(CHUNK, n) for n in shape), "compressors": codec()}
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


def write_with_pyramid(run: Run, data: Any) -> None:
    """Write a pyramid with ome_zarr_pyramid, whose files are tensorstore's.

    For what is in memory `write_with_ome_zarr` is faster: core seconds of 320x512x512 are 2.3
    there, 3.6 here with a Dask array, and many times that with a NumPy array.
    """
    from ome_zarr_pyramid import Pyramid, io

    level = Pyramid().from_arrays(
        [data], axis_order="zyx", unit_list=["micrometer"] * 3, scales=[[TARGET] * 3], version="0.5"
    )
    io.write_pyramid(
        level.downscale(n_layers=len(run.level_shapes), downscale_method="mean"),
        run.output,
        chunk_shape=(CHUNK,) * 3,
        compressor="blosc",
        compressor_params={"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"},
        max_threads=run.threads,
    )


def _read(run: Run) -> NDArray[Any]:
    """Return the source, all of it."""
    import zarr

    voxels: NDArray[Any] = zarr.open_array(f"{run.source}/0", mode="r")[:]  # type: ignore[assignment]
    return voxels


# --- block by block ----------------------------------------------------------------------------


def dask_image(run: Run, write: Callable[[Run, Any], None]) -> Callable[[], Any]:
    """``dask_image.ndinterp.affine_transform``, which knows no files.

    Blocks of 128: of 64, 128, 256 and columns of the whole depth none was
    faster on both cases (64 makes eight times as many tasks, 256 leaves the
    two threads unevenly loaded). The matrix is 2D: a 1D one gives wrong values
    beyond the first block. Source blocks are the source's chunks.
    """
    import dask.array as da
    from dask_image.ndinterp import affine_transform

    use_zarrs()
    if write is write_with_ome_zarr:
        import ome_zarr.writer  # noqa: F401
    else:
        import ome_zarr_pyramid  # noqa: F401

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
        write(run, resampled)

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
            nz.to_ome_zarr(output, pyramid, version="0.5", compressors=codec())

    with tempfile.TemporaryDirectory() as folder:
        resample(run.small, f"{folder}/done.ome.zarr", (40, 32, 32), 2)
    return partial(resample, run.source, run.output, run.level_shapes[0], len(run.level_shapes))


def opencv(run: Run) -> Callable[[], Any]:
    """Planes mixed by OpenCV and written by zarr-python with zarrs: by hand, for these jobs alone.

    x and y stay, z grows by a whole number, and every level is half of the one before. Columns of
    the stack, as many at a time as there are cores, so that each source chunk is read once; levels
    after the first stay in memory until the end.
    """
    import cv2
    import zarr
    from dask.system import CPU_COUNT

    use_zarrs()
    cv2.setNumThreads(1)
    shapes, rows = run.level_shapes, 2 * CHUNK

    def half(voxels: NDArray[Any], out: NDArray[Any]) -> None:
        for i in range(len(out)):
            pair = cv2.addWeighted(voxels[2 * i], 0.5, voxels[2 * i + 1], 0.5, 0)
            out[i] = cv2.resize(pair, out.shape[:0:-1], interpolation=cv2.INTER_AREA)

    def timed() -> None:
        source = zarr.open_array(f"{run.source}/0", mode="r")
        group = zarr.create_group(run.output, attributes=_metadata(len(shapes)))
        levels = [
            group.create_array(
                str(k), shape=shape, dtype=source.dtype, compressors=codec(),
                chunks=tuple(min(CHUNK, n) for n in shape), dimension_names=list("zyx"),
            )
            for k, shape in enumerate(shapes)
        ]  # fmt: skip
        later = [np.empty(shape, source.dtype) for shape in shapes[1:]]
        factor, last = shapes[0][0] // source.shape[0], source.shape[0] - 1

        def column(start: int) -> None:
            here = slice(start, start + rows)
            planes: Any = source[:, here]
            for z in range(0, shapes[0][0], CHUNK):
                made = np.empty((CHUNK, *planes.shape[1:]), planes.dtype)
                for i, out in enumerate(made, start=z):
                    low, weight = divmod((i + 0.5) / factor - 0.5, 1)
                    near = planes[max(0, int(low))], planes[min(last, int(low) + 1)]
                    cv2.addWeighted(near[0], 1 - weight, near[1], weight, 0, dst=out)
                levels[0][z : z + CHUNK, here] = made
                half(made, later[0][z // 2 : (z + CHUNK) // 2, start // 2 : (start + rows) // 2])

        with ThreadPoolExecutor(CPU_COUNT) as pool:
            list(pool.map(column, range(0, shapes[0][1], rows)))
            for fine, coarse in itertools.pairwise(later):
                half(fine, coarse)
            list(pool.map(lambda level, voxels: level.__setitem__(..., voxels), levels[1:], later))

    return timed


def _metadata(levels: int) -> dict[str, Any]:
    """Return the attributes of an image as OME-Zarr 0.5 wants them."""
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    datasets = []
    for k in range(levels):
        scale = {"type": "scale", "scale": [TARGET * 2**k] * 3}
        moved = [(TARGET * 2**k - size) / 2 for size in VOXEL_SIZE]
        steps = [scale, {"type": "translation", "translation": moved}]
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    return {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}


# --- all of it in memory -----------------------------------------------------------------------


def in_memory(
    prepare: Callable[[Run], Callable[[NDArray[Any]], NDArray[Any]]], run: Run
) -> Callable[[], Any]:
    """Read the source, resample all of it, and write it by `write_with_ome_zarr`."""
    import dask.array as da
    import ome_zarr.writer  # noqa: F401

    use_zarrs()
    resample = prepare(run)

    def timed() -> None:
        write_with_ome_zarr(run, da.from_array(resample(_read(run)), chunks=128))

    return timed


def scipy(run: Run) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """``scipy.ndimage.zoom``, one thread."""
    from scipy.ndimage import zoom

    def resample(data: NDArray[Any]) -> NDArray[Any]:
        factors = [n / m for n, m in zip(run.level_shapes[0], data.shape, strict=True)]
        zoomed: NDArray[Any] = zoom(data, factors, order=1, mode="nearest", grid_mode=True)
        return zoomed

    return resample


def scikit_image(run: Run) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """``skimage.transform.resize`` in float32, which takes half the memory of its own choice."""
    from skimage.transform import resize

    def resample(data: NDArray[Any]) -> NDArray[Any]:
        resized = resize(
            data.astype(np.float32), run.level_shapes[0], order=1, mode="edge", preserve_range=True,
            anti_aliasing=False,
        )  # fmt: skip
        made: NDArray[Any] = np.rint(resized, out=resized).astype(data.dtype)
        return made

    return resample


def simpleitk(run: Run) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """``SimpleITK.Resample``, which truncates."""
    import SimpleITK as sitk

    def resample(data: NDArray[Any]) -> NDArray[Any]:
        image = sitk.GetImageFromArray(data)
        image.SetSpacing(VOXEL_SIZE[::-1])
        origin = [(TARGET - size) / 2 for size in VOXEL_SIZE[::-1]]
        # Beyond the last voxel's centre the default is 0; the edge voxel is what others take.
        made = sitk.Resample(
            image, run.level_shapes[0][::-1], sitk.Transform(), sitk.sitkLinear, origin,
            [TARGET] * 3, image.GetDirection(), 0.0, image.GetPixelID(), True,
        )  # fmt: skip
        voxels: NDArray[Any] = sitk.GetArrayFromImage(made)
        return voxels

    return resample


def torch_trilinear(run: Run, device: str = "cpu") -> Callable[[NDArray[Any]], NDArray[Any]]:
    """``torch.nn.functional.interpolate``, slab by slab.

    Slabs, as its kernel on a GPU overflows beyond 2^31 voxels, and as float32 takes twice the
    memory; they overlap by a plane, so that the interpolation is right inside.
    """
    import torch

    def resample(data: NDArray[Any]) -> NDArray[Any]:
        factor, planes = run.level_shapes[0][0] // len(data), 32 if device == "cuda" else 8
        result = np.empty(run.level_shapes[0], data.dtype)
        for start in range(0, len(data), planes):
            low, high = max(0, start - 1), min(len(data), start + planes + 1)
            slab = torch.from_numpy(data[low:high].astype(np.float32)).to(device)[None, None]
            size = ((high - low) * factor, *result.shape[1:])
            made = torch.nn.functional.interpolate(slab, size=size, mode="trilinear")[0, 0]
            made = made.round_()[(start - low) * factor :][: planes * factor]
            result[start * factor : start * factor + len(made)] = made.to(torch.int32).cpu().numpy()
        return result

    return resample


#: In the order of `compare.py --peers`.
PEERS = {
    "ngff-zarr": Peer(
        words="ngff-zarr `resample` and `to_ome_zarr`",
        run=ngff_zarr,
        modules=("ngff_zarr",),
    ),
    "dask-image": Peer(
        words="dask-image `affine_transform`, ome-zarr",
        run=partial(dask_image, write=write_with_ome_zarr),
        modules=("dask_image", "ome_zarr", "zarrs"),
    ),
    "ome_zarr_pyramid": Peer(
        words="dask-image `affine_transform`, ome_zarr_pyramid",
        run=partial(dask_image, write=write_with_pyramid),
        modules=("dask_image", "ome_zarr_pyramid", "zarrs"),
    ),
    "SimpleITK": Peer(
        words="SimpleITK `Resample` in memory, ome-zarr",
        run=partial(in_memory, simpleitk),
        modules=("SimpleITK", "ome_zarr", "zarrs"),
    ),
    "scipy": Peer(
        words="SciPy `zoom` in memory, ome-zarr",
        run=partial(in_memory, scipy),
        modules=("scipy", "ome_zarr", "zarrs"),
    ),
    "scikit-image": Peer(
        words="scikit-image `resize` in memory, ome-zarr",
        run=partial(in_memory, scikit_image),
        modules=("skimage", "ome_zarr", "zarrs"),
    ),
    "torch": Peer(
        words="torch `interpolate` in memory, ome-zarr",
        run=partial(in_memory, torch_trilinear),
        modules=("torch", "ome_zarr", "zarrs"),
    ),
    "opencv": Peer(
        words="OpenCV plane by plane and zarrs, by hand for this job alone",
        run=opencv,
        modules=("cv2", "zarrs"),
    ),
}
