"""Targets as people say them.

Invariants:

- A length means the same in any unit; a factor multiplies counts; a shape is what comes out.
- The extent stays: outer edges coincide, whatever is asked for.
- `same` keeps every voxel, bit for bit, whatever the data type, version, chunk and codec.
- Two ways to say the same thing are refused, and both are named.
"""

import json
import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import NoUnitError
from chunkscale.geometry.pyramid import halved
from chunkscale.options import shape_option
from chunkscale.targets import source_sizes, target_grid

ZYX = tuple(chunkscale.Axis(name=name, unit="micrometer") for name in "zyx")
STACK = chunkscale.VoxelGrid(
    axes=ZYX, shape=(86, 396, 393), voxel_size=(1.0, 0.202, 0.202), translation=(3.0, -1.0, 0.5)
)


def edges(grid, axis):
    first = grid.translation[axis] - grid.voxel_size[axis] / 2
    return first, first + grid.shape[axis] * grid.voxel_size[axis]


@pytest.mark.parametrize(
    ("option", "size"),
    [
        ("500nm", (0.5, 0.5, 0.5)),
        ("0.5 um", (0.5, 0.5, 0.5)),
        ("0.5µm", (0.5, 0.5, 0.5)),
        (".0005mm", (0.5, 0.5, 0.5)),
        ("5e-7 meter", (0.5, 0.5, 0.5)),
        ("0.5um,0.2um,0.2", (0.5, 0.2, 0.2)),
        ("z=500nm", (0.5, 0.202, 0.202)),
        ({"z": "500nm", "x": 0.3}, (0.5, 0.202, 0.3)),
        (["1um", "202nm", 0.202], (1.0, 0.202, 0.202)),
        ("same", (1.0, 0.202, 0.202)),
        ("coarsest", (1.0, 1.0, 1.0)),
    ],
    ids=str,
)
def test_a_length_is_the_same_in_any_unit(option, size):
    """And is written as the decimal number that it is."""
    assert target_grid(STACK, voxel_size=option).voxel_size == size


@pytest.mark.parametrize(
    ("option", "size"),
    [("500nm", (0.5, 0.5, 0.5)), ("1um,200nm,0.2", (1.0, 0.2, 0.2)), ("z=.002mm", (2.0, 0.4, 0.4)),
     ({"y": "0.3 µm"}, (1.5, 0.3, 0.4))],
    ids=str,
)  # fmt: skip
def test_a_length_of_the_source_is_the_same_in_any_unit(option, size, make_image, noise, tmp_path):
    """In the unit that an image or a file has."""
    path, stored = make_image(noise((4, 6, 6)), (1.5, 0.4, 0.4)), np.zeros((4, 6, 6), "uint16")
    assert chunkscale.open_image(path, source_voxel_size=option).grid.voxel_size == size
    calibrated = tmp_path / "calibrated.tif"
    tifffile.imwrite(calibrated, stored, imagej=True, resolution=(2.5, 2.5),
                     metadata={"axes": "ZYX", "spacing": 1.5, "unit": "um"})  # fmt: skip
    opened = chunkscale.open_image(calibrated, source_voxel_size=option)
    assert opened.grid.voxel_size == pytest.approx(size)


def test_a_length_of_what_has_no_unit_but_is_said_one(tmp_path):
    """A plain file and an array take it in the unit that they are said to have."""
    stored = np.zeros((4, 6, 6), "uint16")
    tifffile.imwrite(tmp_path / "plain.tif", stored, photometric="minisblack")
    said = {"source_voxel_size": "1um,200nm,0.2", "source_unit": "um", "axes": "zyx"}
    for source in (tmp_path / "plain.tif", stored):
        grid = chunkscale.plan_resampling(source, voxel_size="same", **said).target_grid
        assert grid.voxel_size == (1.0, 0.2, 0.2)
        assert grid.axes[0].unit == "micrometer"


