"""Zip files read in place: they hold what their folder does, and no torn one is misread."""

import itertools
import multiprocessing
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.errors import ChunkscaleError, CorruptChunkError, MetadataError
from chunkscale.geometry.box import Box
from chunkscale.storage import objects as contents
from chunkscale.storage.failures import BadObjectError
from chunkscale.storage.stores import store_of
from chunkscale.storage.zips.packing import pack, pack_documents

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
SHAPE = (12, 40, 44)


def zipped(folder, path, method=STORED):
    """Zip a folder as any tool does."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def read(path):
    array = chunkscale.open_image(path).array
    return array.read(Box(start=(0, 0, 0), stop=array.shape))


def sharded(path, data):
    """Store the voxels of an image anew, in shards."""
    options = {"chunks": (4, 16, 16), "shards": (8, 32, 32), "overwrite": True}
    zarr.create_array(path, name="0", data=data, dimension_names=["z", "y", "x"], **options)
    return path


@pytest.fixture(params=["0.4", "sharded"])
def image(request, make_image, noise):
    if request.param == "0.4":
        return make_image(noise(SHAPE), (2.0, 0.5, 0.5), version="0.4", chunk=(4, 16, 16))
    return sharded(make_image(noise(SHAPE), (2.0, 0.5, 0.5)), noise(SHAPE))


# --- what is read --------------------------------------------------------------------------------

names = st.text("ab0.é-", min_size=1, max_size=3).filter(lambda n: n not in (".", ".."))
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), st.binary(), max_size=8)


def apart(tree):
    """Whether nothing is both a file and a folder."""
    return not any(key[:n] in tree for key in tree for n in range(1, len(key)))


@settings(max_examples=60)
@given(tree=trees.filter(apart), method=st.sampled_from([STORED, DEFLATED]), ours=st.booleans())
def test_a_zip_file_answers_as_its_folder_does(tree, method, ours, tmp_path_factory):
    """Whatever the tree, and whoever zipped it: contents, names, objects, sizes."""
    top = tmp_path_factory.mktemp("tree")
    folder, path = top / "folder", top / "tree.zip"
    folder.mkdir()
    for key, content in tree.items():
        file = folder.joinpath(*key)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if ours:
        listed = sorted(contents.objects(str(folder)))
        pack_documents(folder, top / "documents", [], b"")
        names = [name for name, _ in listed]
        pack(folder, top / "documents", path, names, b"", lambda: None)
        for key, content in tree.items():
            folder.joinpath(*key).write_bytes(content)
        assert sorted(contents.objects(str(folder))) == listed
        assert zipfile.ZipFile(path).testzip() is None
    else:
        zipped(folder, path, method)
    places = {key[:n] for key in tree for n in range(len(key) + 1)} | {(), ("none",)}
    for place in places:
        one, other = (str(place_in.joinpath(*place)) for place_in in (folder, path))
        if place not in tree:
            assert contents.names(other) == contents.names(one)
            assert sorted(contents.objects(other)) == sorted(contents.objects(one))
        assert contents.get(other) == contents.get(one)
        assert contents.exists(other) == contents.exists(one)
        if place in tree or not place:
            assert contents.sizes([other])[0] == len(tree.get(place, b""))


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_images_in_zip_files_have_the_voxels_of_their_folders(method, image, tmp_path, noise):
    """All of them, boxes of them, in threads, in another process; and so do runs and checks."""
    path = zipped(image, tmp_path / "scan.ozx", method)
    assert_array_equal(read(path), noise(SHAPE))
    array = chunkscale.open_image(path).array
    rng = np.random.default_rng(2)
    boxes = []
    for _ in range(20):
        corners = np.sort(rng.integers(0, np.array(SHAPE) + 1, (2, 3)), axis=0)
        boxes.append(Box(start=tuple(corners[0].tolist()), stop=tuple(corners[1].tolist())))
    for one in (array, pickle.loads(pickle.dumps(array))):
        with ThreadPoolExecutor(4) as pool:
            for box, found in zip(boxes, pool.map(one.read, boxes), strict=True):
                assert_array_equal(found, noise(SHAPE)[box.slices])
    for source, name in ((image, "a.zarr"), (path, "b.zarr")):
        chunkscale.resample(source, tmp_path / name, voxel_size=0.5)
    assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))
    assert chunkscale.check(tmp_path / "b.zarr", source=path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_reads_what_its_parent_has_opened(image, tmp_path, noise):
    """As it reads files: nothing of it waits for threads that are not there."""
    path = zipped(image, tmp_path / "scan.ozx")
    array = chunkscale.open_image(path).array
    box = Box(start=(0, 0, 0), stop=SHAPE)
    assert_array_equal(array.read(box), noise(SHAPE))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = context.Process(target=lambda: theirs.send(int(array.read(box).sum())))
        child.start()
    try:
        assert ours.poll(30)
        assert ours.recv() == int(noise(SHAPE).sum())
    finally:
        child.join(5)
        child.kill()


def test_an_image_of_one_folder_in_a_zip_file_is_found(image, tmp_path, noise):
    """Who zips a folder by a click has it below the top."""
    with zipfile.ZipFile(path := tmp_path / "scan.zip", "w") as archive:
        for file in sorted(image.rglob("*")):
            archive.write(file, f"scan.zarr/{file.relative_to(image)}")
    with pytest.raises(ChunkscaleError, match=r"scan\.zip/scan\.zarr"):
        chunkscale.open_image(path)
    assert_array_equal(read(path / "scan.zarr"), noise(SHAPE))


def test_of_two_entries_of_one_name_the_last_one_counts(tmp_path):
    """zarr-python adds a document anew when it changes, and so do readers take it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        store = zarr.storage.ZipStore(tmp_path / "scan.zip", mode="w")
        group = zarr.open_group(store, zarr_format=2)
        group.create_array("0", data=np.arange(8, dtype="u2").reshape(2, 2, 2))
        axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        scale = [{"type": "scale", "scale": [3, 2, 2]}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": [], "datasets": []}]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
        store.close()
    assert len(set(zipfile.ZipFile(tmp_path / "scan.zip").namelist())) < len(
        zipfile.ZipFile(tmp_path / "scan.zip").namelist()
    )
    assert chunkscale.open_image(tmp_path / "scan.zip").grid.voxel_size == (3, 2, 2)


# --- what is torn, or of another kind ------------------------------------------------------------


def test_a_zip_file_cut_anywhere_is_named(image, tmp_path):
    """Its directory is at its end, so that no part of one is taken for the whole."""
    whole = zipped(image, tmp_path / "scan.ozx").read_bytes()
    for kept in {0, 1, 21, 22, *range(3, len(whole), len(whole) // 40), len(whole) - 1}:
        (tmp_path / "torn.ozx").write_bytes(whole[:kept])
        with pytest.raises(MetadataError, match="torn"):
            chunkscale.open_image(tmp_path / "torn.ozx")
    (tmp_path / "torn.ozx").write_bytes(whole[100:])
    with pytest.raises(MetadataError, match="bytes are missing"):
        chunkscale.open_image(tmp_path / "torn.ozx")


def test_no_changed_byte_is_read_as_a_voxel(make_image, noise, tmp_path):
    """Whichever byte of a file is another one: an error, or the voxels; chunks have checksums."""
    data = noise((4, 8, 8))
    folder = make_image(data, (1.0, 1.0, 1.0), version="0.4", chunk=(4, 8, 8), codec="none")
    whole = bytearray(zipped(folder, tmp_path / "scan.ozx").read_bytes())
    rng = np.random.default_rng(3)
    errors = 0
    for at in rng.choice(len(whole), 150, replace=False).tolist():
        torn = whole.copy()
        torn[at] ^= 1 << rng.integers(8)
        (tmp_path / "torn.ozx").write_bytes(torn)
        try:
            assert_array_equal(read(tmp_path / "torn.ozx"), data, err_msg=f"byte {at}")
        except ChunkscaleError:
            errors += 1
    assert errors > 100


def patched(path, name, field, value, size="<H"):
    """Change a field of the record of an entry in a directory."""
    raw = bytearray(path.read_bytes())
    start = raw.rfind(b"PK\1\2")
    while raw[start + 46 : start + 46 + len(name)] != name.encode():
        start = raw.rfind(b"PK\1\2", 0, start)
    struct.pack_into(size, raw, start + field, value)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("field", "value", "size", "match"),
    [
        (8, 1, "<H", "is encrypted"),
        (10, 93, "<H", "zstd"),
        (34, 2, "<H", "part of a split archive"),
        (42, 2**31, "<L", "torn"),
        (20, 2**31, "<L", "torn"),
        (24, 2**31, "<L", "torn"),
    ],
)
def test_entries_that_cannot_be_read_are_named(field, value, size, match, tmp_path):
    """When the file is opened, before anything of it is taken for missing."""
    with zipfile.ZipFile(path := tmp_path / "scan.ozx", "w") as archive:
        archive.writestr("a", b"1234")
        archive.writestr("b", b"1234")
    assert contents.get(f"{path}/b") == b"1234"
    with pytest.raises(MetadataError, match=match):
        contents.get(f"{patched(path, 'b', field, value, size)}/a")


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a//b", "C:/a", "a\\b", "./a"])
def test_names_that_lead_elsewhere_are_refused(name, tmp_path):
    """No entry has a place above the top, and none is taken for missing."""
    with zipfile.ZipFile(path := tmp_path / "scan.ozx", "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"1")
    with pytest.raises(MetadataError, match="not a path below its root"):
        contents.names(str(path))


def test_a_bomb_does_not_go_off(tmp_path):
    """What is inflated is no more than an entry says, and none says more than deflate can make."""
    with zipfile.ZipFile(path := tmp_path / "scan.ozx", "w", DEFLATED) as archive:
        archive.writestr("a", bytes(10**6))
    packed = zipfile.ZipFile(path).getinfo("a").compress_size
    for size, error in ((1000, BadObjectError), (packed * 2000, MetadataError)):
        raw = bytearray(path.read_bytes())
        for mark, field in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
            struct.pack_into("<L", raw, raw.index(mark) + field, size)
        (tmp_path / "bomb.ozx").write_bytes(raw)
        with pytest.raises(error):
            contents.get(f"{tmp_path}/bomb.ozx/a")


def test_entries_that_overlap_are_refused(tmp_path):
    """One stretch of bytes for many entries makes a terabyte of a few of them."""
    with zipfile.ZipFile(path := tmp_path / "scan.ozx", "w") as archive:
        archive.writestr("a", b"1234" * 100)
        archive.writestr("b", b"1234" * 100)
    with pytest.raises(MetadataError, match="reaches"):
        contents.names(str(patched(path, "b", 42, 8, "<L")))


def test_large_zip_files_have_their_numbers_in_64_bits(tmp_path):
    """A sparse file of 5 GiB: what lies behind the first 4 is found."""
    path = tmp_path / "large.ozx"
    data, far = b"far away" * 9, 5 * 2**30
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, zlib.crc32(data), 72, 72, 1, 0)
    extra = struct.pack("<2HQ", 1, 8, far)
    record = struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 33, zlib.crc32(data), 72, 72,
                         1, len(extra), 0, 0, 0, 0, 2**32 - 1)  # fmt: skip
    start = far + len(head) + 1 + len(data)
    length = len(record) + 1 + len(extra)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, length, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + length, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, length, 2**32 - 1, 0)
    with path.open("wb") as file:
        file.seek(far)
        file.write(head + b"a" + data + record + b"a" + extra + end + locator + last)
    assert zipfile.ZipFile(path).read("a") == data
    assert contents.get(f"{path}/a") == data


