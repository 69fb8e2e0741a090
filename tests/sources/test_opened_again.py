"""What is said of an image that is open already has the effect that it has with its path."""

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale.api.images import open_source
from chunkscale.cli.main import main

STACK = np.zeros((5, 7, 9), "uint8")


def units(image):
    return {axis.unit for axis in image.grid.axes}


def outcome(call):
    """Return the grid, or the message of the refusal."""
    try:
        return call().grid
    except chunkscale.OptionError as error:
        return str(error)


@pytest.fixture(params=["stated.ome.tif", "plain.tif", "a.nii"])
def file(request, tmp_path):
    """Return a file of a reader that takes units in its own way."""
    path = tmp_path / request.param
    if path.suffix == ".nii":
        nibabel = pytest.importorskip("nibabel")
        image = nibabel.Nifti1Image(STACK, np.diag([1.0, 1.0, 1.0, 1.0]))
        image.header.set_xyzt_units("micron")
        nibabel.save(image, path)
        return path
    said = {f"PhysicalSize{axis}": 1 for axis in "ZYX"} if "ome" in path.name else {}
    tifffile.imwrite(path, STACK, metadata={"axes": "ZYX", **said}, imagej=not said)
    return path


@pytest.mark.parametrize("unit", ["mm", "um", "pixel", None], ids=str)
@pytest.mark.parametrize("sizes", [(3, 1, 1), "z=3", "3um,1um,1um", None], ids=str)
def test_a_unit_applies_to_an_open_file_as_to_its_path(file, sizes, unit):
    """The same grid, or the same refusal; nothing is left out without a word."""
    said = {"source_voxel_size": sizes, "source_unit": unit}
    before = {"source_voxel_size": 1} if file.name == "plain.tif" else {}
    image = chunkscale.open_image(file, **before)
    if sizes == "z=3" and before:  # the path alone does not say the others
        said["source_voxel_size"] = (3, 1, 1)
    if sizes is None and before:
        expected = outcome(lambda: open_source(file, **{**said, **before}))
    else:
        expected = outcome(lambda: open_source(file, **said))
    assert outcome(lambda: open_source(image, **said)) == expected


def test_the_sizes_of_an_open_file_are_not_read_in_another_unit(tmp_path):
    """They would become a thousand times larger; the remedy of the message works."""
    path = tmp_path / "stated.ome.tif"
    said = {f"PhysicalSize{axis}": 1 for axis in "ZYX"}
    tifffile.imwrite(path, STACK, metadata={"axes": "ZYX", **said})
    image = chunkscale.open_image(path, source_voxel_size=(3, 1, 1))
    with pytest.raises(chunkscale.OptionError, match="opened with a voxel size in µm along"):
        open_source(image, source_unit="mm")
    assert open_source(image, source_unit="um").grid == image.grid
    found = open_source(image, (3, 1, 1), source_unit="mm")
    assert (units(found), found.grid.voxel_size) == ({"millimeter"}, (3.0, 1.0, 1.0))


def test_an_open_image_keeps_what_it_was_opened_with(make_image):
    """Of a unit and sizes, in either order, and of sizes one by one."""
    path = make_image(STACK, (1.0, 0.4, 0.4), unit=None)
    named = chunkscale.open_image(path, source_unit="um")
    plan = chunkscale.plan_resampling(named, source_voxel_size=(3, 1, 1), voxel_size="1um")
    assert plan.target_grid.voxel_size == (1.0, 1.0, 1.0)
    sized = chunkscale.open_image(path, source_voxel_size=(3, 1, 1))
    for image in (open_source(named, (3, 1, 1)), open_source(sized, source_unit="um")):
        assert (units(image), image.grid.voxel_size) == ({"micrometer"}, (3.0, 1.0, 1.0))
        assert open_source(image, "z=2").grid.voxel_size == (2.0, 1.0, 1.0)
        with pytest.raises(chunkscale.OptionError, match="opened with a voxel size in µm"):
            open_source(image, source_unit="mm")
        assert units(open_source(image, (3, 1, 1), source_unit="mm")) == {"millimeter"}


@pytest.mark.parametrize("stored", [False, True], ids=["array", "OME-Zarr"])
def test_a_unit_that_is_named_is_not_replaced_by_that_of_the_sizes(stored, make_image):
    """Without it, which the message says, the sizes are taken in theirs."""
    source = make_image(STACK, (1.0, 1.0, 1.0), unit=None) if stored else STACK
    with pytest.raises(chunkscale.OptionError, match="numbers, or leave source_unit out"):
        open_source(source, "500nm", source_unit="pixel")
    assert open_source(source, "500nm").grid.voxel_size == (500.0,) * 3
    assert units(open_source(source, 500, source_unit="pixel")) == {"pixel"}


def test_a_unit_is_taken_if_it_is_that_of_the_metadata(make_image, capsys):
    """Another one is refused, with the one that the metadata state."""
    stated, bare = (
        make_image(STACK, (1.0, 1.0, 1.0), name=name, unit=unit)
        for name, unit in (("stated.zarr", "micrometer"), ("bare.zarr", None))
    )
    for unit in ("um", "µm", "micrometers"):
        image = chunkscale.open_image(stated, source_unit=unit)
        assert (units(image), dict(image.said)) == ({"micrometer"}, {})
    assert units(chunkscale.open_image(bare, source_unit="")) == {None}
    text = "source_unit 'mm' is given, but the image states µm; leave it out"
    with pytest.raises(chunkscale.OptionError) as error:
        chunkscale.open_image(stated, source_unit="mm")
    assert str(error.value) == text
    assert main(["info", str(stated), "--source-unit", "mm"]) == 2
    assert "is given, but the image states µm" in capsys.readouterr().err


def test_positions_of_a_file_stay_where_they_are_in_another_unit(tmp_path):
    """1000 µm are 1 mm."""
    path = tmp_path / "moved.ome.tif"
    metadata = {
        "axes": "ZYX", **{f"PhysicalSize{axis}": 1 for axis in "ZYX"},
        "Plane": {"PositionX": [1000.0] * 5, "PositionXUnit": ["µm"] * 5},
    }  # fmt: skip
    tifffile.imwrite(path, STACK, metadata=metadata)
    for said, expected in (
        ({}, 1000.0),
        ({"source_voxel_size": (3, 1, 1), "source_unit": "mm"}, 1.0),
    ):
        grid = open_source(path, **said).grid
        assert grid.translation[-1] == expected
