"""A source file whose place another one takes during a run is told, whatever it looks like."""

import os
import shutil
import zipfile

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale.errors import ChunkscaleError

pytestmark = pytest.mark.usefixtures("small_regions")


def tiff(path, voxels, make_image):
    sizes = {f"PhysicalSize{axis}": 1.0 + (axis == "Z") for axis in "XYZ"}
    tifffile.imwrite(path, voxels, ome=True, metadata={"axes": "ZYX", **sizes})


def packed(path, voxels, make_image):
    folder = make_image(voxels, (2, 1, 1), name="in", chunk=(3, 16, 16), codec="none")
    with zipfile.ZipFile(path, "w") as file:
        for member in sorted(folder.rglob("*")):
            if member.is_file():
                file.write(member, member.relative_to(folder))
    shutil.rmtree(folder)


@pytest.mark.parametrize(("name", "write"), [("a.ome.tif", tiff), ("a.zip", packed)])
def test_a_file_that_is_replaced_by_one_of_its_size_and_time_is_told(
    name, write, noise, make_image, tmp_path
):
    """Half of one and half of the other is never published; a touch of its links is no change."""
    place, other, out = tmp_path / name, tmp_path / f"other-{name}", tmp_path / "out.zarr"
    for path, seed in ((place, 0), (other, 1)):
        write(path, noise((6, 32, 32), seed=seed) | 1, make_image)
        os.utime(path, ns=(10**18, 10**18))
    assert place.stat().st_size == other.stat().st_size

    def replace(state):
        if state.regions == 2:
            os.replace(other, place)

    def link(state):
        if state.regions == 2:
            os.link(place, tmp_path / "link")

    options = {"chunk": 8, "shard": 0, "levels": 1, "workers": 1}
    fine = chunkscale.resample(place, tmp_path / "fine.zarr", progress=link, **options)
    assert fine.plan.region_count > 4
    with pytest.raises(ChunkscaleError, match="has been replaced since"):
        chunkscale.resample(place, out, progress=replace, **options)
    with pytest.raises(ChunkscaleError, match="did not finish"):
        chunkscale.open_image(out)
    assert np.all(chunkscale.open_image(place).as_dask().compute() & 1)
