"""A collection is mirrored: its documents follow the rules, and nothing else is touched."""

import errno
import importlib
import json
import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import plates
import pytest
import zarr
from mirrors import ANEW, ON, OVER, RECIPE, begin, fill, mirrored
from outputs import stored
from strict import schema_faults

import chunkscale
from chunkscale.errors import ChunkscaleError, DestinationError, NotAnImageError, RegionError
from chunkscale.output import leases
from chunkscale.output.collection import begin_collection, begin_member
from chunkscale.output.collection_publish import publish_collection
from chunkscale.parameters import Existing
from chunkscale.sources.collections import open_collection
from chunkscale.storage.files import Files

DATA = Path(__file__).parents[3] / "shared/data"

pytestmark = pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")

VERSIONS = ["0.4", "0.5"]


def texts(notices, kind):
    return [n.text for n in notices if n.kind == kind]


def assert_strict(path, version):
    """Hold the documents of a plate or series to the schemas, and the whole to readers' models."""
    found = plates.inner(path)
    if "plate" in found:
        assert schema_faults(plates.attributes(path), version, "strict_plate") == []
        for well in found["plate"]["wells"]:
            assert (
                schema_faults(plates.attributes(path / well["path"]), version, "strict_well") == []
            )
    if "bioformats2raw.layout" in found:
        assert schema_faults(plates.attributes(path), version, "bf2raw") == []
        assert schema_faults(plates.attributes(path / "OME"), version, "ome") == []
    yaozarrs = pytest.importorskip("yaozarrs", exc_type=ImportError)
    yaozarrs.validate_zarr_store(str(path))
    models = pytest.importorskip("ome_zarr_models", exc_type=ImportError)
    name, model = ("hcs", "HCS") if "plate" in found else ("bioformats2raw", "BioFormats2Raw")
    module = importlib.import_module(f"{models.__name__}.v{version.replace('.', '')}.{name}")
    getattr(module, model).from_zarr(zarr.open_group(path, mode="r"))


# --- real collections ----------------------------------------------------------------------------

REAL = (
    "ngff_challenge/bf2raw.zarr", "ngff_challenge/hcs.zarr", "mobie_zarr/single-plane-hcs.zarr",
    "fiji_java/bioformats2raw_testing/bf2raw_dataset_v5.ome.zarr",
    "ome_zarr_examples/valid/plate-01.zarr",
)  # fmt: skip


@pytest.mark.skipif(not DATA.is_dir(), reason="no real files here")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", REAL)
def test_real_collections_come_out_whole(name, version, tmp_path):
    """Strict readers take them, and they list the same images, in the same order."""
    out = tmp_path / "out.zarr"
    notices = mirrored(DATA / name, out, version)
    assert_strict(out, version)
    before, after = open_collection(DATA / name), open_collection(out)
    assert after.kind == before.kind
    assert list(after.images()) == list(before.images())
    assert [n.kind for n in notices] == ["metadata"] * ("plate-01" in name)
    for path in after.images():
        grids = [chunkscale.open_image(f"{root}/{path}").grid for root in (DATA / name, out)]
        assert [2 * n for n in grids[0].shape[-2:]] == list(grids[1].shape[-2:])
    given = DATA / name / "OME/METADATA.ome.xml"
    if given.exists():
        texts = [(p / "OME/METADATA.ome.xml").read_text() for p in (DATA / name, out)]
        sizes = [[e.get("SizeX") for e in ET.fromstring(t).iter() if "Pixels" in e.tag]
                 for t in texts]  # fmt: skip
        assert [2 * int(n) for n in sizes[0]] == [int(n) for n in sizes[1]]
    if "fiji" in name:
        assert 'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm"' in texts[1]


# --- plates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("given", VERSIONS)
def test_a_plate_says_the_same_in_every_version(given, version, tmp_path):
    source = plates.plate(tmp_path / "p.zarr", given)
    out = tmp_path / "out.zarr"
    assert mirrored(source, out, version) == ()
    assert_strict(out, version)
    stated, made = (dict(plates.inner(p)["plate"], version=0) for p in (source, out))
    assert made == stated
    assert plates.attributes(out)["barcode"] == 17
    for well in plates.WELLS:
        assert plates.attributes(out / well)["note"] == well
        one, other = (dict(plates.inner(p / well)["well"], version=0) for p in (source, out))
        assert one == other
    assert open_collection(out).notices == ()


