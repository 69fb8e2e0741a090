"""What reads like an empty chunk and is none: dangling links, folders, other names."""

from __future__ import annotations

import itertools
import json
import operator
import os
import re
import stat
from collections.abc import Sequence
from typing import Any

from chunkscale.errors import MetadataError
from chunkscale.geometry.box import cell_counts
from chunkscale.storage.failures import BadObjectError
from chunkscale.storage.locations import join
from chunkscale.storage.names import DROPPINGS, ENDS, METADATA_FILES, STRAY
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


class _Keys:
    """How the chunks of an array are called, and how they might be called besides."""

    def __init__(self, array: Any) -> None:
        self.array, self.ndim = array, len(array.shape)
        self.counts = cell_counts(array.shape, array.shards or array.chunks)
        self.first = array.metadata.encode_chunk_key((0,) * self.ndim)
        forms = itertools.product(((), ("c",)), "/.")
        # Of one dimension a separator is not seen: its first form stands for both.
        self.forms = {s.join([*c, *["0"] * self.ndim]): (c, s) for c, s in reversed(list(forms))}

    def named(self, form: str, index: Sequence[int]) -> str:
        prefix, separator = self.forms[form]
        return separator.join([*prefix, *map(str, index)])

    def others(self, index: Sequence[int]) -> dict[str, str]:
        """Return the names that the chunk at an index might have, by that of the first."""
        return {form: self.named(form, index) for form in self.forms if form != self.first}

    def form_of(self, path: str) -> str | None:
        """Return how a chunk or a folder is called: as the first chunk of such a form."""
        number = "(?:0|[1-9][0-9]*)"
        for form, (prefix, separator) in self.forms.items():
            if path.endswith("/"):  # a folder of chunks, or of folders of them
                top = "c/" if prefix else f"{number}/"
                if separator == "/" and (prefix or self.ndim > 1) and re.fullmatch(top, path):
                    return form
            elif re.fullmatch(re.escape(separator).join([*prefix, *[number] * self.ndim]), path):
                return form if self.inside(_numbers(path)) else None
        return None

    def inside(self, index: Sequence[int]) -> bool:
        return len(index) == self.ndim and all(map(operator.lt, index, self.counts))

    def meant(self, path: str) -> list[int] | None:
        """Return the index of the chunk that a name means which is like one, and is none."""
        separated = r"[._/-]".join([r"\d+"] * self.ndim)
        found = re.fullmatch(rf"(?:c[._/-]?)?({separated})(?:\.[a-z]\w*)?", path, re.IGNORECASE)
        index = _numbers(found[1]) if found else []
        return index if self.inside(index) else None


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def refuse_other_keys(uri: str, array: Any) -> None:
    """Raise where an array seems to have chunks that nobody would look for.

    One look: at some of what lies there, or where nothing lists that, at a few places.
    """
    keys = _Keys(array)
    if keys.first not in keys.forms or not all(keys.counts):
        return
    store = store_of(uri)
    paths = store.first_objects(uri)
    if paths is None:
        last = tuple(n - 1 for n in keys.counts)
        places = [(0,) * keys.ndim, tuple(n // 2 for n in last), last]
        if not any(store.has(join(uri, keys.named(keys.first, index))) for index in places):
            for index in places:
                refuse_other_key(uri, array, index)
        return
    forms = {path: keys.form_of(path) for path in sorted(paths) if not _is_no_chunk(path, keys)}
    there = keys.first in forms.values()
    if others := sorted(set(filter(None, forms.values())) - {keys.first}):
        raise _other_names(uri, keys, others[0], there)
    strange = [path for path, form in forms.items() if form is None]
    if there:
        strange = [path for path in strange[:_STRANGE] if _is_alone(uri, keys, path)]
    if strange:
        raise MetadataError(
            f"array {uri!r} holds {strange[0]!r}, but its metadata declares chunks with names like "
            f"{keys.first!r}{'' if there else ', of which none is there'}: others would be taken "
            "for missing; rename them, or move away what does not belong to the array"
        )


#: So many names that are like those of chunks are compared with what is there.
_STRANGE = 16


def _is_no_chunk(path: str, keys: _Keys) -> bool:
    """Whether a path is none that a chunk would have, whoever wrote it.

    A link or a file in place of a folder of chunks is told where a chunk is looked for. Buckets may
    have objects that stand for folders.
    """
    name = path.rstrip("/").rpartition("/")[2]
    folder = re.fullmatch(r"c?/?\d*(?:/\d+)*", path)
    return (
        name in METADATA_FILES
        or path.startswith(".")
        or name.startswith(".")
        or any(pattern.fullmatch(name) for pattern in (STRAY, DROPPINGS))
        or name.endswith(ENDS)
        or (folder is not None and "/" in keys.first and len(_numbers(path)) < keys.ndim)
    )


def _is_alone(uri: str, keys: _Keys, path: str) -> bool:
    """Whether a name that is like a chunk's stands for one that is missing."""
    index = keys.meant(path)
    return index is not None and not store_of(uri).has(join(uri, keys.named(keys.first, index)))


def refuse_other_key(uri: str, array: Any, index: Sequence[int]) -> None:
    """Raise if a chunk that is missing lies under another name; a few requests."""
    keys, store = _Keys(array), store_of(uri)
    if keys.first not in keys.forms:
        return
    for form, name in keys.others(index).items():
        if store.has(join(uri, name)):
            if store.has(join(uri, keys.named(keys.first, index))):
                return
            raise _other_names(uri, keys, form, False)


def _other_names(uri: str, keys: _Keys, other: str, both: bool) -> MetadataError:
    if both:
        return MetadataError(
            f"array {uri!r} holds chunks with names like {keys.first!r}, which its metadata "
            f"declares, and others like {other!r}, which would be left out; move those away "
            "that do not belong to it"
        )
    return MetadataError(
        f"the metadata of array {uri!r} declares chunks with names like {keys.first!r}, but those "
        f"that lie there have names like {other!r} and would be taken for missing; "
        f"{_key_remedy(other, keys.array.metadata.zarr_format)}"
    )


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
