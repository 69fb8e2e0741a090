"""The method lanczos: windowed sinc curves of three lobes, held to their formula in float64.

Invariants:

- The result is the separable sum of the formula, normalised, over repeated edges; a widened one is
  Pillow's.
- Constants are kept; a source voxel that is hit is taken as it is.
- Overshoot is clamped to the data type's range.
- Any way to cut a volume gives the same bytes, whichever sines a processor has.
"""

import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import cases, shifted_grid, target_shape, volume

import chunkscale
from chunkscale.cli.main import main
from chunkscale.geometry.methods import METHODS

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning"),
    pytest.mark.filterwarnings("ignore:only one voxel is left"),
]


def weight(x):
    return np.sinc(x) * np.sinc(x / 3) if abs(x) < 3 else 0.0


def oracle(data, steps, shape, offsets):
    """Sum over the voxels around along each axis; voxels beyond are the edge voxels."""
    result = data.astype(np.float64)
    for axis, (step, count, offset) in enumerate(zip(steps, shape, offsets, strict=True)):
        size = data.shape[axis]
        matrix = np.zeros((count, size))
        for i in range(count):
            centre = (i + 0.5) * step - 0.5 + offset
            for voxel in range(int(np.floor(centre)) - 3, int(np.floor(centre)) + 5):
                matrix[i, min(max(voxel, 0), size - 1)] += weight(voxel - centre)
        matrix /= matrix.sum(1, keepdims=True)
        result = np.moveaxis(np.tensordot(matrix, result, (1, axis)), 0, axis)
    return result


def lanczos(data, **options):
    return chunkscale.resample_array(data, method="lanczos", device="cpu", **options)


STEPS = st.sampled_from([0.25, 1 / 3, 0.5, 1.0, 1.7]) | st.floats(0.15, 4)


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@settings(max_examples=100)
@given(cases(STEPS))
def test_the_result_is_that_of_the_formula(case):
    """Zooming in and out, on grids that lie anywhere: within the rounding of the data type."""
    shape, steps, offsets, dtype, seed = case
    data, kind = volume(shape, dtype, seed), np.dtype(dtype)
    count = target_shape(shape, steps)
    result = lanczos(data, like=shifted_grid(steps, offsets, count))
    assert result.dtype == kind
    expected = oracle(data, steps, count, offsets)
    if kind.kind == "f":
        tolerance = {2: 2e-3, 4: 1e-6, 8: 1e-12}[kind.itemsize]
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=500 * tolerance)
        return
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    exact = np.clip(expected, float(low), float(high))
    assert np.abs(result.astype(np.float64) - exact).max() <= 0.5 + 1e-3


@given(st.floats(0, 3) | st.sampled_from([0.0, 1e-300, 1e-9, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]))
def test_the_weights_are_those_of_exact_sines(x):
    """To the last bits, and zero where another voxel is hit."""
    found = METHODS["lanczos"].weight(np.array([x]), 1.0)[0]
    assert abs(found - weight(x)) < 1e-15
    if x in (1.0, 2.0):
        assert found == 0


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u4", "f4"])
def test_constants_are_kept(dtype, antialias):
    """Up to the borders and beyond, antialiased or not."""
    value = 1 if dtype == "bool" else 77
    grid = grid_for((40, 30, 20), (0.3, 2.2, 1.9), unit=None, translation=(-1.0, -20.0, -9.0))
    result = lanczos(np.full((7, 9, 11), value, dtype), like=grid, antialias=antialias)
    np.testing.assert_allclose(result, np.full(grid.shape, value), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "u1", "u2", "i2", "i4", "i8"])
def test_overshoot_is_clamped(dtype):
    """Beside an edge the curve leaves the range, and the result does not wrap."""
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    result = lanczos(np.tile(np.array([low] * 6 + [high] * 6, dtype), (4, 1)), zoom=4)
    slack = (high - low) // 30  # rings: the second lobe comes back by this much
    assert max(result[:, :22].ravel().tolist()) - low <= slack
    assert high - min(result[:, -22:].ravel().tolist()) <= slack
    assert {low, high} <= set(result.ravel().tolist())


def test_a_voxel_that_is_hit_is_taken_as_it_is():
    """NaN and Inf beside it stay there, and 64 bits keep all of theirs."""
    data = np.array([[1.0, np.nan, 3.0, np.inf, 5.0]] * 4, np.float32)
    np.testing.assert_array_equal(lanczos(data, zoom=3)[1::3, 1::3], data)
    ids = np.random.default_rng(0).integers(2**60, 2**63, (5, 6, 7)).astype(np.uint64) | np.uint64(
        1
    )
    np.testing.assert_array_equal(lanczos(ids, zoom=5)[2::5, 2::5, 2::5], ids)
    np.testing.assert_array_equal(lanczos(ids, zoom=1), ids)


def test_antialiasing_is_that_of_pillow():
    """The curve widened by the step, cut at the border; and inside where an axis grows."""
    from PIL import Image as Picture

    data = np.random.default_rng(0).normal(0, 1, (60, 90)).astype(np.float32)
    picture, how = Picture.fromarray(data), Picture.Resampling.LANCZOS
    ours = lanczos(data, voxel_size=[5.0, 3.0], antialias=True)
    np.testing.assert_allclose(ours, np.asarray(picture.resize((30, 12), how)), atol=1e-5)
    grown = np.asarray(picture.resize((225, 180), how))
    inner = np.s_[9:-9, 9:-9]
    np.testing.assert_allclose(lanczos(data, factor=(3, 2.5))[inner], grown[inner], atol=1e-5)


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("antialias", [False, True])
def test_any_cut_gives_the_bytes_of_the_whole(make_image, tmp_path, noise, dtype, antialias):
    """Chunks, shards and workers change nothing, and `check` finds the source's voxels."""
    data, how = noise((11, 31, 27), dtype), {"voxel_size": (0.6, 0.5, 0.17), "antialias": antialias}
    source = make_image(data, (1.0, 0.2, 0.2), chunk=(5, 16, 9))
    whole = lanczos(data, source_voxel_size=(1.0, 0.2, 0.2), **how)
    for number, cut in enumerate(({"chunk": 7, "workers": 2}, {"chunk": (3, 16, 5), "shard": 0})):
        out = tmp_path / f"{number}.zarr"
        run = chunkscale.resample(
            source, out, method="lanczos", device="cpu", levels=2, **how, **cut
        )
        assert run.plan.region_count > 4
        assert run.plan.downsample == "mean"
        found = chunkscale.open_image(out).as_dask(0).compute()
        np.testing.assert_array_equal(found, whole)
        assert chunkscale.check(out, source=source)


def test_the_command_line_takes_it(make_image, tmp_path, noise, capsys):
    """Of labels it says that their ids are blended, and shrinking aliases as it does for linear."""
    source, out = make_image(noise((6, 20, 20)), (1.0, 0.25, 0.25)), tmp_path / "out.zarr"
    assert main(["resample", str(source), str(out), "--method", "lanczos"]) == 0
    assert main(["check", str(out), "--source", str(source)]) == 0
    assert main(["plan", str(source), "--method", "lanczos", "--voxel-size", "1"]) == 0
    assert "aliasing" in capsys.readouterr().out
    labels = make_image(noise((4, 9, 9)), name="labels", attributes={"image-label": {}})
    assert main(["plan", str(labels), "--method", "lanczos", "--zoom", "2"]) == 0
    assert "lanczos interpolation mixes the ids" in capsys.readouterr().out