def test_a_file_that_is_replaced_is_never_read_by_the_old_directory(image, tmp_path, noise):
    """What is open is read to its end, an overwritten one is an error, and a touch is nothing."""
    path = zipped(image, tmp_path / "scan.ozx")
    source = chunkscale.open_image(path)
    box = Box(start=(0, 0, 0), stop=(4, 16, 16))
    os.utime(path, (1, 1))
    assert_array_equal(source.array.read(box), noise(SHAPE)[box.slices])
    assert source.array.fate() == ""
    whole = path.read_bytes()
    with zipfile.ZipFile(tmp_path / "other.ozx", "w") as archive:
        for name in reversed(zipfile.ZipFile(path).namelist()):
            content = zipfile.ZipFile(path).read(name)
            archive.writestr(name, content[::-1] if "json" not in name and ".z" not in name
                             else content)  # fmt: skip
    os.replace(tmp_path / "other.ozx", path)
    assert_array_equal(source.array.read(box), noise(SHAPE)[box.slices])
    assert source.array.fate() == "has been replaced"
    source = chunkscale.open_image(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptChunkError, match="replaced"):
        source.array.read(box)
    path.unlink()
    assert source.array.fate() == "has gone"


def test_an_empty_entry_is_no_missing_chunk(make_image, noise, tmp_path):
    """zarr-python takes an empty shard for fill value."""
    folder = sharded(make_image(noise(SHAPE), (1.0, 1.0, 1.0)), noise(SHAPE))
    chunk = next(file for file in folder.rglob("*") if file.is_file() and "json" not in file.name)
    chunk.write_bytes(b"")
    with pytest.raises(CorruptChunkError, match="is empty"):
        read(zipped(folder, tmp_path / "scan.ozx"))