def test_a_length_of_a_source_without_a_unit_defines_its_unit(make_image, noise, tmp_path):
    """Of OME-Zarr, files and arrays alike, opened before or not; a run and `check` keep to it."""
    path, stored = make_image(noise((4, 6, 6)), (1.0, 0.4, 0.4), unit=None), noise((4, 6, 6))
    tifffile.imwrite(tmp_path / "plain.tif", stored, metadata={"axes": "ZYX"}, imagej=True)
    coordinates = pytest.importorskip("xarray").DataArray(stored, dims=list("zyx"))
    opened = chunkscale.open_image(path)
    part = opened.select(crop="z=1:3")
    for source in (path, opened, part, tmp_path / "plain.tif", stored, coordinates):
        grid = chunkscale.plan_resampling(source, source_voxel_size="5um,1,500nm").source_grid
        assert grid.voxel_size == (5.0, 1.0, 0.5)
        assert {axis.unit for axis in grid.axes} == {"micrometer"}
    result = chunkscale.resample_array(coordinates, source_voxel_size="2um,1um,1um")
    assert (result.shape, result.z.attrs["units"]) == ((8, 6, 6), "micrometer")
    out = tmp_path / "out.zarr"
    chunkscale.resample(path, out, source_voxel_size="2um,1um,1um")
    assert chunkscale.resample(path, out, source_voxel_size="2µm,1µm,1µm", resume=True)
    assert chunkscale.open_image(out).grid.axes[0].unit == "micrometer"
    assert chunkscale.check(out, source=path)
    with pytest.raises(chunkscale.OptionError, match="along z, y, x; give the size along y, x"):
        chunkscale.open_image(path, source_voxel_size="z=5um")
    with pytest.raises(chunkscale.OptionError, match="q"):
        chunkscale.open_image(path, source_voxel_size="q=500nm")


def test_a_unit_can_be_given_to_an_image_that_has_none(make_image, noise):
    """One that states its own is not overruled."""
    bare, stated = (
        make_image(noise((4, 6, 6)), (1, 1, 1), name=name, unit=unit)
        for name, unit in (("bare.zarr", None), ("stated.zarr", "meter"))
    )
    assert chunkscale.open_image(bare, source_unit="um").grid.axes[2].unit == "micrometer"
    for path, unit, text in ((stated, "um", "the image states m;"), (bare, 5, "5 is not a unit")):
        with pytest.raises(chunkscale.OptionError, match=f"source_unit .*{text}"):
            chunkscale.open_image(path, source_unit=unit)


def test_a_unit_of_the_source_comes_before_one_that_is_given():
    """Axes without one take that of the others, as they do for plain numbers."""
    units = {"z": "micrometer", "y": None, "x": None}
    with pytest.raises(NoUnitError) as found:
        source_sizes("1um,200nm,200nm", units, 3)
    assert pickle.loads(pickle.dumps(found.value)).unit == "micrometer"


def test_axes_of_several_units_of_length_have_one_finest_voxel_size():
    """Compared are lengths, not numbers; the pyramid halves by lengths, too."""
    units = {"z": "micrometer", "y": "nanometer", "x": "nanometer"}
    axes = tuple(chunkscale.Axis(name=name, unit=unit) for name, unit in units.items())
    grid = chunkscale.VoxelGrid(axes=axes, shape=(20, 64, 64), voxel_size=(1.0, 200.0, 200.0))
    assert target_grid(grid).voxel_size == (0.2, 200.0, 200.0)
    assert target_grid(grid, voxel_size="coarsest").voxel_size == (1.0, 1000.0, 1000.0)
    assert target_grid(grid, voxel_size="500nm").voxel_size == (0.5, 500.0, 500.0)
    assert halved(target_grid(grid)) == (2, 2, 2)
    with pytest.raises(chunkscale.OptionError, match=r"z µm, y nm, x nm.*like 500nm"):
        target_grid(grid, voxel_size=0.5)
    strange = grid.replace(axes=(chunkscale.Axis(name="z", unit="pixel"), *axes[1:]))
    with pytest.raises(chunkscale.OptionError, match=r"z pixel, y nm.*'finest'.*give one for each"):
        target_grid(strange)


@pytest.mark.parametrize("value", [{}, True, np.True_, {"z": True}, [True, 1, 1]], ids=repr)
@pytest.mark.parametrize("option", ["voxel_size", "factor", "shape", "source_voxel_size"])
def test_what_is_no_number_is_refused_by_name(option, value, make_image, noise):
    """True is not 1, and a mapping without an axis says nothing."""
    path = make_image(noise((4, 6, 6)), (1.0, 0.4, 0.4))
    name = option.replace("_", " ")
    with pytest.raises(chunkscale.OptionError, match=f"{name} .* is not understood"):
        chunkscale.plan_resampling(path, **{option: value})


def test_a_run_remembers_a_length_of_its_source(make_image, noise, tmp_path):
    """`check` compares without it, or with the same length in any unit."""
    path, out = make_image(noise((4, 6, 6)), (1.0, 0.4, 0.4)), tmp_path / "out.zarr"
    chunkscale.resample(path, out, source_voxel_size="500nm", voxel_size=0.25)
    for size in (None, "0.5um", 0.5):
        assert chunkscale.check(out, source=path, source_voxel_size=size)
    with pytest.raises(chunkscale.OptionError, match=r"made from voxels of 0\.5"):
        chunkscale.check(out, source=path, source_voxel_size="400nm")


