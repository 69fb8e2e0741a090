"""What a message advises works, and does no harm: each remedy is tried as it is printed."""

import argparse
import ast
import json
import math
import re
from pathlib import Path

import dask.array
import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.cli.arguments import make_parser
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleWarning, MetadataError, OptionError
from chunkscale.geometry.box import Box

NAN, INF = math.nan, math.inf
SIZES = {"t": 3.0, "z": 2.0, "y": 0.5, "x": 0.5}
quiet = pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def translation(*values):
    return {"type": "translation", "translation": list(values)}


def voxels(path):
    array = chunkscale.open_image(path).array
    return array.read(Box(start=(0,) * len(array.shape), stop=array.shape))


@pytest.fixture
def store(make_image, noise):
    """Return a function that stores an image with transformations of any kind."""

    def make(*transforms, axes="zyx", common=None, data=None, name="source.zarr", untyped=""):
        shape = tuple({"t": 2, "c": 2, "z": 6, "y": 8, "x": 10, "angle": 2}[n] for n in axes)
        data = noise(shape) if data is None else data
        path = make_image(data, (1.0,) * len(axes), name=name, version="0.4", axes=None)
        document = json.loads((path / ".zattrs").read_text())
        entry = document["multiscales"][0]
        kinds = {"t": "time", "c": "channel"}
        entry["axes"] = [
            {"name": n} if n in untyped else {"name": n, "type": kinds.get(n, "space")}
            for n in axes
        ]
        entry["datasets"][0]["coordinateTransformations"] = list(transforms)
        if common is not None:
            entry["coordinateTransformations"] = common
        (path / ".zattrs").write_text(json.dumps(document))
        return path

    return make


BROKEN = {
    "zero": ([scale(0, 0.5, 0.5)], {}),
    "nan": ([scale(2, NAN, 0.5)], {}),
    "infinite": ([scale(2, 0.5, INF)], {}),
    "null": ([scale(None, 0.5, 0.5)], {}),
    "text": ([scale("2", 0.5, 0.5)], {}),
    "missing": ([], {}),
    "identity": ([{"type": "identity"}], {}),
    "no scale": ([translation(1, 2, 3)], {}),
    "too short": ([scale(0.5, 0.5)], {}),
    "too long": ([scale(1, 2, 0.5, 0.5)], {}),
    "no numbers": ([{"type": "scale"}], {}),
    "in a file": ([{"type": "scale", "path": "scales"}], {}),
    "channel left out": ([scale(2, 0.5, 0.5), translation(0, 0, 0)], {"axes": "czyx"}),
    "time and channel left out": ([scale(2, 0.5, 0.5)], {"axes": "tczyx"}),
    "translation": ([scale(2, 0.5, 0.5), translation(0, NAN, 0)], {}),
    "short translation": ([scale(2, 0.5, 0.5), translation(0, 0)], {}),
    "translation in a file": ([scale(2, 0.5, 0.5), {"type": "translation", "path": "t"}], {}),
    "common": ([scale(2, 0.5, 0.5)], {"common": [scale(1, 1)]}),
    "common zero": ([scale(2, 0.5, 0.5)], {"common": [scale(1, 0, 1)]}),
}


def advised(message):
    """Return the voxel sizes that a message asks for, as typed on the command line."""
    names = re.search(r"(?:source_voxel_size=\{(.*?)\}|--source-voxel-size (\S+))", message)
    assert names, message
    return {n: SIZES[n] for n in re.findall(r"(\w+)(?:': |=)\.\.\.", names[0])}


@quiet
@pytest.mark.parametrize("case", BROKEN)
def test_a_voxel_size_that_is_asked_for_is_taken_by_every_verb(case, store, tmp_path, capsys):
    """Info, plan, resample and check, as a command and in Python: refused, and with it taken."""
    transforms, options = BROKEN[case]
    path, out = store(*transforms, **options), tmp_path / "out.zarr"
    with pytest.raises(MetadataError) as error:
        chunkscale.open_image(path)
    sizes = advised(str(error.value))
    typed = ",".join(f"{name}={size}" for name, size in sizes.items())
    for verb in (["info", str(path)], ["plan", str(path)], ["check", str(path)],
                 ["resample", str(path), str(out)]):  # fmt: skip
        assert main(verb) == 2
        assert advised(capsys.readouterr().err) == sizes
        # A check finds what else is wrong with the metadata all the same.
        assert main([*verb, "--source-voxel-size", typed]) in (
            (0, 3) if verb[0] == "check" else (0,)
        )
    assert chunkscale.info(path, source_voxel_size=sizes)["voxel_size"][-3:] == [2.0, 0.5, 0.5]
    faults = chunkscale.check(path, source_voxel_size=sizes).faults
    assert not [text for text in faults if "source_voxel_size=" in text]
    grid = chunkscale.open_image(path, source_voxel_size=sizes).grid
    assert [grid.voxel_size[i] for i in grid.spatial] == [2.0, 0.5, 0.5]
    assert all(math.isfinite(t) for t in grid.translation)
    # The output knows the voxel size of its source; to say it again does no harm, another one does.
    assert main(["check", str(out), "--source", str(path)]) == 0
    assert main(["check", str(out), "--source", str(path), "--source-voxel-size", typed]) == 0
    assert main(["check", str(out), "--source", str(path), "--source-voxel-size", "9"]) == 2


