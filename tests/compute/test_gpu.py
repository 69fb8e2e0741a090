"""The GPU: the bits of the reference, within the device's memory, and nothing compiled twice.

These tests run where CuPy finds a GPU, and skip elsewhere.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from grids import grid_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_kernels import (
    DTYPES,
    FACTORS,
    FLOATS,
    INTEGERS,
    KINDS,
    assert_same,
    halves,
    linear,
    picks,
    random_block,
    seeds,
    small_shapes,
    three_parts,
    whole_tables,
    zoom_tables,
)

import chunkscale
from chunkscale.compute.gpu.find import free_bytes, why_unusable
from chunkscale.compute.gpu.hosted import Hosted
from chunkscale.compute.gpu.lanes import Lane
from chunkscale.errors import MemoryBudgetError, OptionError, RegionError
from chunkscale.geometry.methods import METHODS
from chunkscale.geometry.tables import AxisTable
from chunkscale.kernels import reference
from chunkscale.kernels.backend import get_backend
from chunkscale.samples import write_image

MIB = 2**20
pytestmark = [
    pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning"),
    pytest.mark.gpu,
    pytest.mark.skipif(why_unusable() is not None, reason=str(why_unusable())),
]


class OnDevice:
    """The CUDA kernels, for arrays of the host."""

    def resample(self, block, tables):
        return self._run("resample", block, tables)

    def mean(self, block, factors):
        return self._run("mean", block, factors)

    def maximum(self, block, factors):
        return self._run("maximum", block, factors)

    def _run(self, name, block, argument):
        import cupy

        result = getattr(get_backend("cuda"), name)(cupy.asarray(block), argument)
        assert isinstance(result, cupy.ndarray)
        return cupy.asnumpy(result)


cuda = OnDevice()


# --- kernels -----------------------------------------------------------------------------------


@settings(max_examples=600)
@given(three_parts, st.sampled_from(DTYPES), seeds)
def test_resample_has_the_bits_of_the_reference(axes, dtype, seed):
    """Any table, any data type: bit for bit."""
    tables = whole_tables(*(p.mapping for p in axes))
    block = random_block(dtype, tuple(p.mapping.source_size for p in axes), seed)
    assert_same(cuda.resample(block, tables), reference.resample(block, tables))


@settings(max_examples=600)
@given(small_shapes, st.sampled_from(FACTORS), st.sampled_from(DTYPES), seeds)
def test_reductions_have_the_bits_of_the_reference(shape, factors, dtype, seed):
    """Means, maxima and modes of any cells."""
    block = random_block(dtype, shape, seed, special=0.3)
    assert_same(cuda.mean(block, factors), reference.mean(block, factors))
    assert_same(cuda.maximum(block, factors), reference.maximum(block, factors))
    for method in ("mode", "max"):
        tables = halves(shape, factors, method)
        assert_same(cuda.resample(block, tables), reference.resample(block, tables))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", [0.001, 0.03, 0.6])
def test_nan_infinity_and_extremes_have_the_bits_of_the_cpu(dtype, kind, special):
    """Few of them and many, at the ends of the range, where differences and sums overflow."""
    block, cpu = random_block(dtype, (9, 40, 61), 3, special=special), get_backend("cpu")
    block[:, 5:9] = np.inf
    block[4:, 20:30] = np.finfo(dtype).max
    block[:4, 20:30] = -np.finfo(dtype).max
    for zoom in ((5, 1, 1), (1, 2.3, 1.7), (2, 2, 2), (0.3, 0.7, 1.9), (1, 1, 1)):
        tables = zoom_tables(block.shape, zoom, kind)
        expected = reference.resample(block, tables)
        assert_same(cpu.resample(block, tables), expected)
        assert_same(cuda.resample(block, tables), expected)
        assert_same(Hosted(2**18).resample(block, tables), expected)
    for factors in FACTORS:
        for name in ("mean", "maximum"):
            expected = getattr(reference, name)(block, factors)
            assert_same(getattr(cpu, name)(block, factors), expected)
            assert_same(getattr(cuda, name)(block, factors), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_many_blocks_and_planes_have_the_bits_of_the_cpu(dtype, kind):
    """Shapes that fill many thread blocks, none of whose sizes divide them."""
    block = random_block(dtype, (37, 83, 301), 7)
    cpu = get_backend("cpu")
    for zoom in ((5, 1, 1), (2, 2, 2), (0.3, 0.7, 1.9)):
        tables = zoom_tables(block.shape, zoom, kind)
        expected = cpu.resample(block, tables)
        assert_same(cuda.resample(block, tables), expected)
        assert_same(cuda.mean(expected, (2, 2, 2)), cpu.mean(expected, (2, 2, 2)))
        assert_same(cuda.maximum(expected, (2, 1, 2)), cpu.maximum(expected, (2, 1, 2)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [0.001, 0.5])
@pytest.mark.parametrize(
    "steps", [(3, 3, 3), (1.5, 2.5, 7), (2, 5, 15.9), (2.2, 9, 16.1), (9, 11, 23), (0.5, 1, 300)]
)
@pytest.mark.parametrize("method", ["mode", "max"])
def test_small_and_large_cells_have_the_bits_of_the_cpu(dtype, special, steps, method):
    """By threads and by warps: labels, noise, and cells at the border that are smaller."""
    noise = random_block(dtype, (31, 61, 301), 4, special=special)
    labels = noise[::7, ::7, ::7].repeat(7, 0).repeat(7, 1).repeat(7, 2)
    for block in (noise, np.ascontiguousarray(labels[:31, :61, :301])):
        tables = zoom_tables(block.shape, [1 / step for step in steps], method)
        expected = get_backend("cpu").resample(block, tables)
        assert_same(cuda.resample(block, tables), expected)
        assert_same(Hosted(2**20).resample(block, tables), expected)


@pytest.mark.parametrize("dtype", ["?", *INTEGERS])
def test_overshoot_and_extremes_are_clamped(dtype):
    """Weights that add up to more than one do not wrap."""
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    block = np.array([[[high, high, low, low]]], dtype)
    heavy = AxisTable("weights", np.array([0, 2]), np.array([[0.75, 0.75], [0.75, 0.75]]))
    result = cuda.resample(block, (picks(0), picks(0), heavy))
    assert_same(result.ravel(), np.array([high, low], dtype))
    lobe = AxisTable("weights", np.array([0]), np.array([[-2.0, 1.0, 1.0, 1.0]]))
    result = cuda.resample(block, (picks(0), picks(0), lobe))
    assert_same(result.ravel(), np.array([low], dtype))
    half = linear([0], [0.5])
    for pair in ([low, low + 1], [high, high - 1]):
        block = np.array([[pair]], dtype)
        tables = (picks(0), picks(0), half)
        assert_same(cuda.resample(block, tables), reference.resample(block, tables))


def test_every_float16_converts_as_on_the_cpu():
    """All 65536 halves, alone and in the mean with a neighbour."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    block = np.stack([every, np.roll(every, 12345)], axis=-1).reshape(64, 256, 8)
    for zoom in ((1, 1, 2), (1.7, 1, 0.7)):
        tables = zoom_tables(block.shape, zoom)
        assert_same(cuda.resample(block, tables), reference.resample(block, tables))
    for factors in FACTORS:
        assert_same(cuda.mean(block, factors), reference.mean(block, factors))


