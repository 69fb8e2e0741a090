"""Labels go where their image goes: onto its target grid, with as many levels, listed."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import zarr
from grids import grid_for

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import DestinationError, OptionError
from chunkscale.samples import write_image
from chunkscale.text import human_bytes

pytestmark = pytest.mark.filterwarnings("ignore:aliasing", "ignore:.*equally spaced")

SHAPE, SIZE = (6, 20, 24), (2.0, 0.5, 0.5)


def random_ids(shape, dtype="uint32", seed=5):
    """Return labels in blocks, with ids that no float holds."""
    info = np.iinfo(dtype)
    few = np.random.default_rng(seed).integers(0, 4, [-(-n // 3) for n in shape])
    large = few.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(map(slice, shape))]
    return np.where(large, info.max - large.astype(dtype), 0).astype(dtype)


def add_labels(path, name, ids, size=SIZE, *, version="0.5", translation=(), more=None, **options):
    """Write labels below an image, and list them."""
    place = path / "labels" / name
    attributes = {"image-label": {"version": version, **(more or {})}}
    grid = grid_for(ids.shape, size, translation=translation)
    write_image(place, ids, grid, version=version, attributes=attributes, **options)
    zarr_format = 2 if version == "0.4" else 3
    group = zarr.open_group(path / "labels", mode="a", zarr_format=zarr_format)
    attributes = dict(group.attrs)
    inner = attributes if version == "0.4" else attributes.setdefault("ome", {"version": version})
    inner.setdefault("labels", []).append(name)
    group.attrs.put(attributes)
    return place


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    return request.param


@pytest.fixture
def dataset(make_image, noise, version):
    """Return an image with labels of 64 bits on its grid, and others on coarser voxels."""
    path = make_image(noise(SHAPE), SIZE, version=version)
    colours = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}
    add_labels(path, "nuclei", random_ids(SHAPE, "uint64"), version=version, more=colours)
    half = tuple(n // 2 for n in SHAPE)
    coarse = tuple(2 * s for s in SIZE)
    add_labels(path, "cells", random_ids(half), coarse, version=version,
               translation=tuple(s / 2 for s in SIZE))  # fmt: skip
    return path


def spatial(image):
    grid = image.grid
    return [
        (grid.axes[i].name, grid.shape[i], grid.voxel_size[i], grid.translation[i])
        for i in grid.spatial
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voxel_size": "z=1,y=2,x=0.75um"},
        {"crop": "z=1:5,y=2:18"},
        {"method": "cubic"},
        {"factor": "2,1,1", "antialias": True},
        {"levels": 1},
        {"shape": "7,9,11", "pyramid": "all"},
        {"voxel_size": "same"},
        {"channels": None, "level": 0},
    ],
    ids=str,
)
def test_labels_lie_on_the_grid_of_their_image(options, dataset, version, tmp_path):
    """Level by level, listed where readers look, made of the ids that there were."""
    out = tmp_path / "out.zarr"
    run = chunkscale.resample(dataset, out, ome_zarr_version=version, **options)
    image = chunkscale.open_image(out)
    assert image.labels == ("labels/nuclei", "labels/cells")
    assert [label.path for label in run.labels] == [f"{out}/{name}" for name in image.labels]
    for name in image.labels:
        label, given = (chunkscale.open_image(path / name) for path in (out, dataset))
        assert label.is_label
        assert len(label.multiscale.datasets) == len(image.multiscale.datasets)
        for k in range(len(image.multiscale.datasets)):
            assert label.level_grid(k).voxel_size == image.level_grid(k).voxel_size
            assert label.level_grid(k).shape == image.level_grid(k).shape
        assert spatial(label) == spatial(image)
        assert label.array.dtype == given.array.dtype
        ids = np.asarray(label.as_dask())
        assert set(np.unique(ids)) <= set(np.unique(np.asarray(given.as_dask())))
    assert chunkscale.check(out, source=dataset)


@pytest.mark.parametrize("method", ["mode", "nearest"])
def test_labels_are_those_of_a_run_of_their_own(method, dataset, tmp_path):
    """What `like` would give, to the bit."""
    out, alone = tmp_path / "out.zarr", tmp_path / "alone.zarr"
    chunkscale.resample(dataset, out, voxel_size=1.5, label_method=method)
    chunkscale.resample(dataset / "labels" / "nuclei", alone, like=out, method=method, levels=1)
    ours = chunkscale.open_image(out / "labels" / "nuclei").as_dask()
    assert np.array_equal(np.asarray(ours), np.asarray(chunkscale.open_image(alone).as_dask()))


@pytest.mark.parametrize("how", ["mean", "max", "nearest"])
def test_levels_of_labels_are_modes_whatever_those_of_the_image_are(how, dataset, tmp_path):
    """What is asked for is for intensities; labels are counted by default, too."""
    out = tmp_path / "out.zarr"
    plan = chunkscale.resample(dataset, out, voxel_size=1.5, downsample=how, levels=2).plan
    assert plan.downsample == how
    assert [path for path, _ in plan.labels] == ["labels/nuclei", "labels/cells"]
    assert {(label.method, label.downsample) for _, label in plan.labels} == {("mode", "mode")}
    assert chunkscale.check(out, source=dataset)


def test_labels_of_the_same_voxels_stay_to_the_bit(dataset, tmp_path):
    """64-bit ids do not pass through a float."""
    chunkscale.resample(dataset, tmp_path / "out.zarr", voxel_size="same")
    found = chunkscale.open_image(tmp_path / "out.zarr" / "labels" / "nuclei").as_dask()
    assert np.array_equal(np.asarray(found), random_ids(SHAPE, "uint64"))


@pytest.mark.parametrize("target", ["0.4", "0.5"])
def test_what_describes_labels_goes_along(target, dataset, tmp_path):
    """Colours, the way to the image, the list; valid for those who check such documents."""
    out = tmp_path / "out.zarr"
    chunkscale.resample(dataset, out, ome_zarr_version=target)
    attributes = dict(zarr.open_group(out / "labels" / "nuclei", mode="r").attrs)
    inner = attributes if target == "0.4" else attributes["ome"]
    assert inner["image-label"]["colors"] == [{"label-value": 1, "rgba": [255, 0, 0, 255]}]
    listed = dict(zarr.open_group(out / "labels", mode="r").attrs)
    listed = listed if target == "0.4" else listed["ome"]
    assert listed["labels"] == ["nuclei", "cells"]
    if importlib.util.find_spec("yaozarrs"):
        import yaozarrs

        yaozarrs.validate_zarr_store(str(out))


def test_a_crop_has_the_labels_of_the_whole(dataset, tmp_path):
    """Voxel by voxel, whichever method made them."""
    whole, part = tmp_path / "whole.zarr", tmp_path / "part.zarr"
    options = {"voxel_size": 1.25, "levels": 1}
    chunkscale.resample(dataset, whole, **options)
    chunkscale.resample(dataset, part, crop="z=1:5,y=2:18,x=7:21", **options)
    for name in ("labels/nuclei", "labels/cells"):
        large, small = (chunkscale.open_image(path / name) for path in (whole, part))
        first = [
            round((b - a) / s)
            for a, b, s in zip(
                large.grid.translation, small.grid.translation, large.grid.voxel_size, strict=True
            )
        ]
        box = tuple(slice(a, a + n) for a, n in zip(first, small.grid.shape, strict=True))
        assert np.array_equal(np.asarray(large.as_dask())[box], np.asarray(small.as_dask()))


def test_beyond_their_own_extent_there_are_no_labels(make_image, noise, tmp_path):
    """Labels of a corner do not smear over the image."""
    path = make_image(noise(SHAPE), SIZE)
    add_labels(path, "corner", np.full((3, 10, 12), 7, "uint8"))
    chunkscale.resample(path, tmp_path / "out.zarr", voxel_size="same")
    found = np.asarray(chunkscale.open_image(tmp_path / "out.zarr/labels/corner").as_dask())
    assert (found[:3, :10, :12] == 7).all()
    assert found.sum() == 7 * 3 * 10 * 12


def test_a_rounded_rest_of_coarse_labels_is_filled(make_image, noise, tmp_path):
    """Whose extent ends less than one of their voxels before the image's."""
    path = make_image(noise((4, 9, 9)), (1.0, 1.0, 1.0))
    add_labels(path, "half", np.full((2, 4, 4), 3, "uint8"), (2.0, 2.0, 2.0),
               translation=(0.5, 0.5, 0.5))  # fmt: skip
    chunkscale.resample(path, tmp_path / "out.zarr", voxel_size="same")
    found = np.asarray(chunkscale.open_image(tmp_path / "out.zarr/labels/half").as_dask())
    assert (found == 3).all()


