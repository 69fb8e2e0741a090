"""What a notebook shows: one line where values are listed, tables by axis, a small picture."""

import html.parser
import struct
import zlib

import numpy as np
import pytest
from grids import grid_for

import chunkscale
from chunkscale.pictures import thumbnail as painting
from chunkscale.pictures.thumbnail import thumbnail
from chunkscale.samples import write_image, write_labels
from chunkscale.sources.arrays import ArraySource, HeldArray

SHAPE, SIZE = (2, 3, 8, 20, 30), (30.0, 1.0, 1.0, 0.5, 0.2)


class Tables(html.parser.HTMLParser):
    """The cells of each row; whatever is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open, self.sources = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        styles = dict(attributes).get("style", "")
        assert "color" not in styles
        assert "background" not in styles
        if tag == "img":
            self.sources.append(dict(attributes)["src"])
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def row(self, title):
        return next(row[1:] for row in self.rows if row[0] == title)


def tables(value):
    return Tables(value._repr_html_())


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Make an image of five axes with labels, and resample it."""
    folder = tmp_path_factory.mktemp("films")
    path, out = folder / "film <b>.zarr", folder / "out.zarr"
    data = np.random.default_rng(0).integers(0, 200, SHAPE, dtype="uint8")
    grid = grid_for(SHAPE, SIZE)
    first = chunkscale.Axis(name="t", kind="time", unit="second")
    write_image(path, data, grid.replace(axes=(first, *grid.axes[1:])))
    write_labels(path, "cells", np.ones(SHAPE[2:], "uint16"), grid_for(SHAPE[2:], SIZE[2:]))
    image = chunkscale.open_image(path)
    run = chunkscale.resample(image, out, voxel_size=0.5, antialias=True)
    return image, run, data


def test_values_are_one_line_and_print_all(films):
    """A list of plans stays readable; print has all of each."""
    image, run, _ = films
    plan, report = run.plan, chunkscale.check(run.path)
    part = image.select(crop="z=2:6")
    for value in (image, part, plan, run, report, image.grid, plan.levels[0]):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 300
    assert "(2, 3, 8, 20, 30) -> (2, 3, 16, 20, 12) uint8" in repr(plan)
    assert "0.5 x 0.5 x 0.5 µm" in repr(plan)
    assert "memory" in str(plan)
    assert "OK" in repr(report)
    assert "translation (0, 0, 0, 0, 0)" in repr(image.grid)


def test_tables_have_a_column_for_each_axis(films):
    """Source beside target; seconds are told from micrometers, and channels have neither."""
    image, run, _ = films
    shown = tables(run.plan)
    assert ["", "source", "target"] in shown.rows
    assert shown.row("voxels") == [*map(str, SHAPE), "2", "3", "16", "20", "12"]
    assert shown.row("voxel size (µm)") == [
        *("30 s", "", "1", "0.5", "0.2"),
        *("30 s", "", "0.5", "0.5", "0.5"),
    ]
    assert shown.row("extent (µm)")[2:5] == ["8", "10", "6"]
    assert shown.row("translation (µm)")[-3:] == ["-0.25", "0", "0.15"]
    assert len(shown.row("chunk")) == 10
    assert tables(image).row("voxels") == list(map(str, SHAPE))
    assert tables(image).row("labels") == ["cells"]
    assert tables(run).row("voxel size (µm)")[-1] == "0.5"
    part = tables(image.select(crop="z=2:6"))
    assert part.row("voxels")[2] == "4"
    assert part.row("only") == ["crop z 2:6"]
    assert tables(chunkscale.check(run.path)).row("result") == ["OK"]
    plan = chunkscale.plan_resampling(image.uri.rpartition("/")[0], images="all")
    assert tables(plan).row("images") == ["2 images and 2 label images"]


def test_units_that_differ_stand_in_each_cell():
    """No number without its unit."""
    grid = grid_for((4, 5, 6), (1.0, 200.0, 200.0))
    nano = chunkscale.Axis(name="y", unit="nanometer")
    mixed = grid.replace(axes=(grid.axes[0], nano, chunkscale.Axis(name="x", unit="nanometer")))
    plan = chunkscale.plan_resampling(_held(mixed), voxel_size="same")
    assert tables(plan).row("voxel size")[:3] == ["1 µm", "200 nm", "200 nm"]
    assert "voxel size z 1 µm, y 200 nm, x 200 nm" in str(plan)


def _held(grid):
    """Return an image in memory on a grid."""
    array = HeldArray(np.zeros(grid.shape, "uint8"))
    return ArraySource(path="array", grid=grid, array=array, opaque=False)


