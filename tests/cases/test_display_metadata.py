"""How a source is shown, taken over: valid for every reader, and right for the new grid."""

import importlib
import json
import math
import re
import warnings

import numpy as np
import pytest

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleWarning

NAN, INF = math.nan, math.inf
VERSIONS = ("0.4", "0.5")
WINDOW = {"min": 0, "max": 255, "start": 10, "end": 200}


def channel(**values):
    return {"color": "00FF00", "window": dict(WINDOW), "label": "GFP", **values}


def omero(*channels, **more):
    return {"channels": list(channels), **more}


def attributes_of(path, *, strict=True):
    """Return the attributes in a file, read as a browser reads them."""

    def no(token):
        raise ValueError(f"{token} is no JSON")

    name = "zarr.json" if (path / "zarr.json").exists() else ".zattrs"
    found = json.loads((path / name).read_text(), parse_constant=no if strict else None)
    return found["attributes"] if name == "zarr.json" else found


@pytest.fixture
def source(make_image):
    """Return a function that stores a stack of 6 planes with attributes of its own."""

    def store(attributes=(), *, inner=(), version="0.4", dtype="uint16", shape=(6, 8, 10)):
        path = make_image(
            np.ones(shape, dtype),
            (1.0, 2.0, 0.5, 0.5)[-len(shape) :],
            version=version,
            name=f"source{version}.zarr",
        )
        file = path / ("zarr.json" if version == "0.5" else ".zattrs")
        document = json.loads(file.read_text())
        outer = document["attributes"] if version == "0.5" else document
        outer.update(dict(attributes))
        (outer["ome"] if version == "0.5" else outer).update(dict(inner))
        file.write_text(json.dumps(document))
        return path

    return store


def made(source, out, *, match=None, **options):
    """Resample; return the NGFF attributes, which every strict reader must take."""
    with warnings.catch_warnings(record=match is not None) as caught:
        warnings.simplefilter("error" if match is None else "always")
        chunkscale.resample(source, out, **options)
    texts = [str(w.message) for w in caught or () if issubclass(w.category, ChunkscaleWarning)]
    assert match is None or [t for t in texts if re.search(match, t)], texts
    found = attributes_of(out)
    inner = found.get("ome", found)
    version = "0.5" if "ome" in found else "0.4"
    kind = "image_label" if "image-label" in inner else "image"
    models = importlib.import_module(f"ome_zarr_models.v{version.replace('.', '')}.{kind}")
    (models.ImageLabelAttrs if kind == "image_label" else models.ImageAttrs).model_validate(inner)
    if "omero" in inner:
        common = importlib.import_module("ome_zarr_models.common.omero")
        common.Omero.model_validate(inner["omero"])
    importlib.import_module("yaozarrs").validate_zarr_store(str(out))
    assert chunkscale.check(out, source=source)
    return inner


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("origin", VERSIONS)
def test_no_number_that_json_cannot_hold_is_written(source, tmp_path, origin, version):
    """NaN and Infinity anywhere, deep in lists too: browsers could not open the output."""
    path = source(
        {"stage": {"temperature": NAN, "positions": [1.5, [INF, {"z": -INF}]], "on": True}},
        inner={"omero": omero(channel(window={"min": NAN, "max": INF, "start": 0, "end": 4000}))},
        version=origin,
    )
    inner = made(path, tmp_path / "out", match="JSON cannot store", ome_zarr_version=version)
    outer = attributes_of(tmp_path / "out")
    assert outer["stage"] == {
        "temperature": None,
        "positions": [1.5, [None, {"z": None}]],
        "on": True,
    }
    window = {"min": 0, "max": 4000, "start": 0, "end": 4000}
    assert inner["omero"]["channels"][0]["window"] == window
    record = outer["chunkscale"]["notices"]
    assert any("stage.temperature is nan" in text for text in record)
    assert any("channels[0].window" in text for text in record)


