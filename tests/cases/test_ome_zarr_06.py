"""OME-Zarr 0.6 written and read: other readers agree on where voxels lie, and nothing is lost."""

import json
import warnings
from pathlib import Path

import numpy as np
import plates
import pytest
import zarr
from grids import grid_for
from strict import schema_faults

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleWarning, DestinationError, MetadataError
from chunkscale.samples import write_image

AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
AFFINE = {"type": "affine", "affine": [[0, 1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7]]}
SHIFT = {"type": "translation", "translation": [0, 0, 10]}


def axes_of(names):
    units = {"time": "second", "space": "micrometer"}
    found = [{"name": n, "type": AXES[n], "unit": units.get(AXES[n])} for n in names]
    return [{k: v for k, v in axis.items() if v} for axis in found]


def ends(transform, begin, end, **more):
    return {**transform, "input": begin, "output": end, **more}


def name(text, **path):
    return {"name": text, **path}


def newer(
    path, systems=(), transforms=(), own="physical", names="zyx", version="0.6", axis=(), **more
):
    """Write an image of one level in a system of its own, as another program might."""
    shape, size = (2, 3, 6, 20, 22)[-len(names) :], (3.0, 1.0, 2.0, 0.5, 0.5)[-len(names) :]
    data = np.random.default_rng(1).integers(1, 99, shape).astype("uint16")
    zarr.create_array(path / "s0", data=data, chunks=(*(1,) * (len(shape) - 3), 3, 10, 11))
    axes = axes_of(names)
    axes[-1] |= {"orientation": {"type": "anatomical", "value": "left-to-right"}, **dict(axis)}
    lead = ends({"type": "scale", "scale": list(size)}, {"path": "s0"}, name(own))
    entry = {
        "coordinateSystems": [
            {"name": own, "axes": axes}, *({"name": s, "axes": axes_of(names)} for s in systems),
        ],
        "datasets": [{"path": "s0", "coordinateTransformations": [lead]}],
    } | ({"coordinateTransformations": list(transforms)} if transforms else {})  # fmt: skip
    return plates.ngff(path, {"multiscales": [entry], **more}, version)


def made(source, out, version="0.6", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChunkscaleWarning)
        return Path(chunkscale.resample(source, out, ome_zarr_version=version, **options).path)


def entry_of(path):
    return plates.inner(path)["multiscales"][0]


# --- other readers -------------------------------------------------------------------------------


def by_models(path):
    models = pytest.importorskip("ome_zarr_models.v06.image", exc_type=ImportError)
    image = models.Image.from_zarr(zarr.open_group(path, mode="r"))
    for dataset in image.ome_attributes.multiscales[0].datasets:
        scale, shift = dataset.coordinateTransformations[0].transformations
        yield scale.scale, shift.translation


