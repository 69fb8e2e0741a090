"""Why an array cannot be opened, told from its metadata: libraries blame what they meet first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np

from chunkscale.errors import MetadataError
from chunkscale.storage.documents import ArrayDocument, named_dtype
from chunkscale.storage.failures import first_line

#: Bytes of an item by kind of number, as far as they can be resampled.
_ITEMS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}

#: Who has codecs that come neither with zarr-python nor with numcodecs, by the start of a name.
_PACKAGES = {
    2: {"imagecodecs_": "imagecodecs-numcodecs", "wavpack": "wavpack-numcodecs"},
    3: {"imagecodecs_": "imagecodecs-zarr", "any-numcodecs.": "zarr-any-numcodecs"},
}
_EXTRAS = {"zfpy": "zfpy", "pcodec": "pcodec", "msgpack2": "msgpack", "crc32c": "crc32c"}

#: Codecs that run code which their chunks hold.
_RUN_CODE = ("pickle", "cloudpickle", "dill")

#: Numbers that JSON has no form for.
_SPECIAL = ("NaN", "Infinity", "-Infinity")


def refuse_code(uri: str, document: ArrayDocument) -> None:
    """Raise for what could run code when a chunk is decoded, whatever this environment makes of it.

    Raises
    ------
    MetadataError
        Naming the codec, wherever in the document it stands, or the data type.
    """
    stated = document.content.get("dtype", document.content.get("data_type"))
    if found := _code(document):
        raise MetadataError(
            f"array {uri!r} is not opened: its codec {found!r} would run any code stored in its "
            "chunks; get a copy written without it"
        )
    if isinstance(stated, str) and stated.lstrip("|<>=") in ("O", "object"):
        raise MetadataError(
            f"the data type is {stated!r} of array {uri!r}, which holds Python objects, not "
            "voxels; give an image of numbers"
        )


def _code(document: ArrayDocument) -> str:
    """Return the name of a codec that runs what it decodes; nothing if there is none."""
    keys = ("filters", "compressor", "codecs", "storage_transformers")
    waiting: list[object] = [document.content.get(key) for key in keys]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            names = [found.get("id"), found.get("name")]
            for name in names:
                if isinstance(name, str) and name.rpartition(".")[2] in _RUN_CODE:
                    return name
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return ""


def refuse_misread(uri: str, document: ArrayDocument) -> None:
    """Raise for what zarr-python opens, and takes for something else than its metadata says."""
    for fault in _misread(document.content, document.name, document.zarr_format):
        raise MetadataError(f"array {uri!r} cannot be opened: {fault}")


def _misread(document: Mapping[str, Any], name: str, zarr_format: int) -> Iterator[str]:
    dtype, stated = _dtype(document, zarr_format), document.get("fill_value")
    # What is spelled as a text is read as its number, but any text is True.
    is_text = isinstance(stated, str) and dtype is not None and dtype.kind != "b"
    if dtype is not None and not is_text and not _holds(dtype, stated, zarr_format):
        yield _fill_fault(dtype, stated, name)
    grid = document.get("chunk_grid")
    inner = grid.get("configuration") if isinstance(grid, Mapping) else None
    chunks = inner.get("chunk_shape") if isinstance(inner, Mapping) else document.get("chunks")
    if isinstance(chunks, list) and not all(_is_number(n) and n >= 1 for n in chunks):
        key = "chunks" if zarr_format == 2 else "chunk_shape"
        yield (
            f'its "{key}" is {json.dumps(chunks)}, but chunks need at least one voxel along each '
            f"axis; correct that in its {name}"
        )


def why_unopened(document: ArrayDocument, error: BaseException) -> str:
    """Return why zarr-python does not open an array, and what to do."""
    faults = _faults(document.content, document.name)
    damaged = "its metadata is damaged, or needs what this environment lacks"
    return next(faults, f"{first_line(error)}; {damaged}")


def format_fault(document: Mapping[str, Any] | None, name: str) -> str:
    """Return what is wrong with the format that a document says; nothing if it is right."""
    expected = 3 if name == "zarr.json" else 2
    stated = expected if document is None else document.get("zarr_format")
    if type(stated) is int and stated == expected:
        return ""
    return (
        f"its zarr_format is {stated!r} and should be the number {expected}; correct that in its "
        f"{name}"
    )


def _short_hands(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is spelled as zarr 3.1 allows and the library does not read."""
    stated = document.get("data_type")
    if isinstance(stated, Mapping) and not stated.get("configuration"):
        yield _spelled("data_type", stated, stated.get("name"))
    stated = document.get("chunk_key_encoding")
    if isinstance(stated, str):
        separator = "." if stated == "v2" else "/"
        spelled = {"name": stated, "configuration": {"separator": separator}}
        yield _spelled("chunk_key_encoding", stated, spelled)
    codecs = document.get("codecs")
    if isinstance(codecs, list) and any(isinstance(codec, str) for codec in codecs):
        # One byte has no order, and all others are told which.
        order = {"name": "bytes", "configuration": {"endian": "little"}}
        named = [c if not isinstance(c, str) else {"name": c} for c in codecs]
        yield _spelled("codecs", codecs, [order if c == {"name": "bytes"} else c for c in named])


