"""Arrays of other libraries: their coordinates become a grid, and a grid coordinates again."""

import dataclasses
import math
import subprocess
import sys
import tempfile

import dask.array as da
import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkscale
from chunkscale.api.images import open_source
from chunkscale.samples import write_image
from chunkscale.sources.spacings import TOLERANCE, spacing_of

xr = pytest.importorskip("xarray")

HOW = {"chunk": 8, "shard": 0, "workers": 1, "levels": 1}


def stack(shape=(4, 10, 12), dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def data_array(data=None, dims="zyx", unit="micrometer", **coordinates):
    """Return a DataArray with a spacing of 2, 0.5 and 0.25, unless other coordinates are given."""
    data = stack()[(0,) * (3 - len(dims))] if data is None else data
    spacing = {"z": 2.0, "y": 0.5, "x": 0.25}
    found = {n: 10 + spacing[n] * np.arange(data.shape[dims.index(n)]) for n in dims if n in "zyx"}
    found |= coordinates
    array = xr.DataArray(
        data, dims=list(dims), coords={n: v for n, v in found.items() if v is not None}
    )
    for name in set("zyx") & set(array.coords):
        array[name].attrs["units"] = unit
    return array


def channel(label, color, start, end):
    window = {"min": 0, "max": 255, "start": start, "end": end}
    return {"label": label, "color": color, "window": window}


def one_warning(call, match):
    with pytest.warns(chunkscale.ChunkscaleWarning, match=match) as caught:
        result = call()
    assert len(caught) == 1
    return result


# Spacings


@settings(max_examples=200)
@given(data=st.data())
def test_a_decimal_spacing_is_found_however_coordinates_were_made(data):
    """By products, by numpy.arange and linspace, and in float32 as well."""
    step = data.draw(st.integers(1, 9999)) / 10 ** data.draw(st.integers(0, 4))
    start = data.draw(st.integers(-5000, 5000)) / 10 ** data.draw(st.integers(0, 3))
    count = data.draw(st.integers(2, 500))
    exact = start + step * np.arange(count)
    made = data.draw(st.sampled_from(["product", "arange", "linspace"]))
    values = {
        "product": exact,
        "arange": start + np.arange(0, count) * ((start + step) - start),
        "linspace": np.linspace(start, exact[-1], count),
    }[made]
    assert spacing_of(values) == step
    single = exact.astype(np.float32)
    if step > 1e3 * np.spacing(np.abs(single).max()):
        assert spacing_of(single) == pytest.approx(step, rel=1e-3)


@settings(max_examples=200)
@given(step=st.floats(1e-6, 1e6), start=st.floats(-1e6, 1e6), count=st.integers(2, 300))
def test_any_spacing_that_is_stated_is_kept_to_the_bit(step, start, count):
    """And without a word of it, to the rounding of the coordinates."""
    values = start + step * np.arange(count)
    if np.diff(values).min() < 1e3 * np.spacing(np.abs(values).max()):
        return
    assert spacing_of(values, step) == step
    assert spacing_of(values) == pytest.approx(step, rel=TOLERANCE)
    moved = spacing_of(values)
    assert np.allclose(start + moved * np.arange(count), values, rtol=0, atol=TOLERANCE * step)


def test_a_spacing_that_is_stated_and_wrong_does_not_count():
    """Slices keep attributes, and their coordinates are the truth."""
    assert spacing_of(np.arange(0, 10, 2) * 0.5, 0.5) == 1.0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0, 1, 2, 4, 5], "from index 2 to 3 they step by 2, and by 1 before"),
        ([0, 3, 4, 5, 6], "from index 0 to 1 they step by 3, and by 1 mostly"),
        ([0, 1, 1, 2], "from index 1 to 2 they step by 0"),
        ([0, 1, 2.002, 3], "from index 1 to 2 they step by 1.002"),
        ([0, 1, np.nan, 3], "index 2 has none"),
        ([3, 2, 1], "they fall"),
    ],
)
def test_irregular_coordinates_are_told_by_the_first_offending_step(values, text):
    """With its size."""
    with pytest.raises(ValueError, match=text):
        spacing_of(np.array(values, float))


# resample_array


@pytest.mark.parametrize("lazy", [False, True])
def test_a_data_array_comes_back_with_new_coordinates(lazy):
    """Everything else is as before; voxels are those of the plain array."""
    data = stack((2, 4, 10, 12))
    array = data_array(data, "czyx", c=["DAPI", "GFP"]).rename("cells")
    array = array.assign_attrs(by="me").assign_coords(run=7, power=("c", [1.5, 2.5]))
    found = chunkscale.resample_array(array.chunk(3) if lazy else array, voxel_size=0.5)
    expected = chunkscale.resample_array(data, source_voxel_size=(2, 0.5, 0.25), voxel_size=0.5)
    assert (found.chunks is not None) == lazy
    assert (found.name, found.dims, found.attrs) == ("cells", ("c", "z", "y", "x"), {"by": "me"})
    assert found.dtype == data.dtype
    np.testing.assert_array_equal(found.values, expected)
    assert list(found.c.values) == ["DAPI", "GFP"]
    assert (found.run, list(found.power)) == (7, [1.5, 2.5])
    # Outer edges coincide: 10 - 1 + 0.25.
    assert list(found.z.values) == [9.25 + 0.5 * i for i in range(16)]
    assert found.y.identical(array.y), "an axis that stays keeps its coordinates"
    assert found.z.attrs == {"units": "micrometer", "voxel_size": 0.5}


