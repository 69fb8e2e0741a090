"""What is written: other readers and validators take it, and `check` finds what is wrong."""

import errno
import importlib
import importlib.util
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from outputs import stored
from strict import schema_faults

import chunkscale
from chunkscale.api import images
from chunkscale.api.describing import info
from chunkscale.api.images import open_image
from chunkscale.api.planning import plan_resampling
from chunkscale.api.resampling import resample
from chunkscale.cli.main import main
from chunkscale.errors import NotAnImageError
from chunkscale.geometry.box import Box
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.storage import objects as contents

VERSIONS = ("0.4", "0.5")
#: Axes: shape, voxel size, translation.
CASES = {
    "yx": ((20, 31), (0.5, 0.25), (3.0, -1.0)),
    "zyx": ((6, 20, 31), (2.0, 0.5, 0.5), (10.0, 0.0, 0.125)),
    "cyx": ((2, 20, 31), (1.0, 0.5, 0.25), (0.0, 3.0, 0.0)),
    "tcyx": ((2, 3, 9, 11), (7.5, 1.0, 0.5, 0.25), (100.0, 0.0, 3.0, -1.0)),
    "czyx": ((2, 6, 20, 31), (1.0, 2.0, 0.5, 0.5), (0.0, 10.0, 0.0, 0.125)),
    "tczyx": ((2, 2, 5, 9, 11), (7.5, 1.0, 2.0, 0.5, 0.5), (100.0, 0.0, 10.0, 0.0, 0.125)),
}
CHANNEL = {
    "label": "DAPI", "color": "0000FF", "active": True,
    "window": {"start": 0, "end": 1500, "min": 0, "max": 65535},
}  # fmt: skip
#: Name: version, further options.
LAYOUTS = {
    "0.4": {"ome_zarr_version": "0.4", "chunk": 8},
    "0.5": {"ome_zarr_version": "0.5", "chunk": 8, "shard": 0},
    "0.5-sharded": {"ome_zarr_version": "0.5", "chunk": 8, "shard": 16},
}


def omero_of(axes):
    """Return display settings that describe each channel."""
    count = CASES[axes][0][axes.index("c")] if "c" in axes else 1
    channels = [{**CHANNEL, "label": f"DAPI {i}"} for i in range(count)]
    return {"id": 1, "channels": channels, "rdefs": {"model": "color"}}


def read(image, level=0):
    array = image.level(level)
    return array.read(Box(start=(0,) * len(array.shape), stop=array.shape))


def levels_of(path):
    image = open_image(path)
    return [read(image, i) for i in range(len(image.multiscale.datasets))]


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


@pytest.fixture(params=CASES)
def source(request, make_image, noise):
    """Return every kind of image."""
    shape, size, shift = CASES[request.param]
    return make_image(
        noise(shape), size, translation=shift, axes=request.param,
        chunk=(1,) * (len(shape) - 2) + (16, 16), attributes={"omero": omero_of(request.param)},
    )  # fmt: skip


@pytest.fixture
def written(source, layout, tmp_path):
    """Return an output of every kind of image, and its version."""
    out = tmp_path / "out.ome.zarr"
    chunkscale.resample(source, out, levels=3, **layout)
    return out, layout["ome_zarr_version"]


@pytest.fixture
def volume(make_image, noise, tmp_path):
    """Return a function that makes a small source and an output of two levels."""

    def make(**options):
        source = make_image(noise((6, 20, 31)), (2.0, 0.5, 0.5))
        out = tmp_path / "out.ome.zarr"
        chunkscale.resample(source, out, **{"levels": 2, "chunk": 8, "shard": 0, **options})
        return source, out

    return make


def attributes_of(path):
    return dict(zarr.open_group(path, mode="r", use_consolidated=False).attrs)


def entry_of(path):
    attributes = attributes_of(path)
    return attributes.get("ome", attributes)["multiscales"][0]


# --- validators ----------------------------------------------------------------------------------


def test_ome_zarr_models_accepts_the_store(written):
    """The hierarchy, not only the attributes: arrays, dimensions and dimension names."""
    pytest.importorskip("ome_zarr_models", exc_type=ImportError)
    path, version = written
    image = importlib.import_module(f"ome_zarr_models.v{version.replace('.', '')}").Image
    parsed = image.from_zarr(zarr.open_group(path, mode="r"))
    scale, translation = parsed.ome_attributes.multiscales[0].datasets[0].coordinateTransformations
    grid = open_image(path).grid
    assert tuple(scale.scale) == grid.voxel_size
    assert tuple(translation.translation) == grid.translation


