"""Many images in one run: each is what it would be by itself, and the collection is whole."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from plates import SIZE, WELLS, attributes, image, inner, ngff, plate

import chunkscale
from chunkscale.api import batches
from chunkscale.cli.main import main
from chunkscale.errors import DestinationError, OptionError, RegionError
from chunkscale.sources.collections import open_collection

DATA = Path(__file__).parents[3] / "shared" / "data"
FIELDS = [f"{well}/{field}" for well, fields in WELLS.items() for field in fields]


def stored(path):
    """Return all files of an output but its own documents, by path."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("zarr.json", ".zattrs", ".zgroup")
    }


def series(path, version="0.5"):
    """Write two images of different voxel sizes, as bioformats2raw lays them out."""
    ngff(path, {"bioformats2raw.layout": 3}, version)
    ngff(path / "OME", {"series": ["0", "1"]}, version)
    image(path / "0", version)
    image(path / "1", version, size=(1.0, 4.0, 1.0, 1.0), seed=1)
    return path


def folder(path, version="0.5"):
    path.mkdir()
    for k, name in enumerate(("b.zarr", "a2.zarr", "a10.zarr")):
        image(path / name, version, seed=k)
    return path


@pytest.mark.filterwarnings("ignore:.*an output is an image of its own")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("make", [plate, series, folder])
def test_each_image_is_what_it_would_be_by_itself(make, version, tmp_path):
    """The same bytes, wherever a region was made."""
    source, out = make(tmp_path / "source", version), tmp_path / "out"
    run = chunkscale.resample(source, out, images="all", voxel_size=1.0)
    names = list(open_collection(source).images())
    assert list(open_collection(out).images()) == names
    assert run.plan.images == len(names)
    for k, name in enumerate(names):
        alone = tmp_path / f"alone-{k}"
        chunkscale.resample(source / name, alone, voxel_size=1.0)
        assert stored(out / name) == stored(alone)
    assert chunkscale.check(out, source=source)