@pytest.mark.filterwarnings("ignore:only one voxel is left", "ignore:the source has one voxel")
@pytest.mark.parametrize("method", ["mode", "nearest"])
@pytest.mark.parametrize("planes", [1, 2])
def test_a_thin_image_keeps_its_labels(planes, method, make_image, noise, tmp_path):
    """In the one voxel that is left along z, whose centre lies beyond the image."""
    shape, size = (planes, 8, 8), (0.2, 0.5, 0.5)
    image = make_image(noise(shape), size)
    add_labels(image, "cells", np.full(shape, 5, "uint32"), size)
    run = chunkscale.resample(image, tmp_path / "out", voxel_size=1.0, label_method=method)
    np.testing.assert_array_equal(chunkscale.open_image(run.labels[0].path).as_dask(), 5)


def test_time_points_of_labels_follow_those_of_the_image(make_image, noise, tmp_path):
    path = make_image(noise((5, 2, *SHAPE)), (1.0, 1.0, *SIZE), axes="tczyx")
    ids = np.stack([random_ids(SHAPE, seed=k) for k in range(5)])
    write_image(
        path / "labels" / "nuclei", ids, grid_for(ids.shape, (1.0, *SIZE), "tzyx"),
        attributes={"image-label": {}},
    )  # fmt: skip
    group = zarr.open_group(path / "labels", mode="a", zarr_format=3)
    group.attrs.put({"ome": {"version": "0.5", "labels": ["nuclei"]}})
    chunkscale.resample(path, tmp_path / "out.zarr", voxel_size="same", timepoints="4,1")
    found = chunkscale.open_image(tmp_path / "out.zarr" / "labels" / "nuclei").as_dask()
    assert np.array_equal(np.asarray(found), ids[[4, 1]])
    assert chunkscale.check(tmp_path / "out.zarr", source=path)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (True, ["nuclei", "cells"]),
        (False, []),
        ("cells", ["cells"]),
        ("cells,nuclei", ["cells", "nuclei"]),
        (["labels/nuclei"], ["nuclei"]),
        ([], []),
    ],
    ids=str,
)
def test_labels_can_be_chosen(asked, kept, dataset, tmp_path):
    """What stays behind is said, and noted in the output."""
    out = tmp_path / "out.zarr"
    plan = chunkscale.plan_resampling(dataset, labels=asked)
    assert [name for name, _ in plan.labels] == [f"labels/{name}" for name in kept]
    chunkscale.resample(dataset, out, labels=asked)
    assert chunkscale.open_image(out).labels == tuple(f"labels/{name}" for name in kept)
    left = [f"labels/{name}" for name in ("nuclei", "cells") if name not in kept]
    noted = zarr.open_group(out, mode="r").attrs["chunkscale"].get("notices", [])
    said = [text for text in noted if "labels left out" in text]
    assert bool(said) == bool(left)
    assert all(name in said[0] for name in left)


