"""Random valid jobs, one after another in one process; every voxel of each is looked at.

    python tests/campaigns/soak.py --seconds 1800 --seed 0

Level 0 is held to float64 arithmetic of positions alone (`campaigns.oracles`), all levels and the
labels to plain NumPy (``check(full=True)``). Some runs are killed and resumed. A job may be
refused by a `ChunkscaleError`: all messages are shown, so that somebody can judge them. At the
end the first jobs are done some times more: memory, open files and threads must not grow then.
``--case 4711`` repeats one job of the seed.
"""

import argparse
import collections
import contextlib
import ctypes
import gc
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil
import zarr
from campaigns import oracles
from campaigns.fuzz import Hang, outcome, watched
from campaigns.jobs import job_of, put_source, read_grid, source_path, voxels_of

import chunkscale
from chunkscale.errors import ChunkscaleError

#: Of a job.
SECONDS = 60.0

#: How a process ends whose run is refused; other exceptions end it with 1.
REFUSED = 3

#: Jobs that are done again at the end, and how often before and after the process is looked at.
#: New ones would load kernels for types that were not there yet.
AGAIN, ROUNDS = 100, (3, 2)

#: Jobs between two words on what the process holds.
TOLD = 250

#: What a process may have more after the last rounds than before.
MARGINS = {"MiB of memory": 10, "open files": 4, "threads": 4}


def usage():
    """Return what this process holds, without memory that its allocator could give back."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not of glibc
        ctypes.CDLL(None).malloc_trim(0)
    process = psutil.Process()
    found = (process.memory_info().rss / 2**20, process.num_fds(), process.num_threads())
    return dict(zip(MARGINS, found, strict=True))


class Soak:
    """Jobs that are done in a folder, and what came out.

    Parameters
    ----------
    folder : Path
    seed : int
    """

    def __init__(self, folder, seed):
        self.folder, self.seed = Path(folder), seed
        self.counts = collections.Counter()
        self.refusals, self.found = [], []
        self.voxels = 0
        self.settled = None

    def do(self, number):
        """Do the job of a number, and count how it came out."""
        self.counts["jobs"] += 1
        try:
            try:
                said = self.tried(number)
            except Hang:  # others may have had the machine
                said = self.tried(number)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            self.found.append(f"{number}: {type(error).__name__}: {error!s:.600} ({at})")
            said = "fell"
        self.counts[said] += 1

    def settle(self):
        """Do the first jobs again and again, and look in between at what the process holds."""
        numbers = range(min(AGAIN, self.counts["jobs"]))
        for rounds in ROUNDS:
            self.settled = usage()
            for _ in range(rounds):
                for number in numbers:
                    self.do(number)

    def tried(self, number):
        """Do a job; return how it came out."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        job = job_of(self.seed, number)
        source, path = put_source(job, work)
        before = _contents(path)
        with watched(SECONDS, growth=2**30):
            out, resumed = work / job.name, {}
            if job.killed is not None:
                self._kill(number, work, job, out)
                resumed = {"resume": True}
            made = outcome(chunkscale.resample, source, out, **job.options, **resumed)
            if isinstance(made, ChunkscaleError):
                self.refusals.append(f"{number}: {type(made).__name__}: {made}")
                assert resumed or not out.exists(), f"refused, and {out.name} is there"
                return f"refused: {type(made).__name__}"
            self.look(job, source, out)
        assert _contents(path) == before, "the source has changed"
        there = {p.name for p in work.iterdir()} - {job.name, path and path.name}
        assert not there, f"there is {there} besides"
        self.counts[f"  method {made.plan.method}"] += 1
        self.counts[f"  source {job.kind}"] += 1
        self.counts["  with labels"] += job.labelled
        return "right, killed and resumed" if resumed else "right"

    def _kill(self, number, work, job, out):
        """Begin a run in a process of its own, and kill it soon after it has begun to write."""
        command = [sys.executable, __file__, "--begin", work, "--seed", self.seed, "--case", number]
        run = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE)
        begun = out.with_name(f"{out.name}.partial") if out.suffix == ".ozx" else out
        while not begun.exists() and run.poll() is None:
            time.sleep(0.002)
        time.sleep(job.killed)
        run.kill()
        told = run.communicate()[1].decode()
        assert run.returncode in (0, REFUSED, -signal.SIGKILL), told
        self.counts["  killed while it ran"] += run.returncode == -signal.SIGKILL

    def look(self, job, source, out):
        """Raise for what is not right in an output."""
        report = outcome(chunkscale.check, out, source=source, full=True)
        is_wrong = isinstance(report, ChunkscaleError) or not report
        assert not is_wrong, f"check: {report}"
        self.voxels += report.voxels_compared
        _, data, labels = voxels_of(job)
        image = chunkscale.open_image(out)
        method = job.options.get("method") or "linear"
        _look_at_image(job, image.grid, _level_zero(out, ""), data, method)
        if job.labelled:
            grid = image.grid
            spatial = [i for i, name in enumerate(grid.names) if name in job.spatial]
            found = _level_zero(out, "labels/cells/")
            assert found.shape == tuple(grid.shape[i] for i in spatial), "labels on another grid"
            fill = _fill_of_labels(job, grid, labels.shape)
            told = _fault(job, grid, found, labels, job.options["label_method"], fill)
            assert told is None, f"labels: {told}"

    def grown(self):
        """Return what the process has more of than its jobs explain."""
        if self.settled is None:
            return []
        now = usage()
        return [
            f"{name}: {self.settled[name]:.0f}, and {now[name]:.0f} when jobs were done again"
            for name, margin in MARGINS.items()
            if now[name] > self.settled[name] + margin
        ]

    def report(self):
        """Return the counts as lines."""
        lines = [f"{n:>7} {what}" for what, n in self.counts.items() if n]
        lines += [f"{self.voxels:>7} voxels compared", *self.refusals, *self.found]
        if self.settled is not None:
            now = usage()
            lines += [f"{name}: {self.settled[name]:.0f} to {now[name]:.0f}" for name in MARGINS]
        return lines


