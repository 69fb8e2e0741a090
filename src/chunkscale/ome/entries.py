"""The entries of NGFF metadata as they are: JSON values of any shape, looked at with care."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import unquote

from chunkscale.errors import MetadataError, MultipleImagesError
from chunkscale.geometry.grid import Axis

TRANSFORMS = "coordinateTransformations"

SYSTEMS = "coordinateSystems"

#: How deep attributes may be nested; deeper ones could be read, but not always be written.
DEEPEST = 64

#: Of one image: each halves an axis at least, but some writers list the same one twice.
MOST_LEVELS = 1000

COLLECTIONS = ("plate", "well", "labels", "bioformats2raw.layout", "series", "scene")


def only_entry(entries: object) -> dict[str, Any]:
    """Return the one multiscales entry."""
    if not is_list(entries) or not entries or not all(isinstance(e, Mapping) for e in entries):
        raise MetadataError(
            f"'multiscales' is {short(entries)}; it must be a list of at least one object"
        )
    if len(entries) > 1:
        names = [entry.get("name") for entry in entries]
        raise MultipleImagesError(
            f"the group holds {len(entries)} multiscale images, named {short(names)}; give each a "
            "group of its own",
            (),
        )
    return dict(entries[0])


def raw_datasets(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    datasets = entry.get("datasets")
    if not is_list(datasets) or not datasets:
        raise MetadataError(
            f"'datasets' of the multiscales entry is {short(datasets)}; it must be a list of at "
            "least one object with a 'path'"
        )
    if len(datasets) > MOST_LEVELS:
        raise MetadataError(
            f"the multiscales entry lists {len(datasets)} datasets, and no pyramid has more than "
            f"{MOST_LEVELS}; correct the metadata"
        )
    for i, dataset in enumerate(datasets):
        path = dataset.get("path") if isinstance(dataset, Mapping) else None
        if not isinstance(path, str) or not path:
            raise MetadataError(
                f"dataset number {i} is {short(dataset)}; it must be an object whose 'path' names "
                "an array inside the group"
            )
        refuse_outside(path, f"dataset number {i}")
    return list(datasets)


def refuse_outside(path: str, what: str) -> None:
    """Raise unless a path of metadata names something below its group; links may lead anywhere.

    Backslashes separate folders on Windows alone, and a path is read as it would be there; servers
    decode dots.
    """
    parts = unquote(path).replace("\\", "/").split("/")
    if (
        ".." in parts
        or parts[0] == ""
        or (parts[0].endswith(":") and len(parts) > 1)
        or re.match(r"[A-Za-z]:", parts[0])
        or "\0" in path
        or path != path.encode(errors="replace").decode()
    ):
        raise MetadataError(
            f"the path {path!r} of {what} leads outside its group or is not a path; metadata may "
            "only name paths below the group, without '..', a leading slash or a scheme: correct "
            "it, or put a link there"
        )


def plain_path(path: str) -> str:
    """Return a path without what changes nothing.

    Examples
    --------
    >>> plain_path("./B//03/")
    'B/03'
    """
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def or_empty(value: object) -> Sequence[Any]:
    return value if is_list(value) else ()


def mappings(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in or_empty(value) if isinstance(entry, Mapping)]


def depth(value: object) -> int:
    """Return how deep a JSON value is nested, without recursion.

    Examples
    --------
    >>> depth(1), depth([{"a": 1}])
    (0, 2)
    """
    found, layer = 0, [value]
    while layer := [v for v in layer if isinstance(v, Mapping) or is_list(v)]:
        found += 1
        layer = [x for v in layer for x in (v.values() if isinstance(v, Mapping) else v)]
    return found


def axis_names(axes: Sequence[Axis]) -> list[str]:
    return [axis.name for axis in axes]


def short(value: object) -> str:
    """Return `value` as text that fits into a message."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
