"""Make small mistakes in the code, one at a time, and see whether the tests notice them.

Run it as ``python tests/campaigns/mutants.py [WORD ...]``: without words all of ``mutants.toml``,
else the mutations whose file or text holds one of them. Each is made in a copy of the package in
a temporary folder, never in the checkout, and tested in a process that is forked when libraries
are imported, which is half of a test's time (so not on Windows). It ends with 1 if a mutation goes
unnoticed that is not `excused`, if its text is not in the code any more, or if its tests cannot be
run. The tests have to pass without any mutation: that is the suite's business.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_suffix(".toml")

#: What tests import again and again, and what can be used after a fork: not tensorstore.
LIBRARIES = (
    "dask.array", "dask.threaded", "hypothesis", "numba.core.caching", "numpy", "ome_zarr",
    "psutil", "scipy.ndimage", "tifffile", "zarr.storage",
)  # fmt: skip

#: A mutation that makes the tests wait for ever is noticed as well.
LONGEST_SECONDS = 300

NOTICED, UNNOTICED, STALE, BROKEN = "noticed", "NOT NOTICED", "NOT FOUND", "NOT TESTED"


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the tests that should notice it.

    Parameters
    ----------
    file : str
        Below the package.
    old, new : str
        What stands there, in one place alone, and what stands there instead.
    tests : str
        Arguments of pytest.
    excused : str
        Why it does not matter that nothing notices it.
    """

    file: str
    old: str
    new: str
    tests: str
    excused: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())!r} -> {' '.join(self.new.split())!r}"


def mutants(words: list[str]) -> list[Mutant]:
    """Return those of the table that hold one of the words; all if there is none."""
    with TABLE.open("rb") as file:
        found = [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]
    return [m for m in found if not words or any(word in f"{m.file} {m.old}" for word in words)]


def outcome(mutant: Mutant, place: Path, number: int) -> str:
    """Make a mistake in the copy at `place`, run its tests, and mend it again."""
    path = place / "chunkscale" / mutant.file
    text = path.read_text() if path.exists() else ""
    if text.count(mutant.old) != 1:
        return STALE
    before = path.stat()
    path.write_text(text.replace(mutant.old, mutant.new))
    # Python and Numba know compiled code by size and time of its text: no two may have the same.
    os.utime(path, (before.st_atime, before.st_mtime + 10 * number))
    try:
        status = tested(mutant, place)
    finally:
        path.write_text(text)
        os.utime(path, (before.st_atime, before.st_mtime))
    return {0: UNNOTICED, 1: NOTICED}.get(status, BROKEN)


def tested(mutant: Mutant, place: Path) -> int:
    """Return pytest's exit status of the tests of a mutation, beside the copy at `place`."""
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of libraries, before
    child = os.fork()
    if not child:
        os.setsid()
        _test([*arguments, *shlex.split(mutant.tests)], place)
    deadline = time.monotonic() + LONGEST_SECONDS
    try:
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        return 1
    finally:  # with all that it has started, also where this one is interrupted
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


def _test(arguments: list[str], place: Path) -> NoReturn:
    """Run pytest in a forked process, without a word, and end it."""
    status = 3
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        sys.path.insert(0, str(place))
        os.environ["PYTHONPATH"] = str(place)
        status = int(pytest.main(arguments))
    finally:
        os._exit(status)


def main(words: list[str]) -> int:
    """Try mutations, print what becomes of each, and count."""
    chosen, counts, begun = mutants(words), Counter[str](), time.monotonic()
    failed = False
    os.chdir(ROOT)
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        place = Path(folder)
        shutil.copytree(ROOT / "src" / "chunkscale", place / "chunkscale")
        for number, mutant in enumerate(chosen, 1):
            start = time.monotonic()
            found = outcome(mutant, place, number)
            if found == UNNOTICED and mutant.excused:
                found = "excused"
            counts[found] += 1
            failed |= found in (UNNOTICED, STALE, BROKEN)
            print(f"{found:12}{time.monotonic() - start:6.1f} s  {mutant}", flush=True)
    told = ", ".join(f"{count} {found}" for found, count in counts.most_common())
    print(f"{len(chosen)} mutations in {time.monotonic() - begun:.0f} s: {told}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
