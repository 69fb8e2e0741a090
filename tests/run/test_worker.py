"""Workers: which failures are tried again, how often, and what a process keeps open."""

import errno
import pickle

import pytest

import chunkscale
from chunkscale.errors import CorruptChunkError, DeviceError
from chunkscale.plan.model import ResamplePlan
from chunkscale.run.job import ImageJob, Job, common_workers
from chunkscale.run.records import Failure, Record
from chunkscale.run.region import process_region
from chunkscale.run.worker import OpenJob, opened_jobs, run_batch, run_region, stop_run
from chunkscale.storage.buckets.access import clear_bucket_errors
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.failures import StoreError, is_transient
from chunkscale.storage.reader import ArrayReader
from chunkscale.storage.writer import ArrayWriter


class Answer(Exception):
    def __init__(self, status):
        super().__init__(f"answered {status}")
        self.status = status


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OSError(errno.EIO, "input/output error"), True),
        (OSError(errno.ENOSPC, "no space left"), False),
        (OSError(errno.EDQUOT, "quota exceeded"), False),
        (OSError(errno.EROFS, "read-only file system"), False),
        (PermissionError(errno.EACCES, "denied"), False),
        (ConnectionResetError("broken off"), True),
        (TimeoutError("too late"), True),
        (ValueError("UNAVAILABLE: Error reading"), True),
        (ValueError("ABORTED: all retries failed"), True),
        (ValueError("INTERNAL: broken off"), True),
        (ValueError("UNKNOWN: connection lost"), True),
        (ValueError("INVALID_ARGUMENT: no such thing"), False),
        (Answer(503), True),
        (Answer(429), True),
        (Answer(404), False),
        (CorruptChunkError("torn"), False),
        (CorruptChunkError("broken off", transient=True), True),
        (DeviceError("no such device"), False),
        (ZeroDivisionError(), False),
    ],
    ids=str,
)
def test_what_may_go_away_is_tried_again(error, transient):
    """Stores that do not answer, and nothing that is wrong for good."""
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        ("429 Too Many Requests", True),
        ("408 Request Timeout", True),
        ("409 Conflict", True),
        ("503 Slow Down", True),
        ("400 Bad Request", False),
        ("405 Method Not Allowed", False),
    ],
)
def test_what_a_bucket_refuses_for_the_moment_is_tried_again(status, transient):
    """Too many requests, and others that its answer says may be repeated."""
    raised = pytest.importorskip("obstore.exceptions").GenericError
    with pytest.raises(StoreError, match=status) as error, clear_bucket_errors("s3://bucket/key"):
        raise raised(f"Server returned non-2xx status code: {status}: ...")
    assert is_transient(error.value) is transient


def test_a_corrupt_chunk_stays_what_it_is_between_processes():
    """The error says the same, and whether it may go away, on the other side."""
    for transient in (True, False):
        error = pickle.loads(pickle.dumps(CorruptChunkError("chunk (0, 1)", transient=transient)))
        assert str(error) == "chunk (0, 1)"
        assert error.transient is transient


@pytest.fixture
def job(make_image, noise, tmp_path):
    source = make_image(noise((8, 20, 20)), (1.0, 0.5, 0.5))
    out = tmp_path / "out.zarr"
    plan: ResamplePlan = chunkscale.resample(source, out).plan
    io = StoreIO(threads=1)
    target = tuple(ArrayWriter(str(out / level.path), io) for level in plan.levels)
    image = ImageJob(plan=plan, source=ArrayReader(str(source / "0"), io), target=target)
    return Job(run=str(tmp_path), images=(image,), workers=plan.workers)


@pytest.mark.parametrize("failures", [0, 1, 4, 5])
def test_a_region_is_tried_five_times(failures, job, monkeypatch):
    """Then it has failed, and names itself, its voxels and the cause.

    Each wait is longer than the one before, and all of them together some seconds, which is what
    a busy store takes.
    """
    tried, waits = [], []
    original = process_region

    def fail(*arguments):
        tried.append(True)
        if len(tried) <= failures:
            raise TimeoutError("too late")
        return original(*arguments)

    monkeypatch.setattr("chunkscale.run.worker.process_region", fail)
    monkeypatch.setattr("chunkscale.run.worker.sleep", waits.append)
    outcome = run_region(OpenJob.of(job), 0)
    assert len(tried) == min(failures + 1, 5)
    assert len(waits) == min(failures, 4)
    assert waits == sorted(set(waits))
    if failures >= 4:
        assert 5 < sum(waits) < 30
    if failures < 5:
        assert isinstance(outcome, Record)
    else:
        assert isinstance(outcome, Failure)
        assert "region 0 (voxels" in str(outcome.error)
        assert "too late" in str(outcome.error)


def test_images_together_have_no_more_workers_than_the_run_may_have(job):
    """However much memory there is; and one where it is short."""
    (image,) = job.images
    alone = image.plan.memory
    two = alone.base + alone.buffers + 2 * alone.per_worker
    most = image.plan.limits.workers
    assert common_workers([image.plan] * 3, 2**50) == most
    assert common_workers([image.plan] * 3, two) == min(2, most)
    assert common_workers([image.plan], 0) == 1


def test_a_process_opens_a_job_once_and_drops_it(job):
    """Batches of a run share its arrays; after the end of the run there are none."""
    payload = pickle.dumps(job)
    assert len(payload) < 20_000
    assert [o.index for o in run_batch(job.run, payload, [0])] == [0]
    opened = opened_jobs[job.run]
    list(run_batch(job.run, b"never looked at", [0]))
    assert opened_jobs[job.run] is opened
    for other in ("a", "b"):  # of many runs it holds those that it worked for last
        list(run_batch(other, payload, [0]))
    assert list(opened_jobs) == ["a", "b"]
    list(run_batch(job.run, payload, [0]))
    for run in (job.run, "a", "b"):
        stop_run(run)
    assert not opened_jobs
    assert list(run_batch(job.run, payload, [0])) == []
