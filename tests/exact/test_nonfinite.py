"""Infinity, NaN and the largest floats.

Invariants, for float16, float32 and float64, on every backend:

- What comes out is NaN, infinite or finite as the weighted sum of exact arithmetic is.
- Finite voxels give finite numbers, cut to the range.
- Where nothing overflows, the bits are those of the plain formula.
- Every NaN that is computed has the same bits; nearest copies those of its voxel.
- Any way to cut an image gives the bytes of the whole.
"""

import itertools

import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import FACTORS, FLOATS, MIXED, axis_mapping, random_block, whole_tables

import chunkscale
from chunkscale.compute.levels import reduce_box
from chunkscale.geometry.methods import METHODS
from chunkscale.geometry.tables import axis_table
from chunkscale.kernels import cpu, reference
from chunkscale.kernels.backend import get_backend

pytestmark = [
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning"),
]

NAN, INF = np.nan, np.inf
BLENDING = [
    {},
    {"antialias": True},
    {"method": "cubic"},
    {"method": "cubic", "antialias": True},
    {"method": "lanczos"},
    {"method": "lanczos", "antialias": True},
    {"method": "area"},
]


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


def one_nan(dtype):
    return {"f2": 0x7E00, "f4": 0x7FC00000, "f8": 0x7FF8000000000000}[dtype]


def nan_of(dtype, payload, negative):
    """Return the NaN with these lowest bits; it signals unless the highest of them is set."""
    kind = np.dtype(f"u{dtype[1]}")
    infinite = int(np.array(-INF if negative else INF, dtype).view(kind))
    return np.array(infinite | payload, kind).view(dtype)


