"""What the coarser levels are made with.

Invariants:

- Each level is made of the stored one before: its means, its modes, its nearest voxels, its maxima.
- Levels of modes, and of nearest, are those that the methods of these names make.
- Voxel sizes, positions and outer edges are those of cells, whatever was taken of them.
- An output says what it was made with; check and resume go by that.
"""

import json

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import DestinationError, OptionError

HOW = ["mean", "mode", "nearest", "max"]

#: What the names mean, voxel by voxel of a cell.
FIRST = {
    "max": lambda cell: np.fmax.reduce(cell, axis=None),
    "mode": lambda cell: min(cell.flat, key=lambda v: (-np.count_nonzero(cell == v), v)),
    "nearest": lambda cell: cell[-1, -1, -1],
    "mean": lambda cell: np.rint(cell.astype(float).mean()) if cell.dtype.kind != "f" else None,
}


def levels_of(path):
    image = chunkscale.open_image(path)
    return [image.as_dask(i).compute() for i in range(len(image.multiscale.datasets))]


def entry_of(path):
    node = json.loads((path / "zarr.json").read_text())
    return node["attributes"]["ome"]["multiscales"][0]


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "float32"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_level_is_made_of_the_one_before(make_image, tmp_path, noise, how, dtype, version):
    """Cell by cell, those at odd ends of the voxels that exist; check finds them so."""
    data = (noise((9, 26, 71)) % 50).astype(dtype)
    source = make_image(data, (1.0, 0.5, 0.5), chunk=(4, 9, 9))
    out = tmp_path / "out.zarr"
    run = chunkscale.resample(
        source, out, downsample=how, voxel_size="same", chunk=8, levels=3, ome_zarr_version=version
    )
    assert run.plan.region_count > 2
    levels = levels_of(out)
    np.testing.assert_array_equal(levels[0], data)
    for k in (1, 2):
        ratio = run.plan.level_ratio(k - 1, k)
        for index in np.ndindex(*levels[k].shape):
            start = [i * f for i, f in zip(index, ratio, strict=True)]
            cell = levels[k - 1][tuple(slice(a, a + f) for a, f in zip(start, ratio, strict=True))]
            expected = FIRST[how](cell)
            if expected is not None:
                assert levels[k][index] == expected
    report = chunkscale.check(out, source=source)
    assert report.faults == ()


@pytest.mark.parametrize("how", ["mode", "nearest"])
def test_a_level_is_what_the_method_of_that_name_makes(make_image, tmp_path, noise, how):
    """On the grid of that level."""
    source = make_image(noise((9, 26, 31)) % 5, (1.0, 0.5, 0.5))
    run = chunkscale.resample(
        source, tmp_path / "out.zarr", downsample=how, voxel_size="same", levels=3
    )
    levels, grids = levels_of(run.path), [level.grid for level in run.plan.levels]
    for k in (1, 2):
        fine = grids[k - 1]
        made = chunkscale.resample_array(
            levels[k - 1],
            like=grids[k],
            source_voxel_size=fine.voxel_size,
            source_translation=fine.translation,
            method=how,
        )
        np.testing.assert_array_equal(levels[k], made)


@pytest.mark.parametrize("how", HOW)
def test_positions_are_those_of_cells(make_image, tmp_path, noise, how):
    """The same for all, and outer edges coincide where cells are whole."""
    source = make_image(noise((8, 16, 24)), translation=(3.0, -1.0, 0.5))
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, downsample=how, voxel_size="same", levels=3, chunk=4)
    image = chunkscale.open_image(out)
    for k in range(3):
        grid = image.level_grid(k)
        assert grid.voxel_size == (2.0**k,) * 3
        edges = [t - s / 2 for t, s in zip(grid.translation, grid.voxel_size, strict=True)]
        assert edges == [2.5, -1.5, 0.0]
    entry = entry_of(out)
    assert entry["type"] == how
    assert entry["metadata"]["method"] == f"chunkscale.resample ({how})"
    assert entry["metadata"]["kwargs"]["downsample"] == how
    assert chunkscale.check(out)


