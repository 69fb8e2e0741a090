"""Dask clusters: the same bytes on any of them, and clear words where one cannot be used."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
from outputs import LAYOUTS, assert_same_output, stack_with_holes

import chunkscale
from chunkscale.cli.main import main
from chunkscale.host.memory import bystander_bytes
from chunkscale.run.connect import connect
from chunkscale.run.worker import opened_jobs

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_regions")]


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


@contextlib.contextmanager
def local_cluster(workers, threads=1, **options):
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=threads, dashboard_address=":0", **options
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with local_cluster(2) as client:
        yield client


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cluster_writes_the_bytes_of_threads(layout, client, stack, tmp_path):
    """Every file is the same, progress covers every region, and nothing is left out."""
    options = LAYOUTS[layout]
    chunkscale.resample(stack, tmp_path / "threads.zarr", **options)
    seen = []
    run = chunkscale.resample(
        stack, tmp_path / "cluster.zarr", client=client, progress=seen.append, **options
    )
    assert_same_output(tmp_path / "cluster.zarr", tmp_path / "threads.zarr")
    assert run.times.regions == run.plan.region_count == max(p.regions for p in seen)
    assert chunkscale.check(tmp_path / "cluster.zarr", source=stack)


@pytest.mark.parametrize(("workers", "threads"), [(1, 2), (4, 1)])
def test_the_number_of_workers_changes_nothing(workers, threads, stack, tmp_path):
    """Processes and threads in any number write the same files."""
    chunkscale.resample(stack, tmp_path / "threads.zarr", chunk=8, shard=32)
    with local_cluster(workers, threads) as client:
        chunkscale.resample(stack, tmp_path / "out.zarr", chunk=8, shard=32, client=client)
    assert_same_output(tmp_path / "out.zarr", tmp_path / "threads.zarr")


def test_the_active_client_is_used(stack, tmp_path):
    """As Dask does it; unless dask.config names another scheduler."""
    import dask

    log = tmp_path / "log"
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as local,
        distributed.Client(local),
    ):
        chunkscale.resample(stack, tmp_path / "a.zarr", log=log)
        workers = {json.loads(line)["worker"] for line in log.read_text().splitlines()}
        assert workers == {worker.address for worker in local.workers.values()}
        with dask.config.set(scheduler="threads"):
            chunkscale.resample(stack, tmp_path / "b.zarr", log=log)
    assert json.loads(log.read_text().splitlines()[-1])["worker"] == "local"
    assert_same_output(tmp_path / "a.zarr", tmp_path / "b.zarr")


def test_a_run_inside_a_task_stays_in_its_process(stack, tmp_path):
    """A task that resamples does not wait for tasks that wait for its worker."""
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as local,
        distributed.Client(local) as client,
    ):
        done = client.submit(chunkscale.resample, stack, tmp_path / "a.zarr", pure=False)
        assert done.result(timeout=60).times.regions > 0


def test_a_scheduler_by_address_and_by_file(client, stack, tmp_path, capsys):
    """Both reach the cluster from the command line; its address is printed."""
    address = client.scheduler.address
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": address}))
    for name, scheduler in [("a", address), ("b", str(file))]:
        out = tmp_path / f"{name}.zarr"
        assert main(["resample", str(stack), str(out), "--scheduler", scheduler]) == 0
        text = capsys.readouterr().out
        assert address in text
        assert "in each worker process" in text
        assert "most time went into" in text
    assert_same_output(tmp_path / "a.zarr", tmp_path / "b.zarr")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "tcp://127.0.0.1:9"}, "does not answer"),
        ({"scheduler": "nowhere.json"}, "neither an address"),
        ({"client": "tcp://127.0.0.1:9"}, "not a .*Client"),
    ],
    ids=str,
)
def test_a_cluster_that_is_not_there_is_refused(options, message, stack, tmp_path, monkeypatch):
    """Before anything is written, with the address and what to do."""
    monkeypatch.setattr("chunkscale.run.connect.CONNECT_SECONDS", 0.5)
    with pytest.raises(chunkscale.OptionError, match=message):
        chunkscale.resample(stack, tmp_path / "out.zarr", **options)
    assert not (tmp_path / "out.zarr").exists()


def test_the_base_counts_what_the_workers_import(client, stack):
    """Not what is installed where the driver runs."""

    def pretend(size=None):
        from chunkscale.host.memory import bystander_bytes
        from chunkscale.run import dask_cluster

        dask_cluster.bystander_bytes = bystander_bytes if size is None else lambda: size

    def base():
        with connect(client) as connected:
            return chunkscale.plan_resampling(stack, client=connected).memory.base

    own = base() - bystander_bytes()
    try:
        client.run(pretend, 7 * 2**20)
        assert base() == own + 7 * 2**20
    finally:
        client.run(pretend)


def test_options_of_two_worlds_are_refused(client, stack, tmp_path):
    """One cluster at a time, and a cluster has its own workers."""
    with pytest.raises(chunkscale.OptionError, match="pass only one"):
        chunkscale.resample(stack, tmp_path / "out.zarr", client=client, scheduler="tcp://x:1")
    with pytest.raises(chunkscale.OptionError, match="2 threads in 2 workers"):
        chunkscale.resample(stack, tmp_path / "out.zarr", client=client, workers=3)


def test_another_version_on_the_workers_is_refused(client, stack, tmp_path, monkeypatch):
    """Both versions and the worker's address are named, whether it is there or comes later."""
    monkeypatch.setattr("chunkscale.run.dask_cluster.__version__", "99.0")
    named = r"worker tcp://.* has chunkscale \d.*, and the client 99.0"
    with pytest.raises(chunkscale.ClusterError, match=named):
        chunkscale.resample(stack, tmp_path / "out.zarr", client=client)
    found = client.get_versions(packages=["chunkscale"])
    for versions in found["workers"].values():
        versions["packages"]["chunkscale"] = "0.0.1"
    monkeypatch.setattr(client, "get_versions", lambda **_: found)
    # Those that do not understand the question, and those that answer another one.
    for answers in ({}, dict.fromkeys(found["workers"], (1, None))):
        monkeypatch.setattr(client, "run", lambda *_, told=answers, **__: told)
        with pytest.raises(chunkscale.ClusterError, match=r"has chunkscale 0\.0\.1"):
            chunkscale.resample(stack, tmp_path / "other.zarr", client=client)


