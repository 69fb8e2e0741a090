"""Chunk data in an object store, as runs read and write it.

python asv_bench/objects.py

64 chunks of 512 KiB of noise, one by one and in shards of 8, in boxes of 8 by 1
and 2 threads: written by tensorstore and by zarr-python on obstore, read by the
latter. And planes, read in 16 parts with and without a cache of
them. S3 is a server on this host, which bounds all of it, as it is and with
30 ms before every answer. Medians of three, in turn.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import s3
from grids import grid_for

from chunkscale.geometry.box import Box, whole
from chunkscale.geometry.pyramid import Level
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.groups import put_group
from chunkscale.storage.locations import join
from chunkscale.storage.reader import open_array
from chunkscale.storage.stores import normalise
from chunkscale.storage.writer import create_levels

EDGE, CHUNK, SHARD = 256, 64, 128
ENGINES = ("auto", "zarr")


def boxes() -> list[Box]:
    """Return the boxes of eight chunks each."""
    starts = np.ndindex(*(EDGE // SHARD,) * 3)
    corners = [tuple(SHARD * i for i in index) for index in starts]
    return [Box(start=c, stop=tuple(a + SHARD for a in c)) for c in corners]


def throughput(work, threads: int, nbytes: int) -> float:
    """Return MB/s of doing something to all boxes."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, boxes()))
    return nbytes / (time.perf_counter() - begun) / 1e6


def measure(uri: str, data: np.ndarray, engine: str, threads: int, sharded: bool):
    """Return MB/s written and read by an engine."""
    shape, grid = (EDGE,) * 3, grid_for(data.shape)
    level = Level(
        path="0", grid=grid, factors=(1,) * 3, chunk=(CHUNK,) * 3,
        shard=(SHARD,) * 3 if sharded else None,
    )  # fmt: skip
    put_group(uri, zarr_format=3, attributes={})
    io = StoreIO(threads=2, engine=engine)
    (writer,) = create_levels(uri, [level], io, dtype="uint16", codec="blosc-lz4", zarr_format=3)
    reader = open_array(join(uri, "0"), io)

    def write(box: Box) -> None:
        writer.finish_write(writer.start_write(box, np.ascontiguousarray(data[box.slices])))

    written = throughput(write, threads, data.nbytes)
    read = throughput(reader.read, threads, data.nbytes)
    assert (reader.read(Box(start=(0,) * 3, stop=shape)) == data).all()
    return written, read


def planes(uri: str, data: np.ndarray, cache_bytes: int) -> float:
    """Return MB/s of reading an array of whole planes in 16 parts, each of all planes."""
    level = Level(
        path="0", grid=grid_for(data.shape), factors=(1,) * 3, chunk=(1, EDGE, EDGE), shard=None
    )
    io = StoreIO(threads=2, cache_bytes=cache_bytes)
    put_group(uri, zarr_format=3, attributes={})
    made = create_levels(
        uri, [level], io, dtype="uint16", codec="blosc-lz4", zarr_format=3, resumed=True
    )
    made[0].finish_write(made[0].start_write(whole(data.shape), data))
    reader, edge = open_array(join(uri, "0"), io), EDGE // 4
    begun = time.perf_counter()
    for y, x in np.ndindex(4, 4):
        box = Box(start=(0, y * edge, x * edge), stop=(EDGE, (y + 1) * edge, (x + 1) * edge))
        assert (reader.read(box) == data[box.slices]).all()
    return data.nbytes / (time.perf_counter() - begun) / 1e6


def main() -> None:
    """Print a row for each way of storing, wait and number of threads."""
    os.environ.update(AWS_ACCESS_KEY_ID="benchmark", AWS_SECRET_ACCESS_KEY="benchmark")
    data = np.random.default_rng(0).integers(0, 60_000, (EDGE,) * 3, dtype="uint16")
    print("stored   wait  threads   write MB/s: tensorstore  zarr   read MB/s")
    with s3.endpoint() as port, s3.proxy(port) as proxy:
        bucket, serial = s3.Bucket("benchmark", port), 0
        for sharded in (False, True):
            for wait, url in ((0, bucket.endpoint), (0.03, proxy.url)):
                proxy.faults[""] = wait
                for threads in (1, 2):
                    found = {engine: [] for engine in ENGINES}
                    for _ in range(3):
                        for engine in ENGINES:
                            serial += 1
                            uri = normalise(bucket.url(f"x{serial}"), {"endpoint": url})
                            found[engine].append(measure(uri, data, engine, threads, sharded))
                    (tw, _), (zw, zr) = (
                        [statistics.median(column) for column in zip(*found[engine], strict=True)]
                        for engine in ENGINES
                    )
                    print(
                        f"{'shards' if sharded else 'chunks'}  {wait * 1e3:3.0f} ms  {threads:7d}"
                        f"  {tw:22.0f}  {zw:4.0f}  {zr:10.0f}",
                        flush=True,
                    )
        print("planes in parts, read MB/s: kept, not kept")
        uri = normalise(bucket.url("planes"), {"endpoint": bucket.endpoint})
        print(f"{planes(uri, data, 2**26):.0f}, {planes(uri, data, 0):.0f}")


if __name__ == "__main__":
    main()
