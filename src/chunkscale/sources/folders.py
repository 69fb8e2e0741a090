"""Folders that say nothing of themselves and hold images: what lies in them, in natural order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from chunkscale.errors import Notice
from chunkscale.ome.versions import holds_ngff
from chunkscale.sources.documents import Document, each
from chunkscale.storage.documents import ABSENT, read_document
from chunkscale.storage.locations import above, join
from chunkscale.storage.names import METADATA_FILES, is_dropping
from chunkscale.storage.stores import resolved, store_of
from chunkscale.text import some_names

#: An image lies so many folders below the one that is given, or fewer.
DEEPEST = 3

#: Of what is passed by: the words of a notice.
_PASSED = {
    "file": "left out: not an OME-Zarr image",
    "unfinished": "left out: outputs of runs that did not finish",
    "deep": f"not searched: folders at depth {DEEPEST}",
    "loop": "not followed: links to a folder above",
}

Tell = Callable[[Notice], None]
Within = Callable[[str], bool]


class Found(NamedTuple):
    """What lies at a path: ``"group"`` with its document, ``"damaged"``, or what is passed by."""

    path: str
    what: str
    document: Document | None = None


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return what names are sorted by so that numbers in them count as numbers.

    Examples
    --------
    >>> sorted(["img10", "img9", "Img"], key=natural)
    ['Img', 'img9', 'img10']
    """
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def groups_below(uri: str, tell: Tell, within: Within) -> Iterator[Found]:
    """Yield the groups in a folder that describe something, and what cannot be read.

    Parameters
    ----------
    uri : str
    tell : callable
        Gets notices of what is passed by, in the end.
    within : callable
        Whether what lies at a path, or below it, is wanted.
    """
    passed: dict[str, list[str]] = {what: [] for what in _PASSED}
    for found in _walk(uri, "", within):
        if found.what in _PASSED:
            passed[found.what].append(found.path)
        else:
            yield found
    for what, names in passed.items():
        if names:
            tell(Notice("lost", f"{_PASSED[what]}: {some_names(names)} (in {uri!r})"))


def _walk(uri: str, prefix: str, within: Within) -> Iterator[Found]:
    names = [
        name
        for name in sorted(store_of(uri).names(uri), key=natural)
        if name not in METADATA_FILES
        and not (name.startswith(".") or is_dropping(name))
        and within(prefix + name)
    ]
    looks = each(_look, (join(uri, name) for name in names))
    for name, (what, document) in zip(names, looks, strict=True):
        path = prefix + name
        if what == "folder":
            yield from _folder(join(uri, name), path, within)
        elif what != "array":
            yield Found(path, what, document)


def _folder(uri: str, path: str, within: Within) -> Iterator[Found]:
    store = store_of(uri)
    if path.count("/") + 1 < DEEPEST and (store.is_local or store.names(uri)):
        yield from _walk(uri, f"{path}/", within)
    elif store.names(uri):
        yield Found(path, "deep")
    elif not store.is_local:  # an object, below which nothing lies
        yield Found(path, "file")


def _look(uri: str) -> tuple[str, Document | None]:
    if store_of(uri).is_local:
        if not os.path.isdir(uri):
            return "file", None
        if os.path.islink(uri) and _leads_up(uri):
            return "loop", None
    for name in ("zarr.json", ".zattrs", ".zgroup", ".zarray"):
        found, problem = read_document(join(uri, name))
        if problem not in ("", ABSENT):
            return "damaged", None
        if found is None:
            continue
        if name == ".zarray" or found.get("node_type") == "array":
            return "array", None
        attributes = found if name == ".zattrs" else found.get("attributes")
        if not isinstance(attributes, Mapping):
            continue
        if holds_ngff(attributes):
            return "group", Document(dict(attributes), 2 if name == ".zattrs" else 3)
        record = attributes.get("chunkscale")
        if isinstance(record, Mapping) and record.get("state") == "unfinished":
            return "unfinished", None
    return "folder", None


def _leads_up(link: str) -> bool:
    """Whether a link leads to a folder that it lies in."""
    return os.path.join(resolved(above(link)), "").startswith(os.path.join(resolved(link), ""))
