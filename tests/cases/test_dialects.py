"""Metadata in a dialect: what counts is what its version says, and nothing changes silently."""

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
import zarr

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleError
from chunkscale.geometry.units import parse_length

SHAPE = (4, 6, 8)
VERSIONS = ("0.4", "0.5")


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def shift(*values):
    return {"type": "translation", "translation": list(values)}


def spatial(unit="micrometer"):
    return [{"name": n, "type": "space", "unit": unit} for n in "zyx"]


def system(unit="micrometer", name="physical"):
    return {"name": name, "axes": spatial(unit)}


@pytest.fixture
def stored(make_image, tmp_path):
    """Return a function that stores an image whose multiscales entry is changed."""

    def store(
        version="0.4", *, transforms=None, shape=SHAPE, data=None, outer=(), drop="", **entry
    ):
        data = np.arange(np.prod(shape), dtype="uint16").reshape(shape) if data is None else data
        path = make_image(
            data,
            (1.0,) * (data.ndim - 3) + (2.0, 0.5, 0.5),
            version="0.4" if version == "0.4" else "0.5",
            name=f"{len(list(tmp_path.iterdir()))}.zarr",
        )
        file = path / (".zattrs" if version == "0.4" else "zarr.json")
        document = json.loads(file.read_text())
        attributes = document if version == "0.4" else document["attributes"]["ome"]
        attributes |= dict(outer) | ({} if version == "0.4" else {"version": version})
        found = attributes["multiscales"][0]
        found |= entry
        if drop:
            del found[drop]
        if transforms is not None:
            found["datasets"][0]["coordinateTransformations"] = transforms
        file.write_text(json.dumps(document))
        return path

    return store


def notices(path, kind=None, **options):
    image = chunkscale.open_image(path, **options)
    return [n.text for n in image.notices if n.kind == (kind or n.kind)]


def losses(path):
    """Return what an output of 0.5 will not have."""
    return [n.text for n in chunkscale.plan_resampling(path).warnings if n.kind == "lost"]


def refused(path, words, *options):
    """Every verb says so, and nothing is written."""
    for verb in ("info", "plan", "check"):
        assert main([verb, str(path), *options]) == 2
    with pytest.raises(ChunkscaleError, match=words):
        chunkscale.open_image(path, source_voxel_size=options[1] if options else None)
    assert main(["resample", str(path), str(path.with_name("no.zarr")), *options]) == 2
    assert not path.with_name("no.zarr").exists()


# --- coordinate systems before 0.6 ---------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transforms", [[scale(2, 0.5, 0.5)], [scale(2, 0.5, 0.5), shift(1, 2, 3)]])
def test_coordinate_systems_count_from_0_6_on(version, transforms, stored, tmp_path):
    """Before, the axes are those of the image, and what else is listed is lost: announced."""
    path = stored(version, transforms=transforms, coordinateSystems=[system("nanometer")])
    assert chunkscale.open_image(path).grid.axes[0].unit == "micrometer"
    assert chunkscale.check(path)
    assert any("'physical'" in text for text in losses(path))
    with pytest.warns(chunkscale.errors.ChunkscaleWarning, match="'physical'"):
        chunkscale.resample(path, tmp_path / "out.zarr", voxel_size="same")
    grid = chunkscale.open_image(tmp_path / "out.zarr").grid
    assert (grid.axes[0].unit, grid.voxel_size) == ("micrometer", (2.0, 0.5, 0.5))


