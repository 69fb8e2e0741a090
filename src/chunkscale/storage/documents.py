"""Metadata documents of zarr as they are stored."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from chunkscale.errors import AccessDeniedError, MetadataError, SourceNotFoundError
from chunkscale.storage.failures import StoreError, clear_metadata_errors, first_line
from chunkscale.storage.locations import join
from chunkscale.storage.stores import store_of

#: Requests at once where there are many levels.
_REQUESTS = 8

#: Of a document: what it says takes ten and twenty times as much memory.
MOST_BYTES = 32 * 2**20

ABSENT = "does not exist"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayDocument:
    """What is stored of an array besides its chunks.

    Parameters
    ----------
    zarr_format : {2, 3}
    content : dict
        Its document; of zarr 2 with its attributes, which are a document of their own there.
    """

    zarr_format: Literal[2, 3]
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """How the document is called."""
        return "zarr.json" if self.zarr_format == 3 else ".zarray"

    @property
    def text(self) -> str:
        """What it says, to be compared: a number may be NaN, which equals nothing."""
        return json.dumps(self.content, sort_keys=True)

    def digest(self) -> str:
        """Return a hash of what it says."""
        return hashlib.sha256(self.text.encode()).hexdigest()


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
    document : ArrayDocument, optional
        Without the attributes of zarr 2.
    """

    shape: tuple[int, ...] = ()
    dtype: str = ""
    names: tuple[str | None, ...] | None = None
    problem: str = ""
    document: ArrayDocument | None = None


def parsed(content: bytes | None, name: str) -> dict[str, Any]:
    """Return the JSON object of a document.

    Raises
    ------
    ValueError, RecursionError
        If there is none.
    """
    found = json.loads(content or b"")
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")
    return found


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a document as zarr-python spells it."""
    return json.dumps(document, indent=2).encode()


def read_document(uri: str) -> tuple[dict[str, Any] | None, str]:
    """Return the JSON object at a location, or None and why there is none."""
    try:
        content = store_of(uri).get(uri, MOST_BYTES)
        found = None if content is None else json.loads(content)
    except Exception as error:  # each store and each damaged document has its own
        return None, f"cannot be read: {first_line(error)}"
    if content is None:
        return None, ABSENT
    return (found, "") if isinstance(found, dict) else (None, "is not a JSON object")


@dataclass(frozen=True, slots=True)
class Answers:
    """What a store says when it is asked for documents of a place.

    Parameters
    ----------
    uri : str
    found : dict of str to bytes
    failures : dict of str to OSError
        Of those that may be there. Servers tell many things of what is not there, so that these
        count only where no other document tells what the place is.
    """

    uri: str
    found: dict[str, bytes]
    failures: dict[str, OSError]

    def why_missing(self) -> Exception | None:
        """Return what is wrong where nothing is found, if it is more than that."""
        kinds = (StoreError, AccessDeniedError, OSError)
        failures = (e for kind in kinds for e in self.failures.values() if isinstance(e, kind))
        return next(failures, None) or store_of(self.uri).why_missing(self.uri)


def ask(uri: str, names: Iterable[str]) -> Answers:
    """Ask for documents of these names below a location; what a local one raises passes."""
    listed, store = list(names), store_of(uri)

    def look(name: str) -> bytes | OSError | None:
        try:
            return store.get(join(uri, name), MOST_BYTES)
        except OSError as error:
            if store.is_local:
                raise
            return error

    if store.is_local:
        answers = list(map(look, listed))
    else:
        with ThreadPoolExecutor(_REQUESTS) as pool:
            answers = list(pool.map(look, listed))
    named = dict(zip(listed, answers, strict=True))
    return Answers(
        uri,
        found={name: answer for name, answer in named.items() if isinstance(answer, bytes)},
        failures={name: answer for name, answer in named.items() if isinstance(answer, OSError)},
    )


def read_array(uri: str, zarr_format: Literal[2, 3] | None = None) -> ArrayDocument:
    """Read the document of an array: the newer one of two, unless a format is asked for.

    Raises
    ------
    SourceNotFoundError
        If there is none; `AccessDeniedError` if that cannot be told.
    MetadataError
        If it is none.
    """
    names = ["zarr.json"] * (zarr_format != 2) + [".zarray", ".zattrs"] * (zarr_format != 3)
    with clear_metadata_errors(f"array {uri!r}"):
        answers = ask(uri, names)
        if document := array_document(answers.found):
            return document
        if answers.found.keys() - {".zattrs"}:
            raise MetadataError(f"{uri!r} is a zarr group instead of an array")
        if error := answers.why_missing():
            raise error
        needed = " nor ".join(name for name in names if name != ".zattrs")
        raise SourceNotFoundError(f"array {uri!r} does not exist: there is no {needed}")


def array_document(found: Mapping[str, bytes]) -> ArrayDocument | None:
    """Return the document of an array out of those of its place; None if none is an array's."""
    if "zarr.json" in found:
        document = parsed(found["zarr.json"], "zarr.json")
        if document.get("node_type") != "group":
            return ArrayDocument(zarr_format=3, content=document)
    if ".zarray" in found:  # a tool may have left the zarr.json of a group beside it
        return _of_zarr_2(parsed(found[".zarray"], ".zarray"), found.get(".zattrs"))
    return None


