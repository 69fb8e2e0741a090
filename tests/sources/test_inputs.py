"""What a reader must take, and what it must refuse: stores as the wild has them."""

import contextlib
import importlib.util
import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from zarr import codecs

import chunkscale
from chunkscale.api.arrays import resample_array
from chunkscale.api.describing import info
from chunkscale.api.images import check, open_image
from chunkscale.api.planning import plan_resampling
from chunkscale.api.resampling import resample
from chunkscale.cli.main import main
from chunkscale.errors import (
    AliasingWarning,
    ChunkscaleError,
    ChunkscaleWarning,
    CorruptChunkError,
    DestinationError,
    MetadataError,
    MultipleImagesError,
    NotAnImageError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import Box
from chunkscale.geometry.units import METRES
from chunkscale.sources.ome_zarr import open_ome_zarr
from chunkscale.storage.engine import StoreIO

ENGINES = ("auto", "zarr")
SHAPE, CHUNK, SIZE = (6, 10, 12), (3, 4, 5), (2.0, 0.5, 0.5)
RESAMPLING = {"voxel_size": {"z": 1.0, "y": 0.4, "x": 0.5}, "levels": 1, "workers": 2}
DATA = np.random.default_rng(1).integers(1, 60000, SHAPE).astype("uint16")


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def translation(*values):
    return {"type": "translation", "translation": list(values)}


def axes_of(names, unit="micrometer"):
    kinds = {"t": "time", "c": "channel"}
    return [
        {"name": n, "type": kinds.get(n, "space")}
        | ({} if n in kinds or unit is None else {"unit": unit})
        for n in names
    ]


def image_attributes(*transforms, axes="zyx", paths=("0",), version="0.4", **more):
    """Return the attributes of a group, the same transformations for each of its datasets."""
    entry = {
        "axes": axes_of(axes) if isinstance(axes, str) else axes,
        "datasets": [
            {"path": p, "coordinateTransformations": list(transforms or [scale(*SIZE)])}
            for p in paths
        ],
        **more,
    }
    if version == "0.5":
        return {"ome": {"version": version, "multiscales": [entry]}}
    return {"multiscales": [{"version": version, **entry}]}


def make(path, data=DATA, *, zarr_format=2, attributes=None, array="0", **options):
    """Store an array, and the attributes of an image, with zarr-python."""
    version = "0.4" if zarr_format == 2 else "0.5"
    group = zarr.create_group(path, zarr_format=zarr_format)
    options = {"chunks": CHUNK[-data.ndim :], "dtype": data.dtype, **options}
    stored = group.create_array(array, shape=data.shape, **options)
    stored[...] = data
    names = "tczyx"[-data.ndim :]
    sizes = SIZE if data.ndim == 3 else (1.0,) * data.ndim
    group.attrs.put(
        image_attributes(scale(*sizes), axes=names, version=version)
        if attributes is None
        else attributes
    )
    return path


def read(path, engine="auto"):
    image = open_ome_zarr(path, io=StoreIO(threads=2, engine=engine))
    return image.array.read(Box(start=(0,) * image.grid.ndim, stop=image.grid.shape))


def resampled(path, destination, **options):
    resample(path, destination, **{**RESAMPLING, **options})
    return read(destination)


def expected(data=DATA, **options):
    return resample_array(
        data, source_voxel_size=SIZE, voxel_size=RESAMPLING["voxel_size"], **options
    )


def refused(capsys, *arguments, code=2):
    """Run the command line; return its error message."""
    assert main([str(a) for a in arguments]) == code
    message = capsys.readouterr().err
    assert message.startswith("chunkscale: error: ")
    assert "Traceback" not in message
    return message


# --- stored forms --------------------------------------------------------------------------------

V3_BIG = {"serializer": codecs.BytesCodec(endian="big")}
FORMS = {
    "v2-dots": (2, {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
    "v2-slashes": (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "v2-big-endian": (2, {"dtype": ">u2"}),
    "v2-fortran": (2, {"order": "F"}),
    "v2-big-endian-fortran-none": (2, {"dtype": ">u2", "order": "F", "compressors": None}),
    "v2-none": (2, {"compressors": None}),
    "v2-gzip": (2, {"compressors": numcodecs.GZip(1)}),
    "v2-zlib": (2, {"compressors": numcodecs.Zlib(1)}),
    "v2-bz2": (2, {"compressors": numcodecs.BZ2(1)}),
    "v2-zstd": (2, {"compressors": numcodecs.Zstd(1)}),
    "v2-blosc-zstd-shuffle": (2, {"compressors": numcodecs.Blosc("zstd", 1, 1)}),
    "v2-blosc-lz4-bitshuffle": (2, {"compressors": numcodecs.Blosc("lz4", 1, 2)}),
    "v2-lz4": (2, {"compressors": numcodecs.LZ4()}),
    "v2-delta": (2, {"filters": [numcodecs.Delta("<u2")]}),
    "v3-none": (3, {"compressors": None}),
    "v3-gzip": (3, {"compressors": codecs.GzipCodec(level=1)}),
    "v3-zstd-checksum": (3, {"compressors": codecs.ZstdCodec(level=1, checksum=True)}),
    "v3-blosc": (3, {"compressors": codecs.BloscCodec(cname="lz4", typesize=2)}),
    "v3-crc32c": (3, {"compressors": [codecs.Crc32cCodec()]}),
    "v3-big-endian": (3, V3_BIG),
    "v3-transposed": (3, {"filters": [codecs.TransposeCodec(order=(2, 0, 1))]}),
    "v3-v2-keys": (3, {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
    "v3-dots": (3, {"chunk_key_encoding": {"name": "default", "separator": "."}}),
    "v3-sharded": (3, {"shards": (6, 8, 10)}),
    "v3-sharded-big-endian": (3, {"shards": (3, 8, 15), **V3_BIG}),
}
#: What tensorstore does not know, so that zarr-python reads it.
FALLBACK = ("v2-delta", "v2-lz4")


@pytest.mark.parametrize("form", FORMS)
def test_the_stored_form_does_not_change_voxels(form, tmp_path):
    """Any separator, byte order, memory order, codec and sharding gives the same voxels."""
    zarr_format, options = FORMS[form]
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format, **options)
    image = open_ome_zarr(path, io=StoreIO(threads=2))
    assert image.array.engine == ("zarr" if form in FALLBACK else "tensorstore")
    assert image.array.dtype == np.dtype("uint16")
    for engine in ENGINES:
        assert_array_equal(read(path, engine), DATA)
    assert_array_equal(resampled(path, tmp_path / "b.zarr"), expected())


def test_what_is_unusual_in_a_file_is_not_warned_of(tmp_path):
    """Zarr-python minds an empty list of filters, which many writers store; readers need not."""
    path = make(tmp_path / "a.zarr")
    document = json.loads((path / "0/.zarray").read_text())
    (path / "0/.zarray").write_text(json.dumps({**document, "filters": []}))
    with pytest.warns(UserWarning, match="empty list of filters"):
        zarr.open_array(path / "0", mode="r")
    assert_array_equal(read(path), DATA)


def test_arrays_opened_by_many_threads_leave_the_warning_filters_alone(tmp_path):
    """The filters are the whole process': what is muted for good hides the user's warnings."""
    path = make(tmp_path / "a.zarr")
    before = list(warnings.filters)

    def look(_):
        open_image(path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(100)))
    assert list(warnings.filters) == before


def test_a_warning_passes_while_another_thread_opens_an_array(tmp_path, monkeypatch):
    """Only zarr-python is muted."""
    path = make(tmp_path / "a.zarr")
    # What zarr-python makes of a document that it has seen is known.
    (path / "0/.zattrs").write_text('{"seen": "never before"}')
    original = zarr.Array.from_dict

    def warn(*arguments, **options):
        warnings.warn("of the user", AliasingWarning, stacklevel=1)
        return original(*arguments, **options)

    monkeypatch.setattr(zarr.Array, "from_dict", warn)
    with pytest.warns(AliasingWarning, match="of the user"):
        open_image(path)


def test_a_v2_array_may_leave_out_its_separator(tmp_path):
    """Without dimension_separator, chunk names have dots."""
    path = make(tmp_path / "a.zarr", chunk_key_encoding={"name": "v2", "separator": "."})
    document = json.loads((path / "0/.zarray").read_text())
    document.pop("dimension_separator", None)
    (path / "0/.zarray").write_text(json.dumps(document))
    for engine in ENGINES:
        assert_array_equal(read(path, engine), DATA)


#: How chunks are named, and what declares that.
KEYS = {
    "0.0.0": (2, {"dimension_separator": "."}),
    "0/0/0": (2, {"dimension_separator": "/"}),
    "c.0.0.0": (3, {"name": "default", "configuration": {"separator": "."}}),
    "c/0/0/0": (3, {"name": "default", "configuration": {"separator": "/"}}),
    "0.0.0 of v3": (3, {"name": "v2", "configuration": {"separator": "."}}),
    "0/0/0 of v3": (3, {"name": "v2", "configuration": {"separator": "/"}}),
}
MISTAKEN = [
    (lying, declared)
    for lying, (there, _) in KEYS.items()
    for declared, (said, _) in KEYS.items()
    if there == said and lying != declared
]


def keyed(path, lying, declared, data=DATA):
    """Store an image whose chunks lie as one form of names has it and are declared as another."""
    zarr_format, entry = KEYS[lying]
    name = "v2" if zarr_format == 2 else entry["name"]
    separator = "/" if "/" in lying else "."
    encoding = {"name": name, "separator": separator}
    make(path, data, zarr_format=zarr_format, chunk_key_encoding=encoding)
    return declare(path, KEYS[declared])


def declare(path, form):
    zarr_format, entry = form
    file = path / ("0/.zarray" if zarr_format == 2 else "0/zarr.json")
    document = json.loads(file.read_text())
    document.update(entry if zarr_format == 2 else {"chunk_key_encoding": entry})
    file.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(("lying", "declared"), MISTAKEN)
def test_chunks_that_have_other_names_are_not_taken_for_missing(lying, declared, tmp_path, capsys):
    """No command goes on; the message has both names and the entry to set, which helps."""
    path, out = keyed(tmp_path / "a.zarr", lying, declared), tmp_path / "b.zarr"
    make(tmp_path / "zeros.zarr", np.zeros_like(DATA))
    for command in (["resample", path, out], ["plan", path], ["info", path], ["check", path],
                    ["check", tmp_path / "zeros.zarr", "--source", path]):  # fmt: skip
        message = refused(capsys, *command)
        assert str(path / "0") in message
        assert f"{declared.split()[0]!r}" in message
        assert f"{lying.split()[0]!r}" in message
    assert not out.exists()
    zarr_format, entry = KEYS[lying]
    shown = json.dumps(entry if zarr_format == 2 else {"chunk_key_encoding": entry})
    assert shown[1:-1] in message
    assert_array_equal(read(declare(path, KEYS[lying])), DATA)


def test_a_separator_that_is_left_out_is_named(tmp_path):
    """Without it names have dots, whatever lies there."""
    path = make(tmp_path / "a.zarr", chunk_key_encoding={"name": "v2", "separator": "/"})
    document = json.loads((path / "0/.zarray").read_text())
    del document["dimension_separator"]
    (path / "0/.zarray").write_text(json.dumps(document))
    with pytest.raises(MetadataError, match=r'set "dimension_separator": "/" in its \.zarray'):
        open_image(path)


@pytest.mark.parametrize("lying", ["0.0.0", "0/0/0"])
def test_chunks_of_two_forms_of_names_are_refused(lying, tmp_path):
    """Only those of one would be read."""
    path = keyed(tmp_path / "a.zarr", lying, lying)
    other = next(k for k in ("0.0.0", "0/0/0") if k != lying)
    moved = path / "0" / other.replace("0", "1")
    moved.parent.mkdir(parents=True, exist_ok=True)
    (path / "0" / lying.replace("0", "1")).rename(moved)
    with pytest.raises(MetadataError, match="move those away") as error:
        open_image(path)
    assert repr(lying) in str(error.value)
    assert repr(other) in str(error.value)


def test_a_smaller_level_with_other_names_is_found_by_the_check(tmp_path):
    """Of an image that reads well at level 0."""
    out = tmp_path / "b.zarr"
    resample(make(tmp_path / "a.zarr"), out, **{**RESAMPLING, "levels": 2})
    assert check(out)
    (out / "1/c").rename(out / "1/0")
    assert any("names like" in fault for fault in check(out).faults)


def test_what_else_lies_in_an_array_is_no_chunk(tmp_path):
    """Empty folders, notes and what desktops leave are not looked at twice."""
    path = make(tmp_path / "a.zarr", chunk_key_encoding={"name": "v2", "separator": "."})
    for name in ("0", "c", "notes"):
        (path / "0" / name).mkdir()
    for name in ("._0.0.0", ".DS_Store", "2024", "0.0.0.txt", "notes/0.0.0"):
        (path / "0" / name).write_text("")
    assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "f2", ">f4", "f8", "i8", "u8"])
def test_every_data_type_is_read_as_it_is(dtype, zarr_format, tmp_path):
    """Voxels have the source's values and type, in native byte order."""
    kind = np.dtype(dtype)
    data = (DATA % 2).astype(kind) if kind.kind == "b" else DATA.astype(kind)
    if kind.itemsize == 8 and kind.kind in "iu":
        data[0, 0, 0] = np.iinfo(kind).max  # above 2^53
    options = {"serializer": codecs.BytesCodec(endian="big")} if zarr_format == 3 else {}
    if zarr_format == 3 and kind.itemsize == 1:
        options = {}
    stored = data.astype(kind.newbyteorder("=")) if zarr_format == 3 else data
    path = make(tmp_path / "a.zarr", stored, zarr_format=zarr_format, **options)
    for engine in ENGINES:
        found = read(path, engine)
        assert found.dtype == kind.newbyteorder("=")
        assert found.flags.c_contiguous
        assert_array_equal(found, data)


@pytest.mark.filterwarnings("ignore:this is a mask")
@pytest.mark.parametrize("dtype", ["?", "f2", "f4"])
def test_rare_data_types_go_all_the_way(dtype, tmp_path):
    """Bool and float16 come out as such, with the voxels of the array in memory."""
    data = (DATA % 2).astype(dtype) if dtype == "?" else (DATA / 7).astype(dtype)
    path = make(tmp_path / "a.zarr", data)
    found = resampled(path, tmp_path / "b.zarr")
    assert found.dtype == np.dtype(dtype)
    assert_array_equal(found, expected(data))


def test_nan_and_inf_stay_where_they_are(tmp_path):
    """A NaN voxel spoils its neighbourhood and nothing else; hits take the voxel as it is."""
    data = (DATA / 7).astype("f4")
    data[2, 3, 4], data[5, 9, 11] = np.nan, np.inf
    path = make(tmp_path / "a.zarr", data)
    found = resampled(path, tmp_path / "b.zarr", voxel_size=SIZE)
    assert_array_equal(found, data)
    finer = resampled(path, tmp_path / "c.zarr", voxel_size={"z": 1.0})
    assert np.isnan(finer).sum() == 4
    assert_array_equal(finer, resample_array(data, source_voxel_size=SIZE, voxel_size={"z": 1.0}))


# --- missing chunks ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fill", [0, 77])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_missing_chunk_is_fill_value(zarr_format, fill, engine, tmp_path):
    """A chunk that is not there has the array's fill value, zero or not."""
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format, fill_value=fill)
    (path / ("0/0.1.2" if zarr_format == 2 else "0/c/0/1/2")).unlink()
    wanted = DATA.copy()
    wanted[:3, 4:8, 10:] = fill
    assert_array_equal(read(path, engine), wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fill", [0, 77])
def test_a_missing_shard_or_inner_chunk_is_fill_value(fill, engine, tmp_path):
    """Holes in shards, and whole missing shards, have the fill value."""
    data = DATA.copy()
    data[:3, 4:8, 5:10] = fill  # one inner chunk, which is then not stored
    data[:, 8:, 10:] = fill
    path = make(tmp_path / "a.zarr", data, zarr_format=3, fill_value=fill, shards=(6, 8, 10))
    assert not (path / "0/c/0/1/1").exists()
    (path / "0/c/0/1/0").unlink()
    data[:, 8:, :10] = fill
    assert_array_equal(read(path, engine), data)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("fill", "dtype", "value"),
    [(None, "uint16", 0), ("NaN", "float32", np.nan), ("Infinity", "float32", np.inf)],
)
def test_fill_values_without_a_number(fill, dtype, value, engine, tmp_path):
    """A null fill value reads as zero; NaN and Infinity are those."""
    path = make(tmp_path / "a.zarr", DATA.astype(dtype))
    document = json.loads((path / "0/.zarray").read_text())
    document["fill_value"] = fill
    (path / "0/.zarray").write_text(json.dumps(document))
    (path / "0/1.2.2").unlink()
    wanted = DATA.astype(dtype)
    wanted[3:, 8:, 10:] = value
    assert_array_equal(read(path, engine), wanted)


def test_an_image_without_any_chunk_is_resampled(tmp_path):
    """All chunks missing: the output is the fill value, and has no chunks either."""
    path = make(tmp_path / "a.zarr", np.zeros(SHAPE, "uint16"), fill_value=9)
    for chunk in (path / "0").glob("[0-9]*"):
        chunk.unlink()
    with pytest.warns(ChunkscaleWarning, match=r"no stored chunk \(0 of"):
        found = resampled(path, tmp_path / "b.zarr")
    assert np.unique(found).tolist() == [9]


# --- metadata ------------------------------------------------------------------------------------


def test_transformations_of_both_levels_are_composed(tmp_path):
    """The datasets' transformations come first, the multiscales' own after."""
    attributes = image_attributes(
        scale(2.0, 1.0, 1.0), translation(1.0, 2.0, 3.0),
        coordinateTransformations=[scale(1.0, 0.5, 0.5), translation(10.0, 0.0, 0.0)],
    )  # fmt: skip
    image = open_image(make(tmp_path / "a.zarr", attributes=attributes))
    assert image.grid.voxel_size == SIZE
    assert image.grid.translation == (11.0, 1.0, 1.5)
    assert_array_equal(resampled(image.uri, tmp_path / "b.zarr"), expected())


def test_an_empty_list_of_transformations_says_nothing(tmp_path):
    """As mobie writes it."""
    path = make(tmp_path / "a.zarr", attributes=image_attributes(coordinateTransformations=[]))
    assert open_image(path).grid.voxel_size == SIZE


@pytest.mark.parametrize("shift", ["none", "half voxel", "wrong"])
def test_smaller_levels_do_not_matter(shift, tmp_path):
    """Level 0 is read, whatever the others say: most pyramids lack the half-voxel translation."""
    attributes = image_attributes(paths=("0", "1"))
    transforms = [scale(*(2 * s for s in SIZE))]
    if shift != "none":
        step = 0.5 if shift == "half voxel" else 3.0
        transforms.append(translation(*(step * s for s in SIZE)))
    attributes["multiscales"][0]["datasets"][1]["coordinateTransformations"] = transforms
    path = make(tmp_path / "a.zarr", attributes=attributes)
    other = zarr.open_group(path).create_array("1", shape=(3, 5, 6), chunks=(3, 5, 6), dtype="u2")
    other[...] = 1
    assert len(info(path)["levels"]) == 2
    assert_array_equal(resampled(path, tmp_path / "b.zarr"), expected())
    written = open_image(tmp_path / "b.zarr")
    assert written.grid.translation == (-0.5, pytest.approx(-0.05), 0.0)


@pytest.mark.parametrize("unit", [None, "micron", "pixel", "µm", "furlong", ""])
def test_any_unit_is_taken(unit, tmp_path):
    """Units are carried over as they are spelled; none is none."""
    path = make(tmp_path / "a.zarr", attributes=image_attributes(axes=axes_of("zyx", unit)))
    resampled(path, tmp_path / "b.zarr")
    axes = info(tmp_path / "b.zarr")["axes"]
    assert [axis["unit"] for axis in axes] == [unit or None] * 3


def test_mixed_units_are_no_single_voxel_size(tmp_path):
    """One number for axes of different units is refused; one per axis is not."""
    axes = [{"name": n, "type": "space", "unit": u} for n, u in zip("zyx", "abb", strict=True)]
    path = make(tmp_path / "a.zarr", attributes=image_attributes(axes=axes))
    with pytest.raises(OptionError, match="different units"):
        plan_resampling(path, voxel_size=1.0)
    assert resampled(path, tmp_path / "b.zarr").shape == expected().shape


@pytest.mark.parametrize("consolidated", ["none", "right", "stale"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_is_left_aside(zarr_format, consolidated, tmp_path):
    """What the nodes themselves say counts: consolidated metadata may be absent or stale."""
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format)
    if consolidated != "none":
        text = (path / (".zattrs" if zarr_format == 2 else "zarr.json")).read_text()
        if zarr_format == 2:
            document = {".zgroup": {"zarr_format": 2}, ".zattrs": json.loads(text)}
            document["0/.zarray"] = json.loads((path / "0/.zarray").read_text())
            array = document["0/.zarray"]
        else:
            array = json.loads((path / "0/zarr.json").read_text())
        if consolidated == "stale":
            array["shape"] = [1, 1, 1]
        if zarr_format == 2:
            if consolidated == "stale":
                document[".zattrs"] = {"multiscales": []}
            whole = {"zarr_consolidated_format": 1, "metadata": document}
            (path / ".zmetadata").write_text(json.dumps(whole))
        else:
            whole = json.loads(text)
            whole["consolidated_metadata"] = {
                "kind": "inline", "must_understand": False, "metadata": {"0": array},
            }  # fmt: skip
            (path / "zarr.json").write_text(json.dumps(whole))
    image = open_image(path)
    assert image.grid.shape == SHAPE
    assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("names", ["yx", "zyx", "cyx", "tyx", "tcyx", "czyx", "tczyx"])
def test_two_to_five_axes(names, tmp_path):
    """Time and channels pass through; planes are planes."""
    shape = tuple({"t": 2, "c": 3, "z": 4, "y": 6, "x": 8}[n] for n in names)
    data = np.arange(np.prod(shape), dtype="uint16").reshape(shape)
    sizes = tuple(5.0 if n == "t" else 1.0 for n in names)
    attributes = image_attributes(scale(*sizes), axes=names)
    path = make(tmp_path / "a.zarr", data, chunks=(1,) * (len(names) - 2) + (4, 4),
                attributes=attributes)  # fmt: skip
    found = resampled(path, tmp_path / "b.zarr", voxel_size=0.5)
    assert found.shape == tuple(
        n if a in "tc" else 2 * n for a, n in zip(names, shape, strict=True)
    )
    assert_array_equal(found, resample_array(data, voxel_size=0.5, axes=names))
    assert open_image(tmp_path / "b.zarr").grid.voxel_size == tuple(
        s if a in "tc" else 0.5 for a, s in zip(names, sizes, strict=True)
    )


# --- collections ---------------------------------------------------------------------------------


def plate(path, wells=("A/1", "B/2"), fields=("0", "1"), missing=()):
    zarr.create_group(path, zarr_format=2).attrs.put({
        "plate": {
            "version": "0.4",
            "columns": [{"name": w[-1]} for w in wells],
            "rows": [{"name": w[0]} for w in wells],
            "wells": [
                {"path": w, "rowIndex": i, "columnIndex": i} for i, w in enumerate(wells)
            ],
        }
    })  # fmt: skip
    for well in set(wells) - set(missing):
        images = {"well": {"version": "0.4", "images": [{"path": f} for f in fields]}}
        zarr.create_group(path / well, zarr_format=2).attrs.put(images)
        for field in fields:
            make(path / well / field)
    return [f"{w}/{f}" for w in wells for f in fields]


def numbered(path, listed):
    zarr.create_group(path, zarr_format=2).attrs.put({"bioformats2raw.layout": 3})
    for i in range(2):
        make(path / str(i))
    if listed:
        zarr.create_group(path / "OME", zarr_format=2).attrs.put({"series": ["0", "1"]})
    return ["0", "1"]


def labels(path):
    make(path, array="0")
    zarr.create_group(path / "labels", zarr_format=2).attrs.put({"labels": ["nuclei", "cells"]})
    for name in ("nuclei", "cells"):
        attributes = {**image_attributes(), "image-label": {"version": "0.4"}}
        make(path / "labels" / name, attributes=attributes)
    return ["nuclei", "cells"]


COLLECTIONS = {
    "plate": (plate, "."),
    "well": (lambda path: [p[4:] for p in plate(path) if p.startswith("A/1")], "A/1"),
    "bf2raw-listed": (lambda path: numbered(path, True), "."),
    "bf2raw-numbered": (lambda path: numbered(path, False), "."),
    "OME": (lambda path: [f"../{p}" for p in numbered(path, True)], "OME"),
    "labels": (labels, "labels"),
}


@pytest.mark.filterwarnings("ignore:linear interpolation mixes")
@pytest.mark.filterwarnings("ignore:.*is left out")
@pytest.mark.parametrize("kind", COLLECTIONS)
def test_a_collection_lists_its_images_and_takes_none(kind, tmp_path, capsys):
    """Never silently the first: the images are listed, and every listed path opens."""
    build, where = COLLECTIONS[kind]
    images = build(tmp_path / "a.zarr")
    path = tmp_path / "a.zarr" / where
    with pytest.raises(MultipleImagesError) as error:
        open_image(path)
    assert list(error.value.paths) == images
    assert all(f"\n  {p}" in str(error.value) for p in images)
    for image in images:
        assert_array_equal(read(path / image), DATA)
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == images
    message = refused(capsys, "resample", path, tmp_path / "b.zarr")
    assert all(p in message for p in images)
    assert not (tmp_path / "b.zarr").exists()
    assert_array_equal(
        resampled(path / images[1], tmp_path / "b.zarr", method="linear"), expected()
    )


def test_a_missing_well_stays_in_the_list(tmp_path):
    """A plate that was copied in part does not hide what it lacks."""
    plate(tmp_path / "a.zarr", missing=("B/2",))
    assert info(tmp_path / "a.zarr")["images"] == ["A/1/0", "A/1/1", "B/2"]


def test_several_multiscales_in_one_group_are_not_silently_the_first(tmp_path, capsys):
    """NGFF allows several entries; their names are told."""
    attributes = image_attributes(name="raw")
    attributes["multiscales"] += image_attributes(name="deconvolved")["multiscales"]
    path = make(tmp_path / "a.zarr", attributes=attributes)
    with pytest.raises(MetadataError, match=r"raw.*deconvolved"):
        open_image(path)
    assert "deconvolved" in refused(capsys, "resample", path, tmp_path / "b.zarr")


def test_label_images_are_told_by_their_metadata_and_by_their_place(tmp_path):
    """Ids are never averaged: "image-label", or a list of labels above, makes nearest default."""
    labels(tmp_path / "a.zarr")
    bare = tmp_path / "a.zarr/labels/cells"
    zarr.open_group(bare).attrs.put(image_attributes())  # without "image-label", as zarr-java
    for name in ("nuclei", "cells"):
        image = open_image(tmp_path / "a.zarr/labels" / name)
        assert image.is_label
        assert plan_resampling(image).method == "nearest"
    assert plan_resampling(bare).method == "nearest"
    assert info(tmp_path / "a.zarr")["labels"] == ["labels/nuclei", "labels/cells"]
    assert not open_image(tmp_path / "a.zarr").is_label


ODD_ATTRIBUTES = {
    "image-label-true": {"image-label": True},
    "image-label-text": {"image-label": "nuclei"},
    "image-label-list": {"image-label": ["a", "b"]},
    "omero-list": {"omero": [1, "a"]},
    "channels": {"omero": {"channels": [1, None, "a", {"label": 5}]}},
    "channels-number": {"omero": {"channels": 3}},
    "version": {"version": None},
}


@pytest.mark.parametrize("odd", ODD_ATTRIBUTES)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_attributes_of_an_unexpected_kind_do_not_stop_a_run(odd, zarr_format, tmp_path, capsys):
    """What opens is also published, hours later: attributes beside the geometry are not judged."""
    attributes = image_attributes(version="0.4" if zarr_format == 2 else "0.5", name=7)
    attributes.get("ome", attributes).update(ODD_ATTRIBUTES[odd])
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format, attributes=attributes)
    for version in ("0.4", "0.5"):
        out = tmp_path / f"{version}.zarr"
        command = ["resample", str(path), str(out), "--ome-zarr-version", version]
        assert main([*command, "--method", "linear", "--levels", "1"]) == 0
        assert main(["info", str(out)]) == 0
        assert check(out, source=path)


# --- paths ---------------------------------------------------------------------------------------

NAMES = ("with space", "Zellkörper-細胞-🔬", "a%20b", "a#b?c", "a'b\"c", "a+b&c=d", "[x]*", "a\\b")


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_will_do(name, tmp_path, capsys):
    """Spaces, Unicode and what means something in URLs or globs mean nothing in a path."""
    path = make(tmp_path / name / "in.zarr")
    out = tmp_path / name / f"{name} out.zarr"
    assert_array_equal(resampled(path, out), expected())
    assert check(out, source=path)
    assert main(["info", str(path)]) == 0
    assert name in capsys.readouterr().out


def test_every_spelling_of_a_path(tmp_path, monkeypatch):
    """String, pathlib, trailing slash, relative, with dots, file URL, home: the same image."""
    (tmp_path / "a b").mkdir()
    path = make(tmp_path / "a b" / "in.zarr")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelled in (
        path, str(path), f"{path}/", f"{path}//", "a b/in.zarr", "./a b/../a b/in.zarr/",
        "~/a b/in.zarr", f"file://{path}", path.as_uri(),
        path.as_uri().replace("file://", "file://localhost"),
    ):  # fmt: skip
        assert open_image(spelled).uri == str(path)
    assert_array_equal(resampled("a b/in.zarr/", "out.zarr/"), expected())
    assert (tmp_path / "out.zarr/zarr.json").exists()


def test_a_file_of_another_host_is_no_file_of_this_one(tmp_path, monkeypatch):
    """Its name is no folder below the current one."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "server/in.zarr")
    with pytest.raises(OptionError, match=r"on the host 'server'.*file:///in\.zarr"):
        open_image("file://server/in.zarr")


@pytest.mark.parametrize("what", ["group", "array", "parent"])
def test_links_are_followed(what, tmp_path):
    """Symbolic links to the image, to its array or to a folder above it."""
    path = make(tmp_path / "real/in.zarr")
    link = tmp_path / "link"
    if what == "group":
        link.symlink_to(path)
    elif what == "parent":
        link.symlink_to(path.parent)
        link = link / "in.zarr"
    else:
        shutil.move(path / "0", tmp_path / "elsewhere")
        (path / "0").symlink_to(tmp_path / "elsewhere")
        link = path
    assert_array_equal(resampled(link, tmp_path / "b.zarr"), expected())


# --- refusals ------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
BAD_METADATA = {
    "zero": (image_attributes(scale(0, 0.5, 0.5)), "axis 'z' is 0"),
    "negative": (image_attributes(scale(2, -0.5, 0.5)), "axis 'y' is -0.5"),
    "nan": (image_attributes(scale(2, 0.5, NAN)), "axis 'x' is nan"),
    "infinite": (image_attributes(scale(2, INF, 0.5)), "axis 'y' is inf"),
    "null": (image_attributes(scale(2, None, 0.5)), "axis 'y' is nan"),
    "no scale": (image_attributes(translation(1, 2, 3)), "no scale"),
    "count": (image_attributes(scale(0.5, 0.5)), "2 values"),
    "axes": (image_attributes(scale(1, 2, 0.5, 0.5), axes="czyx"), "3 dimensions"),
    "order": (
        image_attributes(translation(1, 2, 3), scale(*SIZE)), "translation before its scale"
    ),
    "translation": (image_attributes(scale(*SIZE), translation(0, NAN, 0)), "not finite"),
    "affine": (image_attributes({"type": "affine", "affine": [[1]]}), "'affine'"),
    "missing array": (image_attributes(paths=("s0",)), "'s0'"),
    "no path": (image_attributes(paths=("",)), "'path'"),
    "empty": ({"multiscales": []}, "at least one"),
    "none": ({"other": 1}, "no OME-Zarr image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_METADATA)
def test_unusable_metadata_is_refused_before_anything_is_written(case, tmp_path, capsys):
    """The message names the image and the value; the exit code is 2; nothing is made."""
    attributes, text = BAD_METADATA[case]
    path = make(tmp_path / "a.zarr", attributes=attributes)
    with pytest.raises(ChunkscaleError) as error:
        open_image(path)
    assert text in str(error.value)
    assert str(path) in str(error.value)
    assert text in refused(capsys, "resample", path, tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize("case", ["zero", "nan", "infinite", "null", "no scale"])
def test_a_given_voxel_size_replaces_an_unusable_one(case, tmp_path):
    """The remedy that the message names works."""
    path = make(tmp_path / "a.zarr", attributes=BAD_METADATA[case][0])
    sizes = dict(zip("zyx", SIZE, strict=True))
    assert_array_equal(resampled(path, tmp_path / "b.zarr", source_voxel_size=sizes), expected())
    assert check(tmp_path / "b.zarr", source=path)


def edit(path, **values):
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **values}))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_unknown_codec_is_named(zarr_format, tmp_path, capsys):
    """A codec that nobody here knows is an error of opening, not of a chunk."""
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format)
    if zarr_format == 2:
        edit(path / "0/.zarray", compressor={"id": "jetraw"})
    else:
        names = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "jetraw"}]
        edit(path / "0/zarr.json", codecs=names)
    message = refused(capsys, "info", path)
    assert "jetraw" in message
    assert str(path / "0") in message


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda path: shutil.rmtree(path / "0"), "names the array '0'"),
        (lambda path: (path / "0/.zarray").unlink(), "names the array '0'"),
        (lambda path: (path / "0/.zarray").write_text("{"), "not valid JSON"),
        (lambda path: (path / "0/.zarray").write_text("{}"), str(Path("a.zarr/0"))),
        (lambda path: (path / "0/.zarray").write_text(""), "not valid JSON"),
        (lambda path: (path / ".zattrs").write_text("{"), "not valid JSON"),
        (lambda path: (path / ".zattrs").write_text("[]"), "a.zarr"),
        (lambda path: (path / ".zgroup").write_text("{"), "not valid JSON"),
        (lambda path: (path / ".zgroup").unlink(), "not a zarr group"),
        (lambda path: shutil.rmtree(path), "does not exist"),
        (lambda path: (path / ".zattrs").unlink(), "attributes are empty"),
    ],
    ids=[
        "array", "zarray", "zarray-torn", "zarray-empty", "zarray-void", "zattrs-torn",
        "zattrs-list", "zgroup-torn", "zgroup", "all", "zattrs",
    ],
)  # fmt: skip
def test_broken_hierarchies_are_refused(break_it, text, tmp_path, capsys):
    """Missing or torn metadata files: one line that says which, and exit code 2."""
    path = make(tmp_path / "a.zarr")
    break_it(path)
    message = refused(capsys, "info", path)
    assert text in message
    assert str(path) in message


def test_a_file_or_an_array_is_no_image(tmp_path, capsys):
    """The array inside an image, a file, and an empty folder are told apart."""
    path = make(tmp_path / "a.zarr")
    with pytest.raises(MetadataError, match="is a zarr array"):
        open_image(path / "0")
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    (tmp_path / "empty").mkdir()
    for name in ("a.tif", "empty"):
        assert name in refused(capsys, "info", tmp_path / name)
    with pytest.raises(SourceNotFoundError):
        open_image(tmp_path / "empty")


@pytest.mark.parametrize("dtype", ["complex64", [("a", "u1"), ("b", "u2")], "M8[s]", "S4"])
def test_data_types_without_interpolation_are_refused(dtype, tmp_path, capsys):
    """Complex, structured, date and text arrays: the type is named."""
    path = make(tmp_path / "a.zarr", np.zeros(SHAPE, dtype))
    message = refused(capsys, "resample", path, tmp_path / "b.zarr")
    assert "data type" in message
    assert not (tmp_path / "b.zarr").exists()


# --- corrupt chunks ------------------------------------------------------------------------------

TORN = {
    "v2-blosc": (2, {"compressors": numcodecs.Blosc("lz4")}, "0/1.1.1"),
    "v2-zstd": (2, {"compressors": numcodecs.Zstd(1)}, "0/1.1.1"),
    "v2-none": (2, {"compressors": None}, "0/1.1.1"),
    "v2-delta": (2, {"filters": [numcodecs.Delta("<u2")]}, "0/1.1.1"),
    "v3-gzip": (3, {"compressors": codecs.GzipCodec()}, "0/c/1/1/1"),
    "v3-zstd": (3, {"compressors": codecs.ZstdCodec()}, "0/c/1/1/1"),
    "v3-none": (3, {"compressors": None}, "0/c/1/1/1"),
    "v3-crc32c": (3, {"compressors": [codecs.Crc32cCodec()]}, "0/c/1/1/1"),
    "shard": (3, {"shards": (6, 8, 10)}, "0/c/0/0/0"),
}
DAMAGE = {
    "half": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "garbage": lambda raw: os.urandom(7),
}


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Make whole runs use one engine."""
    if request.param == "zarr":
        monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", "zarr")
    return request.param


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("form", TORN)
def test_a_corrupt_chunk_is_named_and_never_zeros(form, damage, engine, tmp_path):
    """The error names the array and the chunk; what is not damaged still reads."""
    zarr_format, options, chunk = TORN[form]
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format, **options)
    (path / chunk).write_bytes(DAMAGE[damage]((path / chunk).read_bytes()))
    with pytest.raises(CorruptChunkError) as error:
        read(path)
    assert str(path / "0") in str(error.value)
    assert ("chunk (0, 0, 0)" if form == "shard" else "chunk (1, 1, 1)") in str(error.value)
    array = open_image(path).array
    good = Box(start=(3, 8, 10), stop=SHAPE)
    assert_array_equal(array.read(good), DATA[good.slices])


