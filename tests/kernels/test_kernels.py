"""The numeric kernels.

Invariants:

- The CPU gives the bits of the reference, for all dtypes, tables and boxes.
- A part of a target has the bits of that part of the whole.
- A target on a source voxel is that voxel; no other voxel is looked at.
- The result is trilinear interpolation (SciPy), the exact mean (fractions), the mode (Counter),
  the maximum.
- Nothing overflows, nothing is read beyond the block, memory stays below `plan.kernel_scratch`.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import chunkscale
from chunkscale.geometry.box import Box
from chunkscale.geometry.mapping import AxisMapping
from chunkscale.geometry.pyramid import halving
from chunkscale.geometry.tables import AxisTable, axis_table, rebased, source_box
from chunkscale.kernels import cpu, reference
from chunkscale.kernels.backend import Factors, Tables, get_backend
from chunkscale.kernels.cpu import linear as strips
from chunkscale.kernels.cpu.jit import entry
from chunkscale.plan.memory import kernel_scratch

pytestmark = pytest.mark.newest

Array = NDArray[Any]

INTEGERS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]
FLOATS = ["f2", "f4", "f8"]
DTYPES = ["?", *INTEGERS, *FLOATS]
FACTORS = list(product((1, 2), repeat=3))
#: What axes can be interpolated by, each in its own way; cells go with what takes one voxel alone.
MIXED = [
    "linear", "antialiased", "nearest", "cubic", "antialiased cubic", "lanczos",
    "antialiased lanczos", "area",
]  # fmt: skip
KINDS = [*MIXED, "mode", "max"]

many = settings(max_examples=400, deadline=None)


# --- helpers -----------------------------------------------------------------------------------


def extremes(dtype: str) -> list[Any]:
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return [False, True]
    if kind.kind == "f":
        info = np.finfo(kind)
        small, normal, large = info.smallest_subnormal, info.tiny, info.max
        numbers = [small, -small, 3 * small, normal, -normal, large, -large, 0.8 * large]
        return [-0.0, 0.0, np.inf, -np.inf, np.nan, *numbers]
    info = np.iinfo(kind)
    return [info.min, info.min + 1, info.max - 1, info.max, info.min // 2, info.max // 2, 0]


def random_block(dtype: str, shape: tuple[int, ...], seed: int, *, special: float = 0.05) -> Array:
    """Return random voxels over the whole range, some of them the dtype's extremes."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "b":
        block = rng.random(shape) < 0.5
    elif kind.kind == "f":
        block = (rng.standard_normal(shape) * 1000).astype(kind)
    else:
        info = np.iinfo(kind)
        block = rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    chosen = rng.random(shape) < special
    block[chosen] = rng.choice(np.array(extremes(dtype), kind), chosen.sum())
    if kind.kind == "f":
        # NaN of all kinds: negative ones, signalling ones, with any payload.
        bits, nan = block.view(f"u{kind.itemsize}"), np.isnan(block)
        payload = rng.integers(1, 2 ** np.finfo(kind).nmant, nan.sum(), bits.dtype)
        bits[nan] = rng.choice(np.array([np.inf, -np.inf], kind), nan.sum()).view(bits.dtype)
        bits[nan] |= payload
    return block


def assert_same(a: Array, b: Array) -> None:
    """Assert equal dtypes, shapes and bits, those of NaN as well."""
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    bits = f"u{a.itemsize}"
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(bits), np.ascontiguousarray(b).view(bits)
    )


def axis_mapping(
    size: int,
    step: float,
    kind: str = "linear",
    *,
    offset: float = 0.0,
    target_size: int | None = None,
) -> AxisMapping:
    n = max(1, int(size / step + 0.5)) if target_size is None else target_size
    reach = max(1.0, float(size), n * step, abs(offset))
    return AxisMapping(
        source_size=size,
        target_size=n,
        step=step,
        offset=offset,
        fuzz=16 * 2.0**-52 * reach,
        method=kind.removeprefix("antialiased").strip() or "linear",
        scale=max(1.0, step) if kind.startswith("antialiased") else 1.0,
    )


def whole_tables(*mappings: AxisMapping) -> Tables:
    z, y, x = (axis_table(m, 0, m.target_size) for m in mappings)
    return z, y, x


def zoom_tables(shape: tuple[int, ...], zoom: tuple[float, ...], kind: str = "linear") -> Tables:
    return whole_tables(*(axis_mapping(n, 1 / f, kind) for n, f in zip(shape, zoom, strict=True)))


