"""Synthetic images, and arrays written as sources."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.pyramid import Layout, pyramid
from chunkscale.ome.model import Dataset
from chunkscale.ome.write import multiscale_attributes
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.groups import put_group, set_attributes
from chunkscale.storage.stores import normalise
from chunkscale.storage.writer import create_levels

SHAPE = (86, 396, 393)

VOXEL_SIZE = (1.0, 0.202, 0.202)

NAME = "synthetic cells of the demonstration"


def synthetic_cells(
    shape: Sequence[int] = SHAPE,
    voxel_size: Sequence[float] = VOXEL_SIZE,
    *,
    cells: int = 45,
    seed: int = 7,
) -> NDArray[np.uint16]:
    """Return a stack of round cells with a brighter rim and camera noise.

    Parameters
    ----------
    shape : sequence of int
        (z, y, x).
    voxel_size : sequence of float
        Cells are round in these units.
    cells : int
    seed : int
    """
    random = np.random.default_rng(seed)
    extent = np.array(shape) * voxel_size
    image = np.full(shape, 100.0, np.float32)
    axes = [np.arange(n, dtype=np.float32) * s for n, s in zip(shape, voxel_size, strict=True)]
    for centre in random.uniform(0, 1, (cells, 3)) * extent:
        radius = random.uniform(3.0, 6.5)
        bright = random.uniform(400, 1600)
        window = tuple(
            slice(*np.searchsorted(a, (c - 2 * radius, c + 2 * radius)))
            for a, c in zip(axes, centre, strict=True)
        )
        z, y, x = (((a[w] - c) / radius) ** 2 for a, w, c in zip(axes, window, centre, strict=True))
        distance = np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :])
        body = 1.0 / (1.0 + np.exp((distance - 1.0) * 9.0))
        rim = np.exp(-(((distance - 0.9) / 0.12) ** 2))
        image[window] += bright * (0.55 * body + 0.45 * rim)
    noisy = image + random.normal(0.0, 1.0, shape) * np.sqrt(image) * 0.8
    result: NDArray[np.uint16] = np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)
    return result


def write_image(
    path: str | os.PathLike[str],
    data: NDArray[Any],
    grid: VoxelGrid,
    *,
    version: str = "0.5",
    chunk: Sequence[int] | None = None,
    codec: str = "blosc-lz4",
    name: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write an array in memory as an OME-Zarr image of one level.

    Parameters
    ----------
    path : str or path-like
    data : ndarray
        Shape of `grid`.
    grid : VoxelGrid
    version : {"0.5", "0.4", "0.6"}
    chunk : sequence of int, optional
        Default: 32 x 128 x 128 along the last axes, 1 along others.
    codec : str
    name : str, optional
    attributes : mapping, optional
        Further attributes of a source group, as `chunkscale.ome.write` carries them over.
    """
    uri = normalise(path)
    zarr_format: Literal[2, 3] = 2 if version == "0.4" else 3
    wanted = chunk or (1, 1, 32, 128, 128)[-data.ndim :]
    fitting = tuple(min(c, n) for c, n in zip(wanted, data.shape, strict=True))
    levels = pyramid(grid, [(1,) * grid.ndim], {0: Layout(chunk=fitting)})
    put_group(uri, zarr_format=zarr_format, attributes={}, new=True)
    (writer,) = create_levels(
        uri, levels, StoreIO(threads=1), dtype=data.dtype.name, codec=codec, zarr_format=zarr_format
    )
    whole = Box(start=(0,) * data.ndim, stop=data.shape)
    writer.finish_write(writer.start_write(whole, np.ascontiguousarray(data)))
    dataset = Dataset(path="0", voxel_size=grid.voxel_size, translation=grid.translation)
    set_attributes(
        uri,
        multiscale_attributes(
            version=version,
            axes=grid.axes,
            levels=[dataset],
            name=name or Path(uri).name,
            source=attributes,
        ),
    )