def test_yaozarrs_accepts_the_store(written):
    """The hierarchy, not only the attributes."""
    yaozarrs = pytest.importorskip("yaozarrs", exc_type=ImportError)
    yaozarrs.validate_zarr_store(str(written[0]))


def test_the_strict_schemas_accept_the_attributes(written):
    """Every SHOULD of the specification is kept."""
    path, version = written
    assert schema_faults(attributes_of(path), version, "strict_image") == []


# --- readers -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ome_zarr")
def test_ome_zarr_reads_the_same(written):
    """Every level, the axes, the scales and the channels."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path, _ = written
    (node,) = [n for n in Reader(parse_url(path))() if n.data]
    image = open_image(path)
    expected = levels_of(path)
    assert len(node.data) == len(expected)
    for level, (theirs, ours) in enumerate(zip(node.data, expected, strict=True)):
        assert_array_equal(np.asarray(theirs), ours)
        scale, shift = node.metadata["coordinateTransformations"][level]
        assert tuple(scale["scale"]) == image.level_grid(level).voxel_size
        assert tuple(shift["translation"]) == image.level_grid(level).translation
    assert [a["name"] for a in node.metadata["axes"]] == list(image.grid.names)
    found = attributes_of(path).get("ome", attributes_of(path))["omero"]
    assert found == omero_of("".join(image.grid.names))


def test_ngff_zarr_reads_the_same(written):
    """Every level, its scale and its translation, by axis name."""
    ngff_zarr = pytest.importorskip("ngff_zarr")
    path, version = written
    image = open_image(path)
    found = ngff_zarr.from_ngff_zarr(str(path), validate=True, version=version)
    expected = levels_of(path)
    assert len(found.images) == len(expected)
    for level, (theirs, ours) in enumerate(zip(found.images, expected, strict=True)):
        grid = image.level_grid(level)
        assert tuple(theirs.dims) == tuple(grid.names)
        assert tuple(theirs.scale[n] for n in grid.names) == grid.voxel_size
        assert tuple(theirs.translation[n] for n in grid.names) == grid.translation
        assert_array_equal(np.asarray(theirs.data), ours)


def test_zarr_and_tensorstore_read_the_same(written):
    """Both engines, every level; dimension names as the axes."""
    import tensorstore as ts

    path, version = written
    image = open_image(path)
    group = zarr.open_group(path, mode="r")
    for level, dataset in enumerate(image.multiscale.datasets):
        ours = read(image, level)
        assert_array_equal(group[dataset.path][...], ours)
        spec = {
            "driver": "zarr" if version == "0.4" else "zarr3",
            "kvstore": {"driver": "file", "path": f"{path}/{dataset.path}/"},
        }
        assert_array_equal(ts.open(spec, open=True).result().read().result(), ours)
        if version == "0.5":
            assert group[dataset.path].metadata.dimension_names == tuple(image.grid.names)


def test_zarr_lists_the_levels(written):
    """The group holds the arrays that the metadata names, and nothing else."""
    path, _ = written
    names = {d["path"] for d in entry_of(path)["datasets"]}
    assert {name for name, _ in zarr.open_group(path, mode="r").members()} == names


# --- what survives -------------------------------------------------------------------------------


def test_both_versions_hold_the_same_image(volume, make_image, noise, tmp_path):
    """0.4 and 0.5, sharded or not, of the same source: the same voxels, grids and names."""
    source, _ = volume()
    outs = []
    for name, options in LAYOUTS.items():
        outs.append(tmp_path / f"{name}.zarr")
        chunkscale.resample(source, outs[-1], levels=3, **options)
    first = open_image(outs[0])
    for path in outs[1:]:
        other = open_image(path)
        for level, (a, b) in enumerate(zip(levels_of(outs[0]), levels_of(path), strict=True)):
            assert_array_equal(a, b)
            assert first.level_grid(level) == other.level_grid(level)
        assert entry_of(path)["name"] == entry_of(outs[0])["name"] == "source.ome.zarr"


@pytest.mark.parametrize("source_version", VERSIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_geometry_survives(version, source_version, make_image, noise, tmp_path):
    """Display settings, name, unknown attributes; time and channels keep scale and translation."""
    shape, size, shift = CASES["tczyx"]
    source = make_image(
        noise(shape), size, translation=shift, chunk=(1, 1, 8, 8, 8), version=source_version,
        name="in.zarr",
        attributes={"omero": omero_of("tczyx"), "facility": {"id": 7}, "notes": ["a", None]},
    )  # fmt: skip
    with_name = zarr.open_group(source, mode="r+")
    attributes = dict(with_name.attrs)
    inner = attributes.get("ome", attributes)
    inner["multiscales"][0] |= {"name": "Zellen 細胞", "custom": 1}
    inner["multiscales"][0]["axes"][2]["orientation"] = {"type": "anatomical", "value": "x"}
    with_name.attrs.put(attributes)
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, ome_zarr_version=version, levels=2)
    found = attributes_of(out)
    inner = found if version == "0.4" else found["ome"]
    assert inner["omero"] == omero_of("tczyx")
    assert found["facility"] == {"id": 7}
    assert found["notes"] == ["a", None]
    entry = entry_of(out)
    assert entry["name"] == "Zellen 細胞"
    assert entry["custom"] == 1
    assert entry["axes"][2]["orientation"] == {"type": "anatomical", "value": "x"}
    assert entry["type"] == "mean"
    image = open_image(out)
    assert image.channels == ["DAPI 0", "DAPI 1"]
    for level in range(2):
        grid = image.level_grid(level)
        assert grid.voxel_size[:2] == size[:2]
        assert grid.translation[:2] == shift[:2]
    # Outer edges coincide with those of the source.
    before, after = open_image(source).grid, image.grid
    for i in after.spatial:
        start = [g.translation[i] - g.voxel_size[i] / 2 for g in (before, after)]
        assert start[0] == pytest.approx(start[1])


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_default_to_nearest_and_stay_labels(version, make_image, tmp_path):
    """No new ids at any level, ids above 2^24 whole, "image-label" with the right version."""
    random = np.random.default_rng(3)
    ids = np.array([0, 1, 2**24 + 1, 2**31 + 1, 2**32 - 1], "uint32")
    data = ids[random.integers(0, 5, (5, 18, 21))]
    label = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}
    source = make_image(
        data, (2.0, 0.5, 0.5), version=version, attributes={"image-label": label}
    )  # fmt: skip
    out = tmp_path / "out.zarr"
    plan = chunkscale.resample(source, out, ome_zarr_version=version, levels=3, chunk=8).plan
    assert plan.method == "nearest"
    image = open_image(out)
    assert image.is_label
    for level in levels_of(out):
        assert level.dtype == np.uint32
        assert np.isin(level, ids).all()
    assert_array_equal(levels_of(out)[0], np.repeat(data, 4, axis=0))
    attributes = attributes_of(out)
    inner = attributes.get("ome", attributes)
    assert inner["image-label"] == {**label, "version": version}
    assert entry_of(out)["type"] == "mode"
    assert images.check(out, source=source)
    if importlib.util.find_spec("ome_zarr_models"):
        models = importlib.import_module(f"ome_zarr_models.v{version.replace('.', '')}.image_label")
        models.ImageLabelAttrs.model_validate(inner)
    if importlib.util.find_spec("yaozarrs"):
        import yaozarrs

        yaozarrs.validate_zarr_store(str(out))


def test_linear_labels_are_a_choice(make_image, tmp_path):
    """A method that is asked for is taken, labels or not."""
    source = make_image(np.zeros((4, 4, 4), "u1"), attributes={"image-label": {}})
    assert plan_resampling(source, method="linear").method == "linear"


def test_a_finished_output_says_how_it_was_made(volume):
    """Source, version, parameters and state are in the attributes."""
    source, out = volume(voxel_size=0.75, antialias=True)
    record = attributes_of(out)["chunkscale"]
    assert record["state"] == "finished"
    assert record["version"] == chunkscale.__version__
    assert record["source"] == source.name
    assert record["source_voxel_size"] == [2.0, 0.5, 0.5]
    assert record["method"] == "linear"
    assert record["antialias"] is True
    metadata = entry_of(out)["metadata"]
    assert metadata["version"] == chunkscale.__version__
    assert metadata["kwargs"] == {
        "method": "linear",
        "antialias": True,
        "pyramid": "auto",
        "downsample": "mean",
    }
    assert entry_of(out)["type"] == "mean"


def test_an_output_of_an_output_names_its_own_source(volume, tmp_path):
    """Provenance is replaced, not mixed: the second run's record is its own."""
    _, out = volume()
    chunkscale.resample(out, tmp_path / "again.zarr", voxel_size=1.0, levels=1)
    record = attributes_of(tmp_path / "again.zarr")["chunkscale"]
    assert record["source"] == out.name
    assert list(record["objects"]) == ["0"]
    assert images.check(tmp_path / "again.zarr", source=out)


