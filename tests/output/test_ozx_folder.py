"""The folder that an output in one file is made in: what it opens as, and what never goes."""

import os
import zipfile
from pathlib import Path

import numpy as np
import plates
import pytest
import zarr
from grids import grid_for
from numpy.testing import assert_array_equal
from outputs import stored

import chunkscale
from chunkscale.errors import ChunkscaleError, DestinationError
from chunkscale.samples import write_image
from chunkscale.storage.zips import packing

pytestmark = pytest.mark.usefixtures("small_regions")

OPTIONS = {"voxel_size": 0.5, "chunk": 8, "shard": 16}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Return a small image with labels on its grid, which nobody changes."""
    path, shape = tmp_path_factory.mktemp("source") / "in.zarr", (8, 16, 16)
    voxels = np.random.default_rng(0).integers(1, 255, shape, "u1")
    write_image(path, voxels, grid_for(shape, (1.0, 0.5, 0.5)))
    write_image(path / "labels" / "cells", voxels // 100, grid_for(shape, (1.0, 0.5, 0.5)))
    plates.ngff(path / "labels", {"labels": ["cells"]})
    return path


@pytest.fixture(scope="module")
def whole(stack, tmp_path_factory):
    """Return the file that a run makes which nobody interrupts."""
    path = tmp_path_factory.mktemp("whole") / "out.ozx"
    chunkscale.resample(stack, path, **OPTIONS)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.ozx"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out.ozx.partial"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Let objects be deleted one after another, as large ones are."""
    monkeypatch.setattr(packing, "BATCH", 1)


class Killed(BaseException):
    pass


def begin(stack, out, *, packed=0, **options):
    """Begin a run, and kill it when so many objects were packed; at 0 before its last region."""
    folder = Path(f"{out}.partial")

    def stop(_):
        draft = folder / ".chunkscale" / "packed.zip"
        there = draft.is_file() and len([f for f in folder.rglob("*") if "/c/" in f.as_posix()])
        if not packed or (there is not False and there <= stop.most - packed):
            raise Killed
        stop.most = max(stop.most, there)

    stop.most = 0
    with pytest.raises(Killed):
        chunkscale.resample(stack, out, progress=stop, **{**OPTIONS, **options})
    assert not out.exists()


def test_while_it_is_packed_nothing_in_the_folder_opens(stack, whole, out, folder):
    """Neither the image nor its labels, nor any array of them, once an object is gone."""
    voxels = np.asarray(chunkscale.open_image(whole))
    count, looks = [0], []
    tops = ["", "labels", "labels/cells", "0", "1", "labels/cells/0"]

    def look(_):
        files = sum(path.is_file() for path in folder.rglob("c/**/*"))
        count[0] = max(count[0], files)
        packing_it = (folder / ".chunkscale" / "documents.zip").is_file()
        if packing_it and files < count[0]:
            looks.append(files)
            for top in tops:
                with pytest.raises((FileNotFoundError, ValueError)):
                    zarr.open(folder / top, mode="r")
                with pytest.raises(ChunkscaleError):
                    chunkscale.open_image(folder / top)
        elif packing_it and (folder / "zarr.json").exists():
            assert_array_equal(zarr.open_array(folder / "0", mode="r")[:], voxels)

    chunkscale.resample(stack, out, progress=look, **OPTIONS)
    assert len(looks) > 3
    assert out.read_bytes() == whole.read_bytes()
    assert not folder.exists()


def test_killed_at_any_change_of_a_file_it_goes_on(stack, whole, out, folder, monkeypatch):
    """Again and again, each time some steps further: the file is that of a run in one piece."""
    changes = {name: getattr(os, name) for name in ("unlink", "replace", "rename", "link", "rmdir")}
    states = set()

    def dying(change, left):
        def step(path, *rest, **how):
            # Leases, and who waits to list a label, are no part of the story.
            name = os.fspath(path)
            counts = ".partial" in name and "run.json" not in name and "-list" not in name
            if counts and next(left, None) is None:
                raise Killed
            return change(path, *rest, **how)

        return step

    for last in range(0, 1000, 3):
        left = iter(range(last))
        with monkeypatch.context() as patch:
            for name, change in changes.items():
                patch.setattr(os, name, dying(change, left))
            try:
                chunkscale.resample(stack, out, resume=True, **OPTIONS)
            except Killed:
                notes = folder / ".chunkscale"
                states.add((out.exists(), *(sorted(os.listdir(notes)) if notes.is_dir() else ())))
                continue
        break
    assert len(states) > 3
    assert out.read_bytes() == whole.read_bytes()
    assert not folder.exists()


