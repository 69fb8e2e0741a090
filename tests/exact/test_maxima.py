"""The method max: what is bright and thin stays, held to a maximum of the voxels of each cell.

Invariants:

- A target has the largest voxel of those whose centres lie in it, NaN only where there is no other.
- It is nearest where an axis grows or stays, and the pyramid's maximum where it halves.
- No value comes out that was not put in, and none that a target covers is larger.
- Any way to cut a volume gives the same bytes.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import DTYPES, overlaps, shifted_grid

import chunkscale
from chunkscale.cli.main import main

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:only one voxel is left"),
]


def largest(data, **options):
    return chunkscale.resample_array(data, method="max", device="cpu", **options)


def taken(step, offset, index, size):
    """Return the voxels of an axis that a target takes; steps and offsets are exact."""
    low, high = index * step + offset, (index + 1) * step + offset
    if step <= 1:
        low = high = np.floor((low + high) / 2)
        high += 1
    voxels = [i for i in range(size) if low <= i + 0.5 < high]
    return voxels or [0 if low < 0 else size - 1]


@st.composite
def cases(draw):
    ndim = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(ndim))
    steps = tuple(draw(st.sampled_from([0.5, 1, 1.25, 1.5, 2, 2.25, 3, 7])) for _ in range(ndim))
    offsets = tuple(draw(st.sampled_from([0, 0, 0.25, -1.5, 1.75, -0.5])) for _ in range(ndim))
    count = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    random, kind = np.random.default_rng(draw(st.integers(0, 2**31))), draw(st.sampled_from(DTYPES))
    data = random.integers(0, 2 if kind == "bool" else 100, shape).astype(kind)
    if data.dtype.kind == "f":
        data = (data - 50).astype(kind)
        data[random.random(shape) < draw(st.sampled_from([0, 0.3, 1]))] = np.nan
    return data, steps, offsets, count


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@settings(max_examples=150)
@given(cases().filter(overlaps))
def test_the_largest_voxel_of_each_cell_is_taken(case):
    """On grids that lie anywhere, of all data types."""
    data, steps, offsets, shape = case
    result = largest(data, like=shifted_grid(steps, offsets, shape))
    expected = np.empty(shape, data.dtype)
    for target in np.ndindex(*shape):
        axes = zip(steps, offsets, target, data.shape, strict=True)
        voxels = data[np.ix_(*(taken(*axis) for axis in axes))].ravel()
        expected[target] = max((v for v in voxels if v == v), default=np.nan)
    assert result.dtype == data.dtype
    np.testing.assert_array_equal(result, expected)
    assert np.isin(result[result == result], data).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1, 2, (3, 1, 1.5)], ids=str)
def test_where_nothing_shrinks_it_is_nearest_to_the_bit(noise, dtype, factor):
    """Payloads of NaN and signs of zeros are kept there as well."""
    data = noise((4, 6, 7), dtype)
    if data.dtype.kind == "f":
        data[::2] = -0.0
        data[1, ::2] = -np.nan
    nearest = chunkscale.resample_array(data, method="nearest", factor=factor)
    assert largest(data, factor=factor).tobytes() == nearest.tobytes()


@pytest.mark.parametrize("shape", [(8, 12, 10), (7, 9, 11), (1, 5, 6)])
def test_halving_is_the_maximum_of_the_pyramid(make_image, tmp_path, noise, shape):
    """Odd ends and single planes included; levels are maxima by default."""
    data, out = noise(shape), tmp_path / "out.zarr"
    run = chunkscale.resample(make_image(data), out, voxel_size="same", method="max", levels=2)
    assert run.plan.downsample == "max"
    target = [2.0 if n > 1 else 1.0 for n in shape]
    level = chunkscale.open_image(out).as_dask(1).compute()
    np.testing.assert_array_equal(largest(data, voxel_size=target), level)


@pytest.mark.parametrize("place", range(3, 12))
def test_what_is_thin_and_bright_stays(place):
    """A plane of one voxel is in exactly one plane of the result, wherever it lies."""
    data = np.zeros((18, 9, 9), np.uint16)
    data[place] = 7
    found = largest(data, factor=1 / 3)
    assert found.max(axis=(1, 2)).tolist() == [7 * (k == place // 3) for k in range(6)]


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_any_cut_gives_the_bytes_of_the_whole(make_image, tmp_path, noise, dtype):
    """Chunks, shards and workers change nothing, and `check` finds the source's voxels."""
    data, size = noise((13, 41, 37), dtype), (0.6, 0.7, 0.31)
    source = make_image(data, (1.0, 0.2, 0.2), chunk=(5, 16, 9))
    whole = largest(data, source_voxel_size=(1.0, 0.2, 0.2), voxel_size=size)
    for number, cut in enumerate(({"chunk": 4, "workers": 2}, {"chunk": (3, 16, 5), "shard": 0})):
        out = tmp_path / f"{number}.zarr"
        run = chunkscale.resample(
            source, out, method="max", voxel_size=size, device="cpu", levels=2, **cut
        )
        assert run.plan.region_count > 4
        found = chunkscale.open_image(out).as_dask(0).compute()
        np.testing.assert_array_equal(found, whole)
        assert chunkscale.check(out, source=source)


def test_masks_and_labels_keep_what_is_thin(make_image, noise):
    """So nothing is warned of, and no room is planned for counting."""
    options = {"factor": 1 / 4, "levels": 3}
    for source in (
        make_image(noise((8, 40, 40), "bool"), name="mask"),
        make_image(noise((8, 40, 40)), name="labels", attributes={"image-label": {}}),
    ):
        plan = chunkscale.plan_resampling(source, method="max", **options)
        assert plan.warnings == ()
        mode = chunkscale.plan_resampling(source, method="mode", **options)
        assert plan.memory.per_worker < mode.memory.per_worker


def test_the_command_line_takes_it(make_image, tmp_path, noise, capsys):
    """It skips no voxel, and averages none."""
    source, out = make_image(noise((6, 20, 20)), (1.0, 0.25, 0.25)), tmp_path / "out.zarr"
    options = ("--method", "max", "--voxel-size", "1")
    assert main(["resample", str(source), str(out), *options]) == 0
    assert main(["check", str(out), "--source", str(source)]) == 0
    text = capsys.readouterr()
    assert "warning" not in text.out + text.err
    assert main(["plan", str(source), *options, "--antialias"]) == 2
    assert "antialias does not apply to the method max" in capsys.readouterr().err
