"""What `compare.py` runs, each in a process of its own: sources, contenders, and the check.

``python contenders.py JSON`` does one thing and prints one line of JSON::

    {"do": "source", "job": "A", "source": ..., "small": ...}     write the job's sources
    {"do": "run", "name": "chunkscale", "job": "A", ...}  one repetition: its seconds, and cores'
    {"do": "error", "source": ..., "output": ...}
    {"do": "touch", "bytes": ...}                         hold that much memory until input ends

The clock runs in this process, after all imports and after a warm-up that
compiles what is compiled, when a line comes in; see `compare.py`.
"""

from __future__ import annotations

import gc
import json
import math
import mmap
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gpu_peers import GPU_PEERS
from jobs import Job, named
from numpy.typing import NDArray
from peers import CHUNK, PEERS, codec

#: In this time all free memory of a virtual machine has gone back.
HOLD_SECONDS = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One repetition.

    Parameters
    ----------
    job : Job
    source, output : str
        Images; the output is not there yet.
    small : str
        What `source` is, of a few voxels.
    reference : str
        What chunkscale made of `source`, for the floor.
    level_shapes : sequence of tuple of int
        Shapes of its levels, for the peers.
    workers : int or None
        Regions, blocks or tasks at the same time; None for the default.
    """

    job: Job
    source: str
    output: str
    small: str
    reference: str
    level_shapes: Sequence[tuple[int, ...]]
    workers: int | None

    @property
    def threads(self) -> int:
        """What the peers run at the same time."""
        from dask.system import CPU_COUNT

        return CPU_COUNT + 1 if self.workers is None else self.workers


#: Does everything that is not timed, and returns what is.
Contender = Callable[[Run], Callable[[], Any]]


# --- chunkscale, and the floor under it --------------------------------------------------------


def chunkscale(run: Run, device: str = "cpu") -> Callable[[], Any]:
    """From the call of ``chunkscale.resample`` to its return, kernels compiled.

    Whichever chunkscale is imported: nothing but what is public for users.
    """
    import chunkscale

    with tempfile.TemporaryDirectory() as folder:
        chunkscale.resample(
            run.small, f"{folder}/done.ome.zarr", device=device, **run.job.small.options
        )
    options = dict(run.job.options)
    if run.workers is not None and device == "cpu":
        options["workers"] = run.workers
    return partial(chunkscale.resample, run.source, run.output, device=device, **options)


def floor(run: Run) -> Callable[[], Any]:
    """Prepare the store layer alone."""
    import floor

    return floor.prepare(run.source, run.reference, run.output)


CONTENDERS: dict[str, Contender] = {
    "floor": floor,
    "chunkscale": chunkscale,
    "against": chunkscale,
    "chunkscale-gpu": partial(chunkscale, device="gpu"),
    **{name: peer.run for name, peer in (PEERS | GPU_PEERS).items()},
}


def touch_memory(size: int, wait: Callable[[], object] | None = None) -> None:
    """Use and free as much memory as a run may need, for its buffers and for the page cache.

    A virtual machine gives memory that is free back to its host, two seconds
    after some became so, and waits for it at the next use (eight times slower
    here), which would be charged to whoever needs fresh memory. So it is held
    until what became free before has gone, and what else is waited for has
    come, and freed just before a run. Huge pages, as those are what is given back.
    """
    with mmap.mmap(-1, min(size, 2**34), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)
        pages[:: mmap.PAGESIZE] = 1
        del pages
        time.sleep(HOLD_SECONDS)
        if wait is not None:
            wait()


# --- the check ---------------------------------------------------------------------------------


def errors(task: dict[str, Any], edge: int = 48) -> dict[str, float]:
    """Return how far level 0 is from float64 interpolation: at most (rounded), and on average.

    Two corners and two boxes in between are compared, one of them across the
    borders of every power-of-two block. Levels with other shapes, chunks or codecs are refused.
    """
    import zarr

    attributes = zarr.open_group(task["output"], mode="r").attrs["ome"]
    paths = [each["path"] for each in attributes["multiscales"][0]["datasets"]]
    levels = [zarr.open_array(f"{task['output']}/{path}", mode="r") for path in paths]
    for level, shape in zip(levels, task["level_shapes"], strict=True):
        chunk = [min(CHUNK, a, b) for a, b in zip(level.chunks, shape, strict=True)]
        asked = (list(level.shape), list(level.compressors)) == (shape, [codec()])
        if not asked or chunk != [min(CHUNK, n) for n in shape]:
            raise SystemExit(f"{task['name']} wrote another image: {level.metadata}")
    original = zarr.open_array(f"{task['source']}/0", mode="r")
    made, found, right = levels[0], [], []
    for start in _corners(made.shape, edge):
        stop = [min(a + edge, n) for a, n in zip(start, made.shape, strict=True)]
        box = made[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        found.append(np.asarray(box, np.float64).ravel())
        right.append(_interpolated(original, start, stop, made.shape).ravel())
    far = np.concatenate(found) - np.concatenate(right)
    rounded = np.concatenate(found) - np.rint(np.concatenate(right))
    return {"error": float(np.abs(rounded).max()), "bias": float(far.mean())}


def _corners(shape: Sequence[int], edge: int) -> Iterator[tuple[int, ...]]:
    yield (0,) * len(shape)
    yield tuple(n // 3 for n in shape)
    yield tuple(2 ** int(math.log2(n - 1)) - edge // 2 for n in shape)
    yield tuple(n - edge for n in shape)


def _interpolated(
    original: Any, start: Sequence[int], stop: Sequence[int], shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return what a float64 interpolation by SciPy gives in a box of the target."""
    from scipy.ndimage import map_coordinates

    axes, cut = [], []
    for a, b, n, size in zip(start, stop, shape, original.shape, strict=True):
        at = (np.arange(a, b) + 0.5) * (size / n) - 0.5
        low, high = max(0, math.floor(at[0])), min(size, math.floor(at[-1]) + 2)
        axes.append(at - low)
        cut.append(slice(low, high))
    # The cut ends where the image ends or beyond the last voxel that is read.
    block = original[tuple(cut)].astype(np.float64)
    grid = np.meshgrid(*axes, indexing="ij")
    result: NDArray[np.float64] = map_coordinates(block, grid, order=1, mode="nearest")
    return result


def _do(what: dict[str, Any]) -> dict[str, Any]:
    if what["do"] == "touch":
        touch_memory(what["bytes"], sys.stdin.read)
        return {}
    if what["do"] == "error":
        return errors(what)
    job = named(what["job"])
    if what["do"] == "source":
        from sources import write_source

        write_source(what["source"], job)
        write_source(what["small"], job.small)
        return {}
    run = Run(
        job=job,
        source=what["source"],
        output=what["output"],
        small=what["small"],
        reference=what["reference"],
        level_shapes=[tuple(shape) for shape in what["level_shapes"]],
        workers=what["workers"],
    )
    timed = CONTENDERS[what["name"]](run)
    # What imports have left would otherwise be looked through during some repetitions: it took
    # the contender with the most imports up to 7 ms.
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    began, busy = time.perf_counter(), time.process_time()
    result = timed()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    code = getattr(sys.modules.get("chunkscale"), "__file__", None)
    return {"seconds": seconds, "cpu_seconds": busy, "said": str(result or ""), "code": code}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(_do(json.loads(sys.argv[1]))))
