"""Zarr groups and their attributes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from chunkscale.errors import MetadataError, SourceNotFoundError
from chunkscale.storage.archives import archive_in, unpack_text
from chunkscale.storage.diagnosis import format_fault
from chunkscale.storage.documents import read_document, zarr_2_beside
from chunkscale.storage.failures import clear_metadata_errors, first_line
from chunkscale.storage.locations import join
from chunkscale.storage.stores import clear_write_errors, store_of
from chunkscale.storage.zarr_stores import filter_lock, muted_zarr, open_group

_ARRAY_FOR_GROUP = (
    "{!r} is a zarr array, not an OME-Zarr group; give the path of the group that holds it"
)


def group_attributes(uri: str) -> dict[str, Any]:
    """Return the attributes of the zarr group at `uri`, whichever zarr format it has.

    Consolidated metadata is left aside: it may be stale.

    Raises
    ------
    SourceNotFoundError
        If there is no zarr group.
    """
    return dict(_open_group(uri).attrs)


def attributes_by_format(uri: str) -> dict[int, dict[str, Any]]:
    """Return the attributes of the zarr group at `uri` by zarr format: the newer one first.

    There are two if tools have left metadata of both formats there.
    """
    group = _open_group(uri)
    found = {int(group.metadata.zarr_format): dict(group.attrs)}
    other = zarr_2_beside(uri) if 3 in found else None
    return found if other is None else found | {2: dict(other)}


def _open_group(uri: str) -> Any:
    import zarr
    from zarr.errors import ContainsArrayError, NodeTypeValidationError

    store = store_of(uri)
    if store.is_local and not os.path.isdir(uri):
        if archive := archive_in(uri):
            raise SourceNotFoundError(unpack_text(uri, archive))
        if not os.path.exists(uri):
            raise SourceNotFoundError(f"{uri!r} does not exist; check the path")
    with clear_metadata_errors(f"{uri!r}"):
        opened = store.zarr_store(uri)
        try:
            with muted_zarr():
                group = zarr.open_group(opened, mode="r", use_consolidated=False)
            if group.metadata.zarr_format == 2:
                store.require(opened, ".zattrs")
            return group
        except (ContainsArrayError, NodeTypeValidationError) as error:
            raise MetadataError(_ARRAY_FOR_GROUP.format(uri)) from error
        except FileNotFoundError as error:
            if store.is_local and os.path.exists(os.path.join(uri, ".zarray")):
                raise MetadataError(_ARRAY_FOR_GROUP.format(uri)) from error
            archive = archive_in(uri)
            text = (
                f"{uri!r} is not a zarr group (neither zarr.json nor .zgroup is there); "
                "give the path of an OME-Zarr image"
            )
            raise store.why_missing(uri, opened) or SourceNotFoundError(
                unpack_text(uri, archive) if archive else text
            ) from error
        except (OSError, json.JSONDecodeError):
            raise
        except Exception as error:  # zarr has no common base for bad group metadata
            documents = ((name, read_document(join(uri, name))[0]) for name in _DOCUMENTS)
            faults = filter(None, (format_fault(found, name) for name, found in documents))
            raise MetadataError(
                f"the metadata of {uri!r} cannot be understood: {next(faults, first_line(error))}"
            ) from error


_DOCUMENTS = ("zarr.json", ".zgroup")


def start_group(
    uri: str, *, zarr_format: Literal[2, 3], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Create the group of an image, without the metadata that would make it one.

    Returns
    -------
    dict
        Its attributes.
    """
    import zarr

    store = store_of(uri)
    with clear_write_errors(uri) if store.is_local else contextlib.nullcontext():
        group = zarr.create_group(
            store.zarr_store(uri), zarr_format=zarr_format, attributes=dict(attributes)
        )
    return dict(group.attrs)


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
    group = open_group(uri)
    if instead_of is not None and dict(group.attrs) != instead_of:
        return False
    with clear_write_errors(uri):
        group.attrs.put(dict(attributes))
    return True


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
                content = json.dumps(document, indent=2, allow_nan=False).encode()
                store_of(uri).put(join(uri, name), content, new=new and name != ".zattrs")
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise FileExistsError(error.errno, "it is there", uri) from error
        raise


def compose_multiscales(
    *,
    version: str,
    name: str | None,
    axes: Sequence[Mapping[str, Any]],
    datasets: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the group attributes that ome-zarr writes for a multiscale image.

    They are composed in memory; nothing is stored.
    """
    import zarr
    from zarr.storage import MemoryStore

    with filter_lock, warnings.catch_warnings():
        # ome-zarr 0.18 uses a class that it has deprecated itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        from ome_zarr.format import format_from_version
        from ome_zarr.writer import write_multiscales_metadata

    fmt = format_from_version(version)
    group = zarr.open_group(MemoryStore(), mode="w", zarr_format=fmt.zarr_format)
    write_multiscales_metadata(
        group, [dict(d) for d in datasets], fmt=fmt, axes=[dict(a) for a in axes], name=name
    )
    return dict(group.attrs)