def halves(shape: tuple[int, ...], factors: tuple[int, ...], method: str = "mode") -> Tables:
    """Return the tables of modes or maxima of cells."""
    return whole_tables(*(halving(n, f, method) for n, f in zip(shape, factors, strict=True)))


def picks(*indices: int) -> AxisTable:
    return AxisTable("pick", np.array(indices, np.int64), np.empty(0))


def linear(index: list[int], weight: list[float]) -> AxisTable:
    return AxisTable("lerp", np.array(index, np.int64), np.array(weight))


@dataclass(frozen=True)
class Part:
    """An axis and a range of its targets."""

    mapping: AxisMapping
    start: int
    stop: int


@st.composite
def parts(draw: st.DrawFn, kinds: Sequence[str] = MIXED) -> Part:
    size = draw(st.integers(1, 20))
    step = draw(
        st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 4.0, 12.0])
        | st.floats(0.1, 12.0)
    )
    mapping = axis_mapping(
        size,
        step,
        draw(st.sampled_from(kinds)),
        offset=draw(st.sampled_from([0.0, 0.0, -1.5, 2.0, 0.3])),
        target_size=min(40, max(1, int(size / step + 0.5)) + draw(st.integers(0, 2))),
    )
    start = draw(st.integers(0, mapping.target_size - 1))
    stop = draw(st.integers(start + 1, mapping.target_size))
    return Part(mapping, start, stop)


three_parts = st.one_of(
    st.tuples(*(parts(kinds),) * 3)
    for kinds in (MIXED, ["nearest", "mode", "mode"], ["nearest", "max", "max"])
)
small_shapes = st.tuples(*(st.integers(1, 6),) * 3)
seeds = st.integers(0, 2**32 - 1)


# --- resample: CPU, reference, parts -----------------------------------------------------------


@many
@given(three_parts, st.sampled_from(DTYPES), seeds)
def test_resample_has_the_bits_of_the_reference(
    axes: tuple[Part, Part, Part], dtype: str, seed: int
) -> None:
    tables = whole_tables(*(p.mapping for p in axes))
    block = random_block(dtype, tuple(p.mapping.source_size for p in axes), seed)
    before = block.copy()
    assert_same(cpu.resample(block, tables), reference.resample(block, tables))
    assert_same(block, before)


@many
@given(three_parts, st.sampled_from(DTYPES), seeds)
def test_part_has_the_bits_of_the_whole(
    axes: tuple[Part, Part, Part], dtype: str, seed: int
) -> None:
    block = random_block(dtype, tuple(p.mapping.source_size for p in axes), seed)
    target = Box(start=tuple(p.start for p in axes), stop=tuple(p.stop for p in axes))
    source = source_box(tuple(p.mapping for p in axes), target)
    box = np.ascontiguousarray(block[source.slices])
    z, y, x = (
        rebased(axis_table(p.mapping, p.start, p.stop), first)
        for p, first in zip(axes, source.start, strict=True)
    )
    for backend in (cpu, reference):
        whole = backend.resample(block, whole_tables(*(p.mapping for p in axes)))
        assert_same(backend.resample(box, (z, y, x)), np.ascontiguousarray(whole[target.slices]))


