"""Seamless: any way to cut a volume gives the same bytes, and those of the whole."""

import itertools
import math

import numpy as np
import pytest
from grids import grid_for
from outputs import assert_same_output, budget

import chunkscale
from chunkscale.compute.levels import reduce_box
from chunkscale.geometry.methods import METHODS
from chunkscale.geometry.pyramid import level_factors
from chunkscale.kernels.backend import get_backend

pytestmark = [
    pytest.mark.filterwarnings("ignore::chunkscale.AliasingWarning"),
    pytest.mark.newest,
    pytest.mark.usefixtures("small_regions"),
    pytest.mark.filterwarnings("ignore:this is a mask"),
]


def levels_of(path):
    image = chunkscale.open_image(path)
    return [image.as_dask(i).compute() for i in range(len(image.multiscale.datasets))]


def whole_pyramid(data, count, method="linear", downsample=None, **options):
    """Resample in one go, and halve the whole of each level along the axes that are to be."""
    how = downsample or METHODS[method].levels
    levels = [chunkscale.resample_array(data, method=method, device="cpu", **options)]
    backend = get_backend("cpu")
    source = grid_for(data.shape, options.get("source_voxel_size"))
    target = chunkscale.target_grid(source, voxel_size=options.get("voxel_size", "finest"))
    merged = level_factors(target)
    for finer, coarser in itertools.pairwise(merged[:count]):
        factors = [b // a for a, b in zip(finer, coarser, strict=True)]
        levels.append(reduce_box(levels[-1], factors, downsample=how, backend=backend))
    return levels


CUTS = [
    {"chunk": 64, "workers": 1},
    {"chunk": 8, "workers": 2},
    {"chunk": (7, 16, 5), "workers": 3},
    {"chunk": 16, "shard": 0},
    {"chunk": 8, "shard": 32, "workers": 2},
    {"chunk": 5, "shard": (15, 30, 10)},
    {"chunk": 16, "ome_zarr_version": "0.4"},
]
DEVICE_CUTS = {
    "cpu": [{"chunk": 8, "memory": budget(364), "workers": 2}],
    "gpu": [
        {"chunk": 8, "workers": 4, "device_memory": "200kB"},
        {"chunk": 16, "shard": 0, "device_memory": "1MB"},
    ],
}


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        *(({"voxel_size": "finest"}, t) for t in ["uint16", "float32", "uint64", "bool", "int8"]),
        *(({"voxel_size": 0.35}, t) for t in ["float16", "uint16"]),
        *(({"voxel_size": 0.8, "antialias": True}, t) for t in ["uint16", "float32", "int8"]),
        *(({"voxel_size": "z=0.31,y=0.9,x=0.17"}, t) for t in ["uint64", "float32", "bool"]),
        *(({"voxel_size": "z=3.2,y=0.45,x=0.7", "method": "mode"}, t) for t in ["uint64", "int8"]),
        *(({"voxel_size": 0.35, "downsample": "max"}, t) for t in ["float16", "bool"]),
        *(({"voxel_size": "finest", "downsample": "nearest"}, t) for t in ["uint16", "float32"]),
    ],
    ids=str,
)
def test_any_cut_gives_the_bytes_of_the_whole(make_image, tmp_path, noise, dtype, options, device):
    """Chunks, shards, memory, workers and version change nothing."""
    data = noise((13, 37, 31), dtype)
    size = (1.0, 0.202, 0.202)
    source = make_image(data, size, chunk=(5, 17, 23))
    expected = whole_pyramid(data, 3, source_voxel_size=size, **options)
    regions = set()
    for number, cut in enumerate([*CUTS, *DEVICE_CUTS[device]]):
        out = tmp_path / f"{number}.zarr"
        with pytest.warns() if _shrinks(options) else _nothing():
            run = chunkscale.resample(source, out, levels=3, device=device, **options, **cut)
        assert run.plan.device == device
        regions.add(run.plan.region_count)
        for found, wanted in zip(levels_of(out), expected, strict=True):
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)
    assert len(regions) > 2
    assert max(regions) >= 4


