"""Pages as users open them: in Python, on the command line, with and without Neuroglancer."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.main import main
from chunkscale.samples import write_labels
from chunkscale.viewing.page import is_installed

needs_neuroglancer = pytest.mark.skipif(not is_installed(), reason="Neuroglancer is not installed")


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((6, 20, 30)), (1.0, 0.25, 0.25), name="stack.ome.zarr")


@pytest.fixture
def page(stack):
    with chunkscale.view(stack, browser=False) as page:
        yield page


def asked(page, path, *, method="GET", **headers):
    """Return the status and the content of a path below the place of the page."""
    return answer(page.url, path, method, headers)


def answer(url, path, method="GET", headers=()):
    place = urllib.parse.urlsplit(url)
    with contextlib.closing(
        http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    ) as connection:
        connection.request(method, path, headers=dict(headers))
        with connection.getresponse() as found:
            return found.status, found.read()


def voxels(page):
    """Return the path below which a page finds the voxels of its first layer."""
    [layer, *_] = page.state["layers"]
    url = layer["source"].removeprefix("zarr3://")
    return urllib.parse.urlsplit(url).path


def test_without_neuroglancer_the_extra_is_named(stack, monkeypatch, capsys):
    """Before anything is read, in Python and on the command line."""
    monkeypatch.setattr("chunkscale.viewing.page.is_installed", lambda: False)
    with pytest.raises(chunkscale.OptionError, match=r"pip install 'chunkscale\[view\]'"):
        chunkscale.view("nowhere.zarr")
    assert main(["view", str(stack), "--no-browser"]) == 2
    assert "pip install 'chunkscale[view]'" in capsys.readouterr().err


@needs_neuroglancer
def test_a_page_finds_its_voxels(stack, page):
    """The chunk that the page is told of has the voxels of the image; HEAD sends none."""
    status, content = asked(page, voxels(page) + "0/c/0/0/0")
    assert status == 200
    np.testing.assert_array_equal(
        np.frombuffer(content, "<u2").reshape(6, 20, 30), chunkscale.open_image(stack)
    )
    assert asked(page, voxels(page) + "0/c/0/0/0", method="HEAD") == (200, b"")
    assert asked(page, urllib.parse.urlsplit(page.url).path)[0] == 200


@needs_neuroglancer
def test_only_this_machine_and_who_knows_the_link_gets_an_answer(page):
    """No other token, no other host's name, no other verb, no other path."""
    path = voxels(page) + "zarr.json"
    token = path.split("/")[1]
    assert asked(page, path)[0] == 200
    assert len(token) >= 32
    wrong_paths = (
        path.replace(token, "x"),
        path.replace(token, ""),
        f"/{token}/",
        f"/{token}/1/zarr.json",
        f"/{token}/0/../0/zarr.json",
        f"/{token}/0/%2e%2e/zarr.json",
        f"/{token}/0/",
    )
    for wrong in wrong_paths:
        assert asked(page, wrong)[0] == 404, wrong
    assert asked(page, path, Host="elsewhere.org")[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert asked(page, path, method=method)[0] == 405
    port = urllib.parse.urlsplit(page.url).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)  # of this machine as well


@needs_neuroglancer
def test_nothing_is_served_after_the_end(stack):
    """A page that is closed answers no more, and another one has other tokens."""
    with chunkscale.view(stack, browser=False) as page:
        first = page.url, voxels(page)
    with pytest.raises(ConnectionRefusedError):
        asked(page, first[1] + "zarr.json")
    with chunkscale.view(stack, browser=False) as page:
        assert voxels(page) != first[1]


@needs_neuroglancer
def test_a_port_that_is_taken_is_refused(stack, page):
    """With the port and the way out, in Python and on the command line."""
    port = urllib.parse.urlsplit(page.url).port
    with pytest.raises(chunkscale.OptionError, match=f"port {port} .*give another port"):
        chunkscale.view(stack, browser=False, port=port)
    assert main(["view", str(stack), "--no-browser", "--port", str(port)]) == 2
    with pytest.raises(chunkscale.OptionError, match="0 to 65535"):
        chunkscale.view(stack, browser=False, port=70000)


@needs_neuroglancer
def test_labels_are_layers_of_ids(stack, noise):
    """All of them with True; without, none."""
    grid = chunkscale.open_image(stack).grid
    write_labels(stack, "cells", noise(grid.shape, "uint16"), grid, title="cells")
    with chunkscale.view(stack, labels=True, browser=False) as page:
        assert [layer["type"] for layer in page.state["layers"]] == ["image", "segmentation"]
    with chunkscale.view(stack / "labels" / "cells", browser=False) as page:
        assert [layer["type"] for layer in page.state["layers"]] == ["segmentation"]


@needs_neuroglancer
def test_what_is_not_shown_is_said(make_image, noise):
    """Channels beyond those that can be told apart, and digits."""
    many = make_image(noise((8, 2, 3, 4), "float64"), axes="czyx")
    with (
        pytest.warns(chunkscale.ChunkscaleWarning, match="6 of its 8 channels"),
        pytest.warns(chunkscale.ChunkscaleWarning, match="float32, with less precision"),
        chunkscale.view(many, browser=False) as page,
    ):
        assert len(page.state["layers"]) == 6


@needs_neuroglancer
def test_a_chunk_that_cannot_be_read_is_an_error_of_the_server(stack, page):
    """No zeros in its place, and the page goes on."""
    path = voxels(page)
    [chunk] = [found for found in (stack / "0").rglob("*") if found.is_file()
               and found.name != "zarr.json"]  # fmt: skip
    chunk.write_bytes(b"damaged")
    status, said = asked(page, path + "0/c/0/0/0")
    assert status == 500
    assert str(stack) in said.decode()
    assert asked(page, path + "zarr.json")[0] == 200


@needs_neuroglancer
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_end(stack, number):
    """The link comes first; the exit code is 0, and nothing is said of it."""
    command = [sys.executable, "-m", "chunkscale", "view", str(stack), "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        url = process.stdout.readline().strip()
        place = urllib.parse.urlsplit(url)
        assert place.hostname == "127.0.0.1"
        assert answer(url, place.path)[0] == 200
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
