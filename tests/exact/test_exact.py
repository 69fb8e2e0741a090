"""Exactness: what comes out is the interpolation of what went in, at the right places."""

import math

import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import chunkscale
from chunkscale.geometry.grid import resized_grid

pytestmark = pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning")

DTYPES = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


def oracle(data, steps, shape):
    """Sample the multilinear interpolant at the global coordinates, in float64."""
    coordinates = [(np.arange(n) + 0.5) * r - 0.5 for n, r in zip(shape, steps, strict=True)]
    spatial = len(steps)
    result = np.empty(data.shape[: data.ndim - spatial] + tuple(shape))
    grid = np.meshgrid(*coordinates, indexing="ij")
    for index in np.ndindex(*data.shape[: data.ndim - spatial]):
        result[index] = map_coordinates(
            data[index].astype(np.float64), grid, order=1, mode="nearest"
        )
    return result


@st.composite
def cases(draw):
    ndim = draw(st.integers(2, 5))
    spatial = 2 if ndim == 2 else 3
    shape = [draw(st.integers(1, 2)) for _ in range(ndim - spatial)]
    shape += [draw(st.integers(1, 24)) for _ in range(spatial)]
    steps = [draw(st.floats(0.1, 12)) for _ in range(spatial)]
    return tuple(shape), steps, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**31))


@pytest.mark.filterwarnings("ignore:the source has one voxel", "ignore:only one voxel is left")
@settings(max_examples=200)
@given(cases())
def test_linear_is_the_float64_interpolant_within_one_grey_value(case):
    """At most one grey value apart, and that only half way between two."""
    shape, steps, dtype, seed = case
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        data = random.normal(0, 100, shape).astype(dtype)
    else:
        data = random.integers(0, 2 if kind.kind == "b" else 100, shape).astype(dtype)
        if kind.itemsize <= 4 and kind.kind != "b":
            info = np.iinfo(kind)
            data = random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    result = chunkscale.resample_array(data, source_voxel_size=[1.0] * len(steps), voxel_size=steps)
    assert result.dtype == kind
    expected = oracle(data, steps, result.shape[-len(steps) :])
    assert result.shape == expected.shape
    if kind.kind == "f":
        tolerance = {2: 2e-3, 4: 1e-6, 8: 1e-13}[kind.itemsize]
        np.testing.assert_allclose(result, expected, atol=tolerance * 500, rtol=tolerance)
        return
    difference = result.astype(np.float64) - np.clip(
        np.rint(expected), 0 if kind.kind in "bu" else None, None
    )
    assert np.abs(difference).max() <= 1
    # Only what lies half way between two grey values may go either way, as near to it as float32
    # tells values of this size apart: so nothing is rounded with a bias.
    near = 2.0**-20 * max(1.0, float(np.abs(data.astype(np.float64)).max()))
    is_tie = np.abs(expected - np.floor(expected) - 0.5) <= near
    assert not difference[~is_tie].any()