def _look_at_image(job, grid, found, data, method):
    """Compare level 0 with the voxels that it was made from."""
    assert found.dtype == data.dtype, f"{found.dtype} of {data.dtype}"
    assert found.shape == grid.shape, f"{found.shape} stored, {grid.shape} stated"
    data = data.reshape([n for n, a in zip(data.shape, job.axes, strict=True) if a in grid.names])
    for axis, option in (("t", "timepoints"), ("c", "channels")):
        if option in job.options:
            data = np.take(data, job.options[option], grid.names.index(axis))
    _look_at_grid(job, grid)
    told = _fault(job, grid, found, data, method, job.options.get("outside", "edge"))
    assert told is None, f"level 0: {told}"


def _look_at_grid(job, grid):
    """See that a target is what was asked for: sizes as they were given, edges that coincide."""
    given = job.options
    for name in job.spatial:
        i = grid.names.index(name)
        size, wanted = grid.voxel_size[i], given.get("voxel_size")
        if isinstance(wanted, float):
            assert size == wanted, f"{name}: {size} where {wanted} was asked for"
        elif isinstance(wanted, dict):
            wanted = wanted.get(name, job.size[name])
            assert size == wanted, f"{name}: {size} where {wanted} was asked for"
        if "like" in given:
            like = given["like"]
            k = like.names.index(name)
            assert (size, grid.shape[i]) == (like.voxel_size[k], like.shape[k]), f"{name}: {grid}"
        elif "crop" not in given:
            edges = [t - s / 2 for t, s in ((grid.translation[i], size),
                                            (job.translation[name], job.size[name]))]  # fmt: skip
            assert np.isclose(*edges, rtol=1e-9, atol=1e-9), f"{name}: begins at {edges}"
            if "shape" in given:
                assert grid.shape[i] == given["shape"][name], f"{name}: {grid.shape}"


