"""Nothing outside of an output is written or deleted, whenever a link has come into it."""

import shutil

import plates
import pytest
from mirrors import begin, fill
from outputs import assert_same_output, stack_with_holes, stored

import chunkscale
from chunkscale.output.collection_publish import publish_collection
from chunkscale.sources.collections import open_collection

pytestmark = pytest.mark.usefixtures("small_regions")


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


@pytest.fixture
def whole(stack, tmp_path):
    chunkscale.resample(stack, tmp_path / "whole.zarr", chunk=8, shard=0)
    return tmp_path / "whole.zarr"


def once_after(regions, act):
    """Return a progress callback that does something once."""
    done = []

    def progress(state):
        if state.regions >= regions and not done:
            done.append(True)
            act()

    return progress


def moved_behind_a_link(path, aside):
    """Move a part of an output to a folder of the user, and put a link into its place."""
    aside.parent.mkdir(exist_ok=True)
    path.rename(aside)
    path.symlink_to(aside)
    return stored(aside)


@pytest.mark.parametrize("place", ["0", "0/c/0", "0/c/0/0", "1", ".chunkscale"])
def test_a_link_that_comes_during_a_run_is_not_followed(place, stack, whole, tmp_path):
    """It is named; what it leads to stays; put back, the run is resumed."""
    out, aside, before = tmp_path / "out.zarr", tmp_path / "user" / "mine", []
    progress = once_after(3, lambda: before.append(moved_behind_a_link(out / place, aside)))
    with pytest.raises(chunkscale.RegionError, match="link") as raised:
        chunkscale.resample(stack, out, chunk=8, shard=0, workers=1, progress=progress)
    assert str(out / place) in str(raised.value)
    assert stored(aside) == before[0]
    assert not chunkscale.check(out)
    (out / place).unlink()
    aside.rename(out / place)
    (out / ".chunkscale" / "run.json").unlink(missing_ok=True)  # of this process, which lives
    chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert_same_output(out, whole)


@pytest.mark.parametrize("engine", ["auto", "zarr"])
def test_an_output_that_is_moved_gets_no_more_chunks(engine, stack, tmp_path, monkeypatch):
    """Where its own path leads to another image by now, that image stays as it is."""
    monkeypatch.setattr("chunkscale.storage.engine.DEFAULT", engine)
    out, mine, before = tmp_path / "out.zarr", tmp_path / "mine.zarr", []
    chunkscale.resample(stack, mine, levels=1)

    def swap():
        out.rename(tmp_path / "aside.zarr")
        out.symlink_to(mine)
        before.append(stored(mine))

    with pytest.raises(chunkscale.RegionError, match=r"link|taken over"):
        chunkscale.resample(stack, out, chunk=8, shard=0, workers=1, progress=once_after(3, swap))
    assert stored(mine) == before[0]


def test_metadata_of_a_level_that_go_during_a_run_are_missed(stack, whole, tmp_path):
    """The array would open nowhere; resume makes its metadata again."""
    out = tmp_path / "out.zarr"
    progress = once_after(3, (out / "0" / "zarr.json").unlink)
    with pytest.raises(chunkscale.RegionError, match=r"metadata of the array .* has gone"):
        chunkscale.resample(stack, out, chunk=8, shard=0, workers=1, progress=progress)
    chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert_same_output(out, whole)


def test_a_file_among_folders_of_chunks_is_named(stack, whole, tmp_path):
    """By a resumed run, which lists all objects."""
    out = tmp_path / "out.zarr"
    shutil.copytree(whole, out)
    (out / "0" / "c" / "999").write_text("mine")
    with pytest.raises(chunkscale.DestinationError, match=r"c/999'.*move it away"):
        chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert (out / "0" / "c" / "999").read_text() == "mine"


def test_a_document_that_leads_nowhere_is_named(stack, whole, tmp_path):
    """Nothing is made in its place: what it leads to may come back."""
    place = "0/zarr.json"
    out = tmp_path / "out.zarr"
    shutil.copytree(whole, out)
    (out / place).unlink()
    (out / place).symlink_to(tmp_path / "nowhere")
    with pytest.raises(chunkscale.ChunkscaleError, match="nowhere', which does not exist"):
        chunkscale.resample(stack, out, chunk=8, shard=0, resume=True)
    assert (out / place).is_symlink()


@pytest.mark.parametrize("place", ["B", "B/03", "B/03/0", "B/03/0/0", "B/03/0/0/c"])
def test_a_collection_is_replaced_without_what_its_links_lead_to(place, tmp_path):
    """The link goes, and everything behind it stays."""
    source = plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0"]})
    out, aside = tmp_path / "out.zarr", tmp_path / "user"
    chunkscale.resample(source, out, images="all", zoom=2.0, levels=1)
    before = moved_behind_a_link(out / place, aside / "mine")
    chunkscale.resample(source, out, images="all", zoom=2.0, levels=1, overwrite=True)
    assert stored(aside / "mine") == before
    assert not (out / place).is_symlink()
    assert chunkscale.check(out, source=source)


def test_groups_of_a_collection_behind_a_link_are_not_published(tmp_path):
    """The documents of wells would be written elsewhere."""
    source = plates.plate(tmp_path / "p.zarr", wells={"B/03": ["0"]})
    out = tmp_path / "out.zarr"
    mirror = begin(source, out)
    images = fill(mirror, source)
    before = moved_behind_a_link(out / "B", tmp_path / "user" / "mine")
    with pytest.raises(chunkscale.DestinationError, match=r"link '.*B'"):
        publish_collection(mirror, open_collection(source), images)
    assert stored(tmp_path / "user" / "mine") == before
