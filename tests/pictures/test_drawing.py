"""Pictures as users make them: in Python, on the command line, with and without Matplotlib."""

import shlex
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.arguments import make_parser
from chunkscale.cli.main import main
from chunkscale.demo import draw_picture
from chunkscale.pictures.drawing import is_installed
from chunkscale.samples import write_labels

needs_matplotlib = pytest.mark.skipif(not is_installed(), reason="Matplotlib is not installed")


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((6, 20, 30)), (1.0, 0.25, 0.25), name="stack.ome.zarr")


def size_of(path):
    return struct.unpack(">II", path.read_bytes()[16:24])


def test_without_matplotlib_the_extra_is_named(stack, monkeypatch, capsys):
    """Before anything is read, in Python and on the command line."""
    monkeypatch.setattr("chunkscale.pictures.drawing.is_installed", lambda: False)
    with pytest.raises(chunkscale.OptionError, match=r"pip install 'chunkscale\[plot\]'"):
        chunkscale.show("nowhere.zarr")
    assert main(["show", str(stack), "-o", str(stack.with_name("out.png"))]) == 2
    assert "pip install 'chunkscale[plot]'" in capsys.readouterr().err
    assert not stack.with_name("out.png").exists()


def test_the_demo_says_how_to_get_its_picture(monkeypatch, tmp_path):
    """Where Matplotlib is missing: what to install, and the command to type then."""
    monkeypatch.setattr("chunkscale.demo.is_installed", lambda: False)
    said = []
    draw_picture(tmp_path / "a.zarr", tmp_path / "b c.zarr", tmp_path / "out.png", say=said.append)
    assert "pip install 'chunkscale[plot]'" in said[0]
    program, *arguments = shlex.split(said[0].rpartition("$ ")[2])
    assert program == "chunkscale"
    given = make_parser().parse_args(arguments)
    assert [given.source, *given.others][1] == str(tmp_path / "b c.zarr")
    assert len(given.titles) == len(given.others) + 1 == 3


@needs_matplotlib
@pytest.mark.slow
def test_the_demo_draws_its_picture(stack, grid_labels, tmp_path):
    """Over one that is there."""
    out = tmp_path / "out.png"
    out.write_text("old")
    draw_picture(stack, stack, out)
    assert size_of(out)[0] > 1000


