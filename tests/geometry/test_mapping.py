"""The mapping: one table for all, from global indices, settled in float64."""

from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chunkscale.geometry import tables
from chunkscale.geometry.box import Box
from chunkscale.geometry.grid import Axis, VoxelGrid, cut_grid, resized_grid
from chunkscale.geometry.mapping import AxisMapping, edge_distance, grid_mapping, inside_range
from chunkscale.geometry.tables import axis_table, read_range, rebased, source_box, source_ranges

sizes = st.integers(1, 300)
shifts = st.floats(-300, 300) | st.sampled_from([-0.5, 0.5, -1.5])
steps = st.sampled_from([0.1, 0.2, 0.202, 0.25, 0.4, 0.5, 2 / 3, 0.8, 1.0, 1.2, 2.0, 3.0, 12.0])
methods = st.sampled_from(
    [
        ("linear", False),
        ("linear", True),
        ("nearest", False),
        ("cubic", False),
        ("cubic", True),
        ("lanczos", False),
        ("lanczos", True),
        ("area", False),
        ("mode", False),
        ("max", False),
    ]
)


def one_axis(n, s_in, s_out, method="linear", antialias=False, shift=0.0):
    source = VoxelGrid(axes=(Axis(name="x"),), shape=(n,), voxel_size=(s_in,))
    target = resized_grid(source, {0: s_out})
    target = target.replace(translation=(target.translation[0] + shift,))
    return grid_mapping(source, target, method=method, antialias=antialias)[0]


@given(n=sizes, step=steps, how=methods, data=st.data())
def test_a_part_of_a_table_is_the_table_of_a_part(n, step, how, data):
    """Whichever way a target is cut, the numbers are the same to the bit."""
    m = one_axis(n, 1.0, step, *how)
    whole = axis_table(m, 0, m.target_size)
    a = data.draw(st.integers(0, m.target_size - 1))
    b = data.draw(st.integers(a + 1, m.target_size))
    part = axis_table(m, a, b)
    np.testing.assert_array_equal(part.index, whole.index[a:b])
    if len(whole.weight):
        np.testing.assert_array_equal(part.weight, whole.weight[a:b])


@given(n=sizes, step=steps | st.floats(1, 400), how=methods, shift=shifts, data=st.data())
def test_ranges_without_tables_are_those_that_tables_read(n, step, how, shift, data):
    """All of it, and of weights no more than the voxels around one that is hit."""
    m = one_axis(n, 1.0, step, *how, shift=shift)
    a = data.draw(st.integers(0, m.target_size - 1))
    b = data.draw(st.integers(a + 1, m.target_size))
    first, stop = source_ranges(m, np.array([a]), np.array([b]))
    low, high = read_range(axis_table(m, a, b))
    more = m.taps if m.kind == "weights" else 0
    assert low - more <= first[0] <= low
    assert high <= stop[0] <= high + more


@given(n=st.integers(1, 2000), step=st.floats(1, 100), how=methods)
def test_large_tables_are_made_block_by_block(n, step, how):
    """With the numbers of small ones."""
    m = one_axis(n, 1.0, step, *how)
    whole = axis_table(m, 0, m.target_size)
    with mock.patch.object(tables, "KEPT_TAPS", 16):
        blocks = axis_table(m, 0, m.target_size)
    np.testing.assert_array_equal(blocks.index, whole.index)
    np.testing.assert_array_equal(blocks.weight, whole.weight)


@given(
    n=sizes, step=steps | st.floats(0.01, 20), size=st.floats(1e-3, 1e3),
    shift=st.floats(-1e4, 1e4), how=methods, data=st.data(),
)  # fmt: skip
def test_what_is_cut_out_of_a_grid_has_the_numbers_of_the_whole(n, step, size, shift, how, data):
    """Also where the cut is known by its translation alone, wherever the image lies."""
    (method, antialias), axes = how, (Axis(name="x"),)
    source = VoxelGrid(axes=axes, shape=(n,), voxel_size=(size,), translation=(shift,))
    target = resized_grid(source, {0: step * size})
    a = data.draw(st.integers(0, target.shape[0] - 1))
    b = data.draw(st.integers(a + 1, target.shape[0]))
    cut = cut_grid(target, Box(start=(a,), stop=(b,)))
    (whole,), (part,) = (
        grid_mapping(source, grid, method=method, antialias=antialias) for grid in (target, cut)
    )
    assert part.start == a
    expected, found = axis_table(whole, a, b), axis_table(part, 0, b - a)
    assert found.kind == expected.kind
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.weight, expected.weight)
    assert inside_range(part) == tuple(min(max(i - a, 0), b - a) for i in inside_range(whole))


