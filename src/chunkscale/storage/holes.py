"""What reads like an empty chunk and is none: dangling links, folders, other names."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any

from chunkscale.errors import MetadataError
from chunkscale.storage.failures import BadObjectError
from chunkscale.storage.stores import store_of


def refuse_false_hole(path: str, top: str, seen: set[str]) -> None:
    """Raise unless a file is at the path of an object, or nothing at all.

    Parameters
    ----------
    path : str
    top : str
        Folder of the array.
    seen : set of str
        Folders that were found in order, to which this one's are added.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        _refuse_lost_folder(os.path.dirname(path), top, seen)
        return
    if stat.S_ISLNK(mode):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            raise BadObjectError(
                f"{path!r} is a link to {os.readlink(path)!r}, which is not there; fetch that file"
            ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or the like"
        raise BadObjectError(f"{path!r} is {kind} where a file should be")


def _refuse_lost_folder(folder: str, top: str, seen: set[str]) -> None:
    """Raise where a whole folder of objects has gone: a dangling link, a disk taken away."""
    if folder in seen:
        return
    if not os.path.isdir(folder):
        if folder == top or os.path.lexists(folder):
            raise BadObjectError(f"the folder {folder!r} is not there; make it available")
        _refuse_lost_folder(os.path.dirname(folder), top, seen)
    seen.add(folder)


def refuse_other_keys(uri: str, array: Any) -> None:
    metadata, ndim = array.metadata, len(array.shape)
    declared = metadata.encode_chunk_key((0,) * ndim)
    layouts = _key_layouts(ndim)
    if declared not in layouts:
        return
    names = store_of(uri).first_names(uri)
    lying = {key for key, first in layouts.items() if any(map(first.fullmatch, names))}
    others = sorted(lying - {declared})
    if not others:
        return
    if declared in lying:
        raise MetadataError(
            f"array {uri!r} holds chunks with names like {declared!r}, which its metadata "
            f"declares, and others like {others[0]!r}, which would be left out; move those away "
            "that do not belong to it"
        )
    raise MetadataError(
        f"the metadata of array {uri!r} declares chunks with names like {declared!r}, but those "
        f"that lie there have names like {others[0]!r} and would be taken for missing; "
        f"{_key_remedy(others[0], metadata.zarr_format)}"
    )


def _key_layouts(ndim: int) -> dict[str, re.Pattern[str]]:
    """Return how chunks may be named: the name of the first, and the top of such names."""
    number, zeros = r"\d+", ["0"] * ndim
    return {
        "/".join(zeros): re.compile(number + "/" if ndim > 1 else number),
        ".".join(zeros): re.compile(r"\.".join([number] * ndim)),
        "/".join(["c", *zeros]): re.compile("c/"),
        ".".join(["c", *zeros]): re.compile(r"\.".join(["c"] + [number] * ndim)),
    }


def _key_remedy(key: str, zarr_format: int) -> str:
    """Return what to set so that chunks with such names are found."""
    separator = "/" if "/" in key else "."
    if zarr_format == 3:
        encoding = {
            "name": "default" if key.startswith("c") else "v2",
            "configuration": {"separator": separator},
        }
        return f'set "chunk_key_encoding": {json.dumps(encoding)} in its zarr.json'
    if key.startswith("c"):
        return "they are of zarr format 3: restore the zarr.json that belongs to them"
    return f'set "dimension_separator": "{separator}" in its .zarray'
