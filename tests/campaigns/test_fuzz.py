"""A short form of the campaign, and small forms of what it has found."""

import json

import numpy as np
import pytest
from campaigns import fuzz, images

import chunkscale
from chunkscale.api.describing import info
from chunkscale.cli.main import main
from chunkscale.errors import ChunkscaleError, GridError, MemoryBudgetError, MetadataError
from chunkscale.text import escaped


def test_damaged_stores_give_a_right_result_or_a_clear_refusal(tmp_path, monkeypatch):
    """Documents, chunks and outputs in turn; `make fuzz` does it for as long as one likes."""
    monkeypatch.setattr(fuzz, "SECONDS", 60.0)  # kernels may have to be compiled first
    campaign = fuzz.run(tmp_path, 7, range(20))
    assert campaign.found == []
    assert sum(campaign.counts.values()) == 20


def damaged(path, name, **keys):
    """Store an image whose document has other values for some keys."""
    images.coded(path, "v2-zlib" if name == ".zarray" else "v3-zstd")
    document = json.loads((path / "0" / name).read_text())
    (path / "0" / name).write_text(json.dumps(document | keys))
    return path


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (".zarray", {"filters": 5}),
        (".zarray", {"filters": 0.5, "dtype": "x"}),
        (".zarray", {"dtype": ","}),
        ("zarr.json", {"data_type": "0x7f,c0("}),
        ("zarr.json", {"data_type": "f8," * 1000}),
    ],
    ids=str,
)
def test_documents_that_libraries_stumble_over_are_refused(name, keys, tmp_path):
    """By name: whatever they raise."""
    with pytest.raises(MetadataError, match=r"'0'|/0'"):
        chunkscale.plan_resampling(damaged(tmp_path, name, **keys))


STEERING = "\x1b[31m\x07\x9b2J\u202eabc\u2066"


def test_what_metadata_say_steers_no_terminal(tmp_path, make_image, noise, capsys):
    """Names, channels, units: written out in every report, error and warning."""
    channel = {"label": STEERING, "color": "FFFFFF",
               "window": {"start": 0, "end": 1, "min": 0, "max": 1}}  # fmt: skip
    path = make_image(noise((1, 4, 5, 6)), (1.0, 2.0, 1.0, 1.0), axes="czyx", unit=f"mym{STEERING}")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["omero"] = {"channels": [channel]}
    document["attributes"]["ome"]["multiscales"][0]["name"] = f"{STEERING}\nwarning: forged"
    (path / "zarr.json").write_text(json.dumps(document))
    for verb in (["info"], ["info", "--json"], ["plan"], ["check"], ["plan", "--crop", "q=1:2"]):
        main([verb[0], str(path), *verb[1:]])
        shown = capsys.readouterr()
        fuzz.refuse_raw(shown.out + shown.err)
        assert "\nwarning: forged" not in shown.out
    fuzz.refuse_raw(str(ChunkscaleError(STEERING)))
    assert escaped("µ is\nplain") == "µ is\nplain"
    assert info(path)["channels"] == [STEERING]  # JSON values are what they are


@pytest.mark.parametrize("size", [1e308, 5e-324, 1e-300])
def test_voxel_sizes_that_nobody_can_compute_with_are_refused(size, make_image, noise):
    """By name: no overflow, no warning of NumPy."""
    path = make_image(noise((4, 5, 6)), (1.0, 1.0, 1.0))
    document = json.loads((path / "zarr.json").read_text())
    entry = document["attributes"]["ome"]["multiscales"][0]["datasets"][0]
    entry["coordinateTransformations"][0]["scale"][2] = size
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(GridError, match=r"axis 'x' must be between 1e-100 and 1e\+100"):
        chunkscale.open_image(path)


@pytest.mark.parametrize(
    "options",
    [
        {"voxel_size": 1e300},
        {"voxel_size": 1e50, "antialias": True},
        {"voxel_size": 1e30, "method": "mode"},
        {"voxel_size": 1e20, "method": "cubic"},
    ],
    ids=str,
)
def test_targets_that_no_index_reaches_are_refused(options, make_image, noise):
    """By name: no overflow, no warning of NumPy."""
    path = make_image(noise((4, 5, 6)), (1.0, 1.0, 1.0))
    with pytest.raises(GridError, match=r"told apart|must be between"):
        chunkscale.plan_resampling(path, **options)


def test_a_document_of_many_levels_is_refused(make_image, noise):
    """Each would be looked for."""
    path = make_image(noise((4, 5, 6)), (1.0, 1.0, 1.0))
    document = json.loads((path / "zarr.json").read_text())
    entry = document["attributes"]["ome"]["multiscales"][0]
    entry["datasets"] *= 1001
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(MetadataError, match="lists 1001 datasets"):
        chunkscale.open_image(path)


def test_chunks_of_any_size_are_counted(tmp_path):
    """What no memory holds is refused by name, and nothing is allocated."""
    huge = [2**20] * 3
    grid = {"name": "regular", "configuration": {"chunk_shape": huge}}
    path = damaged(tmp_path, "zarr.json", chunk_grid=grid)
    (path / "0/c/0/0/0").write_bytes(np.zeros(9, "uint8").tobytes())
    with pytest.raises(MemoryBudgetError, match=r"1048576 x 1048576 x 1048576 voxels.* decoded"):
        chunkscale.check(path)
    with pytest.raises(MemoryBudgetError, match="smaller chunks"):
        chunkscale.open_image(path).as_dask().compute(scheduler="synchronous")
    for verb in (chunkscale.plan_resampling, lambda p: chunkscale.resample(p, tmp_path / "out")):
        with pytest.raises(ChunkscaleError):
            verb(path)


@pytest.mark.parametrize(
    "url",
    ["https://u%3AsEcReT%40h/a", "http://h:sEcReT/a", "http:\\\\u:sEcReT@h\\a", "https:u:sEcReT@h",
     "zip://a::https://u:sEcReT@h/a?sig=sEcReT"],
)  # fmt: skip
def test_no_spelling_of_an_address_gives_its_password_away(url):
    """Nor the errors that led to the one that is raised."""
    with pytest.raises(ChunkscaleError) as raised:
        chunkscale.open_image(url)
    error = raised.value
    while error is not None:
        assert "sEcReT" not in f"{error!r}{error}"
        error = error.__cause__ or error.__context__
