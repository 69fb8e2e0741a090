"""Names of what lies in a zarr hierarchy: chunks, metadata, and what killed processes leave."""

from __future__ import annotations

import re
from collections.abc import Sequence

METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")

#: Below an output: what a run notes down for the next one, gone when the output is published.
NOTES = ".chunkscale"

#: In a group of labels while a run lists one of them.
LIST_LOCK = ".chunkscale-list"

OME_XML = "METADATA.ome.xml"

#: What a killed process may leave beside the objects that it was writing: tensorstore, zarr-python
#: (which drops what it takes for a suffix), `files`.
STRAY = re.compile(
    rf"(?:zarr(?:\.json)?|\.z\w+|c?[\d.]*|{re.escape(OME_XML)}|{re.escape(LIST_LOCK)})"
    rf"(?:(?:\.[0-9a-f]{{32}}\.partial)+|\.__lock)|{re.escape(LIST_LOCK)}"
)

ENDS = (".__lock", ".partial")

#: The path of a chunk below its array, and the first name of such a path.
CHUNK = re.compile(r"c(?:[./]\d+)*|\d+(?:[./]\d+)*")

#: What desktops leave in every folder that they show.
DROPPINGS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")


def is_dropping(name: str) -> bool:
    """Whether desktops or killed processes have left it: it belongs to nobody."""
    return bool(DROPPINGS.fullmatch(name) or STRAY.fullmatch(name))


_NUMBER = re.compile("0|[1-9][0-9]*")


def own_index(path: str, counts: Sequence[int], zarr_format: int) -> tuple[int, ...] | None:
    """Return the index of a chunk or shard that this package stores, by its path below its array.

    None for all else, what looks alike included: that has another number of axes, or lies beyond
    the `counts` of objects along them.
    """
    steps = path.split("/")
    if zarr_format == 3 and steps.pop(0) != "c":
        return None
    if len(steps) != len(counts) or not all(map(_NUMBER.fullmatch, steps)):
        return None
    index = tuple(map(int, steps))
    return index if all(i < n for i, n in zip(index, counts, strict=True)) else None


def is_chunk_path(path: str) -> bool:
    """Whether an object of an array is one: not metadata, and nothing that is no part of it."""
    return CHUNK.fullmatch(path) is not None