def test_dimensions_may_come_in_any_order_and_in_capitals():
    """They come back as they were."""
    array = data_array(stack((2, 4, 10, 12)), "czyx", c=None)
    expected = chunkscale.resample_array(array, zoom=2)
    for order in ("xyzc", "zcxy", "yxcz"):
        mixed = array.transpose(*order)
        for form in (mixed, mixed.chunk(5)):
            found = chunkscale.resample_array(form, zoom=2)
            assert found.dims == tuple(order)
            assert found.transpose(*"czyx").identical(expected.compute())
    upper = array.rename({n: n.upper() for n in "czyx"})
    assert chunkscale.resample_array(upper, zoom=2).dims == ("C", "Z", "Y", "X")


@pytest.mark.parametrize("unit", ["degrees_north", "pixel"])
def test_a_unit_that_is_no_length_is_told_and_not_kept(unit):
    """By the plan; a DataArray that comes back still has it."""
    array = data_array(unit=unit)
    plan = chunkscale.plan_resampling(array, voxel_size=0.5)
    assert [axis.unit for axis in plan.target_grid.axes] == [None] * 3
    assert f"the unit {unit!r} along x is unknown" in " ".join(map(str, plan.warnings))
    assert chunkscale.resample_array(array, voxel_size=0.5).x.attrs["units"] == unit


@pytest.mark.filterwarnings("ignore:only one voxel is left")
@pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning")
@settings(max_examples=50)
@given(data=st.data())
def test_lazy_is_eager_whatever_the_chunks_are(data):
    """Bit for bit, with one task more for each block."""
    dims = data.draw(st.sampled_from(["yx", "zyx", "czyx", "tczyx"]))
    shape = [data.draw(st.integers(2, 9 if n in "zyx" else 3)) for n in dims]
    array = data_array(stack(shape, "float32"), dims)
    method = data.draw(st.sampled_from(["linear", "nearest", "cubic", "area"]))
    how = {"voxel_size": data.draw(st.sampled_from([0.4, 0.3, 0.9])), "method": method}
    how["antialias"] = data.draw(st.booleans()) and method in ("linear", "cubic")
    chunks = {}
    for name, n in zip(dims, shape, strict=True):
        cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=3)))
        chunks[name] = tuple(np.diff([0, *cuts, n]))
    lazy_source = array.chunk(chunks)
    lazy = chunkscale.resample_array(lazy_source, **how, chunk=data.draw(st.integers(2, 9)))
    eager = chunkscale.resample_array(array, **how)
    own = len(dict(lazy.__dask_graph__())) - len(dict(lazy_source.__dask_graph__()))
    assert own <= lazy.data.npartitions
    assert lazy.compute(scheduler="synchronous").identical(eager)
    assert lazy.values.tobytes() == eager.values.tobytes()


def test_what_is_marked_as_labels_is_resampled_as_labels(tmp_path):
    """Ids are not averaged: of an image, of its DataArray, and of what is made from that."""
    ids = np.kron(np.array([[3, 1000], [70000, 5]]), np.ones((4, 4))).astype("uint32")
    grid = grid_for(ids.shape, (1.0, 1.0), "yx", "micrometer")
    write_image(tmp_path / "cells", ids, grid, attributes={"image-label": {}})
    image = chunkscale.open_image(tmp_path / "cells")
    assert image.is_label
    for labels in (image, image.to_xarray(), image.select(crop="y=0:8")):
        found = np.asarray(chunkscale.resample_array(labels, zoom=1.5))
        assert set(np.unique(found)) == {3, 5, 1000, 70000}
    assert image.to_napari()[2] == "labels"
    run = chunkscale.resample(image.to_xarray(), tmp_path / "out.zarr", zoom=1.5, **HOW)
    assert run.plan.method == "nearest"


def test_an_axis_of_one_voxel_asks_for_its_size_by_name():
    """Unless its coordinate says it, or it is given."""
    array = data_array().isel(z=[1])
    with pytest.raises(chunkscale.OptionError, match=r"along z: one coordinate.*{'z': 1.0}"):
        chunkscale.resample_array(array, zoom=2)
    found = chunkscale.resample_array(array, zoom=2, source_voxel_size={"z": 2.0})
    assert list(found.z.values) == [12.0]
    array["z"].attrs["voxel_size"] = 2.0
    assert chunkscale.resample_array(array, zoom=2).identical(found)


