"""The method area: means over the extent of each voxel, held to integrals in float64.

Invariants:

- Where an axis shrinks a target is the mean of the source over its own extent, or else linear.
- Whole factors keep the mean of the image, and constants stay.
- What is not covered is not looked at, NaN neither.
- It is antialiased by itself: that is refused, and nothing is warned of.
- Any way to cut a volume gives the same bytes.
"""

import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import cases, shifted_grid, target_shape, volume

import chunkscale
from chunkscale.cli.main import main

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:only one voxel is left"),
]


def area(data, **options):
    return chunkscale.resample_array(data, method="area", device="cpu", **options)


def oracle(data, steps, shape, offsets):
    """Differences of the integral of voxels as blocks, over what the image has of an extent."""
    result = data.astype(np.float64)
    for axis, (step, count, offset) in enumerate(zip(steps, shape, offsets, strict=True)):
        lines, size = np.moveaxis(result, axis, -1), data.shape[axis]
        ends = np.arange(count + 1) * step + offset
        if step <= 1:
            centres = np.clip((ends[:-1] + ends[1:]) / 2 - 0.5, 0, size - 1)
            made = np.apply_along_axis(lambda v, at: np.interp(at, range(len(v)), v), -1, lines,
                                       centres)  # fmt: skip
        else:
            low = np.clip(ends[:-1], 0, size - 1e-9)  # beyond the image is the edge voxel
            high = np.maximum(np.clip(ends[1:], 0, size), low + 1e-9)
            total = np.concatenate([np.zeros((*lines.shape[:-1], 1)), np.cumsum(lines, -1)], -1)
            integral = [
                np.apply_along_axis(lambda v, at: np.interp(at, range(len(v)), v), -1, total, at)
                for at in (low, high)
            ]
            made = (integral[1] - integral[0]) / (high - low)
        result = np.moveaxis(made, -1, axis)
    return result


STEPS = st.sampled_from([0.5, 1.0, 1.25, 2.0, 3.0, 5.0]) | st.floats(0.4, 6)


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@given(cases(STEPS))
def test_the_result_is_the_mean_of_what_is_covered(case):
    """Fractions of voxels included, on grids that lie anywhere, within the type's rounding."""
    shape, steps, offsets, dtype, seed = case
    data, kind = volume(shape, dtype, seed), np.dtype(dtype)
    count = target_shape(shape, steps)
    result = area(data, like=shifted_grid(steps, offsets, count))
    assert result.dtype == kind
    expected = oracle(data, steps, count, offsets)
    if kind.kind == "f":
        tolerance = {2: 2e-3, 4: 1e-6, 8: 1e-6}[kind.itemsize]
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=200 * tolerance)
    else:
        assert np.abs(result.astype(np.float64) - expected).max() <= 0.5 + 1e-4


@settings(max_examples=50)
@given(
    st.tuples(*(st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 3, 5, 8])),) * 3),
    st.integers(0, 2**31),
)
def test_whole_factors_keep_the_mean(axes, seed):
    """To the last bits, and to all of them where factors are powers of two."""
    factors = [f for _, f in axes]
    data = np.random.default_rng(seed).integers(0, 2**20, [n * f for n, f in axes]).astype("f8")
    result = area(data, factor=[1 / f for f in factors])
    blocks = data.reshape([v for n, f in axes for v in (n, f)]).mean((1, 3, 5))
    exact = not {3, 5} & set(factors)
    np.testing.assert_allclose(result, blocks, rtol=0 if exact else 1e-14)
    np.testing.assert_allclose(result.mean(), data.mean(), rtol=1e-13)


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u4", "f4"])
def test_constants_are_kept(dtype):
    """Up to the borders and beyond."""
    value = 1 if dtype == "bool" else 77
    grid = grid_for((10, 12, 20), (0.3, 2.2, 1.9), unit=None, translation=(-1.0, -9.0, -9.0))
    result = area(np.full((7, 9, 11), value, dtype), like=grid)
    np.testing.assert_allclose(result, np.full(grid.shape, value), rtol=1e-6)


def test_it_is_linear_where_nothing_shrinks(noise):
    """As a mean over the extent is, of voxels of the same size that lie between two."""
    data = noise((6, 7, 8), "float32")
    for factor in (2, (1, 1.5, 3)):
        linear = chunkscale.resample_array(data, factor=factor)
        assert area(data, factor=factor).tobytes() == linear.tobytes()
    between = grid_for((6, 7, 8), unit=None, translation=(0.25, 0.0, 0.5))
    half = area(data, like=between)
    np.testing.assert_array_equal(half, chunkscale.resample_array(data, like=between))
    expected = oracle(data, [1 + 1e-9] * 3, data.shape, [0.25, 0.0, 0.5])
    np.testing.assert_allclose(half[:5, :, :7], expected[:5, :, :7], rtol=1e-4)


def test_it_is_the_reduction_of_pillow():
    """Which adds whole numbers of pixels up, at the border what is there."""
    from PIL import Image as Picture

    data = np.random.default_rng(0).normal(0, 1, (63, 95)).astype(np.float32)
    theirs = np.asarray(Picture.fromarray(data).reduce((3, 5)))
    ours = area(data, factor=(1 / 5, 1 / 3))
    assert ours.shape == theirs.shape == (13, 32)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_no_other_voxel_is_looked_at():
    """NaN beside the extent stays outside of the mean, also where the two touch."""
    data = np.ones((1, 12), np.float32)
    data[0, 4] = np.nan
    for step in (2, 4, 1.6):
        result = area(data, voxel_size=(1.0, step), source_voxel_size=1.0)[0]
        touched = [i * step < 5 and (i + 1) * step > 4 for i in range(result.size)]
        assert np.isnan(result).tolist() == touched
        np.testing.assert_allclose(result[~np.isnan(result)], 1, rtol=1e-6)


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_any_cut_gives_the_bytes_of_the_whole(make_image, tmp_path, noise, dtype):
    """Chunks, shards, workers and memory change nothing, and `check` finds the source's voxels."""
    data, size = noise((13, 41, 37), dtype), (0.6, 0.7, 0.31)
    source = make_image(data, (1.0, 0.2, 0.2), chunk=(5, 16, 9))
    whole = area(data, source_voxel_size=(1.0, 0.2, 0.2), voxel_size=size)
    for number, cut in enumerate(({"chunk": 4, "workers": 2}, {"chunk": (3, 16, 5), "shard": 0})):
        out = tmp_path / f"{number}.zarr"
        run = chunkscale.resample(
            source, out, method="area", voxel_size=size, device="cpu", levels=2, **cut
        )
        assert run.plan.region_count > 4
        assert run.plan.downsample == "mean"
        found = chunkscale.open_image(out).as_dask(0).compute()
        np.testing.assert_array_equal(found, whole)
        assert chunkscale.check(out, source=source)


def test_the_command_line_takes_it(make_image, tmp_path, noise, capsys):
    """It skips no voxel, so nothing is warned of and nothing is left to be smoothed."""
    source = make_image(noise((6, 20, 20)), (1.0, 0.25, 0.25))
    out, size = tmp_path / "out.zarr", ("--method", "area", "--voxel-size", "1")
    assert main(["resample", str(source), str(out), *size]) == 0
    assert main(["check", str(out), "--source", str(source)]) == 0
    assert main(["plan", str(source), *size]) == 0
    text = capsys.readouterr().out
    assert "area" in text
    assert "warning" not in text
    assert main(["plan", str(source), *size, "--antialias"]) == 2
    assert "antialias does not apply to the method area" in capsys.readouterr().err