def by_ngff_zarr(path):
    ngff_zarr = pytest.importorskip("ngff_zarr", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = ngff_zarr.from_ngff_zarr(str(path), version="0.6", validate=True).images
    for image in images:
        yield (
            tuple(image.scale[d] for d in image.dims),
            tuple(image.translation[d] for d in image.dims),
        )


def by_ome_zarr(path):
    pytest.importorskip("ome_zarr", exc_type=ImportError)
    classes = pytest.importorskip("ome_zarr.classes", exc_type=ImportError)
    pytest.importorskip("ome_zarr.classes.scene", reason="this ome-zarr does not know 0.6")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = classes.OMEZarrMultiscale.from_ome_zarr(str(path))
    for level, dataset in zip(image.images, image.metadata.datasets, strict=True):
        _, shift = dataset.coordinateTransformations[0].transformations
        yield tuple(level.scale[d] for d in level.axes), shift.translation


@pytest.mark.parametrize("reader", [by_models, by_ngff_zarr, by_ome_zarr])
@pytest.mark.parametrize("names", ["zyx", "tczyx"])
def test_other_readers_find_each_level_where_it_lies(reader, names, tmp_path):
    transforms = [ends(AFFINE, name("physical"), name("world"))] if names == "zyx" else []
    source = newer(tmp_path / "a.zarr", ["world"], transforms, names=names)
    out = made(source, tmp_path / "out.zarr", voxel_size=0.6, levels=3)
    image = chunkscale.open_image(out)
    grids = [image.level_grid(k) for k in range(3)]
    found = list(reader(out))
    assert [tuple(map(float, s)) for s, _ in found] == [g.voxel_size for g in grids]
    assert [tuple(map(float, t)) for _, t in found] == [g.translation for g in grids]
    assert grids[0].voxel_size[-3:] == (0.6, 0.6, 0.6)
    assert schema_faults(plates.attributes(out), "0.6", "strict_image") == []
    assert chunkscale.check(out, source=source)


# --- what is carried -----------------------------------------------------------------------------


def test_systems_and_transformations_stay_word_for_word(tmp_path):
    transforms = [
        ends(AFFINE, name("own"), name("world"), name="stage to world", note=[1, 2]),
        ends({"type": "bijection", "forward": SHIFT, "inverse": SHIFT}, name("world"), name("own")),
    ]
    wide = {"longName": "width", "discrete": False}  # ngff-zarr 0.50 does not know the first
    source = newer(tmp_path / "a.zarr", ["world", "idle"], transforms, own="own", axis=wide)
    out = made(source, tmp_path / "out.zarr", zoom=0.5)
    ours, theirs = entry_of(out), entry_of(source)
    assert ours["coordinateTransformations"] == theirs["coordinateTransformations"]
    assert ours["coordinateSystems"] == theirs["coordinateSystems"]  # orientation, longName
    assert "coordinates" not in plates.attributes(out)["chunkscale"]
    assert "notices" not in plates.attributes(out)["chunkscale"]


@pytest.mark.parametrize("between", [["0.5"], ["0.4"], ["0.5", "0.4"]])
def test_what_older_versions_cannot_hold_comes_back(between, tmp_path):
    transforms = [
        ends(AFFINE, name("own"), name("world")),
        ends({"type": "displacements", "path": "field"}, name("world"), name("own")),
        ends({"type": "scale", "scale": [2, 2, 2]}, {"path": "s0"}, name("world")),
    ]
    at = newer(tmp_path / "a.zarr", ["world"], transforms, own="own")
    direct = made(at, tmp_path / "direct.zarr", zoom=1)
    for version in [*between, "0.6"]:
        at = made(at, tmp_path / f"{version}.zarr", version, zoom=1)
        assert chunkscale.check(at)
    assert entry_of(at) == entry_of(direct)
    records = [plates.attributes(path)["chunkscale"]["coordinates"] for path in (at, direct)]
    assert records[0] == records[1] == {"left": transforms[1:2]}


def test_what_is_lost_is_told_by_plan_resample_and_record(tmp_path, capsys):
    field = ends({"type": "coordinates", "path": "field"}, name("physical"), name("world"))
    source = newer(tmp_path / "a.zarr", ["world"], [field])
    arguments = [str(source), str(tmp_path / "out.zarr"), "--ome-zarr-version", "0.6"]
    for verb in (["plan", str(source), *arguments[2:]], ["resample", *arguments]):
        assert main(verb) == 0
        printed = capsys.readouterr()
        assert "coordinates from 'physical' to 'world': it needs the array 'field'" in (
            printed.out + printed.err
        )
    record = plates.attributes(tmp_path / "out.zarr")["chunkscale"]
    assert record["coordinates"] == {"left": [field]}
    assert "it needs the array 'field'" in record["notices"][0]


def test_labels_that_go_along_keep_what_leads_to_them(tmp_path):
    to_labels = ends({"type": "identity"}, name("physical", path="labels/cells"), name("physical"))
    source = newer(tmp_path / "a.zarr", [], [to_labels])
    newer(source / "labels/cells", **{"image-label": {"colors": []}})
    plates.ngff(source / "labels", {"labels": ["cells"]}, "0.6")
    out = made(source, tmp_path / "out.zarr", zoom=0.5)
    assert entry_of(out)["coordinateTransformations"] == [to_labels]
    assert "notices" not in plates.attributes(out)["chunkscale"]
    models = pytest.importorskip("ome_zarr_models.v06.image", exc_type=ImportError)
    image = models.Image.from_zarr(zarr.open_group(out, mode="r"))
    assert image.labels.label_paths == ["cells"]
    label = plates.attributes(tmp_path / "out.zarr/labels/cells")
    assert schema_faults(label, "0.6", "label") == schema_faults(label, "0.6", "image") == []
    assert chunkscale.check(out)
    alone = made(source, tmp_path / "alone.zarr", zoom=0.5, labels=False)
    assert "coordinateTransformations" not in entry_of(alone)
    text = " ".join(plates.attributes(alone)["chunkscale"]["notices"])
    assert "lies in 'labels/cells', which the output does not have" in text


def test_given_voxel_sizes_and_chosen_channels_are_announced(tmp_path):
    affine = {"type": "translation", "translation": [0, 1, 2, 3]}
    transforms = [ends(affine, name("physical"), name("world"))]
    source = newer(tmp_path / "a.zarr", ["world"], transforms, names="czyx")
    options = {"ome_zarr_version": "0.6"}
    plan = chunkscale.plan_resampling(source, source_voxel_size=1, **options)
    assert any("voxel sizes were given" in str(notice) for notice in plan.warnings)
    for version in ("0.5", "0.6"):  # from the record of 0.5 they come back
        plan = chunkscale.plan_resampling(source, channels=[1], ome_zarr_version=version)
        assert any("channels are selected and renumbered" in str(n) for n in plan.warnings)
    assert not chunkscale.plan_resampling(source, crop="z=1:4", **options).warnings


def test_a_target_in_other_units_is_a_system_of_its_own(tmp_path):
    """Its voxels are right in both: what leads on starts from the source's system."""
    source = newer(tmp_path / "a.zarr", ["world"], [ends(AFFINE, name("physical"), name("world"))])
    grid = grid_for((6, 20, 22), (2000.0, 500.0, 500.0), unit="nanometer")
    write_image(tmp_path / "nm.zarr", np.zeros(grid.shape, "uint8"), grid, version="0.6")
    out = made(source, tmp_path / "out.zarr", like=tmp_path / "nm.zarr")
    first, second = entry_of(out)["coordinateTransformations"]
    assert (first["scale"], second) == ([0.001] * 3, ends(AFFINE, name("physical"), name("world")))
    image = chunkscale.open_image(out)
    assert image.grid.voxel_size == grid.voxel_size
    assert image.grid.axes[0].unit == "nanometer"


# --- verbs and places ----------------------------------------------------------------------------


def test_from_each_version_to_each_other(tmp_path, capsys):
    """As a user does it: every step is checked, and voxels and grids are the same in the end."""
    chain = ["0.5", "0.6", "0.4", "0.6", "0.5"]
    grid = grid_for((8, 20, 22), (2.0, 0.5, 0.5))
    data = np.random.default_rng(2).integers(0, 99, grid.shape).astype("uint8")
    write_image(tmp_path / "0.zarr", data, grid)
    for k, version in enumerate(chain):
        paths = [str(tmp_path / f"{k + n}.zarr") for n in (0, 1)]
        options = ["--voxel-size", "same", "--ome-zarr-version", version]
        assert main(["resample", *paths, *options]) == 0
        assert main(["check", paths[1], "--source", paths[0]]) == 0
        assert main(["resample", *paths, *options, "--resume"]) == 0
        assert main(["info", paths[1], "--json"]) == 0
        assert f'"ome_zarr_version": "{version}"' in capsys.readouterr().out
    last = chunkscale.open_image(paths[1])
    assert last.grid == grid
    np.testing.assert_array_equal(last.as_dask().compute(), data)


def test_a_label_goes_into_an_image_of_its_version_only(tmp_path):
    source = newer(tmp_path / "a.zarr")
    image = made(source, tmp_path / "b.zarr", "0.5", zoom=1)
    label = newer(tmp_path / "l.zarr", **{"image-label": {}})
    with pytest.raises(DestinationError, match=r"ome_zarr_version='0\.5'"):
        made(label, f"{image}/labels/l", "0.6")
    made(label, f"{image}/labels/l", "0.5")
    image = made(source, tmp_path / "c.zarr", "0.6", zoom=1)
    with pytest.raises(DestinationError, match=r"ome_zarr_version='0\.6'"):
        made(label, f"{image}/labels/l", "0.5")


def test_a_plate_is_valid(tmp_path):
    source = plates.plate(tmp_path / "p.zarr")
    out = made(source, tmp_path / "out.zarr", images="all", zoom=0.5, workers=1)
    for path, schema in (("", "strict_plate"), ("B/03", "strict_well"), ("B/03/0", "strict_image")):
        found = plates.attributes(tmp_path / "out.zarr" / path)
        assert found["ome"]["version"] == "0.6"
        assert schema_faults(found, "0.6", schema) == []
    models = pytest.importorskip("ome_zarr_models.v06.hcs", exc_type=ImportError)
    models.HCS.from_zarr(zarr.open_group(out, mode="r"))
    assert chunkscale.check(out)


# --- scenes --------------------------------------------------------------------------------------


def scene(path, *more):
    """Write a scene of two images, which lie in a world, and what is said `more` of them."""
    world = {"name": "world", "axes": axes_of("zyx")}
    transforms = [
        ends(SHIFT, name("physical", path="a"), name("world"), name="a to world"),
        ends(AFFINE, name("physical", path="b/c"), name("world")),
        *more,
    ]
    found = {"coordinateSystems": [world], "coordinateTransformations": transforms}
    plates.ngff(path, {"scene": found}, "0.6")
    for image in ("a", "b/c"):
        newer(path / image)
    return path


def test_a_scene_stays_a_scene(tmp_path):
    source = scene(tmp_path / "s.zarr")
    out = made(source, tmp_path / "out.zarr", images="all", zoom=0.5)
    assert plates.inner(tmp_path / "out.zarr") == plates.inner(source)
    assert schema_faults(plates.attributes(tmp_path / "out.zarr"), "0.6", "scene") == []
    models = pytest.importorskip("ome_zarr_models.v06.scene", exc_type=ImportError)
    models.Scene.from_zarr(zarr.open_group(out, mode="r"))
    assert chunkscale.check(out)
    assert "notices" not in plates.attributes(tmp_path / "out.zarr")["chunkscale"]
    made(source, out, images="all", zoom=0.5, overwrite=True)
    made(source, out, images="all", zoom=0.5, resume=True)


def test_a_scene_comes_back_from_a_folder(tmp_path, capsys):
    field = {"type": "displacements", "path": "field"}
    lost = ends(field, name("world"), name("physical", path="a"))
    source = scene(tmp_path / "s.zarr", lost)
    folder, back = tmp_path / "folder.zarr", tmp_path / "back.zarr"
    assert main(["resample", str(source), str(folder), "--all"]) == 0
    printed = capsys.readouterr().err
    record = plates.attributes(folder)["chunkscale"]
    assert "one scene is left out" in printed
    assert any("one scene is left out" in text for text in record["notices"])
    assert record["scenes"][""] == plates.inner(source)["scene"]
    assert "ome" not in plates.attributes(folder)
    arguments = ["--all", "--voxel-size", "same", "--ome-zarr-version", "0.6"]
    assert main(["resample", str(folder), str(back), *arguments]) == 0
    assert capsys.readouterr().err.count("it needs the array 'field'") == 1
    found = plates.inner(back)["scene"]
    assert found["coordinateTransformations"] == plates.inner(source)["scene"][
        "coordinateTransformations"
    ][:2]  # fmt: skip
    record = plates.attributes(back)["chunkscale"]
    assert record["scenes"][""] == {"coordinateTransformations": [lost]}
    assert "it needs the array 'field'" in record["notices"][0]


def test_some_images_of_a_scene(tmp_path):
    source = scene(tmp_path / "s.zarr")
    out = made(source, tmp_path / "out.zarr", images="a", zoom=0.5)
    found = plates.inner(tmp_path / "out.zarr")["scene"]
    assert [t["input"]["path"] for t in found["coordinateTransformations"]] == ["a"]
    text = " ".join(plates.attributes(tmp_path / "out.zarr")["chunkscale"]["notices"])
    assert "affine from 'physical' of 'b/c' to 'world'" in text
    assert chunkscale.check(out)


# --- drafts --------------------------------------------------------------------------------------


def test_a_draft_is_read_where_its_axes_are_usual(tmp_path):
    source = newer(tmp_path / "a.zarr", version="0.9.dev1")
    image = chunkscale.open_image(source)
    assert image.grid.voxel_size == (2.0, 0.5, 0.5)
    assert any("'0.9.dev1' is a draft" in notice.text for notice in image.notices)
    document = json.loads((source / "zarr.json").read_text())
    axes = document["attributes"]["ome"]["multiscales"][0]["coordinateSystems"][0]["axes"]
    axes.reverse()
    axes[0] = {"name": "angle", "type": "angle"}
    axes[2] = {"name": "tile", "type": "index"}
    (source / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(MetadataError, match="'space'"):
        chunkscale.open_image(source)
    document["attributes"]["ome"]["version"] = "0.8"
    (source / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(MetadataError, match=r"'0\.8' is unknown"):
        chunkscale.open_image(source)


def test_a_data_array_says_which_coordinate_systems_it_has_not(tmp_path):
    """It holds the voxels' own alone; an image without others says nothing."""
    lead = ends(AFFINE, name("physical"), name("world"))
    image = chunkscale.open_image(newer(tmp_path / "a.zarr", ["world"], [lead]))
    with pytest.warns(ChunkscaleWarning, match="affine from 'physical' to 'world'"):
        image.to_xarray()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunkscale.open_image(newer(tmp_path / "b.zarr")).to_xarray()
