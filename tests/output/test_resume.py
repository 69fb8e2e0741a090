"""Interrupted runs: what is continued, what is refused, and that no byte differs."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import pytest
import zarr
from faults.harness import start_driver
from outputs import LAYOUTS, assert_same_output, budget, stack_with_holes, stored

import chunkscale
from chunkscale.cli.main import main
from chunkscale.host.identity import identity
from chunkscale.options import parse_bytes
from chunkscale.output import leases as leases_module
from chunkscale.output import ledger, places
from chunkscale.output import notes as notes_module
from chunkscale.output.notes import note_names
from chunkscale.output.record import recipe
from chunkscale.run.region import process_region
from chunkscale.storage import objects as contents
from chunkscale.storage.reader import ArrayReader

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_regions")]


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


class Interrupted(Exception):
    pass


def interrupt_after(regions):
    def progress(state):
        if state.regions >= regions:
            raise Interrupted

    return progress


def interrupted(source, out, regions=12, *, chunk=8, **options):
    options["chunk"] = chunk
    with pytest.raises(Interrupted):
        chunkscale.resample(source, out, progress=interrupt_after(regions), **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("regions", [1, 12, 19])
def test_a_resumed_run_writes_the_bytes_of_an_undisturbed_one(layout, regions, stack, tmp_path):
    """All files are the same, only what was missing is made, and the ledger is gone."""
    options = LAYOUTS[layout]
    whole = chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    out = tmp_path / "out.zarr"
    interrupted(stack, out, regions, **options)
    assert not chunkscale.check(out)
    seen = []
    run = chunkscale.resample(stack, out, resume=True, progress=seen.append, **options)
    left = 1 - run.times.resumed_regions / whole.plan.region_count
    assert seen[-1].regions == seen[-1].total_regions == whole.plan.region_count
    assert seen[-1].total_voxels == pytest.approx(left * whole.plan.voxels, abs=1)
    assert run.times.resumed_regions >= regions
    assert run.times.regions + run.times.resumed_regions == whole.plan.region_count
    assert_same_output(out, tmp_path / "whole.zarr")
    assert chunkscale.check(out, source=stack)


@pytest.mark.parametrize("own_pool", [True, False])
def test_regions_that_end_after_an_interruption_are_kept(own_pool, stack, tmp_path, monkeypatch):
    """What had begun when a run was stopped is waited for, so it is not made again."""
    begun, make = [], process_region

    def slow(plan, index, *rest):
        begun.append(index)
        if index:
            time.sleep(0.2)
        return make(plan, index, *rest)

    out = tmp_path / "out.zarr"
    with ThreadPoolExecutor(3) as pool, monkeypatch.context() as patch:
        patch.setattr("chunkscale.run.worker.process_region", slow)
        with contextlib.nullcontext() if own_pool else dask.config.set(pool=pool):
            interrupted(stack, out, 1, workers=3)
    assert len(begun) > 1
    run = chunkscale.resample(stack, out, resume=True, chunk=8)
    assert run.times.resumed_regions == len(begun)


@pytest.mark.parametrize("publishing", ["goes well", "fails"])
def test_what_is_published_at_once_is_not_noted_down(publishing, stack, tmp_path, monkeypatch):
    """And if it cannot be published it is, so that nothing of it is made again."""
    noted, put = [], ledger.put_note

    def watched(uri, name, text):
        noted.append(name)
        put(uri, name, text)

    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(ledger, "put_note", watched)
    monkeypatch.setattr(ledger, "FLUSH_SECONDS", (1e9, 1e9))
    run = {"chunk": 16, "workers": 2}
    if publishing == "goes well":
        chunkscale.resample(stack, tmp_path / "out", **run)
        assert not noted
        return
    with monkeypatch.context() as patch:
        patch.setattr("chunkscale.output.publish.set_attributes", fail)
        with pytest.raises(OSError, match="no space left"):
            chunkscale.resample(stack, tmp_path / "out", **run)
    assert len(noted) == 1
    again = chunkscale.resample(stack, tmp_path / "out", resume=True, **run)
    assert again.times.resumed_regions == again.plan.region_count


def test_resume_starts_where_nothing_is(stack, tmp_path):
    """A job script can always pass resume."""
    run = chunkscale.resample(stack, tmp_path / "a.zarr", resume=True)
    assert run.times.resumed_regions == 0
    (tmp_path / "b.zarr").mkdir()
    chunkscale.resample(stack, tmp_path / "b.zarr", resume=True)
    assert_same_output(tmp_path / "b.zarr", tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_resume_goes_on_from_any_half_made_beginning(version, stack, tmp_path):
    """A run that was killed while it made the group or its arrays can be continued."""
    options = {"ome_zarr_version": version, "chunk": 16, "shard": 0}
    chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    out = tmp_path / "out.zarr"
    interrupted(stack, out, 1, **options)
    for path in (out / "1", out / ".chunkscale"):
        for file in stored(path):
            (path / file).unlink()
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")
    blank = tmp_path / "blank.zarr"
    blank.mkdir()
    (blank / f"zarr.{uuid.uuid4().hex}.partial").write_text("{")
    if version == "0.4":
        (blank / ".zgroup").write_text('{"zarr_format": 2}')
    shutil.copytree(blank, tmp_path / "other.zarr")
    chunkscale.resample(stack, blank, resume=True, **options)
    assert_same_output(blank, tmp_path / "whole.zarr")
    chunkscale.resample(stack, tmp_path / "other.zarr", overwrite=True, **options)
    assert_same_output(tmp_path / "other.zarr", tmp_path / "whole.zarr")


def kept_array(path, zarr_format):
    zarr.create_array(path, shape=(9, 9), chunks=(3, 3), dtype="u2", zarr_format=zarr_format,
                      attributes={"mine": 1})  # fmt: skip


NOT_BLANK = {
    "file": lambda path: (path / "film.mp4.partial").write_text("mine"),
    "folder": lambda path: (path / "x.partial" / "deep").mkdir(parents=True),
    "damaged": lambda path: (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "gr'),
    "array": lambda path: kept_array(path, 3),
    "array of zarr 2": lambda path: kept_array(path, 2),
}


@pytest.mark.parametrize("what", NOT_BLANK)
def test_resume_alone_deletes_nothing_of_others(what, stack, tmp_path):
    """What no run of ours leaves is refused, and stays."""
    out = tmp_path / "out.zarr"
    out.mkdir()
    NOT_BLANK[what](out)
    before = sorted(out.rglob("*")), stored(out)
    with pytest.raises(chunkscale.DestinationError, match="exists"):
        chunkscale.resample(stack, out, resume=True)
    assert (sorted(out.rglob("*")), stored(out)) == before


def test_a_link_to_an_empty_folder_is_followed(stack, tmp_path):
    """The output goes where the link leads, to the disk whose space was looked at."""
    (tmp_path / "large").mkdir()
    (tmp_path / "out.zarr").symlink_to(tmp_path / "large")
    chunkscale.resample(stack, tmp_path / "out.zarr", resume=True)
    assert (tmp_path / "out.zarr").is_symlink()
    assert chunkscale.check(tmp_path / "large", source=stack)


MODES = {"blank": "resume", "unfinished": "resume", "finished": "resume", "image": "overwrite"}


@pytest.mark.parametrize(
    ("state", "dangling"), [*((state, False) for state in MODES), ("blank", True)]
)
def test_notes_behind_a_link_are_refused(state, dangling, stack, tmp_path):
    """What it leads to stays, and so does the output; without the link the run goes on."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out, mine = tmp_path / "out.zarr", tmp_path / "mine"
    if state == "blank":
        out.mkdir()
    elif state == "unfinished":
        interrupted(stack, out)
        shutil.rmtree(out / ".chunkscale", ignore_errors=True)
    else:
        chunkscale.resample(stack, out, chunk=8)
    if not dangling:
        mine.mkdir()
        for name in ("thesis.txt", "done-1.json", "run.json"):
            (mine / name).write_text("mine")
    (out / ".chunkscale").symlink_to(mine)
    before = [stored(out), stored(mine)]
    with pytest.raises(
        chunkscale.DestinationError, match=r"link '.*\.chunkscale'.*remove the link"
    ):
        chunkscale.resample(stack, out, chunk=8, **{MODES[state]: True})
    assert [stored(out), stored(mine)] == before
    assert mine.exists() != dangling
    (out / ".chunkscale").unlink()
    chunkscale.resample(stack, out, chunk=8, **{MODES[state]: True})
    assert_same_output(out, tmp_path / "whole.zarr")
    assert stored(mine) == before[1]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("place", ["0", "1", "0/c/0/0"])