def test_missing_coordinates_ask_for_a_voxel_size_and_none_at_all_for_ratios():
    """As an array without coordinates."""
    array = data_array(x=None)
    with pytest.raises(chunkscale.OptionError, match=r"along x: dimension 'x' has no coord.*'x'"):
        chunkscale.resample_array(array, zoom=2)
    found = chunkscale.resample_array(array, zoom=2, source_voxel_size={"x": 0.25})
    np.testing.assert_array_equal(found.x, (np.arange(24) - 0.5) * 0.125)
    bare = xr.DataArray(stack(), dims=list("zyx"))
    found = chunkscale.resample_array(bare, zoom=2)
    assert list(found.z.values[:2]) == [-0.25, 0.25]
    several = xr.DataArray(stack((2, 3, 4, 5)), dims=list("TCYX"), coords={"T": [0.0, 1.0]})
    assert chunkscale.resample_array(several, zoom=2).shape == (2, 3, 8, 10)
    with pytest.raises(chunkscale.OptionError, match=r"along y: dimension 'Y' has no coordinates"):
        chunkscale.plan_resampling(several)
    nameless = xr.DataArray(stack())
    with pytest.raises(chunkscale.OptionError, match=r"dimension 'dim_0'.*rename"):
        chunkscale.resample_array(nameless, zoom=2)
    found = chunkscale.resample_array(nameless, zoom=2, axes="zyx")
    assert found.dims == ("dim_0", "dim_1", "dim_2")


def test_options_come_before_coordinates_and_say_so():
    """A voxel size, a position; what agrees needs no word."""
    array = data_array()
    assert chunkscale.resample_array(array, zoom=2, source_voxel_size=(2, 0.5, 0.25)).identical(
        chunkscale.resample_array(array, zoom=2)
    )
    found = one_warning(
        lambda: chunkscale.resample_array(array, voxel_size=0.5, source_voxel_size={"z": 1.0}),
        "source_voxel_size is used, although the xarray.DataArray says z 2",
    )
    assert list(found.z.values) == [9.75 + 0.5 * i for i in range(8)]
    found = one_warning(
        lambda: chunkscale.resample_array(array, factor=1, source_translation=(0, 10, 10)),
        "source_translation is used.* z 10",
    )
    assert list(found.z.values) == [0, 2, 4, 6]
    with pytest.raises(chunkscale.OptionError, match="axes 'xyz' are given"):
        chunkscale.resample_array(array, zoom=2, axes="xyz")


def test_irregular_coordinates_are_refused_and_the_remedies_work():
    """Interpolate, or take them as regular."""
    array = data_array(z=[0.0, 1.0, 2.0, 4.0])
    with pytest.raises(chunkscale.OptionError, match=r"along z: .*index 2 to 3 .* 2, and by 1"):
        chunkscale.resample_array(array, zoom=2)
    regular = array.interp(z=[0.0, 1.0, 2.0, 3.0, 4.0])
    assert chunkscale.resample_array(regular, factor=2).sizes["z"] == 10
    found = one_warning(
        lambda: chunkscale.resample_array(array, factor=2, source_voxel_size={"z": 1.0}),
        "used along z, although its coordinates are irregular: from index 2 to 3",
    )
    assert list(found.z.values) == [-0.25 + 0.5 * i for i in range(8)]


def test_falling_coordinates_are_refused_and_the_remedy_works():
    """The image is the same, turned round."""
    array = data_array()
    with pytest.raises(chunkscale.OptionError, match=r"fall along y.*slice") as error:
        chunkscale.resample_array(array.isel(y=slice(None, None, -1)), zoom=2)
    assert "{'y': slice(None, None, -1)}" in str(error.value)
    turned = array.isel(y=slice(None, None, -1)).isel({"y": slice(None, None, -1)})
    assert chunkscale.resample_array(turned, zoom=2).identical(
        chunkscale.resample_array(array, zoom=2)
    )


def test_coordinates_along_resampled_axes_are_left_out_with_a_word():
    """They are no positions, and nothing tells how to resample them."""
    array = data_array().assign_coords(label=("x", list("abcdefghijkl")))
    found = one_warning(lambda: chunkscale.resample_array(array, zoom=2), "coordinates label")
    assert "label" not in found.coords


OTHERS = {
    "dataset": (lambda a: a.to_dataset(name="cells"), r"dataset\['NAME'\].*'cells'"),
    "tree": (
        lambda a: xr.DataTree.from_dict({"/scale0": a.to_dataset(name="image")}),
        r"datatree\['NAME'\].*below it are scale0",
    ),
    "variable": (lambda a: a.variable, r"xarray\.Variable.*source_voxel_size"),
    "dimension": (lambda a: a.rename(z="plane"), r"dimension 'plane'.*rename\({'plane': 'z'}\)"),
    "direction": (
        lambda a: a.assign_attrs(direction=np.eye(3)[::-1]),
        r"direction.*assign_attrs\(direction=None\)",
    ),
    "texts": (lambda a: a.assign_coords(z=list("abcd")), "not numbers"),
}


@pytest.mark.parametrize("case", list(OTHERS))
def test_what_cannot_be_taken_is_refused_with_the_way_on(case, tmp_path):
    """By whatever takes an array."""
    change, message = OTHERS[case]
    given_array = change(data_array())
    for call in (
        lambda: chunkscale.resample_array(given_array, zoom=2),
        lambda: chunkscale.resample(given_array, tmp_path / "out", zoom=2),
        lambda: chunkscale.resample_array(data_array(), like=given_array),
    ):
        with pytest.raises(chunkscale.ChunkscaleError, match=message):
            call()
    assert not (tmp_path / "out").exists()


