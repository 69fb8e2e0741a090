"""Outputs in one file: they hold what a folder would, and an interruption leaves nothing."""

import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import plates
import pytest
import zarr
from numpy.testing import assert_array_equal
from outputs import stack_with_holes, stored

import chunkscale
from chunkscale.errors import ChunkscaleError, DestinationError, OptionError, RegionError
from chunkscale.geometry.box import Box
from chunkscale.output import packed
from chunkscale.storage import objects as contents
from chunkscale.storage.zips import packing

pytestmark = pytest.mark.usefixtures("small_regions")

OPTIONS = {"voxel_size": 0.5, "chunk": 8, "shard": 16}


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise, (10, 30, 30)), (1.0, 0.5, 0.5), chunk=(4, 16, 16))


@pytest.fixture
def small_batches(monkeypatch):
    """Let objects be deleted one after another, as large ones are."""
    monkeypatch.setattr(packing, "BATCH", 1)


def in_zip(path):
    """Return all that is in a zip file, and that it is whole."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: archive.read(name) for name in archive.namelist()}


def alike(found, wanted):
    """Whether two outputs hold the same but for their names."""
    assert sorted(found) == sorted(wanted)
    for name in found:
        one, other = found[name], wanted[name]
        if name.endswith("zarr.json"):
            one, other = json.loads(one), json.loads(other)
        assert one == other, name


def lone(path):
    """Whether nothing of a run lies beside its file."""
    return not [p.name for p in path.parent.iterdir() if p.name.startswith(path.name + ".")]


class Killed(BaseException):
    pass


def test_one_file_holds_what_a_folder_would(stack, tmp_path):
    """As RFC-9 has it: stored, documents first from the top down, and a comment."""
    chunkscale.resample(stack, tmp_path / "a.zarr", **OPTIONS)
    run = chunkscale.resample(stack, tmp_path / "a.ozx", **OPTIONS)
    assert run.path == str(tmp_path / "a.ozx")
    found = in_zip(tmp_path / "a.ozx")
    alike(found, stored(tmp_path / "a.zarr"))
    listed = list(found)
    documents = [name for name in listed if name.endswith("zarr.json")]
    assert listed[: len(documents)] == documents
    assert documents == sorted(documents, key=lambda name: (name.count("/"), name))
    with zipfile.ZipFile(tmp_path / "a.ozx") as archive:
        says = json.loads(archive.comment)
    assert says["ome"]["version"] == "0.5"
    assert says["ome"]["zipFile"]["centralDirectory"]["jsonFirst"] is True
    assert lone(tmp_path / "a.ozx")
    assert chunkscale.check(tmp_path / "a.ozx", source=stack)
    chunkscale.resample(stack, tmp_path / "b.ozx", **OPTIONS)
    assert (tmp_path / "a.ozx").read_bytes() == (tmp_path / "b.ozx").read_bytes()


def test_other_programs_read_it(stack, tmp_path):
    """zarr-python and ngff-zarr find the voxels, and the size of them."""
    out = tmp_path / "a.ozx"
    chunkscale.resample(stack, out, **OPTIONS)
    image = chunkscale.open_image(out)
    voxels = image.array.read(Box(start=(0, 0, 0), stop=image.grid.shape))
    group = zarr.open_group(zarr.storage.ZipStore(out, mode="r"), mode="r")
    assert_array_equal(group[group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]], voxels)
    group.store.close()
    ngff_zarr = pytest.importorskip("ngff_zarr", minversion="0.30")
    found = ngff_zarr.from_ngff_zarr(str(out)).images[0]
    assert found.scale == {"z": 0.5, "y": 0.5, "x": 0.5}
    assert_array_equal(np.asarray(found.data), voxels)


def test_what_ngff_zarr_writes_opens_here(noise, tmp_path):
    """Its voxels and their size."""
    ngff_zarr = pytest.importorskip("ngff_zarr", minversion="0.30")
    data = noise((8, 20, 20))
    image = ngff_zarr.to_ngff_image(
        data, dims=["z", "y", "x"], scale={"z": 2.0, "y": 0.5, "x": 0.5}
    )
    multiscales = ngff_zarr.to_multiscales(image, scale_factors=[])
    ngff_zarr.to_ngff_zarr(str(tmp_path / "a.ozx"), multiscales, version="0.5")
    found = chunkscale.open_image(tmp_path / "a.ozx")
    assert found.grid.voxel_size == (2.0, 0.5, 0.5)
    assert_array_equal(found.array.read(Box(start=(0, 0, 0), stop=data.shape)), data)


@pytest.mark.usefixtures("small_batches")
def test_killed_at_any_step_it_goes_on(stack, tmp_path, monkeypatch):
    """After each step of the packing: the resumed run makes the same file, and leaves nothing."""
    chunkscale.resample(stack, tmp_path / "whole.ozx", **OPTIONS)
    wanted = (tmp_path / "whole.ozx").read_bytes()
    chunkscale.resample(stack, tmp_path / "whole.zarr", **OPTIONS)
    out = tmp_path / "out.ozx"
    steps = len(stored(tmp_path / "whole.zarr")) + 6
    real = {name: getattr(packing, name) for name in ("_add", "_settle", "_close")}
    real["move_new"] = packed.move_new
    real["delete_below"] = packed.contents.delete_below
    died = 0
    for last in range(0, 4 * steps, steps // 2):
        count = iter(range(last, -1, -1))

        def dying(function, count=count):
            def step(*given):
                if next(count, 0) == 0:
                    raise Killed
                found = function(*given)
                if next(count, 0) == 0:
                    raise Killed
                return found

            return step

        with monkeypatch.context() as patch:
            for name in ("_add", "_settle", "_close"):
                patch.setattr(packing, name, dying(real[name]))
            patch.setattr(packed, "move_new", dying(real["move_new"]))
            patch.setattr(packed.contents, "delete_below", dying(real["delete_below"]))
            try:
                chunkscale.resample(stack, out, **OPTIONS)
            except Killed:
                died += 1
        if not lone(out) and not out.exists():
            with pytest.raises(DestinationError, match="did not finish"):
                chunkscale.resample(stack, out, **OPTIONS)
        chunkscale.resample(stack, out, resume=True, **OPTIONS)
        assert out.read_bytes() == wanted
        assert lone(out)
        out.unlink()
    assert died > 3


KILLED = """
import os, sys, chunkscale
from chunkscale.storage.zips import packing
add, left = packing._add, [int(sys.argv[3])]
packing.BATCH = 1
def dying(file, *given):
    left[0] -= 1
    found = add(file, *given)
    if not left[0]:
        file.write(b"PK" + bytes(100))
        file.flush()
        os.kill(os.getpid(), 9)
    return found
