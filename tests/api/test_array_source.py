"""Arrays as the source of a run: the same voxels as from a store, and nothing taken silently."""

import json
import subprocess
import sys
import tempfile
import threading

import dask
import dask.array as da
import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs import budget, stored

import chunkscale
from chunkscale.host import memory
from chunkscale.samples import write_image

SIZE = (2.0, 0.5, 0.75)
HOW = {"source_voxel_size": SIZE, "voxel_size": 0.6, "chunk": 8, "shard": 0, "workers": 2}


def voxels(path):
    return [
        chunkscale.open_image(path).as_dask(level).compute(scheduler="synchronous")
        for level in range(len(chunkscale.open_image(path).multiscale.datasets))
    ]


def assert_same(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def chunks_of(path):
    """Return all stored chunks of an image, by name."""
    return {name: data for name, data in stored(path).items() if not name.endswith(".json")}


@pytest.mark.filterwarnings("ignore:this is a mask", "ignore:the source has", "ignore:only one")
@settings(max_examples=25)
@given(data=st.data())
def test_an_array_gives_the_very_output_that_it_gives_as_ome_zarr(data, tmp_path_factory):
    """Every stored chunk of every level, and level 0 as `resample_array` has it."""
    folder = tmp_path_factory.mktemp("arrays")
    axes = data.draw(st.sampled_from(["yx", "zyx", "cyx", "czyx", "tczyx", "tyx"]))
    shape = [data.draw(st.integers(1, 9 if n in "zyx" else 2), n) for n in axes]
    sizes = [data.draw(st.sampled_from([0.5, 1.0, 2.0, 0.3]), n) for n in axes if n in "zyx"]
    dtype = data.draw(st.sampled_from(["uint8", ">u2", "int32", "float16", ">f8", "bool"]))
    array = (np.random.default_rng(0).integers(0, 200, shape) % 97).astype(dtype)
    lazy = data.draw(st.booleans())
    how = {"voxel_size": 0.7, "chunk": 4, "shard": 0, "workers": 1, "antialias": True}
    source = da.from_array(array, chunks=tuple(min(3, n) for n in shape)) if lazy else array
    chunkscale.resample(source, folder / "a", source_voxel_size=sizes, axes=axes, **how)
    grid = grid_for(tuple(shape), (*(1.0,) * (len(shape) - len(sizes)), *sizes), axes, None)
    write_image(folder / "in", array, grid)
    chunkscale.resample(folder / "in", folder / "b", **how)
    assert chunks_of(folder / "a") == chunks_of(folder / "b")
    expected = chunkscale.resample_array(
        array, source_voxel_size=sizes, voxel_size=0.7, axes=axes, antialias=True
    )
    assert_same(voxels(folder / "a")[0], np.asarray(expected))


class Convertible:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


FORMS = {
    "big-endian": lambda a, _: a.astype(">u2"),
    "fortran": lambda a, _: np.asfortranarray(a),
    "strided": lambda a, _: np.repeat(a, 2, axis=1)[:, ::2][::-1][::-1],
    "backwards": lambda a, _: a[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "convertible": lambda a, _: Convertible(a),
    "dask": lambda a, _: da.from_array(a, chunks=((5, 1, 6), (13, 7), (22,))),
    "dask big-endian": lambda a, _: da.from_array(a.astype(">u2"), chunks=7),
}


@pytest.mark.parametrize("form", [*FORMS, "read-only", "memmap"])
@pytest.mark.usefixtures("small_regions")
def test_it_does_not_matter_how_an_array_lies_in_memory(form, noise, tmp_path):
    """Byte order, strides, a file behind it: the voxels are the same, and stay as they were."""
    data = noise((12, 20, 22))
    if form == "memmap":
        np.save(tmp_path / "data.npy", data)
        array = np.load(tmp_path / "data.npy", mmap_mode="r")
    elif form == "read-only":
        array = data.copy()
        array.flags.writeable = False
    else:
        array = FORMS[form](data, tmp_path)
    run = chunkscale.resample(array, tmp_path / "out", **HOW)
    assert run.plan.region_count > 1
    expected = chunkscale.resample_array(data, source_voxel_size=SIZE, voxel_size=0.6)
    assert_same(voxels(tmp_path / "out")[0], expected)


def test_the_output_says_where_its_voxels_are_and_that_it_comes_from_an_array(noise, tmp_path):
    """Unit and position as given, a name, and a source that is no path."""
    run = chunkscale.resample(
        noise((4, 6, 8)), tmp_path / "cells.zarr", **HOW, source_unit="micrometer",
        source_translation=(10, 20, 30), levels=1,
    )  # fmt: skip
    image = chunkscale.open_image(tmp_path / "cells.zarr")
    assert [axis.unit for axis in image.grid.axes] == ["micrometer"] * 3
    assert image.grid.translation == pytest.approx((10 - 0.7, 20 + 0.05, 30 - 0.075))
    assert image.name == "cells.zarr"
    assert image.attributes["chunkscale"]["source"] == "array in memory"
    assert "source   array in memory\n" in str(run.plan)


def test_a_plan_counts_blocks_of_dask_and_not_the_array(noise, tmp_path):
    """Memory does not grow with an array that is held; it does with what is computed at once."""
    data = noise((64, 128, 128))
    how = {
        "source_voxel_size": 1, "zoom": 1, "workers": 1, "chunk": 16, "levels": 1, "device": "cpu"
    }  # fmt: skip
    held = chunkscale.plan_resampling(data, **how)
    fine, coarse = (
        chunkscale.plan_resampling(da.from_array(data, chunks=c), **how) for c in (16, 128)
    )
    assert held.memory.total <= fine.memory.total < coarse.memory.total - data.nbytes
    assert coarse.source.chunk == (64, 128, 128)
    with pytest.raises(chunkscale.MemoryBudgetError):
        chunkscale.plan_resampling(da.from_array(data, chunks=128), **how, memory=fine.memory.total)


@pytest.mark.parametrize("lazy", [False, True])
def test_an_output_can_be_checked_against_its_array(lazy, noise, tmp_path):
    """The voxel size is recorded; another array is a fault."""
    data = noise((6, 10, 12))
    source = da.from_array(data, chunks=5) if lazy else data
    chunkscale.resample(source, tmp_path / "out", **HOW)
    report = chunkscale.check(tmp_path / "out", source=source)
    assert report
    assert report.voxels_compared > 0
    assert "differ" in str(chunkscale.check(tmp_path / "out", source=source + 1))
    write_image(tmp_path / "other", data, grid_for(data.shape, SIZE))
    with pytest.raises(chunkscale.OptionError, match="does not state"):
        chunkscale.check(tmp_path / "other", source=source)


def xarray_like(data):
    return type("DataArray", (Convertible,), {"__module__": "xarray.core.dataarray"})(data)


ARRAY = np.zeros((4, 5, 6), "uint8")
REFUSED = {
    "no voxel size": (ARRAY, {"source_voxel_size": None}, "source_voxel_size is missing"),
    "too few": (ARRAY, {"source_voxel_size": (1, 1)}, "2 values for the 3"),
    "half named": (ARRAY, {"source_voxel_size": {"z": 1}}, "does not name the spatial axes"),
    "misnamed": (ARRAY, {"source_voxel_size": "z=1,y=1,q=1"}, "does not name the spatial axes"),
    "finest": (ARRAY, {"source_voxel_size": "finest"}, "'finest' is not understood"),
    "negative": (ARRAY, {"source_voxel_size": -1}, "must be a positive"),
    "axes": (ARRAY, {"axes": "zxc"}, "transpose"),
    "axes too many": (ARRAY, {"axes": "czyx"}, "one letter each"),
    "unit": (ARRAY, {"source_unit": 5}, "source_unit 5"),
    "translation": (ARRAY, {"source_translation": (1,)}, "source_translation"),
    "0-d": (np.float32(3), {}, "two to five axes"),
    "1-d": (np.zeros(5), {}, "two to five axes"),
    "6-d": (np.zeros((1,) * 6), {}, "two to five axes"),
    "empty": (np.zeros((4, 0, 3)), {}, "0 voxels"),
    "object": (ARRAY.astype(object), {}, "data type object"),
    "complex": (ARRAY.astype("complex64"), {}, "data type complex64"),
    "text": (ARRAY.astype("U3"), {}, "data type <U3"),
    "masked": (np.ma.masked_equal(ARRAY, 1), {}, r"array\.filled"),
    "masked dask": (da.ma.masked_equal(da.from_array(ARRAY), 1), {}, "MaskedArray.*map_blocks"),
    "no coordinates": (xarray_like(ARRAY), {}, r"xarray\.DataArray.*its data with source_voxel"),
    "in a list": ([xarray_like(ARRAY)] * 2, {}, "make it an array"),
    "unknown chunks": (da.from_array(ARRAY)[da.from_array(ARRAY[:, 0, 0]) == 0], {}, "compute_chu"),
    "list": ([[1, 2], [3, 4]], {}, r"a list.*numpy\.stack"),
    "number": (5, {}, "source 5 is not supported"),
    "resume": (ARRAY, {"resume": True}, "resume .*array in memory.*overwrite"),
    "resume dask": (da.from_array(ARRAY), {"resume": True}, "resume .*Dask array.*overwrite"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_honoured_is_refused_by_name(case, tmp_path):
    """Before anything is written."""
    source, options, message = REFUSED[case]
    how = {"source_voxel_size": 1} | options
    with pytest.raises(chunkscale.ChunkscaleError, match=message):
        chunkscale.resample(source, tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["cupy", "zarr", "h5py", "tensorstore"])
def test_arrays_of_other_libraries_are_not_loaded_silently(name, tmp_path):
    """Each with what to pass instead."""
    array = type("Array", (Convertible,), {"__module__": f"{name}.inner"})(ARRAY)
    with pytest.raises(chunkscale.OptionError, match=rf"{name}.*(from_|asnumpy|read)"):
        chunkscale.plan_resampling(array, source_voxel_size=1)


@pytest.mark.parametrize("option", ["axes", "source_translation", "source_unit"])
def test_what_describes_arrays_is_refused_for_images(option, noise, make_image):
    """It would be ignored."""
    path = make_image(noise((4, 6, 8)), SIZE)
    for source in (path, chunkscale.open_image(path)):
        with pytest.raises(chunkscale.OptionError, match=f"{option} .* leave it out"):
            chunkscale.plan_resampling(source, **{option: "zyx"})


def interrupted(source, out):
    class StopError(Exception):
        pass

    def stop(progress):
        raise StopError

    with pytest.raises(StopError):
        chunkscale.resample(source, out, progress=stop, **HOW)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.usefixtures("small_regions")
def test_what_an_interrupted_run_has_left_is_replaced_with_overwrite(lazy, noise, tmp_path):
    """And is whole then."""
    data, out = noise((12, 20, 22)), tmp_path / "out"
    source = da.from_array(data, chunks=6) if lazy else data
    interrupted(source, out)
    with pytest.raises(chunkscale.DestinationError, match="did not finish"):
        chunkscale.resample(source, out, **HOW)
    chunkscale.resample(source, out, overwrite=True, **HOW)
    assert chunkscale.check(out, source=source)


def test_an_image_that_dask_may_read_from_is_not_overwritten(noise, tmp_path):
    """It would be deleted, and read as zeros; from an array in memory it can be replaced."""
    out = tmp_path / "out"
    chunkscale.resample(noise((6, 10, 12)), out, **HOW)
    before = stored(out)
    lazy = chunkscale.open_image(out).as_dask()
    with pytest.raises(chunkscale.DestinationError, match="may be read by the Dask array"):
        chunkscale.resample(lazy, out, overwrite=True, **HOW)
    assert stored(out) == before
    chunkscale.resample(lazy.compute(), out, overwrite=True, **HOW)
    assert chunkscale.check(out)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda block: block[:1], r"shape \(1, 5, 6\)"),
        (lambda block: block + 0.5, "data type float64"),
        (lambda block: np.ma.masked_less(block, 5), "MaskedArray"),
    ],
    ids=["shape", "dtype", "mask"],
)
def test_a_block_that_is_not_what_its_array_says_fails_the_run(function, message, tmp_path):
    """NumPy would repeat it, cut it off, or drop its mask."""
    lazy = da.from_array(ARRAY, chunks=(2, 5, 6)).map_blocks(
        function, dtype="uint8", meta=np.empty((0, 0, 0), "uint8")
    )
    with pytest.raises(chunkscale.RegionError, match=rf"block \(0, 0, 0\) .*{message}"):
        chunkscale.resample(lazy, tmp_path / "out", source_voxel_size=1, zoom=1.5)
    with pytest.raises(chunkscale.NotAnImageError, match="did not finish"):
        chunkscale.open_image(tmp_path / "out")


@pytest.mark.usefixtures("small_regions")
def test_no_more_blocks_are_made_at_once_than_regions(noise, tmp_path):
    """Each in the thread that needs it, whatever scheduler is configured for others."""
    lock, state = threading.Lock(), {"now": 0, "most": 0, "made": 0}

    def counted(block):
        with lock:
            state["now"] += 1
            state["made"] += 1
            state["most"] = max(state["most"], state["now"])
        try:
            return block + 1
        finally:
            with lock:
                state["now"] -= 1

    data = noise((16, 32, 32), "uint8")
    lazy = da.from_array(data, chunks=4).map_blocks(counted, dtype="uint8", meta=ARRAY[:0, :0, :0])
    chunkscale.resample(lazy, tmp_path / "out", source_voxel_size=1, zoom=1, chunk=8, workers=2)
    assert_same(voxels(tmp_path / "out")[0], data + np.uint8(1))
    assert state["most"] <= 2
    assert state["made"] >= lazy.npartitions


@pytest.mark.parametrize("lazy", [False, True])
def test_arrays_stay_in_their_process(lazy, noise, tmp_path):
    """Other processes are refused by name, and the way on that is told works."""
    data = noise((6, 10, 12))
    source = da.from_array(data, chunks=5) if lazy else data
    with (
        dask.config.set(scheduler="processes"),
        pytest.raises(chunkscale.OptionError, match="cannot be sent to other processes"),
    ):
        chunkscale.resample(source, tmp_path / "out", **HOW)
    distributed = pytest.importorskip("distributed")
    how = {name: value for name, value in HOW.items() if name != "workers"}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as local,
        distributed.Client(local) as client,
    ):
        for given_client in (None, client):
            with pytest.raises(chunkscale.OptionError, match=r"cannot be sent .*client .*threads"):
                chunkscale.resample(source, tmp_path / "out", client=given_client, **how)
        assert not (tmp_path / "out").exists()
        with dask.config.set(scheduler="threads", pool=None):
            chunkscale.resample(source, tmp_path / "out", **how)
    assert chunkscale.check(tmp_path / "out", source=source)