def _spelled(key: str, stated: object, spelled: object) -> str:
    return (
        f'its "{key}" is {json.dumps(stated)}, a short form that the installed zarr does not read; '
        f'set "{key}": {json.dumps(spelled)} in its zarr.json'
    )


def _faults(document: Mapping[str, Any], name: str) -> Iterator[str]:
    zarr_format = 2 if name == ".zarray" else 3
    if fault := format_fault(document, name):
        yield fault
    if zarr_format == 3:
        yield from _short_hands(document)
    dtype = _dtype(document, zarr_format)
    if dtype is None:
        stated = document.get("dtype" if zarr_format == 2 else "data_type")
        yield (
            f"its data type is {stated!r}; supported are bool, integers of 8 to 64 bit and floats "
            "of 16 to 64 bit"
        )
    grid = document.get("chunk_grid", {})
    if zarr_format == 3 and isinstance(grid, Mapping) and grid.get("name", "regular") != "regular":
        yield grid_fault(grid["name"])
    for codec in _codecs(document, zarr_format):
        if not isinstance(codec, str):
            key = "id" if zarr_format == 2 else "name"
            yield (
                f'it has a codec without its name; restore the "{key}" of each codec in its {name}'
            )
        elif not _is_installed(codec, zarr_format):
            yield codec_fault(codec, zarr_format)
    stated = document.get("fill_value", ...)
    if dtype is not None and not _holds(dtype, stated, zarr_format):
        yield _fill_fault(dtype, stated, name)


def _fill_fault(dtype: np.dtype[Any], stated: object, name: str) -> str:
    value = "missing" if stated is ... else f"{stated!r}, which {dtype.name} cannot hold"
    zero = "false" if dtype.kind == "b" else "0"
    return (
        f"its fill_value, which missing chunks are read as, is {value}; "
        f'set "fill_value": {zero} (or what it should be) in its {name}'
    )


def grid_fault(name: object) -> str:
    return (
        f"its chunk grid is {name!r}, and only 'regular' ones can be read, whose chunks are all of "
        "one shape; store it again with such chunks"
    )


def codec_fault(name: str, zarr_format: int) -> str:
    bare = name.removeprefix("numcodecs.")
    known = f"numcodecs[{_EXTRAS[bare]}]" if bare in _EXTRAS else "the package that has it"
    for start, package in _PACKAGES[zarr_format].items():
        known = package if name.startswith(start) else known
    return f"its codec {name!r} is not installed here; install {known}"


def _dtype(document: Mapping[str, Any], zarr_format: int) -> np.dtype[Any] | None:
    """Return the data type that is stated, if it can be resampled."""
    dtype = named_dtype(document.get("dtype" if zarr_format == 2 else "data_type"))
    known = dtype is not None and dtype.itemsize in _ITEMS.get(dtype.kind, ())
    return dtype if known else None


def _codecs(document: Mapping[str, Any], zarr_format: int) -> Iterator[object]:
    if zarr_format == 2:
        filters = document.get("filters")
        listed = [*(filters if isinstance(filters, list) else ()), document.get("compressor")]
        yield from (c.get("id") for c in listed if isinstance(c, Mapping))
        return
    codecs = document.get("codecs")
    for codec in codecs if isinstance(codecs, list) else ():
        if isinstance(codec, Mapping):
            yield codec.get("name")
            inner = codec.get("configuration")
            yield from _codecs(inner, zarr_format) if isinstance(inner, Mapping) else ()
        else:
            yield codec


def _is_installed(name: str, zarr_format: int) -> bool:
    if zarr_format == 2:
        from numcodecs.registry import codec_registry, entries

        return name in codec_registry or name in entries
    from zarr.registry import get_codec_class

    try:
        get_codec_class(name)
    except Exception as error:  # a `KeyError` in some versions, an error of its own in others
        return not (isinstance(error, KeyError) or "nknownCodec" in type(error).__name__)
    return True


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _holds(dtype: np.dtype[Any], value: object, zarr_format: int) -> bool:
    """Whether missing voxels of a data type can have a value, as JSON has it."""
    if value is None:
        return zarr_format == 2
    if dtype.kind == "f" and isinstance(value, str):
        # Version 3 has floats bit by bit, too.
        return value in _SPECIAL or (zarr_format == 3 and value.startswith("0x"))
    if not isinstance(value, int | float):
        return False
    if dtype.kind == "f":
        if isinstance(value, float) and not math.isfinite(value):
            return True
        with np.errstate(over="ignore"):
            return abs(value) < 2**1024 and bool(np.isfinite(dtype.type(float(value))))
    if isinstance(value, float) and not value.is_integer():
        return False
    if dtype.kind == "b":
        return value in (0, 1)
    info = np.iinfo(dtype)
    return int(info.min) <= value <= int(info.max)
