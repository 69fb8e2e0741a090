"""Kill runs at each of their calls that change files; whatever is left then can be resumed.

``python tests/campaigns/kills.py`` runs every case; ``--every 7`` each seventh call of it. Runs
are forked from one process that has imported everything, and are killed by a library that is
loaded before all others (``killer.c``), which sees what tensorstore writes as well.
"""

import argparse
import contextlib
import ctypes
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = "CHUNKSCALE_KILLER"

#: How a run in a process of its own has ended.
RIGHT, REFUSED, WRONG, KILLED = "right", "ChunkscaleError", "anything else", "killed"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run that is killed.

    Parameters
    ----------
    source : str
        What is made: ``"image"``, ``"labels"`` (an image with labels) or ``"plate"``.
    options : dict
        Of the run.
    old : dict, optional
        Of a run whose output is there before, and is replaced.
    name : str
        Of the output.
    """

    source: str
    options: dict = field(default_factory=dict)
    old: dict | None = None
    name: str = "out.zarr"


_SMALL = {"voxel_size": 0.5, "chunk": 8, "shard": 0, "workers": 2, "memory": "1GiB"}

_SHARDED = {**_SMALL, "shard": 16}

_OLD = {**_SMALL, "method": "nearest"}

CASES = {
    "0.5": Case(source="image", options=_SHARDED),
    "0.4": Case(source="image", options=_SMALL | {"ome_zarr_version": "0.4"}),
    "labels 0.5": Case(source="labels", options=_SHARDED),
    "labels 0.4": Case(source="labels", options=_SMALL | {"ome_zarr_version": "0.4"}),
    "overwrite 0.5": Case(source="labels", options=_SHARDED, old=_OLD),
    "overwrite 0.4": Case(
        source="labels",
        options=_SMALL | {"ome_zarr_version": "0.4"},
        old=_OLD | {"ome_zarr_version": "0.4"},
    ),
    "overwrite 0.4 by 0.5": Case(
        source="image", options=_SHARDED, old=_OLD | {"ome_zarr_version": "0.4"}
    ),
    "overwrite 0.5 by 0.4": Case(
        source="image", options=_SMALL | {"ome_zarr_version": "0.4"}, old=_OLD
    ),
    "plate 0.5": Case(source="plate", options=_SMALL | {"images": "all"}),
    "plate 0.4": Case(
        source="plate", options=_SMALL | {"images": "all", "ome_zarr_version": "0.4"}
    ),
    "overwrite plate 0.5": Case(
        source="plate", options=_SMALL | {"images": "all"}, old=_OLD | {"images": "all"}
    ),
    "one file": Case(source="labels", options=_SHARDED, name="out.ozx"),
    "overwrite one file": Case(source="image", options=_SHARDED, old=_OLD, name="out.ozx"),
}


def built(folder: Path) -> Path:
    """Compile the library that kills; `shutil.which("cc")` says whether that is possible."""
    library = folder / "killer.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "killer.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def warmed() -> None:
    """Import and compile all that a run needs, but for libraries whose threads a fork loses."""
    import dask.threaded  # noqa: F401
    import numpy as np
    import ome_zarr.writer  # noqa: F401
    import zarr.codecs  # noqa: F401

    import chunkscale
    import chunkscale.api.resampling
    import chunkscale.output.collection
    import chunkscale.output.collection_publish
    import chunkscale.output.packed
    import chunkscale.output.publish
    import chunkscale.output.writing
    import chunkscale.run.runs
    import chunkscale.storage.zips.store
    from chunkscale.kernels.backend import get_backend
    from chunkscale.output import ledger
    from chunkscale.plan import policy

    warnings.simplefilter("ignore", chunkscale.ChunkscaleWarning)
    policy.LARGEST_REGION = 2**10
    ledger.FLUSH_SECONDS = (0.0, 0.0)
    get_backend("cpu")
    stack = np.ones((4, 8, 8), "uint8")
    for method in ("linear", "nearest", "mode"):
        chunkscale.resample_array(
            stack, source_voxel_size=(1, 0.5, 0.5), voxel_size=0.5, method=method
        )


def make_sources(folder: Path) -> None:
    """Store what is resampled: an image with labels, one without, and a plate of two wells."""
    import numpy as np
    from grids import grid_for
    from plates import ngff, plate

    from chunkscale.samples import write_image

    data = np.random.default_rng(0).integers(1, 99, (6, 20, 20), dtype="uint8")
    data[:, :8, :10] = 0  # whole regions of it are fill value
    for name in ("image", "labels"):
        write_image(folder / name, data, grid_for(data.shape, (1.0, 0.5, 0.5)))
    labels = folder / "labels" / "labels"
    write_image(labels / "cells", data.astype("uint16"), grid_for(data.shape, (1.0, 0.5, 0.5)))
    ngff(labels, {"labels": ["cells"]})
    plate(folder / "plate", wells={"B/03": ["0"], "B/04": ["0"]})


def run(case: Case, work: Path, options: dict, more: dict) -> None:
    """Resample in this process."""
    import chunkscale

    source = work.parent / "sources" / case.source
    chunkscale.resample(source, work / case.name, **options, **more)


def forked(do, log: Path, arm: tuple[str, int, int] | None = None) -> tuple[str, int]:
    """Do something in a process of its own; return how it ended and how many calls it made."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        with open(read, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return (KILLED if os.WTERMSIG(status) == signal.SIGKILL else WRONG), 0
        return (RIGHT, REFUSED, WRONG)[min(os.WEXITSTATUS(status), 2)], int(told or b"0")
    code = 2
    try:
        os.close(read)
        with open(log, "a") as out:
            os.dup2(out.fileno(), 2)
        library = ctypes.CDLL(os.environ[LIBRARY])
        if arm:
            library.killer_arm(arm[0].encode(), ctypes.c_long(arm[1]), arm[2])
        do()
        code = 0
        os.write(write, str(library.killer_seen()).encode())
    except Exception as error:
        from chunkscale import ChunkscaleError

        code = 1 if isinstance(error, ChunkscaleError) else 2
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def files(folder: Path) -> dict[str, bytes | None]:
    """Return all that lies below a folder; of folders that there are such."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def differences(found: dict, wanted: dict) -> list[str]:
    return [name for name in {**found, **wanted} if found.get(name, 0) != wanted.get(name, 0)]


class Campaign:
    """One case, killed again and again.

    Attributes
    ----------
    calls : int
        That an undisturbed run makes.
    outcomes : Counter
        Of the runs that resume.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.work, self.before = folder / "work", folder / "before"
        self.log = folder / "log"
        self.more = {} if case.old is None else {"overwrite": True}
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        shutil.rmtree(self.before, ignore_errors=True)
        self.before.mkdir()
        if case.old is not None:
            do = functools.partial(run, case, self.before, case.old, {})
            assert forked(do, self.log)[0] == RIGHT, self.log.read_text()
        self.old = files(self.before)
        self.reset()
        ended, self.calls = forked(self.run(self.more), self.log, (str(self.work), 0, 0))
        assert ended == RIGHT, self.log.read_text()
        self.expected = files(self.work)

    def run(self, more: dict):
        return functools.partial(run, self.case, self.work, self.case.options, more)

    def reset(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.before, self.work, symlinks=True)

    def is_untouched(self) -> bool:
        """Whether all that was there before is there, with notes at most."""
        found = files(self.work)
        notes = [name for name in found if ".chunkscale" in name or name.endswith(".partial")]
        left = {name: found[name] for name in found if name not in notes}
        return self.case.old is not None and left == self.old

    def kill(self, number: int, *, tear: bool, again: int = 0) -> None:
        """Kill a run at a call, the run that resumes it at another one, and resume that."""
        self.reset()
        self.log.write_text("")
        what = f"killed at {number}" + " in half of a write" * tear
        ended, _ = forked(self.run(self.more), self.log, (str(self.work), number, tear))
        if again and ended == KILLED:
            what += f", and again at {again}"
            forked(self.run({"resume": True}), self.log, (str(self.work), again, tear))
        if ended == KILLED:
            # Where nothing was touched yet a resumed run says so, and the command is repeated.
            more = self.more if self.is_untouched() else {"resume": True}
            ended, _ = forked(self.run(more), self.log)
        if ended == RIGHT and (wrong := differences(files(self.work), self.expected)):
            ended, what = WRONG, f"{what}: {wrong[:5]} differ"
        self.outcomes[ended] += 1
        if ended != RIGHT:
            lines = [line for line in self.log.read_text().splitlines() if line.strip()]
            self.faults.append(f"{what}: {ended}: {' | '.join(lines[-1:])[:400]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=[], help="; ".join(CASES))
    parser.add_argument("--every", type=int, default=1, help="kill at every so many-th call")
    parser.add_argument("--again", action="store_true", help="kill the resumed run as well")
    parser.add_argument("--tear", action="store_true", help="write half of what is written then")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if LIBRARY not in os.environ:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            library = str(built(folder))
            environment = {**os.environ, "LD_PRELOAD": library, LIBRARY: library}
            return subprocess.run([sys.executable, *sys.argv], env=environment).returncode
        sys.path.insert(0, str(HERE.parent))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "sources").mkdir()
        warmed()
        assert forked(lambda: make_sources(folder / "sources"), folder / "log")[0] == RIGHT
        return campaigns(given, folder)


def campaigns(given, folder: Path) -> int:
    draw, faults = random.Random(given.seed), 0
    for name in given.cases or CASES:
        begun = time.perf_counter()
        campaign = Campaign(CASES[name], folder)
        first = draw.randrange(given.every) + 1
        for number in range(first, campaign.calls + 1, given.every):
            again = draw.randrange(campaign.calls) + 1 if given.again else 0
            campaign.kill(number, tear=given.tear, again=again)
        outcomes = ", ".join(f"{n} {what}" for what, n in campaign.outcomes.items())
        seconds = time.perf_counter() - begun
        print(f"{name}: {campaign.calls} calls; {outcomes}; {seconds:.0f} s", flush=True)
        for fault in campaign.faults:
            print(f"  {fault}", flush=True)
        faults += len(campaign.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
