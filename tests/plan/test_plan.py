"""Plans: regions tile every level, own whole stored objects, and fit into memory."""

import itertools
import math
import pickle
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from grids import grid_for
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs import assert_same_output

import chunkscale
from chunkscale import MemoryBudgetError, OptionError
from chunkscale import options as options_module
from chunkscale.geometry.grid import Axis, VoxelGrid, resized_grid
from chunkscale.geometry.mapping import grid_mapping
from chunkscale.geometry.pyramid import Layout, level_grid
from chunkscale.parameters import StorageLayout
from chunkscale.plan.choice import Figures, cost
from chunkscale.plan.cuts import resampling_options
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import Resampling, SourceArray
from chunkscale.plan.planner import make_plan
from chunkscale.plan.policy import LARGEST_REGION, MIB, SLAB_BYTES
from chunkscale.plan.regions import check_alignment
from chunkscale.plan.tiles import device_bytes, tiles

ZYX = tuple(Axis(name=n) for n in "zyx")


def plan_for(
    shape, steps, *, dtype="uint16", chunk=None, layout=None, shard=True, memory=2**31, workers=2,
    levels=None, antialias=False, axes=None, threads=2, pyramid="all",
    method="linear",
):  # fmt: skip
    source = grid_for(shape, axes=axes)
    sizes = dict(zip(source.spatial, steps, strict=True))
    target = resized_grid(source, sizes)
    inner = layout or Layout(
        chunk=tuple(min(16, n) if i in source.spatial else 1 for i, n in enumerate(target.shape))
    )
    array = SourceArray(
        uri="memory", path="0", shape=shape, dtype=dtype,
        chunk=chunk or tuple(min(20, n) for n in shape),
    )  # fmt: skip
    return make_plan(
        Resampling(
            source=array, source_grid=source, target_grid=target, method=method,
            antialias=antialias, pyramid=pyramid,
        ),
        layout=inner, shard=shard, levels=levels,
        limits=Limits(memory=memory, workers=workers, threads=threads),
    )  # fmt: skip


def what_of(plan):
    return Resampling(
        source=plan.source, source_grid=plan.source_grid, target_grid=plan.target_grid,
        method=plan.method, pyramid=plan.pyramid,
    )  # fmt: skip