def _of_zarr_2(document: Mapping[str, Any], attributes: bytes | None) -> ArrayDocument:
    own = {} if attributes is None else parsed(attributes, ".zattrs")
    return ArrayDocument(zarr_format=2, content={**document, "attributes": own})


def with_attributes(uri: str, document: ArrayDocument) -> ArrayDocument:
    """Return a document with the attributes of its array, of which facts have none."""
    if document.zarr_format == 3:
        return document
    with clear_metadata_errors(f"array {uri!r}"):
        return _of_zarr_2(document.content, ask(uri, [".zattrs"]).found.get(".zattrs"))


def stored_group(uri: str) -> Mapping[str, Any] | None:
    """Return the attributes of a group as its own documents have them; None if it is none."""
    newer, _ = read_document(join(uri, "zarr.json"))
    if newer is not None:
        found = newer.get("attributes") or {}
        return found if newer.get("node_type") == "group" and isinstance(found, dict) else None
    # Some servers send an object of their own for whatever they do not have.
    if "zarr_format" not in (read_document(join(uri, ".zgroup"))[0] or {}):
        return None
    return read_document(join(uri, ".zattrs"))[0] or {}


def array_facts(uris: Iterable[str], zarr_format: int) -> list[ArrayFacts]:
    """Return what there is to know of arrays with one or two small reads for each.

    They are looked for in the format of their group first.
    """
    listed = list(uris)
    look = partial(_array_facts, formats=(3, 2) if zarr_format == 3 else (2, 3))
    if all(store_of(uri).is_local for uri in listed):
        return [look(uri) for uri in listed]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(look, listed))


def _array_facts(uri: str, formats: tuple[Literal[2, 3], ...]) -> ArrayFacts:
    problems = []
    for zarr_format in formats:
        found, problem = read_document(join(uri, "zarr.json" if zarr_format == 3 else ".zarray"))
        if found is not None and found.get("node_type", "array") == "array":
            return replace(
                _facts(found), document=ArrayDocument(zarr_format=zarr_format, content=found)
            )
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
    dtype = named_dtype(stated)
    return str(stated) if dtype is None else dtype.name


#: What NumPy is asked for: of other texts it makes records, and raises whatever it likes.
_TYPES = re.compile(r"[<>|=]?[biufc]\d{1,2}|(?:bool|u?int|float|complex)\d{0,3}", re.ASCII)


def named_dtype(stated: object) -> np.dtype[Any] | None:
    """Return the data type of a number that a document names; None for all else."""
    if not isinstance(stated, str) or not _TYPES.fullmatch(stated):
        return None
    try:
        return np.dtype(stated)
    except TypeError:
        return None


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