@pytest.mark.parametrize("target", ["0.4", "0.5"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_stays_a_plate(version, target, tmp_path):
    """Valid for those who read it, in either version."""
    source, out = plate(tmp_path / "plate.zarr", version), tmp_path / "out.zarr"
    chunkscale.resample(source, out, images="all", ome_zarr_version=target)
    ours, theirs = (inner(path)["plate"] for path in (out, source))
    for key in ("name", "rows", "columns", "wells", "acquisitions", "field_count"):
        assert ours[key] == theirs[key]
    assert attributes(out)["barcode"] == 17
    assert attributes(out)["chunkscale"]["state"] == "finished"
    if importlib.util.find_spec("yaozarrs"):
        import yaozarrs

        yaozarrs.validate_zarr_store(str(out))


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("B/03/0", ["B/03/0"]),
        ("B/*/0", ["B/03/0", "B/04/0"]),
        (["D/10/2", "B/03/1"], ["B/03/1", "D/10/2"]),
        ("B/03/0,D/**", ["B/03/0", "D/10/0", "D/10/1", "D/10/2"]),
    ],
    ids=str,
)
def test_images_can_be_chosen(asked, made, tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    assert chunkscale.plan_resampling(source, images=asked).images == len(made)
    chunkscale.resample(source, out, images=asked)
    assert list(open_collection(out).images()) == made
    assert chunkscale.check(out, source=source)


def test_images_that_are_not_there_are_refused(tmp_path):
    source = plate(tmp_path / "plate.zarr")
    with pytest.raises(OptionError, match=r"'B/03/7' .*matches no image.*'B/03/0'"):
        chunkscale.resample(source, tmp_path / "out.zarr", images="B/03/7")
    with pytest.raises(OptionError, match="is one image; leave it out"):
        chunkscale.plan_resampling(source / "B" / "03" / "0", images="0")
    assert not (tmp_path / "out.zarr").exists()


def test_all_of_one_image_is_that_image(tmp_path):
    """So that a script can always ask for all."""
    source = image(tmp_path / "one.zarr")
    run = chunkscale.resample(source, tmp_path / "out.zarr", images="all")
    assert isinstance(run, chunkscale.Resampled)


def test_a_collection_by_itself_asks_which_images(tmp_path):
    with pytest.raises(chunkscale.MultipleImagesError, match="images='all'") as caught:
        chunkscale.resample(plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr")
    assert list(caught.value.paths) == FIELDS


def test_a_folder_by_itself_asks_which_images(tmp_path):
    with pytest.raises(chunkscale.MultipleImagesError, match="images='all'") as caught:
        chunkscale.plan_resampling(folder(tmp_path / "folder"))
    assert list(caught.value.paths) == ["a2.zarr", "a10.zarr", "b.zarr"]


def test_images_that_are_alike_are_planned_once(tmp_path, monkeypatch):
    """Whatever they are called, and wherever they go."""
    from chunkscale.api import plans

    calls = []
    original = plans.make_plan
    monkeypatch.setattr(plans, "make_plan", lambda *a, **k: calls.append(a) or original(*a, **k))
    source = plate(tmp_path / "plate.zarr", made=False)
    for k, name in enumerate(FIELDS):
        image(source / name, name=f"field {k}")
    chunkscale.resample(source, tmp_path / "out.zarr", images="all")
    assert len(calls) == 1
    names = [inner(tmp_path / "out.zarr" / name)["multiscales"][0]["name"] for name in FIELDS]
    assert names == [f"field {k}" for k in range(6)]


def test_labels_of_each_image_go_along(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    for name in ("B/03/0", "D/10/1"):
        labels = source / name / "labels"
        ngff(labels, {"labels": ["cells"]})
        image(labels / "cells", shape=(4, 12, 10), size=SIZE[1:], attributes={"image-label": {}})
    run = chunkscale.resample(source, out, images="all")
    assert (run.plan.images, run.plan.labels) == (6, 2)
    for name in FIELDS:
        found = chunkscale.open_image(out / name).labels
        assert found == (("labels/cells",) if name in ("B/03/0", "D/10/1") else ())
    report = chunkscale.check(out, source=source)
    assert report
    assert (report.images, report.labels) == (8, 2)


def test_selections_hold_for_every_image(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    options = {"channels": 1, "crop": "y=2:10", "voxel_size": "same"}
    chunkscale.resample(source, out, images="all", **options)
    for name in FIELDS:
        whole = np.asarray(chunkscale.open_image(source / name).as_dask())
        part = np.asarray(chunkscale.open_image(out / name).as_dask())
        assert np.array_equal(part, whole[1:2, :, 2:10])


# --- plans ---------------------------------------------------------------------------------------


def test_a_plan_adds_up_what_its_images_cost(tmp_path, capsys):
    source = series(tmp_path / "series.zarr")
    plan = chunkscale.plan_resampling(source, images="all", voxel_size=1.0)
    parts = [chunkscale.plan_resampling(source / name, voxel_size=1.0) for name in "01"]
    assert plan.regions == sum(part.region_count for part in parts)
    assert plan.bytes_written == sum(part.bytes_written for part in parts)
    assert [row.count for row in plan.alike] == [1, 1]
    assert plan.promise >= max(part.promise for part in parts)
    assert main(["plan", str(source), "--all", "--voxel-size", "1"]) == 0
    printed = capsys.readouterr().out
    assert "bioformats2raw" in printed
    assert main(["plan", str(source), "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2
    assert "<table>" in plan._repr_html_()


def test_images_that_are_alike_share_a_row(tmp_path):
    plan = chunkscale.plan_resampling(plate(tmp_path / "plate.zarr"), images="all")
    (row,) = plan.alike
    assert (row.first, row.count) == ("B/03/0", 6)
    assert not plan.warnings  # nothing of its place is lost


def test_a_plan_holds_no_more_for_more_images(monkeypatch, tmp_path):
    """Rows, warnings and failures are counted from a number on."""
    from chunkscale.plan import collection

    monkeypatch.setattr(collection, "MOST_KEPT", 2)
    source = tmp_path / "many"
    source.mkdir()
    for k in range(6):
        image(source / f"{k}.zarr", shape=(2, 4, 12, 8 + 2 * k))
    for k in range(6, 10):
        shutil.rmtree(image(source / f"{k}.zarr") / "0")
    plan = chunkscale.plan_resampling(source, images="all")
    assert (plan.images, len(plan.alike), plan.others) == (6, 2, 4)
    assert (plan.failed, len(plan.failures)) == (4, 2)
    assert "4 images of other kinds" in str(plan)


# --- what fails ----------------------------------------------------------------------------------


def broken(source, name, chunk="c/0/0/0/0"):
    """Spoil a chunk, so that the image opens and cannot be read."""
    (source / name / "0" / chunk).write_bytes(b"\0" * 7)


def test_one_image_that_fails_leaves_the_rest_done(tmp_path):
    """It is named at the end, and resuming makes it when it is whole again."""
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    whole = (source / "B/03/1/0/c/0/0/0/0").read_bytes()
    broken(source, "B/03/1")
    shutil.move(source / "D/10/0/0", tmp_path / "aside")
    with pytest.raises(RegionError, match="2 of 6 images could not be made") as caught:
        chunkscale.resample(source, out, images="all")
    assert "B/03/1: " in str(caught.value)
    assert "D/10/0: " in str(caught.value)
    assert attributes(out)["chunkscale"]["state"] == "unfinished"
    assert not chunkscale.check(out)
    for name in FIELDS:
        if name not in ("B/03/1", "D/10/0"):
            assert chunkscale.check(out / name, source=source / name)
    (source / "B/03/1/0/c/0/0/0/0").write_bytes(whole)
    shutil.move(tmp_path / "aside", source / "D/10/0/0")
    run = chunkscale.resample(source, out, images="all", resume=True)
    assert run.times.regions < run.plan.regions
    assert chunkscale.check(out, source=source)


def test_a_run_whose_images_all_fail_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("chunkscale.api.collections.MOST_FAILED", 3)
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    for name in FIELDS:
        broken(source, name)
    with pytest.raises(RegionError, match="of 6 images could not be made"):
        chunkscale.resample(source, out, images="all")
    assert attributes(out)["chunkscale"]["state"] == "unfinished"


def test_a_collection_of_which_nothing_can_be_made_is_refused(tmp_path):
    with pytest.raises(chunkscale.SourceNotFoundError):
        chunkscale.resample(
            plate(tmp_path / "plate.zarr", made=False), tmp_path / "out.zarr", images="all"
        )
    assert not (tmp_path / "out.zarr").exists()


def test_images_that_cannot_be_planned_do_not_end_a_run(tmp_path, monkeypatch):
    """However many there are: only what fails while it is made may be the store's fault."""
    monkeypatch.setattr("chunkscale.api.collections.MOST_FAILED", 2)
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    for name in ("B/03/0", "B/03/1", "B/04/0", "D/10/1"):
        shutil.rmtree(source / name / "0")
    with pytest.raises(RegionError, match=r"4 of 6 images could not be made.*all others are done"):
        chunkscale.resample(source, out, images="all")
    for name in ("D/10/0", "D/10/2"):
        assert chunkscale.check(out / name, source=source / name)


@pytest.mark.usefixtures("small_regions")
def test_an_image_of_which_nothing_can_be_read_does_not_end_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("chunkscale.run.driver.MOST_FAILURES", 3)
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    broken(source, "B/03/0")
    broken(source, "B/03/0", "c/1/0/0/0")
    with pytest.raises(RegionError, match=r"1 of 6 images could not be made"):
        chunkscale.resample(source, out, images="all", voxel_size=0.2, chunk=8, workers=1)
    for name in FIELDS[1:]:
        assert chunkscale.check(out / name, source=source / name)


def test_no_more_images_are_open_at_once_than_systems_allow(tmp_path):
    """Each has a lease and open arrays, however little memory it takes."""
    plan = chunkscale.plan_resampling(image(tmp_path / "a.zarr"), device="cpu", workers=1)
    alike = [SimpleNamespace(plan=plan)] * 70
    assert [len(batch) for batch in batches.batches(alike, 2**50)] == [32, 32, 6]


@pytest.mark.parametrize("together", [1, 32])
def test_labels_are_listed_when_their_image_is_there(together, tmp_path, monkeypatch):
    """Also where the image failed at first, in a batch with them or before."""
    monkeypatch.setattr("chunkscale.api.batches.MOST_TOGETHER", together)
    source, out = labelled_plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    chunk = source / "B/03/0/0/c/0/0/0/0"
    whole = chunk.read_bytes()
    broken(source, "B/03/0")
    with pytest.raises(RegionError, match="1 of 6 images"):
        chunkscale.resample(source, out, images="all")
    with pytest.raises(chunkscale.NotAnImageError, match="did not finish"):
        chunkscale.open_image(out / "B/03/0/labels/cells")
    chunk.write_bytes(whole)
    chunkscale.resample(source, out, images="all", resume=True)
    assert chunkscale.open_image(out / "B/03/0").labels == ("labels/cells",)
    assert chunkscale.check(out, source=source)


def test_many_labels_of_one_bad_image_are_one_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("chunkscale.api.collections.MOST_FAILED", 3)
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    names = [f"l{k}" for k in range(5)]
    ngff(source / "B/03/0/labels", {"labels": names})
    for name in names:
        image(
            source / "B/03/0/labels" / name,
            shape=(4, 12, 10),
            size=SIZE[1:],
            attributes={"image-label": {}},
        )
    broken(source, "B/03/0")
    with pytest.raises(RegionError, match=r"1 of 6 images could not be made.*all others are done"):
        chunkscale.resample(source, out, images="all")


def test_a_collection_with_nested_names_of_labels_is_replaced(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    ngff(source / "B/03/0/labels", {"labels": ["a/b"]})
    image(
        source / "B/03/0/labels/a/b",
        shape=(4, 12, 10),
        size=SIZE[1:],
        attributes={"image-label": {}},
    )
    chunkscale.resample(source, out, images="all")
    chunkscale.resample(source, out, images="all", overwrite=True)
    assert chunkscale.check(out, source=source)
    (out / "B/03/0/labels/a/mine.txt").write_text("keep me")
    with pytest.raises(DestinationError, match=r"mine.txt"):
        chunkscale.resample(source, out, images="all", overwrite=True)


def test_labels_that_no_image_has_are_refused(tmp_path):
    with pytest.raises(OptionError, match="'typo': none of the selected images"):
        chunkscale.plan_resampling(plate(tmp_path / "plate.zarr"), images="all", labels="typo")


@pytest.mark.filterwarnings("ignore:.*it has no labels")
def test_labels_that_some_images_have_can_be_named(tmp_path):
    source, out = labelled_plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    run = chunkscale.resample(source, out, images="all", labels="cells")
    assert (run.plan.images, run.plan.labels) == (6, 2)


# --- what is there already -----------------------------------------------------------------------


def test_an_output_is_kept_unless_it_is_to_be_replaced(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    chunkscale.resample(source, out, images="all")
    with pytest.raises(DestinationError, match="overwrite=True"):
        chunkscale.resample(source, out, images="all")
    chunkscale.resample(source, out, images="B/**", overwrite=True)
    assert list(open_collection(out).images()) == ["B/03/0", "B/03/1", "B/04/0"]
    (out / "B" / "mine.txt").write_text("keep me")
    with pytest.raises(DestinationError, match=r"mine.txt"):
        chunkscale.resample(source, out, images="all", overwrite=True)


def test_an_image_of_something_else_is_never_deleted(tmp_path):
    """A user may have put it beside those of the plate."""
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    chunkscale.resample(source, out, images="B/**")
    chunkscale.resample(image(tmp_path / "mine.zarr"), out / "B" / "09")
    with pytest.raises(DestinationError, match="B/09"):
        chunkscale.resample(source, out, images="all", overwrite=True)
    assert chunkscale.check(out / "B" / "09", source=tmp_path / "mine.zarr")


def test_a_number_may_be_spelled_in_several_ways(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    chunkscale.resample(source, out, images="all", voxel_size=1)
    chunkscale.resample(source, out, images="all", voxel_size="1.0", resume=True)


def test_what_was_begun_differently_is_not_continued(tmp_path):
    """Parameters are those of the whole."""
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    broken(source, "D/10/2")
    with pytest.raises(RegionError):
        chunkscale.resample(source, out, images="all", voxel_size=1.0)
    for options in ({"voxel_size": 2.0}, {"images": "B/**", "voxel_size": 1.0}):
        with pytest.raises(DestinationError, match="started with other options"):
            chunkscale.resample(source, out, **{"images": "all", **options}, resume=True)


def test_two_runs_do_not_write_one_collection(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"

    def progress(now):
        with pytest.raises(DestinationError, match="is being written by"):
            chunkscale.resample(source, out, images="all", resume=True)

    chunkscale.resample(source, out, images="all", progress=progress)
    assert chunkscale.check(out, source=source)


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize(("stop", "together"), [(1, 32), (5, 2), (11, 32), (17, 2), (23, 1)])
def test_a_run_is_resumed_wherever_it_was_stopped(stop, together, tmp_path, monkeypatch):
    """Byte by byte, and nothing that was finished is made again; in one batch, and in several."""
    monkeypatch.setattr(batches, "MOST_TOGETHER", together)
    source = plate(tmp_path / "plate.zarr")
    whole, out = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    options = {"images": "all", "chunk": 8, "shard": 0, "voxel_size": 0.2}
    total = chunkscale.resample(source, whole, **options).times.regions
    assert total > 23

    def progress(now):
        assert now.total_regions == total
        if now.regions >= stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(source, out, progress=progress, **options)
    assert not list(out.rglob("run.json"))  # of no image that was open, begun ahead or not
    run = chunkscale.resample(source, out, resume=True, **options)
    assert run.times.regions + run.times.resumed_regions == total
    assert run.times.resumed_regions >= stop - 1
    assert stored(out) == stored(whole)
    assert inner(out) == inner(whole)


KILLED = """
import sys
import chunkscale

def progress(now):
    print(now.regions, flush=True)

chunkscale.resample(sys.argv[1], sys.argv[2], images="all", resume=True, voxel_size=0.5, chunk=8,
                    progress=progress)
"""


@pytest.mark.slow
def test_a_plate_survives_kills(tmp_path):
    """SIGKILL at four moments; then the bytes of a run that was left alone."""
    source = plate(tmp_path / "plate.zarr")
    whole, out = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    chunkscale.resample(source, whole, images="all", voxel_size=0.5, chunk=8)
    for k in range(0, 10, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(source), str(out)], stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        for _ in range(1 + k % 3):
            process.stdout.readline()
        time.sleep(0.01 * k)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    chunkscale.resample(
        source, out, images="all", voxel_size=0.5, chunk=8, resume=True, take_over=True
    )
    assert stored(out) == stored(whole)
    assert chunkscale.check(out, source=source)


# --- where regions are made ----------------------------------------------------------------------


def labelled_plate(path):
    """Write a plate whose images differ, some with labels on voxels of their own."""
    plate(path)
    for name in ("B/03/0", "D/10/1"):
        ngff(path / name / "labels", {"labels": ["cells"]})
        image(
            path / name / "labels" / "cells",
            shape=(2, 6, 5),
            size=(4.0, 1.0, 1.0),
            attributes={"image-label": {}},
        )
    shutil.rmtree(path / "B" / "04" / "0")
    image(path / "B" / "04" / "0", shape=(2, 6, 20, 24), size=(1.0, 1.0, 0.3, 0.3))
    return path


def test_a_cluster_makes_the_bytes_of_threads(tmp_path):
    """Images and labels of several kinds, numbered through."""
    distributed = pytest.importorskip("distributed")
    source = labelled_plate(tmp_path / "plate.zarr")
    options = {"images": "all", "voxel_size": 0.3, "chunk": 8}
    chunkscale.resample(source, tmp_path / "threads.zarr", **options)
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        seen = []
        run = chunkscale.resample(
            source, tmp_path / "cluster.zarr", client=client, progress=seen.append, **options
        )
    assert run.times.regions == run.plan.regions == max(now.regions for now in seen)
    assert stored(tmp_path / "cluster.zarr") == stored(tmp_path / "threads.zarr")


@pytest.mark.filterwarnings("ignore:.*aliasing")
@pytest.mark.parametrize("method", ["linear", "cubic", "nearest"])
def test_a_device_makes_the_voxels_of_the_reference(method, device, tmp_path):
    """On a GPU as on the CPU, labels by modes."""
    source, out = labelled_plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    chunkscale.resample(
        source, out, images="all", voxel_size=0.8, method=method, antialias=method == "cubic",
        device=device,
    )  # fmt: skip
    assert chunkscale.check(out, source=source)
    other = tmp_path / "cpu.zarr"
    chunkscale.resample(
        source, other, images="all", voxel_size=0.8, method=method, antialias=method == "cubic",
        device="cpu", chunk=8,
    )  # fmt: skip
    for name in FIELDS:
        for path in (
            name,
            *(f"{name}/{label}" for label in chunkscale.open_image(out / name).labels),
        ):
            ours, theirs = (chunkscale.open_image(root / path).as_dask() for root in (out, other))
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))


# --- the command line, info, real collections ----------------------------------------------------


def test_the_command_line_takes_collections(tmp_path, capsys):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    assert main(["resample", str(source), str(out), "--all", "--voxel-size", "1um"]) == 0
    told = capsys.readouterr().out
    assert "6 images" in told
    assert main(["check", str(out), "--source", str(source)]) == 0
    assert "6 images" in capsys.readouterr().out
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "a plate, 6 images" in told
    assert all(name in told for name in FIELDS)
    assert main(["info", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["images"] == FIELDS
    assert facts["members"][0]["voxel_size"] == [1.0, 1.0, 1.0, 1.0]
    assert main(["resample", str(source), str(out), "--images", "D/10/*", "--overwrite"]) == 0
    assert list(open_collection(out).images()) == ["D/10/0", "D/10/1", "D/10/2"]


def test_what_cannot_be_made_is_said_before_the_run(tmp_path, capsys):
    """Not when all others are done."""
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    shutil.rmtree(source / "B/03/1/0")
    assert main(["resample", str(source), str(out), "--all"]) == 1
    assert "5 images of" in (told := capsys.readouterr().out)
    assert "a plate; 1 image cannot be made" in told


def test_a_collection_is_not_compared_with_an_array(tmp_path):
    source = plate(tmp_path / "plate.zarr")
    with pytest.raises(OptionError, match="give the path of the collection"):
        chunkscale.check(source, source=np.zeros((3, 3, 3)))


@pytest.mark.parametrize("asked", [3, True, [1]], ids=str)
def test_images_of_a_wrong_type_are_refused(asked, tmp_path):
    with pytest.raises(OptionError, match=r"must be .* like 'B/03/0"):
        chunkscale.plan_resampling(plate(tmp_path / "plate.zarr"), images=asked)


def test_check_finds_an_image_that_has_gone(tmp_path):
    source, out = plate(tmp_path / "plate.zarr"), tmp_path / "out.zarr"
    chunkscale.resample(source, out, images="all")
    shutil.rmtree(out / "B" / "04" / "0")
    (fault,) = chunkscale.check(out).faults
    assert fault.startswith("B/04/0: ")
    # Nor is it overlooked where the list has lost it as well.
    document = out / "B" / "04" / "zarr.json"
    node = json.loads(document.read_text())
    fields = node["attributes"]["ome"]["well"]["images"]
    fields[:] = [field for field in fields if field["path"] != "0"]
    document.write_text(json.dumps(node))
    faults = chunkscale.check(out).faults
    assert any(re.search(r"it lists \d+ images, and the run that wrote it made", f) for f in faults)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared files are not here")
@pytest.mark.filterwarnings("ignore:.*no stored chunk", "ignore:.*left out")
@pytest.mark.parametrize(
    "name",
    [
        "fiji_java/bioformats2raw_testing/bf2raw_dataset_v5.ome.zarr",
        "mobie_zarr/single-plane-hcs.zarr",
        "ngff_challenge/bf2raw.zarr",
        "ngff_challenge/hcs.zarr",
        "ome_zarr_examples/valid/plate-01.zarr",
    ],
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_real_collections_come_out_whole(name, version, tmp_path):
    if not (source := DATA / name).exists():
        pytest.skip("not here")
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, images="all", ome_zarr_version=version)
    names = list(open_collection(source).images())
    assert list(open_collection(out).images()) == names
    for image_name in names:
        theirs, ours = (chunkscale.open_image(path / image_name) for path in (source, out))
        assert len(ours.labels) == len(theirs.labels)
    assert chunkscale.check(out, source=source)
    zarr.open_group(out, mode="r")
    if importlib.util.find_spec("yaozarrs"):
        import yaozarrs

        yaozarrs.validate_zarr_store(str(out))
