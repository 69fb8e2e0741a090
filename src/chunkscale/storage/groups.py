"""Zarr groups and their attributes."""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from chunkscale.errors import MetadataError, SourceNotFoundError
from chunkscale.storage.archives import rename_text, unnamed_archive
from chunkscale.storage.diagnosis import format_fault
from chunkscale.storage.documents import Answers, ask, encoded, parsed
from chunkscale.storage.failures import StoreError, clear_metadata_errors
from chunkscale.storage.locations import join
from chunkscale.storage.stores import clear_write_errors, store_of
from chunkscale.storage.zarr_stores import filter_lock

#: What zarr 3 has in a group's document; anything else has to say that it need not be understood.
_KEYS = ("zarr_format", "node_type", "attributes", "consolidated_metadata")


def group_attributes(uri: str) -> dict[str, Any]:
    """Return the attributes of the zarr group at `uri`, whichever zarr format it has.

    Consolidated metadata is left aside: it may be stale.

    Raises
    ------
    SourceNotFoundError
        If there is no zarr group.
    """
    return next(iter(attributes_by_format(uri).values()))


def attributes_by_format(uri: str) -> dict[int, dict[str, Any]]:
    """Return the attributes of the zarr group at `uri` by zarr format: the newer one first.

    There are two if tools have left metadata of both formats there.
    """
    return {
        zarr_format: document["attributes"] for zarr_format, document in _documents(uri).items()
    }


def _documents(uri: str) -> dict[int, dict[str, Any]]:
    """Return the documents of a group by zarr format, as the newer one has them: in one piece."""
    if store_of(uri).is_local and not os.path.isdir(uri):
        if archive := unnamed_archive(uri):
            raise SourceNotFoundError(rename_text(uri, archive))
        if not os.path.exists(uri):
            raise SourceNotFoundError(f"{uri!r} does not exist; check the path")
    with clear_metadata_errors(f"{uri!r}"):
        answers = ask(uri, ("zarr.json", ".zgroup", ".zattrs"))
        if "zarr.json" in answers.found:
            document = _checked(uri, parsed(answers.found["zarr.json"], "zarr.json"), "zarr.json")
            beside = _beside(answers.found)
            return {3: document} | ({} if beside is None else {2: beside})
        if ".zgroup" not in answers.found:
            raise _why_none(uri, answers)
        if isinstance(failure := answers.failures.get(".zattrs"), StoreError):
            raise failure
        document = parsed(answers.found[".zgroup"], ".zgroup")
        attributes = answers.found.get(".zattrs")
        document["attributes"] = None if attributes is None else parsed(attributes, ".zattrs")
        return {2: _checked(uri, document, ".zgroup")}


