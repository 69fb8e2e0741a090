"""Parts of an image: channels, time points, crops.

Invariants:

- A crop has the very voxels that the whole result has there, neighbours of the crop included.
- Channels and time points are those of NumPy's indexing; names, colours and times follow.
- What is not selected is not read.
- `check` and `resume` know which part an output was made of.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import OptionError

SIZE = (2.0, 0.5, 0.3)
WINDOW = {"min": 0, "max": 9, "start": 0, "end": 9}
LABELS = ["DAPI", "GFP", "488"]
COLOURS = ["0000FF", "00FF00", "FF0000"]
OMERO = {
    "channels": [
        {"label": label, "color": colour, "window": WINDOW}
        for label, colour in zip(LABELS, COLOURS, strict=True)
    ],
    "rdefs": {"defaultT": 5, "defaultZ": 2},
}


@pytest.fixture
def movie(make_image, noise):
    """Store a movie of 8 time points and 3 channels; return its path and its voxels."""
    data = noise((8, 3, 6, 14, 12))
    path = make_image(
        data, (0.5, 1.0, *SIZE), axes="tczyx", chunk=(1, 1, 3, 7, 6), translation=(3, 0, 7, -4, 2)
    )
    node = json.loads((path / "zarr.json").read_text())
    node["attributes"]["ome"]["omero"] = OMERO
    (path / "zarr.json").write_text(json.dumps(node))
    return path, data


def voxels(path, level=0):
    return chunkscale.open_image(path).as_dask(level).compute()


@st.composite
def crops(draw):
    shape = [draw(st.integers(2, 20)) for _ in range(3)]
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    how = draw(
        st.sampled_from(
            [
                {"voxel_size": "finest"},
                {"voxel_size": 0.7},
                {"voxel_size": 1.7, "antialias": True},
                {"voxel_size": "z=0.3,y=0.9,x=0.3", "method": "cubic"},
                {"factor": "1.5,0.6,2", "method": "nearest"},
                {"voxel_size": "z=1.7,y=0.9,x=2.3", "method": "mode"},
                {"voxel_size": "same"},
                {"zoom": 1.3},
            ]
        )
    )
    return shape, starts, stops, how, draw(st.sampled_from(["uint16", "float32", "int8"]))


@settings(max_examples=100)
@given(crops())
@pytest.mark.filterwarnings("ignore::chunkscale.ChunkscaleWarning")
def test_a_crop_has_the_voxels_of_the_whole(tmp_path_factory, case):
    """Of those of the whole result, the ones that lie in the crop; their positions are the same."""
    shape, starts, stops, how, dtype = case
    folder = tmp_path_factory.mktemp("crops")
    data = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    store = {"source_voxel_size": SIZE, "levels": 1, "chunk": 8, "workers": 1}
    chunkscale.resample(data, folder / "whole", **store, **how)
    crop = {n: (a, b) for n, a, b in zip("zyx", starts, stops, strict=True)}
    chunkscale.resample(data, folder / "part", crop=crop, **store, **how)
    whole, part = (chunkscale.open_image(folder / name) for name in ("whole", "part"))
    cut = []
    for i in range(3):
        size = whole.grid.voxel_size[i]
        assert part.grid.voxel_size[i] == size
        first = (part.grid.translation[i] - whole.grid.translation[i]) / size
        assert first == pytest.approx(round(first), abs=1e-6)
        cut.append(slice(round(first), round(first) + part.grid.shape[i]))
        # To half a voxel of the target; one is left, though the whole may end half a one earlier.
        edges = [part.grid.translation[i] - size / 2]
        edges.append(edges[0] + part.grid.shape[i] * size)
        wanted = [SIZE[i] * (starts[i] - 0.5), SIZE[i] * (stops[i] - 0.5)]
        slack = 0.5 if part.grid.shape[i] > 1 else 1.5
        assert np.abs(np.subtract(edges, wanted)).max() <= slack * size * (1 + 1e-6)
    expected = whole.as_dask().compute()[tuple(cut)]
    assert part.as_dask().compute().tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("options", "index", "labels"),
    [
        ({"channels": "0,GFP"}, np.s_[:, [0, 1]], ["DAPI", "GFP"]),
        ({"channels": ["GFP", 0]}, np.s_[:, [1, 0]], ["GFP", "DAPI"]),
        ({"channels": "488"}, np.s_[:, [2]], ["488"]),
        ({"channels": -1}, np.s_[:, [2]], ["488"]),
        ({"timepoints": "3:6"}, np.s_[3:6], LABELS),
        ({"timepoints": "0,4"}, np.s_[[0, 4]], LABELS),
        ({"timepoints": range(1, 8, 3), "channels": slice(1, None)}, np.s_[1:8:3, 1:], LABELS[1:]),
        ({"timepoints": "2,3,6", "channels": "2,0"}, np.s_[[2, 3, 6]][:], ["488", "DAPI"]),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:the time points")
def test_channels_and_time_points_are_those_of_numpy(movie, tmp_path, options, index, labels):
    """Their names, colours and windows go with them."""
    path, data = movie
    expected = data[index]
    if "2,0" in options.values():
        expected = expected[:, [2, 0]]
    run = chunkscale.resample(path, tmp_path / "out", voxel_size="same", levels=1, **options)
    np.testing.assert_array_equal(voxels(run.path), expected)
    image = chunkscale.open_image(run.path)
    assert image.channels == labels
    stored = image.attributes["ome"]["omero"]["channels"]
    assert [c["color"] for c in stored] == [COLOURS[LABELS.index(label)] for label in labels]
    assert chunkscale.check(run.path, source=path)


@pytest.mark.parametrize(
    ("timepoints", "start", "step", "shown"),
    [("3:6", 4.5, 0.5, 2), ("1:8:4", 3.5, 2.0, 1), ("5", 5.5, 0.5, 0), ("0:2", 3.0, 0.5, 0)],
)
def test_times_follow(movie, tmp_path, timepoints, start, step, shown):
    """The first one's time, the step between them, and the one that is shown first."""
    path, _ = movie
    run = chunkscale.resample(path, tmp_path / "out", timepoints=timepoints, levels=1)
    image = chunkscale.open_image(run.path)
    assert (image.grid.translation[0], image.grid.voxel_size[0]) == (start, step)
    assert image.attributes["ome"]["omero"]["rdefs"]["defaultT"] == shown