@pytest.mark.parametrize(
    ("option", "shape"),
    [
        ("5,1,1", (430, 396, 393)),
        ("z=5", (430, 396, 393)),
        (2, (172, 792, 786)),
        ("0.5", (43, 198, 197)),
        ({"y": 0.25}, (86, 99, 393)),
        ((1, 0.5, 0.1), (86, 198, 39)),
    ],
    ids=str,
)
def test_a_factor_multiplies_the_voxels(option, shape):
    """As SciPy's `zoom` does."""
    grid = target_grid(STACK, factor=option)
    assert grid.shape == shape
    for axis in range(3):
        ratio = STACK.voxel_size[axis] / grid.voxel_size[axis]
        assert ratio == pytest.approx(grid.shape[axis] / STACK.shape[axis], rel=0.02)
        assert edges(grid, axis)[0] == pytest.approx(edges(STACK, axis)[0])


@given(st.lists(st.integers(1, 1000), min_size=3, max_size=3))
def test_a_shape_is_what_comes_out(shape):
    """Over exactly the same extent."""
    grid = target_grid(STACK, shape=shape)
    assert grid.shape == tuple(shape)
    for axis in range(3):
        assert edges(grid, axis) == pytest.approx(edges(STACK, axis), rel=1e-12)
        assert grid.voxel_size[axis] == STACK.shape[axis] * STACK.voxel_size[axis] / shape[axis]


def test_a_shape_may_leave_axes_out():
    """They keep their voxels."""
    assert target_grid(STACK, shape="z=256").shape == (256, 396, 393)
    assert target_grid(STACK, shape=64).shape == (64, 64, 64)
    assert target_grid(STACK, shape={"x": 3}).shape == (86, 396, 3)


def test_an_x_may_stand_between_the_numbers_of_a_shape_and_of_a_chunk():
    """As reports print them."""
    assert target_grid(STACK, shape="64x32 x 16").shape == (64, 32, 16)
    assert shape_option("chunk", "64x32 x 16", STACK) == (64, 32, 16)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int32", "uint64", "float16", "float64"]
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_same_only_converts(make_image, noise, tmp_path, dtype, version):
    """Every voxel bit for bit; other chunks, version and codec; and back again."""
    data = noise((9, 17, 12), dtype)
    source = make_image(data, (2.0, 0.5, 0.3), chunk=(4, 8, 12))
    how = {"voxel_size": "same", "levels": 1, "codec": "zstd"}
    chunkscale.resample(source, tmp_path / "there", ome_zarr_version=version, chunk=5, **how)
    other = {"0.4": "0.5", "0.5": "0.4"}[version]
    chunkscale.resample(tmp_path / "there", tmp_path / "back", ome_zarr_version=other, **how)
    for name in ("there", "back"):
        image = chunkscale.open_image(tmp_path / name)
        assert image.grid == chunkscale.open_image(source).grid
        found = image.as_dask().compute()
        assert found.tobytes() == data.astype(found.dtype).tobytes()


def test_all_of_them_reach_the_command_and_arrays(make_image, noise, tmp_path, capsys):
    """`plan`, `resample` and `resample_array` take the same words."""
    data = noise((4, 6, 8))
    source = str(make_image(data, (2.0, 0.5, 0.5)))
    for option, value, shape in [
        ("factor", "3,1,1", (12, 6, 8)),
        ("shape", "z=5,x=4", (5, 6, 4)),
        ("voxel_size", "1um", (8, 3, 4)),
    ]:
        out = tmp_path / option
        words = [f"--{option.replace('_', '-')}", value]
        assert main(["plan", source, *words]) == 0
        assert main(["resample", source, str(out), *words]) == 0
        image = chunkscale.open_image(out)
        assert image.grid.shape == shape
        if option != "voxel_size":
            size = {"source_voxel_size": (2.0, 0.5, 0.5), option: value}
            expected = chunkscale.resample_array(data, **size)
            np.testing.assert_array_equal(image.as_dask(), expected)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 2, "voxel_size": 1}, ["factor 2", "voxel_size 1", "leave one of them out"]),
        ({"factor": 2, "zoom": 2}, ["factor 2", "zoom 2"]),
        ({"shape": 64, "voxel_size": "1um"}, ["shape 64", "voxel_size '1um'"]),
        ({"shape": 64, "factor": "z=2"}, ["shape 64", "factor 'z=2'"]),
        ({"like": STACK, "zoom": 2}, ["like ", "zoom 2"]),
        ({"factor": 0}, ["factor 0", "like 5,1,1 or z=5"]),
        ({"factor": "nan"}, ["factor 'nan'"]),
        ({"factor": "1,2"}, ["factor '1,2' has 2 values for the 3 spatial axes z, y, x"]),
        ({"factor": "c=2"}, ["names axis 'c'"]),
        ({"shape": 0}, ["shape 0", "like 256,256,256"]),
        ({"shape": True}, ["shape True"]),
        ({"shape": 1.5}, ["shape 1.5"]),
        ({"shape": "64,64"}, ["2 values for the 3 spatial axes"]),
        ({"zoom": 10**400}, ["zoom 10", "is not a positive finite number"]),
        ({"voxel_size": 10**400}, ["voxel size 10", "larger than any size"]),
        ({"factor": 10**400}, ["factor 10", "larger than any size"]),
        ({"source_voxel_size": 10**400}, ["source voxel size 10", "larger than any size"]),
        ({"shape": 10**400}, ["shape 10", "larger than any array"]),
        ({"voxel_size": "5px"}, ["'px' in '5px' is not a known unit of length"]),
        ({"voxel_size": "1s"}, ["'s' in '1s'"]),
        (
            {"voxel_size": "500nm", "unit": None},
            ["'500nm' cannot be converted along axis 'z'", "give a number without a unit"],
        ),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(make_image, noise, options, words):
    """Both options are named, or the option, its value and what to give."""
    options = dict(options)
    source = make_image(noise((4, 6, 8)), (2.0, 0.5, 0.5), unit=options.pop("unit", "micrometer"))
    with pytest.raises(chunkscale.errors.OptionError) as refused:
        chunkscale.plan_resampling(source, **options)
    for word in words:
        assert word in str(refused.value)


