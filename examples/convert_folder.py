"""A conversion script: every OME-Zarr image of a folder, labels by their nearest voxel.

    python examples/convert_folder.py [FOLDER]

For images that need parameters of their own: where all take the same, ``images="all"`` makes the
whole folder in one run. Images that cannot be resampled are named at the end; the others are done.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image


def convert(sources: list[Path], folder: Path) -> dict[Path, str]:
    """Resample images to 0.5 um; return what could not be done, and why."""
    failed = {}
    for source in sources:
        try:
            # Label images (those with "image-label" metadata) are recognised.
            run = chunkscale.resample(
                source, folder / source.name, voxel_size=0.5, antialias=source.stem == "cells.ome"
            )
            print(run)
        except chunkscale.ChunkscaleError as error:
            failed[source] = str(error)
    return failed


def main(folder: Path) -> None:
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    cells = synthetic_cells()
    write_image(folder / "cells.ome.zarr", cells, grid)
    labels = (cells > 500).astype(np.uint8)
    write_image(folder / "labels.ome.zarr", labels, grid, attributes={"image-label": {}})
    (folder / "empty.ome.zarr").mkdir()

    target = folder / "converted"
    target.mkdir()
    failed = convert(sorted(folder.glob("*.ome.zarr")), target)
    for path, reason in failed.items():
        print(f"not converted: {path}: {reason}")
    assert [path.name for path in failed] == ["empty.ome.zarr"]
    ids = np.unique(chunkscale.open_image(target / "labels.ome.zarr").as_dask().compute())
    assert set(ids) <= {0, 1}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
