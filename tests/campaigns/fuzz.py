"""Damage stores at random, and see that nothing but a right result or a clear refusal comes out.

    python tests/campaigns/fuzz.py --seconds 600 --seed 1

Each case is told by its kind, seed and number: ``--case documents:1:4711`` repeats one.
"""

import argparse
import collections
import contextlib
import json
import lzma
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil
import zarr
from campaigns import images
from campaigns.mutations import FAULTS, mutate_document, source_of, spoil

import chunkscale
from chunkscale.api.describing import info
from chunkscale.errors import ChunkscaleError, ChunkscaleWarning
from chunkscale.report.images import info_text

#: Of one case: seconds, and bytes that a process may grow by.
SECONDS, GROWTH = 5.0, 300 * 2**20

#: How zarr-python says that it cannot decode a chunk.
_UNDECODED = (EOFError, OSError, RuntimeError, ValueError, zlib.error, lzma.LZMAError)

#: Bytes and regions of a plan that is carried out as well.
SMALL, FEW = 2**18, 40

DOCUMENTS = ("zarr.json", ".zattrs", ".zarray", ".zgroup")


class Hang(BaseException):
    """A case took too long."""


@contextlib.contextmanager
def watched(seconds=None, growth=GROWTH):
    """Raise for other warnings than ours, for what takes long, and for what takes memory."""
    seconds = seconds or SECONDS

    def stop(*_):
        raise Hang(f"took more than {seconds} s")

    process = psutil.Process()
    begun = process.memory_info().rss
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ChunkscaleWarning)
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    grown = _peak(process) - begun
    if grown > growth:
        raise AssertionError(f"took {grown / 2**20:.0f} MiB of memory")


def _peak(process):
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return process.memory_info().rss


def outcome(act, *arguments, **options):
    """Return what a verb gives, or the refusal that it raises."""
    try:
        return act(*arguments, **options)
    except ChunkscaleError as error:
        refuse_raw(str(error))
        return error


#: What steers a terminal: C0 but for line ends, C1, and what turns the order of characters.
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def refuse_raw(text):
    """Raise for characters that steer a terminal."""
    assert not RAW.search(text), f"raw control characters: {text!a}"