packing._add = dying
chunkscale.resample(sys.argv[1], sys.argv[2], voxel_size=0.5, chunk=8, shard=16)
"""


def test_a_process_that_is_killed_leaves_what_is_continued(stack, tmp_path):
    """SIGKILL while it packs, with a torn entry at the end; another source is refused."""
    out = tmp_path / "out.ozx"
    run = subprocess.run([sys.executable, "-c", KILLED, stack, out, "9"], check=False)
    assert run.returncode == -9
    assert not out.exists()
    left = len(stored(tmp_path / "out.ozx.partial"))
    with pytest.raises(DestinationError, match="started with other options"):
        chunkscale.resample(stack, out, resume=True, **{**OPTIONS, "method": "nearest"})
    assert len(stored(tmp_path / "out.ozx.partial")) == left
    again = chunkscale.resample(stack, out, resume=True, **OPTIONS)
    assert again.times.regions == 0
    assert again.stored_bytes > 0
    chunkscale.resample(stack, tmp_path / "whole.ozx", **OPTIONS)
    found, wanted = in_zip(out), in_zip(tmp_path / "whole.ozx")
    assert list(found) == list(wanted)
    assert all(found[name] == wanted[name] for name in found if "/c/" in name)
    assert lone(out)


@pytest.mark.usefixtures("small_batches")
def test_a_folder_and_its_file_are_never_both_whole(stack, tmp_path, monkeypatch):
    """While it is packed an output takes the room of one object more."""
    sizes, settle = [], packing._settle

    def look(file):
        settle(file)
        folder = tmp_path / "out.ozx.partial"
        sizes.append(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))

    monkeypatch.setattr(packing, "_settle", look)
    chunkscale.resample(stack, tmp_path / "out.ozx", **OPTIONS)
    with zipfile.ZipFile(tmp_path / "out.ozx") as archive:
        infos = archive.infolist()
    most = max(info.file_size for info in infos)
    documents = sum(i.file_size for i in infos if i.filename.endswith("zarr.json"))
    whole = (tmp_path / "out.ozx").stat().st_size
    assert max(sizes) <= whole + most + 2 * documents + 1000
    assert len(sizes) > 5


def test_what_is_there_is_refused_replaced_or_found_whole(stack, tmp_path):
    """By the words of the user, and nothing else ever goes."""
    out = tmp_path / "out.ozx"
    chunkscale.resample(stack, out, **OPTIONS)
    first = out.read_bytes()
    with pytest.raises(DestinationError, match="exists"):
        chunkscale.resample(stack, out, **OPTIONS)
    run = chunkscale.resample(stack, out, resume=True, **OPTIONS)
    assert (run.times.regions, run.times.resumed_regions) == (0, run.plan.region_count)
    assert out.read_bytes() == first
    coarse = {**OPTIONS, "voxel_size": 1.0}
    with pytest.raises(DestinationError, match="started with other options"):
        chunkscale.resample(stack, out, resume=True, **coarse)
    assert out.read_bytes() == first
    chunkscale.resample(stack, out, overwrite=True, **coarse)
    assert chunkscale.open_image(out).grid.voxel_size == (1.0, 1.0, 1.0)
    with zipfile.ZipFile(tmp_path / "mine.ozx", "w") as archive:
        archive.writestr("letter.txt", "dear")
    mine = (tmp_path / "mine.ozx").read_bytes()
    for words in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(DestinationError):
            chunkscale.resample(stack, tmp_path / "mine.ozx", **words, **OPTIONS)
    assert (tmp_path / "mine.ozx").read_bytes() == mine
    assert lone(out)


def test_the_source_is_never_replaced_by_what_is_made_of_it(stack, tmp_path):
    """By its path, a link, another name of the file, or the folder that it lies in."""
    out = tmp_path / "in" / "scan.ozx"
    out.parent.mkdir()
    chunkscale.resample(stack, out, **OPTIONS)
    first = out.read_bytes()
    (tmp_path / "link.ozx").symlink_to(out)
    os.link(out, tmp_path / "name.ozx")
    cases = [(out, out), (tmp_path / "link.ozx", out), (tmp_path / "name.ozx", out),
             (out, tmp_path / "in"), (out, out / "b.zarr")]  # fmt: skip
    for source, target in cases:
        with pytest.raises(ChunkscaleError):
            chunkscale.resample(source, target, voxel_size=1.0, overwrite=True)
        assert out.read_bytes() == first


def test_what_is_no_file_is_refused(stack, tmp_path):
    """Zarr 2, object stores, a folder of that name; each with the way on."""
    with pytest.raises(OptionError, match=r"zarr 2.*out\.zarr"):
        chunkscale.resample(stack, tmp_path / "out.ozx", ome_zarr_version="0.4", voxel_size=1)
    with pytest.raises(DestinationError, match="local path and copy it"):
        chunkscale.resample(stack, "s3://bucket/out.ozx", voxel_size=1)
    (tmp_path / "out.ozx").mkdir()
    with pytest.raises(DestinationError, match="is a folder"):
        chunkscale.resample(stack, tmp_path / "out.ozx", voxel_size=1, overwrite=True)
    assert list((tmp_path / "out.ozx").iterdir()) == []


def test_an_interrupted_run_goes_on_or_begins_anew(stack, tmp_path):
    """Before it packs as well, and with another recipe only from the beginning."""
    out = tmp_path / "out.ozx"

    def stop(state):
        raise Killed

    for words, options in (({"resume": True}, {}), ({"overwrite": True}, {"method": "nearest"})):
        with pytest.raises(Killed):
            chunkscale.resample(stack, out, progress=stop, **OPTIONS)
        assert not out.exists()
        with pytest.raises(DestinationError, match="did not finish"):
            chunkscale.resample(stack, out, **OPTIONS)
        chunkscale.resample(stack, out, **words, **{**OPTIONS, **options})
        assert chunkscale.check(out, source=stack)
        assert lone(out)
        out.unlink()


def test_objects_that_are_lost_before_they_are_packed_are_missed(stack, tmp_path, monkeypatch):
    """The file is not made, and a finished one that lacks some is not taken for whole."""
    out, pack = tmp_path / "out.ozx", packed.pack

    def losing(folder: Path, *rest):
        next(f for f in folder.rglob("c/*") if f.is_file() or any(f.rglob("*")))
        max((f for f in folder.glob("0/c/*/*/*")), key=str).unlink()
        return pack(folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(packed, "pack", losing)
        with pytest.raises(RegionError, match="missing"):
            chunkscale.resample(stack, out, **OPTIONS)
    assert not out.exists()
    chunkscale.resample(stack, out, overwrite=True, **OPTIONS)
    kept = in_zip(out)
    kept.pop(max(name for name in kept if name.startswith("0/c/")))
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    with pytest.raises(DestinationError, match="not complete"):
        chunkscale.resample(stack, out, resume=True, **OPTIONS)
    assert not chunkscale.check(out)


def test_what_comes_to_the_place_meanwhile_stays(stack, tmp_path, monkeypatch):
    """It is never replaced; once it is away the run goes on."""
    out = tmp_path / "out.ozx"
    close = packing._close
    monkeypatch.setattr(packing, "_close", lambda *a: (out.write_bytes(b"mine"), close(*a)))
    with pytest.raises(DestinationError, match="has appeared at the output"):
        chunkscale.resample(stack, out, **OPTIONS)
    assert out.read_bytes() == b"mine"
    monkeypatch.undo()
    out.unlink()
    chunkscale.resample(stack, out, resume=True, **OPTIONS)
    assert chunkscale.check(out, source=stack)
    assert lone(out)


def test_labels_and_collections_go_into_the_one_file(tmp_path):
    """A plate as a whole; a run out of one file into another; each equals its folder."""
    plate = plates.plate(tmp_path / "plate.zarr")
    for source, name in ((plate, "a"), (tmp_path / "a.ozx", "b")):
        options = {"images": "all", "voxel_size": 0.5}
        chunkscale.resample(source, tmp_path / f"{name}.zarr", **options)
        chunkscale.resample(source, tmp_path / f"{name}.ozx", **options)
        alike(in_zip(tmp_path / f"{name}.ozx"), stored(tmp_path / f"{name}.zarr"))
        assert chunkscale.check(tmp_path / f"{name}.ozx", source=source)
        assert lone(tmp_path / f"{name}.ozx")
    run = chunkscale.resample(plate, tmp_path / "a.ozx", resume=True, **options)
    assert run.times.regions == 0
    with pytest.raises(DestinationError, match="started with other options"):
        chunkscale.resample(plate, tmp_path / "a.ozx", resume=True, images="all", voxel_size=1.0)
    chunkscale.resample(plate, tmp_path / "a.ozx", overwrite=True, images="all", voxel_size=1.0)
    assert chunkscale.check(tmp_path / "a.ozx", source=plate)


def test_numbers_of_64_bits_are_written_where_they_are_needed(tmp_path):
    """Objects beyond 4 GiB, large ones, and more than 65535 of them: the standard library agrees.

    The file is sparse: of the large object there is only its header.
    """
    small, far = b"small", 5 * 2**30
    large = packing.Packed("large", 0, far, 0)
    at = packing._end_of(large)
    entry = packing.Packed("far/\u00e9", at, len(small), zlib.crc32(small))
    many = [packing.Packed(f"{n}", at, 0, 0) for n in range(2**16)]
    with (tmp_path / "large.zip").open("w+b") as file:
        file.write(packing._local(large.name, far, 0))
        file.seek(at)
        file.write(packing._local(entry.name, entry.size, entry.crc) + small)
        packing._close(file, [large, entry], b"said")
        file.seek(0)
    with zipfile.ZipFile(tmp_path / "large.zip") as archive:
        assert archive.comment == b"said"
        assert archive.getinfo("large").file_size == far
        assert archive.read(entry.name) == small
    assert contents.get(f"{tmp_path}/large.zip/{entry.name}") == small
    assert contents.sizes([f"{tmp_path}/large.zip/large"]) == [far]
    with (tmp_path / "many.zip").open("w+b") as file:
        packing._close(file, many, b"")
    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        assert len(archive.namelist()) == 2**16


def test_a_file_that_a_lazy_array_may_read_from_is_not_replaced(tmp_path):
    """As an output that is a folder: its voxels would be gone before they are read."""
    size = {"voxel_size": "same", "source_voxel_size": 1}
    path = tmp_path / "v.ozx"
    chunkscale.resample(np.ones((8, 16, 16), "u1"), path, **size)
    before, lazy = path.read_bytes(), chunkscale.open_image(path).as_dask()
    for array in (lazy, chunkscale.open_image(path).to_xarray()):
        with pytest.raises(chunkscale.DestinationError, match="so it is not overwritten"):
            chunkscale.resample(array, path, voxel_size=2, source_voxel_size=1, overwrite=True)
    assert path.read_bytes() == before
    assert not Path(f"{path}.partial").exists()


def test_a_folder_that_was_half_deleted_is_cleared_away(tmp_path, monkeypatch):
    """Its file is whole by then, and what tells that the folder is ours goes last."""
    stack, path = np.ones((8, 16, 16), "u1"), tmp_path / "v.ozx"
    source = tmp_path / "in.zarr"
    chunkscale.resample(stack, source, voxel_size="same", source_voxel_size=1)
    real, left = packed.contents.delete_below, []

    def stopping(uri):
        if uri.startswith(f"{path}.partial"):
            if not left:
                raise KeyboardInterrupt
            left.pop()
        real(uri)

    for steps in range(4):
        path.unlink(missing_ok=True)
        left[:] = [0] * steps
        options = {"voxel_size": 0.5, "chunk": 8, "levels": 2}
        with monkeypatch.context() as patch:
            patch.setattr(packed.contents, "delete_below", stopping)
            with pytest.raises(KeyboardInterrupt):
                chunkscale.resample(source, path, **options)
        assert chunkscale.check(path)
        chunkscale.resample(source, path, resume=True, **options)
        assert not Path(f"{path}.partial").exists()


def test_a_finished_file_whose_bytes_have_changed_is_not_found_whole(tmp_path):
    source, path = tmp_path / "in.zarr", tmp_path / "v.ozx"
    voxels = np.random.default_rng(0).integers(0, 255, (8, 16, 16), "u1")
    chunkscale.resample(voxels, source, voxel_size="same", source_voxel_size=1)
    chunkscale.resample(source, path, voxel_size=0.5)
    assert chunkscale.resample(source, path, voxel_size=0.5, resume=True)
    with zipfile.ZipFile(path) as file:
        entry = max(file.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(chunkscale.DestinationError, match=r"is damaged.*overwrite=True"):
        chunkscale.resample(source, path, voxel_size=0.5, resume=True)