def test_ways_on_that_are_told_work():
    """Each remedy of a refusal above."""
    array = data_array()
    expected = chunkscale.resample_array(array, zoom=2)
    tree = xr.DataTree.from_dict({"/scale0": array.to_dataset(name="image")})
    for remedied in (
        array.to_dataset(name="cells")["cells"],
        tree["scale0/image"],
        array.rename(z="plane").rename({"plane": "z"}),
        array.assign_attrs(direction=np.eye(3)[::-1]).assign_attrs(direction=None),
    ):
        found = chunkscale.resample_array(remedied, zoom=2)
        assert found.drop_attrs(deep=False).rename(None).identical(expected)


def test_a_file_that_xarray_has_opened_is_not_loaded_whole():
    """What is not loaded yet stays lazy, as with chunks."""
    array = data_array(stack((8, 16, 16)))

    class Backend(xr.backends.BackendArray):
        shape, dtype, read = array.shape, array.dtype, []

        def __getitem__(self, key):
            self.read.append(key.tuple)
            return array.data[key.tuple]

    lazily = xr.core.indexing.LazilyIndexedArray(Backend())
    variable = xr.Variable(array.dims, lazily)
    unread = xr.DataArray(variable, coords=array.coords)
    found = chunkscale.resample_array(unread, zoom=2)
    assert Backend.read == []
    assert found.compute().identical(chunkscale.resample_array(array, zoom=2))


@pytest.mark.gpu
@pytest.mark.parametrize("lazy", [False, True])
def test_a_data_array_on_the_gpu_stays_there(lazy):
    """With its coordinates."""
    cupy = pytest.importorskip("cupy")
    array = data_array()
    there = array.copy(data=cupy.asarray(array.data))
    there = there.copy(data=da.from_array(there.data, asarray=False)) if lazy else there
    found = chunkscale.resample_array(there, voxel_size=0.5)
    voxels = found.data.compute() if lazy else found.data
    assert isinstance(voxels, cupy.ndarray)
    back = found.copy(data=cupy.asnumpy(voxels))
    assert back.identical(chunkscale.resample_array(array, voxel_size=0.5))


def test_attributes_that_may_count_voxels_are_copied_with_a_word():
    """As those of a raster's transform."""
    array = data_array().assign_attrs(resolution=(0.5, 0.25), note="pixel", by="me")
    found = one_warning(
        lambda: chunkscale.resample_array(array, zoom=2),
        "attributes resolution may refer to voxels",
    )
    assert found.attrs == array.attrs


# Images, and round trips


def test_an_image_offers_its_shape_and_its_voxels(make_image):
    """As NumPy, Dask and xarray have them; a part of it likewise."""
    data = stack((3, 8, 16, 20))
    path = make_image(data, (1, 2.0, 0.5, 0.25), axes="czyx", translation=(0, 1, 2, 3))
    image = chunkscale.open_image(path)
    part = image.select(channels=[2, 0], crop="z=2:6,x=4:20")
    for source, expected in ((image, data), (part, data[[2, 0], 2:6, :, 4:20])):
        assert (source.shape, source.ndim, source.dtype) == (expected.shape, 4, expected.dtype)
        assert (source.axes, source.voxel_size) == ("czyx", {"z": 2.0, "y": 0.5, "x": 0.25})
        for found in (source, source.as_dask(), source.to_xarray()):
            np.testing.assert_array_equal(np.asarray(found), expected)
        assert np.asarray(source, "float32").dtype == "float32"
        with pytest.raises(ValueError, match=r"without a copy.*numpy\.asarray"):
            np.array(source, copy=False)
        array = source.to_xarray()
        assert array.chunks is not None
        first = source.grid.translation[1]
        assert list(array.z.values) == [first + 2.0 * i for i in range(array.sizes["z"])]
    with pytest.raises(chunkscale.OptionError, match="level 3"):
        image.to_xarray(3)


@pytest.mark.filterwarnings("ignore:the source has one voxel")
@settings(max_examples=25)
@given(data=st.data())
def test_coordinates_survive_the_way_through_files_to_the_bit(data):
    """Image, DataArray, resampled image, DataArray: sizes and positions are the same floats."""
    step = [data.draw(st.sampled_from([1.0, 0.202, 1 / 3, 0.65, math.pi / 4])) for _ in "zyx"]
    start = [data.draw(st.floats(-1e4, 1e4)) * s for s in step]
    shape = [data.draw(st.integers(1, 9)) for _ in "zyx"]
    grid = grid_for(shape, step, "zyx", "micrometer", start)
    with tempfile.TemporaryDirectory() as folder:
        write_image(f"{folder}/in", stack(shape), grid, name="cells")
        first = chunkscale.open_image(f"{folder}/in").to_xarray()
        chunkscale.resample(first, f"{folder}/out", voxel_size="same", **HOW)
        image = chunkscale.open_image(f"{folder}/out")
        assert image.grid == grid
        assert image.to_xarray().identical(first)
        direct = chunkscale.resample_array(first, factor=2)
        chunkscale.resample(first, f"{folder}/fine", factor=2, **HOW)
        fine = chunkscale.open_image(f"{folder}/fine").to_xarray()
        assert fine.compute().identical(direct.compute())


