"""What cost people hours: names that lie, sizes in another unit, structures that vanish."""

import json
import threading

import dask.array as da
import numpy as np
import pytest

import chunkscale
from chunkscale.cli.main import main

SIZE = (2, 0.5, 0.5)


def test_a_rewritten_store_is_not_taken_from_a_cache(make_image, noise):
    """What was persisted keeps its voxels; a new array has those that are stored now."""
    data = noise((6, 20, 22))
    path = make_image(data, SIZE, chunk=(3, 10, 11))
    image = chunkscale.open_image(path)
    one, other = image.as_dask(), chunkscale.open_image(path).as_dask()
    assert len({one.name, other.name, image.as_dask().name}) == 3
    lazy = chunkscale.resample_array(one, zoom=2)
    assert chunkscale.resample_array(one, zoom=2).name == lazy.name
    assert chunkscale.resample_array(one, zoom=3).name != lazy.name
    assert chunkscale.resample_array(other, zoom=2).name != lazy.name
    np.testing.assert_array_equal(da.stack([one, other]).compute(), [data, data])


def kinds(plan):
    return [notice.kind for notice in plan.warnings]


def test_one_plane_stays_one_plane(make_image, noise, tmp_path, capsys):
    """Unless another size is asked for, which is warned of; the remedy keeps it, and is silent."""
    plane = make_image(noise((1, 20, 22)), (1, 0.1625, 0.1625))
    assert main(["resample", str(plane), str(tmp_path / "out")]) == 0
    assert "one voxel along z, which is left as it is (1)" in capsys.readouterr().err
    assert chunkscale.open_image(tmp_path / "out").grid.voxel_size == (1, 0.1625, 0.1625)
    plan = chunkscale.plan_resampling(plane, voxel_size=0.1625)
    assert plan.target_grid.shape[0] == 6
    assert "the 6 of the target are all the same" in str(plan.warnings[0])
    assert "z=1 keeps one" in str(plan.warnings[0])
    plan = chunkscale.plan_resampling(plane, voxel_size="z=1")
    assert plan.target_grid.shape[0] == 1
    assert not plan.warnings


def test_the_finest_voxel_size_is_not_that_of_one_plane(make_image, noise):
    """It is often a placeholder, and would multiply the voxels of the other axes."""
    plane = make_image(noise((1, 20, 22)), (0.001, 0.65, 0.65))
    for size in ("finest", "coarsest"):
        plan = chunkscale.plan_resampling(plane, voxel_size=size)
        assert plan.target_grid.shape == (1, 20, 22)
        assert plan.target_grid.voxel_size == (0.001, 0.65, 0.65)
    point = make_image(noise((1, 1, 1)), (2, 0.5, 0.5), name="point")
    assert chunkscale.plan_resampling(point).target_grid.voxel_size == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("unit", "size", "wanted", "kind", "remedy"),
    [
        ("micrometer", (2, 0.5, 0.5), 500, "collapse", "did you mean 500nm? That is 0.5 here"),
        ("nanometer", (2000, 500, 500), 0.5, "growth", "did you mean 0.5um? That is 500 here"),
        (None, (2, 0.5, 0.5), 500, "collapse", "check that this is intended"),
    ],
)
def test_a_size_in_another_unit_is_noticed(make_image, noise, unit, size, wanted, kind, remedy):
    """With the number that is right; that one is taken without a word."""
    image = make_image(noise((6, 20, 22)), size, unit=unit)
    plan = chunkscale.plan_resampling(image, voxel_size=wanted, memory="64GiB")
    assert kind in kinds(plan)
    text = str(plan.warnings[kinds(plan).index(kind)])
    assert remedy in text
    if unit is not None:
        meant = remedy.split()[3].rstrip("?")
        assert not chunkscale.plan_resampling(image, voxel_size=meant).warnings


