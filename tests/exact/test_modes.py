"""The method mode: labels that shrink, held to a count of the voxels of each cell.

Invariants:

- A target has the most frequent voxel of those whose centres lie in it, the smallest of several.
- It is nearest where an axis grows or stays, and the pyramid's mode where it halves.
- Ids of 64 bits stay exact; no value comes out that was not put in.
- What lies outside the source is filled, or takes the voxels that are nearest.

That any cut gives the bytes of the whole is shown in `test_seams`.
"""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import DTYPES, overlaps, shifted_grid

import chunkscale
from chunkscale.cli.main import main

pytestmark = pytest.mark.newest


def mode(data, **options):
    return chunkscale.resample_array(data, method="mode", device="cpu", **options)


def taken(step, offset, index, size):
    """Return the voxels of an axis that a target takes; steps and offsets are exact."""
    if step <= 1:
        voxels = [int(np.floor((index + 0.5) * step + offset))]
    else:
        low, high = index * step + offset, (index + 1) * step + offset
        voxels = [i for i in range(size) if low <= i + 0.5 < high]
    # Beyond the image there are none: the edge voxel is the nearest.
    beyond = 0 if index * step + offset < 0 else size - 1
    return [i for i in voxels if 0 <= i < size] or [beyond]


def oracle(data, steps, offsets, shape):
    """Count the voxels of every cell."""
    result = np.empty(shape, data.dtype)
    for target in np.ndindex(*shape):
        axes = zip(steps, offsets, target, data.shape, strict=True)
        voxels = data[np.ix_(*(taken(*axis) for axis in axes))].ravel()
        counts = Counter(v.item() for v in voxels if v == v)
        most = max(counts.values(), default=0)
        result[target] = min((v for v, n in counts.items() if n == most), default=np.nan)
    return result


@st.composite
def cases(draw):
    ndim = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(ndim))
    steps = tuple(draw(st.sampled_from([0.5, 1, 1.25, 1.5, 2, 2.25, 3, 7])) for _ in range(ndim))
    offsets = tuple(draw(st.sampled_from([0, 0, 0.25, -1.5, 1.75, -0.5])) for _ in range(ndim))
    targets = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    dtype, few = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    values = random.integers(0, 2 if few or dtype == "bool" else 100, shape)
    data = values.astype(dtype)
    if data.dtype.kind == "f":
        data[random.random(shape) < draw(st.sampled_from([0, 0.3, 1]))] = np.nan
    return data, steps, offsets, targets


@pytest.mark.filterwarnings("ignore:only .* lies in the source")
@settings(max_examples=300)
@given(cases().filter(overlaps))
def test_the_most_frequent_voxel_of_each_cell_is_taken(case):
    """On grids that lie anywhere, of all data types, on both backends."""
    data, steps, offsets, shape = case
    like = shifted_grid(steps, offsets, shape)
    expected = oracle(data, steps, offsets, shape)
    result = mode(data, like=like)
    assert result.dtype == data.dtype
    np.testing.assert_array_equal(result, expected)
    # Samples outside the extent are filled; cells at the border count what lies inside.
    filled = mode(data, like=like, outside=1)
    centres = [(np.arange(n) + 0.5) * s + o for n, s, o in zip(shape, steps, offsets, strict=True)]
    inside = np.ix_(*((c >= 0) & (c <= n) for c, n in zip(centres, data.shape, strict=True)))
    there = np.zeros(shape, bool)
    there[inside] = True
    np.testing.assert_array_equal(filled, np.where(there, expected, np.ones(1, data.dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1, 2, 2.5, (3, 1, 1.5)], ids=str)
def test_where_nothing_shrinks_it_is_nearest_to_the_bit(noise, dtype, factor):
    """Payloads of NaN and signs of zeros are kept there as well."""
    data = noise((4, 6, 7), dtype)
    if data.dtype.kind == "f":
        data[::2] = -0.0
        data[1, ::2] = -np.nan
    nearest = chunkscale.resample_array(data, method="nearest", factor=factor)
    assert mode(data, factor=factor).tobytes() == nearest.tobytes()


@pytest.mark.filterwarnings("ignore:this is a mask")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 12, 10), (7, 9, 11), (1, 5, 6)])
def test_halving_is_the_mode_of_the_pyramid(make_image, tmp_path, noise, dtype, shape):
    """Odd ends and single planes included."""
    data = (noise(shape) % 3).astype(dtype)
    out = tmp_path / "out.zarr"
    chunkscale.resample(make_image(data), out, voxel_size="same", downsample="mode", levels=2)
    target = [2.0 if n > 1 else 1.0 for n in shape]
    level = chunkscale.open_image(out).as_dask(1).compute()
    np.testing.assert_array_equal(mode(data, voxel_size=target), level)


def test_ids_are_exact_to_64_bits():
    """Neighbours among the largest numbers are not confused."""
    ids = np.array([2**64 - 1, 2**64 - 2, 2**63 + 1, 2**53 + 1], np.uint64)
    data = ids[np.random.default_rng(0).integers(0, 4, (9, 12, 15))]
    result = mode(data, factor=(1 / 3, 0.5, 0.4))
    assert np.isin(result, ids).all()
    assert len(np.unique(result)) == 4
    np.testing.assert_array_equal(result, oracle(data, (3, 2, 2.5), (0, 0, 0), result.shape))