def test_numbers_beside_axes_and_in_the_entry_are_numbers_of_json_too(source, tmp_path):
    path = source()
    document = json.loads((path / ".zattrs").read_text())
    entry = document["multiscales"][0]
    entry["axes"][0]["origin"] = NAN
    entry["calibrated"] = [INF]
    (path / ".zattrs").write_text(json.dumps(document))
    inner = made(path, tmp_path / "out", match="axes.0..origin is nan.*calibrated.0. is inf")
    entry = inner["multiscales"][0]
    assert entry["axes"][0]["origin"] is None
    assert entry["calibrated"] == [None]


def test_attributes_nested_without_end_are_cut_before_the_run(source, tmp_path):
    deep = 1
    for _ in range(300):
        deep = {"a": deep}
    path = source({"deep": deep})
    assert any("nested deeper" in str(w) for w in chunkscale.plan_resampling(path).warnings)
    made(path, tmp_path / "out", match="nested deeper")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("#ff8000", "ff8000"), ("f80", "ff8800"), ("0xFF8000", "FF8000"), ("#ff8000cc", "ff8000"),
        ("red", "FF0000"), ([255, 128, 0], "FF8000"), (255, "FFFFFF"), (None, "FFFFFF"),
        ("colour", "FFFFFF"), (NAN, "FFFFFF"),
    ],
)  # fmt: skip
def test_colors_are_six_hexadecimal_digits(source, tmp_path, given, expected):
    """What is clear is kept; what is not is white, so that the channel keeps its place."""
    path = source(
        {"omero": omero(channel(color=given), channel(color="0000ff", label="DAPI"))},
        shape=(2, 6, 8, 10),
    )
    inner = made(path, tmp_path / "out", match=r"channels\[0\].color")
    assert [c["color"] for c in inner["omero"]["channels"]] == [expected, "0000ff"]
    assert [c["label"] for c in inner["omero"]["channels"]] == ["GFP", "DAPI"]


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        ({"min": 0, "max": 255, "start": 10}, "u1", (0, 255, 10, 255)),
        ({"start": 5, "end": 90}, "u1", (5, 90, 5, 90)),
        ({"min": "1", "max": "9.5", "start": 2, "end": 8}, "u1", (1, 9.5, 2, 8)),
        ({"min": NAN, "max": NAN, "start": NAN, "end": NAN}, "u1", (0, 255, 0, 255)),
        ({"start": 5}, "u2", (5, 65535, 5, 65535)),
        ({"start": True, "end": [1]}, "i2", (-32768, 32767, -32768, 32767)),
        (None, "f4", (0, 1, 0, 1)),
        ({"end": -5.0}, "f4", (-5.0, -5.0, -5.0, -5.0)),
        ({"start": 10**400, "end": 3}, "f4", (0, 3, 0, 3)),
        ([0, 9], "?", (0, 1, 0, 1)),
    ],
)  # fmt: skip
def test_windows_are_completed(source, tmp_path, given, dtype, expected):
    """From what they say themselves first, and otherwise from the data type."""
    path = source({"omero": omero(channel(window=given, coefficient=1))}, dtype=dtype)
    inner = made(path, tmp_path / "out", match="'omero' does not follow the specification")
    window = inner["omero"]["channels"][0]["window"]
    assert tuple(window[key] for key in ("min", "max", "start", "end")) == expected


@pytest.mark.parametrize("given", [None, [], {"version": 1}, {"channels": {}}, {"channels": None}])
def test_rendering_without_channels_is_left_out(source, tmp_path, given):
    path = source({"omero": given})
    assert "omero" not in made(path, tmp_path / "out", match="'omero'.*left out")


