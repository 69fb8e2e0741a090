"""Metadata documents: read once, and written as zarr-python writes them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr

import chunkscale
from chunkscale.errors import DestinationError, MetadataError
from chunkscale.geometry.grid import Axis, VoxelGrid
from chunkscale.geometry.pyramid import Level
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.files import Files
from chunkscale.storage.groups import group_attributes, put_group, set_attributes
from chunkscale.storage.reader import open_array
from chunkscale.storage.writer import create_levels

FORMATS = (2, 3)

ATTRIBUTES = {"a": [1, 2.5, None, True], "é": {"b": "ü"}}


def level(path, *, chunk, shard=None):
    axes = tuple(Axis(name=name) for name in "zyx")
    grid = VoxelGrid(axes=axes, shape=(20, 20, 20), voxel_size=(1.0, 1.0, 1.0))
    return Level(path=path, grid=grid, chunk=chunk, shard=shard, factors=(1, 1, 1))


def metadata(folder):
    """Return what is stored below a folder, chunks aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_groups_are_stored_as_zarr_python_stores_them(tmp_path, zarr_format):
    """Byte for byte, at the beginning and when their attributes are replaced."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    put_group(str(ours), zarr_format=zarr_format, attributes=ATTRIBUTES)
    group = zarr.create_group(theirs, zarr_format=zarr_format, attributes=dict(ATTRIBUTES))
    assert metadata(ours) == metadata(theirs)
    assert set_attributes(str(ours), {"c": 1}, instead_of=ATTRIBUTES)
    group.attrs.put({"c": 1})
    assert metadata(ours) == metadata(theirs)
    assert not set_attributes(str(ours), {"d": 1}, instead_of=ATTRIBUTES)
    assert group_attributes(str(ours)) == {"c": 1}


@pytest.mark.parametrize("codec", ["blosc-lz4", "blosc-zstd:5", "zstd", "gzip", "none"])
@pytest.mark.parametrize("zarr_format", FORMATS)
def test_arrays_are_stored_as_zarr_python_stores_them(tmp_path, zarr_format, codec):
    """Those of a second image, too, which zarr-python is not asked for again."""
    chunk, shard = (4, 5, 10), (8, 20, 20) if zarr_format == 3 else None
    levels, io = (
        [level("0", chunk=chunk, shard=shard), level("s1", chunk=chunk)],
        StoreIO(threads=1),
    )
    stored = []
    for place in (tmp_path / "one", tmp_path / "other"):
        put_group(str(place), zarr_format=zarr_format, attributes={})
        made = create_levels(
            str(place), levels, io, dtype="uint16", codec=codec, zarr_format=zarr_format
        )
        assert [(a.shape, a.chunk, a.shard) for a in made] == [
            ((20, 20, 20), chunk, shard), ((20, 20, 20), chunk, None)
        ]  # fmt: skip
        stored.append(metadata(place))
    assert stored[0] == stored[1]
    opened = zarr.open_group(tmp_path / "one", mode="r")
    for each in levels:
        again = zarr.create_array(
            tmp_path / "theirs" / each.path,
            shape=each.shape, chunks=chunk, shards=each.shard, dtype="uint16", fill_value=0,
            compressors=opened[each.path].compressors, filters=None, zarr_format=zarr_format,
            dimension_names=["z", "y", "x"] if zarr_format == 3 else None,
            chunk_key_encoding={
                "name": "v2" if zarr_format == 2 else "default", "separator": "/"
            },
        )  # fmt: skip
        assert again.metadata == opened[each.path].metadata
        theirs = metadata(tmp_path / "theirs" / each.path)
        assert theirs == metadata(tmp_path / "one" / each.path)


def test_a_level_that_is_there_already_is_not_written_over(tmp_path):
    """Of two runs that begin at once one finds the other's."""
    put_group(str(tmp_path), zarr_format=3, attributes={})
    made = {"dtype": "uint8", "codec": "none", "zarr_format": 3}
    levels, io = [level("0", chunk=(4, 4, 4))], StoreIO(threads=1)
    create_levels(str(tmp_path), levels, io, **made)
    with pytest.raises(DestinationError, match="from another run"):
        create_levels(str(tmp_path), levels, io, **made)
    with pytest.raises(FileExistsError, match="it is there"):
        put_group(str(tmp_path), zarr_format=3, attributes={}, new=True)


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_an_opening_reads_the_document_of_each_array_once(tmp_path, monkeypatch, zarr_format):
    """And a look at whether it is still there once more."""
    version = {2: "0.4", 3: "0.5"}[zarr_format]
    path = tmp_path / "a.zarr"
    chunkscale.resample(
        np.ones((16, 16, 16), "uint8"), path, source_voxel_size=1, levels=2,
        ome_zarr_version=version,
    )  # fmt: skip
    reads, get = Counter(), Files.get

    def counted(self, uri, *most):
        found = get(self, uri, *most)
        if found is not None:
            reads[str(Path(uri).relative_to(path))] += 1
        return found

    monkeypatch.setattr(Files, "get", counted)
    image = chunkscale.open_image(path)
    arrays = {2: ".zarray", 3: "zarr.json"}[zarr_format]
    groups = {2: [".zgroup", ".zattrs"], 3: ["zarr.json"]}[zarr_format]
    attributes = {"0/.zattrs": 1} if zarr_format == 2 else {}
    opened = {**dict.fromkeys(groups, 1), f"0/{arrays}": 1, f"1/{arrays}": 1, **attributes}
    assert reads == opened
    assert image.fate(whole=True) == ""
    assert reads - Counter(opened) == {**dict.fromkeys(groups, 1), f"0/{arrays}": 1, **attributes}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"zarr_format": 2}, "its zarr_format is 2 and should be the number 3"),
        ({"node_type": "table"}, "its node_type is 'table'"),
        ({"attributes": ["multiscales"]}, "its attributes are"),
        ({"layers": {}}, "'layers', which zarr does not know"),
        ({"layers": {"must_understand": True}}, "'layers', which zarr does not know"),
        ({"node_type": "array"}, "is a zarr array"),
    ],
)
def test_a_group_that_is_not_understood_is_refused(tmp_path, wrong, said):
    """With what is wrong."""
    right = {"zarr_format": 3, "node_type": "group", "attributes": ATTRIBUTES}
    (tmp_path / "zarr.json").write_text(json.dumps({**right, **wrong}))
    with pytest.raises(MetadataError, match=said):
        group_attributes(str(tmp_path))