def test_a_level_behind_a_link_is_not_continued(place, finished, stack, tmp_path):
    """Whichever of its folders it is: chunks would be written and deleted elsewhere."""
    options = {"chunk": 8, "shard": 0}
    chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    out, mine = tmp_path / "out.zarr", tmp_path / "mine"
    interrupted(stack, out, **options)
    if finished:
        chunkscale.resample(stack, out, resume=True, **options)
    (out / place).rename(mine)
    (out / place).symlink_to(mine)
    if finished:  # it has something to mend
        next(file for file in sorted(mine.rglob("*")) if file.name.isdigit() and file.is_file()
             ).write_bytes(b"")  # fmt: skip
    before = [stored(out), stored(mine)]
    with pytest.raises(chunkscale.DestinationError, match=f"link '.*{place}' instead of a folder"):
        chunkscale.resample(stack, out, resume=True, **options)
    assert [stored(out), stored(mine)] == before
    (out / place).unlink()
    mine.rename(out / place)
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize("place", ["0", "0/c/0", "0/c/0/8/8", "zarr.json"])
def test_links_below_an_output_are_replaced_with_it(place, stack, tmp_path):
    """What they lead to stays."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out = tmp_path / "out.zarr"
    chunkscale.resample(stack, out, chunk=8, shard=0)
    (tmp_path / "aside").mkdir()
    mine = (out / place).rename(tmp_path / "aside" / "mine")
    (out / place).symlink_to(mine)
    before = stored(tmp_path / "aside")
    chunkscale.resample(stack, out, chunk=8, overwrite=True)
    assert stored(tmp_path / "aside") == before
    assert not (out / place).is_symlink()
    assert_same_output(out, tmp_path / "whole.zarr")


def test_what_desktops_leave_does_not_keep_a_run_from_being_resumed(stack, tmp_path):
    """Nothing of it is deleted or counted."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out = tmp_path / "out.zarr"
    interrupted(stack, out, 1)
    (out / ".DS_Store").write_text("icons")
    (out / "0" / ".nfs0001").write_text("open elsewhere")
    (out / "notes.txt").write_text("mine")
    chunkscale.resample(stack, out, resume=True)
    (out / "0" / ".nfs0001").unlink()
    assert chunkscale.check(out)
    for extra in (".DS_Store", "notes.txt"):
        (out / extra).unlink()
    assert_same_output(out, tmp_path / "whole.zarr")