def test_all_else_of_the_rendering_has_the_types_that_readers_want(source, tmp_path):
    path = source({
        "omero": omero(
            channel(active=1, inverted="false", coefficient="1.5", label=7, family=[1]),
            "GFP",
            id="12", name=3, version=0.4,
            rdefs={"defaultT": "0", "defaultZ": 1.0, "model": 5, "projection": {}},
        )
    }, shape=(2, 6, 8, 10))  # fmt: skip
    found = made(path, tmp_path / "out", match="'omero' does not follow the specification")["omero"]
    first, second = found["channels"]
    assert first == {
        **channel(),
        "active": True,
        "inverted": False,
        "coefficient": 1.5,
        "label": "7",
    }
    assert second["color"] == "FFFFFF"
    assert (found["id"], found["name"], found["version"]) == (12, "3", "0.4")
    assert found["rdefs"] == {"defaultT": 0, "defaultZ": 6, "model": "5"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"colors": []}, {}),
        ({"properties": [], "colors": {}}, {}),
        ({"colors": [{"rgba": [0, 0, 0, 0]}, {"label-value": 2, "rgba": [1, 2, 3, 4]}]},
         {"colors": [{"label-value": 2, "rgba": [1, 2, 3, 4]}]}),
        ({"colors": [{"label-value": "2", "rgba": [1, 2, 3]}]},
         {"colors": [{"label-value": 2, "rgba": [1, 2, 3, 255]}]}),
        ({"colors": [{"label-value": 2.0, "rgba": [1.0, 2, 3, 4]}]},
         {"colors": [{"label-value": 2, "rgba": [1, 2, 3, 4]}]}),
        ({"colors": [{"label-value": 1, "rgba": [0, 0, 0, 500]}]}, {}),
        ({"colors": [{"label-value": NAN, "rgba": [0, 0, 0, 5]}, {"label-value": True}]}, {}),
        ({"colors": [{"label-value": 1, "rgba": [9, 0, 0, 9]},
                     {"label-value": 1, "rgba": [8] * 4}]},
         {"colors": [{"label-value": 1, "rgba": [9, 0, 0, 9]}]}),
        ({"properties": [{"value": "foo"}, {"label-value": 1, "class": "a"}] * 2},
         {"properties": [{"label-value": 1, "class": "a"}]}),
        (["nuclei"], {}),
    ],
)  # fmt: skip
def test_label_colors_and_properties_are_mended(source, tmp_path, given, expected, version):
    path = source({"image-label": given})
    inner = made(
        path, tmp_path / "out", match="'image-label' does not follow", ome_zarr_version=version
    )
    assert inner["image-label"] == {**expected, "version": version}
    assert chunkscale.open_image(tmp_path / "out").is_label


def test_labels_with_properties_and_without_a_color_get_one(source, tmp_path):
    """ome-zarr-models takes the two lists for the same labels; theirs stay as they are."""
    colors = [
        {"label-value": 1, "rgba": [255, 0, 0, 255]},
        {"label-value": 4, "rgba": [0, 9, 9, 9]},
    ]
    properties = [{"label-value": 1, "class": "a"}, {"label-value": 3, "class": "b"}]
    path = source({"image-label": {"colors": colors, "properties": properties}})
    found = made(path, tmp_path / "out", match="no colors for the labels 3")["image-label"]
    assert found["colors"][:2] == colors
    assert [c["label-value"] for c in found["colors"]] == [1, 4, 3]
    assert found["properties"] == [*properties, {"label-value": 4}]


def test_valid_metadata_is_taken_over_as_it_is(source, tmp_path):
    rendering = omero(channel(active=True, custom={"a": [1, 2.5, None]}), id=1, keep="me")
    path = source({"omero": rendering, "stage": {"name": "left", "temperature": 21.5}})
    assert made(path, tmp_path / "out")["omero"] == rendering
    assert attributes_of(tmp_path / "out")["stage"] == {"name": "left", "temperature": 21.5}
    assert "notices" not in attributes_of(tmp_path / "out")["chunkscale"]


@pytest.mark.parametrize(
    ("options", "plane", "expected"),
    [
        ({}, 3, 14), ({}, 0, 2), ({}, 5, 22), ({"zoom": 0.125}, 3, 1),
        ({"voxel_size": {"z": 4.0}, "antialias": True}, 5, 2), ({"voxel_size": {"y": 1.0}}, 3, 3),
    ],
)  # fmt: skip
def test_the_plane_that_is_shown_first_stays_where_it_is(
    source, tmp_path, options, plane, expected
):
    """Its index follows the new planes; that of the time point does not."""
    rdefs = {"defaultZ": plane, "defaultT": 0, "model": "color"}
    path = source({"omero": omero(channel(), rdefs=rdefs)})
    found = made(path, tmp_path / "out", match="shrinks" if "zoom" in options else None, **options)
    assert found["omero"]["rdefs"] == {**rdefs, "defaultZ": expected}
    image, new = chunkscale.open_image(path).grid, chunkscale.open_image(tmp_path / "out").grid
    shift = new.translation[0] + expected * new.voxel_size[0] - plane * image.voxel_size[0]
    assert abs(shift) <= new.voxel_size[0] / 2


