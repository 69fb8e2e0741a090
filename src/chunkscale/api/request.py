"""What users ask for, whichever image it is done to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from chunkscale.api.defaults import DEFAULT_VERSION
from chunkscale.api.parameters import PlanParameters
from chunkscale.errors import OptionError
from chunkscale.ome.versions import WRITABLE_VERSIONS
from chunkscale.parameters import Resources, Storage, StorageLayout, StorageOptions, Target
from chunkscale.storage.codecs import check_checksum, parse_codec

LABEL_METHODS = ("mode", "nearest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The parameters of `chunkscale.plan_resampling`, in the groups in which they travel.

    Parameters
    ----------
    opening : mapping
        How a source is opened: ``source_voxel_size``, ``axes``, ``source_translation``,
        ``source_unit``.
    selection : mapping
        Which part of it is taken: ``channels``, ``timepoints``, ``crop``.
    level : int or str
    target : Target
    layout : StorageLayout
    resources : Resources
    storage : Storage
    images : str or sequence of str, optional
        Of a collection.
    labels : bool, str or sequence of str
    label_method : str
    """

    opening: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    level: int | str = 0
    target: Target
    layout: StorageLayout
    resources: Resources
    storage: Storage
    images: str | Sequence[str] | None = None
    labels: bool | str | Sequence[str] = True
    label_method: str = "mode"


def request_of(
    parameters: PlanParameters,
    storage_options: StorageOptions | None,
    images: str | Sequence[str] | None = None,
) -> Request:
    """Return what is asked for; refuse what no image could be written with."""
    given: dict[str, Any] = dict(parameters)
    given["version"] = given.pop("ome_zarr_version", DEFAULT_VERSION)
    sources = given.pop("source_storage_options", None)
    request = Request(
        opening=_picked(given, ("source_voxel_size", "axes", "source_translation", "source_unit")),
        selection=_picked(given, ("channels", "timepoints", "crop")),
        target=_group(Target, given),
        layout=_group(StorageLayout, given),
        resources=_group(Resources, given),
        storage=Storage(target=storage_options, source=sources),
        images=images,
        **_picked(given, ("level", "labels", "label_method")),
    )
    if request.layout.version not in WRITABLE_VERSIONS:
        raise OptionError(
            f"OME-Zarr version {request.layout.version!r} cannot be written; use "
            f"{' or '.join(WRITABLE_VERSIONS)}"
        )
    parse_codec(request.layout.codec)
    check_checksum(request.layout.checksum, request.layout.version)
    if request.label_method not in LABEL_METHODS:
        raise OptionError(
            f"label_method {request.label_method!r} is unknown; use "
            f"{' or '.join(LABEL_METHODS)}, which never make new ids"
        )
    if not (images is None or isinstance(images, str) or _are_texts(images)):
        raise OptionError(
            f"images {images!r} must be 'all' or a list of names, like 'B/03/0,B/04/*'"
        )
    return request


def _are_texts(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(text, str) for text in value)


_Group = TypeVar("_Group", Target, StorageLayout, Resources)


def _group(group: type[_Group], given: Mapping[str, Any]) -> _Group:
    """Return a group of parameters with those that are given."""
    return group(**_picked(given, [f.name for f in fields(group)]))


def _picked(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}
