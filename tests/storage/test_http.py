"""Sources behind a web server: equal to local ones, and no failure is ever read as zeros."""

import http.server
import json
import shutil
import socket
import time
from contextlib import nullcontext
from datetime import timedelta
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import plates
import pytest
import zarr
from mirrors import mirrored
from numpy.testing import assert_array_equal
from outputs import assert_same_output, stored
from servers import serving

from chunkscale.api.describing import info
from chunkscale.api.images import check, open_image
from chunkscale.api.planning import plan_resampling
from chunkscale.api.resampling import resample
from chunkscale.cli.main import main
from chunkscale.errors import (
    ChunkscaleError,
    ChunkscaleWarning,
    CorruptChunkError,
    DestinationError,
    RegionError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import Box
from chunkscale.sources.collections import open_collection

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")
from chunkscale.storage.web import Addresses

pytestmark = pytest.mark.slow
SIZE = (2.0, 0.5, 0.5)
SHAPE = (6, 20, 31)


class Handler(http.server.BaseHTTPRequestHandler):
    """Files and byte ranges of one folder; no listing, and failures on request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        name = unquote(urlsplit(self.path).path).lstrip("/")
        server.requests.append((self.command, name))
        status = next((s for end, s in server.failures.items() if name.endswith(end)), 200)
        path = server.folder / name
        body = b""
        if status == 200 and not path.is_file():
            status = 404
        elif status == 200:
            body = path.read_bytes()
        total = len(body)
        span = self.headers.get("Range", "")
        if status == 200 and server.ranges and span.startswith("bytes="):
            first, _, last = span[6:].partition("-")
            start = int(first) if first else max(0, total - int(last))
            stop = min(int(last) + 1, total) if first and last else total
            body, status = body[start:stop], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            sent = body[: len(body) // 2] if name.endswith(server.cut) else body
            self.wfile.write(sent)
            if len(sent) < len(body):
                self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.failures, self.requests, self.ranges = folder, {}, [], True
        self.cut = ("\0",)

    def handle_error(self, *_):
        pass

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    found = Server(folder)
    with serving(found):
        yield found


@pytest.fixture
def impatient(monkeypatch):
    """Let runs give up soon."""
    monkeypatch.setattr("chunkscale.storage.patience.ATTEMPTS", 1)


@pytest.fixture
def stack(make_image, noise, server):
    """Return a function that puts an image on the server."""

    def make(name="in.zarr", **options):
        data = noise(SHAPE) | 1  # no zeros, so that a zero is a fill value
        return make_image(data, SIZE, name=f"web/{name}", chunk=(3, 8, 8), **options)

    return make


def whole(path):
    image = open_image(path)
    return image.array.read(Box(start=(0,) * image.grid.ndim, stop=image.grid.shape))


def chunk_file(version, *index):
    return "/".join(["0", *(["c"] if version == "0.5" else []), *map(str, index)])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.usefixtures("impatient")
def test_a_remote_image_is_a_local_one(version, stack, server, tmp_path, capsys):
    """info, plan, resample and check give the same, without any listing."""
    path, url = stack(version=version), server.url("in.zarr")
    local, remote = info(path), info(url)
    assert {**remote, "path": None} == {**local, "path": None}
    assert remote["path"] == url
    plans = [plan_resampling(p, voxel_size=0.4) for p in (path, url)]
    assert plans[0].levels == plans[1].levels
    assert plans[0].region_count == plans[1].region_count
    for source, name in ((path, "a.zarr"), (f"{url}/", "b.zarr")):
        resample(source, tmp_path / name, voxel_size=0.4, levels=2)
    for level in ("0", "1"):
        a, b = (zarr.open_array(tmp_path / n / level)[...] for n in ("a.zarr", "b.zarr"))
        assert_array_equal(a, b)
    assert main(["check", str(tmp_path / "b.zarr"), "--source", url]) == 0
    assert main(["info", "--json", url]) == 0
    assert '"path": "http://127.0.0.1' in capsys.readouterr().out
    assert all(not name.endswith("/") for _, name in server.requests)  # nobody asks for a listing


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.usefixtures("impatient")
def test_shards_need_byte_ranges(ranges, server, noise):
    """Where a server has them, shards are read in parts; one that ignores them is an error."""
    data = noise(SHAPE)
    group = zarr.create_group(server.folder / "in.zarr", zarr_format=3)
    array = group.create_array("0", shape=SHAPE, chunks=(3, 8, 8), shards=(6, 16, 16), dtype="u2")
    array[...] = data
    axes = [{"name": n, "type": "space"} for n in "zyx"]
    datasets = [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(SIZE)}]}
    ]
    entry = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs.put({"ome": entry})
    server.ranges = ranges
    if ranges:
        assert_array_equal(whole(server.url("in.zarr")), data)
    else:
        with pytest.raises(CorruptChunkError, match=r"chunk \(0, 0, [01]\)"):
            whole(server.url("in.zarr"))


@pytest.mark.parametrize(
    "name", ["with space.zarr", "a/b c/in.zarr", "Zelle 細胞.zarr", "a+b&c.zarr"]
)
@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.usefixtures("impatient")
def test_any_url_will_do(name, quoted, stack, server):
    """Spaces, Unicode and slashes, percent-encoded or as typed."""
    path = stack(name)
    url = server.url(quote(name) if quoted else name)
    for spelled in (url, f"{url}/"):
        assert_array_equal(whole(spelled), whole(path))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.usefixtures("impatient")
def test_a_missing_chunk_is_fill_value(version, stack, server):
    """404 on a chunk: it was never written."""
    path = stack(version=version)
    (path / chunk_file(version, 0, 1, 2)).unlink()
    found = whole(server.url("in.zarr"))
    assert (found[:3, 8:16, 16:24] == 0).all()
    assert np.count_nonzero(found == 0) == 3 * 8 * 8
    assert_array_equal(found, whole(path))


@pytest.mark.parametrize("status", [401, 403, 410, 500])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.usefixtures("impatient")
def test_a_refused_chunk_is_an_error_and_never_zeros(version, status, stack, server):
    """Whatever the server answers but 404: the array and the chunk are named."""
    stack(version=version)
    url = server.url("in.zarr")
    server.failures[chunk_file(version, 0, 1, 2)] = status
    with pytest.raises(CorruptChunkError) as error:
        whole(url)
    assert f"{url}/0" in str(error.value)
    assert "chunk (0, 1, 2)" in str(error.value)
    assert str(status) in str(error.value)
    server.failures.clear()
    assert (whole(url) != 0).all()


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.usefixtures("impatient")
def test_a_run_over_refused_chunks_leaves_no_image(status, stack, server, tmp_path, capsys):
    """Exit code 1, one line, an output that says it is unfinished."""
    stack()
    server.failures[chunk_file("0.5", 1, 0, 0)] = status
    out = tmp_path / "out.zarr"
    assert main(["resample", server.url("in.zarr"), str(out)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("chunkscale: error: ")
    assert "chunk (1, 0, 0)" in message
    assert "<p>" not in message
    assert "Traceback" not in message
    assert "did not finish" in check(out).faults[0]


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("status", "until", "message"),
    [
        (503, 6, None),
        (503, None, "cannot be checked for changes"),
        (404, 6, "has gone"),
        (404, None, "has gone"),
    ],
)
def test_a_source_that_goes_is_told_from_a_server_that_fails(
    version, status, until, message, stack, server, tmp_path, monkeypatch
):
    """The run waits for what it can go on with, and publishes nothing that it is not sure of."""
    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (0.0, 0.0))
    monkeypatch.setattr("chunkscale.output.watch.LOOK_WAITS", (0.001,))
    stack(version=version)
    options = {"chunk": 8, "levels": 2}
    resample(server.url("in.zarr"), tmp_path / "whole.zarr", **options)
    name = f"in.zarr/0/{'.zarray' if version == '0.4' else 'zarr.json'}"
    out = tmp_path / "out.zarr"

    def fail(progress):
        if progress.regions == 3:
            server.failures[name] = status
        if progress.regions == until:
            server.failures.clear()

    told = pytest.warns(ChunkscaleWarning, match="the log of .* cannot be written")
    refused = pytest.raises(RegionError, match=message)
    with told if status == 503 else nullcontext(), refused if message else nullcontext():
        resample(server.url("in.zarr"), out, workers=1, progress=fail, **options)
    server.failures.clear()
    run = resample(server.url("in.zarr"), out, resume=True, **options)
    if message:
        assert run.times.resumed_regions == 3
    else:
        assert run.times.regions == 0
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_breaks_off_is_an_error(stack, server):
    """Half a chunk is no chunk."""
    stack()
    server.cut = (chunk_file("0.5", 0, 1, 2),)
    with pytest.raises(CorruptChunkError, match=r"chunk \(0, 1, 2\)"):
        whole(server.url("in.zarr"))


@pytest.mark.parametrize("path", ["", "nothing.zarr", "in.zarr/1", "in.zarr/labels"])
def test_no_image_there_is_a_clear_error(path, stack, server, capsys):
    """404: exit code 2, one line that names the URL."""
    stack()
    url = server.url(path)
    with pytest.raises(SourceNotFoundError, match=url.rstrip("/")):
        open_image(url)
    assert main(["info", url]) == 2
    message = capsys.readouterr().err
    assert message.startswith("chunkscale: error: ")
    assert url.rstrip("/") in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("which", ["in.zarr/zarr.json", "0/zarr.json"])
def test_refused_metadata_is_a_clear_error(which, status, stack, server, capsys):
    """Not "no image", and no traceback: the status is told."""
    stack()
    server.failures[which] = status
    assert main(["info", server.url("in.zarr")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("chunkscale: error: ")
    assert len(message.splitlines()) == 1
    assert str(status) in message


def test_an_array_that_is_not_there_is_named(stack, server):
    """The metadata names an array that the server does not have."""
    stack()
    server.failures["0/zarr.json"] = 404
    with pytest.raises(SourceNotFoundError, match="'0'"):
        open_image(server.url("in.zarr"))


def test_a_server_that_is_down_is_a_clear_error(stack, server, capsys):
    """Connection refused: one line."""
    stack()
    url = server.url("in.zarr")
    server.shutdown()
    server.server_close()
    with pytest.raises(ChunkscaleError):
        open_image(url)
    assert main(["info", url]) == 2
    assert url in capsys.readouterr().err


def test_a_page_that_says_200_for_everything_is_no_image(stack, server, capsys):
    """Some sites answer every address with a page."""
    page = server.folder / "in.zarr"
    page.mkdir()
    for name in ("zarr.json", ".zattrs", ".zgroup", ".zarray"):
        (page / name).write_text("<!DOCTYPE html><title>Welcome</title>")
    assert main(["info", server.url("in.zarr")]) == 2
    message = capsys.readouterr().err
    assert "is not valid zarr" in message
    assert "in.zarr" in message


@pytest.mark.parametrize("kind", ["plate", "labels", "bioformats2raw"])
def test_collections_are_listed_without_a_listing(kind, stack, server):
    """The metadata says what there is; a sub-path opens."""
    names = {"plate": "A/1/0", "labels": "labels/cells", "bioformats2raw": "0"}
    path = stack(f"c.zarr/{names[kind]}")
    root = server.folder / "c.zarr"
    attributes = {
        "plate": {"plate": {"version": "0.5", "wells": [{"path": "A/1"}]}},
        "labels": {"version": "0.5"},
        "bioformats2raw": {"version": "0.5", "bioformats2raw.layout": 3},
    }[kind]
    zarr.create_group(root, zarr_format=3).attrs.put({"ome": attributes})
    inner = {"plate": ("A/1", {"well": {"images": [{"path": "0"}]}}),
             "labels": ("labels", {"labels": ["cells"]})}.get(kind)  # fmt: skip
    if inner:
        group = zarr.create_group(root / inner[0], zarr_format=3)
        group.attrs.put({"ome": {"version": "0.5", **inner[1]}})
    where = "c.zarr/labels" if kind == "labels" else "c.zarr"
    listed = info(server.url(where))["images"]
    assert [f"{where}/{p}" for p in listed] == [f"c.zarr/{names[kind]}"]
    image = open_image(server.url(f"{where}/{listed[0]}"))
    assert image.is_label == (kind == "labels")
    assert_array_equal(whole(image.uri), whole(path))


def test_a_plate_is_mirrored_from_a_web_server(server, tmp_path):
    """Its wells are listed in its metadata; a folder has no list there."""
    plates.plate(server.folder / "p.zarr", wells={"B/03": ["0"], "D/10": ["0", "2"]})
    plates.series(server.folder / "s.zarr", listed=False, xml=plates.ome_xml(2))
    for name in ("p.zarr", "s.zarr"):
        mirrored(server.folder / name, tmp_path / "near")
        mirrored(server.url(name), tmp_path / "far")
        near, far = (open_collection(tmp_path / p) for p in ("near", "far"))
        assert list(far.images()) == list(near.images())
        documents = [
            {n: c for n, c in stored(tmp_path / p).items() if n != "zarr.json" and "/c/" not in n}
            for p in ("near", "far")
        ]
        assert sorted(documents[0]) == sorted(documents[1])
        for part in ("B/03/zarr.json", "OME/zarr.json", "OME/METADATA.ome.xml"):
            assert documents[0].get(part) == documents[1].get(part)
        shutil.rmtree(tmp_path / "near")
        shutil.rmtree(tmp_path / "far")
    with pytest.raises(SourceNotFoundError):
        open_collection(server.url(""))
    plates.put(server.folder / "group", {})
    assert open_collection(server.url("group")) is None


def test_outputs_are_local(stack, server, capsys):
    """A URL as output is refused before anything is read."""
    path = stack()
    assert main(["resample", str(path), server.url("out.zarr")]) == 2
    assert "read-only" in capsys.readouterr().err
    assert not server.requests


UNSURE = {"told": {}, "denied": {".partial": 403}, "failing": {".partial": 503}}


@pytest.mark.parametrize("unsure", UNSURE)
def test_the_source_is_not_overwritten_under_its_local_name(unsure, stack, server):
    """The folder that a server serves is the source, whether or not it says so."""
    path = stack()
    server.failures = UNSURE[unsure]
    before = stored(path)
    with pytest.raises(DestinationError, match=r"source.* by another name \('http"):
        resample(server.url("in.zarr"), path, overwrite=True)
    assert stored(path) == before
    assert not (path / ".chunkscale").exists()


@pytest.mark.parametrize("root", [False, True])
def test_what_holds_the_source_is_not_overwritten(root, stack, server):
    """An image whose levels lie in a group that is an image, too."""
    inner = stack("out.zarr/scale")
    outer = inner.parent
    attributes = json.loads((inner / "zarr.json").read_text())
    attributes["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "scale/0"
    (outer / "zarr.json").write_text(json.dumps(attributes))
    if root:
        server.folder = outer
    url = server.url("scale" if root else "out.zarr/scale")
    before = stored(outer)
    with pytest.raises(DestinationError, match="holds it, reached by another name"):
        resample(url, outer, overwrite=True)
    assert stored(outer) == before


@pytest.mark.parametrize("unsure", UNSURE)
def test_another_image_is_overwritten_from_a_server(unsure, stack, server, tmp_path):
    """A neighbour of the source, whatever the server says of what it does not have."""
    stack()
    url = server.url("in.zarr")
    resample(url, tmp_path / "whole.zarr")
    out = stack("out.zarr")
    resample(tmp_path / "whole.zarr", out, voxel_size=1, overwrite=True)
    server.failures = UNSURE[unsure]
    resample(url, out, overwrite=True)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_a_run_that_replaces_nothing_asks_for_nothing_more(stack, server, tmp_path):
    """Neither a new output nor one that is continued can be the source."""
    stack()
    for _ in range(2):
        resample(server.url("in.zarr"), tmp_path / "out.zarr", resume=True)
    assert not [name for _, name in server.requests if name.endswith(".partial")]


def test_few_requests(stack, server):
    """Opening asks for metadata, and whether one chunk is there; reading asks for each once."""
    stack()
    image = open_image(server.url("in.zarr"))
    assert [name for _, name in server.requests if "/c/" in name] == ["in.zarr/0/c/0/0/0"]
    server.requests.clear()
    image.array.read(Box(start=(0, 0, 0), stop=SHAPE))
    chunks = [name for command, name in server.requests if "/c/" in name and command == "GET"]
    assert len(chunks) == len(set(chunks)) == 2 * 3 * 4
    assert json.loads((server.folder / "in.zarr/zarr.json").read_text())["zarr_format"] == 3


@pytest.fixture
def mute():
    """Start a server that takes connections and never says a word; return its address."""
    Addresses.clear_instance_cache()  # fsspec keeps those with the limits of before
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    Addresses.clear_instance_cache()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/a.zarr", "127.0.0.1:9 refused the connection"),
        ("http://nowhere.invalid/a.zarr", "no host of this name"),
    ],
)
def test_an_address_where_nobody_listens(url, reason, monkeypatch):
    """One sentence that says why, without asking again and again."""
    monkeypatch.setattr("chunkscale.storage.patience.FIRST_WAIT", timedelta(seconds=4))
    before = time.monotonic()
    with pytest.raises(ChunkscaleError, match=reason) as caught:
        open_image(url)
    assert time.monotonic() - before < 4
    assert str(caught.value).count("cannot be reached") == 1


def test_a_server_that_says_nothing_is_given_up(mute, monkeypatch):
    """Its metadata are waited for as long as its chunks."""
    monkeypatch.setattr("chunkscale.storage.patience.SILENT_SECONDS", 0.5)
    before = time.monotonic()
    with pytest.raises(ChunkscaleError, match="cannot be reached"):
        open_image(f"{mute}/a.zarr")
    assert time.monotonic() - before < 10
