"""Files that are no files, torn, or made to do harm: named in an error, soon, and never zeros."""

import gzip
import os
import pathlib
import signal
import struct
import sys
import zlib

import nibabel
import numpy as np
import pytest
import tifffile

import chunkscale
from chunkscale import ChunkscaleError, CorruptChunkError, OptionError

STACK = (np.arange(3 * 20 * 30) % 251 + 1).astype("uint16").reshape(3, 20, 30)
ENDS = ("tif", "ome.tif", "nii", "nii.gz", "hdr")


@pytest.fixture(autouse=True)
def soon():
    """End a test that waits for a pipe."""

    def stop(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(path, error=ChunkscaleError, match=None):
    """Hold an image to an error that names its file, when it is opened or read."""
    with pytest.raises(error, match=match) as found:
        np.asarray(chunkscale.open_image(path, source_voxel_size=1))
    assert os.path.basename(path) in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("end", ENDS)
def test_what_is_no_file_is_refused_by_name(end, tmp_path):
    """A folder, a pipe, a device, an empty file, links to nothing: none is waited for."""
    places = {kind: str(tmp_path / f"{kind}.{end}") for kind in ("folder", "pipe", "empty")}
    os.mkdir(places["folder"])
    os.mkfifo(places["pipe"])
    open(places["empty"], "w").close()
    for kind, target in {
        "device": "/dev/zero",
        "nowhere": "nothing",
        "loop": f"loop.{end}",
    }.items():
        places[kind] = str(tmp_path / f"{kind}.{end}")
        os.symlink(target, places[kind])
    texts = {kind: refused(path) for kind, path in places.items()}
    assert "is a folder" in texts["folder"]
    assert "a pipe or a device" in texts["pipe"]
    assert "a pipe or a device" in texts["device"]


def test_links_to_files_are_followed(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", metadata={"axes": "ZYX"})
    os.symlink("a.tif", tmp_path / "b.tif")
    image = chunkscale.open_image(tmp_path / "b.tif", source_voxel_size=1)
    np.testing.assert_array_equal(np.asarray(image), STACK)


@pytest.mark.parametrize("kind", ["raw", "deflate", "nii", "nii.gz"])
def test_a_file_that_is_cut_anywhere_is_named(kind, tmp_path):
    """Its metadata at the end included: without them it would be another image, or a plain one."""
    path = tmp_path / f"whole.{kind if kind.startswith('nii') else 'ome.tif'}"
    if kind.startswith("nii"):
        nibabel.save(nibabel.Nifti1Image(STACK, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    else:
        more = {"compression": "zlib", "tile": (16, 16)} if kind == "deflate" else {}
        sizes = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ"), 0.5)
        tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", **sizes}, **more)
    content = path.read_bytes()
    for end in range(0, len(content), len(content) // 60):
        torn = tmp_path / f"torn-{path.name}"
        torn.write_bytes(content[:end])
        refused(str(torn), match=r"^(?!.*source.axes)")


def tiff(path, size, codec, data, **tags):
    """Write a page of 8 bits by hand: one strip or tile that may lie about itself."""
    found = {256: size, 257: size, 258: 8, 259: codec, 262: 1, 277: 1}
    found |= {int(code.lstrip("_")): value for code, value in tags.items()}
    place = 8 + 2 + 12 * (len(found) + 1) + 4
    found[273 if 278 in found else 324] = place
    entries = b"".join(struct.pack("<HHII", code, 4, 1, found[code]) for code in sorted(found))
    head = struct.pack("<2sHIH", b"II", 42, 8, len(found))
    path.write_bytes(head + entries + bytes(4) + data)
    return str(path)


def bomb(size):
    """Return zeros as deflate has them, a thousand times smaller."""
    packer = zlib.compressobj(1)
    pieces = [packer.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*pieces, packer.flush()])


def test_a_strip_that_inflates_to_far_more_than_it_should_is_refused(tmp_path, monkeypatch):
    """Before room is made for it, whether or not imagecodecs is there to do that."""
    data = bomb(2**26 + 2**22)
    path = tiff(tmp_path / "bomb.tif", 64, 8, data, _278=64, _279=len(data))
    whole, made = zlib.decompress, []
    monkeypatch.setattr(zlib, "decompress", lambda *a, **k: made.append(whole(*a, **k)) or made[-1])
    refused(path, CorruptChunkError, "strip 0 of page 0")
    assert not made


@pytest.mark.parametrize(
    ("size", "tags", "match"),
    [
        (2**31, {"_278": 2**31, "_279": 100}, "strip 0 of page 0"),
        (2**31 - 1, {"_322": 16, "_323": 16, "_325": 100}, "lists 1 strips or tiles"),
        (1000, {"_322": 2**20, "_323": 2**20, "_325": 100}, "1.0 TiB each"),
        (64, {"_322": 64, "_323": 64, "_325": 4 * 10**9}, "has 3.7 GiB by its tags"),
    ],
)
def test_sizes_that_nothing_could_have_are_refused_without_making_room(size, tags, match, tmp_path):
    """Also where the file is as long as they say, but holds nothing there."""
    path = tiff(tmp_path / "huge.tif", size, 8, zlib.compress(bytes(1000)) + bytes(100), **tags)
    os.truncate(path, 5 * 10**9)
    refused(path, match=match)


def test_a_packed_file_is_not_unpacked_beyond_its_voxels(tmp_path):
    """What follows them is read for the checksum, some of it, and never kept."""
    path = str(tmp_path / "more.nii.gz")
    nibabel.save(nibabel.Nifti1Image(STACK, np.eye(4)), path)
    content = gzip.decompress(pathlib.Path(path).read_bytes())
    with gzip.open(path, "wb") as file:
        file.write(content + bytes(1000))
    image = chunkscale.open_image(path)
    np.testing.assert_array_equal(np.asarray(image), STACK.T)
    with open(path, "wb") as file:
        file.write(gzip.compress(content) + gzip.compress(bytes(2**26 + 2**20), 1))
    refused(path, CorruptChunkError, "after its last voxel")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("end", ["tif", "nii", "nii.gz"])
def test_a_file_that_may_not_be_read_is_no_unknown_file(end, tmp_path):
    path = tmp_path / f"closed.{end}"
    path.write_bytes(b"x")
    path.chmod(0)
    refused(str(path), chunkscale.errors.AccessDeniedError)


def test_a_broken_library_of_readers_keeps_no_other_file_from_being_read(tmp_path, monkeypatch):
    """And it is named where a file is its own."""
    package = tmp_path / "lib" / "bioio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "plugins.py").write_text("import what_is_not_there")
    (tmp_path / "lib" / "bioio_czi.py").write_text("")
    for name in ("bioio", "bioio.plugins"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    for end in ("zarr", "czi"):
        (tmp_path / f"a.{end}").write_bytes(b"ZISRAWFILE")
    refused(str(tmp_path / "a.zarr"))
    refused(str(tmp_path / "a.czi"), OptionError, "what_is_not_there.*pip install")