@st.composite
def plans(draw):
    axes = draw(st.sampled_from(["yx", "cyx", "tcyx", "zyx", "czyx", "tczyx"]))
    shape = [draw(st.integers(1, 3) if name in "tc" else st.integers(1, 90)) for name in axes]
    spatial = axes.strip("tc")
    steps = [draw(st.sampled_from([0.3, 0.5, 1.0, 2.0, 3.7])) for _ in spatial]
    # Chunks of 16 one by one, in shards of whole regions, or in those of a user.
    outer = draw(st.sampled_from([None, False, 16, 48, 64]))
    layout = None
    if outer:
        target = resized_grid(
            grid_for(shape, axes=axes),
            dict(enumerate(steps, start=len(axes) - len(spatial))),
        )
        wanted = StorageLayout(chunk=16, shard=outer)
        layout, _ = next(options_module.layouts(target, wanted, {2: (16, 16), 3: (16, 16)}))
    return plan_for(
        tuple(shape), steps, axes=axes, layout=layout,
        shard=outer is None,
        memory=draw(st.sampled_from([370, 400, 1000])) * MIB,
        workers=draw(st.integers(1, 4)),
        pyramid=draw(st.sampled_from(["auto", "all", "keep-z", "none"])),
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(plans())
def test_every_voxel_of_every_level_is_owned_once(plan):
    """Regions of a pass tile its levels, and passes follow one another without a gap."""
    seen = [np.zeros(level.shape, np.uint8) for level in plan.levels]
    for index in range(plan.region_count):
        for level, box in plan.region(index).boxes:
            seen[level][box.slices] += 1
    assert all((count == 1).all() for count in seen)
    assert [p.first for p in plan.passes[1:]] == [p.last + 1 for p in plan.passes[:-1]]
    assert plan.passes[-1].last == len(plan.levels) - 1


@settings(deadline=None, max_examples=60)
@given(plans())
def test_no_two_regions_touch_one_stored_object(plan):
    """A shard, or a chunk outside of shards, has one writer."""
    for run in plan.passes:
        owners: dict[tuple[int, ...], int] = {}
        for index in run.indices:
            for level, box in plan.region(index).boxes:
                unit = plan.levels[level].write_unit
                touched = itertools.product(
                    *(
                        range(a // u, -(-b // u))
                        for a, b, u in zip(box.start, box.stop, unit, strict=True)
                    )
                )
                for where in touched:
                    assert owners.setdefault((level, *where), index) == index


@pytest.mark.usefixtures("small_regions")
def test_a_plan_whose_regions_share_objects_is_never_returned(monkeypatch):
    """The proof does not rest on the arithmetic that chose the regions."""
    layout = Layout(chunk=(16,) * 3, shard=(48,) * 3)
    assert plan_for((200,) * 3, (1.0,) * 3, layout=layout).levels
    # As if shards of three chunks halved like those of eight.
    monkeypatch.setattr("chunkscale.plan.choice.count_halvings", lambda unit, chunk: 3)
    with pytest.raises(AssertionError, match="do not own whole stored objects of 48 at level 1"):
        plan_for((200,) * 3, (1.0,) * 3, layout=layout)


@settings(deadline=None, max_examples=40)
@given(plans())
def test_levels_are_halves_with_centres_in_place(plan):
    """Sizes round up; scale and translation are those of the merged cells."""
    base = plan.target_grid
    assert plan.pyramid != "none" or len(plan.levels) == 1
    for fine, coarse in itertools.pairwise(plan.levels):
        able = {i for i in base.spatial if fine.shape[i] > 1}
        if plan.pyramid == "keep-z":
            able = {i for i in able if base.axes[i].name != "z"}
        if plan.pyramid == "auto":
            finest = min(fine.grid.voxel_size[i] for i in able)
            able = {i for i in able if fine.grid.voxel_size[i] < 1.999999 * finest}
        for i, (a, b) in enumerate(zip(fine.shape, coarse.shape, strict=True)):
            assert b == (-(-a // 2) if i in able else a)
    for level in plan.levels:
        assert level.grid == level_grid(base, level.factors)
        for s, f, s0, t, t0 in zip(
            level.grid.voxel_size, level.factors, base.voxel_size,
            level.grid.translation, base.translation, strict=True,
        ):  # fmt: skip
            assert s == f * s0
            assert t == pytest.approx(t0 + (f - 1) / 2 * s0)
        if level.shard:
            assert all(s % c == 0 for s, c in zip(level.shard, level.chunk, strict=True))


def test_levels_end_where_what_is_halved_fits_into_a_chunk():
    """A z that is kept may be as long as it is."""
    plan = plan_for((100, 256, 256), (1, 1, 1), pyramid="keep-z")
    assert [level.shape for level in plan.levels][-2:] == [(100, 32, 32), (100, 16, 16)]


@settings(deadline=None, max_examples=40)
@given(plans())
def test_the_promise_is_within_the_budget(plan):
    """No region needs more than the plan says: its boxes, encoded as well, and what is freed.

    Of level 0 two slabs are held. Beside regions each codec thread holds a chunk of either side
    encoded, decoded, and half way between.
    """
    memory, itemsize = plan.memory, plan.source.itemsize
    for index in range(plan.region_count):
        region = plan.region(index)
        read, (first, *others) = region.source_box.size, (box.size for _, box in region.boxes)
        slabs = sorted(box.size for box in plan.slabs(region))[-2:]
        first = min(first, sum(slabs))
        assert (2 * read + 3 * first + 2 * sum(others)) * itemsize <= memory.per_worker
    chunks = math.prod(plan.source.chunk) + math.prod(plan.levels[0].chunk)
    assert 3 * plan.limits.threads * chunks * itemsize + memory.cache <= memory.buffers
    assert memory.workers >= 1


def test_the_chosen_plan_respects_the_budget_or_is_refused():
    """Fewer workers, smaller regions, and at last a refusal that says what would do."""
    shape, steps = (256, 1024, 1024), (0.5, 0.5, 0.5)
    wide = plan_for(shape, steps, memory=4096 * MIB, workers=4)
    tight = plan_for(shape, steps, memory=400 * MIB, workers=4)
    assert wide.memory.total <= 4096 * MIB
    assert tight.memory.total <= 400 * MIB
    assert math.prod(tight.passes[0].region_shape) < math.prod(wide.passes[0].region_shape)
    with pytest.raises(MemoryBudgetError, match=r"needs \d+ MiB with one worker.*340 MiB"):
        plan_for(shape, steps, memory=340 * MIB)


def test_the_promise_does_not_depend_on_the_volume():
    """Eight times the volume runs in the same memory."""
    small = plan_for((512, 512, 512), (0.5, 0.5, 0.5), memory=600 * MIB)
    large = plan_for((1024, 1024, 1024), (0.5, 0.5, 0.5), memory=600 * MIB)
    assert small.memory.total <= 600 * MIB
    assert large.memory.total <= 600 * MIB
    assert large.region_count > 4 * small.region_count


@pytest.mark.parametrize("cores", [2, 16])
@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        ((512, 2048, 2048), (1, 5, 5)),
        ((1024, 2048, 2048), (5, 5, 5)),
        ((512, 2048, 2048), (1, 2, 2)),
    ],
)
def test_shrinking_keeps_all_workers_busy_in_little_memory(shape, steps, cores):
    """Several regions a worker, each bounded by what it reads as well."""
    plan = plan_for(
        shape, steps, chunk=(64, 128, 128), layout=Layout(chunk=(64, 64, 64)), memory=2**36,
        workers=cores, threads=cores,
    )  # fmt: skip
    assert plan.workers == cores
    assert plan.passes[0].region_count >= 3 * cores
    assert plan.memory.total < 512 * MIB * (cores + 1)
    assert all(
        plan.region(i).source_box.size * 2 <= LARGEST_REGION for i in range(plan.region_count)
    )


@pytest.mark.parametrize("cores", [2, 16])
def test_small_frames_share_a_region_and_large_ones_do_not(cores):
    """Whole frames, all of one time point first; enough regions for all workers."""
    make = partial(plan_for, axes="tczyx", memory=2**36, workers=cores, threads=cores)
    small = make(
        (600, 2, 8, 128, 128), (0.2, 1, 1), chunk=(1, 1, 8, 128, 128),
        layout=Layout(chunk=(1, 1, 64, 64, 64)),
    )  # fmt: skip
    t, c, *frame = small.passes[0].region_shape
    assert c == 2
    assert t > 1
    assert all(n >= size for n, size in zip(frame, small.levels[0].shape[2:], strict=True))
    assert 3 * cores <= small.region_count < 200
    assert {level.write_unit[:2] for level in small.levels} == {(1, 1)}
    large = make(
        (3, 2, 64, 1024, 1024), (0.2, 1, 1), chunk=(1, 1, 64, 128, 128),
        layout=Layout(chunk=(1, 1, 64, 64, 64)),
    )  # fmt: skip
    assert large.passes[0].region_shape[:2] == (1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"layout": Layout(chunk=(64, 64, 64))},
        {"layout": Layout(chunk=(64, 64, 64)), "shard": False},
        {"layout": Layout(chunk=(32, 64, 64), shard=(32, 128, 128))},
        {"layout": Layout(chunk=(5, 64, 64)), "shard": False},
        {"layout": Layout(chunk=(5, 64, 64)), "dtype": "float32"},
    ],
    ids=str,
)
def test_slabs_are_whole_objects(options):
    """A large region is made in parts of whole shards and cells; two of them are held."""
    plan = plan_for((128, 1024, 1024), (0.2, 1, 1), chunk=(64, 128, 128), **options)
    unit, made = plan.levels[0].write_unit[0], 0
    for index in plan.passes[0].indices:
        region = plan.region(index)
        box, slabs = region.boxes[0][1], list(plan.slabs(region))
        assert [s.start[0] for s in slabs] == [box.start[0], *(s.stop[0] for s in slabs[:-1])]
        assert slabs[-1].stop[0] == box.stop[0]
        assert {(s.start[1:], s.stop[1:]) for s in slabs} == {(box.start[1:], box.stop[1:])}
        assert all(s.start[0] % unit == 0 and s.start[0] % 2 == 0 for s in slabs)
        made = max(made, len(slabs))
    assert made > 2
    itemsize = plan.source.itemsize
    assert max(s.size for s in slabs) * itemsize >= SLAB_BYTES
    assert plan.memory.per_worker < 3 * box.size * itemsize