@quiet
@pytest.mark.parametrize("bad", [0.0, -0.0, NAN, INF, -2.0, None])
@pytest.mark.parametrize("axes", ["tzyx", "czyx"])
def test_an_axis_that_is_not_resampled_needs_no_scale(bad, axes, store, tmp_path, capsys):
    """Time steps of 0 and the like count as 1, and that is said; the rest is as it would be."""
    path, good = store(scale(bad, 2, 0.5, 0.5), axes=axes), tmp_path / "good.zarr"
    (notice,) = chunkscale.open_image(path).notices
    assert notice.kind == "metadata"
    assert f"axis {axes[0]!r}" in notice.text
    with pytest.warns(ChunkscaleWarning, match=f"axis {axes[0]!r} is .*1 is used"):
        chunkscale.resample(path, tmp_path / "out.zarr")
    assert chunkscale.open_image(tmp_path / "out.zarr").grid.voxel_size == (1.0, 0.5, 0.5, 0.5)
    assert chunkscale.check(tmp_path / "out.zarr", source=path)
    assert notice.text in chunkscale.check(path).faults
    right = store(scale(1, 2, 0.5, 0.5), axes=axes, data=voxels(path), name="right.zarr")
    chunkscale.resample(right, good)
    assert_array_equal(voxels(tmp_path / "out.zarr"), voxels(good))
    # One that is given comes first, and then there is nothing to say.
    given = chunkscale.open_image(path, source_voxel_size={axes[0]: 3.0})
    assert given.grid.voxel_size[0] == 3.0
    assert given.notices == ()


def test_a_translation_along_time_that_means_nothing_is_0(store):
    image = chunkscale.open_image(store(scale(1, 2, 1, 1), translation(NAN, 1, 2, 3), axes="tzyx"))
    assert image.grid.translation == (0.0, 1.0, 2.0, 3.0)
    assert ["axis 't' is nan; the image starts at 0" in n.text for n in image.notices] == [True]


@pytest.mark.parametrize("common", [None, [scale(1, -1, 1)]])
def test_a_flipped_axis_is_refused_and_what_is_advised_keeps_every_voxel_in_its_place(
    common, store, tmp_path, capsys
):
    """No voxel size is asked for: a positive one would mirror the image without a word."""
    sign = -1 if common is None else 1
    path = store(scale(2, sign * 0.5, 0.5), translation(1, sign * 7, 3), common=common)
    with pytest.raises(MetadataError) as error:
        chunkscale.open_image(path)
    assert "source" not in str(error.value).removeprefix(repr(str(path)))
    for sizes in ({"y": 0.5}, {"z": 2, "y": 0.5, "x": 0.5}):
        with pytest.raises(MetadataError, match="runs backwards"):
            chunkscale.resample(path, tmp_path / "out.zarr", source_voxel_size=sizes)
    assert not (tmp_path / "out.zarr").exists()
    found = re.search(
        r"reversed along '(\w)', with the scale (\S+) and the translation (\S+)", str(error.value)
    )
    axis, size, start = found[1], float(found[2]), float(found[3])
    assert (axis, size, start) == ("y", 0.5, -7 - 7 * 0.5)
    data = np.asarray(chunkscale.open_image(store(scale(2, 1, 1), name="raw.zarr")).array.read(
        Box(start=(0, 0, 0), stop=(6, 8, 10))
    ))  # fmt: skip
    right = store(
        scale(2, size, 0.5), translation(1, start, 3), data=data[:, ::-1], name="right.zarr"
    )
    grid = chunkscale.open_image(right).grid
    for i in range(8):  # where the metadata puts voxel i of the flipped image
        j = (-7 - 0.5 * i - grid.translation[1]) / grid.voxel_size[1]
        assert_array_equal(voxels(right)[:, round(j)], data[:, i])


