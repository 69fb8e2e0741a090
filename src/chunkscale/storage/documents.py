"""Metadata documents as they are stored, read without opening what they describe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from chunkscale.errors import MetadataError
from chunkscale.storage.failures import first_line
from chunkscale.storage.locations import join
from chunkscale.storage.stores import store_of

#: Requests at once where there are many levels.
_REQUESTS = 8

ABSENT = "does not exist"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFacts:
    """What the document of an array says; nothing is checked that is not needed.

    Parameters
    ----------
    shape : tuple of int
        Empty if that cannot be told; `problem` says why then.
    dtype : str
        NumPy's name of it, or as it is spelled where there is none.
    names : tuple, optional
        Of the dimensions, where they have any (zarr 3).
    problem : str
    """

    shape: tuple[int, ...] = ()
    dtype: str = ""
    names: tuple[str | None, ...] | None = None
    problem: str = ""


def read_document(uri: str) -> tuple[Mapping[str, Any] | None, str]:
    """Return the JSON object at a location, or None and why there is none."""
    try:
        content = store_of(uri).get(uri)
        found = None if content is None else json.loads(content)
    except Exception as error:  # each store and each damaged document has its own
        return None, f"cannot be read: {first_line(error)}"
    if content is None:
        return None, ABSENT
    return (found, "") if isinstance(found, dict) else (None, "is no JSON object")


def stored_group(uri: str) -> Mapping[str, Any] | None:
    """Return the attributes of a group as its own documents have them; None if it is none."""
    newer, _ = read_document(join(uri, "zarr.json"))
    if newer is not None:
        found = newer.get("attributes") or {}
        return found if newer.get("node_type") == "group" and isinstance(found, dict) else None
    return zarr_2_beside(uri)


def array_facts(uris: Iterable[str], zarr_format: int) -> list[ArrayFacts]:
    """Return what there is to know of arrays with one or two small reads for each.

    They are looked for in the format of their group first.
    """
    listed = list(uris)
    look = partial(_array_facts, formats=(zarr_format, 5 - zarr_format))
    if all(store_of(uri).is_local for uri in listed):
        return [look(uri) for uri in listed]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(look, listed))


def _array_facts(uri: str, formats: tuple[int, int]) -> ArrayFacts:
    problems = []
    for zarr_format in formats:
        name = "zarr.json" if zarr_format == 3 else ".zarray"
        found, problem = read_document(join(uri, name))
        if found is not None and found.get("node_type", "array") == "array":
            return _facts(found)
        problems.append(problem or ABSENT)  # a stray group says nothing of an array
    return ArrayFacts(problem=next((text for text in problems if text != ABSENT), ABSENT))


def _facts(found: Mapping[str, Any]) -> ArrayFacts:
    shape, names = found.get("shape"), found.get("dimension_names")
    if not isinstance(shape, list) or not shape or not all(type(n) is int for n in shape):
        return ArrayFacts(problem=f"has the shape {shape!r}")
    return ArrayFacts(
        shape=tuple(shape),
        dtype=_type_name(found.get("data_type", found.get("dtype"))),
        names=tuple(names) if isinstance(names, list) else None,
    )


def _type_name(stated: object) -> str:
    """Return the name of a data type, which the formats spell in their ways."""
    stated = stated.get("name") if isinstance(stated, Mapping) else stated
    try:
        return np.dtype(stated).name if isinstance(stated, str) else str(stated)
    except TypeError:
        return str(stated)


def refuse_two_arrays(uri: str) -> None:
    """Raise where the zarr.json of an array lies beside the .zarray of an image of zarr 2.

    It would be read instead, and the chunks that are there would be taken for missing.
    """
    found, _ = read_document(join(uri, "zarr.json"))
    if found and found.get("node_type") == "array":
        beside, _ = read_document(join(uri, ".zarray"))
        if beside is not None:
            raise MetadataError(
                f"array {uri!r} has metadata of both zarr formats, and its group is of zarr 2: "
                "delete its zarr.json if its chunks belong to .zarray, or else its .zarray"
            )


def zarr_2_beside(uri: str) -> Mapping[str, Any] | None:
    """Return the attributes of a zarr 2 group that lies at the place of a zarr 3 group."""
    # Some servers send an object of their own for whatever they do not have.
    if "zarr_format" not in (read_document(join(uri, ".zgroup"))[0] or {}):
        return None
    return read_document(join(uri, ".zattrs"))[0] or {}
