"""Pictures before they are drawn: what is read, what a pixel shows, where panels stand."""

from dataclasses import replace

import numpy as np
import plates
import pytest
from grids import grid_for

import chunkscale
from chunkscale.api.images import open_source
from chunkscale.api.subjects import active_channels, opened_together
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import covering_box
from chunkscale.pictures import levels as level_choice
from chunkscale.pictures import pixels
from chunkscale.pictures.colours import source_colours
from chunkscale.pictures.compose import composed
from chunkscale.pictures.layout import arranged, planes_of
from chunkscale.pictures.levels import Stored, stored_levels, sufficient_level
from chunkscale.pictures.look import Look, Subject
from chunkscale.pictures.pixels import read_views
from chunkscale.pictures.views import View
from chunkscale.samples import synthetic_cells, synthetic_labels, write_labels
from chunkscale.sources.arrays import HeldArray


class Watched(HeldArray):
    """An array that notes how much is read of it at a time."""

    def __init__(self, array, chunk=None):
        super().__init__(array)
        self.chunk = chunk or (1,) * array.ndim
        self.boxes = []

    def read(self, box, out=None):
        self.boxes.append(box)
        return super().read(box, out)


def stored(array, voxel_size=None, chunk=None, number=0):
    watched = Watched(np.asarray(array), chunk)
    grid = grid_for(watched.shape, voxel_size)
    return Stored(number=number, array=watched, grid=grid, part=covering_box(grid, grid))


def view(grid, row, column, across, height, width, depth=None):
    return View(
        row=row, column=column, across=across, rows=grid.extent(row), columns=grid.extent(column),
        height=height, width=width, depth=depth,
    )  # fmt: skip


def _opened(data, unit, size, **more):
    return open_source(data, size, source_unit=unit, **more)


def subject(source, **facts):
    return Subject(source=source, title="image", facts=("", ""), **facts)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "bool"])
@pytest.mark.parametrize("kind", ["mean", "max"])
def test_a_pixel_shows_all_that_lies_behind_it(noise, monkeypatch, dtype, kind):
    """Whole voxels in a pixel: the mean or maximum of them all, whatever the blocks and planes."""
    data = noise((6, 8, 12), dtype)
    level = stored(data, chunk=(2, 3, 5))
    views = [
        view(level.grid, 1, 2, 0, 4, 3),
        view(level.grid, 0, 2, 1, 3, 6),
        view(level.grid, 1, 0, 2, 2, 6),
    ]
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 40 * data.dtype.itemsize)
    found = [plane[0] for plane, _ in read_views([level], views, kind)]
    reduce = np.mean if kind == "mean" else np.max
    values = data.astype(float)
    expected = [
        reduce(values.reshape(6, 4, 2, 3, 4), axis=(0, 2, 4)),
        reduce(values.reshape(3, 2, 8, 6, 2), axis=(1, 2, 4)),
        reduce(values.reshape(6, 2, 4, 12), axis=(2, 3)).T,
    ]
    for seen, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(seen, wanted, rtol=1e-9)


def test_a_voxel_larger_than_a_pixel_stays_a_block(noise):
    """Nothing is interpolated: a pixel within a voxel has its value, one between two their mean."""
    level = stored(noise((3, 2, 2)), (3.0, 1.0, 1.0))
    ((plane, _),) = read_views([level], [view(level.grid, 0, 2, 1, 9, 4, 0.0)], "mean")
    data = level.array.read(Box(start=(0, 0, 0), stop=(3, 1, 2)))[:, 0].astype(float)
    np.testing.assert_allclose(plane[0], np.repeat(np.repeat(data, 3, 0), 2, 1))
    ((plane, _),) = read_views([level], [view(level.grid, 0, 2, 1, 2, 2, 0.0)], "mean")
    np.testing.assert_allclose(plane[0][0], (2 * data[0] + data[1]) / 3)


