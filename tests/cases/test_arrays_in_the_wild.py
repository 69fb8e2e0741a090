"""Arrays that carry more than voxels are refused with the way on; others give the right voxels."""

import dask.array as da
import numpy as np
import pytest

import chunkscale

DATA = np.arange(4 * 6 * 8, dtype="f4").reshape(4, 6, 8)
SIZE = {"source_voxel_size": (2, 1, 1), "voxel_size": 1}
EXPECTED = chunkscale.resample_array(DATA, **SIZE)


def of(module, name="Array", base=object, **attributes):
    """Return what looks like an array of another library."""
    kind = type(name, (base,), {"__module__": module})
    array = DATA.view(kind) if base is np.ndarray else kind()
    if base is object:
        kind.__array__ = lambda self, dtype=None, copy=None: DATA.copy()
        attributes = {"shape": DATA.shape, "dtype": DATA.dtype, **attributes}
    for key, value in attributes.items():
        setattr(kind, key, value)
    return array


class Loud:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("too dense")


MASKED = np.ma.masked_equal(DATA, 5)
LOST = {
    "masked": (MASKED, r"mask.*\.filled"),
    "masked, nothing is": (np.ma.array(DATA), r"mask.*\.filled"),
    "masked in Dask": (da.ma.masked_equal(da.from_array(DATA, chunks=3), 5), r"MaskedArray.*fill"),
    "list of masked": ([MASKED[0], MASKED[1]], r"mask.*\.filled|make it an array"),
    "list of Dask": ([da.from_array(DATA[0])] * 2, r"dask\.array\.stack"),
    "quantity": (of("astropy.units.quantity", "Quantity", np.ndarray, unit="um"), "unit 'um'"),
    "pint": (of("pint.registry", "Quantity", units="micrometer"), "unit 'micrometer'.*magnitude"),
    "mask beside": (of("astropy.nddata", "CCDData", mask=DATA > 3), "mask"),
    "xarray": (of("xarray.core.variable", "Variable"), "its data with source_voxel_size"),
    "pandas": (of("pandas.core.frame", "DataFrame"), "to_numpy"),
    "dask frame": (of("dask.dataframe.core", "DataFrame"), "to_dask_array"),
    "sparse": (of("sparse.numba_backend", "COO"), "todense"),
    "scipy": (of("scipy.sparse._coo", "coo_array"), "toarray"),
    "zarr": (of("zarr.core.array"), "from_zarr"),
    "raises": (Loud(), "too dense"),
    "objects": (DATA.astype(object), "data type object"),
    "structured": (np.zeros((4, 6), [("a", "u2"), ("b", "f4")]), "data type"),
    "0-d": (np.float32(3), "two to five axes"),
    "empty": (np.zeros((3, 0, 4)), "0 voxels"),
    "longdouble": (DATA.astype("longdouble"), "data type"),
    "dates": (np.zeros((3, 4), "M8[s]"), "data type"),
}


def dask_delayed():
    import dask

    return dask.delayed(lambda: DATA)()


@pytest.mark.parametrize("case", [*LOST, "delayed"])
def test_nothing_is_dropped_silently(case, tmp_path):
    """By every function that takes arrays."""
    array, message = LOST.get(case) or (dask_delayed(), "from_delayed")
    with pytest.raises(chunkscale.ChunkscaleError, match=message):
        chunkscale.resample_array(array, **SIZE | {"source_voxel_size": 1})
    for function in (chunkscale.plan_resampling, chunkscale.resample):
        out = () if function is chunkscale.plan_resampling else (tmp_path / "out",)
        with pytest.raises(chunkscale.ChunkscaleError, match=message):
            function(array, *out, source_voxel_size=1)
    assert not (tmp_path / "out").exists()


def test_the_ways_on_that_are_named_work():
    """Filled, by its values, or stacked."""
    filled = MASKED.filled(0)
    expected = chunkscale.resample_array(filled, **SIZE)
    lazy = da.ma.masked_equal(da.from_array(DATA, chunks=3), 5).map_blocks(np.ma.filled, 0)
    np.testing.assert_array_equal(chunkscale.resample_array(lazy, **SIZE), expected)
    stacked = da.stack([da.from_array(plane) for plane in DATA])
    np.testing.assert_array_equal(chunkscale.resample_array(stacked, **SIZE), EXPECTED)
    delayed = da.from_delayed(dask_delayed(), DATA.shape, DATA.dtype)
    np.testing.assert_array_equal(chunkscale.resample_array(delayed, **SIZE), EXPECTED)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: np.ma.masked_less(block, 5),
        lambda block: of("astropy.units", "Quantity", np.ndarray, unit="um")[: len(block)],
        lambda block: block[:1],
        lambda block: block.astype("f8"),
    ],
    ids=["mask", "unit", "shape", "dtype"],
)
def test_blocks_that_turn_out_otherwise_fail(spoil, tmp_path):
    """The array says that they are plain."""
    lazy = da.from_array(DATA, chunks=(2, 6, 8)).map_blocks(
        spoil, dtype=DATA.dtype, meta=np.empty((0, 0, 0), "f4")
    )
    with pytest.raises(chunkscale.RegionError, match="not what the array says"):
        chunkscale.resample_array(lazy, **SIZE).compute()
    with pytest.raises(chunkscale.RegionError, match="not what the array says"):
        chunkscale.resample(lazy, tmp_path / "out", **SIZE)


PLAIN = {
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "big-endian": lambda a: a.astype(">f4"),
    "turned round": lambda a: a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 3, axis=2)[:, :, ::3],
    "subclass": lambda a: a.view(type("Array", (np.ndarray,), {"__module__": "imageio.core"})),
    "converts": lambda a: of("torchish.tensor"),
    "lists": lambda a: a.tolist(),
}


@pytest.mark.parametrize("case", list(PLAIN))
def test_whatever_lies_in_memory_gives_the_same_voxels(case):
    """However it lies there."""
    given = PLAIN[case](DATA)
    result = chunkscale.resample_array(given, **SIZE)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, EXPECTED)


def test_repeated_and_mapped_arrays_and_matrices(tmp_path):
    """Strides of zero; a file; NumPy's matrices have two axes whatever is cut out of them."""
    flat = np.broadcast_to(np.float32(7), (3, 4, 5))
    assert (chunkscale.resample_array(flat, zoom=2) == 7).all()
    np.save(tmp_path / "a.npy", DATA)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(chunkscale.resample_array(mapped, **SIZE), EXPECTED)
    matrix = DATA[0].view(np.matrix)
    result = chunkscale.resample_array(matrix, zoom=2)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, chunkscale.resample_array(DATA[0], zoom=2))


@pytest.mark.parametrize(
    "case", ["read-only", "big-endian", "turned round", "subclass", "converts"]
)
def test_runs_take_them_too(case, tmp_path):
    """Written as they are."""
    chunkscale.resample(PLAIN[case](DATA), tmp_path / "out", **SIZE)
    stored = chunkscale.open_image(tmp_path / "out").as_dask().compute()
    np.testing.assert_array_equal(stored, EXPECTED)


def test_a_path_is_no_array(make_image):
    """The function for those is named."""
    with pytest.raises(chunkscale.OptionError, match=r"chunkscale\.resample takes the path"):
        chunkscale.resample_array(str(make_image(DATA)))