def test_a_data_array_brings_channels_units_and_time_to_an_output(tmp_path):
    """And what has no place there is told."""
    more = {"c": [488, 561], "t": [0.0, 30.0, 60.0]}
    array = data_array(stack((3, 2, 4, 10, 12)), "tczyx", unit="nm", **more)
    array["t"].attrs["units"] = "s"
    array = array.rename("cells").assign_attrs(objective="63x").assign_coords(site=5)
    with pytest.warns(chunkscale.ChunkscaleWarning) as caught:
        run = chunkscale.resample(array, tmp_path / "out", voxel_size=0.5, **HOW)
    assert {str(w.message).partition(" of the ")[0] for w in caught} == {
        "the coordinates site", "the attributes objective",
    }  # fmt: skip
    image = chunkscale.open_image(run.path)
    assert (image.name, image.channels) == ("cells", ["488", "561"])
    assert [axis.unit for axis in image.grid.axes] == ["second", None, *["nanometer"] * 3]
    assert image.grid.voxel_size == (30.0, 1.0, 0.5, 0.5, 0.5)
    assert image.attributes["chunkscale"]["source"] == "xarray.DataArray"
    assert chunkscale.check(run.path, source=array)
    assert "differ" in str(chunkscale.check(run.path, source=array + 1))


@pytest.mark.parametrize(
    ("times", "step", "message"),
    [
        (np.array([0, 500, 1000], "timedelta64[ms]"), 0.5, None),
        (np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[D]"), 86400.0, "2020"),
        ([0.0, 1.0, 5.0], 1.0, "index 1 to 2 they step by 4.*no time step"),
        (list("abc"), 1.0, "not numbers.*no time step"),
    ],
)
def test_times_become_seconds_or_are_told_to_be_lost(times, step, message, tmp_path):
    """In a DataArray that comes back they are as they were."""
    array = data_array(stack((3, 10, 12)), "tyx", t=times)
    assert chunkscale.resample_array(array, zoom=2).t.identical(array.t)

    def call():
        return chunkscale.resample(array, tmp_path / "out", zoom=2, **HOW)

    run = one_warning(call, message) if message else call()
    grid = chunkscale.open_image(run.path).grid
    assert grid.voxel_size[0] == step
    assert grid.axes[0].unit == (None if "no time" in str(message) else "second")


@pytest.mark.parametrize(
    ("times", "units", "unit", "message"),
    [
        ([0.0, 2.0, 4.0], "seconds since 2020-01-01 00:00", "second", "time 2020-01-01 00:00"),
        ([0.0, 2.0], "hours since 1970-01-01", "hour", "time 1970-01-01"),
        ([5.0], "second", "second", "a step of 1 second is written"),
        (np.array(["2020-01-01", "NaT"], "datetime64[ns]"), None, None, "missing"),
    ],
)
def test_times_that_ome_zarr_cannot_say_are_told(times, units, unit, message):
    """Of CF's "seconds since" the seconds are the unit; the rest is told to be lost."""
    array = data_array(stack((len(times), 10, 12)), "tyx", t=times)
    array.t.attrs |= {} if units is None else {"units": units}
    source = open_source(array)
    assert source.grid.axes[0].unit == unit
    assert any(message in str(notice) for notice in source.notices)


def test_an_image_is_resampled_lazily_into_one_that_can_be_passed_on(make_image, tmp_path):
    """With the voxels, the grid and the channels of a run, also for a crop."""
    omero = {"channels": [channel("DAPI", "0000FF", 5, 99), channel("GFP", "00FF00", 1, 50)]}
    path = make_image(
        stack((2, 6, 16, 16)), (1, 2.0, 0.5, 0.5), axes="czyx", attributes={"omero": omero}
    )
    image = chunkscale.open_image(path)
    for number, source in enumerate((image, image.select(channels=[1], crop="z=1:5,y=3:16"))):
        lazy = chunkscale.resample_array(source, voxel_size=0.4)
        out = tmp_path / str(number)
        chunkscale.resample(source, out, voxel_size=0.4, **HOW)
        stored = chunkscale.open_image(out)
        assert (lazy.grid, lazy.channels) == (stored.grid, stored.channels)
        np.testing.assert_array_equal(np.asarray(lazy), np.asarray(stored))
        assert lazy.to_xarray().identical(stored.to_xarray().rename(lazy.name))
        again = chunkscale.resample(lazy, tmp_path / f"again {number}", voxel_size="same", **HOW)
        found = chunkscale.open_image(again.path)
        assert (found.grid, found.channels) == (stored.grid, stored.channels)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(stored))
    with pytest.raises(chunkscale.OptionError, match="source_voxel_size 2 applies to arrays only"):
        chunkscale.resample_array(image, zoom=2, source_voxel_size=2)


