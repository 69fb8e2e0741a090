"""Metadata that contradicts itself is announced, by `plan`, `resample`, `info` and `check`."""

import json
import math
import os
import re
import shutil
import warnings

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.cli.main import main

SHAPE, SIZE = (6, 20, 22), (2.0, 0.5, 0.5)
DATA = np.random.default_rng(3).integers(1, 4000, SHAPE).astype("uint16")
WARNING = chunkscale.errors.ChunkscaleWarning


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def shift(*values):
    return {"type": "translation", "translation": list(values)}


def level(path, *transforms):
    return {"path": path, "coordinateTransformations": list(transforms)}


def put(path, name, data, zarr_format=2, names=None, write=True, **options):
    named = {} if zarr_format == 2 else {"dimension_names": names}
    array = zarr.open_group(path, mode="a", zarr_format=zarr_format).create_array(
        name, shape=data.shape, dtype=data.dtype, chunks=tuple(-(-n // 2) for n in data.shape),
        chunk_key_encoding={"name": "v2" if zarr_format == 2 else "default", "separator": "/"},
        **named, **options,
    )  # fmt: skip
    if write:
        array[...] = data


def describe(path, datasets, zarr_format=2, names="zyx", **more):
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in names]
    entry = {"axes": axes, "datasets": datasets, **more}
    if zarr_format == 2:
        attributes = {"multiscales": [{"version": "0.4", **entry}]}
    else:
        attributes = {"ome": {"version": "0.5", "multiscales": [entry]}}
    zarr.open_group(path, mode="a", zarr_format=zarr_format).attrs.put(attributes)


@pytest.fixture
def image(tmp_path):
    """Return a function that writes an image: arrays by path, and what its metadata lists."""

    def make(arrays, datasets, zarr_format=2, **more):
        path = tmp_path / "image.zarr"
        for name, data in arrays.items():
            put(path, name, data, zarr_format, names=list("zyx"))
        describe(path, datasets, zarr_format, **more)
        return path

    return make


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def warnings_of(path):
    """Return what `plan` and `info` warn of, which is the same beside what the plan finds."""
    found = chunkscale.info(path)["warnings"]
    planned = [str(notice) for notice in chunkscale.plan_resampling(path).warnings]
    assert [text for text in planned if text in found] == found
    return found


def voxels(path):
    return zarr.open_array(path / "0", mode="r")[...]


PAIR = {"0": DATA, "1": DATA[:, ::2, ::2]}
PAIR_LISTED = [level("0", scale(*SIZE)), level("1", scale(2, 1, 1))]


# --- the order of levels -------------------------------------------------------------------------


@pytest.mark.parametrize("scales", ["their own", "none", "those of the other", "equal"])
def test_the_largest_level_is_level_0_wherever_it_is_listed(scales, image, tmp_path):
    """Shapes decide, whatever the scales say; every verb says so."""
    given = {
        "their own": [[scale(2, 1, 1)], [scale(*SIZE)]],
        "none": [[], []],
        "those of the other": [[scale(*SIZE)], [scale(2, 1, 1)]],
        "equal": [[scale(*SIZE)], [scale(*SIZE)]],
    }[scales]
    path = image(PAIR, [level("1", *given[0]), level("0", *given[1])])
    sizes = "z=2,y=0.5,x=0.5" if scales == "none" else None
    source = chunkscale.open_image(path, source_voxel_size=sizes)
    assert (source.path, source.grid.shape) == ("0", SHAPE)
    assert [len(source.level(k).shape) for k in (0, 1)] == [3, 3]
    assert source.level(1).shape == (6, 10, 11)
    assert "taken as level 0" in str(source.notices[0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        chunkscale.resample(
            path, tmp_path / "out.zarr", source_voxel_size=sizes, voxel_size=source.grid.voxel_size
        )
    assert any("instead of largest to smallest" in str(w.message) for w in told)
    assert_array_equal(voxels(tmp_path / "out.zarr"), DATA)
    record = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["chunkscale"]
    assert "taken as level 0" in record["notices"][0]


def test_a_pyramid_upside_down_is_turned_and_checked(image, tmp_path, capsys):
    """Three levels, smallest first: the result compares with its source; `check` has the fault."""
    arrays = {str(k): DATA[:, :: 2**k, :: 2**k] for k in range(3)}
    listed = [level(str(k), scale(2, 0.5 * 2**k, 0.5 * 2**k)) for k in (2, 1, 0)]
    path = image(arrays, listed)
    source = chunkscale.open_image(path)
    assert [source.level_grid(k).voxel_size[2] for k in range(3)] == [0.5, 1.0, 2.0]
    with pytest.warns(WARNING):
        chunkscale.resample(source, tmp_path / "out.zarr")
    assert chunkscale.check(tmp_path / "out.zarr", source=path).voxels_compared > 0
    assert main(["check", str(path)]) == 3
    assert "largest to smallest" in capsys.readouterr().out


def test_levels_in_order_are_left_alone(image):
    """Also where levels are as large as one another, or sizes are cut up and down."""
    arrays = {"a": DATA, "b": DATA, "c": DATA[:, :9, :11], "d": DATA[:3, :5, :5]}
    listed = [
        level("a", scale(*SIZE)), level("b", scale(*SIZE)), level("c", scale(2, 1, 1)),
        level("d", scale(4, 2, 2), shift(1, 0.75, 0.75)),
    ]  # fmt: skip
    path = image(arrays, listed)
    source = chunkscale.open_image(path)
    assert [d.path for d in source.multiscale.datasets] == list("abcd")
    assert source.notices == ()
    assert chunkscale.check(path)


# --- levels that are not there -------------------------------------------------------------------


def test_missing_levels_are_named_and_the_others_described(image, tmp_path, capsys):
    """A level in the middle and the last one; each verb works, and `check` finds two faults."""
    listed = [level(str(k), scale(2, 0.5 * 2**k, 0.5 * 2**k)) for k in range(4)]
    path = image({"0": DATA, "2": DATA[:, ::4, ::4]}, listed)
    found = warnings_of(path)
    for k, text in zip((1, 3), found, strict=True):
        assert f"dataset '{k}' is listed, and its array does not exist" in text
    levels = chunkscale.info(path)["levels"]
    assert [x["path"] for x in levels] == list("0123")
    assert [x["shape"] for x in levels] == [list(SHAPE), None, [6, 5, 6], None]
    assert ["problem" in x for x in levels] == [False, True, False, True]
    source = chunkscale.open_image(path)
    assert str(source).count("cannot be opened") == 2
    with pytest.raises(chunkscale.errors.SourceNotFoundError, match=r"level 1 of .* listed as '1'"):
        source.level(1)
    assert source.level(2).shape == (6, 5, 6)
    assert main(["info", str(path)]) == main(["plan", str(path)]) == 0
    assert main(["resample", str(path), str(tmp_path / "out.zarr")]) == 0
    assert capsys.readouterr().err.count("does not exist") == 2
    assert main(["check", str(path)]) == 3
    assert capsys.readouterr().out.count("fault: ") == 2


@pytest.mark.parametrize("first", [True, False])
def test_a_missing_full_level_is_an_error_that_names_the_others(first, image, tmp_path):
    """A smaller level must not pass for it; with the list cut, as the message says, it may."""
    listed = PAIR_LISTED if first else PAIR_LISTED[::-1]
    path = image({"1": PAIR["1"]}, listed)
    for work in (chunkscale.info, chunkscale.check, chunkscale.plan_resampling):
        with pytest.raises(
            chunkscale.errors.SourceNotFoundError, match=r"'0'.*there are '1' \(6 x 10 x 11\)"
        ):
            work(path)
    assert main(["resample", str(path), str(tmp_path / "out.zarr")]) == 2
    assert not (tmp_path / "out.zarr").exists()
    describe(path, [PAIR_LISTED[1]])
    assert chunkscale.open_image(path).grid.voxel_size == (2, 1, 1)


def test_a_level_with_damaged_metadata_is_named(image):
    """It is there, and cannot be described."""
    path = image(PAIR, PAIR_LISTED)
    (path / "1" / ".zarray").write_text("{")
    assert "dataset '1' is listed, and its array cannot be read" in warnings_of(path)[0]
    assert not chunkscale.check(path)


def test_levels_of_another_rank_or_data_type_are_named(image, capsys):
    """They are described as far as they can be."""
    path = image({**PAIR, "2": PAIR["1"][0], "3": PAIR["1"].astype("u1")}, [
        *PAIR_LISTED, level("2", scale(2, 2, 2)), level("3", scale(2, 1, 1)),
    ])  # fmt: skip
    found = " ".join(warnings_of(path))
    assert "dataset '2' has 2 dimensions" in found
    assert "dataset '3' has the data type uint8" in found
    assert chunkscale.info(path)["levels"][2]["shape"] == [10, 11]
    with pytest.raises(chunkscale.errors.MetadataError, match="2 dimensions"):
        chunkscale.open_image(path).level_grid(2)
    assert main(["info", str(path)]) == 0
    assert main(["check", str(path)]) == 3
    assert "data type uint8" in capsys.readouterr().out


# --- names of dimensions -------------------------------------------------------------------------


def named(path, array, names):
    edit(path / array / "zarr.json", lambda node: node.update(dimension_names=names))


@pytest.mark.parametrize("spelled", ["", "<u2", ">u2", {"name": "uint16"}])
@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_data_types_are_compared_and_not_their_spellings(dtype, spelled, image):
    """A level may be of the other zarr format, or of another byte order."""
    path = image(PAIR, PAIR_LISTED, 3)
    shutil.rmtree(path / "1")
    put(path, "1", PAIR["1"].astype(dtype), 3 if isinstance(spelled, dict) else 2)
    if dtype == "uint16" and spelled:
        key = "data_type" if isinstance(spelled, dict) else "dtype"
        file = path / ("1/zarr.json" if key == "data_type" else "1/.zarray")
        edit(file, lambda found: found.update({key: spelled}))
    found = [text for text in chunkscale.info(path)["warnings"] if "has the data type" in text]
    assert [text.partition(",")[0] for text in found] == (
        [] if dtype == "uint16" else ["dataset '1' has the data type uint8"]
    )


@pytest.mark.parametrize("names", [list("xyz"), ["Z", "Y", "X"], ["t", "y", "x"]])
@pytest.mark.parametrize("array", ["0", "1"])
def test_names_of_dimensions_that_are_not_those_of_the_axes(names, array, image, tmp_path, capsys):
    """0.5 demands the same; the axes are taken, as all readers do."""
    path = image(PAIR, PAIR_LISTED, 3)
    assert chunkscale.check(path)
    named(path, array, names)
    (text,) = warnings_of(path)
    assert f"array {array!r} calls its dimensions" in text
    assert ("if the array is right, 'z' is 'x'" in text) == (names == list("xyz"))
    assert main(["check", str(path)]) == 3
    assert main(["resample", str(path), str(tmp_path / "out.zarr")]) == 0
    assert "calls its dimensions" in capsys.readouterr().err


def test_names_of_dimensions_that_say_nothing(image):
    """None at all, or not of every dimension."""
    path = image({"0": DATA}, PAIR_LISTED[:1], 3)
    for names in (None, [None, "y", "x"]):
        named(path, "0", names)
        assert warnings_of(path) == []


def test_names_that_xarray_leaves_in_another_order(image):
    """In zarr 2; other names than those of axes are xarray's own business."""
    path = image({"0": DATA}, PAIR_LISTED[:1])
    for names, count in ((["x", "y", "z"], 1), (["depth", "row", "column"], 0)):
        (path / "0" / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": names}))
        assert len(warnings_of(path)) == count


# --- metadata of both zarr formats ---------------------------------------------------------------

GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}


@pytest.mark.parametrize(
    "attributes", [{}, {"note": "made by a tool"}, {"ome": {"version": "0.5"}}]
)
def test_a_stray_group_of_zarr_3_beside_an_image_of_zarr_2(attributes, image, tmp_path, capsys):
    """The image is found; deleting what the warning names makes it silent."""
    path = image(PAIR, PAIR_LISTED)
    (path / "zarr.json").write_text(json.dumps({**GROUP, "attributes": attributes}))
    (path / "0" / "zarr.json").write_text(json.dumps(GROUP))
    (text,) = warnings_of(path)
    assert ".zattrs" in text
    assert "zarr.json, which does not describe an image" in text
    assert main(["check", str(path)]) == 3
    out = tmp_path / "out.zarr"
    assert main(["resample", str(path), str(out), "--voxel-size", "2,0.5,0.5"]) == 0
    assert "zarr.json" in capsys.readouterr().err
    assert_array_equal(voxels(out), DATA)
    (path / "zarr.json").unlink()
    assert warnings_of(path) == []


def test_a_stray_group_of_zarr_2_beside_an_image_of_zarr_3(image):
    path = image(PAIR, PAIR_LISTED, 3)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (text,) = warnings_of(path)
    assert "zarr.json is used, and .zattrs (with .zgroup), which does not describe an image" in text
    assert not chunkscale.check(path)


@pytest.mark.parametrize("same", [True, False])
def test_two_images_in_one_group(same, image):
    """The newer format counts; nothing is wrong where both say the same."""
    path = image(PAIR, PAIR_LISTED, 3)
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    if not same:
        attributes["ome"]["multiscales"][0]["datasets"][0] = level("0", scale(7, 7, 7))
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert chunkscale.open_image(path).grid.voxel_size == SIZE
    assert ["another image" in text for text in warnings_of(path)] == [True] * (not same)


def test_a_stray_array_of_zarr_3_beside_the_chunks_of_zarr_2(image, tmp_path):
    """It would be read instead, as fill value where nobody lists chunks; without it all is well."""
    path = image(PAIR, PAIR_LISTED)
    zarr.create_array(tmp_path / "new", shape=SHAPE, chunks=SHAPE, dtype="u2", zarr_format=3)
    shutil.copy(tmp_path / "new" / "zarr.json", path / "0")
    with pytest.raises(chunkscale.errors.MetadataError, match=r"delete its zarr\.json"):
        chunkscale.plan_resampling(path)
    (path / "0" / "zarr.json").unlink()
    assert warnings_of(path) == []


def test_what_contradicts_itself_in_like_is_announced(image, tmp_path, make_image):
    """The grid of the output comes from there."""
    path = image(PAIR, PAIR_LISTED[::-1])
    source = make_image(DATA, SIZE)
    plan = chunkscale.plan_resampling(source, like=path)
    assert plan.target_grid.shape == SHAPE
    assert "taken as level 0" in str(plan.warnings[0])


# --- scales and translations of levels -----------------------------------------------------------


@pytest.mark.parametrize(
    ("transforms", "wrong"),
    [
        ([scale(9, 1, 1)], "spans 6 voxels of 9 µm along 'z'.*a scale of 2 would agree"),
        ([scale(2, 1, 0.5)], "along 'x'"),
        ([scale(2, 1, 1), shift(0, 9, 0)], "begins 9 µm after '0' along 'y'"),
        ([scale(2, 1, 1), shift(-50, 0, 0)], "begins 50 µm before '0' along 'z'"),
    ],
)
def test_a_level_that_spans_another_space(transforms, wrong, image):
    """One of two scales is wrong, and nobody knows which: every verb says so."""
    path = image(PAIR, [PAIR_LISTED[0], level("1", *transforms)])
    (text,) = warnings_of(path)
    assert re.search(wrong, text)
    assert chunkscale.check(path).faults == (text,)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 3, 5), (5, 7, 31), (6, 20, 22)])
