"""Coordinates of voxels, one for each along an axis, as a spacing and a position."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: So far from its regular place, in voxels, a coordinate may lie: those that were summed up, or
#: that a file holds with some digits, do. It does not add up along the axis.
TOLERANCE = 1e-3

#: Shorter decimal numbers are tried first; up to so many digits one is taken where coordinates
#: agree to the rounding of `numpy.arange`, and up to the other where they are the same bits.
_SHORT, _LONG = 10, 15


def spacing_of(values: NDArray[Any], hint: object = None) -> float:
    """Return the spacing of coordinates that rise in equal steps.

    It is `hint`, if coordinates agree with that to rounding; else the shortest decimal number that
    gives them; else the mean step.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Two numbers or more.
    hint : float, optional
        What is said to be the spacing.

    Raises
    ------
    ValueError
        If they do not rise, or by a step that is off by more than `TOLERANCE`.

    Examples
    --------
    >>> spacing_of(np.arange(100) * 0.202), spacing_of(np.arange(10.3, 90, 0.202))
    (0.202, 0.202)
    >>> spacing_of(np.array([0.0, 1.0, 2.0, 4.0]))
    Traceback (most recent call last):
    ValueError: from index 2 to 3 they step by 2, and by 1 before
    """
    found = values.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"index {int(np.argmin(np.isfinite(found)))} has none")
    steps = np.diff(found)
    if (steps < 0).all():
        raise ValueError("they fall")
    places, size = np.arange(len(found)), float(np.abs(found).max())
    mean = float((found[-1] - found[0]) / (len(found) - 1))
    precision = np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps * size

    def misses(step: float) -> NDArray[Any]:
        return np.asarray(np.abs(found[0] + step * places - found))

    if mean <= 0 or misses(mean).max() > max(TOLERANCE * mean, min(precision, mean / 4)):
        raise ValueError(_offence(steps))
    if isinstance(hint, int | float | np.number) and misses(float(hint)).max() <= 2 * precision:
        return float(hint)
    # numpy.arange adds steps that were rounded at its start.
    summed = 2 * precision + len(found) * np.finfo(np.float64).eps * abs(found[0])
    summed = min(summed, 1e-6 * mean)
    for digits in range(1, _LONG + 1):
        step = float(f"{mean:.{digits}g}")
        as_given = (found[0] + step * places).astype(values.dtype)
        if np.array_equal(as_given, values) or (
            digits <= _SHORT and step > 0 and misses(step).max() <= summed
        ):
            return step
    return mean


def _offence(steps: NDArray[Any]) -> str:
    """Name the first step that is not like those before it, or like most."""
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    wrong = np.abs(steps - usual) > TOLERANCE * abs(usual)
    index = int(np.argmax(wrong)) if wrong.any() else int(np.argmax(np.abs(steps - usual)))
    rest = "before" if index and not wrong[:index].any() else "mostly"
    return (
        f"from index {index} to {index + 1} they step by {steps[index]:.6g}, and by {usual:.6g} "
        f"{rest}"
    )