def test_one_number_for_each_axis_is_taken_for_those_of_space(make_image, noise, tmp_path):
    """As a grid has them; what would change another axis is refused, also in number."""
    path = make_image(noise((2, 3, 4, 6, 6)), (1.0, 1.0, 2.0, 0.5, 0.5))
    image = chunkscale.open_image(path)
    grid = image.grid.replace(voxel_size=(1.0, 1.0, 3.0, 1.0, 1.0))
    again = chunkscale.open_image(path, source_voxel_size=grid.voxel_size)
    assert again.voxel_size == {"z": 3.0, "y": 1.0, "x": 1.0}
    assert np.array_equal(again.grid.voxel_size, grid.voxel_size)
    array = np.asarray(image)
    plan = chunkscale.plan_resampling(array, source_voxel_size=image.grid.voxel_size)
    assert plan.source_grid.voxel_size == image.grid.voxel_size
    assert target_grid(image.grid, voxel_size=(1.0, 1.0, 1, 1, 1)).shape == (2, 3, 8, 3, 3)
    for wrong in ((2.0, 1.0, 1, 1, 1), (1.0, 1, 1, 1)):
        with pytest.raises(chunkscale.OptionError):
            target_grid(image.grid, voxel_size=wrong)
    with pytest.raises(chunkscale.OptionError, match="4 values for the 3 spatial axes"):
        chunkscale.open_image(path, source_voxel_size=(1, 1, 1, 1))


@pytest.mark.parametrize("other", [None, "pixel"])
def test_voxel_sizes_that_are_given_for_all_axes_have_one_unit(make_image, noise, tmp_path, other):
    """That of the axes that have one, which is told; without them nothing is guessed."""
    path, out = make_image(noise((4, 6, 6)), (9.0, 1.0, 1.0)), tmp_path / "out.zarr"
    document = json.loads((path / "zarr.json").read_text())
    axis = document["attributes"]["ome"]["multiscales"][0]["axes"][0]
    axis["unit"] = other
    if other is None:
        del axis["unit"]
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(chunkscale.OptionError, match="different units"):
        chunkscale.plan_resampling(path)
    run = chunkscale.resample(path, out, source_voxel_size=(2, 1, 1))
    assert run.plan.target_grid.shape == (8, 6, 6)
    assert {axis.unit for axis in run.plan.target_grid.axes} == {"micrometer"}
    assert any("taken to be in µm along z" in str(notice) for notice in run.plan.warnings)
    assert chunkscale.check(out, source=path)
    kept = chunkscale.resample(path, tmp_path / "kept.zarr", voxel_size="z=4.5")
    assert kept.plan.target_grid.axes[0].unit == other
    assert chunkscale.check(kept.path, source=path)


def test_isotropic_images_are_copied_with_a_note(make_image, noise):
    """By default; who asks for the same voxels knows it."""
    path = make_image(noise((4, 6, 6)), (0.5, 0.5, 0.5))
    notes = {size: chunkscale.plan_resampling(path, voxel_size=size).warnings
             for size in (None, "finest", "same", 0.5)}  # fmt: skip
    told = {size for size, found in notes.items() if "isotropic" in [n.kind for n in found]}
    assert told == {None, "finest"}
