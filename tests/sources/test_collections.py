"""Collections: their images are listed, each once, and only as far as they are wanted."""

import json
import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import plates
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkscale
from chunkscale.errors import MetadataError, MultipleImagesError, OptionError, SourceNotFoundError
from chunkscale.sources.base import SourceOptions
from chunkscale.sources.chosen import chosen
from chunkscale.sources.collections import open_collection
from chunkscale.sources.opening import open_source
from chunkscale.storage.engine import StoreIO

DATA = Path(__file__).parents[3] / "shared/data"

FIELDS = [f"{well}/{field}" for well, fields in plates.WELLS.items() for field in fields]


def listed(path, **options):
    """Return the images of a collection, and what was told on the way."""
    told = []
    return list(open_collection(path).images(told.append, **options)), [n.text for n in told]


# --- what there is -------------------------------------------------------------------------------

HCS = [f"{w}/{f}" for w in ("A/1", "A/2", "B/1", "B/2") for f in "01"]
REAL = {
    "ngff_challenge/bf2raw.zarr": ("bioformats2raw", ["0", "1"]),
    "ngff_challenge/hcs.zarr": ("plate", HCS),
    "ngff_challenge/hcs.zarr/B/2": ("well", ["0", "1"]),
    "mobie_zarr/single-plane-hcs.zarr": ("plate", ["E/08/0", "E/07/0"]),
    "fiji_java/bioformats2raw_testing/bf2raw_dataset_v5.ome.zarr": ("bioformats2raw", ["0", "1"]),
    "ome_zarr_examples/valid/plate-01.zarr": ("plate", ["A/1/0", "A/2/0", "B/1/0", "B/2/0"]),
    "ome_zarr_examples/valid": (
        "folder",
        [f"image-0{k}.zarr" for k in range(1, 5)]
        + [f"plate-01.zarr/{w}/0" for w in ("A/1", "A/2", "B/1", "B/2")],
    ),
    "zarr_java": ("folder", ["ome/v0.4", "ome/v0.5"]),
    "ome_zarr_py_old": ("folder", ["v1", "v2"]),
    "fiji_java/5d_testing": ("folder", ["5d_dataset_v4.ome.zarr", "5d_dataset_v5.ome.zarr"]),
}
NONE = (
    "ngff_challenge/2d.zarr", "zarr_java/ome/v0.4", "zarr_java/ome/v0.4/labels",
    "ngff_challenge/bf2raw.zarr/OME", "mobie_zarr/mri-stack.ome.zarr",
)  # fmt: skip


@pytest.mark.skipif(not DATA.is_dir(), reason="no real files here")
@pytest.mark.parametrize("name", REAL)
def test_real_collections_are_listed(name):
    """In the order of their metadata, or the natural one of a folder."""
    found = open_collection(DATA / name)
    assert (found.kind, list(found.images())) == REAL[name]
    for path in found.images():
        at = f"{found.uri}/{path}"
        assert chunkscale.open_image(at, source_voxel_size=1).grid.ndim >= 2


