"""Servers that never end, say nothing, lead in circles or are busy: named, within a stated time."""

import http.server
import json
import time
import tracemalloc
from collections import Counter
from datetime import timedelta

import numcodecs
import pytest
from campaigns import images
from numpy.testing import assert_array_equal
from servers import serving

import chunkscale
from chunkscale.errors import (
    AccessDeniedError,
    ChunkscaleError,
    CorruptChunkError,
    MetadataError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import whole

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")

GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {"x": 1}}
SECRET = "sEcReT"


class Handler(http.server.BaseHTTPRequestHandler):
    """Does to each document what its server was told."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0]
        name = next((end for end in server.acts if path.endswith(end)), path.rpartition("/")[2])
        server.counts[name] += 1
        file = server.folder / path.removeprefix("/a.zarr/")
        stored = ("body", file.read_bytes()) if file.is_file() else ("status", 404)
        act, *more = server.acts.get(name, stored)
        if act == "busy" and server.counts[name] > more[1]:
            act, more = "body", more[2:] or [json.dumps(GROUP).encode()]
        getattr(self, act)(*more)

    def body(self, content, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = length is not None

    def status(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def busy(self, status, *_):
        self.status(status)

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        piece = b" " * 2**16
        try:
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        except OSError:
            self.close_connection = True

    def circle(self):
        self.send_response(302)
        self.send_header("Location", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def silent(self):
        time.sleep(1.5)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    patience = "chunkscale.storage.patience"
    monkeypatch.setattr(f"{patience}.SILENT_SECONDS", 1.5)
    monkeypatch.setattr(f"{patience}.FIRST_WAIT", timedelta(milliseconds=5))
    monkeypatch.setattr("chunkscale.storage.documents.MOST_BYTES", 2**20)
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "request_queue_size", 64)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.acts, made.counts, made.folder = {}, Counter(), tmp_path
    made.url = f"http://127.0.0.1:{made.server_port}/a.zarr"
    with serving(made):
        yield made


ACTS = {
    "endless": (("endless",), MetadataError, r"zarr\.json' has more than 1\.0 MiB"),
    "long": (("body", b" " * 2**21), MetadataError, r"zarr\.json' has more than 1\.0 MiB"),
    "cut off": (("body", b"{", 99), SourceNotFoundError, "cannot be reached"),
    "circle": (("circle",), SourceNotFoundError, "cannot be reached"),
    "silent": (("silent",), SourceNotFoundError, "cannot be reached"),
    "refused": (("status", 401), AccessDeniedError, r"denied \(HTTP status 401\)"),
    "forbidden": (("status", 403), AccessDeniedError, r"denied \(HTTP status 403\)"),
    "too many": (("status", 429), SourceNotFoundError, "HTTP status 429"),
    "broken": (("status", 500), SourceNotFoundError, "HTTP status 500"),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_a_server_does_with_a_document_is_what_it_is(act, server):
    """Named, soon, and without what was behind the address."""
    server.acts["zarr.json"], kind, words = ACTS[act]
    begun = time.monotonic()
    with pytest.raises(kind, match=words) as raised:
        chunkscale.open_image(f"{server.url}?token={SECRET}")
    assert time.monotonic() - begun < 20
    error = raised.value
    while error is not None:
        assert SECRET not in f"{error!r}{error}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(status, server):
    """For a document as for a chunk; what is refused is asked for once."""
    server.acts["zarr.json"] = ("busy", status, 2)
    with pytest.raises(ChunkscaleError, match="no OME-Zarr image here"):
        chunkscale.open_image(server.url)
    assert server.counts["zarr.json"] == 3
    server.acts["zarr.json"] = ("status", 403)
    server.counts.clear()
    with pytest.raises(AccessDeniedError):
        chunkscale.open_image(server.url)
    assert server.counts["zarr.json"] == 1


# --- chunks --------------------------------------------------------------------------------------

BOMB = numcodecs.Blosc("lz4").encode(bytes(2**24))

CHUNKS = {
    "endless": (("endless",), "has more than the [0-9]+ bytes"),
    "long": (("body", bytes(2**22)), "has more than the [0-9]+ bytes"),
    "decodes to more": (("body", bytes(BOMB)), "decodes to more than the [0-9]+ bytes"),
    "cut off": (("body", b"x", 99), "cannot be reached"),
    "circle": (("circle",), "cannot be reached: it leads elsewhere"),
    "silent": (("silent",), "cannot be reached"),
    "gone": (("status", 410), "HTTP status 410"),
}


@pytest.mark.parametrize("act", CHUNKS)
def test_what_a_server_does_with_a_chunk_is_what_it_is(act, server):
    """It is named; no more is fetched or decoded than its voxels may take."""
    data = images.coded(server.folder, "v3-blosc")
    image = chunkscale.open_image(server.url)
    assert_array_equal(image.array.read(whole(data.shape)), data)
    server.acts["0/c/0/0/0"], words = CHUNKS[act]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptChunkError, match=rf"chunk \(0, 0, 0\) of .*{words}"):
            image.array.read(whole(data.shape))
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_for_a_chunk(status, server):
    data = images.coded(server.folder, "v3-blosc")
    image = chunkscale.open_image(server.url)
    server.acts["0/c/0/0/0"] = ("busy", status, 2, (server.folder / "0/c/0/0/0").read_bytes())
    assert_array_equal(image.array.read(whole(data.shape)), data)
    assert server.counts["0/c/0/0/0"] == 3