def test_uniform_objects_keep_their_places():
    """Where all cells lie in one label the image is that of every voxel."""
    labels = np.random.default_rng(0).integers(0, 2**32, (4, 5, 6)).astype(np.uint32)
    fine = labels.repeat(30, 0).repeat(30, 1).repeat(30, 2)
    np.testing.assert_array_equal(mode(fine, factor=1 / 30), labels)
    np.testing.assert_array_equal(mode(fine, factor=1 / 15)[::2, ::2, ::2], labels)


@pytest.mark.parametrize("place", range(9))
def test_what_is_thin_gives_way_to_what_is_around(place):
    """A plane of one voxel is lost by shrinking three times, one of two voxels may be kept.

    Nearest keeps one plane in three, whole.
    """
    data = np.zeros((18, 9, 9), np.uint16)
    data[place + 3] = 7
    assert not mode(data, factor=1 / 3).any()
    nearest = chunkscale.resample_array(data, method="nearest", factor=1 / 3)
    assert nearest.any() == (place % 3 == 1)
    data[place + 4] = 7
    kept = mode(data, factor=1 / 3)
    assert kept.any() == (place % 3 != 2)


def test_between_two_objects_a_thin_one_is_a_tie():
    """Three labels share each cell, and the smallest is taken, whichever it is."""
    data = np.repeat(np.array([5, 3, 9], np.uint8), 3)[None, :].repeat(4, 0)
    line = np.array([[5, 3, 9] * 4] * 6, np.uint8)
    assert set(mode(line, factor=(1 / 2, 1 / 3)).ravel().tolist()) == {3}
    np.testing.assert_array_equal(mode(data, factor=(1, 1 / 3))[0], [5, 3, 9])


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_run_makes_what_arrays_have_and_check_finds_it(make_image, tmp_path, version):
    """Cut into regions, with modes as its levels; ids keep what is said of them."""
    random = np.random.default_rng(2)
    data = random.integers(0, 9, (5, 12, 14)).repeat(6, 0).repeat(5, 1).repeat(5, 2)
    data = data.astype(np.uint32) + np.uint32(2**31)
    label = {"image-label": {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}}
    source = make_image(data, (1.0, 0.3, 0.3), chunk=(7, 16, 16), attributes=label)
    out, size = tmp_path / "out.zarr", (2.7, 0.9, 1.1)
    run = chunkscale.resample(
        source, out, voxel_size=size, method="mode", chunk=8, levels=2, ome_zarr_version=version
    )
    assert run.plan.region_count > 4
    assert run.plan.downsample == "mode"
    assert run.plan.warnings == ()
    found = chunkscale.open_image(out)
    expected = mode(data, source_voxel_size=(1.0, 0.3, 0.3), voxel_size=size)
    np.testing.assert_array_equal(found.as_dask(0).compute(), expected)
    assert found.is_label
    report = chunkscale.check(out, source=source)
    assert report.faults == ()
    assert report.regions_compared > 1


def test_large_cells_stay_within_the_memory(make_image, tmp_path):
    """A step of 30 along each axis, of noise: all voxels of a cell are counted."""
    data = np.random.default_rng(0).integers(0, 2**32, (95, 120, 150), dtype=np.uint32)
    data[::2] = 5
    source = make_image(data, chunk=(32, 64, 64))
    run = chunkscale.resample(source, tmp_path / "out.zarr", factor=1 / 30, method="mode")
    np.testing.assert_array_equal(chunkscale.open_image(run.path).as_dask().compute(), 5)
    # What counts them is part of the figure.
    nearest = chunkscale.plan_resampling(source, factor=1 / 30, method="nearest")
    more = run.plan.memory.per_worker - nearest.memory.per_worker
    assert more >= 30**3 * data.itemsize


def test_what_is_refused_and_what_is_not_warned_of(make_image, noise, capsys):
    """It averages nothing, so nothing can be widened; and it skips no voxel."""
    source = make_image(noise((6, 20, 20)), (1.0, 0.25, 0.25))
    assert main(["plan", str(source), "--method", "mode", "--voxel-size", "3"]) == 0
    text = capsys.readouterr().out
    assert "mode" in text
    assert "warning" not in text
    assert main(["plan", str(source), "--method", "mode", "--antialias"]) == 2
    assert "antialias does not apply to the method mode" in capsys.readouterr().err


def test_true_and_false_are_voted_for_and_that_is_said(make_image, noise):
    """A half is false, so a mask loses what is thin: as for blending, with the way out."""
    source = make_image(noise((8, 20, 20), "bool"))
    (warning,) = chunkscale.plan_resampling(source, factor=0.5, method="mode", levels=1).warnings
    assert "one voxel thick vanish" in str(warning)
    same = chunkscale.plan_resampling(source, voxel_size="same", method="mode", levels=1)
    assert same.warnings == ()
    half = np.tile([[True, False], [False, True]], (2, 2))
    assert not mode(half, factor=0.5).any()


def test_each_axis_is_for_itself(noise):
    """One that shrinks counts, one that grows repeats; in any order."""
    data = noise((6, 6, 6)) % 3
    for factors in itertools.permutations((1 / 3, 1, 2)):
        steps = tuple(1 / f for f in factors)
        result = mode(data, factor=factors)
        expected = oracle(data, [round(s, 3) for s in steps], (0, 0, 0), result.shape)
        np.testing.assert_array_equal(result, expected)
