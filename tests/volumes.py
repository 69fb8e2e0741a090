"""Small volumes, and target grids that lie anywhere over them, for the methods' oracles."""

import numpy as np
from grids import grid_for
from hypothesis import strategies as st

DTYPES = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@st.composite
def cases(draw, step):
    """Draw a shape, steps and offsets of a target in source voxels, a data type and a seed."""
    ndim = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 14)) for _ in range(ndim))
    steps = [draw(step) for _ in range(ndim)]
    offsets = [
        min(max(draw(st.sampled_from([0.0, 0.3, -2.5, 7.0])), -0.4 * n), 0.7 * n) for n in shape
    ]
    return shape, steps, offsets, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**31))


def volume(shape, dtype, seed):
    """Return voxels of a case."""
    random, kind = np.random.default_rng(seed), np.dtype(dtype)
    high = 2 if kind.kind == "b" else 100
    data = random.normal(0, 100, shape) if kind.kind == "f" else random.integers(0, high, shape)
    return data.astype(dtype)


def target_shape(shape, steps):
    """Return how many voxels of these steps a shape has."""
    return tuple(max(1, round(n / s)) for n, s in zip(shape, steps, strict=True))


def shifted_grid(steps, offsets, shape):
    """Return a target grid whose outer edges lie so many source voxels from those of the source."""
    translation = [o + s / 2 - 0.5 for o, s in zip(offsets, steps, strict=True)]
    return grid_for(shape, steps, unit=None, translation=translation)


def overlaps(case):
    """Whether the source lies in the target grid of a case, at least in part."""
    data, steps, offsets, shape = case
    axes = zip(data.shape, steps, offsets, shape, strict=True)
    return all(o < n and o + s * t > 0 for n, s, o, t in axes)