def damage(out, how):
    """Damage one stored object; return its level."""
    level = out / "0"
    objects = sorted(
        f for f in level.rglob("*") if f.is_file() and not f.name.startswith(("z", "."))
    )
    victim = objects[-1]  # at the edge
    if how == "torn":
        victim.write_bytes(victim.read_bytes()[:-7])
    elif how == "empty":
        victim.write_bytes(b"")
    else:
        victim.unlink()
    return victim


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", ["torn", "empty", "missing"])
@pytest.mark.parametrize("finished", [False, True])
def test_damaged_objects_are_found_and_mended(layout, how, finished, stack, tmp_path):
    """Resume makes their regions again, in unfinished outputs and in finished ones."""
    options = LAYOUTS[layout]
    chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    out = tmp_path / "out.zarr"
    if finished:
        chunkscale.resample(stack, out, **options)
    else:
        interrupted(stack, out, 18, **options)
    damage(out, how)
    assert not chunkscale.check(out)
    run = chunkscale.resample(stack, out, resume=True, **options)
    assert run.times.regions > 0
    assert_same_output(out, tmp_path / "whole.zarr")


def test_an_empty_file_in_the_place_of_fill_value_is_no_object(stack, tmp_path):
    """Its size is what such a chunk has stored, and nobody could read it.

    A single level, which no later pass reads: what it would read is decoded anyhow.
    """
    options = {"chunk": 16, "shard": 0, "levels": 1}
    chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    out = tmp_path / "out.zarr"
    interrupted(stack, out, 12, **options)
    torn = out / "0/c/0/0/0"
    assert not torn.exists()
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.touch()
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_a_finished_output_needs_nothing(stack, tmp_path, capsys):
    """Resume reads it, says so, and touches no file."""
    out = tmp_path / "out.zarr"
    chunkscale.resample(stack, out)
    before = {file: os.stat(out / file).st_mtime_ns for file in stored(out)}
    assert main(["resample", str(stack), str(out), "--resume"]) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    assert before == {file: os.stat(out / file).st_mtime_ns for file in stored(out)}


#: Options, and what the refusal says of them.
OTHER_RECIPES = [
    ({"voxel_size": 0.5}, r"voxel_size was \[0.4, 0.4, 0.4\], now \[0.5, 0.5, 0.5\]"),
    ({"codec": "zstd"}, "codec was 'blosc-lz4', now 'zstd'"),
    ({"checksum": "crc32c"}, "checksum was 'none', now 'crc32c'"),
    ({"method": "nearest"}, "method was 'linear', now 'nearest'"),
    ({"downsample": "max"}, "downsample was 'mean', now 'max'"),
    ({"levels": 2}, "levels was .*, now"),
    ({"chunk": 8}, r"chunk was \[16, 16, 16\], now \[8, 8, 8\]"),
    ({"chunk": 16, "shard": 32}, r"shard was None, now \[32, 32, 32\]"),
    ({"ome_zarr_version": "0.4"}, "ome_zarr_version was '0.5', now '0.4'"),
    ({"antialias": True, "voxel_size": 2}, "antialias was False, now True"),
]


@pytest.mark.parametrize("finished", [False, True])
def test_another_recipe_is_refused(finished, stack, tmp_path):
    """Everything that differs is named with both values, and nothing is touched."""
    out = tmp_path / "out.zarr"
    if finished:
        chunkscale.resample(stack, out, chunk=16)
    else:
        interrupted(stack, out, 6, chunk=16)
    before = stored(out)
    for options, named in OTHER_RECIPES:
        with pytest.raises(chunkscale.DestinationError, match=named):
            chunkscale.resample(stack, out, resume=True, **options)
        assert stored(out) == before