@pytest.mark.parametrize(
    "more", [{"layers": {"must_understand": False}}, {"consolidated_metadata": {"stale": 1}}]
)
def test_what_need_not_be_understood_is_passed_over(tmp_path, more):
    """It stays where it is, but for what would be stale when attributes change."""
    right = {"zarr_format": 3, "node_type": "group", "attributes": ATTRIBUTES}
    (tmp_path / "zarr.json").write_text(json.dumps({**right, **more}))
    assert group_attributes(str(tmp_path)) == ATTRIBUTES
    set_attributes(str(tmp_path), {})
    kept = {k: v for k, v in more.items() if k != "consolidated_metadata"}
    assert json.loads((tmp_path / "zarr.json").read_text()) == {**right, "attributes": {}, **kept}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"a":' * 100_000])
def test_a_damaged_document_is_told(tmp_path, content):
    """Whatever is wrong with it; one that does not count is no matter."""
    (tmp_path / "zarr.json").write_bytes(content)
    with pytest.raises(MetadataError, match="not valid JSON"):
        group_attributes(str(tmp_path))
    (tmp_path / ".zgroup").write_bytes(content)
    right = {"zarr_format": 3, "node_type": "group", "attributes": ATTRIBUTES}
    (tmp_path / "zarr.json").write_text(json.dumps(right))
    assert group_attributes(str(tmp_path)) == ATTRIBUTES


PICKLE = {"id": "pickle", "protocol": 5}
NESTED = {"name": "numcodecs.pickle", "configuration": {}}


@pytest.mark.parametrize(
    ("zarr_format", "change", "said"),
    [
        (2, {"filters": [{"id": "delta"}, PICKLE]}, "codec 'pickle' would run"),
        (2, {"compressor": PICKLE}, "codec 'pickle' would run"),
        (2, {"dtype": "|O", "filters": [{"id": "vlen-bytes"}, PICKLE]}, "codec 'pickle' would run"),
        (2, {"dtype": "|O", "filters": [{"id": "vlen-utf8"}]}, r"data type is '\|O' of array"),
        (3, {"codecs": [NESTED]}, "codec 'numcodecs.pickle' would run"),
        (
            3,
            {"codecs": [{"name": "sharding_indexed", "configuration": {"index_codecs": [NESTED]}}]},
            "codec 'numcodecs.pickle' would run",
        ),
    ],
)
def test_what_runs_code_is_refused_when_it_is_opened(tmp_path, zarr_format, change, said):
    """Whatever zarr-python and numcodecs make of it; what users say in attributes is their own."""
    path = tmp_path / "0"
    attributes = {"filters": [PICKLE]}
    zarr.create_array(path, shape=(4,), dtype="u1", zarr_format=zarr_format, attributes=attributes)
    assert open_array(str(path), StoreIO(threads=1)).shape == (4,)
    file = path / ("zarr.json" if zarr_format == 3 else ".zarray")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(MetadataError, match=said):
        open_array(str(path), StoreIO(threads=1))