def test_kernels_are_compiled_once_per_data_type(monkeypatch):
    """Other shapes, zooms and methods compile nothing."""
    import cupy

    from chunkscale.kernels import cuda as module

    made = []
    original = cupy.RawModule

    def counted(*args, **options):
        made.append(options["code"].splitlines()[0])
        return original(*args, **options)

    monkeypatch.setattr(cupy, "RawModule", counted)
    module._compiled.cache_clear()
    for dtype in ("u2", "f4"):
        for shape, kind in itertools.product([(3, 9, 31), (17, 5, 130)], KINDS):
            block = random_block(dtype, shape, 1)
            for zoom in ((5, 1, 1), (0.4, 0.4, 0.4), (1, 1.3, 2)):
                cuda.resample(block, zoom_tables(shape, zoom, kind))
            cuda.mean(block, (2, 2, 2))
            cuda.maximum(block, (1, 2, 2))
            for method in ("mode", "max"):
                cuda.resample(block, halves(shape, (2, 3, 31), method))
    assert made == ["typedef unsigned short T;", "typedef float T;"]


def test_offsets_pass_2_to_the_31():
    """The last planes of a block of more than 2^31 voxels are right, in and out."""
    import cupy

    if free_bytes() < 12 * 2**30:
        pytest.skip("needs 12 GiB of free device memory")
    block = cupy.zeros((9, 16384, 16384), np.uint8)
    tail = random_block("u1", (3, 256, 256), 5)
    block[-3:, -256:, -256:] = cupy.asarray(tail)
    backend = get_backend("cuda")
    tables = zoom_tables(block.shape, (1, 1, 1))
    z = linear([0, 7, 7], [0.0, 0.0, 0.5])
    result = backend.resample(block, (z, *tables[1:]))
    expected = reference.resample(tail, (linear([1, 1], [0.0, 0.5]), *zoom_tables(
        tail.shape, (1, 1, 1))[1:]))  # fmt: skip
    assert_same(cupy.asnumpy(result[1:, -256:, -256:]), expected)
    del result
    wide = backend.resample(block, (linear(list(range(9)), [0.0] * 9), *tables[1:]))
    assert bool((wide == block).all())
    halved = backend.mean(block, (1, 2, 2))
    assert_same(cupy.asnumpy(halved[-3:, -128:, -128:]), reference.mean(tail, (1, 2, 2)))


