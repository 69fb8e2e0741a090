"""Synthetic sources: round cells with camera noise, or their labels, as OME-Zarr images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from jobs import Job
from numpy.typing import NDArray

#: Larger stacks and planes repeat a part of this shape.
PARTS = {2: (2048, 2048), 3: (256, 512, 512)}
#: There is one cell in a square or cube of this edge, in micrometres.
SPACING = 18.0


def write_source(path: str, job: Job) -> None:
    """Write the source of a job, with one level."""
    zarr_format = 2 if job.version == "0.4" else 3
    group = zarr.create_group(path, zarr_format=zarr_format, attributes=_metadata(job))  # type: ignore[arg-type]
    array = group.create_array(
        "0",
        shape=job.shape,
        chunks=tuple(min(c, n) for c, n in zip(job.chunk, job.shape, strict=True)),
        dtype=job.dtype,
        compressors=_codec(job),
        dimension_names=list(job.axes) if zarr_format == 3 else None,
        chunk_key_encoding={"name": "v2" if zarr_format == 2 else "default", "separator": "/"},
    )
    dimensions = len(job.voxel_size)
    voxels = image(job.shape[-dimensions:], job)
    # Frames and channels differ, or a codec would see one of them again and again.
    for i, index in enumerate(np.ndindex(job.shape[:-dimensions])):
        array[index] = np.roll(voxels, 7 * i, axis=-1)


def _metadata(job: Job) -> dict[str, Any]:
    steps = [1.0] * (len(job.axes) - len(job.voxel_size)) + list(job.voxel_size)
    kinds = {"t": {"type": "time"}, "c": {"type": "channel"}}
    space = {"type": "space", "unit": "micrometer"}
    multiscale: dict[str, Any] = {
        "name": "synthetic cells",
        "axes": [{"name": name, **kinds.get(name, space)} for name in job.axes],
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": steps}]}
        ],
    }
    labels: dict[str, Any] = {"image-label": {"version": job.version}} if job.labels else {}
    if job.version == "0.4":
        return {"multiscales": [{**multiscale, "version": "0.4"}], **labels}
    return {"ome": {"version": job.version, "multiscales": [multiscale], **labels}}


def _codec(job: Job) -> Any:
    size = np.dtype(job.dtype).itemsize
    if job.version == "0.4":
        import numcodecs

        blosc = numcodecs.Blosc("lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
        return {"blosc-lz4": blosc, "zstd": numcodecs.Zstd(3)}[job.codec]
    from zarr.codecs import BloscCodec, ZstdCodec

    blosc = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=size)
    return {"blosc-lz4": blosc, "zstd": ZstdCodec(level=3)}[job.codec]


def image(shape: Sequence[int], job: Job) -> NDArray[Any]:
    """Return a stack or plane of the job's data type."""
    part = [min(n, m) for n, m in zip(shape, PARTS[len(shape)], strict=True)]
    random = np.random.default_rng(7)
    light, numbers = _cells(part, job.voxel_size, random)
    if job.labels:
        voxels = numbers.astype(job.dtype)
    else:
        light += random.normal(0.0, 0.8, light.shape) * np.sqrt(light)
        if np.issubdtype(job.dtype, np.integer):
            scale = 1 / 8 if job.dtype == "uint8" else 1
            light = np.clip(np.rint(light * scale), 0, np.iinfo(job.dtype).max)
        voxels = light.astype(job.dtype)
    repeats = [-(-n // m) for n, m in zip(shape, voxels.shape, strict=True)]
    return np.tile(voxels, repeats)[tuple(map(slice, shape))]


def _cells(
    shape: Sequence[int], voxel_size: Sequence[float], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Return light, and in each voxel the number of its cell, or 0."""
    light, numbers = np.full(shape, 100, np.float32), np.zeros(shape, np.uint16)
    axes = [np.arange(n, dtype=np.float32) * s for n, s in zip(shape, voxel_size, strict=True)]
    extent = np.array(shape) * voxel_size
    for number in range(1, 1 + max(1, round(math.prod(extent / SPACING)))):
        centre, radius = random.uniform(0, extent), random.uniform(3.0, 6.5)
        window = tuple(
            slice(*np.searchsorted(a, (c - 2 * radius, c + 2 * radius)))
            for a, c in zip(axes, centre, strict=True)
        )
        near = [((a[w] - c) / radius) ** 2 for a, w, c in zip(axes, window, centre, strict=True)]
        distance = np.sqrt(sum(np.ix_(*near)))
        body = 1 / (1 + np.exp((distance - 1) * 9))
        rim = np.exp(-(((distance - 0.9) / 0.12) ** 2))
        light[window] += random.uniform(400, 1600) * (0.55 * body + 0.45 * rim)
        numbers[window][distance < 1] = number
    return light, numbers