@pytest.mark.skipif(not DATA.is_dir(), reason="no real files here")
@pytest.mark.parametrize("name", NONE)
def test_images_and_what_is_unknown_are_no_collections(name):
    assert open_collection(DATA / name) is None


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        open_collection(tmp_path / "none.zarr")
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr/zarr.json").write_text("{")
    with pytest.raises(MetadataError):
        open_collection(tmp_path / "bad.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates_wells_and_series_are_listed_in_both_versions(version, tmp_path):
    path = plates.plate(tmp_path / "p.zarr", version, made=False)
    assert open_collection(path).zarr_format == {"0.4": 2, "0.5": 3}[version]
    assert listed(path) == (FIELDS, [])
    assert listed(path / "D/10") == (["0", "1", "2"], [])
    (notice,) = open_collection(path / "D/10").notices
    assert "well 'D/10' of the plate" in notice.text
    names = ("b", "a/1", "10")
    assert listed(plates.series(tmp_path / "s.zarr", version, names)) == (list(names), [])


def test_a_series_without_a_list_is_numbered_up_to_the_first_gap(tmp_path):
    names = ("0", "1", "2", "4")
    path = plates.series(tmp_path / "s.zarr", names=names, listed=False)
    assert listed(path)[0] == ["0", "1", "2"]


def test_a_damaged_list_of_a_series_is_announced(tmp_path):
    path = plates.series(tmp_path / "s.zarr")
    plates.ngff(path / "OME", {"series": 5})
    (notice,) = open_collection(path).notices
    assert "'series' is 5" in notice.text
    assert listed(path)[0] == ["0", "1"]


def test_a_scene_lists_its_images_and_says_what_is_lost(tmp_path):
    transforms = [
        {"type": "affine", "input": {"path": f"tile_{k}"}, "output": {"name": "world"}}
        for k in (1, 0)
    ]
    scene = {"coordinateTransformations": transforms, "coordinateSystems": [{"name": "world"}]}
    path = plates.ngff(tmp_path / "s.zarr", {"scene": scene}, "0.6")
    found = open_collection(path)
    assert (found.kind, list(found.images())) == ("scene", ["tile_1", "tile_0"])
    (notice,) = found.notices
    assert notice.kind == "scene"  # what becomes of it depends on the version that is written
    assert "affine from 'tile_1' to 'world'" in notice.text
    assert "the system 'world'" in notice.text


def test_what_lies_beside_the_images_is_announced(tmp_path):
    path = plates.plate(tmp_path / "p.zarr", made=False)
    plates.put(path / "tables", {})
    (path / "notes.txt").touch()
    (path / "OME").mkdir()  # no layout says what it is
    (notice,) = open_collection(path).notices
    assert notice.kind == "lost"
    assert "beside its wells is left out: 'OME', 'notes.txt', 'tables'" in notice.text
    assert open_collection(plates.series(tmp_path / "s.zarr")).notices == ()


# --- laziness ------------------------------------------------------------------------------------


def test_wells_are_read_when_they_are_reached(tmp_path):
    """And never the images: there are none here."""
    path = plates.plate(tmp_path / "p.zarr", made=False)
    images = open_collection(path).images()
    assert [next(images), next(images)] == ["B/03/0", "B/03/1"]
    plates.ngff(path / "B/04", {"well": {"images": [{"path": "new"}]}})
    assert next(images) == "B/04/new"


def test_a_hundred_thousand_fields_take_no_memory(tmp_path):
    wells = [f"{row}/{column}" for row in "ABCDEFGHIJKLMNOP" for column in range(24)]
    plates.ngff(tmp_path / "p.zarr", {"plate": {"wells": [{"path": well} for well in wells]}})
    images = [{"path": str(k)} for k in range(261)]
    for well in wells:
        plates.ngff(tmp_path / "p.zarr" / well, {"well": {"images": images}})
    found = open_collection(tmp_path / "p.zarr")
    sum(1 for _ in found.images())
    tracemalloc.start()
    count = sum(1 for _ in found.images())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 384 * 261
    assert peak < 2e6


# --- what is strange -----------------------------------------------------------------------------


def test_what_is_listed_twice_is_taken_once_and_announced(tmp_path):
    """However it is spelled."""
    path = plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0", "1"], "B/04": []}, made=False)
    wells = [{"path": p} for p in ("B/03", "B/04", "B//03/", "./B/04")]
    plates.ngff(path, {"plate": {"wells": wells}})
    plates.ngff(path / "B/04", {"well": {"images": [{"path": p} for p in ("7", "7/", "0")]}})
    (notice,) = open_collection(path).notices
    assert "lists 'B/03', 'B/04' more than once" in notice.text
    images, (text,) = listed(path)
    assert images == ["B/03/0", "B/03/1", "B/04/7", "B/04/0"]
    assert "B/04' lists '7' more than once" in text


@pytest.mark.parametrize("path", ["/etc", "../x", "B/../../x", "C:/x", "s3://b/x", "a/%2e%2e/b"])
@pytest.mark.parametrize("kind", ["plate", "well", "series"])
def test_paths_that_lead_out_are_refused(kind, path, tmp_path):
    """A list of a series that has one is not taken, and the images are numbered."""
    members = {
        "plate": {"plate": {"wells": [{"path": path}]}},
        "well": {"well": {"images": [{"path": path}]}},
        "series": {"bioformats2raw.layout": 3},
    }
    plates.ngff(tmp_path / "a.zarr", members[kind])
    if kind == "series":
        plates.ngff(tmp_path / "a.zarr/OME", {"series": [path]})
        plates.image(tmp_path / "a.zarr/0")
        found = open_collection(tmp_path / "a.zarr")
        assert repr(path) in found.notices[0].text
        assert list(found.images()) == ["0"]
        return
    with pytest.raises(MetadataError, match="leads outside its group") as error:
        open_collection(tmp_path / "a.zarr")
    assert repr(path) in str(error.value)


@pytest.mark.parametrize("wells", [["B", "B/03"], ["."], ["B/03", "B/03/0/1"]])
def test_an_entry_in_another_one_is_refused(wells, tmp_path):
    plates.ngff(tmp_path / "p.zarr", {"plate": {"wells": [{"path": w} for w in wells]}})
    with pytest.raises(MetadataError, match="lies in another entry"):
        open_collection(tmp_path / "p.zarr")


def test_a_well_that_cannot_be_read_is_told_and_stays_in_the_list(tmp_path):
    """Whoever opens it is told why, and the others go on."""
    path = plates.plate(tmp_path / "p.zarr", made=False)
    shutil.rmtree(path / "B/03")
    (path / "B/04/zarr.json").write_text("{")
    images, texts = listed(path)
    assert images == ["B/03", "B/04", *FIELDS[3:]]
    assert re.search("well 'B/03' .* does not exist", texts[0])
    assert re.search("well 'B/04' .* cannot be read", texts[1])
    for well in images[:2]:
        with pytest.raises((SourceNotFoundError, MetadataError)):
            chunkscale.open_image(path / well)


def test_a_well_that_is_an_image_is_left_behind(tmp_path):
    path = plates.plate(tmp_path / "p.zarr", made=False)
    shutil.rmtree(path / "B/03")
    plates.image(path / "B/03")
    images, (text,) = listed(path)
    assert images == FIELDS[2:]
    assert "'B/03' is listed as a well" in text


# --- folders -------------------------------------------------------------------------------------


def folder(path):
    for name in ("img10", "img9", "Img2", "a/b/c", "a/z"):
        plates.image(path / name)
    plates.put(path / "a/b/group", {})
    plates.image(path / "a/b/group/deep")
    plates.image(path / ".hidden")
    (path / "a/notes.txt").touch()
    (path / "a/.DS_Store").touch()
    return path


def test_a_folder_lists_its_images_in_natural_order(tmp_path):
    """Three folders deep; what is passed by is told."""
    images, texts = listed(folder(tmp_path / "f"))
    assert images == ["Img2", "a/b/c", "a/z", "img9", "img10"]
    assert open_collection(tmp_path / "f").zarr_format is None
    assert len(texts) == 2
    assert "left out: not an OME-Zarr image: 'a/notes.txt' (in" in texts[0]
    assert "not searched: folders at depth 3: 'a/b/group'" in texts[1]
    with pytest.raises(MultipleImagesError, match=r"\n  img10\nleft out: not an") as found:
        chunkscale.plan_resampling(tmp_path / "f")
    assert list(found.value.paths) == images


def test_a_group_that_says_nothing_is_a_folder(tmp_path):
    plates.put(folder(tmp_path / "f"), {"owner": "me"}, "0.4")
    found = open_collection(tmp_path / "f")
    assert (found.kind, found.zarr_format, found.attributes) == ("folder", 2, {"owner": "me"})


def test_a_folder_holds_collections(tmp_path):
    """Each is listed as it is by itself, and what it announces is told."""
    path = tmp_path / "f"
    plates.plate(path / "day 1/p.zarr", made=False)
    plates.put(path / "day 1/p.zarr/tables", {})
    plates.series(path / "s.zarr", names=("1", "0"))
    images, texts = listed(path)
    assert images == [*(f"day 1/p.zarr/{field}" for field in FIELDS), "s.zarr/1", "s.zarr/0"]
    assert "'tables'" in texts[0]
    members = {p: inner and inner.kind for p, inner in open_collection(path).members()}
    assert members == {"day 1/p.zarr": "plate", "s.zarr": "bioformats2raw"}


def test_a_damaged_collection_in_a_folder_stays_in_the_list(tmp_path):
    plates.image(tmp_path / "f/x")
    for name, wells in (("p", [{"path": "B"}, {"path": "B/1"}]), ("q", 5)):
        plates.ngff(tmp_path / "f" / name, {"plate": {"wells": wells}})
    assert listed(tmp_path / "f") == (["p", "q", "x"], [])
    for name in "pq":
        with pytest.raises(MetadataError):
            chunkscale.open_image(tmp_path / "f" / name)


def test_a_folder_passes_unfinished_outputs_and_links_that_lead_up(tmp_path):
    path = tmp_path / "f"
    plates.image(path / "x")
    plates.put(path / "begun", {"chunkscale": {"state": "unfinished"}})
    (path / "loop").symlink_to(path)
    (path / "y").symlink_to(path / "x")  # somebody has put it there
    (path / "broken").mkdir()
    (path / "broken/zarr.json").write_text("{")
    images, texts = listed(path)
    assert images == ["broken", "x", "y"]
    assert "did not finish: 'begun'" in texts[0]
    assert "links to a folder above: 'loop'" in texts[1]
    with pytest.raises(MetadataError):
        chunkscale.open_image(path / "broken")


@pytest.mark.parametrize("filled", [False, True])
def test_a_folder_without_images_is_no_collection(filled, tmp_path):
    if filled:
        plates.put(tmp_path / "g/array", {})
        shutil.copytree(plates.image(tmp_path / "i") / "0", tmp_path / "g/array/0")
    (tmp_path / "g").mkdir(exist_ok=True)
    assert open_collection(tmp_path / "g") is None
    plates.put(tmp_path / "g", {"chunkscale": {"state": "unfinished"}})
    plates.image(tmp_path / "g/x")
    assert open_collection(tmp_path / "g") is None


# --- names and patterns --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return open_collection(plates.plate(tmp_path_factory.mktemp("p") / "p.zarr", made=False))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (None, FIELDS),
        (["**"], FIELDS),
        (["B/03/0"], ["B/03/0"]),
        (["D/10/2", "B/03/0"], ["B/03/0", "D/10/2"]),
        (["B/*/0"], ["B/03/0", "B/04/0"]),
        (["**/0", "B/03/?"], ["B/03/0", "B/03/1", "B/04/0", "D/10/0"]),
        (["B/**"], FIELDS[:3]),
        (["**/10/**/[12]"], ["D/10/1", "D/10/2"]),
        (["./B//04/0/"], ["B/04/0"]),
    ],
)
def test_images_are_chosen_by_names_and_patterns(patterns, expected, experiment):
    """In the order of the collection, each once."""
    assert list(chosen(experiment, patterns)) == expected


