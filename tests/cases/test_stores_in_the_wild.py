"""Stores as they lie about: chunks where nobody looks, zip files, paths that lead elsewhere."""

import functools
import http.server
import json
import os
import shutil
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from servers import serving

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import (
    CorruptChunkError,
    DestinationError,
    MetadataError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import Box, whole

pytestmark = pytest.mark.slow
DATA = (np.arange(6 * 20 * 22) % 4000 + 1).astype("u2").reshape(6, 20, 22)


def store(path, data=DATA, zarr_format=2, separator="/", name=None, chunks=None, **options):
    """Write an image as other programs do."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    key = {"name": name or ("v2" if zarr_format == 2 else "default"), "separator": separator}
    chunks = chunks or tuple(-(-n // 2) for n in data.shape)
    array = group.create_array(
        "0", shape=data.shape, chunks=chunks, dtype=data.dtype, chunk_key_encoding=key,
        fill_value=0, **options,
    )  # fmt: skip
    array[...] = data
    axes = [{"name": n, "type": "space"} for n in "zyx"[-data.ndim :]]
    if data.ndim > 3:
        kinds = (("t", "time"), ("c", "channel"))[-(data.ndim - 3) :]
        axes = [{"name": n, "type": kind} for n, kind in kinds] + axes
    scale = [{"type": "scale", "scale": [1.0] * data.ndim}]
    entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if zarr_format == 2:
        group.attrs.put({"multiscales": [{"version": "0.4", **entry}]})
    else:
        group.attrs.put({"ome": {"version": "0.5", "multiscales": [entry]}})
    return path


def chunk_files(path):
    return sorted(p for p in (path / "0").rglob("*") if p.is_file() and p.name[0] in "0123456789c")


def renamed(path, rename, some=slice(None)):
    """Give chunk files other names: `rename` takes and returns their paths below the array."""
    for file in chunk_files(path)[some]:
        target = path / "0" / rename(file.relative_to(path / "0").as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    return path


def read(path):
    array = chunkscale.open_image(path).array
    return array.read(whole(array.shape))


class Pages(http.server.SimpleHTTPRequestHandler):
    """A folder; where `page` is set it is sent for whatever is not there, as developers do."""

    page = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
        if self.page is None or os.path.isfile(self.translate_path(self.path)):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)


@contextmanager
def served(folder, handler=Pages):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=folder)
    )
    server.requests = []
    with serving(server):
        yield server, f"http://127.0.0.1:{server.server_port}"


# --- chunks where nobody looks -------------------------------------------------------------------

RENAMINGS = {
    "zeros in front": lambda key: "/".join(f"{int(n):03}" for n in key.split("/")),
    "zeros in front, further down": lambda key: key[:2] + key[2:].replace("/", "/0"),
    "nested half": lambda key: key[0] + "/" + key[2:].replace("/", "."),
    "underscores": lambda key: key.replace("/", "_"),
    "an extension": lambda key: key + ".zst",
    "a dotted extension": lambda key: key.replace("/", ".") + ".raw",
    "c in capitals": lambda key: "C/" + key,
    "a prefix": lambda key: "data/" + key,
}


@pytest.mark.parametrize("part", ["all", "one"])
@pytest.mark.parametrize("renaming", RENAMINGS)
def test_names_that_no_format_has_are_not_taken_for_missing(renaming, part, tmp_path, capsys):
    """Refused by every verb; what was missing is read once the name is mended."""
    path, out = store(tmp_path / "a.zarr"), tmp_path / "b.zarr"
    renamed(path, RENAMINGS[renaming], slice(None) if part == "all" else slice(-1, None))
    if (part, renaming) == ("one", "a prefix"):
        return  # a folder of whatever it may be, beside chunks
    store(tmp_path / "zeros.zarr", np.zeros_like(DATA))
    for verb in (["resample", path, out], ["info", path], ["plan", path],
                 ["check", tmp_path / "zeros.zarr", "--source", path]):  # fmt: skip
        assert main([str(argument) for argument in verb]) == 2
        message = capsys.readouterr().err
        assert str(path / "0") in message
        assert "'0/0/0'" in message
    assert not out.exists()
    shutil.rmtree(path)
    assert_array_equal(read(store(path)), DATA)


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_any_rank_and_format_finds_the_other_separator(zarr_format, ndim, tmp_path):
    """Both ways, and the entry that the message names is the one that helps."""
    data = DATA.reshape((1,) * (ndim - 3) + DATA.shape) if ndim > 2 else DATA[0]
    for lying, declared in ("/.", "./"):
        path = store(tmp_path / f"{ndim}{ord(lying)}.zarr", data, zarr_format, lying)
        file = path / ("0/.zarray" if zarr_format == 2 else "0/zarr.json")
        before = file.read_text()
        document = json.loads(before)
        if zarr_format == 2:
            document["dimension_separator"] = declared
        else:
            document["chunk_key_encoding"]["configuration"]["separator"] = declared
        file.write_text(json.dumps(document))
        with pytest.raises(MetadataError, match=rf'"[a-z_]*separator": "{lying}"'):
            chunkscale.open_image(path)
        file.write_text(before)
        assert_array_equal(read(path), data)


def test_shards_with_other_names_are_not_taken_for_missing(tmp_path):
    """One object holds many chunks: the whole image would be zeros."""
    path = store(tmp_path / "a.zarr", zarr_format=3, chunks=(3, 5, 11), shards=(6, 10, 22))
    assert_array_equal(read(path), DATA)
    renamed(path, lambda key: key.replace("/", "."))
    with pytest.raises(MetadataError, match=r"'c/0/0/0'.*'c\.0\.0\.0'"):
        chunkscale.open_image(path)


def test_one_level_with_other_names_is_found(tmp_path):
    """Level 0 reads well; who asks for the other one is told."""
    out = chunkscale.resample(store(tmp_path / "a.zarr"), tmp_path / "b.zarr", levels=2, chunk=8)
    image = chunkscale.open_image(out.path)
    (tmp_path / "b.zarr/1/c").rename(tmp_path / "b.zarr/1/C")
    with pytest.raises(MetadataError, match=r"1.* holds 'C/"):
        image.level(1)
    assert "holds 'C/" in " ".join(chunkscale.info(out.path)["warnings"])
    assert "holds 'C/" in chunkscale.check(out.path).faults[0]


def test_chunks_outside_of_the_array_are_no_sign_of_order(tmp_path):
    """Of a grid of 6 x 1 x 1 chunks whose names were turned round, none is inside but the first."""
    path = store(tmp_path / "a.zarr", chunks=(1, 20, 22))
    renamed(path, lambda key: "/".join(reversed(key.split("/"))), slice(1, None))
    (path / "0/0/0/0").unlink()
    with pytest.raises(MetadataError, match="of which none is there"):
        chunkscale.open_image(path)


def test_what_lies_beside_chunks_is_left_in_peace(tmp_path):
    """Notes, backups, leftovers, chunks beyond the array: nothing of that would have been read."""
    path = store(tmp_path / "a.zarr")
    for name in ("README.md", "preview.png", "0.0.0.bak", "5/5/5", "old/0.0.0", "._0", ".zmetadata",
                 "0/0/0.__lock", "0/0/.nfs0001", "1.1.1.orig", "thumbs/0_0_0.png"):  # fmt: skip
        (path / "0" / name).parent.mkdir(parents=True, exist_ok=True)
        (path / "0" / name).write_text("{}")
    assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_without_any_chunk_is_read(zarr_format, tmp_path):
    """It is all fill value; empty folders are no chunks."""
    path = store(tmp_path / "a.zarr", np.zeros_like(DATA), zarr_format)
    (path / "0" / ("0" if zarr_format == 3 else "c")).mkdir()
    assert not read(path).any()


@pytest.mark.parametrize(
    ("zarr_format", "lying", "declared"),
    [(2, "/", "."), (2, ".", "/"), (3, "/", "."), (3, ".", "/")],
)
def test_a_server_that_lists_nothing_is_asked_for_some_chunks(
    zarr_format, lying, declared, tmp_path
):
    """The first, the middle and the last, under all names that there are."""
    path = store(tmp_path / "a.zarr", zarr_format=zarr_format, separator=lying)
    chunk_files(path)[0].unlink()  # a corner is often empty
    file = path / ("0/.zarray" if zarr_format == 2 else "0/zarr.json")
    with served(tmp_path) as (_, url):
        assert read(f"{url}/a.zarr").any()
        file.write_text(
            file.read_text().replace(f'separator": "{lying}"', f'separator": "{declared}"')
        )
        with pytest.raises(MetadataError, match=rf'separator": "{lying}"'):
            chunkscale.open_image(f"{url}/a.zarr")


def test_a_server_is_asked_for_one_chunk_where_all_is_well(tmp_path):
    """One small request for each array; what it holds is read once."""
    store(tmp_path / "a.zarr")
    with served(tmp_path) as (server, url):
        chunkscale.open_image(f"{url}/a.zarr")
        asked = [path for path in server.requests if path.startswith("/a.zarr/0/")]
        assert [path for path in asked if "z" not in path[10:]] == ["/a.zarr/0/0/0/0"]


@pytest.mark.parametrize("engine", ["auto", "zarr"])
def test_a_half_copied_array_is_found_while_it_is_read(engine, tmp_path, monkeypatch):
    """Where the places that were asked for are well, and others have another name."""
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", engine)
    path = store(tmp_path / "a.zarr", chunks=(2, 4, 5))
    for file in chunk_files(path):
        key = file.relative_to(path / "0").as_posix()
        if key in ("0/1/1", "0/1/2"):
            file.rename(path / "0" / key.replace("/", "."))
    with served(tmp_path) as (_, url):
        array = chunkscale.open_image(f"{url}/a.zarr").array
        with pytest.raises(MetadataError, match=r"'0\.0\.0'"):
            array.read(Box(start=(0, 4, 5), stop=(2, 8, 15)))


def test_some_holes_are_looked_at_and_no_more(tmp_path, monkeypatch):
    """An array may be nearly empty: what lies under other names shows in a few looks."""
    looks = []
    monkeypatch.setattr(
        "chunkscale.storage.reader.refuse_other_key", lambda *given: looks.append(given)
    )
    path = store(tmp_path / "a.zarr", chunks=(2, 4, 5))
    for file in chunk_files(path)[1:]:
        file.unlink()
    array = chunkscale.open_image(path).array
    for index in [(0, 1, 1), (0, 1, 2), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)] * 2:
        assert not array.read(array.chunk_box(index)).any()
    assert len(looks) == 4


# --- servers that send pages ---------------------------------------------------------------------


PAGES = {
    "html": b"\n<!doctype html><title>app</title>",
    "json": b'{"error": "not found"}',
    "text": b"not found",
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("engine", ["auto", "zarr"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_page_is_not_metadata(zarr_format, engine, page, tmp_path, monkeypatch, capfd):
    """Whatever is not there is a page with status 200; zeros that are stored are no holes."""
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", engine)
    data = DATA.copy()
    data[:3, :10, :11] = 0
    path = store(tmp_path / "a.zarr", data, zarr_format, config={"write_empty_chunks": True})
    with served(tmp_path, type("Developer", (Pages,), {"page": PAGES[page]})) as (_, url):
        chunkscale.resample(f"{url}/a.zarr", tmp_path / "out.zarr", levels=1)
        assert_array_equal(zarr.open_array(tmp_path / "out.zarr/0")[...], data)
        with pytest.raises(SourceNotFoundError, match="is not valid zarr"):
            chunkscale.open_image(f"{url}/nothing.zarr")
        chunk_files(path)[-1].unlink()
        with pytest.raises(chunkscale.ChunkscaleError, match=r"chunk \(1, 1, 1\)"):
            read(f"{url}/a.zarr")
    assert capfd.readouterr().err == ""


# --- zip files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image.ozx", "image.zip", "image.ome.zarr.ZIP", "image"])
def test_a_zip_file_is_read_where_its_name_says_so(name, tmp_path, capsys):
    """As RFC-9 has it or otherwise; any other is named, and so is a server that sends it whole."""
    path = store(tmp_path / "plain.zarr", zarr_format=3)
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for file in path.rglob("*"):
            archive.write(file, file.relative_to(path))
    if name == "image":
        for verb in ("info", "plan", "check"):
            for given in (tmp_path / name, tmp_path / name / "0"):
                assert main([verb, str(given)]) == 2
                assert "a zip file without the ending" in capsys.readouterr().err
        (tmp_path / "image.ozx").symlink_to("image")
        assert_array_equal(read(tmp_path / "image.ozx"), DATA)
        return
    assert_array_equal(read(tmp_path / name), DATA)
    assert main(["check", str(tmp_path / name)]) == 0
    with served(tmp_path) as (_, url), pytest.raises(MetadataError, match="download it"):
        chunkscale.open_image(f"{url}/{name}")


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_no_folder_is_called_like_a_zip_file(options, tmp_path):
    """Who asked for one file would get a folder; the name that is told makes one."""
    source = store(tmp_path / "plain.zarr", zarr_format=3)
    with pytest.raises(DestinationError, match=r"new\.ozx"):
        chunkscale.resample(source, tmp_path / "new.zip", **options)
    for name in ("new.ozx", "NEW.OZX"):
        chunkscale.resample(source, tmp_path / name, **options)
        assert zipfile.is_zipfile(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["NEW.OZX", "new.ozx", "plain.zarr"]


# --- paths that lead elsewhere -------------------------------------------------------------------

OUTSIDE = ["../b.zarr/0", "/etc/0", "0/../../b.zarr/0", "%2e%2e/b.zarr/0", "..\\b.zarr\\0",
           "C:\\b.zarr\\0", "http://host.invalid/b.zarr/0", "file:///etc", "s3://box/a", "..",
           "0\0", "in_\udcb5m"]  # fmt: skip
FORMS = {
    "dataset": lambda path: {"multiscales": [{
        "version": "0.4", "axes": [{"name": n, "type": "space"} for n in "zyx"],
        "datasets": [{"path": p, "coordinateTransformations": [{"type": "scale", "scale": [1] * 3}]}
                     for p in ("0", path)]}]},
    "plate": lambda path: {"plate": {"wells": [{"path": path}]}},
    "well": lambda path: {"well": {"images": [{"path": path}]}},
    "labels": lambda path: {"labels": ["cells", path]},
    "series": lambda path: {"series": ["0", path]},
}  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("form", FORMS)
def test_metadata_lead_to_nothing_outside_of_their_group(form, path, tmp_path):
    """Named and refused, whatever lists it: who opens an image means that one."""
    store(tmp_path / "b.zarr")
    image = store(tmp_path / "a.zarr")
    (image / ".zattrs").write_text(json.dumps(FORMS[form](path)))
    for call in (chunkscale.info, chunkscale.plan_resampling):
        with pytest.raises(MetadataError) as caught:
            call(image)
        assert repr(path) in str(caught.value)
        assert str(image) in str(caught.value)


def test_links_are_followed_for_reading(tmp_path):
    """Labs keep arrays on other disks; a link is put there by who owns the folder."""
    image, elsewhere = store(tmp_path / "a.zarr"), tmp_path / "elsewhere"
    (image / "0").rename(elsewhere)
    (image / "0").symlink_to(elsewhere)
    assert_array_equal(read(image), DATA)


def test_dots_inside_of_names_are_names(tmp_path):
    """Two of them are a folder of their own only by themselves."""
    image = store(tmp_path / "a.zarr")
    (image / "0").rename(image / "0..1")
    text = (image / ".zattrs").read_text()
    (image / ".zattrs").write_text(text.replace('"path": "0"', '"path": "0..1"'))
    assert_array_equal(read(image), DATA)


# --- servers that answer anything but 404 --------------------------------------------------------


class Failing(Pages):
    """A folder; what is not there is answered by a status, or where a file is named that alone."""

    status, named = 410, None

    def do_GET(self):
        path = self.path.partition("?")[0]
        is_named = self.named is not None and path.endswith(self.named)
        if os.path.isfile(self.translate_path(path)) and not is_named:
            super().do_GET()
            return
        self.send_response(self.status if is_named or self.named is None else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


def failing(status, named=None):
    return type("Some", (Failing,), {"status": status, "named": named})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418, 429, 500, 501, 502, 503])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_an_image_need_not_have_may_be_answered_by_anything(status, zarr_format, tmp_path):
    """Documents of the other format, consolidated metadata, labels, the groups above."""
    store(tmp_path / "a.zarr", zarr_format=zarr_format)
    with served(tmp_path, failing(status)) as (_, url):
        assert_array_equal(read(f"{url}/a.zarr"), DATA)


@pytest.mark.parametrize("status", [400, 403, 500, 503])
@pytest.mark.parametrize(
    ("zarr_format", "named"),
    [(3, "a.zarr/zarr.json"), (3, "0/zarr.json"), (2, ".zgroup"), (2, "a.zarr/.zattrs"),
     (2, ".zarray")],
)  # fmt: skip
def test_what_an_image_needs_and_cannot_be_reached_is_named(
    named, zarr_format, status, tmp_path, capsys
):
    """With its status; it is not said that there is no image."""
    store(tmp_path / "a.zarr", zarr_format=zarr_format)
    with served(tmp_path, failing(status, named)) as (_, url):
        assert main(["info", f"{url}/a.zarr"]) == 2
        message = capsys.readouterr().err
        if (status, named) != (403, "a.zarr/.zattrs"):  # which is how buckets say "not there"
            assert f"HTTP status {status}" in message
            assert named.rpartition("/")[2] in message


@pytest.mark.parametrize("engine", ["auto", "zarr"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("status", [400, 403, 404, 410, 500, 503])
def test_only_404_is_an_empty_chunk(status, zarr_format, engine, tmp_path, monkeypatch):
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", engine)
    monkeypatch.setattr("chunkscale.storage.patience.ATTEMPTS", 1)
    path = store(tmp_path / "a.zarr", zarr_format=zarr_format)
    (path / ("0/1/1/1" if zarr_format == 2 else "0/c/1/1/1")).unlink()
    with served(tmp_path, failing(status)) as (_, url):
        if status == 404:
            assert not read(f"{url}/a.zarr")[3:, 10:, 11:].any()
        else:
            with pytest.raises(CorruptChunkError, match=r"chunk \(1, 1, 1\)"):
                read(f"{url}/a.zarr")


@pytest.mark.parametrize("engine", ["auto", "zarr"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_chunk_that_is_denied_is_not_to_be_restored(status, engine, tmp_path, monkeypatch):
    """It is there, or may be."""
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", engine)
    store(tmp_path / "a.zarr")
    with served(tmp_path, failing(status, "0/1/0/1")) as (_, url):
        with pytest.raises(CorruptChunkError, match="check the permissions") as caught:
            read(f"{url}/a.zarr")
        assert "restore" not in str(caught.value)