@pytest.mark.parametrize("systems", [[], [system()], None, 3, [None]])
def test_systems_that_say_nothing_else_are_no_loss(systems, stored):
    path = stored("0.5", coordinateSystems=systems)
    assert notices(path) == []
    assert bool(losses(path)) == (systems == 3)  # which is named all the same
    assert chunkscale.check(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_draft_without_axes_has_those_of_its_system(version, stored):
    """Nothing else says what the axes are; the version does not know it."""
    path = stored(
        version,
        drop="axes",
        transforms=[scale(2, 0.5, 0.5)],
        coordinateSystems=[system("nanometer")],
    )
    assert chunkscale.open_image(path).grid.axes[0].unit == "nanometer"
    assert "coordinateSystems" in "".join(notices(path, "metadata"))
    assert not chunkscale.check(path)


def test_in_0_6_the_systems_count_and_other_axes_are_announced(stored):
    path = stored("0.6", transforms=[scale(2, 0.5, 0.5)], coordinateSystems=[system("nanometer")])
    assert chunkscale.open_image(path).grid.axes[0].unit == "nanometer"
    assert "'axes'" in "".join(notices(path, "metadata"))
    bare = stored("0.6")
    assert chunkscale.open_image(bare).grid.axes[0].unit == "micrometer"
    assert "coordinateSystems" in "".join(notices(bare, "metadata"))


def test_without_a_version_axes_tell_that_it_is_not_0_6(stored):
    path = stored("0.4", drop="version", coordinateSystems=[system("nanometer")])
    assert chunkscale.open_image(path).grid.axes[0].unit == "micrometer"


# --- axes that run backwards ---------------------------------------------------------------------

GIVEN = ("--source-voxel-size", "z=2,y=0.5,x=0.5")


@pytest.mark.parametrize(
    ("common", "own"),
    [
        ([-2, 0.5, 0.5], None),
        ([-1, 1, 1], [shift(5, 0, 0)]),
        ([1, 1], [scale(-2, 0.5, 0.5)]),
        ([1, -1], [scale(2, 0.5, 0.5)]),
        (["1", 1, -1], [scale(2, 0.5, 0.5)]),
        (None, [scale("-2", 0.5, 0.5)]),
        (None, [scale(" -.5um", 0.5, 0.5)]),
        (None, [scale([-2], 0.5, 0.5)]),
        (None, [scale(2, 0.5, -(10**400))]),
        (None, [scale(2, -math.inf, 0.5)]),
        (None, [scale(-2, 0.5, 0.5, 1)]),
        (None, [{"type": "scale", "scale": "2,-0.5,0.5"}]),
        (None, [{"type": "scale", "scale": {"z": -2, "y": 1, "x": 1}}]),
        (None, [{"type": "scale", "scale": -2}]),
        ([-1, 1, 1], [scale(-2, 0.5, 0.5)]),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_voxel_size_that_is_given_turns_an_axis_round(common, own, version, stored):
    """A negative number in any scale that counts, however it is spelled, is refused."""
    more = {} if common is None else {"coordinateTransformations": [scale(*common)]}
    path = stored(version, transforms=own or [], **more)
    with pytest.raises(ChunkscaleError, match="backwards"):
        chunkscale.open_image(path, source_voxel_size=GIVEN[1])


def test_one_that_runs_backwards_is_refused_by_every_verb(stored):
    refused(stored(transforms=[scale("-2", 1, 1)]), "'-2'.*backwards.*reversed", *GIVEN)
    system_of = [scale("-2", 1, 1) | {"output": {"name": "physical"}, "input": {"path": "0"}}]
    refused(stored("0.6", transforms=system_of, coordinateSystems=[system()]), "backwards", *GIVEN)


@pytest.mark.parametrize("transform", [scale("1e-3", 0.5, 0.5), scale(-1, 2, 0.5, 0.5)])
def test_negative_numbers_elsewhere_do_not_turn_an_axis(transform, stored):
    """An exponent, or the time."""
    shape = (1,) * (len(transform["scale"]) - 3) + SHAPE
    axes = [{"name": "t", "type": "time"}][: len(shape) - 3] + spatial()
    path = stored(transforms=[transform], shape=shape, axes=axes)
    assert chunkscale.open_image(path, source_voxel_size=GIVEN[1]).grid.voxel_size[-3:] == (
        2,
        0.5,
        0.5,
    )


# --- types of axes -------------------------------------------------------------------------------


def typed(kind, name="z"):
    return [{**spatial()[0], "name": name, "type": kind}, *spatial()[1:]]


@pytest.mark.parametrize(
    "kind", ["Space", "SPACE", " space ", "spatial", "Spacial", "z", "X", "", " "]
)
def test_a_type_that_is_spelled_differently_is_what_it_means(kind, stored, tmp_path):
    path = stored(axes=typed(kind))
    assert any("'z'" in text for text in notices(path, "metadata"))
    assert not chunkscale.check(path)
    with pytest.warns(chunkscale.errors.ChunkscaleWarning, match="axis 'z'"):
        chunkscale.resample(path, tmp_path / "out.zarr")
    out = chunkscale.open_image(tmp_path / "out.zarr")
    assert out.grid.shape == (16, 6, 8)
    assert chunkscale.check(tmp_path / "out.zarr", source=path)


@pytest.mark.parametrize("name", ["depth", "Z"])
def test_it_means_so_on_any_axis(name, stored):
    path = stored(axes=typed("Space", name))
    assert chunkscale.open_image(path).grid.spatial == (0, 1, 2)
    assert any(repr(name) in text for text in notices(path, "metadata"))


@pytest.mark.parametrize(
    ("name", "kind", "meant"),
    [
        ("t", "Time", "time"),
        ("c", "Channels", "channel"),
        ("t", "temporal", "time"),
        ("c", "", "channel"),
    ],
)
def test_so_do_other_types(name, kind, meant, stored):
    path = stored(axes=typed(kind, name))
    assert chunkscale.open_image(path).grid.axes[0].kind == meant
    assert any(repr(name) in text for text in notices(path, "metadata"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("z", "channel"), ("Z", "Time"), ("z", "time"), ("c", "space"), ("t", "spatial")],
)
def test_a_type_that_the_name_contradicts_is_refused(name, kind, stored):
    """To resample such an axis, or not to, is a guess either way."""
    refused(stored(axes=typed(kind, name)), f"'{name}'.*{kind!r}.*contradict")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("z", "slice"), ("c", "fluorescence"), ("t", "channel"), ("c", "time"), ("t", "lag")],
)
def test_an_unknown_type_counts_and_is_announced(name, kind, stored):
    """The specification allows custom ones; but not resampling a z must not be a surprise."""
    path = stored(axes=typed(kind, name))
    assert chunkscale.open_image(path).grid.spatial == (1, 2)
    assert any(repr(name) in text and kind in text for text in notices(path, "axes"))
    assert chunkscale.check(path)


def test_a_custom_type_of_an_axis_of_its_own_is_no_fault(stored):
    assert notices(stored(axes=typed("angle", "phi")), "metadata") == []


# --- names of channels ---------------------------------------------------------------------------

WINDOW = {"min": 0, "max": 9, "start": 0, "end": 9}


def channel(label):
    return {"label": label, "color": "FFFFFF", "window": WINDOW}


@pytest.fixture
def colours(stored):
    """Return a function that stores three channels, the second voxels of which are 1, and so on."""

    def store(*listed, **more):
        data = np.repeat(np.arange(3, dtype="uint16"), np.prod(SHAPE)).reshape(3, *SHAPE)
        axes = [{"name": "c", "type": "channel"}, *spatial()]
        return stored(
            data=data,
            axes=axes,
            outer={"omero": {"channels": list(listed), **more}},
            transforms=[scale(1, 2, 0.5, 0.5)],
        )

    return store


@pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")
@pytest.mark.parametrize("hole", [None, "B", 3, {}, {"label": ""}, {"label": None}])
def test_a_name_stays_at_its_channel(hole, colours, tmp_path):
    path = colours(channel("A"), hole, channel("C"))
    assert chunkscale.open_image(path).channels == ["A", "channel 1", "C"]
    for name, index in (("C", 2), ("channel 1", 1), ("A", 0)):
        out = tmp_path / f"{index}"
        chunkscale.resample(path, out, channels=name, voxel_size="same")
        image = chunkscale.open_image(out)
        assert (image.as_dask().compute() == index).all()
        assert chunkscale.check(out, source=path)
        assert image.channels == ([name] if index != 1 else [])


@pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")
@pytest.mark.parametrize("listed", [[], [channel("A")], [channel(n) for n in "ABCD"]])
def test_as_many_channels_are_described_as_there_are(listed, colours, tmp_path):
    """Viewers go by the list: plain ones are added, those that are not there are left out."""
    path = colours(*listed)
    assert any(f"channels has {len(listed)}" in text for text in notices(path, "metadata"))
    assert not chunkscale.check(path)
    for options, count in (({}, 3), ({"channels": "1"}, 1), ({"channels": "2,0"}, 2)):
        out = tmp_path / f"{count}"
        chunkscale.resample(path, out, voxel_size="same", **options)
        found = chunkscale.open_image(out).attributes["ome"]["omero"]["channels"]
        assert len(found) == count
        assert chunkscale.check(out, source=path)
    assert found[1].get("label") == ("A" if listed else None)
    names = chunkscale.open_image(path).channels
    assert names == (
        [] if not listed else ["A", *(["channel 1", "channel 2"] if len(listed) == 1 else "BC")]
    )
    with pytest.raises(ChunkscaleError, match="there are 3"):
        chunkscale.open_image(path).select(channels="D")


@pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")
def test_channels_without_number_are_not_described_one_by_one(colours):
    """The shape of a damaged document may have any number: no verb counts to two billion."""
    path = colours(channel("A"))
    place = path / "0" / ".zarray"
    document = json.loads(place.read_text())
    document["shape"][0] = 2 * 10**9
    place.write_text(json.dumps(document))
    (said,) = notices(path, "metadata")
    assert "channels has 1 entries, and the image has 2000000000 channels (left out)" in said
    assert chunkscale.open_image(path).channels == []
    assert chunkscale.plan_resampling(path, voxel_size="same")


def test_without_an_axis_for_it_there_is_one_channel(stored):
    outer = {"omero": {"channels": [channel("A"), channel("B")]}}
    assert any("channels has 2" in text for text in notices(stored(outer=outer), "metadata"))
    outer["omero"]["channels"].pop()
    assert notices(stored(outer=outer)) == []


# --- a check with the voxel size that it asks for ------------------------------------------------


@pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")
@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [scale(0, 0.5, 0.5)],
        [scale(2, 0.5, None)],
        [scale(2, 0.5, 0.5), shift(math.nan, 0, 0)],
        [scale(2)],
        [scale("2", 1, 1)],
    ],
)
def test_a_check_takes_the_voxel_size_that_it_asks_for(transforms, stored, tmp_path, capsys):
    """No fault asks for it again; what is wrong beside a lack is still a fault."""
    path = stored(transforms=transforms)
    assert main(["check", str(path)]) == 2
    assert "--source-voxel-size" in capsys.readouterr().err
    faults = chunkscale.check(path, source_voxel_size=GIVEN[1]).faults
    assert not [text for text in faults if "source_voxel_size" in text]
    assert main(["check", str(path), *GIVEN]) == (3 if faults else 0)
    lacking = not transforms or None in transforms[0]["scale"] or 0 in transforms[0]["scale"]
    assert (faults == ()) == lacking