class Campaign:
    """The stores that are damaged, and what came out so far.

    Parameters
    ----------
    folder : Path
    seed : int
    """

    def __init__(self, folder, seed):
        self.folder, self.seed = Path(folder), seed
        self.counts = collections.Counter()
        self.found = []
        self.documented = list(images.documented(self.folder))
        self.files = {name: self._files(name) for name in self.documented}
        self.coded = {name: images.coded(self.folder / f"c-{name}", name) for name in images.CODECS}
        self.made = {checksum: self._made(checksum) for checksum in ("none", "crc32c")}

    def _files(self, name):
        return {
            path: path.read_bytes()
            for path in sorted((self.folder / name).rglob("*"))
            if path.name in DOCUMENTS or path.suffix == ".xml"
        }

    def _made(self, checksum):
        """Return an output, and all its files."""
        out = self.folder / f"out-{checksum}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ChunkscaleWarning)
            chunkscale.resample(self.folder / "c-v3-zstd", out, checksum=checksum, **self.options)
        return out, {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

    options = {"voxel_size": "z=0.5", "levels": 2, "chunk": 8, "workers": 1}  # noqa: RUF012

    def case(self, kind, number):
        """Do one case; return whether it came out as it may."""
        try:
            try:
                said = self._watched(kind, number)
            except Hang:  # it may have compiled a kernel, or others have had the machine
                said = self._watched(kind, number)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{kind}:{self.seed}:{number}: {type(error).__name__}: {error!s:.300}"
            self.found.append(f"{line} ({where.filename.rpartition('/')[2]}:{where.lineno})")
            self.counts[kind, "fell"] += 1
            return False
        self.counts[kind, said] += 1
        return True

    def _watched(self, kind, number):
        with watched():
            return getattr(self, kind)(source_of(self.seed, number))

    # --- documents -------------------------------------------------------------------------------

    def documents(self, rng):
        """Change one or two documents of a store, and open, describe, plan and resample it."""
        name = rng.choice(self.documented)
        files = self.files[name]
        changed = rng.sample(sorted(files), min(len(files), rng.choice((1, 1, 2))))
        try:
            for path in changed:
                path.write_bytes(
                    mutate_document(rng, files[path])
                    if path.suffix != ".xml"
                    else spoil(rng, rng.choice(FAULTS[:4]), files[path], b"")
                )
            return self._tried(self.folder / name)
        finally:
            for path in changed:
                path.write_bytes(files[path])

    def _tried(self, path):
        said = outcome(info, path)
        if not isinstance(said, ChunkscaleError):
            json.dumps(said)
            refuse_raw(info_text(said))
        outcome(chunkscale.open_image, path)
        plan = outcome(chunkscale.plan_resampling, path)
        if isinstance(plan, chunkscale.MultipleImagesError):
            plan = outcome(chunkscale.plan_resampling, path, images="all")
        if isinstance(plan, ChunkscaleError):
            return "refused"
        refuse_raw(str(plan))
        if not hasattr(plan, "source_grid") or not _is_small(plan):
            return "planned"
        out = self.folder / "out"
        try:
            run = outcome(chunkscale.resample, path, out, workers=1, overwrite=True)
            if isinstance(run, ChunkscaleError):
                return "refused later"
            for document in out.rglob("zarr.json"):
                json.loads(document.read_text(), parse_constant=_no_constant)
            report = chunkscale.check(out, source=path)
            assert report, f"the output is not right: {report}"
            return "made"
        finally:
            shutil.rmtree(out, ignore_errors=True)

    # --- chunks ----------------------------------------------------------------------------------

    def chunks(self, rng):
        """Spoil a chunk of a source: it is named, or its voxels are what zarr-python reads."""
        codec = rng.choice(sorted(images.CODECS))
        source = self.folder / f"c-{codec}"
        with _spoiled(rng, source / "0") as fault:
            out = self.folder / "out"
            try:
                run = outcome(chunkscale.resample, source, out, voxel_size="same", levels=1,
                              workers=1, overwrite=True)  # fmt: skip
                report = chunkscale.check(source)
                assert bool(report) != isinstance(run, ChunkscaleError), f"{fault}: {report} {run}"
                if not isinstance(run, ChunkscaleError):
                    found = zarr.open_array(out / "0", mode="r")[...]
                    try:
                        theirs = zarr.open_array(source / "0", mode="r")[...]
                    except _UNDECODED:  # what follows the voxels, or is missing behind them
                        # A flipped bit may make a chunk of what comes first: docs/RELIABILITY.md.
                        theirs = found if fault == "flip" else self.coded[codec]
                    assert np.array_equal(found, theirs), f"{codec}, {fault}: other voxels"
                    silent = {"empty", "truncate"} if "none" not in codec else {"empty"}
                    # A stream that is cut in its checksum holds all voxels.
                    is_whole = np.array_equal(found, self.coded[codec])
                    assert is_whole or fault not in silent, f"{codec}, {fault}: not noticed"
            finally:
                shutil.rmtree(out, ignore_errors=True)
        return "named" if isinstance(run, ChunkscaleError) else "read"

    def outputs(self, rng):
        """Spoil an object of an output: `check` finds it and a resumed run mends it."""
        checksum = rng.choice(sorted(self.made))
        out, files = self.made[checksum]
        with _spoiled(rng, out) as fault:
            source = self.folder / "c-v3-zstd"
            report = chunkscale.check(out, source=source)
            same = report and all(
                np.array_equal(zarr.open_array(out / level, mode="r")[...], voxels)
                for level, voxels in self._voxels(checksum).items()
            )
            assert bool(report) == bool(same), f"{checksum}, {fault}: not noticed"
            run = outcome(chunkscale.resample, source, out, resume=True, checksum=checksum,
                          **self.options)  # fmt: skip
            assert not isinstance(run, ChunkscaleError), f"{checksum}, {fault}: {run}"
            if checksum == "crc32c" or not same:
                mended = chunkscale.check(out, source=source)
                quiet = checksum == "none" and fault in ("flip", "end", "zero", "half", "swap")
                assert mended or quiet, f"{checksum}, {fault}: not mended: {mended}"
        for path in out.rglob("*"):
            if path.is_file() and path not in files:
                path.unlink()
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return "harmless" if same else "found"

    def _voxels(self, checksum):
        if not hasattr(self, "_seen"):
            self._seen = {}
        if checksum not in self._seen:
            fresh = self.folder / f"fresh-{checksum}"
            for path, content in self.made[checksum][1].items():
                place = fresh / path.relative_to(self.made[checksum][0])
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            arrays = {level: zarr.open_array(fresh / level, mode="r")[...] for level in "01"}
            self._seen[checksum] = arrays
        return self._seen[checksum]

    def report(self):
        """Return the counts as lines."""
        lines = [f"{kind:<10} {said:<14} {n}" for (kind, said), n in sorted(self.counts.items())]
        return [*lines, *self.found]


def _no_constant(text):
    raise AssertionError(f"the output's metadata has {text}")


def _is_small(plan):
    size = max(plan.bytes_written, plan.source.nbytes, plan.bytes_read)
    return size <= SMALL and plan.region_count <= FEW


@contextlib.contextmanager
def _spoiled(rng, folder):
    """Spoil a stored object below a folder for a while; yield the fault."""
    stored = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in DOCUMENTS)
    path, other = rng.choice(stored), rng.choice(stored)
    content, fault = path.read_bytes(), rng.choice(FAULTS)
    path.write_bytes(spoil(rng, fault, content, other.read_bytes()))
    try:
        yield fault
    finally:
        path.write_bytes(content)


KINDS = ("documents", "documents", "documents", "chunks", "outputs")


def run(folder, seed, numbers):
    """Do the cases of these numbers, of all kinds in turn; return the campaign."""
    campaign = Campaign(folder, seed)
    for number in numbers:
        campaign.case(KINDS[number % len(KINDS)], number)
    return campaign


def _numbers(seconds):
    number, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        yield number
        number += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", metavar="KIND:SEED:NUMBER", help="repeat one, and show its trace")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if given.case:
            kind, seed, number = given.case.split(":")
            print(getattr(Campaign(folder, int(seed)), kind)(source_of(int(seed), int(number))))
            return 0
        campaign = run(folder, given.seed, _numbers(given.seconds))
    print("\n".join(campaign.report()))
    return bool(campaign.found)


if __name__ == "__main__":
    sys.exit(main())