def test_chunks_of_a_part_of_the_source_can_be_shared_too():
    """Regions that read less than the source all in all may still read the same chunks."""
    source = grid_for((1024,) * 3)
    part = VoxelGrid(
        axes=source.axes, shape=(512,) * 3, voxel_size=(0.5,) * 3, translation=(10.0,) * 3
    )
    mapping = grid_mapping(source, part, method="linear", antialias=False)[0]
    two, one = [o for o in resampling_options(mapping, 256, 0, 128) if o.region in (256, 512)]
    assert (two.count, one.count) == (2, 1)
    assert two.amplification < 1
    assert two.overlaps  # voxels 9 to 138, and 137 to 266
    assert not one.overlaps


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("largest", [2**12, 2**18])
def test_the_cache_is_large_enough_for_what_it_is_to_save(largest, workers, monkeypatch):
    """With it as many chunks are decoded as the plan says, by regions that run side by side."""
    shape = (60, 200, 200)
    monkeypatch.setattr("chunkscale.plan.policy.LARGEST_REGION", largest)
    plan = plan_for(
        shape, (0.5, 0.9, 0.9), chunk=(25, 25, 25), memory=400 * MIB, workers=workers, shard=False
    )
    run, itemsize, chunk = plan.passes[0], plan.source.itemsize, plan.source.chunk
    assert 0 < plan.memory.cache < plan.source.nbytes
    assert run.region_count > 20
    kept, decoded = dict[tuple[int, ...], int](), 0
    # Workers take turns, each chunk by chunk: those of a region lie far apart.
    for start in range(0, run.region_count, plan.workers):
        indices = range(start, min(start + plan.workers, run.region_count))
        boxes = [plan.region(i).source_box.coarsened(chunk) for i in indices]
        touched = [itertools.product(*map(range, box.start, box.stop)) for box in boxes]
        for place in filter(None, itertools.chain(*itertools.zip_longest(*touched))):
            size = kept.pop(place, 0)
            if not size:
                size = itemsize * math.prod(
                    min(c, n - i * c) for i, c, n in zip(place, chunk, shape, strict=True)
                )
                decoded += size
            kept[place] = size
            while sum(kept.values()) > plan.memory.cache:
                del kept[next(iter(kept))]
    assert decoded <= plan.bytes_read