def test_unequal_steps_of_time_are_announced(movie, tmp_path):
    """OME-Zarr has one step for all."""
    path, data = movie
    with pytest.warns(chunkscale.ChunkscaleWarning, match="0, 1, 5 are not equally spaced"):
        run = chunkscale.resample(path, tmp_path / "out", timepoints="0,1,5", voxel_size="same")
    np.testing.assert_array_equal(voxels(run.path), data[[0, 1, 5]])


def test_lengths_are_positions_of_centres():
    """In the coordinates of the image, as `info` prints them."""
    grid = chunkscale.VoxelGrid(
        axes=tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx"),
        shape=(10, 20, 30), voxel_size=(1.0, 0.5, 0.3), translation=(100.0, 0.0, 0.0),
    )  # fmt: skip
    from chunkscale.geometry.selection import parse_crop

    for text, expected in [
        ("z=102um:105um", (2, 5)), ("z=101500nm:", (2, 10)), ("z=:0.103mm", (0, 3)),
        ("z=2:5", (2, 5)), ("z=-3:", (7, 10)), ("z=:-3", (0, 7)), ("z=0um:1m", (0, 10)),
    ]:  # fmt: skip
        box = parse_crop(text, grid)
        assert (box.start[0], box.stop[0]) == expected
        assert (box.start[1:], box.stop[1:]) == ((0, 0), (20, 30))


