"""The CUDA kernels, on CuPy arrays of the current device and in its current stream.

The bits are those of `chunkscale.kernels.reference`. The source is ``cuda.cu``;
it is compiled once per data type, whatever the shapes are.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any, NamedTuple

import cupy as cp
import numpy as np

from chunkscale.kernels.backend import Factors, Tables
from chunkscale.kernels.weights import (
    SCALE,
    AxisCells,
    AxisWeights,
    axis_cells,
    axis_weights,
    cell_counts,
    check_block,
    check_out,
    compute_dtype,
    taken,
)

Array = Any  # a cupy.ndarray

# As in cuda.cu.
_LANES, _ROWS, _COLUMNS = 32, 8, 4

#: Planes that a thread makes, and threads that keep a large device busy.
_DEPTH, _THREADS = 64, 2**18

_TYPES = {
    "b1": "unsigned char",
    "i1": "signed char",
    "i2": "short",
    "i4": "int",
    "i8": "long long",
    "u1": "unsigned char",
    "u2": "unsigned short",
    "u4": "unsigned int",
    "u8": "unsigned long long",
    "f2": "unsigned short",
    "f4": "float",
    "f8": "double",
}


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array whose content is undefined."""
    return cp.empty(shape, dtype)


def contiguous(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return a C-ordered array on the device."""
    return cp.ascontiguousarray(array, dtype)


def resample(block: Array, tables: Tables, out: Array | None = None) -> Array:
    """Interpolate along x, then y, then z; of cells take what the tables say.

    Parameters
    ----------
    block : cupy.ndarray, shape (z, y, x)
        C order; bool, integers, float16, float32 or float64.
    tables : tuple of AxisTable
        For z, y and x, with indices from the start of `block`.
    out : cupy.ndarray, optional
        Where the result goes; it must not overlap `block`.

    Returns
    -------
    cupy.ndarray, shape (len(tz.index), len(ty.index), len(tx.index))
        Of the dtype of `block`.
    """
    check_block(block)
    out = _result(out, tuple(len(t.index) for t in tables), block.dtype)
    if not out.size:
        return out
    if takes := taken(tables):
        cells = [axis_cells(t, n) for t, n in zip(tables, block.shape, strict=True)]
        _take("modes" if takes == "mode" else "maxima", block, cells, out)
        return out
    dtype = compute_dtype(block.dtype)
    weights = [axis_weights(t, n, dtype) for t, n in zip(tables, block.shape, strict=True)]
    kernels = compiled(block.dtype)
    held = _uploaded_tables(weights)
    first, weight, exact = held.first, held.weight, held.exact
    strides = _strides(block)
    if all(t.kind == "pick" for t in tables):
        _march(kernels["pick"], block, out, (*strides, *first))
        return out
    if all(w.weight.shape[1] == 1 for w in weights):
        _march(kernels["linear"], block, out, (*strides, *first, *weight))
    else:
        _separable(kernels, block, out, weights, held, dtype)
    if block.dtype.kind in "iu" and block.itemsize == 8:
        arguments = (block, out, *map(np.int32, out.shape), *strides, *first, *exact)
        _launch(kernels["restore"], out.shape, arguments)
    return out


def resample_and_mean(
    block: Array, tables: Tables, factors: Factors, out: Array, coarse: Array
) -> None:
    """Interpolate, and average the cells of the result: `resample`, then `mean`."""
    mean(resample(block, tables, out), factors, coarse)


def mean(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Average the voxels that exist in every cell; see `chunkscale.kernels.reference.mean`.

    Parameters
    ----------
    block : cupy.ndarray, shape (z, y, x)
    factors : tuple of int
        Voxels of a cell along z, y and x: 1 or 2.
    out : cupy.ndarray, optional
        Where the result goes; it must not overlap `block`.
    """
    return _combined("mean", block, factors, out)


def maximum(block: Array, factors: Factors, out: Array | None = None) -> Array:
    """Find the largest voxel of every cell; see `chunkscale.kernels.reference.maximum`.

    Parameters
    ----------
    block : cupy.ndarray, shape (z, y, x)
    factors : tuple of int
        Voxels of a cell along z, y and x: 1 or 2.
    out : cupy.ndarray, optional
        Where the result goes; it must not overlap `block`.
    """
    return _combined("maximum", block, factors, out)


def _combined(name: str, block: Array, factors: Factors, out: Array | None) -> Array:
    check_block(block)
    out = _result(out, cell_counts(block, factors), block.dtype)
    if out.size:
        sizes = map(np.int32, (*block.shape, *out.shape, *factors))
        _launch(compiled(block.dtype)[name], out.shape, (block, out, *sizes))
    return out


def _result(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if out is None:
        return cp.empty(shape, dtype)
    check_out(out, shape, dtype)
    return out


def compiled(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the kernels of a data type by name, compiled for the current device."""
    return _compiled(dtype, cp.cuda.Device().compute_capability)


@functools.cache
def _compiled(dtype: np.dtype[Any], capability: str) -> dict[str, Any]:
    text = resources.files("chunkscale.kernels").joinpath("cuda.cu").read_text("utf-8")
    names = ["linear", "pick", "along_x", "along_y", "along_z", "mean", "maximum"]
    names += ["modes", "modes_of_large", "maxima", "maxima_of_large"]
    if dtype.kind in "iu" and dtype.itemsize == 8:
        names.append("restore")
    module = cp.RawModule(code=_prologue(dtype) + text, options=("-fmad=false",))
    return {name: module.get_function(name) for name in names}


def _prologue(dtype: np.dtype[Any]) -> str:
    """Return the definitions that ``cuda.cu`` asks for."""
    is_float = dtype.kind == "f"
    wide = dtype.kind in "iu" and dtype.itemsize == 8
    if is_float:
        low, high, sums = "0", "0", "double"
    else:
        info = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
        suffix = "ull" if dtype.kind == "u" else "ll"
        # The lowest number has no literal of its own.
        low = f"({info.min + 1}{suffix} - 1)" if info.min else "0"
        high = "1" if dtype.kind == "b" else f"{info.max}{suffix}"
        sums = "int" if dtype.itemsize <= 2 else "long long"
    definitions = {
        "LOW": low,
        "HIGH": high,
        "IS_FLOAT": int(is_float and dtype.itemsize > 2),
        "IS_HALF": int(is_float and dtype.itemsize == 2),
        "IS_WIDE": int(wide),
        "SCALE": SCALE,
        "SIGN": "(-9223372036854775807ll - 1)" if wide and dtype.kind == "u" else "0ll",
    }
    types = {
        "T": _TYPES[dtype.str[1:]],
        "F": "float" if compute_dtype(dtype) == np.float32 else "double",
        "S": sums,
    }
    return "".join(
        [f"typedef {text} {name};\n" for name, text in types.items()]
        + [f"#define {name} {text}\n" for name, text in definitions.items()]
    )


def _launch(
    kernel: Any,
    shape: tuple[int, int, int],
    arguments: tuple[Any, ...],
    *,
    depth: int = 1,
    columns: int = 1,
) -> None:
    """Start a kernel of which each thread makes `columns` of a row and `depth` planes."""
    nz, ny, nx = shape
    blocks = -(-nx // (_LANES * columns)) * -(-ny // _ROWS) * -(-nz // depth)
    kernel((blocks,), (_LANES, _ROWS), arguments)


def _march(kernel: Any, block: Array, out: Array, arguments: tuple[Any, ...]) -> None:
    """Start a kernel whose threads walk down the depth."""
    nz, ny, nx = out.shape
    depth = min(_DEPTH, max(1, nz * ny * nx // (_THREADS * _COLUMNS)))
    sizes = map(np.int32, (nz, ny, nx, depth))
    _launch(kernel, out.shape, (block, out, *sizes, *arguments), depth=depth, columns=_COLUMNS)


def _separable(
    kernels: dict[str, Any],
    block: Array,
    out: Array,
    weights: list[AxisWeights],
    tables: _Tables,
    dtype: np.dtype[Any],
) -> None:
    """Interpolate one axis after the other, through arrays in the compute type."""
    (mz, my, mx), (nz, ny, nx) = block.shape, out.shape
    steps = (
        ("along_x", 2, (mz, my, nx), mx, nx, 1),
        ("along_y", 1, (mz, ny, nx), my, ny, nx),
        ("along_z", 0, (nz, ny, nx), mz, nz, ny * nx),
    )
    values = block
    for name, axis, shape, n_in, n_out, inner in steps:
        result = out if axis == 0 else cp.empty(shape, dtype)
        sizes = (np.int64(result.size), np.int32(n_in), np.int32(n_out), np.int64(inner))
        table = (tables.first[axis], tables.weight[axis], np.int32(weights[axis].weight.shape[1]))
        blocks = min(-(-result.size // 256), 2**20)
        kernels[name]((blocks,), (256,), (values, result, *sizes, *table))
        values = result


def _take(name: str, block: Array, cells: list[AxisCells], out: Array) -> None:
    """Take one voxel of every cell, by the kernels of a name."""
    sizes = [axis.stop - axis.first for axis in cells]
    tables, held = _uploaded([t.astype(np.int32) for t in (*(c.first for c in cells), *sizes)])
    arguments = (block, out, *map(np.int32, out.shape), *_strides(block), *tables)
    kernels = compiled(block.dtype)
    if cells[2].most >= _LANES // 2:
        kernels[f"{name}_of_large"]((-(-out.size // _ROWS),), (_LANES, _ROWS), arguments)
    else:
        _launch(kernels[name], out.shape, arguments)
    del held  # what was started comes before another use of this memory


def _strides(block: Array) -> tuple[np.int64, np.int64]:
    """Return the voxels of a plane and of a row."""
    return np.int64(block.shape[1] * block.shape[2]), np.int64(block.shape[2])


class _Tables(NamedTuple):
    """Tables on the device: addresses for z, y and x, and the array that holds them."""

    first: tuple[int, ...]
    weight: tuple[int, ...]
    exact: tuple[int, ...]
    memory: Array


def _uploaded_tables(weights: list[AxisWeights]) -> _Tables:
    parts = [w.weight for w in weights]
    parts += [w.first.astype(np.int32) for w in weights]
    parts += [w.exact for w in weights]
    addresses, memory = _uploaded(parts)
    return _Tables(tuple(addresses[3:6]), tuple(addresses[:3]), tuple(addresses[6:9]), memory)


def _uploaded(parts: list[np.ndarray[Any, Any]]) -> tuple[list[int], Array]:
    """Copy arrays to the device, all at once: their addresses, and the array that holds them."""
    starts = np.cumsum([0, *(-(-part.nbytes // 8) * 8 for part in parts)])
    packed = np.zeros(int(starts[-1]), np.uint8)
    for start, part in zip(starts, parts, strict=False):
        packed[start : start + part.nbytes] = part.reshape(-1).view(np.uint8)
    memory = cp.empty(packed.shape, np.uint8)
    # From memory that is not pinned: the call returns when it has been read.
    stream = cp.cuda.get_current_stream()
    kind = cp.cuda.runtime.memcpyHostToDevice
    cp.cuda.runtime.memcpyAsync(
        memory.data.ptr, packed.ctypes.data, packed.nbytes, kind, stream.ptr
    )
    return [memory.data.ptr + int(start) for start in starts[:-1]], memory