# --- engines and layouts -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_both_engines_write_the_same_voxels(
    layout, dtype, make_image, noise, tmp_path, monkeypatch
):
    """With tensorstore or zarr-python: the same arrays, written and read."""
    source = make_image(noise((6, 20, 31), dtype), (2.0, 0.5, 0.5))
    chunkscale.resample(source, tmp_path / "fast.zarr", levels=3, **layout)
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", "zarr")
    chunkscale.resample(source, tmp_path / "slow.zarr", levels=3, **layout)
    slow = levels_of(tmp_path / "slow.zarr")
    assert open_image(tmp_path / "slow.zarr").array.engine == "zarr"
    monkeypatch.undo()
    assert open_image(tmp_path / "fast.zarr").array.engine == "tensorstore"
    for a, b, c in zip(
        slow, levels_of(tmp_path / "fast.zarr"), levels_of(tmp_path / "slow.zarr"), strict=True
    ):
        assert a.tobytes() == b.tobytes() == c.tobytes()
    metadata = "*/zarr.json" if layout["ome_zarr_version"] == "0.5" else "*/.zarray"
    for path in (tmp_path / "fast.zarr").glob(metadata):
        twin = tmp_path / "slow.zarr" / path.relative_to(tmp_path / "fast.zarr")
        assert path.read_text() == twin.read_text()


