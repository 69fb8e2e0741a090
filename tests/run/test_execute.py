"""Execution: the same regions on any scheduler, in windows, and nothing left behind."""

import contextlib
import shutil
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import ThreadPool

import dask
import numpy as np
import pytest
from dask.callbacks import Callback
from faults.harness import start_driver

import chunkscale
from chunkscale.api.plans import PlannedImage
from chunkscale.api.running import carry_out
from chunkscale.parameters import Existing
from chunkscale.run.local import _Active
from chunkscale.run.records import Record
from chunkscale.run.region import process_region
from chunkscale.run.worker import run_region

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_regions")]

PROCESSES = partial(ProcessPoolExecutor, mp_context=get_context("spawn"))


def read(path):
    return chunkscale.open_image(path).as_dask().compute()


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((12, 40, 40)), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"scheduler": "synchronous"},
        {"scheduler": "threads", "num_workers": 3},
        {"scheduler": "processes", "num_workers": 2},
        {"scheduler": dask.get},
        {"scheduler": "Synchronous"},
        {"scheduler": ThreadPoolExecutor},
        {"scheduler": PROCESSES},
        {"pool": ThreadPool},
    ],
    ids=["default", "synchronous", "threads", "processes", "callable", "capital", "executor",
         "process executor", "thread pool"],
)  # fmt: skip
def test_any_dask_scheduler_writes_the_same_bytes(stack, tmp_path, config):
    """What dask.config names is used, and progress is reported for every region."""
    chunkscale.resample(stack, tmp_path / "a.zarr", chunk=16, shard=0)
    seen = []
    with contextlib.ExitStack() as stop:
        for name, value in config.items():
            if value in (ThreadPoolExecutor, ThreadPool, PROCESSES):
                config = {name: stop.enter_context(value(2))}
        stop.enter_context(dask.config.set(config))
        run = chunkscale.resample(
            stack, tmp_path / "b.zarr", chunk=16, shard=0, progress=seen.append
        )
    assert len(seen) == run.plan.region_count == seen[-1].regions > 8
    assert seen[-1].voxels == seen[-1].total_voxels
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("pool", ThreadPoolExecutor), ("pool", ThreadPool), ("scheduler", ThreadPoolExecutor)],
)
def test_a_pool_in_the_config_is_used(name, kind, stack, tmp_path, monkeypatch):
    """Regions run in the user's threads, as many as there are."""
    names, before = set(), set(threading.enumerate())
    original = process_region

    def spy(*arguments):
        names.add(threading.current_thread())
        return original(*arguments)

    monkeypatch.setattr("chunkscale.run.worker.process_region", spy)
    barrier = threading.Barrier(3)
    with kind(3) as pool, dask.config.set({name: pool}):
        submit = pool.submit if kind is ThreadPoolExecutor else pool.apply_async
        for _ in range(3):
            submit(barrier.wait)  # an executor starts its threads when there is work
        mine = set(threading.enumerate()) - before
        run = chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0)
    assert run.plan.workers == 3
    assert names
    assert names <= mine


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scheduler": "thread"}, "dask.config scheduler must be 'threads', .*, not 'thread'"),
        ({"scheduler": 4}, "dask.config scheduler must be .*, not 4"),
        ({"pool": 4}, "dask.config pool must be a ThreadPoolExecutor .*, not 4"),
        (
            {"num_workers": "many"},
            "dask.config num_workers must be a whole number above 0, not 'many'",
        ),
    ],
    ids=str,
)
def test_what_dask_cannot_run_is_refused(config, message, workers, stack, tmp_path):
    """By name and value, when planning and before anything is written."""
    out = tmp_path / "out.zarr"
    source = chunkscale.open_image(stack)
    plan = chunkscale.plan_resampling(source, workers=workers)
    with dask.config.set(config):
        with pytest.raises(chunkscale.OptionError, match=message):
            chunkscale.resample(stack, out, workers=workers)
        with pytest.raises(chunkscale.OptionError, match=message):
            carry_out([PlannedImage(plan=plan, source=source)], str(out), Existing())
    assert not out.exists()


def test_no_configuration_is_left_changed(stack, tmp_path):
    """Neither dask.config nor signal handlers nor zarr's settings are touched."""
    import zarr

    before = (dict(dask.config.config), signal.getsignal(signal.SIGINT), zarr.config.pprint())
    chunkscale.resample(stack, tmp_path / "out.zarr")
    after = (dict(dask.config.config), signal.getsignal(signal.SIGINT), zarr.config.pprint())
    assert before == after


def test_graphs_are_windows(stack, tmp_path, monkeypatch):
    """No graph holds more regions than a window."""
    monkeypatch.setattr("chunkscale.run.local.WINDOW", 2)
    sizes = []

    def count(key, result, *_):
        sizes[-1] += isinstance(result, Record)

    with Callback(start=lambda graph: sizes.append(0), posttask=count):
        run = chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0, workers=2)
    assert sum(sizes) == run.plan.region_count
    assert max(sizes) == 4


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_regions_begin_in_the_order_of_the_plan(stack, tmp_path, monkeypatch, scheduler):
    """Neighbours belong together, as they read the same chunks."""
    begun = []
    make = run_region

    def note(opened, index):
        begun.append(index)
        return make(opened, index)

    monkeypatch.setattr("chunkscale.run.local.run_region", note)
    with dask.config.set(scheduler=scheduler):
        run = chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0, workers=1)
    assert run.plan.region_count > 20
    assert begun == list(range(run.plan.region_count))


