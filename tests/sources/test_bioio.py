"""Files that readers of bioio take: made here, and read back lazily."""

import pickle

import numpy as np
import pytest
from microscopes import write_czi, write_lif
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.cli.main import main
from chunkscale.geometry.box import Box, whole

pytest.importorskip("bioio")

SIZES = {"x": 0.2e-6, "y": 0.2e-6, "z": 1e-6, "t": 5}


def voxels(image):
    return image.array.read(whole(image.array.shape))


@pytest.fixture
def czi(tmp_path):
    """Return a function that makes a CZI file."""
    pytest.importorskip("bioio_czi")
    pytest.importorskip("pylibCZIrw")

    def make(data, name="image.czi", **options):
        write_czi(tmp_path / name, data, **options)
        return tmp_path / name

    return make


@pytest.fixture
def lif(tmp_path, noise):
    """Return a LIF file with two series, and their voxels."""
    pytest.importorskip("bioio_lif")
    series = {"Series001": noise((2, 3, 20, 30)), "Other": noise((3, 1, 4, 16, 10))}
    write_lif(tmp_path / "image.lif", series, SIZES)
    return tmp_path / "image.lif", series


def test_czi_files_come_with_sizes_and_channels(czi, noise):
    """In micrometers, plane by plane."""
    data = noise((2, 2, 3, 40, 50))
    image = chunkscale.open_image(czi(data))
    assert image.grid.names == "tczyx"
    assert image.grid.voxel_size == (1, 1, 1, 0.2, 0.2)
    assert image.grid.axes[-1].unit == "micrometer"
    assert image.channels == ["DAPI", "GFP"]
    assert image.array.chunk == (1, 1, 1, 40, 50)
    assert_array_equal(voxels(image), data)
    box = Box(start=(1, 0, 1, 10, 20), stop=(2, 2, 3, 15, 50))
    out = np.empty(box.shape, "u2")
    assert image.array.read(box, out) is out
    assert_array_equal(out, data[box.slices])
    assert "instrument" in str(image.notices[0])


def test_axes_of_one_are_left_out(czi, noise):
    """A stack of one channel and time point is z, y, x; its channel keeps its name."""
    data = noise((1, 1, 3, 40, 50))
    image = chunkscale.open_image(czi(data, names=("DAPI",)))
    assert image.grid.names == "zyx"
    assert image.channels == ["DAPI"]
    assert_array_equal(voxels(image), data[0, 0])


def test_missing_sizes_are_asked_for(czi, noise):
    """By the option that gives them; what is given replaces what is there."""
    path = czi(noise((1, 1, 3, 8, 9)), sizes=None)
    with pytest.raises(chunkscale.OptionError, match=r"source_voxel_size .* along z, y, x"):
        chunkscale.open_image(path)
    assert chunkscale.open_image(path, source_voxel_size=2).grid.voxel_size == (2, 2, 2)
    known = czi(noise((1, 1, 3, 8, 9)), "known.czi")
    given = chunkscale.open_image(known, source_voxel_size={"z": 3})
    assert given.grid.voxel_size == (3, 0.2, 0.2)
    assert given.stated == (1, 0.2, 0.2)


def test_scenes_are_images_of_a_collection(lif, tmp_path, capsys):
    """Listed by name, opened by path, made together."""
    path, series = lif
    with pytest.raises(chunkscale.MultipleImagesError) as error:
        chunkscale.open_image(path)
    assert error.value.paths == tuple(series)
    for name, data in series.items():
        assert_array_equal(voxels(chunkscale.open_image(path / name)), data.squeeze())
    other = chunkscale.open_image(path / "Other")
    assert other.grid.names == "tzyx"
    assert (other.grid.voxel_size, other.grid.axes[0].unit) == ((5, 1, 0.2, 0.2), "second")
    with pytest.raises(chunkscale.SourceNotFoundError, match="'Series001', 'Other'"):
        chunkscale.open_image(path / "None")
    out = str(tmp_path / "out")
    assert main(["resample", str(path), out, "--all"]) == 0
    assert main(["resample", str(path), out, "--all", "--resume"]) == 0
    assert main(["check", out, "--source", str(path)]) == 0
    assert "2 images" in capsys.readouterr().out
    assert chunkscale.open_image(f"{out}/Other").grid.voxel_size == (5, 0.2, 0.2, 0.2)


