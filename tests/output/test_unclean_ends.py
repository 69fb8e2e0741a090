"""What machines that lost power, and others, leave of an unfinished output: mended or refused."""

import json
import shutil
import time
import uuid
from dataclasses import asdict
from pathlib import Path

import dask
import psutil
import pytest
from outputs import LAYOUTS, assert_same_output, stack_with_holes, stored

import chunkscale
from chunkscale.host.identity import identity, lives
from chunkscale.output import leases
from chunkscale.run.region import process_region

pytestmark = pytest.mark.usefixtures("small_regions")


class Interrupted(Exception):
    pass


@pytest.fixture
def stack(make_image, noise):
    return make_image(stack_with_holes(noise), (1.0, 0.4, 0.4), chunk=(4, 16, 16))


@pytest.fixture
def begun(stack, tmp_path):
    """Return a function that makes an output whose run was killed, and the whole one beside it."""

    def make(layout="chunks", regions=18, *, unclean=True, **options):
        options = {**LAYOUTS[layout], **options}
        chunkscale.resample(stack, tmp_path / "whole.zarr", **options)
        out = tmp_path / "out.zarr"

        def stop(progress):
            if progress.regions >= regions:
                raise Interrupted

        with pytest.raises(Interrupted):
            chunkscale.resample(stack, out, progress=stop, **options)
        if unclean:
            write_lease(out, pid=2**22 + 1, renewed=time.time())
        return out, options

    return make


def write_lease(out, **changes):
    host, pid, started = identity()
    lease = leases.Lease(
        run=uuid.uuid4().hex, host=host, pid=pid, started=started, renewed=0.0, duration=120.0
    )
    (out / ".chunkscale").mkdir(exist_ok=True)
    (out / ".chunkscale" / "run.json").write_text(json.dumps(asdict(lease) | changes))


def chunks(out, level="0"):
    found = sorted(f for f in (out / level).rglob("*") if f.is_file() and f.name.isdigit())
    assert found
    return found