@pytest.mark.parametrize("zoom", [0.2, 0.5, 1.7, 2.0, 5.0])
def test_no_bias_on_a_large_image(noise, zoom):
    """The mean difference to the rounded oracle is under a hundredth of a grey value."""
    data = noise((40, 60, 60), "u2")
    result = chunkscale.resample_array(data, zoom=zoom)
    expected = oracle(data, [1 / zoom] * 3, result.shape)
    # Rounding errors are uniform, of variance 1/12, so that their mean narrows with the voxels.
    assert abs((result - expected).mean()) < min(0.01, 5 / np.sqrt(12 * result.size))
    assert np.abs(result - expected).max() <= 0.51


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("voxel_size", ["finest", "coarsest", "0.4", "z=0.7,y=0.3,x=0.9"])
def test_a_ramp_in_physical_units_is_reproduced_at_every_level(
    make_image, tmp_path, version, voxel_size
):
    """Each level's metadata says where its voxels are: the ramp there has their value."""
    grid = grid_for((30, 64, 50), (1.0, 0.25, 0.3), translation=(5.0, -7.0, 100.0))
    slope = (3.0, 2.0, -1.5)

    def ramp(grid):
        axes = [
            t + s * np.arange(n)
            for t, s, n in zip(grid.translation, grid.voxel_size, grid.shape, strict=True)
        ]
        z, y, x = np.meshgrid(*axes, indexing="ij")
        return slope[0] * z + slope[1] * y + slope[2] * x

    source = make_image(ramp(grid), grid.voxel_size, translation=grid.translation)
    chunkscale.resample(
        source, tmp_path / "out.zarr", voxel_size=voxel_size, chunk=8,
        ome_zarr_version=version, levels=4,
    )  # fmt: skip
    out = chunkscale.open_image(tmp_path / "out.zarr")
    assert out.multiscale.version == version
    compared = 0
    for level in range(4):
        found = out.as_dask(level).compute()
        expected = ramp(out.level_grid(level))
        # Samples beyond the outermost centres are clamped, and end cells hold fewer voxels.
        margin = [
            math.ceil(2 * max(1.0, a / b))
            for a, b in zip(grid.voxel_size, out.grid.voxel_size, strict=True)
        ]
        factors = [
            round(a / b)
            for a, b in zip(out.level_grid(level).voxel_size, out.grid.voxel_size, strict=True)
        ]
        inner = tuple(
            slice(-(-m // f), n - -(-m // f))
            for m, f, n in zip(margin, factors, found.shape, strict=True)
        )
        compared += found[inner].size
        np.testing.assert_allclose(found[inner], expected[inner], atol=1e-9)
    assert compared > 1000


@pytest.mark.filterwarnings("ignore:the source has one voxel", "ignore:only one voxel is left")
@given(
    n=st.integers(1, 60),
    step=st.sampled_from([0.1, 0.4, 2 / 3, 0.8, 1.0, 1.2, 2.0, 3.3]),
)
def test_nearest_is_the_voxel_whose_cell_holds_the_centre(n, step):
    """floor((i + 0.5) * r), whatever the data type; ids above 2**53 survive."""
    ids = np.arange(n, dtype=np.uint64) + np.uint64(2**63 + 1)
    image = np.broadcast_to(ids, (2, n)).copy()
    result = chunkscale.resample_array(
        image, voxel_size=[1.0, step], source_voxel_size=1.0, method="nearest"
    )
    index = np.minimum(np.floor((np.arange(result.shape[1]) + 0.5) * step + 1e-12), n - 1)
    np.testing.assert_array_equal(result, image[:, index.astype(int)])


def test_a_hit_is_the_voxel_itself():
    """Zoom 3 keeps every source voxel at the middle of its three; NaN and Inf stay local."""
    data = np.array([[1.0, np.nan, 3.0, np.inf, 5.0]] * 3, np.float32)
    result = chunkscale.resample_array(data, zoom=3)
    np.testing.assert_array_equal(result[1::3, 1::3], data)
    assert np.isnan(result[1, 2:7]).sum() == 5 - 0
    assert np.isfinite(result[1, 1])
    assert np.isfinite(result[1, 13])


def test_outside_takes_the_edge_or_a_value(make_image, tmp_path):
    """A grid that reaches beyond the source gets edge voxels, or the value given."""
    data = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    wide = resized_grid(grid_for((3, 4)), {}).replace(shape=(7, 8), translation=(-2.0, -2.0))
    edge = chunkscale.resample_array(data, like=wide)
    np.testing.assert_array_equal(edge, np.pad(data, 2, mode="edge"))
    filled = chunkscale.resample_array(data, like=wide, outside=99)
    np.testing.assert_array_equal(filled, np.pad(data, 2, constant_values=99))
    ids = data.astype(np.uint64)
    for value in (2**63 + 1, str(2**63 + 1)):  # no float64
        assert chunkscale.resample_array(ids, like=wide, outside=value)[0, 0] == 2**63 + 1
    far = wide.replace(translation=(2.0, 3.0), shape=(50, 60))
    with pytest.warns(chunkscale.ChunkscaleWarning, match="lies in the source"):
        result = chunkscale.resample_array(data, like=far, outside=7)
    assert result[0, 0] == 12
    assert (result == 7).sum() == result.size - 1
    source = make_image(data)
    chunkscale.resample(source, tmp_path / "out.zarr", like=wide, outside="99", chunk=2)
    np.testing.assert_array_equal(
        chunkscale.open_image(tmp_path / "out.zarr").as_dask().compute(), filled
    )


def test_like_another_image_gives_the_same_as_its_voxel_size(make_image, tmp_path, noise):
    """The route by which a grid is named does not matter."""
    source = make_image(noise((9, 20, 21)), (1.0, 0.202, 0.202), translation=(3.3, 1e5, 0.1))
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    chunkscale.resample(source, one, voxel_size=0.3)
    chunkscale.resample(source, two, like=one)
    a, b = chunkscale.open_image(one), chunkscale.open_image(two)
    assert a.grid == b.grid
    np.testing.assert_array_equal(a.as_dask().compute(), b.as_dask().compute())


def test_antialiasing_is_that_of_pillow():
    """The widened triangle agrees with Pillow's on float images."""
    from PIL import Image as Picture

    data = np.random.default_rng(0).normal(0, 1, (60, 90)).astype(np.float32)
    ours = chunkscale.resample_array(data, voxel_size=[5.0, 3.0], antialias=True)
    theirs = np.asarray(Picture.fromarray(data).resize((30, 12), Picture.Resampling.BILINEAR))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.filterwarnings("ignore:the source has one voxel", "ignore:only one voxel is left")
def test_a_voxel_larger_than_the_image_is_its_mean_when_antialiased():
    """The widened kernel averages what there is."""
    data = np.arange(10.0)[None, :].repeat(4, axis=0)
    result = chunkscale.resample_array(data, voxel_size=1000.0, antialias=True)
    assert result.shape == (1, 1)
    assert result[0, 0] == pytest.approx(4.5, abs=0.1)


@pytest.mark.parametrize("axes", ["zyxc", "azyx", "zyyx", "zcyx"])
def test_arrays_of_other_axis_orders_are_refused(axes):
    """The error says which orders there are."""
    with pytest.raises(chunkscale.OptionError, match="tczyx"):
        chunkscale.resample_array(np.zeros((3, 4, 5, 6)), zoom=2, axes=axes)