def test_labels_that_are_not_there_are_refused_by_name(dataset, make_image, noise):
    with pytest.raises(OptionError, match=r"'nuclea'.*no such labels; there are 'nuclei'"):
        chunkscale.plan_resampling(dataset, labels="nuclea")
    bare = make_image(noise(SHAPE), SIZE, name="bare.zarr")
    with pytest.raises(OptionError, match="leave that out"):
        chunkscale.plan_resampling(bare, labels="nuclei")
    with pytest.raises(OptionError, match="this source has none"):
        chunkscale.plan_resampling(noise(SHAPE), source_voxel_size=1, labels=["nuclei"])


def test_labels_that_cannot_go_along_stay_behind_with_a_word(make_image, noise, tmp_path):
    """By default; those that are asked for by name are refused instead."""
    path = make_image(noise(SHAPE), SIZE)
    add_labels(path, "scores", noise(SHAPE, "float32"))
    add_labels(path, "nuclei", random_ids(SHAPE))
    plan = chunkscale.plan_resampling(path)
    assert [name for name, _ in plan.labels] == ["labels/nuclei"]
    (text,) = (n.text for n in plan.warnings if n.kind == "lost")
    assert "'labels/scores' is left out: labels must be integers, but these are float32" in text
    with pytest.raises(chunkscale.MetadataError, match="labels must be integers"):
        chunkscale.plan_resampling(path, labels="scores")


