"""What an output in one file consists of: documents, arrays, and the objects of these."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chunkscale.storage.documents import read_document
from chunkscale.storage.locations import join
from chunkscale.storage.names import NOTES, OME_XML, is_chunk_path, is_dropping
from chunkscale.storage.zips.packing import DOCUMENT, is_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What the documents of an output say of it.

    Parameters
    ----------
    documents : frozenset of str
        Their paths.
    arrays : frozenset of str
    counts : dict of str to int
        Stored objects by array, as the images state them.
    """

    documents: frozenset[str]
    arrays: frozenset[str]
    counts: dict[str, int]

    def array_of(self, name: str) -> str | None:
        """Return the array of which an object is a chunk or shard; None if it is none."""
        parts = name.split("/")
        for n in range(len(parts)):
            top = "/".join(parts[:n])
            if top in self.arrays and is_chunk_path("/".join(parts[n:])):
                return top
        return None

    def holds(self, name: str) -> bool:
        """Whether an object is a part of the output."""
        parts = name.split("/")
        is_xml = parts[-1] == OME_XML and parts[-2:-1] == ["OME"]
        return name in self.documents or is_xml or self.array_of(name) is not None

    def missing(self, names: Iterable[str]) -> str:
        """Say of which array objects are missing, by what the images state."""
        found = Counter(map(self.array_of, names))
        for array, count in self.counts.items():
            if found[array] != count:
                return f"{array!r} should have {count} and has {found[array]}"
        return ""

    def nbytes(self, objects: Iterable[tuple[str, int]]) -> int:
        """Return the size of all objects of the arrays, their documents included."""
        own = {f"{array}/{DOCUMENT}" if array else DOCUMENT for array in self.arrays}
        return sum(size for name, size in objects if name in own or self.array_of(name) is not None)


def tree_of(top: str, names: Iterable[str]) -> Tree:
    """Read the documents among the objects of an output.

    Those are its own of which an image or a collection says that this package wrote it, those of
    the levels that it names, and those of the groups that lead to it.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name in filter(is_document, names):
        at = name.removesuffix(DOCUMENT).rstrip("/")
        found[at] = read_document(join(top, name))[0] or {}
    records = {at: record for at, document in found.items() if (record := _record(document))}
    counts: dict[str, int] = {}
    arrays: set[str] = set()
    groups = {at for at in found if at.rpartition("/")[2] == "OME"}
    for at, record in records.items():
        steps = ["", *itertools.accumulate(at.split("/"), "{}/{}".format)]
        groups.update(steps)
        below = f"{at}/" if at else ""
        arrays.update(below + str(level) for level in record.get("levels") or ())
        counts |= {below + level: n for level, n in (record.get("objects") or {}).items()}
    own = found.keys() & (groups | arrays)
    return Tree(
        documents=frozenset(f"{at}/{DOCUMENT}" if at else DOCUMENT for at in own),
        arrays=frozenset(arrays),
        counts=counts,
    )


def _record(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a document says that this package wrote of its group; nothing for others."""
    record = (document.get("attributes") or {}).get("chunkscale")
    return record if isinstance(record, Mapping) and "state" in record else {}


def files_below(folder: str, prefix: str = "") -> Iterator[str]:
    """Yield what lies in a folder: links as well, and nothing that belongs to nobody or to runs."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if not entry.is_dir(follow_symlinks=False):
                if not is_dropping(entry.name):
                    yield name
            elif entry.name != NOTES:
                yield from files_below(entry.path, f"{name}/")


def sorted_out(folder: str, tree: Tree) -> tuple[list[str], list[str]]:
    """Return the files in a folder that are parts of an output, and those that are not.

    A link is none: what it leads to may be anyone's.
    """
    own: list[str] = []
    foreign: list[str] = []
    for name in files_below(folder):
        is_own = tree.holds(name) and not os.path.islink(join(folder, name))
        (own if is_own else foreign).append(name)
    return own, foreign
