"""Bounded: the process tree never holds more than the plan promises."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from grids import grid_for
from outputs import budget

import chunkscale
from chunkscale.cli.main import main
from chunkscale.host import memory
from chunkscale.options import parse_bytes
from chunkscale.output.places import discard
from chunkscale.samples import write_image

#: Whole processes, one after the other.
pytestmark = pytest.mark.slow

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


@pytest.fixture
def promise_of(capsys):
    """Return a function that says what a command line promises."""

    def promise(*arguments):
        assert main(["plan", *map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["memory"]["total"]

    return promise


def assert_kept(promise, peak):
    """Assert that a promise is kept, and that at least half of it was needed."""
    least = (promise - memory.bystander_bytes()) / 2
    assert least <= peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Two stacks of noise, the second eight times the first; noise does not compress."""
    folder = tmp_path_factory.mktemp("stacks")
    random = np.random.default_rng(0)
    paths = []
    for name, shape in (("small", (24, 160, 160)), ("large", (48, 320, 320))):
        data = random.integers(0, 2**16, shape, dtype=np.uint16)
        write_image(folder / name, data, grid_for(shape, (1.0, 0.2, 0.2)), chunk=(16, 64, 64))
        paths.append(folder / name)
    yield paths
    for path in paths:
        discard(str(path))


@pytest.mark.parametrize("mib", [400, 1024, 4096])
def test_the_peak_is_within_the_promise_whatever_the_volume(stacks, tmp_path, promise_of, mib):
    """Peak <= promise <= budget, for a volume and for one eight times as large."""
    for path in stacks:
        options = ("--memory", budget(mib), "--voxel-size", "0.15")
        promise = promise_of(path, *options)
        assert promise <= parse_bytes(budget(mib))
        out = tmp_path / "out.zarr"
        peak = peak_of("resample", path, out, *options, "--overwrite")
        assert peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"
        discard(str(out))


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
def test_the_promise_holds_for_every_kind_of_run(stacks, tmp_path, promise_of, options):
    """Kernels, codecs and layouts stay within a tight budget."""
    options = (*options, "--memory", budget(440))
    promise = promise_of(stacks[1], *options)
    peak = peak_of("resample", stacks[1], tmp_path / "out.zarr", *options)
    assert promise <= parse_bytes(budget(440))
    assert_kept(promise, peak)


def test_the_promise_holds_where_a_region_spans_frames(tmp_path, promise_of):
    """All its frames are held at once, and the plan says so."""
    data = np.random.default_rng(0).integers(0, 2**16, (120, 2, 8, 96, 96), dtype=np.uint16)
    write_image(
        tmp_path / "in.zarr", data, grid_for(data.shape, (1, 1, 1.0, 0.2, 0.2)),
        chunk=(1, 1, 8, 96, 96),
    )  # fmt: skip
    options = ("--memory", budget(500))
    plan = chunkscale.plan_resampling(tmp_path / "in.zarr", memory=budget(500))
    assert math.prod(plan.passes[0].region_shape[:2]) > 1
    promise = promise_of(tmp_path / "in.zarr", *options)
    peak = peak_of("resample", tmp_path / "in.zarr", tmp_path / "out.zarr", *options)
    assert peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"


LIBRARY = """
import sys, chunkscale
source, output, memory = sys.argv[1:]
for _ in range(2):
    chunkscale.resample(source, output, voxel_size=0.15, memory=memory, overwrite=True)
"""


def test_a_library_call_keeps_the_promise(stacks, tmp_path, promise_of):
    """Where the process is not ours, and its threads have arenas of their own."""
    promise = promise_of(stacks[1], "--memory", budget(400), "--voxel-size", "0.15")
    process = subprocess.Popen(
        [sys.executable, "-c", LIBRARY, str(stacks[1]), str(tmp_path / "out.zarr"), budget(400)],
        stdout=subprocess.DEVNULL,
    )
    peak = memory.peak_of(process)
    assert process.returncode == 0
    assert peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"


def test_the_base_is_what_a_process_takes_and_not_much_more(
    make_image, noise, tmp_path, promise_of
):
    """The first run after an installation, which compiles kernels, and the next one."""
    source, out = make_image(noise((16, 32, 32)), (1.0, 0.2, 0.2)), tmp_path / "out.zarr"
    options = (source, "--zoom", "2", "--workers", "1", "--device", "cpu")
    promise, kernels = promise_of(*options), tmp_path / "kernels"
    for _ in range(2):
        peak = peak_of(
            "resample", *options[:1], out, *options[1:], "--overwrite",
            NUMBA_CACHE_DIR=str(kernels),
        )  # fmt: skip
        assert_kept(promise, peak)
    assert list(kernels.rglob("*.nbc"))