@pytest.mark.filterwarnings("ignore:source and grid to match", "ignore:.*no physical unit")
@pytest.mark.parametrize(
    ("named", "changed", "options"),
    [
        ("axes was .*micrometer", {"unit": "micrometer"}, {}),
        ("translation was", {"translation": (2.0, 0.0, 0.0)}, {}),
        ("outside was 'edge', now '7'", {}, {"outside": 7}),
    ],
)
def test_another_place_or_unit_is_another_recipe(
    named, changed, options, make_image, noise, tmp_path
):
    """A target that says something else of where its voxels lie is refused, by name."""
    source = make_image(noise((8, 20, 20)), (1.0, 0.4, 0.4), unit=None)
    same = {"data": noise((16, 20, 20)), "voxel_size": (0.5, 0.4, 0.4)}
    first = make_image(**same, unit=None, name="first.zarr")
    second = make_image(**same, **{"unit": None, **changed}, name="second.zarr")
    out = tmp_path / "out.zarr"
    interrupted(source, out, 1, like=first)
    with pytest.raises(chunkscale.DestinationError, match=named):
        chunkscale.resample(source, out, like=second, chunk=8, resume=True, **options)
    chunkscale.resample(source, out, like=first, chunk=8, resume=True)


def test_another_source_is_refused(stack, make_image, noise, tmp_path):
    """The source counts with its path and its metadata."""
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    other = make_image(stack_with_holes(noise), (1.0, 0.4, 0.4), name="other.zarr")
    with pytest.raises(chunkscale.DestinationError, match=r"source was .*; source_metadata was"):
        chunkscale.resample(other, out, resume=True, chunk=8)


def test_memory_and_workers_may_differ(stack, tmp_path):
    """The layout of the interrupted run is taken over: objects and regions stay the same."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", memory="2GiB", workers=3, chunk=8)
    out = tmp_path / "out.zarr"
    interrupted(stack, out, memory="2GiB", workers=3)
    run = chunkscale.resample(stack, out, resume=True, chunk=8, memory=budget(356), workers=1)
    assert run.plan.memory.total <= parse_bytes(budget(356))
    assert run.times.resumed_regions >= 12
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("begun", ["afresh", "resumed"])
def test_objects_that_vanish_during_a_run_are_missed(begun, layout, stack, tmp_path):
    """Their region is named; resume makes it again, and what later passes have read of it."""
    options = LAYOUTS[layout]
    whole = chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    assert len(whole.plan.passes) > 1
    assert whole.plan.passes[0].region_count >= 14
    out, gone = tmp_path / "out.zarr", []
    if begun == "resumed":
        interrupted(stack, out, 6, **options)

    def clean(progress):
        if progress.regions >= 14 and not gone:
            gone.append(damage(out, "missing"))

    message = r"are missing or have changed .* region \d+ \(voxels .* of level 0\).*resume=True"
    with pytest.raises(chunkscale.RegionError, match=message):
        chunkscale.resample(
            stack, out, workers=1, progress=clean, resume=begun == "resumed", **options
        )
    assert not chunkscale.check(out)
    assert leases_module.holder(str(out)) is None
    run = chunkscale.resample(stack, out, resume=True, **options)
    later = whole.plan.region_count - whole.plan.passes[0].region_count
    assert run.times.regions == 1 + later
    assert_same_output(out, tmp_path / "whole.zarr")


def test_what_later_passes_read_of_lost_objects_is_made_again(stack, tmp_path):
    """Also where the run did not come to its end."""
    whole = chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8, shard=0)
    out, gone = tmp_path / "out.zarr", []
    first = whole.plan.passes[0].region_count

    def clean(progress):
        if progress.regions == first and not gone:
            gone.append([shutil.rmtree(part) for part in (out / "0" / "c").iterdir()])
        if progress.regions >= whole.plan.region_count - 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        chunkscale.resample(stack, out, chunk=8, shard=0, workers=1, progress=clean)
    chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_whole_outputs_are_listed_once(stack, tmp_path, monkeypatch):
    """What the regions of this run and of earlier ones have stored adds up to what is there."""

    def never(*_):
        raise AssertionError("the regions were looked at one by one")

    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    monkeypatch.setattr("chunkscale.output.publish.measured", never)
    run = chunkscale.resample(stack, out, chunk=8, resume=True)
    assert run.times.resumed_regions >= 12
    chunkscale.resample(stack, tmp_path / "other.zarr", chunk=8)


def put_aside(source, path):
    """Move a source away; return a function that puts it back, whatever took its place."""
    source.rename(path)

    def back():
        shutil.rmtree(source, ignore_errors=True)
        path.rename(source)

    return back


OTHERS = {
    "gone": lambda make_image, noise: None,
    "another image": lambda make_image, noise: make_image(
        noise((9, 70, 75)), (1.0, 0.4, 0.4), chunk=(4, 16, 16)
    ),
    "an image with the same metadata": lambda make_image, noise: make_image(
        noise((20, 70, 75), seed=7), (1.0, 0.4, 0.4), chunk=(4, 16, 16)
    ),
    "a group": lambda make_image, noise: zarr.open_group("source.ome.zarr/0"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_source_that_vanishes_is_never_read_as_zeros(
    other, seconds, stack, make_image, noise, tmp_path, monkeypatch
):
    """The run fails; what it noted down before stays, and nothing that was read since."""
    monkeypatch.chdir(tmp_path)
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (seconds, seconds))
    out, back = tmp_path / "out.zarr", []

    def vanish(progress):
        if progress.regions == 3:
            back.append(put_aside(stack, tmp_path / "aside.zarr"))
            OTHERS[other](make_image, noise)

    # Where nothing is, whoever finds out first says so: who reads a chunk, or who looks.
    said = r"the source .* has .*resume=True|the folder .* does not exist"
    with pytest.raises((chunkscale.RegionError, chunkscale.CorruptChunkError), match=said):
        chunkscale.resample(stack, out, chunk=8, workers=1, progress=vanish)
    assert not chunkscale.check(out)
    back[0]()
    run = chunkscale.resample(stack, out, chunk=8, resume=True)
    assert run.times.resumed_regions == (0 if seconds else 3)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_a_source_that_comes_back_does_not_make_right_what_was_read(
    stack, make_image, noise, tmp_path, monkeypatch
):
    """Once it was seen to be another nothing is noted down any more."""
    monkeypatch.chdir(tmp_path)
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (0.0, 0.0))
    out, back, look = tmp_path / "out.zarr", [], ArrayReader.fate

    def vanish(progress):
        if progress.regions == 3:
            back.append(put_aside(stack, tmp_path / "aside.zarr"))
            OTHERS["an image with the same metadata"](make_image, noise)

    def looked(reader):
        found = look(reader)
        if found:
            back.pop()()
        return found

    monkeypatch.setattr(ArrayReader, "fate", looked)
    with pytest.raises(chunkscale.RegionError, match="has been replaced"):
        chunkscale.resample(stack, out, chunk=8, workers=1, progress=vanish)
    run = chunkscale.resample(stack, out, chunk=8, resume=True)
    assert run.times.resumed_regions == 3
    assert_same_output(out, tmp_path / "whole.zarr")


def test_a_source_whose_voxel_size_changes_is_not_published(stack, tmp_path):
    """The metadata of its group is looked at in the end; what else they hold may change."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out, document = tmp_path / "out.zarr", stack / "zarr.json"
    before = document.read_text()
    assert "0.4" in before

    def meddle(progress):
        document.write_text(before.replace("0.4", "0.3"))

    with pytest.raises(chunkscale.RegionError, match="has been replaced"):
        chunkscale.resample(stack, out, chunk=8, progress=meddle)
    with pytest.raises(chunkscale.DestinationError, match="source_voxel_size was"):
        chunkscale.resample(stack, out, chunk=8, resume=True)
    document.write_text(before)
    run = chunkscale.resample(stack, out, chunk=8, resume=True)
    assert run.times.regions == 0
    assert_same_output(out, tmp_path / "whole.zarr")

    def harmless(progress):
        (stack / "0" / "zarr.json").touch()
        content = json.loads(before)
        content["attributes"]["seen"] = True
        document.write_text(json.dumps(content))

    chunkscale.resample(stack, out, chunk=8, overwrite=True, progress=harmless)
    assert chunkscale.check(out, source=stack)


