"""A forked process works or is told what to do, and nothing is waited for without end."""

import functools
import http.server
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from servers import serving

import chunkscale
from chunkscale.storage import engine, patience
from chunkscale.storage.engine import Once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks"),
]


def in_child(function, seconds=60):
    """Return what a function returns in a forked process, or the error that it raises there."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and forks: that is the case
        child = os.fork()
    if not child:
        try:
            answer = function()
        except BaseException as error:
            answer = error
        os.write(writing, pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], seconds)
        assert ready, "the child hangs"
        with open(reading, "rb") as file:
            content = file.read()
        assert content, "the child was aborted"
        return pickle.loads(content)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((6, 20, 22)), (2, 0.5, 0.5), chunk=(3, 10, 11))


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_lazy_arrays_of_the_parent_are_read_in_a_child(stack, scheduler):
    """Also where the parent has read some of it, by Dask's pool of threads."""
    lazy = chunkscale.open_image(stack).as_dask()
    expected = lazy.compute(scheduler="threads")
    found = in_child(lambda: lazy.compute(scheduler=scheduler))
    np.testing.assert_array_equal(found, expected)


def test_runs_and_checks_work_in_a_child_of_a_parent_that_ran(stack, tmp_path):
    """The voxels are the same; the child of a child, too."""
    chunkscale.resample(stack, tmp_path / "here", levels=2)
    expected = chunkscale.open_image(tmp_path / "here").as_dask().compute()

    def child():
        run = chunkscale.resample(stack, tmp_path / "there", levels=2)
        assert chunkscale.check(run.path, source=stack)
        return in_child(lambda: chunkscale.open_image(run.path).as_dask().compute())

    np.testing.assert_array_equal(in_child(child), expected)
    assert chunkscale.check(tmp_path / "there", source=stack)
    data = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(
        in_child(lambda: chunkscale.resample_array(data, zoom=2)),
        chunkscale.resample_array(data, zoom=2),
    )


def test_lazy_arrays_that_a_parent_computed_are_computed_in_a_child():
    """Dask's threads stayed with the parent; nothing of a store is opened here."""
    program = """
import dask.array as da, numpy as np, os, chunkscale
lazy = chunkscale.resample_array(da.ones((6, 8, 8), chunks=4), zoom=2)
assert float(lazy.sum().compute()) == lazy.size
if (child := os.fork()) == 0:
    os._exit(float(lazy.sum().compute()) != lazy.size)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_a_child_does_not_wait_for_what_a_thread_of_its_parent_opens():
    """It opens its own."""
    begun, end = threading.Event(), threading.Event()

    def slow():
        begun.set()
        end.wait(60)
        return os.getpid()

    once = Once(slow)
    thread = threading.Thread(target=once.get)
    thread.start()
    begun.wait(60)

    def child():
        end.set()
        return once.get() == os.getpid()

    try:
        assert in_child(child)
    finally:
        end.set()
        thread.join()
    assert once.get() == os.getpid()


@pytest.fixture
def served(stack):
    """Serve the stack's folder; return its URL."""
    handler = functools.partial(
        type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}),
        directory=str(stack.parent),
    )
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/{stack.name}"


def test_what_needs_the_threads_of_a_library_is_refused_in_a_child(served):
    """Servers, buckets and clusters; the text says how to start processes."""
    pytest.importorskip("obstore")
    pytest.importorskip("distributed")
    from distributed import Client

    lazy = chunkscale.open_image(served).as_dask()
    lazy[0].compute()
    bucket = functools.partial(chunkscale.open_image, "s3://bucket/image.zarr")
    calls = [functools.partial(lazy.compute, scheduler="sync"), bucket]
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as c:
        data = np.zeros((4, 4), "u2")
        calls.append(functools.partial(chunkscale.plan_resampling, served))
        calls.append(
            functools.partial(chunkscale.plan_resampling, data, source_voxel_size=1, client=c)
        )
        for call in calls:
            error = in_child(call)
            assert isinstance(error, chunkscale.ForkError), error
            assert "spawn" in str(error)


@pytest.fixture
def quick_looks(monkeypatch):
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.05)


@pytest.mark.usefixtures("quick_looks", "small_regions")
@pytest.mark.parametrize("which", ["auto", "zarr"])
def test_pipes_in_the_place_of_chunks_end_a_run(stack, tmp_path, monkeypatch, which):
    """Whichever engine reads; more of them than there are threads, too."""
    monkeypatch.setattr(engine, "DEFAULT", which)
    chunks = [path for path in (stack / "0" / "c").rglob("*") if path.is_file()]
    for path in chunks:
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(
        chunkscale.CorruptChunkError, match=r"chunk .*(pipe|device).* instead of a file"
    ):
        chunkscale.resample(stack, tmp_path / "out", chunk=8)
    assert len(chunkscale.check(stack).faults) == len(chunks)


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
def test_pipes_in_the_place_of_metadata_are_refused(stack, name):
    """At once."""
    (stack / name).unlink()
    os.mkfifo(stack / name)
    with pytest.raises(chunkscale.MetadataError, match="is a pipe or a device"):
        chunkscale.info(stack)