def test_what_is_no_number_is_left_out():
    """NaN and infinities count neither in means nor in maxima; a pixel of them alone is empty."""
    data = np.array([[[np.nan, 1.0], [np.inf, 3.0]], [[np.nan, 5.0], [-np.inf, np.nan]]], "f4")
    level = stored(data)
    across = view(level.grid, 1, 2, 0, 2, 2)
    for kind, last in (("mean", 3.0), ("max", 5.0)):
        wanted = [[np.nan, last], [np.nan, 3.0]]
        ((plane, _),) = read_views([level], [across], kind)
        np.testing.assert_array_equal(plane[0], wanted)


def test_memory_does_not_grow_with_the_image(monkeypatch):
    """Blocks are whole chunks up to the limit, and every voxel of a projection is read once."""
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 2**12)
    level = stored(np.ones((30, 64, 70), "uint8"), chunk=(8, 8, 8))
    views = [view(level.grid, 1, 2, 0, 10, 10), view(level.grid, 0, 2, 1, 10, 10)]
    read_views([level], views, "max")
    assert max(box.size for box in level.array.boxes) <= 2**12
    assert sum(box.size for box in level.array.boxes) == 30 * 64 * 70
    assert all(start % 8 == 0 for box in level.array.boxes for start in box.start)


def test_a_projection_of_labels_shows_the_first_one(monkeypatch):
    """Ids are exact to 64 bits, and 0 is looked through, from block to block."""
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 16)
    data = np.zeros((3, 2, 2), "uint64")
    data[1, 0, 0], data[2, 0, 0], data[2, 1, 1] = 2**63 + 1, 5, 7
    level = stored(data)
    ((plane, _),) = read_views([level], [view(level.grid, 1, 2, 0, 4, 4)], "labels")
    expected = np.repeat(np.repeat(np.array([[2**63 + 1, 0], [0, 7]], "uint64"), 2, 0), 2, 1)
    np.testing.assert_array_equal(plane[0], expected)


def test_the_coarsest_level_that_suffices_is_read(noise, make_image, tmp_path):
    """Its voxels are no larger than a pixel; a picture of many pixels reads the finest."""
    make_image(noise((16, 128, 128)), (8.0, 1.0, 1.0))
    run = chunkscale.resample(
        tmp_path / "source.ome.zarr", tmp_path / "out.zarr", voxel_size="same", levels=3, chunk=16
    )
    image = chunkscale.open_image(run.path)
    found = stored_levels(image, "micrometer")
    sizes = [level.grid.voxel_size for level in found]
    assert sizes == [(8, 1, 1), (8, 2, 2), (8, 4, 4)]
    for width, number in ((128, 0), (64, 1), (63, 1), (30, 2), (5, 2)):
        of = view(image.grid, 1, 2, 0, width, width, 60.0)
        assert sufficient_level(found, of).number == number


def test_a_level_that_contradicts_the_finest_is_not_read(noise, make_image, tmp_path):
    """Levels that lie elsewhere would show another place."""
    make_image(noise((4, 32, 32)))
    run = chunkscale.resample(tmp_path / "source.ome.zarr", tmp_path / "o.zarr", levels=2, chunk=8)
    image = chunkscale.open_image(run.path)
    assert len(stored_levels(image, None)) == 2
    first, second = image.multiscale.datasets
    moved = replace(second, translation=(9.0, 9.0, 9.0))
    broken = replace(image, multiscale=replace(image.multiscale, datasets=(first, moved)))
    assert len(stored_levels(broken, None)) == 1


def test_a_level_is_coarser_than_its_pixels_where_that_saves_minutes(monkeypatch):
    """Where too many voxels would be decoded, and a coarser level is there."""
    fine = stored(np.zeros((8, 64, 64), "uint8"))
    coarse = stored(np.zeros((4, 32, 32), "uint8"), (2.0, 2.0, 2.0), number=1)
    of = view(fine.grid, 1, 2, 0, 64, 64)
    assert sufficient_level([fine, coarse], of).number == 0
    monkeypatch.setattr(level_choice, "MOST_DECODED", 8 * 64 * 64 - 1)
    assert sufficient_level([fine, coarse], of).number == 1
    assert sufficient_level([fine], of).number == 0


SHAPES = [
    [(86, 396, 393)],
    [(86, 396, 393), (426, 396, 393), (5, 40, 400)],
    [(3, 2000, 1000)],
    [(500, 20, 20)],
    [(1, 64, 64), (1, 64, 64)],
    [(30, 40), (300, 40)],
    [(2, 4000)],
]