def line(values, dtype, zoom, **options):
    """Resample a line of voxels; the other axes have one voxel."""
    data = np.array(values, dtype).reshape(1, -1)
    sizes = {"source_voxel_size": 1.0, "voxel_size": (1.0, 1 / zoom)}
    return chunkscale.resample_array(data, **sizes, **options).ravel()


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((INF, INF), (INF, INF)),
        ((-INF, -INF), (-INF, -INF)),
        ((1, INF), (INF, INF)),
        ((INF, 1), (INF, INF)),
        ((-INF, 1), (-INF, -INF)),
        ((1, -INF), (-INF, -INF)),
        ((INF, -INF), (NAN, NAN)),
        ((-INF, INF), (NAN, NAN)),
        ((NAN, 1), (NAN, NAN)),
        ((1, NAN), (NAN, NAN)),
        ((NAN, INF), (NAN, NAN)),
        ((-INF, NAN), (NAN, NAN)),
    ],
    ids=str,
)
def test_beside_infinity_and_nan(dtype, pair, expected, device):
    """Inside, both voxels count; whichever comes first."""
    for axis in range(3):
        shape = np.roll((2, 1, 1), axis)
        data = np.broadcast_to(np.array(pair, dtype).reshape(shape), shape + (shape == 1) * 2)
        voxel_size = np.where(shape == 2, 0.5, 1.0)
        result = chunkscale.resample_array(
            data.copy(), source_voxel_size=1.0, voxel_size=list(voxel_size), device=device
        )
        inner = np.moveaxis(result, axis, -1)[..., 1:3]
        assert (bits(inner) == bits(np.array(expected, dtype))).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_opposite_extremes_are_mixed(dtype, device):
    """The difference overflows, the mean does not."""
    most = np.finfo(dtype).max
    for zoom, parts in ((2, [0.25, 0.75]), (3, [1 / 3, 2 / 3]), (4, [1 / 8, 3 / 8, 5 / 8, 7 / 8])):
        result = line([-most, most], dtype, zoom, device=device)
        inner = [float(v) / float(most) for v in result if abs(v) != most]
        expected = [2 * part - 1 for part in parts]
        np.testing.assert_allclose(inner, expected, atol=4 * float(np.finfo(dtype).eps))
    same = line([most] * 4, dtype, 1.7, device=device)
    np.testing.assert_array_equal(same, np.full(7, most, dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("options", BLENDING, ids=str)
def test_finite_voxels_give_finite_numbers(dtype, options, device):
    """At the ends of the range overshoot is clamped, as it is for integers."""
    most = np.finfo(dtype).max
    data = np.random.default_rng(3).choice(np.array([-most, most], dtype), (9, 10, 11))
    for voxel_size in (0.4, 1.7, (0.3, 2.5, 1.0)):
        result = chunkscale.resample_array(
            data, source_voxel_size=1.0, voxel_size=voxel_size, device=device, **options
        )
        assert np.isfinite(result).all()
    step = line([-most] * 4 + [most] * 4, dtype, 4, method="cubic", device=device)
    assert step.min() == -most
    assert step.max() == most


def test_a_cubic_curve_beside_infinity():
    """A negative weight turns its sign; opposite ones make NaN."""
    result = line([0, 0, INF, INF, 0, 0], "f4", 2, method="cubic")
    # Beside the plateau the weight is negative, inside it is positive, at its edge there are both.
    half = [0, -INF, -INF, NAN, NAN, INF]
    np.testing.assert_array_equal(result, half + half[::-1])


@pytest.mark.parametrize("factors", FACTORS)
def test_means_of_the_largest_doubles_are_finite(factors):
    """Their sum is not."""
    most = np.finfo("f8").max
    for backend in (cpu, reference):
        block = np.full((3, 4, 5), most)
        np.testing.assert_array_equal(backend.mean(block, factors), most)
        block[:, :, ::2] *= -1
        result = backend.mean(block, factors)
        assert np.isfinite(result).all()
        if factors[2] == 2:
            np.testing.assert_array_equal(result[:, :, :2], 0)


# --- against exact arithmetic --------------------------------------------------------------------

#: As in the kernels: what is computed stays far from the range's end.
SMALL = 2.0**-24


def exact(block, tables):
    """Return weighted sums in float64, scaled so that nothing overflows, and what they round by."""
    total = block.astype(np.float64) * SMALL
    sizes = np.where(np.isfinite(total), np.abs(total), 0)
    number = np.float64 if block.dtype == np.float64 else np.float32
    for axis, table in enumerate(tables):
        weight = table.weight.reshape(len(table.index), -1)
        if table.kind == "pick":
            weight = np.ones((len(table.index), 1))
        if table.kind == "lerp":
            weight = np.concatenate([1 - weight, weight], axis=1)
            weight[(weight[:, 1] != 0) & (weight[:, 0] == 0), 0] = 1e-300
        total, sizes = np.moveaxis(total, axis, 0), np.moveaxis(sizes, axis, 0)
        sums, size_sums = [], []
        for first, row in zip(table.index, weight, strict=True):
            taps = [(w, first + k) for k, w in enumerate(row) if number(w) != 0]
            sums.append(sum(w * total[k] for w, k in taps))
            largest = np.max([sizes[k] for _, k in taps], axis=0)
            size_sums.append(largest * sum(abs(w) for w, _ in taps))
        total = np.moveaxis(np.array(sums), 0, axis)
        sizes = np.moveaxis(np.array(size_sums), 0, axis)
    return total, sizes


def wild_block(dtype, shape, seed, share, most):
    """Return ordinary voxels, some infinite or NaN, some at the ends of the range."""
    block, random = random_block(dtype, shape, seed, special=0), np.random.default_rng(seed)
    high = np.finfo(dtype).max * most
    chosen = random.random(shape) < share
    block[chosen] = random.choice(np.array([high, -high, high / 3, -high], dtype), chosen.sum())
    chosen = random.random(shape) < share / 6
    block[chosen] = random.choice(np.array([INF, INF, -INF, NAN], dtype), chosen.sum())
    return block


@st.composite
def cases(draw):
    kinds = [draw(st.sampled_from(MIXED)) for _ in range(3)]
    steps = [draw(st.sampled_from([0.2, 1 / 3, 0.5, 1.0, 1.5, 2.0, 3.7])) for _ in range(3)]
    shape = tuple(draw(st.integers(1, 7)) for _ in range(3))
    offset = draw(st.sampled_from([0.0, 0.3, -1.5]))
    maps = [
        axis_mapping(n, s, k, offset=offset) for n, s, k in zip(shape, steps, kinds, strict=True)
    ]
    share = draw(st.sampled_from([0.02, 0.2, 0.7]))
    lobes = any(METHODS[maps[i].method].lobes for i in range(3))
    return shape, whole_tables(*maps), lobes, share, draw(st.integers(0, 2**31))


@settings(max_examples=250)
@given(cases(), st.sampled_from(FLOATS))
def test_the_result_is_that_of_exact_arithmetic(case, dtype):
    """NaN, infinite and finite where the sum is, and of that size."""
    shape, tables, lobes, share, seed = case
    # Curves that leave the range along one axis, and come back along another, are clamped between.
    block = wild_block(dtype, shape, seed, share, 0.25 if lobes else 1.0)
    result = cpu.resample(block, tables)
    np.testing.assert_array_equal(bits(result), bits(reference.resample(block, tables)))
    with np.errstate(invalid="ignore"):
        expected, sizes = exact(block, tables)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    assert (bits(result)[np.isnan(result)] == one_nan(dtype)).all()
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(np.isinf(result), infinite)
    np.testing.assert_array_equal(result[infinite], expected[infinite])
    finite = np.isfinite(expected)
    error = np.abs(result[finite].astype(np.float64) * SMALL - expected[finite])
    allowed = 12 * float(np.finfo(dtype).eps) * sizes[finite]
    assert (error <= allowed + float(np.finfo(dtype).tiny)).all()


@settings(max_examples=100)
@given(
    st.tuples(*(st.integers(1, 6),) * 3), st.sampled_from(FACTORS), st.sampled_from(FLOATS),
    st.integers(0, 2**31), st.sampled_from([0.1, 0.6]),
)  # fmt: skip
def test_means_are_those_of_exact_arithmetic(shape, factors, dtype, seed, share):
    """Sums in float64 of numbers that are small enough."""
    block = wild_block(dtype, shape, seed, share, 1.0)
    result = cpu.mean(block, factors)
    np.testing.assert_array_equal(bits(result), bits(reference.mean(block, factors)))
    for cell in np.ndindex(*result.shape):
        part = block[tuple(slice(i * f, i * f + f) for i, f in zip(cell, factors, strict=True))]
        with np.errstate(invalid="ignore"):
            expected = np.mean(part.astype(np.float64) * SMALL)
        found = float(result[cell]) * SMALL
        if np.isfinite(expected):
            size = np.abs(part.astype(np.float64) * SMALL).max()
            assert abs(found - expected) <= 2 * float(np.finfo(dtype).eps) * size + 1e-30
        else:
            np.testing.assert_array_equal(found, expected)
            assert not np.isnan(found) or bits(result[cell]) == one_nan(dtype)


def test_ordinary_numbers_have_the_bits_of_the_formula():
    """Namely a + w * (b - a), each operation rounded on its own; others may be infinite."""
    random = np.random.default_rng(0)
    data = (random.standard_normal((3, 400)) * 1e4).astype(np.float32)
    data[1, 7::50] = INF
    found = chunkscale.resample_array(data, voxel_size=(1, 0.2), source_voxel_size=1.0)
    table = axis_table(axis_mapping(400, 0.2), 0, 2000)
    w = table.weight.astype(np.float32)
    a, b = data[:, table.index], data[:, np.minimum(table.index + 1, 399)]
    with np.errstate(invalid="ignore"):
        plain = np.where(w == 0, a, a + w * (b - a))
    finite = np.isfinite(plain)
    assert finite.sum() > 5000
    np.testing.assert_array_equal(bits(found)[finite], bits(plain)[finite])


# --- one NaN -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("payload", ["1", "2**(n-1)", "2**n-1"])
@pytest.mark.parametrize("negative", [False, True])
def test_every_nan_that_is_computed_is_the_same(dtype, payload, negative, device):
    """Whatever its sign and payload were, hit or mixed, along any axes, and in the levels."""
    n, kind = np.finfo(dtype).nmant, f"u{dtype[1]}"
    value = nan_of(dtype, {"1": 1, "2**(n-1)": 2 ** (n - 1), "2**n-1": 2**n - 1}[payload], negative)
    data = np.ones((5, 6, 7), dtype)
    data[::3, 1::2, ::2] = value
    sizes = [
        (1.0, 1.0, 1.0),
        (1 / 3, 1.0, 1.0),
        (1.0, 1 / 3, 1 / 3),
        (1.0, 1.0, 0.4),
        (2.0, 1.5, 1.0),
    ]
    for voxel_size, options in itertools.product(sizes, BLENDING):
        result = chunkscale.resample_array(
            data, source_voxel_size=1.0, voxel_size=voxel_size, device=device, **options
        )
        nan = np.isnan(result)
        assert nan.any()
        # On its own grid no weighted sum is computed: voxels pass through.
        copied = "method" in options and voxel_size == sizes[0]
        expected = int(value.view(kind)) if copied else one_nan(dtype)
        assert set(bits(result)[nan].tolist()) == {expected}
    nearest = chunkscale.resample_array(data, zoom=1.7, method="nearest", device=device)
    assert set(bits(nearest).ravel().tolist()) == {
        int(value.view(kind)),
        int(np.ones(1, dtype).view(kind)[0]),
    }
    backend = get_backend("cuda" if device == "gpu" else "cpu")
    for reduce, how in itertools.product((reference, backend), ("mean", "max", "mode")):
        block = np.full((4, 4, 4), value)
        if device == "gpu" and reduce is backend:
            import cupy

            block = cupy.asarray(block)
        found = reduce_box(block, (2, 2, 1), downsample=how, backend=reduce)
        if device == "gpu" and reduce is backend:
            found = cupy.asnumpy(found)
        assert set(bits(found).ravel().tolist()) == {one_nan(dtype)}


# --- seams ---------------------------------------------------------------------------------------


def levels_of(path):
    image = chunkscale.open_image(path)
    return [image.as_dask(i).compute() for i in range(len(image.multiscale.datasets))]


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    "options",
    [
        {"voxel_size": (0.2, 1.0, 1.0)},
        {"voxel_size": 0.35},
        {"voxel_size": (0.8, 2.3, 0.3), "antialias": True},
        {"voxel_size": 0.6, "method": "cubic"},
        {"voxel_size": 0.7, "method": "nearest"},
        {"voxel_size": (2.5, 0.8, 1.7), "method": "mode"},
        {"voxel_size": 0.7, "downsample": "max"},
        {"voxel_size": 0.7, "downsample": "nearest"},
    ],
    ids=str,
)
def test_any_cut_gives_the_bytes_of_the_whole(make_image, tmp_path, dtype, options, device):
    """Chunks, shards, regions, slabs and levels; the source's NaN, infinities and extremes."""
    data = random_block(dtype, (9, 25, 23), 5, special=0.1)
    data[:, 4:14, :] = INF
    data[2:5, :, 3:9] = np.finfo(dtype).max
    data[:, :7, 15:] = NAN
    source = make_image(data, chunk=(4, 8, 9))
    what = {**options}
    how = what.pop("downsample", METHODS[options.get("method", "linear")].levels)
    expected = [chunkscale.resample_array(data, source_voxel_size=1.0, device="cpu", **what)]
    for _ in range(2):
        factors = [2 if n > 1 else 1 for n in expected[-1].shape]
        backend = get_backend("reference")
        expected.append(reduce_box(expected[-1], factors, downsample=how, backend=backend))
    for number, cut in enumerate(
        ({"chunk": 64}, {"chunk": 8, "workers": 2}, {"chunk": (7, 16, 5), "shard": 0})
    ):
        out = tmp_path / f"{number}.zarr"
        which = {"levels": 3, "pyramid": "all", "device": device}
        chunkscale.resample(source, out, **which, **options, **cut)
        for found, wanted in zip(levels_of(out), expected, strict=True):
            np.testing.assert_array_equal(bits(found), bits(wanted))
        assert chunkscale.check(out, source=source)


@pytest.mark.parametrize("outside", [NAN, INF, -INF])
def test_a_fill_value_that_is_not_finite(outside, device):
    """It fills what lies outside, and nothing else."""
    data = np.ones((3, 4), np.float32)
    wide = grid_for((7, 8), translation=(-2.0, -2.0))
    result = chunkscale.resample_array(data, like=wide, outside=outside, device=device)
    expected = np.pad(data, 2, constant_values=outside)
    np.testing.assert_array_equal(bits(result), bits(expected))