def test_what_is_free_does_not_keep_a_run_from_being_resumed(stack, tmp_path, monkeypatch):
    """The same command succeeds when the machine has less memory left than before."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    monkeypatch.setattr("chunkscale.host.memory.available_bytes", lambda: 2**20)
    with pytest.raises(chunkscale.MemoryBudgetError):
        chunkscale.plan_resampling(stack, chunk=8)
    chunkscale.resample(stack, out, resume=True, chunk=8)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_an_output_in_use_is_refused(stack, tmp_path, capsys):
    """Neither resume nor overwrite touch what another run writes; the message says who does."""
    out, seen = tmp_path / "out.zarr", []

    def meddle(progress):
        if seen:
            return
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(chunkscale.DestinationError, match=f"process {os.getpid()}") as e:
                chunkscale.resample(stack, out, **how)
            seen.append(str(e.value))

    chunkscale.resample(stack, out, progress=meddle)
    assert "take_over" in seen[0]
    assert chunkscale.check(out)


def test_a_run_that_loses_its_lease_stops(stack, tmp_path, monkeypatch):
    """Who takes over finishes; who was overtaken says so, and publishes nothing."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=16)
    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (0.0, 0.0))
    out, taken = tmp_path / "out.zarr", []

    def meddle(progress):
        if progress.regions == 12 and not taken:
            taken.append(True)
            chunkscale.resample(stack, out, resume=True, take_over=True)

    with pytest.raises(chunkscale.RegionError, match="taken over"):
        chunkscale.resample(stack, out, chunk=16, progress=meddle)
    assert_same_output(out, tmp_path / "whole.zarr")


def meanwhile(monkeypatch, act):
    """Let something happen after all checks, just before a run makes its output."""
    original = recipe

    def late(*arguments):
        act()
        return original(*arguments)

    monkeypatch.setattr("chunkscale.output.writing.recipe", late)


@pytest.mark.parametrize("resume", [False, True])
def test_what_appears_while_a_run_begins_is_not_deleted(resume, stack, tmp_path, monkeypatch):
    """A folder, or the output of a run that was faster."""
    out = tmp_path / "out.zarr"

    def folder():
        out.mkdir()
        (out / "thesis.txt").write_text("mine")

    meanwhile(monkeypatch, folder)
    with pytest.raises(chunkscale.DestinationError, match="exists"):
        chunkscale.resample(stack, out, resume=resume)
    assert stored(out) == {"thesis.txt": b"mine"}


