"""What a viewer is told of an image, and the voxels that it gets."""

import json

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale.viewing.layers import Shown, scene_of
from chunkscale.viewing.volumes import served_dtype, volume_of


def stored(volume, folder):
    """Write all that a volume would serve into a folder, and open that."""
    paths = ["zarr.json"]
    for number, level in enumerate(volume.levels):
        counts = (-(-n // c) for n, c in zip(level.grid.shape, level.chunk, strict=True))
        chunks = ("/".join(map(str, index)) for index in np.ndindex(*counts))
        paths += [f"{number}/zarr.json", *(f"{number}/c/{chunk}" for chunk in chunks)]
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(volume.content(path))
    return chunkscale.open_image(folder)


def volume(source, channel=0, *, unit="micrometer"):
    return volume_of(source, channel, unit, is_label=source.is_label)


@pytest.fixture
def pyramid(tmp_path, noise):
    """Return an image of three levels."""
    run = chunkscale.resample(
        noise((9, 70, 50)), tmp_path / "a.zarr", voxel_size="same", source_voxel_size=(2, 0.5, 0.5),
        source_unit="micrometer", chunk=16, levels=3,
    )  # fmt: skip
    return chunkscale.open_image(run.path)


def test_a_voxel_lies_in_the_viewer_where_it_lies_in_its_grid(pyramid, tmp_path):
    """Of each level: centres and sizes are those that the image itself has."""
    served = stored(volume(pyramid), tmp_path / "served")
    assert served.level_count == pyramid.level_count == 3
    for level in range(3):
        assert served.level_grid(level) == pyramid.level_grid(level)
        np.testing.assert_array_equal(served.as_dask(level), pyramid.as_dask(level))


def test_lengths_in_other_units_are_converted(make_image, noise, tmp_path):
    """What is stored in nanometres lies where the same lies in micrometres."""
    path = make_image(
        noise((4, 5, 6)), (2000.0, 250.0, 250.0), unit="nanometer", translation=(1000.0, 0.0, 125.0)
    )
    grid = stored(volume(chunkscale.open_image(path), unit="nanometer"), tmp_path / "served").grid
    assert grid.voxel_size == pytest.approx((2.0, 0.25, 0.25), rel=1e-12)
    assert grid.translation == pytest.approx((1.0, 0.0, 0.125), rel=1e-12)
    assert {axis.unit for axis in grid.axes} == {"micrometer"}


def test_a_part_lies_where_it_was_cut_out(pyramid, tmp_path):
    """Begin and voxels of a crop are those inside the image, at coarser levels, too."""
    part = pyramid.select(crop="y=16:48,x=8:40")
    served = stored(volume(part), tmp_path / "served")
    assert served.grid == part.grid
    np.testing.assert_array_equal(served, part)
    np.testing.assert_array_equal(served.as_dask(1), pyramid.as_dask(1)[:, 8:24, 4:20])
    assert served.level_grid(1).extent(1) == part.grid.extent(1)


def test_each_channel_is_a_volume_and_time_stays_an_axis(make_image, noise, tmp_path):
    """Of t, c, z, y, x: what is served of channel 1 is channel 1 of every time point."""
    data = noise((2, 3, 4, 5, 6))
    image = chunkscale.open_image(make_image(data, (1.0, 1.0, 2.0, 0.5, 0.5), axes="tczyx"))
    served = stored(volume(image, 1), tmp_path / "served")
    assert served.axes == "tzyx"
    np.testing.assert_array_equal(served, data[:, 1])


def test_files_of_other_formats_are_served_as_well(noise, tmp_path):
    """A TIFF without a scale has its voxels, and no unit."""
    data = noise((5, 30, 40))
    tifffile.imwrite(tmp_path / "a.tif", data)
    image = chunkscale.open_image(tmp_path / "a.tif", axes="zyx", source_voxel_size=(3, 1, 1))
    served = stored(volume(image, unit=None), tmp_path / "served")
    assert served.grid.voxel_size == (3.0, 1.0, 1.0)
    assert {axis.unit for axis in served.grid.axes} == {None}
    np.testing.assert_array_equal(served, data)


@pytest.mark.parametrize("name", ["bool", "int8", "uint64", "float64", "float16", "int64"])
def test_voxels_are_served_in_types_that_a_viewer_has(make_image, noise, tmp_path, name):
    """With their values, as exactly as float32 has them."""
    data = noise((3, 4, 5), name)
    served = stored(volume(chunkscale.open_image(make_image(data))), tmp_path / "served")
    assert served.dtype == served_dtype(data.dtype, is_label=False)
    np.testing.assert_array_equal(served, data.astype(served.dtype))


@pytest.mark.parametrize(
    "path",
    ["", "/", "..", "../zarr.json", "0/../zarr.json", "0//zarr.json", "00/zarr.json", "7/zarr.json",
     "-1/zarr.json", "0", "0/c", "0/c/0/0", "0/c/0/0/0/0", "0/c/0/0/99", "0/c/0/0/-1",
     "0/c/0/0/²", "0/c/0/0/01", "0/c/0/0/" + "9" * 5000, "zarr.json/", ".zattrs", "/etc/passwd"],
)  # fmt: skip
def test_nothing_lies_at_other_paths(make_image, noise, path):
    """Whatever is asked for: there are the documents and the chunks, and no more."""
    served = volume(chunkscale.open_image(make_image(noise((3, 4, 5)))))
    assert served.content("0/c/0/0/0")
    assert served.content(path) is None


def test_chunks_are_neither_huge_nor_tiny(pyramid):
    """A request reads little, and a plane does not take thousands of them."""
    level = volume(pyramid).levels[0]
    assert level.chunk == level.grid.shape  # chunks of 16 voxels were stored


def shown(source, title="a", **others):
    return Shown(source=source, title=title, channels=((0, ""),), **others)


def test_images_share_space_and_contrast(pyramid, make_image, noise):
    """One looks at the middle of the first image; what is darker looks darker."""
    other = chunkscale.open_image(make_image(noise((4, 5, 6)) // 2, (0.1, 0.1, 0.1)))
    scene = scene_of([shown(pyramid), shown(other)], (1.0, 99.8), overlay=False)
    assert list(scene.dimensions) == ["x", "y", "z"]
    assert scene.dimensions["z"] == (pytest.approx(0.5e-6), "m")
    middle = [sum(pyramid.grid.extent(i)) / 2 for i in (2, 1, 0)]
    steps = [scale / 1e-6 for scale, _ in scene.dimensions.values()]
    assert [p * s for p, s in zip(scene.position, steps, strict=True)] == pytest.approx(middle)
    first, second = scene.layers
    assert first.limits == second.limits
    assert scene.groups == (("a",), ("a (2)",))
    assert scene.layout == "4panel"


def test_what_agrees_is_white_in_an_overlay(pyramid):
    """The colours of two images that lie over one another add up to white."""
    scene = scene_of([shown(pyramid), shown(pyramid)], (1.0, 99.8), overlay=True)
    assert np.sum([layer.colour for layer in scene.layers], axis=0).tolist() == [1.0, 1.0, 1.0]
    assert scene.groups == (("a", "a (2)"),)


def test_labels_have_no_contrast(pyramid, make_image):
    """They are shown as ids, and 64 bits of them stay 64 bits."""
    ids = np.full((3, 4, 5), 2**53 + 1, "int64")
    labels = chunkscale.open_image(make_image(ids, name="labels.zarr"))
    [_, layer] = scene_of(
        [shown(pyramid, labels=((labels, "cells"),))], (1.0, 99.8), overlay=False
    ).layers
    assert layer.limits is None
    block = np.frombuffer(layer.volume.content("0/c/0/0/0"), "<u8")
    assert set(block.tolist()) == {2**53 + 1}
    assert json.loads(layer.volume.content("0/zarr.json"))["data_type"] == "uint64"
