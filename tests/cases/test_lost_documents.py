"""Metadata that are links to what is not there, as git-annex leaves them, are not left out."""

import plates
import pytest

import chunkscale


@pytest.fixture
def labelled(tmp_path):
    def make(version):
        source = plates.image(tmp_path / "s.zarr", version, shape=(4, 12, 10))
        plates.ngff(source / "labels", {"labels": ["cells"]}, version)
        marked = {"attributes": {"image-label": {}}}
        plates.image(source / "labels/cells", version, shape=(4, 12, 10), **marked)
        return source

    return make


def lose(file, tmp_path):
    file.unlink()
    file.symlink_to(tmp_path / "annex")


@pytest.mark.parametrize(
    ("version", "place"),
    [("0.5", "zarr.json"), ("0.5", "0/zarr.json"), ("0.4", ".zattrs"), ("0.4", "0/.zarray")],
)
def test_an_image_without_its_document_is_refused_by_name(version, place, labelled, tmp_path):
    """It is there, and out of reach: whoever says that nothing is there sends the user astray."""
    source = labelled(version)
    lose(source / place, tmp_path)
    with pytest.raises(chunkscale.ChunkscaleError, match=r"annex', which does not exist; restore"):
        chunkscale.open_image(source)


@pytest.mark.parametrize(
    ("version", "place"),
    [("0.5", "zarr.json"), ("0.5", "0/zarr.json"), ("0.4", ".zgroup"), ("0.4", "0/.zarray")],
)
def test_a_folder_in_the_place_of_a_document_is_refused_by_name(version, place, labelled):
    source = labelled(version)
    (source / place).unlink()
    (source / place).mkdir()
    with pytest.raises(chunkscale.MetadataError, match="is a folder instead of a file") as error:
        chunkscale.open_image(source)
    assert repr(str(source / place)) in str(error.value)


@pytest.mark.parametrize(("version", "name"), [("0.5", "zarr.json"), ("0.4", ".zattrs")])
def test_labels_without_their_list_are_told_of(version, name, labelled, tmp_path):
    """They would be left behind without a word."""
    source = labelled(version)
    lose(source / "labels" / name, tmp_path)
    with pytest.warns(chunkscale.ChunkscaleWarning, match=r"labels .*annex', which does not exist"):
        chunkscale.resample(source, tmp_path / "out.zarr", levels=1, voxel_size="same")