def fill_with_zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("codec", ["blosc-lz4", "gzip", "none"])
@pytest.mark.parametrize("layout", ["chunks", "sharded"])
def test_files_that_a_power_cut_has_left_without_content_are_made_again(
    layout, codec, begun, stack, tmp_path
):
    """They have the size that was noted down; nothing of them is published."""
    if (layout, codec) == ("sharded", "gzip"):
        pytest.skip("the index of a shard is what tells")
    out, options = begun(layout, codec=codec)
    for file in chunks(out)[::2]:
        fill_with_zeros(file)
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_what_the_next_pass_reads_is_looked_at_whatever_the_end_was(begun, stack, tmp_path):
    """A run that cannot read what an earlier one has stored would never come to its end."""
    out, options = begun(regions=18, unclean=False)
    plan = chunkscale.plan_resampling(stack, **options)
    read = plan.levels[plan.passes[1].reads].path
    fill_with_zeros(chunks(out, read)[-1])
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [8, 8, 8]},
        {"data_type": "float64"},
        {"fill_value": 3},
        {"codecs": None},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4, 4]}}},
        b"",
        bytes(99),
        b"[" * 100_000,
    ],
    ids=str,
)
def test_documents_of_levels_are_compared_with_the_plan(change, begun, stack, tmp_path):
    """The message names the file; without it the run goes on."""
    out, options = begun(regions=2)
    file = out / "0" / "zarr.json"
    if isinstance(change, dict):
        change = json.dumps(json.loads(file.read_text()) | change).encode()
    file.write_bytes(change)
    with pytest.raises(chunkscale.DestinationError, match="delete that file") as error:
        chunkscale.resample(stack, out, resume=True, **options)
    assert repr(str(file)) in str(error.value)
    file.unlink()
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("0.5", ["c/9", "c/99/0/0", "c/0/0/99", "c/1.2.3", "c/00/0/0", "1.2.3", "7"]),
        ("0.4", ["9", "99/0/0", "0/0/99", "1.2.3", "0.0.0", "c/0/0/0"]),
    ],
)
def test_what_looks_like_a_chunk_and_is_none_is_not_counted(version, names, stack, tmp_path):
    """Whoever put it there may take it away: what a run has counted is right without it."""
    out, added = tmp_path / "out.zarr", []

    def add(_):
        for file in [] if added else [out / "0" / name for name in names]:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"mine")
            added.append(file)

    chunkscale.resample(
        stack, out, progress=add, chunk=16, shard=0, voxel_size=0.5, ome_zarr_version=version
    )
    for file in added:
        assert file.read_bytes() == b"mine"
        file.unlink()
    assert chunkscale.check(out, source=stack).faults == ()


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "content",
    [{"host": 5}, {"pid": -1}, DEEP, "\xff"],
    ids=lambda content: str(content)[:20],
)
def test_a_lease_of_any_content_ends_no_run(content, begun, stack, tmp_path):
    """It is no lease, and costs nothing."""
    out, options = begun(regions=2)
    file = out / ".chunkscale" / "run.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(file.read_text()) | content)
    file.write_bytes(content.encode("latin-1"))
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    "content", [{"regions": [[0, 10**30]]}, DEEP],
    ids=lambda content: str(content)[:30],
)  # fmt: skip
def test_notes_of_any_content_end_no_run(content, begun, stack, tmp_path):
    """What they say counts for nothing, and its regions are made again."""
    out, options = begun(regions=2)
    for file in (out / ".chunkscale").glob("done-*"):
        if isinstance(content, dict):
            content = json.dumps(json.loads(file.read_text()) | content)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    "change",
    [
        {"memory": "much"}, {"levels": 7},
        {"regions": [[1]]}, {"shard": [1]}, {"chunk": [None]}, {"regions": [[16, 16, "16"]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_cannot_be_followed_is_refused(change, begun, stack):
    """The message says what is wrong, and nothing is touched."""
    out, options = begun(regions=2)
    document = json.loads((out / "zarr.json").read_text())
    document["attributes"]["chunkscale"] |= change
    (out / "zarr.json").write_text(json.dumps(document))
    before = stored(out)
    with pytest.raises(
        chunkscale.DestinationError, match=r"does not say|started with other options"
    ) as e:
        chunkscale.resample(stack, out, resume=True, **options)
    assert next(iter(change)) in str(e.value)
    assert stored(out) == before


@pytest.mark.parametrize("what", ["folder for chunk", "file for folder", "level", "notes"])
def test_files_and_folders_in_each_other_s_place_are_named(what, begun, stack, tmp_path):
    """Moved away, as the message says, they do not keep the run from being resumed."""
    out, options = begun(regions=12)
    chunk = chunks(out)[0]
    place = {
        "folder for chunk": chunk, "file for folder": chunk.parent,
        "level": out / "1", "notes": out / ".chunkscale",
    }[what]  # fmt: skip
    if place.is_dir():
        shutil.rmtree(place)
        place.write_text("")
    else:
        place.unlink()
        place.mkdir()
    with pytest.raises(chunkscale.DestinationError, match="move it away") as error:
        chunkscale.resample(stack, out, resume=True, **options)
    assert repr(str(place)) in str(error.value)
    place.rename(tmp_path / "away")
    chunkscale.resample(stack, out, resume=True, **options)
    assert_same_output(out, tmp_path / "whole.zarr")


def test_what_looks_like_a_number_is_no_chunk(begun, stack, tmp_path):
    """A file that is called ² among chunks is left alone."""
    out, options = begun(regions=12)
    stray = chunks(out)[0].with_name("²")
    stray.write_text("mine")
    chunkscale.resample(stack, out, resume=True, **options)
    assert stray.read_text() == "mine"
    stray.unlink()
    assert_same_output(out, tmp_path / "whole.zarr")


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_check_finds_bytes_behind_the_end_of_a_chunk(codec, make_image, noise, tmp_path):
    """Some readers refuse such chunks, and others read them."""
    source = make_image(noise((4, 8, 8)), (1.0, 0.5, 0.5))
    out = tmp_path / "out.zarr"
    chunkscale.resample(source, out, codec=codec, shard=0)
    assert chunkscale.check(out)
    with chunks(out)[0].open("ab") as file:
        file.write(b"more")
    report = chunkscale.check(out)
    assert not report
    assert "bytes" in report.faults[0]


def test_a_living_process_keeps_its_lease_however_long_it_was_stopped(tmp_path):
    """On its own host; from another host nobody can tell."""
    write_lease(tmp_path, renewed=time.time() - 1e6)
    with pytest.raises(chunkscale.DestinationError, match="end it"):
        leases.check_free(str(tmp_path), take_over=False)
    write_lease(tmp_path, renewed=time.time() - 1e6, host="elsewhere")
    leases.check_free(str(tmp_path), take_over=False)


def test_a_run_that_has_lost_its_lease_writes_nothing_more(stack, tmp_path, monkeypatch):
    """Not one object, though a region was under way: as after a stop that outlasts the lease."""
    monkeypatch.setattr(leases, "CHECK_SECONDS", 0.0)
    out, seen, make = tmp_path / "out.zarr", [], process_region

    def lose(plan, index, *rest):
        if index == 12:
            write_lease(out, host="elsewhere", renewed=time.time())
            seen.append(stored(out / "0"))
        return make(plan, index, *rest)

    monkeypatch.setattr("chunkscale.run.worker.process_region", lose)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(chunkscale.RegionError, match="taken over"),
    ):
        chunkscale.resample(stack, out, **LAYOUTS["chunks"])
    assert seen == [stored(out / "0")]


def test_a_process_is_known_to_live_without_proc(monkeypatch):
    """A run there would otherwise take the output of a living one for abandoned."""

    def unknown(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr("psutil.Process", unknown)
    monkeypatch.setattr("chunkscale.host.identity.Path", lambda path: Path("/nowhere"))
    _, pid, started = identity()
    assert lives(pid, started)
    assert not lives(2**22 + 1, started)


@pytest.mark.parametrize("fault", [ValueError("no number"), RecursionError("too deep")])
def test_what_publishing_needs_is_tried_before_anything(fault, stack, tmp_path, monkeypatch):
    """An image that is to be replaced is still there, and no region was made."""
    out, made = tmp_path / "out.zarr", []
    chunkscale.resample(stack, out, **LAYOUTS["chunks"])
    before = stored(out)

    def fail(**given):
        raise fault

    monkeypatch.setattr("chunkscale.output.publish.multiscale_attributes", fail)
    with pytest.raises(chunkscale.ChunkscaleError):
        chunkscale.resample(stack, out, overwrite=True, progress=made.append, **LAYOUTS["sharded"])
    assert not made
    assert stored(out) == before
