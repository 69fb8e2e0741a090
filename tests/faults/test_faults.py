"""Faults: whatever dies or fails, the arrays in the end are those of an undisturbed run.

CHUNKSCALE_FAULTS=1 repeats the kills as often as a release should: 20 workers, 50 drivers.
"""

import contextlib
import os
import pickle
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from faults.harness import Flaky, repeats, start_driver
from outputs import LAYOUTS, assert_same_output, stack_with_holes

import chunkscale
from chunkscale.run.records import Failure
from chunkscale.run.worker import OpenJob, run_region
from chunkscale.storage.engine import StoreIO

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_regions")]

WORKERS = 3


@pytest.fixture
def stack(make_image, noise):
    """Return a stack whose output has all-fill regions and edge shards."""
    return make_image(stack_with_holes(noise, (30, 90, 95)), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


@pytest.fixture
def expected(stack, tmp_path):
    """Return a function that gives the undisturbed output of a layout."""

    def make(layout):
        path = tmp_path / f"{layout}.zarr"
        if not path.exists():
            chunkscale.resample(stack, path, **LAYOUTS[layout])
        return path

    return make


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0"
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


def have_all_workers(client):
    """Wait for all workers; a nanny gives one up that is killed while it starts."""
    try:
        client.wait_for_workers(WORKERS, timeout=15)
    except TimeoutError:
        # The cluster takes it for one that it has, until it is to have none.
        client.cluster.scale(0)
        client.cluster.scale(WORKERS)
        client.wait_for_workers(WORKERS, timeout=60)


def test_workers_that_are_killed_cost_nothing_but_time(client, stack, expected, tmp_path):
    """SIGKILL of random workers at random moments of a run."""
    killed, run = [], 0
    wanted = repeats(2, 20)
    while len(killed) < wanted:
        layout = random.choice(list(LAYOUTS))
        out = tmp_path / f"out{run}.zarr"
        due = [random.random() * 300]

        def kill(progress, due=due):
            if len(killed) < wanted and due and progress.regions >= due[0]:
                due.pop()
                workers = client.run(os.getpid, on_error="ignore")
                killed.append(random.choice(list(workers.values())))
                os.kill(killed[-1], signal.SIGKILL)

        have_all_workers(client)
        chunkscale.resample(stack, out, client=client, progress=kill, **LAYOUTS[layout])
        assert_same_output(out, expected(layout))
        run += 1
    assert chunkscale.check(out, source=stack)


def test_drivers_that_are_killed_can_be_resumed(client, stack, expected, tmp_path):
    """SIGKILL of the driver at a random moment, with threads and on a cluster; then resume.

    Every other pair of turns waits for the first finished regions, so that some are taken over.
    """
    resumed = 0
    for turn in range(repeats(3, 50)):
        layout = list(LAYOUTS)[turn % len(LAYOUTS)]
        out = tmp_path / f"out{turn}.zarr"
        where = ["--scheduler", client.scheduler.address] if turn % 2 else []
        driver = start_driver(stack, out, LAYOUTS[layout], *where)
        noted = turn % 4 < 2
        awaited = ".chunkscale/done-*" if noted else "*"
        while not any(out.glob(awaited)) and driver.poll() is None:
            time.sleep(0.002)
        time.sleep(random.random() * (0.1 if noted else 1.5))
        driver.kill()
        driver.communicate()
        run = chunkscale.resample(stack, out, resume=True, **LAYOUTS[layout])
        resumed += 0 < run.times.resumed_regions < run.plan.region_count
        if where:
            # Its last tasks may still be on their way, and write the same again.
            while any(client.processing().values()):
                time.sleep(0.05)
        assert_same_output(out, expected(layout))
    assert chunkscale.check(out, source=stack)
    assert resumed


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_a_store_that_fails_now_and_then(where, client, stack, expected, tmp_path, monkeypatch):
    """5 % of all requests are broken off: they are made again."""
    requests = {"client": client} if where == "cluster" else {}
    wanted = expected("sharded")
    monkeypatch.setattr(
        "chunkscale.api.batches.StoreIO", lambda **given: StoreIO(faults=Flaky(0.05), **given)
    )
    out = tmp_path / "out.zarr"
    for _ in range(10):
        # A region that was unlucky five times fails its run, which can be resumed.
        with contextlib.suppress(chunkscale.RegionError, chunkscale.CorruptChunkError):
            chunkscale.resample(stack, out, resume=True, **requests, **LAYOUTS["sharded"])
            break
    assert_same_output(out, wanted)


def test_a_store_that_always_fails_stops_the_run_early(stack, tmp_path, monkeypatch):
    """Where nothing succeeds, not every region is tried; the message lists the first causes."""
    tried = []

    class Broken(Flaky):
        def __call__(self, what, uri):
            if what == "write":
                tried.append(uri)
                raise ConnectionRefusedError("injected: nobody is there")

    monkeypatch.setattr(
        "chunkscale.api.batches.StoreIO", lambda **given: StoreIO(faults=Broken(1.0), **given)
    )
    with pytest.raises(chunkscale.RegionError, match="20 regions failed") as error:
        chunkscale.resample(stack, tmp_path / "out.zarr", **LAYOUTS["chunks"])
    assert str(error.value).count("nobody is there") == 10
    assert "and 10 more" in str(error.value)
    assert len(set(tried)) == 1
    assert len(tried) < 5 * 30


def test_a_region_that_fails_leaves_the_others_done(stack, expected, tmp_path, monkeypatch):
    """All causes are listed, the rest of the pass is kept, and resume makes what is missing."""
    original = run_region
    bad = {3, 17, 40}

    def fail(opened, index):
        if index in bad:
            error = chunkscale.RegionError(f"region {index} is bad")
            return Failure(index, error)
        return original(opened, index)

    out = tmp_path / "out.zarr"
    wanted = expected("chunks")
    with monkeypatch.context() as patch:
        patch.setattr("chunkscale.run.local.run_region", fail)
        with pytest.raises(chunkscale.RegionError) as error:
            chunkscale.resample(stack, out, **LAYOUTS["chunks"])
    assert all(f"region {index} is bad" in str(error.value) for index in bad)
    run = chunkscale.resample(stack, out, resume=True, **LAYOUTS["chunks"])
    assert run.times.resumed_regions == run.plan.passes[0].region_count - len(bad)
    assert_same_output(out, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_region_may_be_made_twice_at_the_same_time(
    layout, stack, expected, tmp_path, monkeypatch
):
    """Every region runs in two threads with handles of their own: the same files."""
    wanted = expected(layout)
    original, others = run_region, {}
    out = tmp_path / "out.zarr"
    with ThreadPoolExecutor(4) as pool:

        def twice(opened, index):
            if opened.job.run not in others:
                others[opened.job.run] = OpenJob.of(pickle.loads(pickle.dumps(opened.job)))
            both = [pool.submit(original, job, index) for job in (opened, others[opened.job.run])]
            first, second = (future.result() for future in both)
            assert first.stored == second.stored
            return first

        monkeypatch.setattr("chunkscale.run.local.run_region", twice)
        chunkscale.resample(stack, out, **LAYOUTS[layout])
    assert_same_output(out, wanted)


@contextlib.contextmanager
def disk(path, size):
    path.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield
    finally:
        unmount(path)


def unmount(path, patience=10.0):
    """Tensorstore closes a file shortly after it has given its content; one kept open fails."""
    deadline = time.monotonic() + patience
    while True:
        done = subprocess.run(["umount", str(path)], capture_output=True, text=True)
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore::chunkscale.ChunkscaleWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_ends_a_run_that_can_be_resumed(layout, stack, expected, tmp_path, monkeypatch):
    """The error says what is full, without trying for long; with more space the run goes on."""
    wanted = expected(layout)
    # This one is over before the first flush, and afterwards there is no space for it.
    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (0.0, 0.0))
    with disk(tmp_path / "disk", "400k"):
        out = tmp_path / "disk" / "out.zarr"
        begun = time.perf_counter()
        with pytest.raises(chunkscale.RegionError, match="No space left"):
            chunkscale.resample(stack, out, **LAYOUTS[layout])
        assert time.perf_counter() - begun < 20
        assert not chunkscale.check(out)
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "disk")], check=True)
        run = chunkscale.resample(stack, out, resume=True, **LAYOUTS[layout])
        assert run.times.regions < run.plan.region_count
        assert_same_output(out, wanted)
        assert chunkscale.check(out, source=stack)


def test_two_resumes_at_once_end_in_one_output(stack, expected, tmp_path):
    """One of them works, the other one is refused or stops; the output is whole."""
    out = tmp_path / "out.zarr"
    wanted = expected("chunks")
    outcomes = []

    def run():
        try:
            chunkscale.resample(stack, out, resume=True, **LAYOUTS["chunks"])
            outcomes.append("done")
        except (chunkscale.DestinationError, chunkscale.RegionError):
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert outcomes.count("done") >= 1
    assert_same_output(out, wanted)
