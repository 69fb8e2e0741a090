"""An image with its labels: both come out on one grid, and the labels keep their volumes.

    python examples/labels.py [FOLDER]
    python examples/labels.py IMAGE OUT

Without paths of yours an image of round cells is made, with the number of its cell at each voxel.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr

import chunkscale
from chunkscale.samples import write_image

SHAPE = (40, 200, 200)

VOXEL_SIZE = (1.0, 0.2, 0.2)

SPACING, RADIUS = 10.0, 4.0


def numbered_cells() -> np.ndarray:
    """Return round cells in rows, each with a number of its own, and 0 between them."""
    places = [np.arange(n) * s for n, s in zip(SHAPE, VOXEL_SIZE, strict=True)]
    apart = [(place % SPACING - SPACING / 2) ** 2 for place in places]
    inside = apart[0][:, None, None] + apart[1][:, None] + apart[2] < RADIUS**2
    z, y, x = ((place // SPACING).astype("uint32") for place in places)
    return np.where(inside, 1 + z[:, None, None] * 100 + y[:, None] * 10 + x, 0).astype("uint32")


def make(path: Path) -> None:
    """Write an image, and labels below it as OME-Zarr has them."""
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    ids = numbered_cells()
    noise = np.random.default_rng(0).normal(100, 10, SHAPE)
    write_image(path, (noise + 1000 * (ids > 0)).astype("uint16"), grid)
    write_image(path / "labels" / "cells", ids, grid, attributes={"image-label": {}})
    group = zarr.open_group(path / "labels", mode="a", zarr_format=3)
    group.attrs.put({"ome": {"version": "0.5", "labels": ["cells"]}})


def volumes(path: str | Path) -> dict[int, float]:
    """Return the volume of each label, in the units of its voxels."""
    image = chunkscale.open_image(path)
    ids, counts = np.unique(np.asarray(image.as_dask()), return_counts=True)
    voxel = float(np.prod(image.grid.voxel_size))
    return {int(i): int(n) * voxel for i, n in zip(ids, counts, strict=True) if i}


def resample(source: str | Path, target: str | Path) -> None:
    print(chunkscale.plan_resampling(source, voxel_size="0.5um", antialias=True))
    # labels=["cells"] takes some, labels=False none; label_method="nearest" picks one voxel.
    run = chunkscale.resample(source, target, voxel_size="0.5um", antialias=True, resume=True)
    print(run)
    report = chunkscale.check(target, source=source)
    print(report)
    assert report


def main(folder: Path) -> None:
    source, target = folder / "cells.ome.zarr", folder / "cells-half.ome.zarr"
    if not source.exists():
        make(source)
    resample(source, target)
    before, after = volumes(source / "labels/cells"), volumes(target / "labels/cells")
    worst = max(abs(after[i] / before[i] - 1) for i in before)
    print(f"{len(after)} cells, whose volumes have changed by {worst:.1%} at most")
    assert before.keys() == after.keys()
    assert worst < 0.1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        resample(*sys.argv[1:])
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