def test_results_that_dask_has_kept_are_of_no_other_region(stack, tmp_path):
    """A cache of Dask's replaces tasks whose names it knows; every pass and run has its own."""
    known = {}

    def replace(graph):
        graph.update({key: known[key] for key in graph if key in known})

    with Callback(start=replace, posttask=lambda key, result, *_: known.update({key: result})):
        for name in ("a.zarr", "b.zarr"):
            run = chunkscale.resample(stack, tmp_path / name, chunk=8, shard=0)
            assert len(run.plan.passes) > 1
            assert chunkscale.check(tmp_path / name, source=stack)


def test_tasks_of_others_are_not_taken_for_regions(stack, tmp_path):
    """Schedulers may add tasks to a graph, and other graphs in a process call back as well."""

    def get(graph, keys, **options):
        return dask.get({**graph, "all": (list, list(keys))}, "all")

    with dask.config.set(scheduler=get):
        run = chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0)
    assert run.times.regions == run.plan.region_count
    assert chunkscale.check(tmp_path / "out.zarr", source=stack)


def test_results_in_another_order_are_not_taken(stack, tmp_path):
    """A scheduler that mixes results up would have one region noted down for another."""

    def get(graph, keys, **options):
        return dask.get(graph, keys)[::-1]

    with (
        dask.config.set(scheduler=get),
        pytest.raises(AssertionError, match="the scheduler returned region"),
    ):
        chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0)


def test_no_more_regions_at_once_than_there_is_memory_for(stack, tmp_path, monkeypatch):
    """Whatever else the scheduler that the user has chosen would run at the same time."""
    running, most = [], []

    def watched(plan, index, *rest):
        running.append(index)
        time.sleep(0.01)
        most.append(len(running))
        running.remove(index)
        return Record(index, 1, 1, 0.0, 0.0, 0.0)

    monkeypatch.setattr("chunkscale.run.worker.process_region", watched)
    wide = partial(dask.threaded.get, num_workers=8)
    with dask.config.set(scheduler=wide), contextlib.suppress(chunkscale.RegionError):
        chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0, workers=2)
    assert len(most) > 8
    assert max(most) == 2


def test_no_region_begins_when_a_run_has_ended():
    """Not even one that waits in a pool of the user."""
    active = _Active(None)
    active.wait()
    with pytest.raises(RuntimeError, match="ended"):
        active(0)
    assert not active.untaken


def test_an_image_that_was_rewritten_since_it_was_opened_is_read_as_it_is(
    make_image, noise, tmp_path
):
    """What is said of the source in the output is what was read."""
    path = make_image(noise((8, 20, 20)), (1.0, 0.4, 0.4))
    image = chunkscale.open_image(path)
    shutil.rmtree(path)
    other = make_image(noise((8, 20, 20), seed=1), (1.0, 0.4, 0.4), chunk=(4, 5, 5))
    assert other == path
    chunkscale.resample(image, tmp_path / "out.zarr")
    assert chunkscale.resample(path, tmp_path / "out.zarr", resume=True).times.regions == 0


def test_a_failing_region_stops_the_run_and_is_named(stack, tmp_path, monkeypatch):
    """The error names region and voxels, the output is no image, and no thread goes on writing."""
    active = []

    def fail(plan, index, *rest):
        active.append(index)
        if index == 3:
            raise OSError("no space left on device")
        time.sleep(0.05)
        active.remove(index)
        return Record(index, 1, 1, 0.0, 0.0, 0.0)

    monkeypatch.setattr("chunkscale.run.worker.process_region", fail)
    with pytest.raises(chunkscale.RegionError, match=r"region 3 .*no space left"):
        chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0)
    assert set(active) == {3}
    with pytest.raises(chunkscale.NotAnImageError, match="did not finish"):
        chunkscale.open_image(tmp_path / "out.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("files", [1, 8, 60])
def test_killed_at_any_moment_the_output_is_no_image(make_image, noise, tmp_path, version, files):
    """SIGKILL leaves a group that no reader takes for an image, however much is there."""
    source, out = make_image(noise((40, 60, 60)), (1.0, 0.2, 0.2)), tmp_path / "out.zarr"
    layout = {"chunk": 16, "ome_zarr_version": version, "zoom": 2}
    process = start_driver(source, out, layout)
    while sum(path.is_file() for path in out.rglob("*")) < files:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    for marker in (out / "zarr.json", out / ".zattrs"):
        assert not (marker.exists() and b"multiscales" in marker.read_bytes())
    with pytest.raises((chunkscale.NotAnImageError, chunkscale.SourceNotFoundError)):
        chunkscale.open_image(out)
    chunkscale.resample(source, out, resume=True, **layout)
    assert chunkscale.check(out, source=source)


def test_chunkscale_threads_are_named_and_gone(stack, tmp_path):
    """While regions are made each thread of a run says whose it is; afterwards none is left."""
    before, during = set(threading.enumerate()), set()

    def look(progress):
        during.update(set(threading.enumerate()) - before)

    chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0, progress=look)
    names = {thread.name for thread in during}
    assert "chunkscale-lease" in names
    assert len(names) > 1
    assert all(name.startswith("chunkscale") for name in names)
    assert not during & set(threading.enumerate())


def test_with_a_pool_of_the_user_nothing_is_written_after_an_error(stack, tmp_path, monkeypatch):
    """Regions that had begun are waited for, in whosever threads they run."""
    running = []

    def fail(plan, index, *rest):
        running.append(index)
        if index == 0:
            raise OSError("broken")
        time.sleep(0.3)
        running.remove(index)
        return Record(index, 1, 1, 0.0, 0.0, 0.0)

    monkeypatch.setattr("chunkscale.run.worker.process_region", fail)
    with ThreadPoolExecutor(3) as pool, dask.config.set(pool=pool):
        with pytest.raises(chunkscale.RegionError, match="broken"):
            chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=0)
        assert set(running) == {0}
