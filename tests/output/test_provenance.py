"""What is published says what it was made from, and not where that lies on somebody's disk.

Invariants:

- No document of a finished output has the path of its source; the name is there.
- A resumed run, and whoever replaces a collection, know the source as if the path was there.
"""

import json
import shutil

import pytest
from plates import plate

import chunkscale
from chunkscale import DestinationError


def documents(folder):
    return [p.read_text() for p in folder.rglob("*") if p.name in ("zarr.json", ".zattrs")]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_source_is_published_by_name(make_image, noise, tmp_path, version):
    """And known again: the same path continues, a copy elsewhere does not."""
    source, out = make_image(noise((4, 6, 6)), (2.0, 1.0, 1.0), name="a.zarr"), tmp_path / "out"
    chunkscale.resample(source, out, ome_zarr_version=version)
    assert not any(str(tmp_path) in text for text in documents(out))
    assert any('"source": "a.zarr"' in text for text in documents(out))
    chunkscale.resample(source, out, ome_zarr_version=version, resume=True)
    assert chunkscale.check(out, source=source)
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copytree(source, tmp_path / "elsewhere" / "a.zarr")
    with pytest.raises(DestinationError, match=r"source was 'a\.zarr', now 'a\.zarr in another"):
        chunkscale.resample(copy, out, ome_zarr_version=version, resume=True)
    chunkscale.resample(copy, out, ome_zarr_version=version, overwrite=True)


@pytest.mark.filterwarnings("ignore:.*an output is an image of its own")
def test_collections_are_published_by_name_and_replaced_by_path(tmp_path):
    """What was made from something else is not an image of the collection, as before."""
    source, out = plate(tmp_path / "p.zarr"), tmp_path / "out.zarr"
    run = chunkscale.resample(source, out, images="all", voxel_size=1)
    assert not any(str(tmp_path) in text for text in documents(out))
    chunkscale.resample(source, out, images="all", voxel_size=1, resume=True)
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copytree(source, tmp_path / "elsewhere" / "p.zarr")
    chunkscale.resample(source, out, images="all", voxel_size=1, overwrite=True)
    image = sorted(p.parent for p in out.glob("*/*/*/zarr.json"))[0]
    other = copy / image.relative_to(out)
    chunkscale.resample(other, image, voxel_size=1, overwrite=True)
    with pytest.raises(DestinationError, match="not written by chunkscale"):
        chunkscale.resample(source, out, images="all", voxel_size=1, overwrite=True)
    assert run.plan.images > 1


def test_an_output_that_has_lost_the_name_of_its_source_is_refused(make_image, noise, tmp_path):
    source, out = make_image(noise((4, 6, 6)), name="a.zarr"), tmp_path / "out"
    chunkscale.resample(source, out)
    document = json.loads((out / "zarr.json").read_text())
    record = document["attributes"]["chunkscale"]
    del record["source"]
    record["source_hash"] = "0" * 32
    (out / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DestinationError, match=r"source was None, now 'a\.zarr'"):
        chunkscale.resample(source, out, resume=True)
