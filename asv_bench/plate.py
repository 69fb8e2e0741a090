"""Many small images beside one large image of the same size: seconds per byte, and planning.

    python asv_bench/plate.py FOLDER [FIELDS]

Writes a plate of FIELDS fields (384) of 2 x 16 x 256 x 256 voxels, and one image of as many
voxels, resamples both to isotropic voxels in turn, and prints medians of three. Use a RAM disk;
384 fields need 10 GB there.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np

import chunkscale
from chunkscale import Axis, VoxelGrid
from chunkscale.samples import write_image

SHAPE, SIZE = (2, 16, 256, 256), (1.0, 1.0, 0.25, 0.25)
AXES = tuple(
    Axis(name=name, kind="channel" if name == "c" else "space", unit=unit)
    for name, unit in zip("czyx", (None, *["micrometer"] * 3), strict=True)
)
FIELDS_OF_A_WELL = 4


def _write(path: Path, shape: tuple[int, ...], seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 4000, shape, dtype="uint16")
    grid = VoxelGrid(axes=AXES, shape=shape, voxel_size=SIZE)
    write_image(path, data, grid, chunk=(1, *SHAPE[1:]))


def _group(path: Path, attributes: dict[str, object]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(document))


def write_plate(path: Path, fields: int) -> None:
    """Write a plate of one row; its fields are copies of a few images."""
    columns = -(-fields // FIELDS_OF_A_WELL)
    wells = [{"path": f"A/{k}", "rowIndex": 0, "columnIndex": k} for k in range(columns)]
    plate = {
        "rows": [{"name": "A"}],
        "columns": [{"name": str(k)} for k in range(columns)],
        "wells": wells,
    }
    _group(path, {"ome": {"version": "0.5", "plate": plate}})
    for k in range(FIELDS_OF_A_WELL):
        _write(path / "A" / "0" / str(k), SHAPE, k)
    for k in range(columns):
        images = [{"path": str(f)} for f in range(FIELDS_OF_A_WELL)]
        _group(path / "A" / str(k), {"ome": {"version": "0.5", "well": {"images": images}}})
        for f in range(FIELDS_OF_A_WELL if k else 0):
            shutil.copytree(path / "A" / "0" / str(f), path / "A" / str(k) / str(f))


def seconds(source: Path, out: Path, *options: str) -> float:
    """Return the time of the command, its process included."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "chunkscale", "resample", str(source), str(out), *options]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - begun
    shutil.rmtree(out)
    return taken


def planning(source: Path, fields: int) -> float:
    """Return the seconds that planning takes where opening an image takes none."""
    from chunkscale.api import collections, planned

    image = chunkscale.open_image(source / "A" / "0" / "0")
    names = (f"A/{k // 4}/{k % 4}" for k in range(fields))

    def opened(uri: str, **given: object) -> chunkscale.Image:
        return dataclasses.replace(image, uri=uri)

    with (
        mock.patch.object(planned, "open_source", opened),
        mock.patch.object(collections, "chosen", return_value=names),
    ):
        begun = time.perf_counter()
        chunkscale.plan_resampling(source, images="all")
        return time.perf_counter() - begun


def main() -> None:
    """Print what is measured."""
    folder = Path(sys.argv[1])
    fields = int(sys.argv[2]) if len(sys.argv) > 2 else 384
    plate, one, out = folder / "plate.zarr", folder / "one.zarr", folder / "out.zarr"
    for path in (plate, one):
        shutil.rmtree(path, ignore_errors=True)
    write_plate(plate, fields)
    side = int(fields**0.5)
    while fields % side:
        side -= 1
    _write(one, (2, 16, 256 * side, 256 * fields // side), 0)
    seconds(plate / "A" / "0" / "0", out)  # compiles kernels
    pairs = [(seconds(plate, out, "--all"), seconds(one, out)) for _ in range(3)]
    many, single = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{fields} fields: {many:.2f} s; one image: {single:.2f} s; ratio {many / single:.2f}")
    begun = time.perf_counter()
    chunkscale.plan_resampling(plate, images="all")
    print(f"a plan of {fields} fields that are stored: {time.perf_counter() - begun:.2f} s")
    print(f"a plan of 100000 fields, opening simulated: {planning(plate, 100_000):.2f} s")


if __name__ == "__main__":
    main()
