"""The levels of a pyramid: their order, and that they cover one space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chunkscale.geometry.units import symbol
from chunkscale.ome.model import Dataset, Multiscale
from chunkscale.ome.transforms import is_usable
from chunkscale.text import times

#: Beside rounding: sizes are written with as few as six digits.
_FUZZ = 1e-4


def largest_first(shapes: Sequence[Sequence[int]]) -> list[int]:
    """Return the positions of levels from the largest; those whose shape is not known stay.

    Their scales are no help: either may be wrong, and voxels are what is read.

    Examples
    --------
    >>> largest_first([(2, 2), (), (4, 4)])
    [2, 1, 0]
    """
    known = [k for k, shape in enumerate(shapes) if shape]
    order = list(range(len(shapes)))
    for place, k in zip(known, sorted(known, key=lambda k: -math.prod(shapes[k])), strict=True):
        order[place] = k
    return order


def shapes_text(paths: Sequence[str], shapes: Sequence[Sequence[int]]) -> str:
    """Name the levels that are there."""
    pairs = zip(paths, shapes, strict=True)
    return ", ".join(f"{path!r} ({times(shape)})" for path, shape in pairs if shape)


def order_faults(paths: Sequence[str], shapes: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield that levels are not listed from the largest to the smallest.

    Parameters
    ----------
    paths : sequence of str
        As they are listed.
    shapes : sequence of sequence of int
        Empty where that is not known.
    """
    order = largest_first(shapes)
    if order != list(range(len(paths))):
        first, *_ = ordered = [paths[k] for k in order]
        yield (
            f"the datasets are listed as {', '.join(map(repr, paths))} instead of largest to "
            f"smallest: {shapes_text(ordered, [shapes[k] for k in order])}; the largest, "
            f"{first!r}, is taken as level 0"
        )


def extent_faults(image: Multiscale, shapes: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield where the scale or the translation of a level contradicts its shape.

    Writers round sizes up or down with each level: a voxel for each is allowed. They put the first
    voxel of a level at the corner or in the middle of those that it is made of, or one off:
    positions have twice that.

    Parameters
    ----------
    image : Multiscale
    shapes : sequence of sequence of int
        Of its datasets; empty where that is not known.
    """
    for i in range(len(image.axes)):
        allowed = 0.0
        for level in range(1, len(image.datasets)):
            size = image.datasets[level].voxel_size
            allowed += size[i] if size and is_usable(size[i]) else math.inf
            if shapes[0] and shapes[level] and math.isfinite(allowed):
                yield from _level_faults(image, shapes, level, i, allowed)


def _level_faults(
    image: Multiscale, shapes: Sequence[Sequence[int]], level: int, i: int, allowed: float
) -> Iterator[str]:
    first, dataset, axis = image.datasets[0], image.datasets[level], image.axes[i]
    if not first.voxel_size or not is_usable(first.voxel_size[i]):
        return
    unit = f" {symbol(axis.unit)}" if axis.unit else ""
    (n, s), (m, r) = ((shapes[k][i], image.datasets[k].voxel_size[i]) for k in (0, level))
    passed_on = axis.kind != "space" and math.isclose(r, s, rel_tol=_FUZZ)
    if abs(m * r - n * s) > (0 if passed_on else allowed) + _FUZZ * n * s:
        known = m and not passed_on
        remedy = f"; a scale of {n * s / m:.6g} would agree with its shape" if known else ""
        yield (
            f"dataset {dataset.path!r} spans {m} voxels of {r:.6g}{unit} along {axis.name!r}, "
            f"{m * r:.6g} in all, and {first.path!r} {n} of {s:.6g}, {n * s:.6g} in all: one of "
            f"them is wrong{remedy}"
        )
    shift = _shift(first, dataset, i)
    if abs(shift) > 2 * allowed + _FUZZ * n * s:
        yield (
            f"dataset {dataset.path!r} begins {abs(shift):.6g}{unit} "
            f"{'after' if shift > 0 else 'before'} {first.path!r} along {axis.name!r}, which is "
            f"more than two of its voxels of {r:.6g}: one of the translations is wrong"
        )


def _shift(first: Dataset, dataset: Dataset, i: int) -> float:
    shift = dataset.translation[i] - first.translation[i]
    return shift if math.isfinite(shift) else 0.0