@quiet
@pytest.mark.parametrize("name", ["z", "y", "x", "angle"])
def test_an_axis_without_a_type_is_named_and_the_type_that_is_advised_helps(name, store, capsys):
    """Z, y and x are spatial by their names; what is not known by its name is not resampled."""
    axes = ("angle", "y", "x") if name == "angle" else ("z", "y", "x")
    path = store(scale(2, 0.5, 0.5), axes=axes, untyped=(name,))
    image = chunkscale.open_image(path)
    assert len(image.grid.spatial) == (2 if name == "angle" else 3)
    (notice,) = image.notices
    assert f"axis {name!r} has no type" in notice.text
    key, value = re.search(r'add "(\w+)": "(\w+)"', notice.text).groups()
    assert main(["plan", str(path)]) == 0
    assert notice.text in capsys.readouterr().out
    # Whether a custom axis has a type is left to the writer, by the specification.
    assert main(["check", str(path)]) == (0 if name == "angle" else 3)
    document = json.loads((path / ".zattrs").read_text())
    for axis in document["multiscales"][0]["axes"]:
        axis |= {key: value} if axis["name"] == name else {}
    (path / ".zattrs").write_text(json.dumps(document))
    image = chunkscale.open_image(path)
    assert (len(image.grid.spatial), image.notices) == (3, ())
    assert main(["check", str(path)]) == 0


def test_the_voxel_size_of_an_image_to_be_like_is_another_matter(store, tmp_path):
    """That of the source does not hold for it, and the message does not ask for it."""
    source = store(scale(2, 0.5, 0.5))
    like = store(scale(0, 1, 1), name="like.zarr")
    with pytest.raises(MetadataError, match=r"like: .*like\.zarr.*is 0\.0") as error:
        chunkscale.plan_resampling(source, like=like)
    assert "--source-voxel-size" not in str(error.value)
    advised = re.search(r"like=chunkscale\.open_image\(path, source_voxel_size=", str(error.value))
    assert advised
    image = chunkscale.open_image(like, source_voxel_size={"z": 1.0})
    assert chunkscale.plan_resampling(source, like=image).target_grid.voxel_size == (1.0, 1.0, 1.0)


def test_an_image_of_another_tool_is_compared_with_a_source_of_a_given_size(store, tmp_path):
    """Nothing records what its source was taken for: then it can be said."""
    source, out = store(scale(0, 0.5, 0.5)), tmp_path / "out.zarr"
    chunkscale.resample(source, out, source_voxel_size={"z": 2.0})
    document = json.loads((out / "zarr.json").read_text())
    del document["attributes"]["chunkscale"]
    (out / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(MetadataError, match="source_voxel_size"):
        chunkscale.check(out, source=source)
    assert chunkscale.check(out, source=source, source_voxel_size={"z": 2.0})
    assert not chunkscale.check(out, source=source, source_voxel_size={"z": 3.0})


@pytest.mark.parametrize("size", ["finest", {"q": 1.0}, {"z": -1.0}, (1, 2)])
def test_a_size_that_means_nothing_is_refused_by_every_verb(size, store):
    path = store(scale(2, 0.5, 0.5))
    for verb in (chunkscale.info, chunkscale.check, chunkscale.plan_resampling):
        with pytest.raises(OptionError):
            verb(path, source_voxel_size=size)


def messages(module):
    """Return all texts of a module that are no docstrings."""
    tree = ast.parse(module.read_text())
    return [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


def test_every_option_that_a_message_about_metadata_names_is_there():
    """Whichever verb opens an image and shows it."""
    root = Path(chunkscale.__file__).parent
    texts = [text for path in (root / "ome").glob("*.py") for text in messages(path)]
    named = {option for text in texts for option in re.findall(r"--[a-z][a-z-]+", text)}
    assert "--source-voxel-size" in named
    verbs = next(
        a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)
    ).choices
    for verb in ("info", "plan", "resample", "check"):
        known = {option for a in verbs[verb]._actions for option in a.option_strings}
        assert named <= known, verb


def test_an_array_that_no_image_holds_is_passed_as_an_array(tmp_path):
    """As xarray writes them: neither the array nor its group is an image."""
    voxels = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("it", data=voxels)
    with pytest.raises(MetadataError, match="pass it as an array in Python") as error:
        chunkscale.open_image(tmp_path / "a.zarr" / "it")
    remedy = str(error.value).rpartition("source_voxel_size: ")[2]
    array = eval(remedy, {"dask": dask})
    made = chunkscale.resample(array, tmp_path / "out", source_voxel_size=1, voxel_size="same")
    np.testing.assert_array_equal(np.asarray(chunkscale.open_image(made.path)), voxels)