@pytest.mark.parametrize(
    "codec", ["blosc-lz4", "blosc-zstd:9", "zstd", "zstd:-3", "gzip:1", "none"]
)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_codec_holds_the_same_voxels(codec, version, volume, tmp_path):
    """The codec says how voxels are stored, never what they are."""
    source, out = volume()
    path = tmp_path / "other.zarr"
    chunkscale.resample(source, path, ome_zarr_version=version, codec=codec, levels=2, chunk=8)
    for a, b in zip(levels_of(out), levels_of(path), strict=True):
        assert_array_equal(a, b)
    found = info(path)["codec"]
    assert found.split("-")[0] == codec.split("-")[0].split(":")[0]
    for level in zarr.open_group(path, mode="r").array_values():
        level[...]


CHECKED = {
    "chunks": {"shard": 0},
    "shards": {"shard": 16},
    "uncompressed": {"shard": 16, "codec": "none"},
    "0.6": {"shard": 0, "codec": "zstd", "ome_zarr_version": "0.6"},
}


@pytest.mark.parametrize("layout", CHECKED)
def test_a_flipped_bit_is_found_by_its_checksum(layout, volume, tmp_path):
    """By `check`, a resumed run, and the libraries that others read with; else as without one."""
    source, plain = volume()
    out, options = tmp_path / "out.zarr", {"chunk": 8, "levels": 2, **CHECKED[layout]}
    run = chunkscale.resample(source, out, checksum="crc32c", **options)
    assert "with crc32c of each chunk" in str(run.plan)
    assert "crc32c" in info(out)["codec"]
    for a, b in zip(levels_of(plain), levels_of(out), strict=True):
        assert_array_equal(a, b)
        assert_array_equal(zarr.open_array(out / "0", mode="r")[...], levels_of(out)[0])
    assert chunkscale.check(out, source=source)
    chunk = next(path for path in sorted(out.glob("0/c/**/*")) if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[40] ^= 1  # voxels: behind the header of blosc, before the index of a shard
    chunk.write_bytes(content)
    report = chunkscale.check(out)
    assert re.search(r"chunk \(0, 0, 0\).*[Dd]igest mismatch", str(report))
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(out / "0", mode="r")[...]
    chunkscale.resample(source, out, checksum="crc32c", resume=True, **options)
    assert chunkscale.check(out, source=source)


def test_a_checksum_is_refused_where_it_cannot_be_stored(volume, tmp_path):
    """With what to do instead."""
    source, _ = volume()
    with pytest.raises(chunkscale.OptionError, match=r"checksum='crc32c'.* 0\.4.*version='0\.5'"):
        chunkscale.resample(
            source, tmp_path / "out.zarr", checksum="crc32c", ome_zarr_version="0.4"
        )


@pytest.mark.filterwarnings("ignore:.*are free on the output's disk")
@pytest.mark.parametrize(("times", "fits"), [(500, True), (2000, False)])
def test_only_what_no_codec_makes_fit_is_refused(times, fits, make_image, tmp_path, monkeypatch):
    """An image that is nearly empty becomes a thousand times smaller."""
    data = np.zeros((8, 64, 64), "uint16")
    data[0, 0, 0] = 1
    source = make_image(data, (1.0, 0.5, 0.5))
    written = plan_resampling(source).bytes_written
    monkeypatch.setattr("chunkscale.storage.files.Files.free_bytes", lambda *_: written // times)
    out = tmp_path / "out.zarr"
    if fits:
        chunkscale.resample(source, out)
    else:
        with pytest.raises(chunkscale.DestinationError, match="or another disk"):
            chunkscale.resample(source, out)
    assert out.exists() == fits


def test_an_output_in_a_new_folder_is_made(volume, tmp_path):
    """Missing parent folders are made."""
    source, _ = volume()
    chunkscale.resample(source, tmp_path / "a/b/c.zarr", levels=1)
    assert images.check(tmp_path / "a/b/c.zarr", source=source)


def test_overwriting_leaves_nothing_of_the_old(volume, tmp_path):
    """Levels, shards and the zarr format of the old output are gone."""
    source, out = volume(levels=3)
    chunkscale.resample(source, out, overwrite=True, levels=1, ome_zarr_version="0.4")
    assert not list(out.rglob("zarr.json"))
    assert sorted(p.name for p in out.iterdir()) == [".zattrs", ".zgroup", "0"]
    assert images.check(out, source=source)


# --- check ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    ["thesis.txt", "0/thesis.txt", "raw.partial/film.mp4", "scale/annotations/0", "labels/a"],
)
def test_overwriting_refuses_what_holds_more_than_an_image(extra, volume):
    """Wherever it lies; and nothing is deleted."""
    source, out = volume()
    (out / extra).parent.mkdir(parents=True, exist_ok=True)
    (out / extra).write_text("mine")
    if extra.startswith("scale"):
        attributes = json.loads((out / "zarr.json").read_text())
        attributes["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "scale/0"
        (out / "zarr.json").write_text(json.dumps(attributes))
        (out / "0").rename(out / "scale" / "0")
    before = stored(out)
    with pytest.raises(chunkscale.DestinationError, match="more than one image"):
        chunkscale.resample(source, out, overwrite=True)
    assert stored(out) == before


@pytest.fixture
def mounted(monkeypatch):
    """Return a function that shows a folder at a second path which no path tells from the first."""

    def mount(folder, at):
        at.symlink_to(folder)
        monkeypatch.setattr("chunkscale.output.destination.resolved", lambda uri: uri)

    return mount


@pytest.mark.parametrize("full", [False, True])
def test_the_source_is_not_overwritten_through_another_mount(
    full, volume, mounted, tmp_path, monkeypatch
):
    """Also where a full disk has no room for a lease."""
    source, _ = volume()
    mounted(source, tmp_path / "mount.zarr")
    before = stored(source)
    if full:
        fill_the_disk(monkeypatch, source)
    with pytest.raises(chunkscale.DestinationError, match=r"source.* by another name"):
        chunkscale.resample(tmp_path / "mount.zarr", source, overwrite=True)
    assert stored(source) == before


def test_on_a_full_disk_an_output_makes_room_for_the_next(volume, monkeypatch):
    """It is another image than the source."""
    source, out = volume()
    fill_the_disk(monkeypatch, out)
    chunkscale.resample(source, out, overwrite=True)
    assert images.check(out, source=source)


def fill_the_disk(monkeypatch, image):
    """Let nothing small be stored until something of an image is deleted."""
    put, freed = contents.put, []

    def full(*arguments, **options):
        if not freed and (image / "0").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        freed.append(True)
        put(*arguments, **options)

    monkeypatch.setattr("chunkscale.storage.objects.put", full)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_output_inside_an_array_is_refused(version, volume, tmp_path):
    """However deep below it; a group inside an array is none to any reader."""
    source, out = volume(ome_zarr_version=version)
    before = stored(out)
    for inner in ("0/extra", "1/deep/er/extra"):
        with pytest.raises(chunkscale.DestinationError, match="lies inside the array"):
            chunkscale.resample(source, out / inner)
    assert stored(out) == before


def test_what_desktops_leave_goes_with_an_image(volume):
    """It is nobody's."""
    source, out = volume()
    for place in (out, out / "0"):
        (place / ".DS_Store").write_text("icons")
    chunkscale.resample(source, out, overwrite=True)
    assert chunkscale.check(out, source=source)
    assert not list(out.rglob(".DS_Store"))


def test_no_more_faults_are_told_than_can_be_read():
    """Of many images the first ones; that there are faults is never lost."""
    many = tuple(f"fault {i}" for i in range(15))
    report = chunkscale.CheckReport(path="a", faults=())
    for name in ("one", "two", "three"):
        report = report.beside(chunkscale.CheckReport(path=name, faults=many), name)
    assert len(report.faults) == 20
    assert report.faults[0] == "one: fault 0"
    assert report.images == 4
    assert not report


def test_check_stays_a_function(volume):
    """`chunkscale.check` can be called twice, and after CheckReport was looked up."""
    source, out = volume()
    assert chunkscale.check(out)
    assert chunkscale.CheckReport is not None
    assert chunkscale.check(out, source=source)


def test_check_passes_what_is_right(source, written):
    """Every layout of every kind of image, with its source and without."""
    path, _ = written
    assert images.check(path).faults == ()
    assert images.check(path, source=source).faults == ()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"antialias": True, "voxel_size": 1.7},
        {"method": "nearest"},
        {"method": "mode", "voxel_size": 1.7},
        {"downsample": "max"},
        {"downsample": "nearest"},
        {"downsample": "mode"},
        {"downsample": "mean", "method": "nearest"},
    ],
    ids=str,
)
def test_check_passes_whatever_was_asked_for(source, options, tmp_path):
    """It recomputes by the method, and levels by the way to make them, that the output names."""
    chunkscale.resample(source, tmp_path / "more.zarr", levels=2, **options)
    report = images.check(tmp_path / "more.zarr", source=source)
    assert report.faults == ()
    assert report.regions_compared > 0
    assert report.chunks_read > 0


