"""The store layer alone, engine by engine: chunks and shards, read and written, and what fails how.

Run ``python asv_bench/engines.py --help``. All engines are asked for the same
boxes of 128 x 256 x 256 voxels (a shard, or 32 chunks) by as many threads as
there are cores, each in a process of its own, in turn. Engines that are not
installed are named.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]
#: What reads a box, and what writes one.
Engine = tuple[Callable[[Box], Any], Callable[[Box, NDArray[Any]], Any]]
CHUNK, BOX = (64, 64, 64), (128, 256, 256)
LAYOUTS = {"chunks": None, "shards": BOX}
COLUMNS = ("read s", "write s", "core s", "peak MiB", "x seconds", "x core s")
FIGURES = ("read", "write", "core", "peak")
FAILURES = ("refused write raises", "old file survives", "torn file raises", "no access raises")
MIB = 2**20
NOBODY = 65534


# --- the engines -------------------------------------------------------------------------------


def tensorstore(path: str, threads: int) -> Engine:
    """As chunkscale uses it: no cache here, files replaced by renaming."""
    import tensorstore as ts

    context = {
        "cache_pool": {"total_bytes_limit": 0},
        "data_copy_concurrency": {"limit": threads},
        "file_io_concurrency": {"limit": max(2, threads)},
        "file_io_sync": False,
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
    array = ts.open(spec, open=True, context=ts.Context(context)).result()

    def write(box: Box, data: NDArray[Any]) -> None:
        array[box].write(data, can_reference_source_data_indefinitely=True).result()

    return lambda box: array[box].read().result(), write


def zarr_python(path: str, threads: int) -> Engine:
    """All Python."""
    import zarr

    zarr.config.set({"threading.max_workers": threads})
    array = zarr.open_array(path, mode="r+")
    return array.__getitem__, array.__setitem__


def zarrs(path: str, threads: int) -> Engine:
    """zarr-python with the codecs and the files of the Rust library zarrs."""
    import zarr
    import zarrs  # noqa: F401

    zarr.config.set({"codec_pipeline": {"path": "zarrs.ZarrsCodecPipeline", "strict": True}})
    return zarr_python(path, threads)


def zarrista(path: str, threads: int) -> Engine:
    """Zarrs without zarr-python; who calls does the work."""
    from zarrista import Array
    from zarrista.store import FilesystemStore

    array = Array.open(FilesystemStore(path))

    def read(box: Box) -> NDArray[Any]:
        voxels: NDArray[Any] = array.retrieve_array_subset(box, concurrent_target=1).to_numpy()
        return voxels

    def write(box: Box, data: NDArray[Any]) -> None:
        array.store_array_subset(box, data, concurrent_target=1)

    return read, write


ENGINES = {
    "tensorstore": tensorstore,
    "zarr": zarr_python,
    "zarrs": zarrs,
    "zarrista": zarrista,
}


# --- what one process does ---------------------------------------------------------------------


def _opened(task: dict[str, Any], shape: tuple[int, ...]) -> Engine:
    """Create the array, and open it."""
    import zarr
    from zarr.codecs import BloscCodec

    zarr.create_array(
        task["path"],
        shape=shape,
        dtype="uint16",
        chunks=CHUNK,
        shards=LAYOUTS[task["layout"]],
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2),
    )
    return ENGINES[task["engine"]](task["path"], task["cores"])


def speed(task: dict[str, Any]) -> dict[str, float]:
    """Write an array and read it; return seconds, core seconds and the growth of memory."""
    data = np.load(task["voxels"])
    read, write = _opened(task, data.shape)
    boxes = [
        tuple(slice(a, a + step) for a, step in zip(start, BOX, strict=True))
        for start in itertools.product(
            *(range(0, n, step) for n, step in zip(data.shape, BOX, strict=True))
        )
    ]
    # Whoever writes has a region of its own in memory, not a window of a volume.
    data = [np.ascontiguousarray(data[box]) for box in boxes]
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    before, busy = _status("VmRSS"), time.process_time()
    answer = {}
    with ThreadPoolExecutor(task["cores"]) as pool:
        for verb, work in (("write", (write, boxes, data)), ("read", (read, boxes))):
            begun = time.perf_counter()
            for _ in pool.map(*work):
                pass
            answer[verb] = time.perf_counter() - begun
    answer["core"], answer["peak"] = time.process_time() - busy, _status("VmHWM") - before
    for box, right in zip(boxes, data, strict=True):
        if not np.array_equal(read(box), right):
            raise SystemExit(f"{task['engine']}: {box} is not what was written")
    return answer


def _status(name: str) -> int:
    """Return a figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def failures(task: dict[str, Any]) -> dict[str, bool]:
    """Break what a program can meet with one file; return whether it is told, and what is left."""
    shape = LAYOUTS[task["layout"]] or CHUNK
    old, new = np.random.default_rng(3).integers(0, 2000, (2, *shape), dtype=np.uint16)
    box = tuple(slice(0, n) for n in shape)
    read, write = _opened(task, shape)
    write(box, old)
    (stored,) = [path for path in Path(task["path"], "c").rglob("*") if path.is_file()]
    answer = {}

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (stored.stat().st_size // 2, limits[1]))  # disk full
    answer["refused write raises"] = _raises(lambda: write(box, new))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    try:
        answer["old file survives"] = np.array_equal(read(box), old)
    except Exception:
        answer["old file survives"] = False

    write(box, old)
    os.truncate(stored, stored.stat().st_size // 2)
    answer["torn file raises"] = _raises(lambda: read(box))

    write(box, old)
    stored.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    answer["no access raises"] = _raises(lambda: read(box))
    return answer


def _raises(act: Callable[[], object]) -> bool:
    try:
        act()
    except Exception:
        return True
    return False


# --- all of them, in turn ----------------------------------------------------------------------


def main() -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cores", type=_numbers, default=(1, 2), metavar="N,...")
    parser.add_argument("--repeat", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument(
        "--shape", type=_numbers, default=(256, 1024, 1024), metavar="Z,Y,X",
        help="whole boxes of 128,256,256 (default: 256,1024,1024, half a GiB)",
    )  # fmt: skip
    parser.add_argument("--workdir", type=Path, help="where arrays go (default: /dev/shm)")
    options = parser.parse_args()
    if any(n % step for n, step in zip(options.shape, BOX, strict=True)):
        parser.error(f"--shape {options.shape} is not whole boxes of {BOX}")
    there = [name for name in ENGINES if _version(name)]
    print(", ".join(f"{name} {_version(name) or 'is missing'}" for name in ENGINES))
    with tempfile.TemporaryDirectory(dir=options.workdir or "/dev/shm") as folder:
        Path(folder).chmod(0o755)
        _print_speed(options, there, folder)
        _print_failures(there, folder)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print_speed(options: argparse.Namespace, names: list[str], folder: str) -> None:
    from jobs import Job
    from sources import image

    voxels = f"{folder}/voxels.npy"
    np.save(voxels, image(options.shape, Job(words="", shape=options.shape)))
    print(
        f"\n{' x '.join(map(str, options.shape))} uint16, {os.path.getsize(voxels) / MIB:.0f} MiB, "
        f"blosc-lz4; medians of {options.repeat} in turn, data below {folder};\n"
        "x: times tensorstore, turn by turn"
    )
    print(f"\ncores  layout  {'engine':<13}" + "".join(f"{title:>11}" for title in COLUMNS))
    for cores, layout in itertools.product(options.cores, LAYOUTS):
        task = {"do": "speed", "cores": cores, "layout": layout, "voxels": voxels}
        said: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for turn in range(options.repeat):
            for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
                said[name].append(_process({**task, "engine": name}, folder))
        for name in names:
            # Within a turn both saw the same machine.
            ratios = [
                (
                    (one["read"] + one["write"]) / (best["read"] + best["write"]),
                    one["core"] / best["core"],
                )
                for one, best in zip(said[name], said["tensorstore"], strict=True)
            ]
            middle = {key: statistics.median(one[key] for one in said[name]) for key in FIGURES}
            cells = [f"{middle[key]:.2f}" for key in FIGURES[:3]] + [f"{middle['peak'] / MIB:.0f}"]
            cells += [f"{statistics.median(ratio):.2f}" for ratio in zip(*ratios, strict=True)]
            print(
                f"{cores:>5}  {layout:<7} {name:<13}" + "".join(f"{cell:>11}" for cell in cells),
                flush=True,
            )
    print(f"load average {os.getloadavg()[1]:.1f}")


def _print_failures(names: list[str], folder: str) -> None:
    print(f"\nlayout  {'engine':<13}" + "".join(f"{title:>23}" for title in FAILURES))
    for layout, name in itertools.product(LAYOUTS, names):
        said = _process({"do": "failures", "cores": 1, "layout": layout, "engine": name}, folder)
        cells = ["yes" if said[title] else "no" for title in FAILURES]
        print(f"{layout:<7} {name:<13}" + "".join(f"{cell:>23}" for cell in cells))


def _process(task: dict[str, Any], folder: str) -> dict[str, Any]:
    """Do something in a new process, on so many cores; return its answer."""
    path = f"{folder}/array"
    cores = sorted(os.sched_getaffinity(0))[: task["cores"]]
    process = subprocess.run(
        [sys.executable, __file__, json.dumps({**task, "path": path})],
        env={**os.environ, "RAYON_NUM_THREADS": str(task["cores"])},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True, text=True,
    )  # fmt: skip
    if process.returncode != 0:
        raise SystemExit(f"{task['engine']} failed:\n{process.stderr}")
    shutil.rmtree(path)
    answer: dict[str, Any] = json.loads(process.stdout)
    return answer


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        asked = json.loads(sys.argv[1])
        print(json.dumps({"speed": speed, "failures": failures}[asked["do"]](asked)))
    else:
        main()
