"""Synthetic images, and arrays written as sources."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from chunkscale.storage.locations import join
from chunkscale.storage.stores import normalise
from chunkscale.storage.writer import create_levels

SHAPE = (86, 396, 393)

VOXEL_SIZE = (1.0, 0.202, 0.202)

NAME = "synthetic cells of the demonstration"


@dataclass(frozen=True, slots=True)
class _Cell:
    centre: NDArray[np.float64]
    radius: float
    brightness: float


def _scattered(
    shape: Sequence[int], voxel_size: Sequence[float], cells: int, random: np.random.Generator
) -> list[_Cell]:
    """Return cells that touch at most, as many as find room."""
    extent = np.array(shape) * voxel_size
    found: list[_Cell] = []
    for _ in range(40 * cells):
        if len(found) == cells:
            break
        centre, radius = random.uniform(0, 1, 3) * extent, random.uniform(3.0, 6.5)
        bright = random.uniform(400, 1600)
        if all(np.linalg.norm(centre - c.centre) > radius + c.radius for c in found):
            found.append(_Cell(centre, radius, bright))
    return found


def _distances(
    cell: _Cell, shape: Sequence[int], voxel_size: Sequence[float]
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """Return a box around a cell, and how many radii its voxels lie from the centre."""
    axes = [np.arange(n, dtype=np.float32) * s for n, s in zip(shape, voxel_size, strict=True)]
    window = tuple(
        slice(*np.searchsorted(a, (c - 2 * cell.radius, c + 2 * cell.radius)))
        for a, c in zip(axes, cell.centre, strict=True)
    )
    z, y, x = (
        ((a[w] - c) / cell.radius) ** 2 for a, w, c in zip(axes, window, cell.centre, strict=True)
    )
    return window, np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :])


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
        Fewer where they find no room.
    seed : int
    """
    random = np.random.default_rng(seed)
    image = np.full(shape, 100.0, np.float32)
    for cell in _scattered(shape, voxel_size, cells, random):
        window, distance = _distances(cell, shape, voxel_size)
        body = 1.0 / (1.0 + np.exp((distance - 1.0) * 9.0))
        rim = np.exp(-(((distance - 0.9) / 0.12) ** 2))
        image[window] += cell.brightness * (0.55 * body + 0.45 * rim)
    noisy = image + random.normal(0.0, 1.0, shape) * np.sqrt(image) * 0.8
    result: NDArray[np.uint16] = np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)
    return result


def synthetic_labels(
    shape: Sequence[int] = SHAPE,
    voxel_size: Sequence[float] = VOXEL_SIZE,
    *,
    cells: int = 45,
    seed: int = 7,
) -> NDArray[np.uint16]:
    """Return the number of the cell at each voxel of `synthetic_cells`, and 0 between them."""
    labels = np.zeros(shape, np.uint16)
    found = _scattered(shape, voxel_size, cells, np.random.default_rng(seed))
    for number, cell in enumerate(found, start=1):
        window, distance = _distances(cell, shape, voxel_size)
        labels[window][distance < 1.0] = number
    return labels


def write_labels(
    path: str | os.PathLike[str],
    name: str,
    data: NDArray[Any],
    grid: VoxelGrid,
    *,
    title: str | None = None,
) -> None:
    """Write labels below an image that `write_image` has written, as the only ones.

    Parameters
    ----------
    path : str or path-like
        Of the image, OME-Zarr 0.5.
    name : str
    data : ndarray of int
    grid : VoxelGrid
    title : str, optional
        What their metadata calls them; default: `name`.
    """
    place = join(normalise(path), "labels")
    attributes = {"ome": {"version": "0.5", "labels": [name]}}
    put_group(place, zarr_format=3, attributes=attributes, new=True)
    write_image(join(place, name), data, grid, name=title, attributes={"image-label": {}})


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
