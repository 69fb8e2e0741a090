"""URLs with a query, a fragment or a password: the place is reached, and no secret is told."""

import functools
import http.server
import json
import pickle
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from servers import serving

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleError, OptionError
from chunkscale.geometry.box import Box

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")

SHAPE = (4, 12, 10)
SIZE = (2.0, 0.5, 0.5)
#: As signatures are: characters that mean something in a query, escaped and as they are.
SECRET = "TOP%2BSECRET%3D"
QUERY = f"sv=2022-11-02&sig={SECRET}&se=2031-01-01T00:00:00Z"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
        place = urlsplit(self.path)
        if place.query not in self.server.queries:
            self.send_error(self.server.refusal, explain=self.server.explanation)
            return
        self.path = place.path
        super().do_GET()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir(exist_ok=True)
    found = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=folder)
    )
    found.requests, found.queries, found.refusal = [], {QUERY}, 403
    found.explanation = None
    found.url = lambda path: f"http://127.0.0.1:{found.server_port}/{path}"
    with serving(found):
        yield found


@pytest.fixture
def impatient(monkeypatch):
    """Let runs give up soon."""
    monkeypatch.setattr("chunkscale.storage.patience.ATTEMPTS", 1)


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise(SHAPE) | 1, SIZE, name="web/a b.zarr", chunk=(2, 6, 10))


def voxels(image):
    return image.array.read(Box(start=(0, 0, 0), stop=SHAPE))


def assert_untold(*texts):
    for text in texts:
        for part in ("SECRET", "sig="):
            assert part not in str(text)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.usefixtures("impatient")
def test_a_query_stays_behind_every_path(slash, stack, server, tmp_path, capfd):
    """All verbs read as from a folder; the server finds the query as it was given."""
    url = server.url(f"a b.zarr{slash}?{QUERY}")
    image = chunkscale.open_image(url)
    assert_array_equal(voxels(image), voxels(chunkscale.open_image(stack)))
    out, log = tmp_path / "out.zarr", tmp_path / "log.jsonl"
    run = chunkscale.resample(url, out, levels=1, log=log)
    other = chunkscale.resample(stack, tmp_path / "local.zarr", levels=1)
    assert_array_equal(zarr.open_array(out / "0")[...], zarr.open_array(f"{other.path}/0")[...])
    assert all(path.endswith(f"?{QUERY}") for path in server.requests)
    assert any(path.startswith("/a%20b.zarr/0/c/1/1/0?") for path in server.requests)
    assert main(["check", str(out), "--source", url]) == 0
    assert main(["info", url]) == 0
    assert main(["plan", url, "--json", "--like", url]) == 0
    stored = [p.read_text() for p in out.rglob("zarr.json")]
    assert_untold(*stored, log.read_text(), *capfd.readouterr())
    assert_untold(run, repr(run), json.dumps(run.plan.as_dict()), repr(run.plan), run.plan)
    assert_untold(image, repr(image), image.uri, image.array.uri, json.dumps(chunkscale.info(url)))
    assert chunkscale.info(url)["path"] == server.url("a b.zarr")
    lazy = image.as_dask()
    assert_untold(lazy.name, repr(lazy), *map(str, lazy.__dask_keys__()))


def test_the_query_goes_with_an_array_to_other_processes(stack, server):
    """And is in nothing that is printed there."""
    array = chunkscale.open_image(server.url(f"a b.zarr?{QUERY}")).array
    again = pickle.loads(pickle.dumps(array))
    whole = Box(start=(0, 0, 0), stop=SHAPE)
    assert_array_equal(again.read(whole), array.read(whole))
    assert_untold(again.uri, repr(again.uri), repr(again.uri.options), repr(again))


def test_another_token_is_the_same_source(stack, server, tmp_path):
    """A run goes on with a token that was made since."""
    out = tmp_path / "out.zarr"
    first = chunkscale.resample(server.url(f"a b.zarr?{QUERY}"), out, levels=1)
    server.queries = {"sig=SECRET2"}
    again = chunkscale.resample(server.url("a b.zarr?sig=SECRET2"), out, levels=1, resume=True)
    assert first.times.regions == 1
    assert again.times.regions == 0