def test_like_takes_whatever_has_a_grid(make_image, tmp_path):
    """An image, a path, a DataArray."""
    array = data_array()
    target = chunkscale.resample_array(array, voxel_size=0.4)
    origin = [float(target[name][0]) for name in "zyx"]
    path = make_image(np.zeros(target.shape, "uint8"), (0.4,) * 3, translation=origin)
    image = chunkscale.open_image(path)
    for like in (target, target.chunk(), image, image.grid, image.select(crop="z=0:9")):
        wanted = target if like.shape[0] == 20 else target[:9]
        assert chunkscale.resample_array(array, like=like).equals(wanted)
        run = chunkscale.resample(array, tmp_path / "out", like=like, overwrite=True, **HOW)
        assert chunkscale.open_image(run.path).to_xarray().equals(wanted)
    assert chunkscale.resample_array(array, like=str(path)).equals(target)
    with pytest.raises(chunkscale.OptionError, match="like is of type 'ndarray', which has"):
        chunkscale.resample_array(array, like=np.zeros((3, 3, 3)))
    metres = target.assign_coords({n: target[n] * 1e-6 for n in "zyx"})
    for name in "zyx":
        metres[name].attrs["units"] = "m"
    found = chunkscale.resample_array(array, like=metres)
    assert found.z.attrs["units"] == "meter"
    np.testing.assert_array_equal(found, target)
    np.testing.assert_allclose(found.z, metres.z)


# napari


def test_layers_for_napari_say_where_voxels_are_and_how_they_are_shown(make_image, tmp_path):
    """By the names of `Viewer.add_image`; where napari is installed its layers say the same."""
    channels = [channel("DAPI", "0000FF", 5, 99), channel("GFP", "00FF00", 1, 50)]
    path = make_image(
        stack((2, 2, 8, 16, 16)), (30, 1, 2.0, 0.5, 0.5), translation=(0, 0, 10, 20, 30),
        attributes={"omero": {"channels": channels}},
    )  # fmt: skip
    chunkscale.resample(path, tmp_path / "out", voxel_size=0.5, chunk=8, shard=0, levels=3)
    image = chunkscale.open_image(tmp_path / "out")
    data, keywords, kind = image.to_napari()
    assert kind == "image"
    assert [array.shape[-3:] for array in data] == [(32, 16, 16), (16, 8, 8), (8, 4, 4)]
    name = keywords.pop("name")
    assert [text.rpartition(" ")[2] for text in name] == ["DAPI", "GFP"]
    assert keywords == {
        "scale": (30.0, 0.5, 0.5, 0.5), "translate": (0.0, 9.25, 20.0, 30.0),
        "axis_labels": ("t", "z", "y", "x"), "units": ("pixel", *["micrometer"] * 3),
        "multiscale": True, "rgb": False, "channel_axis": 1,
        "contrast_limits": [[5, 99], [1, 50]], "colormap": ["#0000FF", "#00FF00"],
    }  # fmt: skip
    single, keywords, _ = image.to_napari(1)
    assert single.shape == (2, 2, 16, 8, 8)
    assert (keywords["scale"][1:], keywords["translate"][1]) == ((1.0, 1.0, 1.0), 9.5)
    assert "multiscale" not in keywords
    crop, keywords, _ = image.select(channels=1, crop="z=4:20").to_napari()
    assert crop.shape == (2, 1, 16, 16, 16)
    assert (keywords["translate"][1], keywords["colormap"]) == (11.25, ["#00FF00"])


# Other libraries