def test_killed_while_it_is_packed_it_is_begun_anew(stack, whole, out, folder):
    """With `overwrite`, of another recipe as well; without a word it is refused."""
    begin(stack, out, packed=3, method="nearest")
    with pytest.raises(DestinationError, match="did not finish"):
        chunkscale.resample(stack, out, **OPTIONS)
    with pytest.raises(DestinationError, match=r"started with other options.*method") as refused:
        chunkscale.resample(stack, out, resume=True, **OPTIONS)
    assert f"{str(out)!r} (in {str(folder)!r})" in str(refused.value)
    chunkscale.resample(stack, out, overwrite=True, **OPTIONS)
    assert out.read_bytes() == whole.read_bytes()
    assert not folder.exists()


@pytest.mark.parametrize("name", ["letter.txt", "0/c/0/letter.txt", "labels/mine/zarr.json"])
def test_what_the_run_has_not_written_is_named_before_it_is_packed(
    name, stack, whole, out, folder, tmp_path
):
    """It stays as it is, and once it is moved away the run goes on."""
    mine = folder / name

    def put(_):
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"my": 1}}')
        (folder / f".chunkscale-list.{'0' * 32}.partial").write_text("a draft of ours")

    with pytest.raises(DestinationError, match=r"not written by a run.*resume=True") as refused:
        chunkscale.resample(stack, out, progress=put, **OPTIONS)
    top = name.removesuffix("/zarr.json")
    assert top in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "my" in mine.read_text()
    (folder / top).rename(tmp_path / "moved")
    chunkscale.resample(stack, out, resume=True, **OPTIONS)
    assert out.read_bytes() == whole.read_bytes()
    assert not folder.exists()


def test_what_comes_into_the_folder_while_it_is_packed_stays(stack, whole, out, folder):
    """A warning names it, whoever resumes is warned as well, and nobody replaces it."""
    mine = folder / "0" / "letter.txt"

    def put(_):
        if (folder / ".chunkscale" / "packed.zip").is_file():
            mine.write_text("dear")

    with pytest.warns(chunkscale.ChunkscaleWarning, match=r"is complete.*stays.*delete the folder"):
        chunkscale.resample(stack, out, progress=put, **OPTIONS)
    assert out.read_bytes() == whole.read_bytes()
    with pytest.warns(chunkscale.ChunkscaleWarning, match="stays"):
        chunkscale.resample(stack, out, resume=True, **OPTIONS)
    with pytest.raises(DestinationError, match=r"out\.ozx\.partial"):
        chunkscale.resample(stack, out, overwrite=True, **OPTIONS)
    assert mine.read_text() == "dear"
    assert out.read_bytes() == whole.read_bytes()


def test_an_image_that_is_called_like_the_folder_is_never_deleted(stack, whole, out, folder):
    """Only what a run has left that packs it: told by its notes, not by its name."""
    chunkscale.resample(stack, folder, **OPTIONS)
    out.write_bytes(whole.read_bytes())
    for there in (True, False):
        if not there:
            out.unlink()
        for words in ({"overwrite": True}, {}):
            with pytest.raises(DestinationError, match=r"out\.ozx") as refused:
                chunkscale.resample(stack, out, **words, **OPTIONS)
            if words or not there:
                assert "move it away" in str(refused.value)
        assert chunkscale.check(folder)
        assert out.exists() is there
    folder.rename(folder.with_name("elsewhere.zarr"))
    chunkscale.resample(stack, out, **OPTIONS)
    assert out.read_bytes() == whole.read_bytes()