def test_a_part_of_a_plate_is_a_plate(tmp_path):
    """Wells without images go; indices and counts are true."""
    source, out = plates.plate(tmp_path / "p.zarr"), tmp_path / "out.zarr"
    mirrored(source, out, patterns=["D/10/2", "D/10/0", "B/04/*"])
    assert_strict(out, "0.5")
    plate = plates.inner(out)["plate"]
    assert [w["path"] for w in plate["wells"]] == ["B/04", "D/10"]
    for well in plate["wells"]:
        names = (
            plate["rows"][well["rowIndex"]]["name"],
            plate["columns"][well["columnIndex"]]["name"],
        )
        assert "/".join(names) == well["path"]
    assert plate["field_count"] == 2
    assert [(a["id"], a["maximumfieldcount"]) for a in plate["acquisitions"]] == [(0, 1), (5, 1)]
    assert not (out / "B/03").exists()
    assert list(open_collection(out).images()) == ["B/04/0", "D/10/0", "D/10/2"]
    alone = tmp_path / "alone.zarr"
    mirrored(source, alone, patterns=["D/10/2"])
    assert [a["id"] for a in plates.inner(alone)["plate"]["acquisitions"]] == [5]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_well_by_itself_is_a_well(version, tmp_path):
    source, out = plates.plate(tmp_path / "p.zarr") / "D/10", tmp_path / "out.zarr"
    mirrored(source, out, version, patterns=["[12]"])
    assert schema_faults(plates.attributes(out), version, "strict_well") == []
    assert list(open_collection(out).images()) == ["1", "2"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ome_zarr_reads_the_plate(tmp_path):
    """As one picture, with the fields at their places."""
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    source, out = (
        plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0"], "C/04": ["0"]}),
        tmp_path / "o",
    )
    mirrored(source, out)
    (node, *_) = reader.Reader(parse_url(out))()
    whole = node.data[0].compute()
    height, width = (2 * n for n in plates.SHAPE[-2:])
    assert whole.shape[-2:] == (4 * height, 10 * width)
    assert whole[..., height : 2 * height, 2 * width : 3 * width].all()
    assert not whole[..., :height, :].any()


# --- series --------------------------------------------------------------------------------------


def pixels(path):
    root = ET.fromstring((path / "OME/METADATA.ome.xml").read_text(encoding="utf-8"))
    return [e.attrib for e in root.iter() if e.tag.endswith("Pixels")]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_series_has_its_list_and_true_sizes(version, listed, tmp_path):
    source = plates.series(tmp_path / "s.zarr", "0.4", listed=listed, xml=plates.ome_xml(2))
    out = tmp_path / "out.zarr"
    mirrored(source, out, version)
    assert_strict(out, version)
    assert plates.attributes(out)["lab"] == "B2"
    assert plates.inner(out / "OME")["series"] == ["0", "1"]
    assert ("note" in plates.attributes(out / "OME")) == listed
    for found, name in zip(pixels(out), "01", strict=True):
        grid = chunkscale.open_image(out / name).grid
        assert [found[f"Size{d}"] for d in "TCZYX"] == ["1", *map(str, grid.shape)]
        assert [found[f"PhysicalSize{d}"] for d in "ZYX"] == [str(s) for s in grid.voxel_size[1:]]
        assert found["PhysicalSizeYUnit"] == "µm"


def test_a_part_of_a_series_and_of_its_images(tmp_path):
    """The list and the document have what was made, in their order; channels as selected."""
    xml = plates.ome_xml(3).replace("Image:0", "Image:A")
    source = plates.series(tmp_path / "s.zarr", names=("x", "10", "9"), xml=xml)
    out = tmp_path / "out.zarr"
    mirrored(source, out, patterns=["9", "x"], channels=[1], crop="z=1:3")
    assert plates.inner(out / "OME")["series"] == ["x", "9"]
    assert schema_faults(plates.attributes(out / "OME"), "0.5", "ome") == []
    text = (out / "OME/METADATA.ome.xml").read_text()
    assert "Image:A" in text
    assert "Image:1" not in text
    assert text.count("<Channel ") == 2
    assert "dye 0" not in text
    for found, name in zip(pixels(out), "x9", strict=True):
        shape = chunkscale.open_image(out / name).grid.shape
        assert [found[f"Size{d}"] for d in "CZYX"] == [*map(str, shape)]


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (plates.ome_xml(1), "describes 1 images, and the collection has 2"),
        (plates.ome_xml(2, shape=(2, 4, 12, 11)), "has the sizes"),
        ("<!DOCTYPE OME><OME/>", "document type"),
    ],
)
def test_a_document_of_other_images_is_left_behind(xml, said, tmp_path):
    source, out = plates.series(tmp_path / "s.zarr", xml=xml), tmp_path / "out.zarr"
    (text,) = texts(mirrored(source, out), "lost")
    assert "METADATA.ome.xml' is left out" in text
    assert said in text
    assert not (out / "OME/METADATA.ome.xml").exists()
    noted = plates.attributes(out)["chunkscale"]["notices"]
    assert text.replace(f"{tmp_path}/", "") in noted
    assert_strict(out, "0.5")