@pytest.mark.parametrize("dtype", ["u2", "f8"])
@pytest.mark.parametrize("depth", [2, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_strips_do_not_show(
    monkeypatch: pytest.MonkeyPatch, dtype: str, depth: int, kind: str
) -> None:
    block = random_block(dtype, (depth, 23, 31), 1)
    tables = zoom_tables(block.shape, (0.7, 1.7, 2.1), kind)
    expected = reference.resample(block, tables)
    for size in (1, 2000, 5000):
        monkeypatch.setattr(strips, "STRIP_BYTES", size)
        assert_same(cpu.resample(block, tables), expected)


@many
@given(three_parts, st.sampled_from(FACTORS), st.sampled_from(DTYPES), seeds, st.integers(1, 3000))
def test_means_on_the_way_have_the_bits_of_means_afterwards(
    axes: tuple[Part, Part, Part], factors: Factors, dtype: str, seed: int, strip: int
) -> None:
    tables = whole_tables(*(p.mapping for p in axes))
    block = random_block(dtype, tuple(p.mapping.source_size for p in axes), seed)
    fine = reference.resample(block, tables)
    coarse = reference.mean(fine, factors)
    for backend in (cpu, reference):
        out, means = np.zeros(fine.shape, dtype), np.zeros(coarse.shape, dtype)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strips, "STRIP_BYTES", strip)
            backend.resample_and_mean(block, tables, factors, out, means)
        assert_same(out, fine)
        assert_same(means, coarse)


@many
@given(
    parts(),
    st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 3)),
    st.integers(1, 9),
    st.sampled_from(FACTORS),
    st.sampled_from(DTYPES),
    seeds,
    st.integers(1, 300),
)
def test_rows_as_they_are_have_the_bits_of_the_reference(
    z: Part, rows: tuple[int, int, int], width: int, factors: Factors, dtype: str, seed: int,
    strip: int,
) -> None:  # fmt: skip
    """Where only z changes the source is mixed itself, from any row on."""
    before, height, after = rows
    depth = z.mapping.source_size
    block = random_block(dtype, (depth, before + height + after, width), seed)
    tables = (
        axis_table(z.mapping, z.start, z.stop),
        linear(list(range(before, before + height)), [0.0] * height),
        linear(list(range(width)), [0.0] * width),
    )
    fine = reference.resample(block, tables)
    coarse = reference.mean(fine, factors)
    out, means = np.zeros(fine.shape, dtype), np.zeros(coarse.shape, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP_BYTES", strip)
        assert_same(cpu.resample(block, tables), fine)
        cpu.resample_and_mean(block, tables, factors, out, means)
    assert_same(out, fine)
    assert_same(means, coarse)


@many
@given(
    st.integers(2, 7),
    st.integers(1, 130),
    st.sampled_from(["antialiased", "area", "antialiased cubic", "antialiased lanczos"]),
    st.sampled_from([0.0, 0.0, 0.5, -3.0, 4.0]),
    st.data(),
    st.sampled_from(DTYPES),
    seeds,
)
def test_whole_steps_have_the_bits_of_the_reference(
    step: int, width: int, kind: str, offset: float, data: st.DataObject, dtype: str, seed: int
) -> None:
    """Rows of any length, cut anywhere, whose sums all have the same weights but at the ends."""
    mapping = axis_mapping(width, step, kind, offset=offset)
    start = data.draw(st.integers(0, mapping.target_size - 1))
    stop = data.draw(st.integers(start + 1, mapping.target_size))
    x = axis_table(mapping, start, stop)
    z, y = picks(0, 1), axis_table(axis_mapping(9, 2.0, kind), 0, 4)
    block = random_block(dtype, (2, 9, width), seed)
    assert_same(cpu.resample(block, (z, y, x)), reference.resample(block, (z, y, x)))


def test_threads_give_the_same_bits() -> None:
    block = random_block("u2", (12, 40, 41), 2)
    tables = zoom_tables(block.shape, (3, 2, 1.5))
    expected = cpu.resample(block, tables)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: cpu.resample(block, tables), range(16)):
            assert_same(result, expected)


# --- resample: values --------------------------------------------------------------------------


def oracle(block: Array, mappings: tuple[AxisMapping, ...]) -> Array:
    centres = [(np.arange(m.target_size) + 0.5) * m.step + m.offset - 0.5 for m in mappings]
    grid = np.meshgrid(*centres, indexing="ij")
    interpolated: Array = ndimage.map_coordinates(
        block.astype(np.float64), grid, order=1, mode="nearest"
    )
    return interpolated


MAPPINGS = [
    (axis_mapping(12, 0.2), axis_mapping(30, 1.0), axis_mapping(31, 1.0)),
    (axis_mapping(9, 0.5), axis_mapping(20, 0.5), axis_mapping(21, 0.5)),
    (axis_mapping(40, 3.3), axis_mapping(25, 0.83), axis_mapping(24, 1.7, offset=0.4)),
]