def test_the_plane_that_is_shown_first_stays_inside_of_another_grid(source, tmp_path, make_image):
    like = make_image(np.ones((2, 4, 4), "u1"), name="like.zarr")
    path = source({"omero": omero(channel(), rdefs={"defaultZ": 5})})
    assert made(path, tmp_path / "out", like=like)["omero"]["rdefs"]["defaultZ"] == 1


@pytest.mark.parametrize(
    ("names", "expected"), [(("depth", "y", "x"), 22), (("angle", "y", "x"), None)]
)
def test_planes_are_those_of_the_first_spatial_axis_where_none_is_called_z(
    source, tmp_path, names, expected
):
    path = source({"omero": omero(channel(), rdefs={"defaultZ": 5})})
    document = json.loads((path / ".zattrs").read_text())
    kinds = ("space" if names[0] == "depth" else "custom", "space", "space")
    axes = [{"name": n, "type": k} for n, k in zip(names, kinds, strict=True)]
    document["multiscales"][0]["axes"] = axes
    (path / ".zattrs").write_text(json.dumps(document))
    if names[0] == "angle":
        assert "omero" in made(path, tmp_path / "out", match="has 1 plane ")
    else:
        found = made(path, tmp_path / "out")
        assert found["omero"]["rdefs"]["defaultZ"] == expected


@pytest.mark.parametrize("plane", [-1, 6, 2.5, "middle", NAN])
def test_a_plane_that_is_not_there_is_not_shown_first(source, tmp_path, plane):
    path = source({"omero": omero(channel(), rdefs={"defaultZ": plane, "model": "color"})})
    found = made(path, tmp_path / "out", match="rdefs.defaultZ is")
    assert found["omero"]["rdefs"] == {"model": "color"}


def test_sizes_that_omero_states_follow_the_grid(source, tmp_path):
    sizes = {
        "size": {"width": 10, "height": 8, "z": 6, "t": 1, "c": 1},
        "pixel_size": {"x": 0.5, "y": 0.5, "z": 2.0},
        "tile_size": {"width": 256, "height": 256}, "levels": 3,
    }  # fmt: skip
    path = source({"omero": omero(channel(), **sizes)})
    found = made(path, tmp_path / "out", match="tile_size, levels of 'omero'", voxel_size=1.0)[
        "omero"
    ]
    assert found["size"] == {"width": 5, "height": 4, "z": 12, "t": 1, "c": 1}
    assert found["pixel_size"] == {"x": 1.0, "y": 1.0, "z": 1.0}
    assert not {"tile_size", "levels"} & set(found)


def test_what_seems_to_count_voxels_is_announced(source, tmp_path, capsys):
    """Unknown attributes are taken over; whether they still hold is for the user to say."""
    label = {"properties": [{"label-value": i, "area (pixels)": 100 * i} for i in (1, 2)]}
    more = {"image-label": label, "crop": {"bbox": [0, 0, 4]}, "stage": {"z_offset": 7}, "id": 3}
    path = source(more)
    texts = [str(w) for w in chunkscale.plan_resampling(path).warnings]
    (text,) = [t for t in texts if "may refer to source voxels" in t]
    for name in ("image-label.properties[].area (pixels)", "crop", "stage.z_offset"):
        assert name in text
    assert main(["plan", str(path)]) == 0
    assert text in capsys.readouterr().out
    made(path, tmp_path / "out", match="may refer to source voxels")
    assert not [w for w in chunkscale.plan_resampling(path, like=path).warnings if "may" in str(w)]


