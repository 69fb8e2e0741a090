"""What users pass, as the values that the rest works with.

Every function takes an option in all its spellings and returns one, or raises
an error that names the option, its value and the remedy.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chunkscale.errors import OptionError
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.methods import DOWNSAMPLING, METHODS, Downsample, MethodName, find_method
from chunkscale.geometry.pyramid import RULES, Layout, PyramidRule
from chunkscale.parameters import Shape, StorageLayout
from chunkscale.text import by_commas, count

if TYPE_CHECKING:
    from chunkscale.host.limits import Limit

GIB = 2**30

#: No run has less memory, so a plain number below lacks its unit: GiB up to what machines have,
#: then MiB, then KiB.
_LEAST_BYTES, _MOST_GIB, _MOST_MIB = 2**20, 256, 2**16


def parse_bytes(value: int | float | str, name: str = "memory") -> int:
    """Return a number of bytes.

    Examples
    --------
    >>> parse_bytes("300MiB"), parse_bytes("4 GB"), parse_bytes(2**30)
    (314572800, 4000000000, 1073741824)
    """
    from dask.utils import parse_bytes as dask_parse_bytes

    try:
        number = int(dask_parse_bytes(value))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise OptionError(
            f"{name} {value!r} is not a size; give bytes, or a size like 4GiB"
        ) from error
    text = str(value).strip()
    if number < _LEAST_BYTES and text.replace(".", "", 1).isdigit() and float(text) > 0:
        unit = "GiB" if number < _MOST_GIB else "MiB" if number < _MOST_MIB else "KiB"
        meant = f"{text}{unit}"
        raise OptionError(f"{name} {value!r} is {count(number, 'byte')}; did you mean {meant!r}?")
    if number <= 0:
        raise OptionError(f"{name} {value!r} is not positive")
    return number


#: Of what a container, a job or the shell leaves: the rest is for the kernel, whose buffers count,
#: and for what else begins there.
OWN_PART = 0.9


def default_memory(workers: int, limits: Iterable[Limit]) -> Limit:
    """Return what a run may hold if nobody says, no more than one with good regions uses.

    Parameters
    ----------
    workers : int
    limits : iterable of Limit
        Those of this process; see `chunkscale.host.limits.memory_limits`.
    """
    from chunkscale.host.limits import Limit
    from chunkscale.host.memory import available_bytes

    found = [
        Limit(GIB + workers * GIB, f"the default with {count(workers, 'worker')}"),
        Limit(available_bytes() // 2, "half of the free memory"),
        *(
            Limit(int(limit.amount * OWN_PART), f"{OWN_PART:.0%} of {limit.origin}")
            for limit in limits
        ),
    ]
    return min(found, key=lambda limit: limit.amount)


def shape_option(name: str, value: Shape | None, grid: VoxelGrid) -> tuple[int, ...] | None:
    """Return a chunk or shard option as one number per axis."""
    if value is None:
        return None
    spatial = grid.spatial
    try:
        if isinstance(value, bool):
            raise TypeError
        if isinstance(value, str):
            numbers = [int(part) for part in by_commas(value).split(",")]
        elif isinstance(value, Sequence | np.ndarray):
            numbers = [operator.index(cast(Any, number)) for number in value]
        else:
            numbers = [operator.index(cast(Any, value))]
    except (TypeError, ValueError):
        raise OptionError(
            f"{name} {value!r} is not understood; give whole numbers of voxels per axis, like "
            "64,128,128, or one for all spatial axes"
        ) from None
    if len(numbers) == 1:
        numbers *= len(spatial)
    if len(numbers) == len(spatial):
        full = [1] * grid.ndim
        for i, number in zip(spatial, numbers, strict=True):
            full[i] = number
        numbers = full
    if len(numbers) != grid.ndim:
        raise OptionError(
            f"{name} {tuple(numbers)} has {len(numbers)} values; give one for all, "
            f"{len(spatial)} for the spatial axes, or {grid.ndim} for the axes {grid.names}"
        )
    if min(numbers) < 1:
        raise OptionError(f"{name} {tuple(numbers)} has a value below 1")
    for i in set(range(grid.ndim)) - set(spatial):
        if numbers[i] != 1:
            raise OptionError(
                f"{name} {tuple(numbers)} is {numbers[i]} along {grid.axes[i].name!r}; "
                "it must be 1 along axes that are not spatial"
            )
    return tuple(numbers)


def layouts(
    grid: VoxelGrid, wanted: StorageLayout, edges: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[Layout, bool]]:
    """Yield layouts, the best first, with whether shards may be added to them.

    Where the chunk is left open, smaller ones follow, for runs with little memory.

    Parameters
    ----------
    grid : VoxelGrid
        Of the target.
    wanted : StorageLayout
    edges : mapping
        Default chunk edges, in shards and without, by number of spatial axes.
    """
    shard, version = wanted.shard, wanted.version
    none = isinstance(shard, int | str) and shard in (0, "0", "none")
    sharded = version != "0.4" and not none
    if version == "0.4" and not (none or shard is None):
        raise OptionError(
            f"shard {shard!r} is not possible in OME-Zarr 0.4; use 0.5 or leave the shard out"
        )
    given = shape_option("chunk", wanted.chunk, grid)
    edge = edges[len(grid.spatial)][0 if sharded else 1]
    chunks = (
        [given]
        if given
        else [
            tuple(edge >> halvings if i in grid.spatial else 1 for i in range(grid.ndim))
            for halvings in range(3)
        ]
    )
    outer = shape_option("shard", shard if sharded else None, grid)
    for full in chunks:
        inner = tuple(min(c, n) for c, n in zip(full, grid.shape, strict=True))
        if outer is None:
            yield Layout(chunk=inner), sharded
            continue
        fitting = tuple(
            c if c == n and s >= n else s for s, c, n in zip(outer, inner, grid.shape, strict=True)
        )
        if any(s % c for s, c in zip(fitting, inner, strict=True)):
            raise OptionError(
                f"shard {fitting} is not a multiple of the chunk {inner}; change one of them"
            )
        yield Layout(chunk=inner, shard=fitting), False


def method(name: str | None, is_label: bool, antialias: bool) -> MethodName:
    """Return the name of the interpolation method, the default if none is given."""
    if not isinstance(antialias, bool | np.bool_):
        raise OptionError(f"antialias {antialias!r} must be True or False")
    chosen = find_method(name, is_label=is_label)
    if antialias and chosen.weight is None:
        raise OptionError(
            f"antialias does not apply to the method {chosen.name}"
            + (" (the default for label images)" if name is None else "")
            + "; leave one of them out"
        )
    return chosen.name


def _is_int(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def outside(value: float | str, dtype: str) -> float | int | None:
    """Return the fill value for samples outside the source; None for the edge voxel."""
    if isinstance(value, str) and value == "edge":
        return None
    try:
        number: float = float(value)
        kind = np.dtype(dtype)
        if kind.kind in "iu" and number.is_integer():
            info = np.iinfo(kind)
            exact = int(number) if isinstance(value, str) and not _is_int(value) else int(value)
            if info.min <= exact <= info.max:
                return exact
        elif (kind.kind == "b" and number in (0, 1)) or kind.kind == "f":
            return number + 0.0  # there is one zero outside, not two
    except (TypeError, ValueError):
        pass
    raise OptionError(f"outside {value!r} must be 'edge' or a value of the data type {dtype}")


def pyramid_rule(value: str) -> PyramidRule:
    """Return the rule of a pyramid, checked."""
    for rule in RULES:
        if value == rule:
            return rule
    raise OptionError(f"pyramid {value!r} is not known; choose one of {', '.join(RULES)}")


def downsample(value: str | None, method: str, is_label: bool) -> Downsample:
    """Return what levels are made with; if it is not given, as the method says."""
    chosen = METHODS[method]
    if value is None:
        return chosen.levels
    if value not in DOWNSAMPLING:
        *first, last = DOWNSAMPLING
        raise OptionError(f"downsample {value!r} is unknown; use {', '.join(first)} or {last}")
    if value == "mean" and is_label and not chosen.blends:
        raise OptionError(
            "downsample 'mean' would make new ids; leave it out, which takes the most frequent "
            "id of each cell, or use nearest or max"
        )
    return value


def positive(name: str, value: int | None) -> int | None:
    """Return a count, checked."""
    if value is None:
        return None
    try:
        number = 0 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= 1024:
        raise OptionError(
            f"{name} {value!r} must be a whole number from 1 to 1024; give one, or leave it out"
        )
    return number


def check_dtype(what: str, dtype: np.dtype[Any]) -> None:
    """Refuse data types that cannot be interpolated."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise OptionError(
            f"{what} has the data type {dtype}; supported are bool, integers of 8 to 64 bit "
            "and floats of 16 to 64 bit"
        )