def put_link(path):
    path.symlink_to("../../.git/annex/objects/x")


def put_device(path):
    path.symlink_to(os.devnull)


NO_FILES = {"dangling link": put_link, "folder": Path.mkdir, "device": put_device}
HOLES = {
    "v2-dots": (2, {"chunk_key_encoding": {"name": "v2", "separator": "."}}, "0/1.1.1"),
    "v2-nested": (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}, "0/1/1/1"),
    "v2-delta": (2, {"filters": [numcodecs.Delta("<u2")]}, "0/1.1.1"),
    "v2-null": (2, {"fill_value": None}, "0/1.1.1"),
    "v3": (3, {"fill_value": 77}, "0/c/1/1/1"),
    "v3-nan": (3, {"dtype": "f4", "fill_value": np.nan}, "0/c/1/1/1"),
    "shard": (3, {"shards": (3, 8, 10)}, "0/c/1/0/0"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("form", HOLES)
def test_what_is_no_file_is_not_taken_for_a_missing_chunk(form, kind, engine, tmp_path):
    """A link to what was not fetched, a folder, a device: named by a read of any part of it."""
    zarr_format, options, chunk = HOLES[form]
    path = make(tmp_path / "a.zarr", zarr_format=zarr_format, **options)
    (path / chunk).unlink()
    NO_FILES[kind](path / chunk)
    array = open_image(path).array
    lost = (1, 0, 0) if form == "shard" else (1, 1, 1)
    inner = Box(start=(5, 6, 7), stop=(6, 7, 8))
    for box, index in ((Box(start=(0, 0, 0), stop=SHAPE), lost), (inner, (1, 1, 1))):
        with pytest.raises(CorruptChunkError) as error:
            array.read(box)
        assert f"chunk {index}" in str(error.value)
        assert str(path / chunk) in str(error.value)
        assert not error.value.transient
    good = Box(start=(0, 0, 0), stop=(3, 10, 12))
    assert_array_equal(array.read(good), DATA[good.slices])


@pytest.mark.parametrize("kind", NO_FILES)
def test_runs_and_checks_find_what_is_no_file(kind, engine, tmp_path):
    """The run fails and the check names the chunk."""
    path = make(tmp_path / "a.zarr")
    (path / "0/1.1.1").unlink()
    NO_FILES[kind](path / "0/1.1.1")
    with pytest.raises(CorruptChunkError, match=r"chunk \(1, 1, 1\)"):
        resample(path, tmp_path / "b.zarr", **RESAMPLING)
    assert ["chunk (1, 1, 1)" in fault for fault in check(path).faults] == [True]


@pytest.mark.parametrize("lost", ["0", "0/0", "0/0/1"])
def test_chunks_whose_folder_is_gone_are_not_missing_chunks(lost, engine, tmp_path):
    """A folder that is a dangling link, or an array whose disk was taken away."""
    path = make(tmp_path / "a.zarr", chunk_key_encoding={"name": "v2", "separator": "/"})
    array = open_image(path).array
    assert array.read(Box(start=(3, 0, 0), stop=SHAPE)).all()
    (path / lost).rename(tmp_path / "aside")
    if lost != "0":
        put_link(path / lost)
    with pytest.raises(CorruptChunkError, match=str(path / lost)):
        array.read(Box(start=(0, 0, 0), stop=SHAPE))


def test_links_to_files_and_missing_folders_are_as_good_as_ever(engine, tmp_path):
    """A chunk may be a link, begin with fill value, or be missing with the folder around it."""
    data = DATA.copy()
    data[::3, ::4, ::5] = 0
    path = make(tmp_path / "a.zarr", data, chunk_key_encoding={"name": "v2", "separator": "/"})
    (path / "0/0/0/0").rename(tmp_path / "content")
    (path / "0/0/0/0").symlink_to(tmp_path / "content")
    shutil.rmtree(path / "0/1")
    data[3:] = 0
    array = open_image(path).array
    assert_array_equal(array.read(Box(start=(0, 0, 0), stop=SHAPE)), data)


def opens_as_image(path):
    """Say which readers take a path for an image."""
    found = set()
    with contextlib.suppress(ChunkscaleError):
        open_image(path)
        found.add("chunkscale")
    if list_with_ome_zarr(path):
        found.add("ome-zarr")
    if importlib.util.find_spec("ngff_zarr"):
        import ngff_zarr

        with contextlib.suppress(Exception):
            ngff_zarr.from_ngff_zarr(str(path))
            found.add("ngff-zarr")
    return found


def list_with_ome_zarr(path):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(path)
    return [] if location is None else [n for n in Reader(location)() if n.data]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("form", ["v2-blosc", "v3-zstd", "shard"])
def test_a_run_that_meets_a_corrupt_chunk_leaves_no_image(form, version, engine, tmp_path, capsys):
    """Exit code 1, one line that names the chunk, and an output that opens nowhere."""
    zarr_format, options, chunk = TORN[form]
    path, out = make(tmp_path / "a.zarr", zarr_format=zarr_format, **options), tmp_path / "b.zarr"
    (path / chunk).write_bytes((path / chunk).read_bytes()[:-9])
    arguments = ["resample", path, out, "--ome-zarr-version", version, "--levels", "2"]
    message = refused(capsys, *arguments, code=1)
    assert str(path / "0") in message
    assert "chunk (" in message
    assert out.exists()
    assert opens_as_image(out) == set()
    with pytest.raises(NotAnImageError, match="did not finish"):
        open_image(out)
    report = check(out)
    assert "did not finish" in report.faults[0]
    assert refused(capsys, "resample", out, tmp_path / "c.zarr")
    # The remedy works: restore the chunk, run again with overwrite.
    shutil.rmtree(path)
    make(path, zarr_format=zarr_format, **options)
    assert main([*map(str, arguments), "--overwrite"]) == 0
    assert opens_as_image(out) >= {"chunkscale", "ome-zarr"}
    if importlib.util.find_spec("ngff_zarr"):
        assert "ngff-zarr" in opens_as_image(out)


# --- outputs that must not be --------------------------------------------------------------------


def snapshot(path):
    """Return every file below a path, with content and time."""
    return {
        str(p.relative_to(path)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in sorted(path.rglob("*"))
        if p.is_file()
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "where", ["in.zarr", "in.zarr/new", "in.zarr/0", "in.zarr/labels/x", ".", "link", "link/new"]
)
def test_an_output_never_touches_its_source(where, overwrite, tmp_path):
    """Equal to the source, inside it or around it, through links too: refused, nothing changed."""
    outer = tmp_path / "outer"
    zarr.create_group(outer, zarr_format=2)
    path = make(outer / "in.zarr")
    (outer / "link").symlink_to(path)
    before = snapshot(outer)
    with pytest.raises(DestinationError):
        resample(path, outer / where, overwrite=overwrite, **RESAMPLING)
    assert snapshot(outer) == before


def test_an_output_is_not_the_array_that_the_source_links_to(tmp_path):
    """The voxels count, wherever they lie: overwriting them would destroy the source."""
    path = make(tmp_path / "in.zarr")
    shutil.move(path / "0", tmp_path / "raw")
    (path / "0").symlink_to(tmp_path / "raw")
    before = snapshot(tmp_path / "raw")
    with pytest.raises(DestinationError):
        resample(path, tmp_path / "raw", overwrite=True, **RESAMPLING)
    assert snapshot(tmp_path / "raw") == before


def test_an_existing_output_is_left_as_it_is(tmp_path, capsys):
    """Without overwrite nothing of it changes."""
    path, out = make(tmp_path / "a.zarr"), make(tmp_path / "b.zarr", DATA[:2])
    before = snapshot(out)
    message = refused(capsys, "resample", path, out)
    assert str(out) in message
    assert "overwrite" in message
    assert snapshot(out) == before


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_only_zarr_is_overwritten(kind, tmp_path, capsys):
    """Overwrite replaces a zarr hierarchy, never a folder of anything else or a file.

    An empty folder holds nothing to lose and may go.
    """
    path, out = make(tmp_path / "a.zarr"), tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    elif kind == "dangling":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "thesis.txt").write_text("precious")
    before = snapshot(tmp_path)
    message = refused(capsys, "resample", path, out, "--overwrite")
    assert "not an OME-Zarr image" in message
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("reason", ["source", "option"])
def test_what_is_refused_deletes_nothing(reason, tmp_path, capsys):
    """With overwrite the old output goes only after all checks have passed."""
    path, out = make(tmp_path / "a.zarr"), make(tmp_path / "b.zarr")
    if reason == "source":
        (path / "0/.zarray").unlink()
    before = snapshot(out)
    options = ["--voxel-size", "0"] if reason == "option" else []
    refused(capsys, "resample", path, out, "--overwrite", *options)
    assert snapshot(out) == before


def test_overwriting_a_link_spares_what_it_points_to(tmp_path):
    """The link is replaced, its target is not."""
    path, other = make(tmp_path / "a.zarr"), make(tmp_path / "other.zarr", DATA[:2])
    (tmp_path / "out.zarr").symlink_to(other)
    before = snapshot(other)
    resampled(path, tmp_path / "out.zarr", overwrite=True)
    assert snapshot(other) == before
    assert not (tmp_path / "out.zarr").is_symlink()


def test_an_output_below_a_file_is_an_error_in_one_line(tmp_path, capsys):
    """The folder cannot be made; nothing is lost."""
    path = make(tmp_path / "a.zarr")
    (tmp_path / "file").write_text("precious")
    assert main(["resample", str(path), str(tmp_path / "file/out.zarr")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("chunkscale: error: ")
    assert len(message.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("entry", ["notes.txt", "labels/cells", "other.zarr"])
def test_overwrite_deletes_one_image_and_nothing_beside_it(tmp_path, capsys, entry):
    """An image that has something else in its group is not replaced."""
    path, out = make(tmp_path / "a.zarr"), make(tmp_path / "b.zarr", DATA[:2])
    (out / entry).parent.mkdir(exist_ok=True)
    (out / entry).write_text("precious")
    before = snapshot(out)
    message = refused(capsys, "resample", path, out, "--overwrite")
    assert entry.split("/")[0] in message
    assert snapshot(out) == before


WRONG = {
    "chunk": [True, 64.0, [6.9, 7, 7], [None, 1, 1], {"z": 3}, "a,b"],
    "shard": [np.array([64.5, 64, 64])],
    "levels": ["abc", 2.0, True, 0],
    "workers": ["abc", 1.5],
    "codec": [5, None, "best"],
    "checksum": [5, "md5", ["crc32c"]],
    "memory": [[1], "much"],
    "antialias": ["no"],
    "outside": [np.zeros(3), "far"],
    "zoom": ["2", float("nan")],
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(k, v) for k, values in WRONG.items() for v in values if v is not None or k == "codec"],
    ids=str,
)
def test_values_of_a_wrong_type_are_refused_by_the_option_s_name(tmp_path, option, value):
    """Not with what Python says somewhere inside."""
    path = make(tmp_path / "a.zarr")
    with pytest.raises(chunkscale.OptionError, match=option):
        chunkscale.plan_resampling(path, **{option: value})


def test_what_is_no_callback_no_log_and_no_path_is_refused(tmp_path):
    """Before anything is written; a number is no file, as it would be that of another one."""
    path, out = make(tmp_path / "a.zarr"), tmp_path / "out.zarr"
    for options in ({"progress": 5}, {"log": True}, {"log": 5}, {"resources": {"GPU": 1}}):
        with pytest.raises(chunkscale.OptionError, match=next(iter(options))):
            chunkscale.resample(path, out, **options)
    with pytest.raises(chunkscale.OptionError, match="must be a string"):
        chunkscale.plan_resampling(str(path).encode())
    with pytest.raises(chunkscale.OptionError, match="source_translation"):
        chunkscale.resample_array(np.zeros((4, 4)), source_translation=["a", "b"])
    with pytest.raises(chunkscale.OptionError, match=r"level 5 .* has 1"):
        chunkscale.open_image(path).as_dask(level=5)
    assert not out.exists()


def test_a_fill_value_needs_an_image_to_be_like(tmp_path):
    """Nothing of any other target lies outside the source, wherever its last centre is."""
    path = make(tmp_path / "a.zarr")
    with pytest.raises(chunkscale.OptionError, match="like"):
        chunkscale.plan_resampling(path, outside=5)
    with pytest.raises(chunkscale.OptionError, match="like"):
        chunkscale.resample_array(np.zeros((4, 4)), zoom=2, outside=5)


def test_units_that_mean_the_same_are_the_same(tmp_path):
    """However they are spelled, one voxel size counts for all axes."""
    path = make(tmp_path / "a.zarr", zarr_format=3)
    metadata = json.loads((path / "zarr.json").read_text())
    axes = metadata["attributes"]["ome"]["multiscales"][0]["axes"]
    for axis, unit in zip(axes[-3:], ("um", "micrometer", "\N{MICRO SIGN}m"), strict=True):
        axis["unit"] = unit
    (path / "zarr.json").write_text(json.dumps(metadata))
    grid = chunkscale.plan_resampling(path).target_grid
    assert len({grid.voxel_size[i] for i in grid.spatial}) == 1
    axes[-1]["unit"] = "nanometer"
    (path / "zarr.json").write_text(json.dumps(metadata))
    grid = chunkscale.plan_resampling(path).target_grid
    units = [METRES[grid.axes[i].unit] for i in grid.spatial]
    sizes = [grid.voxel_size[i] for i in grid.spatial]
    assert np.ptp(np.multiply(sizes, units)) < 1e-15


def test_what_can_never_fit_is_refused_and_still_planned(tmp_path):
    """The plan tells the size; a run of petabytes fills no disk."""
    path = make(tmp_path / "a.zarr")
    plan = chunkscale.plan_resampling(path, destination=tmp_path / "out.zarr", zoom=3e4)
    assert any(notice.kind == "disk" for notice in plan.warnings)
    with pytest.raises(chunkscale.DestinationError, match="larger voxel size, or another disk"):
        chunkscale.resample(path, tmp_path / "out.zarr", zoom=3e4)
    assert not (tmp_path / "out.zarr").exists()
    # Where nothing is to go, no disk is too small.
    notices = chunkscale.plan_resampling(path, zoom=3e4).warnings
    assert not any(notice.kind == "disk" for notice in notices)


def test_a_voxel_size_that_is_given_counts_for_every_level(tmp_path):
    """Smaller levels are as many times coarser as they are smaller, and begin at the same edge."""
    path, out = make(tmp_path / "a.zarr"), tmp_path / "out.zarr"
    chunkscale.resample(path, out, levels=2, chunk=8)
    image = chunkscale.open_image(out, source_voxel_size=7)
    first, second = image.level_grid(0), image.level_grid(1)
    for i in first.spatial:
        assert first.voxel_size[i] == 7
        assert second.voxel_size[i] == 7 * round(first.shape[i] / second.shape[i])
        edges = [g.translation[i] - g.voxel_size[i] / 2 for g in (first, second)]
        assert edges[0] == pytest.approx(edges[1])
    assert "7 x 7 x 7" in str(image)
    # The same where the metadata says nothing at all of voxel sizes.
    metadata = json.loads((out / "zarr.json").read_text())
    for dataset in metadata["attributes"]["ome"]["multiscales"][0]["datasets"]:
        del dataset["coordinateTransformations"]
    (out / "zarr.json").write_text(json.dumps(metadata))
    bare = chunkscale.open_image(out, source_voxel_size=7)
    assert bare.level_grid(1).voxel_size == second.voxel_size


def test_images_and_results_print_in_a_line_and_in_a_notebook(tmp_path):
    """Not with all their metadata."""
    path, out = make(tmp_path / "a.zarr"), tmp_path / "out.zarr"
    run = chunkscale.resample(path, out)
    image = chunkscale.open_image(path)
    for shown in (image, run):
        assert len(repr(shown)) < 200
        assert "\n" not in repr(shown)
    assert chunkscale.check(chunkscale.open_image(out), source=image)
