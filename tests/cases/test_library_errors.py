"""What libraries raise for the metadata of others: one clear error of ours, before any write."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleError, OptionError
from chunkscale.geometry.box import whole

DATA = (np.arange(4 * 12 * 10) % 200 + 1).astype("u1").reshape(4, 12, 10)
CHUNKS = (2, 6, 5)


def store(path, zarr_format, data=DATA, **options):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    array = group.create_array("0", shape=DATA.shape, chunks=CHUNKS, dtype=data.dtype, **options)
    array[...] = data
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
    entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if zarr_format == 2:
        group.attrs.put({"multiscales": [{"version": "0.4", **entry}]})
    else:
        group.attrs.put({"ome": {"version": "0.5", "multiscales": [entry]}})
    return path


def document_of(path, zarr_format):
    return path / ("0/.zarray" if zarr_format == 2 else "0/zarr.json")


def edited(path, stored_format, /, **changes):
    """Change the metadata of the array; `...` takes an entry out."""
    file = document_of(path, stored_format)
    document = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}))
    return path


def read(path):
    array = chunkscale.open_image(path).array
    return array.read(whole(array.shape))


def refusals(path, capsys):
    """Return what every verb says, in Python and on the command line; nothing is written."""
    out = path.parent / "out.zarr"
    texts = []
    for call in (
        lambda: chunkscale.plan_resampling(path),
        lambda: chunkscale.resample(path, out),
    ):
        with pytest.raises(ChunkscaleError) as caught:
            call()
        texts.append(str(caught.value))
        assert not out.exists()
    assert main(["resample", str(path), str(out)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert not out.exists()
    return [*texts, told.err]


BYTES = {"name": "bytes"}
INNER = {"chunk_shape": [1, 6, 5], "codecs": [BYTES, {"name": "funny", "configuration": {}}],
         "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}  # fmt: skip

#: What is changed in an array of zarr 2 or 3, and what the message must hold.
CHANGES = {
    "codec of nobody": (2, {"compressor": {"id": "lz9"}}, "codec 'lz9' is not installed"),
    "codec of another package": (2, {"compressor": {"id": "imagecodecs_jpegxl"}},
                                 "'imagecodecs_jpegxl'.* install imagecodecs-numcodecs"),
    "filter of nobody": (2, {"filters": [{"id": "funny"}]}, "codec 'funny'"),
    "codec without a name": (2, {"compressor": {"level": 1}}, 'a codec without its name.*"id"'),
    "codec without a name, 3": (3, {"codecs": [BYTES, {"configuration": {}}]}, '"name" of each'),
    "compressor as text": (2, {"compressor": "zstd"}, "ompressor"),
    "codec of nobody, 3": (3, {"codecs": [BYTES, {"name": "funny", "configuration": {}}]},
                           "codec 'funny' is not installed"),
    "codec of another package, 3": (3, {"codecs": [BYTES, {"name": "imagecodecs_jpegxl",
                                                           "configuration": {}}]},
                                    "install imagecodecs-zarr"),
    "codec in a shard": (3, {"codecs": [{"name": "sharding_indexed", "configuration": INNER}]},
                         "codec 'funny'"),
    "no codecs": (3, {"codecs": None}, "iterable"),
    "rectilinear": (3, {"chunk_grid": {"name": "rectilinear", "configuration": {
        "kind": "inline", "chunk_shapes": [[2, 2], [6, 6], [5, 5]]}}}, "grid is 'rectilinear'"),
    "unknown grid": (3, {"chunk_grid": {"name": "hex"}}, "grid is 'hex'"),
    "text, 2": (2, {"dtype": "<U4"}, "data type is '<U4'"),
    "bytes, 2": (2, {"dtype": "|S4"}, r"data type is '\|S4'"),
    "object, 2": (2, {"dtype": "|O"}, r"data type is '\|O'"),
    "structured, 2": (2, {"dtype": [["a", "<u2"]]}, r"data type is \[\['a'"),
    "datetime, 2": (2, {"dtype": "<M8[s]"}, "data type datetime64"),
    "complex, 2": (2, {"dtype": "<c8", "fill_value": [0.0, 0.0]}, "data type.*complex64"),
    "complex and its fill value, 2": (2, {"dtype": "<c8"}, "data type"),
    "long float, 2": (2, {"dtype": "<f16"}, "data type is '<f16'"),
    "text, 3": (3, {"data_type": "string", "fill_value": ""}, "data type is 'string'"),
    "complex, 3": (3, {"data_type": "complex64", "fill_value": [0, 0]}, "data type.*complex64"),
    "bfloat16, 3": (3, {"data_type": "bfloat16"}, "data type is 'bfloat16'"),
    "raw bits, 3": (3, {"data_type": "r16", "fill_value": [0, 0]}, "data type is 'r16'"),
    "format as text, 2": (2, {"zarr_format": "2"}, "zarr_format is '2' .* number 2"),
    "format as text, 3": (3, {"zarr_format": "3"}, "zarr_format is '3' .* number 3"),
    "format of the future": (3, {"zarr_format": 4}, "zarr_format is 4"),
    "shape as text": (2, {"shape": ["4", "12", "10"]}, "integers"),
    "negative shape": (3, {"shape": [-4, 12, 10]}, "-4"),
    "chunks of nothing, 2": (2, {"chunks": [0, 6, 5]}, r'"chunks" is \[0, 6, 5\].*its .zarray'),
    "chunks of nothing, 3": (3, {"chunk_grid": {"name": "regular", "configuration": {
        "chunk_shape": [0, 6, 5]}}}, r'"chunk_shape" is \[0, 6, 5\]'),
    "endless chunks": (2, {"chunks": [2**40, 2**40, 2**40]}, "chunks of .1099511627776.* correct"),
    "endless shape, 2": (2, {"shape": [4, 12, 2**63]}, "shape .4, 12, 9223372036854775808.*corr"),
    "endless shape, 3": (3, {"shape": [2**40, 12, 2**40]}, "shape .1099511627776, 12, .*correct"),
    "chunks of another rank": (2, {"chunks": [6, 5]}, "length"),
    "unknown keys": (3, {"chunk_key_encoding": {"name": "weird"}}, "'weird'"),
    "what must be understood": (3, {"extra": 1}, "'extra'"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_an_array_that_no_library_opens_is_refused_while_planning(change, tmp_path, capsys):
    """Named is what is wrong with it, not what a library has met first."""
    zarr_format, changes, told = CHANGES[change]
    path = edited(store(tmp_path / "in.zarr", zarr_format), zarr_format, **changes)
    for text in refusals(path, capsys):
        assert str(path / "0") in text
        assert re.search(told, text), text


@pytest.mark.parametrize("dtype", ["<M8[s]", "<c8"])
def test_check_names_a_data_type_as_the_others_do(dtype, tmp_path):
    """No chunk of it is damaged."""
    path = store(tmp_path / "in.zarr", 2)
    fill = [0.0, 0.0] if dtype == "<c8" else 0
    edited(path, 2, dtype=dtype, fill_value=fill)
    (fault,) = chunkscale.check(path).faults
    assert f"array {str(path / '0')!r} has the data type {np.dtype(dtype)}; supported" in fault


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("value", [-1, 300, "NaN", "abc", "", 1.5, [], "AAAA", ...])
def test_a_fill_value_that_the_type_cannot_hold_is_named(value, zarr_format, tmp_path, capsys):
    """And the entry that the message gives makes the image readable, whole as it is."""
    path = edited(store(tmp_path / "in.zarr", zarr_format), zarr_format, fill_value=value)
    for text in refusals(path, capsys):
        assert "fill_value" in text
        assert ("missing" if value is ... else repr(value)) in text
        assert '"fill_value": 0' in text
    assert_array_equal(read(edited(path, zarr_format, fill_value=0)), DATA)


@pytest.mark.parametrize(("zarr_format", "value"), [(2, None), (2, 0.0), (2, False), (3, 255)])
def test_a_fill_value_that_can_be_held_is_taken(zarr_format, value, tmp_path):
    """Spelled as other writers do."""
    path = edited(store(tmp_path / "in.zarr", zarr_format), zarr_format, fill_value=value)
    assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("dtype", ["|b1", "<f2", "<f4"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_fill_value_that_zarr_makes_another_is_refused(dtype, zarr_format, tmp_path, capsys):
    """Any text is True, and large numbers are Inf: with half of the chunks missing."""
    data = (DATA % 2).astype(dtype)
    for wrong in {"|b1": ["false", "0", "true"], "<f2": [1e6, -65520.0], "<f4": [1e39]}[dtype]:
        path = store(tmp_path / "in.zarr", zarr_format, data)
        shutil.rmtree(path / "0" / ("1" if zarr_format == 2 else "c/1"), ignore_errors=True)
        for file in (path / "0").glob("1.*"):
            file.unlink()
        edited(path, zarr_format, fill_value=wrong)
        for text in refusals(path, capsys):
            assert f"fill_value, which missing chunks are read as, is {wrong!r}" in text
        fill = re.search(r'"fill_value": (\w+) ', text).group(1)
        filled = read(edited(path, zarr_format, fill_value=json.loads(fill)))
        assert_array_equal(filled, np.where(np.arange(4)[:, None, None] < 2, data, 0))


@pytest.mark.parametrize(
    ("dtype", "value"), [("|b1", 1), ("|b1", True), ("<f2", 65504.0), ("<f2", 65519.0),
                         ("<f2", "-Infinity"), ("<f4", 1e38), ("<f4", 10**30), ("<f8", 1e308)]
)  # fmt: skip
def test_a_fill_value_at_the_end_of_the_range_is_taken(dtype, value, tmp_path):
    path = edited(store(tmp_path / "in.zarr", 2, (DATA % 2).astype(dtype)), 2, fill_value=value)
    (path / "0/1.1.1").unlink()
    assert read(path)[-1, -1, -1] == np.array(float(value), dtype)


SHORT_HANDS = {
    "codecs": ["bytes"],
    "codecs and others": ["bytes", {"name": "gzip", "configuration": {"level": 1}}],
    "chunk_key_encoding": "default",
    "data_type": {"name": "uint16"},
}


@pytest.mark.parametrize("key", SHORT_HANDS)
def test_short_forms_are_read_or_spelled_out(key, tmp_path, capsys):
    """Zarr 3.1 allows them; what the message says makes the image readable."""
    path = store(tmp_path / "in.zarr", 3, DATA.astype("u2"), compressors=None)
    if "others" in key:
        gzip = {"name": "gzip", "configuration": {"level": 1}}
        store(path, 3, DATA.astype("u2"), compressors=[gzip])
    name = key.partition(" ")[0]
    edited(path, 3, **{name: SHORT_HANDS[key]})
    try:
        assert_array_equal(read(path), DATA)
    except ChunkscaleError:
        text = refusals(path, capsys)[0]
        found = re.search(rf'set "{name}": (.*) in its zarr.json', text).group(1)
        assert_array_equal(read(edited(path, 3, **{name: json.loads(found)})), DATA)


@pytest.mark.parametrize("value", ["2", "3", 2.5, "v2", None, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_format_of_a_group_is_named_where_it_is_wrong(zarr_format, value, tmp_path, capsys):
    """With its file, and what it should be."""
    path = store(tmp_path / "in.zarr", zarr_format)
    file = path / (".zgroup" if zarr_format == 2 else "zarr.json")
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "zarr_format": value}))
    for text in refusals(path, capsys):
        said = f"zarr_format is {value!r} and should be the number {zarr_format}"
        assert f"{said}; correct that in its {file.name}" in text
    file.write_text(json.dumps(document))
    assert_array_equal(read(path), DATA)


def test_rectilinear_chunks_are_refused_where_zarr_has_them(tmp_path, monkeypatch, capsys):
    """They are experimental there: with and without the switch it is the grid that is named."""
    path = store(tmp_path / "in.zarr", 3)
    edited(path, 3, **CHANGES["rectilinear"][1])
    in_shards = store(tmp_path / "shards.zarr", 3)
    sharding = {"name": "sharding_indexed", "configuration": INNER | {"codecs": [BYTES]}}
    edited(in_shards, 3, **CHANGES["rectilinear"][1], codecs=[sharding])
    for value in (False, True):
        with zarr.config.set({"array.rectilinear_chunks": value}):
            for text in (*refusals(path, capsys), *refusals(in_shards, capsys)):
                assert "grid is 'rectilinear'" in text


DOCUMENTS = {
    "empty": b"",
    "cut off": b'{"zarr_format": 3, "nod',
    "page": b"<!doctype html>",
    "binary": b"\xff\xfe\x00\x80\x93NUMPY",
    "list": b"[]",
    "null": b"null",
    "number": b"5",
    "text": b'"zarr"',
    "nothing in it": b"{}",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize(
    "file", ["0/zarr.json", "zarr.json", "0/.zarray", ".zgroup", ".zattrs", "0/.zattrs"]
)
def test_documents_that_are_none(file, document, tmp_path, capsys):
    """One error that names the node, from every verb; `{}` may be one."""
    path = store(tmp_path / "in.zarr", 3 if "json" in file else 2)
    (path / file).write_bytes(DOCUMENTS[document])
    if document == "nothing in it" and file.rpartition("/")[2] in (".zgroup", ".zattrs"):
        return
    if file == "0/.zattrs" and document in ("list", "null", "number", "text"):
        return  # not every zarr-python minds, and nobody reads them
    for text in refusals(path, capsys):
        assert str(path) in text


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_mark_of_byte_order_does_no_harm(zarr_format, tmp_path):
    """Editors of Windows put it in front."""
    path = store(tmp_path / "in.zarr", zarr_format)
    for file in [path / n for n in (".zattrs", ".zgroup", "zarr.json") if (path / n).exists()] + [
        document_of(path, zarr_format)
    ]:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("given", [5, 1.5, True, ["a"], {"z": 1}, np.zeros(3), object()])
def test_what_is_no_path_is_an_option_that_makes_no_sense(given, tmp_path):
    """Wherever a path belongs."""
    with pytest.raises(OptionError, match=r"like is of type '\w+', which has no grid"):
        chunkscale.plan_resampling(DATA, source_voxel_size=1.0, like=given)
    for call in (
        lambda: chunkscale.open_image(given),
        lambda: chunkscale.info(given),
        lambda: chunkscale.resample(DATA, given, source_voxel_size=1.0),
    ):
        with pytest.raises(OptionError, match="must be a string or a Path"):
            call()


@pytest.mark.parametrize("like", ["nothing.zarr", "in.zarr/0", "empty", "file.txt", "plate.zarr"])
def test_what_is_no_image_to_be_like_is_named(like, tmp_path):
    """No path, an array, an empty folder, a file, a collection."""
    store(tmp_path / "in.zarr", 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no image")
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs.put({"plate": {"wells": []}})
    with pytest.raises(ChunkscaleError) as caught:
        chunkscale.resample(
            DATA, tmp_path / "out.zarr", source_voxel_size=1.0, like=tmp_path / like
        )
    assert str(tmp_path / like) in str(caught.value)
    assert not (tmp_path / "out.zarr").exists()


# --- names that are no text ----------------------------------------------------------------------

BAD = os.fsdecode(b"in_\xb5m.zarr")


@pytest.fixture
def badly_named(tmp_path):
    path = tmp_path / BAD
    try:
        shutil.copytree(store(tmp_path / "good.zarr", 2), path)
    except OSError:
        pytest.skip("this file system has only names that are text")
    return path


def test_a_name_that_is_no_text_is_refused_and_a_link_helps(badly_named, tmp_path, capsys):
    """As a source, as an output, in a folder of such a name and as the working folder."""
    good, out = tmp_path / "good.zarr", tmp_path / os.fsdecode(b"out_\xe4.zarr")
    for source, target in (
        (badly_named, tmp_path / "out.zarr"), (good, out), (good, badly_named / "deep/out.zarr")
    ):  # fmt: skip
        with pytest.raises(OptionError, match=r"not valid UTF-8.*\(ln -s\)"):
            chunkscale.resample(source, target)
        assert main(["resample", str(source), str(target)]) == 2
        assert not os.path.lexists(target)
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(OptionError, match="not valid UTF-8"):
        chunkscale.open_image("null\0.zarr")
    link = tmp_path / "link.zarr"
    link.symlink_to(badly_named)
    chunkscale.resample(link, tmp_path / "out.zarr", levels=1)
    chunkscale.resample(good, link / "deeper/out.zarr", levels=1)
    assert chunkscale.check(tmp_path / "out.zarr", source=link)
    assert_array_equal(
        zarr.open_array(tmp_path / "out.zarr/0")[...],
        zarr.open_array(badly_named / "deeper/out.zarr/0")[...],
    )


def test_metadata_may_hold_names_that_are_no_text(tmp_path, capsys):
    """JSON can write them; they are shown escaped."""
    path = store(tmp_path / "in.zarr", 2)
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["name"] = "\udcb5m"
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert main(["info", str(path)]) == 0
    capsys.readouterr()
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "\udcb5m"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "iso8859-2", "utf-8"])
def test_a_terminal_without_the_characters_shows_others(encoding, tmp_path):
    """No traceback, whatever a path holds; JSON stays JSON."""
    path = store(tmp_path / "Zellkörper 細胞 µ.zarr", 2)
    run = [sys.executable, "-m", "chunkscale"]
    search = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": search}
    shown = subprocess.run(
        [*run, "info", path], env=environment, capture_output=True, check=True, timeout=60
    )
    assert "µ" in shown.stdout.decode(encoding) or b"\\xb5" in shown.stdout
    facts = subprocess.run(
        [*run, "info", "--json", path], env=environment, capture_output=True, check=True, timeout=60
    )
    assert json.loads(facts.stdout.decode(encoding))["path"] == str(path)


def test_the_stream_of_a_caller_is_as_it_was(tmp_path, monkeypatch):
    """`main` is called from Python, too."""
    import io

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["info", str(store(tmp_path / "µ.zarr", 2))]) == 0
    assert stream.errors == "strict"
    stream.flush()
    assert b"\\xb5" in stream.buffer.getvalue()
