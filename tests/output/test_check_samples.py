"""What `check` compares with a source: something of every time point and every channel."""

from functools import partial

import numpy as np
import pytest
import zarr
from grids import grid_for

import chunkscale
from chunkscale.cli.main import main
from chunkscale.errors import OptionError
from chunkscale.geometry.box import whole
from chunkscale.verify.samples import sampled_frames, samples


def frames(boxes):
    return {box.start[:2] for box in boxes}


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("at", [(1, 1), (2, 0), (0, 1)])
def test_a_wrong_voxel_of_any_frame_is_found(at, level, make_image, noise, tmp_path):
    """Not of the first and the last alone: each has chunks of its own."""
    source = make_image(noise((4, 3, 4, 6, 6)), (1.0, 1.0, 1.0, 0.5, 0.5), axes="tczyx")
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, levels=2)
    assert chunkscale.check(out, source=source)
    array = zarr.open_group(out, mode="r+")[str(level)]
    array[(*at, 1, 1, 1)] = array[(*at, 1, 1, 1)] + np.uint16(1)
    assert main(["check", str(out), "--source", str(source)]) == 3


@pytest.mark.parametrize("shape", [(3, 2, 5, 70, 60), (2500, 3, 1, 9, 9), (1, 1, 200, 90, 100)])
def test_every_index_is_looked_at(shape):
    """Of very many frames not every pair, and all voxels only if that is wanted."""
    grid = grid_for(shape, (1.0,) * 5, "tczyx")
    found = frames(samples(grid))
    assert found == set(sampled_frames(grid))
    for axis in (0, 1):
        assert {frame[axis] for frame in found} == set(range(shape[axis]))
    assert len(found) <= max(1000, 4 + max(shape[:2]))
    assert all(box == box.clipped(whole(shape)) for box in samples(grid))
    full = np.zeros(shape, np.uint8)
    for box in samples(grid, full=True):
        full[box.slices] += 1
    assert (full == 1).all()


def test_frames_that_were_not_compared_are_told(make_image, noise, tmp_path, monkeypatch):
    """`--full` compares them; without a source there is nothing to compare with."""
    source = make_image(noise((5, 3, 4, 4)), (1.0, 1.0, 1.0, 1.0), axes="tzyx")
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, voxel_size=0.8, levels=1)
    assert not chunkscale.check(out, source=source).notes
    monkeypatch.setattr("chunkscale.verify.samples.MOST_FRAMES", 2)
    monkeypatch.setattr("chunkscale.verify.image.sampled_frames", lambda grid: [(0,), (4,)])
    (note,) = chunkscale.check(out, source=source).notes
    assert note.startswith("2 of 5 pairs")
    assert "--full" in note
    report = chunkscale.check(out, source=source, full=True)
    assert (report.notes, report.voxels_compared) == ((), int(np.prod(report_shape(out))))
    with pytest.raises(OptionError, match="give source"):
        chunkscale.check(out, full=True)


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_all_of_it_is_shown_to_ome_zarr(version, make_image, noise, tmp_path, monkeypatch):
    """Another writer refuses what it would not have written; 0.6 not every ome-zarr knows."""
    source, out, asked = make_image(noise((4, 4, 4)), (1.0, 1.0, 1.0)), tmp_path / "out.zarr", []
    chunkscale.resample(source, out, zoom=2, levels=1, ome_zarr_version=version)
    assert not chunkscale.check(out, source=source, full=True).notes

    def refuse(error, **given):
        asked.append(given)
        raise error

    def checked(error):
        refusing = partial(refuse, error)
        monkeypatch.setattr("chunkscale.verify.second_opinion.compose_multiscales", refusing)
        return chunkscale.check(out, source=source, full=True)

    report = checked(ValueError("too many axes"))
    assert bool(report) == (version == "0.6")
    assert all("ome-zarr refuses" in fault and "too many axes" in fault for fault in report.faults)
    report = checked(ImportError("no ome_zarr"))
    assert report
    assert len(report.notes) == (version != "0.6")
    assert chunkscale.check(out, source=source)
    assert [given["version"] for given in asked] == [version] * 2 * (version != "0.6")


def report_shape(path):
    return chunkscale.open_image(path).grid.shape


def test_no_voxel_of_a_small_image_is_compared_twice(make_image, noise, tmp_path):
    """Nor is one left out."""
    source = make_image(noise((50, 60, 20)), (1.0, 1.0, 1.0))
    run = chunkscale.resample(source, tmp_path / "out", voxel_size=0.8, levels=1)
    report = chunkscale.check(run.path, source=source)
    assert f" {run.plan.target_grid.size} voxels in " in str(report)
