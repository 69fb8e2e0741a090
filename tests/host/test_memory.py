"""Bounded: the process tree never holds more than the plan promises."""

import ctypes
import json
import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from grids import grid_for
from outputs import budget

from chunkscale.host import memory
from chunkscale.host.allocator import _droppable
from chunkscale.kernels.backend import get_backend
from chunkscale.options import parse_bytes
from chunkscale.output.places import discard
from chunkscale.samples import write_image

MIB = 2**20


def peak_of(*arguments, **variables):
    """Run the command line; return its peak resident memory, seen from outside."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkscale", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        env=os.environ | variables,
    )
    peak = memory.peak_of(process)
    assert process.returncode == 0
    return peak


def promise_of(*arguments):
    text = subprocess.run(
        [sys.executable, "-m", "chunkscale", "plan", *map(str, arguments), "--json"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    return json.loads(text)["memory"]["total"]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Two stacks of noise, the second eight times the first; noise does not compress."""
    folder = tmp_path_factory.mktemp("stacks")
    random = np.random.default_rng(0)
    paths = []
    for name, shape in (("small", (32, 192, 192)), ("large", (64, 384, 384))):
        data = random.integers(0, 2**16, shape, dtype=np.uint16)
        write_image(folder / name, data, grid_for(shape, (1.0, 0.2, 0.2)), chunk=(16, 64, 64))
        paths.append(folder / name)
    yield paths
    for path in paths:
        discard(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("mib", [300, 1024, 4096])
def test_the_peak_is_within_the_promise_whatever_the_volume(stacks, tmp_path, mib):
    """Peak <= promise <= budget, for a volume and for one eight times as large."""
    for path in stacks:
        options = ("--memory", budget(mib), "--voxel-size", "0.15")
        promise = promise_of(path, *options)
        assert promise <= parse_bytes(budget(mib))
        out = tmp_path / "out.zarr"
        peak = peak_of("resample", path, out, *options, "--overwrite")
        assert peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"
        discard(str(out))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--antialias", "--voxel-size", "2"),
        ("--method", "nearest", "--voxel-size", "0.17"),
        ("--ome-zarr-version", "0.4", "--codec", "zstd"),
        ("--shard", "0", "--chunk", "32"),
        ("--workers", "1", "--codec", "none"),
    ],
    ids=" ".join,
)
def test_the_promise_holds_for_every_kind_of_run(stacks, tmp_path, options):
    """Kernels, codecs and layouts stay within a tight budget."""
    options = (*options, "--memory", budget(340))
    promise = promise_of(stacks[1], *options)
    peak = peak_of("resample", stacks[1], tmp_path / "out.zarr", *options)
    assert peak <= promise <= parse_bytes(budget(340)), (
        f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"
    )


LIBRARY = """
import sys, chunkscale
source, output, memory = sys.argv[1:]
for _ in range(2):
    chunkscale.resample(source, output, voxel_size=0.15, memory=memory, overwrite=True)
"""


@pytest.mark.slow
def test_a_library_call_keeps_the_promise(stacks, tmp_path):
    """Where the process is not ours, and its threads have arenas of their own."""
    promise = promise_of(stacks[1], "--memory", budget(300), "--voxel-size", "0.15")
    process = subprocess.Popen(
        [sys.executable, "-c", LIBRARY, str(stacks[1]), str(tmp_path / "out.zarr"), budget(300)],
        stdout=subprocess.DEVNULL,
    )
    peak = memory.peak_of(process)
    assert process.returncode == 0
    assert peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"


SHARING = """
import ctypes, numba, psutil
numba.njit(lambda x: x)(1)
for mapped in psutil.Process().memory_maps(grouped=False):
    if "libllvmlite" in mapped.path and "r" in mapped.perms:
        start, stop = (int(text, 16) for text in mapped.addr.split("-"))
        for page in range(start, stop, 4096):
            ctypes.c_ubyte.from_address(page).value
print(flush=True)
input()
"""


@pytest.fixture
def sharing():
    """Another process that has the compiler in its memory, as workers of a cluster have."""
    process = subprocess.Popen(
        [sys.executable, "-c", SHARING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield
    process.communicate(b"\n")


@pytest.mark.slow
def test_the_promise_holds_beside_other_processes(stacks, tmp_path, sharing):
    """What has the compiler's pages in memory, too, does not keep them in this one's."""
    options = ("--memory", budget(300), "--voxel-size", "0.15")
    peak = peak_of("resample", stacks[1], tmp_path / "out.zarr", *options)
    assert peak <= promise_of(stacks[1], *options) <= parse_bytes(budget(300)), (
        f"{peak / MIB:.0f} MiB"
    )


@pytest.mark.slow
def test_the_promise_holds_when_kernels_are_compiled(stacks, tmp_path, sharing):
    """The first run after an installation, which has the compiler's pages from another process."""
    options = ("--memory", budget(300), "--voxel-size", "0.15")
    peak = peak_of(
        "resample", stacks[1], tmp_path / "out.zarr", *options,
        NUMBA_CACHE_DIR=str(tmp_path / "kernels"),
    )  # fmt: skip
    assert list((tmp_path / "kernels").rglob("*.nbc"))
    assert peak <= promise_of(stacks[1], *options) <= parse_bytes(budget(300)), (
        f"{peak / MIB:.0f} MiB"
    )


@pytest.fixture
def droppable():
    """Return a function that looks for what can be dropped now, in a process with kernels."""
    get_backend("cpu")

    def look():
        _droppable.cache_clear()
        return _droppable(0)

    if not look():
        pytest.skip("not Linux, or its smaps tells too little")
    return look


def mapped():
    """Yield start, size, mode, offset and path of every file that is mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, mode, offset, _, _, *path = line.split(maxsplit=5)
        start, stop = (int(text, 16) for text in addresses.split("-"))
        yield start, stop - start, mode, int(offset, 16), "".join(path)


def test_what_is_dropped_comes_back_as_it_was(droppable):
    """Dropped are parts of libraries that equal their files, and that nothing can change."""
    known = {start: (mode, offset, path) for start, _, mode, offset, path in mapped()}
    found = droppable()
    assert sum(size for _, size in found) > 50 * MIB
    for start, size in found:
        mode, offset, path = known[start]
        assert "w" not in mode
        with open(path, "rb") as file:
            file.seek(offset)
            stored = file.read(size)
        assert ctypes.string_at(start, len(stored)) == stored, path


def test_a_library_that_is_only_read_is_not_dropped(droppable):
    """Who maps a file to read it may unmap it, and other memory may be there next."""
    before = droppable()
    (path,) = {p for *_, p in mapped() if "_multiarray_umath" in p}
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as content,
    ):
        assert content[:4] == b"\x7fELF"
        ranges = [(start, start + size) for start, size, *_, p in mapped() if p == path]
        during = droppable()
        assert not [r for r in during for a, b in ranges if a <= r[0] < b]
    assert droppable() == before


ARENAS = """
import ctypes, sys, threading
from chunkscale.host.allocator import limit_arenas
if sys.argv[1] == "limited":
    limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
together = threading.Barrier(12)
def work():
    libc.malloc(100)
    together.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_arenas_where_the_process_is_ours(tmp_path):
    """No more arenas than cores (two at least), however many threads allocate."""
    counts = {}
    for kind in ("limited", "free"):
        log = tmp_path / kind
        subprocess.run([sys.executable, "-c", ARENAS, kind, str(log)], check=True)
        counts[kind] = log.read_text().count("<heap nr=")
    assert counts["limited"] <= max(2, os.cpu_count() or 1)
    assert counts["limited"] <= counts["free"]