def test_check_on_the_command_line(volume, capsys):
    """Exit code 0 and JSON where nothing is wrong, 3 and the faults where something is."""
    source, out = volume()
    assert main(["check", "--json", str(out), "--source", str(source)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["faults"] == []
    shutil.rmtree(out / "0/c/0")
    assert main(["check", "--json", str(out)]) == 3
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert json.loads(captured.out)["ok"] is False
    assert main(["check", str(out)]) == 3
    assert capsys.readouterr().out.startswith("fault: ")


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("level", ["0", "1"])
def test_check_finds_a_torn_chunk(level, sharded, volume):
    """The array and the chunk are named."""
    _, out = volume(shard=16 if sharded else 0)
    victim = sorted(p for p in (out / level / "c").rglob("*") if p.is_file())[0]
    victim.write_bytes(victim.read_bytes()[:-5])
    faults = images.check(out).faults
    assert len(faults) >= 1
    assert f"{out / level}" in faults[0]
    assert "chunk (0, 0, 0)" in faults[0]


def test_check_reads_to_the_end(volume, monkeypatch):
    """A torn chunk behind many reads is found as well, and so are several."""
    monkeypatch.setattr("chunkscale.storage.walk.READ_BYTES", 2**10)
    _, out = volume()
    victims = sorted(p for p in (out / "0/c").rglob("*") if p.is_file())[-2:]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:-5])
    faults = images.check(out).faults
    assert len(faults) == 3
    assert "chunk (2, 2, 3)" in faults[1]
    assert "files were truncated" in faults[2]


