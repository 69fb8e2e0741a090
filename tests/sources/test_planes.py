"""Planes in files of their own: what they say is told, and their axis is not guessed."""

import os

import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale import MetadataError, OptionError

PLANE = (np.arange(72) % 251).astype("uint8").reshape(8, 9)


def planes(folder, names, **options):
    """Write a plane for each name, and return the folder."""
    folder.mkdir()
    for i, name in enumerate(names):
        tifffile.imwrite(folder / f"{name}.tif", PLANE + np.uint8(i), **options)
    return folder


def opened(folder, **options):
    return chunkscale.open_image(folder, source_voxel_size=1, **options)


def told(image, kind):
    return [notice.text for notice in image.notices if notice.kind == kind]


def test_pages_in_files_say_what_a_page_in_a_file_says(tmp_path):
    """Turned, inverted, and some of them alone: with the number of files that say it."""
    more = {"photometric": "miniswhite", "extratags": [(274, 3, 1, 3, True)]}
    folder = planes(tmp_path / "all", ["z1", "z2"], **more)
    assert told(opened(folder), "lost") == told(opened(folder / "z1.tif"), "lost") != []
    folder = planes(tmp_path / "one", ["z1", "z2", "z3"], metadata=None)
    colors = np.zeros((3, 256), "uint16")
    tifffile.imwrite(folder / "z2.tif", PLANE, photometric="palette", colormap=colors)
    (text,) = told(opened(folder), "lost")
    assert text.startswith("in 1 of 3 files: its colour map")


def test_metadata_of_each_plane_are_told_to_be_left(tmp_path):
    folder = planes(tmp_path / "ome", ["z1", "z2"], ome=True)
    assert any("OME-XML" in text for text in told(opened(folder), "lost"))


@pytest.mark.parametrize(
    ("name", "axes", "telling"),
    [
        ("z{}", "zyx", ""),
        ("a_t1_slice{:03d}", "zyx", ""),
        ("{}", "zyx", "planes along z"),
        ("scan{}", "zyx", "planes along z"),
        ("t{}", "tyx", "time points"),
        ("cells_Time-{:02d}_z1", "tyx", "time points"),
        ("cellsT{}", "tyx", "time points"),
        ("img_ch{:02d}", "cyx", "channels"),
        ("c{}", "cyx", "channels"),
    ],
)
def test_files_follow_the_axis_that_their_names_say(name, axes, telling, tmp_path):
    """With a word, unless that is z and the names say so; what the user says comes first."""
    folder = planes(tmp_path / "planes", [name.format(i) for i in range(3)])
    image = opened(folder)
    assert image.axes == axes
    assert (np.asarray(image)[:, 0, 0] == [0, 1, 2]).all()
    assert [telling in text for text in told(image, "axes")] == [True] * bool(telling)
    asked = opened(folder, axes="cyx")
    assert asked.axes == "cyx"
    assert not told(asked, "axes")


def test_names_that_may_say_several_axes_ask_for_one(tmp_path):
    """And each of the axes that the error names works."""
    folder = planes(tmp_path / "planes", ["frame_1", "frame_2"])
    with pytest.raises(OptionError, match=r"'frame' in .*axes='zyx'.*'tyx'.*'cyx'"):
        opened(folder)
    for axes in ("zyx", "tyx", "cyx"):
        assert opened(folder, axes=axes).axes == axes


KINDS = {
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "a folder": lambda path: path.mkdir(),
    "a pipe or a device": os.mkfifo,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["", "z*.tif"])
def test_what_is_called_like_a_plane_and_is_no_file_is_named(pattern, kind, tmp_path):
    """The last one as well, which no other name misses; a pipe is not waited for."""
    folder = planes(tmp_path / "all", ["z1", "z2", "z3"])
    (folder / "z3.tif").unlink()
    KINDS[kind](folder / "z3.tif")
    with pytest.raises(MetadataError, match=rf"z3\.tif' is {kind} instead of a file"):
        opened(folder / pattern)


def test_planes_of_several_folders_are_no_stack(tmp_path):
    """Whether their numbers go on, are the same, or differ; the pattern that is named works."""
    for name, first in (("DAPI", 0), ("GFP", 3), ("RFP", 3)):
        planes(tmp_path / name, [f"z{i}" for i in range(first, first + 3)])
    for folders in ("[DG]*", "[GR]*", "*"):
        with pytest.raises(chunkscale.MetadataError, match=r"several folders.*one folder at") as e:
            opened(tmp_path / folders / "z*.tif")
    assert str(tmp_path / "GFP") in str(e.value)
    remedy = str(e.value).rpartition("like ")[2].strip("'")
    assert opened(remedy).shape == (3, 8, 9)