def test_what_another_run_has_finished_meanwhile_is_not_made_again(stack, tmp_path, monkeypatch):
    """Neither by one that resumes and has looked before, nor by one that begins."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out = tmp_path / "out.zarr"
    acquire = leases_module.acquire
    for resume in (True, False):
        if resume:
            interrupted(stack, out)

        def late(*arguments, **options):
            monkeypatch.setattr("chunkscale.output.leases.acquire", acquire)
            chunkscale.resample(stack, out, chunk=8, resume=True)
            return acquire(*arguments, **options)

        monkeypatch.setattr("chunkscale.output.leases.acquire", late)
        with pytest.raises(chunkscale.DestinationError, match="another run"):
            chunkscale.resample(stack, out, chunk=8, resume=resume)
        assert_same_output(out, tmp_path / "whole.zarr")
        shutil.rmtree(out)


def test_of_two_runs_that_take_a_dead_one_s_lease_one_is_refused(stack, tmp_path):
    """Starting again after a crash is no moment without a lease."""
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    write_lease(out, pid=2**22 + 1, renewed=time.time())
    both = threading.Barrier(2)
    withdraw = contents.withdraw

    def together(*arguments):
        both.wait(20)
        withdraw(*arguments)

    def take(_):
        try:
            return leases_module.acquire(str(out))
        except chunkscale.DestinationError:
            return None

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("chunkscale.storage.objects.withdraw", together)
        leases = list(pool.map(take, range(2)))
    assert leases.count(None) == 1
    assert leases_module.holder(str(out)) in leases


def test_a_damaged_lease_counts_for_nothing(stack, tmp_path):
    """Whatever is in it."""
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    for changes in ({"renewed": "now"}, {"pid": None, "renewed": 1.0}, {"extra": 1}):
        write_lease(out, **changes)
        leases_module.check_free(str(out), take_over=False)
    chunkscale.resample(stack, out, resume=True)
    assert chunkscale.check(out, source=stack)


def test_of_two_runs_that_begin_at_once_one_is_refused(stack, tmp_path):
    """The other one finishes, whichever it is."""
    out = tmp_path / "out.zarr"
    both = threading.Barrier(2)
    make_folder, put_note = places.make_folder, notes_module.put_note

    def make_folders(uri):
        both.wait(20)
        make_folder(uri)

    def put_notes(*arguments, new=False):
        if new:
            both.wait(20)
        put_note(*arguments, new=new)

    def run(_):
        try:
            return chunkscale.resample(stack, out)
        except chunkscale.DestinationError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("chunkscale.output.writing.make_folder", make_folders)
        patch.setattr("chunkscale.output.leases.put_note", put_notes)
        results = list(pool.map(run, range(2)))
    refused = [found for found in results if isinstance(found, str)]
    assert len(refused) == 1
    assert "another run" in refused[0]
    assert chunkscale.check(out, source=stack)


def test_a_run_whose_output_is_replaced_writes_into_it_no_more(stack, tmp_path):
    """It has stopped before the other one, which makes something else, writes its first region."""
    chunkscale.resample(stack, tmp_path / "nearest.zarr", chunk=16, method="nearest")
    out, begun, results = tmp_path / "out.zarr", threading.Event(), []

    def slowly(_):
        begun.set()
        time.sleep(0.05)

    def first():
        with pytest.raises(chunkscale.RegionError, match="taken over"):
            chunkscale.resample(stack, out, chunk=16, workers=1, progress=slowly)
        results.append(time.monotonic())

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(30)
    seen = []
    chunkscale.resample(
        stack, out, chunk=16, method="nearest", overwrite=True, take_over=True,
        progress=lambda _: seen.append(time.monotonic()),
    )  # fmt: skip
    thread.join()
    assert results[0] < seen[0]
    assert_same_output(out, tmp_path / "nearest.zarr")


def test_an_interrupted_overwriting_is_resumed(stack, tmp_path, monkeypatch):
    """Whatever of the old output is left goes, but nothing that came since."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8)
    out = tmp_path / "out.zarr"
    original = contents.delete_below

    def once(*arguments):
        original(*arguments)
        raise KeyboardInterrupt

    for version in ("0.4", "0.5"):
        chunkscale.resample(stack, out, chunk=16, ome_zarr_version=version)
        if version == "0.5":  # paths of other programs' levels may have folders
            attributes = json.loads((out / "zarr.json").read_text())
            for dataset in attributes["attributes"]["ome"]["multiscales"][0]["datasets"]:
                (out / "scale").mkdir(exist_ok=True)
                (out / dataset["path"]).rename(out / "scale" / f"s{dataset['path']}")
                dataset["path"] = f"scale/s{dataset['path']}"
            (out / "zarr.json").write_text(json.dumps(attributes))
        with monkeypatch.context() as patch:
            patch.setattr("chunkscale.storage.objects.delete_below", once)
            with pytest.raises(KeyboardInterrupt):
                chunkscale.resample(stack, out, chunk=8, overwrite=True)
        assert not chunkscale.check(out)
        (out / "thesis.txt").write_text("mine")
        with pytest.raises(chunkscale.DestinationError, match=r"thesis\.txt"):
            chunkscale.resample(stack, out, chunk=8, resume=True)
        (out / "thesis.txt").unlink()
        chunkscale.resample(stack, out, chunk=8, resume=True)
        assert_same_output(out, tmp_path / "whole.zarr")
        shutil.rmtree(out)