@given(n=sizes, step=steps, how=methods, data=st.data())
def test_the_source_range_is_exactly_what_is_read(n, step, how, data):
    """No voxel with a weight lies outside; the first and the last one inside are used.

    Of curves they are those that a target beside a source voxel uses: on it, it uses that alone.
    """
    m = one_axis(n, 1.0, step, *how)
    a = data.draw(st.integers(0, m.target_size - 1))
    b = data.draw(st.integers(a + 1, m.target_size))
    table = axis_table(m, a, b)
    used = set(table.index.tolist())
    if table.kind == "lerp":
        used |= set((table.index + 1)[table.weight > 0].tolist())
    elif table.kind == "weights":
        taps = table.index[:, None] + np.arange(table.weight.shape[1])
        used = set(taps[table.weight != 0].tolist())
    elif table.kind == "cells":
        taps = table.weight.astype(int)
        used = {i + k for i, n in zip(table.index, taps, strict=True) for k in range(n)}
        assert taps.max() <= m.taps
    first, stop = source_ranges(m, np.array([a]), np.array([b]))
    if how[0] in ("cubic", "lanczos"):
        more = {"cubic": 1, "lanczos": 2}[how[0]]
        assert first[0] <= min(used) <= first[0] + more
        assert stop[0] - more - 1 <= max(used) + 1 <= stop[0]
    else:
        assert (min(used), max(used) + 1) == (first[0], stop[0])
    assert min(used) >= 0
    assert max(used) < n
    box = source_box((m,), Box(start=(a,), stop=(b,)))
    assert (box.start, box.stop) == ((first[0],), (stop[0],))
    assert rebased(table, int(first[0])).index[0] == table.index[0] - first[0]