@needs_matplotlib
def test_the_command_draws_what_the_function_draws(stack, tmp_path, capsys):
    """Each option has its parameter, and the file has the pixels that are printed."""
    out, other = tmp_path / "out.png", tmp_path / "other.png"
    arguments = ["show", str(stack), str(stack), "-o", str(out), "--projection", "max",
                 "--plane", "xz", "--crop", "z=1:5", "--percentiles", "0,100", "--colormap",
                 "magma", "--no-inset", "--title", "a", "--title", "b"]  # fmt: skip
    arguments += ["--width", "500"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == f"{out}: {' x '.join(map(str, size_of(out)))} pixels"
    picture = chunkscale.show(
        stack, chunkscale.open_image(stack), output=other, projection="max", plane="xz",
        crop="z=1:5", percentiles=(0, 100), colormap="magma", inset=False, titles=["a", "b"],
        width=500,
    )  # fmt: skip
    assert picture._repr_png_() == other.read_bytes() == out.read_bytes()
    assert str(picture) == f"{size_of(out)[0]} x {size_of(out)[1]} pixels"


@needs_matplotlib
def test_a_file_is_replaced_only_if_asked_for(stack, tmp_path, capsys):
    """It is refused before anything is read; what no picture is called is refused anyway."""
    out = tmp_path / "out.png"
    out.write_text("mine")
    assert main(["show", "nowhere.zarr", "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["show", str(stack), "-o", str(out), "--overwrite"]) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert main(["show", str(stack), "-o", str(tmp_path / "scan.tif"), "--overwrite"]) == 2
    assert ".png, .pdf, .svg" in capsys.readouterr().err
    picture = chunkscale.show(stack, width=300)
    for name, head in (("out.pdf", b"%PDF"), ("out.svg", b"<?xml")):
        picture.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(head)
        with pytest.raises(chunkscale.DestinationError, match="overwrite=True"):
            picture.save(tmp_path / name)


@needs_matplotlib
def test_settings_of_the_user_change_no_picture(stack):
    """Nor what the figure is written as: a picture has the pixels that it was laid out in."""
    import matplotlib

    plain = chunkscale.show(stack, width=400)._repr_png_()
    with matplotlib.rc_context({"savefig.bbox": "tight", "figure.dpi": 40, "text.usetex": True,
                                "savefig.dpi": 33, "image.origin": "lower"}):  # fmt: skip
        assert chunkscale.show(stack, width=400)._repr_png_() == plain


@needs_matplotlib
@pytest.mark.slow
def test_pyplot_is_left_alone(stack):
    """A figure is one of its own: nothing is held by Matplotlib, and no window comes."""
    program = (
        f"import chunkscale, sys; chunkscale.show({str(stack)!r}, width=300)._repr_png_(); "
        "print([m for m in sys.modules if m == 'matplotlib.pyplot'])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"


@needs_matplotlib
@pytest.mark.parametrize("title", ["$\\frac$ {", "細胞", "a\nb", "\udc80", "long " * 200, ""])
def test_any_name_can_stand_above_an_image(stack, title):
    """Neither a formula, nor a letter that the font lacks, nor its length is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunkscale.show(stack, titles=[title], width=300)._repr_png_()


@needs_matplotlib
def test_labels_lie_over_their_image(stack, make_image, grid_labels, tmp_path):
    """By name, all of them, or another label image; the picture of each is the same."""
    plain = chunkscale.show(stack, width=400)._repr_png_()
    shown = {
        chunkscale.show(stack, width=400, labels=labels)._repr_png_()
        for labels in (True, "cells", ["labels/cells"], str(stack / "labels" / "cells"))
    }
    assert len(shown) == 1
    assert shown != {plain}
    with pytest.raises(chunkscale.SourceNotFoundError):
        chunkscale.show(stack, labels="nuclei")
    floats = make_image(np.ones((6, 20, 30), "f4"), (1.0, 0.25, 0.25), name="f.zarr")
    with pytest.raises(chunkscale.OptionError, match="not integers"):
        chunkscale.show(stack, labels=str(floats))


@pytest.fixture
def grid_labels(stack):
    ids = np.zeros((6, 20, 30), "uint32")
    ids[1:5, 4:12, 6:20] = 70000
    write_labels(stack, "cells", ids, chunkscale.open_image(stack).grid)


@needs_matplotlib
def test_time_points_and_channels_are_chosen(make_image, noise, tmp_path):
    """The header says what is not shown; what is not there is refused by name."""
    path = make_image(noise((3, 8, 2, 10, 10), "uint8"))
    picture = chunkscale.show(path, timepoint=2, width=900, inset=False)
    written = " ".join(text.get_text() for text in picture.figure.texts)
    assert "time 2 of 0 to 2" in written
    assert "6 of 8 channels" in written
    assert "channel 5" in written
    other = chunkscale.show(path, timepoint=2, channels="7,0", width=900, inset=False)
    written = " ".join(text.get_text() for text in other.figure.texts)
    assert "channel 7" in written
    assert "channel 1" not in written
    with pytest.raises(chunkscale.OptionError, match="timepoints"):
        chunkscale.show(path, timepoint=3)
    with pytest.raises(chunkscale.OptionError, match="colormap"):
        chunkscale.show(path, colormap="nonsense")
    with pytest.raises(chunkscale.OptionError, match="percentiles"):
        chunkscale.show(path, percentiles="99,1")
    with pytest.raises(chunkscale.OptionError, match="titles"):
        chunkscale.show(path, titles=["a", "b"])


@needs_matplotlib
@pytest.mark.parametrize("shape", [(5, 7), (1, 9, 9), (2, 1, 8, 8), (1, 1), (3, 400, 2)])
def test_images_of_any_shape_can_be_shown(noise, shape):
    """Planes, single planes of a stack, channels without depth, a single voxel."""
    axes = "czyx"[-len(shape) :]
    picture = chunkscale.show(noise(shape, "int16"), axes=axes, source_voxel_size=1.0, width=300)
    assert picture._repr_png_()