def test_resources_choose_the_workers(stack, tmp_path):
    """Tasks that take a GPU run where there is one."""
    log = tmp_path / "log"
    workers = {
        name: {"cls": distributed.Worker, "options": {"nthreads": 1, "resources": resources}}
        for name, resources in [("plain", {}), ("gpu", {"GPU": 1})]
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as both,
        distributed.Client(both, set_as_default=False) as client,
    ):
        with_gpu = {both.workers["gpu"].address}
        chunkscale.resample(
            stack, tmp_path / "out.zarr", chunk=8, client=client, resources={"GPU": 1}, log=log
        )
    assert {json.loads(line)["worker"] for line in log.read_text().splitlines()} == with_gpu


def test_resources_that_no_worker_has(stack, tmp_path, monkeypatch):
    """It is said what is waited for, and who stops the run is not kept waiting."""
    monkeypatch.setattr("chunkscale.run.waiting.FIRST_SECONDS", 0.2)

    def stop(message, *_, **__):
        if "no worker of" in str(message):
            raise KeyboardInterrupt

    monkeypatch.setattr(warnings, "warn", stop)
    with local_cluster(1, processes=False) as client:
        before = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            chunkscale.resample(stack, tmp_path / "o.zarr", client=client, resources={"GPU": 1})
        assert time.monotonic() - before < 20
        assert not client.run_on_scheduler(_unfinished)


