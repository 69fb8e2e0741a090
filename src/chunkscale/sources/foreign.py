"""Arrays of other libraries: taken as plain ones, or refused where something would get lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import OptionError, RegionError

_MASK = "its mask would be lost; fill it first: array.filled(...)"

#: Module -> why its arrays are not taken, and what is.
_REFUSED = {
    "xarray": "its coordinates would be lost; join such arrays with xarray.concat, and pass that",
    "zarr": "it would all be loaded; pass the path of its image, or dask.array.from_zarr(array)",
    "h5py": "it would all be loaded; pass dask.array.from_array(array)",
    "tensorstore": "it would all be loaded; if it fits into memory, pass array.read().result()",
    "pandas": "its labels would be lost; pass frame.to_numpy()",
    "polars": "its labels would be lost; pass frame.to_numpy()",
    "sparse": "it has no voxels where it is empty; pass array.todense()",
    "scipy": "it has no voxels where it is empty; pass array.toarray()",
    "dask.dataframe": "its labels would be lost; pass frame.to_dask_array(lengths=True)",
    "dask.delayed": "it does not say its shape; pass dask.array.from_delayed(value, shape, dtype)",
}

_CUPY = "it is on a GPU; copy it with cupy.asnumpy(array)"


def is_dask_array(value: object) -> bool:
    """Whether `value` is a Dask array; does not import Dask."""
    return type(value).__module__.startswith("dask.array") and hasattr(value, "chunks")


def is_on_gpu(value: object) -> bool:
    """Whether `value` is an array of CuPy; does not import CuPy."""
    return type(value).__module__.partition(".")[0] == "cupy"


def plain_array(given: Any, *, on_gpu: bool) -> Any:
    """Return an array of Dask, of CuPy or plain NumPy.

    Parameters
    ----------
    given : array_like
    on_gpu : bool
        Whether one of CuPy may stay what it is.

    Raises
    ------
    OptionError
        If it has more to say than its voxels (a mask, units, coordinates), or cannot be turned
        into an array at all.
    """
    if isinstance(given, list | tuple):
        _refuse_items(given)
    elif isinstance(given, str | bytes):
        raise refusal(given, "give an array; chunkscale.resample takes the path of an image")
    elif reason := why_refused(given, on_gpu):
        raise refusal(given, reason)
    if is_dask_array(given):
        _refuse_blocks(given, on_gpu)
        return given
    if is_on_gpu(given):
        return given
    try:
        found = np.asanyarray(given)
    except Exception as error:  # whatever another library finds wrong with it
        raise refusal(given, f"NumPy cannot make an array of it: {error}") from error
    if reason := why_refused(found, on_gpu):
        raise refusal(given, reason)
    return np.asarray(found)


def refusal(given: object, reason: str) -> OptionError:
    kind = type(given)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return OptionError(f"the source is a {name}, which is not supported: {reason}")


def why_refused(given: Any, on_gpu: bool = False) -> str:
    """Return what would be lost of an array, and what to do; nothing if it can be taken."""
    if isinstance(given, np.ma.MaskedArray):
        return _MASK
    for kind in type(given).__mro__:
        for name, reason in _REFUSED.items():
            if f"{kind.__module__}.".startswith(f"{name}."):
                return reason
    if is_on_gpu(given):
        return "" if on_gpu else _CUPY
    if is_dask_array(given):
        return ""
    if isinstance(mask := getattr(given, "mask", None), np.ndarray | bool | np.bool_):
        return f"its mask ({type(mask).__name__}) would be lost; fill it and pass the values alone"
    for name in ("unit", "units"):
        if (unit := getattr(given, name, None)) is not None and not callable(unit):
            return (
                f"its unit {str(unit)!r} would be lost; pass its values alone (.value or "
                ".magnitude)"
            )
    return ""


def _refuse_items(items: list[Any] | tuple[Any, ...]) -> None:
    """Refuse arrays in lists that NumPy would strip, or compute."""
    for item in items:
        if isinstance(item, list | tuple):
            _refuse_items(item)
        elif is_dask_array(item):
            raise refusal(items, "it would be computed at once; pass dask.array.stack(list)")
        elif reason := hasattr(item, "__array__") and why_refused(item):
            raise OptionError(f"the source is a {type(items).__name__} of arrays: {reason}")


def _refuse_blocks(array: Any, on_gpu: bool) -> None:
    if _is_plain(array._meta, on_gpu):
        return
    kind = type(array._meta)
    raise OptionError(
        f"the blocks of the Dask array are of {kind.__module__}.{kind.__qualname__}; make plain "
        "NumPy arrays of them first: array.map_blocks with numpy.ma.filled, cupy.asnumpy or the "
        "like"
    )


def _is_plain(block: object, on_gpu: bool) -> bool:
    held = isinstance(block, np.ndarray) or is_on_gpu(block)
    return held and not why_refused(block, on_gpu)


def check_block(
    block: object,
    index: object,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    on_gpu: bool = False,
) -> NDArray[Any]:
    """Return a block of a Dask array, or refuse what is not what its array says.

    NumPy would repeat or convert it silently, or leave a mask or a unit behind.
    """
    found: Any = block
    if _is_plain(block, on_gpu) and found.shape == shape and found.dtype.newbyteorder("=") == dtype:
        return found  # type: ignore[no-any-return]
    raise RegionError(
        f"block {index} of the Dask array is not what the array says: a {type(block).__name__} of "
        f"shape {getattr(block, 'shape', None)} and data type {getattr(block, 'dtype', None)}, "
        f"not an ndarray of shape {shape} and {dtype}; correct the function that makes it (a mask "
        "must be filled: .filled(...)), or what map_blocks was told of its chunks and dtype"
    )