def _shrinks(options):
    return not options.get("antialias") and "0.9" in str(options["voxel_size"])


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("uint16", {}),
        ("float16", {"voxel_size": 0.15}),
        ("float32", {"voxel_size": "z=0.31,y=0.5,x=0.5", "antialias": True}),
        ("uint64", {"method": "nearest"}),
        ("uint32", {"voxel_size": "z=0.1,y=0.3,x=0.5", "method": "mode"}),
        ("float16", {"downsample": "max"}),
        ("int16", {"downsample": "nearest"}),
        ("uint8", {"downsample": "mode"}),
        ("bool", {"voxel_size": "z=0.1,y=0.2,x=0.3"}),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("chunk", "store"),
    [(5, {}), (8, {"shard": 0}), (32, {"ome_zarr_version": "0.4"}), (8, {})],
    ids=str,
)
def test_slabs_give_the_bytes_of_the_whole(
    make_image, tmp_path, noise, monkeypatch, chunk, dtype, options, store
):
    """Regions of whole stacks are made in parts."""
    monkeypatch.setattr("chunkscale.plan.policy.LARGEST_REGION", 2**25)
    monkeypatch.setattr("chunkscale.plan.policy.SLAB_BYTES", 2**11)
    data = noise((1, 23, 32, 32), dtype)
    source = make_image(data, (1.0, 1.0, 0.2, 0.2), axes="czyx", chunk=(1, 23, 32, 32))
    out, parameters = tmp_path / "out.zarr", {"levels": 3, "workers": 1, **options, **store}
    run = chunkscale.resample(source, out, chunk=chunk, device="cpu", **parameters)
    slabs = list(run.plan.slabs(run.plan.region(0)))
    assert len(slabs) > 2
    assert all(slab.shape[1] % 2 == 0 for slab in slabs[:-1])
    whole = {"source_voxel_size": (1.0, 0.2, 0.2), "voxel_size": "finest", **options}
    channels = [whole_pyramid(channel, 3, **whole) for channel in data]
    for found, *wanted in zip(levels_of(out), *channels, strict=True):
        np.testing.assert_array_equal(found, np.stack(wanted))
    assert chunkscale.check(out, source=source)
    # Whoever mends it follows what is there, chunks, shards and slabs.
    lost = sorted(path for path in (out / "0").rglob("*") if path.name.isdigit() and path.is_file())
    lost[-1].unlink()
    again = chunkscale.resample(source, out, resume=True, device="cpu", **parameters)
    assert again.times.regions > 0
    assert again.plan.levels == run.plan.levels
    assert again.plan.passes == run.plan.passes
    assert chunkscale.check(out, source=source)


@pytest.mark.parametrize("method", ["nearest", "mode"])
@pytest.mark.parametrize("step", [0.4, 2 / 3, 0.8, 1.2, 2.7])
def test_labels_do_not_depend_on_the_cut(make_image, tmp_path, method, step, device):
    """At the steps where chunk-local offsets go wrong; ids above 2**53 survive."""
    random = np.random.default_rng(1)
    data = random.integers(0, 2**63, (19, 33, 40)).astype(np.uint64) + np.uint64(2**62)
    source = make_image(data, chunk=(7, 16, 9))
    expected = whole_pyramid(data, 3, method=method, voxel_size=step)
    assert np.isin(expected[0], data).all()
    for chunk in (5, 16, 64):
        out = tmp_path / f"{chunk}.zarr"
        chunkscale.resample(
            source, out, voxel_size=step, method=method, chunk=chunk, levels=3, device=device
        )
        for found, wanted in zip(levels_of(out), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tyx", "czyx", "tczyx"])
def test_channels_and_times_pass_through(make_image, tmp_path, noise, axes, device):
    """Each channel and time point is resampled as if it were alone."""
    shape = {"t": 2, "c": 3, "z": 5, "y": 21, "x": 18}
    data = noise([shape[a] for a in axes])
    size = [{"z": 2.0}.get(a, 1.0) for a in axes]
    source = make_image(data, size, axes=axes, chunk=[1 if a in "t" else 9 for a in axes])
    chunkscale.resample(source, tmp_path / "out.zarr", zoom=1.5, chunk=8, device=device)
    leading = len(axes.replace("z", "").replace("y", "").replace("x", ""))
    options = {"zoom": 1.5, "source_voxel_size": size[leading:], "device": "cpu"}
    found = levels_of(tmp_path / "out.zarr")[0]
    for index in np.ndindex(data.shape[:leading]):
        np.testing.assert_array_equal(
            found[index], chunkscale.resample_array(data[index], **options)
        )
    np.testing.assert_array_equal(found, chunkscale.resample_array(data, axes=axes, **options))


@pytest.mark.parametrize("axes", ["tyx", "tcyx", "czyx", "tczyx"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "nearest", "ome_zarr_version": "0.4"},
        {"antialias": True, "voxel_size": 2.5, "shard": 0},
        {"method": "mode", "voxel_size": 1.3, "downsample": "nearest"},
        {"like": True, "outside": 7, "shard": 16},
    ],
    ids=str,
)
def test_several_frames_at_a_time_give_the_bytes_of_one(
    make_image, tmp_path, noise, monkeypatch, axes, options, device
):
    """Whatever a region spans, every frame is stored for itself; resumed or not."""
    data = noise([{"t": 5, "c": 3, "z": 5, "y": 21, "x": 18}[a] for a in axes])
    leading = len(axes) - len(axes.strip("tc"))
    most = 2 * 3 ** (leading - 1) * data.nbytes // math.prod(data.shape[:leading])
    source = make_image(data, axes=axes, chunk=[2 if a in "tc" else 9 for a in axes])
    options = {"levels": 3, "chunk": 8, "workers": 2, "device": device, **options}
    if options.pop("like", None):
        grid = chunkscale.open_image(source).grid
        shift = [0.0] * leading + [-2.25] * (len(axes) - leading)
        options["like"] = grid.replace(translation=tuple(shift))

    def begun(name, bytes_, **more):
        monkeypatch.setattr("chunkscale.plan.policy.LARGEST_REGION", bytes_)
        return chunkscale.resample(source, tmp_path / name, **options, **more).plan

    def interrupt(progress):
        raise KeyboardInterrupt

    single, plan = begun("one", 1), begun("several", most)
    spans = [run.region_shape[:leading] for run in plan.passes]
    assert {run.region_shape[:leading] for run in single.passes} == {(1,) * leading}
    assert all(max(span) > 1 for span in spans)
    assert plan.region_count > len(plan.passes)
    assert {level.write_unit[:leading] for level in plan.levels} == {(1,) * leading}
    for one, more in zip(levels_of(tmp_path / "one"), levels_of(tmp_path / "several"), strict=True):
        np.testing.assert_array_equal(one, more)
    assert chunkscale.check(tmp_path / "several", source=source)
    with pytest.raises(KeyboardInterrupt):
        begun("resumed", most, progress=interrupt)
    assert begun("resumed", 1, resume=True).passes == plan.passes
    assert_same_output(tmp_path / "resumed", tmp_path / "several")