def test_scenes_whose_names_are_no_paths_are_numbered(tmp_path, noise):
    """And named beside their numbers."""
    pytest.importorskip("bioio_lif")
    series = {"a/b": noise((1, 2, 8, 9)), "c": noise((1, 2, 8, 9))}
    write_lif(tmp_path / "image.lif", series, SIZES)
    with pytest.raises(chunkscale.MultipleImagesError, match=r"0 \(a/b\)") as error:
        chunkscale.open_image(tmp_path / "image.lif")
    assert error.value.paths == ("0", "1")
    assert_array_equal(voxels(chunkscale.open_image(tmp_path / "image.lif/1")), series["c"][0])


def test_other_processes_open_the_file_anew(lif):
    """What travels is its path, and not the graph of its blocks."""
    path, series = lif
    array = chunkscale.open_image(path / "Other").array
    travelled = pickle.dumps(array)
    assert len(travelled) < 500
    box = Box(start=(1, 0, 3, 2), stop=(3, 2, 9, 8))
    assert_array_equal(pickle.loads(travelled).read(box), series["Other"].squeeze()[box.slices])


def test_decoded_blocks_are_kept_for_the_next_read(lif, monkeypatch):
    """As many as the cache of a run holds."""
    from chunkscale.sources.dask_blocks import DaskBlocks
    from chunkscale.storage.engine import StoreIO

    made = []
    real = DaskBlocks._block
    monkeypatch.setattr(
        DaskBlocks,
        "_block",
        lambda self, index, shape: made.append(index) or real(self, index, shape),
    )
    array = chunkscale.open_image(lif[0] / "Other").array
    box = whole(array.shape)
    array.read(box)
    array.read(box)
    assert len(made) == 24
    del made[:]
    kept = array.within(StoreIO(threads=1, cache_bytes=2**20))
    assert_array_equal(kept.read(box), kept.read(box))
    assert len(made) == 12


def test_damaged_files_are_named(czi, noise):
    """Whether they cannot be opened, or not be read."""
    path = czi(noise((1, 1, 3, 8, 9)))
    path.write_bytes(b"ZISRAWFILE" + bytes(600))
    with pytest.raises(chunkscale.NotAnImageError, match=r"image\.czi.*cannot be read"):
        chunkscale.open_image(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(600))
    with pytest.raises(chunkscale.NotAnImageError, match="is named like a Zeiss CZI file and is a"):
        chunkscale.open_image(path)


def test_colors_of_pictures_are_channels(tmp_path, noise):
    """A picture has no voxel size, and is asked for one."""
    pytest.importorskip("bioio_imageio")
    from PIL import Image

    data = noise((20, 30, 3), "uint8")
    Image.fromarray(data).save(tmp_path / "a.png")
    with pytest.raises(chunkscale.OptionError, match="along y, x"):
        chunkscale.open_image(tmp_path / "a.png")
    image = chunkscale.open_image(tmp_path / "a.png", source_voxel_size=0.5, source_unit="nm")
    assert image.grid.names == "cyx"
    assert image.channels == ["red", "green", "blue"]
    assert image.grid.axes[-1].unit == "nm"
    assert_array_equal(voxels(image), np.moveaxis(data, -1, 0))


def test_what_a_reader_decodes_as_a_whole_is_refused_where_it_is_large(
    tmp_path, monkeypatch, noise
):
    """It would be held beside all that the plan counts."""
    pytest.importorskip("bioio_imageio")
    from PIL import Image

    Image.fromarray(noise((20, 30), "uint8")).save(tmp_path / "a.png")
    monkeypatch.setattr("chunkscale.sources.bioio._MOST_HELD", 500)
    with pytest.raises(
        chunkscale.NotAnImageError, match=r"decodes the whole image at once \(600 B"
    ):
        chunkscale.open_image(tmp_path / "a.png", source_voxel_size=1)