def test_what_is_mended_is_known_before_the_run_and_is_a_fault(source, capsys):
    """`plan` and `info` say it, `check` calls it a fault, and nothing says it twice."""
    path = source({"omero": omero(channel(color=255)), "stage": NAN})
    assert main(["check", str(path)]) == 3
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fault: ")]
    assert ["channels[0].color" in line for line in faults] == [True, False]
    for verb in ("plan", "info"):
        assert main([verb, str(path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum("channels[0].color is 255" in line for line in lines) == 1
        assert sum("stage is nan" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"min": 9, "end": 3}, (3, 9, 3, 9)),
        ({"min": 0, "max": 255, "start": 200, "end": 10}, (0, 255, 10, 200)),
        ({"min": 255, "max": 0, "start": 10, "end": 200}, (0, 255, 10, 200)),
        ({"start": 300, "end": "7"}, (7, 300, 7, 300)),
    ],
)
def test_windows_begin_below_their_end(source, tmp_path, given, expected):
    path = source({"omero": omero(channel(window=given))}, dtype="uint8")
    assert not chunkscale.check(path)
    inner = made(path, tmp_path / "out", match=r"channels\[0\].window")
    window = inner["omero"]["channels"][0]["window"]
    assert tuple(window[key] for key in ("min", "max", "start", "end")) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1.0, 0, 0], (255, 0, 0, 255)), ([0.5, 0.25, 0.1, 1.0], (128, 64, 26, 255)),
        ([1.0, 1, 1, 0.5], (255, 255, 255, 128)), ([1, 0, 0], (1, 0, 0, 255)),
        ([255.0, 1.0, 0.0], (255, 1, 0, 255)), (["1.0", "0", "0"], (255, 0, 0, 255)),
    ],
)  # fmt: skip
def test_colors_of_floats_up_to_1_are_shares(source, tmp_path, given, expected):
    """As matplotlib and vispy write them: of bytes, 1 would be black."""
    colors = [{"label-value": 1, "rgba": given}]
    attributes = {"omero": omero(channel(color=given)), "image-label": {"colors": colors}}
    inner = made(source(attributes), tmp_path / "out", match="color", method="nearest")
    assert inner["omero"]["channels"][0]["color"] == "{:02X}{:02X}{:02X}".format(*expected)
    assert inner["image-label"]["colors"][0]["rgba"] == list(expected)


@pytest.mark.parametrize("shown", [9, -1, 3, 2])
@pytest.mark.parametrize("shape", [(3, 6, 8, 10), (6, 8, 10)])
def test_the_time_that_is_shown_first_is_there(make_image, tmp_path, shown, shape):
    size = (1.0, 2.0, 0.5, 0.5)[-len(shape) :]
    axes = "tzyx"[-len(shape) :]
    path = make_image(np.ones(shape, "uint8"), size, axes=axes, version="0.4", name="a.zarr")
    document = json.loads((path / ".zattrs").read_text())
    document["omero"] = omero(channel(), rdefs={"defaultT": shown, "defaultZ": 1})
    (path / ".zattrs").write_text(json.dumps(document))
    right = shown == 2 and len(shape) == 4
    assert bool(chunkscale.check(path)) == right
    inner = made(path, tmp_path / "out", match=None if right else "defaultT")
    assert inner["omero"]["rdefs"].get("defaultT") == (2 if right else None)


def test_what_is_right_is_not_mended(make_image):
    """Floats as they are, equal ends, and a time axis by another name."""
    size = (1.0, 2.0, 0.5, 0.5)
    path = make_image(np.ones((3, 6, 8, 10), "uint8"), size, version="0.4", axes="tzyx")
    document = json.loads((path / ".zattrs").read_text())
    document["multiscales"][0]["axes"][0]["name"] = "frame"
    window = {"min": 0.0, "max": 255.0, "start": 0.0, "end": 0.0}
    document["omero"] = omero(channel(window=window), rdefs={"defaultT": 2, "defaultZ": 5})
    (path / ".zattrs").write_text(json.dumps(document))
    assert chunkscale.open_image(path).notices == ()
    assert chunkscale.check(path)