def test_a_voxel_size_that_is_given_is_that_of_labels_on_the_same_voxels(dataset, tmp_path):
    """Of others nothing is known then."""
    out = tmp_path / "out.zarr"
    size = {"z": 4.0, "y": 1.0, "x": 1.0}
    plan = chunkscale.plan_resampling(dataset, source_voxel_size=size)
    assert [name for name, _ in plan.labels] == ["labels/nuclei"]
    assert any("source_voxel_size applies to the image" in str(n) for n in plan.warnings)
    chunkscale.resample(dataset, out, source_voxel_size=size, labels="nuclei")
    assert spatial(chunkscale.open_image(out / "labels/nuclei")) == spatial(
        chunkscale.open_image(out)
    )


def test_the_promise_is_that_of_the_whole_run(dataset):
    plan = chunkscale.plan_resampling(dataset)
    totals = [plan.memory.total, *(label.memory.total for _, label in plan.labels)]
    assert plan.promise == max(totals) == plan.as_dict()["memory"]["total"]
    assert set(plan.as_dict()["labels"]) == {"labels/nuclei", "labels/cells"}
    assert "labels/nuclei" in str(plan)
    regions = plan.region_count + sum(label.region_count for _, label in plan.labels)
    assert f"with its labels {human_bytes(plan.promise)} at most" in str(plan)
    assert f"written, {regions} regions" in str(plan)
    assert "labels/nuclei" in plan._repr_html_()


# --- what is there already -----------------------------------------------------------------------


def test_an_output_with_labels_is_replaced_whole(dataset, tmp_path):
    """Also by one that has none."""
    out = tmp_path / "out.zarr"
    chunkscale.resample(dataset, out)
    chunkscale.resample(dataset, out, overwrite=True, voxel_size=1.5)
    assert chunkscale.open_image(out).labels == ("labels/nuclei", "labels/cells")
    assert chunkscale.check(out, source=dataset)
    chunkscale.resample(dataset, out, overwrite=True, labels=False)
    assert not (out / "labels").exists()


@pytest.mark.parametrize("mine", ["drawn", "nuclei/notes"])
def test_labels_that_were_not_made_with_it_are_never_deleted(mine, dataset, tmp_path):
    out = tmp_path / "out.zarr"
    chunkscale.resample(dataset, out)
    shutil.copytree(dataset / "labels" / "nuclei", out / "labels" / mine)
    with pytest.raises(DestinationError, match=mine):
        chunkscale.resample(dataset, out, overwrite=True)
    assert (out / "labels" / mine / "0").exists()