def _fault(job, grid, found, data, method, fill):
    """Return what is wrong in level 0 of an image or of labels; None if it is right."""
    read, names = read_grid(job), job.spatial
    places = [oracles.positions(read, grid, name) for name in names]
    steps = [oracles.step_of(read, grid, name) for name in names]
    lead = data.ndim - len(names)
    inside = [_inside(at, n) for at, n in zip(places, data.shape[lead:], strict=True)]
    if "like" in job.options and fill != "edge":
        # At the very edge it may be either; what is left is interpolated.
        chosen = [np.flatnonzero(which == 1) for which in inside]
        beyond = [np.flatnonzero(which == 0) for which in inside]
        for k, index in enumerate(beyond):
            filled = np.take(found, index, lead + k)
            if (filled != fill).any():
                return f"beyond the source along {names[k]} is not {fill} everywhere"
        for k, index in enumerate(chosen):
            found, places[k] = np.take(found, index, lead + k), places[k][index]
    if not found.size:
        return None
    if method == "nearest":
        return oracles.fault_of_nearest(found, data, places)
    if method in oracles.TAKEN:
        random = np.random.default_rng(job.seed)
        return oracles.fault_of_cells(found, data, places, steps, method, random)
    expected = oracles.mixed(data, places, steps, method, job.options.get("antialias", False))
    return oracles.fault_of_mixed(found, expected)


def _fill_of_labels(job, grid, shape):
    """Return what lies beyond labels: none, or the last ones up to a voxel of theirs.

    An only voxel of the target that holds them all lies beyond nothing.
    """
    for name, count in zip(job.spatial, shape, strict=True):
        at = oracles.positions(read_grid(job), grid, name)
        half = oracles.step_of(read_grid(job), grid, name) / 2
        gaps = (half - at[0] - 0.5, at[-1] + half - (count - 0.5))
        if max(gaps) > 1 and (len(at) > 1 or min(gaps) < -oracles.TIE):
            return 0
    return "edge"


def _inside(at, count):
    """Say of each position whether it lies in the source: 1, or 0; -1 at its very edge."""
    inside = ((at >= -0.5) & (at < count - 0.5)).astype(int)
    edges = np.minimum(abs(at + 0.5), abs(at - count + 0.5))
    return np.where(edges < oracles.TIE, -1, inside)


def _level_zero(out, below):
    """Return voxels as zarr-python reads them."""
    if out.suffix != ".ozx":
        return np.asarray(zarr.open_array(out / f"{below}0", mode="r")[...])
    with zarr.storage.ZipStore(out, mode="r") as store:
        return np.asarray(zarr.open_array(store, path=f"{below}0", mode="r")[...])


def _contents(path):
    """Return all that lies at a path, by name."""
    if path is None:
        return None
    files = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {str(file): file.read_bytes() for file in files}


def begin(seed, number, work):
    """Do the run of a job in small regions whose notes are stored at once: it is killed soon.

    Return whether it was refused.
    """
    from chunkscale.output import ledger
    from chunkscale.plan import policy

    policy.LARGEST_REGION = 2**10
    ledger.FLUSH_SECONDS = (0.0, 0.0)
    warnings.simplefilter("ignore")
    job = job_of(seed, number)
    return isinstance(
        outcome(chunkscale.resample, source_path(job, work), work / job.name, **job.options),
        ChunkscaleError,
    )


def run(folder, seed, numbers):
    """Do the jobs of these numbers; return the campaign."""
    soak = Soak(folder, seed)
    for number in numbers:
        soak.do(number)
    return soak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, metavar="NUMBER", help="repeat one, and show its trace")
    parser.add_argument("--begin", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.begin:
        return REFUSED if begin(given.seed, given.case, given.begin) else 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(folder, given.seed)
        if given.case is not None:
            print(job_of(given.seed, given.case))
            print(soak.tried(given.case), *soak.refusals)
            return 0
        end = time.monotonic() + given.seconds
        while time.monotonic() < end:
            soak.do(soak.counts["jobs"])
            if not soak.counts["jobs"] % TOLD:
                held = ", ".join(f"{amount:.0f} {what}" for what, amount in usage().items())
                print(f"{soak.counts['jobs']} jobs: {held}", file=sys.stderr, flush=True)
        soak.settle()
        soak.found += soak.grown()
    print("\n".join(soak.report()))
    return bool(soak.found)


if __name__ == "__main__":
    sys.exit(main())