def ngff_image(data=None):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    return ngff_zarr.NgffImage(
        data=da.from_array(stack((2, 4, 10, 12)) if data is None else data, chunks=4),
        dims=("c", "z", "y", "x"),
        scale={"c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25},
        translation={"c": 0.0, "z": 10.0, "y": 10.0, "x": 10.0},
        axes_units=dict.fromkeys("zyx", "micrometer"),
        name="cells",
    )


def test_an_ngff_image_comes_back_and_goes_to_an_output(tmp_path):
    """With scale, translation, units, name and channels; as a DataArray would."""
    ngff_zarr = pytest.importorskip("ngff_zarr")
    image = ngff_image()
    expected = chunkscale.resample_array(data_array(stack((2, 4, 10, 12)), "czyx"), voxel_size=0.4)
    found = chunkscale.resample_array(image, voxel_size=0.4)
    assert type(found) is type(image)
    assert isinstance(found.data, da.Array)
    np.testing.assert_array_equal(found.data, expected)
    assert {n: found.scale[n] for n in "czyx"} == {"c": 1.0, "z": 0.4, "y": 0.4, "x": 0.4}
    assert {n: found.translation[n] for n in "zyx"} == {n: float(expected[n][0]) for n in "zyx"}
    assert (found.name, found.dims, found.axes_units) == (image.name, image.dims, image.axes_units)
    eager = dataclasses.replace(image, data=np.asarray(image.data))
    assert isinstance(chunkscale.resample_array(eager, voxel_size=0.4).data, np.ndarray)
    turned = dataclasses.replace(image, data=image.data.transpose(3, 2, 1, 0), dims=tuple("xyzc"))
    back = chunkscale.resample_array(turned, voxel_size=0.4)
    assert back.dims == tuple("xyzc")
    np.testing.assert_array_equal(back.data.transpose(3, 2, 1, 0), expected)
    chunkscale.resample(image, tmp_path / "out", voxel_size=0.4, **HOW)
    ours = chunkscale.open_image(tmp_path / "out")
    assert ours.name == "cells"
    assert ours.to_xarray().drop_vars("c", errors="ignore").equals(expected)
    assert chunkscale.check(tmp_path / "out", source=image)
    theirs = ngff_zarr.from_ngff_zarr(str(tmp_path / "out"))
    again = chunkscale.resample_array(theirs, voxel_size="same")
    np.testing.assert_array_equal(again.data, expected)
    assert {n: again.translation[n] for n in "zyx"} == {n: found.translation[n] for n in "zyx"}


def test_multiscales_of_ngff_zarr_keep_how_they_are_shown(make_image, tmp_path):
    """The first image is level 0."""
    ngff_zarr = pytest.importorskip("ngff_zarr")
    omero = {"channels": [channel("GFP", "00FF00", 1, 5)]}
    size = {"voxel_size": (1, 2.0, 0.5, 0.5), "axes": "czyx"}
    path = make_image(stack((1, 8, 16, 16)), attributes={"omero": omero}, **size)
    multiscales = ngff_zarr.from_ngff_zarr(str(path))
    chunkscale.resample(multiscales, tmp_path / "out", zoom=2, **HOW)
    image = chunkscale.open_image(tmp_path / "out")
    shown = image.to_napari(0)[1]["colormap"]
    assert (image.channels, shown) == (["GFP"], ["#00FF00"])
    assert image.grid == chunkscale.resample_array(chunkscale.open_image(path), zoom=2).grid


@pytest.mark.parametrize("vectors", [False, True])
def test_an_image_of_simpleitk_comes_back_and_goes_to_an_output(vectors, tmp_path):
    """Its numbers are in the order x, y, z; vectors are channels; the original is let go."""
    sitk = pytest.importorskip("SimpleITK")
    data = stack((2, 4, 10, 12)) if vectors else stack()
    image = sitk.GetImageFromArray(np.moveaxis(data, 0, -1) if vectors else data, isVector=vectors)
    image.SetSpacing((0.25, 0.5, 2.0))
    image.SetOrigin((30.0, 20.0, 10.0))
    image.SetMetaData("who", "me")
    how = {"source_voxel_size": (2, 0.5, 0.25)}
    expected = chunkscale.resample_array(data, voxel_size=0.4, **how)
    found = chunkscale.resample_array(image, voxel_size=0.4)
    voxels = sitk.GetArrayFromImage(found)
    np.testing.assert_array_equal(np.moveaxis(voxels, -1, 0) if vectors else voxels, expected)
    assert found.GetPixelID() == image.GetPixelID()
    assert found.GetSpacing() == (0.4, 0.4, 0.4)
    assert found.GetOrigin() == pytest.approx((30.075, 19.95, 9.2), abs=1e-12)
    assert found.GetMetaData("who") == "me"
    # A point is the same place in both.
    assert found.TransformContinuousIndexToPhysicalPoint((-0.5,) * 3) == pytest.approx(
        image.TransformContinuousIndexToPhysicalPoint((-0.5,) * 3)
    )

    def call():
        return chunkscale.resample(image, tmp_path / "out", voxel_size=0.4, source_unit="mm", **HOW)

    one_warning(call, "the metadata who .*SimpleITK.Image")
    ours = chunkscale.open_image(tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(ours), expected)
    assert [ours.grid.axes[i].unit for i in ours.grid.spatial] == ["millimeter"] * 3
    assert chunkscale.check(tmp_path / "out", source=image)
    plan = chunkscale.plan_resampling(image, voxel_size=0.4)
    assert "metadata who" in " ".join(map(str, plan.warnings))
    assert plan.target_grid.voxel_size[-3:] == (0.4, 0.4, 0.4)


def test_an_image_of_simpleitk_that_is_turned_is_refused_and_the_remedy_works():
    """It is the same image along its axes."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(stack())
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))
    with pytest.raises(chunkscale.OptionError, match=r"direction .*DICOMOrient\(image, 'LPS'\)"):
        chunkscale.resample_array(image, zoom=2)
    found = chunkscale.resample_array(sitk.DICOMOrient(image, "LPS"), zoom=2)
    expected = chunkscale.resample_array(stack().swapaxes(1, 2), zoom=2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), expected)


def test_a_label_map_of_simpleitk_is_refused_and_the_remedy_works():
    """The library itself ends the process when it is asked for the voxels of one."""
    sitk = pytest.importorskip("SimpleITK")
    mask = sitk.GetImageFromArray((stack() > 100).astype("uint8"))
    labels = sitk.Cast(mask, sitk.sitkLabelUInt8)
    with pytest.raises(chunkscale.OptionError, match=r"label of 8-bit.*LabelMapToLabel\(image\)"):
        chunkscale.resample_array(labels, zoom=2)
    image = sitk.LabelMapToLabel(labels)
    found = chunkscale.resample_array(image, zoom=2, method="nearest")
    expected = chunkscale.resample_array(sitk.GetArrayFromImage(mask), zoom=2, method="nearest")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), expected)


def spatial_image(transformations, dtype="uint16"):
    models = pytest.importorskip("spatialdata").models
    if dtype == "uint16":
        return models.Image2DModel.parse(
            stack((2, 10, 12)), dims=("c", "y", "x"), transformations=transformations,
            c_coords=["DAPI", "GFP"],
        )  # fmt: skip
    return models.Labels2DModel.parse(
        stack((10, 12), dtype), dims=("y", "x"), transformations=transformations
    )


def extent(image):
    get_extent = pytest.importorskip("spatialdata").get_extent
    return {name: np.round(found, 9).tolist() for name, found in get_extent(image, "mm").items()}


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_image_of_spatialdata_stays_in_its_place():
    """Which its transformation says: another one, because that begins at the indices of voxels."""
    moves = pytest.importorskip("spatialdata").transformations
    scale = moves.Scale([0.25, 0.5], axes=("x", "y"))
    whole = moves.Sequence([scale, moves.Translation([7.0, 8.0], axes=("x", "y"))])
    image = spatial_image({"mm": whole})
    found = chunkscale.resample_array(image, voxel_size=0.25)
    assert found.sizes == {"c": 2, "y": 20, "x": 12}
    assert extent(found) == extent(image)
    expected = chunkscale.resample_array(
        np.asarray(image.data), source_voxel_size=(0.5, 0.25), voxel_size=0.25, axes="cyx"
    )
    np.testing.assert_array_equal(found, expected)
    assert list(found.c.values) == ["DAPI", "GFP"]
    assert list(found.y.values) == [i + 0.5 for i in range(20)]
    assert chunkscale.resample_array(found, zoom=1).equals(found)
    labels = spatial_image({"mm": scale}, "int32")
    ids = chunkscale.resample_array(labels, factor=1.5)
    assert set(np.unique(ids)) <= set(np.unique(labels))
    with pytest.raises(chunkscale.OptionError, match=r"2 coordinate systems \('mm', 'global'\)"):
        chunkscale.resample_array(spatial_image({"mm": scale, "global": moves.Identity()}), zoom=2)
    with pytest.raises(chunkscale.OptionError, match=r"coordinates .* along y .*transform=None"):
        chunkscale.resample_array(image[:, 2:], zoom=2)
    plain = image[:, 2:].assign_attrs(transform=None)
    assert list(chunkscale.resample_array(plain, factor=1).y.values) == [2.5 + i for i in range(8)]
    turn = moves.Affine([[0, 1, 0], [1, 0, 0], [0, 0, 1]], ("x", "y"), ("x", "y"))
    with pytest.raises(chunkscale.OptionError, match=r"turned.*spatialdata\.transform\(array"):
        chunkscale.resample_array(spatial_image({"mm": turn}), zoom=2)
    transform = pytest.importorskip("spatialdata").transform
    turned = transform(spatial_image({"mm": turn}), to_coordinate_system="mm")
    assert chunkscale.resample_array(turned, factor=2).shape == (2, 24, 20)


def test_no_library_is_imported_for_what_is_not_its_own():
    """They are recognised by their names."""
    names = ["xarray", "SimpleITK", "ngff_zarr", "napari", "spatialdata"]
    code = (
        "import sys, numpy, chunkscale; chunkscale.resample_array(numpy.zeros((4, 4)), zoom=2); "
        f"print([name for name in {names} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_channels_before_time_are_put_in_order(tmp_path):
    """OME-Zarr has time first; a plain array is refused before anything is written."""
    places = {d: np.arange(n) * 1.0 for d, n in zip("zyx", (4, 6, 8), strict=True)}
    voxels = np.random.default_rng(0).random((3, 2, 4, 6, 8))
    array = xr.DataArray(voxels, dims=list("ctzyx"), coords=places)
    run = chunkscale.resample(array, tmp_path / "o.zarr", voxel_size="same")
    written = chunkscale.open_image(run.path)
    assert written.axes == "tczyx"
    np.testing.assert_array_equal(np.asarray(written), voxels.swapaxes(0, 1))
    with pytest.raises(chunkscale.OptionError, match=r"transpose\(1, 0, 2, 3, 4\).*'tczyx'"):
        chunkscale.plan_resampling(voxels, axes="ctzyx", source_voxel_size=1)


def test_a_spacing_that_a_cut_made_stale_is_not_passed_on(tmp_path):
    """Every second plane of an image lies twice as far."""
    size = {"voxel_size": "same", "source_voxel_size": 0.5}
    run = chunkscale.resample(np.zeros((4, 6, 8), "u1"), tmp_path / "h.zarr", **size)
    every_second = chunkscale.open_image(run.path).to_xarray().isel(z=slice(None, None, 2))
    found = chunkscale.resample_array(every_second, voxel_size="same")
    assert found.z.attrs["voxel_size"] == 1.0
    np.testing.assert_array_equal(found.z, every_second.z)
