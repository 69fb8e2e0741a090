"""Other tools on a GPU, for `compare.py`; see `peers.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jobs import TARGET, VOXEL_SIZE
from numpy.typing import NDArray
from peers import Peer, in_memory, torch_trilinear, use_zarrs, write_with_ome_zarr

if TYPE_CHECKING:
    from contenders import Run


def cupy_blocks(run: Run) -> Callable[[], Any]:
    """``cupyx.scipy.ndimage.zoom`` of every block through ``map_blocks``, and ome-zarr-py.

    Blocks know nothing of their neighbours: there is a seam at every border.
    """
    import cupy
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from cupyx.scipy.ndimage import zoom

    use_zarrs()
    factors = [n / m for n, m in zip(run.level_shapes[0], run.job.shape, strict=True)]

    def one(block: NDArray[Any]) -> NDArray[Any]:
        on_device = zoom(cupy.asarray(block), factors, order=1, mode="nearest", grid_mode=True)
        result: NDArray[Any] = cupy.asnumpy(on_device)
        return result

    def timed() -> None:
        data = da.from_zarr(f"{run.source}/0").rechunk((64, 512, 512))
        chunks = [[int(n * f) for n in c] for c, f in zip(data.chunks, factors, strict=True)]
        zoomed = data.map_blocks(one, chunks=tuple(map(tuple, chunks)), dtype=data.dtype)
        write_with_ome_zarr(run, zoomed.rechunk((320, 512, 512)))

    return timed


def dask_image_cupy(run: Run) -> Callable[[], Any]:
    """``dask_image.ndinterp.affine_transform`` with CuPy blocks, and ome-zarr-py."""
    import cupy
    import dask.array as da
    import ome_zarr.writer  # noqa: F401
    from dask_image.ndinterp import affine_transform

    use_zarrs()

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
        write_with_ome_zarr(run, resampled.map_blocks(cupy.asnumpy))

    return timed


GPU_PEERS = {
    "cupy-blocks": Peer(
        words="`cupyx.scipy.ndimage.zoom` block by block, ome-zarr",
        run=cupy_blocks,
        modules=("cupy", "ome_zarr", "zarrs"),
        gpu=True,
    ),
    "dask-image-cupy": Peer(
        words="dask-image `affine_transform` with CuPy blocks, ome-zarr",
        run=dask_image_cupy,
        modules=("cupy", "dask_image", "ome_zarr", "zarrs"),
        gpu=True,
    ),
    "torch-gpu": Peer(
        words="torch `interpolate` slab by slab, ome-zarr",
        run=partial(in_memory, partial(torch_trilinear, device="cuda")),
        modules=("torch", "ome_zarr", "zarrs"),
        gpu=True,
    ),
}
