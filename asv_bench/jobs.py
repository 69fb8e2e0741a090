"""The matrix of jobs: what users resample, each a matter of seconds on two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: Of the spatial axes, where a job does not say otherwise: planes are five times as far apart.
VOXEL_SIZE = (1.0, 0.2, 0.2)
TARGET = 0.2
#: Voxels per spatial axis of the source that kernels are compiled with; one along other axes.
SMALL = {"z": 8, "y": 32, "x": 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One source, and what is made of it.

    Parameters
    ----------
    words : str
        What a reader of the table needs to know.
    shape : tuple of int
    axes : str
        A letter for each axis of `shape`.
    chunk : tuple of int
        Of the source, which is not sharded; cut to `shape`.
    codec : {"blosc-lz4", "zstd"}
        Of the source.
    version : {"0.5", "0.4"}
        OME-Zarr version of the source.
    voxel_size : tuple of float
        Of the source, for the spatial axes.
    dtype : str
    labels : bool
        Whether voxels are numbers of cells instead of intensities.
    options : mapping
        Of `chunkscale.resample`.
    """

    words: str
    shape: tuple[int, ...]
    axes: str = "zyx"
    chunk: tuple[int, ...] = (64, 128, 128)
    codec: str = "blosc-lz4"
    version: str = "0.5"
    voxel_size: tuple[float, ...] = VOXEL_SIZE
    dtype: str = "uint16"
    labels: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def small(self) -> Job:
        """The same with a few voxels, to compile what is compiled."""
        shape = [min(n, SMALL.get(axis, 1)) for n, axis in zip(self.shape, self.axes, strict=True)]
        options = {**self.options, "chunk": 16, "levels": 2, "workers": 1}
        return replace(self, shape=tuple(shape), options=options)

    def times(self, volume: int) -> Job:
        """Return the same with so many times the voxels."""
        spatial = len(self.voxel_size)
        edge = round(volume ** (1 / spatial))
        if edge**spatial != volume:
            raise ValueError(
                f"{volume} times the volume is not a whole number along each of {spatial} axes"
            )
        shape = [
            n * edge if axis in "zyx" else n for n, axis in zip(self.shape, self.axes, strict=True)
        ]
        return replace(self, shape=tuple(shape), words=f"{self.words}, {volume} times the volume")


JOBS = {
    "A": Job(
        words="to isotropic, a small stack",
        shape=(64, 512, 512),
        options={"voxel_size": TARGET, "levels": 4},
    ),
    "C": Job(
        words="to isotropic, a larger stack",
        shape=(128, 1024, 1024),
        options={"voxel_size": TARGET, "levels": 5},
    ),
    "zoom2": Job(
        words="zoom (2,2,2)",
        shape=(128, 256, 256),
        voxel_size=(0.2, 0.2, 0.2),
        options={"zoom": 2},
    ),
    "odd": Job(
        words="odd ratios, 0.163 to 0.13",
        shape=(128, 512, 512),
        voxel_size=(0.163, 0.163, 0.163),
        options={"voxel_size": 0.13},
    ),
    "coarsest": Job(
        words="shrinks to the coarsest voxel size, plain",
        shape=(64, 1024, 1024),
        options={"voxel_size": "coarsest"},
    ),
    "antialias": Job(
        words="shrinks to the coarsest voxel size, antialiased",
        shape=(64, 1024, 1024),
        options={"voxel_size": "coarsest", "antialias": True},
    ),
    "labels": Job(
        words="labels: nearest, levels by modes",
        shape=(64, 512, 512),
        dtype="uint32",
        labels=True,
        options={"method": "nearest"},
    ),
    "regions": Job(
        words="tczyx, 30 regions",
        shape=(10, 3, 8, 256, 256),
        axes="tczyx",
        chunk=(1, 1, 8, 128, 128),
    ),
    "frames": Job(
        words="tczyx, 400 frames of 8x128x128",
        shape=(400, 1, 8, 128, 128),
        axes="tczyx",
        chunk=(1, 1, 8, 128, 128),
    ),
    "uint8": Job(words="uint8", shape=(64, 512, 512), dtype="uint8"),
    "float32": Job(words="float32", shape=(32, 512, 512), dtype="float32"),
    "v04": Job(
        words="0.4 to 0.4, unsharded",
        shape=(64, 512, 512),
        version="0.4",
        options={"ome_zarr_version": "0.4"},
    ),
    "zstd-in": Job(words="a zstd source", shape=(64, 512, 512), codec="zstd"),
    "planes": Job(words="a source of whole planes", shape=(64, 512, 512), chunk=(1, 512, 512)),
    "zstd-out": Job(words="zstd out", shape=(64, 512, 512), options={"codec": "zstd"}),
    "2d": Job(
        words="2-D, 8192x8192, 0.325 to 0.25",
        shape=(8192, 8192),
        axes="yx",
        chunk=(512, 512),
        voxel_size=(0.325, 0.325),
        options={"voxel_size": 0.25},
    ),
    "G": Job(
        words="to isotropic, for a GPU",
        shape=(256, 2048, 2048),
        options={"voxel_size": TARGET, "levels": 4},
    ),
}
#: What peers can do as well, and their largest errors are measured in.
PEER_JOBS = ("A", "C", "G")
#: Without being named: not 12 GB.
DEFAULT_JOBS = tuple(name for name in JOBS if name != "G")


def named(name: str) -> Job:
    """Return the job of a name, like ``A``, or of ``A x8``: eight times the volume."""
    job, _, volume = name.partition(" x")
    return JOBS[job].times(int(volume)) if volume else JOBS[job]
