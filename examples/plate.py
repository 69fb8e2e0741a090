"""A plate with all its wells in one run: it stays a plate, and a run that is cut short goes on.

    python examples/plate.py [FOLDER]
    python examples/plate.py PLATE OUT

Without paths of yours a small plate is made. Series of bioformats2raw and folders of images go the
same way.
"""

import sys
import tempfile
from pathlib import Path

import zarr

import chunkscale
from chunkscale.samples import synthetic_cells, write_image

ROWS, COLUMNS, FIELDS = "AB", ("1", "2", "3"), ("0", "1")

SHAPE, VOXEL_SIZE = (10, 64, 64), (2.0, 0.5, 0.5)


def group(path: Path, metadata: dict) -> None:
    """Write a group of OME-Zarr 0.5."""
    made = zarr.open_group(path, mode="a", zarr_format=3)
    made.attrs.put({"ome": {"version": "0.5", **metadata}})


def make(path: Path) -> None:
    """Write a plate, its wells and their fields."""
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    wells = [
        {"path": f"{row}/{column}", "rowIndex": r, "columnIndex": c}
        for r, row in enumerate(ROWS)
        for c, column in enumerate(COLUMNS)
    ]
    plate = {
        "rows": [{"name": row} for row in ROWS],
        "columns": [{"name": column} for column in COLUMNS],
        "wells": wells,
    }
    group(path, {"plate": plate})
    for k, well in enumerate(wells):
        group(path / well["path"], {"well": {"images": [{"path": f} for f in FIELDS]}})
        for field in FIELDS:
            cells = synthetic_cells(SHAPE, VOXEL_SIZE, cells=8, seed=10 * k + int(field))
            write_image(path / well["path"] / field, cells, grid, name="field")


def resample(source: str | Path, target: str | Path) -> chunkscale.ResampledCollection:
    print(chunkscale.plan_resampling(source, images="all", voxel_size="1um", antialias=True))
    # images="A/*/0" takes the first field of each well of row A.
    try:
        run = chunkscale.resample(
            source, target, images="all", voxel_size="1um", antialias=True, resume=True
        )
    except chunkscale.RegionError as error:
        # All other images are done; once the cause is removed, the same call makes these.
        sys.exit(str(error))
    print(run)
    report = chunkscale.check(target, source=source)
    print(report)
    assert report
    return run


def main(folder: Path) -> None:
    source, target = folder / "plate.ome.zarr", folder / "plate-1um.ome.zarr"
    if not source.exists():
        make(source)
    run = resample(source, target)
    assert run.plan.images == len(ROWS) * len(COLUMNS) * len(FIELDS)
    for path in chunkscale.info(target)["images"]:
        assert chunkscale.open_image(target / path).grid.voxel_size == (1.0, 1.0, 1.0)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        resample(*sys.argv[1:])
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
