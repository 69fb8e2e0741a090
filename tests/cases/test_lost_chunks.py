"""Part of the chunks is where nobody looks, or is not there at all: never zeros without a word."""

import json
import os
import shutil

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import MetadataError
from chunkscale.geometry.box import Box, whole

DATA = (np.arange(6 * 20 * 22) % 4000 + 1).astype("u2").reshape(6, 20, 22)
SCALES = {"0": [2.0, 0.5, 0.5], "1": [2.0, 1.0, 1.0]}


def store(path, levels=(DATA,), zarr_format=2, separator="/", chunks=(3, 10, 11), fill=0):
    """Write an image as other programs do."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    key = {"name": "v2" if zarr_format == 2 else "default", "separator": separator}
    datasets = []
    for name, data in zip("01", levels, strict=False):
        array = group.create_array(
            name, shape=data.shape, chunks=chunks, dtype=data.dtype, chunk_key_encoding=key,
            fill_value=fill,
        )  # fmt: skip
        array[...] = data
        scale = {"type": "scale", "scale": SCALES[name]}
        datasets.append({"path": name, "coordinateTransformations": [scale]})
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    entry = {"axes": axes, "datasets": datasets}
    if zarr_format == 2:
        group.attrs.put({"multiscales": [{"version": "0.4", **entry}]})
    else:
        group.attrs.put({"ome": {"version": "0.5", "multiscales": [entry]}})
    return path


def renamed(path, rename, top="0/1"):
    """Give the files below a folder other names; `rename` takes and returns a path below it."""
    folder = path / top
    for file in [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name[0] not in ".z"]:
        target = folder / rename(file.relative_to(folder).as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    return path


def name(form):
    """Return how a file is renamed of which a program makes such a name."""
    return lambda key: os.path.join(os.path.dirname(key), form.format(n=os.path.basename(key)))


def read(path, level=0):
    array = chunkscale.open_image(path).level(level)
    return array.read(whole(array.shape))


FORMS = [
    "{n} (1)", "{n} - Copy", "{n} copy", "Copy of {n}", ".{n}.icloud", ".{n}.Xy12ab", "{n}.partial",
    "{n}.7z", "{n}~", "~{n}", "{n}.!ut", "{n}.sync-conflict-20240101-101010-ABC", "#{n}#", "{n}.1",
    "{n}_1", "{n}.tmp.123", "{n}.part", "{n}.gz", "{n}.crdownload", ".goutputstream-{n}",
]  # fmt: skip


@pytest.mark.parametrize("part", ["half", "all"])
@pytest.mark.parametrize("form", FORMS)
def test_what_programs_make_of_names_is_refused(form, part, tmp_path, capsys):
    """As sync tools, downloads and file managers leave them."""
    path = renamed(store(tmp_path / "a.zarr"), name(form))
    if part == "all":
        renamed(path, name(form), "0/0")
    for verb in (["resample", path, tmp_path / "b.zarr"], ["check", path]):
        assert main([str(argument) for argument in verb]) == 2
        message = capsys.readouterr().err
        assert "rename them" in message
        assert "'0/0/0'" in message
    assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("zarr_format", "separator"), [(2, "."), (3, "/")])
def test_names_of_other_keys_too(zarr_format, separator, form, tmp_path):
    path = store(tmp_path / "a.zarr", zarr_format=zarr_format, separator=separator)
    file = path / ("0/1.0.1" if zarr_format == 2 else "0/c/1/0/1")
    file.rename(file.with_name(form.format(n=file.name)))
    with pytest.raises(MetadataError, match="rename them"):
        chunkscale.open_image(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("holes", [False, True])
def test_copies_of_chunks_that_are_there_are_left_in_peace(holes, form, tmp_path):
    """Also where others are missing because they are all fill value."""
    data = DATA.copy()
    if holes:
        data[3:, :, 11:] = 0
    path = store(tmp_path / "a.zarr", (data,))
    for file in [p for p in (path / "0").rglob("*") if p.is_file() and p.name[0] not in ".z"]:
        shutil.copy(file, file.with_name(form.format(n=file.name)))
    assert_array_equal(read(path), data)


@pytest.mark.parametrize("moved", ["c/c/1", "c/old/1", "backup-2/1", "c/z1"])
def test_a_folder_of_chunks_elsewhere(moved, tmp_path):
    """What `cp -r c there/c` makes, and the like."""
    path = store(tmp_path / "a.zarr", zarr_format=3)
    (path / "0" / moved).parent.mkdir(parents=True, exist_ok=True)
    (path / "0/c/1").rename(path / "0" / moved)
    with pytest.raises(MetadataError, match="rename them"):
        chunkscale.open_image(path)


@pytest.mark.parametrize(
    "beside", ["notes-2024-01-02.txt", "0/.nfs000000000abc12300000001", "v1.0/x.txt", "1/._0_0",
               "1/1/1.0123456789abcdef0123456789abcdef.partial"]
)  # fmt: skip
def test_numbers_of_other_things_are_left_in_peace(beside, tmp_path):
    """Dates, versions, what killed processes and file systems leave, where chunks are missing."""
    data = DATA.copy()
    data[3:] = 0
    path = store(tmp_path / "a.zarr", (data,))
    (path / "0" / beside).parent.mkdir(parents=True, exist_ok=True)
    (path / "0" / beside).write_text("")
    assert_array_equal(read(path), data)


def test_a_chunk_among_thousands_is_found_while_it_is_read(tmp_path, monkeypatch):
    """Where opening has looked at others."""
    monkeypatch.setattr("chunkscale.storage.files.FIRST", 3)
    path = store(tmp_path / "a.zarr", chunks=(1, 10, 11))
    files = sorted(p for p in (path / "0").rglob("*") if p.is_file() and p.name[0] != ".")
    image = chunkscale.open_image(path)
    files[-1].rename(files[-1].with_name(f".{files[-1].name}.icloud"))
    with pytest.raises(MetadataError, match="icloud"):
        image.array.read(Box(start=(5, 10, 11), stop=(6, 20, 22)))


# --- chunks outside of the array -----------------------------------------------------------------


@pytest.mark.parametrize("shift", [(1, 1, 1), (1, 0, 0), (0, 0, 1)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_that_are_counted_from_one_are_refused(zarr_format, shift, tmp_path, capsys):
    """Some of them are inside, and would be read at the wrong place."""
    path = store(tmp_path / "a.zarr", zarr_format=zarr_format)
    (path / "0" / ("c" if zarr_format == 3 else "")).mkdir(exist_ok=True)
    top = "0/c" if zarr_format == 3 else "0"
    (path / top).rename(tmp_path / "old")
    for file in [p for p in (tmp_path / "old").rglob("*") if p.is_file()]:
        key = file.relative_to(tmp_path / "old").as_posix()
        if not key.startswith("."):
            key = "/".join(str(int(n) + k) for n, k in zip(key.split("/"), shift, strict=True))
        (path / top / key).parent.mkdir(parents=True, exist_ok=True)
        file.rename(path / top / key)
    assert main(["resample", str(path), str(tmp_path / "b.zarr")]) == 2
    assert "must begin with 0" in capsys.readouterr().err
    assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize("level", [0, 1])
def test_a_shape_that_leaves_chunks_out_is_announced(level, tmp_path):
    """An append that did not end; what the shape holds is read."""
    path = store(tmp_path / "a.zarr", (DATA, DATA[:, ::2, ::2].copy()))
    file = path / str(level) / ".zarray"
    document = json.loads(file.read_text())
    document["shape"][0] = 3
    file.write_text(json.dumps(document))
    assert_array_equal(read(path, level), (DATA, DATA[:, ::2, ::2])[level][:3])
    faults = chunkscale.check(path).faults
    assert sum("lies beyond its shape (3," in text for text in faults) == 1
    if level == 0:
        for said in (chunkscale.info(path)["warnings"], chunkscale.plan_resampling(path).warnings):
            assert any("'1/0/0', which lies beyond its shape (3, 20, 22)" in str(t) for t in said)


# --- level 0 lacks chunks ------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_level_0_that_lacks_what_a_smaller_level_has_is_a_fault(zarr_format, tmp_path):
    path = store(tmp_path / "a.zarr", (DATA, DATA[:, ::2, ::2].copy()), zarr_format)
    assert chunkscale.check(path)
    shutil.rmtree(path / ("0/c/1" if zarr_format == 3 else "0/1"))
    (fault,) = chunkscale.check(path).faults
    assert "dataset '0' has 4 of 8 chunks" in fault


def test_levels_that_lack_the_same_chunks_are_right(tmp_path):
    """Sparse images; and one whose smaller level stores fill value."""
    data = DATA.copy()
    data[3:] = 0
    path = store(tmp_path / "a.zarr", (data, data[:, ::2, ::2].copy()))
    report = chunkscale.check(path)
    assert (report.faults, report.notes) == ((), ())
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.open_array(path / "1")[...] = data[:, ::2, ::2]
    assert (path / "1/1/0/0").exists()
    assert chunkscale.check(path)
    blurred = zarr.open_array(path / "1")
    blurred[3] = 1  # what a filter carries over the border
    assert chunkscale.check(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_shape_without_an_end_is_checked_by_what_is_stored(zarr_format, tmp_path):
    """Nobody would see the end of reading it; a chunk that is damaged is found."""
    path = store(tmp_path / "a.zarr", zarr_format=zarr_format)
    file = path / ("0/.zarray" if zarr_format == 2 else "0/zarr.json")
    document = json.loads(file.read_text())
    document["shape"][2] = 2**45
    file.write_text(json.dumps(document))
    assert chunkscale.check(path).chunks_read == 8
    (path / ("0/0/0/1" if zarr_format == 2 else "0/c/0/0/1")).write_bytes(b"junk")
    assert "chunk (0, 0, 1)" in chunkscale.check(path).faults[0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_check_names_the_chunks_that_are_missing_or_were_added(
    version, make_image, noise, tmp_path
):
    """By their paths in the image, and how many; those it cannot know it counts."""
    source, out = make_image(noise((12, 32, 32)) | 1, (2, 1, 1)), tmp_path / "out.zarr"
    chunkscale.resample(source, out, levels=1, chunk=8, shard=None if version == "0.4" else 0,
                        ome_zarr_version=version)  # fmt: skip
    top = "0/c" if version == "0.5" else "0"

    def said():
        (fault,) = (f for f in chunkscale.check(out).faults if "stored chunks or shards" in f)
        return fault.partition("; ")[2]

    (out / top / "9/0").mkdir(parents=True)
    stray = out / top / "9/0/0"
    stray.write_bytes((out / top / "0/0/0").read_bytes())
    assert said() == f"1 was added: '{top}/9/0/0'"
    stray.unlink()
    for n, name in enumerate(("0/1/2", "0/1/3", "2/1/3"), 1):
        (out / top / name).unlink()
        named = [f"'{top}/0/1/2'", f"'{top}/0/1/3'"][:n]
        more = " and 1 more" if n > 2 else ""
        assert said() == f"{n} {'is' if n == 1 else 'are'} missing: {', '.join(named)}{more}"