PIECES = st.sampled_from(["B", "D", "03", "04", "10", "0", "1", "2", "*", "**", "?", "0?"])


@given(pattern=st.lists(PIECES, min_size=1, max_size=5))
def test_patterns_mean_what_a_regular_expression_says(pattern, experiment):
    text = "/".join(pattern)
    parts = {"*": "[^/]*", "?": "[^/]", "0?": "0[^/]"}
    # Names are joined with a slash behind each, so that "**" is any number of them.
    expression = "".join(
        "(?:[^/]+/)*" if piece == "**" else f"{parts.get(piece, piece)}/" for piece in pattern
    )
    expected = [path for path in FIELDS if re.fullmatch(expression, f"{path}/")]
    if expected:
        assert list(chosen(experiment, [text])) == expected
    else:
        with pytest.raises(OptionError, match=re.escape(repr(text))):
            list(chosen(experiment, [text]))


def test_names_may_hold_what_means_something_in_patterns(tmp_path):
    for name in ("a[1]", "a1", "b*"):
        plates.image(tmp_path / "f" / name)
    found = open_collection(tmp_path / "f")
    assert list(chosen(found, ["a[1]"])) == ["a1", "a[1]"]
    assert list(chosen(found, ["b*"])) == ["b*"]


def test_wells_and_folders_in_which_nothing_can_match_are_not_looked_into(tmp_path):
    """A single field of a large plate is found at once."""
    path = tmp_path / "f"
    plates.plate(path / "p", made=False)
    (path / "p/B/04/zarr.json").write_text("{")
    (path / "other").mkdir()
    (path / "other/x.txt").touch()
    told = []
    assert list(chosen(open_collection(path), ["p/D/*/1", "p/B/03/0"], told.append)) == [
        "p/B/03/0",
        "p/D/10/1",
    ]
    assert told == []


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["B/03/0", "B/3/0"], "'B/3/0' .* nearest are .*'B/03/0'"),
        (["B/03"], r"'B/03' .* holds 'B/03/0', 'B/03/1', and 'B/03/\*\*' is all"),
        (["X/*"], r"'X/\*' matches no image of '.*p.zarr'"),
        ("B/03/0", "is not a list of names"),
        ([], "leave it out to take all"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_with_what_is_near(patterns, said, experiment):
    with pytest.raises(OptionError, match=said):
        list(chosen(experiment, patterns))


# --- the place of an image -----------------------------------------------------------------------


def opened(path, **options):
    return open_source(str(path), SourceOptions(io=StoreIO(threads=1), **options))


def test_an_image_that_is_mirrored_loses_no_place(tmp_path):
    """But what else it loses is announced all the same."""
    plates.plate(tmp_path / "p.zarr")
    field = tmp_path / "p.zarr/B/03/0"
    (notice,) = opened(field).notices
    assert "field '0' of well 'B/03'" in notice.text
    assert opened(field, mirrored=True).notices == ()
    plates.ngff(field / "labels", {"labels": ["cells"]})
    plates.image(field / "labels/cells")
    assert opened(field, mirrored=True).labels == ("labels/cells",)
    assert opened(field / "labels/cells", mirrored=True).is_label
    found = plates.attributes(field)
    found["ome"]["multiscales"][0]["coordinateSystems"] = [{"name": "stage", "axes": []}]
    plates.put(field, found)
    assert "the system 'stage'" in opened(field, mirrored=True).as_dict()["coordinates"]
    plan = chunkscale.plan_resampling(tmp_path / "p.zarr", images=["B/03/0"])
    assert any("the system 'stage'" in notice.text for notice in plan.warnings)


def test_info_lists_what_a_collection_yields(tmp_path):
    plates.plate(tmp_path / "p.zarr", made=False)
    assert chunkscale.info(tmp_path / "p.zarr")["images"] == FIELDS
    assert json.dumps(chunkscale.info(tmp_path / "p.zarr"))


def test_a_tiff_file_beside_images_does_not_make_planes_of_their_folder(tmp_path):
    """It is left out with a word, and images are found."""
    tifffile = pytest.importorskip("tifffile")
    folder = tmp_path / "f"
    folder.mkdir()
    tifffile.imwrite(folder / "overview.tif", np.zeros((8, 8), "u1"))
    chunkscale.resample(
        np.ones((4, 8, 8), "u1"), folder / "a.zarr", source_voxel_size=1, voxel_size="same"
    )
    said = []
    assert list(open_collection(folder).images(said.append)) == ["a.zarr"]
    assert "overview.tif" in str(said[0])