def test_only_what_is_selected_is_read(movie, tmp_path, monkeypatch):
    """And the neighbours of a crop."""
    path, _ = movie
    read = []
    whole = chunkscale.storage.reader.ArrayReader.read
    monkeypatch.setattr(
        "chunkscale.storage.reader.ArrayReader.read",
        lambda self, box, out=None: read.append(box) or whole(self, box, out),
    )
    chunkscale.resample(
        path, tmp_path / "out", timepoints="2,5", channels=1, crop="y=4:9", voxel_size=0.3,
        levels=1, workers=1,
    )  # fmt: skip
    boxes = [box for box in read if box.stop[-1] == 12]
    assert {box.start[0] for box in boxes} == {2, 5}
    assert {(box.start[1], box.stop[1]) for box in boxes} == {(1, 2)}
    assert min(box.start[3] for box in boxes) >= 3
    assert max(box.stop[3] for box in boxes) <= 10


@pytest.mark.parametrize("chunk", [(1, 1, 3, 7, 6), (3, 3, 6, 14, 12)])
def test_parts_are_lazy_images(make_image, noise, tmp_path, chunk):
    """All verbs take them; parts of parts are parts."""
    data = noise((5, 3, 6, 14, 12), "int32")
    path = make_image(data, (1.0, 1.0, *SIZE), axes="tczyx", chunk=chunk)
    part = chunkscale.open_image(path).select(channels="2,0", timepoints="1:4", crop="z=1:5,x=3:")
    assert part.grid.shape == (3, 2, 4, 14, 9)
    expected = data[1:4][:, [2, 0], 1:5, :, 3:]
    np.testing.assert_array_equal(part.as_dask(), expected)
    inner = part.select(channels=1, timepoints=[2, 0], crop={"z": (1, 3), "x": slice(2, 5)})
    np.testing.assert_array_equal(inner.as_dask(), expected[[2, 0]][:, [1], 1:3, :, 2:5])
    assert inner.grid.translation[2:] == pytest.approx((4.0, 0.0, 1.5))
    assert str(part.part) in str(part.as_dict())
    plan = chunkscale.plan_resampling(part, voxel_size="same")
    assert plan.target_grid.shape == part.grid.shape
    for source in (part, inner):
        with pytest.warns(chunkscale.ChunkscaleWarning) if source is inner else _quiet():
            chunkscale.resample(source, tmp_path / "out", voxel_size="same", overwrite=True)
        np.testing.assert_array_equal(voxels(tmp_path / "out"), source.as_dask())
        assert chunkscale.check(tmp_path / "out", source=path)
    like = chunkscale.resample(path, tmp_path / "like", like=part, levels=1)
    assert chunkscale.open_image(like.path).grid.shape == (5, 3, 4, 14, 9)


