"""What `--overwrite` deletes: files by their exact names, and nothing that only looks like them."""

import os

import pytest

import chunkscale

STRAYS = ["._x", ".DS_Store", "zarr.json.__lock", f"zarr.json.{'a' * 32}.partial", ".zattrs"]


@pytest.fixture
def image(make_image, noise, tmp_path):
    source = make_image(noise((4, 8, 8)), (1.0, 1.0, 1.0))
    chunkscale.resample(source, tmp_path / "out.zarr", levels=1, voxel_size="same")
    return source, tmp_path / "out.zarr"


def replaced(source, out):
    chunkscale.resample(source, out, levels=1, voxel_size="same", overwrite=True)


@pytest.mark.parametrize("place", ["", "0"])
@pytest.mark.parametrize("name", STRAYS)
def test_a_folder_is_not_deleted_for_its_name(name, place, image):
    """Files called so belong to nobody; a folder may hold anything."""
    source, out = image
    folder = out / place / name
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(chunkscale.DestinationError, match="holds more than one image"):
        replaced(source, out)
    assert (folder / "thesis.txt").read_text() == "mine"
    (folder / "thesis.txt").unlink()
    folder.rmdir()
    folder.write_text("")
    replaced(source, out)
    assert not folder.exists()
    assert chunkscale.check(out, source=source)


@pytest.mark.parametrize("inside", ["2024/thesis.txt", "5/6/thesis.txt", "c/1/thesis.txt", "99"])
def test_numbers_that_are_no_chunks_are_not_deleted(inside, image):
    """Of an array its chunks go, which have as many numbers as it has axes."""
    source, out = image
    file = out / "0" / inside
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(chunkscale.DestinationError, match=f"more than one image .*{inside}"):
        replaced(source, out)
    assert file.read_text() == "mine"


def test_a_folder_does_not_pass_for_what_a_killed_run_left(make_image, noise, tmp_path):
    """A blank place is one without anything of a user."""
    source, out = make_image(noise((4, 8, 8)), (1.0, 1.0, 1.0)), tmp_path / "out.zarr"
    (out / "123.__lock").mkdir(parents=True)
    (out / "123.__lock" / "thesis.txt").write_text("mine")
    for how in ("resume", "overwrite"):
        with pytest.raises(chunkscale.DestinationError, match="not an OME-Zarr image"):
            chunkscale.resample(source, out, **{how: True})
    assert (out / "123.__lock" / "thesis.txt").read_text() == "mine"


def test_what_a_user_puts_among_the_notes_stays(image):
    """Only what a run has noted down goes when it is published."""
    source, out = image
    (out / ".chunkscale").mkdir()
    (out / ".chunkscale" / "thesis.txt").write_text("mine")
    replaced(source, out)
    assert os.listdir(out / ".chunkscale") == ["thesis.txt"]
    assert chunkscale.check(out, source=source)