def _checked(uri: str, document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a group's document with its attributes, or refuse it."""
    if document.get("node_type") == "array":
        raise MetadataError(_ARRAY_FOR_GROUP.format(uri))
    document["attributes"] = attributes = document.get("attributes") or {}
    fault = format_fault(document, name)
    if not isinstance(attributes, dict):
        fault = f"its attributes are {attributes!r}, and no object"
    elif name == "zarr.json":
        if document.get("node_type", "group") != "group":
            fault = f"its node_type is {document['node_type']!r}"
        for key in document.keys() - set(_KEYS):
            known = document[key]
            if not (isinstance(known, dict) and known.get("must_understand") is False):
                fault = f"its {name} has {key!r}, which zarr does not know"
    if fault:
        raise MetadataError(f"the metadata of {uri!r} cannot be understood: {fault}")
    return document


def _beside(found: Mapping[str, bytes]) -> dict[str, Any] | None:
    """Return the document of a group of zarr 2 that lies at the place of one of zarr 3."""
    document: dict[str, Any] = {}
    for name, key in ((".zgroup", None), (".zattrs", "attributes")):
        with contextlib.suppress(ValueError, RecursionError):
            content = parsed(found.get(name), name)
            document |= content if key is None else {key: content}
    # Some servers send an object of their own for whatever they do not have.
    return {"attributes": {}, **document} if "zarr_format" in document else None


_ARRAY_FOR_GROUP = (
    "{0!r} is a zarr array, not an OME-Zarr group; give the path of the group that holds it, or "
    "if that is not an image, pass it as an array in Python, with source_voxel_size: "
    "dask.array.from_zarr({0!r})"
)


def _why_none(uri: str, answers: Answers) -> Exception:
    """Return the error of a place that holds no group."""
    if store_of(uri).is_local and os.path.exists(os.path.join(uri, ".zarray")):
        return MetadataError(_ARRAY_FOR_GROUP.format(uri))
    if error := answers.why_missing():
        return error
    return SourceNotFoundError(
        f"{uri!r} is not a zarr group (neither zarr.json nor .zgroup is there); give the path of "
        "an OME-Zarr image, or of a file whose format is known (chunkscale formats)"
    )


def put_group(
    uri: str, *, zarr_format: Literal[2, 3], attributes: Mapping[str, Any], new: bool = False
) -> None:
    """Store a group with these attributes, whether or not it was there.

    It takes one write, or two in zarr 2: the attributes are replaced in one.

    Raises
    ------
    FileExistsError
        If it is to be `new`, and is there; object stores do not tell.
    """
    documents: dict[str, Mapping[str, Any]]
    plain: dict[str, Any] = {"zarr_format": zarr_format}
    if zarr_format == 3:
        documents = {"zarr.json": {"attributes": attributes, **plain, "node_type": "group"}}
    else:
        documents = {".zgroup": plain, ".zattrs": attributes}
    try:
        with clear_write_errors(uri):
            for name, document in documents.items():
                at = join(uri, name)
                store_of(uri).put(at, encoded(document), new=new and name != ".zattrs")
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise FileExistsError(error.errno, "it is there", uri) from error
        raise


def set_attributes(
    uri: str, attributes: Mapping[str, Any], *, instead_of: Mapping[str, Any] | None = None
) -> bool:
    """Replace the attributes of a group in one write.

    Parameters
    ----------
    uri : str
    attributes : mapping
    instead_of : mapping, optional
        What they have to be, looked at just before; otherwise nothing is written.

    Returns
    -------
    bool
        Whether they were written.
    """
    zarr_format, document = next(iter(_documents(uri).items()))
    if instead_of is not None and document["attributes"] != instead_of:
        return False
    document["attributes"] = dict(attributes)
    if zarr_format == 3:
        document.setdefault("node_type", "group")  # readers need it
    document.pop("consolidated_metadata", None)  # which would be stale
    name, content = (
        ("zarr.json", document) if zarr_format == 3 else (".zattrs", document["attributes"])
    )
    with clear_write_errors(uri):
        store_of(uri).put(join(uri, name), encoded(content))
    return True


def compose_multiscales(
    *, version: str, axes: Sequence[Mapping[str, Any]], datasets: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the group attributes that ome-zarr writes for a multiscale image of 0.4 or 0.5.

    They are composed in memory; nothing is stored.

    Raises
    ------
    ImportError
        If ome-zarr cannot be imported.
    ValueError
        If it refuses them.
    """
    import zarr
    from zarr.storage import MemoryStore

    with filter_lock, warnings.catch_warnings():
        # ome-zarr 0.18 uses a class that it has deprecated itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Half a second and more: Dask's arrays, SciPy, pandas, pydantic.
        from ome_zarr.format import format_from_version
        from ome_zarr.writer import write_multiscales_metadata

    fmt = format_from_version(version)
    group = zarr.open_group(MemoryStore(), mode="w", zarr_format=fmt.zarr_format)
    write_multiscales_metadata(group, copy.deepcopy(datasets), fmt=fmt, axes=copy.deepcopy(axes))
    return dict(group.attrs)