def test_a_link_in_place_of_labels_is_not_followed(dataset, tmp_path):
    """Nothing outside of an output is written or deleted."""
    out, other = tmp_path / "out.zarr", tmp_path / "other"
    chunkscale.resample(dataset, out)
    shutil.move(out / "labels", other)
    (out / "labels").symlink_to(other)
    before = sorted(path for path in other.rglob("*"))
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(DestinationError, match=r"link|more than one image"):
            chunkscale.resample(dataset, out, **options)
        assert sorted(path for path in other.rglob("*")) == before


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("stop", [1, 3, 6, 9, 12, 20, 40])
def test_a_run_with_labels_is_resumed(stop, dataset, tmp_path):
    """Wherever it was stopped; nothing that was made is made again, and the bytes are the same."""
    whole, out = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    options = {"chunk": 4, "shard": 0, "labels": ["nuclei", "cells"]}
    total = chunkscale.resample(dataset, whole, **options).times.regions

    def progress(now):
        if now.regions >= stop:
            raise KeyboardInterrupt
        assert now.total_regions == total

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(dataset, out, progress=progress, **options)
    run = chunkscale.resample(dataset, out, resume=True, **options)
    assert run.times.regions + run.times.resumed_regions == total
    assert run.times.resumed_regions >= min(stop, total) - 1
    for path in whole.rglob("c/**/*"):
        if path.is_file():
            assert path.read_bytes() == (out / path.relative_to(whole)).read_bytes()
    assert chunkscale.open_image(out).labels == ("labels/nuclei", "labels/cells")


def test_a_finished_run_gets_the_labels_that_it_lacks(dataset, tmp_path):
    """Resuming mends what is finished, and adds what is not there."""
    out = tmp_path / "out.zarr"
    chunkscale.resample(dataset, out, labels=False)
    run = chunkscale.resample(dataset, out, resume=True)
    assert run.times.resumed_regions == run.plan.region_count
    assert chunkscale.open_image(out).labels == ("labels/nuclei", "labels/cells")


# --- the command line ----------------------------------------------------------------------------