def _unfinished(dask_scheduler):
    return list(dask_scheduler.unrunnable)


@pytest.mark.parametrize("page", [b"<p>Dask needs bokeh>=3.1.0 for the dashboard.</p>", None, b"!"])
def test_only_a_dashboard_that_is_there_is_named(page, client, monkeypatch):
    """A scheduler gives a link in any case; without bokeh there is a page that asks for it."""

    def answer(*_, **__):
        if page is None:
            raise OSError("connection refused")
        return io.BytesIO(page)

    link = str(client.dashboard_link)
    monkeypatch.setattr("chunkscale.run.dask_cluster.urlopen", answer)
    with connect(client) as cluster:
        assert (link in str(cluster)) == (page == b"!")


def test_workers_may_come_and_go(stack, tmp_path):
    """A run begins without a worker, and goes on while they are replaced."""
    chunkscale.resample(stack, tmp_path / "threads.zarr", chunk=8, shard=32)
    scaled = []
    with local_cluster(0) as client:

        def scale(progress):
            steps = {0: 1, 12: 3, 20: 1}
            for regions, workers in steps.items():
                if progress.regions >= regions and regions not in scaled:
                    scaled.append(regions)
                    client.cluster.scale(workers)

        chunkscale.resample(
            stack, tmp_path / "out.zarr", chunk=8, shard=32, client=client, progress=scale
        )
    assert scaled == [0, 12, 20]
    assert_same_output(tmp_path / "out.zarr", tmp_path / "threads.zarr")


