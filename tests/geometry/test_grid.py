"""Grids: sizes, positions and units of targets follow from the voxel size alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkscale import Axis, Box, GridError, VoxelGrid
from chunkscale.geometry.grid import (
    aligned_grid,
    covering_box,
    like_grid,
    resized_grid,
    round_size,
)
from chunkscale.geometry.pyramid import halved


def zyx(shape, voxel_size, translation=(), unit="micrometer"):
    axes = tuple(Axis(name=n, unit=unit) for n in "zyx")
    return VoxelGrid(axes=axes, shape=shape, voxel_size=voxel_size, translation=translation)


def test_the_teaching_page():
    """86 x 396 x 393 voxels of 1 x 0.202 x 0.202 become 86 x 80 x 79 and 172 x 160 x 159."""
    stack = zyx((86, 396, 393), (1.0, 0.202, 0.202))
    assert resized_grid(stack, dict.fromkeys(range(3), 1.0)).shape == (86, 80, 79)
    assert resized_grid(stack, dict.fromkeys(range(3), 0.5)).shape == (172, 160, 159)


@given(
    n=st.integers(1, 10**6),
    s_in=st.floats(1e-3, 1e3),
    s_out=st.floats(1e-3, 1e3),
    origin=st.floats(-1e6, 1e6),
)
def test_the_extent_is_kept_to_half_a_voxel(n, s_in, s_out, origin):
    """Outer edges start together and end within half a target voxel; the size is exact."""
    grid = VoxelGrid(axes=(Axis(name="x"),), shape=(n,), voxel_size=(s_in,), translation=(origin,))
    out = resized_grid(grid, {0: s_out})
    assert out.voxel_size == (s_out,)
    fuzz = 1e-9 * (abs(origin) + n * s_in + s_out)
    assert math.isclose(out.translation[0] - s_out / 2, origin - s_in / 2, rel_tol=0, abs_tol=fuzz)
    assert out.shape[0] >= 1
    if out.shape[0] > 1:
        assert abs(out.shape[0] * s_out - n * s_in) <= s_out / 2 * (1 + 1e-6) + fuzz


@pytest.mark.parametrize(
    ("n", "s_in", "s_out", "voxels"), [(5, 0.1, 0.2, 3), (1, 0.3, 0.2, 2), (21, 0.3, 0.2, 32)]
)
def test_half_voxels_round_up_despite_binary_fractions(n, s_in, s_out, voxels):
    """Decimal halves are recognised whatever their binary approximation, which may be below."""
    assert round_size(n * (s_in / s_out)) == voxels


def test_voxels_twice_as_large_but_for_rounding_are_not_halved():
    """Sizes that were computed are a bit off, and pyramids must not hang on that."""
    third = 0.1 * 3
    assert 2 * third > 0.6
    assert halved(zyx((8, 8, 8), (0.6, third, third))) == (1, 2, 2)


def test_what_covers_a_part_has_a_voxel_at_least():
    """Also where the part is the end of a voxel that is the last, or the beginning of the first."""
    coarse = VoxelGrid(axes=(Axis(name="x"),), shape=(2,), voxel_size=(4.0,))
    for origin, wanted in ((5.5, 1), (-1.5, 0)):
        part = VoxelGrid(axes=coarse.axes, shape=(1,), voxel_size=(1.0,), translation=(origin,))
        box = covering_box(coarse, part)
        assert (box.start, box.stop) == ((wanted,), (wanted + 1,))


def test_bad_grids_are_refused_by_name():
    """An error names the axis and the value."""
    with pytest.raises(GridError, match=r"-1.0.*'y'"):
        zyx((1, 2, 3), (1.0, -1.0, 1.0))
    with pytest.raises(GridError, match="'x' has 0 voxels"):
        zyx((1, 2, 0), (1.0, 1.0, 1.0))
    with pytest.raises(GridError, match="one value per axis"):
        zyx((1, 2), (1.0, 1.0, 1.0))
    with pytest.raises(GridError, match="nan"):
        zyx((1, 2, 3), (1.0, float("nan"), 1.0))


def test_like_takes_the_other_grid_and_its_units():
    """A grid in nanometres is met by converting the source, not by rounding the target."""
    source = zyx((10, 20, 20), (1.0, 0.5, 0.5), (2.0, 0.0, 0.0))
    other = zyx((7, 9, 11), (100.0, 100.0, 100.0), (5.0, 6.0, 7.0), unit="nanometer")
    target = like_grid(source, other)
    assert target == other
    seen = aligned_grid(source, other)
    assert seen.voxel_size == pytest.approx((1000.0, 500.0, 500.0))
    assert seen.translation == pytest.approx((2000.0, 0.0, 0.0))


def test_like_refuses_units_without_conversion():
    """Pixels are no length."""
    source = zyx((2, 2, 2), (1.0, 1.0, 1.0))
    with pytest.raises(GridError, match="'pixel'"):
        aligned_grid(source, zyx((2, 2, 2), (1.0, 1.0, 1.0), unit="pixel"))


def test_box():
    """A box is half-open."""
    box = Box(start=(1, 2), stop=(3, 5))
    assert (box.shape, box.size) == ((2, 3), 6)
    assert box.slices == (slice(1, 3), slice(2, 5))
    assert str(box) == "[1:3, 2:5]"