def test_tables_of_further_levels_are_counted_on_a_device():
    """What takes one voxel has an index and a flag for each; of long rows they are most of it."""
    one, two = (1, 1, 2**16), (1, 1, 2**15)
    more = device_bytes(one, [one, two], 1, ()) - device_bytes(one, [one], 1, ())
    assert more >= (1 + 8 + 5) * 2**15


def test_regions_that_end_where_chunks_end_share_none():
    """So there is nothing to keep for a neighbour."""
    source = grid_for((64,) * 3)
    (aligned, *_) = grid_mapping(source, source, method="linear", antialias=False)
    assert not any(cut.overlaps for cut in resampling_options(aligned, 16, 0, 16))
    assert any(cut.overlaps for cut in resampling_options(aligned, 16, 0, 24))


def test_to_keep_a_chunk_is_dearer_than_none_and_cheaper_than_to_decode_it_again():
    """What waits in a cache goes through memory twice."""
    figures = partial(Figures, written=10**9, later=0, regions=100, slots=2, region=0)
    once, kept, twice = (
        cost(figures(decoded=decoded, cached=cached))
        for decoded, cached in ((1e9, 0), (1e9, 1e9), (2e9, 0))
    )
    assert once < kept < twice


def test_huge_plans_are_small_values():
    """Ten million regions and more cost nothing: nothing lists them."""
    tracemalloc.start()
    plan = plan_for(
        (30_000, 40_000, 40_000), (0.5, 0.5, 0.5), chunk=(64, 64, 64),
        layout=Layout(chunk=(64, 64, 64)), memory=400 * MIB,
    )  # fmt: skip
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.region_count > 10**7
    assert peak < 50 * MIB
    assert len(pickle.dumps(plan)) < 20_000
    last = plan.region(plan.region_count - 1)
    assert last.boxes[-1][1].stop == plan.levels[-1].shape
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_user_shards_that_do_not_halve_still_own_whole_objects():
    """A shard of three chunks keeps its shape at the levels where it cannot halve."""
    plan = plan_for(
        (100, 100, 100), (0.5, 0.5, 0.5), layout=Layout(chunk=(10,) * 3, shard=(30,) * 3)
    )
    assert plan.levels[0].shard == (30, 30, 30)
    assert plan.levels[1].shard in ((30, 30, 30), (60, 60, 60))
    plan = plan_for(
        (100, 100, 100), (0.5, 0.5, 0.5), layout=Layout(chunk=(10,) * 3, shard=(40,) * 3)
    )
    assert [level.shard for level in plan.levels[:2]] == [(40, 40, 40), (20, 20, 20)]