def test_a_chunk_that_inflates_to_more_than_its_voxels_is_named(image, tmp_path):
    """Before it does."""
    path = tmp_path / "scan.ozx"
    with zipfile.ZipFile(path, "w", DEFLATED) as archive:
        for file in sorted(p for p in image.rglob("*") if p.is_file()):
            name = file.relative_to(image).as_posix()
            is_chunk = name.startswith("0/") and "z" not in name
            archive.writestr(name, bytes(2**25) if is_chunk else file.read_bytes())
    tracemalloc.start()
    try:
        with pytest.raises(
            CorruptChunkError, match=r"has 33554432 bytes and should have \d+ at most"
        ):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_file_in_the_place_of_a_folder_is_no_missing_chunk(image, tmp_path):
    """What should lie in it is not there, and is no fill value."""
    path = tmp_path / "scan.ozx"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in image.rglob("*") if p.is_file()):
            name = file.relative_to(image).as_posix()
            if not name.startswith("0/") or "z" in name:
                archive.writestr(name, file.read_bytes())
        archive.writestr("0/c" if (image / "zarr.json").is_file() else "0/0", b"x")
    with pytest.raises(CorruptChunkError, match="is a file where a folder should be"):
        read(path)


# --- servers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ranges", "whole"])
def test_a_server_sends_parts_or_is_named(kind, image, tmp_path, noise):
    """One that sends the whole file for each part is refused before a byte of that is taken."""
    pytest.importorskip("aiohttp")
    import functools
    import http.server

    from servers import serving

    (tmp_path / "web").mkdir()
    zipped(image, tmp_path / "web" / "scan.ozx")
    sent = []

    class Ranges(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            path = tmp_path / "web" / self.path.lstrip("/")
            said = self.headers.get("Range")
            if kind == "whole" or said is None or not path.is_file():
                super().do_GET()
                return
            content = path.read_bytes()
            first, last = (int(n) for n in said.removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            sent.append(len(part))
            self.send_response(206)
            stop = first + len(part) - 1
            self.send_header("Content-Range", f"bytes {first}-{stop}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *_):
            pass

    make = functools.partial(Ranges, directory=tmp_path / "web")
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), make)) as server:
        url = f"http://127.0.0.1:{server.server_port}/scan.ozx"
        if kind == "whole":
            with pytest.raises(ChunkscaleError, match="does not support HTTP range requests"):
                chunkscale.open_image(url)
            return
        assert store_of(url).kind == "in a zip file"
        assert_array_equal(read(url), noise(SHAPE))
        box = Box(start=(0, 0, 0), stop=(4, 16, 16))
        source = chunkscale.open_image(url)
        sent.clear()
        source.array.read(box)
        assert sum(sent) < (tmp_path / "web" / "scan.ozx").stat().st_size / 2
        with pytest.raises(ChunkscaleError, match="does not exist"):
            chunkscale.open_image(url.replace("scan", "none"))