@given(
    n=st.integers(1, 5000),
    out=st.sampled_from(["0.1", "0.101", "0.202", "0.25", "0.3", "0.5", "1", "1.01", "2.5"]),
    size=st.sampled_from(["0.202", "0.1", "0.5", "1"]),
)
def test_coordinates_agree_with_exact_fractions(n, out, size):
    """Indices and weights are those of decimal arithmetic: hits and ties are recognised."""
    m = one_axis(n, float(size), float(out))
    nearest = axis_table(one_axis(n, float(size), float(out), "nearest"), 0, m.target_size)
    table = axis_table(m, 0, m.target_size)
    step = Fraction(out) / Fraction(size)
    for i in range(0, m.target_size, max(1, m.target_size // 50)):
        edge = (i + Fraction(1, 2)) * step
        exact = min(max(edge - Fraction(1, 2), Fraction(0)), Fraction(n - 1))
        assert table.index[i] == exact.__floor__()
        assert table.weight[i] == pytest.approx(float(exact - exact.__floor__()), abs=1e-10)
        assert (table.weight[i] == 0) == (exact.denominator == 1)
        assert nearest.index[i] == min(edge.__floor__(), n - 1)


@given(
    n=st.integers(1, 2000),
    out=st.sampled_from(["0.1", "0.202", "0.25", "0.3", "0.5", "0.75", "1", "1.01", "2.5", "30"]),
    size=st.sampled_from(["0.202", "0.1", "0.5", "0.3", "1"]),
    cut=st.integers(0, 5),
)
def test_cells_have_the_voxels_of_exact_fractions(n, out, size, cut):
    """Those whose centres lie in a target's extent, the lower end included, or else the nearest."""
    source = VoxelGrid(axes=(Axis(name="x"),), shape=(n,), voxel_size=(float(size),))
    target = resized_grid(source, {0: float(out)})
    cut = min(cut, target.shape[0] - 1)
    part = cut_grid(target, Box(start=(cut,), stop=target.shape))
    (m,) = grid_mapping(source, part, method="mode")
    table = axis_table(m, 0, m.target_size)
    step = Fraction(out) / Fraction(size)
    assert table.kind == ("cells" if step > 1 else "pick")
    for i in range(0, m.target_size, max(1, m.target_size // 50)):
        low, high = (i + cut) * step, (i + cut + 1) * step
        first, stop = ((edge - Fraction(1, 2)).__ceil__() for edge in (low, high))
        if table.kind == "pick":
            assert table.index[i] == min((low + step / 2).__floor__(), n - 1)
        else:
            first = min(first, n - 1)
            assert table.index[i] == first
            assert table.weight[i] == max(min(stop, n) - first, 1)


@pytest.mark.parametrize("shift", [0.0, -0.5, 0.5, -1.5, 0.25])
@pytest.mark.parametrize("step", [1.0, 1.0 + 2.0**-52, 1.0 + 2.0**-50, 0.3 / (0.1 * 3)])
def test_a_voxel_size_that_is_the_same_but_for_rounding_makes_no_cells(step, shift):
    """Ties are those of nearest, then."""
    mode, nearest = (one_axis(9, 1.0, step, how, shift=shift) for how in ("mode", "nearest"))
    found, expected = (axis_table(m, 0, m.target_size) for m in (mode, nearest))
    assert found.kind == "pick"
    np.testing.assert_array_equal(found.index, expected.index)


@given(
    n=st.integers(1, 2000),
    out=st.sampled_from(["0.202", "0.25", "0.3", "0.5", "0.75", "1", "1.01", "2.5", "30"]),
    size=st.sampled_from(["0.202", "0.1", "0.5", "0.3", "1"]),
    cut=st.integers(0, 5),
)
def test_shares_are_those_of_exact_fractions(n, out, size, cut):
    """Of each voxel what lies in the target; no voxel that it only touches has a weight."""
    source = VoxelGrid(axes=(Axis(name="x"),), shape=(n,), voxel_size=(float(size),))
    target = resized_grid(source, {0: float(out)})
    cut = min(cut, target.shape[0] - 1)
    part = cut_grid(target, Box(start=(cut,), stop=target.shape))
    (m,) = grid_mapping(source, part, method="area")
    step = Fraction(out) / Fraction(size)
    if step <= 1:
        assert m.kind in ("lerp", "pick")
        return
    table = axis_table(m, 0, m.target_size)
    assert table.kind == "weights"
    for i in range(0, m.target_size, max(1, m.target_size // 50)):
        low, high = (i + cut) * step, min((i + cut + 1) * step, Fraction(n))
        first, stop = min(low.__floor__(), n - 1), max(high.__ceil__(), low.__floor__() + 1)
        assert table.index[i] == first
        weight = table.weight[i][table.weight[i] != 0]
        assert len(weight) == min(stop, n) - first
        for k, w in enumerate(weight):
            share = min(high, Fraction(first + k + 1)) - max(low, Fraction(first + k))
            assert w == pytest.approx(float(share / (high - low)) if high > low else 1, abs=1e-9)


@given(n=sizes, step=st.floats(1.0, 40), shift=shifts)
def test_shares_leave_nothing_out_and_take_nothing_twice(n, step, shift):
    """What targets side by side have of a voxel adds up to all of it."""
    m = one_axis(n, 1.0, step, "area", shift=shift)
    table = axis_table(m, 0, m.target_size)
    assume(table.kind == "weights")
    np.testing.assert_allclose(table.weight.sum(1), 1, rtol=1e-12)
    low, high = (edge_distance(m, np.arange(m.target_size) + h) for h in (-0.5, 0.5))
    extent = np.clip(high, 0, n) - np.clip(low, 0, n)
    total = np.zeros(n + table.weight.shape[1])
    for first, weight, size in zip(table.index, table.weight, extent, strict=True):
        total[first : first + len(weight)] += weight * size
    voxel = np.arange(n)
    covered = np.minimum(high[-1], voxel + 1) - np.maximum(low[0], voxel)
    np.testing.assert_allclose(total[:n], np.clip(covered, 0, 1), atol=1e-9)


@given(n=sizes, step=st.floats(1.0, 40) | st.floats(1.0, 1 + 1e-11), shift=shifts)
def test_cells_share_the_image_among_them(n, step, shift):
    """No voxel is in two of them or left out between them; beyond it is the edge voxel."""
    m = one_axis(n, 1.0, step, "mode", shift=shift)
    table = axis_table(m, 0, m.target_size)
    assume(table.kind == "cells")
    first, stop = table.index, table.index + table.weight.astype(int)
    assert (first < stop).all()
    start, end = inside_range(m)
    assert stop[start:end][:-1].tolist() == first[start:end][1:].tolist()
    assert (first[:start] == 0).all()
    assert (stop[end:] == n).all()


@given(n=sizes, step=st.floats(1.01, 40), data=st.data())
def test_antialiasing_weights_are_those_of_a_cut_triangle(n, step, data):
    """Support of one step to either side, cut at the border, summing to one."""
    m = one_axis(n, 1.0, step, antialias=True)
    assume(m.kind == "weights")
    table = axis_table(m, 0, m.target_size)
    i = data.draw(st.integers(0, m.target_size - 1))
    centre = (i + 0.5) * step - 0.5
    expected = np.clip(1 - np.abs(np.arange(n) - centre) / step, 0, None)
    expected /= expected.sum() or 1.0
    if not expected.any():  # the window lies beyond the image
        expected[-1] = 1.0
    found = np.zeros(n + table.weight.shape[1])
    found[table.index[i] : table.index[i] + table.weight.shape[1]] = table.weight[i]
    np.testing.assert_allclose(found[:n], expected, atol=1e-9)
    assert not found[n:].any()


@given(n=sizes, step=st.floats(1.01, 12), shift=shifts)
def test_a_widened_kernel_with_lobes_never_blows_up(n, step, shift):
    """Of one that is cut at the border, what is left might add up to nothing."""
    m = one_axis(n, 1.0, step, "cubic", antialias=True, shift=shift)
    table = axis_table(m, 0, m.target_size)
    np.testing.assert_allclose(table.weight.sum(axis=1), 1.0)
    assert np.abs(table.weight).sum(axis=1).max() < 2.5


def test_position_in_space_does_not_change_the_table():
    """A large translation brings no fuzz into a grid whose edges coincide."""
    source = VoxelGrid(
        axes=(Axis(name="x"),), shape=(100,), voxel_size=(0.202,), translation=(12345.678,)
    )
    (far,) = grid_mapping(source, resized_grid(source, {0: 0.1}), method="linear")
    near = one_axis(100, 0.202, 0.1)
    assert (far.step, far.offset) == (near.step, near.offset) == (far.step, 0.0)


@given(shift=st.floats(-300, 300), n=st.integers(1, 40), step=steps)
def test_inside_is_the_closed_extent(shift, n, step):
    """Targets are inside from edge to edge, and nowhere else."""
    m = one_axis(n, 1.0, step, shift=shift)
    start, stop = inside_range(m)
    for i in range(m.target_size):
        centre = (i + m.start + 0.5) * m.step + m.offset
        if abs(centre) > 1e-6 and abs(centre - n) > 1e-6:
            assert (start <= i < stop) == (0 < centre < n)


def test_what_lies_on_an_outer_edge_is_inside():
    """Of either edge; what lies a target further out is not."""
    m = AxisMapping(
        source_size=4, target_size=12, step=1.0, offset=-2.5, fuzz=0.0, method="linear"
    )  # fmt: skip
    centres = [float(edge_distance(m, i)) for i in range(m.target_size)]
    assert (centres[2], centres[6]) == (0.0, 4.0)
    assert inside_range(m) == (2, 7)


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_what_is_beside_a_voxel_centre_stays_beside_it(method):
    """Only what is as close as the formula can be wrong is taken to be there."""
    source = VoxelGrid(axes=(Axis(name="x"),), shape=(100,), voxel_size=(1.0,))
    for shift in (1e-9, -1e-9):
        (m,) = grid_mapping(source, source.replace(translation=(shift,)), method=method)
        beside = edge_distance(m, np.arange(100.0)) - np.arange(100.0) - 0.5
        np.testing.assert_allclose(beside, shift, rtol=1e-3)


def test_other_axes_pass_through():
    """Channels keep their index."""
    axes = (Axis(name="c", kind="channel"), Axis(name="y"), Axis(name="x"))
    source = VoxelGrid(axes=axes, shape=(3, 10, 10), voxel_size=(1.0, 1.0, 1.0))
    mapping = grid_mapping(source, resized_grid(source, {1: 0.5, 2: 0.5}), method="linear")
    assert axis_table(mapping[0], 1, 3).index.tolist() == [1, 2]
    assert (mapping[0].step, mapping[0].offset, mapping[0].target_size) == (1.0, 0.0, 3)