@pytest.mark.parametrize("mappings", MAPPINGS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i1", "i2", "u4", "i4"])
def test_linear_is_within_a_grey_value_of_scipy(
    mappings: tuple[AxisMapping, ...], dtype: str
) -> None:
    block = random_block(dtype, tuple(m.source_size for m in mappings), 3)
    result = cpu.resample(block, whole_tables(*mappings))
    error = np.abs(result - np.rint(oracle(block, mappings)))
    assert error.max() <= 1
    assert error.mean() < 0.01


@pytest.mark.parametrize("mappings", MAPPINGS)
@pytest.mark.parametrize(("dtype", "rtol"), [("f8", 1e-13), ("f4", 1e-6), ("i8", 1e-13)])
def test_linear_is_scipy_but_for_rounding(
    mappings: tuple[AxisMapping, ...], dtype: str, rtol: float
) -> None:
    block = random_block(dtype, tuple(m.source_size for m in mappings), 4, special=0)
    expected = oracle(block, mappings)
    result = cpu.resample(block, whole_tables(*mappings)).astype(np.float64)
    np.testing.assert_allclose(result, expected, rtol=0, atol=rtol * 4 * np.abs(block).max())


def test_antialiasing_is_a_weighted_sum_in_tap_order() -> None:
    block = random_block("f4", (1, 1, 30), 5, special=0)
    table = axis_table(axis_mapping(30, 3.0, "antialiased"), 0, 10)
    expected = []
    for first, weights in zip(table.index, table.weight.astype(np.float32), strict=True):
        terms = [w * block[0, 0, first + k] for k, w in enumerate(weights) if w]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        expected.append(total)
    result = cpu.resample(block, (picks(0), picks(0), table))
    assert_same(result[0, 0], np.array(expected, np.float32))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_integers_round_half_to_even(backend: str) -> None:
    block = np.array([[[0, 1, 2, 3, 4]]], np.uint16)
    half = linear([0, 1, 2, 3], [0.5] * 4)
    result = get_backend(backend).resample(block, (picks(0), picks(0), half))
    assert result.ravel().tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_bool_is_a_vote_and_a_tie_is_false(backend: str) -> None:
    block = np.array([[[False, True]]])
    table = linear([0, 0, 0, 0, 1], [0.0, 0.25, 0.5, 0.75, 0.0])
    result = get_backend(backend).resample(block, (picks(0), picks(0), table))
    assert result.ravel().tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("kind", [kind for kind in MIXED if kind != "nearest"])
def test_extremes_do_not_wrap(dtype: str, kind: str) -> None:
    info = np.iinfo(dtype)
    shrinks = kind == "area" or kind.startswith("antialiased")
    zoom = (0.08, 0.3, 0.11) if shrinks else (1.7, 2.3, 0.6)
    for value in (info.min, info.max):
        block = np.full((25, 7, 20), value, dtype)
        tables = zoom_tables(block.shape, zoom, kind)
        result = cpu.resample(block, tables)
        assert_same(result, reference.resample(block, tables))
        # float64 has 53 bits; the sum of the weights differs from 1 by their rounding.
        slack = 0 if info.bits < 64 or kind == "linear" else 2**17
        assert abs(int(result.max()) - value) <= slack
        assert abs(int(result.min()) - value) <= slack


@pytest.mark.parametrize("dtype", ["?", *INTEGERS])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("axis", [0, 2])
def test_overshoot_is_clamped(dtype: str, backend: str, axis: int) -> None:
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    block = np.array([high, high, low, low], dtype).reshape(np.roll((1, 1, 4), axis - 2))
    tables = [linear([0], [0.0])] * 3
    tables[axis] = AxisTable("weights", np.array([0, 2]), np.array([[0.75, 0.75], [0.75, 0.75]]))
    z, y, x = tables
    result = get_backend(backend).resample(block, (z, y, x))
    assert_same(result.ravel(), np.array([high, low], dtype))
    # Below the lowest number, too: a bool is then false, and not true as -1 is.
    tables[axis] = AxisTable("weights", np.array([0]), np.array([[-2.0, 1.0, 1.0, 1.0]]))
    z, y, x = tables
    result = get_backend(backend).resample(block, (z, y, x))
    assert_same(result.ravel(), np.array([low], dtype))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_ends_of_64_bits_are_clamped(backend: str) -> None:
    half = linear([0], [0.5])
    for dtype in ("u8", "i8"):
        info = np.iinfo(dtype)
        for a, b in ((info.max, info.max - 1), (info.min, info.min + 1)):
            block = np.array([[[a, b]]], dtype)
            result = get_backend(backend).resample(block, (picks(0), picks(0), half))
            assert int(result[0, 0, 0]) == (info.max if a == info.max else info.min)


# --- resample: targets on source voxels --------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u8", "i8"])
@pytest.mark.parametrize("kind", ["linear", "nearest"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_large_labels_survive(dtype: str, kind: str, backend: str) -> None:
    block = random_block(dtype, (5, 6, 7), 6) | 1
    tables = zoom_tables(block.shape, (3, 5, 1), kind)
    result = get_backend(backend).resample(block, tables)
    assert_same(np.ascontiguousarray(result[1::3, 2::5]), block)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_is_a_plain_pick(dtype: str) -> None:
    block = random_block(dtype, (5, 6, 7), 7)
    tables = (picks(4, 0, 0, 3), picks(1, 1, 2, 5, 0), picks(6, 2, 2, 0))
    expected = block[np.ix_(*(t.index for t in tables))]
    # Nothing is computed: even a NaN keeps its bits.
    assert cpu.resample(block, tables).tobytes() == expected.tobytes()
    slices = (picks(1, 2), picks(0, 1, 2), picks(3, 4, 5))
    assert cpu.resample(block, slices).tobytes() == block[1:3, :3, 3:6].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_plane_passes_through_a_linear_resampling(dtype: str) -> None:
    block = random_block(dtype, (1, 6, 7), 8)
    _, y, x = zoom_tables(block.shape, (1, 2, 3))
    result = cpu.resample(block, (picks(0), y, x))
    assert_same(result, cpu.resample(block, (linear([0], [0.0]), y, x)))
    assert_same(result, reference.resample(block, (picks(0), y, x)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_do_not_leak_into_exact_targets(dtype: str, poison: float, axis: int) -> None:
    block = np.ones((3, 3, 3), dtype)
    block[(slice(None),) * axis + (1,)] = poison
    tables = [picks(0, 1, 2)] * 3
    tables[axis] = linear([0, 0, 1, 2], [0.0, 0.5, 0.0, 0.0])
    result = np.moveaxis(cpu.resample(block, (tables[0], tables[1], tables[2])), axis, 0)
    assert (result[0] == 1).all()
    assert not np.isfinite(result[1]).any()
    np.testing.assert_array_equal(result[2], poison)
    assert (result[3] == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_taps_without_weight_are_not_read(axis: int) -> None:
    block = np.ones((4, 4, 4), np.float32)
    block[(slice(None),) * axis + (2,)] = np.nan
    tables = [picks(0, 1)] * 3
    weight = np.array([[0.25, 0.75, 0.0], [0.5, 0.0, 0.5]])
    tables[axis] = AxisTable("weights", np.array([0, 1]), weight)
    assert (cpu.resample(block, (tables[0], tables[1], tables[2])) == 1).all()


@pytest.mark.parametrize("sign", [0.0, -0.0])
def test_signs_of_zeros_are_those_of_the_reference(sign: float) -> None:
    block = np.full((3, 4, 5), sign, np.float32)
    for kind in KINDS:
        for zoom in ((2, 3, 1), (0.4, 0.5, 0.3)):
            tables = zoom_tables(block.shape, zoom, kind)
            assert_same(cpu.resample(block, tables), reference.resample(block, tables))


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_nothing_is_read_beyond_the_block(dtype: str) -> None:
    memory = np.full(5 * 27, np.nan if dtype == "f4" else 60000, dtype)
    block = memory[27:54].reshape(3, 3, 3)
    block[...] = 1
    for zoom in ((2, 2, 2), (5, 1, 1), (1, 1, 0.5), (0.4, 0.6, 0.4)):
        for kind in KINDS:
            result = cpu.resample(block, zoom_tables(block.shape, zoom, kind))
            np.testing.assert_allclose(result, 1, rtol=1e-6)


# --- resample: what is refused, memory, cache --------------------------------------------------


def test_read_only_and_empty_blocks_are_taken() -> None:
    block = random_block("u2", (4, 5, 6), 9)
    tables = zoom_tables(block.shape, (2, 2, 2))
    frozen = block.copy()
    frozen.flags.writeable = False
    assert_same(cpu.resample(frozen, tables), cpu.resample(block, tables))
    assert_same(cpu.mean(frozen, (2, 2, 2)), cpu.mean(block, (2, 2, 2)))
    assert cpu.resample(block, (picks(), *tables[1:])).shape == (0, 10, 12)


@pytest.mark.parametrize("dtype", ["?", "u2", "i8", "f2", "f4"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_results_go_where_they_are_wanted(dtype: str, backend: str) -> None:
    kernels, block = get_backend(backend), random_block(dtype, (4, 5, 6), 12)
    for kind in KINDS:
        tables = zoom_tables(block.shape, (2, 2, 0.5), kind)
        out = np.empty((8, 10, 3), dtype)
        assert kernels.resample(block, tables, out) is out
        assert_same(out, kernels.resample(block, tables))
    for reduce in (kernels.mean, kernels.maximum):
        out = np.empty((2, 3, 3), dtype)
        assert reduce(block, (2, 2, 2), out) is out
        assert_same(out, reduce(block, (2, 2, 2)))


@pytest.mark.parametrize(
    "out",
    [np.empty((2, 2, 1), "u1"), np.empty((2, 2, 2), "i1"), np.empty((2, 2, 4), "u1")[:, :, ::2]],
)
def test_wrong_places_for_results_are_refused(out: Array) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) and dtype uint8"):
        cpu.mean(np.zeros((4, 4, 4), np.uint8), (2, 2, 2), out)
    block = np.zeros((4, 4, 4), np.uint8)
    tables = zoom_tables(block.shape, (1, 1, 1))
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) and dtype uint8"):
        cpu.resample_and_mean(block, tables, (2, 2, 2), np.empty_like(block), out)


@pytest.mark.parametrize(
    "block",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 8), np.uint8)[:, :, ::2],
        np.asfortranarray(np.zeros((4, 4, 4), np.uint8)),
        np.zeros((4, 4, 4), ">u2"),
    ],
)
def test_layouts_that_need_a_copy_are_refused(block: Array) -> None:
    with pytest.raises(ValueError, match="C order"):
        cpu.mean(block, (2, 2, 2))


def test_other_dtypes_and_factors_are_refused() -> None:
    with pytest.raises(TypeError, match="complex64"):
        cpu.maximum(np.zeros((2, 2, 2), np.complex64), (2, 2, 2))
    with pytest.raises(ValueError, match=r"not \(2, 3, 2\)"):
        cpu.maximum(np.zeros((2, 2, 2), np.uint8), (2, 3, 2))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_cells_do_not_go_with_what_mixes(backend: str) -> None:
    block, cell = np.zeros((4, 4, 4), np.uint8), halves((4, 4, 4), (2, 2, 2))[0]
    with pytest.raises(ValueError, match="'lerp' mixes"):
        get_backend(backend).resample(block, (cell, cell, linear([0], [0.5])))
    largest = halves((4, 4, 4), (2, 2, 2), "max")[0]
    with pytest.raises(ValueError, match="not both"):
        get_backend(backend).resample(block, (cell, cell, largest))


@pytest.mark.parametrize(
    "table",
    [
        picks(0, 4),
        picks(-1, 0),
        linear([3], [0.5]),
        AxisTable("cells", np.array([3]), np.array([2.0])),
    ],
)
def test_tables_that_leave_the_block_are_refused(table: AxisTable) -> None:
    block = np.zeros((4, 4, 4), np.uint8)
    for tables in ((table, picks(0), picks(0)), (picks(0), picks(0), table)):
        with pytest.raises(IndexError, match="4 voxels"):
            cpu.resample(block, tables)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u8", "f2", "f8"])
@pytest.mark.parametrize(
    ("kind", "shape", "zoom"),
    [
        ("linear", (20, 100, 120), (5, 1, 1)),
        ("linear", (10, 200, 220), (2, 2, 2)),
        ("antialiased", (60, 200, 220), (0.1, 0.3, 0.1)),
        ("cubic", (10, 200, 220), (2, 2, 2)),
        ("area", (60, 200, 220), (0.1, 0.3, 0.1)),
        ("antialiased lanczos", (60, 200, 220), (0.1, 0.3, 0.1)),
        ("nearest", (20, 100, 120), (5, 1, 1)),
        ("mode", (60, 120, 124), (1 / 30, 1 / 20, 1 / 31)),
        ("mode", (20, 100, 120), (5, 0.5, 0.3)),
        ("max", (60, 120, 124), (1 / 30, 1 / 2, 1 / 3)),
    ],
)
def test_memory_stays_below_the_promise(
    dtype: str, kind: str, shape: tuple[int, int, int], zoom: tuple[float, ...]
) -> None:
    block = random_block(dtype, shape, 10)
    tables = zoom_tables(shape, zoom, kind)
    taps = tables[0].weight.shape[1] if tables[0].kind == "weights" else 2
    cell = math.prod(int(t.weight.max()) for t in tables if t.kind == "cells" and t.takes == "mode")
    cpu.resample(block, tables)
    tracemalloc.start()
    try:
        result = cpu.resample(block, tables)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    promise = kernel_scratch(
        block.shape, result.shape, taps, block.itemsize, cell=cell, is_half=dtype == "f2"
    )
    assert peak - result.nbytes <= promise


def test_no_directory_for_a_cache_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def njit(*functions: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*functions, **options)

    monkeypatch.setattr(numba, "njit", njit)
    assert entry(lambda x: x + 1)(1) == 2


SHOW_MEAN = """
import numpy as np
from chunkscale.geometry.tables import AxisTable
from chunkscale.kernels import cpu

one = AxisTable("pick", np.zeros(1, np.int64), np.empty(0))
tables = (AxisTable("lerp", np.array([0, 0]), np.array([0.0, 0.5])), one, one)
out, coarse = np.empty((2, 1, 1), np.uint8), np.empty((1, 1, 1), np.uint8)
cpu.resample_and_mean(np.array([[[10]], [[50]]], np.uint8), tables, (2, 1, 1), out, coarse)
print(coarse.item())
"""


def test_machine_code_on_disk_is_that_of_all_sources(tmp_path: Path) -> None:
    package = tmp_path / "chunkscale"
    shutil.copytree(
        Path(chunkscale.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    places = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "x")}

    def shown() -> str:
        command = [sys.executable, "-c", SHOW_MEAN]
        run = subprocess.run(
            command, env=os.environ | places, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    def machine_code() -> set[Path]:
        return set((tmp_path / "x").rglob("*.nbc"))

    assert shown() == "20"
    first = machine_code()
    assert shown() == "20"
    assert len(first) == 1
    assert machine_code() == first
    # The kernel that Python calls is in another file.
    part = package / "kernels" / "cpu" / "cells.py"
    text = part.read_text()
    assert "return (total + ((1 << shift) >> 1) - one + odd) >> shift" in text
    part.write_text(text.replace("- one + odd) >> shift", "- one + odd + 6) >> shift"))
    assert shown() == "23"
    assert len(machine_code() - first) == 1


def test_a_damaged_cache_of_machine_code_is_passed_by_and_mended(tmp_path: Path) -> None:
    """A warning that names it, the result that it is without, and none in the next process."""
    cache = tmp_path / "x"

    def shown() -> str:
        command = [sys.executable, "-c", SHOW_MEAN]
        places = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
        run = subprocess.run(command, env=places, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "20"
        return run.stderr

    assert shown() == ""
    for kind in ("*.nbi", "*.nbc"):
        damaged = list(cache.rglob(kind))
        assert damaged
        for file in damaged:
            file.write_bytes(file.read_bytes()[:50])
        assert f"the cache of compiled kernels '{cache}" in shown()
    assert shown() == ""


# --- mean --------------------------------------------------------------------------------------


def cells(block: Array, factors: tuple[int, ...]) -> dict[tuple[int, ...], list[Any]]:
    """Return the voxels of every cell."""
    result: dict[tuple[int, ...], list[Any]] = {}
    for index in np.ndindex(*block.shape):
        cell = tuple(i // f for i, f in zip(index, factors, strict=True))
        result.setdefault(cell, []).append(block[index].item())
    return result


@many
@given(small_shapes, st.sampled_from(FACTORS), st.sampled_from(DTYPES), seeds)
def test_reductions_have_the_bits_of_the_reference(
    shape: tuple[int, ...], factors: tuple[int, int, int], dtype: str, seed: int
) -> None:
    block = random_block(dtype, shape, seed, special=0.5)
    assert_same(cpu.mean(block, factors), reference.mean(block, factors))
    assert_same(cpu.maximum(block, factors), reference.maximum(block, factors))
    for method in ("mode", "max"):
        tables = halves(shape, factors, method)
        assert_same(cpu.resample(block, tables), reference.resample(block, tables))


@settings(max_examples=100, deadline=None)
@given(small_shapes, st.sampled_from(FACTORS), st.sampled_from(["?", *INTEGERS]), seeds)
def test_mean_of_integers_is_exact_and_rounds_half_to_even(
    shape: tuple[int, ...], factors: tuple[int, int, int], dtype: str, seed: int
) -> None:
    block = random_block(dtype, shape, seed, special=0.5)
    result = cpu.mean(block, factors)
    for cell, voxels in cells(block, factors).items():
        assert int(result[cell]) == round(Fraction(sum(map(int, voxels)), len(voxels)))


@settings(max_examples=50, deadline=None)
@given(small_shapes, st.sampled_from(FACTORS), st.sampled_from(FLOATS), seeds)
def test_mean_of_floats_is_the_sum_in_float64(
    shape: tuple[int, ...], factors: tuple[int, int, int], dtype: str, seed: int
) -> None:
    block = random_block(dtype, shape, seed, special=0)
    result = cpu.mean(block, factors)
    for cell, voxels in cells(block, factors).items():
        exact = float(sum(map(Fraction, voxels)) / len(voxels))
        bound = float(np.finfo(dtype).eps) * max(abs(v) for v in voxels)
        assert abs(float(result[cell]) - exact) <= bound


def test_mean_of_floats_adds_along_x_first() -> None:
    big = 2.0**60
    block = np.array([[[big, -big], [1.0, 1.0]], [[big, 1.0], [-big, 1.0]]])
    # (0 + 2) + ((big + 1 -> big) + (-big + 1 -> -big)), not the exact sum of 4.
    assert cpu.mean(block, (2, 2, 2)).item() == 0.25
    assert reference.mean(block, (2, 2, 2)).item() == 0.25


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_mean_of_eight_narrow_integers_rounds_half_to_even(dtype: str) -> None:
    """Of whole cells, which are averaged at once: no brightness is gained from level to level."""
    halves = np.zeros((2, 2, 6), dtype)
    halves[0, 0] = (1, 3, 5, 7, 10, 10)
    assert cpu.mean(halves, (2, 2, 2)).tolist() == [[[0, 2, 2]]]


def test_repeated_means_keep_the_brightness() -> None:
    block = np.random.default_rng(11).integers(0, 1001, (64, 64, 64)).astype(np.uint16)
    brightness = block.mean()
    for _ in range(5):
        block = cpu.mean(block, (2, 2, 2))
    assert abs(block.mean() - brightness) < 0.5


# --- mode --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    small_shapes, st.sampled_from([*FACTORS, (3, 4, 2), (5, 1, 6)]), st.sampled_from(DTYPES), seeds
)
def test_mode_is_the_smallest_of_the_most_frequent(
    shape: tuple[int, ...], factors: tuple[int, int, int], dtype: str, seed: int
) -> None:
    assume(max(factors) > 1)
    block = random_block(dtype, shape, seed, special=0.9)
    result = cpu.resample(block, halves(shape, factors))
    for cell, voxels in cells(block, factors).items():
        count = Counter(v for v in voxels if v == v)
        if not count:
            assert np.isnan(result[cell])
            continue
        most = max(count.values())
        assert result[cell].item() == min(v for v, n in count.items() if n == most)


def test_mode_makes_one_zero_of_two() -> None:
    block = np.array([[[-0.0, -0.0], [0.0, 3.0]]], np.float32)
    result = cpu.resample(block, halves(block.shape, (1, 1, 2)))
    assert_same(result, np.array([[[0.0], [0.0]]], np.float32))


def test_mode_of_uniform_labels_is_the_label() -> None:
    labels = np.arange(2**53, 2**53 + 27, dtype=np.uint64).reshape(3, 3, 3)
    block = np.ascontiguousarray(labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:5, :, :5])
    assert_same(cpu.resample(block, halves(block.shape, (2, 2, 2))), labels)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u8", "f2", "f4", "f8"])
def test_mode_counts_as_many_values_as_a_cell_has(dtype: str) -> None:
    """Also where hardly two of its voxels are equal."""
    every = np.arange(65_000).astype(dtype)
    np.random.default_rng(1).shuffle(every)
    block = every.reshape(13, 50, 100)
    tables = halves(block.shape, (13, 50, 50))
    assert_same(cpu.resample(block, tables), reference.resample(block, tables))


# --- maximum -----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(small_shapes, st.sampled_from(FACTORS), st.sampled_from(DTYPES), seeds)
def test_maximum_is_the_largest_number(
    shape: tuple[int, ...], factors: tuple[int, int, int], dtype: str, seed: int
) -> None:
    block = random_block(dtype, shape, seed, special=0.9)
    result = cpu.maximum(block, factors)
    for cell, voxels in cells(block, factors).items():
        numbers = [v for v in voxels if v == v]
        if numbers:
            assert result[cell].item() == max(numbers)
        else:
            assert np.isnan(result[cell])


@settings(max_examples=150, deadline=None)
@given(
    small_shapes, st.sampled_from([*FACTORS, (3, 4, 2), (5, 1, 6)]), st.sampled_from(DTYPES), seeds
)
def test_maxima_of_cells_of_any_size_are_the_largest_numbers(
    shape: tuple[int, ...], factors: tuple[int, int, int], dtype: str, seed: int
) -> None:
    """Those of the pyramid, where cells are halves."""
    assume(max(factors) > 1)
    block = random_block(dtype, shape, seed, special=0.9)
    result = cpu.resample(block, halves(shape, factors, "max"))
    for cell, voxels in cells(block, factors).items():
        numbers = [v for v in voxels if v == v]
        if numbers:
            assert result[cell].item() == max(numbers)
        else:
            assert np.isnan(result[cell])
    if factors in FACTORS:
        assert_same(result, cpu.maximum(block, factors))