def test_what_repeats_metadata_goes_before_it(make_image, noise, monkeypatch):
    """Left alone it would tell of an image to who reads nothing else."""
    out = make_image(noise((4, 8, 8)), version="0.4", name="old.zarr")
    (out / ".zmetadata").write_text("{}")
    delete, gone = contents.delete, []

    def watched(uris):
        listed = list(uris)
        gone.extend(uri.rsplit("/", 1)[1] for uri in listed)
        delete(listed)

    monkeypatch.setattr("chunkscale.storage.objects.delete", watched)
    places.discard(str(out), ["0"])
    assert gone.index(".zmetadata") < min(gone.index(".zattrs"), gone.index(".zgroup"))


def test_of_two_runs_that_overwrite_at_once_one_is_refused(stack, tmp_path, monkeypatch):
    """The second one says who is writing; the first one is not disturbed."""
    out = tmp_path / "out.zarr"
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=16)
    chunkscale.resample(stack, out, chunk=8)
    original, refusals = places.discard, []

    def discard(*arguments):
        with pytest.raises(chunkscale.DestinationError, match="being written by process") as error:
            chunkscale.resample(stack, out, chunk=16, overwrite=True)
        refusals.append(error.value)
        original(*arguments)

    monkeypatch.setattr("chunkscale.output.writing.discard", discard)
    chunkscale.resample(stack, out, chunk=16, overwrite=True)
    assert len(refusals) == 1
    assert_same_output(out, tmp_path / "whole.zarr")


def write_lease(out, **changes):
    host, pid, started = identity()
    lease = {"run": "another", "host": host, "pid": pid, "started": started, "duration": 120.0}
    notes_module.put_note(str(out), "run.json", json.dumps({**lease, **changes}))


def test_whose_lease_counts(stack, tmp_path):
    """A dead process of this host has none; one of another host has it until it runs out."""
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    assert leases_module.holder(str(out)) is None  # an interrupted run gives it back
    now = time.time()
    for changes, free in [
        ({"host": "elsewhere", "renewed": now}, False),
        ({"host": "elsewhere", "renewed": now - 1000}, True),
        ({"renewed": now}, False),
        ({"started": 1.0, "renewed": now}, True),
        ({"pid": 2**22 + 1, "renewed": now}, True),
    ]:
        write_lease(out, **changes)
        if free:
            leases_module.check_free(str(out), take_over=False)
        else:
            with pytest.raises(chunkscale.DestinationError, match="being written by process"):
                leases_module.check_free(str(out), take_over=False)
            leases_module.check_free(str(out), take_over=True)


