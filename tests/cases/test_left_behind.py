"""What a source says or has and an output cannot hold is announced, and noted in the output."""

import json
import shutil

import numpy as np
import pytest
import zarr

import chunkscale
from chunkscale.cli.main import main

SHAPE, SIZE = (6, 20, 22), (2.0, 0.5, 0.5)
DATA = np.random.default_rng(4).integers(0, 9, SHAPE).astype("uint16")
AXES = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
SCALE = {"type": "scale", "scale": list(SIZE)}
AFFINE = {"type": "affine", "affine": [[0, 1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7]]}


def store(path, attributes, zarr_format=3):
    zarr.open_group(path, mode="a", zarr_format=zarr_format).attrs.put(attributes)


def make(path, attributes, zarr_format=3):
    zarr.create_array(path / "0", data=DATA, chunks=(3, 10, 11), zarr_format=zarr_format)
    store(path, attributes, zarr_format)
    return path


def plain(path, **more):
    entry = {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": [SCALE]}]}
    return make(path, {"multiscales": [{"version": "0.4", **entry}], **more}, 2)


def ends(transform, start, end):
    return {**transform, "input": start, "output": end}


def name(text, **path):
    return {"name": text, **path}


def newer(path, systems, transforms, spelled=name, version="0.6", **more):
    """Write an image whose voxels lie in the system "physical"."""
    scale = ends(SCALE, {"path": "0"}, spelled("physical"))
    entry = {
        "coordinateSystems": [{"name": s, "axes": AXES} for s in ("physical", *systems)],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
        "coordinateTransformations": transforms,
    }
    return make(path, {"ome": {"version": version, "multiscales": [entry], **more}})


def lost(path, tmp_path, capsys):
    """Return what is lost, which `plan`, `info`, `resample` and the output's record all say."""
    texts = [n.text for n in chunkscale.plan_resampling(path).warnings if n.kind == "lost"]
    facts = chunkscale.info(path)
    for text in texts:
        assert text in facts["warnings"] or (facts["coordinates"] and facts["coordinates"] in text)
    assert chunkscale.check(path)  # nothing is wrong with it
    capsys.readouterr()
    out = tmp_path / "out.zarr"
    assert main(["resample", str(path), str(out), "--overwrite"]) == 0
    printed = capsys.readouterr().err
    record = zarr.open_group(out, mode="r").attrs["chunkscale"].get("notices", [])
    assert all(f"warning: {text}" in printed for text in texts)
    folder = f"{tmp_path}/"  # nobody's folders are published
    assert all(text.replace(folder, "") in record for text in texts)
    return texts


# --- coordinates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", [name, str])
@pytest.mark.parametrize("version", ["0.6", "0.6rc0", "0.5-dev1"])
def test_further_systems_and_what_leads_to_them(version, spelled, tmp_path, capsys):
    """Each by its type and the systems that it joins; drafts name these by a text alone."""
    field = {"type": "displacements", "path": "fields/0"}
    transforms = [
        ends(AFFINE, spelled("physical"), spelled("world")),
        ends(field, spelled("world"), spelled("atlas")),
    ]
    path = newer(tmp_path / "a.zarr", ["world", "atlas", "idle"], transforms, spelled, version)
    (text,) = lost(path, tmp_path, capsys)
    for part in (
        "affine from 'physical' to 'world'", "displacements from 'world' to 'atlas'",
        "the system 'world'", "the system 'atlas'", "the system 'idle'",
    ):  # fmt: skip
        assert part in text
    assert "the system 'physical'" not in text


def test_nothing_is_lost_where_the_voxels_system_is_the_only_one(tmp_path, capsys):
    assert lost(newer(tmp_path / "a.zarr", [], []), tmp_path, capsys) == []


def test_a_transformation_of_labels_is_named_with_its_path(tmp_path, capsys):
    start = name("physical", path="labels/cells")
    transforms = [ends({"type": "identity"}, start, name("physical"))]
    (text,) = lost(newer(tmp_path / "a.zarr", [], transforms), tmp_path, capsys)
    assert "identity from 'physical' of 'labels/cells' to 'physical': its input lies in" in text


def test_transformations_of_the_group_are_named(tmp_path, capsys):
    """Early drafts keep them beside the multiscales."""
    systems = [{"name": "stage", "axes": AXES}]
    path = plain(
        tmp_path / "a.zarr", coordinateSystems=systems,
        coordinateTransformations=[ends({**AFFINE, "type": "rotation"}, "physical", "stage")],
    )  # fmt: skip
    (text,) = lost(path, tmp_path, capsys)
    assert "rotation from 'physical' to 'stage'" in text
    assert "the system 'stage'" in text


@pytest.mark.parametrize(
    ("transforms", "size", "said"),
    [
        ([ends(AFFINE, name("zyx"), name("global"))], SIZE, "affine from 'zyx' to 'global'"),
        (
            [
                ends({"type": "scale", "scale": [3, 3, 3]}, name("zyx"), name("a")),
                ends({"type": "translation", "translation": [1, 1, 1]}, name("zyx"), name("b")),
            ],
            SIZE, "scale from 'zyx' to 'a', translation from 'zyx' to 'b'",
        ),
        ([ends({"type": "scale", "scale": [3, 3, 3]}, name("zyx"), name("a"))], (6, 1.5, 1.5), ""),
    ],
)  # fmt: skip
def test_named_transformations_beside_axes(transforms, size, said, tmp_path, capsys):
    """As in drafts: plain ones to one system say where voxels lie, all others lead on."""
    path = plain(tmp_path / "a.zarr")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["coordinateTransformations"] = transforms
    store(path, attributes, 2)
    assert chunkscale.open_image(path).grid.voxel_size == size
    texts = [n.text for n in chunkscale.plan_resampling(path).warnings if n.kind == "lost"]
    assert len(texts) == bool(said)
    assert all(part in text for text in texts for part in said.split(", "))


# --- labels --------------------------------------------------------------------------------------


def with_labels(path, names):
    plain(path)
    store(path / "labels", {"labels": names}, 2)
    for label in names:
        plain(path / "labels" / label, **{"image-label": {"version": "0.4"}})
    return path


@pytest.mark.parametrize("lacking", ["", "0", "0/.zarray", ".zattrs"])
def test_a_label_that_is_listed_and_not_there_is_no_label(lacking, tmp_path):
    """It is a fault, and does not keep the others from going along."""
    path = with_labels(tmp_path / "a.zarr", ["gone", "cells"])
    at = path / "labels" / "gone" / lacking
    shutil.rmtree(at) if at.is_dir() else at.unlink()
    image = chunkscale.open_image(path)
    assert image.labels == ("labels/cells",)
    assert any("'labels/gone' is listed" in text for text in chunkscale.check(path).faults)
    assert [name for name, _ in chunkscale.plan_resampling(path).labels] == ["labels/cells"]


def test_a_list_of_labels_that_is_none(tmp_path, capsys):
    """They may be there all the same."""
    path = plain(tmp_path / "a.zarr")
    store(path / "labels", {"labels": 5}, 2)
    (text,) = lost(path, tmp_path, capsys)
    assert "labels that may be there are left out: 'labels' is 5" in text


# --- collections ---------------------------------------------------------------------------------


def test_a_field_of_a_plate_loses_its_place(tmp_path, capsys):
    """And one beside it, which the well does not list, has none."""
    top = tmp_path / "plate.zarr"
    store(top, {"plate": {"wells": [{"path": "B/03"}]}}, 2)
    store(top / "B" / "03", {"well": {"images": [{"path": "0"}]}}, 2)
    (text,) = lost(plain(top / "B" / "03" / "0"), tmp_path, capsys)
    assert "field '0' of well 'B/03' of a plate is left out" in text
    assert lost(plain(top / "B" / "03" / "other"), tmp_path, capsys) == []


def test_an_image_of_a_series_loses_its_place(tmp_path, capsys):
    store(tmp_path / "a.zarr", {"bioformats2raw.layout": 3}, 2)
    (text,) = lost(plain(tmp_path / "a.zarr" / "0"), tmp_path, capsys)
    assert "METADATA" not in text
    shutil.rmtree(tmp_path / "a.zarr" / "0")
    (tmp_path / "a.zarr" / "OME").mkdir()
    (tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    (text,) = lost(plain(tmp_path / "a.zarr" / "0"), tmp_path, capsys)
    assert "image '0' of the collection" in text
    assert "METADATA.ome.xml" in text


SHIFT = {"type": "translation", "translation": [0, 0, 10]}


@pytest.mark.parametrize("at", ["tile_1", "tiles/1"])
def test_a_scene_lists_its_images_and_their_places_are_lost(at, tmp_path, capsys):
    """0.6: they stand in its transformations alone."""
    transforms = [
        ends(SHIFT, name("physical", path="tile_0"), name("world")),
        ends(AFFINE, name("physical", path=at), name("world")),
        ends(SHIFT, name("world"), name("physical", path="tile_0")),
    ]
    scene = {"coordinateTransformations": transforms, "coordinateSystems": [name("world")]}
    store(tmp_path / "s.zarr", {"ome": {"version": "0.6", "scene": scene}})
    for path in ("tile_0", at):
        newer(tmp_path / "s.zarr" / path, [], [])
    assert chunkscale.info(tmp_path / "s.zarr")["images"] == ["tile_0", at]
    with pytest.raises(chunkscale.errors.MultipleImagesError, match=r"a collection \(scene\)"):
        chunkscale.open_image(tmp_path / "s.zarr")
    (text,) = lost(tmp_path / "s.zarr" / at, tmp_path, capsys)
    assert f"(affine from 'physical' of '{at}' to 'world')" in text
    (text,) = lost(tmp_path / "s.zarr" / "tile_0", tmp_path, capsys)
    assert text.count("translation") == 2


@pytest.mark.parametrize("scene", [5, {}, {"coordinateTransformations": "none"}])
def test_a_scene_that_lists_nothing_is_refused(scene, tmp_path, capsys):
    store(tmp_path / "s.zarr", {"ome": {"version": "0.6", "scene": scene}})
    assert main(["info", str(tmp_path / "s.zarr")]) == 2
    assert "'coordinateTransformations' of 'scene'" in capsys.readouterr().err