def test_the_command_line_takes_labels(dataset, tmp_path, capsys):
    out = tmp_path / "out.zarr"
    assert main(["resample", str(dataset), str(out), "--labels", "cells"]) == 0
    assert chunkscale.open_image(out).labels == ("labels/cells",)
    told = capsys.readouterr()
    assert "labels/nuclei" not in told.err  # which was asked for
    assert "labels/cells" in told.out
    assert main(["resample", str(dataset), str(out), "--no-labels", "--overwrite"]) == 0
    assert chunkscale.open_image(out).labels == ()
    capsys.readouterr()
    assert main(["plan", str(dataset), "--label-method", "nearest", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["labels"]["labels/cells"]["method"] == "nearest"


# --- found by trying -----------------------------------------------------------------------------


def timed(make_image, noise, frames):
    """Write an image of six time points, with labels that have some number of them."""
    path = make_image(noise((6, *SHAPE)), (1.0, *SIZE), axes="tzyx")
    ids = np.stack([np.full(SHAPE, k + 1, "uint8") for k in range(frames)])
    write_image(
        path / "labels" / "l", ids, grid_for(ids.shape, (1.0, *SIZE), "tzyx"),
        attributes={"image-label": {}},
    )  # fmt: skip
    zarr.open_group(path / "labels", mode="a", zarr_format=3).attrs.put(
        {"ome": {"version": "0.5", "labels": ["l"]}}
    )
    return path


def test_labels_follow_an_image_that_was_selected(make_image, noise, tmp_path):
    """As they follow the arguments of a run."""
    path, out = timed(make_image, noise, 6), tmp_path / "out.zarr"
    part = chunkscale.open_image(path).select(timepoints="3:6")
    chunkscale.resample(part, out, voxel_size="same")
    found = np.asarray(chunkscale.open_image(out / "labels" / "l").as_dask())
    assert [int(frame.max()) for frame in found] == [4, 5, 6]
    assert chunkscale.check(out, source=path)


def test_labels_of_other_time_points_are_not_paired(make_image, noise):
    """Which belong together is not guessed."""
    plan = chunkscale.plan_resampling(timed(make_image, noise, 2), timepoints="2:4")
    assert not plan.labels
    assert any("so they cannot be matched" in str(n) for n in plan.warnings)


@pytest.mark.filterwarnings("ignore:'omero' does not follow the specification")
def test_channels_by_name_are_those_of_labels_too(make_image, noise, tmp_path):
    path = make_image(
        noise((2, *SHAPE)), (1.0, *SIZE), axes="czyx",
        attributes={"omero": {"channels": [{"label": "DAPI"}, {"label": "RFP"}]}},
    )  # fmt: skip
    ids = np.stack([np.full(SHAPE, k + 1, "uint8") for k in range(2)])
    write_image(
        path / "labels" / "l", ids, grid_for(ids.shape, (1.0, *SIZE), "czyx"),
        attributes={"image-label": {}},
    )  # fmt: skip
    zarr.open_group(path / "labels", mode="a", zarr_format=3).attrs.put(
        {"ome": {"version": "0.5", "labels": ["l"]}}
    )
    chunkscale.resample(path, tmp_path / "out.zarr", voxel_size="same", channels="RFP")
    found = np.asarray(chunkscale.open_image(tmp_path / "out.zarr" / "labels" / "l").as_dask())
    assert (found.shape[0], found.max(), found.min()) == (1, 2, 2)


@pytest.mark.parametrize("method", ["linear", "median", None])
def test_labels_are_never_blended(method, dataset):
    with pytest.raises(OptionError, match="use mode or nearest"):
        chunkscale.plan_resampling(dataset, label_method=method)


def test_what_is_no_fault_of_labels_does_not_leave_them_behind(dataset, tmp_path):
    """A run that is continued differently, say, is refused."""
    out = tmp_path / "out.zarr"
    chunkscale.resample(dataset, out)
    with pytest.raises(
        DestinationError, match=r"labels/nuclei: .*started with other options.*labels=False"
    ):
        chunkscale.resample(dataset, out, resume=True, label_method="nearest")


def test_check_misses_labels_that_have_gone(dataset, tmp_path):
    out = tmp_path / "out.zarr"
    chunkscale.resample(dataset, out)
    shutil.rmtree(out / "labels")
    report = chunkscale.check(out)
    assert any("'labels/nuclei', 'labels/cells'" in fault for fault in report.faults)
    chunkscale.resample(dataset, out, resume=True)
    assert chunkscale.check(out, source=dataset)


def test_labels_whose_names_have_parts_are_listed(make_image, noise, tmp_path):
    path, out = make_image(noise(SHAPE), SIZE), tmp_path / "out.zarr"
    add_labels(path, "group/cells", random_ids(SHAPE))
    chunkscale.resample(path, out)
    assert chunkscale.open_image(out).labels == ("labels/group/cells",)
    inner = zarr.open_group(out / "labels/group/cells", mode="r").attrs["ome"]["image-label"]
    assert inner["source"] == {"image": "../../../"}
    chunkscale.resample(path, out, overwrite=True)
    assert chunkscale.check(out, source=path)


def test_labels_that_are_listed_twice_are_made_once(make_image, noise, tmp_path):
    path, out = make_image(noise(SHAPE), SIZE), tmp_path / "out.zarr"
    add_labels(path, "cells", random_ids(SHAPE))
    zarr.open_group(path / "labels", mode="a", zarr_format=3).attrs.put(
        {"ome": {"version": "0.5", "labels": ["cells", "cells", "./cells", "cells/"]}}
    )
    chunkscale.resample(path, out)
    assert chunkscale.open_image(out).labels == ("labels/cells",)


def test_an_output_of_another_version_is_replaced_with_its_labels(dataset, tmp_path):
    out = tmp_path / "out.zarr"
    for version in ("0.4", "0.5", "0.4"):
        chunkscale.resample(dataset, out, ome_zarr_version=version, overwrite=True)
        assert len(chunkscale.open_image(out).labels) == 2
    assert chunkscale.check(out, source=dataset)


def test_labels_beside_a_crop_stay_behind(make_image, noise):
    """And say where they lie; nobody gave a grid to match."""
    path = make_image(noise(SHAPE), SIZE)
    add_labels(path, "corner", np.full((2, 4, 4), 7, "uint8"))
    plan = chunkscale.plan_resampling(path, crop="y=12:20,x=12:24")
    assert not plan.labels
    (text,) = (n.text for n in plan.warnings if n.kind == "lost")
    assert "it does not overlap the target: it spans z -1 to 3, y -0.25 to 1.75" in text
    assert "like" not in text


@pytest.mark.parametrize(("axes", "ours"), [("czyx", "zyx"), ("tczyx", "tzyx"), ("zyx", "czyx")])
def test_labels_have_axes_of_their_own(axes, ours, make_image, noise, tmp_path):
    """Matched by name, wherever the image lies."""
    lead, origin = axes[:-3], (100.0, -50.0, 7.0)
    path = make_image(
        noise((2,) * len(lead) + SHAPE), (1.0,) * len(lead) + SIZE, axes=axes,
        translation=(0.0,) * len(lead) + origin,
    )  # fmt: skip
    shape = tuple(2 if name in lead else 1 for name in ours[:-3]) + SHAPE
    ids = np.broadcast_to(random_ids(SHAPE), shape)
    grid = grid_for(shape, (1.0,) * (len(ours) - 3) + SIZE, ours,
                    translation=(0.0,) * (len(ours) - 3) + origin)  # fmt: skip
    write_image(path / "labels" / "l", ids, grid, attributes={"image-label": {}})
    zarr.open_group(path / "labels", mode="a", zarr_format=3).attrs.put(
        {"ome": {"version": "0.5", "labels": ["l"]}}
    )
    chunkscale.resample(path, tmp_path / "out.zarr", voxel_size="same", crop="z=2:6")
    label = chunkscale.open_image(tmp_path / "out.zarr" / "labels" / "l")
    assert np.array_equal(np.asarray(label.as_dask()), ids[..., 2:6, :, :])
    assert spatial(label) == spatial(chunkscale.open_image(tmp_path / "out.zarr"))


def test_labels_are_compared_with_those_of_the_image_that_was_selected(dataset, tmp_path):
    part = chunkscale.open_image(dataset).select(crop="z=1:5")
    chunkscale.resample(part, tmp_path / "out.zarr", voxel_size="same")
    report = chunkscale.check(tmp_path / "out.zarr", source=part)
    assert report
    assert not report.notes


def test_numbers_of_labels_are_not_mixed_where_labels_lie(make_image, noise, tmp_path):
    """A mask in a file of its own does not say that it is one, but its place does."""
    path = make_image(noise((6, 8, 8)), (2.0, 1.0, 1.0))
    mask = np.repeat(np.arange(6, dtype="uint16"), 64).reshape(6, 8, 8)
    at = path / "labels" / "cells"
    options = {"source_voxel_size": (2.0, 1.0, 1.0), "source_unit": "micrometer", "levels": 1}
    with pytest.raises(DestinationError, match=r"'linear' makes new numbers .* method='mode'"):
        chunkscale.resample(mask, at, **options)
    assert not at.exists()
    made = chunkscale.resample(mask, at, method="mode", **options)
    found = np.asarray(chunkscale.open_image(made.path).as_dask())
    np.testing.assert_array_equal(found, mask.repeat(2, axis=0))