def test_warnings_say_what_is_lost_and_what_helps():
    """Aliasing is announced with its remedies, and only without them."""
    for method in ("linear", "cubic", "lanczos"):
        plan = plan_for((64, 64, 64), (1.0, 4.0, 4.0), method=method)
        assert [notice.kind for notice in plan.warnings] == ["aliasing"]
        text = str(plan.warnings[0])
        assert f"plain {method} interpolation skips" in text
        assert text.index("method='area' averages") < text.index("antialias=True is softer")
        assert not plan_for((64,) * 3, (1.0, 4.0, 4.0), method=method, antialias=True).warnings
    assert not plan_for((64, 64, 64), (1.0, 4.0, 4.0), method="area").warnings
    (notice,) = plan_for((64,) * 3, (1 / 3,) * 3).warnings
    assert notice.kind == "size"


def test_a_plan_prints_in_a_terminal_and_in_a_notebook():
    """Both name the shape, the levels and the memory."""
    plan = plan_for((64, 64, 64), (0.5, 0.5, 0.5))
    assert "128 x 128 x 128" in str(plan)
    for text in (str(plan), plan._repr_html_()):
        assert "MiB" in text
        assert all(str(level.shape[0]) in text for level in plan.levels)
    assert plan.as_dict()["memory"]["total"] == plan.memory.total


@settings(max_examples=60)
@given(
    st.sampled_from([400, 420, 460, 530, 700, 1300]),
    st.integers(1, 40),
    st.sampled_from([None, 200, 8000]),
)
def test_all_passes_together_keep_the_budget(mebibytes, workers, device_mebibytes):
    """Total promise <= budget, also where the third pass is the largest of them."""
    source = VoxelGrid(axes=ZYX, shape=(512, 512, 512), voxel_size=(1.0, 1.0, 1.0))
    device = None if device_mebibytes is None else device_mebibytes * 2**20
    limits = Limits(
        memory=mebibytes * 2**20 + (0 if device is None else 900 * 2**20),
        workers=workers, threads=4, device_memory=device,
    )  # fmt: skip
    try:
        plan = plan_of(source, source, limits)
    except MemoryBudgetError:
        return
    assert plan.memory.total <= limits.memory
    assert (plan.device == "gpu") == (device is not None)


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("budget", [3_000, 20_000, 60_000, 150_000, 400_000])
def test_device_memory_that_is_accepted_is_enough_for_every_region(levels, budget):
    """Whatever is cut off at the ends: no region needs more than the plan has seen."""
    source = VoxelGrid(axes=ZYX, shape=(64, 64, 1030), voxel_size=(1.0, 1.0, 1.0))
    target = resized_grid(source, dict.fromkeys(range(3), 0.5))
    limits = Limits(memory=2**31, workers=6, threads=4, device_memory=budget)
    layout = Layout(chunk=(32, 32, 32), shard=(64, 64, 2048))
    try:
        plan = plan_of(source, target, limits, layout, levels)
    except MemoryBudgetError:
        return
    for index in range(plan.region_count):
        for tile in tiles(plan, plan.region(index), plan.device_memory.per_lane):
            assert tile.boxes


def plan_of(source, target, limits, layout=None, levels=None):
    array = SourceArray(uri="", path="0", shape=source.shape, dtype="uint16", chunk=(32, 32, 32))
    return make_plan(
        Resampling(source=array, source_grid=source, target_grid=target, method="linear"),
        layout=layout or Layout(chunk=(32, 32, 32)), shard=layout is None, levels=levels,
        limits=limits,
    )  # fmt: skip