RUN = """
import json, sys
import dask.array as da, numpy as np
import chunkscale

def block(block_id=None):
    random = np.random.default_rng(block_id)
    return random.integers(0, 2**16, (64, 128, 128), dtype="uint16")

array = da.map_blocks(block, chunks=((64,) * 2, (128,) * 4, (128,) * 4), dtype="uint16",
                      meta=np.empty((0, 0, 0), "uint16"))
plan = chunkscale.resample(array, sys.argv[1], source_voxel_size=1, zoom=1.5,
                           memory=sys.argv[2]).plan
print(json.dumps([plan.memory.total, plan.region_count]))
"""


@pytest.mark.slow
def test_a_run_from_dask_keeps_below_what_its_plan_promises(tmp_path):
    """Blocks are held only while a region copies them."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "out"), budget(500)], stdout=subprocess.PIPE
    )
    peak = memory.peak_of(process)
    promise, regions = json.loads(process.communicate()[0])
    assert regions > 4
    assert peak <= promise, f"{peak >> 20} MiB, promised {promise >> 20}"


def test_a_plan_says_how_often_blocks_of_dask_are_computed():
    """They are made anew for every region that touches them: what is read is what runs."""
    made = []

    def block(block_id=None):
        made.append(block_id)
        return np.full((16, 32, 32), sum(block_id), "uint16")

    array = da.map_blocks(
        block, chunks=((16,) * 2, (32,) * 3, (32,) * 3), dtype="uint16",
        meta=np.empty((0, 0, 0), "uint16"),
    )  # fmt: skip
    plan = chunkscale.plan_resampling(
        array, source_voxel_size=1, voxel_size=0.45, workers=2, chunk=16, device="cpu"
    )
    assert plan.memory.cache == 0
    made.clear()
    with tempfile.TemporaryDirectory() as folder:
        chunkscale.resample(
            array, f"{folder}/out", source_voxel_size=1, voxel_size=0.45, workers=2, chunk=16,
            device="cpu",
        )  # fmt: skip
    assert len(made) <= plan.read_amplification * array.npartitions


def test_like_of_an_array_is_a_grid(noise):
    """Or of whatever has one; a plain array has none."""
    with pytest.raises(chunkscale.SourceNotFoundError, match=r"other\.zarr"):
        chunkscale.resample_array(noise((4, 8, 8)), like="other.zarr")
    with pytest.raises(chunkscale.OptionError, match="like is of type 'ndarray', which has"):
        chunkscale.resample_array(noise((4, 8, 8)), like=noise((2, 4, 4)))


@pytest.mark.parametrize("lazy", [False, True])
def test_resample_array_warns_of_aliasing_as_resample_does(lazy, noise, tmp_path):
    """In the same words; and not where it is antialiased."""
    voxels = noise((4, 8, 24))
    target = {"voxel_size": {"z": 2, "y": 2, "x": 3}, "source_voxel_size": 1}
    given = da.from_array(voxels, chunks=8) if lazy else voxels
    with pytest.warns(chunkscale.AliasingWarning, match="shrinks along x by 3") as ours:
        chunkscale.resample_array(given, **target)
    with pytest.warns(chunkscale.AliasingWarning) as theirs:
        chunkscale.resample(voxels, tmp_path / "out", **target)
    assert {str(w.message) for w in ours} == {str(w.message) for w in theirs}
    assert ours[0].filename == __file__
    chunkscale.resample_array(given, **target, antialias=True)