def test_so_do_the_smaller_levels(stored):
    """They are as many times coarser as they have fewer voxels; one that lacks is just told."""
    path = stored(shape=(8, 16, 16), transforms=[])
    document = json.loads((path / ".zattrs").read_text())
    levels = document["multiscales"][0]["datasets"]
    assert len(levels) == 1
    (path / ".zattrs").write_text(
        json.dumps(
            {"multiscales": [{**document["multiscales"][0], "datasets": [*levels, {"path": "1"}]}]}
        )
    )
    image = chunkscale.open_image(path, source_voxel_size=GIVEN[1])
    assert any("dataset '1' is listed" in str(notice) for notice in image.notices)
    zarr.open_group(path, mode="a").create_array(
        "1", data=np.zeros((4, 8, 8), "uint16"), chunk_key_encoding={"name": "v2", "separator": "/"}
    )
    levels.append({"path": "1"})
    (path / ".zattrs").write_text(json.dumps(document))
    assert chunkscale.check(path, source_voxel_size=GIVEN[1])
    image = chunkscale.open_image(path, source_voxel_size=GIVEN[1])
    assert image.level_grid(1).voxel_size == tuple(2 * size for size in image.grid.voxel_size)
    assert image.level_grid(1).translation == tuple(size / 2 for size in image.grid.voxel_size)
    levels.reverse()
    (path / ".zattrs").write_text(json.dumps(document))
    faults = chunkscale.check(path, source_voxel_size=GIVEN[1]).faults
    assert all("listed" in fault for fault in faults)