def test_regions_are_numbered_both_ways():
    """`Pass.number` finds the region of a position that `Pass.box` gives it."""
    source = VoxelGrid(axes=ZYX, shape=(100, 70, 50), voxel_size=(1.0, 1.0, 1.0))
    limits = Limits(memory=2**31, workers=2, threads=2)
    plan = plan_of(source, source, limits, Layout(chunk=(16, 16, 16), shard=(32, 16, 16)))
    run = plan.passes[0]
    for index in run.indices:
        start = run.box(index).start
        position = [a // r for a, r in zip(start, run.region_shape, strict=True)]
        assert run.number(position) == index


@settings(deadline=None, max_examples=100)
@given(plans(), st.data())
def test_a_stored_layout_gives_the_plan_that_stored_it(plan, data):
    """Chunk, shards and regions are enough to find levels, passes and numbers again."""
    again = make_plan(
        what_of(plan), layout=Layout(chunk=plan.levels[0].chunk), shard=data.draw(st.booleans()),
        levels=len(plan.levels),
        limits=Limits(memory=2**32, workers=data.draw(st.integers(1, 9)), threads=3),
        regions=[run.region_shape for run in plan.passes],
        shards=[level.shard for level in plan.levels],
    )  # fmt: skip
    assert again.levels == plan.levels
    assert again.passes == plan.passes


def test_regions_that_a_layout_cannot_have_are_refused():
    """Their shape is named, and what to do."""
    plan = plan_for((100, 100, 100), (0.5, 0.5, 0.5))
    with pytest.raises(OptionError, match=r"regions of 48 x 48 x 48 voxels.*overwrite=True"):
        make_plan(
            what_of(plan), layout=Layout(chunk=plan.levels[0].chunk), shard=True, levels=None,
            limits=Limits(memory=2**31, workers=2, threads=2),
            regions=[(48, 48, 48)],
        )  # fmt: skip


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize(
    "layout",
    [
        {"chunk": 8, "shard": 24}, {"chunk": 8, "shard": 0}, {"chunk": 8, "shard": 16},
        {"chunk": 8}, {"shard": 0}, {},
    ],
    ids=str,
)  # fmt: skip
def test_resume_needs_no_layout(layout, make_image, noise, tmp_path):
    """Whatever a run was begun with, resume alone ends with its very bytes."""
    source = make_image(noise((30, 45, 160)), (2.0, 1.0, 1.0))
    whole = chunkscale.resample(source, tmp_path / "whole.zarr", zoom=1.1, **layout).plan
    out = tmp_path / "out.zarr"

    def interrupt(progress):
        if progress.regions == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(source, out, progress=interrupt, zoom=1.1, **layout)
    run = chunkscale.resample(source, out, zoom=1.1, resume=True)
    assert run.times.resumed_regions >= 3
    assert run.times.regions + run.times.resumed_regions == whole.region_count
    assert_same_output(out, tmp_path / "whole.zarr")


def test_regions_that_share_a_stored_object_are_no_plan():
    """Two writers in one shard lose data without a word."""
    plan = plan_for((40, 64, 64), (0.5, 1.0, 1.0), memory=400 * MIB)
    run = plan.passes[0]
    shard = plan.levels[0].write_unit
    torn = replace(run, region_shape=(shard[0] + 1, *run.region_shape[1:]), shape=(1000, 64, 64))
    with pytest.raises(AssertionError, match="do not own whole stored objects"):
        check_alignment(torn, plan.levels[0], plan.levels[0])


def test_tables_of_long_kernels_are_counted():
    """A kernel that is widened 4096 times has more weights than its region has voxels."""
    wide = plan_for((1, 4, 2**22), (1, 1, 4096), antialias=True, chunk=(1, 4, 2**16), shard=False)
    plain = plan_for((1, 4, 2**22), (1, 1, 4096), chunk=(1, 4, 2**16), shard=False)
    targets = wide.region(0).boxes[0][1].shape[-1]
    assert wide.memory.per_worker - plain.memory.per_worker > 8 * 8192 * targets


def test_a_plan_of_the_longest_axis_takes_no_memory_and_is_refused_by_name():
    tracemalloc.start()
    try:
        with pytest.raises(MemoryBudgetError, match="with one worker"):
            plan_for((1, 1, 2**31), (1, 1, 1e9), antialias=True, chunk=(1, 1, 64))
        assert tracemalloc.get_traced_memory()[1] < 50 * MIB
    finally:
        tracemalloc.stop()