@pytest.mark.parametrize("inset", [True, False])
@pytest.mark.parametrize("plane", ["all", "xy", "xz", "yz"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_panels_have_true_proportions_and_do_not_overlap(shapes, plane, inset):
    """One size of a pixel for all panels of all images, along both axes, and room for each."""
    grids = [grid_for(shape, (1.0, 0.25, 0.25)[-len(shape) :]) for shape in shapes]
    found = arranged([(g, planes_of(g, plane)) for g in grids], 1200, inset=inset)
    assert found.width <= 1200 + 220 * len(grids)  # names take some room beside narrow images
    taken = np.zeros((found.height, found.width), int)
    for grid, block in zip(grids, found.blocks, strict=True):
        for shown, place in block.panels:
            for axis, count in ((shown.row, place.height), (shown.column, place.width)):
                length = grid.shape[axis] * grid.voxel_size[axis]
                assert abs(count - length / found.pixel) <= 0.5 or count == 1
        places = [place for _, place in block.panels]
        for place in [*places, *([block.inset] if block.inset else []), block.header]:
            assert place.x >= 0
            assert place.y >= 0
            taken[place.y : place.y + place.height, place.x : place.x + place.width] += 1
            assert place.y + place.height <= found.height
            assert place.x + place.width <= found.width
        assert (block.inset is not None) == inset
    assert taken.max() == 1


def test_units_are_one_in_a_picture(noise):
    """An image in nanometers beside one in micrometers has the size that it has."""
    data = noise((4, 20, 20))
    one, other = (
        _opened(data, unit, size) for unit, size in (("micrometer", 0.5), ("nanometer", 500.0))
    )
    sheet = composed([subject(one), subject(other)], Look(inset=False, width=300))
    half = len(sheet.panels) // 2
    for left, right in zip(sheet.panels[:half], sheet.panels[half:], strict=True):
        assert left.pixels.shape == right.pixels.shape
        np.testing.assert_array_equal(left.pixels, right.pixels)
    assert sheet.panels[0].bar.text.endswith(" µm")


def test_images_of_one_type_have_one_contrast(noise):
    """So that a darker one looks darker; another type has its own."""
    data = noise((4, 20, 20), "uint8")
    images = [_opened(a, "micrometer", 1.0) for a in (data, data // 4, data.astype("uint16") * 9)]
    sheet = composed([subject(image) for image in images], Look(inset=False, plane="xy", width=300))
    bright, dark, other = (panel.pixels.mean() for panel in sheet.panels)
    assert dark < bright / 3
    assert other == pytest.approx(bright, rel=0.1)


def test_all_images_are_cut_at_one_place():
    """The slice of the second one lies where the voxels are that the first one shows."""
    data = np.zeros((5, 16, 16), "uint8")
    data[2] = np.arange(16)
    fine = chunkscale.resample_array(
        data, source_voxel_size=(3.0, 1.0, 1.0), voxel_size=1.0, method="nearest"
    )
    images = [_opened(data, "micrometer", (3.0, 1.0, 1.0)), _opened(fine, "micrometer", 1.0)]
    sheet = composed([subject(image) for image in images], Look(inset=False, plane="xy", width=300))
    assert sheet.panels[0].pixels.max() > 0.9
    np.testing.assert_allclose(sheet.panels[0].pixels, sheet.panels[1].pixels)


def test_insets_show_one_place_of_all_images():
    """That where the first image has most to see, in the same frame, without its labels."""
    data = np.zeros((20, 60, 60), "uint8")
    data[12:15, :, 40:44] = 200
    labels = np.zeros(data.shape, "uint16")
    labels[2:5, :, 2:30] = 9
    label = replace(_opened(labels, "micrometer", 1.0), is_label=True)
    one = _opened(data, "micrometer", 1.0)
    sheet = composed([subject(one, labels=(label,)), subject(label)], Look(plane="xz", width=400))
    first, inset, second, _ = sheet.panels
    mark, scale = first.mark, first.place.width / 60
    assert mark.x / scale <= 40
    assert (mark.x + mark.width) / scale >= 44
    assert mark.y / scale <= 12
    assert (mark.y + mark.height) / scale >= 15
    assert second.mark == mark
    assert inset.framed
    assert inset.pixels.max() > 0.99


def test_channels_are_added_up_in_their_colours(noise):
    """Red and green at one place are yellow."""
    data = np.zeros((2, 4, 8), "uint8")
    data[0, :, :6] = data[1, :, 2:] = 100
    colours = [{"color": "FF0000"}, {"color": "00FF00"}]
    image = replace(
        _opened(data, "micrometer", 1.0, axes="cyx"), attributes={"omero": {"channels": colours}}
    )
    (panel,) = composed([subject(image)], Look(inset=False, width=300)).panels
    row = panel.pixels[2, :: panel.place.width // 8]
    np.testing.assert_allclose(row[0], [1, 0, 0])
    np.testing.assert_allclose(row[3], [1, 1, 0])
    np.testing.assert_allclose(row[7], [0, 1, 0])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_channels_have_their_colours_in_every_version(version, make_image, noise, tmp_path):
    """Attributes hold them at two places; what is not active is left out."""
    window = {"min": 0, "max": 65535, "start": 0, "end": 65535}
    channels = [
        {"color": color, "active": color != "0000FF", "window": window}
        for color in ("FF0000", "0000FF", "00FF00")
    ]
    source = make_image(
        noise((3, 4, 6, 8)), axes="czyx", attributes={"omero": {"channels": channels}}
    )
    run = chunkscale.resample(source, tmp_path / "out", voxel_size="same", ome_zarr_version=version)
    image = chunkscale.open_image(run.path)
    assert source_colours(image) == [(1, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert source_colours(image.select(channels=2)) == [(0, 1, 0)]
    assert active_channels(image, 3) == [0, 2]


def test_a_label_has_one_colour_in_all_pictures():
    """Whatever other labels are there: it depends on the id alone."""

    def colours(ids):
        image = replace(_opened(np.array([ids], "uint16"), None, 1.0), is_label=True)
        (panel,) = composed([subject(image)], Look(inset=False, width=300)).panels
        return {tuple(colour) for colour in panel.pixels.reshape(-1, 3)}

    few, more = colours([[0, 3], [3, 3]]), colours([[1, 3], [2, 0]])
    assert few < more
    assert len(more - few) >= 2
    assert colours([[0, 5], [5, 5]]) != few


def test_the_samples_labels_are_those_of_its_cells(make_image, tmp_path):
    """Each label lies on a bright cell, and the image finds them."""
    shape, size = (20, 60, 60), (1.0, 0.5, 0.5)
    cells, labels = (f(shape, size, cells=4) for f in (synthetic_cells, synthetic_labels))
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    dark = np.median(cells[labels == 0])
    assert all(np.median(cells[labels == i]) > 2 * dark for i in range(1, 5))
    path = make_image(cells, size)
    write_labels(path, "cells", labels, grid_for(shape, size))
    assert chunkscale.open_image(path).labels == ("labels/cells",)
    assert chunkscale.open_image(path / "labels" / "cells").is_label


def test_what_is_sparse_keeps_its_shades():
    """Empty ground, however much of it there is, does not decide on the contrast."""
    data = np.zeros((1, 200, 200), "uint16")
    data[0, 90:120, 90:120] = 100 * np.arange(1, 31)
    (panel,) = composed(
        [subject(_opened(data, None, 1.0))], Look(inset=False, width=248, percentiles=(1.0, 99.0))
    ).panels
    lit = panel.pixels[panel.pixels > 0]
    assert (lit == 1).mean() < 0.1
    assert len(np.unique(lit.round(3))) >= 28


def test_one_image_of_a_plate_has_to_be_named(tmp_path):
    """Its images are not shown together: no option would take them all."""
    path = plates.plate(tmp_path / "plate.zarr")
    with pytest.raises(chunkscale.MultipleImagesError) as refused:
        opened_together(path, [], {}, None)
    text = str(refused.value)
    assert "all" not in text
    first = text.rpartition("like ")[2].strip("'")
    (source,) = opened_together(first, [], {}, None)
    assert source.grid.ndim == 4