def test_a_document_of_a_plate_needs_a_list(tmp_path):
    """Fields have no order of their own; what else lies there is announced."""
    more = {"bioformats2raw.layout": 3}
    source = plates.plate(tmp_path / "p.zarr", "0.4", more=more)
    plates.ngff(source / "OME", {"series": ["D/10/2", "B/03/0"]}, "0.4")
    (source / "OME/METADATA.ome.xml").write_text(plates.ome_xml(2))
    (source / "OME/log.txt").touch()
    out = tmp_path / "part.zarr"
    (plane, other) = texts(mirrored(source, out, patterns=["B/03/0", "D/10/2"]), "lost")
    assert ("Plane" in plane, "'log.txt'" in other) == (True, True)
    assert plates.inner(out / "OME")["series"] == ["D/10/2", "B/03/0"]
    assert len(pixels(out)) == 2
    assert_strict(out, "0.5")
    out = tmp_path / "whole.zarr"
    (text, _) = texts(mirrored(source, out), "lost")
    assert "no list says which images it describes" in text
    fields = [f"{w}/{f}" for w, names in plates.WELLS.items() for f in names]
    assert plates.inner(out / "OME")["series"] == fields


# --- folders and scenes --------------------------------------------------------------------------


def test_a_folder_is_mirrored_with_the_collections_in_it(tmp_path):
    source, out = tmp_path / "f", tmp_path / "out"
    plates.image(source / "day 1/img2")
    plates.image(source / "img10")
    plates.plate(source / "day 1/p.zarr", wells={"B/03": ["0", "1"]})
    plates.series(source / "s.zarr", xml=plates.ome_xml(2))
    mirrored(source, out)
    before, after = open_collection(source), open_collection(out)
    assert after.kind == "folder"
    assert list(after.images()) == list(before.images())
    assert_strict(out / "day 1/p.zarr", "0.5")
    assert_strict(out / "s.zarr", "0.5")
    assert len(pixels(out / "s.zarr")) == 2
    shutil.rmtree(out)
    mirrored(source, out, patterns=["*"])
    assert list(open_collection(out).images()) == ["img10"]


def test_a_scene_becomes_a_folder_and_that_is_announced(tmp_path):
    ends = [{"type": "affine", "input": {"path": p}, "output": {"name": "w"}} for p in ("b", "a/1")]
    source = plates.ngff(
        tmp_path / "s.zarr", {"scene": {"coordinateTransformations": ends}}, "0.6", owner="me"
    )
    for path in ("b", "a/1"):
        plates.image(source / path)
    out = tmp_path / "out.zarr"
    assert mirrored(source, out) == ()
    found = open_collection(out)
    assert (found.kind, list(found.images())) == ("folder", ["a/1", "b"])
    assert found.attributes["owner"] == "me"
    assert "ome" not in found.attributes
    (text,) = found.attributes["chunkscale"]["notices"]
    assert "one scene is left out" in text


