"""The floor under every contender: the store layer alone, and nothing of chunkscale.

Every chunk of the source is read once, and arrays like those of an output that
is there already are written from memory, stored object by stored object, by as
many threads as there are cores. Nothing is computed, and no plan is asked how.
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import zarr
from dask.system import CPU_COUNT

_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
Box = tuple[slice, ...]


def prepare(source: str, reference: str, output: str) -> Callable[[], None]:
    """Prepare everything that is not timed; return what is.

    Parameters
    ----------
    source : str
        Image with one level.
    reference : str
        What was made of it: its voxels compress as those of a run do.
    output : str
        Image to write, a copy of `reference`.
    """
    context = ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": CPU_COUNT},
            "file_io_concurrency": {"limit": max(2, CPU_COUNT)},
            "file_io_sync": False,
        }
    )
    opened = zarr.open_array(f"{source}/0", mode="r")
    chunks, buffers = _objects(opened), _Buffers(opened)
    levels = dict(zarr.open_group(reference, mode="r").arrays())
    ready = []
    for path, level in levels.items():
        made = _open(f"{reference}/{path}", context)
        ready += [(path, box, made[box].read().result()) for box in _objects(level)]
    metadata = [p.relative_to(reference) for name in _METADATA for p in Path(reference).rglob(name)]

    def run() -> None:
        for name in metadata:
            (Path(output) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(reference) / name, Path(output) / name)
        image = _open(f"{source}/0", context)
        arrays = {path: _open(f"{output}/{path}", context) for path in levels}
        work = [partial(_read, image, box, buffers) for box in chunks]
        work += [partial(_write, arrays[path], box, data) for path, box, data in ready]
        with ThreadPoolExecutor(CPU_COUNT) as pool:
            for done in [pool.submit(each) for each in work]:
                done.result()

    return run


def _open(path: str, context: ts.Context) -> Any:
    driver = "zarr3" if (Path(path) / "zarr.json").exists() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    return ts.open(spec, open=True, context=context).result()


def _objects(array: zarr.Array[Any]) -> list[Box]:
    """Return the boxes of an array that are stored as one object each."""
    unit = array.shards or array.chunks
    edges = [
        [slice(a, min(a + u, n)) for a in range(0, n, u)]
        for u, n in zip(unit, array.shape, strict=True)
    ]
    return list(itertools.product(*edges))


class _Buffers(threading.local):
    """Each thread's own memory for a chunk, used again for the next."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.chunk = np.empty(array.shards or array.chunks, array.dtype)


def _read(array: Any, box: Box, buffers: _Buffers) -> None:
    out = buffers.chunk[tuple(slice(side.stop - side.start) for side in box)]
    ts.array(out).write(array[box]).result()


def _write(array: Any, box: Box, data: Any) -> None:
    array[box].write(data, can_reference_source_data_indefinitely=True).result()