# --- what is valid -------------------------------------------------------------------------------

#: What NGFF lists, in metres.
LENGTHS = {
    "angstrom": "1e-10", "attometer": "1e-18", "centimeter": "1e-2", "decimeter": "1e-1",
    "exameter": "1e18", "femtometer": "1e-15", "foot": "0.3048", "gigameter": "1e9",
    "hectometer": "1e2", "inch": "0.0254", "kilometer": "1e3", "megameter": "1e6", "meter": "1",
    "micrometer": "1e-6", "mile": "1609.344", "millimeter": "1e-3", "nanometer": "1e-9",
    "parsec": "3.0856775814913673e16", "petameter": "1e15", "picometer": "1e-12",
    "terameter": "1e12", "yard": "0.9144", "yoctometer": "1e-24", "yottameter": "1e24",
    "zeptometer": "1e-21", "zettameter": "1e21",
}  # fmt: skip


@pytest.mark.parametrize("unit", LENGTHS)
def test_every_length_of_the_specification_is_known(unit, stored):
    path = stored(axes=spatial(unit))
    assert chunkscale.info(path)["warnings"] == []
    plan = chunkscale.plan_resampling(path, voxel_size=f"0.25{unit}")
    assert plan.as_dict()["target"]["voxel_size"][2] == 0.25
    assert parse_length(f"2.5 {unit}").in_unit("meter") == float(
        Fraction("2.5") * Fraction(LENGTHS[unit])
    )