# --- unfinished ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unfinished_collection_is_none(version, tmp_path):
    """No reader takes it for a plate before all of its images are there."""
    source, out = plates.plate(tmp_path / "p.zarr"), tmp_path / "out.zarr"
    mirror = begin(source, out, version)
    images = fill(mirror, source, ["B/*/0"])
    assert open_collection(out) is None
    with pytest.raises(NotAnImageError, match="did not finish"):
        chunkscale.open_image(out)
    assert plates.attributes(out).keys() == {"chunkscale"}
    for group in ("B", "B/03"):
        assert plates.attributes(out / group) == {}
    with pytest.raises(RegionError, match=r"'B/03/1' .* is not finished"):
        publish_collection(mirror, open_collection(source), [*images, "B/03/1"])
    with pytest.raises(RegionError, match="no image"):
        publish_collection(mirror, open_collection(source), [])
    assert plates.attributes(out).keys() == {"chunkscale"}


class Killed(BaseException):
    """What no code catches."""


def killed_after(monkeypatch, name, count):
    """Let so many calls of a method of local files pass, and end with the next."""
    whole, calls = getattr(Files, name), []

    def method(self, *args, **options):
        calls.append(args)
        if len(calls) > count:
            raise Killed
        return whole(self, *args, **options)

    monkeypatch.setattr(Files, name, method)
    return calls


def test_an_interrupted_publication_is_repeated(tmp_path, monkeypatch):
    """At whichever document: until the last one it is no plate, and then it is the same."""
    layout = {"bioformats2raw.layout": 3}
    source, out = plates.plate(tmp_path / "p.zarr", "0.4", more=layout), tmp_path / "o"
    mirrored(source, tmp_path / "expected")
    mirror = begin(source, out)
    images = fill(mirror, source)
    for count in range(20):
        with monkeypatch.context() as patch:
            killed_after(patch, "put", count)
            try:
                publish_collection(mirror, open_collection(source), images)
            except Killed:
                assert "ome" not in plates.attributes(out)
                continue
        break
    assert count == len(plates.WELLS) + 2
    for _ in range(2):
        found, expected = stored(out), stored(tmp_path / "expected")
        assert sorted(found) == sorted(expected)
        assert all(found[n] == expected[n] for n in found if n.endswith("zarr.json"))
        mirror = begin(source, out, existing=ON)
        assert mirror.finished
        assert publish_collection(mirror, open_collection(source), images) == ()


def test_a_collection_is_continued_with_the_same_recipe_only(tmp_path):
    source, out = plates.plate(tmp_path / "p.zarr"), tmp_path / "out.zarr"
    mirror = begin(source, out, existing=ON)
    (path, *_) = fill(mirror, source, ["B/04/0"])
    again = begin(source, out, existing=ON)
    assert again == mirror
    assert begin_member(again, path) == begin_member(mirror, path)
    assert chunkscale.check(out / path)
    with pytest.raises(DestinationError, match=r"factor was \[1, 2\], now 3"):
        begin(source, out, existing=ON, recipe={"factor": 3})
    with pytest.raises(DestinationError, match=r"ome_zarr_version was '0\.5', now '0\.4'"):
        begin(source, out, "0.4", existing=ON)
    other = plates.plate(tmp_path / "q.zarr")
    with pytest.raises(DestinationError, match=r"source was .*p.zarr', now .*q.zarr'"):
        begin(other, out, existing=ON)


def test_a_source_that_has_changed_is_not_published(tmp_path):
    """An image that no well lists any more would be lost in the plate."""
    source, out = plates.plate(tmp_path / "p.zarr"), tmp_path / "out.zarr"
    for path, into in ((source, out), (source / "D/10", tmp_path / "well.zarr")):
        mirror = begin(path, into)
        images = fill(mirror, path, ["**/[02]"])
        plates.ngff(source / "D/10", {"well": {"images": [{"path": "0"}]}})
        with pytest.raises(RegionError, match=r"lists \d of the \d images.*has changed"):
            publish_collection(mirror, open_collection(path), images)
        assert open_collection(into) is None
        plates.ngff(source / "D/10", {"well": {"images": [{"path": k} for k in "012"]}})


def test_who_was_replaced_does_not_publish(tmp_path):
    source, out = plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0"]}), tmp_path / "out.zarr"
    loser = begin(source, out)
    fill(begin(source, out, existing=OVER), source)
    with pytest.raises(RegionError, match="was replaced by another run"):
        publish_collection(loser, open_collection(source), ["B/03/0"])
    assert "ome" not in plates.attributes(out)


# --- the place -----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    return plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0"], "B/04": ["0"]})


