"""What the stored objects of an image say: how many they are, and how large."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chunkscale.geometry.box import cell_counts
from chunkscale.sources.image import Image
from chunkscale.storage.locations import join
from chunkscale.storage.objects import chunk_sizes
from chunkscale.storage.reader import ArrayReader
from chunkscale.storage.stores import store_of
from chunkscale.text import some_names

#: Of an array with more stored objects none is named: all of them would be held.
_MOST_NAMED = 10**6


def object_faults(
    uri: str, arrays: Mapping[str, ArrayReader], target: Image, record: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Compare number and bytes of stored objects with what the run counted at its end.

    Returns
    -------
    missing : list of str
        Of arrays with another number of objects.
    other_sizes : list of str
        Of those with as many, which have other bytes together.
    """
    missing, other_sizes = list[str](), list[str]()
    counted = record.get("objects")
    if not isinstance(counted, Mapping) or not store_of(uri).lists:
        return missing, other_sizes
    weighed = record.get("bytes")
    weighed = weighed if isinstance(weighed, Mapping) else {}
    for dataset in target.multiscale.datasets:
        found, size = chunk_sizes(join(uri, dataset.path))
        if dataset.path in counted and found != counted[dataset.path]:
            missing.append(
                f"array {dataset.path!r} has {found} stored chunks or shards, but the run that "
                f"wrote it left {counted[dataset.path]}; "
                + _changed_objects(arrays.get(dataset.path), dataset.path, found, counted)
            )
        elif dataset.path in weighed and size != weighed[dataset.path]:
            other_sizes.append(
                f"the stored chunks or shards of array {dataset.path!r} have {size} bytes, but "
                f"the run that wrote them left {weighed[dataset.path]}; files were truncated or "
                "extended"
            )
    return missing, other_sizes


def _changed_objects(
    array: ArrayReader | None, path: str, found: int, counted: Mapping[str, Any]
) -> str:
    """Say which objects of an array are missing or were added, as far as that is known.

    Chunks of fill value are not stored, so that one which is missing is known only where the run
    has left none of them out.
    """
    wanted = counted[path]
    if not isinstance(wanted, int):
        return "which is not a number: the record of the image was changed"
    names, lost = list[str](), wanted - found
    if array is not None and max(found, wanted) <= _MOST_NAMED:
        strays, gaps = array.strays_and_gaps()
        if lost < 0:
            names = strays
        elif wanted == math.prod(cell_counts(array.shape, array.shard or array.chunk)):
            names = list(gaps)
    if len(names) != abs(lost):  # some are missing and others were added
        names = []
    named = f": {some_names((join(path, name) for name in names), 2)}" if names else ""
    if lost < 0:
        return f"{-lost} {'was' if lost == -1 else 'were'} added{named}"
    return f"{lost} {'is' if lost == 1 else 'are'} missing{named}"