@pytest.mark.parametrize("sharded", [False, True])
def test_check_finds_a_deleted_chunk(sharded, volume):
    """A missing file reads as zeros, so they are counted."""
    _, out = volume(shard=16 if sharded else 0)
    sorted(p for p in (out / "0/c").rglob("*") if p.is_file())[-1].unlink()
    (fault,) = images.check(out).faults
    assert "array '0'" in fault
    assert "missing" in fault


def test_empty_chunks_are_no_fault(make_image, tmp_path):
    """All-zero chunks leave no file, and are complete."""
    data = np.zeros((6, 20, 31), "uint16")
    data[:2, :3, :3] = 5
    source = make_image(data, (2.0, 0.5, 0.5))
    chunkscale.resample(source, tmp_path / "out.zarr", levels=2, chunk=8, shard=0)
    assert images.check(tmp_path / "out.zarr", source=source)


def change(path, edit):
    """Edit the attributes of an output."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    attributes = dict(group.attrs)
    edit(attributes.get("ome", attributes)["multiscales"][0])
    group.attrs.put(attributes)


def transform(level, index, key, axis, value):
    def edit(entry):
        entry["datasets"][level]["coordinateTransformations"][index][key][axis] = value

    return edit


WRONG = {
    "translation of level 0": (transform(0, 1, "translation", 2, 0.25), True, "axis 'x'"),
    "translation of level 1": (transform(1, 1, "translation", 1, 0.0), False, "axis 'y'"),
    "scale of level 0": (transform(0, 0, "scale", 0, 0.75), True, "axis 'z'"),
    "scale of level 1": (transform(1, 0, "scale", 0, 1.5), False, "axis 'z'"),
    "levels swapped": (lambda entry: entry["datasets"].reverse(), False, "largest"),
    "no translation": (
        lambda entry: entry["datasets"][1]["coordinateTransformations"].pop(), False, "translation"
    ),
    "no such array": (lambda entry: entry["datasets"][1].update(path="7"), False, "does not exist"),
    "units": (lambda entry: entry["axes"][0].update(unit="nanometer"), True, "unit is 'nanometer'"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("version", VERSIONS)
def test_check_finds_wrong_metadata(wrong, version, volume):
    """Geometry that validators take, but that is not that of the voxels."""
    edit, with_source, text = WRONG[wrong]
    source, out = volume(ome_zarr_version=version)
    change(out, edit)
    report = images.check(out, source=source if with_source else None)
    assert not report
    assert any(text in fault for fault in report.faults)


@pytest.mark.parametrize("level", ["0", "1"])
def test_check_finds_a_wrong_level_shape(level, volume):
    """An array that was resized, or that belongs elsewhere."""
    source, out = volume()
    array = zarr.open_group(out, mode="r+")[level]
    array.resize((array.shape[0], array.shape[1], array.shape[2] - 1))
    report = images.check(out, source=source)
    assert not report
    assert "axis 'x'" in report.faults[0] or "voxels" in report.faults[0]


@pytest.mark.parametrize("at", [(0, 0, 0), (23, 19, 30), (11, 10, 15)])
@pytest.mark.parametrize("level", [0, 1])
def test_check_finds_a_changed_voxel(level, at, volume):
    """One voxel off by one, anywhere in a small image: with the source it is found and told."""
    source, out = volume()
    array = zarr.open_group(out, mode="r+")[str(level)]
    at = tuple(i // 2 for i in at) if level else at
    array[at] = array[at] + np.uint16(1)
    report = images.check(out, source=source)
    assert not report
    assert any(f"level {level}: 1 of" in fault and f"at {at}" in fault for fault in report.faults)
    assert main(["check", str(out), "--source", str(source)]) == 3


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("at", [(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1), (0, 1, 0.5)])
def test_check_looks_at_corners_and_the_middle_of_large_images(level, at, volume, monkeypatch):
    """Of what is too large to be recomputed as a whole, at every level."""
    monkeypatch.setattr("chunkscale.verify.samples.EDGES", {3: 4})
    source, out = volume(levels=3)
    array = zarr.open_group(out, mode="r+")[str(level)]
    at = tuple(int(part * (n - 1)) for part, n in zip(at, array.shape, strict=True))
    array[at] = array[at] ^ np.uint16(1)
    report = images.check(out, source=source)
    assert report.voxels_compared < 0.7 * 24 * 20 * 31
    assert any(f"level {level}: 1 of" in fault and f"at {at}" in fault for fault in report.faults)


def test_check_takes_nan_for_nan(make_image, tmp_path):
    """It is equal to nothing, and what the source gives all the same."""
    data = np.ones((6, 8, 8), "float32")
    data[2, 3, 4] = np.nan
    source = make_image(data, (2.0, 0.5, 0.5))
    chunkscale.resample(source, tmp_path / "out.zarr", levels=2)
    assert np.isnan(levels_of(tmp_path / "out.zarr")[1]).any()
    assert images.check(tmp_path / "out.zarr", source=source).faults == ()


def test_check_finds_another_data_type(make_image, noise, tmp_path):
    """Of voxels that are the same numbers."""
    data = noise((6, 8, 8), "uint8")
    source = make_image(data.astype("uint16"), (2.0, 0.5, 0.5))
    chunkscale.resample(source, tmp_path / "out.zarr", levels=1)
    other = make_image(data, (2.0, 0.5, 0.5), name="other.zarr")
    (fault,) = images.check(tmp_path / "out.zarr", source=other).faults
    assert "the data types differ: uint16 in the output, uint8 in the source" in fault


@pytest.mark.parametrize(("shift", "found"), [(0.0, False), (0.1, True), (1e-4, True)])
def test_check_does_not_trust_the_mapping_of_the_run(shift, found, volume, monkeypatch):
    """Positions follow from the metadata alone: a mapping that is a little off is a fault."""
    source, out = volume(voxel_size=0.3, levels=1)

    def shifted(*arguments, **options):
        made = grid_mapping(*arguments, **options)
        return tuple(replace(m, offset=m.offset + shift) for m in made)

    monkeypatch.setattr("chunkscale.verify.image.grid_mapping", shifted)
    faults = images.check(out, source=source).faults
    assert any("by its metadata, and was computed at" in fault for fault in faults) == found


def test_check_refuses_voxel_sizes_that_were_not_those_of_the_run(volume):
    """They would say nothing; those of the run may be repeated."""
    source, out = volume()
    assert images.check(out, source=source, source_voxel_size="z=2")
    with pytest.raises(chunkscale.OptionError, match=r"'z', but the image was made from .* 2\.0"):
        images.check(out, source=source, source_voxel_size="z=3")


def test_check_finds_another_source(volume, make_image, noise, tmp_path):
    """The wrong source is no match."""
    _, out = volume()
    other = make_image(noise((6, 20, 31), seed=9), (2.0, 0.5, 0.5), name="other.zarr")
    assert "differ from the source" in images.check(out, source=other).faults[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_check_finds_an_unfinished_store(version, volume, tmp_path, monkeypatch, capsys):
    """A run that was cut short: exit code 3 of check, and no image for anyone."""
    source, _ = volume()
    out = tmp_path / "cut.zarr"

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("chunkscale.run.runs.run_job", stop)
    arguments = ["resample", str(source), str(out), "--ome-zarr-version", version]
    assert main(arguments) == 4
    assert "incomplete" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["check", str(out)]) == 3
    assert "did not finish" in capsys.readouterr().out
    with pytest.raises(NotAnImageError):
        open_image(out)
    assert "multiscales" not in json.dumps(attributes_of(out))


def test_check_takes_images_of_others(make_image, noise):
    """A store that this package did not write is checked by the rules of NGFF alone."""
    assert images.check(make_image(noise((6, 20, 31)))).faults == ()


@pytest.mark.parametrize("kind", ["nothing", "folder", "tif"])
def test_check_of_no_image_is_refused(kind, tmp_path, capsys):
    """Exit code 2, one line."""
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "tif":
        path.write_bytes(b"II*\0")
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("chunkscale: error: ")
    assert len(error.splitlines()) == 1


def test_like_outputs_are_checked_with_their_fill(volume, make_image, noise, tmp_path):
    """Another grid, beyond the source's extent, with a fill value."""
    source, _ = volume()
    other = make_image(noise((9, 10, 12)), (1.5, 1.0, 1.0), translation=(-3.0, 2.0, 5.0),
                       name="other.zarr")  # fmt: skip
    out = tmp_path / "like.zarr"
    chunkscale.resample(source, out, like=other, outside=17, levels=2)
    assert open_image(out).grid.translation == (-3.0, 2.0, 5.0)
    assert (levels_of(out)[0] == 17).any()
    assert images.check(out, source=source).faults == ()
    assert_allclose(open_image(out).grid.voxel_size, (1.5, 1.0, 1.0))


@pytest.mark.parametrize("unit", ["nanometer", "micrometer"])
def test_like_outputs_in_another_unit_are_checked(unit, volume, make_image, noise, tmp_path):
    """The source's positions are compared in the unit of the output."""
    source, _ = volume()
    factor = 1000.0 if unit == "nanometer" else 1.0
    size = tuple(factor * s for s in (1.5, 0.75, 0.75))
    shift = tuple(factor * s for s in (0.5, 2.0, 5.0))
    other = make_image(noise((4, 8, 10)), size, unit=unit, translation=shift, name="other.zarr")
    out = tmp_path / "like.zarr"
    chunkscale.resample(source, out, like=other, levels=2)
    assert open_image(out).grid.axes[0].unit == unit
    assert images.check(out, source=source).faults == ()


def test_a_place_that_tensorstore_refuses_is_left_to_zarr(make_image, noise, tmp_path):
    """POSIX keeps two leading slashes, and tensorstore takes no such path."""
    source = f"/{make_image(noise((4, 20, 20)), (1.0, 0.4, 0.4))}"
    assert open_image(source).array.engine == "zarr"
    resample(source, f"/{tmp_path}/out.zarr")
    assert images.check(tmp_path / "out.zarr", source=source)