def test_a_torn_file_of_ours_is_replaced(stack, whole, out):
    """By the user's word alone; any other is left, and the message says what helps."""
    ours = whole.read_bytes()
    foreign = ours.replace(b'"chunkscale"', b'"somebody\'s"')
    for content in (ours[: len(ours) // 2], ours[:-30]):
        out.write_bytes(content)
        for words in ({}, {"resume": True}):
            with pytest.raises(DestinationError, match=r"torn.*overwrite=True"):
                chunkscale.resample(stack, out, **words, **OPTIONS)
        assert out.read_bytes() == content
        chunkscale.resample(stack, out, overwrite=True, **OPTIONS)
        assert out.read_bytes() == ours
    for content in (b"", b"dear", ours[:40], foreign[:-30], b"PK\3\4" * 1000):
        out.write_bytes(content)
        for words in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(DestinationError, match="delete it yourself"):
                chunkscale.resample(stack, out, **words, **OPTIONS)
        assert out.read_bytes() == content


def test_a_file_that_a_run_has_begun_is_told_of(stack, whole, out, folder):
    """`check` says that it is unfinished, where what is made of it lies, and what goes on."""
    for packed in (0, 3):
        begin(stack, out, packed=packed)
        for path in (out, folder):
            found = chunkscale.check(path)
            assert not found
            assert str(folder) in str(found)
            assert "resume=True" in str(found)
        chunkscale.resample(stack, out, resume=True, **OPTIONS)
        assert chunkscale.check(out)
        out.unlink()
    with pytest.raises(ChunkscaleError, match="does not exist"):
        chunkscale.check(out)


def test_a_finished_collection_has_stored_what_the_first_run_has(tmp_path):
    """Whether it was made, was found, or only had to be packed: its levels, without documents."""
    plate, out = (
        plates.plate(tmp_path / "plate.zarr", wells={"B/03": ["0", "1"]}),
        tmp_path / "a.ozx",
    )
    options = {"images": "all", "voxel_size": 0.5}
    first = chunkscale.resample(plate, out, **options)
    again = chunkscale.resample(plate, out, resume=True, **options)
    assert again.stored_bytes == first.stored_bytes > 0


def test_links_are_never_followed_out_of_the_place(stack, whole, out, folder, tmp_path):
    """One in the place of the file is replaced itself, one in that of the folder is refused."""
    image, letter = tmp_path / "image.ozx", tmp_path / "letter.txt"
    image.write_bytes(whole.read_bytes())
    letter.write_text("dear")
    for target in (letter, tmp_path / "nothing"):
        out.symlink_to(target)
        for words in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(DestinationError):
                chunkscale.resample(stack, out, **words, **OPTIONS)
        assert out.is_symlink()
        out.unlink()
    out.symlink_to(image)
    chunkscale.resample(stack, out, overwrite=True, **{**OPTIONS, "method": "nearest"})
    assert not out.is_symlink()
    assert image.read_bytes() == whole.read_bytes() != out.read_bytes()
    out.unlink()
    begin(stack, tmp_path / "other.ozx", packed=2)
    places = (
        stack,
        tmp_path / "other.ozx.partial",
        tmp_path / "empty",
        tmp_path / "nothing",
        letter,
    )
    (tmp_path / "empty").mkdir()
    for target in places:
        before = sorted(target.rglob("*"))
        folder.symlink_to(target)
        for words in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(DestinationError, match="move it away"):
                chunkscale.resample(stack, out, **words, **OPTIONS)
        assert sorted(target.rglob("*")) == before
        folder.unlink()
    assert letter.read_text() == "dear"


def test_a_link_among_the_chunks_is_no_part_of_the_output(stack, out, folder, tmp_path):
    """What it leads to is neither packed nor deleted."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0").write_text("dear")
    link = folder / "0" / "c" / "0" / "0" / "9"

    def put(_):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(tmp_path / "mine")

    with pytest.raises(DestinationError, match="0/c/0/0/9"):
        chunkscale.resample(stack, out, progress=put, **OPTIONS)
    assert (tmp_path / "mine" / "0").read_text() == "dear"
    link.unlink()
    chunkscale.resample(stack, out, overwrite=True, **OPTIONS)
    assert not folder.exists()


def test_all_that_a_collection_is_mirrored_with_is_packed(tmp_path):
    """Wells, lists of series with their OME-XML, labels of any depth, scenes: as in a folder."""
    source = tmp_path / "in"
    plates.plate(source / "day 1" / "p.zarr", wells={"B/03": ["0"]})
    plates.series(source / "s.zarr", xml=plates.ome_xml(2))
    plates.ngff(source / "img1" / "labels", {"labels": ["a/b"]})
    plates.image(source / "img1")
    plates.image(source / "img1" / "labels" / "a" / "b", shape=(4, 12, 10))
    ends = [{"type": "affine", "input": {"path": p}, "output": {"name": "w"}} for p in ("b", "c/1")]
    plates.ngff(source / "sc", {"scene": {"coordinateTransformations": ends}}, "0.6")
    for path in ("b", "c/1"):
        plates.image(source / "sc" / path)
    options = {"images": "all", "ome_zarr_version": "0.6"}
    chunkscale.resample(source, tmp_path / "a.zarr", **options)
    chunkscale.resample(source, tmp_path / "a.ozx", **options)
    wanted = stored(tmp_path / "a.zarr")
    assert sum(name.endswith("METADATA.ome.xml") for name in wanted) == 1
    with zipfile.ZipFile(tmp_path / "a.ozx") as archive:
        assert sorted(archive.namelist()) == sorted(wanted)
    assert [p.name for p in tmp_path.glob("*.ozx*")] == ["a.ozx"]
