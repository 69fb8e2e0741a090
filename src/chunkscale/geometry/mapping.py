"""The global coordinate mapping: where a target voxel lies in the source.

Everything is computed per axis in float64 from *global* target indices, so
that any way to cut the target into regions finds the same numbers. A region
takes its part of a table and subtracts the start of its source box as an
integer; an offset that is re-based in floating point would make seams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import GridError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.methods import METHODS, PICK, Kind, find_method

_EPS = 2.0**-52

#: Voxels whose positions differ.
_MOST = 2.0**52


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisMapping:
    """Target index to source index along one axis.

    The centre of target voxel ``i`` lies at the continuous source index
    ``(i + start + 0.5) * step + offset - 0.5``.

    Parameters
    ----------
    source_size, target_size : int
        Voxels on either side.
    step : float
        Target over source voxel size.
    offset : float
        Distance of the first outer edges in source voxels; 0 if they coincide, or if so many
        target voxels lie between them.
    start : int
        Number of these target voxels. What is cut out of a target grid has the very numbers of
        the whole.
    fuzz : float
        Rounding error of the formula. A coordinate that close to a voxel
        centre, or to the middle between two, is taken to be there.
    method : str
        A name in `METHODS`.
    scale : float
        Factor by which the method's kernel is widened: the step where it is antialiased.
    """

    source_size: int
    target_size: int
    step: float
    offset: float
    fuzz: float
    method: str
    scale: float = 1.0
    start: int = 0

    @property
    def kind(self) -> Kind:
        """Which table it makes."""
        if self.scale > 1.0:
            return "weights"
        method = METHODS[self.method]
        # Cells that are wider than a voxel by more than rounding have one each, and share none.
        shrinks = self.step - 1.0 > 4 * self.fuzz
        return method.kind if shrinks else method.elsewhere or method.kind

    @property
    def by_extent(self) -> bool:
        """Whether a target weighs the voxels by their shares in its extent, not by distance."""
        return self.kind == "weights" and METHODS[self.method].weight is None

    @property
    def taps(self) -> int:
        """Source voxels that a target reads at most."""
        if self.kind == "cells" or self.by_extent:
            return min(math.ceil(self.step) + 1, self.source_size)
        if self.kind == "weights":
            return math.ceil(2 * METHODS[self.method].support * self.scale) + 1
        return 2 if self.kind == "lerp" else 1

    @property
    def counted(self) -> int:
        """Source voxels of a target at most whose values are counted, for the most frequent."""
        return self.taps if self.kind == "cells" and METHODS[self.method].takes == "mode" else 1


def grid_mapping(
    source: VoxelGrid, target: VoxelGrid, *, method: str, antialias: bool = False
) -> tuple[AxisMapping, ...]:
    """Return the mapping of every axis from one grid to another.

    Parameters
    ----------
    source, target : VoxelGrid
        Same axes in the same order and units. Non-spatial axes must have the
        same size; they are passed through.
    method : str
        A name in `METHODS`.
    antialias : bool
        Widen the method's kernel by the step along axes that shrink.
    """
    chosen = find_method(method)
    widened = antialias and chosen.weight is not None
    spatial = set(source.spatial)
    mappings = []
    for i, axis in enumerate(source.axes):
        n_in, n_out = source.shape[i], target.shape[i]
        if i not in spatial:
            if n_in != n_out:
                raise GridError(
                    f"axis {axis.name!r} is not spatial and cannot change its size "
                    f"from {n_in} to {n_out}"
                )
            mappings.append(_identity(n_in))
            continue
        s_in, s_out = source.voxel_size[i], target.voxel_size[i]
        edge_in = source.translation[i] - s_in / 2
        edge_out = target.translation[i] - s_out / 2
        step, offset = s_out / s_in, (edge_out - edge_in) / s_in
        _refuse_far(axis.name, step, offset, n_out)
        magnitude = max(abs(source.translation[i]), abs(target.translation[i]), s_in, s_out) / s_in
        start = round(offset / step) if abs(offset / step) < 2**48 else 0
        if abs(offset - start * step) <= 16 * _EPS * magnitude:
            offset, magnitude = 0.0, 1.0
        else:
            start = 0
        # The same for a grid and what is cut out of it, as long as that lies within the source.
        reach = max(1.0, n_in + step, max(-start, start + n_out) * step, magnitude)
        fuzz = 16 * _EPS * reach
        # A sum of weights that only ever has one term needs no halo.
        hits = abs(step - 1.0) * max(n_in, start + n_out) + abs(offset - round(offset)) <= fuzz
        passes = hits and chosen.kind == "weights"
        mappings.append(
            AxisMapping(
                source_size=n_in,
                target_size=n_out,
                step=step,
                offset=offset,
                fuzz=fuzz,
                method=PICK.name if passes else method,
                scale=step if widened and step > 1.0 and not passes else 1.0,
                start=start,
            )
        )
    return tuple(mappings)


def _refuse_far(name: str, step: float, offset: float, count: int) -> None:
    """Raise where positions are numbers of voxels that no index can be."""
    if not 1 / _MOST <= step <= _MOST or abs(offset) + step * count > _MOST:
        raise GridError(
            f"along axis {name!r} the target has {count} voxels of {step:g} of the source's, "
            f"{offset:g} of these from its edge: more than 2**52 cannot be told apart; choose "
            "another voxel size, or correct those of the metadata and their units"
        )


def _identity(size: int) -> AxisMapping:
    return AxisMapping(
        source_size=size, target_size=size, step=1.0, offset=0.0, fuzz=0.0, method=PICK.name
    )


def edge_distance(mapping: AxisMapping, index: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the distance of target centres from the source's outer edge, in source voxels.

    Voxel centres are at halves and voxel borders at integers; both are
    settled here, once for all methods.
    """
    # The sum of whole numbers and a half is exact.
    centre = (np.asarray(index, np.float64) + mapping.start + 0.5) * mapping.step + mapping.offset
    half = np.rint(centre * 2.0) * 0.5
    return np.where(np.abs(centre - half) <= mapping.fuzz, half, centre)


def inside_range(mapping: AxisMapping) -> tuple[int, int]:
    """Return the half-open range of target indices within the source's extent.

    The outer edges belong to the extent.

    Examples
    --------
    >>> m = AxisMapping(source_size=4, target_size=10, step=1.0, offset=-3.0, fuzz=0.0,
    ...                 method="linear")
    >>> inside_range(m)
    (3, 7)
    """

    def first(limit: float, closed: bool) -> int:
        # The formula is monotonic; start a little below the algebraic answer.
        i = math.floor((limit - mapping.offset) / mapping.step - 0.5) - mapping.start - 2
        i = min(max(i, 0), mapping.target_size)
        while i < mapping.target_size:
            centre = float(edge_distance(mapping, float(i)))
            if centre > limit or (closed and centre == limit):
                break
            i += 1
        return i

    start = first(0.0, closed=True)
    return start, max(start, first(float(mapping.source_size), closed=False))