class _quiet:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_a_shape_is_that_of_the_crop(movie, tmp_path):
    """Over its extent; around it the neighbours are read."""
    path, _ = movie
    run = chunkscale.resample(
        path, tmp_path / "out", crop="z=1:4,y=2:12", shape="z=7,y=5", levels=1
    )
    grid = chunkscale.open_image(run.path).grid
    assert grid.shape[2:] == (7, 5, 12)
    assert grid.voxel_size[2:] == pytest.approx((6 / 7, 1.0, 0.3))
    assert chunkscale.check(run.path, source=path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_interrupted_part_is_continued(movie, tmp_path, version):
    """By the same command; another part is refused, and named."""
    path, _ = movie
    out, how = tmp_path / "out", {"voxel_size": 0.4, "chunk": 8, "ome_zarr_version": version}
    part = {"timepoints": "1:3", "channels": "DAPI", "crop": "z=1:5"}
    expected = chunkscale.resample(path, tmp_path / "whole", **part, **how)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(path, out, progress=stop, **part, **how)
    with pytest.raises(chunkscale.DestinationError, match="source_part"):
        chunkscale.resample(path, out, resume=True, **part | {"channels": 1}, **how)
    chunkscale.resample(path, out, resume=True, **part, **how)
    np.testing.assert_array_equal(voxels(out), voxels(expected.path))
    assert chunkscale.check(out, source=path)


def test_the_command_line_takes_them(movie, tmp_path, capsys):
    """`plan` and `resample`."""
    path, data = movie
    words = [
        "--channels",
        "GFP,0",
        "--timepoints",
        "0:4",
        "--crop",
        "y=2:9",
        "--voxel-size",
        "same",
    ]
    assert main(["plan", str(path), *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"]["shape"] == [4, 2, 6, 7, 12]
    assert main(["resample", str(path), str(tmp_path / "out"), *words]) == 0
    np.testing.assert_array_equal(voxels(tmp_path / "out"), data[:4][:, [1, 0], :, 2:9])
    assert main(["check", str(tmp_path / "out"), "--source", str(path)]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 3}, ["channels 3", "there are 3, 0 to 2, called DAPI, GFP, 488"]),
        ({"channels": "RFP"}, ["no 'RFP'"]),
        ({"channels": "0,DAPI"}, ["selects an index twice"]),
        ({"channels": ""}, ["selects nothing"]),
        ({"channels": True}, ["no True"]),
        ({"timepoints": "9:12"}, ["no '9:12'", "there are 8, 0 to 7"]),
        ({"timepoints": "3:60"}, ["no '3:60'", "there are 8, 0 to 7"]),
        ({"timepoints": 0.5}, ["timepoints 0.5"]),
        ({"channels": "²"}, ["no '²'"]),
        ({"channels": "--1"}, ["no '--1'"]),
        ({"crop": "z=1e400um:"}, ["'1e400um:' is no"]),
        ({"crop": "z=2:9"}, ["'2:9' is outside axis z", "6 voxels, from 6 to 18 µm"]),
        ({"crop": "z=4:4"}, ["is outside axis z"]),
        ({"crop": "z=1:5um"}, ["'1:5um' has a unit at one end alone", "like 10:50 or 5um:20um"]),
        ({"crop": {"z": (1, "5um")}}, ["has a unit at one end alone"]),
        ({"crop": "c=0:1"}, ["spatial axes are z, y, x"]),
        ({"crop": "z=1"}, ["'1' is not an interval along z"]),
        ({"crop": "z=1.5:3"}, ["'1.5:3' is not an interval along z", "1.5 is not a whole number"]),
        ({"crop": "z=1px:3px"}, ["'px' in '1px' is not a known unit"]),
        ({"crop": "z=1:2,z=3:4"}, ["names an axis twice"]),
        ({"crop": "z=1:3", "like": "."}, ["like already gives the whole target grid"]),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(movie, options, words):
    """Both what was asked for and what there is are named."""
    path, _ = movie
    with pytest.raises(OptionError) as refused:
        chunkscale.plan_resampling(path, **options)
    for word in words:
        assert word in str(refused.value)


def test_an_image_without_such_an_axis_has_nothing_to_select(make_image, noise):
    """The axes are named."""
    path = make_image(noise((4, 6, 8)))
    with pytest.raises(OptionError, match="the axes are zyx"):
        chunkscale.open_image(path).select(channels=0)


def test_a_channel_that_is_not_described_does_not_take_the_name_of_another(movie, tmp_path):
    """It gets a plain entry in its place."""
    path, data = movie
    node = json.loads((path / "zarr.json").read_text())
    node["attributes"]["ome"]["omero"]["channels"][1:] = []
    (path / "zarr.json").write_text(json.dumps(node))
    part = chunkscale.open_image(path).select(channels=[2, 0])
    assert part.channels == ["channel 2", "DAPI"]
    with pytest.warns(chunkscale.ChunkscaleWarning):
        run = chunkscale.resample(part, tmp_path / "out", voxel_size="same")
    assert chunkscale.open_image(run.path).channels == ["channel 2", "DAPI"]
    np.testing.assert_array_equal(voxels(run.path), data[:, [2, 0]])


def test_a_range_is_an_interval_and_all_is_no_selection(movie):
    """As slices are; what is whole is not noted down."""
    image = chunkscale.open_image(movie[0])
    assert image.select(crop={"z": range(3, 5)}).part == {"crop": {"z": [3, 5]}}
    assert image.select(channels=":", timepoints="0:8", crop="z=:").part == {}
    assert image.select(channels=np.array(2)).part == {"channels": [2]}


def test_chunks_that_span_indices_are_counted_as_they_are_decoded(make_image, noise, tmp_path):
    """A plan for some of them needs no more than reading all of them would."""
    data = noise((2, 4, 16, 64, 64))
    path = make_image(data, (1.0, 1.0, *SIZE), axes="tczyx", chunk=(2, 4, 16, 32, 32))
    how = {"voxel_size": "z=1,y=0.4,x=0.3", "workers": 1, "chunk": 32}
    whole = chunkscale.plan_resampling(path, **how)
    plan = chunkscale.plan_resampling(path, channels="1,3", **how)
    assert plan.source.decoded_share == 4
    assert whole.source.nbytes / 2 <= plan.bytes_read <= 4 * whole.source.nbytes
    assert plan.memory.total <= whole.memory.total
    again = chunkscale.plan_resampling(path, channels=":", **how)
    assert (again.memory, again.bytes_read) == (whole.memory, whole.bytes_read)
    assert "only channels 1 3" in str(plan)
    assert plan.as_dict()["source"]["part"] == "channels 1 3"


@pytest.mark.filterwarnings("ignore:array '0' calls its dimensions")
def test_the_axis_of_the_channels_may_be_of_another_kind(make_image, noise, tmp_path):
    """Names are looked up and taken over as on an axis called channel."""
    data = noise((3, 6, 14, 12))
    path = make_image(data, (1.0, *SIZE), axes="czyx")
    node = json.loads((path / "zarr.json").read_text())
    node["attributes"]["ome"]["multiscales"][0]["axes"][0] = {"name": "q", "type": "stage"}
    node["attributes"]["ome"]["omero"] = {"channels": OMERO["channels"]}
    (path / "zarr.json").write_text(json.dumps(node))
    part = chunkscale.open_image(path).select(channels="488,DAPI")
    assert part.channels == ["488", "DAPI"]
    run = chunkscale.resample(part, tmp_path / "out", voxel_size="same")
    assert chunkscale.open_image(run.path).channels == ["488", "DAPI"]
    np.testing.assert_array_equal(voxels(run.path), data[[2, 0]])


def test_names_of_channels_are_found_beside_attributes_of_others(make_image, noise):
    """In 0.4 an attribute called "ome" may be anybody's."""
    path = make_image(noise((3, 6, 14, 12)), (1.0, *SIZE), axes="czyx", version="0.4")
    node = json.loads((path / ".zattrs").read_text())
    (path / ".zattrs").write_text(json.dumps({**node, "omero": OMERO, "ome": {"mine": 1}}))
    image = chunkscale.open_image(path)
    assert image.channels == LABELS
    assert image.select(channels="488").part == {"channels": [2]}


def test_options_of_a_source_are_those_of_its_parts(movie):
    """A voxel size is followed, and what applies to arrays only is refused."""
    part = chunkscale.open_image(movie[0]).select(crop="z=1:4")
    plan = chunkscale.plan_resampling(part, source_voxel_size="z=4,y=1,x=1")
    assert plan.source_grid.voxel_size[2:] == (4.0, 1.0, 1.0)
    assert plan.target_grid.shape[2:] == (12, 14, 12)
    for options, text in (
        ({"axes": "tczyx"}, "applies to arrays"),
        ({"source_unit": "nanometer"}, "the image states µm"),
    ):
        with pytest.raises(OptionError, match=text):
            chunkscale.plan_resampling(part, **options)
