"""The cubic method: Catmull-Rom, held to its formula in float64.

Invariants:

- The result is the separable sum of the formula over repeated edges; a widened one is Pillow's.
- Constants and (inside) ramps are kept; a source voxel that is hit is taken as it is.
- Overshoot is clamped to the data type's range.
- Any way to cut a volume gives the same bytes.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import cases, shifted_grid, target_shape, volume

import chunkscale
from chunkscale.cli.main import main

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning"),
]


def weight(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def oracle(data, steps, shape, offsets):
    """Sum over four voxels along each axis, in float64; voxels beyond are the edge voxels."""
    result = data.astype(np.float64)
    for axis, (step, count, offset) in enumerate(zip(steps, shape, offsets, strict=True)):
        size = data.shape[axis]
        matrix = np.zeros((count, size))
        for i in range(count):
            centre = (i + 0.5) * step - 0.5 + offset
            for voxel in range(int(np.floor(centre)) - 2, int(np.floor(centre)) + 4):
                matrix[i, min(max(voxel, 0), size - 1)] += weight(voxel - centre)
        result = np.moveaxis(np.tensordot(matrix, result, (1, axis)), 0, axis)
    return result


def cubic(data, **options):
    return chunkscale.resample_array(data, method="cubic", device="cpu", **options)


STEPS = st.sampled_from([0.25, 1 / 3, 0.5, 1.0, 1.7]) | st.floats(0.15, 4)


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@settings(max_examples=150, deadline=None)
@given(cases(STEPS))
def test_the_result_is_that_of_the_formula(case):
    """Zooming in and out, on grids that lie anywhere: within the rounding of the data type."""
    shape, steps, offsets, dtype, seed = case
    data, kind = volume(shape, dtype, seed), np.dtype(dtype)
    grid = shifted_grid(steps, offsets, target_shape(shape, steps))
    result = cubic(data, like=grid)
    assert result.dtype == kind
    expected = oracle(data, steps, grid.shape, offsets)
    if kind.kind == "f":
        tolerance = {2: 2e-3, 4: 1e-6, 8: 1e-12}[kind.itemsize]
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=500 * tolerance)
        return
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    exact = np.clip(expected, float(low), float(high))
    assert np.abs(result.astype(np.float64) - exact).max() <= 0.5 + 1e-3


def test_ramps_are_reproduced_inside():
    """A straight line is its own Catmull-Rom curve, where all four voxels exist."""
    z, y, x = np.meshgrid(np.arange(9.0), np.arange(12.0), np.arange(15.0), indexing="ij")
    steps = (0.3, 0.7, 1.1)
    result = cubic(3 * z - 2 * y + 0.5 * x, voxel_size=steps, source_voxel_size=1.0)
    at = [(np.arange(n) + 0.5) * s - 0.5 for n, s in zip(result.shape, steps, strict=True)]
    z, y, x = np.meshgrid(*at, indexing="ij")
    inner = np.ix_(*((a >= 1) & (a <= n - 2) for a, n in zip(at, (9, 12, 15), strict=True)))
    assert result[inner].size > 1000
    np.testing.assert_allclose(result[inner], (3 * z - 2 * y + 0.5 * x)[inner], atol=1e-12)


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u4", "f4"])
def test_constants_are_kept(dtype, antialias):
    """Up to the borders and beyond, antialiased or not."""
    data = np.full((7, 9, 11), 1 if dtype == "bool" else 77, dtype)
    grid = chunkscale.VoxelGrid(
        axes=tuple(chunkscale.Axis(name=name) for name in "zyx"),
        shape=(40, 30, 20), voxel_size=(0.3, 2.2, 1.9), translation=(-1.0, -20.0, -9.0),
    )  # fmt: skip
    result = cubic(data, like=grid, antialias=antialias)
    np.testing.assert_allclose(result, np.full(grid.shape, 77 if dtype != "bool" else 1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "u1", "u2", "i2", "i4", "u8", "i8"])
def test_overshoot_is_clamped(dtype):
    """Beside an edge the curve leaves the range, and the result does not wrap."""
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    line = np.array([low] * 4 + [high] * 4, dtype)
    result = cubic(np.tile(line, (4, 1)), zoom=4)
    # float64 has 53 bits.
    slack = 2**13 if result.itemsize == 8 else 0
    for value in result[:, :14].ravel().tolist():
        assert value - low <= slack
    for value in result[:, -14:].ravel().tolist():
        assert high - value <= slack


def test_a_voxel_that_is_hit_is_taken_as_it_is():
    """NaN and Inf beside it stay there, and 64 bits keep all of theirs."""
    data = np.array([[1.0, np.nan, 3.0, np.inf, 5.0]] * 4, np.float32)
    np.testing.assert_array_equal(cubic(data, zoom=3)[1::3, 1::3], data)
    ids = np.random.default_rng(0).integers(2**60, 2**63, (5, 6, 7)).astype(np.uint64) | np.uint64(
        1
    )
    np.testing.assert_array_equal(cubic(ids, zoom=5)[2::5, 2::5, 2::5], ids)
    np.testing.assert_array_equal(cubic(ids, zoom=1), ids)


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
def test_samples_far_outside_take_the_edge():
    """All four voxels are then the edge voxel."""
    data = np.arange(12.0).reshape(3, 4)
    axes = (chunkscale.Axis(name="y"), chunkscale.Axis(name="x"))
    far = chunkscale.VoxelGrid(
        axes=axes, shape=(72, 80), voxel_size=(0.7, 0.7), translation=(-50.0, 3.0)
    )
    np.testing.assert_array_equal(cubic(data, like=far)[:69, 2:], np.full((69, 78), 3.0))


def test_antialiasing_is_that_of_pillow():
    """The curve widened by the step, cut at the border."""
    from PIL import Image as Picture

    data = np.random.default_rng(0).normal(0, 1, (60, 90)).astype(np.float32)
    ours = cubic(data, voxel_size=[5.0, 3.0], antialias=True)
    theirs = np.asarray(Picture.fromarray(data).resize((30, 12), Picture.Resampling.BICUBIC))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("dtype", ["uint16", "float32", "int64"])
def test_any_cut_gives_the_bytes_of_the_whole(make_image, tmp_path, noise, dtype):
    """Chunks, shards, workers and memory change nothing, and `check` finds the source's voxels."""
    data = noise((13, 31, 27), dtype)
    source = make_image(data, (1.0, 0.2, 0.2), chunk=(5, 16, 9))
    for how in ({"voxel_size": 0.35}, {"voxel_size": 0.5, "antialias": True}):
        whole = cubic(data, source_voxel_size=(1.0, 0.2, 0.2), **how)
        for number, cut in enumerate(
            ({"chunk": 64}, {"chunk": 8, "workers": 2}, {"chunk": (7, 16, 5), "shard": 0})
        ):
            out = tmp_path / f"{number}.zarr"
            run = chunkscale.resample(
                source, out, method="cubic", device="cpu", levels=2, overwrite=True, **how, **cut
            )
            assert run.plan.method == "cubic"
            found = chunkscale.open_image(out).as_dask(0).compute()
            np.testing.assert_array_equal(found, whole)
            assert chunkscale.check(out, source=source)


def test_the_command_line_takes_it(make_image, tmp_path, noise, capsys):
    """Of labels it says that their ids are blended, and shrinking aliases as it does for linear."""
    source = make_image(noise((6, 20, 20)), (1.0, 0.25, 0.25))
    out = tmp_path / "out.zarr"
    assert main(["resample", str(source), str(out), "--method", "cubic"]) == 0
    assert main(["check", str(out), "--source", str(source)]) == 0
    assert main(["plan", str(source), "--method", "cubic", "--voxel-size", "1"]) == 0
    text = capsys.readouterr().out
    assert "cubic" in text
    assert "aliasing" in text
    labels = make_image(noise((4, 9, 9)), name="labels", attributes={"image-label": {}})
    assert main(["plan", str(labels), "--method", "cubic", "--zoom", "2"]) == 0
    assert "cubic interpolation mixes the ids" in capsys.readouterr().out