# --- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint64"])
def test_arrays_on_the_device_stay_there(noise, dtype):
    """CuPy in, CuPy out, the bytes of NumPy; nothing is copied to the host on the way."""
    import cupy

    data = noise((2, 13, 40, 37), dtype)
    options = {"source_voxel_size": (1, 0.3, 0.4), "voxel_size": 0.35}
    expected = chunkscale.resample_array(data, device="cpu", **options)
    given_array = cupy.asarray(data)
    copies = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cupy, "asnumpy", lambda *a: copies.append(a))
        result = chunkscale.resample_array(given_array, **options)
    assert isinstance(result, cupy.ndarray)
    assert not copies
    assert_same(cupy.asnumpy(result), expected)
    assert_same(chunkscale.resample_array(data, device="gpu", **options), expected)
    with pytest.raises(OptionError, match="on the GPU"):
        chunkscale.resample_array(given_array, device="cpu", **options)


def test_blocks_on_the_device_stay_there(noise):
    """A Dask array of CuPy blocks gives one of CuPy blocks, with the bytes of NumPy."""
    import cupy
    import dask.array as da

    data = noise((13, 40, 37))
    options = {"source_voxel_size": (1, 0.3, 0.4), "voxel_size": 0.3}
    lazy = da.from_array(data, chunks=(5, 16, 16)).map_blocks(cupy.asarray)
    result = chunkscale.resample_array(lazy, chunk=16, **options)
    assert isinstance(result._meta, cupy.ndarray)
    assert isinstance(result.blocks[0, 0, 0].compute(), cupy.ndarray)
    expected = chunkscale.resample_array(data, device="cpu", **options)
    assert_same(cupy.asnumpy(result.compute()), expected)


def test_arrays_larger_than_the_device_go_in_slabs(noise):
    """A limit of a few hundred kB changes nothing."""
    data = noise((33, 70, 65))
    for kind in KINDS:
        tables = zoom_tables(data.shape, (1.7, 0.4, 2.1), kind)
        expected = reference.resample(data, tables)
        hosted = Hosted(2**19)
        assert_same(hosted.resample(data, tables), expected)
        out = np.empty_like(expected)
        means = np.empty_like(reference.mean(expected, (2, 1, 2)))
        hosted.resample_and_mean(data, tables, (2, 1, 2), out, means)
        assert_same(out, expected)
        assert_same(means, reference.mean(expected, (2, 1, 2)))


# --- runs --------------------------------------------------------------------------------------


def levels_of(path):
    image = chunkscale.open_image(path)
    return [image.as_dask(i).compute() for i in range(len(image.multiscale.datasets))]


