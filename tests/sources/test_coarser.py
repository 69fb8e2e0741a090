"""Reading from a coarser stored level.

Invariants:

- `auto` takes the coarsest level that is as fine as the target and agrees with level 0.
- The target's grid is the one that level 0 gives; samples are taken where level 0 would have them.
- What is read is what the plan says, and far less than level 0.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import OptionError

SIZE = (0.25, 0.25, 0.25)


@pytest.fixture
def pyramid(make_image, tmp_path):
    """Store a ramp in physical units with five levels."""
    shape, origin = (64, 96, 80), (7.0, -3.0, 1.0)
    at = [o + s * np.arange(n) for n, s, o in zip(shape, SIZE, origin, strict=True)]
    z, y, x = np.meshgrid(*at, indexing="ij")
    data = (2 * z - y + 0.5 * x + 20).astype("float32")
    plain = make_image(data, SIZE, translation=origin, chunk=(16, 16, 16))
    run = chunkscale.resample(plain, tmp_path / "pyramid", voxel_size="same", levels=5, chunk=16)
    return Path(run.path)


def edit(path, level, **transforms):
    node = json.loads((path / "zarr.json").read_text())
    dataset = node["attributes"]["ome"]["multiscales"][0]["datasets"][level]
    for entry in dataset["coordinateTransformations"]:
        entry[entry["type"]] = transforms.get(entry["type"], entry[entry["type"]])
    (path / "zarr.json").write_text(json.dumps(node))


@pytest.mark.parametrize(
    ("target", "level"),
    [(0.2, 0), (0.25, 0), (0.49, 0), (0.5, 1), (1.3, 2), (2.0, 3), (100, 4), ("z=4,y=0.6,x=4", 1)],
)
@pytest.mark.filterwarnings("ignore::chunkscale.ChunkscaleWarning")
def test_auto_takes_the_coarsest_that_is_fine_enough(pyramid, target, level):
    """Along every axis; the target's grid does not depend on it."""
    plan = chunkscale.plan_resampling(pyramid, voxel_size=target, level="auto")
    assert plan.source.path == str(level)
    assert plan.target_grid == chunkscale.plan_resampling(pyramid, voxel_size=target).target_grid


def test_eight_times_the_voxel_size_reads_a_fraction(pyramid, tmp_path, capsys):
    """Positions are right: a ramp stays one; `check` and `resume` know the level."""
    out = tmp_path / "out"
    size = {"voxel_size": 2.0, "levels": 1}
    plan = chunkscale.plan_resampling(pyramid, **size, level="auto")
    full = chunkscale.plan_resampling(pyramid, **size)
    assert full.source.nbytes >= 500 * plan.source.nbytes
    run = chunkscale.resample(pyramid, out, level="auto", **size)
    image = chunkscale.open_image(run.path)
    grid = image.grid
    axes = zip(grid.translation, grid.voxel_size, grid.shape, strict=True)
    z, y, x = np.meshgrid(*[o + s * np.arange(n) for o, s, n in axes], indexing="ij")
    np.testing.assert_allclose(image.as_dask().compute(), 2 * z - y + 0.5 * x + 20, rtol=1e-5)
    assert image.attributes["chunkscale"]["source_part"] == {"level": 3}
    assert chunkscale.check(out, source=pyramid)
    assert chunkscale.resample(pyramid, out, level=3, resume=True, **size).times.regions == 0
    with pytest.raises(chunkscale.DestinationError, match="source_array was '3', now '0'"):
        chunkscale.resample(pyramid, out, resume=True, **size)
    assert main(["plan", str(pyramid), "--voxel-size", "2", "--level", "auto"]) == 0
    assert "aliasing" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::chunkscale.ChunkscaleWarning")
def test_a_crop_is_in_voxels_of_level_0(pyramid, tmp_path):
    """Whatever is read; it is the cut of the whole result of that level."""
    how = {"voxel_size": 1.0, "level": "auto", "levels": 1}
    whole = chunkscale.resample(pyramid, tmp_path / "whole", **how).path
    run = chunkscale.resample(pyramid, tmp_path / "part", crop="z=16:48,x=8:40", **how)
    part = chunkscale.open_image(run.path)
    expected = chunkscale.open_image(whole).as_dask().compute()[4:12, :, 2:10]
    assert part.as_dask().compute().tobytes() == expected.tobytes()
    assert part.attributes["chunkscale"]["source_part"]["level"] == 2
    assert chunkscale.check(run.path, source=pyramid)


def test_the_plane_that_is_shown_is_counted_in_level_0(pyramid, tmp_path):
    """Whatever is read: plane 40 of voxels of 0.25 lies in plane 5 of voxels of 2."""
    node = json.loads((pyramid / "zarr.json").read_text())
    node["attributes"]["ome"]["omero"] = {
        "channels": [{"color": "FFFFFF", "window": {"min": 0, "max": 9, "start": 0, "end": 9}}],
        "rdefs": {"defaultZ": 40},
    }
    (pyramid / "zarr.json").write_text(json.dumps(node))
    run = chunkscale.resample(pyramid, tmp_path / "out", voxel_size=2.0, level="auto")
    attributes = chunkscale.open_image(run.path).attributes
    assert attributes["ome"]["omero"]["rdefs"] == {"defaultZ": 5}
    assert "notices" not in attributes["chunkscale"]


@pytest.mark.parametrize(
    ("level", "target", "change", "words"),
    [
        (3, 2.5, {"translation": [7.0, -3.0, 1.0]}, "along z it begins at 6"),
        # As it is left out by writers that do not know of it: half a voxel off at the first level.
        (1, 0.5, {"translation": [7.0, -3.0, 1.0]}, "along z it begins at 6.75 instead of 6.875"),
        (3, 2.5, {"scale": [2.5, 2.0, 2.0]}, "along z it"),
        (
            3,
            2.5,
            {"scale": [2.3, 2.0, 2.0], "translation": [8.025, -2.125, 1.875]},
            "along z it covers 18.4 instead of 16",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::chunkscale.ChunkscaleWarning")
def test_a_level_that_disagrees_is_not_taken(pyramid, level, target, change, words):
    """Level 0 is read instead, and a notice says why."""
    edit(pyramid, level, **change)
    plan = chunkscale.plan_resampling(pyramid, voxel_size=target, level="auto")
    assert plan.source.path == "0"
    (notice,) = [n for n in plan.warnings if n.kind == "level"]
    assert words in str(notice)
    assert "level 0 is read" in str(notice)


def test_levels_that_are_not_there_are_refused(pyramid, noise):
    """By number; arrays have none."""
    for level, words in ((5, "it has 5, 0 to 4"), ("fine", "neither 'auto' nor a number")):
        with pytest.raises(OptionError, match=words):
            chunkscale.plan_resampling(pyramid, level=level)
    for level in (1, "auto"):
        with pytest.raises(OptionError, match="has no levels"):
            chunkscale.plan_resampling(noise((4, 5, 6)), source_voxel_size=1, level=level)