def test_reports_of_faults_are_shown(films):
    """The first in the line, all in the notebook."""
    run = films[1]
    report = chunkscale.check(run.path, source=np.zeros(SHAPE, "uint8"), source_voxel_size=SIZE[2:])
    assert not report
    assert "fault" in repr(report)
    assert "the first: " in repr(report)
    faults = [row for row in tables(report).rows if row[0] == "fault"]
    assert len(faults) == len(report.faults)


def decoded(png):
    """Return the pixels of a PNG file without filters."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, found = 8, {}
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        name, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        (crc,) = struct.unpack(">I", png[place + 8 + size : place + 12 + size])
        assert crc == zlib.crc32(name + content)
        found[name] = content
        place += 12 + size
    width, height = struct.unpack(">II", found[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), "uint8").reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_the_thumbnail_is_the_central_plane_in_true_proportions(tmp_path):
    """Each voxel is a block of pixels, from the darkest to the brightest."""
    data = np.zeros((4, 2, 4), "uint16")
    data[2] = [[0, 100, 200, 300], [300, 200, 100, 0]]
    write_image(tmp_path / "a.zarr", data, grid_for(data.shape, (1.0, 0.4, 0.2)))
    pixels = decoded(thumbnail(chunkscale.open_image(tmp_path / "a.zarr")))
    assert pixels.shape == (160, 160, 3)
    seen = pixels[40::80, 20::40, 0]
    assert (seen == pixels[40::80, 20::40, 2]).all()
    assert np.allclose(seen, data[2] / 300 * 255, atol=1)
    assert (np.unique(pixels) == np.unique(seen)).all()


def test_thumbnails_are_read_where_that_is_cheap_and_nowhere_else(films, tmp_path, monkeypatch):
    """No surprise: neither bytes nor errors; of the image that is in the notebook anyway."""
    image = films[0]
    assert tables(image).sources[0].startswith("data:image/png;base64,")
    assert tables(image.select(channels=1)).sources
    labels = chunkscale.open_image(f"{image.uri}/labels/cells")
    assert decoded(thumbnail(labels)).any()
    assert thumbnail(_held(image.grid)) is None
    monkeypatch.setattr(painting, "_MOST_BYTES", 1)
    assert not tables(image).sources
    monkeypatch.undo()
    broken = tmp_path / "broken.zarr"
    write_image(broken, np.ones((4, 4, 4), "uint8"), grid_for((4, 4, 4)))
    (chunk,) = (path for path in (broken / "0").rglob("*") if path.is_file() and "c" in path.parts)
    chunk.write_bytes(b"nonsense")
    assert not tables(chunkscale.open_image(broken)).sources


def test_a_small_level_is_read_for_the_thumbnail(tmp_path, monkeypatch):
    """Where level 0 is too large to be looked at the first coarser one that is not is."""
    data = np.random.default_rng(1).integers(0, 255, (4, 512, 512), dtype="uint8")
    write_image(tmp_path / "a.zarr", data, grid_for(data.shape))
    run = chunkscale.resample(tmp_path / "a.zarr", tmp_path / "b.zarr", voxel_size="same")
    image = chunkscale.open_image(run.path)
    assert image.level_count > 2
    monkeypatch.setattr(painting, "_MOST_BYTES", image.level(2).shape[1] ** 2 * 4)
    read = []
    real = painting.read_views

    def watched(levels, views, kind):
        read.extend(level.number for level in levels)
        return real(levels, views, kind)

    monkeypatch.setattr(painting, "read_views", watched)
    assert thumbnail(image)
    assert read
    assert read[0] >= 1


def test_an_image_becomes_an_array_if_it_fits(films, monkeypatch):
    """What does not fit is refused with the way on, before anything is read."""
    image, _, data = films
    assert (np.asarray(image) == data).all()
    monkeypatch.setattr("chunkscale.sources.views.available_bytes", lambda: data.nbytes - 1)
    with pytest.raises(chunkscale.MemoryBudgetError, match=r"use image\.as_dask\(\)"):
        np.asarray(image)


def test_a_value_steers_no_terminal(make_image, noise):
    """Units are whatever the metadata say."""
    image = chunkscale.open_image(make_image(noise((4, 8, 8)), unit="\x1b[31mred"))
    plan = chunkscale.plan_resampling(image, voxel_size=2)
    for value in (image.grid, plan, plan.levels[0]):
        assert "\\u001b[31mred" in repr(value)
        assert "\x1b" not in repr(value) + str(value)


def test_no_thumbnail_is_made_of_thousands_of_chunks(tmp_path):
    """Each is a file to be opened, however small it is."""
    data = np.ones((512, 512), "uint8")
    for name, chunk in (("few", (64, 64)), ("many", (8, 8))):
        write_image(tmp_path / name, data, grid_for(data.shape), chunk=chunk)
    assert thumbnail(chunkscale.open_image(tmp_path / "few"))
    assert thumbnail(chunkscale.open_image(tmp_path / "many")) is None