def test_ways_to_round_that_are_no_faults(shape, place, up, image):
    """Sizes rounded up or down, scales nominal or ratios, first voxels anywhere in their cells."""
    step = math.ceil if up else math.floor
    shapes = [shape]
    while max(shapes[-1]) > 2:
        shapes.append(tuple(max(1, step(n / 2)) for n in shapes[-1]))
    for exact in (False, True):
        listed = []
        for k, found in enumerate(shapes):
            steps = [m / n if exact else 2**k for m, n in zip(shape, found, strict=True)]
            sizes = [s * f for s, f in zip(SIZE, steps, strict=True)]
            offset = [(r - s) * place for s, r in zip(SIZE, sizes, strict=True)]
            listed.append(level(str(k), scale(*sizes), shift(*offset)))
        arrays = {str(k): np.ones(found, "u1") for k, found in enumerate(shapes)}
        path = image(arrays, listed)
        assert warnings_of(path) == []
        shutil.rmtree(path)


# --- images without chunks -----------------------------------------------------------------------


def empty(path, name):
    for file in (path / name).iterdir():
        if not file.name.startswith(".") and file.name != "zarr.json":
            shutil.rmtree(file)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_image_without_a_chunk_is_announced(zarr_format, image, tmp_path, capsys):
    """It may be meant (an empty mask), so it is no fault; one chunk is enough to be silent."""
    path = image({"0": DATA}, PAIR_LISTED[:1], zarr_format)
    kept = next(p for p in (path / "0").rglob("*") if p.is_file() and p.name.isdigit())
    content = kept.read_bytes()
    empty(path, "0")
    os.makedirs(kept.parent)  # folders alone are no chunks
    (text,) = warnings_of(path)
    assert "no stored chunk (0 of 8)" in text
    assert main(["check", str(path)]) == 0
    assert "note: dataset '0' has no stored chunk" in capsys.readouterr().out
    assert main(["resample", str(path), str(tmp_path / "out.zarr")]) == 0
    assert "no stored chunk" in capsys.readouterr().err
    assert chunkscale.check(tmp_path / "out.zarr", source=path).notes == ()
    kept.write_bytes(content)
    assert warnings_of(path) == []
    assert chunkscale.check(path).notes == ()


def test_a_full_level_without_chunks_below_one_that_has_some(image):
    """Those of the smaller one came from somewhere."""
    path = image(PAIR, PAIR_LISTED)
    empty(path, "0")
    assert "must be made from it" in chunkscale.check(path).faults[0]
    shutil.rmtree(path)
    path = image(PAIR, PAIR_LISTED)
    empty(path, "1")
    report = chunkscale.check(path)
    assert report
    assert report.as_dict()["notes"] == list(report.notes) != []