def test_a_living_process_has_its_lease_when_the_clock_is_set(stack, tmp_path, monkeypatch):
    """The time of day says nothing about when a process began."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("only Linux tells the time since boot")
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    write_lease(out, renewed=time.time())
    monkeypatch.setattr("psutil.Process.create_time", lambda self: 12345.0)
    with pytest.raises(chunkscale.DestinationError, match="being written by process"):
        leases_module.check_free(str(out), take_over=False)


def test_the_ledger_of_another_run_is_not_deleted(tmp_path, monkeypatch):
    """Not even by one that ends well; nor does one that goes on renew its lease over the other."""
    monkeypatch.setattr("chunkscale.output.leases.LEASE_SECONDS", 0.06)
    out = str(tmp_path / "out.zarr")
    lease = leases_module.acquire(out)
    with leases_module.kept(out, lease):
        write_lease(out, renewed=time.time())
        time.sleep(0.1)  # long enough for several renewals
        assert leases_module.holder(out).run == "another"
    assert leases_module.holder(out).run == "another"


def test_what_could_not_be_noted_down_is_noted_down_with_the_next_flush(tmp_path, monkeypatch):
    """A store that fails once costs no region."""
    out, put, fails = str(tmp_path / "out.zarr"), ledger.put_note, [True]

    def put_note(*arguments):
        if fails and fails.pop():
            raise OSError("injected")
        put(*arguments)

    monkeypatch.setattr(ledger, "put_note", put_note)
    notes = ledger.Ledger(out, leases_module.acquire(out), look=lambda: None)
    notes.add(2, 20)
    with pytest.warns(chunkscale.ChunkscaleWarning, match="cannot be written"):
        notes.flush()
    notes.add(0, 10)
    notes.flush()
    assert ledger.recorded(out, 4).tolist() == [10, -1, 20, -1]
    assert notes.stored == 30


def test_of_two_runs_that_take_over_at_once_one_begins(stack, tmp_path, monkeypatch):
    """Who was overtaken while it waited for the loser is refused, and has written nothing."""
    out = tmp_path / "out.zarr"
    interrupted(stack, out)
    write_lease(out, renewed=time.time())
    before = stored(out / "0")
    monkeypatch.setattr(
        "chunkscale.output.leases.wait_for_loser",
        lambda: write_lease(out, run="a third", renewed=time.time()),
    )
    with pytest.raises(chunkscale.DestinationError, match="another run"):
        chunkscale.resample(stack, out, chunk=8, resume=True, take_over=True)
    assert leases_module.holder(str(out)).run == "a third"
    assert stored(out / "0") == before


def test_who_was_overtaken_after_its_last_look_does_not_publish(stack, tmp_path, monkeypatch):
    """The lease is looked at once more when all regions are made."""
    monkeypatch.setattr("chunkscale.output.leases.CHECK_SECONDS", 1e9)
    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (1e9, 1e9))
    out = tmp_path / "out.zarr"

    def overtake(progress):
        if progress.regions == progress.total_regions:
            write_lease(out, renewed=time.time())

    with pytest.raises(chunkscale.RegionError, match="taken over by process"):
        chunkscale.resample(stack, out, chunk=16, progress=overtake)
    with pytest.raises(chunkscale.NotAnImageError, match="did not finish"):
        chunkscale.open_image(out)


def test_the_lease_of_a_process_that_waits_to_be_buried_is_none(tmp_path):
    """A child that has ended has a number as long as its parent has not asked for its end."""
    out = tmp_path / "out.zarr"
    tell = "from chunkscale.host.identity import identity; print(*identity()[1:])"
    with subprocess.Popen([sys.executable, "-c", tell], stdout=subprocess.PIPE) as child:
        pid, started = child.stdout.read().split()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not buried
        write_lease(out, pid=int(pid), started=float(started), renewed=time.time())
        leases_module.check_free(str(out), take_over=False)


def test_a_note_that_has_changed_is_not_withdrawn(tmp_path):
    """Between reading and deleting another run may have put its own there."""
    out = str(tmp_path)
    notes_module.put_note(out, "run.json", "another's")
    with pytest.raises(FileExistsError):
        notes_module.withdraw_note(out, "run.json", "what was read")
    assert notes_module.read_note(out, "run.json") == "another's"
    assert note_names(out) == ["run.json"]
    notes_module.withdraw_note(out, "run.json", "another's")
    assert note_names(out) == []


def test_the_lease_is_renewed_while_a_region_takes_long(stack, tmp_path, monkeypatch):
    """A driver that waits for a region is not taken for dead."""
    monkeypatch.setattr("chunkscale.output.leases.LEASE_SECONDS", 0.6)
    out, seen = tmp_path / "out.zarr", []

    def look(progress):
        if not seen:
            for _ in range(8):
                seen.append(leases_module.holder(str(out)).renewed)
                time.sleep(0.1)

    chunkscale.resample(stack, out, progress=look)
    assert len(set(seen)) > 2


def test_what_was_made_by_others_is_not_resumed(make_image, noise, stack, tmp_path):
    """An image that says nothing of its making is refused, and stays."""
    other = make_image(noise((4, 8, 8)), (1.0, 0.4, 0.4), name="other.zarr")
    before = stored(other)
    with pytest.raises(chunkscale.DestinationError, match="does not say how it was made"):
        chunkscale.resample(stack, other, resume=True)
    assert stored(other) == before
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    with pytest.raises(chunkscale.DestinationError):
        chunkscale.resample(stack, tmp_path / "folder", resume=True)
    with pytest.raises(chunkscale.OptionError, match="one of them"):
        chunkscale.resample(stack, tmp_path / "x.zarr", resume=True, overwrite=True)


def test_damaged_notes_cost_time_and_nothing_else(stack, tmp_path):
    """What cannot be understood counts as not finished."""
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=16, shard=0)
    out = tmp_path / "out.zarr"
    interrupted(stack, out, 20, chunk=16, shard=0)
    notes = [name for name in note_names(str(out)) if name.startswith("done-")]
    assert notes
    for name, text in zip(notes, ['{"regions": [[0, 9]], "bytes": [1]}', "{", "[]"], strict=False):
        notes_module.put_note(str(out), name, text)
    notes_module.put_note(str(out), "run.json", "nonsense")
    chunkscale.resample(stack, out, resume=True, chunk=16, shard=0)
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_so_that_it_can_be_resumed(stack, tmp_path, number):
    """Exit code 4, a message that says how to go on, and the same bytes in the end."""
    options = {"chunk": 8, "shard": 0, "voxel_size": 0.25}
    chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
    out, log = tmp_path / "out.zarr", tmp_path / "log"
    process = start_driver(stack, out, options, "--log", log)
    while not (log.exists() and log.stat().st_size):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    message = process.communicate()[1].decode()
    assert process.returncode == 4
    assert "rerun with --resume" in message
    assert "Traceback" not in message
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(line["bytes"] > 0 and line["read_seconds"] >= 0 for line in lines)
    run = chunkscale.resample(stack, out, resume=True, **options)
    # What had begun when the signal came is waited for; it may come before a line is written.
    assert 0 <= run.times.resumed_regions - len(lines) <= 1
    assert_same_output(out, tmp_path / "whole.zarr")