@pytest.mark.parametrize("refusal", [401, 403, 404, 500, 503])
@pytest.mark.parametrize("when", ["opening", "reading"])
@pytest.mark.usefixtures("impatient")
def test_refusals_do_not_repeat_the_query(
    when, refusal, stack, server, tmp_path, capfd, monkeypatch
):
    """One line with the place; nor do the errors behind it, as Python prints them."""
    server.refusal = refusal
    url = server.url(f"a b.zarr?{QUERY}")
    if when == "opening":
        server.queries = set()
        assert main(["resample", url, str(tmp_path / "out.zarr")]) == 2
        assert not (tmp_path / "out.zarr").exists()
        with pytest.raises(ChunkscaleError) as caught:
            chunkscale.open_image(url)
    else:
        image = chunkscale.open_image(url)
        server.queries = set()
        if refusal == 404:
            return  # chunks that are not there
        with pytest.raises(ChunkscaleError) as caught:
            voxels(image)
    printed = capfd.readouterr()
    assert_untold(*printed, "".join(traceback.format_exception(caught.value)))
    assert server.url("a b.zarr") in str(caught.value)
    if refusal in (401, 403):
        assert str(refusal) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host.invalid/img.zarr#sig=SECRET", "http://host.invalid/img.zarr"),
        ("https://host.invalid/img.zarr?sig=SECRET#x", "https://host.invalid/img.zarr"),
        ("https://me:SECRET@host.invalid/img.zarr?sig=SECRET", "host.invalid"),
        ("https://me:SECRET/x@host.invalid/img.zarr", "the URL"),
        ("http://[SECRET/img.zarr", "the URL"),
        ("ftp://me:SECRET@host.invalid/img.zarr?sig=SECRET", "ftp://host.invalid/img.zarr"),
        ("az://box/img.zarr?sv=1&sig=SECRET", "AZURE_STORAGE_SAS_TOKEN"),
        ("s3://box/img.zarr?X-Amz-Signature=SECRET&sig=", "s3://box/img.zarr"),
        ("s3://me:SECRET@box/img.zarr", "box"),
        ("http://host.invalid/img.zarr;sig=SECRET", "http://host.invalid/img.zarr"),
        ("http://host.invalid/img.zarr;v=1;sig=SECRET/0", "write %3B"),
        ("file:///tmp/none.zarr?sig=SECRET", "file:///tmp/none.zarr"),
        ("file:///tmp/none.zarr#SECRET", "write %3F or %23"),
        (Path("https://host.invalid/img.zarr?sig=SECRET"), "as text, not as a Path"),
    ],
)
def test_what_cannot_be_reached_so_is_refused_without_its_secret(url, shown, tmp_path, capsys):
    """As a source, as a grid to be like, and as an output."""
    source = np.zeros(SHAPE, "u2")
    for call in (
        lambda: chunkscale.open_image(url),
        lambda: chunkscale.info(url),
        lambda: chunkscale.plan_resampling(source, source_voxel_size=1.0, like=url),
        lambda: chunkscale.resample(source, url, source_voxel_size=1.0),
    ):
        with pytest.raises(OptionError) as caught:
            call()
        assert shown in str(caught.value)
        assert_untold("".join(traceback.format_exception(caught.value)))
    assert main(["info", str(url)]) == 2
    assert_untold(*capsys.readouterr())


def test_an_endpoint_has_no_query():
    """It is part of what is printed of a bucket."""
    for endpoint in ("https://host.invalid?sig=SECRET", "ftp://me:SECRET@host.invalid"):
        with pytest.raises(OptionError) as caught:
            chunkscale.open_image("s3://box/a.zarr", storage_options={"endpoint": endpoint})
        assert_untold(caught.value)
    with pytest.raises(OptionError, match="'query' is unknown"):
        chunkscale.open_image("http://host.invalid/a", storage_options={"query": "sig=SECRET"})


def test_what_a_bucket_answers_is_in_no_traceback(server):
    """It may repeat what was signed."""
    pytest.importorskip("obstore")
    server.queries, server.refusal, server.explanation = set(), 400, "signed was TOPSECRET"
    reach = {"endpoint": server.url("").rstrip("/"), "anon": True}
    with pytest.raises(ChunkscaleError) as caught:
        chunkscale.open_image("s3://box/a.zarr", storage_options=reach)
    assert any("/box/a.zarr/" in path for path in server.requests)
    assert "TOPSECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_scheme_may_be_written_in_capitals(stack, server):
    """As browsers take it."""
    server.queries = {""}
    assert chunkscale.open_image(server.url("a b.zarr").replace("http", "HTTP")).grid.shape == SHAPE


@pytest.mark.parametrize("name", ["a;b.zarr", "a;b=c.zarr", "a?b.zarr", "a#b.zarr"])
def test_names_with_signs_that_urls_use_are_reached(name, make_image, noise, tmp_path):
    """On disks as they are, and as the message says."""
    make_image(noise(SHAPE), SIZE, name=name)
    escaped = name.replace("?", "%3F").replace("#", "%23")
    for url in (tmp_path / name, f"file://{tmp_path}/{name}", f"file://{tmp_path}/{escaped}"):
        assert chunkscale.open_image(url).grid.shape == SHAPE


def test_a_parameter_of_a_path_is_reached_as_the_message_says(make_image, noise, server):
    make_image(noise(SHAPE), SIZE, name="web/a;b=c.zarr")
    with pytest.raises(OptionError, match="write %3B"):
        chunkscale.open_image(server.url(f"a;b=c.zarr?{QUERY}"))
    assert chunkscale.open_image(server.url(f"a%3Bb=c.zarr?{QUERY}")).grid.shape == SHAPE