def test_lazy_blocks_are_the_bytes_of_the_whole(noise):
    """A Dask array in gives a lazy one out, with the same voxels."""
    da = pytest.importorskip("dask.array")
    data = noise((20, 50, 60))
    for options in (
        {"zoom": 1.7},
        {"voxel_size": (0.5, 2.5, 2.5), "antialias": True},
        {"voxel_size": 0.8, "method": "nearest"},
        {"voxel_size": (2.6, 0.7, 4.0), "method": "mode"},
    ):
        lazy = chunkscale.resample_array(
            da.from_array(data, chunks=(7, 20, 25)), chunk=(16, 13, 40), **options
        )
        assert isinstance(lazy, da.Array)
        assert lazy.chunks[0][0] <= 16
        np.testing.assert_array_equal(lazy.compute(), chunkscale.resample_array(data, **options))


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<u8"])
def test_lazy_blocks_take_any_byte_order(dtype, noise):
    """The result is in the native one, as that of an array in memory is."""
    da = pytest.importorskip("dask.array")
    data = noise((8, 9)).astype(dtype)
    lazy = chunkscale.resample_array(da.from_array(data, chunks=4), zoom=2, chunk=5)
    expected = chunkscale.resample_array(data, zoom=2)
    assert lazy.dtype == lazy._meta.dtype == expected.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_lazy_blocks_of_unknown_size_are_refused():
    """Where they lie cannot be told; the chunks are named, and what makes them known."""
    da = pytest.importorskip("dask.array")
    data = da.ones((8, 8), chunks=4)
    data = data[data[:, 0] > 0]
    with pytest.raises(chunkscale.OptionError, match=r"\(nan, nan\).*compute_chunk_sizes"):
        chunkscale.resample_array(data, zoom=2)
    data.compute_chunk_sizes()
    assert chunkscale.resample_array(data, zoom=2).compute().shape == (16, 16)


def test_lazy_blocks_pull_only_their_source_box():
    """One block of the result computes just the source blocks that it touches."""
    da = pytest.importorskip("dask.array")
    pulled = []

    def block(block_info=None):
        pulled.append(block_info[None]["chunk-location"])
        return np.zeros((10, 10), np.uint16)

    source = da.map_blocks(block, chunks=((10,) * 8, (10,) * 8), dtype=np.uint16)
    lazy = chunkscale.resample_array(source, zoom=2, chunk=20)
    pulled.clear()
    lazy.blocks[3, 0].compute(scheduler="synchronous")
    # Blocks 2 to 4 by 0 to 1: half a voxel of halo reaches into the neighbours.
    assert sorted(pulled) == [(i, j) for i in (2, 3, 4) for j in (0, 1)]


def test_the_lazy_graph_is_small():
    """One task per block, however many source blocks it touches."""
    da = pytest.importorskip("dask.array")
    source = da.zeros((160, 160, 160), chunks=20, dtype=np.uint16)
    lazy = chunkscale.resample_array(source, zoom=2, chunk=20)
    own = len(dict(lazy.__dask_graph__())) - len(dict(source.__dask_graph__()))
    assert own == lazy.npartitions
