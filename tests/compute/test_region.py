"""The story of one region: it is written slab by slab, and nothing changes while it is written."""

from types import SimpleNamespace

import numpy as np
import pytest

import chunkscale
from chunkscale.compute.devices import open_device
from chunkscale.compute.levels import sampled_box
from chunkscale.run.region import process_region


class Writer:
    """Keeps what it is given, and looks at it again when the write is to be finished."""

    def __init__(self, fails=()):
        self.open, self.most, self.number, self.fails = {}, 0, 0, fails

    def start_write(self, box, data):
        self.number += 1
        self.open[self.number] = data, data.copy()
        self.most = max(self.most, len(self.open))
        return self.number

    def finish_write(self, number):
        if number in self.open:
            data, before = self.open.pop(number)
            np.testing.assert_array_equal(data, before)
        if number in self.fails:  # as often as it is asked
            raise OSError(f"write {number} failed")

    def stored_size(self, box):
        return box.size


@pytest.fixture
def stack_plan(make_image, noise, monkeypatch):
    """Return a plan for regions of five slabs or more, and its source."""
    monkeypatch.setattr("chunkscale.plan.policy.SLAB_BYTES", 2**14)
    source = make_image(noise((40, 32, 32)), (1.0, 0.2, 0.2), chunk=(40, 32, 32))
    image = chunkscale.open_image(source)
    plan = chunkscale.plan_resampling(
        image, voxel_size=0.2, chunk=8, levels=2, workers=1, device="cpu"
    )
    assert len(list(plan.slabs(plan.region(0)))) >= 5
    return plan, SimpleNamespace(
        read=lambda box, out: np.copyto(out, image.as_dask()[box.slices].compute())
    )


def test_no_slab_is_overwritten_before_it_is_written(stack_plan):
    """Two are held; the whole region arrives, every level of it."""
    plan, source = stack_plan
    writers = [Writer() for _ in plan.levels]
    record = process_region(plan, 0, source, writers, open_device([plan]))
    boxes = dict(plan.region(0).boxes)
    assert record.voxels == sum(box.size for box in boxes.values())
    assert [w.most for w in writers] == [2, 1]
    assert [w.number for w in writers] == [len(list(plan.slabs(plan.region(0)))), 1]
    assert not any(w.open for w in writers)
    assert min(record.read_seconds, record.compute_seconds, record.write_seconds) > 0


@pytest.mark.usefixtures("small_regions")
@pytest.mark.filterwarnings("ignore:only .* lies in the source")
def test_nothing_is_read_for_what_lies_outside(make_image, noise):
    """A region whose samples are all the fill value reads no box, and others just their part."""
    image = chunkscale.open_image(make_image(noise((8, 16, 16)), (1.0, 1.0, 1.0)))
    like = image.grid.replace(shape=(8, 16, 64))
    plan = chunkscale.plan_resampling(image, like=like, outside=7, chunk=8, shard=0, levels=1)
    boxes = [sampled_box(plan, plan.region(i)) for i in range(plan.region_count)]
    starts = [plan.region(i).boxes[0][1].start[2] for i in range(plan.region_count)]
    assert {start for start, box in zip(starts, boxes, strict=True) if box is None} == {
        start for start in starts if start >= 16
    }
    assert all(box.stop[2] <= 16 for box in boxes if box is not None)
    assert any(start >= 16 for start in starts)


@pytest.mark.parametrize("fails", [1, 3, 5])
def test_a_slab_that_cannot_be_written_ends_the_region(stack_plan, fails):
    """With the store's error, when no write is open any more."""
    plan, source = stack_plan
    writers = [Writer(fails=[fails]), *(Writer() for _ in plan.levels[1:])]
    with pytest.raises(OSError, match=f"write {fails} failed"):
        process_region(plan, 0, source, writers, open_device([plan]))
    assert not any(w.open for w in writers)
