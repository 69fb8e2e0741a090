"""Versions of OME-NGFF: where each keeps its keys, and how one is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chunkscale.errors import MetadataError
from chunkscale.ome.entries import COLLECTIONS, SYSTEMS, is_list

#: NGFF versions that `multiscale_attributes` composes.
WRITABLE_VERSIONS = ("0.4", "0.5", "0.6")

#: Those that are read; 0.9 is a draft: 0.6 with axes of any kind, of which the usual ones are read.
_READ_MINORS = (*range(1, 7), 9)

VERSION = re.compile(r"0\.(\d)(?!\d)")


def ngff_namespace(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping that holds the NGFF keys: the "ome" one, or all attributes."""
    ome = attributes.get("ome")
    if isinstance(ome, Mapping) and any(k in ome for k in ("multiscales", *COLLECTIONS)):
        return ome
    return attributes


def holds_ngff(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a group describe an image or a collection."""
    ngff = ngff_namespace(attributes)
    return any(key in ngff for key in ("multiscales", *COLLECTIONS))


def version_of(attributes: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    ngff = ngff_namespace(attributes)
    nested = ngff is not attributes
    stated = [entry.get("version"), ngff.get("version")]
    if nested:
        stated.reverse()
    elif not VERSION.match(str(stated[1])):
        stated.pop()  # somebody's own attribute of that name
    for value in stated:
        if value is not None:
            return str(value)
    if SYSTEMS in entry and entry.get("axes") is None:
        return "0.6"
    if nested:
        return "0.5"
    axes = entry.get("axes")
    if axes is None:
        return "0.2"
    return "0.3" if is_list(axes) and all(isinstance(a, str) for a in axes) else "0.4"


def uses_systems(entry: Mapping[str, Any], version: str) -> bool:
    """Whether coordinate systems say what the axes are: from 0.6 on, and in drafts without axes."""
    found = VERSION.match(version)
    minor = int(found[1]) if found else 0
    return SYSTEMS in entry and (minor >= 6 or (minor > 2 and entry.get("axes") is None))


def minor_version(version: str) -> int:
    match = VERSION.match(version)
    if match is None or int(match[1]) not in _READ_MINORS:
        raise MetadataError(
            f"OME-NGFF version {version!r} is unknown (0.1 to 0.6 are supported); convert the "
            "metadata to one of these"
        )
    return int(match[1])


def holds_systems(version: str) -> bool:
    """Whether a version that is written has named coordinate systems."""
    return minor_version(version) >= 6
