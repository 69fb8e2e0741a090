"""Images that pages of the docs name, each made where a page is tried."""

from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from grids import grid_for
from plates import plate

from chunkscale.samples import (
    SHAPE,
    VOXEL_SIZE,
    synthetic_cells,
    synthetic_labels,
    write_image,
    write_labels,
)

ROOT = Path(__file__).parents[1]


_cells = cache(synthetic_cells)


def _stack(path):
    write_image(path, _cells(), grid_for(SHAPE, VOXEL_SIZE))


def _labelled(path):
    shape, size = (40, 200, 200), (1.0, 0.2, 0.2)
    grid = grid_for(shape, size)
    write_image(path, synthetic_cells(shape, size), grid)
    write_labels(path, "cells", synthetic_labels(shape, size).astype("uint32"), grid)


def _plate(path):
    wells = {f"{row}/{column}": ["0", "1"] for row in "AB" for column in ("01", "02", "03")}
    plate(path, wells=wells, made=False)
    shape, size = (10, 64, 64), (2.0, 0.5, 0.5)
    for well, fields in wells.items():
        for field in fields:
            cells = synthetic_cells(shape, size, cells=8, seed=int(field))
            write_image(path / well / field, cells, grid_for(shape, size))


def _embryo(path):
    shape = (6, 2, 10, 64, 64)
    channels = [{"label": name, "color": "FFFFFF"} for name in ("DAPI", "GFP")]
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    omero = {"channels": [{**channel, "window": window} for channel in channels]}
    data = np.random.default_rng(0).integers(0, 255, shape, dtype="uint8")
    write_image(path, data, grid_for(shape, (1, 1, 2, 0.5, 0.5)), attributes={"omero": omero})


def _mask(path):
    tifffile.imwrite(path, synthetic_labels((40, 200, 200), (1.0, 0.2, 0.2)).astype("uint16"))


def _ome_tiff(path):
    told = {"axes": "ZYX", **{f"PhysicalSize{axis}": 1 for axis in "XYZ"}}
    tifffile.imwrite(path, np.zeros((5, 16, 16), "uint8"), ome=True, metadata=told)


def _planes(path):
    path.mkdir()
    for z in (9, 10):
        tifffile.imwrite(path / f"z{z}.tif", np.zeros((16, 16), "uint8"))


MAKERS = {
    "stack.ome.zarr": _stack,
    "cells.ome.zarr": _labelled,
    "plate.ome.zarr": _plate,
    "embryo.ome.zarr": _embryo,
    "scan.ome.tif": _ome_tiff,
    "mask.tif": _mask,
    "planes": _planes,
}


def make_images(text, folder):
    """Make those images that a text names."""
    for name, make in MAKERS.items():
        if name in text:
            make(folder / name)