@pytest.fixture
def done(small, tmp_path):
    """Return a finished mirror that has labels."""
    out, labels = tmp_path / "out.zarr", small / "B/03/0/labels"
    plates.ngff(labels, {"labels": ["cells"]})
    plates.image(labels / "cells", shape=(4, 12, 10), attributes={"image-label": {}})
    mirrored(small, out)
    assert (out / "B/03/0/labels/cells").is_dir()
    return out


@pytest.mark.parametrize("existing", [ANEW, OVER, ON])
def test_a_free_place_is_taken(existing, small, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none", "below/none"):
        assert not begin(small, tmp_path / name, existing=existing).finished


def test_a_finished_collection_stays_unless_it_is_to_go(done, small):
    before = stored(done)
    with pytest.raises(DestinationError, match=r"exists; choose another path.*overwrite=True"):
        begin(small, done)
    assert begin(small, done, existing=ON).finished
    assert stored(done) == before
    begin(small, done, "0.4", existing=OVER)
    assert sorted(stored(done)) == [".zattrs", ".zgroup"]
    with pytest.raises(DestinationError, match=r"did not finish.*resume=True"):
        begin(small, done)


def test_what_a_killed_run_left_is_taken(small, tmp_path):
    plates.put(tmp_path / "out", {}, "0.4")
    with pytest.raises(DestinationError):
        begin(small, tmp_path / "out")
    begin(small, tmp_path / "out", existing=ON)
    assert sorted(stored(tmp_path / "out")) == ["zarr.json"]


FOREIGN = {
    "B/03/notes.txt": lambda p: p.touch(),
    "B/03/1": plates.image,
    "tables": lambda p: plates.put(p, {"type": "roi"}),
    "B/03/0/tables": lambda p: plates.put(p, {}),
    "B/03/0/0/results.csv": lambda p: p.touch(),
    "B/03/0/labels/mine": plates.image,
    "OME/other.xml": lambda p: (p.parent.mkdir(), p.touch()),
    "E/08/raw": lambda p: (p.mkdir(parents=True), (p / "x.tif").touch()),
    "B/03/array": lambda p: shutil.copytree(p.parents[2] / "B/03/0/0", p),
}


@pytest.mark.parametrize("path", FOREIGN)
def test_a_collection_with_something_else_in_it_is_never_deleted(path, done, small):
    """Whoever put it there is told what keeps it."""
    FOREIGN[path](done / path)
    before = stored(done)
    with pytest.raises(DestinationError, match="not written by chunkscale") as error:
        begin(small, done, existing=OVER)
    assert repr(path.removesuffix("/other.xml").removesuffix("/08/raw")) in str(error.value)
    assert stored(done) == before
    assert begin(small, done, existing=ON).finished


@pytest.mark.parametrize("existing", [ANEW, OVER, ON])
@pytest.mark.parametrize("kind", ["image", "output", "plate", "folder", "file", "array", "damaged"])
def test_what_is_no_collection_of_ours_is_never_touched(kind, existing, small, tmp_path):
    out = tmp_path / "out"
    if kind == "image":
        plates.image(out)
    elif kind == "output":
        chunkscale.resample(small / "B/03/0", out, zoom=2.0, levels=1, workers=1)
    elif kind == "plate":
        plates.plate(out)
    elif kind == "folder":
        plates.image(out / "x")
    elif kind == "file":
        out.write_text("text")
    elif kind == "array":
        shutil.copytree(small / "B/03/0/0", out)
    else:
        out.mkdir()
        (out / "zarr.json").write_text("{")
    before = stored(out) or out.read_text()
    with pytest.raises(DestinationError, match="not a collection written by chunkscale"):
        begin(small, out, existing=existing)
    assert (stored(out) or out.read_text()) == before


def test_an_image_never_takes_the_place_of_a_collection(done, small):
    """An unfinished one is none that an image's run would continue or replace."""
    for state in ("finished", "unfinished"):
        if state == "unfinished":
            fill(begin(small, done, existing=OVER), small, ["B/03/0"])
        before = stored(done)
        for option in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(DestinationError):
                chunkscale.resample(small / "B/03/0", done, zoom=2.0, workers=1, **option)
        assert stored(done) == before


@pytest.mark.parametrize("place", ["", "B/03", "inside/new"])
def test_a_mirror_in_its_source_is_refused(place, small):
    with pytest.raises(DestinationError, match=r"is the source|in the source|inside the source"):
        begin(small, small / place, existing=OVER if place == "inside/new" else ANEW)


def test_a_mirror_that_holds_its_source_is_refused(tmp_path):
    source = plates.plate(tmp_path / "a/b.zarr")
    with pytest.raises(DestinationError):
        begin(source, tmp_path / "a", existing=OVER)
    assert open_collection(source)


def test_a_source_that_is_reached_by_another_name_is_not_deleted(small, tmp_path, monkeypatch):
    """Its own mirror, as a disk that is mounted twice would have it."""
    out = tmp_path / "out.zarr"
    mirrored(small, out)
    before = stored(out)
    (tmp_path / "again").symlink_to(out)
    found = open_collection(tmp_path / "again")
    monkeypatch.setattr(Files, "resolved", lambda self, uri: uri)
    with pytest.raises(DestinationError, match="reached by another name"):
        begin_collection(str(out), found, RECIPE, "0.5", OVER)
    assert stored(out) == before


def test_an_interrupted_deletion_is_repeated(done, small, tmp_path, monkeypatch):
    """However far it came: what is left is the collection, or parts that nobody takes for one."""
    shutil.copytree(done, tmp_path / "whole")
    for count in range(100):
        shutil.rmtree(done)
        shutil.copytree(tmp_path / "whole", done)
        with monkeypatch.context() as patch:
            killed_after(patch, "delete_below", count)
            killed_after(patch, "delete", count)
            try:
                begin(small, done, existing=OVER)
            except Killed:
                left = open_collection(done)
                assert left is None or all(chunkscale.check(done / p) for p in left.images())
            else:
                break
        if left is None:
            assert not begin(small, done, existing=OVER if count % 2 else ON).finished
            assert sorted(stored(done)) == ["zarr.json"]
    assert count > 5


def test_a_run_that_writes_an_image_keeps_the_collection(done, small):
    lease = leases.acquire(str(done / "B/04/0"))
    with pytest.raises(DestinationError, match=f"written by process {lease.pid}"):
        begin(small, done, existing=OVER)
    begin(small, done, existing=Existing(overwrite=True, take_over=True))


@pytest.mark.parametrize("link", ["B", "B/03", "B/03/0"])
def test_links_in_a_collection_are_not_followed(link, small, tmp_path):
    mirror = begin(small, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    at = tmp_path / "out" / link
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match="holds the link"):
        begin_member(mirror, "B/03/0")
    assert not stored(tmp_path / "elsewhere")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_an_image_outside_of_the_collection_is_refused(path, small, tmp_path):
    mirror = begin(small, tmp_path / "out")
    with pytest.raises(ChunkscaleError, match="leads out"):
        begin_member(mirror, path)


def test_names_that_differ_by_case_are_refused_where_that_does_not_count(
    small, tmp_path, monkeypatch
):
    """A disk on which `b` finds `B` would hold one image for two."""
    mirror = begin(small, tmp_path / "out")
    begin_member(mirror, "B/x/0")
    assert begin_member(mirror, "b/y/0")  # here it counts
    shutil.rmtree(tmp_path / "out/b")
    (tmp_path / "out/B/x/0").mkdir()
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    mirror = begin(small, tmp_path / "out", existing=ON)
    assert begin_member(mirror, "B/x/0")
    with pytest.raises(DestinationError, match=r"'b' and 'B' in .*out', which are one name"):
        begin_member(mirror, "b/y/0")


def test_a_full_disk_is_named(small, tmp_path, monkeypatch):
    mirror = begin(small, tmp_path / "out")

    def put(self, uri, content, *, new=False):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Files, "put", put)
    with pytest.raises(OSError, match=r"cannot write to .*No space") as error:
        begin_member(mirror, "B/03/0")
    assert error.value.errno == errno.ENOSPC


def test_the_record_says_what_was_made(done):
    record = plates.attributes(done)["chunkscale"]
    assert json.loads(json.dumps(record)) == record
    expected = {"kind": "plate", "ome_zarr_version": "0.5", "state": "finished", "image_count": 2}
    assert expected.items() <= record.items()
    assert record["factor"] == [1, 2]
    assert "run" not in record
