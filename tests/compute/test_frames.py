"""Frames of a region are made at once, and no voxel shows it."""

import numpy as np
import pytest
from grids import grid_for
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import chunkscale
from chunkscale.compute.levels import region_levels
from chunkscale.geometry.methods import METHODS
from chunkscale.kernels.backend import get_backend


def made(data, planes, voxel_size, shift, **options):
    """Return the levels of an array, whose voxels are 1 in size, made as one region."""
    target = grid_for(
        (*data.shape[:2], planes, 8, 9), (1.0, 1.0, *voxel_size), translation=(0.0, 0.0, *shift)
    )
    plan = chunkscale.plan_resampling(
        data, axes="tczyx", source_voxel_size=1, like=target, workers=1, levels=3, **options
    )
    assert plan.region_count == len(plan.passes) == 1
    levels = [np.empty(level.shape, data.dtype) for level in plan.levels]
    for level, box, voxels in region_levels(
        plan,
        plan.region(0),
        lambda box: np.ascontiguousarray(data[box.slices]),
        lambda _, shape: np.empty(shape, data.dtype),
        get_backend("cpu"),
    ):
        levels[level][box.slices] = voxels
    return levels


@settings(deadline=None, max_examples=60)
@given(
    method=st.sampled_from(sorted(METHODS)),
    frames=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    depth=st.integers(1, 6),
    planes=st.integers(4, 6),
    voxel_size=st.tuples(*[st.sampled_from([0.4, 0.5, 1.0, 1.7])] * 3),
    shift=st.tuples(*[st.sampled_from([-0.5, 0.0, 0.4])] * 3),
    dtype=st.sampled_from(["uint8", "int16", "float16", "float32", "uint64"]),
    outside=st.sampled_from(["edge", 7.0]),
)
@example("linear", (2, 2), 4, 5, (0.5,) * 3, (0.0,) * 3, "uint8", "edge")  # half a cell is left
@example("linear", (2, 2), 4, 6, (0.5,) * 3, (0.0,) * 3, "uint8", "edge")
@pytest.mark.filterwarnings("ignore::chunkscale.errors.ChunkscaleWarning")
def test_every_frame_is_what_it_is_alone(
    method, frames, depth, planes, voxel_size, shift, dtype, outside
):
    """At every level, with an even number of planes or an odd one, inside the source or not."""
    data = np.random.default_rng(0).integers(0, 100, (*frames, depth, 7, 6)).astype(dtype)
    options = {"method": method, "outside": outside}
    together = made(data, planes, voxel_size, shift, **options)
    for t, c in np.ndindex(frames):
        alone = made(data[t : t + 1, c : c + 1], planes, voxel_size, shift, **options)
        for all_of_them, one in zip(together, alone, strict=True):
            assert_array_equal(all_of_them[t : t + 1, c : c + 1], one)