@st.composite
def run_cases(draw):
    """Draw an image, what to make of it, and how to cut it."""
    shape = tuple(draw(st.integers(1, n)) for n in (2, 12, 40, 40))
    methods = [{"method": name} for name in METHODS]
    what = dict(draw(st.sampled_from([*methods, {"antialias": True}])))
    what["downsample"] = draw(st.sampled_from([None, "mean", "mode", "nearest", "max"]))
    what = {**what, "voxel_size": tuple(draw(st.floats(0.15, 5)) for _ in range(3))}
    how = {
        "chunk": draw(st.integers(4, 32)),
        "workers": draw(st.integers(1, 4)),
        "device_memory": draw(st.sampled_from([None, "300kB", "1MB"])),
        "ome_zarr_version": draw(st.sampled_from(["0.4", "0.5"])),
    }
    return shape, what, how


@pytest.mark.filterwarnings("ignore::chunkscale.ChunkscaleWarning")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run_cases(), st.sampled_from(DTYPES), seeds)
def test_runs_write_the_bytes_of_the_cpu(small_regions, case, dtype, seed):
    """Every level of any image, whatever the method, the cut, the lanes and the tiles."""
    shape, what, how = case
    data = random_block(dtype, shape[1:], seed, special=0.1)
    data = np.stack([data[::i] for i in (1, -1)[: shape[0]]])
    with tempfile.TemporaryDirectory() as folder:
        source, cpu, out = (Path(folder) / name for name in ("source", "cpu", "gpu"))
        write_image(source, data, grid_for(data.shape, axes="czyx"), chunk=(1, 5, 17, 31))
        plan = chunkscale.plan_resampling(source, device="cpu", **what)
        what["levels"] = min(3, (max(plan.target_grid.shape[1:]) - 1).bit_length() + 1)
        chunkscale.resample(source, cpu, device="cpu", **what)
        run = chunkscale.resample(source, out, device="gpu", **what, **how)
        assert run.plan.device == "gpu"
        for found, wanted in zip(levels_of(out), levels_of(cpu), strict=True):
            assert_same(found, wanted)


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("fill", [0, 65535])
def test_fill_outside_the_source_is_that_of_the_cpu(make_image, tmp_path, noise, fill):
    """Regions inside, across and outside of the source's extent."""
    source = make_image(noise((20, 30, 40)), (1.0, 0.5, 0.5))
    like = grid_for((60, 70, 66), (0.6, 0.4, 0.4), translation=(-9.0, -6.5, -3.2))
    for device in ("cpu", "gpu"):
        memory = {"device_memory": "150kB"} if device == "gpu" else {}
        chunkscale.resample(
            source, tmp_path / device, like=like, outside=fill, chunk=16, device=device, **memory
        )
    for found, wanted in zip(levels_of(tmp_path / "gpu"), levels_of(tmp_path / "cpu"), strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("antialias", [False, True])
def test_device_memory_stays_below_the_promise(make_image, tmp_path, noise, antialias):
    """What CuPy holds at the end is at most what the plan says, for regions above the budget."""
    import cupy

    source = make_image(noise((64, 256, 256)), (1.0, 0.2, 0.2))
    pool = cupy.get_default_memory_pool()
    for budget in ("8MiB", "64MiB", None):
        pool.free_all_blocks()
        before = pool.total_bytes()
        size = 0.5 if antialias else 0.15
        with pytest.MonkeyPatch.context() as patch:
            held = []
            original = Lane.__init__

            def spy(lane, capacity, original=original, held=held, before=before):
                original(lane, capacity)
                held.append(pool.total_bytes() - before)

            patch.setattr(Lane, "__init__", spy)
            run = chunkscale.resample(
                source, tmp_path / "out", voxel_size=size, antialias=antialias,
                device_memory=budget, device="gpu", overwrite=True, chunk=64,
            )  # fmt: skip
        use = run.plan.device_memory
        assert held
        assert max(held) <= use.lanes * use.per_lane
        if budget:
            assert use.lanes * use.per_lane <= int(budget[:-3]) * MIB
        assert chunkscale.check(tmp_path / "out", source=source)


def test_too_little_device_memory_is_refused(make_image, tmp_path, noise):
    """The plan knows the smallest part of a region, and nothing is written."""
    source = make_image(noise((8, 64, 64)))
    with pytest.raises(MemoryBudgetError, match="device memory"):
        chunkscale.resample(source, tmp_path / "out", zoom=2, device="gpu", device_memory="1000B")
    assert not (tmp_path / "out").exists()


def test_a_device_that_runs_full_takes_smaller_parts(make_image, tmp_path, noise, monkeypatch):
    """Where the planned memory is not there, regions are cut, with the same bits."""
    import cupy

    source = make_image(noise((32, 128, 128)), (1.0, 0.25, 0.25))
    chunkscale.resample(source, tmp_path / "cpu", device="cpu")
    original, sizes = cupy.cuda.alloc, []

    def small(size):
        sizes.append(size)
        if size > 3 * MIB:
            raise cupy.cuda.memory.OutOfMemoryError(size, 0)
        return original(size)

    monkeypatch.setattr(cupy.cuda, "alloc", small)
    chunkscale.resample(source, tmp_path / "gpu", device="gpu")
    assert max(sizes) > 3 * MIB
    for found, wanted in zip(levels_of(tmp_path / "gpu"), levels_of(tmp_path / "cpu"), strict=True):
        assert_same(found, wanted)

    def none(size):
        raise cupy.cuda.memory.OutOfMemoryError(size, 0)

    monkeypatch.setattr(cupy.cuda, "alloc", none)
    with pytest.raises(RegionError, match="no memory left"):
        chunkscale.resample(source, tmp_path / "none", device="gpu")


@pytest.mark.usefixtures("small_regions")
@pytest.mark.filterwarnings("ignore")
def test_each_gpu_of_a_cluster_takes_regions(make_image, tmp_path, noise):
    """One process for each GPU of this host: the bytes of the CPU, and none of them idle."""
    import cupy

    cuda_cluster = pytest.importorskip("dask_cuda").LocalCUDACluster
    from distributed import Client

    source = make_image(noise((64, 256, 256)), (1.0, 0.2, 0.2))
    options = {"zoom": 1.2, "levels": 3, "chunk": 32, "shard": 64}
    chunkscale.resample(source, tmp_path / "cpu", device="cpu", **options)
    start = cuda_cluster(threads_per_worker=2, dashboard_address=":0")
    with start as cluster, Client(cluster) as client:
        chunkscale.resample(
            source, tmp_path / "gpu", device="gpu", device_memory="64MiB", client=client,
            log=tmp_path / "log", **options,
        )  # fmt: skip
    for found, wanted in zip(levels_of(tmp_path / "gpu"), levels_of(tmp_path / "cpu"), strict=True):
        assert_same(found, wanted)
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len({entry["worker"] for entry in log}) == cupy.cuda.runtime.getDeviceCount()


def test_auto_falls_back_where_memory_is_too_small_for_the_driver(make_image, noise):
    """A GPU's process needs about a gigabyte; a smaller budget runs on the CPU."""
    source = make_image(noise((8, 64, 64)))
    assert chunkscale.plan_resampling(source, memory="2GiB").device == "gpu"
    assert chunkscale.plan_resampling(source, memory="900MiB").device == "cpu"
    # To look for a GPU would take more than that; CuPy alone is imported by zarr where it is there.
    code = (
        "import sys, chunkscale; "
        f"chunkscale.plan_resampling({str(source)!r}, memory='900MiB'); "
        "sys.exit('chunkscale.kernels.cuda' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_takes_the_gpu(make_image, tmp_path, noise):
    """`--device gpu` computes there; host memory stays below the promise."""
    from chunkscale.host.memory import peak_of

    source = make_image(noise((64, 384, 384)), (1.0, 0.2, 0.2))
    options = [str(source), "--device", "gpu", "--voxel-size", "0.15", "--workers", "4"]
    plan = subprocess.run(
        [sys.executable, "-m", "chunkscale", "plan", *options, "--json"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkscale", "resample", options[0], str(tmp_path / "out"),
         *options[1:]],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    peak = peak_of(process)
    assert process.returncode == 0
    promise = json.loads(plan)["memory"]["total"]
    assert peak <= promise, f"{peak / MIB:.0f} MiB, promised {promise / MIB:.0f}"
