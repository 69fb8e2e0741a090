"""What reads like an empty chunk and is none: dangling links, folders, other names."""

from __future__ import annotations

import itertools
import json
import operator
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from chunkscale.errors import MetadataError
from chunkscale.geometry.box import cell_counts
from chunkscale.storage.base import FIRST
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
                f"{path!r} is a link to {os.readlink(path)!r}, which does not exist; restore "
                "that file"
            ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or the like"
        raise BadObjectError(f"{path!r} is {kind} instead of a file")


def _refuse_lost_folder(folder: str, top: str, seen: set[str]) -> None:
    """Raise where a whole folder of objects has gone: a dangling link, a disk taken away."""
    if folder in seen:
        return
    if not os.path.isdir(folder):
        if folder == top or os.path.lexists(folder):
            raise BadObjectError(f"the folder {folder!r} does not exist; make it available")
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

    def beyond(self, path: str) -> bool:
        """Whether a path is that of a chunk outside of the array."""
        prefix, separator = self.forms[self.first]
        pattern = re.escape(separator).join([*prefix, *["(?:0|[1-9][0-9]*)"] * self.ndim])
        return re.fullmatch(pattern, path) is not None and not self.inside(_numbers(path))

    def meant(self, path: str) -> list[int] | None:
        """Return the index of the chunk that a name means which is like one, and is none.

        Numbers are one run where signs and single letters part them ("z3_y0"), or a slash and
        any word ("3/copy of 0"). An index is the start of one, or begins a folder's name, and ends
        in the last name, whatever follows there.
        """
        last = path.rstrip("/").rfind("/")
        for run in re.finditer(r"\d+(?:(?:[^0-9A-Za-z]+[A-Za-z]?|/[^0-9/]*)\d+)*", path):
            numbers = list(re.finditer(r"\d+", run[0]))
            for k in range(len(numbers) - self.ndim + 1):
                starts = k == 0 or run[0][numbers[k].start() - 1] == "/"
                ends = run.start() + numbers[k + self.ndim - 1].start() > last
                index = [int(number[0]) for number in numbers[k : k + self.ndim]]
                if starts and ends and self.inside(index):
                    return index
        return None


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


class Look(NamedTuple):
    """What a look at the objects of an array has shown.

    Parameters
    ----------
    beyond : str
        The name of a chunk that lies outside of the array, if there is any.
    full : bool
        Whether one lies in it for sure.
    """

    beyond: str = ""
    full: bool = False


def refuse_other_keys(uri: str, array: Any) -> Look:
    """Raise where an array seems to have chunks that nobody would look for.

    One look: at some of what lies there, or where nothing lists that, at a few places.
    """
    keys = _Keys(array)
    if keys.first not in keys.forms or not all(keys.counts):
        return Look()
    store = store_of(uri)
    paths = store.first_objects(uri)
    if paths is None:
        last = tuple(n - 1 for n in keys.counts)
        places = [(0,) * keys.ndim, tuple(n // 2 for n in last), last]
        if not any(store.has(join(uri, keys.named(keys.first, index))) for index in places):
            for index in places:
                refuse_other_key(uri, array, index)
        return Look()
    named = [path for path in sorted(paths) if not _is_no_chunk(path, keys)]
    forms = {path: keys.form_of(path) for path in named}
    there = keys.first in forms.values()
    if others := sorted(set(filter(None, forms.values())) - {keys.first}):
        raise _other_names(uri, keys, others[0], there)
    strange = [path for path, form in forms.items() if form is None]
    alone = list(_alone(uri, keys, strange, paths))
    if there or not (strange := [path for path in strange if not _is_hidden(path)]):
        strange = alone
    if strange:
        raise _other_name(uri, keys, strange[0], there)
    beyond = list(filter(keys.beyond, named))
    if beyond and len(paths) < FIRST:
        _refuse_other_start(uri, keys, beyond, [path for path in named if forms[path]])
    return Look(beyond[0] if beyond else "", full=there)


def _refuse_other_start(uri: str, keys: _Keys, beyond: list[str], inside: list[str]) -> None:
    """Raise where chunks lie beyond the end along an axis, and none at its start: a shift."""
    numbers = [_numbers(path) for path in (*beyond, *inside)]
    for axis, n in enumerate(keys.counts):
        along = {index[axis] for index in numbers}
        if max(along) >= n and 0 not in along:
            raise MetadataError(
                f"array {uri!r} holds the chunk {beyond[0]!r}, which lies beyond its end along "
                f"dimension {axis}, and none at the start, where its numbers must begin with 0: "
                "its voxels would be shifted; rename the chunks, or delete those that lie beyond "
                "the end if the others are right"
            )


#: So many names that are like those of chunks are compared with what is there.
_STRANGE = 16


#: Deleted files that are still open somewhere, as network file systems keep them.
_OPEN = re.compile(r"\.(?:nfs|fuse_hidden)[0-9a-f]+")


def _is_no_chunk(path: str, keys: _Keys) -> bool:
    """Whether a path is none that a chunk would have, whoever wrote it.

    A link or a file in place of a folder of chunks is told where a chunk is looked for. Buckets may
    have objects that stand for folders.
    """
    name = path.rstrip("/").rpartition("/")[2]
    folder = re.fullmatch(r"c?/?\d*(?:/\d+)*", path)
    return (
        name in METADATA_FILES
        or any(pattern.fullmatch(name) for pattern in (STRAY, DROPPINGS, _OPEN))
        or (folder is not None and "/" in keys.first and len(_numbers(path)) < keys.ndim)
    )


def _is_hidden(path: str) -> bool:
    """Whether a name says nothing where there is no chunk at all, unless it tells of one."""
    return path.startswith(".") or "/." in path or path.endswith(ENDS)


def _alone(uri: str, keys: _Keys, strange: Iterable[str], paths: set[str]) -> Iterator[str]:
    """Yield names that are like those of chunks which are missing, as far as a few looks tell."""
    meant = ((path, keys.meant(path)) for path in strange)
    names = ((path, keys.named(keys.first, index)) for path, index in meant if index)
    gone = ((path, name) for path, name in names if name not in paths)
    for path, name in itertools.islice(gone, _STRANGE):
        if not store_of(uri).has(join(uri, name)):
            yield path


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
    folder, slash, _ = keys.named(keys.first, index).rpartition("/")
    if store.is_local and (found := store.first_objects(join(uri, folder))):
        near = [f"{folder}{slash}{name}" for name in sorted(found)]
        for path in (path for path in near if keys.form_of(path) is None):
            if not _is_no_chunk(path, keys) and keys.meant(path) == list(index):
                raise _other_name(uri, keys, path, True)


def _other_name(uri: str, keys: _Keys, path: str, there: bool) -> MetadataError:
    return MetadataError(
        f"array {uri!r} holds {path!r}, but its metadata declares chunks with names like "
        f"{keys.first!r}{'' if there else ', of which none is there'}: others would be taken "
        "for missing; rename them, or move away what does not belong to the array"
    )


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
