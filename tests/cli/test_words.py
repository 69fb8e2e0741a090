"""What is printed: in the words of whoever reads it."""

import time

import pytest

import chunkscale
from chunkscale.cli.main import main
from chunkscale.text import spoken


def test_messages_name_options_as_their_reader_spells_them(make_image, noise, tmp_path, capsys):
    """As typed on the command line, as arguments in Python, and never as both."""
    stack = make_image(noise((8, 30, 30)), (1.0, 0.25, 0.25))
    out = tmp_path / "out.zarr"
    chunkscale.resample(stack, out, voxel_size=1, antialias=True)
    with pytest.raises(chunkscale.DestinationError) as error:
        chunkscale.resample(stack, out, voxel_size=1)
    assert "overwrite=True" in str(error.value)
    assert "--overwrite" not in str(error.value)
    assert main(["resample", str(stack), str(out), "--voxel-size", "1"]) == 2
    told = capsys.readouterr().err
    assert "--overwrite" in told
    assert "overwrite=True" not in told
    with pytest.raises(chunkscale.DestinationError, match="overwrite=True"):
        chunkscale.resample(stack, out, voxel_size=1)
    assert main(["plan", str(stack), "--voxel-size", "1"]) == 0
    assert "warning: aliasing: " in (printed := capsys.readouterr().out)
    assert "; --antialias is softer" in printed


def test_what_is_quoted_is_no_option(tmp_path, capsys):
    """A folder keeps its name, whatever it is called."""
    path = str(tmp_path / "run (--zoom 3)" / "no.zarr")
    with pytest.raises(chunkscale.SourceNotFoundError) as error:
        chunkscale.open_image(path)
    assert repr(path) in str(error.value)
    assert main(["info", path]) == 2
    assert repr(path) in capsys.readouterr().err


def test_options_that_are_lists_are_named_once(make_image, noise, tmp_path):
    stack = make_image(noise((8, 8, 8)))
    for images in (["a b", "c"], ("a",), "it's"):
        with pytest.raises(chunkscale.OptionError) as error:
            chunkscale.resample(stack, tmp_path / "out.zarr", images=images)
        assert str(error.value).startswith(f"images={images!r} selects images")


def test_long_names_are_looked_through_once():
    """A damaged file may have a name of a hundred thousand letters."""
    begun = time.process_time()
    for text in ("a" * 100_000, "a" * 100_000 + " (--x y)"):
        spoken(f"the axis {text} is unknown; give axes='zyx' (--source-axes zyx)")
    assert time.process_time() - begun < 1.0