@pytest.mark.parametrize("dtype", ["bool", "u1", "i8", "f2", "f4", "f8"])
def test_the_brightest_voxel_reaches_the_last_level(make_image, tmp_path, dtype):
    """And a voxel that is no number hides none that is."""
    data = np.zeros((16, 16, 16), dtype)
    data[5, 11, 2] = 1
    if data.dtype.kind == "f":
        data[5, 11, 3] = data[4, 10, 2] = np.nan
        data[8:, 8:, 8:] = np.nan
    source = make_image(data)
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, downsample="max", voxel_size="same", levels=4, chunk=4)
    last = levels_of(out)[-1]
    assert last[0, 1, 0] == 1
    assert np.nansum(last) == 1
    if data.dtype.kind == "f":
        assert np.isnan(last[1, 1, 1])
    assert chunkscale.check(out, source=source)


def test_the_default_is_as_the_method_says(make_image, noise):
    """Ids are not averaged; whoever asks for that is told what there is."""
    stack = make_image(noise((4, 9, 9)))
    labels = make_image(noise((4, 9, 9)), name="labels", attributes={"image-label": {}})

    def made(source, **options):
        return chunkscale.plan_resampling(source, **options).downsample

    assert made(stack) == made(stack, method="cubic") == "mean"
    assert made(stack, method="nearest") == made(stack, method="mode") == "mode"
    assert made(stack, method="area") == made(stack, method="lanczos") == "mean"
    assert made(stack, method="max") == "max"
    assert made(labels) == "mode"
    assert made(labels, method="linear") == made(labels, method="linear", downsample="mean")
    for how in ("mode", "nearest", "max"):
        assert made(labels, downsample=how) == made(stack, downsample=how) == how
    assert made(stack, method="nearest", downsample="mean") == "mean"
    with pytest.raises(OptionError, match=r"downsample 'mean' would make new ids.*leave it out"):
        made(labels, downsample="mean")
    with pytest.raises(OptionError, match="'median' is unknown; use mean, mode, nearest or max"):
        made(stack, downsample="median")


def test_a_mask_keeps_what_is_thin_with_maxima(make_image, noise):
    """Only what rounds is warned of."""
    source = make_image(noise((8, 20, 20), "bool"))

    def warned(**options):
        plan = chunkscale.plan_resampling(source, voxel_size="same", levels=2, **options)
        return any("thick vanish" in str(warning) for warning in plan.warnings)

    assert warned()
    assert warned(downsample="mode")
    assert not warned(downsample="max")
    assert not warned(downsample="nearest")


def test_another_way_is_another_recipe(make_image, tmp_path, noise):
    """It is not continued with other levels than it was begun with."""
    source, out = make_image(noise((4, 20, 20))), tmp_path / "out.zarr"
    chunkscale.resample(source, out, downsample="max")
    assert chunkscale.resample(source, out, downsample="max", resume=True).times.regions == 0
    with pytest.raises(DestinationError, match=r"downsample was 'max', now 'mean'"):
        chunkscale.resample(source, out, resume=True)


def test_check_finds_levels_of_another_kind(make_image, tmp_path, noise):
    """It goes by what the output says of itself."""
    source, out = make_image(noise((8, 20, 20))), tmp_path / "out.zarr"
    chunkscale.resample(source, out, downsample="max", levels=2)
    path = out / "zarr.json"
    node = json.loads(path.read_text())
    node["attributes"]["chunkscale"]["downsample"] = "nearest"
    path.write_text(json.dumps(node))
    faults = chunkscale.check(out, source=source).faults
    assert faults
    assert all(fault.startswith("level 1: ") for fault in faults)


def test_the_command_line_takes_it(make_image, tmp_path, noise, capsys):
    """It is shown with the levels, and refused where it cannot be meant."""
    source = make_image(noise((8, 20, 20)), name="labels", attributes={"image-label": {}})
    out = tmp_path / "out.zarr"
    how = ["--downsample", "max", "--levels", "2"]
    assert main(["plan", str(source), *how]) == 0
    assert "all levels; coarser ones by max" in capsys.readouterr().out
    assert main(["resample", str(source), str(out), *how]) == 0
    assert main(["check", str(out), "--source", str(source)]) == 0
    assert entry_of(out)["type"] == "max"
    capsys.readouterr()
    assert main(["plan", str(source), "--downsample", "mean"]) == 2
    assert "downsample 'mean'" in capsys.readouterr().err