def test_masks_that_vanish_are_warned_of_and_the_remedy_keeps_them(make_image, tmp_path):
    """A plane of one voxel is gone after two levels, and a shade of grey as numbers."""
    mask = np.zeros((16, 32, 32), bool)
    mask[8] = True
    image = chunkscale.open_image(make_image(mask, (1, 1, 1)))
    with pytest.warns(chunkscale.ChunkscaleWarning, match=r"vanish.*as_dask\(\) \* numpy\.uint8"):
        chunkscale.resample(image, tmp_path / "bool", levels=4)
    assert not chunkscale.open_image(tmp_path / "bool").as_dask(2).compute().any()
    chunkscale.resample(
        image.as_dask() * np.uint8(255),
        tmp_path / "numbers",
        source_voxel_size=image.grid.voxel_size,
        levels=4,
    )
    assert chunkscale.open_image(tmp_path / "numbers").as_dask(3).compute().any()
    one = chunkscale.plan_resampling(image, method="nearest", levels=1)
    assert [notice.kind for notice in one.warnings] == ["isotropic"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("scan.ome.tif", "is not a TIFF file"),
        ("SCAN.CZI", "bioformats2raw SCAN.CZI"),
        ("scan.nd2", "bioformats2raw"),
        ("scan.h5", r"h5py.File('scan.h5')"),
        ("scan.nrrd", "nrrd.read('scan.nrrd')[0].T"),
        ("scan.npy", "numpy.load('scan.npy', mmap_mode=\"r\")"),
        ("scan.n5/attributes.json", '"driver": "n5"'),
        ("volume/attributes.json", '"driver": "n5"'),
        ("volume/info", '"driver": "neuroglancer_precomputed"'),
    ],
)
def test_other_formats_are_named_with_the_way_on(tmp_path, name, remedy, capsys):
    """Not just 'no zarr group'."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    source = path if path.parent == tmp_path else path.parent
    assert main(["plan", str(source)]) == 2
    assert remedy in capsys.readouterr().err


def test_the_way_on_of_arrays_works(tmp_path, noise):
    """Of those formats that NumPy and tensorstore read."""
    import tensorstore

    data = noise((4, 6, 8))
    np.save(tmp_path / "a.npy", data)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert chunkscale.plan_resampling(mapped, source_voxel_size=SIZE).target_grid.shape[0] == 16
    spec = {"driver": "n5", "kvstore": f"file://{tmp_path}/b.n5"}
    made = tensorstore.open(spec, create=True, dtype="uint16", shape=data.T.shape).result()
    made[...] = data.T
    given = tensorstore.open(spec).result()
    with pytest.raises(chunkscale.OptionError, match=r"pass array\.read\(\)\.result\(\)"):
        chunkscale.resample_array(given)
    found = chunkscale.resample_array(given.read().result().T, voxel_size=1)
    np.testing.assert_array_equal(found, data)


@pytest.mark.parametrize("end", [".ome.tif", ".TIFF", ".zip", ".n5", ".h5", ".nii.gz"])
def test_outputs_are_not_called_what_they_are_not(make_image, noise, tmp_path, end):
    """The name that is suggested is taken."""
    source = make_image(noise((4, 6, 8)), SIZE)
    with pytest.raises(
        chunkscale.DestinationError, match=r"give.* name.* like '.*\.zarr'"
    ) as error:
        chunkscale.resample(source, tmp_path / f"out{end}")
    assert not (tmp_path / f"out{end}").exists()
    chunkscale.resample(source, str(error.value).rpartition("like ")[2].split("'")[1])


@pytest.fixture
def labelled(make_image, tmp_path):
    """Return a function that makes an image without labels, and a label image elsewhere."""

    def make(version):
        image = make_image(np.zeros((4, 6, 8), "u2"), SIZE, name="image", version=version)
        labels = np.arange(4 * 6 * 8, dtype="u4").reshape(4, 6, 8)
        return image, make_image(labels, SIZE, name="ids", version=version)

    return make


def listed(image, version):
    if version == "0.4":
        return json.loads((image / "labels/.zattrs").read_text())["labels"]
    return json.loads((image / "labels/zarr.json").read_text())["attributes"]["ome"]["labels"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_outputs_below_labels_are_listed_there(labelled, version):
    """Once they are finished, after those that are listed already; a second run adds nothing."""
    image, ids = labelled(version)
    how = {"method": "nearest", "ome_zarr_version": version}
    for name in ("nuclei", "cells"):

        def unlisted(progress, name=name):
            folder = image / "labels"
            assert not (folder / "zarr.json").exists() or name not in listed(image, version)

        chunkscale.resample(ids, image / "labels" / name, progress=unlisted, **how)
    chunkscale.resample(ids, image / "labels/cells", overwrite=True, **how)
    assert listed(image, version) == ["nuclei", "cells"]
    opened = chunkscale.open_image(image)
    assert opened.labels == ("labels/nuclei", "labels/cells")
    assert chunkscale.open_image(image / "labels/cells").is_label
    chunkscale.resample(ids, image.parent / "labels" / "free", **how)
    assert not (image.parent / "labels/zarr.json").exists()


def test_labels_that_finish_at_once_are_all_listed(labelled):
    """None overwrites the list of another."""
    image, ids = labelled("0.5")
    names = [f"label-{i}" for i in range(4)]

    def run(name):
        chunkscale.resample(ids, image / "labels" / name, method="nearest", workers=1)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(listed(image, "0.5")) == names


def test_labels_of_another_format_or_kind_are_refused_or_said(labelled):
    """Readers of the image would not find them; the version that is named is taken."""
    image, ids = labelled("0.4")
    with pytest.raises(chunkscale.DestinationError, match=r"ome_zarr_version='0\.4'"):
        chunkscale.resample(ids, image / "labels/cells", method="nearest")
    assert not (image / "labels").exists()
    with pytest.warns(chunkscale.ChunkscaleWarning, match="labels must be integers"):
        chunkscale.resample(
            np.zeros((4, 6, 8), "f4"),
            image / "labels/heat",
            source_voxel_size=SIZE,
            ome_zarr_version="0.4",
        )
    assert not (image / "labels/.zattrs").exists()


@pytest.mark.parametrize("labels", [None, "abc", 3])
def test_a_list_of_labels_that_is_none_is_left_alone(labelled, labels):
    """The output is finished, and it is said what to do."""
    image, ids = labelled("0.5")
    chunkscale.resample(ids, image / "labels/cells", method="nearest")
    document = image / "labels/zarr.json"
    node = json.loads(document.read_text())
    node["attributes"]["ome"]["labels"] = labels
    document.write_text(json.dumps(node))
    with pytest.warns(chunkscale.ChunkscaleWarning, match="not a list; add 'nuclei'"):
        chunkscale.resample(ids, image / "labels/nuclei", method="nearest")
    assert json.loads(document.read_text()) == node
