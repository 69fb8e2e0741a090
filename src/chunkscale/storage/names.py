"""Names of what lies in a zarr hierarchy: chunks, metadata, and what killed processes leave."""

from __future__ import annotations

import re

METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")

#: Below an output: what a run notes down for the next one, gone when the output is published.
NOTES = ".chunkscale"

#: Beside label images while one of them is listed.
LIST_LOCK = ".chunkscale-list"

#: What a killed process may leave beside the objects that it was writing: tensorstore, zarr-python
#: (which drops what it takes for a suffix), `files`.
STRAY = re.compile(
    r"(?:zarr(?:\.json)?|\.z\w+|c?[\d.]*|\.chunkscale-list)"
    r"(?:(?:\.[0-9a-f]{32}\.partial)+|\.__lock)|\.chunkscale-list"
)

ENDS = (".__lock", ".partial")

#: The path of a chunk below its array, and the first name of such a path.
CHUNK = re.compile(r"c(?:[./]\d+)*|\d+(?:[./]\d+)*")

#: What desktops leave in every folder that they show.
DROPPINGS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")


def is_dropping(name: str) -> bool:
    """Whether desktops or killed processes have left it: it belongs to nobody."""
    return bool(DROPPINGS.fullmatch(name) or STRAY.fullmatch(name))


def is_chunk_path(path: str) -> bool:
    """Whether an object of an array is one: not metadata, and nothing that is no part of it."""
    return CHUNK.fullmatch(path) is not None