def test_what_is_listed_of_many_entries_is_quick(tmp_path):
    """A folder of a large zip file is found by bisection, not by a walk through all of it."""
    with zipfile.ZipFile(path := tmp_path / "many.ozx", "w") as archive:
        for well, chunk in itertools.product("ABC", range(3000)):
            archive.writestr(f"{well}/0/c/{chunk}", b"1")
    assert contents.names(str(path)) == ["A", "B", "C"]
    assert contents.names(f"{path}/B") == ["0"]
    assert sum(1 for _ in contents.objects(f"{path}/B")) == 3000


def test_a_link_in_a_zip_file_is_refused(make_image, noise, tmp_path):
    """Its content is where it leads to, and would be taken for voxels where no codec is."""
    image = make_image(noise(SHAPE), (2.0, 0.5, 0.5), chunk=(4, 16, 16))
    path = zipped(image, tmp_path / "links.zip")
    link = zipfile.ZipInfo("0/c/9/9/9")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "../../elsewhere")
    with pytest.raises(MetadataError, match="has a link, '0/c/9/9/9'"):
        read(path)


def test_a_folder_in_the_place_of_a_chunk_is_no_missing_chunk(make_image, noise, tmp_path):
    image = make_image(noise(SHAPE), (2.0, 0.5, 0.5), chunk=(4, 16, 16))
    (image / "0/c/1/1/1").unlink()
    path = zipped(image, tmp_path / "folder.zip")
    assert (read(path)[4:8, 16:32, 16:32] == 0).all()
    with zipfile.ZipFile(path, "a") as archive:
        archive.mkdir("0/c/1/1/1")
    with pytest.raises(CorruptChunkError, match=r"'0/c/1/1/1' in the zip file .* is a folder"):
        read(path)