def test_a_failing_region_fails_the_run_at_its_end(client, stack, tmp_path):
    """The corrupt chunk is named, everything else is done, and resume goes on from there."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8, shard=0)
    chunk = next(p for p in sorted((stack / "0" / "c").rglob("*"))[::-1] if p.is_file())
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-5])
    out = tmp_path / "out.zarr"
    with pytest.raises(chunkscale.CorruptChunkError, match=r"chunk \(4, 4, 4\)"):
        chunkscale.resample(stack, out, chunk=8, shard=0, client=client)
    chunk.write_bytes(good)
    run = chunkscale.resample(stack, out, chunk=8, shard=0, client=client, resume=True)
    first = run.plan.passes[0].region_count
    assert first * 0.8 < run.times.resumed_regions < first
    assert_same_output(out, tmp_path / "whole.zarr")


def test_what_stops_a_run_leaves_the_cluster_free(client, stack, tmp_path):
    """After an interruption no task of the run is left, and no job stays open in a worker."""

    def stop(progress):
        if progress.regions > 5:
            raise KeyboardInterrupt

    out = tmp_path / "out.zarr"
    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(stack, out, chunk=8, shard=0, client=client, progress=stop)
    assert client.run(_open_jobs) == dict.fromkeys(client.nthreads(), 0)
    assert not [task for tasks in client.processing().values() for task in tasks]
    run = chunkscale.resample(stack, out, chunk=8, shard=0, client=client, resume=True)
    assert run.times.resumed_regions > 5
    assert client.run(_open_jobs) == dict.fromkeys(client.nthreads(), 0)


def test_a_frozen_worker_does_not_keep_a_run_from_ending(stack, tmp_path, monkeypatch):
    """Who interrupts waits for the regions that run, but not for ever, and can resume."""
    monkeypatch.setattr("chunkscale.run.dask_cluster.STOP_SECONDS", 1.0)
    frozen = []
    with local_cluster(2) as client:

        def freeze(progress):
            if progress.regions > 5:
                frozen.append(next(iter(client.run(os.getpid).values())))
                os.kill(frozen[0], signal.SIGSTOP)
                raise KeyboardInterrupt

        out = tmp_path / "out.zarr"
        ending = threading.Timer(20.0, lambda: os.kill(frozen[0], signal.SIGCONT))
        ending.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                chunkscale.resample(stack, out, chunk=8, shard=0, client=client, progress=freeze)
            assert ending.is_alive()
        finally:
            ending.cancel()
            os.kill(frozen[0], signal.SIGCONT)
    run = chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert run.times.resumed_regions > 5


def _open_jobs():
    return len(opened_jobs)


def test_a_cluster_that_is_gone_is_an_error(stack, tmp_path):
    """A run whose scheduler ends says so, and can be resumed elsewhere."""
    out = tmp_path / "out.zarr"
    with local_cluster(1) as client:

        def close(progress):
            if progress.regions == 5:
                client.close()

        with pytest.raises(chunkscale.ClusterError, match="resume"):
            chunkscale.resample(stack, out, chunk=8, shard=0, client=client, progress=close)
    run = chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert run.times.resumed_regions >= 5


def dask(*arguments, inside=()):
    code = f"from distributed.cli import {arguments[0]} as m; m.main()"
    return subprocess.Popen(
        [*inside, sys.executable, "-c", code, *map(str, arguments[1:])],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


@contextlib.contextmanager
def network_namespace():
    """Yield an address for a scheduler, a worker's, and the command that enters its namespace.

    Where none may be made the two meet on this machine alone, and the test says so when it ends.
    """
    name, here, there = f"cs{os.getpid()}", "10.213.7.1", "10.213.7.2"
    link = f"v{os.getpid() % 10**7}"
    steps = [
        f"ip netns add {name}",
        f"ip link add {link}a type veth peer name {link}b",
        f"ip link set {link}b netns {name}",
        f"ip addr add {here}/24 dev {link}a",
        f"ip link set {link}a up",
        f"ip -n {name} addr add {there}/24 dev {link}b",
        f"ip -n {name} link set {link}b up",
        f"ip -n {name} link set lo up",
    ]
    try:
        for step in steps:
            try:
                subprocess.run(step.split(), check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                yield "127.0.0.1", "127.0.0.1", []
                return
        yield here, there, ["ip", "netns", "exec", name]
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_workers_elsewhere_share_nothing_but_the_store(stack, tmp_path):
    """A scheduler and a worker of their own, reached by TCP alone, write the same files."""
    chunkscale.resample(stack, tmp_path / "threads.zarr", chunk=8, shard=32)
    file = tmp_path / "scheduler.json"
    with network_namespace() as (here, there, inside):
        processes = [
            dask("dask_scheduler", "--host", here, "--port", 0, "--no-dashboard",
                 "--scheduler-file", file)
        ]  # fmt: skip
        try:
            while not file.exists():
                assert processes[0].poll() is None
                time.sleep(0.05)
            processes.append(
                dask("dask_worker", "--scheduler-file", file, "--host", there, "--nthreads", 2,
                     "--no-dashboard", "--local-directory", tmp_path / "scratch", inside=inside)
            )  # fmt: skip
            log = tmp_path / "log"
            run = chunkscale.resample(
                stack, tmp_path / "out.zarr", chunk=8, shard=32, scheduler=file, log=log
            )
        finally:
            for process in processes[::-1]:
                process.terminate()
            for process in processes:
                process.wait(20)
    assert run.times.regions == run.plan.region_count
    workers = {json.loads(line)["worker"] for line in log.read_text().splitlines()}
    assert {address.rsplit(":", 1)[0] for address in workers} == {f"tcp://{there}"}
    assert_same_output(tmp_path / "out.zarr", tmp_path / "threads.zarr")
    if not inside:
        pytest.skip("right, but over the loopback alone: no network namespace may be made here")


def test_without_distributed_the_extra_is_named(stack, tmp_path, monkeypatch):
    """Whoever asks for a cluster is told what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(chunkscale.OptionError, match=r"chunkscale\[distributed\]"):
        chunkscale.resample(stack, tmp_path / "out.zarr", scheduler="tcp://127.0.0.1:9")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunkscale.resample(stack, tmp_path / "out.zarr")