@pytest.mark.parametrize("kind", ["affine", "rotation", "mapAxis"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_draft_s_further_transformation_lacks_no_scale(kind, version, stored):
    """It leads on from where the voxels are, and is lost: nothing else is wrong."""
    leads_on = {"type": kind, kind: [[1, 0, 0, 5]] * 3, "output": "world"}
    path = stored(version, coordinateTransformations=[leads_on])
    assert notices(path) == []
    (lost,) = losses(path)
    assert "world" in lost
    assert chunkscale.check(path)
    both = stored(version, coordinateTransformations=[scale(1, 1, 1), leads_on])
    assert notices(both) == []
    assert len(losses(both)) == 1
    empty = stored(version, coordinateTransformations=[])
    assert "no scale" in "".join(notices(empty, "metadata"))


# --- one array twice, and places that are too far away -------------------------------------------


@pytest.mark.parametrize("again", ["0", "./0", "0/", "0//", ".//0/."])
def test_one_array_under_two_paths_is_listed_twice(again, stored):
    path = stored()
    document = json.loads((path / ".zattrs").read_text())
    levels = document["multiscales"][0]["datasets"]
    levels.append({**levels[0], "path": again})
    (path / ".zattrs").write_text(json.dumps(document))
    assert any("2 times" in text and repr(again) in text for text in notices(path, "metadata"))
    assert not chunkscale.check(path)


@pytest.mark.parametrize("far", [1e300, -1e17, 2.0**51])
def test_a_place_where_voxels_cannot_be_told_apart_is_refused(far, stored, tmp_path):
    words = f"translation.*{re.escape(repr(far))}.*told apart"
    refused(stored(transforms=[scale(2, 0.5, 0.5), shift(0, 0, far)]), words)
    data, sizes = np.ones(SHAPE, "uint8"), {"z": 2, "y": 0.5, "x": 0.5}
    with pytest.raises(ChunkscaleError, match=words):
        chunkscale.resample(
            data, tmp_path / "a", source_voxel_size=sizes, source_translation=(0, 0, far)
        )
    assert not (tmp_path / "a").exists()


def test_a_target_of_voxels_that_are_too_small_for_its_place_is_refused(stored, tmp_path):
    path = stored(transforms=[scale(2, 0.5, 0.5), shift(0, 0, 1e12)])
    with pytest.raises(ChunkscaleError, match="told apart"):
        chunkscale.resample(path, tmp_path / "out", voxel_size={"x": 0.001})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("far", [1e6, 1e9, 1e12, -7e13])
def test_what_is_far_and_not_too_far_is_resampled_and_checked(far, stored, tmp_path):
    path = stored(transforms=[scale(2, 0.5, 0.5), shift(0, far, far)])
    chunkscale.resample(path, tmp_path / "out")
    assert chunkscale.check(tmp_path / "out", source=path)
