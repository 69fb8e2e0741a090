"""The interpolation methods: to add one is one entry in `METHODS`, and its name in `MethodName`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from chunkscale.errors import OptionError

MethodName = Literal["linear", "nearest", "cubic", "lanczos", "area", "mode", "max"]

#: What a kernel is told of an axis: the voxel to take; two voxels and how far it is from the one
#: to the other; voxels and their weights in a sum; or the voxels of a cell, of which one is taken.
Kind = Literal["pick", "lerp", "weights", "cells"]

#: Which voxel of a cell is taken: the most frequent one, or the largest.
Taken = Literal["mode", "max"]

#: What a coarser level has of the voxels of a cell.
Downsample = Literal["mean", "mode", "nearest", "max"]

#: The same in words. A level of modes, or of nearest voxels, is the one before resampled so.
DOWNSAMPLING: dict[Downsample, str] = {
    "mean": "averages the voxels of a cell",
    "mode": "takes the most frequent one",
    "nearest": "takes the one after the middle",
    "max": "takes the largest",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """An interpolation method, along one axis: axes are interpolated one after the other.

    Parameters
    ----------
    name : str
        What users say; recipes keep it.
    words : str
        What it does, for the command line's help.
    kind : {"pick", "lerp", "weights", "cells"}
        The table that plain interpolation takes; a widened kernel always takes weights.
    elsewhere : {"pick", "lerp", "weights", "cells"}, optional
        The table along axes that do not shrink, if that is another one.
    levels : Downsample
        What the coarser levels of the pyramid are made with by default.
    takes : {"mode", "max"}
        Of cells, if it has any.
    support : float
        Distance in source voxels from which on a voxel has no weight.
    lobes : bool
        Whether weights can be negative.
    weight : callable, optional
        Takes distances (array) below the support and the factor by which the kernel is widened;
        returns weights, which need not add up to one. None if the method has no kernel: it
        cannot be antialiased, and is not warned of where an axis shrinks. Its weights, if it
        takes any, are then the shares of the voxels in a target's extent.
    """

    name: MethodName
    words: str
    kind: Kind
    levels: Downsample
    elsewhere: Kind | None = None
    takes: Taken = "mode"
    support: float = 1.0
    lobes: bool = False
    weight: Callable[[Any, float], Any] | None = None

    @property
    def blends(self) -> bool:
        """Whether values come out that were not put in."""
        return self.kind not in ("pick", "cells")


def _triangle(distance: Any, scale: float) -> Any:
    return scale - distance


def _catmull_rom(distance: Any, scale: float) -> Any:
    # As products: exactly zero where voxels are hit, and of the right sign beside that.
    x = distance / scale
    near = (x - 1.0) * ((1.5 * x - 1.0) * x - 1.0)
    return (x <= 1.0) * near + (x > 1.0) * (-0.5 * (x - 1.0) * (x - 2.0) ** 2)


def _sine_terms() -> tuple[float, ...]:
    """Return the coefficients of sin(pi x) / x in powers of x**2, the last one first."""
    term, found = math.pi, [math.pi]
    for n in range(2, 22, 2):
        term *= -math.pi * math.pi / (n * (n + 1))
        found.append(term)
    return tuple(found[::-1])


_SINE = _sine_terms()


def _sine(x: Any) -> Any:
    """Return sin(pi x) for |x| <= 1/2, by sums and products alone.

    Those of libraries differ from processor to processor, and with them the voxels would.
    """
    square, total = x * x, 0.0
    for term in _SINE:
        total = total * square + term
    return x * total


def _lanczos(distance: Any, scale: float) -> Any:
    # By operators alone: NumPy is not loaded for the names of methods.
    x = distance / scale
    x = x + (x < 1e-9) * 1e-9  # in the middle it is 1, and not 0 / 0
    whole = (x + 0.5) // 1.0
    # Exactly zero where voxels are hit.
    wave = (1.0 - 2.0 * (whole % 2.0)) * _sine(x - whole)
    third = x / 3.0
    window = _sine(third + (third > 0.5) * (1.0 - 2.0 * third))
    return wave * window * 3.0 / (math.pi * math.pi * x * x)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="linear",
            words="mixes the two voxels around along each axis",
            kind="lerp",
            levels="mean",
            weight=_triangle,
        ),
        Method(
            name="nearest",
            words="takes the voxel that a sample lies in",
            kind="pick",
            levels="mode",
        ),
        Method(
            name="cubic",
            words="draws Catmull-Rom curves through four voxels along each axis",
            kind="weights",
            levels="mean",
            support=2.0,
            lobes=True,
            weight=_catmull_rom,
        ),
        Method(
            name="lanczos",
            words="draws windowed sinc curves of three lobes through six voxels along each axis",
            kind="weights",
            levels="mean",
            support=3.0,
            lobes=True,
            weight=_lanczos,
        ),
        Method(
            name="area",
            words="takes the mean of all voxels that a new one covers where an axis shrinks, each "
            "by its share, and is linear elsewhere",
            kind="weights",
            elsewhere="lerp",
            levels="mean",
        ),
        Method(
            name="mode",
            words="takes the most frequent voxel where an axis shrinks, as labels need, and the "
            "nearest elsewhere",
            kind="cells",
            elsewhere="pick",
            levels="mode",
        ),
        Method(
            name="max",
            words="takes the largest voxel where an axis shrinks, and the nearest elsewhere",
            kind="cells",
            elsewhere="pick",
            takes="max",
            levels="max",
        ),
    )
}

#: Passes voxels on: along axes that are not spatial, and for label images by default.
PICK = METHODS["nearest"]


def find_method(name: str | None, *, is_label: bool = False) -> Method:
    """Return a method by its name; without one the default.

    Examples
    --------
    >>> find_method(None).name, find_method(None, is_label=True).name
    ('linear', 'nearest')
    """
    if name is None:
        return PICK if is_label else METHODS["linear"]
    if name not in METHODS:
        *first, last = METHODS
        raise OptionError(f"method {name!r} is unknown; use {', '.join(first)} or {last}")
    return METHODS[name]
